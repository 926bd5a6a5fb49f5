//! What happens to a job, as it is told to the outside: one JSON object for each event.

use serde::Serialize;

/// An event of a running job. Times are in ms, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The job has started.
    Started {
        /// Its name.
        job: String,
        /// The committed window of each region that it continues from; empty for a start from nothing.
        resumed_from: std::collections::BTreeMap<String, u64>,
        /// How often it was started from its state directory.
        incarnation: u64,
    },
    /// A checkpoint was triggered.
    CheckpointStarted {
        /// The region.
        region: String,
        /// The window that it closes.
        window: u64,
    },
    /// A subtask's part of a checkpoint is durable. There is one for each subtask and checkpoint, so `--events` leaves them out.
    Acknowledged {
        /// The region.
        region: String,
        /// The window that the checkpoint closes.
        window: u64,
        /// What it is made of, and how long it took.
        part: Box<Part>,
    },
    /// A checkpoint is durable everywhere; written only after it is true on disk.
    Committed {
        /// The region.
        region: String,
        /// The window that it closes.
        window: u64,
        /// How much state it refers to.
        bytes: u64,
        /// How long it took from its trigger.
        took_ms: i64,
    },
    /// A checkpoint did not complete. The job goes on; the next one covers its records.
    CheckpointFailed {
        /// The region.
        region: String,
        /// The window that it would have closed.
        window: u64,
        /// Why.
        reason: String,
        /// The operator that is to blame, if one is.
        operator: Option<String>,
    },
    /// A region has failed, and is down until it is told as restarted. `--events` leaves that out.
    Restarting {
        /// The region.
        region: String,
        /// What happened.
        reason: String,
    },
    /// Something failed and runs again.
    Restarted {
        /// The region.
        region: String,
        /// The operator that failed.
        operator: String,
        /// Which of its subtasks, if it is known.
        subtask: Option<u32>,
        /// What was restarted: `batch` (the call that failed was taken back), `operator` (its snapshot was restored and
        /// its journal replayed) or `region`.
        scope: &'static str,
        /// How often that was restarted in this process: the region, or the subtask alone within this attempt of its
        /// region.
        attempt: u64,
        /// The window that it went back to: the one under way, that of its newest snapshot, or the committed one.
        window: u64,
        /// How many records were replayed from journals.
        replayed: u64,
        /// How long it took to put state back.
        restore_ms: f64,
        /// How long the replay took.
        replay_ms: f64,
        /// How long it took from the failure until new input was processed again.
        took_ms: f64,
        /// Whose failure it was: `panic`, `hung` or `error` of user code, or `engine`.
        cause: &'static str,
        /// What happened.
        reason: String,
    },
    /// A failure went beyond what a subtask deals with alone.
    Escalated {
        /// The region.
        region: String,
        /// The operator that failed.
        operator: String,
        /// Which of its subtasks.
        subtask: u32,
        /// What was restarted before.
        from: &'static str,
        /// What is restarted now.
        to: &'static str,
        /// Why.
        reason: String,
    },
    /// A call of user code got nowhere for `recovery.hang_timeout`, and was abandoned with the thread that it is on.
    Hung {
        /// The region.
        region: String,
        /// The operator, source or sink that was called.
        operator: String,
        /// Which of its subtasks.
        subtask: u32,
    },
    /// A record was set aside, or left out, because it is poison.
    DeadLetter {
        /// The region.
        region: String,
        /// The operator that it is poison to.
        operator: String,
        /// The subtask that set it aside.
        subtask: u32,
        /// What the operator said.
        reason: String,
    },
    /// A promise was broken, which is a mistake of piton or of what it stands on. The job goes on, and fails in the end.
    Violated {
        /// The region.
        region: String,
        /// Which promise, by its name in `piton::invariants`.
        invariant: &'static str,
        /// What was seen.
        message: String,
    },
    /// A savepoint was made.
    Savepoint {
        /// Its name.
        name: String,
        /// The window that it holds (of the region with the highest).
        window: u64,
        /// The window that it holds of each region.
        regions: std::collections::BTreeMap<String, u64>,
    },
    /// The job has come to its end, or was stopped.
    Finished {
        /// The last committed window (of the region with the highest).
        window: u64,
        /// How many records its sources have emitted since it first began.
        records_in: u64,
        /// How many records its sinks have taken since it first began.
        records_out: u64,
    },
    /// The job has failed and will not start again by itself.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A subtask's part of a checkpoint. Times are in ms since 1970, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its name: that of the head of its chain.
    pub operator: String,
    /// Which of the subtasks of that name.
    pub subtask: u32,
    /// When the first of its inputs brought word of the checkpoint.
    pub heard_ms: i64,
    /// When it waited for the others no more.
    pub aligned_ms: i64,
    /// When its snapshot was taken.
    pub taken_ms: i64,
    /// When that was durable, and the supervisor knew.
    pub acknowledged_ms: i64,
    /// How much state the checkpoint refers to, of each operator of the chain.
    pub state: Vec<(String, u64)>,
    /// How much of it is new since the checkpoint before.
    pub fresh: u64,
    /// How many records under way to it are in the checkpoint, and how many bytes they take.
    pub under_way: (u64, u64),
    /// Whether it did not wait for the end of the window.
    pub unaligned: bool,
    /// The watermark that it had, in ms.
    pub watermark: i64,
}

/// Takes the events of a job; called on the supervisor's thread, so it must not block for long.
pub type Listener = Box<dyn FnMut(&Event) + Send>;
