//! What becomes of complete checkpoints: one commit at a time, the newest first, and what it makes superfluous.
//!
//! An older checkpoint is given up only when a newer one is committed: if the store does not take the newer one, the older
//! one may still serve.

use std::collections::BTreeSet;

use piton_actors::{Timestamp, WindowId};

use super::{Command, Coordinator, FailureReason, Pending};
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::manifest::Manifest;
use crate::protocol::mutant::{self, Mutant};

/// A commit that the store was asked for.
pub(super) struct Committing {
    pub(super) window: WindowId,
    triggered_ms: i64,
    bytes: u64,
    ended: bool,
    finished: bool,
}

impl Coordinator {
    /// Returns what is to be committed of a checkpoint that everybody has acknowledged.
    pub(super) fn commit_of(&self, window: WindowId, mut pending: Pending, now: Timestamp) -> Commit {
        let subtasks: Vec<_> = self.members.subtasks.iter().filter_map(|id| pending.acks.remove(id)).collect();
        let ended = subtasks.iter().all(|subtask| subtask.finished);
        let manifest = Manifest {
            job: self.members.job.clone(),
            region: self.members.region.clone(),
            window,
            fence: self.fence,
            triggered_ms: pending.triggered_ms,
            completed_ms: now,
            finished: ended && (self.settled || mutant::is(Mutant::FinishedUnseen)),
            topology: self.members.topology.clone(),
            copy_of: WindowId::NONE,
            subtasks,
        };
        Commit { manifest, joined: pending.joined }
    }

    /// Begins the commit of the newest that is complete, if the store is free.
    pub(super) fn commit_next(&mut self) {
        // An attempt that has failed commits nothing more: its rollback would wait for an outcome that nobody gives.
        if self.committing.is_some() || (self.failed && !mutant::is(Mutant::CommitAfterFailure)) {
            return;
        }
        let Some((_, mut commit)) = self.complete.pop_last() else { return };
        // A sink that had not yet heard of the last commit gives what became visible in it once more.
        commit.joined.retain(|joined| joined.window > self.head || mutant::is(Mutant::JoinedTwice));
        let manifest = &commit.manifest;
        let (window, bytes) = (manifest.window, manifest.bytes());
        let (triggered_ms, finished) = (manifest.triggered_ms, manifest.finished);
        let ended = manifest.subtasks.iter().all(|subtask| subtask.finished);
        self.committing = Some(Committing { window, triggered_ms, bytes, ended, finished });
        if mutant::is(Mutant::TellBeforeDurable) {
            self.commands.push(Command::Committed { window, bytes, took_ms: 0 });
        }
        self.commands.push(Command::Commit(Box::new(commit)));
    }

    /// Takes the answer of the store.
    pub(super) fn outcome(&mut self, window: WindowId, outcome: Result<(), CommitError>, now: Timestamp) {
        let Some(committing) = self.committing.take_if(|committing| committing.window == window) else { return };
        let Committing { triggered_ms, bytes, ended, finished, .. } = committing;
        match outcome {
            Ok(()) => {
                self.unsure = false;
                self.head = window;
                self.head_ended = ended;
                self.head_finished = finished;
                self.last_completion = Some(now);
                self.last_failed = false;
                self.failures.forget();
                let took_ms = now.saturating_sub(triggered_ms);
                if !mutant::is(Mutant::TellBeforeDurable) {
                    self.commands.push(Command::Committed { window, bytes, took_ms });
                }
                self.subsume(window);
            }
            Err(CommitError::Failed(reason)) => {
                self.checkpoint_failed(window, FailureReason::CommitFailed(reason));
            }
            Err(error @ CommitError::Unknown(_)) => self.fail(error.to_string()),
            Err(error @ CommitError::Fenced { .. }) => self.fail(error.to_string()),
        }
        self.commit_next();
    }

    /// Gives up what is older than a window that is committed.
    fn subsume(&mut self, window: WindowId) {
        let newer = self.pending.split_off(&window);
        let mut older: BTreeSet<WindowId> = std::mem::replace(&mut self.pending, newer).into_keys().collect();
        let newer = self.complete.split_off(&window);
        older.extend(std::mem::replace(&mut self.complete, newer).into_keys());
        for window_before in older {
            self.checkpoint_failed(window_before, FailureReason::Subsumed(window));
        }
    }
}
