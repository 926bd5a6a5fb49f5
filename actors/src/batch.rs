//! Batches: what records travel in.
//!
//! An edge never carries a single record: it carries a batch, shared behind an [`Arc`], so that a fan-out, a retry
//! and a journal entry cost no copy. A batch that nobody holds any more returns its buffer, records included, to the
//! pool it was filled from: the next one overwrites the records in place, which spares the allocations inside them.

mod pool;

use std::any::Any;
use std::ops::{Deref, Range};
use std::sync::Arc;

use self::pool::{Buffer, Pool};
use crate::record::Record;
use crate::time::Timestamp;

/// A batch whose record type only its two ends know.
pub trait AnyBatch: Any + Send + Sync {
    /// Returns the number of records.
    fn len(&self) -> usize;

    /// Returns the event time of each record in ms, or nothing if the records have none.
    fn times(&self) -> Option<&[Timestamp]>;

    /// Returns about how many bytes of memory the batch holds.
    fn memory(&self) -> usize;

    /// Returns whether there are no records.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a batch of some of the records, with their times.
    ///
    /// # Panics
    /// If there are not so many records.
    fn slice(&self, rows: Range<usize>) -> Batch;

    /// Returns whether another batch holds the same records with the same times, as they are serialised: what
    /// compares a replay with what was sent before. A record that serialises in another order each time, as one with
    /// a hash map does, is never the same.
    fn same(&self, other: &dyn AnyBatch) -> bool;

    /// Encodes the records with their times, so that whoever reads records of this type can
    /// [`unpack`](crate::Inputs::unpack) them, in another process, too.
    ///
    /// # Errors
    /// If a record cannot be serialised.
    fn pack(&self) -> crate::Result<Vec<u8>>;

    /// Returns a record as JSON text, for those who look at dead letters; a text that says why, if it cannot be
    /// written so.
    ///
    /// # Panics
    /// If there is no such record.
    fn show(&self, row: usize) -> String;
}

/// A shared batch, erased: what mailboxes hold.
pub type Batch = Arc<dyn AnyBatch>;

/// A batch of rows of one Rust type. Dereferences to a slice of the records.
pub struct Rows<T: Record> {
    /// The first `live` are the batch's records; those behind are left over from earlier use and only spare an
    /// allocation when they are overwritten.
    records: Vec<T>,
    live: usize,
    /// As many as there are records, or none.
    times: Vec<Timestamp>,
    home: Option<Arc<Pool<T>>>,
}

impl<T: Record> Rows<T> {
    /// Makes a batch of these records, without event times.
    pub fn new(records: Vec<T>) -> Rows<T> {
        Rows { live: records.len(), records, times: Vec::new(), home: None }
    }

    /// Makes what stands for no batch at all.
    fn none() -> Rows<T> {
        Rows { records: Vec::new(), live: 0, times: Vec::new(), home: None }
    }

    /// Makes a batch of these records with the event time of each, in ms.
    pub fn with_times(records: Vec<T>, times: Vec<Timestamp>) -> Rows<T> {
        assert_eq!(records.len(), times.len(), "every record needs its time, or none has one");
        Rows { live: records.len(), records, times, home: None }
    }

    #[inline]
    fn pushed(&mut self, time: Option<Timestamp>) {
        match time {
            None if self.times.is_empty() => {}
            // As every record before it.
            Some(time) if self.times.len() == self.live => self.times.push(time),
            _ => self.timed(time),
        }
        self.live += 1;
    }

    /// Notes the time of a record in a batch where some have one: of two neighbours of which one has none, both count
    /// as being of the same moment.
    #[inline(never)]
    fn timed(&mut self, time: Option<Timestamp>) {
        let Some(time) = time.or_else(|| self.times.last().copied()) else { return };
        if self.times.len() < self.live {
            self.times.resize(self.live, time);
        }
        self.times.push(time);
    }
}

impl<T: Record> Deref for Rows<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.records[..self.live]
    }
}

impl<T: Record> AnyBatch for Rows<T> {
    fn len(&self) -> usize {
        self.live
    }

    fn times(&self) -> Option<&[Timestamp]> {
        (!self.times.is_empty()).then_some(self.times.as_slice())
    }

    fn memory(&self) -> usize {
        memory(&self.records, &self.times)
    }

    fn slice(&self, rows: Range<usize>) -> Batch {
        let times = self.times.get(rows.clone()).unwrap_or_default().to_vec();
        let records = self[rows].to_vec();
        Arc::new(Rows { live: records.len(), records, times, home: None })
    }

    fn same(&self, other: &dyn AnyBatch) -> bool {
        let other: &dyn Any = other;
        let Some(other) = other.downcast_ref::<Rows<T>>() else { return false };
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let mut is_same = |a: &T, b: &T| {
            left.clear();
            right.clear();
            let written = rmp_serde::encode::write(&mut left, a).and(rmp_serde::encode::write(&mut right, b));
            written.is_ok() && left == right
        };
        self.live == other.live && self.times == other.times && self.iter().zip(&**other).all(|(a, b)| is_same(a, b))
    }

