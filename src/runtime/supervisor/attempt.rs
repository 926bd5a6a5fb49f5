//! The attempts of a region, one after the other: what one is made of, when the next may begin, what it goes on from.
//!
//! No attempt begins before every actor of the last one has ended, and none is said to run before all of its subtasks
//! are open. When there has to be another one is the [`Region`]'s decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::prelude::{AsyncContext as _, Context};
use piton_actors::Timestamp;

use super::{Answer, Supervisor};
use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::failure::Failure;
use crate::protocol::ladder::Rung;
use crate::protocol::manifest::PendingOutput;
use crate::protocol::region::{self, Region};
use crate::protocol::subtask::{Event as SubtaskEvent, Restart as RestartAlone};
use crate::runtime::actor::{Driver, DriverSpec};
use crate::runtime::build::{Common, RegionBlueprint};
use crate::runtime::event::Event;
use crate::runtime::port::Port;
use crate::runtime::progress::{Gauges, Watched};
use crate::runtime::restore;
use crate::runtime::seat::{Core, Label, Letterbox, Lying, Seat};
use crate::runtime::storage::Loaded;
use crate::runtime::threads::Place;

/// A region as the supervisor holds it.
pub(super) struct Held {
    pub(super) machine: Region,
    blueprint: RegionBlueprint,
    pub(super) ids: Vec<SubtaskId>,
    pub(super) sources: BTreeSet<SubtaskId>,
    /// Whether each subtask needs a thread of its own.
    dedicated: Vec<bool>,
    ports: Vec<Arc<Port>>,
    pub(super) gauges: Vec<Arc<Gauges>>,
    pub(super) seats: Vec<Arc<Seat>>,
    /// Those of the last attempt whose actors have not yet ended.
    pub(super) leaving: Vec<Arc<Seat>>,
    /// The next attempt, while it waits for those.
    pub(super) next: Option<(Fence, WindowId)>,
    /// Outputs that the last attempt has left unpublished.
    pub(super) unpublished: BTreeMap<SubtaskId, Vec<PendingOutput>>,
    unready: BTreeSet<SubtaskId>,
    pub(super) restart: Option<Restart>,
    pub(super) committed: WindowId,
    pub(super) finished: bool,
    pub(super) over: bool,
}

/// A restart of a region, for as long as not all of its subtasks are open again.
pub(super) struct Restart {
    subtask: Option<SubtaskId>,
    failure: Failure,
    failed_at: Timestamp,
    started_at: Timestamp,
    window: WindowId,
}

impl Restart {
    /// Takes note that a region has failed, perhaps by one of its subtasks.
    pub(super) fn new(subtask: Option<SubtaskId>, failure: Failure, now: Timestamp) -> Restart {
        Restart { subtask, failure, failed_at: now, started_at: now, window: WindowId::NONE }
    }
}

impl Held {
    /// Holds a region whose first attempt goes on from this window.
    pub(super) fn new(machine: Region, blueprint: RegionBlueprint, window: WindowId, common: &Common) -> Held {
        let ids = blueprint.subtasks();
        Held {
            sources: blueprint.sources().into_iter().collect(),
            dedicated: blueprint.dedicated(),
            ports: blueprint.ports(machine.fence(), common),
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
        }
    }

    /// Returns what is shown of its subtasks.
    pub(super) fn watched(&self) -> impl Iterator<Item = Watched> {
        self.ids.iter().zip(&self.gauges).zip(&self.ports).map(|((id, gauges), port)| Watched {
            subtask: id.clone(),
            gauges: Arc::clone(gauges),
            port: Arc::clone(port),
        })
    }

    /// Ends the present attempt, even if it has not been started yet.
    pub(super) fn halt(&mut self) {
        self.next = None;
        for seat in self.seats.drain(..) {
            seat.letters.halt();
            self.leaving.push(seat);
        }
    }
}

impl Supervisor {
    /// Starts the next attempt of a region, once every actor of the last one has ended.
    pub(super) fn start_if_clear(&mut self, index: usize, ctx: &mut Context<Supervisor>) {
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

    /// The storage thread has read what the present attempt goes on from, or could not.
    pub(super) fn loaded(
        &mut self,
        index: usize,
        fence: Fence,
        loaded: Result<Box<Loaded>, String>,
        ctx: &mut Context<Supervisor>,
    ) {
        let region = &self.regions[index];
        if !region.machine.is_running(fence) || region.over {
            return;
        }
        match loaded {
            Ok(loaded) => {
                let window = loaded.manifest.window;
                self.build(index, fence, window, Some(loaded), ctx);
            }
            Err(message) => {
                let failure = Failure::engine(region.machine.name(), message);
                self.on(index, region::Event::Failed(fence, None, failure), ctx);
            }
        }
    }

    /// Makes the subtasks of an attempt, gives them what was loaded, and seats them.
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

    /// A subtask is open: the attempt runs when all of them are.
    pub(super) fn ready(&mut self, index: usize, fence: Fence, subtask: &SubtaskId, ctx: &mut Context<Supervisor>) {
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

    /// A part of a subtask was restarted, and nothing else.
    pub(super) fn restarted_alone(&mut self, index: usize, fence: Fence, subtask: &SubtaskId, restart: &RestartAlone) {
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

    /// The job is rolled back as a whole: the regions that run follow the one that has failed.
    pub(super) fn roll_back_others(&mut self, failed: usize, name: &str, ctx: &mut Context<Supervisor>) {
        for index in (0..self.regions.len()).filter(|index| *index != failed) {
            let machine = &self.regions[index].machine;
            let fence = machine.fence();
            let message =
                format!("region \"{name}\" has failed, and the job is rolled back (recovery.scope = \"job\")");
            let failure = Failure::engine(machine.name(), message);
            self.on(index, region::Event::Failed(fence, None, failure), ctx);
        }
    }

    /// A write has failed, and the store is opened again. What running attempts have kept since their last commit is
    /// gone then, so that all of them have to be restored.
    pub(super) fn store_lost(&mut self, reason: &str, ctx: &mut Context<Supervisor>) {
        for index in 0..self.regions.len() {
            let machine = &self.regions[index].machine;
            let fence = machine.fence();
            let failure = Failure::engine(machine.name(), format!("the store has to be opened again: {reason}"));
            self.on(index, region::Event::Failed(fence, None, failure), ctx);
        }
    }
}
