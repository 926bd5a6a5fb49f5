//! The engine's side of operators, sources and sinks: their types erased once per batch.
//!
//! The engine never sees a user's types: it drives an [`AnyOperator`], which is a user's operator together with its
//! context (state, timers, output), an [`AnySource`] or an [`AnySink`]. None of them decides anything, and none
//! catches a panic but that of an instance that is thrown away; that is the engine's part.
//!
//! A batch can be a transaction: what an operator did with it is then taken back, or kept, as a whole.

mod asks;
mod hooks;
mod keyer;
mod outside;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub(crate) use self::asks::Asks;
pub use self::asks::{Ask, AskCall, AskId, Patience, Waiting};
pub(crate) use self::hooks::Hooks;
use self::keyer::OperatorKeyer;
pub use self::outside::{
    AnySink, AnySource, BoxFuture, HostedSink, HostedSource, Mark, Polled, Sight, SinkBack, SinkCall,
};
use crate::batch::{Batch, Output, OutputBuffer, Scatter};
use crate::context::Context;
use crate::ids::{Subtask, WindowId};
use crate::operator::Operator;
pub use crate::probe::is_asking;
pub use crate::pulse::{Beat, Pulse};
use crate::record::Inputs;
use crate::state::Draft;
use crate::time::{TimerKind, Timestamp};
use crate::{Error, Result};

/// A user's operator with everything that belongs to one instance of it.
pub trait AnyOperator: Send {
    /// Begins the next entry (batch, timer or hook) at this engine time in ms.
    fn begin_entry(&mut self, now: Timestamp);

    /// Calls `open`.
    ///
    /// # Errors
    /// The operator's own; so in every method that calls one of its hooks.
    fn open(&mut self) -> Result;

    /// Calls `process_batch` with a batch that arrived at an input port.
    ///
    /// # Errors
    /// As `open`.
    fn process(&mut self, port: usize, batch: &Batch) -> Result;

    /// Advances the watermark and fires the event-time timers that this makes due.
    ///
    /// # Errors
    /// As `open`.
    fn advance_watermark(&mut self, watermark: Timestamp) -> Result;

    /// Fires the processing-time timers that are due at this entry's time.
    ///
    /// # Errors
    /// As `open`.
    fn fire_processing_timers(&mut self) -> Result;

    /// Takes the answer to one of its requests; nothing if that was given up.
    ///
    /// # Errors
    /// As `open`.
    fn answer(&mut self, id: AskId, answer: Option<&Batch>) -> Result;

    /// Moves the requests that it wants made to the end of `asks`.
    fn drain_asks(&mut self, asks: &mut Vec<Ask>);

    /// Returns what it waits for; nothing if it never asks anything.
    fn waiting(&self) -> Option<Waiting>;

    /// Returns when the earliest processing-time timer is due, in ms.
    fn next_processing_timer(&self) -> Option<Timestamp>;

    /// Calls `begin_window`.
    ///
    /// # Errors
    /// As `open`.
    fn begin_window(&mut self, window: WindowId) -> Result;

    /// Calls `end_window`.
    ///
    /// # Errors
    /// As `open`.
    fn end_window(&mut self, window: WindowId) -> Result;

    /// Calls `before_checkpoint`.
    ///
    /// # Errors
    /// As `open`.
    fn before_checkpoint(&mut self, window: WindowId) -> Result;

    /// Calls `checkpointed`.
    ///
    /// # Errors
    /// As `open`.
    fn checkpointed(&mut self, window: WindowId) -> Result;

    /// Calls `committed`.
    ///
    /// # Errors
    /// As `open`.
    fn committed(&mut self, window: WindowId) -> Result;

    /// Calls `close`.
    ///
    /// # Errors
    /// As `open`.
    fn close(&mut self) -> Result;

    /// Moves what was emitted to its main output to the end of `batches`.
    fn drain(&mut self, batches: &mut Vec<Batch>);

    /// From now on, collects what is emitted to these side outputs. What is emitted to others is dropped, as all of it is
    /// before this is called.
    fn collect(&mut self, side_outputs: &[&str]);

    /// Moves what was emitted to the side outputs that are collected to the end of `batches`, each with the place of its
    /// output among them.
    fn drain_sides(&mut self, batches: &mut Vec<(usize, Batch)>);

