//! Wraps operators, sources and sinks of any kind, so that their calls fail when a plan says so.
//!
//! What is wrapped is what runs in production, hosted by the kit; the wrapper also listens to the hooks and holds them
//! against what was promised about their order.

use piton_actors::host::{AnyOperator, AnySink, AnySource, BoxFuture, Keyer, Polled, SinkCall};
use piton_actors::{Batch, Delivery, Error, Result, Scatter, Subtask, Timestamp, WindowId};

use crate::chaos::invariants::InvariantId;
use crate::ids::Fence;
use crate::sim::faults::{Act, Hook};
use crate::sim::outside::{Outside, Who};

/// What a wrapper knows of itself.
#[derive(Clone)]
pub(crate) struct Fragile {
    pub(crate) who: Who,
    pub(crate) outside: Outside,
}

/// Panics without the noise of a panic hook: it is meant.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a fault of the plan".to_string()))
}

fn error(act: Act) -> Error {
    match act {
        Act::Unavailable(_) => Error::unavailable("a fault of the plan"),
        _ => Error::failed("a fault of the plan"),
    }
}

impl Fragile {
    /// Carries a call out, or not, or lets it fail behind that.
    fn call<T>(&self, hook: Hook, call: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.outside.strike(self.who, hook) {
            None => call(),
            Some(Act::Panic) => panic_quietly(),
            Some(Act::PanicAfter | Act::PanicMidway) => {
                let _done: Result<T> = call();
                panic_quietly()
            }
            Some(act @ (Act::Fail | Act::Unavailable(_))) => Err(error(act)),
            Some(act @ Act::FailAfter) => {
                call()?;
                Err(error(act))
            }
        }
    }
}

impl Fragile {
    /// As `call`, for calls that can be carried out in part.
    fn call_midway<T>(&self, hook: Hook, call: impl FnOnce(bool) -> Result<T>) -> Result<T> {
        match self.outside.strike(self.who, hook) {
            None => call(false),
            Some(Act::Panic) => panic_quietly(),
            Some(act @ (Act::PanicAfter | Act::PanicMidway)) => {
                let _done: Result<T> = call(act == Act::PanicMidway);
                panic_quietly()
            }
            Some(act @ (Act::Fail | Act::Unavailable(_))) => Err(error(act)),
            Some(act @ Act::FailAfter) => {
                call(false)?;
                Err(error(act))
            }
        }
    }
}

/// An operator that fails on demand.
pub(crate) struct FragileOperator {
    pub(crate) inner: Box<dyn AnyOperator>,
    pub(crate) fragile: Fragile,
    pub(crate) region: usize,
    pub(crate) fence: Fence,
    /// The restored window that must be told before anything else.
    pub(crate) owed: Option<WindowId>,
    /// That window, or none.
    pub(crate) restored: WindowId,
}

impl FragileOperator {
    fn owes_nothing(&self, what: &str) {
        if let Some(window) = self.owed {
            let message = format!("{:?}: {what} before the restored window {window} was told", self.fragile.who);
            self.fragile.outside.judge(Err(InvariantId::RestoredToldFirst.broken(message)));
        }
    }
}

impl AnyOperator for FragileOperator {
    fn begin_entry(&mut self, now: Timestamp) {
        self.inner.begin_entry(now);
    }

    fn open(&mut self) -> Result {
        self.fragile.call(Hook::Open, || self.inner.open())
    }

    fn process(&mut self, port: usize, batch: &Batch) -> Result {
        self.owes_nothing("a batch came");
        self.fragile.call_midway(Hook::Process, |midway| {
            if midway {
                self.inner.process(port, &batch.slice(0..batch.len() / 2))
            } else {
                self.inner.process(port, batch)
            }
        })
    }

    fn advance_watermark(&mut self, watermark: Timestamp) -> Result {
        self.owes_nothing("a watermark came");
        self.fragile.call(Hook::Watermark, || self.inner.advance_watermark(watermark))
    }

    fn fire_processing_timers(&mut self) -> Result {
        self.inner.fire_processing_timers()
    }

    fn next_processing_timer(&self) -> Option<Timestamp> {
        self.inner.next_processing_timer()
    }

    fn begin_window(&mut self, window: WindowId) -> Result {
        self.owes_nothing("a window began");
        self.fragile.call(Hook::BeginWindow, || self.inner.begin_window(window))
    }

