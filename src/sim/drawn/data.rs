//! What the sources and operators of made-up jobs share with who judges them; it outlives the process of the job.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use piton_actors::prelude::*;

use crate::sim::drawn::golden::{is_poisoned, source_row};
use crate::sim::drawn::operators::Row;
use crate::sim::drawn::oracle::Oracle;
use crate::sim::random::mix;

/// What all of a job share.
pub(crate) struct Shared {
    pub(crate) oracle: Oracle,
    whims: u64,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Data(Arc<Mutex<Shared>>);

impl Data {
    pub(crate) fn new(oracle: Oracle) -> Data {
        Data(Arc::new(Mutex::new(Shared { oracle, whims: 0 })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock()
    }

    /// Returns a number that is another one each time: nothing that a replay repeats.
    pub(crate) fn whim(&self) -> u64 {
        let mut data = self.lock();
        data.whims += 1;
        mix(data.whims)
    }
}

/// A source over partitions that always hold the same rows: one partition for each subtask.
pub(crate) struct SimSource {
    pub(crate) first_partition: u32,
    pub(crate) rows: Arc<Vec<u64>>,
    pub(crate) keys: u64,
    pub(crate) disorder: i64,
    pub(crate) partition: u32,
    pub(crate) next: u64,
    /// Whether there is poison between the rows.
    pub(crate) poisoned: bool,
    /// Whether it has no rows now and then.
    pub(crate) pauses: bool,
    /// How often it had none since the last one.
    pub(crate) paused: u64,
    pub(crate) data: Data,
}

impl SimSource {
    /// Emits the next row, and the poison before it if there is any.
    fn push(&mut self, feed: &mut Feed<Row>) {
        let (row, time) = source_row(self.partition, self.next, self.keys, self.disorder);
        if self.poisoned && is_poisoned(self.partition, self.next) {
            feed.push_at(time, row.poison());
        }
        feed.push_at(time, row);
        self.data.lock().oracle.made(self.partition, self.next);
        self.next += 1;
        self.paused = 0;
    }
}

impl Source for SimSource {
    type Out = Row;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.partition = self.first_partition + subtask.index;
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Row>) -> Result<Progress> {
        let rows = self.rows[self.partition as usize];
        let chance = mix(self.next ^ (u64::from(self.partition) << 40));
        if self.pauses && self.next < rows && self.paused < (chance >> 8) % 4 {
            self.paused += 1;
            return Ok(Progress::Idle(chance >> 59));
        }
        if chance.is_multiple_of(5) && self.next.is_multiple_of(3) && self.next < rows {
            // A source that has nothing for now: one row later it has.
            self.push(feed);
            return Ok(Progress::Idle(chance >> 60));
        }
        // Whoever reads them again gets them in other pieces.
        let times = self.data.lock().oracle.times_made(self.partition, self.next);
        let some = (chance.wrapping_add(3 * times) % 7 + 1).min(feed.room() as u64);
        let end = rows.min(self.next + some);
        while self.next < end {
            self.push(feed);
        }
        Ok(if self.next == rows { Progress::Done } else { Progress::More })
    }

    fn position(&self) -> u64 {
        self.next
    }
}
