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
        let renewed = |mut store: Box<dyn CheckpointStore>| store.renew().map(|()| store);
        let error = match (self.opener)().and_then(renewed) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::Clock;
    use crate::store::MemoryStore;

    /// A store that was lost, of which so many attempts to open it fail, and how often it was tried.
    fn lost(failures: u32, error: fn() -> StoreError, clock: &Clock) -> (KeptStore, Arc<AtomicU32>) {
        let tried = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&tried);
        let opener: Opener = Box::new(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            if number < failures { Err(error()) } else { Ok(Box::new(MemoryStore::default())) }
        });
        let mut kept = KeptStore::new(Box::new(MemoryStore::default()), opener, Time::new(clock.clone()));
        assert!(kept.is_usable() && kept.retry_in().is_none() && !kept.open_if_due());
        kept.lose("a sync failed".into());
        (kept, tried)
    }

    fn refused() -> StoreError {
        StoreError::Io { what: "cannot open".into(), source: std::io::Error::other("read-only") }
    }

    #[test]
    fn it_is_opened_again_after_pauses_that_grow() {
        let (clock, hand) = Clock::simulated(0);
        let (mut kept, tried) = lost(3, refused, &clock);
        assert_eq!(kept.get().err().unwrap(), "the store is being opened again: a sync failed");
        let mut pauses = Vec::new();
        while !kept.open_if_due() {
            let pause = kept.retry_in().expect("it is still to be opened");
            let before = tried.load(Ordering::Relaxed);
            assert!(!kept.open_if_due() && tried.load(Ordering::Relaxed) == before, "not before its time");
            pauses.push(pause.as_millis());
            hand.advance(pause);
        }
        assert_eq!(pauses, [50, 100, 200]);
        assert!(kept.is_usable() && kept.get().is_ok() && kept.retry_in().is_none());
    }

    #[test]
    fn it_is_given_up_after_a_while() {
        let (clock, hand) = Clock::simulated(0);
        let (mut kept, tried) = lost(u32::MAX, refused, &clock);
        while !kept.open_if_due() {
            hand.advance(kept.retry_in().expect("it is still to be opened"));
        }
        let waited = clock.monotonic().as_millis() as i64;
        assert!((GIVE_UP_AFTER_MS..GIVE_UP_AFTER_MS + 10_001).contains(&waited), "{waited} ms");
        assert!(tried.load(Ordering::Relaxed) < 20);
        let reason = kept.get().err().unwrap();
        assert!(reason.contains("read-only") && reason.contains("a sync failed"), "{reason}");
        assert!(!kept.is_usable() && kept.retry_in().is_none() && !kept.open_if_due());
    }

    #[test]
    fn damage_does_not_pass() {
        let (clock, _) = Clock::simulated(0);
        let (mut kept, tried) = lost(u32::MAX, || StoreError::Damaged("HEAD is cut off".into()), &clock);
        assert!(kept.open_if_due());
        assert_eq!(tried.load(Ordering::Relaxed), 1);
        assert!(kept.get().err().unwrap().contains("HEAD is cut off"));
    }
}
