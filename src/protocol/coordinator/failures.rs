//! Why checkpoints do not complete, and how many failures in a row are borne.

use std::fmt;

use piton_actors::WindowId;

use crate::ids::SubtaskId;
use crate::protocol::subtask::Why;

/// Why a checkpoint did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// It took longer than the timeout; names those who had not acknowledged it.
    Expired(Vec<SubtaskId>),
    /// The snapshot of a subtask could not be made durable.
    Declined(SubtaskId, Why),
    /// The commit did not happen.
    CommitFailed(String),
    /// A newer one was committed first.
    Subsumed(WindowId),
    /// The attempt ended before, for this reason.
    Aborted(String),
}

impl FailureReason {
    /// Returns whether it counts against the failures that are borne (as Flink counts them).
    pub fn counts(&self) -> bool {
        match self {
            FailureReason::Expired(_) | FailureReason::CommitFailed(_) => true,
            FailureReason::Declined(_, why) => matches!(why, Why::NotKept(_)),
            FailureReason::Subsumed(_) | FailureReason::Aborted(_) => false,
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureReason::Expired(missing) => {
                f.write_str("expired: no snapshot came from")?;
                for (index, subtask) in missing.iter().take(3).enumerate() {
                    write!(f, "{} {subtask}", if index == 0 { "" } else { "," })?;
                }
                if missing.len() > 3 { write!(f, " and {} more", missing.len() - 3) } else { Ok(()) }
            }
            FailureReason::Declined(subtask, why) => write!(f, "declined: the snapshot of {subtask} {why}"),
            FailureReason::CommitFailed(reason) => write!(f, "commit failed: {reason}"),
            FailureReason::Subsumed(by) => write!(f, "subsumed: window {by} was committed first"),
            FailureReason::Aborted(reason) => write!(f, "aborted: {reason}"),
        }
    }
}

/// Counts the failures since a checkpoint has completed, whatever attempt they belong to.
#[derive(Clone)]
pub(super) struct Failures {
    in_a_row: u32,
    /// How many are borne; nothing if any number.
    tolerable: Option<u32>,
}

impl Failures {
    /// Begins with none.
    pub(super) fn new(tolerable: Option<u32>) -> Failures {
        Failures { in_a_row: 0, tolerable }
    }

    /// A checkpoint has failed; returns what to say if that is one too many, and counts from the start then: the restart
    /// that follows is to have its chance.
    pub(super) fn add(&mut self, window: WindowId, reason: &FailureReason) -> Option<String> {
        if !reason.counts() {
            return None;
        }
        self.in_a_row += 1;
        let tolerable = self.tolerable.filter(|tolerable| self.in_a_row > *tolerable)?;
        self.in_a_row = 0;
        Some(format!(
            "the checkpoint of window {window} failed: {reason} (checkpoint.tolerable_failures = {tolerable})"
        ))
    }

    /// A checkpoint has completed.
    pub(super) fn forget(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_in_a_row_that_count_add_up() {
        let refused = FailureReason::CommitFailed("the disk is full".into());
        let mut failures = Failures::new(Some(1));
        assert_eq!(failures.add(WindowId(1), &refused), None);
        assert_eq!(failures.add(WindowId(2), &FailureReason::Subsumed(WindowId(3))), None);
        failures.forget();
        assert_eq!(failures.add(WindowId(4), &refused), None);
        let said = failures.add(WindowId(5), &refused).expect("the second in a row");
        assert!(said.contains("window 5") && said.contains("the disk is full"), "{said}");
        assert_eq!(failures.add(WindowId(6), &refused), None, "what was borne before a restart does not count again");

        let mut failures = Failures::new(None);
        assert!((0..1_000).all(|window| failures.add(WindowId(window), &refused).is_none()));
    }
}
