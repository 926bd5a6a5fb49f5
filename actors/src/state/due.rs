//! Timers in the order in which they are due.
//!
//! Nearly every key of a large state has a timer, so each entry counts: here it takes its twelve bytes and few more, where
//! a set of the standard library takes two to three times as many. The entries lie in leaves of some hundreds, and a
//! map says from where on each leaf is. Most timers are set later than all others, and these fill the leaves to the last
//! entry; set in any order, they fill about two thirds. The first one goes, and one is added behind all others, without
//! moving any.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::time::Timestamp;

/// How many entries a leaf has at most: each that is set between others moves up to half of them. Tests have few timers.
const LEAF: usize = if cfg!(test) { 8 } else { 256 };
/// A leaf grows by so many entries.
const STEP: usize = LEAF / 4;
/// A leaf that has no more entries left than this is joined with a neighbour, if there is one that is not much larger.
const SMALL: usize = LEAF / 4;
const JOINED: usize = LEAF / 4 * 3;
/// So full are leaves that are made at once: what is set later finds room.
const FILLED: usize = LEAF / 8 * 7;

/// A set of times and slots, ordered by time, then slot.
#[derive(Default)]
pub(super) struct Due {
    /// By a bound below all entries of a leaf and above those of the leaf before it; that of the first leaf is
    /// [`Entry::FIRST`]. No leaf is empty, and each has its entries in order.
    leaves: BTreeMap<Entry, VecDeque<Entry>>,
}

/// Aligned as its smaller part: otherwise a quarter of it would be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
struct Entry {
    at: Timestamp,
    slot: u32,
}

impl Entry {
    const FIRST: Entry = Entry { at: Timestamp::MIN, slot: 0 };

    /// Returns one number in place of two: comparing these takes no branch, which a search would mostly guess wrong.
    #[inline]
    fn rank(self) -> i128 {
        i128::from(self.at) << 32 | i128::from(self.slot)
    }
}

impl PartialOrd for Entry {
    #[inline]
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    #[inline]
    fn lt(&self, other: &Entry) -> bool {
        self.rank() < other.rank()
    }
}

