//! Log lines on stderr: `PITON_LOG=debug`, `PITON_LOG=piton::runtime=debug,warn`; `RUST_LOG` counts if that is not set.
//!
//! `--log-format json`, or `PITON_LOG_FORMAT=json`, makes an object of each line. Both are no options of the topology: a log
//! belongs to who runs the process, and what is wrong with a topology is logged, too.
//!
//! Somebody at a terminal sees the progress display and is told of warnings only; a log file gets the life of the job.

use std::fmt;
use std::io::{self, Write};

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::cli::terminal::Terminal;
use crate::cli::text::rfc3339;
use crate::clock::Clock;
use crate::error::{Error, Result};

const VARIABLES: [&str; 2] = ["PITON_LOG", "RUST_LOG"];
const FORMAT_VARIABLE: &str = "PITON_LOG_FORMAT";

/// What is logged if nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// What somebody who runs a job wants to know.
    Usual,
    /// Nothing: what goes wrong is meant.
    Nothing,
}

/// How each line on stderr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// For programs: one object for each line, with its fields, and those of the spans that it lies in
    Json,
}

impl LogFormat {
    /// Returns the one that was asked for, on the command line or by a variable.
    ///
    /// # Errors
    /// If the variable does not say which.
    pub(super) fn of(asked: Option<LogFormat>) -> Result<LogFormat> {
        let variable = std::env::var(FORMAT_VARIABLE).unwrap_or_default();
        match (asked, &*variable) {
            (Some(format), _) => Ok(format),
            (None, "" | "text") => Ok(LogFormat::Text),
            (None, "json") => Ok(LogFormat::Json),
            (None, other) => {
                Err(Error::config(format!("{FORMAT_VARIABLE}={other} is not a format of log lines (text, json)")))
            }
        }
    }
}

/// What else takes log lines and spans.
type Layered = Box<dyn Layer<Registry> + Send + Sync>;

/// Sends what is logged to the terminal, and to what else takes it.
///
/// # Errors
/// If a variable does not say which log lines are wanted.
pub(super) fn install(terminal: &Terminal, log: Log, also: Option<Layered>) -> Result {
    let filter = filter(terminal.is_interactive(), log)?;
    let lines = lines(terminal.format(), terminal.is_interactive(), Lines(terminal.clone()));
    let mut layers = vec![lines.with_filter(filter).boxed()];
    layers.extend(also);
    // It fails if the program has set up its own logging before: then that is what it wants.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layers)).ok();
    Ok(())
}

/// Returns what writes log lines.
fn lines<W>(format: LogFormat, interactive: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(true);
            lines.with_timer(Times(Clock::system())).boxed()
        }
        LogFormat::Text if interactive => lines.with_target(false).without_time().boxed(),
        LogFormat::Text => lines.with_target(false).with_timer(Times(Clock::system())).boxed(),
    }
}

fn filter(interactive: bool, log: Log) -> Result<Targets> {
    for variable in VARIABLES {
        let Ok(text) = std::env::var(variable) else { continue };
        if text.is_empty() {
            continue;
        }
        return text.parse().map_err(|error| {
            Error::config(format!("{variable}={text} is not a log level (error, warn, info, debug, trace): {error}"))
        });
    }
    let level = match (log, interactive) {
        (Log::Nothing, _) => LevelFilter::OFF,
        (Log::Usual, true) => LevelFilter::WARN,
        (Log::Usual, false) => LevelFilter::INFO,
    };
    // Of its own start and end, the HTTP server tells more than anybody wants to know.
    let server = level.min(LevelFilter::WARN);
    Ok(Targets::new().with_default(level).with_target("actix_server", server))
}

struct Times(Clock);

impl FormatTime for Times {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&rfc3339(self.0.now()))
    }
}

struct Lines(Terminal);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// Takes a log line, which comes in one piece.
struct Line<'a>(&'a Terminal);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_in_json_has_its_fields_and_those_of_its_spans() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = lines(LogFormat::Json, false, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _job = tracing::info_span!("run", job = "flights").entered();
            let _checkpoint = tracing::info_span!("checkpoint", window = 7).entered();
            tracing::warn!(bytes = 12, reason = "a \"quoted\"\nreason", "committed");
        });
        let bytes = kept.0.lock().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let at = line["timestamp"].take();
        assert!(at.as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{at}");
        let spans = json!([{ "name": "run", "job": "flights" }, { "name": "checkpoint", "window": 7 }]);
        assert_eq!(line["spans"], spans);
        assert_eq!(
            [&line["level"], &line["message"], &line["bytes"]],
            [&json!("WARN"), &json!("committed"), &json!(12)]
        );
        assert_eq!(line["reason"], "a \"quoted\"\nreason");
    }
}
