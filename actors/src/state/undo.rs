//! What values were before a transaction, so that a batch can be taken back.
//!
//! Every column notes what it held before it changes anything, and before user code gets `&mut` to it: a panic in the
//! middle of a change leaves a torn value behind, and the log has the whole one. What is replaced or removed is moved
//! into the log; only what is changed in place has to be copied. Of maps and lists, no more is noted than the entry or
//! the length that changes.
//!
//! Copies are not worth any price: where the values of a column become so large that copying them would cost more than
//! processing, it notes nothing and says that it cannot be taken back.

use std::any::Any;
use std::io;

use serde::Serialize;

use super::bits::Bits;
use super::handle::StateValue;

/// What a column held before a transaction.
pub(super) struct Log<T> {
    is_on: bool,
    /// Whether a change was not noted, so that there is no way back.
    is_lost: bool,
    /// Slots, and what was in them.
    wholes: Vec<(u32, Option<T>)>,
    /// The slots in `wholes`, if each is noted once only.
    noted: Bits,
    /// What parts of values were before they, and nothing else of their values, changed: a `Vec` of slots and parts.
    parts: Option<Box<dyn Parts<T>>>,
    price: Price,
}

/// How a part of a value is put back.
pub(super) trait Part<T>: Send + 'static {
    fn put_back(self, value: &mut T);
}

/// Parts of some values, in the order in which they were noted.
trait Parts<T>: Any + Send {
    /// Puts all of them back, the last one first.
    fn put_back(&mut self, cells: &mut [Option<T>]);

    fn forget(&mut self);
}

impl<T, P: Part<T>> Parts<T> for Vec<(u32, P)> {
    fn put_back(&mut self, cells: &mut [Option<T>]) {
        for (slot, part) in self.drain(..).rev() {
            let value = cells[slot as usize].as_mut().expect("a part is noted of a value that is there");
            part.put_back(value);
        }
    }

    fn forget(&mut self) {
        forget(self);
    }
}

/// A log that has become longer than this gives its memory back.
const KEPT: usize = 16 * 1024;

fn forget<T>(log: &mut Vec<T>) {
    log.clear();
    log.shrink_to(KEPT);
}

impl<T> Default for Log<T> {
    fn default() -> Log<T> {
        Log {
            is_on: false,
            is_lost: false,
            wholes: Vec::new(),
            noted: Bits::default(),
            parts: None,
            price: Price::default(),
        }
    }
}

impl<T: 'static> Log<T> {
    /// Whether each change is noted, because that costs less than finding out whether it is the first of its slot.
    const EACH: bool = !std::mem::needs_drop::<T>() && size_of::<T>() <= 64;

    /// Notes changes from now on.
    pub(super) fn begin(&mut self) {
        self.is_on = true;
    }

    /// Returns whether changes are to be noted.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Notes nothing from now on, and forgets what was noted.
    pub(super) fn settle(&mut self) {
        self.is_on = false;
        self.is_lost = false;
        if !Self::EACH {
            for (slot, _) in &self.wholes {
                self.noted.remove(*slot);
            }
        }
        forget(&mut self.wholes);
        if let Some(parts) = &mut self.parts {
            parts.forget();
        }
    }

    /// Puts back what was noted, notes nothing from now on, and returns whether that was everything that changed.
    pub(super) fn undo(&mut self, cells: &mut [Option<T>]) -> bool {
        if self.is_lost {
            self.settle();
            return false;
        }
        for (slot, old) in self.wholes.drain(..).rev() {
            cells[slot as usize] = old;
            self.noted.remove(slot);
        }
        if let Some(parts) = &mut self.parts {
            parts.put_back(cells);
        }
        self.is_on = false;
        true
    }

    /// Takes what was in a slot, after it was replaced or removed.
    #[inline]
    pub(super) fn keep(&mut self, slot: u32, old: Option<T>) {
        if Self::EACH || self.noted.insert(slot) {
            self.wholes.push((slot, old));
        }
    }
}

impl<T: StateValue> Log<T> {
    /// Copies the value in a slot, before it is changed in place.
    #[inline]
    pub(super) fn copy(&mut self, slot: u32, value: &T) {
        if Self::EACH {
            self.wholes.push((slot, Some(value.clone())));
        } else {
            self.copy_first(slot, value);
        }
    }

    #[inline(never)]
    fn copy_first(&mut self, slot: u32, value: &T) {
        if self.noted.contains(slot) {
            return;
        }
        if !self.price.is_fair(value) {
            self.is_lost = true;
            return;
        }
        // The copy first: it is made by the user's code, which may panic.
        let old = value.clone();
        self.keep(slot, Some(old));
    }

    /// Notes a part of the value in a slot, before only that part changes; `part` gives nothing if that is not worth
    /// its price.
    pub(super) fn copy_part<P: Part<T>>(&mut self, slot: u32, part: impl FnOnce(&mut Price) -> Option<P>) {
        if self.noted.contains(slot) {
            return;
        }
        let Some(part) = part(&mut self.price) else {
            self.is_lost = true;
            return;
        };
        let parts: &mut dyn Any = &mut **self.parts.get_or_insert_with(|| Box::new(Vec::<(u32, P)>::new()));
        let parts: &mut Vec<(u32, P)> = parts.downcast_mut().expect("the values of a column have parts of one type");
        parts.push((slot, part));
    }
}

/// Tells whether the values of a column are worth a copy, by the size of some of them.
#[derive(Default)]
pub(super) struct Price {
    asked: usize,
    /// A moving mean of how many bytes they have when they are written.
    mean: usize,
}

impl Price {
    /// Each so manieth value is measured.
    const SAMPLED: usize = 32;
    /// Larger ones take longer to copy than a record takes to be processed.
    const LIMIT: usize = 4096;

    /// Returns whether a value is worth a copy.
    pub(super) fn is_fair<T: Serialize>(&mut self, value: &T) -> bool {
        if self.asked.is_multiple_of(Price::SAMPLED) {
            self.mean = (self.mean * 3 + measured(value)) / 4;
        }
        self.asked = self.asked.wrapping_add(1);
        self.mean <= Price::LIMIT
    }
}

/// Returns how many bytes a value has when it is written, as far as that is worth knowing.
fn measured<T: Serialize>(value: &T) -> usize {
    struct Counted(usize);
    const ENOUGH: usize = 8 * Price::LIMIT;

    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            if self.0 < ENOUGH { Ok(bytes.len()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    // One that cannot be written is no matter of size: the next cut says so.
    rmp_serde::encode::write(&mut counted, value).ok();
    counted.0.min(ENOUGH)
}
