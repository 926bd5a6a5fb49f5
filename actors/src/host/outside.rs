//! Sources and sinks, erased: what reaches the outside.

use std::future::Future;
use std::pin::Pin;

use crate::batch::{Batch, Output, Scatter};
use crate::feed::Feed;
use crate::ids::{PartitionId, Subtask, WindowId};
use crate::operator::{Delivery, Progress, Sink, Source};
use crate::record::Inputs;
use crate::time::Timestamp;
use crate::{Error, Result};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a source says of one of its partitions, between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How many records of the poll came before it.
    pub row: usize,
    /// The partition.
    pub partition: PartitionId,
    /// Whether it is done, rather than where the records behind it come from.
    pub is_done: bool,
}

/// What a poll shows of the partitions of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// There is such a partition.
    Named(PartitionId),
    /// There are records of it, of which this is the newest event time, if they have any.
    Records(PartitionId, Option<Timestamp>),
    /// There is no such partition any more.
    Done(PartitionId),
    /// A batch is over.
    EndOfBatch,
}

impl Mark {
    fn sight(self) -> Sight {
        if self.is_done { Sight::Done(self.partition) } else { Sight::Named(self.partition) }
    }
}

/// What one poll of a source gave.
pub struct Polled {
    /// What it emitted, in order.
    pub batches: Vec<Batch>,
    /// Where the source is behind them, encoded.
    pub position: Vec<u8>,
    /// Whether there is more. An error does not take back what was emitted before it: the position lies behind that.
    pub progress: Result<Progress>,
    /// What it said of its partitions, in order.
    pub marks: Vec<Mark>,
}

impl Polled {
    /// Shows what is to be seen of partitions, in order.
    pub fn look(&self, mut see: impl FnMut(Sight)) {
        let mut marks = self.marks.iter().copied().peekable();
        let mut partition = PartitionId::default();
        let mut behind = 0;
        for batch in &self.batches {
            let (times, first) = (batch.times(), behind);
            behind += batch.len();
            let mut row = first;
            while row < behind {
                while let Some(mark) = marks.next_if(|mark| mark.row <= row) {
                    partition = if mark.is_done { partition } else { mark.partition };
                    see(mark.sight());
                }
                let end = marks.peek().map_or(behind, |mark| mark.row.min(behind));
                let newest = times.and_then(|times| times[row - first..end - first].iter().copied().max());
                see(Sight::Records(partition, newest));
                row = end;
            }
            see(Sight::EndOfBatch);
        }
        marks.for_each(|mark| see(mark.sight()));
    }
}

/// A user's source, erased. It travels into each call and comes back with the answer, so that whoever holds the
/// future holds the source too, and an actor never borrows from itself.
pub trait AnySource: Send {
    /// Calls `open` at an encoded position.
    fn open(self: Box<Self>, position: Option<Vec<u8>>, subtask: Subtask) -> BoxFuture<(Box<dyn AnySource>, Result)>;

    /// Calls `poll`.
    fn poll(self: Box<Self>) -> BoxFuture<(Box<dyn AnySource>, Result<Polled>)>;

    /// Calls `committed` with the encoded position of that window.
    fn committed(self: Box<Self>, window: WindowId, position: Vec<u8>) -> BoxFuture<(Box<dyn AnySource>, Result)>;

    /// Returns whether the source can go back.
    fn replayable(&self) -> bool;

    /// Makes what spreads its output over channels.
    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter>;
}

/// A source with what it emits into.
pub struct HostedSource<S: Source> {
    source: S,
    feed: Feed<S::Out>,
}

impl<S: Source> HostedSource<S> {
    /// Hosts a source; `rows` is how many records a batch of its output holds at most.
    pub fn new(source: S, rows: usize) -> HostedSource<S> {
        HostedSource { source, feed: Feed::new(rows) }
    }
}

