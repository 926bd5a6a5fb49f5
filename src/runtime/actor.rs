//! The actor of one subtask: it drives the subtask's state machine, and nothing else.
//!
//! Its actix mailbox carries control only, and its handlers only record what they were told. All work, and with it
//! all user code, happens in the [`RunLoop`], a future that actix polls after the mailbox: a bounded turn at a time,
//! so that other actors of the arbiter, timers and control messages get theirs.
//!
//! The state machine, and the [`Driver`] with all that is in hand for it, lie in a [`Seat`] and are taken out for one
//! turn, but never while user code runs: they can be moved between threads, which actors cannot.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::prelude::{Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler};
use actix_rt::time::Sleep;
use piton_actors::Timestamp;
use piton_actors::host::BoxFuture;
use tokio::runtime::Handle;

use crate::ids::Fence;
use crate::protocol::chain::{Chain, ChainCall, ChainFailure};
use crate::protocol::element::Element;
use crate::protocol::failure::{Failure, drop_quietly};
use crate::protocol::manifest::PendingOutput;
use crate::protocol::subtask::{Command, Event, Subtask};
use crate::protocol::turns::Turns;
use crate::runtime::calls::{SinkBack, SourceBack, guarded_poll, sink_call, source_call};
use crate::runtime::note::NoteKind;
use crate::runtime::port::{Look, Port};
use crate::runtime::progress::{Activity, Gauges};
use crate::runtime::requests::Requests;
use crate::runtime::seat::{Core, DROPPING, Knock, Lying, Presence, REQUESTS, SINK, SOURCE, Seat};
use crate::runtime::storage::Storage;
use crate::runtime::time::Time;

/// Elements and polls of one turn; then the others of the arbiter have theirs.
const TURN: usize = 16;

/// What connects a subtask with everything around it.
pub(crate) struct DriverSpec {
    pub(crate) fence: Fence,
    pub(crate) port: Arc<Port>,
    /// For each output channel: the consumer's mailbox and the channel in it.
    pub(crate) outputs: Vec<(Arc<Port>, usize)>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) storage: Storage,
    pub(crate) time: Time,
    /// Whether there may be checkpoints that do not wait.
    pub(crate) overtakes: bool,
    /// What sources and sinks are polled in.
    pub(crate) outside: Handle,
}

/// What connects a subtask with everything around it, and what is under way for it.
pub(crate) struct Driver {
    spec: DriverSpec,
    source: Option<BoxFuture<SourceBack>>,
    sink: Option<BoxFuture<SinkBack>>,
    requests: Requests,
    /// A call of the operators that is to be made.
    call: Option<(ChainCall, Box<Chain>)>,
    turns: Turns,
}

/// The actor. See the module.
pub(crate) struct SubtaskActor {
    presence: Presence,
    sleep: Option<(Timestamp, Pin<Box<Sleep>>)>,
}

/// The core was taken from its seat by somebody else: the actor has no subtask any more.
struct Robbed;

/// Lets code of the user's run while the core lies in its seat: if it never comes back, somebody else can go on with
/// that. If so, what the code gives is dropped.
fn lend<T>(seat: &Seat, taken: &mut Option<Box<Core>>, call: impl FnOnce() -> T) -> Result<T, Robbed> {
    let Some(core) = taken.take() else { return Err(Robbed) };
    seat.lend(core);
    let answer = call();
    match seat.take() {
        Lying::Core(core) => {
            *taken = Some(core);
            Ok(answer)
        }
        Lying::Lent(_) | Lying::Out | Lying::Dropped(_) | Lying::Moved => {
            drop_quietly(answer);
            Err(Robbed)
        }
    }
}

impl Driver {
    pub(crate) fn new(spec: DriverSpec) -> Driver {
        Driver { spec, source: None, sink: None, requests: Requests::default(), call: None, turns: Turns::default() }
    }

