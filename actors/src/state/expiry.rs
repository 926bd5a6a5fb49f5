//! When values expire: their deadlines by slot, and in the order in which they pass.
//!
//! A piece of state with a time to live has a second column, of deadlines: one for a value, a list of them for a list, a
//! map of them for a map, with the same keys. It is written beside the column of the values, under its name, a U+0000 and
//! the clock; what has no time to live has none of this. Whoever writes a value writes its deadline, and whoever takes it
//! away takes that away too, so that there is one of each or neither.
//!
//! What is due is a function of what is kept, and in no way of how it came about: a store that was restored cleans up the
//! same keys with the same batch as the one that was cut, so that both give the next key the same slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::aging::Aging;
use super::chunk::{BlockWriter, ColumnWriter, Kind, Picked};
use super::column::{Column, Data};
use super::columns::Columns;
use super::declared::Declared;
use super::handle::{Name, StateValue};
use super::migration::FIRST_VERSION;
use super::ttl::{Ttl, UNKNOWN};
use crate::time::{TimerKind, Timestamp, WATERMARK_MAX};
use crate::{Error, Result};

/// What stands between the name of a column and the clock of its deadlines.
const SEPARATOR: char = '\0';

const CLOCKS: [(TimerKind, &str); 2] = [(TimerKind::Event, "event"), (TimerKind::Processing, "processing")];

/// Returns what the deadlines of a column are written under.
fn column_of(name: &str, clock: TimerKind) -> String {
    let (_, word) = CLOCKS.iter().find(|(of, _)| *of == clock).expect("both clocks have a word");
    format!("{name}{SEPARATOR}{word}")
}

/// Returns which column has its deadlines under this name, and by which clock; nothing if it is none of deadlines.
pub(super) fn deadlines_of(column: &str) -> Option<(&str, TimerKind)> {
    let (name, word) = column.rsplit_once(SEPARATOR)?;
    let (clock, _) = CLOCKS.iter().find(|(_, of)| *of == word)?;
    Some((name, *clock))
}

/// The pieces of state of a store that have a time to live, and what time it is.
pub(super) struct Expiries {
    list: Vec<Expiry>,
    times: Times,
    /// What time it was when the transaction began.
    before: Times,
    in_transaction: bool,
}

#[derive(Clone, Copy)]
struct Times {
    event: Timestamp,
    processing: Timestamp,
}

/// A piece of state that has a time to live.
pub(super) struct Expiry {
    pub(super) name: Name,
    pub(super) kind: Kind,
    pub(super) ttl: Ttl,
    pub(super) aging: Arc<dyn Aging>,
    /// What its deadlines are written under.
    column: String,
    deadlines: Data,
    pub(super) due: Due,
}

impl Default for Expiries {
    fn default() -> Expiries {
        let times = Times { event: UNKNOWN, processing: UNKNOWN };
        Expiries { list: Vec::new(), times, before: times, in_transaction: false }
    }
}

impl Expiries {
    /// Begins with what is declared; nothing is kept so far.
    pub(super) fn declare(&mut self, declared: &[Declared]) {
        self.list = declared.iter().filter_map(Expiry::declared).collect();
    }

