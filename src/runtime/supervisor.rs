//! The supervisor: one actor that owns the regions of a job and turns their commands into messages.
//!
//! It decides nothing: every decision is the [`Region`]'s, a plain state machine. No user code runs here, and nothing
//! blocks: the store has a thread of its own.

mod acknowledged;
mod asked;
mod attempt;
mod outcome;
mod promises;
mod rescue;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Actor, ActorContext as _, AsyncContext, Context, Handler, Message, SpawnHandle};
use parking_lot::Mutex;
use piton_actors::Timestamp;
use rand::Rng as _;
use rand_pcg::Pcg64Mcg;

use self::attempt::{Held, Restart};
use self::promises::Promises;
use crate::config;
use crate::config::Scope;
use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::commit::CommitError;
use crate::protocol::coordinator::{self, FailureReason};
use crate::protocol::manifest::DeadLetter;
use crate::protocol::region::{self, Region};
use crate::protocol::subtask::Event as SubtaskEvent;
use crate::runtime::build::{Common, RegionBlueprint};
use crate::runtime::event::{Event, Listener};
use crate::runtime::faults::{Faults, Victim};
use crate::runtime::note::NoteKind;
use crate::runtime::outside::Outside;
use crate::runtime::progress::Progress;
use crate::runtime::storage::{Loaded, Storage};
use crate::runtime::threads::Threads;
use crate::runtime::time::Time;
use crate::runtime::watch::Watch;

pub(crate) use self::asked::Ask;
pub use self::outcome::Outcome;
pub(crate) use self::rescue::{Hung, Missing};

/// What a subtask's actor says.
pub(crate) struct Note {
    pub(crate) region: usize,
    pub(crate) fence: Fence,
    pub(crate) subtask: SubtaskId,
    pub(crate) what: NoteKind,
}

/// What the storage thread answers.
enum Answer {
    Outcome { region: usize, fence: Fence, window: WindowId, outcome: Result<(), CommitError> },
    Head { region: usize, head: Result<WindowId, String> },
    Loaded { region: usize, fence: Fence, loaded: Result<Box<Loaded>, String> },
    Lost(String),
}

/// Someone asks for the job to be stopped with a last checkpoint.
pub(crate) struct Stop;

/// Somebody breaks the job on purpose: an actor is to vanish.
pub(crate) struct Vanish(pub(crate) Victim);

struct Tick;

/// What a supervisor is made of.
pub(crate) struct SupervisorSpec {
    pub(crate) job: String,
    /// After how many ms savepoints and older checkpoints are removed.
    pub(crate) expires_ms: Option<i64>,
    pub(crate) regions: Vec<(Region, RegionBlueprint, WindowId)>,
    pub(crate) common: Common,
    pub(crate) storage: Storage,
    pub(crate) threads: Threads,
    pub(crate) outside: Outside,
    pub(crate) hang_timeout: config::Duration,
    pub(crate) time: Time,
    pub(crate) rng: Pcg64Mcg,
    pub(crate) listener: Listener,
    pub(crate) progress: Progress,
    pub(crate) outcome: Arc<Mutex<Option<Outcome>>>,
    pub(crate) faults: Option<Arc<dyn Faults>>,
}

/// The actor. See the module.
pub(crate) struct Supervisor {
    job: String,
    expires_ms: Option<i64>,
    asked: asked::Asked,
    regions: Vec<Held>,
    begin: Vec<WindowId>,
    common: Common,
    storage: Storage,
    threads: Threads,
    outside: Outside,
    hang_timeout: config::Duration,
    /// From the start on.
    watch: Option<Watch>,
    /// How many seats there were.
    seated: u64,
    time: Time,
    rng: Pcg64Mcg,
    listener: Listener,
    progress: Progress,
    outcome: Arc<Mutex<Option<Outcome>>>,
    promises: Promises,
    restarts: u64,
    failures: Vec<String>,
    armed: Option<(Timestamp, SpawnHandle)>,
    faults: Option<Arc<dyn Faults>>,
}

