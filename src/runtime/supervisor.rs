//! The supervisor: one actor that owns the regions of a job and turns their commands into messages.
//!
//! It decides nothing: every decision is the [`Region`]'s, a plain state machine. No user code runs here, and nothing
//! blocks: the store has a thread of its own.

mod asked;
mod rescue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::{Actor, ActorContext as _, AsyncContext, Context, Handler, Message, SpawnHandle};
use parking_lot::Mutex;
use piton_actors::Timestamp;
use piton_actors::host::{Beat, Pulse};
use rand::Rng as _;
use rand_pcg::Pcg64Mcg;

use crate::config;
use crate::config::Scope;
use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::commit::CommitError;
use crate::protocol::coordinator::{self, FailureReason};
use crate::protocol::failure::Failure;
use crate::protocol::ladder::Rung;
use crate::protocol::manifest::{DeadLetter, PendingOutput};
use crate::protocol::region::{self, Region};
use crate::protocol::subtask::{Event as SubtaskEvent, Restart as RestartAlone};
use crate::runtime::actor::{Driver, DriverSpec, Gauges, NoteKind, SubtaskActor};
use crate::runtime::build::{Common, RegionBlueprint};
use crate::runtime::event::{Event, Listener};
use crate::runtime::faults::{Faults, Victim};
use crate::runtime::outside::Outside;
use crate::runtime::port::Port;
use crate::runtime::progress::Progress;
use crate::runtime::restore;
use crate::runtime::seat::{Core, Label, Letterbox, Lying, Presence, Seat};
use crate::runtime::storage::{Loaded, Storage};
use crate::runtime::threads::{Place, Threads};
use crate::runtime::time::Time;
use crate::runtime::watch::Watch;

pub(crate) use self::asked::Ask;

/// How a job has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the input of every region has ended.
    pub finished: bool,
    /// The last committed window of each region.
    pub windows: BTreeMap<String, WindowId>,
    /// How many records the sources have emitted since the job first began.
    pub records_in: u64,
    /// How many records the sinks have taken since the job first began.
    pub records_out: u64,
    /// How many restarts of regions there were in this process.
    pub restarts: u64,
    /// Why regions gave up; empty if none did.
    pub failures: Vec<String>,
    /// Whether it was cancelled: there is no checkpoint of what it did last.
    pub cancelled: bool,
}

/// What a subtask's actor says.
pub(crate) struct Note {
    pub(crate) region: usize,
    pub(crate) fence: Fence,
    pub(crate) subtask: SubtaskId,
    pub(crate) what: NoteKind,
}

/// The watch has found that a call gets nowhere.
pub(crate) struct Hung {
    pub(crate) seat: u64,
    pub(crate) beat: Beat,
}

