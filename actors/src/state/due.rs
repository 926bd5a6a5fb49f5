//! Timers in the order in which they are due.
//!
//! Nearly every key of a large state has a timer, so each entry counts: here it takes eight bytes and few more, where a set
//! of the standard library takes four times as many. The entries lie in leaves of some hundreds, and a map says from where
//! on each leaf is. The times of a leaf lie close together, so that four bytes say how long after the leaf's own time each
//! is; a leaf ends where these do not suffice. Most timers are set later than all others, and these fill the leaves to
//! the last entry; set in any order, they fill about two thirds. The first one goes without moving any.
//!
//! What is set is not put in order at once: most timers are those of windows, many of them due at the same time and set in any
//! order. They wait until one of them may be the first that is asked for, or until they are many, and then are sorted and
//! merged in together, which takes a few steps each (as in a log-structured merge tree, of one level).

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::times::{REACH, after, base_of};
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

/// As many entries may wait to be put in order, if those that are in order are few; otherwise their eighth part.
const WAITING: usize = if cfg!(test) { 8 } else { 16 * 1024 };
const SHARE: usize = 8;

/// A set of times and slots, ordered by time, then slot.
#[derive(Default)]
pub(super) struct Due {
    /// By a bound below all entries of a leaf and above those of the leaf before it; that of the first leaf is
    /// [`Entry::FIRST`]. No leaf is empty, and each has its entries in order.
    leaves: BTreeMap<Entry, Leaf>,
    /// Entries that are in no leaf yet, as they were added.
    waiting: Vec<Entry>,
    /// The earliest time of those that wait.
    soonest: Option<Timestamp>,
}

/// Aligned as its smaller part: otherwise a quarter of many that are sorted would be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
struct Entry {
    at: Timestamp,
    slot: u32,
}

impl Entry {
    const FIRST: Entry = Entry { at: Timestamp::MIN, slot: 0 };

    /// Returns one number in place of two: comparing these takes no branch.
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

/// Entries of which no two are further apart than [`REACH`].
struct Leaf {
    base: Timestamp,
    /// Of each entry how long after `base` it is, and below that its slot: one number, which is compared without a branch
    /// that a search would mostly guess wrong.
    ranks: VecDeque<u64>,
}

impl Leaf {
    /// Makes a leaf of entries that are in order and within reach of each other.
    fn of(entries: &[Entry]) -> Leaf {
        let base = match entries {
            [first, .., last] => base_of(first.at, last.at),
            [only] => base_of(only.at, only.at),
            [] => 0,
        };
        let ranks = entries.iter().map(|entry| rank(base, *entry)).collect();
        Leaf { base, ranks }
    }

    fn first(&self) -> Option<Entry> {
        self.ranks.front().map(|rank| entry(self.base, *rank))
    }

    fn last(&self) -> Option<Entry> {
        self.ranks.back().map(|rank| entry(self.base, *rank))
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.ranks.iter().map(|rank| entry(self.base, *rank))
    }

    /// Returns the rank of an entry, if it is within reach.
    #[inline]
    fn rank(&self, entry: Entry) -> Option<u64> {
        after(self.base, entry.at).map(|after| u64::from(after) << 32 | u64::from(entry.slot))
    }

    /// Moves the base so that an entry is within reach, and returns its rank; nothing if the others would not be.
    #[cold]
    fn reach(&mut self, entry: Entry) -> Option<u64> {
        let first = self.first().map_or(entry.at, |first| first.at.min(entry.at));
        let last = self.last().map_or(entry.at, |last| last.at.max(entry.at));
        if last.abs_diff(first) > REACH {
            return None;
        }
        self.set_base(base_of(first, last));
        Some(rank(self.base, entry))
    }

    fn set_base(&mut self, base: Timestamp) {
        // As far as it has to, the sum wraps around to what is right.
        let later = (self.base.wrapping_sub(base) as u64) << 32;
        self.ranks.iter_mut().for_each(|rank| *rank = rank.wrapping_add(later));
        self.base = base;
    }

