//! stderr, which log lines, messages and the progress display share without getting into each other's way.
//!
//! With `--log-format json` everything that is said is an object, too: whoever reads stderr meets nothing else.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde_json::json;

use crate::cli::logs::LogFormat;
use crate::cli::text::rfc3339;
use crate::clock::Clock;

const CLEAR_LINE: &[u8] = b"\r\x1b[2K";

/// stderr. Clones are the same.
#[derive(Clone)]
pub(super) struct Terminal {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    interactive: bool,
    format: LogFormat,
}

impl Terminal {
    pub(super) fn new(format: LogFormat) -> Terminal {
        let interactive = format == LogFormat::Text && io::stderr().is_terminal();
        Terminal { bar: Arc::default(), interactive, format }
    }

    /// Returns how everything is written.
    pub(super) fn format(&self) -> LogFormat {
        self.format
    }

    /// Returns whether somebody sits there, and reads text.
    pub(super) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Writes a line.
    pub(super) fn say(&self, line: &str) {
        match self.format {
            LogFormat::Text => self.write(format!("{line}\n").as_bytes()),
            LogFormat::Json => self.write(format!("{}\n", object(line, &rfc3339(Clock::system().now()))).as_bytes()),
        }
    }

    /// Writes above the progress display, if there is one.
    pub(super) fn write(&self, text: &[u8]) {
        // Cloned, so that the lock is not held while the bar draws: that may log.
        let bar = self.bar.lock().clone();
        let write = |text: &[u8]| {
            // Nobody is left to be told that stderr is gone.
            io::stderr().lock().write_all(text).ok();
        };
        match bar {
            // The bar does not touch the terminal while its thread panics, so its line is cleared by hand.
            Some(_) if std::thread::panicking() => write(&[CLEAR_LINE, text].concat()),
            Some(bar) => bar.suspend(|| write(text)),
            None => write(text),
        }
    }

    /// Shows a progress display below everything that is written from now on; nothing takes it away.
    pub(super) fn show(&self, bar: Option<ProgressBar>) {
        if let Some(shown) = std::mem::replace(&mut *self.bar.lock(), bar) {
            shown.finish_and_clear();
        }
    }
}

/// Returns a line as an object with the fields that each log line has.
fn object(line: &str, timestamp: &str) -> String {
    let levels = [("error: ", "ERROR"), ("warning: ", "WARN")];
    let found = levels.iter().find_map(|(start, level)| line.strip_prefix(start).map(|rest| (*level, rest)));
    let (level, message) = found.unwrap_or(("INFO", line));
    json!({ "timestamp": timestamp, "level": level, "message": message.trim(), "target": "piton" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_an_object_with_the_level_that_it_names() {
        let of = |line: &str| serde_json::from_str::<serde_json::Value>(&object(line, "now")).unwrap();
        let said = json!({ "timestamp": "now", "level": "ERROR", "message": "no \"x\"\nat all", "target": "piton" });
        assert_eq!(of("error: no \"x\"\nat all"), said);
        assert_eq!(of("warning: hot")["level"], "WARN");
        assert_eq!(
            of("  records: 1"),
            json!({ "timestamp": "now", "level": "INFO", "message": "records: 1", "target": "piton" })
        );
    }
}
