//! What a source emits into.
//!
//! A source that reads several partitions at once, as a consumer of topics does, says which one its records come from, so
//! that event time waits for the slowest of them. That is written down beside the records, by their numbers: however often
//! it changes, batches are as large as ever.

use crate::batch::{Batch, Output, OutputBuffer};
use crate::host::Mark;
use crate::ids::PartitionId;
use crate::record::Record;
use crate::time::Timestamp;

/// Takes what one poll of a source emits.
pub struct Feed<Out: Output> {
    buffer: Out::Buffer,
    rows: usize,
    pushed: usize,
    marks: Vec<Mark>,
    /// Which partition was named last in this poll.
    partition: Option<PartitionId>,
}

impl<Out: Output> Feed<Out> {
    /// Makes an empty feed whose batches hold up to `rows` records.
    pub fn new(rows: usize) -> Feed<Out> {
        Feed { buffer: Out::Buffer::with_rows(rows), rows: rows.max(1), pushed: 0, marks: Vec::new(), partition: None }
    }

    /// Says that records come from this partition, up to the end of the poll or until another one is named; those of a poll
    /// that names none come from one partition, number 0.
    ///
    /// A partition counts from when it is first named, whether or not there are records of it, until it is
    /// [done](Feed::partition_done): event time does not pass the slowest that counts and is not idle. So a source names all
    /// that it reads in its first poll after `open`: what was seen of them before is not forgotten.
    #[inline]
    pub fn in_partition(&mut self, partition: PartitionId) {
        if self.partition != Some(partition) {
            self.partition = Some(partition);
            self.marks.push(Mark { row: self.pushed, partition, is_done: false });
        }
    }

    /// Says that this partition does not count any more: it has come to its end, or belongs to another subtask now. It
    /// counts again if it is named again.
    pub fn partition_done(&mut self, partition: PartitionId) {
        self.marks.push(Mark { row: self.pushed, partition, is_done: true });
        self.partition = self.partition.filter(|named| *named != partition);
    }

    /// Returns how many records the current poll should emit at most.
    pub fn room(&self) -> usize {
        self.rows.saturating_sub(self.pushed)
    }

    /// Returns how many records the current poll has emitted.
    pub fn pushed(&self) -> usize {
        self.pushed
    }

    /// Returns what collects the records, for emitters of whole batches.
    pub fn buffer(&mut self) -> &mut Out::Buffer {
        &mut self.buffer
    }

    /// Counts records that were put into the [`buffer`](Feed::buffer) directly. It tells which of them are of which partition.
    pub fn count(&mut self, records: usize) {
        self.pushed += records;
    }

    /// Moves everything to the end of `batches` and begins the next poll. Returns what was said of partitions.
    pub fn drain(&mut self, batches: &mut Vec<Batch>) -> Vec<Mark> {
        self.buffer.drain(batches);
        self.pushed = 0;
        self.partition = None;
        std::mem::take(&mut self.marks)
    }
}

impl<T: Record> Feed<T> {
    /// Emits a record without an event time.
    #[inline]
    pub fn push(&mut self, record: T) {
        self.buffer.push(record, None);
        self.pushed += 1;
    }

    /// Emits a record with its event time in ms.
    #[inline]
    pub fn push_at(&mut self, time: Timestamp, record: T) {
        self.buffer.push(record, Some(time));
        self.pushed += 1;
    }

    /// Emits records with their event times in ms: faster than one by one, where a source has many at hand.
    #[inline]
    pub fn extend_at(&mut self, records: impl IntoIterator<Item = (Timestamp, T)>) {
        self.pushed += self.buffer.extend(records.into_iter());
    }

    /// Emits a record that `fill` writes over a recycled one, or over a default one.
    #[inline]
    pub fn push_with(&mut self, time: Option<Timestamp>, fill: impl FnOnce(&mut T))
    where
        T: Default,
    {
        self.buffer.push_with(fill, time);
        self.pushed += 1;
    }
}
