//! The store as the storage thread keeps it: open, or being opened again after a write has failed.
//!
//! What has made a write fail may last: it is opened again at once, then after pauses that grow. When that has gone on
//! for too long, or when what the files hold is damaged, the store is given up: whoever needs it is told why, and the
//! regions give up in their turn. The next start of the process finds the last commit.

use std::time::Duration;

use piton_actors::Timestamp;

use crate::protocol::sink::Retry;
use crate::runtime::time::Time;
use crate::store::{CheckpointStore, StoreError};

/// Opens the store, at the start and again after a failed write.
pub type Opener = Box<dyn FnMut() -> Result<Box<dyn CheckpointStore>, StoreError> + Send>;

/// How long it is tried to open the store again, in ms: whoever watches the process should not wait for much longer.
const GIVE_UP_AFTER_MS: i64 = 60_000;

/// See the module.
pub(crate) struct KeptStore {
    state: State,
    opener: Opener,
    time: Time,
}

enum State {
    Open(Box<dyn CheckpointStore>),
    Reopening { reason: String, retry: Retry, since: Timestamp },
    GivenUp(String),
}

impl KeptStore {
    /// Keeps a store that is open.
    pub(crate) fn new(store: Box<dyn CheckpointStore>, opener: Opener, time: Time) -> KeptStore {
        KeptStore { state: State::Open(store), opener, time }
    }

    /// Returns the store.
    ///
    /// # Errors
    /// Why it is not open.
    pub(crate) fn get(&mut self) -> Result<&mut dyn CheckpointStore, String> {
        match &mut self.state {
            State::Open(store) => Ok(store.as_mut()),
            State::Reopening { reason, .. } => Err(format!("the store is being opened again: {reason}")),
            State::GivenUp(reason) => Err(reason.clone()),
        }
    }

    /// Returns whether it takes writes.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(&self.state, State::Open(store) if !store.is_poisoned())
    }

    /// Lets go of a store that is open: the next thing to do is to open it again.
    pub(crate) fn lose(&mut self, reason: String) {
        if matches!(self.state, State::Open(_)) {
            // The old one lets go of its directory here, before anybody opens it.
            self.state = State::Reopening { reason, retry: Retry::default(), since: self.time.now() };
        }
    }

    /// Returns how long to wait before it is tried again to open it; nothing if it is open, or was given up.
    pub(crate) fn retry_in(&self) -> Option<Duration> {
        let State::Reopening { retry, .. } = &self.state else { return None };
        let pause = retry.at().map_or(0, |at| at.saturating_sub(self.time.now()));
        Some(Duration::from_millis(u64::try_from(pause).unwrap_or(0).max(1)))
    }

    /// Opens it again if it has to be and the time has come; returns whether it has become clear now what can be read.
    pub(crate) fn open_if_due(&mut self) -> bool {
        let State::Reopening { reason, retry, since } = &mut self.state else { return false };
        if !retry.is_due(self.time.now()) {
            return false;
        }
        let error = match (self.opener)() {
            Ok(store) => {
                tracing::info!("the store is open again");
                self.state = State::Open(store);
                return true;
            }
            Err(error) => error,
        };
        let now = self.time.now();
        let can_pass = !matches!(error, StoreError::Damaged(_) | StoreError::Format(_));
        if can_pass && now.saturating_sub(*since) < GIVE_UP_AFTER_MS {
            retry.later(now);
            tracing::warn!(%error, "the store cannot be opened again yet");
            return false;
        }
        tracing::error!(%error, "the store cannot be opened again");
        self.state =
            State::GivenUp(format!("the store could not be opened again: {error} (it was closed since {reason})"));
        true
    }
}
