//! What sources and sinks wait for: the timers and sockets of tokio, on a thread where no user code runs.
//!
//! A future of the user's may be polled on one thread now and on another later, when the first is stuck in somebody
//! else's code. Its timers and sockets must not depend on the first one then: so they all belong to this thread, which
//! nobody can block.

use std::sync::Arc;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// The thread. It ends when the last clone of this is dropped.
#[derive(Clone)]
pub(crate) struct Outside {
    handle: Handle,
    /// Dropped to end the thread.
    _end: Arc<oneshot::Sender<()>>,
}

impl Outside {
    /// Starts it.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn start() -> Result<Outside> {
        let failed = |error| Error::failed(format!("the thread of timers and sockets could not be started: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("piton-outside".into())
            .spawn(move || {
                // An error is what is waited for: the other half is gone.
                runtime.block_on(ended).ok();
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Outside { handle, _end: Arc::new(end) })
    }

    /// Returns what a future is polled in.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
