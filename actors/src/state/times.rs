//! The times for which each slot has timers.
//!
//! Nearly every slot of a large state has one, so each byte counts. As long as all times lie within some weeks, four bytes
//! say how long after a common moment each is. That moment goes with time; where the times lie too far apart, each takes
//! its eight bytes.

use super::bits::Bits;
use super::room::make_room;
use crate::time::Timestamp;

/// How far apart times are at most, in ms, when the common moment is moved: 25 days. By then as much is free before and
/// after them.
const SPAN: u64 = 1 << 31;
/// How long after a moment a time is at most that takes four bytes, in ms: seven weeks.
pub(super) const REACH: u64 = u32::MAX as u64;

/// The times of each slot.
#[derive(Default)]
pub(super) struct Times {
    /// By slot: its time; of a slot that has several, where in `lists` they are. Only as long as there are timers.
    single: Single,
    /// Slots that have a time.
    any: Bits,
    /// Slots that have several.
    several: Bits,
    /// In order.
    lists: Vec<Vec<Timestamp>>,
    /// Which of `lists` belong to no slot.
    free: Vec<usize>,
    /// How many slots got their first time since the common moment was moved.
    arrived: usize,
}

/// One number for each slot.
enum Single {
    /// How long after `base` each is.
    Near {
        base: Timestamp,
        after: Vec<u32>,
    },
    Far(Vec<Timestamp>),
}

impl Default for Single {
    fn default() -> Single {
        Single::Near { base: 0, after: Vec::new() }
    }
}

/// Returns how long after a moment a time is, if it is within reach.
#[inline]
pub(super) fn after(base: Timestamp, at: Timestamp) -> Option<u32> {
    // Where it is earlier, the difference may wrap around to a small one.
    let after = at.wrapping_sub(base) as u64;
    (at >= base && after <= REACH).then_some(after as u32)
}

/// Returns a moment from which on all these times are within reach, and about as many before and after them.
pub(super) fn base_of(first: Timestamp, last: Timestamp) -> Timestamp {
    first.saturating_sub_unsigned((REACH - last.abs_diff(first)) / 2)
}

impl Single {
    fn len(&self) -> usize {
        match self {
            Single::Near { after, .. } => after.len(),
            Single::Far(times) => times.len(),
        }
    }

    /// Makes it as long as this.
    fn resize(&mut self, length: usize) {
        match self {
            Single::Near { after, .. } => {
                make_room(after, length);
                after.resize(length, 0);
            }
            Single::Far(times) => {
                make_room(times, length);
                times.resize(length, 0);
            }
        }
    }

    #[inline]
    fn time(&self, slot: u32) -> Timestamp {
        match self {
            Single::Near { base, after } => base.wrapping_add(i64::from(after[slot as usize])),
            Single::Far(times) => times[slot as usize],
        }
    }

    /// Sets the time of a slot and returns whether it is within reach.
    #[inline]
    fn set_time(&mut self, slot: u32, at: Timestamp) -> bool {
        match self {
            Single::Near { base, after: all } => {
                let Some(after) = after(*base, at) else { return false };
                all[slot as usize] = after;
            }
            Single::Far(times) => times[slot as usize] = at,
        }
        true
    }

    /// Returns which list a slot has.
    #[inline]
    fn list(&self, slot: u32) -> usize {
        match self {
            Single::Near { after, .. } => after[slot as usize] as usize,
            Single::Far(times) => times[slot as usize] as usize,
        }
    }

    fn set_list(&mut self, slot: u32, list: usize) {
        match self {
            // There are no more lists than slots.
            Single::Near { after, .. } => after[slot as usize] = list as u32,
            Single::Far(times) => times[slot as usize] = list as Timestamp,
        }
    }
}

/// The times of one slot, in order.
pub(super) enum OfSlot<'a> {
    One(Timestamp),
    List(&'a [Timestamp]),
}

impl OfSlot<'_> {
    pub(super) fn as_slice(&self) -> &[Timestamp] {
        match self {
            OfSlot::One(at) => std::slice::from_ref(at),
            OfSlot::List(list) => list,
        }
    }
}

