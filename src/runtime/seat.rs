//! Where a subtask works: all that belongs to it, apart from the actor that works with it.
//!
//! Actors cannot be moved between threads, and one of them may be stuck for ever in code of the user's. So an actor
//! owns nothing. The core of a subtask, which is its state machine with everything that is in hand for it, lies in the
//! seat; the actor takes it out for as long as the engine's own code runs, and never while the user's does. What the
//! subtask is told waits in a letterbox.
//!
//! Whoever finds that an actor is stuck or gone [takes the core away](Seat::rob_stuck) and gives it another seat, with
//! another actor on another thread. An actor that comes back to a seat without a core has been given up: it ends, and
//! whatever it brings is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::{Addr, Message};
use parking_lot::Mutex;
use piton_actors::host::{Beat, Pulse};

use crate::ids::{Fence, SubtaskId};
use crate::protocol::manifest::PendingOutput;
use crate::protocol::subtask::{Event, Subtask};
use crate::runtime::actor::{Driver, SubtaskActor};
use crate::runtime::note::NoteKind;
use crate::runtime::supervisor::{Missing, Note, Supervisor};
use crate::runtime::threads::Place;

/// The place in the pulse of a subtask whose source is being called; its operators come first, from 0.
pub(crate) const SOURCE: usize = usize::MAX;
/// As [`SOURCE`], for its sink.
pub(crate) const SINK: usize = usize::MAX - 1;
/// As [`SOURCE`], while all of it is being dropped.
pub(crate) const DROPPING: usize = usize::MAX - 2;
/// As [`SOURCE`], for requests of its last operator.
pub(crate) const REQUESTS: usize = usize::MAX - 3;

/// A subtask and everything that is in hand for it.
pub(crate) struct Core {
    pub(crate) subtask: Subtask,
    pub(crate) driver: Driver,
}

/// What lies in a seat.
pub(crate) enum Lying {
    /// The core.
    Core(Box<Core>),
    /// The core, while its actor lets code of the user's run.
    Lent(Box<Core>),
    /// Nothing: its actor has taken it out and brings it back at once.
    Out,
    /// The core was dropped, or is being dropped; these outputs of its sink were not yet published.
    Dropped(Vec<PendingOutput>),
    /// It was taken away for good.
    Moved,
}

/// Whose seat it is.
#[derive(Clone)]
pub(crate) struct Label {
    /// The region, as the supervisor counts them.
    pub(crate) region: usize,
    pub(crate) id: SubtaskId,
    pub(crate) fence: Fence,
    /// The thread that it is on.
    pub(crate) place: Place,
}

/// The seat. See the module.
pub(crate) struct Seat {
    /// Tells this seat from all others of the job.
    pub(crate) serial: u64,
    pub(crate) label: Label,
    pub(crate) letters: Arc<Letterbox>,
    pub(crate) pulse: Arc<Pulse>,
    supervisor: Addr<Supervisor>,
    lying: Mutex<Lying>,
}

impl Seat {
    pub(crate) fn new(
        serial: u64,
        label: Label,
        lying: Lying,
        letters: Arc<Letterbox>,
        pulse: Arc<Pulse>,
        supervisor: Addr<Supervisor>,
    ) -> Seat {
        Seat { serial, label, letters, pulse, supervisor, lying: Mutex::new(lying) }
    }

    /// Takes what lies here, to bring it back; what stands for a core that was dropped stays.
    pub(crate) fn take(&self) -> Lying {
        let mut lying = self.lying.lock();
        match std::mem::replace(&mut *lying, Lying::Out) {
            Lying::Core(core) | Lying::Lent(core) => Lying::Core(core),
            Lying::Dropped(unpublished) => {
                *lying = Lying::Dropped(unpublished.clone());
                Lying::Dropped(unpublished)
            }
            nothing @ (Lying::Out | Lying::Moved) => {
                *lying = nothing;
                Lying::Moved
            }
        }
    }

    /// Brings the core back.
    pub(crate) fn put(&self, core: Box<Core>) {
        let mut lying = self.lying.lock();
        debug_assert!(matches!(*lying, Lying::Out), "only what was taken out is brought back");
        *lying = Lying::Core(core);
    }

    /// Brings the core back for as long as code of the user's runs.
    pub(crate) fn lend(&self, core: Box<Core>) {
        let mut lying = self.lying.lock();
        debug_assert!(matches!(*lying, Lying::Out), "only what was taken out is brought back");
        *lying = Lying::Lent(core);
    }

    /// Says that the core does not come back.
    pub(crate) fn drop_core(&self, unpublished: Vec<PendingOutput>) {
        *self.lying.lock() = Lying::Dropped(unpublished);
    }

    /// Takes what lies here away for good, as long as this is what is to be seen of the call under way: it gets nowhere.
    pub(crate) fn rob_stuck(&self, stuck: Beat) -> Option<Lying> {
        let mut lying = self.lying.lock();
        // The actor needs the lock to go on behind the call: it cannot do so in between.
        if self.pulse.look() != Some(stuck) {
            return None;
        }
        rob(&mut lying)
    }

    /// Takes what lies here away for good, unless its actor is at work.
    pub(crate) fn rob_idle(&self) -> Option<Lying> {
        let mut lying = self.lying.lock();
        if matches!(*lying, Lying::Lent(_)) || self.pulse.look().is_some() {
            return None;
        }
        rob(&mut lying)
    }

    /// Takes what lies here away for good, as there is no actor any more.
    pub(crate) fn inherit(&self) -> Option<Lying> {
        rob(&mut self.lying.lock())
    }

