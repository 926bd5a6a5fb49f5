//! Wraps operators, sources and sinks of any kind, so that their calls fail when somebody says so.
//!
//! What is wrapped is what runs in production, hosted by the kit. Who decides which call fails is a [`Faults`]: a
//! simulation follows the plan of its seed, a live run is told from outside.

use std::sync::Arc;

use piton_actors::blueprint::{OperatorBlueprint, SinkBlueprint, SourceBlueprint};
use piton_actors::host::{
    AnyOperator, AnySink, AnySource, Ask, AskId, BoxFuture, Keyer, Polled, Pulse, SinkCall, Waiting,
};
use piton_actors::state::Draft;
use piton_actors::{Batch, Delivery, Error, Result, Scatter, Subtask, Timestamp, WindowId};
use serde::{Deserialize, Serialize};

use crate::ids::SubtaskId;
use crate::protocol::failure::{Injected, MEANT};

/// A call of user code that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "they are named as the hooks are")]
pub enum Hook {
    Restore,
    Open,
    Process,
    Ask,
    Answer,
    Watermark,
    BeginWindow,
    EndWindow,
    BeforeCheckpoint,
    Cut,
    Checkpointed,
    Committed,
    Close,
    SourceOpen,
    SourcePoll,
    SourceCommitted,
    SinkOpen,
    SinkWrite,
    SinkPrepare,
    SinkCommit,
    SinkAbort,
}

/// How a call of user code fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It panics instead of being carried out.
    Panic,
    /// It is carried out, then it panics.
    PanicAfter,
    /// It panics at a record in the middle of a batch; at once, if there is no batch.
    PanicMidway,
    /// It returns an error instead of being carried out.
    Fail,
    /// It is carried out, then it returns an error.
    FailAfter,
    /// It says so many times that the outside is unavailable.
    Unavailable(u32),
}

impl Act {
    /// Returns what kind of fault it is, in a word.
    pub fn kind(self) -> &'static str {
        match self {
            Act::Panic | Act::PanicAfter | Act::PanicMidway => "panic",
            Act::Fail | Act::FailAfter => "error",
            Act::Unavailable(_) => "unavailable",
        }
    }
}

/// Decides which calls fail.
pub trait Faults: Send + Sync {
    /// Returns how this call of an operator, a source or a sink of a subtask is to fail, if it is. Whoever wants it to be slow, or never to come back, takes its time here.
    fn strike(&self, who: &SubtaskId, hook: Hook) -> Option<Act>;

    /// Makes a request of an operator to the outside.
    fn ask(&self, who: &SubtaskId, ask: &Ask) -> BoxFuture<Result<Batch>> {
        let _ = who;
        (ask.call)()
    }

    /// Returns whether the failures pass for those of user code, which are evidence against the records that it was given.
    fn pass_for_real(&self) -> bool;
}

/// Returns the blueprint with operators that fail when they are told to.
pub fn fragile_operator(name: &str, blueprint: OperatorBlueprint, faults: &Arc<dyn Faults>) -> OperatorBlueprint {
    let (node, faults, make): (Arc<str>, _, _) = (name.into(), Arc::clone(faults), blueprint.make);
    let make = move |subtask: Subtask, rows| -> Result<Box<dyn AnyOperator>> {
        let who = SubtaskId::new(Arc::clone(&node), subtask.index);
        let fragile = Fragile { who, faults: Arc::clone(&faults) };
        Ok(Box::new(FragileOperator { inner: make(subtask, rows)?, fragile }))
    };
    OperatorBlueprint { make: Arc::new(make), ..blueprint }
}

/// Returns the blueprint with sources that fail when they are told to.
pub fn fragile_source(name: &str, blueprint: SourceBlueprint, faults: &Arc<dyn Faults>) -> SourceBlueprint {
    let (node, faults, make): (Arc<str>, _, _) = (name.into(), Arc::clone(faults), blueprint.make);
    let make = move |rows| -> Result<Box<dyn AnySource>> {
        let who = SubtaskId::new(Arc::clone(&node), 0);
        Ok(Box::new(FragileSource { inner: make(rows)?, fragile: Fragile { who, faults: Arc::clone(&faults) } }))
    };
    SourceBlueprint { make: Arc::new(make), ..blueprint }
}

