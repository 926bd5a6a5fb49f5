//! What an operator reaches the engine through: output, state, timers, time and randomness.

use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::batch::{Output, OutputBuffer};
use crate::host::Asks;
use crate::ids::Subtask;
use crate::key::{Key, mix};
use crate::pulse::Pulse;
use crate::record::Record;
use crate::side::{SideOutput, Sides};
use crate::state::{
    Aggregating, AggregatingEntry, AggregatingState, BroadcastEntry, BroadcastState, ListEntry, ListState, LocalEntry,
    LocalState, MapEntry, MapState, StateStore, StateValue, ValueEntry, ValueState,
};
use crate::time::{Timer, TimerKind, Timestamp, WATERMARK_MIN};

/// The engine as one operator instance sees it. `Out` is what the operator emits.
pub struct Context<Out: Output> {
    pub(crate) subtask: Subtask,
    pub(crate) state: StateStore,
    pub(crate) out: Out::Buffer,
    pub(crate) sides: Sides,
    pub(crate) now: Timestamp,
    pub(crate) watermark: Timestamp,
    pub(crate) time: Option<Timestamp>,
    /// How many batches, timers and hooks came before this one: what a replay counts again, so that `rng` repeats.
    pub(crate) entry: u64,
    /// Whether a hook was called that the operator does not have.
    pub(crate) defaulted: bool,
    /// What it wants to know from outside.
    pub(crate) asks: Asks,
    /// Shows to whoever watches how many records of the current batch were entered; the last of them is the one to blame.
    pub(crate) pulse: Arc<Pulse>,
}

impl<Out: Output> Context<Out> {
    /// Makes the context of a fresh instance; `rows` is how many records a batch of its output holds at most.
    pub fn new(subtask: Subtask, rows: usize) -> Context<Out> {
        let state = StateStore::new(subtask.own_key_groups(), subtask.key_groups);
        Context {
            subtask,
            state,
            out: Out::Buffer::with_rows(rows),
            sides: Sides::default(),
            now: 0,
            watermark: WATERMARK_MIN,
            time: None,
            entry: 0,
            defaulted: false,
            asks: Asks::default(),
            pulse: Arc::default(),
        }
    }

    /// Makes `key` the current key and `time` the current event time.
    ///
    /// Called for each record by the default [`process_batch`](crate::Operator::process_batch); an operator that
    /// works on whole batches calls it itself before it touches keyed state.
    #[inline]
    pub fn enter(&mut self, key: Key, time: Option<Timestamp>) {
        self.come_to_next();
        self.time = time;
        self.state.enter(key);
    }

    /// Notes that one more record of the batch, or timer, was entered.
    #[inline]
    pub(crate) fn come_to_next(&mut self) {
        self.pulse.advance(self.pulse.row() + 1);
    }

    /// Makes `key` the current key without counting a record: for operators that touch the state of the keys of a
    /// batch in another order than that of its records.
    #[inline]
    pub fn enter_key(&mut self, key: Key) {
        self.state.enter(key);
    }

    /// Returns the current key: the record's, or the timer's.
    pub fn key(&self) -> Key {
        self.state.key()
    }

    /// Returns the keys that have state or timers, in an order that a restore preserves. Enter each with
    /// [`enter`](Context::enter) to reach its state, in `end_window` for instance.
    pub fn keys(&self) -> Vec<Key> {
        self.state.keys().collect()
    }

