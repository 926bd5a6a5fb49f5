//! What lies outside the job and outlives its process: the data of the sources and what the sinks have shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use piton_actors::prelude::*;
use piton_actors::{Delivery, Rows};
use serde::{Deserialize, Serialize};

use crate::chaos::invariants::{CommittedOrder, InvariantId, Verdict, Violation};
use crate::ids::Fence;
use crate::sim::faults::{Act, Hook};
use crate::sim::golden::{is_poisoned, source_row};
use crate::sim::operators::Row;
use crate::sim::oracle::Oracle;
use crate::sim::random::mix;

/// A failure that waits for its call.
pub(crate) struct Armed {
    pub(crate) who: Who,
    pub(crate) hook: Hook,
    pub(crate) act: Act,
    pub(crate) after: u32,
}

/// An operator, source or sink of a subtask. `member` counts the operators of a chain; it is 0 for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) region: usize,
    pub(crate) vertex: usize,
    pub(crate) index: u32,
    pub(crate) member: usize,
}

struct StagedOutput {
    sink: usize,
    subtask: u32,
    fence: Fence,
    window: WindowId,
    rows: Vec<Row>,
}

/// Everything that is shared with the code that runs in the job.
pub(crate) struct State {
    pub(crate) oracle: Oracle,
    pub(crate) armed: Vec<Armed>,
    /// How many armed failures have struck.
    pub(crate) struck: u64,
    pub(crate) violation: Option<Violation>,
    /// The windows that each operator was told, over all its lives.
    pub(crate) told: BTreeMap<Who, CommittedOrder>,
    staged: BTreeMap<u64, StagedOutput>,
    published: BTreeSet<u64>,
    next: u64,
    whims: u64,
    /// The newest window that each operator was told as checkpointed, and in which life.
    pub(crate) checkpointed: BTreeMap<Who, (Fence, WindowId)>,
    /// Whether operators hold rows, by region, vertex and member, as far as any subtask of them has found out.
    pub(crate) holds: BTreeMap<(usize, usize, usize), Option<bool>>,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Outside {
    state: Arc<Mutex<State>>,
    /// How many failures are armed: so that asking costs nothing while none is.
    armed: Arc<AtomicUsize>,
}

impl Outside {
    pub(crate) fn new(oracle: Oracle) -> Outside {
        let state = State {
            oracle,
            armed: Vec::new(),
            struck: 0,
            violation: None,
            told: BTreeMap::new(),
            staged: BTreeMap::new(),
            published: BTreeSet::new(),
            next: 0,
            whims: 0,
            checkpointed: BTreeMap::new(),
            holds: BTreeMap::new(),
        };
        Outside { state: Arc::new(Mutex::new(state)), armed: Arc::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Arms a failure of a call to come.
    pub(crate) fn arm(&self, armed: Armed) {
        self.lock().armed.push(armed);
        self.armed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how this call is to fail, if it is.
    pub(crate) fn strike(&self, who: Who, hook: Hook) -> Option<Act> {
        if self.armed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.lock();
        let found = state.armed.iter().position(|armed| armed.who == who && armed.hook == hook)?;
        let armed = &mut state.armed[found];
        if armed.after > 0 {
            armed.after -= 1;
            return None;
        }
        let act = armed.act;
        match &mut armed.act {
            Act::Unavailable(times) if *times > 1 => *times -= 1,
            _ => {
                state.armed.remove(found);
                self.armed.fetch_sub(1, Ordering::Relaxed);
            }
        }
        state.struck += 1;
        Some(act)
    }

    /// Returns a number that is another one each time: nothing that a replay repeats.
    pub(crate) fn whim(&self) -> u64 {
        let mut state = self.lock();
        state.whims += 1;
        mix(state.whims)
    }

    /// Keeps the first promise that was broken.
    pub(crate) fn judge(&self, verdict: Verdict) {
        self.lock().judge(verdict);
    }
}

impl State {
    pub(crate) fn judge(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        }
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
    pub(crate) outside: Outside,
}

impl SimSource {
    /// Emits the next row, and the poison before it if there is any.
    fn push(&mut self, feed: &mut Feed<Row>) {
        let (row, time) = source_row(self.partition, self.next, self.keys, self.disorder);
        if self.poisoned && is_poisoned(self.partition, self.next) {
            feed.push_at(time, row.poison());
        }
        feed.push_at(time, row);
        self.outside.lock().oracle.made(self.partition, self.next);
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
        // Whoever reads them again gets them in other pieces.
        let times = self.outside.lock().oracle.times_made(self.partition, self.next);
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
    pub(crate) id: usize,
    pub(crate) delivery: Delivery,
    pub(crate) outside: Outside,
    pub(crate) subtask: u32,
    pub(crate) fence: Fence,
    pub(crate) rows: Vec<Row>,
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
        self.outside.lock().staged.retain(|staged, output| {
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
        let mut state = self.outside.lock();
        state.next += 1;
        let staged = state.next;
        let output = StagedOutput { sink: self.id, subtask: self.subtask, fence: self.fence, window, rows };
        state.staged.insert(staged, output);
        Ok(Some(SimPending { window, staged, rows: Vec::new() }))
    }

    async fn commit(&mut self, pending: SimPending) -> Result {
        let mut state = self.outside.lock();
        if state.published.contains(&pending.staged) {
            return Ok(());
        }
        let Some(output) = state.staged.remove(&pending.staged) else {
            let message = format!("sink {}[{}]: the output of window {}", self.id, self.subtask, pending.window);
            state.judge(Err(InvariantId::PendingNotLost.broken(message)));
            return Err(Error::failed("the pending output is not there"));
        };
        state.published.insert(pending.staged);
        let shown = state.oracle.published(output.sink, output.subtask, output.window, &output.rows);
        state.judge(shown);
        Ok(())
    }

    async fn abort(&mut self, pending: SimPending) -> Result {
        let mut state = self.outside.lock();
        if state.published.contains(&pending.staged) {
            let message = format!("sink {}[{}]: window {} is visible", self.id, self.subtask, pending.window);
            state.judge(Err(InvariantId::InvisibleUntilCommitted.broken(format!("abort of what is shown: {message}"))));
        }
        state.staged.remove(&pending.staged);
        Ok(())
    }
}
