//! Where the buffers of batches wait between two uses.

use std::sync::{Arc, Mutex};

use super::{Rows, memory};
use crate::record::Record;
use crate::time::Timestamp;

/// What a batch is made of.
pub(super) struct Buffer<T> {
    pub(super) records: Vec<T>,
    pub(super) times: Vec<Timestamp>,
}

impl<T: Record> Buffer<T> {
    fn memory(&self) -> usize {
        memory(&self.records, &self.times)
    }
}

/// Where the buffers of finished batches wait for their next use.
pub(super) struct Pool<T> {
    pub(super) buffers: Mutex<Buffers<T>>,
}

pub(super) struct Buffers<T> {
    pub(super) waiting: Vec<Buffer<T>>,
    pub(super) memory: usize,
}

/// How much memory, by the measure of [`AnyBatch::memory`], a pool keeps at most; what is returned beyond that is freed.
/// When a window is committed, all that subtasks held of it for a replay comes back at once: freeing it would take
/// longer than what an actor may spend on anything.
pub(super) const POOL_MEMORY: usize = 96 << 20;

/// How many buffers a pool keeps at most, however small they are.
const POOL_BUFFERS: usize = 16 * 1024;

impl<T: Record> Pool<T> {
    pub(super) fn new() -> Arc<Pool<T>> {
        Arc::new(Pool { buffers: Mutex::new(Buffers { waiting: Vec::new(), memory: 0 }) })
    }

    pub(super) fn give(&self, mut buffer: Buffer<T>) {
        buffer.times.clear();
        let memory = buffer.memory();
        // A poisoned lock means that a thread died between taking a buffer and giving one back: there is nothing
        // half-done to protect, but nothing worth saving either.
        if let Ok(mut buffers) = self.buffers.lock()
            && buffers.waiting.len() < POOL_BUFFERS
            && buffers.memory + memory <= POOL_MEMORY
        {
            buffers.memory += memory;
            buffers.waiting.push(buffer);
        }
    }

    pub(super) fn take(self: &Arc<Self>) -> Rows<T> {
        let buffer = self.buffers.lock().ok().and_then(|mut buffers| {
            let buffer = buffers.waiting.pop()?;
            buffers.memory -= buffer.memory();
            Some(buffer)
        });
        let (records, times) = buffer.map_or_else(Default::default, |buffer| (buffer.records, buffer.times));
        Rows { records, live: 0, times, home: Some(Arc::clone(self)) }
    }
}