    /// Returns the event time of the current record or timer in ms, if it has one. Emitted records inherit it.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time
    }

    /// Returns the watermark in ms: no record at or before it is expected any more.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Returns the engine's time in ms since 1970. It stands still within one batch, so that a replay sees it again.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns which parallel instance this is.
    pub fn subtask(&self) -> &Subtask {
        &self.subtask
    }

    /// Returns a random generator that gives the same numbers when this batch, timer or hook is replayed.
    pub fn rng(&self) -> Pcg64Mcg {
        let place =
            mix(self.subtask.seed ^ mix(Key::from(&*self.subtask.operator).hash() ^ u64::from(self.subtask.index)));
        Pcg64Mcg::seed_from_u64(mix(place ^ mix(self.entry).wrapping_add(self.pulse.row() as u64)))
    }

    /// Returns one value of the current key.
    #[inline]
    pub fn state<T: StateValue>(&mut self, handle: ValueState<T>) -> ValueEntry<'_, T> {
        self.state.value(handle)
    }

    /// Returns the map of the current key.
    #[inline]
    pub fn map_state<K: StateValue + Ord, V: StateValue>(&mut self, handle: MapState<K, V>) -> MapEntry<'_, K, V> {
        self.state.map(handle)
    }

    /// Returns the list of the current key.
    #[inline]
    pub fn list_state<T: StateValue>(&mut self, handle: ListState<T>) -> ListEntry<'_, T> {
        self.state.list(handle)
    }

    /// Returns what is computed of the values that were added to the current key.
    #[inline]
    pub fn aggregating_state<A: Aggregating>(&mut self, handle: AggregatingState<A>) -> AggregatingEntry<'_, A> {
        self.state.aggregating(handle)
    }

    /// Returns a value of this subtask that belongs to no key.
    #[inline]
    pub fn local<T: StateValue + Default>(&mut self, handle: LocalState<T>) -> LocalEntry<'_, T> {
        self.state.local(handle)
    }

    /// Returns a value that all subtasks of the operator have alike.
    #[inline]
    pub fn broadcast<T: StateValue + Default>(&mut self, handle: BroadcastState<T>) -> BroadcastEntry<'_, T> {
        self.state.broadcast(handle)
    }

    /// Sets a timer of the current key for when the watermark reaches `at` (ms). Setting it again changes nothing.
    ///
    /// # Errors
    /// If there is no current key.
    pub fn timer_at(&mut self, at: Timestamp) -> crate::Result {
        self.state.set_timer(TimerKind::Event, at)
    }

    /// Sets a timer of the current key for when the engine's clock reaches `at` (ms).
    ///
    /// # Errors
    /// If there is no current key.
    pub fn timer_at_processing_time(&mut self, at: Timestamp) -> crate::Result {
        self.state.set_timer(TimerKind::Processing, at)
    }

    /// Takes a timer of the current key back; nothing happens if there is none.
    ///
    /// # Errors
    /// If there is no current key.
    pub fn delete_timer(&mut self, kind: TimerKind, at: Timestamp) -> crate::Result {
        self.state.delete_timer(kind, at)
    }

    /// Takes the next timer of a kind that is due at `until`, and makes its key current: for operators that see to many
    /// timers at once. It fires no more.
    pub(crate) fn take_timer(&mut self, kind: TimerKind, until: Timestamp) -> Option<Timer> {
        let timer = self.state.pop_due(kind, until)?;
        self.come_to_next();
        self.time = Some(timer.at);
        Some(timer)
    }

    /// Returns what collects the output, for operators that emit whole batches.
    pub fn output(&mut self) -> &mut Out::Buffer {
        &mut self.out
    }

    /// Emits a record to a side output. It inherits the event time of the current record or timer.
    ///
    /// # Errors
    /// If the operator has not declared it; see [`Operator::side_outputs`](crate::Operator::side_outputs).
    #[inline]
    pub fn emit_to<T: Record>(&mut self, output: SideOutput<T>, record: T) -> crate::Result {
        if let Some(buffer) = self.sides.buffer(output, &self.subtask.operator)? {
            buffer.push(record, self.time);
        }
        Ok(())
    }

    /// Emits a record to a side output with another event time than the current one, in ms.
    ///
    /// # Errors
    /// As [`emit_to`](Context::emit_to).
    #[inline]
    pub fn emit_to_at<T: Record>(&mut self, output: SideOutput<T>, time: Timestamp, record: T) -> crate::Result {
        if let Some(buffer) = self.sides.buffer(output, &self.subtask.operator)? {
            buffer.push(record, Some(time));
        }
        Ok(())
    }
}

impl<T: Record> Context<T> {
    /// Emits a record.
    #[inline]
    pub fn emit(&mut self, record: T) {
        self.out.push(record, self.time);
    }

    /// Emits a record with another event time than the current one, in ms.
    #[inline]
    pub fn emit_at(&mut self, time: Timestamp, record: T) {
        self.out.push(record, Some(time));
    }

    /// Emits a copy of a record, written over a recycled one: it usually allocates nothing.
    #[inline]
    pub fn forward(&mut self, record: &T) {
        self.out.push_from(record, self.time);
    }

    /// Emits a record that `fill` writes over a recycled one, or over a default one. `fill` must set every field.
    #[inline]
    pub fn emit_with(&mut self, fill: impl FnOnce(&mut T))
    where
        T: Default,
    {
        self.out.push_with(fill, self.time);
    }
}
