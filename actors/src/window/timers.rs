//! What is kept of time windows, and what happens to it when a timer is due: the same for sums of every kind.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::descriptor::TimeWindow;
use super::few::Few;
use super::panes::Panes;
use super::rules::{Kind, Rules};
use super::sessions::{Live, Sessions};
use crate::Result;
use crate::batch::Output;
use crate::context::Context;
use crate::key::Key;
use crate::state::{MapState, StateMap, StateValue, ValueState};
use crate::time::Timestamp;

/// The state of time windows whose sums are of this type.
pub(crate) struct Kept<S>(PhantomData<S>);

/// What the state of time windows is called, whatever the sums are.
pub(crate) const PANES: &str = "panes";
pub(crate) const SESSIONS: &str = "sessions";
pub(crate) const COUNTED: &str = "counted";

impl<S: StateValue> Kept<S> {
    /// The sum of each slice, by where it begins.
    pub(crate) const PANES: MapState<Timestamp, S> = MapState::new(PANES);
    /// The sessions, in order.
    pub(crate) const SESSIONS: ValueState<Few<Live<S>>> = ValueState::new(SESSIONS);
    /// What does not make a whole window yet.
    pub(crate) const COUNTED: ValueState<Counted<S>> = ValueState::new(COUNTED);
}

/// The sum of each slice of a key that records have come into, by where it begins.
pub(crate) type SlicesOf<S> = StateMap<Timestamp, S>;

/// The records of a key that do not make a whole window yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counted<S> {
    pub(crate) records: u64,
    pub(crate) live: Live<S>,
}

impl<S: Default> Default for Counted<S> {
    fn default() -> Self {
        let nothing = TimeWindow { start: Timestamp::MAX, end: Timestamp::MIN };
        Counted { records: 0, live: Live::new(nothing, S::default()) }
    }
}

impl<S: Default> Counted<S> {
    /// Counts a record of this time.
    pub(crate) fn count(&mut self, time: Timestamp) {
        let window = self.live.window();
        self.records += 1;
        self.live.set_window(TimeWindow { start: window.start.min(time), end: window.end.max(time + 1) });
    }
}

/// Makes what comes out for a window. In two steps, because a sum that lies in state cannot be looked at while something
/// is emitted.
pub(crate) trait Emits<S, O: Output> {
    /// What comes out.
    type Made;

    /// Makes what comes out for a window with this sum.
    fn make(&mut self, key: &Key, window: TimeWindow, sum: &S) -> Self::Made;

    /// Makes what comes out for a window of a key from the sums of its slices, if it has any.
    fn make_of_slices(&mut self, key: &Key, window: TimeWindow, slices: &SlicesOf<S>) -> Option<Self::Made>;

    /// Emits it, with this event time.
    fn emit(&mut self, at: Timestamp, made: Self::Made, ctx: &mut Context<O>);

    /// There is no slice of a key left.
    fn forget(&mut self, key: &Key) {
        let _ = key;
    }
}

impl Rules {
    /// Sets a timer of the current key for when a window emits early the next time, if it does.
    #[inline]
    pub(crate) fn set_early<O: Output>(&self, window: TimeWindow, passed: Timestamp, ctx: &mut Context<O>) -> Result {
        match self.early_timer(window, passed) {
            Some(mark) => self.time.set(mark, ctx),
            None => Ok(()),
        }
    }

    /// Does what is to be done with the windows of a key, which is current, when nothing is expected up to `last`.
    pub(crate) fn on_timer<S: StateValue, O: Output>(
        &mut self,
        key: &Key,
        last: Timestamp,
        ctx: &mut Context<O>,
        emits: &mut impl Emits<S, O>,
    ) -> Result {
        match self.kind {
            Kind::Panes(panes) => self.pane_timer(panes, key, last, ctx, emits),
            Kind::Sessions(sessions) => self.session_timer(sessions, key, last, ctx, emits),
            Kind::Counted(_) => Ok(()),
        }
    }

    fn pane_timer<S: StateValue, O: Output>(
        &mut self,
        panes: Panes,
        key: &Key,
        last: Timestamp,
        ctx: &mut Context<O>,
        emits: &mut impl Emits<S, O>,
    ) -> Result {
        let state = Kept::<S>::PANES;
        let moment = self.moment(&panes, last);
        if let Some(window) = moment.ending
            && panes.is_simple()
        {
            if let Some(sum) = ctx.map_state(state).remove(&window.start)? {
                let made = emits.make(key, window, &sum);
                emits.emit(last, made, ctx);
            }
            return Ok(());
        }
        let Some(slices) = ctx.map_state(state).whole()? else {
            emits.forget(key);
            return Ok(());
        };
        let over = slices.keys().take_while(|start| **start < moment.kept_from).count();
        let first = slices.keys().nth(over).copied();
        let open = slices.range(moment.open.start..).next().map(|(start, _)| *start);
        if let Some(window) = moment.ending {
            if let Some(made) = emits.make_of_slices(key, window, slices) {
                emits.emit(last, made, ctx);
            }
        } else if self.is_early(last) {
            // Only windows that are one slice emit early.
            let window = panes.grid.last_with(last);
            if let Some(sum) = slices.get(&window.start) {
                let made = emits.make(key, window, sum);
                emits.emit(last, made, ctx);
                self.set_early(window, last, ctx)?;
            }
        }
        if panes.is_simple() {
            return Ok(());
        }
        let Some(first) = first else {
            emits.forget(key);
            return ctx.map_state(state).clear();
        };
        for _ in 0..over {
            let start = ctx.map_state(state).iter()?.next().map(|(start, _)| *start);
            if let Some(start) = start {
                ctx.map_state(state).remove(&start)?;
            }
        }
        self.time.set(panes.next(&moment, first, open), ctx)
    }

    fn session_timer<S: StateValue, O: Output>(
        &self,
        sessions: Sessions,
        key: &Key,
        last: Timestamp,
        ctx: &mut Context<O>,
        emits: &mut impl Emits<S, O>,
    ) -> Result {
        let state = Kept::<S>::SESSIONS;
        let (mut left, mut over, mut next) = (0, 0, Timestamp::MAX);
        for index in 0.. {
            let live = ctx.state(state).get()?.and_then(|live| live.as_slice().get(index));
            let Some(live) = live else { break };
            let window = live.window();
            let is_early = self.is_early(last) && window.start <= last && last < window.last();
            if is_early || window.last() == last {
                let made = emits.make(key, window, live.sum());
                emits.emit(last, made, ctx);
                self.set_early(window, last, ctx)?;
            }
            if sessions.is_over(window, last) {
                over += 1;
            } else {
                left += 1;
                next = next.min(sessions.next(window, last));
            }
        }
        if left == 0 {
            ctx.state(state).take()?;
            return Ok(());
        }
        if over > 0 {
            let clean = |live: &mut Few<Live<S>>| {
                live.change(|live| live.retain(|live| !sessions.is_over(live.window(), last)));
            };
            ctx.state(state).update(clean)?;
        }
        self.time.set(next, ctx)
    }
}
