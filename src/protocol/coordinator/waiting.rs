//! Whether checkpoints wait for the end of their windows.

use piton_actors::Timestamp;

use super::{Command, Coordinator};
use crate::ids::SubtaskId;
use crate::protocol::backlog::Room;
use crate::protocol::element::Alignment;

impl Coordinator {
    /// Returns how a window closes, and when its checkpoint waits no more, if it waits until then. A window without a
    /// checkpoint does not wait where the next checkpoint may not: a source that could not close it for want of credit
    /// would hold that up.
    pub(super) fn alignment(&self, snapshot: bool, room: Room, now: Timestamp) -> (Alignment, Option<Timestamp>) {
        match self.settings.aligned_timeout_ms {
            Some(_) if !snapshot => (Alignment::Unaligned, None),
            Some(0) if !self.waits(room) => (Alignment::Unaligned, None),
            Some(timeout) if !self.waits(room) => (Alignment::Aligned, Some(now.saturating_add_unsigned(timeout))),
            _ => (Alignment::Aligned, None),
        }
    }

    /// Returns whether a checkpoint that begins now waits for the end of its window, however long that takes.
    fn waits(&self, room: Room) -> bool {
        self.asked || self.unsure || room == Room::SnapshotAtItsEnd || self.unfinished.is_empty()
    }

    /// Lets all checkpoints that are yet to begin wait, in this attempt and later ones.
    pub(in crate::protocol) fn wait_from_now_on(&mut self) {
        self.settings.aligned_timeout_ms = None;
    }

    /// Lets all checkpoints wait from now on, and takes one as soon as possible.
    pub(super) fn wait_always(&mut self, subtask: &SubtaskId, operator: &str) {
        if self.settings.aligned_timeout_ms.take().is_some() {
            self.commands.push(Command::Waits(subtask.clone(), operator.into()));
            self.wanted = true;
        }
    }

    /// Lets checkpoints that have waited long enough wait no more.
    pub(super) fn overtake(&mut self, now: Timestamp) {
        for (window, pending) in &mut self.pending {
            if pending.overtakes_ms.take_if(|at| *at <= now).is_some() {
                self.commands.push(Command::Overtake(*window));
            }
        }
    }
}