    /// Tells the supervisor something in the name of the subtask.
    pub(crate) fn note(&self, what: NoteKind) {
        let Label { region, id, fence, .. } = &self.label;
        self.supervisor.do_send(Note { region: *region, fence: *fence, subtask: id.clone(), what });
    }
}

/// Takes away what there is.
fn rob(lying: &mut Lying) -> Option<Lying> {
    match std::mem::replace(lying, Lying::Moved) {
        Lying::Core(core) | Lying::Lent(core) => Some(Lying::Core(core)),
        Lying::Dropped(unpublished) => Some(Lying::Dropped(unpublished)),
        nothing @ (Lying::Out | Lying::Moved) => {
            *lying = nothing;
            None
        }
    }
}

/// What a subtask is told, until it is looked at. It outlives the actor; the message to that says only that there is
/// something.
#[derive(Default)]
pub(crate) struct Letterbox(Mutex<Letters>);

#[derive(Default)]
struct Letters {
    events: VecDeque<Event>,
    halt: bool,
    actor: Option<Addr<SubtaskActor>>,
}

impl Letters {
    fn knock(&self) {
        if let Some(actor) = &self.actor {
            actor.do_send(Knock::News);
        }
    }
}

impl Letterbox {
    /// From now on this actor looks here.
    pub(crate) fn belongs_to(&self, actor: Addr<SubtaskActor>) {
        self.0.lock().actor = Some(actor);
    }

    /// Tells the state machine something.
    pub(crate) fn tell(&self, event: Event) {
        let mut letters = self.0.lock();
        letters.events.push_back(event);
        letters.knock();
    }

    /// Lets the subtask be dropped and its actor end.
    pub(crate) fn halt(&self) {
        let mut letters = self.0.lock();
        letters.halt = true;
        letters.knock();
    }

    /// Lets the actor vanish without having ended, as if it had been lost.
    pub(crate) fn let_actor_vanish(&self) {
        if let Some(actor) = &self.0.lock().actor {
            actor.do_send(Knock::Vanish);
        }
    }

    /// Takes the next thing that the state machine is told.
    pub(crate) fn next(&self) -> Option<Event> {
        self.0.lock().events.pop_front()
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.0.lock().halt
    }
}

/// What an actor is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knock {
    /// There is something in its letterbox.
    News,
    /// It is to vanish, without having ended.
    Vanish,
}

impl Message for Knock {
    type Result = ();
}

/// Held by an actor as long as it lives: if it goes without having ended, the supervisor is told.
pub(crate) struct Presence {
    pub(crate) seat: Arc<Seat>,
    ended: bool,
}

impl Presence {
    pub(crate) fn new(seat: &Arc<Seat>) -> Presence {
        Presence { seat: Arc::clone(seat), ended: false }
    }

    /// The actor ends as it should.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.ended {
            self.seat.supervisor.do_send(Missing { seat: self.seat.serial });
        }
    }
}

#[cfg(test)]
mod tests {
    use actix::prelude::{AsyncContext as _, Context};

    use super::*;
    use crate::ids::WindowId;

    /// A seat of a subtask that nobody works with.
    fn seat(lying: Lying) -> Seat {
        let nobody = Context::<Supervisor>::new();
        let id = SubtaskId::new("count", 0);
        let label = Label { region: 0, id, fence: Fence { incarnation: 1, attempt: 0 }, place: Place::Lane(0) };
        Seat::new(1, label, lying, Arc::default(), Arc::default(), nobody.address())
    }

    fn dropped() -> Lying {
        Lying::Dropped(vec![PendingOutput { window: WindowId(7), output: vec![1] }])
    }

    #[test]
    fn a_call_that_has_come_back_is_not_given_up() {
        let seat = seat(dropped());
        seat.pulse.enter(3);
        let stuck = seat.pulse.look().unwrap();
        seat.pulse.leave();
        assert!(seat.rob_stuck(stuck).is_none(), "it has come back");
        seat.pulse.enter(3);
        assert!(seat.rob_stuck(stuck).is_none(), "it is in another call");
        assert!(matches!(seat.take(), Lying::Dropped(left) if left.len() == 1), "nothing was taken away");
    }

    #[test]
    fn whoever_is_given_up_finds_nothing_in_its_seat() {
        let seat = seat(dropped());
        seat.pulse.enter(3);
        let stuck = seat.pulse.look().unwrap();
        assert!(matches!(seat.rob_stuck(stuck), Some(Lying::Dropped(_))));
        assert!(matches!(seat.take(), Lying::Moved));
        assert!(seat.rob_stuck(stuck).is_none() && seat.inherit().is_none(), "it can be taken away once");
    }

    #[test]
    fn what_its_actor_works_with_is_left_to_it() {
        let seat = seat(Lying::Out);
        assert!(seat.rob_idle().is_none() && seat.inherit().is_none());
        seat.drop_core(Vec::new());
        seat.pulse.enter(DROPPING);
        assert!(seat.rob_idle().is_none(), "it is still being dropped");
        seat.pulse.leave();
        assert!(matches!(seat.rob_idle(), Some(Lying::Dropped(_))));
    }

    #[test]
    fn what_was_told_outlives_the_actor() {
        let letters = Letterbox::default();
        letters.tell(Event::Committed(WindowId(1)));
        letters.tell(Event::Committed(WindowId(2)));
        assert!(!letters.is_halted());
        letters.halt();
        assert!(letters.is_halted());
        let told = std::iter::from_fn(|| letters.next());
        let windows: Vec<u64> =
            told.map(|event| if let Event::Committed(WindowId(window)) = event { window } else { 0 }).collect();
        assert_eq!(windows, [1, 2]);
    }
}
