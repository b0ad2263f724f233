//! Runs the demo: joins the parts, lets the tour go on, and shows it, in a terminal or in lines.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use zen_lead::shell::clock::Clock;

use super::cluster::Cluster;
use super::model::Model;
use super::news::{At, News, What};
use super::story::{Act, Next, SCENES, Story};
use super::terminal::{Key, Terminal};
use super::view::{self, Screen};
use super::{client, controller, terminal, text};

/// Between two frames, and two looks of the tour.
const FRAME: Duration = Duration::from_millis(50);
/// Frames for each column of the timeline.
const FRAMES_PER_COLUMN: u64 = 5;
/// How long people look at a step before the next one comes.
const PAUSE: Duration = Duration::from_secs(3);
/// The same when no one watches.
const PAUSE_ONCE: Duration = Duration::from_millis(300);

/// Who decides what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// First the tour, then keys.
    Guided,
    /// The tour, and that is all.
    Once,
    /// Keys.
    Driven,
}

/// How the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Who decides.
    pub course: Course,
    /// There is a terminal to draw on.
    pub has_terminal: bool,
    /// The terminal shows more than ASCII.
    pub has_unicode: bool,
}

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Well,
    /// Something that was expected did not come.
    Missed,
    /// A signal ended it before the tour was over.
    Interrupted,
}

