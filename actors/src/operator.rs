//! The operator: what a user writes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, Output};
use crate::context::Context;
use crate::host::AskId;
use crate::ids::{Subtask, WindowId};
use crate::key::Key;
use crate::record::Inputs;
use crate::rows::ByRow;
use crate::side::SideOutputDeclared;
use crate::state::Declared;
use crate::time::Timer;
use crate::{Error, Result, feed::Feed};

/// One record of an operator's input by reference; only operators generic over their input need to write it.
pub type InputRef<'a, O> = <<O as Operator>::In as Inputs>::Ref<'a>;

/// One step of a topology. Each parallel instance of it runs as one actor.
///
/// All methods of one instance are called by one actor, one after the other. The order within a window *w* is
/// `begin_window(w)`, any number of `process`/`on_timer`, `end_window(w)`; if *w* closes with a checkpoint then
/// `before_checkpoint(w)`, the snapshot, later `checkpointed(w)` and, once it is durable everywhere, `committed(w)`.
///
/// The fields of an operator are its configuration and scratch space: **they are gone after a restart**, when a fresh
/// instance comes from the factory. What must survive belongs into state (`ctx.state(…)`).
///
/// Everything that is not a function of input and state has to go through the [`Context`] (`ctx.now()`, `ctx.rng()`),
/// so that a replay gives the same output.
pub trait Operator: Send + Sized + 'static {
    /// What it reads: a record type, or [`Either`](crate::Either) of two.
    type In: Inputs;
    /// What it emits.
    type Out: Output;

    /// Whether its fields hold anything of the records between two calls, until `end_window` or `before_checkpoint` does
    /// something with it. A fresh instance that takes over in the middle of a window lacks that, so that such an operator
    /// is restarted from its last snapshot and sees all records since then again. Nor can its snapshot be taken within a
    /// window: with one such operator, a region's checkpoints are aligned, whatever `checkpoint.alignment` says.
    ///
    /// Nothing, as here, lets the engine find out: it assumes so of operators that have one of these two methods, and
    /// of all others until it has called both. `Some(false)` spares others the finding out.
    const HOLDS_ROWS: Option<bool> = None;

    /// The input ports, counted from 0, whose records all go to every subtask, whatever their key: only these may change a
    /// [`BroadcastState`](crate::BroadcastState). A topology file need not say so.
    const BROADCAST: &'static [usize] = &[];

    /// Returns what records are partitioned by; [`Key::None`] leaves the operator without keyed state.
    ///
    /// Called where the record is sent as well as where it arrives, so it must depend on the record alone.
    fn key(&self, record: InputRef<'_, Self>) -> Key {
        let _ = record;
        Key::None
    }

    /// Replaces the content of `hashes` by the hash of each record's key.
    ///
    /// The default calls [`key`](Operator::key) for each record; an operator that computes the keys of a whole batch
    /// faster does so here. Both must agree.
    ///
    /// # Errors
    /// If the keys of this batch cannot be computed.
    fn key_hashes(&self, batch: &<Self::In as Inputs>::Batch, hashes: &mut Vec<u64>) -> Result {
        hashes.clear();
        let records = Self::In::iter(batch, 0..Self::In::rows(batch));
        hashes.extend(records.map(|record| self.key(record).hash()));
        Ok(())
    }

    /// Returns whether [`key`](Operator::key) ever gives a key: it decides which edge leads here.
    ///
    /// The default finds out by calling `key` with a made-up record (all numbers zero, all texts empty). An operator
    /// whose key may be [`Key::None`] for such a record says `true` here itself.
    fn is_keyed(&self) -> bool {
        crate::probe::is_keyed(self)
    }

    /// Returns what state it keeps: `vec![SEEN.into(), LAST.into()]`.
    ///
    /// A job does not start if what a checkpoint holds under these names cannot be read as their types, which says the
    /// name and the field; what an older version of the program has written is migrated as their handles say, see
    /// [`Migration`](crate::state::Migration). State that is not declared is found out where it is first used, while the
    /// job runs, and is not migrated.
    fn states(&self) -> Vec<Declared> {
        Vec::new()
    }

    /// Returns the outputs that it has beside its main one: `vec![LATE.into()]`.
    ///
    /// Others read them as `inputs = ["NAME.late"]`. It emits to them by [`Context::emit_to`]; to one that is not among
    /// them, nothing can be emitted.
    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        Vec::new()
    }

    /// Called once per instance, after its state was restored and before anything else.
    ///
    /// After a restart it is called even if the input had ended before: `committed` follows, and nothing else. What is
    /// emitted then goes nowhere.
    ///
    /// # Errors
    /// An error restarts the operator as its kind says; so in every other hook.
    fn open(&mut self, ctx: &mut Context<Self::Out>) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Any standard error by `?` restarts the operator; [`Error::poison`](crate::Error::poison) sets the record aside.
    fn process(&mut self, record: InputRef<'_, Self>, ctx: &mut Context<Self::Out>) -> Result;

    /// Takes a whole batch. The default enters each record's key and calls [`process`](Operator::process).
    ///
    /// It asks for the keys of some records ahead, because looking their state up together is several times faster than
    /// waiting for memory record by record.
    ///
    /// # Errors
    /// As `process`.
    fn process_batch(&mut self, batch: <Self::In as Inputs>::Batch, ctx: &mut Context<Self::Out>) -> Result {
        self.process_rows(&batch, ctx)
    }

    /// A timer is due; state of its key is in reach.
    ///
    /// # Errors
    /// As `process`.
    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<Self::Out>) -> Result {
        let _ = (timer, ctx);
        Ok(())
    }

    /// The first record of a window may follow.
    ///
    /// # Errors
    /// An error restarts the operator.
    fn begin_window(&mut self, window: WindowId, ctx: &mut Context<Self::Out>) -> Result {
        let _ = (window, ctx);
        Ok(())
    }

    /// Every input has delivered the end of this window.
    ///
    /// # Errors
    /// An error restarts the operator.
    fn end_window(&mut self, window: WindowId, ctx: &mut Context<Self::Out>) -> Result {
        let _ = window;
        ctx.defaulted = true;
        Ok(())
    }

    /// The last call before state is snapshotted: put what is only in memory into state.
    ///
    /// # Errors
    /// An error restarts the operator.
    fn before_checkpoint(&mut self, window: WindowId, ctx: &mut Context<Self::Out>) -> Result {
        let _ = window;
        ctx.defaulted = true;
        Ok(())
    }

    /// This operator's snapshot of the window is durable; others' may not be.
    ///
    /// # Errors
    /// An error restarts the operator; the snapshot stays durable.
    fn checkpointed(&mut self, window: WindowId) -> Result {
        let _ = window;
        Ok(())
    }

    /// Every operator's snapshot is durable: effects of windows up to this one may become visible.
    ///
    /// Strictly increasing within one incarnation of the job, never for a window that is later rolled back, and
    /// repeated for the restored window after a restart, before the first record.
    ///
    /// # Errors
    /// An error restarts the operator; the window stays committed and the call is repeated.
    fn committed(&mut self, window: WindowId) -> Result {
        let _ = window;
        Ok(())
    }

    /// The answer to a request that this operator has made; nothing if it was given up. Only what an
    /// [`AsyncOperator`](crate::AsyncOperator) becomes makes requests.
    ///
    /// # Errors
    /// As `process`.
    #[doc(hidden)]
    fn on_answer(&mut self, id: AskId, answer: Option<&Batch>, ctx: &mut Context<Self::Out>) -> Result {
        let (_, _) = (answer, ctx);
        Err(Error::invalid(format!("an answer to request {}, but it asks nothing", id.number)))
    }

    /// Every input has ended; the last chance to emit.
    ///
    /// # Errors
    /// An error restarts the operator.
    fn close(&mut self, ctx: &mut Context<Self::Out>) -> Result {
        let _ = ctx;
        Ok(())
    }
}

