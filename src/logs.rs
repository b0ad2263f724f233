//! Log lines on standard error: one flat JSON object each, or text for people.
//!
//! A line's target is the last part of its module, `watch` for `zen_lead::shell::watch`; filters
//! go by the whole path.

use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Installs the log of the process. A second call changes nothing: the first one stays.
///
/// `level` holds directives that `Config` has checked; should one be unknown all the same, it is
/// left out.
pub fn init(format: LogFormat, level: &str) {
    let subscriber = subscriber(
        format,
        level,
        std::io::stderr,
        std::io::stderr().is_terminal(),
    );
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The same log for another writer: what tests look at.
pub fn subscriber<W>(
    format: LogFormat,
    level: &str,
    writer: W,
    colours: bool,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(level))
        .with_ansi(colours)
        .with_writer(writer)
        .event_format(LogLine(format))
        .finish()
}

/// One event, one line.
struct LogLine(LogFormat);

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let target = short(metadata.target());
        let at = jiff::Timestamp::now();
        match self.0 {
            LogFormat::Json => {
                let mut fields = JsonFields(Map::new());
                // Ours come first, and a field of the same name cannot take their place.
                fields.put("timestamp", format!("{at:.6}").into());
                fields.put("level", metadata.level().as_str().into());
                fields.put("target", target.into());
                event.record(&mut fields);
                writeln!(out, "{}", Value::Object(fields.0))
            }
            LogFormat::Text => {
                let level = metadata.level();
                if out.has_ansi_escapes() {
                    let colour = colour_of(*level);
                    write!(
                        out,
                        "\u{1b}[2m{at:.3}\u{1b}[0m \u{1b}[{colour}m{level:>5}\u{1b}[0m "
                    )?;
                } else {
                    write!(out, "{at:.3} {level:>5} ")?;
                }
                write!(out, "{target}: ")?;
                context.format_fields(out.by_ref(), event)?;
                writeln!(out)
            }
        }
    }
}

/// `zen_lead::shell::watch` is `watch`, another crate's module is that crate's.
fn short(target: &str) -> &str {
    match target.strip_prefix("zen_lead::") {
        Some(path) => path.rsplit("::").next().unwrap_or(path),
        None => target.split("::").next().unwrap_or(target),
    }
}

fn colour_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// The fields of an event as JSON.
struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn put(&mut self, name: &str, value: Value) {
        if self.0.contains_key(name) {
            self.0.insert(format!("field.{name}"), value);
        } else {
            self.0.insert(name.into(), value);
        }
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // With its causes: the first line alone often says nothing ("error sending request").
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.extend([": ", &cause_text]);
            }
            source = cause.source();
        }
        self.put(field.name(), text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct LogWriter(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, log: impl FnOnce()) -> String {
        let lines = LogWriter::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, level, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().clone()).expect("text")
    }

    #[test]
    fn json_is_flat_and_one_line() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::info!(
                target: "zen_lead::shell::watch",
                service = %"n/s", pods = 3, level = "own", quoted = "a\nb\"c",
                "leader {}", "changed"
            );
            tracing::debug!("not this one");
        });
        let line = text.strip_suffix('\n').expect("a line");
        let value: Value = serde_json::from_str(line).expect("one object");
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["field.level"], "own");
        assert_eq!(value["target"], "watch");
        assert_eq!(value["message"], "leader changed");
        assert_eq!(value["service"], "n/s");
        assert_eq!(value["pods"], 3);
        assert_eq!(value["quoted"], "a\nb\"c");
        let at = value["timestamp"].as_str().expect("a time");
        assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    }

    #[test]
    fn text_is_for_people() {
        let text = logged(LogFormat::Text, "zen_lead::shell=debug,warn", || {
            tracing::debug!(target: "zen_lead::shell::lease", held = true, "renewed");
            tracing::info!(target: "hyper::proto", "not this one");
            tracing::warn!(target: "hyper::proto", "this one");
        });
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once(' ').expect("a time").1.trim_start())
            .collect();
        assert_eq!(
            lines,
            ["DEBUG lease: renewed held=true", "WARN hyper: this one"]
        );
    }

    #[test]
    fn a_second_call_does_no_harm() {
        init(LogFormat::Json, "off");
        init(LogFormat::Text, "off,=");
    }
}