    /// Works for one turn with what was taken out of the seat, which is there again while user code runs. Returns
    /// whether there is more to do at once.
    fn turn(seat: &Seat, taken: &mut Option<Box<Core>>, cx: &mut TaskContext<'_>) -> Result<bool, Robbed> {
        let waker = cx.waker().clone();
        let mut idle_told = false;
        for _ in 0..TURN {
            let Some(core) = taken else { return Err(Robbed) };
            let now = core.driver.spec.time.now();
            let mut progress = Driver::make_call(seat, taken, now)?;
            let Some(core) = taken else { return Err(Robbed) };
            while let Some(event) = seat.letters.next() {
                core.subtask.on(event, now);
                progress = true;
            }
            progress |= Driver::poll_source(seat, taken, now, cx)?;
            progress |= Driver::poll_sink(seat, taken, now, cx)?;
            progress |= Driver::poll_requests(seat, taken, now, cx)?;
            let Some(core) = taken else { return Err(Robbed) };
            let Core { subtask, driver } = &mut **core;
            if driver.spec.overtakes && subtask.inputs() > 0 {
                for event in driver.spec.port.news(&waker).into_iter().flatten() {
                    subtask.on(event, now);
                    progress = true;
                }
            }
            progress |= driver.send(subtask, &waker, now);
            progress |= driver.carry_out(subtask, seat);
            if subtask.has_failed() {
                return Ok(false);
            }
            if driver.call.is_some() {
                idle_told = false;
                continue;
            }
            if subtask.is_free() && subtask.inputs() > 0 {
                let found = driver.spec.port.take(&mut driver.turns, &waker, |channel| subtask.reached(channel));
                if let Some((channel, element)) = found {
                    subtask.on(Event::Element(channel, element), now);
                    driver.carry_out(subtask, seat);
                    idle_told = false;
                    progress = true;
                }
            }
            if subtask.wake_at().is_some_and(|at| at <= now) {
                subtask.on(Event::Wake, now);
                progress |= driver.carry_out(subtask, seat);
            }
            if !progress {
                if idle_told {
                    return Ok(false);
                }
                subtask.on(Event::Idle, now);
                driver.send(subtask, &waker, now);
                driver.carry_out(subtask, seat);
                idle_told = true;
            }
        }
        Ok(true)
    }

    /// Makes the call of the operators that is to be made, if there is one.
    fn make_call(seat: &Seat, taken: &mut Option<Box<Core>>, now: Timestamp) -> Result<bool, Robbed> {
        let Some(core) = taken else { return Err(Robbed) };
        let Some((call, mut chain)) = core.driver.call.take() else { return Ok(false) };
        chain.show(&seat.pulse);
        let called = lend(seat, taken, || {
            // Every call of user code in there has its own guard: this one is for the engine's own mistakes.
            let called = catch_unwind(AssertUnwindSafe(|| chain.call(call)));
            seat.pulse.leave();
            called
        })?;
        let Some(core) = taken else { return Err(Robbed) };
        let (chain, answer) = match called {
            Ok((chain, answer)) => (Some(chain), answer),
            Err(payload) => {
                let failure = Failure::panic(&*seat.label.id.operator, &*payload);
                drop_quietly(payload);
                (None, Err(ChainFailure::lost(failure)))
            }
        };
        core.subtask.on(Event::Chain(chain, answer), now);
        Ok(true)
    }

    /// Moves elements from the outbox to the consumers' mailboxes; returns whether the outbox has become clear.
    fn send(&mut self, subtask: &mut Subtask, waker: &Waker, now: Timestamp) -> bool {
        if subtask.outbox_is_clear() {
            return false;
        }
        for (index, (port, channel)) in self.spec.outputs.iter().enumerate() {
            if subtask.peek_output(index).is_none() && !subtask.is_overdrawn(index) {
                continue;
            }
            // What becomes of it is seen from what is left: an element that is fenced off is gone, and this actor with it
            // soon; one that found no room is still there, and the port holds the waker.
            port.push(self.spec.fence, *channel, waker, |look| {
                if look == Look::Any && subtask.is_overdrawn(index) {
                    subtask.set_overdrawn(index, false);
                }
                let next = subtask.peek_output(index)?;
                if look == Look::WithoutCredit && next.needs_credit() {
                    if !subtask.goes_beyond(index) {
                        return None;
                    }
                    subtask.set_overdrawn(index, true);
                }
                subtask.take_output(index)
            });
        }
        if !subtask.outbox_is_clear() {
            return false;
        }
        subtask.on(Event::Wake, now);
        true
    }

