//! Where checkpoints are kept.
//!
//! A store holds chunks of state, manifests, and for each region a head: the newest window whose checkpoint is true.
//! It is a [`CommitLog`]: moving the head is the commit. Only put-if-absent is asked of what lies beneath it for
//! chunks and manifests, so that an object store can stand here too.
//!
//! All calls block and belong on a thread of their own.
//!
//! [`SledStore`] is the default, [`MemoryStore`] forgets with the process, [`SimStore`] runs on a disk that crashes and
//! fails on demand. All of them pass [`conformance`].

pub mod catalogue;
pub mod conformance;
pub mod disk;
pub mod file;
mod history;
mod memory;
pub mod savepoint;
mod sled;
pub mod writer;

use std::path::Path;

use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::commit::CommitLog;
use crate::protocol::manifest::{ChunkId, ChunkRef, DeadLetter, JoinedOutput, Manifest};

use crate::store::disk::WriteContent;

pub use file::{FileStore, OpenOptions, OpenReport, SimStore, SledStore};
pub use memory::MemoryStore;
pub use savepoint::{Savepoint, Savepoints, check_savepoint_name};
pub use sled::SledCatalogue;

/// Chunks up to this length are kept in their manifest.
pub const INLINE_LIMIT: usize = 32 << 10;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk said no: full, read-only, a failed write or fsync. Nothing that was acknowledged is affected.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that should be there is missing, cut off or altered. Names it, and what was expected.
    #[error("{0}")]
    Damaged(String),
    /// Another process uses the state directory.
    #[error("{0}")]
    Locked(String),
    /// The directory is not piton's, or of another version of the format.
    #[error("{0}")]
    Format(String),
    /// An earlier write failed, so that what the files hold is not known: the store has to be opened again.
    #[error("the store has to be opened again after an earlier failure: {0}")]
    Poisoned(String),
}

impl StoreError {
    fn io(what: &str, path: &Path, source: std::io::Error) -> StoreError {
        StoreError::Io { what: format!("{what} {}", path.display()), source }
    }
}

/// One checkpoint that a store holds, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its region.
    pub region: String,
    /// Its window.
    pub window: WindowId,
    /// The life that took it.
    pub fence: Fence,
    /// When it was triggered, in ms since 1970.
    pub triggered_ms: i64,
    /// When it was complete, in ms since 1970.
    pub completed_ms: i64,
    /// How many bytes of state it refers to.
    pub bytes: u64,
    /// Whether the region had finished.
    pub finished: bool,
}

impl CheckpointInfo {
    /// Returns what there is to say of a manifest.
    pub fn of(manifest: &Manifest) -> CheckpointInfo {
        CheckpointInfo {
            region: manifest.region.clone(),
            window: manifest.window,
            fence: manifest.fence,
            triggered_ms: manifest.triggered_ms,
            completed_ms: manifest.completed_ms,
            bytes: manifest.bytes(),
            finished: manifest.finished,
        }
    }
}

/// Reads a chunk, wherever that takes place; see [`CheckpointStore::chunk_reader`].
pub type ChunkReader = Box<dyn FnOnce() -> Result<Vec<u8>, StoreError> + Send>;

