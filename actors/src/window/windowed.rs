//! The operator that an aggregate and a kind of time window make together.

use super::aggregate::Aggregate;
use super::clock::Time;
use super::descriptor::TimeWindow;
use super::few::Few;
use super::merges::{Merges, sum_of_all};
use super::panes::{Arrival, Panes};
use super::rules::{Kind, Rules, Timing};
use super::sessions::{Live, Sessions};
use super::timers::{Counted, Emits, Kept, SlicesOf};
use crate::blueprint::Fault;
use crate::context::Context;
use crate::key::Key;
use crate::late::{LATE, count_late};
use crate::operator::Operator;
use crate::side::{SideOutput, SideOutputDeclared};
use crate::state::Declared;
use crate::time::{Timer, TimerKind, Timestamp};
use crate::{Error, Result};

/// The operator that computes an [`Aggregate`] of each key in each time window.
///
/// A window emits when it is over: when the watermark has reached its last millisecond, which is also the event time of
/// what comes out; windows that are over at the same time emit in the order in which their keys came. What is kept of a
/// window goes with it. At the end of the input, all windows are over.
///
/// A record that comes when no window takes it any more is late, and leaves by the side output `late`.
pub struct Windowed<A: Aggregate> {
    aggregate: A,
    rules: Rules,
    /// What was decided of the last record, which mostly holds for the next one, too.
    recent: Option<Arrival>,
    merges: Merges<A::Sum>,
}

impl<A: Aggregate> Windowed<A> {
    /// Makes the operator.
    ///
    /// # Errors
    /// If the timing makes no sense: what is wrong, and what to do.
    pub fn new(aggregate: A, timing: Timing) -> Result<Windowed<A>> {
        let told = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ");
        let rules = timing.rules().map_err(|faults| Error::invalid(told(faults)))?;
        Ok(Windowed::of(aggregate, rules))
    }

    pub(crate) fn of(aggregate: A, rules: Rules) -> Windowed<A> {
        Windowed { aggregate, rules, recent: None, merges: Merges::default() }
    }

    /// The records that no window takes any more.
    const LATE: SideOutput<A::In> = SideOutput::new(LATE);

    /// What becomes of a record that no window takes any more.
    #[cold]
    fn late(record: &A::In, ctx: &mut Context<A::Out>) -> Result {
        count_late(1, ctx)?;
        ctx.emit_to(Self::LATE, record.clone())
    }

    fn emit(&self, key: &Key, window: TimeWindow, sum: &A::Sum, ctx: &mut Context<A::Out>) {
        let result = self.aggregate.result(key, window, sum);
        ctx.emit_at(window.last(), result);
    }

    #[inline]
    fn decide(&mut self, panes: Panes, time: Timestamp, passed: Timestamp) -> Arrival {
        match self.recent {
            Some(arrival) if arrival.holds(time, passed) => arrival,
            _ => *self.recent.insert(panes.arrival(time, passed)),
        }
    }

    fn take_by_slice(&mut self, panes: Panes, record: &A::In, ctx: &mut Context<A::Out>) -> Result {
        let by = self.rules.time;
        let (time, passed) = (by.of(ctx)?, by.passed(ctx));
        let arrival = self.decide(panes, time, passed);
        if arrival.is_late {
            return Self::late(record, ctx);
        }
        let (aggregate, mut is_new) = (&self.aggregate, false);
        let make = || {
            is_new = true;
            A::Sum::default()
        };
        let add = |sum: &mut A::Sum| aggregate.add(sum, record);
        ctx.map_state(Kept::<A::Sum>::PANES).update_or(arrival.slice.start, make, add)?;
        if is_new {
            by.set(arrival.timer, ctx)?;
            self.rules.set_early(arrival.slice, passed, ctx)?;
        }
        if time > passed {
            return Ok(());
        }
        // The slice was taken for complete.
        self.merges.forget(&ctx.key());
        for window in panes.again(&arrival) {
            let key = ctx.key();
            let aggregate = &self.aggregate;
            let Some(slices) = ctx.map_state(Kept::<A::Sum>::PANES).whole()? else { continue };
            let sum = sum_of_all(window, slices, &|into, from| aggregate.merge(into, from));
            if let Some(sum) = sum {
                self.emit(&key, window, &sum, ctx);
            }
        }
        Ok(())
    }

    fn take_by_session(&mut self, sessions: Sessions, record: &A::In, ctx: &mut Context<A::Out>) -> Result {
        let by = self.rules.time;
        let (time, passed) = (by.of(ctx)?, by.passed(ctx));
        if sessions.is_over(sessions.alone(time), passed) {
            let live = ctx.state(Kept::<A::Sum>::SESSIONS).get()?.map_or(&[][..], Few::as_slice);
            let place = sessions.place(time, passed, live.iter().map(Live::window));
            if sessions.is_over(place.window, passed) {
                return Self::late(record, ctx);
            }
        }
        let aggregate = &self.aggregate;
        let join = |live: &mut Few<Live<A::Sum>>| {
            let place = sessions.place(time, passed, live.as_slice().iter().map(Live::window));
            aggregate.add(joined(aggregate, live, place.merged.clone(), place.window), record);
            place
        };
        let place = ctx.state(Kept::<A::Sum>::SESSIONS).update(join)?;
        let last = place.window.last();
        self.rules.set_early(place.window, passed, ctx)?;
        if last > passed {
            return if place.has_timer { Ok(()) } else { by.set(last, ctx) };
        }
        // It has emitted already, but still takes records.
        let key = ctx.key();
        let live = ctx.state(Kept::<A::Sum>::SESSIONS).get()?.map_or(&[][..], Few::as_slice);
        if let Some(live) = live.iter().find(|live| live.window() == place.window) {
            let result = self.aggregate.result(&key, place.window, live.sum());
            ctx.emit_at(last, result);
        }
        by.set(sessions.next(place.window, passed), ctx)
    }

