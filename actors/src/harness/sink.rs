//! Runs one sink.

use std::sync::Arc;

use super::block_on::block_on;
use crate::batch::{Batch, Rows};
use crate::host::{AnySink, HostedSink, SinkCall};
use crate::ids::{Subtask, WindowId};
use crate::operator::{Delivery, Sink};
use crate::record::{Inputs, Record};
use crate::time::Timestamp;
use crate::{Error, Result};

/// Runs one instance of a sink, which opens on the first call.
///
/// The two phases are steps of their own, so that a test can crash the sink between any two: `push`, `prepare` (the
/// sink has prepared, the checkpoint is not durable), `checkpoint` (it is), `committed`. A crash restores the last
/// durable checkpoint: the sink opens with its pending outputs, and each of them is committed, again if need be.
pub struct SinkHarness<S: Sink> {
    factory: Box<dyn Fn() -> S>,
    subtask: Subtask,
    instance: Option<Box<dyn AnySink>>,
    window: WindowId,
    /// Whether this window was prepared.
    prepared: bool,
    /// Encoded pending outputs that are not committed, oldest first.
    pending: Vec<Vec<u8>>,
    /// Those that the last durable checkpoint lists.
    base: Vec<Vec<u8>>,
    /// The last window of a durable checkpoint.
    durable: WindowId,
}

impl<S: Sink> SinkHarness<S>
where
    <S::In as Inputs>::Batch: Send,
{
    /// Makes a harness of a lone subtask; `factory` makes every instance of the sink.
    pub fn new(factory: impl Fn() -> S + 'static) -> SinkHarness<S> {
        SinkHarness::of_subtask(Subtask::single("test"), factory)
    }

    /// Makes a harness of one of several subtasks.
    pub fn of_subtask(subtask: Subtask, factory: impl Fn() -> S + 'static) -> SinkHarness<S> {
        SinkHarness {
            factory: Box::new(factory),
            subtask,
            instance: None,
            window: WindowId::NONE.next(),
            prepared: false,
            pending: Vec::new(),
            base: Vec::new(),
            durable: WindowId::NONE,
        }
    }

    /// Opens the sink, if it is not open, with the pending outputs of the last durable checkpoint.
    ///
    /// # Errors
    /// The sink's own; so in every method that calls it.
    pub fn open(&mut self) -> Result<&mut Self> {
        if self.instance.is_none() {
            self.pending.clone_from(&self.base);
            self.window = self.durable.next();
            self.prepared = false;
            self.instance = Some(Box::new(HostedSink((self.factory)())));
            let opened = self.call(SinkCall::Open(self.pending.clone(), self.subtask.clone()));
            if let Err(error) = opened {
                self.instance = None;
                return Err(error);
            }
        }
        Ok(self)
    }

    fn call(&mut self, call: SinkCall) -> Result<Option<Vec<u8>>> {
        let instance = self.instance.take().ok_or_else(|| Error::failed("the sink did not open"))?;
        let (instance, answer) = block_on(instance.call(call));
        self.instance = Some(instance);
        answer
    }

    fn delivery(&self) -> Option<Delivery> {
        self.instance.as_ref().map(|instance| instance.delivery())
    }

    /// Gives the sink a batch on an input port.
    ///
    /// # Errors
    /// As `open`, or if the batch is of another type than the sink reads.
    pub fn push_batch(&mut self, port: usize, batch: Batch) -> Result<&mut Self> {
        self.open()?;
        self.call(SinkCall::Write(port, batch))?;
        Ok(self)
    }

    /// Lets the sink prepare the window. The checkpoint is not durable yet: a crash forgets what is pending.
    ///
    /// # Errors
    /// As `open`.
    pub fn prepare(&mut self) -> Result<&mut Self> {
        self.open()?;
        if !self.prepared && self.delivery() != Some(Delivery::Immediate) {
            let pending = self.call(SinkCall::Prepare(self.window))?;
            self.pending.extend(pending);
        }
        self.prepared = true;
        Ok(self)
    }

    /// Makes the checkpoint of the window durable; prepares it first, if that is not done. Nothing is committed yet.
    ///
    /// # Errors
    /// As `open`.
    pub fn checkpoint(&mut self) -> Result<&mut Self> {
        self.prepare()?;
        self.base.clone_from(&self.pending);
        self.durable = self.window;
        self.window = self.window.next();
        self.prepared = false;
        if self.delivery() == Some(Delivery::Joined) {
            // What is pending became visible with the checkpoint, and the log that did it forgets it.
            self.pending.clear();
            self.base.clear();
        }
        Ok(self)
    }

    /// Commits what the durable checkpoint lists.
    ///
    /// # Errors
    /// As `open`; what was not committed stays pending.
    pub fn committed(&mut self) -> Result<&mut Self> {
        self.open()?;
        // The checkpoint goes on listing them: the next one is the first that does not.
        for pending in self.base.clone() {
            self.call(SinkCall::Commit(pending.clone()))?;
            self.pending.retain(|other| *other != pending);
        }
        Ok(self)
    }

    /// Rolls back what was prepared but is not durable: the checkpoint failed.
    ///
    /// # Errors
    /// As `open`.
    pub fn abort(&mut self) -> Result<&mut Self> {
        self.open()?;
        let rolled_back: Vec<_> = self.pending.iter().filter(|pending| !self.base.contains(pending)).cloned().collect();
        for pending in rolled_back {
            if self.delivery() == Some(Delivery::Staged) {
                self.call(SinkCall::Abort(pending.clone()))?;
            }
            self.pending.retain(|other| *other != pending);
        }
        self.prepared = false;
        Ok(self)
    }

    /// Drops the instance and opens a fresh one from the last durable checkpoint, whose pending outputs are then
    /// committed: they are known to be durable everywhere, but not whether they were committed before.
    ///
    /// # Errors
    /// As `open`.
    pub fn crash(&mut self) -> Result<&mut Self> {
        self.crash_before_commit()?.committed()
    }

    /// Drops the instance and opens a fresh one from the last durable checkpoint, without committing anything.
    ///
    /// # Errors
    /// As `open`.
    pub fn crash_before_commit(&mut self) -> Result<&mut Self> {
        self.instance = None;
        self.open()
    }

    /// Returns what is prepared and not committed, oldest first.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn pending(&self) -> Result<Vec<S::Pending>> {
        self.pending.iter().map(|pending| Ok(rmp_serde::from_slice(pending)?)).collect()
    }
}

impl<S: Sink> SinkHarness<S>
where
    S::In: Record,
    <S::In as Inputs>::Batch: Send,
{
    /// Gives the sink a record without an event time.
    ///
    /// # Errors
    /// As `open`.
    pub fn push(&mut self, record: S::In) -> Result<&mut Self> {
        self.push_batch(0, Arc::new(Rows::new(vec![record])))
    }

    /// Gives the sink a record with its event time in ms.
    ///
    /// # Errors
    /// As `open`.
    pub fn push_at(&mut self, time: Timestamp, record: S::In) -> Result<&mut Self> {
        self.push_batch(0, Arc::new(Rows::with_times(vec![record], vec![time])))
    }
}
