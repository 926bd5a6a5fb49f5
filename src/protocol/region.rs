//! One region over all its attempts: a coordinator while it runs, and what happens when it fails.
//!
//! A failure rolls the whole region back to its last committed window:
//!
//! ```text
//! Running → (failure) Halt → [a commit is under way: wait for its outcome] → ask the store for its head
//!         → wait as the restart policy says → Start the next attempt from that head → Running
//! ```
//!
//! A region that is stopping does not wait between attempts, and gives up when several have failed: there is nothing
//! newer to save than its last committed window, from which the next start of the job goes on.
//!
//! What was under way is told as aborted, with the reason. How many checkpoints have failed in a row is counted on from
//! attempt to attempt, for most failures of checkpoints outlive a restart; only a checkpoint that is committed ends it, also
//! one whose outcome came after the attempt had failed.
//!
//! An operator whose poison is to be set aside or left out is restarted alone until the record is found. If its journal
//! does not reach back far enough, a rollback gives it another chance: checkpoints may come before the record this time. If
//! they do not, again and again, no further rollback will find it, whatever the restart policy says, and the region gives
//! up.
//!
//! The target of a rollback is always read from the store: only it knows whether the last commit happened.

use piton_actors::{Timestamp, WindowId};

use crate::ids::{Fence, SubtaskId};
use crate::protocol::coordinator::{self, CheckpointSettings, Coordinator, Members};
use crate::protocol::failure::Failure;
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::restart::{Decision, RestartPolicy};

/// What happens to a region.
#[derive(Debug)]
pub enum Event {
    /// The process has started: begin from this committed window, or from nothing.
    Begin(WindowId),
    /// Something for the coordinator of an attempt; dropped if that attempt is over.
    Coordinator(Fence, coordinator::Event),
    /// A subtask of an attempt has failed, or the attempt could not be started.
    Failed(Fence, Option<SubtaskId>, Failure),
    /// The store's head of this region; `Err` if the store cannot be read.
    Head(Result<WindowId, String>),
    /// Checkpoints are to wait for the end of their windows from now on: the last one will be a savepoint.
    Wait,
    /// The job is to stop with a last checkpoint.
    Stop,
    /// Time has passed; `chance` in `[0, 1)` decides the jitter of delays.
    Tick,
}

/// What a region asks of its driver.
#[derive(Debug)]
pub enum Command {
    /// Something that the coordinator asks, in the name of the current attempt.
    Coordinator(coordinator::Command),
    /// Drop all subtasks of the attempt, in whatever state they are, and fence them off.
    Halt,
    /// Answer with [`Event::Head`], once the store has been opened again if a write has failed.
    ReadHead,
    /// Make all subtasks from the checkpoint of this window (or from nothing), in the life of this fence.
    Start {
        /// The life.
        fence: Fence,
        /// The committed window; [`WindowId::NONE`] for a start from nothing.
        window: WindowId,
    },
    /// Tell the user: it failed and will start again.
    Restarting {
        /// The subtask that failed, if it was one.
        subtask: Option<SubtaskId>,
        /// What happened.
        failure: Failure,
        /// In how many ms.
        delay_ms: u64,
    },
    /// It is over, for this reason.
    GaveUp {
        /// What happened last.
        failure: Failure,
        /// Why there is no restart.
        reason: String,
    },
}

/// How many attempts may fail while the job is stopping.
const STOPPING_ATTEMPTS: u32 = 3;

/// How often a record may be out of reach of a journal with no commit between.
const SEARCHES: u32 = 3;

enum Phase {
    Created,
    Running,
    /// Failed; the outcome of a commit is still open.
    AwaitingOutcome,
    AskingHead,
    BackingOff {
        until: Timestamp,
        window: WindowId,
    },
    Over,
}

/// The state machine. See the module.
pub struct Region {
    members: Members,
    policy: RestartPolicy,
    fence: Fence,
    coordinator: Coordinator,
    phase: Phase,
    /// How long to wait before the next attempt, once the head is known.
    delay_ms: u64,
    stopping: bool,
    /// How often it has failed since it was told to stop.
    failed_stopping: u32,
    /// Who searched for a record in vain, behind which window and how often.
    searched: Option<(Option<SubtaskId>, WindowId, u32)>,
    commands: Vec<Command>,
}

