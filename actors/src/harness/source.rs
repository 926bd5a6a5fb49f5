//! Runs one source.

use std::collections::BTreeMap;

use super::block_on::block_on;
use super::{ROWS, records};
use crate::batch::Batch;
use crate::feed::Feed;
use crate::host::{AnySource, HostedSource, Sight};
use crate::ids::{PartitionId, Subtask, WindowId};
use crate::operator::{Progress, Source};
use crate::record::Record;
use crate::time::Timestamp;
use crate::{Error, Result};

/// Runs one instance of a source, which opens on the first call.
///
/// The source's futures run on the test's thread, without a runtime.
pub struct SourceHarness<S: Source> {
    factory: Box<dyn Fn() -> S>,
    subtask: Subtask,
    rows: usize,
    instance: Option<Box<dyn AnySource>>,
    /// Where the source is after the last poll, encoded; nothing before the first.
    position: Option<Vec<u8>>,
    window: WindowId,
    output: Vec<Batch>,
    /// The position of the last checkpoint.
    base: Option<Vec<u8>>,
    /// How many batches of output will stay.
    kept: usize,
    partitions: Partitions,
    /// Those of the last checkpoint.
    kept_partitions: Partitions,
}

/// The partitions that event time waits for, with the newest that was seen of each.
type Partitions = BTreeMap<PartitionId, Option<Timestamp>>;

impl<S: Source> SourceHarness<S>
where
    Feed<S::Out>: Send,
{
    /// Makes a harness of a lone subtask; `factory` makes every instance of the source.
    pub fn new(factory: impl Fn() -> S + 'static) -> SourceHarness<S> {
        SourceHarness::of_subtask(Subtask::single("test"), factory)
    }

    /// Makes a harness of one of several subtasks.
    pub fn of_subtask(subtask: Subtask, factory: impl Fn() -> S + 'static) -> SourceHarness<S> {
        SourceHarness {
            factory: Box::new(factory),
            subtask,
            rows: ROWS,
            instance: None,
            position: None,
            window: WindowId::NONE,
            output: Vec::new(),
            base: None,
            kept: 0,
            partitions: Partitions::new(),
            kept_partitions: Partitions::new(),
        }
    }

    /// Sets how many records a poll should emit at most, of instances made from now on.
    pub fn batch_rows(&mut self, rows: usize) -> &mut Self {
        self.rows = rows;
        self
    }

    /// Opens the source, if it is not open, at the position of the last checkpoint.
    ///
    /// # Errors
    /// The source's own; so in every method that calls it.
    pub fn open(&mut self) -> Result<&mut Self> {
        if self.instance.is_none() {
            let fresh = Box::new(HostedSource::new((self.factory)(), self.rows));
            let (instance, opened) = block_on(fresh.open(self.base.clone(), self.subtask.clone()));
            opened?;
            self.position = self.base.clone();
            self.instance = Some(instance);
        }
        Ok(self)
    }

    fn instance(&mut self) -> Result<Box<dyn AnySource>> {
        self.open()?;
        self.instance.take().ok_or_else(|| Error::failed("the source did not open"))
    }

    /// Polls the source once. What it emitted before an error is kept, as in the engine.
    ///
    /// # Errors
    /// As `open`.
    pub fn poll(&mut self) -> Result<Progress> {
        let (instance, polled) = block_on(self.instance()?.poll());
        self.instance = Some(instance);
        let polled = polled?;
        polled.look(|sight| match sight {
            Sight::Named(partition) => _ = self.partitions.entry(partition).or_default(),
            Sight::Records(partition, newest) => {
                let seen = self.partitions.entry(partition).or_default();
                *seen = newest.max(*seen);
            }
            Sight::Done(partition) => _ = self.partitions.remove(&partition),
            Sight::EndOfBatch => {}
        });
        self.output.extend(polled.batches);
        self.position = Some(polled.position);
        polled.progress
    }

    /// Polls the source until it is done, or idle.
    ///
    /// # Errors
    /// As `open`.
    pub fn run(&mut self) -> Result<&mut Self> {
        while self.poll()? == Progress::More {}
        Ok(self)
    }

    /// Keeps the position as that of a checkpoint, which is committed at once.
    ///
    /// # Errors
    /// As `open`.
    pub fn checkpoint(&mut self) -> Result<&mut Self> {
        let instance = self.instance()?;
        self.window = self.window.next();
        self.base.clone_from(&self.position);
        self.kept = self.output.len();
        self.kept_partitions.clone_from(&self.partitions);
        let Some(position) = self.base.clone() else {
            // Never polled: there is no position yet, and a restart begins at the start.
            self.instance = Some(instance);
            return Ok(self);
        };
        let (instance, told) = block_on(instance.committed(self.window, position));
        self.instance = Some(instance);
        told.map(|()| self)
    }

    /// Drops the instance and what it emitted since the last checkpoint, and opens a fresh one at its position.
    ///
    /// # Errors
    /// As `open`.
    pub fn crash(&mut self) -> Result<&mut Self> {
        self.instance = None;
        self.output.truncate(self.kept);
        self.partitions.clone_from(&self.kept_partitions);
        self.open()
    }

    /// Returns the partitions that event time waits for, each with the newest event time that was seen of it, if any was.
    pub fn partitions(&self) -> &BTreeMap<PartitionId, Option<Timestamp>> {
        &self.partitions
    }

    /// Returns the batches that were emitted and not rolled back.
    pub fn output_batches(&self) -> &[Batch] {
        &self.output
    }
}

impl<S: Source> SourceHarness<S>
where
    S::Out: Record,
{
    /// Returns what was emitted and not rolled back.
    pub fn output(&self) -> Vec<S::Out> {
        records(&self.output)
    }

    /// Returns what was emitted and not rolled back, and forgets it.
    pub fn take_output(&mut self) -> Vec<S::Out> {
        self.kept = 0;
        records(&std::mem::take(&mut self.output))
    }
}
