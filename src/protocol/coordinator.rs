//! The checkpoints of one attempt of a region: when windows close, which of them are checkpoints, when one is complete.
//!
//! The rules are those of Flink's checkpoint coordinator: interval, minimum pause, timeout, a bound on how many are
//! under way, and a number of failures in a row that is borne, over all attempts of the region. A newer checkpoint that
//! is committed replaces older ones that are not; windows are never committed out of order. Every decision is a row of
//! the tests. Where a decision is not Flink's, it is on purpose:
//!
//! - Checkpoints fall on the ends of windows. One that comes too early for the minimum pause, or finds too many under
//!   way, is taken with the first window that may; several that are due are one. After a stall nothing is made up for.
//! - What a user asks for is a checkpoint like any other: it is committed, serves as the periodic one that is due, and its
//!   failure counts. It waits for no pause, and closes a window of its own, but it waits for its turn if too many are under
//!   way: its marker follows theirs, so it could hardly be complete before them. Requests that wait are served by one
//!   checkpoint. One that journals ask for waits for the pause as well, which the user has asked for.
//! - The first checkpoint of an attempt comes one interval after it is open, not at a random moment. Nobody is refused
//!   before: the request waits.
//! - Checkpoints under way go on at a stop, and a last one that fails is taken again with the next window: the stop ends
//!   with the patience of who asked for it, not with a restart.
//! - Subtasks do not hear of checkpoints that are given up: what was prepared for them is part of the next.
//!
//! When all input has ended, one checkpoint holds the end, and once everybody has seen that one through (sinks have
//! published, operators have been told) another one says so: only its manifest is `finished`. A process that is killed
//! between the two begins again from the first, and publishes what it lists.

mod commits;
mod failures;
mod waiting;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use piton_actors::{Timestamp, WindowId};

use self::commits::Committing;
pub use self::failures::FailureReason;
use self::failures::Failures;
use crate::ids::{Fence, SubtaskId};
use crate::protocol::backlog::{self, Backlog};
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::drift::{Pace, Slowest};
use crate::protocol::element::{Alignment, Behind, Marker};
use crate::protocol::failure::Failure;
use crate::protocol::manifest::{JoinedOutput, SubtaskSnapshot};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::subtask::{Ack, Declined, Why};

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
    /// Returns how many checkpoints may be under way: a pause between them lets no two overlap.
    fn most_under_way(&self) -> usize {
        if self.min_pause_ms > 0 { 1 } else { self.max_concurrent }
    }

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
    /// Whether a snapshot of a subtask can be taken within a window is not known before a window has ended.
    Unsure,
    /// A source has sent the marker of a window, and is so far then.
    Closed(SubtaskId, WindowId, Pace),
    /// A subtask's snapshot is durable.
    Ack(SubtaskId, Box<Ack>),
    /// A subtask's snapshot could not be made durable.
    Declined(SubtaskId, Declined),
    /// A subtask has seen a commit through.
    Told(SubtaskId, WindowId),
    /// All inputs of a subtask have ended.
    Finished(SubtaskId),
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
    /// Tell every source to close this window, what to do then, and how far the slowest of them were at the last.
    Close(Marker, Behind, Alignment, Slowest),
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