/// Runs the demo from its first line to its summary.
pub async fn run(mode: Mode) -> anyhow::Result<Ending> {
    say(&text::opening())?;
    let clock = Clock::system();
    let (outlet, news) = mpsc::unbounded_channel();
    let cluster = Cluster::start(&clock, &outlet)?;
    say(&text::invitation(cluster.kubeconfig()))?;
    controller::start(cluster.kubeconfig().into(), &clock, &outlet)?;
    client::start(cluster.kubeconfig().into(), &clock, &outlet)?;
    let stage = Stage {
        mode,
        clock,
        cluster,
        model: Model::default(),
        story: (mode.course != Course::Driven).then(|| Story::new(mode.pause())),
        has_opted_in: false,
    };
    stage.play(news).await
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl Mode {
    fn pause(self) -> Duration {
        if self.ends_with_the_tour() {
            PAUSE_ONCE
        } else {
            PAUSE
        }
    }

    /// Whether the demo ends with the tour. Without a terminal a user could not end it otherwise.
    fn ends_with_the_tour(self) -> bool {
        self.course == Course::Once || !self.has_terminal
    }
}

struct Stage {
    mode: Mode,
    clock: Clock,
    cluster: Cluster,
    model: Model,
    /// None when the user drives from the beginning.
    story: Option<Story>,
    /// Whether the user was given a leader to play with.
    has_opted_in: bool,
}

impl Stage {
    async fn play(mut self, mut news: mpsc::UnboundedReceiver<News>) -> anyhow::Result<Ending> {
        let mut signals = Signals::new()?;
        let mut screen = if self.mode.has_terminal {
            Some(Terminal::enter()?)
        } else {
            None
        };
        let mut keys = screen.is_some().then(terminal::keys);
        let mut frames = tokio::time::interval(FRAME);
        let mut number: u64 = 0;
        let ending = loop {
            tokio::select! {
                biased;
                () = signals.any() => break self.ending(true),
                Some(key) = pressed(&mut keys) => match (key, &mut screen) {
                    (Key::Quit, _) => break self.ending(false),
                    (Key::Resized, Some(screen)) => screen.forget(),
                    _ => self.obey(key),
                },
                Some(news) = news.recv() => self.learn(news)?,
                _ = frames.tick() => {
                    number += 1;
                    if number.is_multiple_of(FRAMES_PER_COLUMN) {
                        self.model.sample();
                    }
                    self.go_on()?;
                    if self.is_over() && self.mode.ends_with_the_tour() {
                        break self.ending(false);
                    }
                    if let Some(screen) = &mut screen {
                        self.draw(screen)?;
                    }
                }
            }
        };
        // The summary belongs on the screen that stays.
        drop(screen);
        let nothing = Story::new(Duration::ZERO);
        say(&text::summary(
            &self.model,
            self.story.as_ref().unwrap_or(&nothing),
        ))?;
        Ok(ending)
    }

    fn now(&self) -> At {
        Duration::from_micros(self.clock.moment().0.unsigned_abs())
    }

    fn is_over(&self) -> bool {
        self.story.as_ref().is_none_or(Story::is_over)
    }

    fn ending(&self, by_signal: bool) -> Ending {
        match &self.story {
            Some(story) if story.is_over() && story.succeeded() < SCENES.len() => Ending::Missed,
            Some(story) if !story.is_over() && by_signal => Ending::Interrupted,
            _ => Ending::Well,
        }
    }

    /// Takes note of news, and says them where there is no view.
    fn learn(&mut self, news: News) -> anyhow::Result<()> {
        let moves = self.model.moves.len();
        let line = match &news.what {
            What::Told(told) => text::event(news.at, told),
            What::Broken(why) => anyhow::bail!("{why}"),
            _ => String::new(),
        };
        self.model.learn(news);
        if !self.mode.has_terminal {
            let changes = self.model.moves[moves..].iter().map(text::change);
            say(&(line + &changes.collect::<String>()))?;
        }
        Ok(())
    }

    /// The next step of the tour, if it is time for it.
    fn go_on(&mut self) -> io::Result<()> {
        let now = self.now();
        let is_plain = !self.mode.has_terminal;
        let Some(story) = self.story.as_mut().filter(|story| !story.is_over()) else {
            self.hand_over();
            return Ok(());
        };
        match story.advance(&self.model, now) {
            Next::Begin {
                number,
                act,
                leader,
            } => {
                if is_plain {
                    say(&text::scene(number, &SCENES[number - 1]))?;
                }
                self.cluster.perform(act, leader.as_deref());
            }
            Next::Ended(outcome) if outcome.seen.is_none() && is_plain => {
                say(&text::missed(&outcome))?;
            }
            Next::Ended(_) | Next::Wait => {}
        }
        Ok(())
    }

    /// Gives the user a leader to play with, once.
    fn hand_over(&mut self) {
        let is_ready = self.model.is_synced && self.model.ready() == self.model.pods.len();
        if !self.has_opted_in && is_ready && !self.mode.ends_with_the_tour() {
            self.has_opted_in = true;
            self.cluster.perform(Act::OptIn, None);
        }
    }

    /// Does what a key asks for; during the tour the tour decides.
    fn obey(&mut self, key: Key) {
        let act = match key {
            _ if !self.is_over() => return,
            Key::Kill => Act::CrashLeader,
            Key::Delete => Act::DeleteLeader,
            Key::KillAll => Act::CrashAll,
            Key::Restore => Act::Restore,
            Key::Opt if self.cluster.is_opted_in() => Act::OptOut,
            Key::Opt => Act::OptIn,
            Key::Quit | Key::Resized => return,
        };
        let leader = self.model.route.pod().cloned();
        self.cluster.perform(act, leader.as_deref());
    }

    fn draw(&self, terminal: &mut Terminal) -> io::Result<()> {
        let (width, height) = Terminal::size();
        let screen = Screen {
            model: &self.model,
            story: self.story.as_ref(),
            kubeconfig: self.cluster.kubeconfig(),
            now: self.now(),
            has_unicode: self.mode.has_unicode,
            column: FRAME * u32::try_from(FRAMES_PER_COLUMN).unwrap_or(1),
        };
        terminal.draw(&view::render(&screen, width, height))
    }
}

/// The next key; never without a terminal, and never again once the keyboard is gone.
async fn pressed(keys: &mut Option<mpsc::UnboundedReceiver<Key>>) -> Option<Key> {
    match keys {
        Some(keys) => keys.recv().await,
        None => None,
    }
}

/// The signals that ask a program to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
