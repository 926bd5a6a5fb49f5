//! Makes a cut durable: adds chunks to the lineages of a subtask's state, and merges lineages that have grown long.
//!
//! It runs where the store lives, never on an actor. A lineage is merged into one chunk when it is small enough to
//! travel inside the manifest, when its deltas outweigh its base, or when it has too many of them: so what is written
//! stays proportional to what has changed, and what a restore reads stays proportional to the state.

use piton_actors::state::merge_chunks;

use crate::protocol::lineage::{OperatorWrite, WriteRequest};
use crate::protocol::manifest::ChunkRef;
use crate::store::CheckpointStore;

/// A lineage is merged when it has more chunks than this.
const MAX_CHUNKS: usize = 24;

/// A lineage of at most so many bytes is kept as one chunk.
const SMALL: u64 = 32 * 1024;

/// Carries a request out; returns the new lineage of each operator.
///
/// # Errors
/// Why it could not be made durable, in words. Nothing that was durable before is affected.
pub fn write(store: &mut dyn CheckpointStore, request: &WriteRequest) -> Result<Vec<Vec<ChunkRef>>, String> {
    request.operators.iter().map(|operator| write_operator(store, operator)).collect()
}

fn write_operator(store: &mut dyn CheckpointStore, write: &OperatorWrite) -> Result<Vec<ChunkRef>, String> {
    let mut lineage = write.lineage.clone();
    if write.fresh.is_empty() {
        return Ok(lineage);
    }
    let mut id = write.id.clone();
    if should_merge(write) {
        let mut chunks = Vec::with_capacity(lineage.len() + write.fresh.len());
        for chunk in &lineage {
            chunks.push(store.read_chunk(chunk).map_err(|error| error.to_string())?);
        }
        chunks.extend(write.fresh.iter().map(|fresh| fresh.to_vec()));
        let merged = merge_chunks(&chunks)
            .map_err(|error| format!("the state of {} could not be merged: {error}", write.id.operator))?;
        return Ok(vec![store.put_chunk(id, &merged).map_err(|error| error.to_string())?]);
    }
    for fresh in &write.fresh {
        lineage.push(store.put_chunk(id.clone(), fresh).map_err(|error| error.to_string())?);
        id.sequence += 1;
    }
    Ok(lineage)
}

fn should_merge(write: &OperatorWrite) -> bool {
    let Some((base, deltas)) = write.lineage.split_first() else { return write.fresh.len() > 1 };
    let fresh: u64 = write.fresh.iter().map(|fresh| fresh.len() as u64).sum();
    let deltas_bytes: u64 = deltas.iter().map(ChunkRef::len).sum::<u64>() + fresh;
    base.len() + deltas_bytes <= SMALL || deltas_bytes > base.len() || deltas.len() + write.fresh.len() >= MAX_CHUNKS
}
