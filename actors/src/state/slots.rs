//! Which key has which slot.
//!
//! Every key with state or timers has one slot number, shared by all columns. The numbers are dense: a new key takes
//! the smallest free one. So the numbering is a function of what happened, not of how a hash table was laid out,
//! and a restored store goes on numbering exactly as the one that was cut.
//!
//! For an integer key the hash *is* the key (it is a bijection); only keys of bytes are kept and compared in full.

mod index;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::index::Index;
use super::bits::Bits;
use super::room::make_room;
use crate::key::{Key, Text};

/// How many slots there can be.
pub(super) const MAX_SLOTS: usize = 1 << 31;

/// Many keys are sorted into parts before they are put into the index; the places of so many fit a core's caches.
const PART_KEYS: usize = 16 * 1024;
const MAX_PARTS: usize = 4096;

/// With fewer keys than this it is no matter how they are written.
const MANY_KEYS: usize = 4096;

/// A store may have this many slots more than eight for each key before a cut packs it together. Tests have few keys.
const SPARSE_SLACK: u64 = if cfg!(test) { 16 } else { 4096 };

/// The keys of one store by slot, and which of them changed since the last cut.
pub(super) struct Slots {
    /// Of each key its slot, with [`TEXT`] if it is one of bytes.
    index: Index,
    /// By slot.
    hashes: Vec<u64>,
    /// Only as long as there are keys of bytes.
    texts: Vec<Option<Text>>,
    occupied: Bits,
    /// Every free slot at least once; what else an undo has left there is passed over.
    free: BinaryHeap<Reverse<u32>>,
    dirty: Bits,
    /// Slots whose present key is in the chunks cut so far: if it goes, a chunk must say so.
    cut: Bits,
    /// Group and slot of the keys that went since the last cut and are in the chunks before it.
    removed: Vec<(u32, u32)>,
    key_groups: u32,
    log: SlotLog,
}

/// Slots are smaller than this.
const TEXT: u32 = 1 << 31;
const _: () = assert!(MAX_SLOTS <= TEXT as usize);

/// What happened to slots in a transaction, in order.
#[derive(Default)]
struct SlotLog {
    is_on: bool,
    changes: Vec<Change>,
    /// One for each [`Change::Released`].
    released: Vec<Released>,
}

enum Change {
    /// It was not dirty.
    Touched(u32),
    /// It was free.
    Inserted(u32),
    /// There was no such slot.
    Appended(u32),
    Released,
}

struct Released {
    slot: u32,
    key: Key,
    was_dirty: bool,
    was_cut: bool,
}

impl SlotLog {
    #[inline]
    fn note(&mut self, change: Change) {
        if self.is_on {
            self.changes.push(change);
        }
    }

    #[inline]
    fn note_released(&mut self, released: Released) {
        if self.is_on {
            self.changes.push(Change::Released);
            self.released.push(released);
        }
    }

    fn settle(&mut self) {
        self.is_on = false;
        self.changes.clear();
        self.released.clear();
    }
}

impl Slots {
    pub(super) fn new(key_groups: u32) -> Slots {
        Slots {
            index: Index::default(),
            hashes: Vec::new(),
            texts: Vec::new(),
            occupied: Bits::default(),
            free: BinaryHeap::new(),
            dirty: Bits::default(),
            cut: Bits::default(),
            removed: Vec::new(),
            key_groups,
            log: SlotLog::default(),
        }
    }