impl Region {
    /// Makes a region that has not begun, in its first attempt of this incarnation.
    pub fn new(members: Members, settings: CheckpointSettings, policy: RestartPolicy, fence: Fence) -> Region {
        let coordinator = Coordinator::new(members.clone(), settings, fence, WindowId::NONE, 0);
        Region {
            members,
            policy,
            fence,
            coordinator,
            phase: Phase::Created,
            delay_ms: 0,
            stopping: false,
            failed_stopping: 0,
            searched: None,
            commands: Vec::new(),
        }
    }

    /// Takes an event; `chance` in `[0, 1)` decides jitter. What is to be done about it is in [`Region::commands`].
    pub fn on(&mut self, event: Event, now: Timestamp, chance: f64) {
        match event {
            Event::Begin(window) => self.start(window, now),
            Event::Coordinator(fence, event) => self.coordinate(fence, event, now, chance),
            Event::Failed(fence, subtask, failure) => {
                if fence == self.fence && matches!(self.phase, Phase::Running) {
                    self.failed(subtask, failure, now, chance);
                }
            }
            Event::Head(head) => self.head_read(head, now),
            Event::Wait => self.coordinator.wait_from_now_on(),
            Event::Stop => {
                self.stopping = true;
                self.delay_ms = 0;
                match &mut self.phase {
                    Phase::Running => self.coordinate(self.fence, coordinator::Event::Stop, now, chance),
                    Phase::BackingOff { until, .. } => *until = now,
                    _ => {}
                }
            }
            Event::Tick => match self.phase {
                Phase::Running => self.coordinate(self.fence, coordinator::Event::Tick, now, chance),
                Phase::BackingOff { until, window } if until <= now => {
                    self.fence.attempt += 1;
                    self.start(window, now);
                }
                _ => {}
            },
        }
    }

