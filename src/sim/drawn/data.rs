//! The data of made-up jobs, which outlives their process: what their sources give and what their sinks have shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use piton_actors::prelude::*;
use piton_actors::{Delivery, Rows};
use serde::{Deserialize, Serialize};

use crate::chaos::invariants::InvariantId;
use crate::ids::Fence;
use crate::sim::drawn::golden::{is_poisoned, source_row};
use crate::sim::drawn::operators::Row;
use crate::sim::drawn::oracle::Oracle;
use crate::sim::outside::Outside;
use crate::sim::random::mix;

struct StagedOutput {
    sink: usize,
    subtask: u32,
    fence: Fence,
    window: WindowId,
    rows: Vec<Row>,
}

/// What all sources, operators and sinks of a job share.
pub(crate) struct Shared {
    pub(crate) oracle: Oracle,
    staged: BTreeMap<u64, StagedOutput>,
    published: BTreeSet<u64>,
    next: u64,
    whims: u64,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Data(Arc<Mutex<Shared>>);

impl Data {
    pub(crate) fn new(oracle: Oracle) -> Data {
        let (staged, published) = (BTreeMap::new(), BTreeSet::new());
        Data(Arc::new(Mutex::new(Shared { oracle, staged, published, next: 0, whims: 0 })))
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
        if chance.is_multiple_of(5) && self.next.is_multiple_of(3) && self.next < rows {
            // A source that has nothing for now: one row later it has.
            self.push(feed);
            return Ok(Progress::Idle(chance >> 60));
        }
        let some = (chance % 7 + 1).min(feed.room() as u64);
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

/// What a simulated sink has prepared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SimPending {
    window: WindowId,
    /// Where a staged sink has put its rows.
    staged: u64,
    /// The rows of a joined sink.
    rows: Vec<Row>,
}

impl SimPending {
    /// Decodes what a joined sink gave to the commit.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(WindowId, Vec<Row>)> {
        let pending: SimPending = rmp_serde::from_slice(bytes)?;
        Ok((pending.window, pending.rows))
    }
}

/// A sink that keeps to the rules of two-phase commit, and notices when the engine does not.
pub(crate) struct SimSink {
    id: usize,
    region: usize,
    delivery: Delivery,
    data: Data,
    outside: Outside,
    subtask: u32,
    fence: Fence,
    rows: Vec<Row>,
}

impl SimSink {
    pub(crate) fn new(id: usize, region: usize, delivery: Delivery, data: Data, outside: Outside) -> SimSink {
        SimSink { id, region, delivery, data, outside, subtask: 0, fence: Fence::default(), rows: Vec::new() }
    }
}

impl Sink for SimSink {
    type In = Row;
    type Pending = SimPending;

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    async fn open(&mut self, pending: Vec<SimPending>, subtask: &Subtask) -> Result {
        self.subtask = subtask.index;
        self.fence = Fence { incarnation: subtask.incarnation, attempt: subtask.attempt };
        let listed: BTreeSet<u64> = pending.iter().map(|pending| pending.staged).collect();
        // What earlier lives have left behind and nobody lists is garbage.
        self.data.lock().staged.retain(|staged, output| {
            let own = output.sink == self.id && output.subtask == self.subtask;
            !own || output.fence >= self.fence || listed.contains(staged)
        });
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<Row>>) -> Result {
        self.rows.extend(batch.iter().cloned());
        Ok(())
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<SimPending>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        if self.delivery == Delivery::Joined {
            return Ok(Some(SimPending { window, staged: 0, rows }));
        }
        let mut data = self.data.lock();
        data.next += 1;
        let staged = data.next;
        let output = StagedOutput { sink: self.id, subtask: self.subtask, fence: self.fence, window, rows };
        data.staged.insert(staged, output);
        Ok(Some(SimPending { window, staged, rows: Vec::new() }))
    }

    async fn commit(&mut self, pending: SimPending) -> Result {
        let mut data = self.data.lock();
        if data.published.contains(&pending.staged) {
            return Ok(());
        }
        let Some(output) = data.staged.remove(&pending.staged) else {
            let message = format!("sink {}[{}]: the output of window {}", self.id, self.subtask, pending.window);
            self.outside.judge(Err(InvariantId::PendingNotLost.broken(message)));
            return Err(Error::failed("the pending output is not there"));
        };
        data.published.insert(pending.staged);
        let head = self.outside.head(self.region);
        self.outside.judge(data.oracle.published(output.sink, output.subtask, output.window, head, &output.rows));
        Ok(())
    }

    async fn abort(&mut self, pending: SimPending) -> Result {
        let mut data = self.data.lock();
        if data.published.contains(&pending.staged) {
            let message = format!("sink {}[{}]: window {} is visible", self.id, self.subtask, pending.window);
            self.outside
                .judge(Err(InvariantId::InvisibleUntilCommitted.broken(format!("abort of what is shown: {message}"))));
        }
        data.staged.remove(&pending.staged);
        Ok(())
    }
}