impl Supervisor {
    pub(crate) fn new(spec: SupervisorSpec) -> Supervisor {
        let mut begin = Vec::new();
        let mut regions = Vec::new();
        for (machine, blueprint, window) in spec.regions {
            begin.push(window);
            regions.push(Held::new(machine, blueprint, window, &spec.common));
        }
        spec.progress.watch(regions.iter().flat_map(Held::watched));
        Supervisor {
            job: spec.job,
            expires_ms: spec.expires_ms,
            asked: asked::Asked::default(),
            promises: Promises::new(&begin),
            regions,
            begin,
            common: spec.common,
            storage: spec.storage,
            threads: spec.threads,
            outside: spec.outside,
            hang_timeout: spec.hang_timeout,
            watch: None,
            seated: 0,
            time: spec.time,
            rng: spec.rng,
            listener: spec.listener,
            progress: spec.progress,
            outcome: spec.outcome,
            restarts: 0,
            failures: Vec::new(),
            armed: None,
            faults: spec.faults,
        }
    }

    fn tell(&mut self, event: &Event) {
        (self.listener)(event);
    }

    /// Hands an event to a region's machine and carries out what it asks for.
    fn on(&mut self, index: usize, event: region::Event, ctx: &mut Context<Supervisor>) {
        if self.regions[index].over {
            return;
        }
        let chance = self.rng.next_u64() as f64 / (u64::MAX as f64 + 1.0);
        let now = self.time.now();
        self.regions[index].machine.on(event, now, chance);
        let commands: Vec<_> = self.regions[index].machine.commands().collect();
        for command in commands {
            self.carry_out(index, command, ctx);
        }
        self.arm(ctx);
    }

    fn carry_out(&mut self, index: usize, command: region::Command, ctx: &mut Context<Supervisor>) {
        let region = &mut self.regions[index];
        match command {
            region::Command::Coordinator(command) => self.coordinate(index, command, ctx),
            region::Command::Halt => region.halt(),
            region::Command::ReadHead => {
                let own = ctx.address();
                let name = region.machine.name().to_string();
                self.storage.head(name, move |head| own.do_send(Answer::Head { region: index, head }));
            }
            region::Command::Start { fence, window } => {
                region.next = Some((fence, window));
                self.start_if_clear(index, ctx);
            }
            region::Command::Restarting { subtask, failure, delay_ms } => {
                tracing::warn!(region = region.machine.name(), delay_ms, "{failure}; the region restarts");
                let name = region.machine.name().to_string();
                let reason = failure.to_string();
                region.restart = Some(Restart::new(subtask, failure, self.time.now()));
                self.restarts += 1;
                self.note_saving(|saving| saving.restarting(index, &reason), ctx);
                self.tell(&Event::Restarting { region: name.clone(), reason });
                if self.common.ladder.scope == Scope::Job {
                    self.roll_back_others(index, &name, ctx);
                }
            }
            region::Command::GaveUp { failure, reason } => {
                let message = format!("region \"{}\" gave up: {failure}; {reason}", region.machine.name());
                tracing::error!("{message}");
                region.over = true;
                self.note_saving(|saving| saving.fail(&message), ctx);
                self.failures.push(message);
                self.end_if_over(ctx);
            }
        }
    }

