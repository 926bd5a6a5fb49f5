//! Batches: what records travel in.
//!
//! An edge never carries a single record: it carries a batch, shared behind an [`Arc`], so that a fan-out, a retry
//! and a journal entry cost no copy. A batch that nobody holds any more returns its buffer, records included, to the
//! pool it was filled from: the next one overwrites the records in place, which spares the allocations inside them.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

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
        if time.is_some() || !self.times.is_empty() {
            self.timed(time);
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
        self.records.capacity() * size_of::<T>() + self.times.capacity() * size_of::<Timestamp>()
    }
}

impl<T: Record> Drop for Rows<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(Buffer { records: std::mem::take(&mut self.records), times: std::mem::take(&mut self.times) });
        }
    }
}

struct Buffer<T> {
    records: Vec<T>,
    times: Vec<Timestamp>,
}

/// Where the buffers of finished batches wait for their next use.
struct Pool<T> {
    buffers: Mutex<Vec<Buffer<T>>>,
}

/// How many buffers a pool keeps at most; what is returned beyond that is freed.
const POOL_CAPACITY: usize = 256;

impl<T: Record> Pool<T> {
    fn give(&self, mut buffer: Buffer<T>) {
        buffer.times.clear();
        // A poisoned lock means that a thread died between taking a buffer and giving one back: there is nothing
        // half-done to protect, but nothing worth saving either.
        if let Ok(mut buffers) = self.buffers.lock()
            && buffers.len() < POOL_CAPACITY
        {
            buffers.push(buffer);
        }
    }

    fn take(self: &Arc<Self>) -> Rows<T> {
        let buffer = self.buffers.lock().ok().and_then(|mut buffers| buffers.pop());
        let (records, times) = buffer.map_or_else(Default::default, |buffer| (buffer.records, buffer.times));
        Rows { records, live: 0, times, home: Some(Arc::clone(self)) }
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
        let pool = Arc::new(Pool { buffers: Mutex::new(Vec::new()) });
        RowBuffer { pool, rows: rows.max(1), open: Rows::none(), ready: Vec::new() }
    }

    /// Appends a record.
    #[inline]
    pub fn push(&mut self, record: T, time: Option<Timestamp>) {
        self.begin();
        match self.open.records.get_mut(self.open.live) {
            Some(slot) => *slot = record,
            None => self.open.records.push(record),
        }
        self.pushed(time);
    }

    /// Appends a copy of a record, written over a recycled one.
    #[inline]
    pub fn push_from(&mut self, record: &T, time: Option<Timestamp>) {
        self.begin();
        match self.open.records.get_mut(self.open.live) {
            Some(slot) => slot.assign(record),
            None => self.open.records.push(record.clone()),
        }
        self.pushed(time);
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
        self.pushed(time);
    }

    /// Begins a batch with its first record, not earlier: until then the buffer of the last one may have come back.
    #[inline]
    fn begin(&mut self) {
        if self.open.live == self.open.records.len() {
            self.take();
        }
    }

    #[inline(never)]
    fn take(&mut self) {
        if self.open.home.is_none() {
            self.open = self.pool.take();
        }
    }

    #[inline]
    fn pushed(&mut self, time: Option<Timestamp>) {
        self.open.pushed(time);
        if self.open.live >= self.rows {
            self.close();
        }
    }

    /// Makes a finished batch of what is open, if that is anything.
    #[inline(never)]
    fn close(&mut self) {
        if self.open.live > 0 {
            let open = std::mem::replace(&mut self.open, Rows::none());
            self.ready.push(Arc::new(open));
        }
    }
}

/// What collects the output of an operator: rows of a Rust type, or Arrow batches.
pub trait OutputBuffer: Send {
    /// Makes an empty buffer whose batches hold up to `rows` records.
    fn with_rows(rows: usize) -> Self;

    /// Moves everything that was emitted to the end of `batches`.
    fn drain(&mut self, batches: &mut Vec<Batch>);

    /// Drops everything that was emitted.
    fn clear(&mut self);
}

impl<T: Record> OutputBuffer for RowBuffer<T> {
    fn with_rows(rows: usize) -> Self {
        RowBuffer::new(rows)
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.close();
        batches.extend(self.ready.drain(..).map(|rows| rows as Batch));
    }

    fn clear(&mut self) {
        self.open.live = 0;
        self.open.times.clear();
        self.ready.clear();
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
            if !channel.ready.is_empty() {
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
mod tests {
    use super::*;

    #[test]
    fn a_finished_batch_is_filled_again() {
        let mut buffer = RowBuffer::<String>::new(2);
        let mut batches = Vec::new();
        buffer.push("a long enough text to need an allocation".into(), Some(1));
        buffer.push("b".into(), Some(2));
        buffer.drain(&mut batches);
        let address = rows::<String>(&batches[0]).unwrap()[0].as_ptr();
        batches.clear();

        buffer.push_from(&"short".to_string(), None);
        buffer.drain(&mut batches);
        let again = rows::<String>(&batches[0]).unwrap();
        assert_eq!(&again[..], ["short".to_string()]);
        assert_eq!(again[0].as_ptr(), address, "the text was written over the recycled one");
        assert_eq!(again.times(), None);
    }

    #[test]
    fn scatter_keeps_order_times_and_batch_size() {
        let batch: Batch = Arc::new(Rows::with_times(vec![1u64, 2, 3, 4, 5], vec![10, 20, 30, 40, 50]));
        let mut scatter = <u64 as Output>::scatter(2, 2);
        let mut ready = Vec::new();
        scatter.add(&batch, &[0, 1, 0, 0, 1], &mut ready);
        scatter.flush(&mut ready);
        let got: Vec<(usize, Vec<u64>, Vec<i64>)> = ready
            .iter()
            .map(|(channel, batch)| (*channel, rows::<u64>(batch).unwrap().to_vec(), batch.times().unwrap().to_vec()))
            .collect();
        assert_eq!(got, [(0, vec![1, 3], vec![10, 30]), (1, vec![2, 5], vec![20, 50]), (0, vec![4], vec![40])]);
    }
}
