//! The checkpoints of one attempt of a region: when windows close, which of them are checkpoints, when one is complete.
//!
//! The rules are those of Flink's checkpoint coordinator: interval, minimum pause, timeout, a bound on how many are
//! under way, and a number of failures in a row that is borne. A newer checkpoint that completes replaces older ones
//! that have not; windows are never committed out of order.
//!
//! When all input has ended, one checkpoint holds the end, and once everybody has seen that one through (sinks have
//! published, operators have been told) another one says so: only its manifest is `finished`. A process that is killed
//! between the two begins again from the first, and publishes what it lists.

mod failures;

use std::collections::{BTreeMap, BTreeSet};

use piton_actors::{Timestamp, WindowId};

pub use self::failures::FailureReason;
use self::failures::Failures;
use crate::ids::{Fence, SubtaskId};
use crate::protocol::backlog::{self, Backlog, Room};
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::element::{Alignment, Behind, Marker};
use crate::protocol::failure::Failure;
use crate::protocol::manifest::{JoinedOutput, Manifest, SubtaskSnapshot};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::subtask::{Ack, Declined};

/// How a region takes its checkpoints; times in ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// The length of a window.
    pub window_ms: u64,
    /// Every how many windows one ends with a checkpoint.
    pub every: u64,
    /// After how long a checkpoint that is not complete is given up.
    pub timeout_ms: u64,
    /// How long after a checkpoint completed the next may begin at the earliest.
    pub min_pause_ms: u64,
    /// How many may be under way at the same time.
    pub max_concurrent: usize,
    /// How many counted failures in a row are borne; nothing if any number.
    pub tolerable_failures: Option<u32>,
    /// After how long a checkpoint waits for the end of its window no more, but saves what is under way; nothing if it
    /// always waits.
    pub aligned_timeout_ms: Option<u64>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        CheckpointSettings {
            window_ms: 100,
            every: 10,
            timeout_ms: 600_000,
            min_pause_ms: 0,
            max_concurrent: 1,
            tolerable_failures: None,
            aligned_timeout_ms: None,
        }
    }
}

/// How long after a checkpoint that journals asked for the next one of that kind begins at the earliest, in ms.
const JOURNAL_PAUSE_MS: i64 = 10;

/// How many windows may be closed beyond one that all have ended, besides those between checkpoints.
const SPARE_WINDOWS: u64 = 64;

impl CheckpointSettings {
    /// Returns how many windows may be closed beyond one that every subtask is known to have ended.
    pub fn windows_ahead(&self) -> u64 {
        // As many as lie between two checkpoints if all goes well.
        self.every.saturating_mul(2).saturating_add(SPARE_WINDOWS)
    }

    /// Returns how many windows there may be at most, checkpoints that do not wait included.
    pub fn most_windows_ahead(&self) -> u64 {
        let times = if self.aligned_timeout_ms.is_some() { backlog::MOST_SNAPSHOTS } else { 1 };
        self.windows_ahead().saturating_mul(times)
    }
}

/// What happens to a coordinator.
#[derive(Debug)]
pub enum Event {
    /// A subtask is open.
    Ready(SubtaskId),
    /// A source has sent the marker of a window.
    Closed(SubtaskId, WindowId),
    /// A subtask's snapshot is durable.
    Ack(SubtaskId, Box<Ack>),
    /// A subtask's snapshot could not be made durable.
    Declined(SubtaskId, Declined),
    /// A subtask has seen a commit through.
    Told(SubtaskId, WindowId),
    /// All inputs of a subtask have ended.
    Finished(SubtaskId),
    /// Checkpoints have to wait for the end of their windows, because of this operator of a subtask.
    Waits(SubtaskId, String),
    /// The store's answer to a commit.
    Outcome(WindowId, Result<(), CommitError>),
    /// Someone asks for a checkpoint as soon as possible: one that waits for the end of its window, as savepoints do.
    Trigger,
    /// A subtask's journal is half full: only a checkpoint makes it shorter.
    JournalFull,
    /// The job is to stop with a last checkpoint.
    Stop,
    /// Time has passed.
    Tick,
}