    fn coordinate(&mut self, index: usize, command: coordinator::Command, ctx: &mut Context<Supervisor>) {
        let region = &mut self.regions[index];
        let name = region.machine.name().to_string();
        match command {
            coordinator::Command::Close(marker, behind, alignment, slowest) => {
                for seat in &region.seats {
                    if region.sources.contains(&seat.label.id) {
                        seat.letters.tell(SubtaskEvent::CloseWindow(marker, behind, alignment, slowest));
                    }
                }
                if marker.snapshot {
                    self.note_saving(
                        |saving| {
                            saving.triggered(index, marker.window);
                            Vec::new()
                        },
                        ctx,
                    );
                    self.tell(&Event::CheckpointStarted { region: name, window: marker.window.0 });
                }
            }
            coordinator::Command::Overtake(window) => {
                for seat in &region.seats {
                    seat.letters.tell(SubtaskEvent::Overtake(window));
                }
            }
            coordinator::Command::Waits(subtask, operator) => tracing::warn!(
                region = name,
                "checkpoints wait for the end of their windows from now on, whatever checkpoint.alignment says: \
                 \"{operator}\" ({subtask}) holds rows in its fields until a window ends"
            ),
            coordinator::Command::Commit(commit) => {
                let own = ctx.address();
                let (fence, window) = (commit.fence(), commit.manifest.window);
                self.storage.commit(commit, move |outcome| {
                    own.do_send(Answer::Outcome { region: index, fence, window, outcome });
                });
            }
            coordinator::Command::Committed { window, bytes, took_ms } => {
                region.committed = window;
                let held = self.promises.committed(index, region.machine.fence(), window);
                for seat in &region.seats {
                    seat.letters.tell(SubtaskEvent::Committed(window));
                    if self.faults.as_ref().is_some_and(|faults| faults.repeats_committed(&seat.label.id)) {
                        seat.letters.tell(SubtaskEvent::Committed(window));
                    }
                }
                self.hold_to(index, held);
                self.tell(&Event::Committed { region: name, window: window.0, bytes, took_ms });
                self.note_saving(|saving| saving.committed(index, window), ctx);
            }
            coordinator::Command::CheckpointFailed(window, reason) => {
                tracing::warn!(region = name, %window, "the checkpoint failed: {reason}");
                let operator = match &reason {
                    FailureReason::Declined(subtask, _) => Some(subtask.operator.to_string()),
                    FailureReason::Expired(missing) => missing.first().map(|subtask| subtask.operator.to_string()),
                    FailureReason::CommitFailed(_) | FailureReason::Subsumed(_) | FailureReason::Aborted(_) => None,
                };
                let is_replaced = matches!(reason, FailureReason::Subsumed(_));
                let reason = reason.to_string();
                if !is_replaced {
                    self.note_saving(|saving| saving.checkpoint_failed(index, window, &reason), ctx);
                }
                self.tell(&Event::CheckpointFailed { region: name, window: window.0, reason, operator });
            }
            coordinator::Command::Done { finished, .. } => {
                region.finished = finished;
                if finished {
                    self.progress.finish(&name, 0, 0);
                }
                region.over = true;
                region.halt();
                let window = region.committed;
                self.note_saving(|saving| saving.ended(index, window), ctx);
                self.end_if_over(ctx);
            }
            coordinator::Command::Failed(failure) => {
                unreachable!("the region keeps failures of its coordinator to itself: {failure}")
            }
        }
    }

    fn note(&mut self, note: Note, ctx: &mut Context<Supervisor>) {
        let Note { region: index, fence, subtask, what } = note;
        let event = match what {
            NoteKind::Ready => {
                self.ready(index, fence, &subtask, ctx);
                coordinator::Event::Ready(subtask)
            }
            NoteKind::Unsure => coordinator::Event::Unsure,
            NoteKind::Closed(window, pace) => coordinator::Event::Closed(subtask, window, pace),
            NoteKind::Ack(_) if self.faults.as_ref().is_some_and(|faults| faults.loses_ack(&subtask)) => return,
            NoteKind::Ack(ack) => {
                self.acknowledged(index, fence, &ack);
                coordinator::Event::Ack(subtask, ack)
            }
            NoteKind::Declined(declined) => coordinator::Event::Declined(subtask, declined),
            NoteKind::Told(window) => coordinator::Event::Told(subtask, window),
            NoteKind::Finished => coordinator::Event::Finished(subtask),
            NoteKind::JournalFull => coordinator::Event::JournalFull,
            NoteKind::Restarted(restart) => return self.restarted_alone(index, fence, &subtask, &restart),
            NoteKind::SetAside(letter) => {
                let region = self.regions[index].machine.name().to_string();
                let DeadLetter { operator, reason, .. } = *letter;
                return self.tell(&Event::DeadLetter { region, operator, subtask: subtask.index, reason });
            }
            NoteKind::Failed(failure, why) => {
                if let Some(reason) = why.filter(|_| fence == self.regions[index].machine.fence()) {
                    self.tell(&Event::Escalated {
                        region: self.regions[index].machine.name().to_string(),
                        operator: failure.operator.clone(),
                        subtask: subtask.index,
                        from: "operator",
                        to: "region",
                        reason,
                    });
                }
                self.on(index, region::Event::Failed(fence, Some(subtask), failure), ctx);
                return;
            }
            NoteKind::Halted(serial, unpublished) => {
                if !self.leave(serial) {
                    // It was given up before it ended after all.
                    return;
                }
                self.regions[index].unpublished.insert(subtask, unpublished);
                self.start_if_clear(index, ctx);
                self.end_if_over(ctx);
                return;
            }
        };
        self.on(index, region::Event::Coordinator(fence, event), ctx);
    }

