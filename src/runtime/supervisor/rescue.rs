//! What becomes of subtasks whose actor is stuck, or gone.
//!
//! They live on: their cores get other seats, with other actors, on another thread if theirs is stuck or has ended. Of
//! all that share the thread only the one that is stuck has lost something, the call that it is in; it recovers from
//! that by itself, and the others notice nothing.

use std::sync::Arc;

use actix::prelude::{Actor as _, AsyncContext as _, Context, Handler, Message};
use piton_actors::host::{Beat, Pulse};

use super::Supervisor;
use crate::ids::SubtaskId;
use crate::protocol::chain::ChainFailure;
use crate::protocol::failure::Failure;
use crate::protocol::region;
use crate::protocol::subtask::Event as SubtaskEvent;
use crate::runtime::actor::SubtaskActor;
use crate::runtime::event::Event;
use crate::runtime::seat::{DROPPING, Label, Letterbox, Lying, Presence, REQUESTS, SINK, SOURCE, Seat};
use crate::runtime::threads::Place;

/// The watch has found that a call gets nowhere.
pub(crate) struct Hung {
    pub(crate) seat: u64,
    pub(crate) beat: Beat,
}

/// The actor of a seat is gone, and has not ended.
pub(crate) struct Missing {
    pub(crate) seat: u64,
}

/// Another job has left a lane.
pub(super) struct LaneLeft(pub(super) Place);

impl Supervisor {
    /// Gives what is left of a subtask a seat and an actor.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(super) fn sit(
        &mut self,
        label: Label,
        lying: Lying,
        letters: Arc<Letterbox>,
        pulse: Arc<Pulse>,
        ctx: &mut Context<Supervisor>,
    ) -> Result<Arc<Seat>, String> {
        let arbiter = match self.threads.at(label.place) {
            Ok(arbiter) => arbiter,
            Err(error) => {
                leak(lying);
                return Err(format!("a thread could not be started: {error}"));
            }
        };
        self.seated += 1;
        let seat = Arc::new(Seat::new(self.seated, label, lying, letters, pulse, ctx.address()));
        if let Some(watch) = &self.watch {
            watch.add(seat.serial, Arc::clone(&seat.pulse));
        }
        // Made here: if the thread ends before the actor begins, that is known, too.
        let presence = Presence::new(&seat);
        let actor = SubtaskActor::start_in_arbiter(&arbiter, move |_| SubtaskActor::new(presence));
        seat.letters.belongs_to(actor);
        Ok(seat)
    }

    /// Gives up a seat; returns whether it was one.
    pub(super) fn leave(&mut self, serial: u64) -> bool {
        if let Some(watch) = &self.watch {
            watch.remove(serial);
        }
        let mut found = false;
        for region in &mut self.regions {
            for seats in [&mut region.seats, &mut region.leaving] {
                let before = seats.len();
                seats.retain(|seat| seat.serial != serial);
                found |= seats.len() < before;
            }
        }
        found
    }

    fn seat(&self, serial: u64) -> Option<Arc<Seat>> {
        self.seats().find(|seat| seat.serial == serial).cloned()
    }

    fn seats(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.regions.iter().flat_map(|region| region.seats.iter().chain(&region.leaving))
    }

    /// A call of user code gets nowhere: it is abandoned, and with it the thread.
    fn hung(&mut self, hung: &Hung, ctx: &mut Context<Supervisor>) {
        let Some(seat) = self.seat(hung.seat) else { return };
        // It may have come back since it was found.
        let Some(lying) = seat.rob_stuck(hung.beat) else { return };
        let operator = blamed(&seat, &lying, hung.beat);
        let Label { region, id, place, .. } = &seat.label;
        let name = self.regions[*region].machine.name().to_string();
        tracing::warn!(region = name, operator, subtask = id.index, "hung: its thread is given up");
        self.tell(&Event::Hung { region: name, operator: operator.clone(), subtask: id.index });
        let whose = SubtaskId::new(operator.as_str(), id.index);
        let is_injected = self.faults.as_ref().is_some_and(|faults| faults.holds_up(&whose));
        let failure = Failure { is_injected, ..Failure::hung(operator, self.hang_timeout) };
        let mut lost = lost_call(hung.beat, failure);
        let mut moved = vec![(Arc::clone(&seat), lying)];
        // If one of them is at work, the thread has come back this very moment: then it is as good as any other.
        let mut is_at_work = false;
        let others = self.seats().filter(|other| other.label.place == *place && other.serial != seat.serial);
        for other in others {
            match other.rob_idle() {
                Some(lying) => moved.push((Arc::clone(other), lying)),
                None => is_at_work = true,
            }
        }
        if !is_at_work && let Err(reason) = self.threads.leave(*place) {
            let reason = format!("\"{}\" is stuck: {reason}", blamed(&seat, &moved[0].1, hung.beat));
            moved.into_iter().for_each(|(_, lying)| leak(lying));
            return self.end_at_once(reason, ctx);
        }
        for (old, lying) in moved {
            let is_stuck = old.serial == seat.serial;
            // What is stuck still holds the pulse.
            let pulse = if is_stuck { Arc::default() } else { Arc::clone(&old.pulse) };
            if let Some(lost) = lost.take_if(|_| is_stuck) {
                old.letters.tell(lost);
            }
            if let Err(reason) = self.sit_again(&old, lying, pulse, ctx) {
                return self.end_at_once(reason, ctx);
            }
        }
    }

    /// Another job has left a lane that they share: what is here of it moves, and loses nothing.
    fn lane_left(&mut self, place: Place, ctx: &mut Context<Supervisor>) {
        let here: Vec<_> = self.seats().filter(|seat| seat.label.place == place).cloned().collect();
        for seat in here {
            // One that is at work is on the thread that has just come back: it ends with it, and is missed then.
            let Some(lying) = seat.rob_idle() else { continue };
            let pulse = Arc::clone(&seat.pulse);
            if let Err(reason) = self.sit_again(&seat, lying, pulse, ctx) {
                return self.end_at_once(reason, ctx);
            }
        }
    }

    /// An actor is gone, perhaps with its thread: another goes on.
    fn missing(&mut self, serial: u64, ctx: &mut Context<Supervisor>) {
        let Some(seat) = self.seat(serial) else { return };
        let Label { region, id, fence, place } = seat.label.clone();
        tracing::warn!(subtask = %id, "its actor has vanished");
        if !self.threads.is_alive(place)
            && let Err(reason) = self.threads.leave(place)
        {
            return self.end_at_once(reason, ctx);
        }
        let failure = Failure::engine(&*id.operator, "its actor has vanished");
        let beat = seat.pulse.look();
        if let Some(lying) = seat.inherit() {
            if let Some(lost) = beat.and_then(|beat| lost_call(beat, failure)) {
                seat.letters.tell(lost);
            }
            if let Err(reason) = self.sit_again(&seat, lying, Arc::default(), ctx) {
                self.end_at_once(reason, ctx);
            }
            return;
        }
        // The core went with it.
        self.leave(serial);
        if seat.letters.is_halted() {
            self.start_if_clear(region, ctx);
            self.end_if_over(ctx);
        } else {
            self.on(region, region::Event::Failed(fence, Some(id), failure), ctx);
        }
    }

    fn sit_again(
        &mut self,
        old: &Arc<Seat>,
        lying: Lying,
        pulse: Arc<Pulse>,
        ctx: &mut Context<Supervisor>,
    ) -> Result<(), String> {
        let seat = self.sit(old.label.clone(), lying, Arc::clone(&old.letters), pulse, ctx)?;
        if let Some(watch) = &self.watch {
            watch.remove(old.serial);
        }
        let region = &mut self.regions[old.label.region];
        for place in region.seats.iter_mut().chain(&mut region.leaving).filter(|place| place.serial == old.serial) {
            *place = Arc::clone(&seat);
        }
        Ok(())
    }

    /// Ends the job without waiting for anybody.
    pub(super) fn end_at_once(&mut self, reason: String, ctx: &mut Context<Supervisor>) {
        tracing::error!("{reason}");
        self.failures.push(reason);
        for region in &mut self.regions {
            region.over = true;
            // What is not stuck itself ends, since the threads may go on for others.
            region.halt();
            region.seats.clear();
            region.leaving.clear();
        }
        self.end_if_over(ctx);
    }
}

