//! The operator that an [`AsyncOperator`] makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Asked, AsyncOperator};
use crate::batch::{Batch, Rows, rows};
use crate::host::{Ask, AskId, Waiting};
use crate::ids::Subtask;
use crate::record::{Inputs, Record};
use crate::state::{Declared, MapState, ValueState};
use crate::time::Timestamp;
use crate::{Context, Error, Key, Operator, Result};

/// A record that waits: for its answer, or with it for those before it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "In: Record, Out: Record", deserialize = "In: Record, Out: Record"))]
pub(crate) struct Pending<In, Out> {
    record: In,
    time: Option<Timestamp>,
    /// What came of it, if it only waits for others; empty if it was given up.
    answer: Option<Vec<Out>>,
}

/// The handles of what it keeps.
struct Kept<A>(std::marker::PhantomData<A>);

impl<A: AsyncOperator> Kept<A> {
    /// By the numbers of their requests.
    const PENDING: MapState<u64, Pending<A::In, A::Out>> = MapState::new("pending");
    /// The number that the next request gets.
    const NEXT: ValueState<u64> = ValueState::new("next");
}

/// Where a record stands among those that wait: whatever came here from other places, when the parallelism was changed,
/// is older than what came here as records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    is_own: bool,
    id: AskId,
}

/// The operator that makes requests for an [`AsyncOperator`]. What waits lies in state, under a key of the subtask's own
/// key groups: it moves with these when the parallelism changes.
pub struct Asking<A: AsyncOperator> {
    asker: Arc<A>,
    asked: Asked,
    /// The place of this subtask.
    place: u64,
    /// What waits, as the state says, and whether it has its answer, so that it only waits for others.
    turns: BTreeMap<Turn, bool>,
    /// Those of them for which there was no room yet.
    queued: BTreeSet<Turn>,
    under_way: usize,
    next: u64,
}

impl<A: AsyncOperator> Asking<A> {
    /// Makes the operator.
    ///
    /// # Errors
    /// If the settings make no sense: which of them, and what to do.
    pub fn new(asker: A, asked: Asked) -> Result<Asking<A>> {
        Ok(Asking::of(Arc::new(asker), asked.checked()?))
    }

    pub(super) fn of(asker: Arc<A>, asked: Asked) -> Asking<A> {
        Asking { asker, asked, place: 0, turns: BTreeMap::new(), queued: BTreeSet::new(), under_way: 0, next: FIRST }
    }

    fn turn(&self, id: AskId) -> Turn {
        Turn { is_own: id.place == self.place, id }
    }

    /// Has a record wait for its request.
    fn keep(&mut self, record: &A::In, time: Option<Timestamp>, ctx: &mut Context<A::Out>) -> Result {
        let id = AskId { place: self.place, number: self.next };
        self.next += 1;
        ctx.enter(Key::from(self.place), time);
        let pending = Pending { record: record.clone(), time, answer: None };
        ctx.map_state(Kept::<A>::PENDING).insert(id.number, pending)?;
        self.turns.insert(self.turn(id), false);
        self.queued.insert(self.turn(id));
        Ok(())
    }

    /// Asks, now that records were kept.
    fn kept(&mut self, ctx: &mut Context<A::Out>) -> Result {
        ctx.enter_key(Key::from(self.place));
        ctx.state(Kept::<A>::NEXT).set(self.next)?;
        self.ask(ctx)
    }

    /// Asks for as many records as there is room for, the oldest first.
    fn ask(&mut self, ctx: &mut Context<A::Out>) -> Result {
        while self.under_way < self.asked.in_flight
            && let Some(turn) = self.queued.pop_first()
        {
            self.under_way += 1;
            let ask = self.request(turn.id, ctx)?;
            ctx.asks.new.push(ask);
        }
        let oldest = self.turns.first_key_value().map(|(turn, _)| if turn.is_own { turn.id.number } else { 0 });
        let is_full = self.turns.len() >= self.asked.buffer;
        ctx.asks.waiting = Some(Waiting { records: self.turns.len(), oldest, next: self.next, is_full });
        Ok(())
    }

    fn request(&self, id: AskId, ctx: &mut Context<A::Out>) -> Result<Ask> {
        ctx.enter_key(Key::from(id.place));
        let pending = ctx.map_state(Kept::<A>::PENDING).get(&id.number)?.ok_or_else(|| lost(id))?;
        let record = Arc::new(Rows::new(vec![pending.record.clone()]));
        let (asker, one) = (Arc::clone(&self.asker), Arc::clone(&record));
        let call = move || {
            let (asker, one) = (Arc::clone(&asker), Arc::clone(&one));
            let asking = async move {
                let answer = asker.ask(&one[0]).await?;
                Ok(Arc::new(Rows::new(answer)) as Batch)
            };
            Box::pin(asking) as crate::host::BoxFuture<Result<Batch>>
        };
        Ok(Ask { id, record, patience: self.asked.patience(), call: Arc::new(call) })
    }