/// What a coordinator asks of its driver.
#[derive(Debug)]
pub enum Command {
    /// Tell every source to close this window, and what to do then.
    Close(Marker, Behind, Alignment),
    /// Tell every subtask that the checkpoint of this window waits no more.
    Overtake(WindowId),
    /// Tell the user: checkpoints wait from now on, because of this operator.
    Waits(SubtaskId, String),
    /// Commit this.
    Commit(Box<Commit>),
    /// Tell every subtask that this window is committed.
    Committed {
        /// The window.
        window: WindowId,
        /// How many bytes of state it refers to.
        bytes: u64,
        /// How long it took from its trigger, in ms.
        took_ms: i64,
    },
    /// A checkpoint did not complete.
    CheckpointFailed(WindowId, FailureReason),
    /// The attempt cannot go on.
    Failed(Failure),
    /// Nothing is left to do: the last checkpoint is committed and every output published.
    Done {
        /// The last committed window.
        window: WindowId,
        /// Whether the input has ended, rather than the job been stopped.
        finished: bool,
    },
}

struct Committing {
    window: WindowId,
    triggered_ms: i64,
    bytes: u64,
    ended: bool,
    finished: bool,
}

struct Pending {
    triggered_ms: i64,
    /// When it waits for the end of its window no more, if it does by then.
    overtakes_ms: Option<i64>,
    acks: BTreeMap<SubtaskId, SubtaskSnapshot>,
    joined: Vec<JoinedOutput>,
}

/// Who takes part, and in whose name.
#[derive(Clone, Debug)]
pub struct Members {
    /// The name of the job.
    pub job: String,
    /// The name of the region.
    pub region: String,
    /// The topology, as manifests keep it.
    pub topology: Vec<u8>,
    /// All subtasks, in the order of the plan.
    pub subtasks: Vec<SubtaskId>,
    /// Those with a source at their head.
    pub sources: Vec<SubtaskId>,
}

/// The state machine. See the module.
pub struct Coordinator {
    members: Members,
    settings: CheckpointSettings,
    fence: Fence,
    unready: BTreeSet<SubtaskId>,
    /// Sources that have not yet sent the marker of `window`.
    closing: BTreeSet<SubtaskId>,
    unfinished: BTreeSet<SubtaskId>,
    /// The last window that was closed, or is being closed.
    window: WindowId,
    next_close: Timestamp,
    since_snapshot: u64,
    backlog: Backlog,
    pending: BTreeMap<WindowId, Pending>,
    /// The checkpoint that the store is making true.
    committing: Option<Committing>,
    /// One that is complete and waits for the store.
    complete: Option<Commit>,
    head: WindowId,
    /// Whether every subtask had finished at the head.
    head_ended: bool,
    /// Whether the head says that the region has finished.
    head_finished: bool,
    /// Whether everybody has seen a checkpoint of the end through.
    settled: bool,
    last_completion: Option<Timestamp>,
    failures: Failures,
    triggered: bool,
    /// Whether the next checkpoint waits for the end of its window, however long that takes.
    waits_next: bool,
    /// Whether all do.
    waits_always: bool,
    /// When a checkpoint is due because a journal is half full.
    journal_at: Option<Timestamp>,
    /// When one was triggered for that last.
    last_journal: Option<Timestamp>,
    stopping: bool,
    /// The window of the last checkpoint, once it was triggered for the end or the stop.
    last: Option<WindowId>,
    /// Subtasks that have not yet seen the last commit through.
    untold: BTreeSet<SubtaskId>,
    done: bool,
    /// Whether the attempt cannot go on.
    failed: bool,
    commands: Vec<Command>,
}

