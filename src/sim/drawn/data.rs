//! What the sources and operators of made-up jobs share with who judges them; it outlives the process of the job.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use piton_actors::prelude::*;
use serde::{Deserialize, Serialize};

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

/// Where a source is: the next row of each of its partitions.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Position {
    Only(u64),
    Each(Vec<u64>),
}

impl Position {
    pub(crate) fn next(self) -> Vec<u64> {
        match self {
            Position::Only(next) => vec![next],
            Position::Each(next) => next,
        }
    }
}

/// A source over partitions that always hold the same rows: so many for each subtask.
pub(crate) struct SimSource {
    pub(crate) first_partition: u32,
    /// How many partitions it reads.
    pub(crate) width: u32,
    pub(crate) rows: Arc<Vec<u64>>,
    pub(crate) keys: u64,
    pub(crate) disorder: i64,
    /// The first of its own.
    pub(crate) partition: u32,
    /// The next row of each.
    pub(crate) next: Vec<u64>,
    /// Whether it has named its partitions since it was opened.
    pub(crate) is_named: bool,
    /// Whether there is poison between the rows.
    pub(crate) poisoned: bool,
    /// Whether it has no rows now and then.
    pub(crate) pauses: bool,
    /// How often it had none since the last one.
    pub(crate) paused: u64,
    pub(crate) data: Data,
}

impl SimSource {
    /// Returns how many rows it has emitted.
    fn emitted(&self) -> u64 {
        self.next.iter().sum()
    }

    /// Returns its partitions that have rows left.
    fn unread(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.next.len()).filter(|at| self.next[*at] < self.rows[self.partition as usize + at])
    }

    /// Returns which of its partitions the next row comes from, if there is one: that follows from its position, so that
    /// whoever reads again gets the same order. Some come to their end long before others.
    fn whose_turn(&self) -> Option<usize> {
        let chance = mix((self.emitted() / 3) ^ (u64::from(self.partition) << 32));
        let at = if chance.is_multiple_of(3) { 0 } else { (chance >> 8) as usize % self.next.len() };
        self.unread().find(|unread| *unread >= at).or_else(|| self.unread().next())
    }

    /// Emits the next row, and the poison before it if there is any.
    fn push(&mut self, feed: &mut Feed<Row>) {
        let Some(at) = self.whose_turn() else { return };
        let (partition, number) = (self.partition + at as u32, self.next[at]);
        if self.width > 1 {
            feed.in_partition(PartitionId(u64::from(partition)));
        }
        let (row, time) = source_row(partition, number, self.keys, self.disorder);
        if self.poisoned && is_poisoned(partition, number) {
            feed.push_at(time, row.poison());
        }
        feed.push_at(time, row);
        self.data.lock().oracle.made(partition, number);
        self.next[at] += 1;
        self.paused = 0;
        if self.width > 1 && self.next[at] == self.rows[partition as usize] {
            feed.partition_done(PartitionId(u64::from(partition)));
        }
    }
}

impl Source for SimSource {
    type Out = Row;
    type Position = Position;

    async fn open(&mut self, position: Option<Position>, subtask: &Subtask) -> Result {
        self.partition = self.first_partition + subtask.index * self.width;
        self.next = position.map_or_else(|| vec![0; self.width as usize], Position::next);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Row>) -> Result<Progress> {
        if self.width > 1 && !std::mem::replace(&mut self.is_named, true) {
            self.unread().for_each(|at| feed.in_partition(PartitionId(u64::from(self.partition) + at as u64)));
        }
        let emitted = self.emitted();
        let chance = mix(emitted ^ (u64::from(self.partition) << 40));
        let Some(at) = self.whose_turn() else { return Ok(Progress::Done) };
        if self.pauses && self.paused < (chance >> 8) % 4 {
            self.paused += 1;
            return Ok(Progress::Idle(chance >> 59));
        }
        if chance.is_multiple_of(5) && emitted.is_multiple_of(3) {
            // A source that has nothing for now: one row later it has.
            self.push(feed);
            return Ok(Progress::Idle(chance >> 60));
        }
        // Whoever reads them again gets them in other pieces.
        let times = self.data.lock().oracle.times_made(self.partition + at as u32, self.next[at]);
        let some = (chance.wrapping_add(3 * times) % 7 + 1).min(feed.room() as u64);
        for _ in 0..some {
            self.push(feed);
        }
        Ok(if self.whose_turn().is_none() { Progress::Done } else { Progress::More })
    }

    fn position(&self) -> Position {
        match self.next[..] {
            [next] => Position::Only(next),
            _ => Position::Each(self.next.clone()),
        }
    }
}
