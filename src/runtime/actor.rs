//! The actor of one subtask: it drives the subtask's state machine, and nothing else.
//!
//! Its actix mailbox carries control only, and its handlers only record what they were told. All work, and with it
//! all user code, happens in the [`RunLoop`], a future that actix polls after the mailbox: a bounded turn at a time,
//! so that other actors of the arbiter, timers and control messages get theirs.
//!
//! The state machine lies in a slot and is taken out for one turn: it can be moved between threads, which actors
//! cannot.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::prelude::{Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message};
use actix_rt::time::Sleep;
use parking_lot::Mutex;
use piton_actors::host::{AnySink, AnySource, BoxFuture, SinkCall};
use piton_actors::{Result as UserResult, Timestamp};

use crate::ids::{Fence, SubtaskId};
use crate::protocol::chain::{Chain, ChainCall, ChainFailure};
use crate::protocol::element::Element;
use crate::protocol::failure::Failure;
use crate::protocol::manifest::{DeadLetter, PendingOutput};
use crate::protocol::source::{SourceAnswer, SourceCall};
use crate::protocol::subtask::{Command, Event, Restart, Subtask};
use crate::runtime::port::{Look, Port};
use crate::runtime::storage::Storage;
use crate::runtime::supervisor::{Note, Supervisor};
use crate::runtime::time::Time;

/// Elements and polls of one turn; then the others of the arbiter have theirs.
const TURN: usize = 16;

/// What a subtask's gauges show to whoever asks, without disturbing it.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) taken: AtomicU64,
    pub(crate) window: AtomicU64,
    pub(crate) watermark: AtomicI64,
}

/// What a subtask's actor is made of.
pub(crate) struct ActorSpec {
    pub(crate) region: usize,
    pub(crate) subtask: Subtask,
    pub(crate) port: Arc<Port>,
    /// For each output channel: the consumer's mailbox and the channel in it.
    pub(crate) outputs: Vec<(Arc<Port>, usize)>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) supervisor: Addr<Supervisor>,
    pub(crate) storage: Storage,
    pub(crate) time: Time,
}

/// The actor. See the module.
pub(crate) struct SubtaskActor {
    id: SubtaskId,
    fence: Fence,
    region: usize,
    slot: Slot,
    port: Arc<Port>,
    outputs: Vec<(Arc<Port>, usize)>,
    gauges: Arc<Gauges>,
    supervisor: Addr<Supervisor>,
    storage: Storage,
    time: Time,
    told: VecDeque<Event>,
    halt: bool,
    source: Option<BoxFuture<SourceBack>>,
    sink: Option<BoxFuture<SinkBack>>,
    /// A call of the operators that is to be made.
    call: Option<(ChainCall, Box<Chain>)>,
    sleep: Option<(Timestamp, Pin<Box<Sleep>>)>,
    next_channel: usize,
}

/// The state machine was taken out of its slot by somebody else: this actor is not its own any more.
struct Robbed;

/// Where a state machine lies while nobody works with it.
type Slot = Arc<Mutex<Option<Subtask>>>;

type SourceBack = (Box<dyn AnySource>, SourceAnswer);
type SinkBack = (Box<dyn AnySink>, UserResult<Option<Vec<u8>>>);

/// What a subtask's actor is told.
pub(crate) enum Control {
    /// Something for the state machine.
    Event(Event),
    /// Drop the state machine and end.
    Halt,
}

impl SubtaskActor {
    pub(crate) fn new(spec: ActorSpec) -> SubtaskActor {
        SubtaskActor {
            id: spec.subtask.id().clone(),
            fence: spec.subtask.fence(),
            region: spec.region,
            slot: Arc::new(Mutex::new(Some(spec.subtask))),
            port: spec.port,
            outputs: spec.outputs,
            gauges: spec.gauges,
            supervisor: spec.supervisor,
            storage: spec.storage,
            time: spec.time,
            told: VecDeque::new(),
            halt: false,
            source: None,
            sink: None,
            call: None,
            sleep: None,
            next_channel: 0,
        }
    }

    fn note(&self, what: NoteKind) {
        self.supervisor.do_send(Note { region: self.region, fence: self.fence, subtask: self.id.clone(), what });
    }