/// Writes a chunk of a length to a file of its own, wherever that takes place; see [`CheckpointStore::chunk_writer`].
pub type ChunkWriter = Box<dyn FnOnce(u64, &mut WriteContent<'_>) -> Result<ChunkFile, StoreError> + Send>;

/// A chunk whose content is durable, and of which nobody knows yet.
#[derive(Debug)]
pub struct ChunkFile {
    id: ChunkId,
    len: u64,
    checksum: u64,
}

/// By what a dead letter is told from all others of its region: its window, its subtask and its number.
pub type LetterId = (WindowId, SubtaskId, u64);

/// Returns by what a letter is told from all others of its region.
pub fn letter_id(letter: &DeadLetter) -> LetterId {
    (letter.window, letter.subtask.clone(), letter.number)
}

/// Keeps checkpoints. See the module for the promises.
pub trait CheckpointStore: CommitLog + Send {
    /// Keeps a chunk: small ones come back inside the reference, the content of larger ones is durable in a file
    /// when this returns, its name at the latest before the commit that lists it.
    ///
    /// # Errors
    /// [`StoreError::Io`] leaves the store usable: an unfinished chunk is garbage that no manifest refers to.
    fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkRef, StoreError>;

    /// Returns what writes a large chunk on another thread, while the store does something else; nothing if this store
    /// keeps no files. What it wrote is kept with [`put_file`](CheckpointStore::put_file), and is garbage without.
    ///
    /// # Errors
    /// If the store cannot be used, or has a chunk of this name.
    fn chunk_writer(&mut self, _id: ChunkId) -> Result<Option<ChunkWriter>, StoreError> {
        Ok(None)
    }

    /// Keeps a chunk that a [`chunk_writer`](CheckpointStore::chunk_writer) of this store has written.
    ///
    /// # Errors
    /// As [`put_chunk`](CheckpointStore::put_chunk); its file may be gone, if the store was opened again.
    fn put_file(&mut self, file: ChunkFile) -> Result<ChunkRef, StoreError> {
        let what = format!("this store has no file of the chunk {}", file.id);
        Err(StoreError::Io { what, source: std::io::ErrorKind::NotFound.into() })
    }

    /// Returns a chunk, verified against the length and checksum in the reference.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the file and what was expected.
    fn read_chunk(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError>;

    /// Returns what reads a chunk on another thread, while the store does something else. The chunk may have gone by
    /// then, if no retained checkpoint has it any more.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn chunk_reader(&mut self, chunk: &ChunkRef) -> Result<ChunkReader, StoreError> {
        let bytes = self.read_chunk(chunk)?;
        Ok(Box::new(move || Ok(bytes)))
    }

    /// Returns the regions that have a head, in order of their names.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn regions(&mut self) -> Result<Vec<String>, StoreError>;

    /// Returns the newest committed window of a region and the fence that committed it; nothing if there is none.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn head(&mut self, region: &str) -> Result<Option<(WindowId, Fence)>, StoreError>;

    /// Returns the manifest of a committed window.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not there whole.
    fn load(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError>;

    /// Returns the retained checkpoints of a region, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn list(&mut self, region: &str) -> Result<Vec<CheckpointInfo>, StoreError>;

    /// Returns the records that a region has set aside in its committed windows, each once, in the order of their
    /// windows, then of subtasks and numbers. They stay when the checkpoints that have listed them expire. Those of
    /// windows that were given up, because a copy of an older checkpoint was committed, are left out.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if some are lost.
    fn letters(&mut self, region: &str) -> Result<Vec<DeadLetter>, StoreError>;

    /// Returns some of the same, the newest first: at most so many, those before `before` if there is one, and no more
    /// when their records come to `bytes` or more. Takes no longer if there are many.
    ///
    /// # Errors
    /// As for [`CheckpointStore::letters`].
    fn newest_letters(
        &mut self,
        region: &str,
        before: Option<&LetterId>,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut found = Vec::new();
        let mut len = 0;
        for letter in self.letters(region)?.into_iter().rev() {
            if found.len() == most || len >= bytes {
                break;
            }
            if before.is_none_or(|before| letter_id(&letter) < *before) {
                len += letter.record.len();
                found.push(letter);
            }
        }
        Ok(found)
    }

    /// Makes durable what an earlier life, or one that a failed write has ended, may have left readable only. Whoever goes
    /// on from what the store holds calls this first; opening it and looking changes nothing. Claiming an incarnation
    /// does this, too.
    ///
    /// # Errors
    /// If it cannot be made durable: the store has to be opened again.
    fn renew(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the number of this process's life, made durable before it is returned: one more than every earlier one.
    ///
    /// # Errors
    /// If it cannot be made durable.
    fn claim_incarnation(&mut self) -> Result<u64, StoreError>;

    /// Returns whether the store has to be opened again, because an earlier write failed. Chunks that were kept but are
    /// part of no commit are gone then: every region has to be restored.
    fn is_poisoned(&self) -> bool {
        false
    }

    /// Returns what keeps savepoints, if this kind of store can.
    fn savepoints(&mut self) -> Option<&mut dyn Savepoints> {
        None
    }

    /// Reads every retained checkpoint, every chunk of them and all dead letters completely.
    ///
    /// # Errors
    /// Never fails as a whole: returns what is damaged, one line for each.
    fn verify(&mut self) -> Vec<String>;
}

/// Gives back what joined sinks made visible through commits.
pub trait JoinedOutputs {
    /// Returns all joined outputs that a region has committed, each with its window, in the order of the commits.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn joined(&mut self, region: &str) -> Result<Vec<(WindowId, JoinedOutput)>, StoreError>;
}
