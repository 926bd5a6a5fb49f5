//! `--events`: what happens to a job, one JSON object on each line, each written out at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::text::rfc3339;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::runtime::Event;

/// Takes events and writes them down.
pub(super) struct EventLog {
    /// Gone after a failed write: half a line must not be followed by another.
    out: Option<Box<dyn Write + Send>>,
    path: PathBuf,
    clock: Clock,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    /// Whose event it is, where there are several jobs and the event does not say so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a str>,
    #[serde(flatten)]
    event: &'a Event,
}

impl EventLog {
    /// Opens the log: `-` is stdout, a file is appended to, so that the lives of a job follow each other in it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<EventLog> {
        let out: Box<dyn Write + Send> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(append_to(path).map_err(|error| {
                Error::config(format!("events cannot be written to \"{}\": {error}", path.display()))
            })?)
        };
        Ok(EventLog { out: Some(out), path: path.to_path_buf(), clock })
    }

    /// Writes an event. A job does not fail because its events cannot be written; it says so once.
    pub(super) fn write(&mut self, event: &Event) {
        self.write_line(None, event);
    }

    /// Writes an event of one job among others.
    pub(super) fn write_of(&mut self, job: &str, event: &Event) {
        let says_it = matches!(event, Event::Started { .. });
        self.write_line((!says_it).then_some(job), event);
    }

    fn write_line(&mut self, job: Option<&str>, event: &Event) {
        if matches!(event, Event::Acknowledged { .. } | Event::Restarting { .. }) {
            return;
        }
        let Some(out) = &mut self.out else { return };
        let line = Line { at: rfc3339(self.clock.now()), job, event };
        let mut line = serde_json::to_vec(&line).expect("events are numbers and texts, which JSON can hold");
        line.push(b'\n');
        if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
            self.out = None;
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(file = %self.path.display(), %error, "events cannot be written any more");
            }
        }
    }
}

/// Opens a file to append lines to. The one before may have been cut off by a power cut.
fn append_to(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut last = [b'\n'];
    // A pipe has no end to look at.
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_a_line_of_its_own_even_after_one_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        std::fs::write(&path, "{\"at\":\"20").unwrap();
        let (clock, hand) = Clock::simulated(1_735_689_599_000);
        hand.advance(std::time::Duration::from_millis(42));
        let mut log = EventLog::open(&path, clock).unwrap();
        log.write(&Event::CheckpointStarted { region: "in".into(), window: 7 });
        log.write(&Event::Failed { reason: "a \"quoted\"\nreason".into() });
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = [
            r#"{"at":"20"#,
            r#"{"at":"2024-12-31T23:59:59.042Z","event":"checkpoint_started","region":"in","window":7}"#,
            r#"{"at":"2024-12-31T23:59:59.042Z","event":"failed","reason":"a \"quoted\"\nreason"}"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_mistake_of_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let error = EventLog::open(&folder.path().join("no/such/folder"), Clock::system()).err().unwrap();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
