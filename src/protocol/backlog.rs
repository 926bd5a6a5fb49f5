//! How far the slowest subtask is behind the windows that were closed: it bounds the markers in mailboxes.
//!
//! Markers need no credit, so that somebody has to stop making them. A subtask that answers for a snapshot says which
//! window it has ended; nobody hears of any other window. So while many windows are not known to be ended by all, one
//! more snapshot may be asked for, and nothing else until all have answered. One that does not wait is answered by
//! subtasks that are still far behind; if they are too far, the next one waits until they are not.

use std::collections::BTreeMap;

use crate::ids::{SubtaskId, WindowId};
use crate::protocol::mutant::{self, Mutant};

/// How many times as far as for other windows the slowest may be behind for a snapshot to be asked for, as long as all
/// answer.
pub(crate) const MOST_SNAPSHOTS: u64 = 64;

/// Which windows may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Any.
    Any,
    /// Only one with a snapshot, which tells who has ended it.
    Snapshot,
    /// Only one with a snapshot that is taken at its end.
    SnapshotAtItsEnd,
    /// None until more answers have come.
    None,
}

/// Of how many subtasks each window is the last one: which is the least follows from that without looking at all of them.
struct Counted(BTreeMap<WindowId, usize>);

impl Counted {
    fn new(subtasks: usize, head: WindowId) -> Counted {
        Counted(BTreeMap::from([(head, subtasks)]))
    }

    /// A subtask has come from one window to another.
    fn moved(&mut self, from: WindowId, to: WindowId) {
        *self.0.entry(to).or_default() += 1;
        if let Some(count) = self.0.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&from);
            }
        }
    }

    fn least(&self) -> WindowId {
        *self.0.first_key_value().expect("there is a window at any time").0
    }
}

/// See the module.
pub(crate) struct Backlog {
    /// The last snapshot for which each subtask has answered, and the last window that it is known to have ended.
    subtasks: BTreeMap<SubtaskId, (WindowId, WindowId)>,
    /// The snapshots for which they have answered: the least is the last one for which all have.
    answered: Counted,
    /// The windows that they are known to have ended.
    ended: Counted,
    /// The last window that was closed with a snapshot.
    asked: WindowId,
    /// How many windows may be closed beyond `ended`.
    most: u64,
}

impl Backlog {
    /// Begins behind a committed window, which all have ended.
    pub(crate) fn new(subtasks: &[SubtaskId], head: WindowId, most: u64) -> Backlog {
        let subtasks: BTreeMap<_, _> = subtasks.iter().map(|subtask| (subtask.clone(), (head, head))).collect();
        let (answered, ended) = (Counted::new(subtasks.len(), head), Counted::new(subtasks.len(), head));
        Backlog { subtasks, answered, ended, asked: head, most }
    }

    /// A window was closed with a snapshot.
    pub(crate) fn ask(&mut self, window: WindowId) {
        self.asked = window;
    }

    /// A subtask has kept its snapshot of a window, or has said that it cannot, when it had ended another.
    pub(crate) fn answer(&mut self, subtask: &SubtaskId, window: WindowId, ended: WindowId) {
        let Some(last) = self.subtasks.get_mut(subtask) else { return };
        let now = (window.max(last.0), ended.max(last.1));
        let before = std::mem::replace(last, now);
        self.answered.moved(before.0, now.0);
        self.ended.moved(before.1, now.1);
    }

    /// Returns what may be closed behind this window, the last one that was.
    pub(crate) fn room(&self, window: WindowId) -> Room {
        let behind = window.0.saturating_sub(self.ended.least().0);
        if behind < self.most || mutant::is(Mutant::WindowsUnbounded) {
            Room::Any
        } else if self.asked > self.answered.least() {
            Room::None
        } else if behind < self.most.saturating_mul(MOST_SNAPSHOTS) {
            Room::Snapshot
        } else {
            Room::SnapshotAtItsEnd
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
        backlog.answer(&fast, WindowId(12), WindowId(12));
        assert_eq!(backlog.room(WindowId(13)), Room::None, "it is not known how far the slow one is");
        backlog.answer(&slow, WindowId(12), WindowId(12));
        assert_eq!(backlog.room(WindowId(13)), Room::Any);
        assert_eq!(backlog.room(WindowId(15)), Room::Snapshot, "nothing is on its way that would tell");
        for window in 15..12 + 3 * MOST_SNAPSHOTS {
            assert_eq!(backlog.room(WindowId(window)), Room::Snapshot);
            backlog.ask(WindowId(window + 1));
            assert_eq!(backlog.room(WindowId(window + 1)), Room::None, "not all have answered");
            backlog.answer(&fast, WindowId(window + 1), WindowId(window + 1));
            backlog.answer(&slow, WindowId(window + 1), WindowId(12));
        }
        let last = WindowId(12 + 3 * MOST_SNAPSHOTS);
        assert_eq!(backlog.room(last), Room::SnapshotAtItsEnd, "the slow one ends nothing");
        backlog.ask(last.next());
        assert_eq!(backlog.room(last.next()), Room::None);
    }
}
