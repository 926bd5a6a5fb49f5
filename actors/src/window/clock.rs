//! Which time a time window goes by.

use serde::Deserialize;

use super::grid::{clamped, in_range};
use crate::batch::Output;
use crate::context::Context;
#[cfg(feature = "sql")]
use crate::time::TimerKind;
use crate::time::{Timer, Timestamp};
use crate::{Error, Result};

/// Which time a time window goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// The event times of the records. A window is over when the watermark has reached its last millisecond.
    #[default]
    Event,
    /// The time at which records are processed, by the engine's clock. No record is late.
    Processing,
}

impl Time {
    /// Returns the kind of timers, and the time until which they are due now.
    #[cfg(feature = "sql")]
    pub(crate) fn due<O: Output>(self, ctx: &Context<O>) -> (TimerKind, Timestamp) {
        match self {
            Time::Event => (TimerKind::Event, ctx.watermark()),
            Time::Processing => (TimerKind::Processing, ctx.now()),
        }
    }

    /// Returns the time of the current record.
    #[inline]
    pub(crate) fn of<O: Output>(self, ctx: &Context<O>) -> Result<Timestamp> {
        match (self, ctx.timestamp()) {
            (Time::Event, Some(time)) => in_range(time),
            (Time::Event, None) => Err(no_event_time()),
            (Time::Processing, _) => in_range(ctx.now()),
        }
    }

    /// Returns the moment up to which nothing is expected any more.
    #[inline]
    pub(crate) fn passed<O: Output>(self, ctx: &Context<O>) -> Timestamp {
        clamped(match self {
            Time::Event => ctx.watermark(),
            // More may come in the very millisecond that it is.
            Time::Processing => ctx.now() - 1,
        })
    }

    /// Sets a timer of the current key for when nothing is expected any more up to a moment.
    #[inline]
    pub(crate) fn set<O: Output>(self, last: Timestamp, ctx: &mut Context<O>) -> Result {
        match self {
            Time::Event => ctx.timer_at(last),
            Time::Processing => ctx.timer_at_processing_time(last + 1),
        }
    }

    /// Returns the moment that a timer was set for.
    pub(crate) fn last_of(self, timer: &Timer) -> Timestamp {
        match self {
            Time::Event => timer.at,
            Time::Processing => timer.at - 1,
        }
    }
}

#[cold]
pub(crate) fn no_event_time() -> Error {
    Error::invalid(
        "a record has no event time, by which it would belong to a time window: give its source an `event_time`, or let \
         the windows go by `time = \"processing\"`",
    )
}