    fn take_by_count(&mut self, whole: u64, record: &A::In, ctx: &mut Context<A::Out>) -> Result {
        let time = match ctx.timestamp() {
            Some(time) if self.rules.time == Time::Event => time,
            _ => ctx.now(),
        };
        let aggregate = &self.aggregate;
        let count = |counted: &mut Counted<A::Sum>| {
            aggregate.add(counted.live.sum_mut(), record);
            counted.count(time);
            counted.records
        };
        if ctx.state(Kept::<A::Sum>::COUNTED).update(count)? < whole {
            return Ok(());
        }
        self.emit_counted(ctx)
    }

    fn emit_counted(&mut self, ctx: &mut Context<A::Out>) -> Result {
        let key = ctx.key();
        if let Some(counted) = ctx.state(Kept::<A::Sum>::COUNTED).take()? {
            self.emit(&key, counted.live.window(), counted.live.sum(), ctx);
        }
        Ok(())
    }
}

/// Makes some sessions one, or a new one, and returns its sum.
fn joined<'a, A: Aggregate>(
    aggregate: &A,
    live: &'a mut Few<Live<A::Sum>>,
    merged: std::ops::Range<usize>,
    window: TimeWindow,
) -> &'a mut A::Sum {
    let at = merged.start;
    match (merged.len(), &mut *live) {
        (0, Few::None) => *live = Few::One(Live::new(window, A::Sum::default())),
        (0, _) => live.change(|live| live.insert(at, Live::new(window, A::Sum::default()))),
        (1, _) => live.as_mut_slice()[at].set_window(window),
        _ => live.change(|live| {
            let later: Vec<Live<A::Sum>> = live.drain(at + 1..merged.end).collect();
            let first = &mut live[at];
            later.iter().for_each(|later| aggregate.merge(first.sum_mut(), later.sum()));
            first.set_window(window);
        }),
    }
    live.as_mut_slice()[at].sum_mut()
}

/// Makes what windows emit.
struct Making<'a, A: Aggregate> {
    aggregate: &'a A,
    merges: &'a mut Merges<A::Sum>,
    kind: Kind,
}

impl<A: Aggregate> Emits<A::Sum, A::Out> for Making<'_, A> {
    type Made = A::Out;

    fn make(&mut self, key: &Key, window: TimeWindow, sum: &A::Sum) -> A::Out {
        self.aggregate.result(key, window, sum)
    }

    fn make_of_slices(&mut self, key: &Key, window: TimeWindow, slices: &SlicesOf<A::Sum>) -> Option<A::Out> {
        let Kind::Panes(panes) = self.kind else { return None };
        let aggregate = self.aggregate;
        let merge = |into: &mut A::Sum, from: &A::Sum| aggregate.merge(into, from);
        let sum = self.merges.sum(key, window, &panes.grid, slices, &merge)?;
        Some(aggregate.result(key, window, &sum))
    }

    fn emit(&mut self, at: Timestamp, made: A::Out, ctx: &mut Context<A::Out>) {
        ctx.emit_at(at, made);
    }

    fn forget(&mut self, key: &Key) {
        self.merges.forget(key);
    }
}

impl<A: Aggregate> Operator for Windowed<A> {
    type In = A::In;
    type Out = A::Out;

    // What is remembered can be computed again from state.
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, record: &A::In) -> Key {
        let key = self.aggregate.key(record);
        if key.is_none() { Key::bytes(&[]) } else { key }
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn states(&self) -> Vec<Declared> {
        vec![match self.rules.kind {
            Kind::Panes(_) => Kept::<A::Sum>::PANES.into(),
            Kind::Sessions(_) => Kept::<A::Sum>::SESSIONS.into(),
            Kind::Counted(_) => Kept::<A::Sum>::COUNTED.into(),
        }]
    }

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![Self::LATE.into()]
    }

    fn process(&mut self, record: &A::In, ctx: &mut Context<A::Out>) -> Result {
        match self.rules.kind {
            Kind::Panes(panes) => self.take_by_slice(panes, record, ctx),
            Kind::Sessions(sessions) => self.take_by_session(sessions, record, ctx),
            Kind::Counted(whole) => self.take_by_count(whole, record, ctx),
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<A::Out>) -> Result {
        let last = self.rules.time.last_of(&timer);
        let mut making = Making { aggregate: &self.aggregate, merges: &mut self.merges, kind: self.rules.kind };
        self.rules.on_timer(&timer.key, last, ctx, &mut making)
    }

    fn close(&mut self, ctx: &mut Context<A::Out>) -> Result {
        if matches!(self.rules.kind, Kind::Counted(_)) {
            for key in ctx.keys() {
                ctx.enter(key, None);
                self.emit_counted(ctx)?;
            }
        }
        // Those of event time are over: the watermark has come to the end of time.
        while let Some(timer) = ctx.take_timer(TimerKind::Processing, Timestamp::MAX) {
            self.on_timer(timer, ctx)?;
        }
        Ok(())
    }
}