    /// Takes the deadlines of what was picked. What has none so far begins to age later; says whether there is any such.
    ///
    /// # Errors
    /// If something is damaged, or values have to be read to this end and cannot.
    pub(super) fn load(&mut self, picked: &Picked<'_>, declared: &[Declared], columns: &mut Columns) -> Result<bool> {
        self.declare(declared);
        let mut is_changed = false;
        if self.list.is_empty() {
            return Ok(false);
        }
        let cells = picked.columns()?;
        for expiry in &mut self.list {
            let held = cells.iter().filter(|cells| cells.name == expiry.name.text);
            let is_migrated = held.clone().any(|cells| cells.version != expiry.name.version);
            let own = cells.iter().find(|cells| cells.name == expiry.column && cells.kind == expiry.kind);
            // The keys of a map may have become others.
            if let Some(own) = own.filter(|_| !(is_migrated && expiry.kind == Kind::Map)) {
                expiry.deadlines = expiry.aging.decode(own)?;
            }
            let (name, aging) = (expiry.name, Arc::clone(&expiry.aging));
            is_changed |= aging.complete(&mut expiry.deadlines, columns, name, picked.slots())?;
            for slot in 0..picked.slots() as u32 {
                aging.each(&mut expiry.deadlines, slot, &mut |deadline| expiry.due.add(deadline, slot));
            }
        }
        Ok(is_changed)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Sets what time it is by one of the clocks.
    #[inline]
    pub(super) fn set_time(&mut self, clock: TimerKind, at: Timestamp) {
        match clock {
            // The end of the input is no time.
            TimerKind::Event => self.times.event = if at == WATERMARK_MAX { UNKNOWN } else { at },
            TimerKind::Processing => self.times.processing = at,
        }
    }

    /// Returns what time it is by a clock, if that is known.
    pub(super) fn now(&self, clock: TimerKind) -> Timestamp {
        match clock {
            TimerKind::Event => self.times.event,
            TimerKind::Processing => self.times.processing,
        }
    }

    /// Keeps what time it is for a store that takes this one's place.
    pub(super) fn keep_time(&mut self, of: &Expiries) {
        self.times = of.times;
    }

    /// Returns where the piece of state of a handle is.
    ///
    /// # Errors
    /// If it is not declared as what it is used as.
    pub(super) fn find(&self, name: Name, ttl: Ttl, kind: Kind) -> Result<usize> {
        let place = self.list.iter().position(|expiry| expiry.name.text == name.text && expiry.kind == kind);
        let Some(place) = place else {
            return Err(Error::invalid(format!(
                "state \"{}\" has a time to live, but is not declared: return its handle from the operator's `states`",
                name.text
            )));
        };
        if self.list[place].ttl.clock != ttl.clock {
            return Err(Error::invalid(format!(
                "state \"{}\" expires by one clock here, but is declared with the other: return the same handle from the \
                 operator's `states`",
                name.text
            )));
        }
        Ok(place)
    }

    #[inline]
    pub(super) fn at(&self, place: usize) -> &Expiry {
        &self.list[place]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, place: usize) -> &mut Expiry {
        &mut self.list[place]
    }

    /// Notes changes from now on.
    pub(super) fn begin(&mut self) {
        self.in_transaction = true;
        self.before = self.times;
        for expiry in &mut self.list {
            expiry.deadlines.any_mut().begin();
            expiry.due.log = Some(Vec::new());
        }
    }

    /// Notes nothing from now on, and forgets what was noted.
    pub(super) fn settle(&mut self) {
        self.in_transaction = false;
        for expiry in &mut self.list {
            expiry.deadlines.any_mut().settle();
            expiry.due.log = None;
        }
    }

    /// Takes back what was noted, notes nothing from now on, and returns whether that was everything that changed.
    pub(super) fn undo(&mut self) -> bool {
        if std::mem::take(&mut self.in_transaction) {
            self.times = self.before;
        }
        let mut is_undone = true;
        for expiry in &mut self.list {
            is_undone &= expiry.deadlines.any_mut().undo();
            expiry.due.undo();
        }
        is_undone
    }

    /// Encodes the deadlines of these slots, in this order.
    pub(super) fn encode(&self, slots: &[u32]) -> Result<Vec<ColumnWriter<'static>>> {
        let mut columns = Vec::with_capacity(self.list.len());
        for Expiry { kind, column, deadlines, .. } in &self.list {
            let encoding = deadlines.any().encoding();
            let mut block = BlockWriter::new(encoding.width(), slots.len());
            deadlines.any().encode(slots, &mut block)?;
            let name = column.clone().into();
            columns.push(ColumnWriter { name, kind: *kind, version: FIRST_VERSION, encoding, block });
        }
        Ok(columns)
    }

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    pub(super) fn pack(&mut self, old: &[u32]) {
        for expiry in &mut self.list {
            expiry.deadlines.any_mut().pack(old);
            expiry.due.pack(old);
        }
    }
}

impl Expiry {
    fn declared(declared: &Declared) -> Option<Expiry> {
        let (name, kind, ttl, aging) = declared.expiring()?;
        let column = column_of(name.text, ttl.clock);
        let (deadlines, due) = (aging.column(), Due::new(ttl.grid()));
        Some(Expiry { name, kind, ttl, aging, column, deadlines, due })
    }

    /// Returns the deadlines.
    pub(super) fn deadlines<D: StateValue>(&mut self) -> &mut Column<D> {
        self.deadlines.typed().expect("the deadlines of a piece of state are of the type that goes with it")
    }
}