/// Lets go of a core that no thread is left for. It is not dropped: that would be code of the user's on this thread.
fn leak(lying: Lying) {
    std::mem::forget(lying);
}

/// Returns whose code it is that a call is in.
fn blamed(seat: &Seat, lying: &Lying, beat: Beat) -> String {
    match (lying, beat.place) {
        (Lying::Core(core) | Lying::Lent(core), SOURCE) => core.subtask.source_name().to_string(),
        (Lying::Core(core) | Lying::Lent(core), SINK) => core.subtask.sink_name().to_string(),
        (Lying::Core(core) | Lying::Lent(core), REQUESTS) => core.subtask.asker_name().to_string(),
        (Lying::Core(core) | Lying::Lent(core), place) => core.subtask.name_at(place).to_string(),
        (Lying::Out | Lying::Dropped(_) | Lying::Moved, _) => seat.label.id.operator.to_string(),
    }
}

/// Returns what a subtask is told about a call that does not come back.
fn lost_call(beat: Beat, failure: Failure) -> Option<SubtaskEvent> {
    match beat.place {
        SOURCE => Some(SubtaskEvent::Source(None, Err(failure))),
        SINK => Some(SubtaskEvent::Sink(None, Err(failure))),
        REQUESTS => Some(SubtaskEvent::RequestsLost(failure, (beat.row > 0).then_some(beat.row as u64))),
        DROPPING => None,
        place => {
            // The first operator counts the records of the batch; the others see what it has made of many.
            let row = beat.row.checked_sub(1).filter(|_| place == 0);
            Some(SubtaskEvent::Chain(None, Err(ChainFailure { row, ..ChainFailure::lost(failure) })))
        }
    }
}

impl Handler<Hung> for Supervisor {
    type Result = ();

    fn handle(&mut self, hung: Hung, ctx: &mut Self::Context) {
        self.hung(&hung, ctx);
    }
}

impl Handler<Missing> for Supervisor {
    type Result = ();

    fn handle(&mut self, Missing { seat }: Missing, ctx: &mut Self::Context) {
        self.missing(seat, ctx);
    }
}

impl Handler<LaneLeft> for Supervisor {
    type Result = ();

    fn handle(&mut self, LaneLeft(place): LaneLeft, ctx: &mut Self::Context) {
        self.lane_left(place, ctx);
    }
}

impl Message for LaneLeft {
    type Result = ();
}

impl Message for Hung {
    type Result = ();
}

impl Message for Missing {
    type Result = ();
}

impl Drop for Supervisor {
    /// Without its supervisor a job never ends: if it was lost to a panic, whoever waits for the job has to know.
    fn drop(&mut self) {
        if let Some(system) = actix::System::try_current() {
            system.stop();
        }
    }
}