/// What a source has to say after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once.
    More,
    /// Nothing for now: poll again after this many ms (or earlier).
    Idle(u64),
    /// There will never be more.
    Done,
}

/// Where records come from. Each parallel instance runs as one actor.
///
/// A source must be able to go back: after a restart it is opened at the position that the restored checkpoint holds.
/// One that cannot (a pipe) says so by [`replayable`](Source::replayable), and `piton explain` says what it costs.
pub trait Source: Send + 'static {
    /// What it emits.
    type Out: Output;
    /// Where it is: everything needed to continue behind the last record that was emitted.
    type Position: Serialize + DeserializeOwned + Clone + Send + 'static;

    /// Opens the source at a position; from the start if there is none.
    ///
    /// # Errors
    /// An error restarts the region, or stops the job, as its kind says.
    fn open(&mut self, position: Option<Self::Position>, subtask: &Subtask) -> impl Future<Output = Result> + Send;

    /// Emits some records, about one batch, into `feed`, and returns soon: within milliseconds, with
    /// [`Progress::Idle`] if there is nothing. Markers wait for a poll that is under way, so one that blocks delays
    /// every checkpoint of its region.
    ///
    /// If it reads several partitions that have event times of their own, it [names](Feed::in_partition) the one that records
    /// come from.
    ///
    /// # Errors
    /// [`Error::unavailable`](crate::Error::unavailable) is polled again after a back-off; others restart the region.
    fn poll(&mut self, feed: &mut Feed<Self::Out>) -> impl Future<Output = Result<Progress>> + Send;

    /// Returns where the source is after the last poll.
    fn position(&self) -> Self::Position;

    /// The checkpoint of this window, taken at this position, is durable everywhere: what lies before it will never
    /// be asked for again.
    ///
    /// # Errors
    /// An error restarts the region; the window stays committed.
    fn committed(&mut self, window: WindowId, position: Self::Position) -> impl Future<Output = Result> + Send {
        let _ = (window, position);
        std::future::ready(Ok(()))
    }

    /// Returns whether the source can go back to an earlier position.
    fn replayable(&self) -> bool {
        true
    }

    /// Shares what is left to read out among another number of subtasks, after the parallelism was changed:
    /// `positions` are those of all subtasks so far, in order, nothing where one had not begun. Every record that lies
    /// behind them must be read by exactly one of the new subtasks.
    ///
    /// # Errors
    /// If this kind of source cannot do it, as the default says: the job then keeps the parallelism it has.
    fn redistribute(positions: Vec<Option<Self::Position>>, parallelism: u32) -> Result<Vec<Option<Self::Position>>> {
        let (_, _) = (positions, parallelism);
        Err(Error::invalid("it cannot share out what is left to read"))
    }
}