/// Returns the blueprint with sinks that fail when they are told to.
pub fn fragile_sink(name: &str, blueprint: SinkBlueprint, faults: &Arc<dyn Faults>) -> SinkBlueprint {
    let (node, faults, make): (Arc<str>, _, _) = (name.into(), Arc::clone(faults), blueprint.make);
    let make = move || -> Result<Box<dyn AnySink>> {
        let who = SubtaskId::new(Arc::clone(&node), 0);
        Ok(Box::new(FragileSink { inner: make()?, fragile: Fragile { who, faults: Arc::clone(&faults) } }))
    };
    SinkBlueprint { make: Arc::new(make), ..blueprint }
}

/// What a wrapper knows of itself.
#[derive(Clone)]
struct Fragile {
    who: SubtaskId,
    faults: Arc<dyn Faults>,
}

impl Fragile {
    /// Panics without the noise of a panic hook: it is meant.
    fn panic_quietly(&self) -> ! {
        if self.faults.pass_for_real() {
            std::panic::resume_unwind(Box::new(MEANT.to_string()))
        }
        std::panic::resume_unwind(Box::new(Injected))
    }

    fn error(&self, act: Act) -> Error {
        match act {
            Act::Unavailable(_) => Error::unavailable(MEANT),
            _ if self.faults.pass_for_real() => Error::failed(MEANT),
            _ => Error::from(Injected),
        }
    }

    fn strike(&self, hook: Hook) -> Option<Act> {
        self.faults.strike(&self.who, hook)
    }

    /// Carries a call out, or not, or lets it fail behind that.
    fn call<T>(&self, hook: Hook, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.call_midway(hook, |_| call())
    }

    /// As `call`, for calls that can be carried out in part.
    fn call_midway<T>(&self, hook: Hook, call: impl FnOnce(bool) -> Result<T>) -> Result<T> {
        match self.strike(hook) {
            None => call(false),
            Some(Act::Panic) => self.panic_quietly(),
            Some(act @ (Act::PanicAfter | Act::PanicMidway)) => {
                let _done: Result<T> = call(act == Act::PanicMidway);
                self.panic_quietly()
            }
            Some(act @ (Act::Fail | Act::Unavailable(_))) => Err(self.error(act)),
            Some(act @ Act::FailAfter) => {
                call(false)?;
                Err(self.error(act))
            }
        }
    }

    /// Lets a request to the outside fail, or go on.
    fn ask(&self, ask: &Ask) -> BoxFuture<Result<Batch>> {
        let (fragile, ask) = (self.clone(), ask.clone());
        Box::pin(async move {
            let asking = || fragile.faults.ask(&fragile.who, &ask);
            match fragile.strike(Hook::Ask) {
                None => asking().await,
                Some(Act::Panic) => fragile.panic_quietly(),
                Some(act @ (Act::Fail | Act::Unavailable(_))) => Err(fragile.error(act)),
                // The outside was asked, and nobody gets to know.
                Some(act) => match (asking().await, act) {
                    (_, Act::PanicAfter | Act::PanicMidway) => fragile.panic_quietly(),
                    (answer, act) => answer.and(Err(fragile.error(act))),
                },
            }
        })
    }
}

/// An operator that fails on demand.
struct FragileOperator {
    inner: Box<dyn AnyOperator>,
    fragile: Fragile,
}

impl AnyOperator for FragileOperator {
    fn begin_entry(&mut self, now: Timestamp) {
        self.inner.begin_entry(now);
    }

    fn open(&mut self) -> Result {
        self.fragile.call(Hook::Open, || self.inner.open())
    }

    fn process(&mut self, port: usize, batch: &Batch) -> Result {
        self.fragile.call_midway(Hook::Process, |midway| {
            if midway {
                self.inner.process(port, &batch.slice(0..batch.len() / 2))
            } else {
                self.inner.process(port, batch)
            }
        })
    }

    fn advance_watermark(&mut self, watermark: Timestamp) -> Result {
        self.fragile.call(Hook::Watermark, || self.inner.advance_watermark(watermark))
    }

    fn fire_processing_timers(&mut self) -> Result {
        self.inner.fire_processing_timers()
    }

