//! The timers of all keys, by slot and by time.

use std::collections::BTreeSet;

use crate::time::{TimerKind, Timestamp};

/// How many bytes a timer takes in a chunk: its kind and its time.
const ENCODED: usize = 9;

/// The timers of one store: once by slot, as they are written, and once in the order in which they are due.
///
/// Every change goes through [`Timers::set`] and [`Timers::remove`], which note it during a transaction.
#[derive(Default)]
pub(super) struct Timers {
    /// Of each slot, in order. Only as long as there are timers.
    slots: Vec<Vec<(TimerKind, Timestamp)>>,
    event: BTreeSet<(Timestamp, u32)>,
    processing: BTreeSet<(Timestamp, u32)>,
    /// What happened in this transaction; nothing outside of one.
    log: Option<Vec<Change>>,
}

/// A timer that was set or removed.
struct Change {
    is_set: bool,
    slot: u32,
    kind: TimerKind,
    at: Timestamp,
}

impl Timers {
    /// Notes changes from now on.
    pub(super) fn begin(&mut self) {
        self.log = Some(Vec::new());
    }

    /// Notes nothing from now on, and forgets what was noted.
    pub(super) fn settle(&mut self) {
        self.log = None;
    }

    /// Takes back what was noted, and notes nothing from now on.
    pub(super) fn undo(&mut self) {
        for Change { is_set, slot, kind, at } in self.log.take().into_iter().flatten().rev() {
            if is_set {
                self.remove(slot, kind, at);
            } else {
                self.set(slot, kind, at);
            }
        }
    }

    fn note(&mut self, change: Change) {
        if let Some(log) = &mut self.log {
            log.push(change);
        }
    }

    fn due(&mut self, kind: TimerKind) -> &mut BTreeSet<(Timestamp, u32)> {
        match kind {
            TimerKind::Event => &mut self.event,
            TimerKind::Processing => &mut self.processing,
        }
    }

    /// Sets a timer and returns whether it is new.
    pub(super) fn set(&mut self, slot: u32, kind: TimerKind, at: Timestamp) -> bool {
        if !self.due(kind).insert((at, slot)) {
            return false;
        }
        if self.slots.len() <= slot as usize {
            self.slots.resize_with(slot as usize + 1, Vec::new);
        }
        let timers = &mut self.slots[slot as usize];
        let index = timers.partition_point(|timer| *timer < (kind, at));
        timers.insert(index, (kind, at));
        self.note(Change { is_set: true, slot, kind, at });
        true
    }

    /// Takes a timer away and returns whether there was one.
    pub(super) fn remove(&mut self, slot: u32, kind: TimerKind, at: Timestamp) -> bool {
        if !self.due(kind).remove(&(at, slot)) {
            return false;
        }
        if let Some(timers) = self.slots.get_mut(slot as usize) {
            timers.retain(|timer| *timer != (kind, at));
            if timers.is_empty() {
                *timers = Vec::new();
            }
        }
        self.note(Change { is_set: false, slot, kind, at });
        true
    }

    /// Returns whether a slot has a timer.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|timers| !timers.is_empty())
    }

    /// Returns whether no slot has a timer.
    pub(super) fn is_empty(&self) -> bool {
        self.event.is_empty() && self.processing.is_empty()
    }

    /// Returns time and slot of the timer of a kind that is due first; of several of the same time, the one of the
    /// lowest slot.
    pub(super) fn first(&self, kind: TimerKind) -> Option<(Timestamp, u32)> {
        match kind {
            TimerKind::Event => self.event.first().copied(),
            TimerKind::Processing => self.processing.first().copied(),
        }
    }

    /// Writes the timers of a slot and returns whether there are any.
    pub(super) fn encode(&self, slot: u32, out: &mut Vec<u8>) -> bool {
        let Some(timers) = self.slots.get(slot as usize) else { return false };
        for (kind, at) in timers {
            out.push(match kind {
                TimerKind::Event => 0,
                TimerKind::Processing => 1,
            });
            out.extend_from_slice(&at.to_le_bytes());
        }
        !timers.is_empty()
    }

    /// Adds the timers of a slot as they were written; nothing if they cannot have been written so.
    pub(super) fn decode(&mut self, slot: u32, bytes: &[u8]) -> Option<()> {
        let (timers, []) = bytes.as_chunks::<ENCODED>() else { return None };
        for [kind, at @ ..] in timers {
            let kind = match kind {
                0 => TimerKind::Event,
                1 => TimerKind::Processing,
                _ => return None,
            };
            if !self.set(slot, kind, Timestamp::from_le_bytes(*at)) {
                return None;
            }
        }
        (!timers.is_empty()).then_some(())
    }

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    pub(super) fn pack(&mut self, old: &[u32]) {
        let mut packed = Timers::default();
        for (slot, old) in old.iter().enumerate() {
            for (kind, at) in self.slots.get(*old as usize).into_iter().flatten() {
                packed.set(slot as u32, *kind, *at);
            }
        }
        *self = packed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_by_time_then_slot() {
        let mut timers = Timers::default();
        assert!(timers.set(7, TimerKind::Event, 20));
        assert!(timers.set(3, TimerKind::Event, 20));
        assert!(timers.set(9, TimerKind::Event, 10));
        assert!(timers.set(1, TimerKind::Processing, 5));
        assert!(!timers.set(9, TimerKind::Event, 10), "the same timer is kept once");
        let mut order = Vec::new();
        while let Some((at, slot)) = timers.first(TimerKind::Event) {
            assert!(timers.remove(slot, TimerKind::Event, at));
            order.push((at, slot));
        }
        assert_eq!(order, [(10, 9), (20, 3), (20, 7)]);
        assert!(timers.has(1) && !timers.has(9));
    }

    #[test]
    fn timers_of_a_slot_survive_their_bytes() {
        let mut timers = Timers::default();
        timers.set(4, TimerKind::Processing, -1);
        timers.set(4, TimerKind::Event, i64::MAX);
        let mut bytes = Vec::new();
        assert!(timers.encode(4, &mut bytes));
        assert!(!timers.encode(5, &mut bytes));
        let mut again = Timers::default();
        assert!(again.decode(2, &bytes).is_some());
        assert_eq!(again.first(TimerKind::Event), Some((i64::MAX, 2)));
        assert_eq!(again.first(TimerKind::Processing), Some((-1, 2)));
        assert!(again.decode(2, &bytes).is_none(), "a timer twice");
        assert!(Timers::default().decode(0, &bytes[1..]).is_none());
        assert!(Timers::default().decode(0, &[2; 9]).is_none());
    }
}
