//! The run without faults, with which the other is compared.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::chaos::disk::hold_up;
use crate::chaos::live::events::{EventTail, Usual, What};
use crate::chaos::live::process::{Peace, Runner};
use crate::chaos::live::{Request, Stage};
use crate::chaos::report::Golden;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What a run without faults was like.
pub(super) struct Quiet {
    pub(super) golden: Golden,
    /// The restarts that there were all the same.
    pub(super) usual: BTreeSet<Usual>,
}

/// Runs the job to the end of its input.
///
/// # Errors
/// If it fails by itself, with what it said and its exit code; or if it was stopped.
pub(super) fn run(runner: &Runner, request: &mut Request) -> Result<Quiet> {
    let start = request.clock.monotonic();
    let mut process = runner.start(Peace::Left)?;
    let status = loop {
        if let Some(status) = process.ended()? {
            break status;
        }
        if request.is_stopped() {
            return Err(Error::failed("stopped in a run without faults: there is no verdict"));
        }
        let elapsed = request.clock.monotonic().saturating_sub(start);
        (request.watcher)(&Stage::Golden(millis(elapsed)));
        hold_up(PAUSE);
    };
    let took_ms = millis(request.clock.monotonic().saturating_sub(start));
    if !status.success() {
        let kind = match status.code() {
            Some(2) => ErrorKind::Config,
            Some(3) => ErrorKind::State,
            _ => ErrorKind::Failed,
        };
        let words = runner.last_words();
        return Err(Error::new(kind, vec![format!("the job fails without any fault ({status}): {words}")]));
    }
    let events = EventTail::new(runner.events()).next()?;
    let finished = events.iter().find_map(|event| match event.what {
        What::Finished { records_in } => Some(records_in),
        _ => None,
    });
    let Some(records) = finished else {
        return Err(Error::failed("the run without faults has ended without having finished"));
    };
    let mut restarts = 0;
    let mut usual = BTreeSet::new();
    for event in events {
        if let What::Restarted(restart) = event.what {
            restarts += 1;
            usual.insert(restart.usual());
        }
    }
    (request.watcher)(&Stage::GoldenDone { took_ms, records });
    Ok(Quiet { golden: Golden { took_ms, records, restarts }, usual })
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