struct Pending {
    triggered_ms: i64,
    /// When it waits for the end of its window no more, if it does by then.
    overtakes_ms: Option<i64>,
    /// Who has not acknowledged it.
    missing: BTreeSet<SubtaskId>,
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
    /// How far each source was when it had closed its last window.
    paces: BTreeMap<SubtaskId, Pace>,
    unfinished: BTreeSet<SubtaskId>,
    /// The last window that was closed, or is being closed.
    window: WindowId,
    next_close: Timestamp,
    since_snapshot: u64,
    backlog: Backlog,
    pending: BTreeMap<WindowId, Pending>,
    /// The checkpoint that the store is making true.
    committing: Option<Committing>,
    /// Those that are complete and wait for the store.
    complete: BTreeMap<WindowId, Commit>,
    head: WindowId,
    /// Whether every subtask had finished at the head.
    head_ended: bool,
    /// Whether the head says that the region has finished.
    head_finished: bool,
    /// Whether everybody has seen a checkpoint of the end through.
    settled: bool,
    last_completion: Option<Timestamp>,
    failures: Failures,
    /// Whether a user waits for a checkpoint, which takes the time it needs to be taken at the end of its window.
    asked: bool,
    /// Whether it is not known of every subtask that its snapshot can be taken within a window: the first checkpoint waits,
    /// and then it is.
    unsure: bool,
    /// Whether a journal waits for one, or one that could not be taken within a window.
    wanted: bool,
    /// When a checkpoint is due because a journal is half full.
    journal_at: Option<Timestamp>,
    /// When one was triggered for that last.
    last_journal: Option<Timestamp>,
    stopping: bool,
    /// The window of the last checkpoint, once it was triggered for the end or the stop.
    last: Option<WindowId>,
    /// Whether the last checkpoint has failed: the disk may stay full for long.
    last_failed: bool,
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
            paces: members.sources.iter().map(|source| (source.clone(), Pace::UNKNOWN)).collect(),
            window: head,
            next_close: now.saturating_add(settings.window_ms as i64),
            since_snapshot: 0,
            backlog: Backlog::new(&members.subtasks, head, settings.windows_ahead()),
            pending: BTreeMap::new(),
            committing: None,
            complete: BTreeMap::new(),
            head,
            head_ended: false,
            head_finished: false,
            settled: false,
            last_completion: None,
            failures: Failures::new(settings.tolerable_failures),
            asked: false,
            unsure: false,
            wanted: false,
            journal_at: None,
            last_journal: None,
            stopping: false,
            last: None,
            last_failed: false,
            untold: BTreeSet::new(),
            done: false,
            failed: false,
            commands: Vec::new(),
            members,
            settings,
            fence,
        }
    }

    /// Begins the next attempt, behind this window: failures in a row go on being counted, and a pause goes on.
    pub fn next_attempt(&self, fence: Fence, head: WindowId, now: Timestamp) -> Coordinator {
        let fresh = Coordinator::new(self.members.clone(), self.settings.clone(), fence, head, now);
        Coordinator { failures: self.failures.clone(), last_completion: self.last_completion, ..fresh }
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
            Event::Unsure => self.unsure = true,
            Event::Closed(subtask, window, pace) => {
                if window == self.window && self.closing.remove(&subtask) {
                    self.paces.insert(subtask, pace);
                }
            }
            Event::Ack(subtask, ack) => self.acknowledged(subtask, *ack, now),
            Event::Declined(subtask, Declined { window, ended, why }) => {
                self.backlog.answer(&subtask, window, ended);
                if let Why::HoldsRows(Some(operator)) = &why {
                    self.wait_always(&subtask, operator);
                }
                let takes_part = self.members.subtasks.contains(&subtask);
                if takes_part && self.pending.remove(&window).is_some() {
                    self.checkpoint_failed(window, FailureReason::Declined(subtask, why));
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
            Event::Trigger => self.asked = true,
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
            self.wanted = true;
            self.last_journal = Some(now);
        }
        self.close_window(now);
        self.see_done();
        // If the last checkpoint asks for one more.
        self.close_window(now);
    }

    /// Gives up all that is under way but the commit that the store has begun: the attempt is over, for this reason.
    pub fn abort(&mut self, reason: &str) {
        self.failed = true;
        let mut windows: BTreeSet<WindowId> = std::mem::take(&mut self.pending).into_keys().collect();
        windows.extend(std::mem::take(&mut self.complete).into_keys());
        for window in windows {
            self.checkpoint_failed(window, FailureReason::Aborted(reason.to_string()));
        }
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
        // A second one, or one of a subtask that takes no part, changes nothing.
        if !pending.missing.remove(&subtask) {
            return;
        }
        pending.acks.insert(subtask, ack.snapshot);
        pending.joined.extend(ack.joined);
        let too_few = mutant::is(Mutant::EarlyCommit) && self.members.subtasks.len() > 1;
        if pending.missing.len() > usize::from(too_few) {
            return;
        }
        let Some(pending) = self.pending.remove(&ack.window) else { return };
        self.complete.insert(ack.window, self.commit_of(ack.window, pending, now));
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
            if self.failed {
                return;
            }
            let Some(pending) = self.pending.remove(&window) else { continue };
            let missing = self.members.subtasks.iter().filter(|id| pending.missing.contains(id)).cloned().collect();
            self.checkpoint_failed(window, FailureReason::Expired(missing));
        }
    }

    fn checkpoint_failed(&mut self, window: WindowId, reason: FailureReason) {
        if self.last == Some(window) {
            // The end or the stop still needs its checkpoint: the next window takes it.
            self.last = None;
            self.last_failed = true;
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