    fn answer(&mut self, id: AskId, answer: Option<&Batch>) -> Result {
        self.fragile.call(Hook::Answer, || self.inner.answer(id, answer))
    }

    fn drain_asks(&mut self, asks: &mut Vec<Ask>) {
        let before = asks.len();
        self.inner.drain_asks(asks);
        for ask in &mut asks[before..] {
            let (fragile, inner) = (self.fragile.clone(), ask.clone());
            ask.call = Arc::new(move || fragile.ask(&inner));
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        self.inner.waiting()
    }

    fn next_processing_timer(&self) -> Option<Timestamp> {
        self.inner.next_processing_timer()
    }

    fn begin_window(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::BeginWindow, || self.inner.begin_window(window))
    }

    fn end_window(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::EndWindow, || self.inner.end_window(window))
    }

    fn before_checkpoint(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::BeforeCheckpoint, || self.inner.before_checkpoint(window))
    }

    fn checkpointed(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::Checkpointed, || self.inner.checkpointed(window))
    }

    fn committed(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::Committed, || self.inner.committed(window))
    }

    fn close(&mut self) -> Result {
        self.fragile.call(Hook::Close, || self.inner.close())
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.inner.drain(batches);
    }

    fn collect(&mut self, side_outputs: &[&str]) {
        self.inner.collect(side_outputs);
    }

    fn drain_sides(&mut self, batches: &mut Vec<(usize, Batch)>) {
        self.inner.drain_sides(batches);
    }

    fn cut(&mut self) -> Result<Draft> {
        self.fragile.call(Hook::Cut, || self.inner.cut())
    }

    fn restore(&mut self, chunks: Vec<Vec<u8>>, watermark: Timestamp) -> Result {
        self.fragile.call(Hook::Restore, || self.inner.restore(chunks, watermark))
    }

    fn adopt(&mut self, states: &[Vec<Vec<u8>>], watermark: Timestamp) -> Result {
        self.fragile.call(Hook::Restore, || self.inner.adopt(states, watermark))
    }

    fn begin(&mut self) {
        self.inner.begin();
    }

    fn settle(&mut self) {
        self.inner.settle();
    }

    fn undo(&mut self) -> Result<bool> {
        self.inner.undo()
    }

    fn reopen(&mut self, told: WindowId, window: Option<WindowId>) -> Result {
        self.fragile.call(Hook::Open, || self.inner.reopen(told, window))
    }

    fn begin_window_again(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::BeginWindow, || self.inner.begin_window_again(window))
    }

    fn holds_rows(&self) -> Option<bool> {
        self.inner.holds_rows()
    }

    fn has_state(&self) -> bool {
        self.inner.has_state()
    }

    fn entry(&self) -> u64 {
        self.inner.entry()
    }

    fn set_entry(&mut self, entry: u64) {
        self.inner.set_entry(entry);
    }

    fn row(&self) -> usize {
        self.inner.row()
    }

    fn show(&mut self, pulse: &Arc<Pulse>) {
        self.inner.show(pulse);
    }

    fn keyer(&self, port: usize) -> Box<dyn Keyer> {
        self.inner.keyer(port)
    }

    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        self.inner.scatter(channels, rows)
    }
}

/// A source that fails on demand.
struct FragileSource {
    inner: Box<dyn AnySource>,
    fragile: Fragile,
}

type SourceFuture<T> = BoxFuture<(Box<dyn AnySource>, Result<T>)>;

impl FragileSource {
    fn around<T: Send + 'static>(
        self: Box<Self>,
        hook: Hook,
        call: impl FnOnce(Box<dyn AnySource>) -> SourceFuture<T> + Send + 'static,
        spoil: impl FnOnce(T, Error) -> Result<T> + Send + 'static,
    ) -> SourceFuture<T> {
        Box::pin(async move {
            let act = self.fragile.strike(hook);
            match act {
                Some(Act::Panic) => self.fragile.panic_quietly(),
                Some(act @ (Act::Fail | Act::Unavailable(_))) => {
                    let error = self.fragile.error(act);
                    return (self as Box<dyn AnySource>, Err(error));
                }
                _ => {}
            }
            let FragileSource { inner, fragile } = *self;
            let (inner, mut answer) = call(inner).await;
            match act {
                Some(Act::PanicAfter | Act::PanicMidway) => fragile.panic_quietly(),
                Some(act) => answer = answer.and_then(|answer| spoil(answer, fragile.error(act))),
                None => {}
            }
            (Box::new(FragileSource { inner, fragile }) as Box<dyn AnySource>, answer)
        })
    }
}