    /// Returns the commands given since the last call.
    pub fn commands(&mut self) -> std::vec::Drain<'_, Command> {
        self.commands.drain(..)
    }

    /// Returns the life of the current attempt.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.members.region
    }

    /// Returns whether it is over, well or not.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Returns whether it is between two attempts.
    pub fn is_restarting(&self) -> bool {
        matches!(self.phase, Phase::AwaitingOutcome | Phase::AskingHead | Phase::BackingOff { .. })
    }

    /// Returns whether this attempt is the present one, and has not failed. One that has failed before it was started is
    /// not to be started any more: the next one would run beside it.
    pub fn is_running(&self, fence: Fence) -> bool {
        fence == self.fence && matches!(self.phase, Phase::Running)
    }

    /// Returns whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Returns when it wants a [`Event::Tick`] at the latest.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Running => self.coordinator.wake_at(),
            Phase::BackingOff { until, .. } => Some(until),
            Phase::Created | Phase::AwaitingOutcome | Phase::AskingHead | Phase::Over => None,
        }
    }

    fn start(&mut self, window: WindowId, now: Timestamp) {
        self.coordinator = self.coordinator.next_attempt(self.fence, window, now);
        self.phase = Phase::Running;
        self.commands.push(Command::Start { fence: self.fence, window });
        if self.stopping {
            self.coordinator.on(coordinator::Event::Stop, now);
        }
    }

    fn coordinate(&mut self, fence: Fence, event: coordinator::Event, now: Timestamp, chance: f64) {
        if matches!(event, coordinator::Event::Outcome(..))
            && matches!(self.phase, Phase::AwaitingOutcome)
            && fence == self.fence
        {
            // Whether it happened, the head will say; that it did not is told, and either counts.
            self.coordinator.on(event, now);
            let failed: Vec<_> = self.coordinator.commands().filter(is_failed_checkpoint).collect();
            self.commands.extend(failed.into_iter().map(Command::Coordinator));
            self.ask_head();
            return;
        }
        let stale_ack = matches!(event, coordinator::Event::Ack(..)) && mutant::is(Mutant::StaleAckAccepted);
        if (fence != self.fence && !stale_ack) || !matches!(self.phase, Phase::Running) {
            return;
        }
        self.coordinator.on(event, now);
        let commands: Vec<_> = self.coordinator.commands().collect();
        for command in commands {
            match command {
                coordinator::Command::Failed(failure) => {
                    self.failed(None, failure, now, chance);
                    return;
                }
                done @ coordinator::Command::Done { .. } => {
                    self.phase = Phase::Over;
                    self.commands.push(Command::Coordinator(done));
                }
                other => self.commands.push(Command::Coordinator(other)),
            }
        }
    }

    fn failed(&mut self, subtask: Option<SubtaskId>, failure: Failure, now: Timestamp, chance: f64) {
        self.commands.push(Command::Halt);
        let decision = if failure.is_final() {
            Decision::GiveUp("a restart cannot mend it".into())
        } else if failure.beyond_journal && self.has_searched_enough(&subtask) {
            Decision::GiveUp(format!(
                "it failed {SEARCHES} times with no commit between, and its journal did not reach back to the record to \
                 blame: raise recovery.journal, or make checkpoint.interval shorter"
            ))
        } else {
            self.policy.on_failure(now, chance)
        };
        match self.hurried(decision) {
            Decision::GiveUp(reason) => {
                self.phase = Phase::Over;
                self.abort_checkpoints(&failure);
                self.commands.push(Command::GaveUp { failure, reason });
            }
            Decision::RestartAfter(delay_ms) => {
                self.delay_ms = delay_ms;
                let restarting = Command::Restarting { subtask, failure: failure.clone(), delay_ms };
                self.commands.push(restarting);
                self.abort_checkpoints(&failure);
                if self.coordinator.is_committing() && !mutant::is(Mutant::RollbackDuringCommit) {
                    self.phase = Phase::AwaitingOutcome;
                } else {
                    self.ask_head();
                }
            }
        }
    }

    fn abort_checkpoints(&mut self, failure: &Failure) {
        self.coordinator.abort(&failure.to_string());
        self.commands.extend(self.coordinator.commands().map(Command::Coordinator));
    }

    /// Notes a search for a record that was in vain; returns whether it is not worth another.
    fn has_searched_enough(&mut self, subtask: &Option<SubtaskId>) -> bool {
        let head = self.coordinator.head();
        let times = match &self.searched {
            Some((who, behind, times)) if who == subtask && *behind == head => times + 1,
            _ => 1,
        };
        self.searched = Some((subtask.clone(), head, times));
        times >= SEARCHES
    }

    /// What becomes of a decision if the job is stopping.
    fn hurried(&mut self, decision: Decision) -> Decision {
        if !self.stopping || matches!(decision, Decision::GiveUp(_)) {
            return decision;
        }
        self.failed_stopping += 1;
        if self.failed_stopping < STOPPING_ATTEMPTS {
            return Decision::RestartAfter(0);
        }
        Decision::GiveUp(format!(
            "it failed {STOPPING_ATTEMPTS} times while the job was stopping: the next start continues from the last \
             committed window"
        ))
    }

    fn ask_head(&mut self) {
        self.phase = Phase::AskingHead;
        self.commands.push(Command::ReadHead);
    }

    fn head_read(&mut self, head: Result<WindowId, String>, now: Timestamp) {
        if !matches!(self.phase, Phase::AskingHead) {
            return;
        }
        match head {
            Ok(window) => {
                let window = if mutant::is(Mutant::HeadFromMemory) { self.coordinator.head() } else { window };
                let until = now.saturating_add(i64::try_from(self.delay_ms).unwrap_or(i64::MAX));
                self.phase = Phase::BackingOff { until, window };
            }
            Err(reason) => {
                self.phase = Phase::Over;
                let failure = Failure::engine(&self.members.region, reason);
                let reason = "the store cannot be read".into();
                self.commands.push(Command::GaveUp { failure, reason });
            }
        }
    }
}

fn is_failed_checkpoint(command: &coordinator::Command) -> bool {
    matches!(command, coordinator::Command::CheckpointFailed(..))
}

#[cfg(test)]
mod tests;
