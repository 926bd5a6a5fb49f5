//! What is under way in a world: messages, calls and jobs that arrive or are done at a time of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use piton_actors::host::{AnySink, AnySource, AskCall, SinkCall};
use piton_actors::{Batch, Progress, Subtask};
use tokio::runtime::{Builder, Runtime};

use crate::ids::{Fence, WindowId};
use crate::protocol::asking::Attempt;
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::element::Element;
use crate::protocol::failure::Failure;
use crate::protocol::lineage::WriteRequest;
use crate::protocol::manifest::ChunkRef;
use crate::protocol::region;
use crate::protocol::source::{SourceAnswer, SourceCall};
use crate::protocol::subtask::Event;
use crate::sim::faults::CommitFailure;

/// A subtask of an attempt of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) region: usize,
    pub(crate) subtask: usize,
    pub(crate) fence: Fence,
}

/// See the module.
pub(crate) enum Happening {
    /// The process starts.
    Boot,
    /// A subtask begins.
    Start(Address, Box<Event>),
    /// A message to a region.
    ToRegion(usize, Box<region::Event>),
    /// A message to a subtask.
    ToSubtask(Address, Box<Event>),
    /// A call of a source.
    Source(Address, SourceCall, Box<dyn AnySource>),
    /// A call of a sink.
    Sink(Address, SinkCall, Box<dyn AnySink>),
    /// An attempt at a request of an operator.
    Request(Address, Attempt, AskCall),
    /// A cut is made durable.
    Write(Address, WriteRequest),
    /// Chunks are read for a subtask that restarts alone.
    Chunks(Address, Vec<Vec<ChunkRef>>),
    /// A checkpoint is made true, unless that is to fail.
    Commit(usize, Box<Commit>, Option<CommitFailure>),
    /// The answer to a commit.
    Outcome(usize, Fence, WindowId, Result<(), CommitError>),
    /// The head is read.
    ReadHead { region: usize },
    /// A checkpoint is loaded, to start an attempt from it.
    Load { region: usize, fence: Fence, window: WindowId },
    /// An element that an earlier attempt still had in hand.
    Zombie(Address, usize, Element),
}

impl Happening {
    /// Lets a call reach the outside although nobody waits for its answer any more.
    pub(crate) fn reach_outside(self) {
        match self {
            Happening::Source(_, call, source) => {
                call_source("a source", call, source);
            }
            Happening::Sink(_, call, sink) => {
                call_sink("a sink", call, sink);
            }
            Happening::Request(_, attempt, call) => {
                call_request("an operator", attempt, &call);
            }
            _ => {}
        }
    }
}

thread_local! {
    /// What futures of the user's wait for: timers and sockets of the real world.
    static REAL: Runtime = Builder::new_current_thread().enable_all().build().expect("there are a few more descriptors");
}

/// Runs a future to its end. Virtual time stands still meanwhile, whatever it waits for.
fn run<T>(mut future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    REAL.with(|real| {
        let entered = real.enter();
        // Hardly any waits, and those that do not need nobody to wake them.
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        drop(entered);
        real.block_on(future)
    })
}

/// Reads everything that a source holds for a subtask.
///
/// # Errors
/// The source's own.
pub(crate) fn read_all(source: Box<dyn AnySource>, subtask: Subtask) -> piton_actors::Result<Vec<Batch>> {
    let (mut source, opened) = run(source.open(None, subtask));
    opened?;
    let mut read = Vec::new();
    loop {
        let (again, polled) = run(source.poll());
        let polled = polled?;
        read.extend(polled.batches);
        if matches!(polled.progress?, Progress::Done) {
            return Ok(read);
        }
        source = again;
    }
}

/// Makes a call on a source; returns what the subtask is to hear.
pub(crate) fn call_source(name: &str, call: SourceCall, source: Box<dyn AnySource>) -> Event {
    let called = catch_unwind(AssertUnwindSafe(|| match call {
        SourceCall::Open(position, subtask) => {
            let (source, opened) = run(source.open(position, subtask));
            (source, SourceAnswer::Opened(opened))
        }
        SourceCall::Poll => {
            let (source, polled) = run(source.poll());
            (source, SourceAnswer::Polled(polled))
        }
        SourceCall::Tell(window, position) => {
            let (source, told) = run(source.committed(window, position));
            (source, SourceAnswer::Told(told))
        }
    }));
    match called {
        Ok((source, answer)) => Event::Source(Some(source), Ok(answer)),
        Err(payload) => Event::Source(None, Err(Failure::panicked(name, payload))),
    }
}

/// Returns whether a source has answered with rows.
pub(crate) fn has_rows(answer: &Event) -> bool {
    let Event::Source(_, Ok(SourceAnswer::Polled(Ok(polled)))) = answer else { return false };
    !polled.batches.is_empty()
}

/// Makes an attempt at a request; returns what the subtask is to hear.
pub(crate) fn call_request(name: &str, attempt: Attempt, call: &AskCall) -> Event {
    let came = catch_unwind(AssertUnwindSafe(|| run(call())));
    Event::Answered(attempt, came.map_err(|payload| Failure::panicked(name, payload)))
}

/// Makes a call on a sink; returns what the subtask is to hear.
pub(crate) fn call_sink(name: &str, call: SinkCall, sink: Box<dyn AnySink>) -> Event {
    match catch_unwind(AssertUnwindSafe(|| run(sink.call(call)))) {
        Ok((sink, answer)) => Event::Sink(Some(sink), Ok(answer)),
        Err(payload) => Event::Sink(None, Err(Failure::panicked(name, payload))),
    }
}
