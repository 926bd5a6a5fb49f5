//! How far a running job has come, for whoever looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ids::SubtaskId;
use crate::runtime::look::Look;
use crate::runtime::port::Port;

/// How far a job has come. Looking disturbs nothing; clones show the same job.
#[derive(Clone, Default)]
pub struct Progress {
    watched: Arc<Mutex<Vec<Watched>>>,
    /// What regions that had finished before had read and written.
    before: Arc<Mutex<(u64, u64)>>,
    /// Regions whose input has ended, and what those that had done so before had read and written.
    finished: Arc<Mutex<BTreeMap<String, (u64, u64)>>>,
    look: Look,
}

/// What is shown of a subtask.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) subtask: SubtaskId,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) port: Arc<Port>,
}

/// How far a subtask has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its name: that of the head of its chain.
    pub operator: Arc<str>,
    /// Which of the subtasks of that name.
    pub subtask: u32,
    /// How many records its source has emitted since the job first began.
    pub read: u64,
    /// How many records it has taken from its inputs since its attempt began.
    pub taken: u64,
    /// How many records its sink has taken since the job first began.
    pub written: u64,
    /// The last window that has ended at it.
    pub window: u64,
    /// Its watermark, in ms.
    pub watermark: i64,
    /// How many batches wait in its mailbox, and for how many there is room.
    pub mailbox: (usize, usize),
    /// What it does at this moment.
    pub activity: Activity,
}

/// What a subtask does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It waits for input, or for the outside.
    Idle,
    /// It works.
    Busy,
    /// It waits for room in the mailboxes that it sends to.
    Blocked,
}

impl Progress {
    /// Shows these subtasks, too.
    pub(crate) fn watch(&self, watched: impl IntoIterator<Item = Watched>) {
        self.watched.lock().extend(watched);
    }

    /// Returns what looks into the store of the job.
    pub(crate) fn look(&self) -> &Look {
        &self.look
    }

    /// Takes note that a region has finished, and of what it had read and written if it did so in another process.
    pub(crate) fn finish(&self, region: &str, read: u64, written: u64) {
        self.finished.lock().insert(region.to_string(), (read, written));
    }

    /// Returns what a region that has finished had read and written if it did so in another process, or zeros; nothing
    /// of one that has not.
    pub fn finished(&self, region: &str) -> Option<(u64, u64)> {
        self.finished.lock().get(region).copied()
    }

    /// Counts what regions that had finished before had read and written.
    pub(crate) fn count_before(&self, read: u64, written: u64) {
        *self.before.lock() = (read, written);
    }

    /// Returns how many records the sources have emitted since the job first began. A restart takes some back.
    pub fn records_in(&self) -> u64 {
        self.before.lock().0 + self.sum(|gauges| &gauges.read)
    }

    /// Returns how many records the sinks have taken since the job first began. A restart takes some back.
    pub fn records_out(&self) -> u64 {
        self.before.lock().1 + self.sum(|gauges| &gauges.written)
    }

    /// Returns how far each subtask has come, in the order of the plan, but for regions that had finished before.
    pub fn reached(&self) -> Vec<Reached> {
        let reached = |Watched { subtask, gauges, port }: &Watched| Reached {
            operator: Arc::clone(&subtask.operator),
            subtask: subtask.index,
            read: gauges.read.load(Ordering::Relaxed),
            taken: gauges.taken.load(Ordering::Relaxed),
            written: gauges.written.load(Ordering::Relaxed),
            window: gauges.window.load(Ordering::Relaxed),
            watermark: gauges.watermark.load(Ordering::Relaxed),
            mailbox: port.filled(),
            activity: gauges.activity(),
        };
        self.watched.lock().iter().map(reached).collect()
    }

    /// Returns what each subtask does at this moment, in the same order: cheap enough to ask fifty times a second.
    pub fn activities(&self) -> Vec<Activity> {
        self.watched.lock().iter().map(|watched| watched.gauges.activity()).collect()
    }

    fn sum(&self, of: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        self.watched.lock().iter().map(|watched| of(&watched.gauges).load(Ordering::Relaxed)).sum()
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
    activity: AtomicU8,
}

impl Gauges {
    /// Shows what the subtask does from now on.
    pub(crate) fn does(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    fn activity(&self) -> Activity {
        let shown = self.activity.load(Ordering::Relaxed);
        let all = [Activity::Idle, Activity::Busy, Activity::Blocked];
        all.into_iter().find(|activity| *activity as u8 == shown).unwrap_or(Activity::Idle)
    }
}
