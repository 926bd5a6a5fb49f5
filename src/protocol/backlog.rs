//! How far the slowest subtask is behind the windows that were closed: it bounds the markers in mailboxes.
//!
//! Markers need no credit, so that somebody has to stop making them. A subtask that answers for a snapshot, well or
//! not, has ended its window and all before it; nobody hears of any other window. So while many windows are not known
//! to be ended by all, one more snapshot may be asked for, and nothing else until it is answered.

use std::collections::BTreeMap;

use crate::ids::{SubtaskId, WindowId};
use crate::protocol::mutant::{self, Mutant};

/// Which windows may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Any.
    Any,
    /// Only one with a snapshot, which tells who has ended it.
    Snapshot,
    /// None until more answers have come.
    None,
}

/// See the module.
pub(crate) struct Backlog {
    /// The last window for which each subtask has answered.
    answered: BTreeMap<SubtaskId, WindowId>,
    /// The last window that every subtask is known to have ended.
    ended: WindowId,
    /// The last window that was closed with a snapshot.
    asked: WindowId,
    /// How many windows may be closed beyond `ended`.
    most: u64,
}

impl Backlog {
    /// Begins behind a committed window, which all have ended.
    pub(crate) fn new(subtasks: &[SubtaskId], head: WindowId, most: u64) -> Backlog {
        let answered = subtasks.iter().map(|subtask| (subtask.clone(), head)).collect();
        Backlog { answered, ended: head, asked: head, most }
    }

    /// A window was closed with a snapshot.
    pub(crate) fn ask(&mut self, window: WindowId) {
        self.asked = window;
    }

    /// A subtask has kept its snapshot of a window, or has said that it cannot.
    pub(crate) fn answer(&mut self, subtask: &SubtaskId, window: WindowId) {
        let Some(last) = self.answered.get_mut(subtask) else { return };
        let was_slowest = *last == self.ended;
        *last = window.max(*last);
        if was_slowest {
            self.ended = self.answered.values().copied().min().unwrap_or(window);
        }
    }

    /// Returns what may be closed behind this window, the last one that was.
    pub(crate) fn room(&self, window: WindowId) -> Room {
        if window.0.saturating_sub(self.ended.0) < self.most || mutant::is(Mutant::WindowsUnbounded) {
            Room::Any
        } else if self.asked <= self.ended {
            Room::Snapshot
        } else {
            Room::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_subtask_decides() {
        let (fast, slow) = (SubtaskId::new("fast", 0), SubtaskId::new("slow", 0));
        let mut backlog = Backlog::new(&[fast.clone(), slow.clone()], WindowId(10), 3);
        backlog.ask(WindowId(12));
        assert_eq!(backlog.room(WindowId(12)), Room::Any);
        backlog.answer(&fast, WindowId(12));
        assert_eq!(backlog.room(WindowId(13)), Room::None, "it is not known how far the slow one is");
        backlog.answer(&slow, WindowId(12));
        assert_eq!(backlog.room(WindowId(13)), Room::Any);
        assert_eq!(backlog.room(WindowId(15)), Room::Snapshot, "nothing is on its way that would tell");
    }
}