    fn end_window(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::EndWindow, || self.inner.end_window(window))
    }

    fn before_checkpoint(&mut self, window: WindowId) -> Result {
        self.fragile.call(Hook::BeforeCheckpoint, || self.inner.before_checkpoint(window))
    }

    fn checkpointed(&mut self, window: WindowId) -> Result {
        self.fragile.outside.lock().checkpointed.insert(self.fragile.who, (self.fence, window));
        self.fragile.call(Hook::Checkpointed, || self.inner.checkpointed(window))
    }

    fn committed(&mut self, window: WindowId) -> Result {
        let mut state = self.fragile.outside.lock();
        let head = state.oracle.head(self.region);
        let told = state.told.entry(self.fragile.who).or_default().told(self.fence, window, head);
        state.judge(told);
        let checkpointed = state.checkpointed.get(&self.fragile.who).filter(|(fence, _)| *fence == self.fence);
        let checkpointed = checkpointed.map_or(WindowId::NONE, |(_, window)| *window);
        if self.owed.take() != Some(window) && window > checkpointed {
            let message = format!("{:?}: window {window} after {checkpointed}", self.fragile.who);
            state.judge(Err(InvariantId::CheckpointedFirst.broken(message)));
        }
        drop(state);
        self.fragile.call(Hook::Committed, || self.inner.committed(window))
    }

    fn close(&mut self) -> Result {
        self.fragile.call(Hook::Close, || self.inner.close())
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.inner.drain(batches);
    }

    fn cut(&mut self) -> Result<Vec<u8>> {
        self.fragile.call(Hook::Cut, || self.inner.cut())
    }

    fn restore(&mut self, chunks: Vec<Vec<u8>>, watermark: Timestamp) -> Result {
        self.fragile.call(Hook::Restore, || self.inner.restore(chunks, watermark))
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

    fn has_state(&self) -> bool {
        self.inner.has_state()
    }

    fn entry(&self) -> u64 {
        self.inner.entry()
    }

    fn set_entry(&mut self, entry: u64) {
        self.inner.set_entry(entry);
    }

    fn reopen(&mut self, told: WindowId, window: Option<WindowId>) -> Result {
        let mut state = self.fragile.outside.lock();
        let again = state.told.entry(self.fragile.who).or_default().again(self.fence, told);
        state.judge(again);
        drop(state);
        self.owed = Some(self.restored).filter(|restored| told < *restored);
        self.fragile.call(Hook::Open, || self.inner.reopen(told, window))
    }

    fn begin_window_again(&mut self, window: WindowId) -> Result {
        self.owes_nothing("a window began again");
        self.fragile.call(Hook::BeginWindow, || self.inner.begin_window_again(window))
    }

    fn holds_rows(&self) -> Option<bool> {
        let Who { region, vertex, member, .. } = self.fragile.who;
        let mut state = self.fragile.outside.lock();
        let known = state.holds.entry((region, vertex, member)).or_default();
        *known = known.or(self.inner.holds_rows());
        *known
    }

    fn row(&self) -> usize {
        self.inner.row()
    }

    fn keyer(&self, port: usize) -> Box<dyn Keyer> {
        self.inner.keyer(port)
    }

    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        self.inner.scatter(channels, rows)
    }
}

/// A source that fails on demand.
pub(crate) struct FragileSource {
    pub(crate) inner: Box<dyn AnySource>,
    pub(crate) fragile: Fragile,
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
            let act = self.fragile.outside.strike(self.fragile.who, hook);
            match act {
                Some(Act::Panic) => panic_quietly(),
                Some(act @ (Act::Fail | Act::Unavailable(_))) => return (self as Box<dyn AnySource>, Err(error(act))),
                _ => {}
            }
            let FragileSource { inner, fragile } = *self;
            let (inner, mut answer) = call(inner).await;
            match act {
                Some(Act::PanicAfter | Act::PanicMidway) => panic_quietly(),
                Some(act) => answer = answer.and_then(|answer| spoil(answer, error(act))),
                None => {}
            }
            (Box::new(FragileSource { inner, fragile }) as Box<dyn AnySource>, answer)
        })
    }
}

impl AnySource for FragileSource {
    fn open(self: Box<Self>, position: Option<Vec<u8>>, subtask: Subtask) -> SourceFuture<()> {
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
pub(crate) struct FragileSink {
    pub(crate) inner: Box<dyn AnySink>,
    pub(crate) fragile: Fragile,
}

impl AnySink for FragileSink {
    fn call(self: Box<Self>, call: SinkCall) -> BoxFuture<(Box<dyn AnySink>, Result<Option<Vec<u8>>>)> {
        let hook = match &call {
            SinkCall::Open(..) => Hook::SinkOpen,
            SinkCall::Write(..) => Hook::SinkWrite,
            SinkCall::Prepare(_) => Hook::SinkPrepare,
            SinkCall::Commit(_) => Hook::SinkCommit,
            SinkCall::Abort(_) => Hook::SinkAbort,
        };
        Box::pin(async move {
            let act = self.fragile.outside.strike(self.fragile.who, hook);
            match act {
                Some(Act::Panic) => panic_quietly(),
                Some(act @ (Act::Fail | Act::Unavailable(_))) => return (self as Box<dyn AnySink>, Err(error(act))),
                _ => {}
            }
            let FragileSink { inner, fragile } = *self;
            let (inner, mut answer) = inner.call(call).await;
            match act {
                Some(Act::PanicAfter | Act::PanicMidway) => panic_quietly(),
                // Published, but the answer says otherwise: it has to be asked again.
                Some(Act::FailAfter) if hook == Hook::SinkCommit => {
                    answer = answer.and(Err(Error::unavailable("a fault of the plan")));
                }
                Some(act) => answer = answer.and(Err(error(act))),
                None => {}
            }
            (Box::new(FragileSink { inner, fragile }) as Box<dyn AnySink>, answer)
        })
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }
}
