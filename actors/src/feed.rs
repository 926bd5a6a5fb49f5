//! What a source emits into.

use crate::batch::{Batch, Output, OutputBuffer};
use crate::record::Record;
use crate::time::Timestamp;

/// Takes what one poll of a source emits.
pub struct Feed<Out: Output> {
    buffer: Out::Buffer,
    rows: usize,
    pushed: usize,
}

impl<Out: Output> Feed<Out> {
    /// Makes an empty feed whose batches hold up to `rows` records.
    pub fn new(rows: usize) -> Feed<Out> {
        Feed { buffer: Out::Buffer::with_rows(rows), rows: rows.max(1), pushed: 0 }
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

    /// Counts records that were put into the [`buffer`](Feed::buffer) directly.
    pub fn count(&mut self, records: usize) {
        self.pushed += records;
    }

    /// Moves everything to the end of `batches` and begins the next poll.
    pub fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.buffer.drain(batches);
        self.pushed = 0;
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
