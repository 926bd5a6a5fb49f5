//! The timers of all keys, by slot and by time.

use super::due::Due;
use super::times::Times;
use crate::time::{TimerKind, Timestamp};

/// How many bytes a timer takes in a chunk: its kind and its time.
const ENCODED: usize = 9;

/// The timers of one store: once by slot, as they are written, and once in the order in which they are due.
///
/// Every change goes through [`Timers::set`] and [`Timers::remove`], which note it during a transaction.
#[derive(Default)]
pub(super) struct Timers {
    event: OfKind,
    processing: OfKind,
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

/// The timers of one kind.
#[derive(Default)]
struct OfKind {
    times: Times,
    due: Due,
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

    fn of(&self, kind: TimerKind) -> &OfKind {
        match kind {
            TimerKind::Event => &self.event,
            TimerKind::Processing => &self.processing,
        }
    }

    fn of_mut(&mut self, kind: TimerKind) -> &mut OfKind {
        match kind {
            TimerKind::Event => &mut self.event,
            TimerKind::Processing => &mut self.processing,
        }
    }

    /// Sets a timer and returns whether it is new.
    pub(super) fn set(&mut self, slot: u32, kind: TimerKind, at: Timestamp) -> bool {
        let timers = self.of_mut(kind);
        if !timers.times.insert(slot, at) {
            return false;
        }
        timers.due.insert(at, slot);
        self.note(Change { is_set: true, slot, kind, at });
        true
    }

    /// Takes a timer away and returns whether there was one.
    pub(super) fn remove(&mut self, slot: u32, kind: TimerKind, at: Timestamp) -> bool {
        let timers = self.of_mut(kind);
        if !timers.times.remove(slot, at) {
            return false;
        }
        timers.due.remove(at, slot);
        self.note(Change { is_set: false, slot, kind, at });
        true
    }

    /// Returns whether a slot has a timer.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.event.times.has(slot) || self.processing.times.has(slot)
    }

    /// Returns whether no slot has a timer.
    pub(super) fn is_empty(&self) -> bool {
        self.event.due.is_empty() && self.processing.due.is_empty()
    }

    /// Returns when the first timer of a kind is due.
    pub(super) fn earliest(&self, kind: TimerKind) -> Option<Timestamp> {
        self.of(kind).due.earliest()
    }

    /// Returns time and slot of the timer of a kind that is due first, if that is not later than `until`; of several of the
    /// same time, the one of the lowest slot.
    pub(super) fn first(&mut self, kind: TimerKind, until: Timestamp) -> Option<(Timestamp, u32)> {
        self.of_mut(kind).due.first(until)
    }

    /// Writes the timers of a slot and returns whether there are any.
    pub(super) fn encode(&self, slot: u32, out: &mut Vec<u8>) -> bool {
        for (kind, timers) in [(0, &self.event), (1, &self.processing)] {
            for at in timers.times.of_slot(slot).as_slice() {
                out.push(kind);
                out.extend_from_slice(&at.to_le_bytes());
            }
        }
        self.has(slot)
    }

    /// Adds the timers of a slot as they were written; nothing if they cannot have been written so. They are not due
    /// before [`order_all`](Timers::order_all).
    pub(super) fn decode(&mut self, slot: u32, bytes: &[u8]) -> Option<()> {
        let (timers, []) = bytes.as_chunks::<ENCODED>() else { return None };
        for [kind, at @ ..] in timers {
            let kind = match kind {
                0 => TimerKind::Event,
                1 => TimerKind::Processing,
                _ => return None,
            };
            if !self.of_mut(kind).times.insert(slot, Timestamp::from_le_bytes(*at)) {
                return None;
            }
        }
        (!timers.is_empty()).then_some(())
    }