    /// Carries out what the state machine has asked for; returns whether there was anything.
    fn carry_out(&mut self, subtask: &mut Subtask, seat: &Seat) -> bool {
        let commands: Vec<Command> = subtask.commands().collect();
        let any = !commands.is_empty();
        for command in commands {
            match command {
                Command::Chain(call, chain) => self.call = Some((call, chain)),
                Command::Ask(asked) => self.requests.see(asked, &seat.pulse),
                Command::Source(call, source) => self.source = Some(source_call(call, source)),
                Command::Sink(call, sink) => self.sink = Some(sink_call(call, sink)),
                Command::Write(request) => {
                    let letters = Arc::clone(&seat.letters);
                    let window = request.window;
                    self.spec.storage.write(request, move |result| letters.tell(Event::Written(window, result)));
                }
                Command::Capture(window, closed) => self.spec.port.capture(window, &closed),
                Command::Overtake(window) => self.spec.port.overtake(window),
                Command::Load(chunks) => {
                    let letters = Arc::clone(&seat.letters);
                    self.spec.storage.chunks(chunks, move |result| letters.tell(Event::Loaded(result)));
                }
                Command::JournalFull => seat.note(NoteKind::JournalFull),
                Command::Restarted(restart) => seat.note(NoteKind::Restarted(restart)),
                Command::SetAside(letter) => seat.note(NoteKind::SetAside(letter)),
                Command::Unsure => seat.note(NoteKind::Unsure),
                Command::Ready => seat.note(NoteKind::Ready),
                Command::Closed(window, pace) => seat.note(NoteKind::Closed(window, pace)),
                Command::Ack(ack) => seat.note(NoteKind::Ack(ack)),
                Command::Declined(declined) => seat.note(NoteKind::Declined(declined)),
                Command::Told(window) => seat.note(NoteKind::Told(window)),
                Command::Finished => seat.note(NoteKind::Finished),
                Command::Failed(failure, why) => seat.note(NoteKind::Failed(failure, why)),
            }
        }
        any
    }

    /// Polls the call of the source that is under way; returns whether it has come back.
    fn poll_source(
        seat: &Seat,
        taken: &mut Option<Box<Core>>,
        now: Timestamp,
        cx: &mut TaskContext<'_>,
    ) -> Result<bool, Robbed> {
        let Some(core) = taken else { return Err(Robbed) };
        let Some(call) = core.driver.source.take() else { return Ok(false) };
        let outside = core.driver.spec.outside.clone();
        let (call, polled) = lend(seat, taken, || poll(call, SOURCE, &outside, seat, cx))?;
        let Some(core) = taken else { return Err(Robbed) };
        let event = match polled {
            Ok(Poll::Pending) => {
                core.driver.source = Some(call);
                return Ok(false);
            }
            Ok(Poll::Ready((source, answer))) => Event::Source(Some(source), Ok(answer)),
            Err(payload) => Event::Source(None, Err(Failure::panicked(core.subtask.source_name(), payload))),
        };
        drop_quietly(call);
        core.subtask.on(event, now);
        Ok(true)
    }