/// How the output of a sink becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum Delivery {
    /// In two phases: what [`prepare`](Sink::prepare) returns is kept in the checkpoint, and
    /// [`commit`](Sink::commit) makes it visible afterwards (files, for instance).
    Staged,
    /// As a part of the commit itself: what `prepare` returns is handed to the commit log, which makes it visible in
    /// the same atomic step that makes the checkpoint durable. `commit` and `abort` are not called.
    Joined,
    /// At once, by `write`: rows may repeat after a restart. Nothing is prepared or committed.
    Immediate,
}

/// Where records go. Each parallel instance runs as one actor.
///
/// Nothing that a reader outside can see may happen in [`write`](Sink::write) or [`prepare`](Sink::prepare), unless
/// the sink is [`Delivery::Immediate`]. `Pending` is kept in the snapshot, so the second phase cannot be forgotten.
pub trait Sink: Send + 'static {
    /// What it reads.
    type In: Inputs;
    /// What has been written but is not yet visible: enough to make it visible after a crash, in another process.
    type Pending: Serialize + DeserializeOwned + Clone + Send + 'static;

    /// Returns how output becomes visible.
    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    /// Opens the sink. `pending` is what the restored checkpoint holds; anything else that an earlier life of this
    /// subtask has left behind unpublished is garbage and may be removed.
    ///
    /// # Errors
    /// An error restarts the region, or stops the job, as its kind says; so in every other method.
    fn open(&mut self, pending: Vec<Self::Pending>, subtask: &Subtask) -> impl Future<Output = Result> + Send;

    /// Takes a batch.
    ///
    /// # Errors
    /// As `open`.
    fn write(&mut self, batch: <Self::In as Inputs>::Batch) -> impl Future<Output = Result> + Send;

    /// Makes durable, but not visible, what was written since the last call; nothing if nothing was written.
    ///
    /// # Errors
    /// As `open`.
    fn prepare(&mut self, window: WindowId) -> impl Future<Output = Result<Option<Self::Pending>>> + Send;

    /// Makes a pending output visible. Called again with the same value after a crash: it must be idempotent.
    ///
    /// # Errors
    /// As `open`; the pending output stays pending and the call is repeated.
    fn commit(&mut self, pending: Self::Pending) -> impl Future<Output = Result> + Send {
        let _ = pending;
        std::future::ready(Ok(()))
    }

    /// Throws a pending output away, because the window it belongs to was rolled back. Idempotent.
    ///
    /// # Errors
    /// As `open`.
    fn abort(&mut self, pending: Self::Pending) -> impl Future<Output = Result> + Send {
        let _ = pending;
        std::future::ready(Ok(()))
    }
}

/// The position of a source that has none to speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct NoPosition;
