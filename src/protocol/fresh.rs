//! What a cut has taken of an operator's state, on its way to the store.
//!
//! The operator stands still for its cut, so the chunk is not written there, but by the first who needs its bytes: the
//! storage, as a rule. Nothing about them depends on who that is.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use piton_actors::state::Draft;

/// A chunk that is not durable yet.
pub struct FreshChunk {
    /// About how many bytes it has.
    size: usize,
    draft: Mutex<Option<Draft>>,
    bytes: OnceLock<Result<Vec<u8>, String>>,
}

impl FreshChunk {
    /// Returns about how many bytes it has; 0 if there is nothing in it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns whether the operator had nothing to say.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Returns the chunk, written now if nobody has needed it before.
    ///
    /// # Errors
    /// Why it cannot be written, in words: a part of it is too long.
    pub fn bytes(&self) -> Result<&Vec<u8>, String> {
        let write = || match self.draft.lock().take() {
            Some(draft) => draft.write().map_err(|error| error.message().to_string()),
            None => Ok(Vec::new()),
        };
        self.bytes.get_or_init(write).as_ref().map_err(String::clone)
    }

    /// Returns the chunk itself, copied only if others have it too.
    ///
    /// # Errors
    /// As [`bytes`](FreshChunk::bytes).
    pub(crate) fn take(fresh: Arc<FreshChunk>) -> Result<Vec<u8>, String> {
        fresh.bytes()?;
        match Arc::try_unwrap(fresh) {
            Ok(own) => own.bytes.into_inner().unwrap_or_else(|| Ok(Vec::new())),
            Err(shared) => shared.bytes().cloned(),
        }
    }
}

impl From<Draft> for FreshChunk {
    fn from(draft: Draft) -> FreshChunk {
        FreshChunk { size: draft.size(), draft: Mutex::new(Some(draft)), bytes: OnceLock::new() }
    }
}

impl From<Vec<u8>> for FreshChunk {
    fn from(bytes: Vec<u8>) -> FreshChunk {
        FreshChunk { size: bytes.len(), draft: Mutex::new(None), bytes: OnceLock::from(Ok(bytes)) }
    }
}

impl fmt::Debug for FreshChunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "about {} bytes", self.size)
    }
}
