//! Looks into the store of a job, without being in its way.
//!
//! The storage thread is asked for little things only: where something is, a page of dead letters. What is long, the
//! chunks of state, is read on the thread of whoever looks. A checkpoint may have been replaced by newer ones before all
//! of it is read: then it is looked for anew.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::ids::WindowId;
use crate::protocol::manifest::{ChunkRef, DeadLetter, Manifest};
use crate::runtime::kept::Opener;
use crate::runtime::storage::Storage;
use crate::runtime::time::Time;
use crate::store::{CheckpointStore, ChunkReader, LetterId, StoreError};

/// How long the storage thread may take to answer: it may have a disk to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module. Clones look into the same store.
#[derive(Clone, Default)]
pub(crate) struct Look {
    storage: Arc<Mutex<Option<Storage>>>,
}

/// Why nothing is seen, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unseen {
    /// It may be seen later: the job has not started yet, or is ending, or its store is being opened again.
    #[error("{0}")]
    NotNow(String),
    /// What is there cannot be read.
    #[error("{0}")]
    Damaged(String),
}

/// Keeps a store open to those who look.
pub(crate) struct Open {
    storage: Arc<Mutex<Option<Storage>>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.storage.lock() = None;
    }
}

/// Keeps a store open that no job runs on.
pub(crate) struct Left {
    storage: Storage,
    seen: Option<Open>,
}

impl Drop for Left {
    fn drop(&mut self) {
        // Nobody asks it any more once it is about to be closed.
        self.seen = None;
        self.storage.stop();
    }
}

impl Look {
    /// Opens the store of a job that does not run, to look into it until what this returns is dropped: nobody else can
    /// open it meanwhile.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open_left(&self, mut opener: Opener, clock: &Clock) -> Result<Left, Unseen> {
        let store = opener().map_err(|error| unseen(&error))?;
        let storage = Storage::start(store, opener, Time::new(clock.clone()))
            .map_err(|error| Unseen::NotNow(error.lines().join("; ")))?;
        Ok(Left { seen: Some(self.begin(storage.clone())), storage })
    }

    /// There is a store to look into, until what this returns is dropped.
    pub(crate) fn begin(&self, storage: Storage) -> Open {
        *self.storage.lock() = Some(storage);
        Open { storage: Arc::clone(&self.storage) }
    }

    /// Returns a page of the dead letters of a region, newest first; see [`CheckpointStore::newest_letters`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn letters(
        &self,
        region: &str,
        before: Option<LetterId>,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<DeadLetter>, Unseen> {
        let region = region.to_string();
        self.ask(move |store| store.newest_letters(&region, before.as_ref(), most, bytes))
    }

    /// Returns the newest committed checkpoint of a region, if there is one.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn newest(&self, region: &str) -> Result<Option<Manifest>, Unseen> {
        let region = region.to_string();
        self.ask(move |store| match store.head(&region)? {
            Some((window, _)) if window > WindowId::NONE => store.load(&region, window).map(Some),
            _ => Ok(None),
        })
    }

    /// Reads chunks, on this thread; nothing if some have gone because newer checkpoints do not need them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn chunks(
        &self,
        region: &str,
        of: WindowId,
        chunks: &[ChunkRef],
    ) -> Result<Option<Vec<Vec<u8>>>, Unseen> {
        let wanted = chunks.to_vec();
        let readers = self.ask(move |store| {
            wanted.iter().map(|chunk| store.chunk_reader(chunk)).collect::<Result<Vec<ChunkReader>, StoreError>>()
        })?;
        let read: Result<Vec<Vec<u8>>, StoreError> = readers.into_iter().map(|read| read()).collect();
        match read {
            Ok(chunks) => Ok(Some(chunks)),
            Err(_) if !self.is_retained(region, of)? => Ok(None),
            Err(error) => Err(unseen(&error)),
        }
    }

    fn is_retained(&self, region: &str, window: WindowId) -> Result<bool, Unseen> {
        let region = region.to_string();
        self.ask(move |store| Ok(store.list(&region)?.iter().any(|info| info.window == window)))
    }

    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut dyn CheckpointStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unseen> {
        let not_now = || Unseen::NotNow("the job has not started yet, or is about to end".into());
        let storage = self.storage.lock().clone().ok_or_else(not_now)?;
        let (answer, answered) = channel();
        storage.look(move |store| {
            let seen = store.map_err(Unseen::NotNow).and_then(|store| look(store).map_err(|error| unseen(&error)));
            // Whoever asked may have lost patience.
            answer.send(seen).ok();
        });
        answered.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(not_now()))
    }
}

fn unseen(error: &StoreError) -> Unseen {
    match error {
        StoreError::Poisoned(_) | StoreError::Locked(_) => Unseen::NotNow(error.to_string()),
        _ => Unseen::Damaged(error.to_string()),
    }
}