    /// Works for one turn with what it has taken out of the slot, which is there again while operators are called.
    /// Returns whether there is more to do at once.
    fn turn(
        &mut self,
        slot: &Slot,
        taken: &mut Option<Subtask>,
        own: &Addr<SubtaskActor>,
        cx: &mut TaskContext<'_>,
    ) -> Result<bool, Robbed> {
        let waker = cx.waker().clone();
        let mut idle_told = false;
        for _ in 0..TURN {
            let now = self.time.now();
            let mut progress = self.make_call(slot, taken, now)?;
            let Some(subtask) = taken else { return Err(Robbed) };
            while let Some(event) = self.told.pop_front() {
                subtask.on(event, now);
                progress = true;
            }
            progress |= self.poll_calls(subtask, now, cx);
            progress |= self.send(subtask, &waker, now);
            progress |= self.carry_out(subtask, own);
            if subtask.has_failed() {
                return Ok(false);
            }
            if self.call.is_some() {
                idle_told = false;
                continue;
            }
            if subtask.is_free() && subtask.inputs() > 0 {
                let found = self.port.take(self.next_channel, &waker, |channel| subtask.takes(channel));
                if let Some((channel, element)) = found {
                    self.next_channel = (channel + 1) % subtask.inputs();
                    subtask.on(Event::Element(channel, element), now);
                    self.carry_out(subtask, own);
                    idle_told = false;
                    progress = true;
                }
            }
            if subtask.wake_at().is_some_and(|at| at <= now) {
                subtask.on(Event::Wake, now);
                progress |= self.carry_out(subtask, own);
            }
            if !progress {
                if idle_told {
                    return Ok(false);
                }
                subtask.on(Event::Idle, now);
                self.send(subtask, &waker, now);
                self.carry_out(subtask, own);
                idle_told = true;
            }
        }
        Ok(true)
    }

    /// Makes the call of the operators that is to be made, if there is one. Meanwhile the state machine is in its slot:
    /// if the operators never come back, it can go on without them elsewhere.
    fn make_call(&mut self, slot: &Slot, taken: &mut Option<Subtask>, now: Timestamp) -> Result<bool, Robbed> {
        let Some((call, chain)) = self.call.take() else { return Ok(false) };
        *slot.lock() = taken.take();
        // Every call of user code in there has its own guard: this one is for the engine's own mistakes.
        let called = catch_unwind(AssertUnwindSafe(|| chain.call(call)));
        let (chain, answer) = match called {
            Ok((chain, answer)) => (Some(chain), answer),
            Err(payload) => {
                let failure = Failure::panic(&*self.id.operator, &*payload);
                (None, Err(ChainFailure::lost(failure)))
            }
        };
        *taken = slot.lock().take();
        let Some(subtask) = taken else { return Err(Robbed) };
        subtask.on(Event::Chain(chain, answer), now);
        Ok(true)
    }