    /// As [`Driver::poll_source`], for the sink.
    fn poll_sink(
        seat: &Seat,
        taken: &mut Option<Box<Core>>,
        now: Timestamp,
        cx: &mut TaskContext<'_>,
    ) -> Result<bool, Robbed> {
        let Some(core) = taken else { return Err(Robbed) };
        let Some(call) = core.driver.sink.take() else { return Ok(false) };
        let outside = core.driver.spec.outside.clone();
        let (call, polled) = lend(seat, taken, || poll(call, SINK, &outside, seat, cx))?;
        let Some(core) = taken else { return Err(Robbed) };
        let event = match polled {
            Ok(Poll::Pending) => {
                core.driver.sink = Some(call);
                return Ok(false);
            }
            Ok(Poll::Ready((sink, answer))) => Event::Sink(Some(sink), Ok(answer)),
            Err(payload) => Event::Sink(None, Err(Failure::panicked(core.subtask.sink_name(), payload))),
        };
        drop_quietly(call);
        core.subtask.on(event, now);
        Ok(true)
    }

    /// As [`Driver::poll_source`], for requests to the outside.
    fn poll_requests(
        seat: &Seat,
        taken: &mut Option<Box<Core>>,
        now: Timestamp,
        cx: &mut TaskContext<'_>,
    ) -> Result<bool, Robbed> {
        let Some(core) = taken else { return Err(Robbed) };
        if core.driver.requests.is_empty() {
            return Ok(false);
        }
        let mut requests = std::mem::take(&mut core.driver.requests);
        let outside = core.driver.spec.outside.clone();
        let (requests, came) = lend(seat, taken, || {
            seat.pulse.enter(REQUESTS);
            let (entered, mut came) = (outside.enter(), Vec::new());
            requests.poll(TURN, &mut came, cx);
            drop(entered);
            seat.pulse.leave();
            (requests, came)
        })?;
        let Some(core) = taken else { return Err(Robbed) };
        core.driver.requests = requests;
        let any = !came.is_empty();
        for (attempt, answer) in came {
            let panicked = |payload| Failure::panicked(core.subtask.asker_name(), payload);
            let answer = answer.map_err(panicked);
            core.subtask.on(Event::Answered(attempt, answer), now);
        }
        Ok(any)
    }

    /// Drops a subtask and everything under way for it, whatever their `Drop` does. Returns which outputs of its sink
    /// were not yet published.
    fn let_go(seat: &Seat, core: Box<Core>) -> Vec<PendingOutput> {
        let unpublished = core.subtask.pending_above(crate::ids::WindowId::NONE);
        seat.drop_core(unpublished.clone());
        seat.pulse.enter(DROPPING);
        if !drop_quietly(core) {
            tracing::warn!(subtask = %seat.label.id, "an operator panicked while it was dropped");
        }
        seat.pulse.leave();
        unpublished
    }
}

/// Polls the call of a source or a sink, while somebody may be watching.
fn poll<T>(
    mut call: BoxFuture<T>,
    place: usize,
    outside: &Handle,
    seat: &Seat,
    cx: &mut TaskContext<'_>,
) -> (BoxFuture<T>, std::thread::Result<Poll<T>>) {
    seat.pulse.enter(place);
    let entered = outside.enter();
    let polled = guarded_poll(&mut call, cx);
    drop(entered);
    seat.pulse.leave();
    (call, polled)
}

impl SubtaskActor {
    pub(crate) fn new(presence: Presence) -> SubtaskActor {
        SubtaskActor { presence, sleep: None }
    }
}

impl Actor for SubtaskActor {
    type Context = Context<SubtaskActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(0);
        ctx.spawn(RunLoop.map(|(), _, ctx: &mut Context<SubtaskActor>| {
            actix::prelude::ActorContext::stop(ctx);
        }));
    }
}

impl Handler<Knock> for SubtaskActor {
    type Result = ();

    /// The loop looks after every message.
    fn handle(&mut self, knock: Knock, ctx: &mut Self::Context) {
        if knock == Knock::Vanish {
            actix::prelude::ActorContext::terminate(ctx);
        }
    }
}