impl<S: Source> AnySource for HostedSource<S>
where
    Feed<S::Out>: Send,
{
    fn open(
        mut self: Box<Self>,
        position: Option<Vec<u8>>,
        subtask: Subtask,
    ) -> BoxFuture<(Box<dyn AnySource>, Result)> {
        Box::pin(async move {
            let opened = match position.map(|position| decode::<S::Position>(&position)).transpose() {
                Ok(position) => self.source.open(position, &subtask).await,
                Err(error) => Err(error.context("the position of the source cannot be read")),
            };
            (self as Box<dyn AnySource>, opened)
        })
    }

    fn poll(mut self: Box<Self>) -> BoxFuture<(Box<dyn AnySource>, Result<Polled>)> {
        Box::pin(async move {
            let progress = self.source.poll(&mut self.feed).await;
            let mut batches = Vec::new();
            let marks = self.feed.drain(&mut batches);
            let position = encode(&self.source.position());
            let polled = position.map(|position| Polled { batches, position, progress, marks });
            (self as Box<dyn AnySource>, polled)
        })
    }

    fn committed(mut self: Box<Self>, window: WindowId, position: Vec<u8>) -> BoxFuture<(Box<dyn AnySource>, Result)> {
        Box::pin(async move {
            let told = match decode(&position) {
                Ok(position) => self.source.committed(window, position).await,
                Err(error) => Err(error),
            };
            (self as Box<dyn AnySource>, told)
        })
    }

    fn replayable(&self) -> bool {
        self.source.replayable()
    }

    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        S::Out::scatter(channels, rows)
    }
}

/// What a sink is asked to do. Pending outputs are encoded.
pub enum SinkCall {
    /// `open` with the pending outputs of the restored checkpoint.
    Open(Vec<Vec<u8>>, Subtask),
    /// `write` a batch that arrived at an input port.
    Write(usize, Batch),
    /// `prepare`.
    Prepare(WindowId),
    /// `commit`.
    Commit(Vec<u8>),
    /// `abort`.
    Abort(Vec<u8>),
}

/// A sink that comes back from a call, with what the call gave.
pub type SinkBack = (Box<dyn AnySink>, Result<Option<Vec<u8>>>);

/// A user's sink, erased; it travels like an [`AnySource`].
pub trait AnySink: Send {
    /// Carries one call out. Only `prepare` gives something back.
    fn call(self: Box<Self>, call: SinkCall) -> BoxFuture<SinkBack>;

    /// Returns how its output becomes visible.
    fn delivery(&self) -> Delivery;
}

/// A sink of a known type.
pub struct HostedSink<S: Sink>(pub S);

impl<S: Sink> HostedSink<S> {
    async fn carry_out(&mut self, call: SinkCall) -> Result<Option<Vec<u8>>> {
        match call {
            SinkCall::Open(pending, subtask) => {
                let pending = pending.iter().map(|pending| decode(pending)).collect::<Result<Vec<S::Pending>>>()?;
                self.0.open(pending, &subtask).await?;
            }
            SinkCall::Write(port, batch) => {
                let batch =
                    S::In::batch(port, &batch).ok_or_else(|| Error::invalid("a batch of another type than planned"))?;
                self.0.write(batch).await?;
            }
            SinkCall::Prepare(window) => {
                return self.0.prepare(window).await?.map(|pending| encode(&pending)).transpose();
            }
            SinkCall::Commit(pending) => self.0.commit(decode(&pending)?).await?,
            SinkCall::Abort(pending) => self.0.abort(decode(&pending)?).await?,
        }
        Ok(None)
    }
}

impl<S: Sink> AnySink for HostedSink<S>
where
    <S::In as Inputs>::Batch: Send,
{
    fn call(mut self: Box<Self>, call: SinkCall) -> BoxFuture<SinkBack> {
        Box::pin(async move {
            let answer = self.carry_out(call).await;
            (self as Box<dyn AnySink>, answer)
        })
    }

    fn delivery(&self) -> Delivery {
        self.0.delivery()
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    Ok(rmp_serde::to_vec_named(value)?)
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    Ok(rmp_serde::from_slice(bytes)?)
}