    fn pack(&self) -> crate::Result<Vec<u8>> {
        // With the names of fields: the type may have one more when they are read.
        Ok(rmp_serde::to_vec_named(&(&self.times, &**self))?)
    }

    fn show(&self, row: usize) -> String {
        serde_json::to_string(&self[row]).unwrap_or_else(|error| unshown(&error))
    }
}

/// Decodes what [`AnyBatch::pack`] has made of rows of this type.
pub(crate) fn unpack_rows<T: Record>(bytes: &[u8]) -> crate::Result<Batch> {
    let (times, records): (Vec<Timestamp>, Vec<T>) =
        rmp_serde::from_slice(bytes).map_err(|error| unreadable::<T>(&error))?;
    if !times.is_empty() && times.len() != records.len() {
        return Err(unreadable::<T>(&"there are not as many times as records"));
    }
    Ok(Arc::new(Rows { live: records.len(), records, times, home: None }))
}

fn unreadable<T>(why: &dyn std::fmt::Display) -> crate::Error {
    let name = crate::record::short_type_name(std::any::type_name::<T>());
    crate::Error::invalid(format!("records that were under way cannot be read as {name}: {why}"))
}

/// Says in JSON why a record is not shown.
pub(crate) fn unshown(why: &dyn std::fmt::Display) -> String {
    serde_json::Value::from(format!("this record cannot be written as JSON: {why}")).to_string()
}

fn memory<T: Record>(records: &Vec<T>, times: &Vec<Timestamp>) -> usize {
    records.capacity() * size_of::<T>() + times.capacity() * size_of::<Timestamp>() + beside(records)
}

/// Returns about how many bytes records own beside themselves, as texts and lists do: what a few of them are when they
/// are serialised, times their number.
fn beside<T: Record>(records: &[T]) -> usize {
    if !std::mem::needs_drop::<T>() || records.is_empty() {
        return 0;
    }
    let mut bytes = Vec::new();
    let sample = [0, records.len() / 2, records.len() - 1];
    for record in sample.map(|number| &records[number]) {
        // One that cannot be serialised fails elsewhere, with a message.
        rmp_serde::encode::write(&mut bytes, record).ok();
    }
    bytes.len() * records.len() / sample.len()
}

impl<T: Record> Drop for Rows<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(Buffer { records: std::mem::take(&mut self.records), times: std::mem::take(&mut self.times) });
        }
    }
}

/// Collects what an operator emits into batches of a fixed number of rows.
pub struct RowBuffer<T: Record> {
    pool: Arc<Pool<T>>,
    rows: usize,
    open: Rows<T>,
    ready: Vec<Arc<Rows<T>>>,
}

impl<T: Record> RowBuffer<T> {
    /// Makes an empty buffer whose batches hold up to `rows` records.
    pub fn new(rows: usize) -> RowBuffer<T> {
        RowBuffer { pool: Pool::new(), rows: rows.max(1), open: Rows::none(), ready: Vec::new() }
    }

    /// Appends a record.
    #[inline]
    pub fn push(&mut self, record: T, time: Option<Timestamp>) {
        self.begin();
        match self.open.records.get_mut(self.open.live) {
            Some(slot) => *slot = record,
            None => self.open.records.push(record),
        }
        self.open.pushed(time);
    }

    /// Appends a copy of a record, written over a recycled one.
    #[inline]
    pub fn push_from(&mut self, record: &T, time: Option<Timestamp>) {
        self.begin();
        match self.open.records.get_mut(self.open.live) {
            Some(slot) => slot.assign(record),
            None => self.open.records.push(record.clone()),
        }
        self.open.pushed(time);
    }

    /// Appends a record that `fill` writes over a recycled one, or over a default one.
    #[inline]
    pub fn push_with(&mut self, fill: impl FnOnce(&mut T), time: Option<Timestamp>)
    where
        T: Default,
    {
        self.begin();
        if self.open.live == self.open.records.len() {
            self.open.records.push(T::default());
        }
        fill(&mut self.open.records[self.open.live]);
        self.open.pushed(time);
    }

    /// Appends records that all have times, and returns how many they were.
    pub(crate) fn extend(&mut self, records: impl Iterator<Item = (Timestamp, T)>) -> usize {
        let (mut records, mut pushed) = (records, 0);
        loop {
            self.begin();
            let open = &mut self.open;
            let recycled = open.records.len().min(self.rows).saturating_sub(open.live);
            if recycled > 0 && open.times.len() == open.live {
                let first = open.live;
                open.times.resize(first + recycled, 0);
                let places = open.records[first..].iter_mut().zip(&mut open.times[first..]);
                // Counted beside the buffer: within it, the count would go through memory from one record to the next.
                let mut taken = 0;
                for ((place, at), (time, record)) in places.zip(&mut records) {
                    (*place, *at) = (record, time);
                    taken += 1;
                }
                open.live += taken;
                open.times.truncate(open.live);
                pushed += taken;
                if taken < recycled {
                    return pushed;
                }
            } else {
                let Some((time, record)) = records.next() else { return pushed };
                self.push(record, Some(time));
                pushed += 1;
            }
        }
    }