    /// Adds a rank in its place.
    #[inline]
    fn insert(&mut self, index: usize, rank: u64) {
        if self.ranks.len() == self.ranks.capacity() {
            self.ranks.reserve_exact(STEP);
        }
        self.ranks.insert(index, rank);
    }
}

/// Returns the rank of an entry in a leaf of this base, which it is within reach of.
#[inline]
fn rank(base: Timestamp, entry: Entry) -> u64 {
    (entry.at.wrapping_sub(base) as u64) << 32 | u64::from(entry.slot)
}

/// Returns the entry of a rank in a leaf of this base.
#[inline]
fn entry(base: Timestamp, rank: u64) -> Entry {
    Entry { at: base.wrapping_add((rank >> 32) as i64), slot: rank as u32 }
}

/// Puts entries in order: by one number each, where their times lie close enough together.
fn sort(entries: &mut [Entry]) {
    let times = || entries.iter().map(|entry| entry.at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
    if last.abs_diff(first) > REACH {
        entries.sort_unstable();
        return;
    }
    let mut ranks: Vec<u64> = entries.iter().map(|entry| rank(first, *entry)).collect();
    ranks.sort_unstable();
    entries.iter_mut().zip(ranks).for_each(|(place, rank)| *place = entry(first, rank));
}

impl Due {
    /// Makes the set of all of these, in whatever order they come.
    pub(super) fn of(timers: impl Iterator<Item = (Timestamp, u32)>) -> Due {
        let mut entries: Vec<Entry> = timers.map(|(at, slot)| Entry { at, slot }).collect();
        entries.sort_unstable();
        let mut due = Due::default();
        due.fill(Entry::FIRST, FILLED, entries.into_iter());
        due
    }

    /// Makes leaves of so many entries each, which come in order; `bound` is that of the first leaf.
    fn fill(&mut self, mut bound: Entry, length: usize, mut entries: impl Iterator<Item = Entry>) {
        let mut leaf: Vec<Entry> = Vec::with_capacity(length);
        loop {
            let next = entries.next();
            if let Some(first) = leaf.first() {
                let fits = next.is_some_and(|next| leaf.len() < length && next.at.abs_diff(first.at) <= REACH);
                if !fits {
                    self.leaves.insert(bound, Leaf::of(&leaf));
                    leaf.clear();
                    bound = next.unwrap_or(bound);
                }
            }
            match next {
                Some(next) => leaf.push(next),
                None => return,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.waiting.is_empty()
    }

    fn first_in_order(&self) -> Option<Entry> {
        self.leaves.first_key_value().and_then(|(_, leaf)| leaf.first())
    }

    /// Returns the first time.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        let in_order = self.first_in_order().map(|entry| entry.at);
        in_order.into_iter().chain(self.soonest).min()
    }

    /// Returns the first time, and the lowest slot of that time, if it is not later than `until`.
    #[inline]
    pub(super) fn first(&mut self, until: Timestamp) -> Option<(Timestamp, u32)> {
        let mut first = self.first_in_order();
        if let Some(soonest) = self.soonest
            && soonest <= until
            && first.is_none_or(|first| soonest <= first.at)
        {
            self.order();
            first = self.first_in_order();
        }
        first.filter(|first| first.at <= until).map(|first| (first.at, first.slot))
    }

    /// Adds what is not in.
    #[inline]
    pub(super) fn insert(&mut self, at: Timestamp, slot: u32) {
        if self.waiting.len() >= WAITING.max(self.leaves.len() * (LEAF / SHARE)) {
            self.order();
        }
        if self.waiting.len() == self.waiting.capacity() {
            // Doubling would take as much again as the entries.
            self.waiting.reserve_exact(16 + self.waiting.len() / 4);
        }
        self.waiting.push(Entry { at, slot });
        self.soonest = Some(self.soonest.map_or(at, |soonest| soonest.min(at)));
    }

    /// Puts those that wait in order: all together if they are many, beside those in order among which they belong.
    fn order(&mut self) {
        self.soonest = None;
        let mut waiting = std::mem::take(&mut self.waiting);
        sort(&mut waiting);
        if let Some(first) = waiting.first() {
            let below = self.leaves.range(..=first).next_back();
            let bound = below.map_or(Entry::FIRST, |(bound, _)| *bound);
            let most = SHARE * waiting.len() / LEAF + 1;
            if self.leaves.range(bound..).take(most + 1).count() <= most {
                self.merge(bound, &waiting);
            } else {
                waiting.iter().for_each(|entry| self.put(*entry));
            }
        }
        waiting.clear();
        self.waiting = waiting;
    }

    /// Merges entries, which are in order, with those of the leaves from a bound on.
    fn merge(&mut self, bound: Entry, waiting: &[Entry]) {
        let upper = self.leaves.split_off(&bound);
        let last = upper.last_key_value().and_then(|(_, leaf)| leaf.last());
        // If others that are later still will come, the leaves are full.
        let length =
            if last.zip(waiting.first().copied()).is_none_or(|(last, first)| last < first) { LEAF } else { FILLED };
        let entries_of = |leaf: Leaf| {
            let Leaf { base, ranks } = leaf;
            ranks.into_iter().map(move |rank| entry(base, rank))
        };
        let (mut known, mut new) =
            (upper.into_values().flat_map(entries_of).peekable(), waiting.iter().copied().peekable());
        let merged = std::iter::from_fn(|| match (known.peek(), new.peek()) {
            (Some(one), Some(other)) if one < other => known.next(),
            (_, Some(_)) => new.next(),
            _ => known.next(),
        });
        self.fill(bound, length, merged);
    }

    /// Puts one that is not in between the others.
    fn put(&mut self, entry: Entry) {
        let is_last = self.leaves.last_key_value().is_some_and(|(bound, _)| *bound <= entry);
        let found = match is_last {
            true => self.leaves.last_entry().map(|last| (*last.key(), last.into_mut())),
            false => self.leaves.range_mut(..=entry).next_back().map(|(bound, leaf)| (*bound, leaf)),
        };
        let Some((bound, leaf)) = found else {
            self.leaves.insert(Entry::FIRST, Leaf::of(&[entry]));
            return;
        };
        let Some(rank) = leaf.rank(entry).or_else(|| leaf.reach(entry)) else {
            self.insert_beside(bound, entry);
            return;
        };
        let index = match leaf.ranks.back() {
            Some(back) if *back < rank => leaf.ranks.len(),
            _ => leaf.ranks.partition_point(|other| *other < rank),
        };
        debug_assert!(leaf.ranks.get(index) != Some(&rank), "it is in already");
        if leaf.ranks.len() < LEAF {
            leaf.insert(index, rank);
            return;
        }
        // If others that are later still will come, the leaf stays full.
        let kept = if is_last && index >= LEAF - LEAF / 4 { index } else { LEAF / 2 };
        let mut upper = Leaf { base: leaf.base, ranks: leaf.ranks.split_off(kept) };
        if index < kept {
            leaf.insert(index, rank);
        } else {
            upper.ranks.insert(index - kept, rank);
        }
        leaf.ranks.shrink_to_fit();
        if let (Some(first), Some(last)) = (upper.first(), upper.last()) {
            upper.set_base(base_of(first.at, last.at));
            self.leaves.insert(first, upper);
        }
    }

    /// Adds what is out of reach of the leaf that it belongs to, so that it is before or behind all of it, as a leaf of
    /// its own.
    #[cold]
    fn insert_beside(&mut self, bound: Entry, entry: Entry) {
        let first = self.leaves[&bound].first().unwrap_or(entry);
        if first < entry {
            self.leaves.insert(entry, Leaf::of(&[entry]));
        } else if let Some(leaf) = self.leaves.insert(bound, Leaf::of(&[entry])) {
            self.leaves.insert(first, leaf);
        }
    }

    /// Takes out what is in.
    pub(super) fn remove(&mut self, at: Timestamp, slot: u32) {
        let entry = Entry { at, slot };
        let mut is_first = self.first_in_order() == Some(entry);
        if !is_first && !self.waiting.is_empty() {
            self.order();
            is_first = self.first_in_order() == Some(entry);
        }
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
            leaf.ranks.pop_front();
        } else {
            let Some(rank) = leaf.rank(entry) else {
                debug_assert!(false, "it is not in");
                return;
            };
            let index = leaf.ranks.partition_point(|other| *other < rank);
            debug_assert!(leaf.ranks.get(index) == Some(&rank), "it is not in");
            leaf.ranks.remove(index);
        }
        match leaf.ranks.len() {
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

    /// Makes a leaf one with a neighbour, if both have few entries and are within reach: of two neighbours that are, one
    /// always has more than few.
    fn join(&mut self, bound: Entry) {
        let above = (Bound::Excluded(bound), Bound::Unbounded);
        let with_lower = self.leaves.range(..bound).next_back().map(|(lower, _)| (*lower, bound));
        let with_upper = self.leaves.range(above).next().map(|(upper, _)| (bound, *upper));
        let fits = |(lower, upper): &(Entry, Entry)| {
            let (lower, upper) = (&self.leaves[lower], &self.leaves[upper]);
            let span = lower.first().zip(upper.last()).map(|(first, last)| last.at.abs_diff(first.at));
            lower.ranks.len() + upper.ranks.len() <= JOINED && span.is_some_and(|span| span <= REACH)
        };
        let Some((lower, upper)) = with_lower.into_iter().chain(with_upper).find(fits) else { return };
        let joined: Vec<Entry> = self.leaves[&lower].entries().chain(self.leaves[&upper].entries()).collect();
        self.leaves.remove(&upper);
        self.leaves.insert(lower, Leaf::of(&joined));
    }
}
