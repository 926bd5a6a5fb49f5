//! The seam for faults that are meant: what the runtime asks of whoever breaks a running job on purpose.
//!
//! A normal run has nobody here, and nothing on the way of a record ever asks: only acknowledgements of snapshots and
//! commits do, a few times a second, and whoever finds a call that hangs.

use crate::ids::SubtaskId;

/// Breaks a running job. Subtasks go by the head of their chain.
pub trait Faults: Send + Sync {
    /// The job begins, and can be broken with this from now on.
    fn begin(&self, breaker: Breaker);

    /// A subtask has acknowledged its snapshot: returns whether that is to be lost.
    fn loses_ack(&self, subtask: &SubtaskId) -> bool;

    /// A subtask is being told that a window is committed: returns whether it is to be told twice.
    fn repeats_committed(&self, subtask: &SubtaskId) -> bool;

    /// A call of an operator, source or sink of a subtask gets nowhere: returns whether it is held up on purpose.
    fn holds_up(&self, who: &SubtaskId) -> bool;
}

/// What can be taken out of a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The actor of a subtask.
    Actor(SubtaskId),
    /// The supervisor.
    Supervisor,
}

/// Lets actors vanish as if they had been lost to a panic.
pub struct Breaker(Box<dyn Fn(Victim) + Send + Sync>);

impl Breaker {
    pub(crate) fn new(vanish: impl Fn(Victim) + Send + Sync + 'static) -> Breaker {
        Breaker(Box::new(vanish))
    }

    /// Lets one vanish, soon. An actor that is not there is left in peace.
    pub fn vanish(&self, victim: Victim) {
        (self.0)(victim);
    }
}
