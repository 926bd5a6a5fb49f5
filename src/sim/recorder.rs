//! A sink that keeps what it is given: to the rules of two-phase commit, and with an eye on whether the engine does.

use std::collections::BTreeSet;
use std::sync::Arc;

use piton_actors::blueprint::{SinkBlueprint, Unpack};
use piton_actors::host::{AnySink, BoxFuture, SinkBack, SinkCall};
use piton_actors::{Batch, Delivery, Error, Result, WindowId};
use serde::{Deserialize, Serialize};

use crate::chaos::invariants::InvariantId;
use crate::ids::{Fence, SubtaskId};
use crate::sim::outside::{Outside, Shown, Staged};

/// Plans a sink that takes the place of another, and leaves nothing behind but what a world looks at.
pub(crate) fn recorder(name: &str, delivery: Delivery, unpack: Unpack, outside: &Outside) -> SinkBlueprint {
    let (name, outside): (Arc<str>, _) = (name.into(), outside.clone());
    // What shows at once could be shown again after a failure: it promises nothing that could be checked.
    let delivery = if delivery == Delivery::Immediate { Delivery::Staged } else { delivery };
    let make = move || -> Result<Box<dyn AnySink>> {
        Ok(Box::new(Recorder {
            whom: SubtaskId::new(Arc::clone(&name), 0),
            delivery,
            outside: outside.clone(),
            fence: Fence::default(),
            taken: Vec::new(),
        }))
    };
    SinkBlueprint { delivery, repeats: false, folder: None, unpack, make: Arc::new(make) }
}

/// What it has prepared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) window: WindowId,
    /// Where it has put its batches, if they do not become visible with the commit itself.
    staged: u64,
    /// The batches that do, written down, each with its port.
    pub(crate) joined: Vec<(usize, Vec<u8>)>,
}

impl Prepared {
    /// Decodes what was given to a commit.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Prepared> {
        Ok(rmp_serde::from_slice(bytes)?)
    }
}

struct Recorder {
    whom: SubtaskId,
    delivery: Delivery,
    outside: Outside,
    fence: Fence,
    taken: Vec<(usize, Batch)>,
}

impl AnySink for Recorder {
    fn call(mut self: Box<Self>, call: SinkCall) -> BoxFuture<SinkBack> {
        Box::pin(async move {
            let answer = match call {
                SinkCall::Open(pending, subtask) => {
                    self.whom.index = subtask.index;
                    self.fence = Fence { incarnation: subtask.incarnation, attempt: subtask.attempt };
                    self.open(&pending).map(|()| None)
                }
                SinkCall::Write(port, batch) => {
                    self.taken.push((port, batch));
                    Ok(None)
                }
                SinkCall::Prepare(window) => self.prepare(window),
                SinkCall::Commit(pending) => self.commit(&pending).map(|()| None),
                SinkCall::Abort(pending) => self.abort(&pending).map(|()| None),
            };
            (self as Box<dyn AnySink>, answer)
        })
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }
}

impl Recorder {
    fn open(&mut self, pending: &[Vec<u8>]) -> Result {
        let mut listed = BTreeSet::new();
        for pending in pending {
            listed.insert(Prepared::decode(pending)?.staged);
        }
        // What earlier lives have left behind and nobody lists is garbage.
        self.outside.lock().staged.retain(|staged, output| {
            output.shown.whom != self.whom || output.fence >= self.fence || listed.contains(staged)
        });
        Ok(())
    }

    fn prepare(&mut self, window: WindowId) -> Result<Option<Vec<u8>>> {
        if self.taken.is_empty() {
            return Ok(None);
        }
        let taken = std::mem::take(&mut self.taken);
        let mut prepared = Prepared { window, staged: 0, joined: Vec::new() };
        if self.delivery == Delivery::Joined {
            for (port, batch) in taken {
                prepared.joined.push((port, batch.pack()?));
            }
        } else {
            let batches = taken.into_iter().map(|(_, batch)| batch).collect();
            let shown = Shown { whom: self.whom.clone(), window, batches };
            prepared.staged = self.outside.lock().stage(Staged { fence: self.fence, shown });
        }
        Ok(Some(rmp_serde::to_vec_named(&prepared)?))
    }

    fn commit(&mut self, pending: &[u8]) -> Result {
        let Prepared { staged, window, .. } = Prepared::decode(pending)?;
        let mut state = self.outside.lock();
        if state.published.contains(&staged) {
            return Ok(());
        }
        let Some(output) = state.staged.remove(&staged) else {
            let message = format!("{}: the output of window {window}", self.whom);
            state.judge(Err(InvariantId::PendingNotLost.broken(message)));
            return Err(Error::failed("the pending output is not there"));
        };
        state.published.insert(staged);
        state.shown.push(output.shown);
        Ok(())
    }

    fn abort(&mut self, pending: &[u8]) -> Result {
        let Prepared { staged, window, .. } = Prepared::decode(pending)?;
        let mut state = self.outside.lock();
        if state.published.contains(&staged) {
            let message = format!("abort of what is shown: {}: window {window} is visible", self.whom);
            state.judge(Err(InvariantId::InvisibleUntilCommitted.broken(message)));
        }
        state.staged.remove(&staged);
        Ok(())
    }
}
