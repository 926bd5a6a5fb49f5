//! Wraps operators, to hold what they are told against what was promised about its order.

use std::sync::Arc;

use piton_actors::blueprint::OperatorBlueprint;
use piton_actors::host::{AnyOperator, Ask, AskId, Keyer, Pulse, Waiting};
use piton_actors::state::Draft;
use piton_actors::{Batch, Result, Scatter, Subtask, Timestamp, WindowId};

use crate::chaos::invariants::InvariantId;
use crate::ids::{Fence, SubtaskId};
use crate::sim::outside::Outside;

/// Returns the blueprint with operators that are watched.
pub(crate) fn watched(name: &str, region: usize, blueprint: OperatorBlueprint, outside: &Outside) -> OperatorBlueprint {
    let (node, outside, make): (Arc<str>, _, _) = (name.into(), outside.clone(), blueprint.make);
    let make = move |subtask: Subtask, rows| -> Result<Box<dyn AnyOperator>> {
        let fence = Fence { incarnation: subtask.incarnation, attempt: subtask.attempt };
        let restored = outside.lock().restored[region];
        Ok(Box::new(Watched {
            who: SubtaskId::new(Arc::clone(&node), subtask.index),
            inner: make(subtask, rows)?,
            outside: outside.clone(),
            region,
            fence,
            owed: (restored > WindowId::NONE).then_some(restored),
            restored,
        }))
    };
    OperatorBlueprint { make: Arc::new(make), ..blueprint }
}

struct Watched {
    who: SubtaskId,
    inner: Box<dyn AnyOperator>,
    outside: Outside,
    region: usize,
    fence: Fence,
    /// The restored window that must be told before anything else.
    owed: Option<WindowId>,
    /// That window, or none.
    restored: WindowId,
}

impl Watched {
    fn owes_nothing(&self, what: &str) {
        if let Some(window) = self.owed {
            let message = format!("{}: {what} before the restored window {window} was told", self.who);
            self.outside.judge(Err(InvariantId::RestoredToldFirst.broken(message)));
        }
    }
}

impl AnyOperator for Watched {
    fn begin_entry(&mut self, now: Timestamp) {
        self.inner.begin_entry(now);
    }

    fn open(&mut self) -> Result {
        self.inner.open()
    }

    fn process(&mut self, port: usize, batch: &Batch) -> Result {
        self.owes_nothing("a batch came");
        self.inner.process(port, batch)
    }

    fn advance_watermark(&mut self, watermark: Timestamp) -> Result {
        self.owes_nothing("a watermark came");
        self.inner.advance_watermark(watermark)
    }

    fn fire_processing_timers(&mut self) -> Result {
        self.owes_nothing("a timer fired");
        self.inner.fire_processing_timers()
    }

    fn answer(&mut self, id: AskId, answer: Option<&Batch>) -> Result {
        self.inner.answer(id, answer)
    }

    fn drain_asks(&mut self, asks: &mut Vec<Ask>) {
        self.inner.drain_asks(asks);
    }

    fn waiting(&self) -> Option<Waiting> {
        self.inner.waiting()
    }

    fn next_processing_timer(&self) -> Option<Timestamp> {
        self.inner.next_processing_timer()
    }

    fn begin_window(&mut self, window: WindowId) -> Result {
        self.owes_nothing("a window began");
        self.inner.begin_window(window)
    }

    fn end_window(&mut self, window: WindowId) -> Result {
        self.inner.end_window(window)
    }

    fn before_checkpoint(&mut self, window: WindowId) -> Result {
        self.inner.before_checkpoint(window)
    }

    fn checkpointed(&mut self, window: WindowId) -> Result {
        self.outside.lock().checkpointed.insert(self.who.clone(), (self.fence, window));
        self.inner.checkpointed(window)
    }

    fn committed(&mut self, window: WindowId) -> Result {
        let mut state = self.outside.lock();
        let head = state.heads[self.region].head();
        let told = state.told.entry(self.who.clone()).or_default().told(self.fence, window, head);
        state.judge(told);
        let checkpointed = state.checkpointed.get(&self.who).filter(|(fence, _)| *fence == self.fence);
        let checkpointed = checkpointed.map_or(WindowId::NONE, |(_, window)| *window);
        if self.owed.take() != Some(window) && window > checkpointed {
            let message = format!("{}: window {window} after {checkpointed}", self.who);
            state.judge(Err(InvariantId::CheckpointedFirst.broken(message)));
        }
        drop(state);
        self.inner.committed(window)
    }

    fn close(&mut self) -> Result {
        self.inner.close()
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
        self.inner.cut()
    }

    fn restore(&mut self, chunks: Vec<Vec<u8>>, watermark: Timestamp) -> Result {
        self.inner.restore(chunks, watermark)
    }

    fn adopt(&mut self, states: &[Vec<Vec<u8>>], watermark: Timestamp) -> Result {
        self.inner.adopt(states, watermark)
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
        let mut state = self.outside.lock();
        let again = state.told.entry(self.who.clone()).or_default().again(self.fence, told);
        state.judge(again);
        drop(state);
        self.owed = Some(self.restored).filter(|restored| told < *restored);
        self.inner.reopen(told, window)
    }

    fn begin_window_again(&mut self, window: WindowId) -> Result {
        self.owes_nothing("a window began again");
        self.inner.begin_window_again(window)
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