/// Runs turns until the actor is halted.
struct RunLoop;

impl ActorFuture<SubtaskActor> for RunLoop {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SubtaskActor,
        _: &mut Context<SubtaskActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let seat = Arc::clone(&actor.presence.seat);
        let core = match (seat.take(), seat.letters.is_halted()) {
            (Lying::Core(core), false) => core,
            (Lying::Dropped(_), false) => return Poll::Pending,
            (Lying::Core(core), true) => return actor.end(&seat, Driver::let_go(&seat, core)),
            (Lying::Dropped(unpublished), true) => return actor.end(&seat, unpublished),
            (Lying::Lent(_) | Lying::Out | Lying::Moved, _) => {
                actor.presence.end();
                return Poll::Ready(());
            }
        };
        if core.subtask.has_failed() {
            // Nothing to do until the supervisor halts it.
            seat.put(core);
            return Poll::Pending;
        }
        core.driver.spec.gauges.does(Activity::Busy);
        let mut taken = Some(core);
        let turn = catch_unwind(AssertUnwindSafe(|| Driver::turn(&seat, &mut taken, cx)));
        let (more, core) = match (turn, taken) {
            (Ok(Ok(more)), Some(core)) => (more, core),
            (Ok(_), _) => {
                actor.presence.end();
                return Poll::Ready(());
            }
            (Err(payload), taken) => {
                // Every call of user code has its own guard: this one is for the engine's own mistakes.
                seat.note(NoteKind::Failed(Failure::panic(&*seat.label.id.operator, &*payload), None));
                drop_quietly(payload);
                if let Some(core) = taken {
                    Driver::let_go(&seat, core);
                }
                return Poll::Pending;
            }
        };
        let Core { subtask, driver } = &*core;
        let (counters, gauges) = (subtask.counters(), &driver.spec.gauges);
        gauges.read.store(counters.read, Ordering::Relaxed);
        gauges.written.store(counters.written, Ordering::Relaxed);
        gauges.taken.store(counters.taken, Ordering::Relaxed);
        gauges.window.store(subtask.window().0, Ordering::Relaxed);
        gauges.watermark.store(subtask.watermark(), Ordering::Relaxed);
        gauges.does(match (more, subtask.outbox_is_clear()) {
            (true, _) => Activity::Busy,
            (false, true) => Activity::Idle,
            (false, false) => Activity::Blocked,
        });
        if more {
            cx.waker().wake_by_ref();
        } else {
            actor.arm(subtask.wake_at(), &driver.spec.time, cx);
        }
        seat.put(core);
        Poll::Pending
    }
}

impl SubtaskActor {
    /// Ends, as it was told to.
    fn end(&mut self, seat: &Seat, unpublished: Vec<PendingOutput>) -> Poll<()> {
        self.presence.end();
        seat.note(NoteKind::Halted(seat.serial, unpublished));
        Poll::Ready(())
    }

    /// Sees to it that the actor is polled again at a time.
    fn arm(&mut self, at: Option<Timestamp>, time: &Time, cx: &mut TaskContext<'_>) {
        let Some(at) = at else {
            self.sleep = None;
            return;
        };
        if self.sleep.as_ref().is_none_or(|(armed, _)| *armed != at) {
            let pause = u64::try_from(at.saturating_sub(time.now())).unwrap_or(0);
            // A far-away time is looked at again within the hour.
            #[expect(clippy::disallowed_methods, reason = "this is where an event of the clock comes from")]
            let sleep = actix_rt::time::sleep(Duration::from_millis(pause.clamp(1, 3_600_000)));
            self.sleep = Some((at, Box::pin(sleep)));
        }
        if let Some((_, sleep)) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.sleep = None;
            cx.waker().wake_by_ref();
        }
    }
}

/// Keeps the compiler from letting an element type slip in that could not travel between threads.
const _: fn() = || {
    fn travels<T: Send>() {}
    travels::<Core>();
    travels::<Element>();
};
