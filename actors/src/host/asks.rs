//! Requests to the outside that an operator wants made, and what it waits for.
//!
//! An operator never waits: it says what it wants to know and goes on. Whoever drives it makes the request, as often as its
//! [`Patience`] says, and brings the answer as something that the operator sees, in its place between batches and timers:
//! so a replay needs nobody outside.

use std::sync::Arc;
use std::time::Duration;

use super::BoxFuture;
use crate::Result;
use crate::batch::Batch;
use crate::time::Timestamp;

/// Names a request of one operator instance. Requests of a place are numbered in the order in which their records came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId {
    /// Under which key of its state the instance keeps it: each subtask has one of its own.
    pub place: u64,
    /// Which one of that place.
    pub number: u64,
}

/// A request that is to be made.
#[derive(Clone)]
pub struct Ask {
    /// Its name: there is one answer to it.
    pub id: AskId,
    /// The record that it is for, alone.
    pub record: Batch,
    /// How often and how long it is tried.
    pub patience: Patience,
    /// Makes the request once.
    pub call: AskCall,
}

/// Makes a request once; what comes of it are the records to emit, without times.
pub type AskCall = Arc<dyn Fn() -> BoxFuture<Result<Batch>> + Send + Sync>;

/// How often and how long a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often it is tried again after it has failed.
    pub retries: u32,
    /// How long after the first failure; twice as long after each further one, up to a minute.
    pub pause: Duration,
}

impl Patience {
    /// Returns when an attempt that begins now has taken too long, in ms.
    pub fn until(self, now: Timestamp) -> Timestamp {
        later(now, self.timeout)
    }

    /// Returns when to try again, in ms, after the attempt of this number (from 1) has failed; nothing if it was the
    /// last. After 0 attempts it has not been tried: once more is never too often.
    pub fn again(self, attempt: u32, now: Timestamp) -> Option<Timestamp> {
        if attempt > self.retries {
            return None;
        }
        let doubled = self.pause.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        Some(later(now, doubled.min(Duration::from_secs(60)).max(self.pause)))
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

/// What an operator waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many records have no answer yet, or have one that waits for that of another.
    pub records: usize,
    /// The number of the oldest of them; 0 if it came here from another place, so that it is older than all.
    pub oldest: Option<u64>,
    /// The number that the next record gets.
    pub next: u64,
    /// Whether it has as many as it may: nothing more should be given to it before there are answers.
    pub is_full: bool,
}

/// What an operator instance has to say about requests; part of its context.
#[derive(Default)]
pub(crate) struct Asks {
    pub(crate) new: Vec<Ask>,
    /// Nothing, if it never asks anything.
    pub(crate) waiting: Option<Waiting>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_later_and_later() {
        let (timeout, pause) = (Duration::from_secs(5), Duration::from_millis(100));
        let patience = Patience { timeout, retries: 12, pause };
        assert_eq!(patience.until(7), 5_007);
        let again: Vec<_> = (1..=13).map(|attempt| patience.again(attempt, 0)).collect();
        assert_eq!(again[..4], [Some(100), Some(200), Some(400), Some(800)]);
        assert_eq!(again[9..], [Some(51_200), Some(60_000), Some(60_000), None]);
        assert_eq!(Patience { retries: 0, ..patience }.again(0, 0), Some(100));
        assert_eq!(Patience { pause: Duration::from_secs(90), ..patience }.again(3, 0), Some(90_000), "as it was told");
    }
}
