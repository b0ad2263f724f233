//! The live view as lines of styled text, for a terminal of any size. Pure.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zen_lead::logic::duration::Brief;

use super::model::{Mark, Model};
use super::news::{At, Route, Stage};
use super::story::{SCENES, Story};
use super::{APP, NAMESPACE, text};

/// Columns of a pod's row before its timeline.
const ROW: usize = 56;

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
        section(7, screen.pods(width)),
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
        let at = sections.iter().position(|section| section.rank <= 6);
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
                "  (of {}: median {}, worst {})",
                all.count,
                Brief(all.median),
                Brief(all.max)
            );
            line = line.and(Tone::Faint, figures);
        }
        line
    }

    /// One row for each pod, its timeline at the end.
    fn pods(&self, width: usize) -> Vec<Line> {
        let columns = width.saturating_sub(ROW);
        let all = &self.model.timeline;
        let shown = all.range(all.len().saturating_sub(columns)..);
        let pods = self.model.pods.iter().map(|pod| &pod.name);
        let mut names: Vec<_> = pods
            .chain(shown.clone().flatten().map(|(name, _)| name))
            .collect();
        names.sort_unstable();
        names.dedup();
        let [leads, ready, not_ready, ends] = self.glyphs();
        let legend = format!(
            "Pods     {leads} leads  {ready} Ready  {not_ready} not Ready  {ends} terminating, {} ms a column",
            self.column.as_millis()
        );
        let row = |name: &Arc<str>| {
            let mut line = self.pod(name);
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
            line
        };
        let mut lines = vec![Line::of(Tone::Plain, legend)];
        lines.extend(names.into_iter().map(row));
        lines
    }

    /// What a pod is like, padded to [`ROW`] columns.
    fn pod(&self, name: &str) -> Line {
        let Some(pod) = self.model.pods.iter().find(|pod| *pod.name == *name) else {
            return Line::of(Tone::Plain, format!("    {name:<12}"))
                .and(Tone::Faint, format!("{:<40}", "gone, to be made again"));
        };
        let leads = matches!(&self.model.route, Route::To { uid, .. } if *uid == pod.uid);
        let tone = match pod.stage {
            Stage::Ready => Tone::Good,
            Stage::NotReady => Tone::Bad,
            Stage::Terminating => Tone::Doubtful,
        };
        let short: String = pod.uid.to_string().chars().take(8).collect();
        let ip = pod.ip.as_deref().unwrap_or("no address");
        Line::of(Tone::Strong, if leads { "  > " } else { "    " })
            .and(Tone::Plain, format!("{name:<12}"))
            .and(tone, format!("{:<12}", pod.stage.to_string()))
            .and(Tone::Plain, format!("{ip:<13}"))
            .and(Tone::Faint, format!("uid {short}   "))
    }

    fn glyphs(&self) -> [&'static str; 4] {
        if self.has_unicode {
            ["█", "─", "·", "▒"]
        } else {
            ["#", "-", ".", "~"]
        }
    }

    fn events(&self, room: usize) -> Vec<Line> {
        // One line of heading, and no more than fits at a glance.
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
            "k kill leader  d delete its pod  a kill all  r restore  o opt in/out  q quit",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Kind, Move};
    use super::super::news::{News, PodSeen, Told, What};
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn pod(number: usize, stage: Stage) -> PodSeen {
        PodSeen {
            name: format!("my-app-{number}").into(),
            uid: format!("0000000{number}-1111").as_str().into(),
            ip: (stage != Stage::NotReady).then(|| format!("10.244.0.{}", number + 1)),
            stage,
        }
    }

    fn to(number: usize) -> What {
        What::Route(Route::To {
            pod: format!("my-app-{number}").into(),
            uid: format!("0000000{number}-1111").as_str().into(),
            ip: format!("10.244.0.{}", number + 1).as_str().into(),
        })
    }

    /// A failover has just taken place.
    fn model() -> Model {
        let mut model = Model::default();
        let pods =
            |first, second| What::Pods(vec![pod(0, first), pod(1, Stage::Ready), pod(2, second)]);
        let learn = |model: &mut Model, at, what| model.learn(News { at: ms(at), what });
        learn(&mut model, 900, What::State("Serving".into()));
        let service = ("my-app-leader".into(), "10.96.0.12".into());
        learn(&mut model, 900, What::LeaderService(Some(service)));
        learn(&mut model, 900, pods(Stage::Ready, Stage::Ready));
        learn(&mut model, 1_000, to(0));
        model.sample();
        model.sample();
        learn(&mut model, 2_000, pods(Stage::NotReady, Stage::Terminating));
        learn(&mut model, 2_001, to(1));
        model.moves[1].latency = Some(ms(1));
        let told = Told {
            is_warning: false,
            reason: "LeaderChanged".into(),
            message: "Leader changed from my-app-0 to my-app-1 (notReady, 1.0 ms).".into(),
        };
        learn(&mut model, 2_002, What::Told(told));
        model.sample();
        model
    }

    fn plain(lines: &[Line]) -> Vec<String> {
        let text = |line: &Line| line.0.iter().map(|span| &*span.text).collect::<String>();
        lines.iter().map(text).collect()
    }

    fn shown(model: &Model, story: Option<&Story>, width: usize, height: usize) -> Vec<String> {
        let screen = Screen {
            model,
            story,
            kubeconfig: Path::new("/tmp/demo/kubeconfig"),
            now: ms(12_345),
            has_unicode: false,
            column: ms(250),
        };
        plain(&render(&screen, width, height))
    }

    #[test]
    fn a_screen_of_the_usual_size() {
        let story = Story::new(Duration::ZERO);
        let expected = "\
zen-lead demo  simulated API server and pods, real controller  12.3 s
1/6 opt-in comes once it can

Service  default/my-app -> my-app-leader (10.96.0.12)  Serving
Leader   my-app-1  10.244.0.2  for 10.3 s
Failover my-app-0 -> my-app-1 after 1.0 ms

Pods     # leads  - Ready  . not Ready  ~ terminating, 250 ms a column
    my-app-0    not Ready   no address   uid 00000000   ##.
  > my-app-1    Ready       10.244.0.2   uid 00000001   --#
    my-app-2    terminating 10.244.0.3   uid 00000002   --~

Events
   2.0 s  LeaderChanged: Leader changed from my-app-0 to my-app-1 (notReady, 1.0 ms).

In a second terminal
    export KUBECONFIG=/tmp/demo/kubeconfig
    kubectl get endpointslices -l kubernetes.io/service-name=my-app-leader -w
    kubectl get pods,services,events
    kubectl delete pod my-app-1

q quit";
        let lines = shown(&model(), Some(&story), 100, 40);
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn a_small_screen_shows_what_matters_most() {
        let model = model();
        for height in 0..40 {
            for width in [0, 1, 7, 20, 79, 200] {
                let lines = shown(&model, None, width, height);
                assert!(lines.len() <= height, "{width} x {height}");
                let too_long = lines.iter().find(|line| line.chars().count() > width);
                assert_eq!(too_long, None, "{width} x {height}");
            }
        }
        let lines = shown(&model, None, 30, 6);
        assert_eq!(
            lines,
            [
                "zen-lead demo  simulated API s",
                "You drive: the keys are below.",
                "",
                "Service  default/my-app -> my-",
                "Leader   my-app-1  10.244.0.2 ",
                "Failover my-app-0 -> my-app-1 "
            ]
        );
        let lines = shown(&model, None, 80, 24).join("\n");
        for part in ["Leader ", "Pods", "Events", "In a second", "q quit"] {
            assert!(lines.contains(part), "{part}\n{lines}");
        }
    }

    #[test]
    fn there_is_nothing_yet_or_no_leader() {
        let lines = shown(&Model::default(), None, 80, 24).join("\n");
        assert!(lines.contains("Leader   not opted in"), "{lines}");
        assert!(lines.contains("Failover none yet"), "{lines}");
        let mut model = model();
        let what = What::Route(Route::Empty);
        model.learn(News {
            at: ms(12_000),
            what,
        });
        let lines = shown(&model, None, 80, 24).join("\n");
        assert!(lines.contains("Leader   none  for 345.0 ms"), "{lines}");
        assert!(!lines.contains("  > "), "{lines}");
        model.learn(News {
            at: ms(12_000),
            what: What::Pods(vec![pod(1, Stage::Ready)]),
        });
        let lines = shown(&model, None, 80, 24).join("\n");
        let gone = "    my-app-0    gone, to be made again                  ##.\n";
        assert!(lines.contains(gone), "{lines}");
    }

    #[test]
    fn the_tour_tells_where_it_is() {
        let (mut model, mut story) = (Model::default(), Story::new(Duration::ZERO));
        model.is_synced = true;
        model.pods = (0..3).map(|number| pod(number, Stage::Ready)).collect();
        let step = |model: &Model, story: &Story| shown(model, Some(story), 200, 2).swap_remove(1);
        assert_eq!(step(&model, &story), "1/6 opt-in comes once it can");
        let _ = story.advance(&model, ms(1));
        let expected = "1/6 opt-in  zen-lead.io/enabled=true on the Service: \
                        zen-lead makes my-app-leader beside it";
        assert_eq!(step(&model, &story), expected);
        let _ = story.advance(&model, Duration::from_mins(1));
        let expected = "0 of 6 steps as expected; now you drive, the keys are below.";
        assert_eq!(step(&model, &story), expected);
    }

    #[test]
    fn several_failovers_have_figures() {
        let mut model = model();
        let second = Move {
            at: ms(3_000),
            kind: Kind::Failover,
            from: Some("my-app-1".into()),
            to: Some("my-app-2".into()),
            latency: Some(ms(5)),
            from_ready: true,
        };
        model.moves.push(second);
        let lines = shown(&model, None, 200, 24);
        assert_eq!(
            lines[5],
            "Failover my-app-1 -> my-app-2 after 5.0 ms  (of 2: median 1.0 ms, worst 5.0 ms)"
        );
    }

    #[test]
    fn tones_follow_what_they_say() {
        let model = model();
        let screen = Screen {
            model: &model,
            story: None,
            kubeconfig: Path::new("k"),
            now: ms(1),
            has_unicode: true,
            column: ms(250),
        };
        let lines = render(&screen, 100, 40);
        let tone = |text: &str| {
            let spans = lines.iter().flat_map(|line| &line.0);
            let mut with = spans.filter(|span| span.text.contains(text));
            with.next().map(|span| span.tone)
        };
        assert_eq!(tone("not Ready   "), Some(Tone::Bad));
        assert_eq!(tone("terminating "), Some(Tone::Doubtful));
        assert_eq!(tone("██"), Some(Tone::Good));
        assert_eq!(tone("──"), Some(Tone::Faint));
    }
}