    /// Moves elements from the outbox to the consumers' mailboxes; returns whether the outbox has become clear.
    fn send(&mut self, subtask: &mut Subtask, waker: &Waker, now: Timestamp) -> bool {
        if subtask.outbox_is_clear() {
            return false;
        }
        for (index, (port, channel)) in self.outputs.iter().enumerate() {
            if subtask.peek_output(index).is_none() {
                continue;
            }
            // What becomes of it is seen from what is left: an element that is fenced off is gone, and this actor with it
            // soon; one that found no room is still there, and the port holds the waker.
            port.push(self.fence, *channel, waker, |look| {
                let next = subtask.peek_output(index)?;
                if look == Look::WithoutCredit && next.needs_credit() {
                    return None;
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
    fn carry_out(&mut self, subtask: &mut Subtask, own: &Addr<SubtaskActor>) -> bool {
        let commands: Vec<Command> = subtask.commands().collect();
        let any = !commands.is_empty();
        for command in commands {
            match command {
                Command::Chain(call, chain) => self.call = Some((call, chain)),
                Command::Source(call, source) => self.source = Some(source_call(call, source)),
                Command::Sink(call, sink) => self.sink = Some(sink_call(call, sink)),
                Command::Write(request) => {
                    let own = own.clone();
                    let window = request.window;
                    self.storage.write(request, move |result| {
                        own.do_send(Control::Event(Event::Written(window, result)));
                    });
                }
                Command::Load(chunks) => {
                    let own = own.clone();
                    self.storage.chunks(chunks, move |result| own.do_send(Control::Event(Event::Loaded(result))));
                }
                Command::JournalFull => self.note(NoteKind::JournalFull),
                Command::Restarted(restart) => self.note(NoteKind::Restarted(restart)),
                Command::SetAside(letter) => self.note(NoteKind::SetAside(letter)),
                Command::Ready => self.note(NoteKind::Ready),
                Command::Closed(window) => self.note(NoteKind::Closed(window)),
                Command::Ack(ack) => self.note(NoteKind::Ack(ack)),
                Command::Declined(window, reason) => self.note(NoteKind::Declined(window, reason)),
                Command::Told(window) => self.note(NoteKind::Told(window)),
                Command::Finished => self.note(NoteKind::Finished),
                Command::Failed(failure, why) => self.note(NoteKind::Failed(failure, why)),
            }
        }
        any
    }

    /// Polls the calls that are under way; returns whether one has come back.
    fn poll_calls(&mut self, subtask: &mut Subtask, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let mut back = false;
        if let Some(call) = &mut self.source {
            match guarded_poll(call, cx) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready((source, answer))) => {
                    self.source = None;
                    subtask.on(Event::Source(Some(source), Ok(answer)), now);
                    back = true;
                }
                Err(message) => {
                    self.source = None;
                    let failure = Failure::from_panic(subtask.source_name(), message);
                    subtask.on(Event::Source(None, Err(failure)), now);
                    back = true;
                }
            }
        }
        if let Some(call) = &mut self.sink {
            match guarded_poll(call, cx) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready((sink, answer))) => {
                    self.sink = None;
                    subtask.on(Event::Sink(Some(sink), Ok(answer)), now);
                    back = true;
                }
                Err(message) => {
                    self.sink = None;
                    let failure = Failure::from_panic(subtask.sink_name(), message);
                    subtask.on(Event::Sink(None, Err(failure)), now);
                    back = true;
                }
            }
        }
        back
    }

    /// Drops the state machine and everything under way, whatever their `Drop` does.
    fn let_go(&mut self, subtask: Option<Subtask>) -> Vec<PendingOutput> {
        let pending = subtask.as_ref().map(|subtask| subtask.pending_above(crate::ids::WindowId::NONE));
        let (source, sink, call) = (self.source.take(), self.sink.take(), self.call.take());
        let dropped = catch_unwind(AssertUnwindSafe(move || drop((subtask, source, sink, call))));
        if dropped.is_err() {
            tracing::warn!(subtask = %self.id, "an operator panicked while it was dropped");
        }
        pending.unwrap_or_default()
    }
}

impl Actor for SubtaskActor {
    type Context = Context<SubtaskActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(0);
        let own = actix::prelude::AsyncContext::address(ctx);
        ctx.spawn(RunLoop { own }.map(|(), _, ctx: &mut Context<SubtaskActor>| {
            actix::prelude::ActorContext::stop(ctx);
        }));
    }
}

impl Handler<Control> for SubtaskActor {
    type Result = ();

    fn handle(&mut self, control: Control, _: &mut Self::Context) {
        match control {
            Control::Event(event) => self.told.push_back(event),
            Control::Halt => self.halt = true,
        }
    }
}

/// Runs turns until the actor is halted.
struct RunLoop {
    own: Addr<SubtaskActor>,
}

impl ActorFuture<SubtaskActor> for RunLoop {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SubtaskActor,
        _: &mut Context<SubtaskActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let slot = Arc::clone(&actor.slot);
        let subtask = slot.lock().take();
        if actor.halt {
            let pending = actor.let_go(subtask);
            actor.note(NoteKind::Halted(pending));
            return Poll::Ready(());
        }
        let Some(subtask) = subtask else { return Poll::Pending };
        if subtask.has_failed() {
            // Nothing to do until the supervisor halts it.
            *slot.lock() = Some(subtask);
            return Poll::Pending;
        }
        let mut taken = Some(subtask);
        let turn = catch_unwind(AssertUnwindSafe(|| actor.turn(&slot, &mut taken, &self.own, cx)));
        let more = match turn {
            Ok(Ok(more)) => more,
            Ok(Err(Robbed)) => return Poll::Ready(()),
            Err(payload) => {
                // Every call of user code has its own guard: this one is for the engine's own mistakes.
                actor.note(NoteKind::Failed(Failure::panic(&*actor.id.operator, &*payload), None));
                actor.let_go(taken);
                return Poll::Pending;
            }
        };
        let Some(subtask) = taken else { return Poll::Ready(()) };
        let counters = subtask.counters();
        actor.gauges.read.store(counters.read, Ordering::Relaxed);
        actor.gauges.written.store(counters.written, Ordering::Relaxed);
        actor.gauges.taken.store(counters.taken, Ordering::Relaxed);
        actor.gauges.window.store(subtask.window().0, Ordering::Relaxed);
        actor.gauges.watermark.store(subtask.watermark(), Ordering::Relaxed);
        if more {
            cx.waker().wake_by_ref();
        } else {
            actor.arm(subtask.wake_at(), cx);
        }
        *slot.lock() = Some(subtask);
        Poll::Pending
    }
}

