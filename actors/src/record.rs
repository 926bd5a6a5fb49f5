//! Records: what travels on an edge, and the batches it travels in.
//!
//! An edge never carries a single record: it carries a batch, shared behind an [`Arc`], so that a fan-out, a retry
//! and a journal entry cost no copy. Records are therefore read by reference and cloned only by whoever keeps them.
//! A batch that nobody holds any more returns its buffer, records included, to the pool it was filled from: the next
//! one overwrites the records in place, which spares the allocations inside them.

use std::any::{Any, TypeId};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::time::Timestamp;

/// A type of which values can travel on an edge. Derive it: `#[derive(Clone, Serialize, Deserialize, Record)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel on an edge",
    note = "derive `Record` for `{Self}` (it also needs `Clone`, `Serialize` and `Deserialize`)"
)]
pub trait Record: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Overwrites this record with another, reusing what it has allocated.
    ///
    /// The derive does it field by field; a derived `Clone` alone would drop and allocate every field anew.
    fn assign(&mut self, from: &Self) {
        self.clone_from(from);
    }
}

macro_rules! plain_records {
    ($($plain:ty),*) => { $(impl Record for $plain {})* };
}
plain_records!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char, String, ());

impl<T: Record> Record for Option<T> {}
impl<T: Record> Record for Vec<T> {}

macro_rules! tuple_records {
    ($(($($name:ident $index:tt),+)),*) => {$(
        impl<$($name: Record),+> Record for ($($name,)+) {
            fn assign(&mut self, from: &Self) {
                $(self.$index.assign(&from.$index);)+
            }
        }
    )*};
}
tuple_records!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4));

/// What an edge carries, as the plan compares it: the two ends of an edge must agree.
#[derive(Clone)]
pub enum RecordType {
    /// Rows of one Rust type.
    Rows {
        /// Decides whether two ends agree.
        id: TypeId,
        /// For messages only: it differs between compilers and is never stored.
        name: &'static str,
    },
    /// Arrow batches of one schema.
    #[cfg(feature = "sql")]
    Table(arrow::datatypes::SchemaRef),
}

impl RecordType {
    /// Returns the type of rows of `T`.
    pub fn rows<T: Record>() -> RecordType {
        RecordType::Rows { id: TypeId::of::<T>(), name: std::any::type_name::<T>() }
    }

    /// Returns whether a batch of this type can be read as one of `other`.
    pub fn agrees_with(&self, other: &RecordType) -> bool {
        match (self, other) {
            (RecordType::Rows { id: left, .. }, RecordType::Rows { id: right, .. }) => left == right,
            #[cfg(feature = "sql")]
            (RecordType::Table(_), RecordType::Table(_)) => true,
            #[cfg(feature = "sql")]
            _ => false,
        }
    }
}

impl std::fmt::Display for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordType::Rows { name, .. } => f.write_str(&short_type_name(name)),
            #[cfg(feature = "sql")]
            RecordType::Table(_) => f.write_str("Arrow batches"),
        }
    }
}

impl std::fmt::Debug for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Returns a type name without its module paths: `(alloc::string::String, u64)` becomes `(String, u64)`.
pub fn short_type_name(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut word = String::new();
    for character in name.chars() {
        if character.is_alphanumeric() || character == '_' || character == ':' {
            word.push(character);
            continue;
        }
        short.push_str(word.rsplit("::").next().unwrap_or_default());
        word.clear();
        short.push(character);
    }
    short.push_str(word.rsplit("::").next().unwrap_or_default());
    short
}

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

    /// Makes a batch of these records with the event time of each, in ms.
    pub fn with_times(records: Vec<T>, times: Vec<Timestamp>) -> Rows<T> {
        assert_eq!(records.len(), times.len(), "every record needs its time, or none has one");
        Rows { live: records.len(), records, times, home: None }
    }

    fn push(&mut self, record: T, time: Option<Timestamp>) {
        match self.records.get_mut(self.live) {
            Some(slot) => *slot = record,
            None => self.records.push(record),
        }
        self.pushed(time);
    }

    fn push_from(&mut self, record: &T, time: Option<Timestamp>) {
        match self.records.get_mut(self.live) {
            Some(slot) => slot.assign(record),
            None => self.records.push(record.clone()),
        }
        self.pushed(time);
    }

    fn push_with(&mut self, fill: impl FnOnce(&mut T), time: Option<Timestamp>)
    where
        T: Default,
    {
        if self.records.len() == self.live {
            self.records.push(T::default());
        }
        fill(&mut self.records[self.live]);
        self.pushed(time);
    }

    #[inline]
    fn pushed(&mut self, time: Option<Timestamp>) {
        if let Some(time) = time {
            // A record without a time before one with a time: the earlier ones count as being of the same moment.
            while self.times.len() < self.live {
                self.times.push(time);
            }
            self.times.push(time);
        } else if let Some(last) = self.times.last().copied() {
            self.times.push(last);
        }
        self.live += 1;
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
    open: Option<Rows<T>>,
    ready: Vec<Arc<Rows<T>>>,
}

impl<T: Record> RowBuffer<T> {
    /// Makes an empty buffer whose batches hold up to `rows` records.
    pub fn new(rows: usize) -> RowBuffer<T> {
        let pool = Arc::new(Pool { buffers: Mutex::new(Vec::new()) });
        RowBuffer { pool, rows: rows.max(1), open: None, ready: Vec::new() }
    }

