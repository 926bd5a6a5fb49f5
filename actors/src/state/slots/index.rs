//! Where the slot of a key is found by its hash.
//!
//! The index holds a slot and one byte of the hash for each key, not the hash itself: that stands in the table of hashes
//! by slot, which a look-up asks for certainty. Twelve slots, their tags, and how many keys had to go further because
//! there was no room for them, fill one line of a processor's caches. So a look-up touches one line of the index, however
//! the keys lie, and stops at the first line that nobody passed. This is how F14 is made (Bronson and Shi, *Open-sourcing
//! F14 for faster, more memory-efficient hash tables*, 2019), with fewer places in a line and more in a slot.

use wide::u8x16;

/// How many slots a line has room for.
const PLACES: usize = 12;
/// How many slots a line holds on average at most: with more, too many keys would have to go further.
const FULL: usize = 10;

/// Twelve entries.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line {
    /// The tags of the entries, 0 where there is none; and behind them how many keys have gone further.
    head: [u8; 16],
    entries: [u32; PLACES],
}

impl Line {
    /// Returns where there is this tag, a bit for each place.
    #[inline]
    fn places_of(&self, tag: u8) -> u32 {
        u8x16::new(self.head).simd_eq(u8x16::splat(tag)).to_bitmask() & ((1 << PLACES) - 1)
    }

    #[inline]
    fn passed(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_ne_bytes([a, b, c, d])
    }

    fn set_passed(&mut self, passed: u32) {
        self.head[PLACES..].copy_from_slice(&passed.to_ne_bytes());
    }
}

/// Entries, each a number below 2³² that says which key it is of, by the hash of that key. See the module.
#[derive(Default)]
pub(super) struct Index {
    lines: Vec<Line>,
    len: usize,
}

impl Index {
    /// Makes an empty index that has room for so many entries.
    pub(super) fn with_room(entries: usize) -> Index {
        Index { lines: vec![Line::default(); entries.div_ceil(FULL)], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many entries there is room for.
    pub(super) fn room(&self) -> usize {
        self.lines.len() * FULL
    }

    /// Returns in which of so many parts of equal size the search for a hash begins: the entries of a part are together.
    #[inline]
    pub(super) fn part(hash: u64, parts: usize) -> usize {
        // The highest bits of the hash choose the key group, so they are much the same for all keys of a subtask.
        (((hash & u64::from(u32::MAX)) * parts as u64) >> 32) as usize
    }

    #[inline]
    fn tag(hash: u64) -> u8 {
        ((hash >> 32) as u8).max(1)
    }

    #[inline]
    fn next(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// Returns the entry of a hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = Index::tag(hash);
        let mut at = Index::part(hash, self.lines.len());
        // All of them may have been passed.
        for _ in 0..self.lines.len() {
            let line = self.lines.get(at)?;
            let mut places = line.places_of(tag);
            while places != 0 {
                let entry = line.entries[places.trailing_zeros() as usize];
                if is_it(entry) {
                    return Some(entry);
                }
                places &= places - 1;
            }
            if line.passed() == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If there is no room for it.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, entry: u32) {
        assert!(self.len < self.room(), "room is made before an entry is added");
        let mut at = Index::part(hash, self.lines.len());
        loop {
            let line = &mut self.lines[at];
            let free = line.places_of(0);
            if free != 0 {
                let place = free.trailing_zeros() as usize;
                line.head[place] = Index::tag(hash);
                line.entries[place] = entry;
                self.len += 1;
                return;
            }
            line.set_passed(line.passed() + 1);
            at = self.next(at);
        }
    }

    /// Takes an entry out, if it is there.
    pub(super) fn remove(&mut self, hash: u64, entry: u32) {
        let tag = Index::tag(hash);
        let home = Index::part(hash, self.lines.len());
        let mut at = home;
        for _ in 0..self.lines.len() {
            let line = &mut self.lines[at];
            let places = line.places_of(tag);
            let place = (0..PLACES).find(|place| places & (1 << place) != 0 && line.entries[*place] == entry);
            if let Some(place) = place {
                line.head[place] = 0;
                self.len -= 1;
                let mut passed = home;
                while passed != at {
                    let line = &mut self.lines[passed];
                    line.set_passed(line.passed() - 1);
                    passed = self.next(passed);
                }
                return;
            }
            if line.passed() == 0 {
                return;
            }
            at = self.next(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Hashes of which many begin in the same line, or have the same tag.
    fn hash(random: &mut Pcg64Mcg) -> u64 {
        let (low, tag) = (random.random_range(0..4u64) << 29, random.random_range(0..3u64) << 32);
        low | tag | (random.random_range(0..8u64) << 40)
    }

    #[test]
    fn whatever_comes_and_goes_it_is_found_where_it_is() {
        for seed in 0..200 {
            let mut random = Pcg64Mcg::seed_from_u64(seed);
            let mut index = Index::with_room(random.random_range(1..60));
            let mut model: HashMap<u32, u64> = HashMap::new();
            for entry in 0..400 {
                if model.len() < index.room() && random.random_range(0..5) > 1 {
                    let hash = hash(&mut random);
                    index.insert(hash, entry);
                    model.insert(entry, hash);
                } else if let Some(entry) = model.keys().copied().min() {
                    let hash = model.remove(&entry).unwrap();
                    index.remove(hash, entry);
                    index.remove(hash, entry);
                }
                assert_eq!(index.len(), model.len());
                let sought = hash(&mut random);
                for entry in 0..400 {
                    let is_there = model.get(&entry) == Some(&sought);
                    let is_it = |found| found == entry && model.get(&found) == Some(&sought);
                    assert_eq!(index.find(sought, is_it).is_some(), is_there, "seed {seed}");
                }
            }
            let passed: u64 = index.lines.iter().map(|line| u64::from(line.passed())).sum();
            model.iter().for_each(|(entry, hash)| index.remove(*hash, *entry));
            assert!(index.lines.iter().all(|line| line.head == [0; 16]), "{passed} keys had gone further");
        }
    }

    #[test]
    fn an_empty_one_has_nothing() {
        assert_eq!(Index::default().find(7, |_| true), None);
        let mut index = Index::default();
        index.remove(7, 7);
        assert_eq!((index.len(), index.room()), (0, 0));
    }
}
