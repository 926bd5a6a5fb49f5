//! The time that the engine runs by: as of day as the system's clock was at the start, and never going back.

use std::sync::Arc;
use std::time::Duration;

use piton_actors::Timestamp;

use crate::clock::Clock;
use crate::protocol::subtask::Stopwatch;

/// Tells engine time, in ms since 1970.
#[derive(Clone)]
pub(crate) struct Time {
    clock: Clock,
    start: Timestamp,
    since: Duration,
}

impl Time {
    pub(crate) fn new(clock: Clock) -> Time {
        Time { start: clock.now(), since: clock.monotonic(), clock }
    }

    /// Returns what measures short times.
    pub(crate) fn stopwatch(&self) -> Stopwatch {
        let clock = self.clock.clone();
        Arc::new(move || u64::try_from(clock.monotonic().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.clock.monotonic().saturating_sub(self.since);
        self.start.saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}
