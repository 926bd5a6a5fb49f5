//! What a world shares with the code that runs in its job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use piton_actors::host::{Ask, BoxFuture};
use piton_actors::{Batch, Result, WindowId};

use crate::chaos::fragile::{Act, Faults, Hook};
use crate::chaos::invariants::{CommittedOrder, HeadOrder, Verdict, Violation};
use crate::ids::{Fence, SubtaskId};
use crate::sim::answers::Answers;

/// A failure that waits for its call.
pub(crate) struct Armed {
    pub(crate) whom: SubtaskId,
    pub(crate) hook: Hook,
    pub(crate) act: Act,
    pub(crate) after: u32,
}

/// What a subtask's sink shows with one window.
pub(crate) struct Shown {
    /// The sink and its subtask.
    pub(crate) whom: SubtaskId,
    pub(crate) window: WindowId,
    pub(crate) batches: Vec<Batch>,
}

/// What is ready to be shown.
pub(crate) struct Staged {
    /// Who has prepared it.
    pub(crate) fence: Fence,
    pub(crate) shown: Shown,
}

/// See the module.
pub(crate) struct State {
    pub(crate) armed: Vec<Armed>,
    /// The armed failures that have struck and were not looked at.
    pub(crate) struck: Vec<Act>,
    pub(crate) violation: Option<Violation>,
    /// The newest window of each region that is known to be committed.
    pub(crate) heads: Vec<HeadOrder>,
    /// The window that the running attempt of each region was restored from.
    pub(crate) restored: Vec<WindowId>,
    /// What sinks have prepared, by a number of its own, and which of that is visible.
    pub(crate) staged: BTreeMap<u64, Staged>,
    pub(crate) published: BTreeSet<u64>,
    next: u64,
    /// What has become visible and was not looked at.
    pub(crate) shown: Vec<Shown>,
    /// The windows that each operator was told, over all its lives.
    pub(crate) told: BTreeMap<SubtaskId, CommittedOrder>,
    /// The newest window that each operator was told as checkpointed, and in which life.
    pub(crate) checkpointed: BTreeMap<SubtaskId, (Fence, WindowId)>,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Outside {
    state: Arc<Mutex<State>>,
    /// How many failures are armed: so that asking costs nothing while none is.
    armed: Arc<AtomicUsize>,
    /// What the real one has answered, if there is a real one.
    answers: Option<Arc<Answers>>,
}

impl Outside {
    pub(crate) fn new(regions: usize) -> Outside {
        let state = State {
            armed: Vec::new(),
            struck: Vec::new(),
            violation: None,
            heads: vec![HeadOrder::default(); regions],
            restored: vec![WindowId::NONE; regions],
            staged: BTreeMap::new(),
            published: BTreeSet::new(),
            next: 0,
            shown: Vec::new(),
            told: BTreeMap::new(),
            checkpointed: BTreeMap::new(),
        };
        Outside { state: Arc::new(Mutex::new(state)), armed: Arc::default(), answers: None }
    }

    /// Lets operators ask the real outside, once for each record.
    pub(crate) fn with_answers(self, answers: &Arc<Answers>) -> Outside {
        Outside { answers: Some(Arc::clone(answers)), ..self }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the newest window of a region that is known to be committed.
    pub(crate) fn head(&self, region: usize) -> WindowId {
        self.lock().heads[region].head()
    }

    /// Arms a failure of a call to come.
    pub(crate) fn arm(&self, armed: Armed) {
        self.lock().armed.push(armed);
        self.armed.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the first promise that was broken.
    pub(crate) fn judge(&self, verdict: Verdict) {
        self.lock().judge(verdict);
    }
}

impl Faults for Outside {
    fn strike(&self, who: &SubtaskId, hook: Hook) -> Option<Act> {
        if self.armed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.lock();
        let found = state.armed.iter().position(|armed| armed.hook == hook && armed.whom == *who)?;
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
        state.struck.push(act);
        Some(act)
    }

    fn ask(&self, who: &SubtaskId, ask: &Ask) -> BoxFuture<Result<Batch>> {
        match &self.answers {
            Some(answers) => {
                let answer = answers.ask(&who.operator, ask);
                Box::pin(async move { answer })
            }
            None => (ask.call)(),
        }
    }

    fn pass_for_real(&self) -> bool {
        true
    }
}

impl State {
    /// Keeps what a sink has prepared; returns its number.
    pub(crate) fn stage(&mut self, output: Staged) -> u64 {
        self.next += 1;
        self.staged.insert(self.next, output);
        self.next
    }

    pub(crate) fn judge(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        }
    }
}