    /// Puts all timers in order, once a whole state has been restored: faster than one by one.
    pub(super) fn order_all(&mut self) {
        for timers in [&mut self.event, &mut self.processing] {
            timers.due = Due::of(timers.times.iter());
        }
    }

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    pub(super) fn pack(&mut self, old: &[u32]) {
        for timers in [&mut self.event, &mut self.processing] {
            timers.times = timers.times.packed(old);
        }
        self.order_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// A timer: its slot, kind and time.
    type Set = (u32, TimerKind, Timestamp);
    type Model = BTreeSet<Set>;

    #[test]
    fn timers_are_due_by_time_then_slot() {
        let mut timers = Timers::default();
        assert!(timers.set(7, TimerKind::Event, 20));
        assert!(timers.set(3, TimerKind::Event, 20));
        assert!(timers.set(9, TimerKind::Event, 10));
        assert!(timers.set(1, TimerKind::Processing, 5));
        assert!(!timers.set(9, TimerKind::Event, 10), "the same timer is kept once");
        let mut order = Vec::new();
        while let Some((at, slot)) = timers.first(TimerKind::Event, Timestamp::MAX) {
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
        again.order_all();
        assert_eq!(again.first(TimerKind::Event, Timestamp::MAX), Some((i64::MAX, 2)));
        assert_eq!(again.first(TimerKind::Processing, Timestamp::MAX), Some((-1, 2)));
        assert!(again.decode(2, &bytes).is_none(), "a timer twice");
        assert!(Timers::default().decode(0, &bytes[1..]).is_none());
        assert!(Timers::default().decode(0, &[2; 9]).is_none());
    }

    /// Any timer of few slots, or one that is set.
    fn any(rng: &mut Pcg64Mcg, model: &Model) -> Set {
        if !model.is_empty() && rng.random_range(0..2) == 0 {
            let nth = rng.random_range(0..model.len());
            return *model.iter().nth(nth).unwrap();
        }
        let kind = [TimerKind::Event, TimerKind::Processing][usize::from(rng.random_range(0..4) == 0)];
        let at = match rng.random_range(0..10) {
            0 => [Timestamp::MIN, -1, Timestamp::MAX][rng.random_range(0..3)],
            _ => rng.random_range(0..40),
        };
        (rng.random_range(0..12), kind, at)
    }

    fn check(timers: &Timers, model: &Model, seed: u64) {
        for kind in [TimerKind::Event, TimerKind::Processing] {
            let due = model.iter().filter(|timer| timer.1 == kind).map(|(slot, _, at)| (*at, *slot)).min();
            assert_eq!(timers.earliest(kind), due.map(|(at, _)| at), "seed {seed}");
        }
        assert_eq!(timers.is_empty(), model.is_empty(), "seed {seed}");
        for slot in 0..14 {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (_, kind, at) in model.iter().filter(|timer| timer.0 == slot) {
                expected.push(*kind as u8);
                expected.extend_from_slice(&at.to_le_bytes());
            }
            assert_eq!(timers.encode(slot, &mut bytes), !expected.is_empty(), "seed {seed}");
            assert_eq!(timers.has(slot), !expected.is_empty(), "seed {seed}");
            assert_eq!(bytes, expected, "seed {seed}");
        }
    }

    /// Returns the same timers, written and read, with the slots in between given up; and what they are then.
    fn restored(timers: &Timers, model: &Model) -> (Timers, Model) {
        let mut again = Timers::default();
        for slot in 0..14 {
            let mut bytes = Vec::new();
            if timers.encode(slot, &mut bytes) {
                again.decode(slot, &bytes).unwrap();
            }
        }
        again.order_all();
        let old: Vec<u32> = (0..14).filter(|slot| timers.has(*slot)).collect();
        again.pack(&old);
        let place = |slot: u32| old.iter().position(|old| *old == slot).unwrap() as u32;
        (again, model.iter().map(|(slot, kind, at)| (place(*slot), *kind, *at)).collect())
    }

    #[test]
    fn any_history_of_timers_is_that_of_a_set() {
        for seed in 0..200 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let (mut timers, mut model, mut before) = (Timers::default(), Model::new(), None);
            for _ in 0..150 {
                let timer @ (slot, kind, at) = any(&mut rng, &model);
                match rng.random_range(0..20) {
                    0 => {
                        timers.begin();
                        before = Some(model.clone());
                    }
                    1 => {
                        timers.settle();
                        before = None;
                    }
                    2 => {
                        timers.undo();
                        model = before.take().unwrap_or(model);
                    }
                    3 if before.is_none() => (timers, model) = restored(&timers, &model),
                    4..7 => {
                        if let Some((at, slot)) = timers.first(kind, Timestamp::MAX) {
                            assert!(timers.remove(slot, kind, at), "seed {seed}");
                            assert!(model.remove(&(slot, kind, at)), "seed {seed}");
                        }
                    }
                    7..12 => assert_eq!(timers.remove(slot, kind, at), model.remove(&timer), "seed {seed}"),
                    _ => assert_eq!(timers.set(slot, kind, at), model.insert(timer), "seed {seed}"),
                }
                check(&timers, &model, seed);
            }
        }
    }
}
