//! What a cut has taken of an operator's state, on its way to the store.
//!
//! The operator stands still for its cut, so the chunk is not written there, but by the first who needs its bytes: the
//! storage, as a rule, which does not keep the bytes of a large one. Nothing about them depends on who that is.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use piton_actors::state::{Draft, is_whole_chunk};

/// A chunk that is not durable yet.
pub struct FreshChunk {
    /// About how many bytes it has.
    size: usize,
    is_whole: bool,
    /// Until the bytes are there.
    draft: Mutex<Option<Arc<Draft>>>,
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

    /// Returns whether it voids what came before.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns the chunk, written now if nobody has needed it before.
    ///
    /// # Errors
    /// Why it cannot be written, in words: a part of it is too long.
    pub fn bytes(&self) -> Result<&Vec<u8>, String> {
        let bytes = self.bytes.get_or_init(|| {
            let draft = self.draft();
            let ordered = draft.as_ref().and_then(|draft| draft.in_order());
            let written = ordered.map_or_else(|| Ok(Vec::new()), |ordered| ordered.write());
            written.map_err(|error| error.message().to_string())
        });
        *self.draft.lock() = None;
        bytes.as_ref().map_err(String::clone)
    }

    /// Returns what the chunk is made of, if its bytes are not there yet.
    pub fn draft(&self) -> Option<Arc<Draft>> {
        self.draft.lock().clone()
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
        let (size, is_whole) = (draft.size(), draft.is_whole());
        FreshChunk { size, is_whole, draft: Mutex::new(Some(Arc::new(draft))), bytes: OnceLock::new() }
    }
}

impl From<Vec<u8>> for FreshChunk {
    fn from(bytes: Vec<u8>) -> FreshChunk {
        let (size, is_whole) = (bytes.len(), is_whole_chunk(&bytes));
        FreshChunk { size, is_whole, draft: Mutex::new(None), bytes: OnceLock::from(Ok(bytes)) }
    }
}

impl fmt::Debug for FreshChunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "about {} bytes", self.size)
    }
}