/// The actor of a seat is gone, and has not ended.
pub(crate) struct Missing {
    pub(crate) seat: u64,
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

/// A region as the supervisor holds it.
struct Held {
    machine: Region,
    blueprint: RegionBlueprint,
    ids: Vec<SubtaskId>,
    sources: BTreeSet<SubtaskId>,
    /// Whether each subtask needs a thread of its own.
    dedicated: Vec<bool>,
    ports: Vec<Arc<Port>>,
    gauges: Vec<Arc<Gauges>>,
    seats: Vec<Arc<Seat>>,
    /// Those of the last attempt whose actors have not yet ended.
    leaving: Vec<Arc<Seat>>,
    /// The next attempt, while it waits for those.
    next: Option<(Fence, WindowId)>,
    /// Outputs that the last attempt has left unpublished.
    unpublished: BTreeMap<SubtaskId, Vec<PendingOutput>>,
    unready: BTreeSet<SubtaskId>,
    restart: Option<Restart>,
    committed: WindowId,
    finished: bool,
    over: bool,
}

struct Restart {
    subtask: Option<SubtaskId>,
    failure: Failure,
    failed_at: Timestamp,
    started_at: Timestamp,
    window: WindowId,
}

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
    outcome: Arc<Mutex<Option<Outcome>>>,
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
            let ids = blueprint.subtasks();
            regions.push(Held {
                sources: blueprint.sources().into_iter().collect(),
                dedicated: blueprint.dedicated(),
                ports: blueprint.ports(machine.fence(), &spec.common),
                gauges: ids.iter().map(|_| Arc::default()).collect(),
                seats: Vec::new(),
                leaving: Vec::new(),
                next: None,
                unpublished: BTreeMap::new(),
                unready: BTreeSet::new(),
                restart: None,
                committed: window,
                finished: false,
                over: false,
                machine,
                blueprint,
                ids,
            });
        }
        spec.progress.watch(regions.iter().flat_map(|region| &region.gauges));
        Supervisor {
            job: spec.job,
            expires_ms: spec.expires_ms,
            asked: asked::Asked::default(),
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
                let now = self.time.now();
                let name = region.machine.name().to_string();
                region.restart =
                    Some(Restart { subtask, failure, failed_at: now, started_at: now, window: WindowId::NONE });
                self.restarts += 1;
                let reason = region.restart.as_ref().map(|restart| restart.failure.to_string()).unwrap_or_default();
                self.note_saving(|saving| saving.restarting(index, &reason), ctx);
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

    /// The job is rolled back as a whole: the regions that run follow the one that has failed.
    fn roll_back_others(&mut self, failed: usize, name: &str, ctx: &mut Context<Supervisor>) {
        for index in (0..self.regions.len()).filter(|index| *index != failed) {
            let machine = &self.regions[index].machine;
            let fence = machine.fence();
            let message =
                format!("region \"{name}\" has failed, and the job is rolled back (recovery.scope = \"job\")");
            let failure = Failure::engine(machine.name(), message);
            self.on(index, region::Event::Failed(fence, None, failure), ctx);
        }
    }

    fn coordinate(&mut self, index: usize, command: coordinator::Command, ctx: &mut Context<Supervisor>) {
        let region = &mut self.regions[index];
        let name = region.machine.name().to_string();
        match command {
            coordinator::Command::Close(marker, behind, alignment) => {
                for seat in &region.seats {
                    if region.sources.contains(&seat.label.id) {
                        seat.letters.tell(SubtaskEvent::CloseWindow(marker, behind, alignment));
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
                for seat in &region.seats {
                    seat.letters.tell(SubtaskEvent::Committed(window));
                    if self.faults.as_ref().is_some_and(|faults| faults.repeats_committed(&seat.label.id)) {
                        seat.letters.tell(SubtaskEvent::Committed(window));
                    }
                }
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

    /// Starts the next attempt of a region, once every actor of the last one has ended.
    fn start_if_clear(&mut self, index: usize, ctx: &mut Context<Supervisor>) {
        let region = &mut self.regions[index];
        if !region.leaving.is_empty() {
            return;
        }
        let Some((fence, window)) = region.next.take() else { return };
        if let Some(restart) = &mut region.restart {
            restart.started_at = self.time.now();
            restart.window = window;
        }
        if window == WindowId::NONE {
            self.build(index, fence, window, None, ctx);
            return;
        }
        let own = ctx.address();
        let name = region.machine.name().to_string();
        self.storage.load(name, window, move |loaded| own.do_send(Answer::Loaded { region: index, fence, loaded }));
    }

    fn build(
        &mut self,
        index: usize,
        fence: Fence,
        window: WindowId,
        loaded: Option<Box<Loaded>>,
        ctx: &mut Context<Supervisor>,
    ) {
        let region = &mut self.regions[index];
        debug_assert!(region.seats.is_empty(), "one attempt at a time");
        let built = match region.blueprint.build(fence, &self.common) {
            Ok(built) => built,
            Err(failure) => {
                self.on(index, region::Event::Failed(fence, None, failure), ctx);
                return;
            }
        };
        let split = loaded.map(|loaded| restore::split(*loaded, &region.blueprint)).transpose();
        let mut restored = match split {
            Ok(restored) => restored.unwrap_or_default(),
            Err((operator, error)) => {
                let failure = Failure::error(operator, &error);
                self.on(index, region::Event::Failed(fence, None, failure), ctx);
                return;
            }
        };
        for port in &region.ports {
            port.reset(fence);
        }
        region.unready = region.ids.iter().cloned().collect();
        let mut cores = Vec::new();
        for (number, built) in built.into_iter().enumerate() {
            let id = built.subtask.id().clone();
            let driver = Driver::new(DriverSpec {
                fence,
                port: Arc::clone(&region.ports[number]),
                outputs: built
                    .outputs
                    .into_iter()
                    .map(|(consumer, channel)| (Arc::clone(&region.ports[consumer]), channel))
                    .collect(),
                gauges: Arc::clone(&region.gauges[number]),
                storage: self.storage.clone(),
                time: self.time.clone(),
                overtakes: self.common.overtakes,
                outside: self.outside.handle(),
            });
            let mut start = restored.remove(&id);
            if let Some(restored) = &mut start {
                let unpublished = region.unpublished.remove(&id).unwrap_or_default();
                restored.abandoned = unpublished.into_iter().filter(|pending| pending.window > window).collect();
            }
            let own = region.dedicated[number].then_some(Place::Own(index, number));
            let place = own.unwrap_or_else(|| self.threads.lane(id.index));
            let core = Core { subtask: built.subtask, driver };
            cores.push((Label { region: index, id, fence, place }, core, start));
        }
        region.unpublished.clear();
        for (label, core, start) in cores {
            let letters = Arc::<Letterbox>::default();
            letters.tell(SubtaskEvent::Start(start));
            let lying = Lying::Core(Box::new(core));
            match self.sit(label, lying, letters, Arc::default(), ctx) {
                Ok(seat) => self.regions[index].seats.push(seat),
                Err(reason) => return self.end_at_once(reason, ctx),
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
            NoteKind::Closed(window) => coordinator::Event::Closed(subtask, window),
            NoteKind::Ack(_) if self.faults.as_ref().is_some_and(|faults| faults.loses_ack(&subtask)) => return,
            NoteKind::Ack(ack) => coordinator::Event::Ack(subtask, ack),
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

    /// A part of a subtask was restarted, and nothing else.
    fn restarted_alone(&mut self, index: usize, fence: Fence, subtask: &SubtaskId, restart: &RestartAlone) {
        let machine = &self.regions[index].machine;
        if fence != machine.fence() {
            return;
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        let event = Event::Restarted {
            region: machine.name().to_string(),
            operator: restart.failure.operator.clone(),
            subtask: Some(subtask.index),
            scope: match restart.rung {
                Rung::Batch => "batch",
                Rung::Operator => "operator",
            },
            attempt: restart.attempt,
            window: restart.window.0,
            replayed: restart.replayed,
            restore_ms: ms(restart.restore_ns),
            replay_ms: ms(restart.replay_ns),
            took_ms: ms(restart.took_ns),
            cause: restart.failure.cause(),
            reason: restart.failure.to_string(),
        };
        self.tell(&event);
    }

    /// A write has failed, and the store is opened again. What running attempts have kept since their last commit is
    /// gone then, so that all of them have to be restored.
    fn store_lost(&mut self, reason: &str, ctx: &mut Context<Supervisor>) {
        for index in 0..self.regions.len() {
            let machine = &self.regions[index].machine;
            let fence = machine.fence();
            let failure = Failure::engine(machine.name(), format!("the store has to be opened again: {reason}"));
            self.on(index, region::Event::Failed(fence, None, failure), ctx);
        }
    }

    fn ready(&mut self, index: usize, fence: Fence, subtask: &SubtaskId, ctx: &mut Context<Supervisor>) {
        let now = self.time.now();
        let region = &mut self.regions[index];
        if !region.machine.is_running(fence) {
            return;
        }
        region.unready.remove(subtask);
        if !region.unready.is_empty() {
            return;
        }
        let restart = region.restart.take();
        self.region_is_open(index, ctx);
        let region = &self.regions[index];
        let Some(restart) = restart else { return };
        let event = Event::Restarted {
            region: region.machine.name().to_string(),
            operator: restart.failure.operator.clone(),
            subtask: restart.subtask.map(|subtask| subtask.index),
            scope: "region",
            attempt: fence.attempt,
            window: restart.window.0,
            replayed: 0,
            restore_ms: (now - restart.started_at) as f64,
            replay_ms: 0.0,
            took_ms: (now - restart.failed_at) as f64,
            cause: restart.failure.cause(),
            reason: restart.failure.to_string(),
        };
        self.tell(&event);
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
        let gauges = || self.regions.iter().flat_map(|region| &region.gauges);
        let outcome = Outcome {
            finished: self.regions.iter().all(|region| region.finished),
            windows: self.regions.iter().map(|region| (region.machine.name().to_string(), region.committed)).collect(),
            records_in: gauges().map(|gauges| gauges.read.load(Ordering::Relaxed)).sum(),
            records_out: gauges().map(|gauges| gauges.written.load(Ordering::Relaxed)).sum(),
            restarts: self.restarts,
            failures: self.failures.clone(),
            cancelled: self.asked.cancelled,
        };
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

impl Held {
    /// Ends the present attempt, even if it has not been started yet.
    fn halt(&mut self) {
        self.next = None;
        for seat in self.seats.drain(..) {
            seat.letters.halt();
            self.leaving.push(seat);
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
                let event = coordinator::Event::Outcome(window, outcome);
                self.on(region, region::Event::Coordinator(fence, event), ctx);
            }
            Answer::Lost(reason) => self.store_lost(&reason, ctx),
            Answer::Head { region, head } => self.on(region, region::Event::Head(head), ctx),
            Answer::Loaded { region, fence, loaded } => {
                if !self.regions[region].machine.is_running(fence) || self.regions[region].over {
                    return;
                }
                match loaded {
                    Ok(loaded) => {
                        let window = loaded.manifest.window;
                        self.build(region, fence, window, Some(loaded), ctx);
                    }
                    Err(message) => {
                        let failure = Failure::engine(self.regions[region].machine.name(), message);
                        self.on(region, region::Event::Failed(fence, None, failure), ctx);
                    }
                }
            }
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
            Victim::Supervisor => ctx.terminate(),
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
