//! The keys of a block of records.

use super::slots::Slots;
use crate::key::Key;

/// How many records a block has at most: enough to wait for memory together, few enough that what was brought into the
/// fastest cache is still there when its record is processed.
pub(crate) const MAX_ROWS: usize = 128;

/// The keys of a block of records, in their order.
///
/// An integer key is its hash (it is a bijection), so as long as there are only such keys nothing else is kept.
#[derive(Default)]
pub(super) struct Block {
    hashes: Vec<u64>,
    /// Empty, or as many as there are hashes.
    keys: Vec<Key>,
}

impl Block {
    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.keys.clear();
    }

    /// Takes the keys of the next block.
    #[inline]
    pub(super) fn fill(&mut self, keys: impl Iterator<Item = Key>) {
        self.keys.clear();
        // By their places, not by pushing: how many there are would then go through memory from one to the next.
        self.hashes.resize(MAX_ROWS, 0);
        let mut rows = 0;
        let mut keys = keys;
        for (hash, key) in self.hashes.iter_mut().zip(&mut keys) {
            if key.as_u64().is_none() {
                self.hashes.truncate(rows);
                self.push_any(key);
                keys.for_each(|key| self.push_any(key));
                return;
            }
            *hash = key.hash();
            rows += 1;
        }
        debug_assert!(keys.next().is_none(), "a block has at most {MAX_ROWS} records");
        self.hashes.truncate(rows);
    }

    #[inline(never)]
    fn push_any(&mut self, key: Key) {
        if self.keys.is_empty() {
            self.keys.extend(self.hashes.iter().map(|hash| Key::of_integer_hash(*hash)));
        }
        self.hashes.push(key.hash());
        self.keys.push(key);
    }

    /// Returns the key of a record; none if the records have no keys.
    #[inline]
    pub(super) fn key(&self, row: usize) -> Key {
        match (self.keys.get(row), self.hashes.get(row)) {
            (Some(key), _) => key.clone(),
            (None, Some(hash)) => Key::of_integer_hash(*hash),
            (None, None) => Key::None,
        }
    }

    /// Writes the slot of each key, or `none` if it has none, and returns what was written.
    #[inline]
    pub(super) fn find<'a>(&self, slots: &Slots, none: u32, places: &'a mut [u32]) -> &'a [u32] {
        if self.keys.is_empty() {
            // Records of one key often follow each other, above all where the key is a moment.
            let (mut last, mut found) = (None, none);
            for (place, hash) in places.iter_mut().zip(&self.hashes) {
                if last != Some(*hash) {
                    (last, found) = (Some(*hash), slots.find_integer(*hash).unwrap_or(none));
                }
                *place = found;
            }
        } else {
            for (place, key) in places.iter_mut().zip(&self.keys) {
                *place = slots.find(key).unwrap_or(none);
            }
        }
        &places[..self.hashes.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_kinds_come_back_in_order() {
        let keys = [Key::from(7u64), Key::from(u64::MAX), Key::from("tea"), Key::None, Key::from(7u64)];
        let mut slots = Slots::new(16);
        for key in [&keys[0], &keys[2]] {
            slots.insert(key);
        }
        let mut block = Block::default();
        for length in [2, 5, 1] {
            block.fill(keys[..length].iter().cloned());
            assert_eq!((0..length).map(|row| block.key(row)).collect::<Vec<_>>(), keys[..length]);
            assert_eq!(block.find(&slots, 99, &mut [77; 8]), &[0, 99, 1, 99, 0][..length]);
        }
    }
}