    /// Takes what changed in its state since the last cut, to be written as one chunk; empty if nothing did.
    ///
    /// # Errors
    /// If a value of the state cannot be serialised.
    fn cut(&mut self) -> Result<Draft>;

    /// Puts back a state of chunks, oldest first, before `open`. Rows of key groups that this subtask does not own
    /// are left out.
    ///
    /// # Errors
    /// If the chunks do not fit the operator's state.
    fn restore(&mut self, chunks: Vec<Vec<u8>>, watermark: Timestamp) -> Result;

    /// Puts back what belongs to this subtask in the states of several, before `open`, after the parallelism was
    /// changed: for each old subtask its chunks, oldest first. The next cut writes everything.
    ///
    /// Values that belong to no key come from the first state.
    ///
    /// # Errors
    /// As `restore`, or if this kind of operator cannot be rescaled.
    fn adopt(&mut self, states: &[Vec<Vec<u8>>], watermark: Timestamp) -> Result {
        let (_, _) = (states, watermark);
        Err(Error::invalid("this operator cannot start from a state of another parallelism"))
    }

    /// Begins a transaction: from now to [`settle`](AnyOperator::settle) or [`undo`](AnyOperator::undo), every change of
    /// state, timers and local values is noted so that it can be taken back. A transaction that was not ended is
    /// settled. There is no [`cut`](AnyOperator::cut) within one.
    fn begin(&mut self);

    /// Keeps what was done since `begin`, and forgets how to take it back.
    fn settle(&mut self);

    /// Takes back everything since `begin`: state (values, the order of keys, local values, what the next cut writes),
    /// timers, watermark, number of the entry, and what was emitted, to whichever output, and not drained; and puts a fresh instance of the
    /// factory's into the place of the operator, on which `open` has not been called.
    ///
    /// Returns false if there is no way back: nothing that is left is of use, so a state has to be restored. It is so
    /// if no transaction was begun, and if values were so large that copying them was not worth it.
    ///
    /// The old instance is dropped here. It is what panicked, and may do so again in its `drop`: that is caught, and
    /// what it has not freed by then is lost. Nothing else is caught; after a panic there is no way back, either.
    ///
    /// # Errors
    /// The factory's: there is no way back, either.
    fn undo(&mut self) -> Result<bool>;

    /// Opens an instance that has taken another's place: calls `open`, `committed` with the window that the other was
    /// told last (unless it is [`WindowId::NONE`]), and `begin_window` with the one that has begun. What the instance
    /// emits and changes in state meanwhile is taken back: that was emitted and changed before.
    ///
    /// # Errors
    /// As `open`; or if what it changes cannot be taken back.
    fn reopen(&mut self, told: WindowId, window: Option<WindowId>) -> Result;

    /// Calls `begin_window` with a window that had begun when the restored snapshot was taken. What the instance emits and
    /// changes in state meanwhile is taken back: that was emitted and changed before.
    ///
    /// # Errors
    /// As [`reopen`](AnyOperator::reopen).
    fn begin_window_again(&mut self, window: WindowId) -> Result;

    /// Returns whether the instance may hold in its fields what records left there, so that a fresh one must see the
    /// records since the last checkpoint again; nothing as long as that is not known.
    fn holds_rows(&self) -> Option<bool>;

    /// Returns whether it has any state, timers or local values, or had since the last cut.
    fn has_state(&self) -> bool;

    /// Returns how many entries were begun: what makes [`Context::rng`] give the same numbers in a replay.
    fn entry(&self) -> u64;

    /// Sets how many entries count as begun, for a replay.
    fn set_entry(&mut self, entry: u64);

    /// Returns which record of the last batch was being processed, counted from 0: the one to blame for a failure.
    fn row(&self) -> usize;

    /// Shows with this pulse which record it has come to. The default shows nothing: a call is then a matter of one
    /// piece.
    fn show(&mut self, pulse: &Arc<Pulse>) {
        let _ = pulse;
    }

    /// Makes what computes the hash of each record's key for an input port.
    fn keyer(&self, port: usize) -> Box<dyn Keyer>;

    /// Makes what spreads its output over channels.
    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter>;
}

/// Computes the hashes of the keys of a batch's records, as the receiving operator defines its key.
pub trait Keyer: Send {
    /// Replaces the content of `hashes` by the hash of each record's key.
    ///
    /// # Errors
    /// If the batch is of another type than the operator reads.
    fn hashes(&self, batch: &Batch, hashes: &mut Vec<u64>) -> Result;
}

