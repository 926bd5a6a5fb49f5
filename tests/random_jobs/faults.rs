//! What goes wrong in a job: calls of user code that panic or fail, each once, at a place and a number that was drawn
//! beforehand.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use piton::prelude::*;

/// A call of user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Key,
    Open,
    Process,
    Timer,
    BeginWindow,
    EndWindow,
    BeforeCheckpoint,
    Checkpointed,
    Committed,
    Close,
    SourceOpen,
    Poll,
    SourceCommitted,
    SinkOpen,
    Write,
    Prepare,
    Commit,
    Abort,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Panic,
    Fail,
    Unavailable,
}

/// A call that fails.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The node of the topology.
    pub(crate) node: String,
    pub(crate) call: Call,
    /// Which call of it, over all subtasks and lives, from 1.
    pub(crate) nth: u64,
    pub(crate) act: Act,
    /// Whether what was to be done is done before.
    pub(crate) after: bool,
}

struct Armed {
    fault: Fault,
    calls: u64,
}

/// The faults of each job that have not struck yet, by its seed.
static ARMED: LazyLock<Mutex<BTreeMap<u64, Vec<Armed>>>> = LazyLock::new(Mutex::default);

fn armed() -> MutexGuard<'static, BTreeMap<u64, Vec<Armed>>> {
    ARMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arms the faults of a job.
pub(crate) fn arm(seed: u64, faults: &[Fault]) {
    let faults = faults.iter().map(|fault| Armed { fault: fault.clone(), calls: 0 }).collect();
    armed().insert(seed, faults);
}

/// Disarms what has not struck; returns how many that are.
pub(crate) fn disarm(seed: u64) -> usize {
    armed().remove(&seed).map_or(0, |left| left.len())
}

/// Who makes a call: a node of a job.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) seed: u64,
    pub(crate) node: &'a str,
}

impl At<'_> {
    /// Makes a call, unless it is to fail.
    pub(crate) fn call<T>(self, call: Call, make: impl FnOnce() -> Result<T>) -> Result<T> {
        self.enter(call)?;
        let made = make()?;
        self.leave(call)?;
        Ok(made)
    }

    /// A call begins.
    pub(crate) fn enter(self, call: Call) -> Result {
        self.strike(call, false)
    }

    /// A call ends.
    pub(crate) fn leave(self, call: Call) -> Result {
        self.strike(call, true)
    }

    /// The key of a record is told, for which there is no error.
    pub(crate) fn tell_key(self) {
        if let Err(error) = self.call(Call::Key, || Ok(())) {
            std::panic::resume_unwind(Box::new(error.to_string()));
        }
    }

    fn strike(self, call: Call, after: bool) -> Result {
        let Some(act) = self.find(call, after) else { return Ok(()) };
        let what = format!("told to fail in {call:?}");
        match act {
            Act::Panic => std::panic::resume_unwind(Box::new(what)),
            Act::Fail => Err(Error::failed(what)),
            Act::Unavailable => Err(Error::unavailable(what)),
        }
    }

    fn find(self, call: Call, after: bool) -> Option<Act> {
        let mut armed = armed();
        let faults = armed.get_mut(&self.seed)?;
        let is_here = |fault: &Fault| fault.node == self.node && fault.call == call && fault.after == after;
        faults.iter_mut().filter(|armed| is_here(&armed.fault)).for_each(|armed| armed.calls += 1);
        let due = faults.iter().position(|armed| is_here(&armed.fault) && armed.calls >= armed.fault.nth)?;
        Some(faults.remove(due).fault.act)
    }
}
