//! A source for tests of operators of their own: numbers, a few at a time, by itself.

use piton::Timestamp;
use piton::prelude::*;
use serde::Deserialize;

/// Emits 0, 1, 2, … up to a limit.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counting {
    #[serde(default = "endless")]
    rows: u64,
    /// How many it emits before it rests for a ms.
    #[serde(default = "some")]
    at_once: u64,
    /// Whether each number is its own event time.
    #[serde(default)]
    timed: bool,
    #[serde(skip)]
    next: u64,
}

fn endless() -> u64 {
    u64::MAX
}

fn some() -> u64 {
    20
}

impl Source for Counting {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<u64>) -> Result<Progress> {
        for _ in 0..self.at_once {
            if self.next >= self.rows {
                return Ok(Progress::Done);
            }
            if self.timed {
                feed.push_at(self.next as Timestamp, self.next);
            } else {
                feed.push(self.next);
            }
            self.next += 1;
        }
        Ok(Progress::Idle(1))
    }

    fn position(&self) -> u64 {
        self.next
    }
}