impl AnySource for FragileSource {
    fn open(mut self: Box<Self>, position: Option<Vec<u8>>, subtask: Subtask) -> SourceFuture<()> {
        self.fragile.who.index = subtask.index;
        self.around(Hook::SourceOpen, move |inner| inner.open(position, subtask), |(), error| Err(error))
    }

    fn poll(self: Box<Self>) -> SourceFuture<Polled> {
        // What was emitted before the error counts.
        let spoil = |polled: Polled, error: Error| Ok(Polled { progress: Err(error), ..polled });
        self.around(Hook::SourcePoll, |inner| inner.poll(), spoil)
    }

    fn committed(self: Box<Self>, window: WindowId, position: Vec<u8>) -> SourceFuture<()> {
        self.around(Hook::SourceCommitted, move |inner| inner.committed(window, position), |(), error| Err(error))
    }

    fn replayable(&self) -> bool {
        self.inner.replayable()
    }

    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        self.inner.scatter(channels, rows)
    }
}

/// A sink that fails on demand.
struct FragileSink {
    inner: Box<dyn AnySink>,
    fragile: Fragile,
}

impl AnySink for FragileSink {
    fn call(mut self: Box<Self>, call: SinkCall) -> BoxFuture<(Box<dyn AnySink>, Result<Option<Vec<u8>>>)> {
        let hook = match &call {
            SinkCall::Open(_, subtask) => {
                self.fragile.who.index = subtask.index;
                Hook::SinkOpen
            }
            SinkCall::Write(..) => Hook::SinkWrite,
            SinkCall::Prepare(_) => Hook::SinkPrepare,
            SinkCall::Commit(_) => Hook::SinkCommit,
            SinkCall::Abort(_) => Hook::SinkAbort,
        };
        Box::pin(async move {
            let act = self.fragile.strike(hook);
            match act {
                Some(Act::Panic) => self.fragile.panic_quietly(),
                Some(act @ (Act::Fail | Act::Unavailable(_))) => {
                    let error = self.fragile.error(act);
                    return (self as Box<dyn AnySink>, Err(error));
                }
                _ => {}
            }
            let FragileSink { inner, fragile } = *self;
            let (inner, mut answer) = inner.call(call).await;
            match act {
                Some(Act::PanicAfter | Act::PanicMidway) => fragile.panic_quietly(),
                // Published, but the answer says otherwise: it has to be asked again.
                Some(Act::FailAfter) if hook == Hook::SinkCommit => {
                    answer = answer.and(Err(Error::unavailable(MEANT)));
                }
                Some(act) => answer = answer.and(Err(fragile.error(act))),
                None => {}
            }
            (Box::new(FragileSink { inner, fragile }) as Box<dyn AnySink>, answer)
        })
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::failure::guard;

    /// Lets every call fail in one way.
    struct Always {
        act: Act,
        passes_for_real: bool,
    }

    impl Faults for Always {
        fn strike(&self, _: &SubtaskId, _: Hook) -> Option<Act> {
            Some(self.act)
        }

        fn pass_for_real(&self) -> bool {
            self.passes_for_real
        }
    }

    #[test]
    fn a_failure_that_does_not_pass_for_real_is_known_for_what_it_is() {
        for act in [Act::Panic, Act::PanicAfter, Act::PanicMidway, Act::Fail, Act::FailAfter] {
            for passes_for_real in [false, true] {
                let faults = Arc::new(Always { act, passes_for_real });
                let fragile = Fragile { who: SubtaskId::new("count", 0), faults };
                let failure = guard("count", || fragile.call(Hook::Process, || Ok(()))).unwrap_err();
                assert_eq!(failure.is_injected, !passes_for_real, "{act:?}");
                assert_eq!(failure.message, MEANT, "{act:?}");
            }
        }
    }
}
