//! The terminal: a screen of its own that is drawn as a whole, keys, and the way back, which is
//! taken on every way out: the end, an error, a signal, a panic.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{Command, cursor, terminal};
use tokio::sync::mpsc;

use super::view::{Line, Tone};

/// Whether the terminal is ours at the moment. Asked by the panic hook, which knows no value.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// What a terminal without a size counts as.
const USUAL: (u16, u16) = (80, 24);

/// A screen of its own; the old one is back when this value goes.
pub(super) struct Terminal {
    has_colours: bool,
    shown: String,
}

impl Terminal {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The message belongs on the screen that stays.
            leave();
            before(panic);
        }));
        terminal::enable_raw_mode()?;
        IS_OURS.store(true, Ordering::SeqCst);
        let screen = Self {
            // https://no-color.org: any value but the empty one.
            has_colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            shown: String::new(),
        };
        crossterm::execute!(
            io::stdout(),
            EnterAlternateScreen,
            DisableLineWrap,
            cursor::Hide
        )?;
        Ok(screen)
    }

    /// Columns and lines.
    #[must_use]
    pub(super) fn size() -> (usize, usize) {
        let (columns, lines) = terminal::size().unwrap_or(USUAL);
        (usize::from(columns), usize::from(lines))
    }

    /// Shows these lines and nothing else. What is shown already is not sent again.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let frame = frame(lines, self.has_colours);
        if frame == self.shown {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()?;
        self.shown = frame;
        Ok(())
    }

    /// The next frame is sent even if it is the same: the terminal may have lost it.
    pub(super) fn forget(&mut self) {
        self.shown.clear();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back; a second time does nothing. A terminal that is gone needs nothing back.
fn leave() {
    if IS_OURS.swap(false, Ordering::SeqCst) {
        let _ = crossterm::execute!(
            io::stdout(),
            cursor::Show,
            EnableLineWrap,
            LeaveAlternateScreen
        );
        let _ = terminal::disable_raw_mode();
    }
}

/// The bytes of one frame.
fn frame(lines: &[Line], has_colours: bool) -> String {
    let mut out = String::new();
    ansi(&mut out, BeginSynchronizedUpdate);
    for (row, line) in (0..).zip(lines) {
        ansi(&mut out, cursor::MoveTo(0, row));
        for span in &line.0 {
            style(&mut out, span.tone, has_colours);
            out.push_str(&span.text);
            if span.tone != Tone::Plain {
                ansi(&mut out, SetAttribute(Attribute::Reset));
            }
        }
        ansi(&mut out, Clear(ClearType::UntilNewLine));
    }
    ansi(&mut out, Clear(ClearType::FromCursorDown));
    ansi(&mut out, EndSynchronizedUpdate);
    out
}

fn style(out: &mut String, tone: Tone, has_colours: bool) {
    let colour = match tone {
        Tone::Plain => return,
        Tone::Strong => return ansi(out, SetAttribute(Attribute::Bold)),
        Tone::Faint => return ansi(out, SetAttribute(Attribute::Dim)),
        Tone::Good => Color::Green,
        Tone::Doubtful => Color::Yellow,
        Tone::Bad => Color::Red,
    };
    if has_colours {
        ansi(out, SetForegroundColor(colour));
    }
}

fn ansi(out: &mut String, command: impl Command) {
    // Writing into a string does not fail.
    let _ = write!(out, "{}", Ansi(command));
}

struct Ansi<C>(C);

impl<C: Command> std::fmt::Display for Ansi<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.write_ansi(f)
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// To crash the leader's process.
    Kill,
    /// To delete the leader's pod.
    Delete,
    /// To crash all.
    KillAll,
    /// To start all again.
    Restore,
    /// To opt in, or out.
    Opt,
    /// To end the demo.
    Quit,
    /// Nothing, but the screen has another size now.
    Resized,
}

/// Reads keys on a thread of its own, which ends with the process.
#[must_use]
pub(super) fn keys() -> mpsc::UnboundedReceiver<Key> {
    let (sender, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if let Some(key) = meaning(&event)
                && sender.send(key).is_err()
            {
                return;
            }
        }
    });
    keys
}

fn meaning(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) | Event::FocusGained => return Some(Key::Resized),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match (key.code, key.modifiers) {
        (KeyCode::Char('l'), KeyModifiers::CONTROL) => Some(Key::Resized),
        (KeyCode::Esc, _) | (KeyCode::Char('c' | 'd'), KeyModifiers::CONTROL) => Some(Key::Quit),
        (KeyCode::Char(letter), KeyModifiers::NONE | KeyModifiers::SHIFT) => {
            match letter.to_ascii_lowercase() {
                'k' => Some(Key::Kill),
                'd' => Some(Key::Delete),
                'a' => Some(Key::KillAll),
                'r' => Some(Key::Restore),
                'o' => Some(Key::Opt),
                'q' => Some(Key::Quit),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Span;
    use super::*;

    #[test]
    fn frames_with_and_without_colours() {
        let line = |tone, text: &str| {
            Line(vec![Span {
                tone,
                text: text.into(),
            }])
        };
        let lines = [line(Tone::Good, "ok"), line(Tone::Plain, "and")];
        let rest = "\u{1b}[0m\u{1b}[K\u{1b}[2;1Hand\u{1b}[K\u{1b}[J\u{1b}[?2026l";
        assert_eq!(
            frame(&lines, true),
            format!("\u{1b}[?2026h\u{1b}[1;1H\u{1b}[38;5;10mok{rest}")
        );
        assert_eq!(
            frame(&lines, false),
            format!("\u{1b}[?2026h\u{1b}[1;1Hok{rest}")
        );
    }

    #[test]
    fn keys_and_what_they_mean() {
        use crossterm::event::KeyEvent;
        let press = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        for (letter, expected) in [
            ('k', Some(Key::Kill)),
            ('K', Some(Key::Kill)),
            ('d', Some(Key::Delete)),
            ('a', Some(Key::KillAll)),
            ('r', Some(Key::Restore)),
            ('o', Some(Key::Opt)),
            ('q', Some(Key::Quit)),
            ('x', None),
        ] {
            let code = KeyCode::Char(letter);
            assert_eq!(press(code, KeyModifiers::NONE), expected, "{letter}");
            assert_eq!(press(code, KeyModifiers::ALT), None, "{letter} with Alt");
        }
        let interrupt = press(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(interrupt, Some(Key::Quit));
        assert_eq!(meaning(&Event::Resize(10, 10)), Some(Key::Resized));
    }
}