    /// Emits what has come of a record, which waits no more.
    fn emit(&mut self, turn: Turn, answer: Option<Vec<A::Out>>, ctx: &mut Context<A::Out>) -> Result {
        self.turns.remove(&turn);
        ctx.enter_key(Key::from(turn.id.place));
        let pending = ctx.map_state(Kept::<A>::PENDING).remove(&turn.id.number)?.ok_or_else(|| lost(turn.id))?;
        for record in answer.or(pending.answer).unwrap_or_default() {
            ctx.output().push(record, pending.time);
        }
        Ok(())
    }
}

/// The number of the first request: 0 stands for those that came from other places.
const FIRST: u64 = 1;

fn lost(id: AskId) -> Error {
    Error::invalid(format!("request {} of place {} is not in the state any more", id.number, id.place))
}

/// Returns the place of a subtask: the first integer of which the key belongs to it.
fn place_of(subtask: &Subtask) -> u64 {
    let own = subtask.own_key_groups();
    (0..).find(|place| own.contains(&Key::from(*place).group(subtask.key_groups))).unwrap_or_default()
}

impl<A: AsyncOperator> Operator for Asking<A> {
    type In = A::In;
    type Out = A::Out;

    const HOLDS_ROWS: Option<bool> = Some(false);

    /// It has keyed state, although records come to it without a key: see [`Asking`].
    fn is_keyed(&self) -> bool {
        true
    }

    fn states(&self) -> Vec<Declared> {
        vec![Kept::<A>::PENDING.into(), Kept::<A>::NEXT.into()]
    }

    fn open(&mut self, ctx: &mut Context<A::Out>) -> Result {
        self.place = place_of(ctx.subtask());
        (self.turns, self.queued, self.under_way) = Default::default();
        for key in ctx.keys() {
            let Some(place) = key.as_u64() else { continue };
            ctx.enter_key(key);
            for (number, pending) in ctx.map_state(Kept::<A>::PENDING).iter()? {
                let turn = Turn { is_own: place == self.place, id: AskId { place, number: *number } };
                self.turns.insert(turn, pending.answer.is_some());
                if pending.answer.is_none() {
                    self.queued.insert(turn);
                }
            }
        }
        ctx.enter_key(Key::from(self.place));
        self.next = ctx.state(Kept::<A>::NEXT).get()?.copied().unwrap_or(FIRST);
        self.ask(ctx)
    }

    fn process(&mut self, record: &A::In, ctx: &mut Context<A::Out>) -> Result {
        let time = ctx.timestamp();
        self.keep(record, time, ctx)?;
        self.kept(ctx)
    }

    /// All of them lie under one key, which need not be looked for ahead; what is kept beside them is written once.
    fn process_batch(&mut self, batch: <A::In as Inputs>::Batch, ctx: &mut Context<A::Out>) -> Result {
        let times = A::In::times(&batch);
        for (row, record) in batch.iter().enumerate() {
            self.keep(record, times.map(|times| times[row]), ctx)?;
        }
        self.kept(ctx)
    }

    fn on_answer(&mut self, id: AskId, answer: Option<&Batch>, ctx: &mut Context<A::Out>) -> Result {
        let turn = self.turn(id);
        if self.turns.get(&turn) != Some(&false) || self.queued.contains(&turn) {
            // So it is if a replay has asked for less than before: whoever starts anew asks for what it wants to know.
            return Err(Error::failed(format!("an answer to request {}, which was not made", id.number)));
        }
        let answer = match answer {
            Some(batch) => {
                let typed = rows::<A::Out>(batch).ok_or_else(|| Error::invalid("an answer of another type than asked"));
                typed?.to_vec()
            }
            None => Vec::new(),
        };
        self.under_way -= 1;
        let waits = self.asked.ordered && self.turns.first_key_value().is_some_and(|(first, _)| *first != turn);
        if waits {
            self.turns.insert(turn, true);
            ctx.enter_key(Key::from(id.place));
            let pending = ctx.map_state(Kept::<A>::PENDING).remove(&id.number)?.ok_or_else(|| lost(id))?;
            ctx.map_state(Kept::<A>::PENDING).insert(id.number, Pending { answer: Some(answer), ..pending })?;
            return self.ask(ctx);
        }
        self.emit(turn, Some(answer), ctx)?;
        while let Some((turn, true)) = self.turns.first_key_value().map(|(turn, answered)| (*turn, *answered)) {
            self.emit(turn, None, ctx)?;
        }
        self.ask(ctx)
    }
}
