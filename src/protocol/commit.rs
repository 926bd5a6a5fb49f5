//! The commit: the one atomic step that makes a checkpoint, and with it everything that waited for it, true.
//!
//! Prepared outputs and chunks of state are durable before; publishing files and telling operators comes after. What
//! stands behind [`CommitLog`] may be a file that is flipped, a database, or a transaction of a message broker, in
//! which outputs of joined sinks take part.

use std::fmt;

use crate::ids::{Fence, WindowId};
use crate::protocol::manifest::{JoinedOutput, Manifest};

/// One region's checkpoint, complete and ready to become true.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The checkpoint; its region is the commit domain.
    pub manifest: Manifest,
    /// What becomes visible in the same step.
    pub joined: Vec<JoinedOutput>,
}

impl Commit {
    /// Returns the name of the commit domain.
    pub fn domain(&self) -> &str {
        &self.manifest.region
    }

    /// Returns the fence of the life that commits.
    pub fn fence(&self) -> Fence {
        self.manifest.fence
    }
}

/// Why a commit did not happen, or may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// It did not happen and never will: another life of the region, or a later window, has committed.
    Fenced {
        /// The fence that stands in the log.
        by: Fence,
        /// The window that stands in the log.
        head: WindowId,
    },
    /// It did not happen: nothing of it is visible.
    Failed(String),
    /// It is not known whether it happened: the log has to be opened again and asked for its head.
    Unknown(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Fenced { by, head } => {
                write!(f, "fenced: attempt {by} has already committed window {head}")
            }
            CommitError::Failed(reason) => write!(f, "the commit failed: {reason}"),
            CommitError::Unknown(reason) => write!(f, "it is not known whether the commit happened: {reason}"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Makes checkpoints true, atomically and durably, one after the other for each domain.
pub trait CommitLog {
    /// Commits all of them, each on its own, sharing what durability costs. On `Ok` a commit is durable: no crash of
    /// the process or the machine takes it back.
    ///
    /// A commit is refused unless its window is above the domain's head and its fence is not below the head's.
    ///
    /// # Errors
    /// One for each commit, in their order; see [`CommitError`] for what may have happened.
    fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>>;
}
