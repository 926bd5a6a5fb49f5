//! What the job tells while it runs: its events, read as they are written.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::invariants::{InvariantId, Violation};
use crate::protocol::failure::MEANT;

/// Reads a file of events as it grows.
pub(super) struct EventTail {
    path: PathBuf,
    read: u64,
    /// A line whose end has not been written yet.
    rest: Vec<u8>,
}

/// An event, with its time in ms since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) at: i64,
    pub(super) what: What,
}

/// What has happened, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Started { resumed_from: Vec<(String, u64)> },
    CheckpointStarted { region: String, window: u64 },
    Committed { region: String, window: u64 },
    CheckpointFailed { reason: String },
    Restarted(Box<Restarted>),
    Hung { operator: String, subtask: u32 },
    Finished { records_in: u64 },
    Failed { reason: String },
    Violated(Violation),
    Other,
}

/// A restart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Restarted {
    pub(super) region: String,
    pub(super) operator: String,
    pub(super) subtask: Option<u32>,
    pub(super) scope: String,
    pub(super) replayed: u64,
    pub(super) took_ms: f64,
    /// Whose failure it was.
    pub(super) cause: String,
    pub(super) reason: String,
}

/// What a restart has in common with others of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Usual {
    region: String,
    operator: String,
    cause: String,
}

impl Restarted {
    /// Returns whether what failed says of itself that a fault of the plan has hit it.
    pub(super) fn is_meant(&self) -> bool {
        self.reason.contains(MEANT)
    }

    /// Returns whether user code has failed, and not the engine.
    pub(super) fn is_of_user_code(&self) -> bool {
        matches!(self.cause.as_str(), "panic" | "error")
    }

    pub(super) fn usual(&self) -> Usual {
        Usual { region: self.region.clone(), operator: self.operator.clone(), cause: self.cause.clone() }
    }
}

impl EventTail {
    pub(super) fn new(path: PathBuf) -> EventTail {
        EventTail { path, read: 0, rest: Vec::new() }
    }

    /// Returns the events that have been written since it was last asked.
    ///
    /// # Errors
    /// If the file is there but cannot be read.
    pub(super) fn next(&mut self) -> Result<Vec<Seen>> {
        let failed =
            |error: std::io::Error| Error::failed(format!("\"{}\" cannot be read: {error}", self.path.display()));
        let Ok(mut file) = File::open(&self.path) else { return Ok(Vec::new()) };
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh).map_err(failed)?;
        self.read += fresh.len() as u64;
        self.rest.extend(fresh);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        // A line that a killed process has not finished is ended by the next one, and says nothing.
        Ok(String::from_utf8_lossy(&whole).lines().filter_map(read).collect())
    }
}

fn read(line: &str) -> Option<Seen> {
    let event: Value = serde_json::from_str(line).ok()?;
    let at = ms_since_1970(event["at"].as_str()?)?;
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_string();
    let number = |name: &str| event[name].as_u64().unwrap_or_default();
    let subtask = || event["subtask"].as_u64().and_then(|index| u32::try_from(index).ok());
    let what = match event["event"].as_str()? {
        "started" => {
            let regions = event["resumed_from"].as_object();
            let from =
                regions.into_iter().flatten().map(|(region, window)| (region.clone(), window.as_u64().unwrap_or(0)));
            What::Started { resumed_from: from.collect() }
        }
        "checkpoint_started" => What::CheckpointStarted { region: text("region"), window: number("window") },
        "committed" => What::Committed { region: text("region"), window: number("window") },
        "checkpoint_failed" => What::CheckpointFailed { reason: text("reason") },
        "restarted" => What::Restarted(Box::new(Restarted {
            region: text("region"),
            operator: text("operator"),
            subtask: subtask(),
            scope: text("scope"),
            replayed: number("replayed"),
            took_ms: event["took_ms"].as_f64().unwrap_or_default(),
            cause: text("cause"),
            reason: text("reason"),
        })),
        "hung" => What::Hung { operator: text("operator"), subtask: subtask().unwrap_or(0) },
        "finished" => What::Finished { records_in: number("records_in") },
        "failed" => What::Failed { reason: text("reason") },
        "violated" => What::Violated(InvariantId::named(&text("invariant"))?.broken(text("message"))),
        _ => What::Other,
    };
    Some(Seen { at, what })
}

/// Reads a time like `2026-01-31T08:00:00.000Z`.
fn ms_since_1970(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Years begin in March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
            - 1
            - 719_468;
    let seconds = days * 86_400 + number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    Some(seconds * 1_000 + number(20..23)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn times_are_those_that_events_are_written_with() {
        // From `date -u -d … +%s`.
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T00:00:00.000Z", 951_782_400_000),
            ("2024-12-31T23:59:59.042Z", 1_735_689_599_042),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
        ] {
            assert_eq!(ms_since_1970(text), Some(ms), "{text}");
        }
        assert_eq!(ms_since_1970("yesterday"), None);
    }

    #[test]
    fn a_promise_that_the_job_itself_saw_broken_is_read() {
        let event = crate::runtime::Event::Violated {
            region: "all".into(),
            invariant: InvariantId::HeadNeverBack.name(),
            message: "the head is 1".into(),
        };
        let mut line = serde_json::to_value(&event).unwrap();
        line["at"] = "1970-01-01T00:00:00.007Z".into();
        let violation = InvariantId::HeadNeverBack.broken("the head is 1");
        assert_eq!(read(&line.to_string()), Some(Seen { at: 7, what: What::Violated(violation) }));
    }

    #[test]
    fn lines_are_read_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut tail = EventTail::new(path.clone());
        assert_eq!(tail.next().unwrap(), []);
        let mut file = File::create(&path).unwrap();
        let line =
            r#"{"at":"1970-01-01T00:00:01.000Z","event":"committed","region":"in","window":7,"bytes":1,"took_ms":2}"#;
        let (start, end) = line.split_at(40);
        file.write_all(start.as_bytes()).unwrap();
        assert_eq!(tail.next().unwrap(), []);
        file.write_all(end.as_bytes()).unwrap();
        // Cut off by a kill; the next life ends the line.
        file.write_all(b"\n{\"at\":\"19\n").unwrap();
        let committed = Seen { at: 1_000, what: What::Committed { region: "in".into(), window: 7 } };
        assert_eq!(tail.next().unwrap(), [committed]);
        assert_eq!(tail.next().unwrap(), []);
    }
}