/// How many deadlines of each slot pass in which stretch of time.
pub(super) struct Due {
    /// How long a stretch is.
    grid: i64,
    /// By the number of the stretch, and slot.
    counts: BTreeMap<(i64, u32), u32>,
    /// What was added (or taken away), in order; nothing outside of a transaction.
    log: Option<Vec<(bool, (i64, u32))>>,
}

/// Stands for the deadlines that are not known.
const NO_STRETCH: i64 = i64::MIN;

impl Due {
    fn new(grid: i64) -> Due {
        Due { grid, counts: BTreeMap::new(), log: None }
    }

    fn stretch(&self, at: Timestamp) -> i64 {
        if at == UNKNOWN { NO_STRETCH } else { at.div_euclid(self.grid) }
    }

    pub(super) fn add(&mut self, deadline: Timestamp, slot: u32) {
        self.change(true, (self.stretch(deadline), slot));
    }

    pub(super) fn remove(&mut self, deadline: Timestamp, slot: u32) {
        self.change(false, (self.stretch(deadline), slot));
    }

    /// A deadline becomes another one.
    #[inline]
    pub(super) fn replace(&mut self, old: Timestamp, new: Timestamp, slot: u32) {
        let (old, new) = (self.stretch(old), self.stretch(new));
        if old != new {
            self.change(false, (old, slot));
            self.change(true, (new, slot));
        }
    }

    fn change(&mut self, is_added: bool, place: (i64, u32)) {
        if let Some(log) = &mut self.log {
            log.push((is_added, place));
        }
        self.count(is_added, place);
    }

    fn count(&mut self, is_added: bool, place: (i64, u32)) {
        if is_added {
            *self.counts.entry(place).or_default() += 1;
        } else if let Some(count) = self.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place);
            }
        }
    }

    fn undo(&mut self) {
        for (is_added, place) in self.log.take().into_iter().flatten().rev() {
            self.count(!is_added, place);
        }
    }

    fn pack(&mut self, old: &[u32]) {
        let renumbered = std::mem::take(&mut self.counts).into_iter().filter_map(|((stretch, slot), count)| {
            let slot = old.binary_search(&slot).ok()?;
            Some(((stretch, slot as u32), count))
        });
        self.counts = renumbered.collect();
    }

    /// Returns the first slot that has something to be cleaned up: that was due before the stretch of `now`, or does not
    /// age yet.
    pub(super) fn first(&self, now: Timestamp) -> Option<u32> {
        let ((stretch, slot), _) = self.counts.first_key_value()?;
        (*stretch < self.stretch(now)).then_some(*slot)
    }

    /// Returns the slots of which something is due in the stretch of `now`, later or before.
    pub(super) fn around(&self, now: Timestamp) -> Vec<u32> {
        let stretch = self.stretch(now);
        self.counts.range((stretch, 0)..=(stretch, u32::MAX)).map(|((_, slot), _)| *slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_told_from_other_columns() {
        for (clock, _) in CLOCKS {
            assert_eq!(deadlines_of(&column_of("a\0b", clock)), Some(("a\0b", clock)));
        }
        assert_eq!(deadlines_of("event"), None);
        assert_eq!(deadlines_of("a\0b"), None);
    }

    #[test]
    fn what_is_due_is_a_matter_of_what_is_kept_alone() {
        let mut due = Due::new(10);
        due.add(25, 3);
        due.add(29, 3);
        due.add(31, 1);
        assert_eq!((due.first(29), due.first(30), due.around(30)), (None, Some(3), vec![1]));
        due.log = Some(Vec::new());
        due.replace(25, 28, 3);
        due.replace(29, 47, 3);
        due.remove(28, 3);
        due.add(UNKNOWN, 9);
        assert_eq!((due.first(30), due.first(UNKNOWN)), (Some(9), None));
        due.undo();
        due.remove(29, 3);
        assert_eq!(due.first(30), Some(3));
        due.remove(25, 3);
        assert_eq!((due.first(30), due.first(40)), (None, Some(1)));
        due.pack(&[0, 1]);
        assert_eq!(due.first(40), Some(1));
        due.pack(&[1]);
        assert_eq!(due.first(40), Some(0));
    }
}
