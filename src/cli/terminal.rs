//! stderr, which log lines, messages and the progress display share without getting into each other's way.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use indicatif::ProgressBar;
use parking_lot::Mutex;

/// stderr. Clones are the same.
#[derive(Clone)]
pub(super) struct Terminal {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    interactive: bool,
}

impl Terminal {
    pub(super) fn new() -> Terminal {
        Terminal { bar: Arc::default(), interactive: io::stderr().is_terminal() }
    }

    /// Returns whether somebody sits there.
    pub(super) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Writes a line.
    pub(super) fn say(&self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Writes above the progress display, if there is one.
    pub(super) fn write(&self, text: &[u8]) {
        // Cloned, so that the lock is not held while the bar draws: that may log.
        let bar = self.bar.lock().clone();
        let write = || {
            // Nobody is left to be told that stderr is gone.
            io::stderr().lock().write_all(text).ok();
        };
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows a progress display below everything that is written from now on; nothing takes it away.
    pub(super) fn show(&self, bar: Option<ProgressBar>) {
        if let Some(shown) = std::mem::replace(&mut *self.bar.lock(), bar) {
            shown.finish_and_clear();
        }
    }
}