impl Ord for Entry {
    #[inline]
    fn cmp(&self, other: &Entry) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Due {
    /// Makes the set of all of these, in whatever order they come.
    pub(super) fn of(timers: impl Iterator<Item = (Timestamp, u32)>) -> Due {
        let mut entries: Vec<Entry> = timers.map(|(at, slot)| Entry { at, slot }).collect();
        entries.sort_unstable();
        let mut due = Due::default();
        for leaf in entries.chunks(FILLED) {
            let bound = if due.leaves.is_empty() { Entry::FIRST } else { leaf[0] };
            due.leaves.insert(bound, leaf.iter().copied().collect());
        }
        due
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Returns the first time, and the lowest slot of that time.
    #[inline]
    pub(super) fn first(&self) -> Option<(Timestamp, u32)> {
        let (_, leaf) = self.leaves.first_key_value()?;
        leaf.front().map(|entry| (entry.at, entry.slot))
    }

    /// Adds what is not in.
    pub(super) fn insert(&mut self, at: Timestamp, slot: u32) {
        let entry = Entry { at, slot };
        let is_last = self.leaves.last_key_value().is_some_and(|(bound, _)| *bound <= entry);
        let leaf = match is_last {
            true => self.leaves.last_entry().map(std::collections::btree_map::OccupiedEntry::into_mut),
            false => self.leaves.range_mut(..=entry).next_back().map(|(_, leaf)| leaf),
        };
        let Some(leaf) = leaf else {
            self.leaves.insert(Entry::FIRST, VecDeque::from([entry]));
            return;
        };
        let index = match leaf.back() {
            Some(back) if *back < entry => leaf.len(),
            _ => leaf.partition_point(|other| *other < entry),
        };
        debug_assert!(leaf.get(index) != Some(&entry), "it is in already");
        if leaf.len() < LEAF {
            if leaf.len() == leaf.capacity() {
                leaf.reserve_exact(STEP);
            }
            leaf.insert(index, entry);
            return;
        }
        // If others that are later still will come, the leaf stays full.
        let kept = if is_last && index >= LEAF - LEAF / 4 { index } else { LEAF / 2 };
        let mut upper = leaf.split_off(kept);
        if index < kept {
            leaf.insert(index, entry);
        } else {
            upper.insert(index - kept, entry);
        }
        leaf.shrink_to_fit();
        self.leaves.insert(upper[0], upper);
    }

    /// Takes out what is in.
    pub(super) fn remove(&mut self, at: Timestamp, slot: u32) {
        let entry = Entry { at, slot };
        let is_first = self.first() == Some((at, slot));
        let (bound, leaf) = match is_first {
            true => match self.leaves.first_entry() {
                Some(first) => (*first.key(), first.into_mut()),
                None => return,
            },
            false => match self.leaves.range_mut(..=entry).next_back() {
                Some((bound, leaf)) => (*bound, leaf),
                None => return,
            },
        };
        if is_first {
            leaf.pop_front();
        } else {
            let index = leaf.partition_point(|other| *other < entry);
            debug_assert!(leaf.get(index) == Some(&entry), "it is not in");
            leaf.remove(index);
        }
        match leaf.len() {
            0 => self.drop_leaf(bound),
            SMALL => self.join(bound),
            _ => {}
        }
    }

    fn drop_leaf(&mut self, bound: Entry) {
        self.leaves.remove(&bound);
        if bound == Entry::FIRST
            && let Some((_, leaf)) = self.leaves.pop_first()
        {
            self.leaves.insert(Entry::FIRST, leaf);
        }
    }

    /// Makes a leaf one with a neighbour, if both have few entries: of two neighbours, one always has more than few.
    fn join(&mut self, bound: Entry) {
        let above = (Bound::Excluded(bound), Bound::Unbounded);
        let with_lower = self.leaves.range(..bound).next_back().map(|(lower, _)| (*lower, bound));
        let with_upper = self.leaves.range(above).next().map(|(upper, _)| (bound, *upper));
        let is_small = |(lower, upper): &(Entry, Entry)| self.leaves[lower].len() + self.leaves[upper].len() <= JOINED;
        let Some((lower, upper)) = with_lower.into_iter().chain(with_upper).find(is_small) else { return };
        let Some(mut joined) = self.leaves.remove(&upper) else { return };
        if let Some(leaf) = self.leaves.get_mut(&lower) {
            leaf.append(&mut joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn entries(due: &Due) -> Vec<(Timestamp, u32)> {
        due.leaves.values().flat_map(|leaf| leaf.iter().map(|entry| (entry.at, entry.slot))).collect()
    }

    /// Checks what is said of leaves where they are declared.
    fn check(due: &Due) {
        assert!(due.leaves.first_key_value().is_none_or(|(bound, _)| *bound == Entry::FIRST));
        assert!(entries(due).is_sorted_by(|one, next| one < next));
        let bounds = due.leaves.keys().skip(1).map(Some).chain([None]);
        for ((bound, leaf), next) in due.leaves.iter().zip(bounds) {
            assert!(!leaf.is_empty() && leaf.len() <= LEAF);
            assert!(leaf.iter().all(|entry| bound <= entry && next.is_none_or(|next| entry < next)));
        }
    }

    #[test]
    fn an_entry_takes_twelve_bytes() {
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[test]
    fn it_is_the_set_of_what_was_added_and_not_taken_out() {
        for seed in 0..300 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let (mut due, mut model) = (Due::default(), BTreeSet::new());
            let (times, slots) = (rng.random_range(1..300), rng.random_range(1..20u32));
            let mut latest = 0;
            for step in 0..400 {
                // It grows, is about as large as before, shrinks, and grows again.
                let grows = [9, 5, 1, 9][step / 100];
                if rng.random_range(0..10) < grows {
                    let at = match rng.random_range(0..20) {
                        0 => [Timestamp::MIN, Timestamp::MAX][rng.random_range(0..2)],
                        1..8 => rng.random_range(0..times),
                        _ => latest + rng.random_range(-1..3),
                    };
                    let slot = rng.random_range(0..slots);
                    if at != Timestamp::MAX {
                        latest = latest.max(at);
                    }
                    if model.insert((at, slot)) {
                        due.insert(at, slot);
                    }
                } else if let Some((at, slot)) = match rng.random_range(0..3) {
                    0 => model.iter().nth(rng.random_range(0..model.len().max(1))).copied(),
                    _ => model.first().copied(),
                } {
                    model.remove(&(at, slot));
                    due.remove(at, slot);
                }
                assert_eq!(due.first(), model.first().copied(), "seed {seed}, step {step}");
                assert_eq!(due.is_empty(), model.is_empty(), "seed {seed}, step {step}");
                check(&due);
            }
            assert!(entries(&due).into_iter().eq(model.iter().copied()), "seed {seed}");
            // The same again, all at once, and in the order of slots.
            let mut shuffled: Vec<(Timestamp, u32)> = model.iter().copied().collect();
            shuffled.sort_unstable_by_key(|(at, slot)| (*slot, *at));
            let again = Due::of(shuffled.into_iter());
            check(&again);
            assert_eq!(entries(&again), entries(&due), "seed {seed}");
            while let Some(first) = due.first() {
                assert_eq!(model.pop_first(), Some(first), "seed {seed}");
                due.remove(first.0, first.1);
            }
            assert!(model.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn timers_that_are_set_in_order_fill_their_leaves() {
        let mut due = Due::default();
        for number in 0..100 * LEAF as u32 {
            due.insert(i64::from(number / 3), number);
        }
        assert_eq!(due.leaves.len(), 100);
    }

    #[test]
    fn what_is_left_of_many_timers_takes_few_leaves() {
        let count = 100 * LEAF as u32;
        let mut due = Due::of((0..count).map(|number| (0, number)));
        for number in (0..count).filter(|number| number % LEAF as u32 != 0) {
            due.remove(0, number);
        }
        check(&due);
        assert!(due.leaves.len() <= 2 * 100 / SMALL + 1, "{}", due.leaves.len());
    }
}
