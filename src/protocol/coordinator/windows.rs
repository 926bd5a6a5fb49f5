//! When a window closes, and whether it ends with a checkpoint.

use std::collections::BTreeMap;

use piton_actors::Timestamp;

use super::{Command, Coordinator, Pending};
use crate::protocol::backlog::Room;
use crate::protocol::drift::Slowest;
use crate::protocol::element::{Behind, Marker};

impl Coordinator {
    pub(super) fn close_window(&mut self, now: Timestamp) {
        let is_over = self.done || self.failed || self.last.is_some();
        if is_over || !self.unready.is_empty() || !self.closing.is_empty() {
            return;
        }
        let due = now >= self.next_close;
        let ending = self.stopping || self.unfinished.is_empty();
        let urgent = (ending && !self.last_failed) || self.asked || self.wanted;
        if !due && !urgent {
            return;
        }
        let under_way = self.pending.len() + self.complete.len() + usize::from(self.committing.is_some());
        let room = self.backlog.room(self.window);
        let free = under_way < self.settings.most_under_way() && room != Room::None;
        let paused = self
            .last_completion
            .is_some_and(|completion| now.saturating_sub(completion) < self.settings.min_pause_ms as i64);
        // Without the last one, checkpoints that failed for a while would have used all room up for good.
        let periodic = self.since_snapshot + 1 >= self.settings.every || room == Room::Snapshot;
        let wanted = ending || self.asked || ((self.wanted || periodic) && !paused);
        let snapshot = free && wanted;
        if !snapshot && !due {
            return;
        }
        if !snapshot && room != Room::Any {
            self.next_close = now.saturating_add(self.settings.window_ms as i64);
            return;
        }
        self.window = self.window.next();
        self.next_close = now.saturating_add(self.settings.window_ms as i64);
        self.since_snapshot = if snapshot { 0 } else { self.since_snapshot + 1 };
        self.closing = self.members.sources.iter().cloned().collect();
        let (alignment, overtakes_ms) = self.alignment(snapshot, room, now);
        if snapshot {
            (self.asked, self.wanted) = (false, false);
            self.pending.insert(
                self.window,
                Pending {
                    triggered_ms: now,
                    overtakes_ms,
                    missing: self.members.subtasks.iter().cloned().collect(),
                    acks: BTreeMap::new(),
                    joined: Vec::new(),
                },
            );
            self.backlog.ask(self.window);
            if ending {
                self.last = Some(self.window);
                self.untold = self.members.subtasks.iter().cloned().collect();
            }
        }
        let behind = if self.stopping && snapshot { Behind::Hold } else { Behind::Read };
        let slowest = Slowest::of(self.paces.values().copied());
        self.commands.push(Command::Close(Marker { window: self.window, snapshot }, behind, alignment, slowest));
    }
}
