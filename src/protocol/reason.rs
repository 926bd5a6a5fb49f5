//! Why checkpoints do not complete, and which of these reasons count against a job.

use std::fmt;

use crate::ids::{SubtaskId, WindowId};

/// Why a checkpoint did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// It took longer than the timeout; names those who had not acknowledged it.
    Expired(Vec<SubtaskId>),
    /// The snapshot of a subtask could not be made durable.
    Declined(SubtaskId, String),
    /// The commit did not happen.
    CommitFailed(String),
    /// A newer one completed first.
    Subsumed(WindowId),
}

impl FailureReason {
    /// Returns whether it counts against the failures that are borne (as Flink counts them).
    pub fn counts(&self) -> bool {
        !matches!(self, FailureReason::Subsumed(_))
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
            FailureReason::Declined(subtask, reason) => {
                write!(f, "declined: the snapshot of {subtask} could not be kept: {reason}")
            }
            FailureReason::CommitFailed(reason) => write!(f, "commit failed: {reason}"),
            FailureReason::Subsumed(by) => write!(f, "subsumed: window {by} completed first"),
        }
    }
}
