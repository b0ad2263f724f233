//! The live view as lines of styled text, for a terminal of any size. Pure.

use std::path::Path;
use std::time::Duration;

use zen_lead::logic::duration::Brief;

use super::model::{Mark, Model};
use super::news::{At, Route, Stage};
use super::story::{SCENES, Story};
use super::{APP, NAMESPACE, text};

/// What a piece of text stands out by, never by colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// A heading, or what matters most.
    Strong,
    /// What can be overlooked.
    Faint,
    /// As it should be.
    Good,
    /// Neither.
    Doubtful,
    /// Not as it should be.
    Bad,
}

/// Text in one tone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// How it looks.
    pub(super) tone: Tone,
    /// Without control characters.
    pub(super) text: String,
}

/// One line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<Span>);

impl Line {
    fn of(tone: Tone, text: impl Into<String>) -> Self {
        Self::default().and(tone, text)
    }

    fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        let text = text::printable(&text.into());
        self.0.push(Span { tone, text });
        self
    }

    /// Cuts it to so many characters.
    fn cut(mut self, width: usize) -> Self {
        let mut left = width;
        for span in &mut self.0 {
            if let Some((end, _)) = span.text.char_indices().nth(left) {
                span.text.truncate(end);
            }
            left -= span.text.chars().count();
        }
        self.0.retain(|span| !span.text.is_empty());
        self
    }
}

/// Everything that the view shows.
pub(super) struct Screen<'a> {
    /// What has been seen.
    pub(super) model: &'a Model,
    /// The tour; none when the user drives.
    pub(super) story: Option<&'a Story>,
    /// For the second terminal.
    pub(super) kubeconfig: &'a Path,
    /// Now.
    pub(super) now: At,
    /// Whether the terminal shows more than ASCII.
    pub(super) has_unicode: bool,
    /// Time between two columns of the timeline.
    pub(super) column: Duration,
}

/// A part of the screen. The ones that matter least go first when it is small.
struct Section {
    /// The lowest goes first.
    rank: u8,
    lines: Vec<Line>,
}

