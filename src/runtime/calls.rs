//! Calls of sources and sinks: futures, made and polled so that a panic is an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context as TaskContext, Poll};

use piton_actors::Result as UserResult;
use piton_actors::host::{AnySink, AnySource, BoxFuture, SinkCall};

use crate::protocol::source::{SourceAnswer, SourceCall};

/// What a call of a source gives, and the source.
pub(crate) type SourceBack = (Box<dyn AnySource>, SourceAnswer);
/// What a call of a sink gives, and the sink.
pub(crate) type SinkBack = (Box<dyn AnySink>, UserResult<Option<Vec<u8>>>);

pub(crate) fn source_call(call: SourceCall, source: Box<dyn AnySource>) -> BoxFuture<SourceBack> {
    match call {
        SourceCall::Open(position, info) => {
            after(catch_unwind(AssertUnwindSafe(|| source.open(position, info))), SourceAnswer::Opened)
        }
        SourceCall::Poll => after(catch_unwind(AssertUnwindSafe(|| source.poll())), SourceAnswer::Polled),
        SourceCall::Tell(window, position) => {
            after(catch_unwind(AssertUnwindSafe(|| source.committed(window, position))), SourceAnswer::Told)
        }
    }
}

/// Maps what a call gives; a panic while the call was made comes up again when it is polled.
fn after<T: Send + 'static>(
    call: std::thread::Result<BoxFuture<(Box<dyn AnySource>, T)>>,
    answer: fn(T) -> SourceAnswer,
) -> BoxFuture<SourceBack> {
    match call {
        Ok(call) => Box::pin(async move {
            let (source, result) = call.await;
            (source, answer(result))
        }),
        Err(payload) => Box::pin(async move { std::panic::resume_unwind(payload) }),
    }
}

pub(crate) fn sink_call(call: SinkCall, sink: Box<dyn AnySink>) -> BoxFuture<SinkBack> {
    match catch_unwind(AssertUnwindSafe(|| sink.call(call))) {
        Ok(call) => call,
        Err(payload) => Box::pin(async move { std::panic::resume_unwind(payload) }),
    }
}

/// Polls user code; `Err` with what it carries if it panics.
pub(crate) fn guarded_poll<T>(call: &mut BoxFuture<T>, cx: &mut TaskContext<'_>) -> std::thread::Result<Poll<T>> {
    catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)))
}
