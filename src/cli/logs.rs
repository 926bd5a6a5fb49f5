//! Log lines on stderr: `PITON_LOG=debug`, `PITON_LOG=piton::runtime=debug,warn`; `RUST_LOG` counts if that is not set.
//!
//! Somebody at a terminal sees the progress display and is told of warnings only; a log file gets the life of the job.

use std::fmt;
use std::io::{self, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::cli::terminal::Terminal;
use crate::cli::text::rfc3339;
use crate::clock::Clock;
use crate::error::{Error, Result};

const VARIABLES: [&str; 2] = ["PITON_LOG", "RUST_LOG"];

/// What is logged if nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// What somebody who runs a job wants to know.
    Usual,
    /// Nothing: what goes wrong is meant.
    Nothing,
}

/// Sends what is logged to the terminal.
///
/// # Errors
/// If a variable does not say which log lines are wanted.
pub(super) fn install(terminal: &Terminal, log: Log) -> Result {
    let filter = filter(terminal.is_interactive(), log)?;
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(Lines(terminal.clone()));
    let registry = tracing_subscriber::registry().with(filter);
    // It fails if the program has set up its own logging before: then that is what it wants.
    if terminal.is_interactive() {
        tracing::subscriber::set_global_default(registry.with(lines.without_time())).ok();
    } else {
        tracing::subscriber::set_global_default(registry.with(lines.with_timer(Times(Clock::system())))).ok();
    }
    Ok(())
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
