//! Signals that ask a command to end, for commands that run no job themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};

/// What a shell says of a process that SIGINT has ended.
pub(super) const INTERRUPTED: u8 = 130;

/// Sets the flag at the first SIGTERM or SIGINT; the second one ends the process at once.
///
/// # Errors
/// If signals cannot be caught.
pub(super) fn stop_on_signals(stopped: &Arc<AtomicBool>) -> Result {
    let failed = |error: std::io::Error| Error::failed(format!("signals cannot be caught: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    drop(entered);
    let stopped = Arc::clone(stopped);
    let wait = move || {
        let mut next = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
        };
        next();
        stopped.store(true, Ordering::SeqCst);
        next();
        std::process::exit(INTERRUPTED.into());
    };
    std::thread::Builder::new().name("piton-signals".into()).spawn(wait).map_err(failed)?;
    Ok(())
}
