//! The signals that stop a job: the first one with a checkpoint, the second at once.
//!
//! They are caught on a thread of their own, from before the state directory is opened: a signal that comes before the
//! job runs stops it as soon as it does, and whoever insists is not kept waiting by whatever takes long.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Signals that follow the first one within this time are the same one: whoever sends it may do so to a process and to
/// its group, and a parent that ends does so once for each of its threads.
const SAME: Duration = Duration::from_millis(300);

/// SIGTERM and Ctrl-C, caught.
#[derive(Debug)]
pub struct Signals {
    first: oneshot::Receiver<()>,
}

impl Signals {
    /// Catches both signals from now on, for the rest of the process. The second one ends it with exit code 1.
    ///
    /// # Errors
    /// If the thread or the handlers cannot be made.
    pub fn catch() -> io::Result<Signals> {
        let (tell, first) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        std::thread::Builder::new().name("piton-signals".into()).spawn(move || {
            let made = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let failed = match made {
                Ok(runtime) => runtime.block_on(wait(tell, &ready)),
                Err(error) => error,
            };
            // Whoever has asked still waits for the answer.
            ready.send(Err(failed)).ok();
        })?;
        is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that catches signals has ended")))?;
        Ok(Signals { first })
    }

    /// Waits for the first signal, on a thread that has nothing else to do; returns whether there was one.
    pub fn wait(self) -> bool {
        self.first.blocking_recv().is_ok()
    }

    /// Waits for the first signal.
    pub(crate) async fn first(self) {
        if self.first.await.is_err() {
            // The thread is gone, and no signal will ever come through.
            std::future::pending().await
        }
    }
}

/// Waits for both signals; returns only if they cannot be caught.
async fn wait(tell: oneshot::Sender<()>, ready: &mpsc::Sender<io::Result<()>>) -> io::Error {
    let caught = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match caught {
        Ok(caught) => caught,
        Err(error) => return error,
    };
    ready.send(Ok(())).ok();
    let mut next = async || {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    // Nobody listens any more if the job has ended by itself.
    tell.send(()).ok();
    #[expect(clippy::disallowed_methods, reason = "how long people and shells take is the system's time")]
    let same = tokio::time::sleep(SAME);
    tokio::pin!(same);
    loop {
        tokio::select! {
            biased;
            () = &mut same => break,
            () = next() => {}
        }
    }
    next().await;
    tracing::error!("stopped at once: the next start continues from the last committed window");
    std::process::exit(1);
}