/// An operator in its context.
pub struct Hosted<O: Operator> {
    operator: O,
    context: Context<O::Out>,
    factory: Factory<O>,
    /// What was when the transaction began; nothing outside of one.
    before: Option<Before>,
    /// Whether `end_window` and `before_checkpoint` do anything, as far as they were called.
    hooks: Arc<Hooks>,
}

/// What a context was when a transaction began.
struct Before {
    watermark: Timestamp,
    entry: u64,
    output: usize,
}

/// Makes fresh instances of an operator.
pub type Factory<O> = Arc<dyn Fn() -> Result<O> + Send + Sync>;

impl<O: Operator> Hosted<O> {
    /// Makes a fresh instance with empty state; `rows` is how many records a batch of its output holds at most.
    ///
    /// # Errors
    /// The factory's.
    pub fn new(factory: Factory<O>, subtask: Subtask, rows: usize) -> Result<Hosted<O>> {
        let (operator, mut context) = (factory()?, Context::new(subtask, rows));
        context.state.set_keyed(operator.is_keyed());
        context.state.declare(operator.states());
        context.sides.declare(operator.side_outputs(), rows);
        Ok(Hosted { operator, context, factory, before: None, hooks: Arc::default() })
    }

    /// Shares what is found out about the hooks of the operator with other instances of it.
    #[must_use]
    pub(crate) fn sharing(mut self, hooks: &Arc<Hooks>) -> Hosted<O> {
        self.hooks = Arc::clone(hooks);
        self
    }

    /// Returns the context, for tests that look into state.
    pub fn context(&mut self) -> &mut Context<O::Out> {
        &mut self.context
    }

    /// Makes the context what it was when the transaction began; returns whether that is possible.
    fn take_back(&mut self) -> bool {
        let Some(Before { watermark, entry, output }) = self.before.take() else { return false };
        if !self.context.state.undo() {
            return false;
        }
        self.context.out.rewind(output);
        self.context.sides.rewind();
        self.context.asks.new.clear();
        // The row of the pulse stays: it names the record to blame.
        (self.context.watermark, self.context.entry, self.context.time) = (watermark, entry, None);
        true
    }

    fn fire(&mut self, kind: TimerKind, now: Timestamp) -> Result {
        while let Some(timer) = self.context.state.pop_due(kind, now) {
            if kind == TimerKind::Event {
                self.context.state.come_to_event_time(timer.at);
            }
            self.context.come_to_next();
            self.context.time = Some(timer.at);
            self.operator.on_timer(timer, &mut self.context)?;
        }
        Ok(())
    }

    fn hook(&mut self, call: impl FnOnce(&mut O, &mut Context<O::Out>) -> Result) -> Result {
        self.context.time = None;
        self.context.state.enter(crate::Key::None);
        call(&mut self.operator, &mut self.context)
    }
}

impl<O: Operator> AnyOperator for Hosted<O> {
    fn begin_entry(&mut self, now: Timestamp) {
        self.context.entry += 1;
        self.context.pulse.advance(0);
        self.context.now = now;
        self.context.state.set_time(TimerKind::Processing, now);
        self.context.state.set_broadcast(false);
    }

    fn open(&mut self) -> Result {
        self.hook(|operator, context| operator.open(context))
    }

    fn process(&mut self, port: usize, batch: &Batch) -> Result {
        let batch = O::In::batch(port, batch).ok_or_else(|| Error::invalid("a batch of another type than planned"))?;
        self.context.state.clean_up_with(O::In::rows(&batch))?;
        self.context.state.set_broadcast(O::BROADCAST.contains(&port));
        self.operator.process_batch(batch, &mut self.context)
    }

    fn advance_watermark(&mut self, watermark: Timestamp) -> Result {
        self.context.watermark = self.context.watermark.max(watermark);
        self.fire(TimerKind::Event, watermark)?;
        self.context.state.set_time(TimerKind::Event, self.context.watermark);
        self.context.state.clean_up_with(0)
    }

    fn fire_processing_timers(&mut self) -> Result {
        self.fire(TimerKind::Processing, self.context.now)?;
        self.context.state.clean_up_with(0)
    }

    fn answer(&mut self, id: AskId, answer: Option<&Batch>) -> Result {
        self.operator.on_answer(id, answer, &mut self.context)
    }