impl Coordinator {
    /// Begins an attempt that continues behind a committed window.
    pub fn new(
        members: Members,
        settings: CheckpointSettings,
        fence: Fence,
        head: WindowId,
        now: Timestamp,
    ) -> Coordinator {
        Coordinator {
            unready: members.subtasks.iter().cloned().collect(),
            unfinished: members.subtasks.iter().cloned().collect(),
            closing: BTreeSet::new(),
            window: head,
            next_close: now.saturating_add(settings.window_ms as i64),
            since_snapshot: 0,
            backlog: Backlog::new(&members.subtasks, head, settings.windows_ahead()),
            pending: BTreeMap::new(),
            committing: None,
            complete: None,
            head,
            head_ended: false,
            head_finished: false,
            settled: false,
            last_completion: None,
            failures: Failures::new(settings.tolerable_failures),
            triggered: false,
            waits_next: false,
            waits_always: false,
            journal_at: None,
            last_journal: None,
            stopping: false,
            last: None,
            untold: BTreeSet::new(),
            done: false,
            failed: false,
            commands: Vec::new(),
            members,
            settings,
            fence,
        }
    }

    /// Takes an event; what is to be done about it is in [`Coordinator::commands`] afterwards.
    pub fn on(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Ready(subtask) => {
                self.unready.remove(&subtask);
                if self.unready.is_empty() {
                    self.next_close = now.saturating_add(self.settings.window_ms as i64);
                }
            }
            Event::Closed(subtask, window) => {
                if window == self.window {
                    self.closing.remove(&subtask);
                }
            }
            Event::Ack(subtask, ack) => self.acknowledged(subtask, *ack, now),
            Event::Declined(subtask, Declined { window, ended, reason }) => {
                self.backlog.answer(&subtask, window, ended);
                if self.pending.remove(&window).is_some() {
                    self.checkpoint_failed(window, FailureReason::Declined(subtask, reason));
                }
            }
            Event::Told(subtask, window) => {
                if self.last.is_some_and(|last| window >= last) {
                    self.untold.remove(&subtask);
                }
            }
            Event::Finished(subtask) => {
                self.unfinished.remove(&subtask);
            }
            Event::Outcome(window, outcome) => self.outcome(window, outcome, now),
            Event::Waits(subtask, operator) => {
                if !std::mem::replace(&mut self.waits_always, true) {
                    self.commands.push(Command::Waits(subtask, operator));
                }
                self.triggered = true;
            }
            Event::Trigger => (self.triggered, self.waits_next) = (true, true),
            Event::JournalFull => {
                let earliest = self.last_journal.map_or(now, |last| last.saturating_add(JOURNAL_PAUSE_MS));
                self.journal_at = Some(self.journal_at.unwrap_or(now).max(earliest));
            }
            Event::Stop => self.stopping = true,
            Event::Tick => {}
        }
        self.expire(now);
        self.overtake(now);
        if self.journal_at.take_if(|at| *at <= now).is_some() {
            self.triggered = true;
            self.last_journal = Some(now);
        }
        self.close_window(now);
        self.see_done();
        // If the last checkpoint asks for one more.
        self.close_window(now);
    }

    /// Returns the commands given since the last call.
    pub fn commands(&mut self) -> std::vec::Drain<'_, Command> {
        self.commands.drain(..)
    }

    /// Returns whether the store is making a checkpoint true: a rollback has to wait for the outcome.
    pub fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    /// Returns the last committed window that is known here.
    pub fn head(&self) -> WindowId {
        self.head
    }

    /// Returns when it wants a [`Event::Tick`] at the latest.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.done {
            return None;
        }
        let timeout = self.settings.timeout_ms as i64;
        let expiry = self.pending.values().map(|pending| pending.triggered_ms.saturating_add(timeout)).min();
        let overtakes = self.pending.values().filter_map(|pending| pending.overtakes_ms).min();
        let may_close = self.unready.is_empty() && self.closing.is_empty() && self.last.is_none();
        let close = may_close.then_some(self.next_close);
        [expiry, overtakes, close, self.journal_at.filter(|_| may_close)].into_iter().flatten().min()
    }

    fn acknowledged(&mut self, subtask: SubtaskId, ack: Ack, now: Timestamp) {
        if ack.fence != self.fence && !mutant::is(Mutant::StaleAckAccepted) {
            return;
        }
        let ended = ack.snapshot.within.as_ref().map_or(ack.window, |within| within.ended);
        self.backlog.answer(&subtask, ack.window, ended);
        // Acks may arrive after the timeout has given this checkpoint up; they are dropped, not an error.
        let Some(pending) = self.pending.get_mut(&ack.window) else { return };
        if pending.acks.insert(subtask, ack.snapshot).is_none() {
            pending.joined.extend(ack.joined);
        }
        let wanted = self.members.subtasks.len();
        let enough = if mutant::is(Mutant::EarlyCommit) { wanted.saturating_sub(1).max(1) } else { wanted };
        if pending.acks.len() < enough {
            return;
        }
        let window = ack.window;
        let Some(pending) = self.pending.remove(&window) else { return };
        let newer = self.pending.split_off(&window);
        for older in std::mem::replace(&mut self.pending, newer).into_keys() {
            self.checkpoint_failed(older, FailureReason::Subsumed(window));
        }
        if let Some(replaced) = self.complete.take() {
            self.checkpoint_failed(replaced.manifest.window, FailureReason::Subsumed(window));
        }
        self.complete = Some(self.commit_of(window, pending, now));
        self.commit_next();
    }

    fn commit_of(&self, window: WindowId, mut pending: Pending, now: Timestamp) -> Commit {
        let subtasks: Vec<_> = self.members.subtasks.iter().filter_map(|id| pending.acks.remove(id)).collect();
        let ended = subtasks.iter().all(|subtask| subtask.finished);
        let manifest = Manifest {
            job: self.members.job.clone(),
            region: self.members.region.clone(),
            window,
            fence: self.fence,
            triggered_ms: pending.triggered_ms,
            completed_ms: now,
            finished: ended && (self.settled || mutant::is(Mutant::FinishedUnseen)),
            topology: self.members.topology.clone(),
            copy_of: WindowId::NONE,
            subtasks,
        };
        Commit { manifest, joined: pending.joined }
    }

    fn commit_next(&mut self) {
        // An attempt that has failed commits nothing more: its rollback would wait for an outcome that nobody gives.
        if self.committing.is_some() || (self.failed && !mutant::is(Mutant::CommitAfterFailure)) {
            return;
        }
        let Some(mut commit) = self.complete.take() else { return };
        // A sink that had not yet heard of the last commit gives what became visible in it once more.
        commit.joined.retain(|joined| joined.window > self.head || mutant::is(Mutant::JoinedTwice));
        let manifest = &commit.manifest;
        let (window, bytes) = (manifest.window, manifest.bytes());
        let (triggered_ms, finished) = (manifest.triggered_ms, manifest.finished);
        let ended = manifest.subtasks.iter().all(|subtask| subtask.finished);
        self.committing = Some(Committing { window, triggered_ms, bytes, ended, finished });
        if mutant::is(Mutant::TellBeforeDurable) {
            self.commands.push(Command::Committed { window, bytes, took_ms: 0 });
        }
        self.commands.push(Command::Commit(Box::new(commit)));
    }

    fn outcome(&mut self, window: WindowId, outcome: Result<(), CommitError>, now: Timestamp) {
        let Some(committing) = self.committing.take_if(|committing| committing.window == window) else { return };
        let Committing { triggered_ms, bytes, ended, finished, .. } = committing;
        match outcome {
            Ok(()) => {
                self.head = window;
                self.head_ended = ended;
                self.head_finished = finished;
                self.last_completion = Some(now);
                self.failures.forget();
                let took_ms = now.saturating_sub(triggered_ms);
                if !mutant::is(Mutant::TellBeforeDurable) {
                    self.commands.push(Command::Committed { window, bytes, took_ms });
                }
            }
            Err(CommitError::Failed(reason)) => {
                self.checkpoint_failed(window, FailureReason::CommitFailed(reason));
            }
            Err(error @ CommitError::Unknown(_)) => self.fail(error.to_string()),
            Err(error @ CommitError::Fenced { .. }) => self.fail(error.to_string()),
        }
        self.commit_next();
    }

    fn expire(&mut self, now: Timestamp) {
        let timeout = self.settings.timeout_ms as i64;
        let expired: Vec<WindowId> = self
            .pending
            .iter()
            .filter(|(_, pending)| now.saturating_sub(pending.triggered_ms) >= timeout)
            .map(|(window, _)| *window)
            .collect();
        for window in expired {
            let Some(pending) = self.pending.remove(&window) else { continue };
            let missing = self.members.subtasks.iter().filter(|id| !pending.acks.contains_key(id)).cloned().collect();
            self.checkpoint_failed(window, FailureReason::Expired(missing));
        }
    }

    /// Lets checkpoints that have waited long enough wait no more.
    fn overtake(&mut self, now: Timestamp) {
        for (window, pending) in &mut self.pending {
            if !self.waits_always && pending.overtakes_ms.take_if(|at| *at <= now).is_some() {
                self.commands.push(Command::Overtake(*window));
            }
        }
    }

    fn checkpoint_failed(&mut self, window: WindowId, reason: FailureReason) {
        if self.last == Some(window) {
            // The end or the stop still needs its checkpoint: the next window takes it.
            self.last = None;
        }
        let unbearable = self.failures.add(window, &reason);
        self.commands.push(Command::CheckpointFailed(window, reason));
        if let Some(message) = unbearable {
            self.fail(message);
        }
    }

    fn fail(&mut self, message: String) {
        self.failed = true;
        self.commands.push(Command::Failed(Failure::engine(&self.members.region, message)));
    }

    fn close_window(&mut self, now: Timestamp) {
        if self.done || !self.unready.is_empty() || !self.closing.is_empty() || self.last.is_some() {
            return;
        }
        let ending = self.stopping || self.unfinished.is_empty();
        if now < self.next_close && !ending && !self.triggered {
            return;
        }
        let under_way =
            self.pending.len() + usize::from(self.committing.is_some()) + usize::from(self.complete.is_some());
        let room = self.backlog.room(self.window);
        let free = under_way < self.settings.max_concurrent && room != Room::None;
        let paused = self
            .last_completion
            .is_some_and(|completion| now.saturating_sub(completion) < self.settings.min_pause_ms as i64);
        // Without the last one, checkpoints that failed for a while would have used all room up for good.
        let asked = self.triggered || self.since_snapshot + 1 >= self.settings.every || room == Room::Snapshot;
        let snapshot = free && (ending || (asked && !paused));
        if (ending || self.triggered) && !snapshot && now < self.next_close {
            return;
        }
        if !snapshot && room != Room::Any {
            self.next_close = now.saturating_add(self.settings.window_ms as i64);
            return;
        }
        self.window = self.window.next();
        self.next_close = now.saturating_add(self.settings.window_ms as i64);
        self.since_snapshot = if snapshot { 0 } else { self.since_snapshot + 1 };
        self.closing = self.members.sources.iter().cloned().collect();
        let mut alignment = Alignment::Aligned;
        if snapshot {
            self.triggered = false;
            let waits = std::mem::take(&mut self.waits_next)
                || self.waits_always
                || room == Room::SnapshotAtItsEnd
                || self.unfinished.is_empty();
            let timeout = self.settings.aligned_timeout_ms.filter(|_| !waits);
            if timeout == Some(0) {
                alignment = Alignment::Unaligned;
            }
            let overtakes = timeout.filter(|timeout| *timeout > 0);
            let overtakes_ms = overtakes.map(|timeout| now.saturating_add_unsigned(timeout));
            let pending = Pending { triggered_ms: now, overtakes_ms, acks: BTreeMap::new(), joined: Vec::new() };
            self.pending.insert(self.window, pending);
            self.backlog.ask(self.window);
            if ending {
                self.last = Some(self.window);
                self.untold = self.members.subtasks.iter().cloned().collect();
            }
        }
        let behind = if self.stopping && snapshot { Behind::Hold } else { Behind::Read };
        self.commands.push(Command::Close(Marker { window: self.window, snapshot }, behind, alignment));
    }

    fn see_done(&mut self) {
        let Some(last) = self.last else { return };
        if !self.done && self.head >= last && self.untold.is_empty() {
            if self.head_ended && !self.head_finished {
                self.settled = true;
                self.last = None;
                return;
            }
            self.done = true;
            // Sources may have come to their end since the last checkpoint was cut: only what it says counts.
            self.commands.push(Command::Done { window: self.head, finished: self.head_finished });
        }
    }
}

#[cfg(test)]
mod tests;