    /// Returns the slot of a key.
    #[inline]
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        if key.as_u64().is_some() { self.find_integer(key.hash()) } else { self.find_text(key) }
    }

    /// Returns the slot of the integer key that has this hash.
    #[inline]
    pub(super) fn find_integer(&self, hash: u64) -> Option<u32> {
        // That of a key of bytes is no slot as it stands, so there is no such hash.
        self.index.find(hash, |entry| self.hashes.get(entry as usize) == Some(&hash))
    }

    /// Returns how many slots there are, free ones between included.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    fn find_text(&self, key: &Key) -> Option<u32> {
        let hash = key.hash();
        let is_it = |entry: u32| entry & TEXT != 0 && self.is_text(entry & !TEXT, key);
        self.index.find(hash, is_it).map(|entry| entry & !TEXT)
    }

    fn is_text(&self, slot: u32, key: &Key) -> bool {
        self.texts[slot as usize].as_ref().is_some_and(|text| text.is_of(key))
    }

    /// Gives a key that has none the smallest free slot; nothing if there is none left.
    pub(super) fn insert(&mut self, key: &Key) -> Option<u32> {
        let (slot, change) = match self.pop_free() {
            Some(slot) => (slot, Change::Inserted(slot)),
            None if self.hashes.len() < MAX_SLOTS => {
                let slot = self.hashes.len();
                make_room(&mut self.hashes, slot + 1);
                self.hashes.push(0);
                (slot as u32, Change::Appended(slot as u32))
            }
            None => return None,
        };
        self.log.note(change);
        self.occupy(slot, key);
        Some(slot)
    }

    fn pop_free(&mut self) -> Option<u32> {
        while let Some(Reverse(slot)) = self.free.pop() {
            if (slot as usize) < self.hashes.len() && !self.occupied.contains(slot) {
                return Some(slot);
            }
        }
        None
    }

    fn occupy(&mut self, slot: u32, key: &Key) {
        if self.index.len() == self.index.room() {
            self.grow_index();
        }
        let entry = self.fill(slot, key);
        self.index.insert(key.hash(), entry);
    }

    /// Makes an index with room for half as many keys more. All that is in it is known without it.
    #[cold]
    fn grow_index(&mut self) {
        let room = self.index.room();
        self.index = Index::default();
        self.index_with_room(room + room / 2 + 1);
    }

    /// Puts a key into a slot, but not yet into the index. Returns what belongs there.
    fn fill(&mut self, slot: u32, key: &Key) -> u32 {
        self.hashes[slot as usize] = key.hash();
        self.occupied.insert(slot);
        if key.as_u64().is_some() {
            return slot;
        }
        if self.texts.len() <= slot as usize {
            make_room(&mut self.texts, slot as usize + 1);
            self.texts.resize(slot as usize + 1, None);
        }
        self.texts[slot as usize] = Some(Text::of(key));
        slot | TEXT
    }

    /// Puts a key into the next slot, when a whole state is restored. [`index_all`](Slots::index_all) ends that.
    #[inline]
    pub(super) fn append(&mut self, key: &Key) {
        let slot = self.hashes.len() as u32;
        self.hashes.push(0);
        self.fill(slot, key);
    }

    /// Puts integer keys into the next slots, by their hashes, as [`append`](Slots::append) does.
    pub(super) fn append_integers(&mut self, hashes: Vec<u64>) {
        debug_assert!(self.hashes.is_empty());
        self.occupied = Bits::all_below(hashes.len() as u32);
        self.hashes = hashes;
    }

    /// Leaves the next slot free.
    pub(super) fn skip(&mut self) {
        self.free.push(Reverse(self.hashes.len() as u32));
        self.hashes.push(0);
    }

    /// Makes the index of all keys and returns whether each was there once only.
    pub(super) fn index_all(&mut self) -> bool {
        self.index_with_room(self.occupied.count())
    }

    /// Makes the index of all keys, with room for so many, and returns whether each was there once only.
    ///
    /// Many keys are brought into about the order of the index first: in the order of their slots, each would touch
    /// memory that no cache holds.
    fn index_with_room(&mut self, room: usize) -> bool {
        self.index = Index::with_room(room);
        let keys = self.occupied.count();
        let parts = (keys / PART_KEYS).clamp(1, MAX_PARTS);
        if parts == 1 {
            let slots = self.occupied.list();
            return slots.into_iter().all(|slot| self.index_once(self.hashes[slot as usize], slot));
        }
        let mut next = vec![0; parts + 1];
        for slot in self.occupied.iter() {
            next[Index::part(self.hashes[slot as usize], parts) + 1] += 1;
        }
        for index in 1..next.len() {
            next[index] += next[index - 1];
        }
        let (mut hashes, mut sorted) = (vec![0; keys], vec![0; keys]);
        for slot in self.occupied.iter() {
            let hash = self.hashes[slot as usize];
            let next = &mut next[Index::part(hash, parts)];
            (hashes[*next], sorted[*next]) = (hash, slot);
            *next += 1;
        }
        hashes.into_iter().zip(sorted).all(|(hash, slot)| self.index_once(hash, slot))
    }

    /// Puts the key in a slot into the index, unless it is there.
    #[inline]
    fn index_once(&mut self, hash: u64, slot: u32) -> bool {
        let text = self.texts.get(slot as usize).and_then(Option::as_ref);
        let is_same = |entry: u32| match text {
            None => self.hashes.get(entry as usize) == Some(&hash),
            Some(text) => entry & TEXT != 0 && self.texts[(entry & !TEXT) as usize].as_ref() == Some(text),
        };
        if self.index.find(hash, is_same).is_some() {
            return false;
        }
        self.index.insert(hash, if text.is_some() { slot | TEXT } else { slot });
        true
    }

    /// Frees a slot, which has no value and no timer any more.
    pub(super) fn release(&mut self, slot: u32) {
        let key = self.vacate(slot);
        let was_dirty = self.dirty.remove(slot);
        let was_cut = self.cut.remove(slot);
        if was_cut {
            self.removed.push((key.group(self.key_groups), slot));
        }
        self.free.push(Reverse(slot));
        self.log.note_released(Released { slot, key, was_dirty, was_cut });
    }

    /// Takes the key out of a slot.
    fn vacate(&mut self, slot: u32) -> Key {
        let hash = self.hashes[slot as usize];
        self.occupied.remove(slot);
        let text = self.texts.get_mut(slot as usize).and_then(Option::take);
        self.index.remove(hash, if text.is_some() { slot | TEXT } else { slot });
        text.map_or_else(|| Key::of_integer_hash(hash), |text| text.into_key(hash))
    }

    /// Notes that the state of a slot changed.
    #[inline]
    pub(super) fn touch(&mut self, slot: u32) {
        if self.dirty.insert(slot) {
            self.log.note(Change::Touched(slot));
        }
    }

    /// Notes changes from now on.
    pub(super) fn begin(&mut self) {
        self.log.is_on = true;
    }

    /// Notes nothing from now on, and forgets what was noted.
    pub(super) fn settle(&mut self) {
        self.log.settle();
    }

    /// Takes back what was noted, and notes nothing from now on.
    pub(super) fn undo(&mut self) {
        while let Some(change) = self.log.changes.pop() {
            match change {
                Change::Touched(slot) => {
                    self.dirty.remove(slot);
                }
                Change::Inserted(slot) => {
                    self.vacate(slot);
                    self.free.push(Reverse(slot));
                }
                Change::Appended(slot) => {
                    self.vacate(slot);
                    self.hashes.pop();
                    self.texts.truncate(self.hashes.len());
                }
                Change::Released => {
                    let released = self.log.released.pop().expect("each released slot is noted with its key");
                    let Released { slot, key, was_dirty, was_cut } = released;
                    self.occupy(slot, &key);
                    if was_dirty {
                        self.dirty.insert(slot);
                    }
                    if was_cut {
                        self.cut.insert(slot);
                        self.removed.pop();
                    }
                }
            }
        }
        self.log.settle();
    }

    /// Returns the key in an occupied slot.
    pub(super) fn key(&self, slot: u32) -> Key {
        let hash = self.hashes[slot as usize];
        match self.texts.get(slot as usize) {
            Some(Some(text)) => text.clone().into_key(hash),
            _ => Key::of_integer_hash(hash),
        }
    }

    /// Returns the bytes of the key in an occupied slot, unless it is an integer.
    pub(super) fn bytes(&self, slot: u32) -> Option<&[u8]> {
        self.texts.get(slot as usize)?.as_ref()?.as_bytes()
    }

    pub(super) fn occupied(&self) -> &Bits {
        &self.occupied
    }

    /// Returns whether a cut has something to say about keys.
    pub(super) fn is_dirty(&self) -> bool {
        !self.removed.is_empty() || !self.dirty.is_empty()
    }

    /// Returns whether there are many keys and nearly all of them have changed since the last cut.
    pub(super) fn is_mostly_dirty(&self) -> bool {
        let keys = self.index.len();
        keys >= MANY_KEYS && self.dirty.count() >= keys - keys / 4
    }

    /// Returns the slots that a cut must write, in order, and the hashes of their keys.
    pub(super) fn changed(&self, everything: bool) -> (Vec<u32>, Vec<u64>) {
        // The slots alone first: whether a bit is set cannot be predicted, and a processor that has guessed wrong has
        // to ask for the hashes anew, which are far apart.
        let slots = if everything { self.occupied.list() } else { self.dirty.list() };
        let hashes = slots.iter().map(|slot| self.hashes[*slot as usize]).collect();
        (slots, hashes)
    }

    /// Returns group and slot of the keys that went since the last cut.
    pub(super) fn removed(&self) -> Vec<(u32, u32)> {
        self.removed.clone()
    }

    /// Returns whether every key is an integer.
    pub(super) fn has_integers_alone(&self) -> bool {
        self.texts.is_empty()
    }

    /// Notes that everything is in the chunks cut so far.
    pub(super) fn mark_cut(&mut self, everything: bool) {
        if everything {
            self.cut = self.occupied.clone();
        } else {
            self.cut.union(&self.dirty);
        }
        self.dirty.clear();
        self.removed.clear();
    }

    /// Returns whether there are so many free slots between the occupied ones that a chunk could not be restored
    /// without allocating out of proportion to its rows.
    pub(super) fn is_sparse(&self) -> bool {
        // Counted to the last occupied slot, so that a restored store answers as the one that was cut did.
        let span = self.occupied.last().map_or(0, |last| u64::from(last) + 1);
        is_sparse(span, self.index.len() as u64)
    }

    /// Moves the keys together, keeping their order, and returns the old slot of each.
    pub(super) fn pack(&mut self) -> Vec<u32> {
        let old: Vec<u32> = self.occupied.iter().collect();
        let mut packed = Slots::new(self.key_groups);
        for slot in &old {
            packed.append(&self.key(*slot));
        }
        packed.index_all();
        *self = packed;
        old
    }
}

/// Returns whether so many slots are too many for so many keys.
pub(super) fn is_sparse(slots: u64, keys: u64) -> bool {
    slots > keys.saturating_mul(8).saturating_add(SPARSE_SLACK)
}
