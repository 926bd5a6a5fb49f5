//! Why a checkpoint took as long as it did, or failed, in plain words.
//!
//! A checkpoint is as slow as the last of its subtasks, and what that one spent its time on says why.

use crate::http::checkpoints::{Checkpoint, Status};
use crate::runtime::Part;

/// What the time of one subtask's part went to, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phases {
    /// From the trigger until it heard of the checkpoint.
    pub(super) start_delay: u64,
    /// Until all of its inputs had brought the end of the window.
    pub(super) alignment: u64,
    /// Until its snapshot was taken.
    pub(super) sync: u64,
    /// Until that was durable.
    pub(super) kept: u64,
}

impl Phases {
    pub(super) fn of(part: &Part, triggered_ms: i64) -> Phases {
        let between = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        Phases {
            start_delay: between(triggered_ms, part.heard_ms),
            alignment: between(part.heard_ms, part.aligned_ms),
            sync: between(part.aligned_ms, part.taken_ms),
            kept: between(part.taken_ms, part.acknowledged_ms),
        }
    }

    pub(super) fn whole(self) -> u64 {
        self.start_delay + self.alignment + self.sync + self.kept
    }
}

/// Says why.
pub(super) fn of(checkpoint: &Checkpoint, now: i64) -> String {
    match &checkpoint.status {
        Status::Failed { reason, operator: Some(operator), .. } => format!("failed at \"{operator}\": {reason}"),
        Status::Failed { reason, operator: None, .. } => format!("failed: {reason}"),
        Status::InProgress => {
            let waits = now.saturating_sub(checkpoint.triggered_ms);
            match slowest(checkpoint) {
                Some((part, _)) => {
                    let whom = name(part);
                    format!("under way for {waits} ms; the last to acknowledge it so far was {whom}")
                }
                None => format!("under way for {waits} ms; nobody has acknowledged it yet"),
            }
        }
        Status::Completed { took_ms, at, .. } => {
            let Some((part, phases)) = slowest(checkpoint) else { return format!("{took_ms} ms") };
            let commit = u64::try_from(at.saturating_sub(part.acknowledged_ms)).unwrap_or(0);
            let Phases { start_delay, alignment, sync, kept } = phases;
            let whom = name(part);
            let (most, spent) = [
                (start_delay, format!("until the end of the window reached {whom}, behind what was queued before it")),
                (alignment, format!("until all inputs of {whom} had brought the end of the window")),
                (sync, format!("for the end of the window and the snapshot in {whom}")),
                (kept, format!("to make the snapshot of {whom} durable")),
                (commit, "for the commit itself, which is the disk".to_string()),
            ]
            .into_iter()
            // Of equals the first: what comes later waits for it.
            .rev()
            .max_by_key(|(ms, _)| *ms)
            .unwrap_or_default();
            // Both ends were looked at by different clocks of one process.
            let most = most.min(u64::try_from(*took_ms).unwrap_or(0));
            format!("{took_ms} ms, {most} of them {spent}")
        }
    }
}

fn slowest(checkpoint: &Checkpoint) -> Option<(&Part, Phases)> {
    let slowest = checkpoint.parts.iter().max_by_key(|part| part.acknowledged_ms)?;
    Some((slowest, Phases::of(slowest, checkpoint.triggered_ms)))
}

fn name(part: &Part) -> String {
    format!("\"{}\" #{}", part.operator, part.subtask)
}