    fn drain_asks(&mut self, asks: &mut Vec<Ask>) {
        asks.append(&mut self.context.asks.new);
    }

    fn waiting(&self) -> Option<Waiting> {
        self.context.asks.waiting
    }

    fn next_processing_timer(&self) -> Option<Timestamp> {
        self.context.state.next_timer(TimerKind::Processing)
    }

    fn begin_window(&mut self, window: WindowId) -> Result {
        self.hook(|operator, context| operator.begin_window(window, context))
    }

    fn end_window(&mut self, window: WindowId) -> Result {
        self.context.defaulted = false;
        let ended = self.hook(|operator, context| operator.end_window(window, context));
        self.hooks.ends.found(!self.context.defaulted);
        ended
    }

    fn before_checkpoint(&mut self, window: WindowId) -> Result {
        self.context.defaulted = false;
        let prepared = self.hook(|operator, context| operator.before_checkpoint(window, context));
        self.hooks.prepares.found(!self.context.defaulted);
        prepared
    }

    fn checkpointed(&mut self, window: WindowId) -> Result {
        self.operator.checkpointed(window)
    }

    fn committed(&mut self, window: WindowId) -> Result {
        self.operator.committed(window)
    }

    fn close(&mut self) -> Result {
        self.hook(|operator, context| operator.close(context))
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.context.out.drain(batches);
    }

    fn collect(&mut self, side_outputs: &[&str]) {
        self.context.sides.collect(side_outputs);
    }

    fn drain_sides(&mut self, batches: &mut Vec<(usize, Batch)>) {
        self.context.sides.drain(batches);
    }

    fn cut(&mut self) -> Result<Draft> {
        self.context.state.cut()
    }

    fn restore(&mut self, chunks: Vec<Vec<u8>>, watermark: Timestamp) -> Result {
        self.context.watermark = watermark;
        self.context.state.set_time(TimerKind::Event, watermark);
        self.context.state.restore(chunks)
    }

    fn adopt(&mut self, states: &[Vec<Vec<u8>>], watermark: Timestamp) -> Result {
        self.context.watermark = watermark;
        self.context.state.set_time(TimerKind::Event, watermark);
        self.context.state.adopt(states)
    }

    fn begin(&mut self) {
        let Context { watermark, entry, .. } = self.context;
        self.context.state.begin();
        self.context.sides.mark();
        self.before = Some(Before { watermark, entry, output: self.context.out.mark() });
    }

    fn settle(&mut self) {
        self.context.state.settle();
        self.before = None;
    }

    fn undo(&mut self) -> Result<bool> {
        if !self.take_back() {
            return Ok(false);
        }
        let old = std::mem::replace(&mut self.operator, (self.factory)()?);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(old))) {
            // Whoever panics in a `drop` may also panic with something that does.
            std::mem::forget(panic);
        }
        Ok(true)
    }

    fn reopen(&mut self, told: WindowId, window: Option<WindowId>) -> Result {
        self.begin();
        self.open()?;
        if told > WindowId::NONE {
            self.committed(told)?;
        }
        if let Some(window) = window {
            self.begin_window(window)?;
        }
        if self.take_back() { Ok(()) } else { Err(Error::failed("what `open` has changed cannot be taken back")) }
    }

    fn begin_window_again(&mut self, window: WindowId) -> Result {
        self.begin();
        self.begin_window(window)?;
        if self.take_back() {
            Ok(())
        } else {
            Err(Error::failed("what `begin_window` has changed cannot be taken back"))
        }
    }

    fn holds_rows(&self) -> Option<bool> {
        O::HOLDS_ROWS.or(match (self.hooks.ends.get(), self.hooks.prepares.get()) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })
    }

    fn has_state(&self) -> bool {
        self.context.state.has_state()
    }

    fn entry(&self) -> u64 {
        self.context.entry
    }

    fn set_entry(&mut self, entry: u64) {
        self.context.entry = entry;
    }

    fn row(&self) -> usize {
        self.context.pulse.row().saturating_sub(1)
    }

    fn show(&mut self, pulse: &Arc<Pulse>) {
        self.context.pulse = Arc::clone(pulse);
    }

    fn keyer(&self, port: usize) -> Box<dyn Keyer> {
        Box::new(OperatorKeyer::new(&self.factory, port))
    }

    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        O::Out::scatter(channels, rows)
    }
}
