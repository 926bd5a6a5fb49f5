//! How far a running job has come, for whoever looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

/// How far a job has come. Looking disturbs nothing; clones show the same job.
#[derive(Clone, Default)]
pub struct Progress {
    gauges: Arc<Mutex<Vec<Arc<Gauges>>>>,
}

impl Progress {
    /// Shows these subtasks, too.
    pub(crate) fn watch<'a>(&self, gauges: impl IntoIterator<Item = &'a Arc<Gauges>>) {
        self.gauges.lock().extend(gauges.into_iter().cloned());
    }

    /// Returns how many records the sources have emitted since the job first began. A restart takes some back.
    pub fn records_in(&self) -> u64 {
        self.sum(|gauges| &gauges.read)
    }

    /// Returns how many records the sinks have taken since the job first began. A restart takes some back.
    pub fn records_out(&self) -> u64 {
        self.sum(|gauges| &gauges.written)
    }

    fn sum(&self, of: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        self.gauges.lock().iter().map(|gauges| of(gauges).load(Ordering::Relaxed)).sum()
    }
}

/// What a subtask's gauges show to whoever asks, without disturbing it.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) taken: AtomicU64,
    pub(crate) window: AtomicU64,
    pub(crate) watermark: AtomicI64,
}
