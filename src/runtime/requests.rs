//! Requests to the outside that are under way for a subtask: futures, polled so that a panic is an answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, Stream};
use piton_actors::host::{BoxFuture, Pulse};
use piton_actors::{Batch, Result as UserResult};

use crate::protocol::asking::{Asked, Attempt};
use crate::protocol::failure::{drop_quietly, panic_message};
use crate::runtime::calls::guarded_poll;

/// What came of an attempt; what it carried if it panicked.
pub(crate) type Came = (Attempt, std::thread::Result<UserResult<Batch>>);

/// See the module. Only those that have something to say are polled.
#[derive(Default)]
pub(crate) struct Requests {
    under_way: FuturesUnordered<Abortable<Request>>,
    handles: BTreeMap<Attempt, AbortHandle>,
}

struct Request {
    attempt: Attempt,
    /// Shows which one is being polled.
    pulse: Arc<Pulse>,
    call: BoxFuture<UserResult<Batch>>,
}

impl Future for Request {
    type Output = Came;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Came> {
        let attempt = self.attempt;
        self.pulse.advance(usize::try_from(attempt.id.number).unwrap_or(usize::MAX));
        match guarded_poll(&mut self.call, cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready((attempt, Ok(answer))),
            Err(payload) => Poll::Ready((attempt, Err(payload))),
        }
    }
}

impl Requests {
    /// Begins one, or gives one up: that is dropped when the others are polled the next time.
    pub(crate) fn see(&mut self, asked: Asked, pulse: &Arc<Pulse>) {
        match asked {
            Asked::Make(attempt, make) => {
                // It is made where it is polled.
                let call = Box::pin(async move { make().await });
                let (handle, registration) = AbortHandle::new_pair();
                self.handles.insert(attempt, handle);
                self.under_way.push(Abortable::new(Request { attempt, pulse: Arc::clone(pulse), call }, registration));
            }
            Asked::Drop(attempt) => {
                if let Some(handle) = self.handles.remove(&attempt) {
                    handle.abort();
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Polls them, until so many have come to their ends or none can go on; what came of them is added to `came`.
    pub(crate) fn poll(&mut self, most: usize, came: &mut Vec<Came>, cx: &mut TaskContext<'_>) {
        while came.len() < most {
            // Each has its own guard: this one is for those that panic when they are dropped.
            let next = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.under_way).poll_next(cx)));
            match next {
                Ok(Poll::Ready(Some(Ok((attempt, answer))))) => {
                    self.handles.remove(&attempt);
                    came.push((attempt, answer));
                }
                Ok(Poll::Ready(Some(Err(_given_up)))) => {}
                Ok(Poll::Ready(None) | Poll::Pending) => return,
                Err(payload) => {
                    tracing::warn!("a request panicked while it was dropped: {}", panic_message(&*payload));
                    drop_quietly(payload);
                }
            }
        }
        cx.waker().wake_by_ref();
    }
}