/// The screen, at most `height` lines of at most `width` characters.
#[must_use]
pub(super) fn render(screen: &Screen<'_>, width: usize, height: usize) -> Vec<Line> {
    let mut sections = vec![
        section(9, vec![screen.head(), screen.step()]),
        section(8, screen.leader()),
        section(7, screen.pods()),
        section(4, screen.timeline(width)),
        section(5, screen.second_terminal()),
        section(6, vec![screen.keys()]),
    ];
    let used = |sections: &[Section]| {
        let lines: usize = sections.iter().map(|section| section.lines.len()).sum();
        lines + sections.len() - 1
    };
    while used(&sections) > height && sections.len() > 1 {
        let least = (0..sections.len()).min_by_key(|at| sections[*at].rank);
        sections.remove(least.unwrap_or_default());
    }
    // Events get what is left, before the keys.
    let left = height.saturating_sub(used(&sections) + 1);
    let events = screen.events(left);
    if !events.is_empty() {
        let at = sections
            .iter()
            .position(|section| section.rank <= 6 && section.rank != 4);
        sections.insert(at.unwrap_or(sections.len()), section(1, events));
    }
    let mut lines = Vec::new();
    for section in sections {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(section.lines);
    }
    lines.truncate(height);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn section(rank: u8, lines: Vec<Line>) -> Section {
    Section { rank, lines }
}

impl Screen<'_> {
    fn head(&self) -> Line {
        Line::of(Tone::Strong, "zen-lead demo")
            .and(
                Tone::Faint,
                "  simulated API server and pods, real controller  ",
            )
            .and(Tone::Faint, text::time(self.now).trim_start())
    }

    fn step(&self) -> Line {
        let Some(story) = self.story else {
            return Line::of(Tone::Plain, "You drive: the keys are below.");
        };
        if story.is_over() {
            let seen = format!(
                "{} of {} steps as expected",
                story.succeeded(),
                SCENES.len()
            );
            let all = story.succeeded() == SCENES.len();
            let tone = if all { Tone::Good } else { Tone::Bad };
            return Line::of(tone, seen).and(Tone::Plain, "; now you drive, the keys are below.");
        }
        match story.scene() {
            Some((number, scene)) if story.has_acted() => Line::of(
                Tone::Strong,
                format!("{number}/{} {}", SCENES.len(), scene.title),
            )
            .and(Tone::Plain, format!("  {}", scene.text)),
            Some((number, scene)) => Line::of(
                Tone::Faint,
                format!(
                    "{number}/{} {} comes once it can",
                    SCENES.len(),
                    scene.title
                ),
            ),
            None => Line::default(),
        }
    }

    fn leader(&self) -> Vec<Line> {
        let model = self.model;
        let heading =
            Line::of(Tone::Plain, "Service  ").and(Tone::Plain, format!("{NAMESPACE}/{APP} -> "));
        let heading = match &model.leader_service {
            Some((name, address)) => heading.and(Tone::Plain, format!("{name} ({address})  ")),
            None => heading.and(Tone::Faint, "no leader Service  "),
        };
        let heading = heading.and(Tone::Strong, model.state.clone());
        let since = Brief(self.now.saturating_sub(model.routed_since));
        let leader = match &model.route {
            Route::To { pod, ip, .. } => Line::of(Tone::Plain, "Leader   ")
                .and(Tone::Good, format!("{pod}  {ip}"))
                .and(Tone::Plain, format!("  for {since}")),
            Route::Empty => Line::of(Tone::Plain, "Leader   ")
                .and(Tone::Bad, "none")
                .and(Tone::Plain, format!("  for {since}")),
            Route::Absent => Line::of(Tone::Plain, "Leader   ").and(Tone::Faint, "not opted in"),
        };
        vec![heading, leader, self.last_failover()]
    }

    fn last_failover(&self) -> Line {
        let line = Line::of(Tone::Plain, "Failover ");
        let Some(last) = self.model.last_failover() else {
            return line.and(Tone::Faint, "none yet");
        };
        let mut line = line.and(Tone::Plain, text::arrow(last));
        if let Some(latency) = last.latency {
            line = line
                .and(Tone::Plain, " after ")
                .and(Tone::Strong, Brief(latency).to_string());
        }
        if let Some(all) = self.model.latencies().filter(|all| all.count > 1) {
            let figures = format!(
                "  ({} so far, median {}, worst {})",
                all.count,
                Brief(all.median),
                Brief(all.max)
            );
            line = line.and(Tone::Faint, figures);
        }
        line
    }

    fn pods(&self) -> Vec<Line> {
        let leader = match &self.model.route {
            Route::To { uid, .. } => Some(uid),
            Route::Absent | Route::Empty => None,
        };
        let row = |pod: &super::news::PodSeen| {
            let leads = leader == Some(&pod.uid);
            let tone = match pod.stage {
                Stage::Ready => Tone::Good,
                Stage::NotReady => Tone::Bad,
                Stage::Terminating => Tone::Doubtful,
            };
            let short: String = pod.uid.0.chars().take(8).collect();
            let ip = pod.ip.as_deref().unwrap_or("no address");
            Line::of(Tone::Strong, if leads { "  > " } else { "    " })
                .and(Tone::Plain, format!("{:<12}", pod.name))
                .and(tone, format!("{:<12}", pod.stage.to_string()))
                .and(Tone::Plain, format!("{ip:<14}"))
                .and(Tone::Faint, format!("uid {short}"))
                .and(Tone::Strong, if leads { "  leads" } else { "" })
        };
        let mut lines = vec![Line::of(Tone::Plain, "Pods")];
        lines.extend(self.model.pods.iter().map(row));
        lines
    }

    fn timeline(&self, width: usize) -> Vec<Line> {
        const LABEL: usize = 14;
        let columns = width.saturating_sub(LABEL + 1);
        let all = &self.model.timeline;
        let shown = all.iter().skip(all.len().saturating_sub(columns));
        let mut names: Vec<_> = shown.clone().flatten().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        let [leads, ready, not_ready, ends] = self.glyphs();
        let legend = format!(
            "Timeline, {} a column: {leads} leads  {ready} Ready  {not_ready} not Ready  {ends} terminating",
            Brief(self.column)
        );
        let mut lines = vec![Line::of(Tone::Plain, legend)];
        for name in names {
            let mut line = Line::of(Tone::Plain, format!("    {name:<10}"));
            for column in shown.clone() {
                let mark = column.iter().find(|(of, _)| of == name);
                let (tone, glyph) = match mark.map(|(_, mark)| mark) {
                    Some(Mark::Leads) => (Tone::Good, leads),
                    Some(Mark::Ready) => (Tone::Faint, ready),
                    Some(Mark::NotReady) => (Tone::Bad, not_ready),
                    Some(Mark::Terminating) => (Tone::Doubtful, ends),
                    None => (Tone::Plain, " "),
                };
                match line.0.last_mut() {
                    Some(last) if last.tone == tone => last.text += glyph,
                    _ => line = line.and(tone, glyph),
                }
            }
            lines.push(line);
        }
        lines
    }

    fn glyphs(&self) -> [&'static str; 4] {
        if self.has_unicode {
            ["█", "─", "·", "▒"]
        } else {
            ["#", "-", ".", "~"]
        }
    }

    fn events(&self, room: usize) -> Vec<Line> {
        // One line of heading, and no more than anybody reads.
        let count = room.saturating_sub(1).min(8).min(self.model.events.len());
        if count == 0 {
            return Vec::new();
        }
        let mut lines = vec![Line::of(Tone::Plain, "Events")];
        for (at, told) in self.model.events.iter().rev().take(count).rev() {
            let tone = if told.is_warning {
                Tone::Doubtful
            } else {
                Tone::Plain
            };
            let line = Line::of(Tone::Faint, text::time(*at))
                .and(tone, format!("  {}: ", told.reason))
                .and(Tone::Plain, told.message.clone());
            lines.push(line);
        }
        lines
    }

    fn second_terminal(&self) -> Vec<Line> {
        let leader = self.model.route.pod().map(|pod| &**pod);
        let mut lines = vec![Line::of(Tone::Plain, "In a second terminal")];
        let hints = text::hints(self.kubeconfig, leader).into_iter();
        lines.extend(hints.map(|hint| Line::of(Tone::Plain, format!("    {hint}"))));
        lines
    }

    fn keys(&self) -> Line {
        let is_touring = self.story.is_some_and(|story| !story.is_over());
        if is_touring {
            return Line::of(Tone::Faint, "q quit");
        }
        Line::of(
            Tone::Faint,
            "k kill the leader  d delete its pod  a kill all  r restore  o opt in or out  q quit",
        )
    }
}