impl SubtaskActor {
    /// Sees to it that the actor is polled again at a time.
    fn arm(&mut self, at: Option<Timestamp>, cx: &mut TaskContext<'_>) {
        let Some(at) = at else {
            self.sleep = None;
            return;
        };
        if self.sleep.as_ref().is_none_or(|(armed, _)| *armed != at) {
            let pause = u64::try_from(at.saturating_sub(self.time.now())).unwrap_or(0);
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

/// What a subtask tells the supervisor.
pub(crate) enum NoteKind {
    /// See [`Command::Ready`].
    Ready,
    /// See [`Command::Closed`].
    Closed(crate::ids::WindowId),
    /// See [`Command::Ack`].
    Ack(Box<crate::protocol::subtask::Ack>),
    /// See [`Command::Declined`].
    Declined(crate::ids::WindowId, String),
    /// See [`Command::Told`].
    Told(crate::ids::WindowId),
    /// See [`Command::Finished`].
    Finished,
    /// See [`Command::JournalFull`].
    JournalFull,
    /// See [`Command::Restarted`].
    Restarted(Box<Restart>),
    /// See [`Command::SetAside`].
    SetAside(Box<DeadLetter>),
    /// See [`Command::Failed`].
    Failed(Failure, Option<String>),
    /// It has ended after a halt; these outputs of its sink were not yet published.
    Halted(Vec<PendingOutput>),
}

fn source_call(call: SourceCall, source: Box<dyn AnySource>) -> BoxFuture<SourceBack> {
    match call {
        SourceCall::Open(position, info) => {
            after(catch_unwind(AssertUnwindSafe(|| source.open(position, info))), SourceAnswer::Opened)
        }
        SourceCall::Poll => after(catch_unwind(AssertUnwindSafe(|| source.poll())), SourceAnswer::Polled),
        SourceCall::Tell(window, position) => {
            after(catch_unwind(AssertUnwindSafe(|| source.committed(window, position))), SourceAnswer::Told)
        }
    }
}

/// Maps what a call gives; a panic while the call was made comes up again when it is polled.
fn after<T: Send + 'static>(
    call: std::thread::Result<BoxFuture<(Box<dyn AnySource>, T)>>,
    answer: fn(T) -> SourceAnswer,
) -> BoxFuture<SourceBack> {
    match call {
        Ok(call) => Box::pin(async move {
            let (source, result) = call.await;
            (source, answer(result))
        }),
        Err(payload) => Box::pin(async move { std::panic::resume_unwind(payload) }),
    }
}

fn sink_call(call: SinkCall, sink: Box<dyn AnySink>) -> BoxFuture<SinkBack> {
    match catch_unwind(AssertUnwindSafe(|| sink.call(call))) {
        Ok(call) => call,
        Err(payload) => Box::pin(async move { std::panic::resume_unwind(payload) }),
    }
}

/// Polls user code; `Err` with the message if it panics.
fn guarded_poll<T>(call: &mut BoxFuture<T>, cx: &mut TaskContext<'_>) -> Result<Poll<T>, String> {
    catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)))
        .map_err(|payload| crate::protocol::failure::panic_message(&*payload))
}

/// Keeps the compiler from letting an element type slip in that could not travel between threads.
const _: fn() = || {
    fn travels<T: Send>() {}
    travels::<Subtask>();
    travels::<Element>();
};

impl Message for Control {
    type Result = ();
}