    /// Ends the job once every region is over and all actors have ended.
    fn end_if_over(&mut self, ctx: &mut Context<Supervisor>) {
        if self.regions.iter().any(|region| !region.over || !region.leaving.is_empty()) || self.outcome.lock().is_some()
        {
            return;
        }
        if self.is_saving() {
            return;
        }
        let outcome = self.outcome_now();
        self.answer_stopped(&outcome.failures);
        *self.outcome.lock() = Some(outcome);
        self.expire();
        self.storage.stop();
        self.watch = None;
        self.threads.stop();
        ctx.stop();
        actix::System::current().stop();
    }

    /// Sees to it that a region whose time comes is told.
    fn arm(&mut self, ctx: &mut Context<Supervisor>) {
        let earliest = self.regions.iter().filter_map(|region| region.machine.wake_at()).min();
        if self.armed.map(|(at, _)| at) == earliest {
            return;
        }
        if let Some((_, handle)) = self.armed.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = earliest {
            let pause = u64::try_from(at.saturating_sub(self.time.now())).unwrap_or(0);
            let handle = ctx.notify_later(Tick, Duration::from_millis(pause.clamp(1, 3_600_000)));
            self.armed = Some((at, handle));
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Supervisor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let own = ctx.address();
        self.storage.watch(move |reason| own.do_send(Answer::Lost(reason)));
        self.expire();
        let own = ctx.address();
        let timeout = Duration::from_millis(self.hang_timeout.millis());
        match Watch::start(timeout, move |seat, beat| own.do_send(Hung { seat, beat })) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => return self.end_at_once(format!("the watch could not be started: {error}"), ctx),
        }
        let own = ctx.address();
        self.threads.on_left(move |place| own.do_send(rescue::LaneLeft(place)));
        for index in 0..self.regions.len() {
            let window = self.begin[index];
            self.on(index, region::Event::Begin(window), ctx);
        }
    }
}

impl Handler<Note> for Supervisor {
    type Result = ();

    fn handle(&mut self, note: Note, ctx: &mut Self::Context) {
        self.note(note, ctx);
    }
}

impl Handler<Answer> for Supervisor {
    type Result = ();

    fn handle(&mut self, answer: Answer, ctx: &mut Self::Context) {
        match answer {
            Answer::Outcome { region, fence, window, outcome } => {
                if outcome.is_ok() {
                    let held = self.promises.head(region, window);
                    self.hold_to(region, held);
                }
                let event = coordinator::Event::Outcome(window, outcome);
                self.on(region, region::Event::Coordinator(fence, event), ctx);
            }
            Answer::Lost(reason) => self.store_lost(&reason, ctx),
            Answer::Head { region, head } => {
                if let Ok(head) = head {
                    let held = self.promises.head(region, head);
                    self.hold_to(region, held);
                }
                self.on(region, region::Event::Head(head), ctx);
            }
            Answer::Loaded { region, fence, loaded } => self.loaded(region, fence, loaded, ctx),
        }
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        for index in 0..self.regions.len() {
            if !self.regions[index].over {
                self.on(index, region::Event::Stop, ctx);
            }
        }
    }
}

impl Handler<Vanish> for Supervisor {
    type Result = ();

    fn handle(&mut self, Vanish(victim): Vanish, ctx: &mut Self::Context) {
        match victim {
            // Not `terminate`: if a timer was taken back in the same turn, actix 0.13 then polls the context for ever.
            Victim::Supervisor => ctx.stop(),
            Victim::Actor(id) => {
                let seat = self.regions.iter().flat_map(|region| &region.seats).find(|seat| seat.label.id == id);
                if let Some(seat) = seat {
                    seat.letters.let_actor_vanish();
                }
            }
        }
    }
}

impl Handler<Tick> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.armed = None;
        let now = self.time.now();
        for index in 0..self.regions.len() {
            if self.regions[index].machine.wake_at().is_some_and(|at| at <= now) {
                self.on(index, region::Event::Tick, ctx);
            }
        }
        self.arm(ctx);
    }
}

impl Message for Note {
    type Result = ();
}

impl Message for Answer {
    type Result = ();
}

impl Message for Stop {
    type Result = ();
}

impl Message for Vanish {
    type Result = ();
}

impl Message for Tick {
    type Result = ();
}