impl Times {
    /// Returns whether a slot has a time.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.any.contains(slot)
    }

    /// Returns the times of a slot.
    pub(super) fn of_slot(&self, slot: u32) -> OfSlot<'_> {
        match () {
            () if !self.any.contains(slot) => OfSlot::List(&[]),
            () if self.several.contains(slot) => OfSlot::List(&self.lists[self.single.list(slot)]),
            () => OfSlot::One(self.single.time(slot)),
        }
    }

    /// Returns all times, ordered by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Timestamp, u32)> + '_ {
        self.any.iter().flat_map(|slot| {
            let (one, list) = match self.of_slot(slot) {
                OfSlot::One(at) => (Some(at), &[][..]),
                OfSlot::List(list) => (None, list),
            };
            one.into_iter().chain(list.iter().copied()).map(move |at| (at, slot))
        })
    }

    /// Adds a time and returns whether it is new.
    pub(super) fn insert(&mut self, slot: u32, at: Timestamp) -> bool {
        if self.any.insert(slot) {
            self.set_first(slot, at);
            return true;
        }
        if self.several.contains(slot) {
            let list = &mut self.lists[self.single.list(slot)];
            let Err(index) = list.binary_search(&at) else { return false };
            list.insert(index, at);
            return true;
        }
        let single = self.single.time(slot);
        if single == at {
            return false;
        }
        let list = vec![at.min(single), at.max(single)];
        let index = self.free.pop().unwrap_or_else(|| {
            self.lists.push(Vec::new());
            self.lists.len() - 1
        });
        self.lists[index] = list;
        self.single.set_list(slot, index);
        self.several.insert(slot);
        true
    }

    /// Sets the time of a slot that had none.
    #[inline]
    fn set_first(&mut self, slot: u32, at: Timestamp) {
        let length = slot as usize + 1;
        if self.single.len() < length {
            self.lengthen(length, slot, at);
        }
        self.arrived += 1;
        self.set_single(slot, at);
    }

    /// Takes a time out and returns whether it was there.
    pub(super) fn remove(&mut self, slot: u32, at: Timestamp) -> bool {
        if !self.any.contains(slot) {
            return false;
        }
        if !self.several.contains(slot) {
            return self.single.time(slot) == at && self.any.remove(slot);
        }
        let index = self.single.list(slot);
        let list = &mut self.lists[index];
        let Ok(place) = list.binary_search(&at) else { return false };
        list.remove(place);
        if let [last] = list[..] {
            *list = Vec::new();
            self.free.push(index);
            self.several.remove(slot);
            self.set_single(slot, last);
        }
        true
    }

    /// Sets the only time of a slot.
    #[inline]
    fn set_single(&mut self, slot: u32, at: Timestamp) {
        if !self.single.set_time(slot, at) {
            self.make_reach(slot, at);
        }
    }

    /// Makes place for so many slots, of which `slot` is about to get its first time. Where memory moves anyway, it is
    /// looked whether times that were too far apart are so no more.
    #[inline(never)]
    fn lengthen(&mut self, length: usize, slot: u32, at: Timestamp) {
        match &self.single {
            Single::Near { after, .. } if after.is_empty() => {
                self.single = Single::Near { base: base_of(at, at), after: Vec::new() };
            }
            Single::Far(times) if length > times.capacity() => self.come_near(slot, at),
            Single::Near { .. } | Single::Far(_) => {}
        }
        self.single.resize(length);
    }

    #[cold]
    fn come_near(&mut self, slot: u32, at: Timestamp) {
        let Single::Far(times) = &self.single else { return };
        let singles = || self.any.iter().filter(|other| *other != slot && !self.several.contains(*other));
        let (mut first, mut last) = (at, at);
        for slot in singles() {
            (first, last) = (first.min(times[slot as usize]), last.max(times[slot as usize]));
        }
        if last.abs_diff(first) > SPAN {
            return;
        }
        let base = base_of(first, last);
        // Those that have several have a number that stays as it is.
        let mut after: Vec<u32> = times.iter().map(|time| *time as u32).collect();
        for slot in singles() {
            after[slot as usize] = times[slot as usize].wrapping_sub(base) as u32;
        }
        self.single = Single::Near { base, after };
    }

    /// Sets the only time of a slot, which the common moment is too far away from.
    #[cold]
    fn make_reach(&mut self, slot: u32, at: Timestamp) {
        let Single::Near { base, after: all } = &mut self.single else { return };
        let singles = || self.any.iter().filter(|other| *other != slot && !self.several.contains(*other));
        let (mut first, mut last) = (at, at);
        for slot in singles() {
            let time = base.wrapping_add(i64::from(all[slot as usize]));
            (first, last) = (first.min(time), last.max(time));
        }
        // One that is moved again and again would cost more than it saves.
        let is_rare = self.arrived > all.len() / 64;
        if last.abs_diff(first) <= SPAN && is_rare {
            let moved = base_of(first, last);
            for slot in singles() {
                let after = &mut all[slot as usize];
                *after = base.wrapping_add(i64::from(*after)).wrapping_sub(moved) as u32;
            }
            all[slot as usize] = at.wrapping_sub(moved) as u32;
            *base = moved;
            self.arrived = 0;
            return;
        }
        // Those that have several have a number that stays as it is.
        let mut times: Vec<Timestamp> = Vec::with_capacity(all.capacity());
        times.extend(all.iter().map(|after| i64::from(*after)));
        for slot in singles() {
            times[slot as usize] = times[slot as usize].wrapping_add(*base);
        }
        times[slot as usize] = at;
        self.single = Single::Far(times);
    }

    /// Returns the same times by new slots.
    pub(super) fn packed(&self, old: &[u32]) -> Times {
        let mut packed = Times::default();
        for (slot, old) in old.iter().enumerate() {
            for at in self.of_slot(*old).as_slice() {
                packed.insert(slot as u32, *at);
            }
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn check(times: &Times, model: &BTreeSet<(u32, Timestamp)>, seed: u64) {
        assert!(times.iter().map(|(at, slot)| (slot, at)).eq(model.iter().copied()), "seed {seed}");
        for slot in 0..70 {
            let of_slot: Vec<Timestamp> = model.range((slot, i64::MIN)..=(slot, i64::MAX)).map(|(_, at)| *at).collect();
            assert_eq!(times.of_slot(slot).as_slice(), of_slot, "seed {seed}");
            assert_eq!(times.has(slot), !of_slot.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn it_is_the_set_of_what_was_added_and_not_taken_out() {
        let (mut near, mut far) = (0, 0);
        for seed in 0..300 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let (mut times, mut model) = (Times::default(), BTreeSet::new());
            // How fast time goes, and how far apart times are then.
            let speed = [1, 1 << 20, 1 << 26, 1 << 30, 1 << 50][rng.random_range(0..5)];
            let spread = [1, 1 << 28, 1 << 31, 1 << 32, 1 << 40][rng.random_range(0..5)];
            let mut now = [0, i64::MIN, i64::MAX - 1, 1_700_000_000_000][rng.random_range(0..4)];
            for _ in 0..300 {
                now = now.saturating_add(speed);
                let slot = rng.random_range(0..[3, 64][seed as usize % 2]);
                let at = match rng.random_range(0..40) {
                    0 if seed % 4 == 0 => [Timestamp::MIN, Timestamp::MAX][rng.random_range(0..2)],
                    _ => now.saturating_add(rng.random_range(-spread..=spread)),
                };
                if rng.random_range(0..20) < 8 {
                    assert_eq!(times.insert(slot, at), model.insert((slot, at)), "seed {seed}");
                } else if rng.random_range(0..3) > 0 {
                    // The first of all, as time goes.
                    let first = model.iter().copied().min_by_key(|(slot, at)| (*at, *slot));
                    if let Some((slot, at)) = first {
                        assert!(model.remove(&(slot, at)) && times.remove(slot, at), "seed {seed}");
                    }
                } else {
                    assert_eq!(times.remove(slot, at), model.remove(&(slot, at)), "seed {seed}");
                }
                check(&times, &model, seed);
            }
            *(if matches!(times.single, Single::Near { .. }) { &mut near } else { &mut far }) += 1;
            let old: Vec<u32> = (0..70).filter(|slot| times.has(*slot)).collect();
            let place = |slot: u32| old.iter().position(|old| *old == slot).unwrap() as u32;
            let packed = model.iter().map(|(slot, at)| (place(*slot), *at)).collect();
            check(&times.packed(&old), &packed, seed);
        }
        assert!(near > 30 && far > 30, "{near} {far}");
    }

    #[test]
    fn one_time_that_is_far_away_is_forgotten() {
        let mut times = Times::default();
        assert!(times.insert(0, 0) && times.insert(1, 1 << 40) && times.insert(1, 5));
        assert!(times.insert(2, 1 << 50) && matches!(times.single, Single::Far(_)));
        assert!(times.remove(2, 1 << 50) && times.insert(2, 7));
        for slot in 3..100 {
            assert!(times.insert(slot, i64::from(slot)));
        }
        assert!(matches!(times.single, Single::Near { .. }));
        assert_eq!(times.of_slot(1).as_slice(), [5, 1 << 40]);
        let others = (0..100).filter(|slot| *slot != 1);
        let expected = others.map(|slot| (if slot == 2 { 7 } else { i64::from(slot) }, slot));
        assert!(times.iter().filter(|(_, slot)| *slot != 1).eq(expected));
    }

    #[test]
    fn times_that_go_on_for_years_take_four_bytes_each() {
        let (mut times, hour) = (Times::default(), 3_600_000i64);
        for number in 0..30_000 {
            let at = 1_700_000_000_000 + i64::from(number) * hour;
            assert!(times.insert(number % 100, at));
            if number >= 99 {
                assert!(times.remove((number + 1) % 100, at - 99 * hour));
            }
        }
        assert!(matches!(times.single, Single::Near { .. }));
    }
}