    /// Makes room for a record: a batch is finished, and the next one begun, not before that. Until then the buffer of
    /// an earlier one may have come back.
    #[inline]
    fn begin(&mut self) {
        if self.open.live >= self.open.records.len() {
            self.make_room();
        }
    }

    #[inline(never)]
    fn make_room(&mut self) {
        if self.is_full() {
            self.close();
        }
        if self.open.home.is_none() {
            self.open = self.pool.take();
        }
    }

    /// Returns whether the batch that is open holds as many records as it may.
    #[inline]
    fn is_full(&self) -> bool {
        self.open.live >= self.rows
    }

    /// Makes a finished batch of what is open, if that is anything.
    fn close(&mut self) {
        if self.open.live > 0 {
            let open = std::mem::replace(&mut self.open, Rows::none());
            self.ready.push(Arc::new(open));
        }
    }
}

/// What collects the output of an operator: rows of a Rust type, or Arrow batches.
pub trait OutputBuffer: Send + 'static {
    /// Makes an empty buffer whose batches hold up to `rows` records.
    fn with_rows(rows: usize) -> Self;

    /// Moves everything that was emitted to the end of `batches`.
    fn drain(&mut self, batches: &mut Vec<Batch>);

    /// Returns a mark behind what was emitted so far. What is emitted later goes into other batches.
    fn mark(&mut self) -> usize;

    /// Drops what was emitted since a mark was set, and not drained.
    fn rewind(&mut self, mark: usize);
}

impl<T: Record> OutputBuffer for RowBuffer<T> {
    fn with_rows(rows: usize) -> Self {
        RowBuffer::new(rows)
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.close();
        batches.extend(self.ready.drain(..).map(|rows| rows as Batch));
    }

    fn mark(&mut self) -> usize {
        self.close();
        self.ready.len()
    }

    fn rewind(&mut self, mark: usize) {
        self.open.live = 0;
        self.open.times.clear();
        self.ready.truncate(mark);
    }
}

/// What an operator or a source may emit: any [`Record`], or Arrow batches.
pub trait Output: Sized + 'static {
    /// What collects it.
    type Buffer: OutputBuffer;

    /// Makes what spreads batches of this type over channels.
    fn scatter(channels: usize, rows: usize) -> Box<dyn Scatter>;
}

impl<T: Record> Output for T {
    type Buffer = RowBuffer<T>;

    fn scatter(channels: usize, rows: usize) -> Box<dyn Scatter> {
        Box::new(RowScatter::<T> { channels: (0..channels).map(|_| RowBuffer::new(rows)).collect() })
    }
}

/// Spreads the rows of batches over channels, collecting full batches per channel.
pub trait Scatter: Send {
    /// Copies row *i* of `batch` to channel `targets[i]`, and adds every batch that became full to `ready`.
    ///
    /// # Panics
    /// If the batch is of another type than this was made for, or there are not as many targets as rows.
    fn add(&mut self, batch: &Batch, targets: &[u32], ready: &mut Vec<(usize, Batch)>);

    /// Adds what waits, in order of the channels, to `ready`.
    fn flush(&mut self, ready: &mut Vec<(usize, Batch)>);
}

struct RowScatter<T: Record> {
    channels: Vec<RowBuffer<T>>,
}

impl<T: Record> Scatter for RowScatter<T> {
    fn add(&mut self, batch: &Batch, targets: &[u32], ready: &mut Vec<(usize, Batch)>) {
        let rows = rows::<T>(batch).expect("edge types were checked when the plan was made");
        assert_eq!(rows.live, targets.len(), "every row needs its target");
        let times = rows.times();
        for (index, (record, target)) in rows.iter().zip(targets).enumerate() {
            let channel = &mut self.channels[*target as usize];
            channel.push_from(record, times.map(|times| times[index]));
            if channel.is_full() {
                channel.close();
                ready.extend(channel.ready.drain(..).map(|full| (*target as usize, full as Batch)));
            }
        }
    }

    fn flush(&mut self, ready: &mut Vec<(usize, Batch)>) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            channel.close();
            ready.extend(channel.ready.drain(..).map(|rest| (index, rest as Batch)));
        }
    }
}

/// Returns the batch as rows of `T`, or nothing if it holds something else.
pub fn rows<T: Record>(batch: &Batch) -> Option<Arc<Rows<T>>> {
    let any: Arc<dyn Any + Send + Sync> = Arc::clone(batch) as Arc<dyn Any + Send + Sync>;
    any.downcast().ok()
}

#[cfg(test)]
mod tests;
