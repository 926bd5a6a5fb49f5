//! Work that may block, done by a thread of its own.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::{Error, Result};

/// What a thread leaves behind, and who waits for it.
struct Desk<T> {
    left: Option<T>,
    over: bool,
    waiter: Option<Waker>,
}

/// Tells whoever waits that the thread is over, also if it has panicked.
struct Over<T>(Arc<Mutex<Desk<T>>>);

impl<T> Drop for Over<T> {
    fn drop(&mut self) {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desk.over = true;
        if let Some(waiter) = desk.waiter.take() {
            waiter.wake();
        }
    }
}

/// Does some work on a new thread and waits for it without blocking. The work is done even if nobody waits any more.
///
/// # Errors
/// If there is no thread to be had, or the work panics.
pub(super) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let desk = Arc::new(Mutex::new(Desk { left: None, over: false, waiter: None }));
    let over = Over(Arc::clone(&desk));
    let thread = std::thread::Builder::new().name("piton-print".into()).spawn(move || {
        let over = over;
        let left = work();
        over.0.lock().unwrap_or_else(PoisonError::into_inner).left = Some(left);
    });
    thread.map_err(|error| Error::unavailable(format!("no thread could be started: {error}")))?;
    poll_fn(|context| {
        let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        if !desk.over {
            desk.waiter = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(desk.left.take().ok_or_else(|| Error::failed("the thread that did the work has panicked")))
    })
    .await
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::sync::mpsc::channel;
    use std::task::{Context, Wake};

    use super::*;

    struct Bell(Mutex<std::sync::mpsc::Sender<()>>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }

    pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
        let (ring, rings) = channel();
        let waker = Waker::from(Arc::new(Bell(Mutex::new(ring))));
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => rings.recv().unwrap(),
            }
        }
    }

    #[test]
    fn what_blocks_is_waited_for_without_blocking() {
        let (go, gone) = channel();
        let mut waits = Box::pin(elsewhere(move || gone.recv().unwrap()));
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go.send(7).unwrap();
        assert_eq!(wait(waits).unwrap(), 7);
    }

    #[test]
    fn a_panic_is_an_error() {
        let panicked: Result = wait(elsewhere(|| std::panic::resume_unwind(Box::new("quietly"))));
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
    }
}
