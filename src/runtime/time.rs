//! The time that the engine runs by: as of day as the system's clock was at the start, and never going back.

use std::time::Duration;

use piton_actors::Timestamp;

use crate::clock::Clock;

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

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.clock.monotonic().saturating_sub(self.since);
        self.start.saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}