    /// Appends a record.
    #[inline]
    pub fn push(&mut self, record: T, time: Option<Timestamp>) {
        let full = {
            let open = self.open();
            open.push(record, time);
            open.live
        };
        self.close_at(full);
    }

    /// Appends a copy of a record, written over a recycled one.
    #[inline]
    pub fn push_from(&mut self, record: &T, time: Option<Timestamp>) {
        let full = {
            let open = self.open();
            open.push_from(record, time);
            open.live
        };
        self.close_at(full);
    }

    /// Appends a record that `fill` writes over a recycled one, or over a default one.
    #[inline]
    pub fn push_with(&mut self, fill: impl FnOnce(&mut T), time: Option<Timestamp>)
    where
        T: Default,
    {
        let full = {
            let open = self.open();
            open.push_with(fill, time);
            open.live
        };
        self.close_at(full);
    }

    #[inline]
    fn open(&mut self) -> &mut Rows<T> {
        let pool = &self.pool;
        self.open.get_or_insert_with(|| pool.take())
    }

    #[inline]
    fn close_at(&mut self, full: usize) {
        if full >= self.rows {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
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
        self.open = None;
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

/// One of two records: the input of an operator with two input ports.
///
/// It is deliberately not a [`Record`], so that a type that is one can be told from a pair of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<L, R> {
    /// Of the first input.
    Left(L),
    /// Of the second input.
    Right(R),
}

/// What an operator or a sink reads: one [`Record`] type, [`Either`] of two, or Arrow batches.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an operator's input",
    note = "use one `Record` type, or `Either<L, R>` of two `Record` types"
)]
pub trait Inputs: Sized + 'static {
    /// One record by reference: `&T`, or `Either<&L, &R>`.
    type Ref<'a>: Copy;

    /// A batch of them: `Arc<Rows<T>>`, or `Either` of two.
    type Batch: Clone + Send;

    /// Returns what each input port reads, in the order of the ports; any Arrow schema is written as none.
    fn ports() -> Vec<Option<RecordType>>;

    /// Returns the erased batch that arrived at a port as this type, or nothing if it is of another.
    fn batch(port: usize, batch: &Batch) -> Option<Self::Batch>;

    /// Calls `f` with each record and its event time, in order, until one fails.
    ///
    /// # Errors
    /// The first error of `f`.
    fn each(batch: &Self::Batch, f: impl FnMut(Self::Ref<'_>, Option<Timestamp>) -> crate::Result) -> crate::Result;

    /// Calls `f` with a made-up record of each port and returns whether it was ever true, or a record could not be
    /// made up.
    fn probe(f: impl FnMut(Self::Ref<'_>) -> bool) -> bool {
        let _ = f;
        true
    }
}

fn probe_row<T: Record>(f: impl FnOnce(&T) -> bool) -> bool {
    crate::probe::made_up::<T>().is_none_or(|record| f(&record))
}

fn each_row<T: Record>(rows: &Rows<T>, mut f: impl FnMut(&T, Option<Timestamp>) -> crate::Result) -> crate::Result {
    match rows.times() {
        None => rows.iter().try_for_each(|record| f(record, None)),
        Some(times) => rows.iter().zip(times).try_for_each(|(record, time)| f(record, Some(*time))),
    }
}

impl<T: Record> Inputs for T {
    type Ref<'a> = &'a T;
    type Batch = Arc<Rows<T>>;

    fn ports() -> Vec<Option<RecordType>> {
        vec![Some(RecordType::rows::<T>())]
    }

    fn batch(_port: usize, batch: &Batch) -> Option<Self::Batch> {
        rows(batch)
    }

    fn each(batch: &Self::Batch, f: impl FnMut(Self::Ref<'_>, Option<Timestamp>) -> crate::Result) -> crate::Result {
        each_row(batch, f)
    }

    fn probe(mut f: impl FnMut(Self::Ref<'_>) -> bool) -> bool {
        probe_row(|record| f(record))
    }
}

impl<L: Record, R: Record> Inputs for Either<L, R> {
    type Ref<'a> = Either<&'a L, &'a R>;
    type Batch = Either<Arc<Rows<L>>, Arc<Rows<R>>>;

    fn ports() -> Vec<Option<RecordType>> {
        vec![Some(RecordType::rows::<L>()), Some(RecordType::rows::<R>())]
    }

    fn batch(port: usize, batch: &Batch) -> Option<Self::Batch> {
        if port == 0 { rows(batch).map(Either::Left) } else { rows(batch).map(Either::Right) }
    }

    fn each(
        batch: &Self::Batch,
        mut f: impl FnMut(Self::Ref<'_>, Option<Timestamp>) -> crate::Result,
    ) -> crate::Result {
        match batch {
            Either::Left(left) => each_row(left, |record, time| f(Either::Left(record), time)),
            Either::Right(right) => each_row(right, |record, time| f(Either::Right(record), time)),
        }
    }

    fn probe(mut f: impl FnMut(Self::Ref<'_>) -> bool) -> bool {
        probe_row(|left| f(Either::Left(left))) || probe_row(|right| f(Either::Right(right)))
    }
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

    #[test]
    fn type_names_are_short() {
        assert_eq!(short_type_name("(alloc::string::String, u64)"), "(String, u64)");
        assert_eq!(RecordType::rows::<Vec<String>>().to_string(), "Vec<String>");
    }
}
