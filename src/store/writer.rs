//! Makes a cut durable: adds chunks to the lineages of a subtask's state, and merges lineages that have grown long.
//!
//! It runs where the store lives, never on an actor; a large chunk comes to its file before, on a thread of its own, and is
//! never in memory as a whole. A lineage small enough to travel inside the manifest is kept as
//! one chunk. A longer one is merged in tiers, as log-structured stores do it: many deltas of about the same size
//! become one, and all become the new base when they outweigh the old one. So what is written stays proportional to
//! what has changed, and what a restore reads to the size of the state.

use piton_actors::state::{is_whole_chunk, merge_chunks};

use crate::protocol::fresh::FreshChunk;
use crate::protocol::lineage::{OperatorWrite, WriteRequest};
use crate::protocol::manifest::{ChunkId, ChunkRef};
use crate::store::{CheckpointStore, ChunkFile, ChunkWriter, INLINE_LIMIT};

/// A lineage of at most so many bytes is kept as one chunk, which then travels in the manifest.
const SMALL: u64 = INLINE_LIMIT as u64;

/// So many deltas of about the same size are merged into one.
const TIER: usize = 16;

/// Deltas are of about the same size if none is so many times as long as the newest.
const SAME_SIZE: u64 = 4;

/// Chunks of about so many bytes are written before the store is asked to keep them.
pub const LARGE: usize = 1 << 20;

/// What was done for an operator's part of a request before the store was asked to keep it.
#[derive(Debug, Default)]
pub enum Ahead {
    /// Nothing that the store needs to know.
    #[default]
    Nothing,
    /// The fresh chunk is in a file.
    Written(ChunkFile),
    /// The fresh chunk could not be brought to a file.
    Failed(String),
}

/// Does what can be done for a request without the store, which is asked for what writes a chunk of about so many bytes or
/// more.
pub fn ahead(
    request: &WriteRequest,
    large: usize,
    mut writer: impl FnMut(ChunkId) -> Result<Option<ChunkWriter>, String>,
) -> Vec<Ahead> {
    let mut ahead = |operator: &OperatorWrite| {
        if let Some(fresh) = alone(operator).filter(|fresh| fresh.size() >= large) {
            let written = writer(operator.id.clone()).and_then(|writer| match writer {
                None => Ok(Ahead::Nothing),
                Some(writer) => write_fresh(fresh, writer).map(Ahead::Written),
            });
            match written {
                Ok(Ahead::Nothing) => {}
                Ok(written) => return written,
                Err(error) => {
                    // It waits for the disk as bytes, which others can be merged with.
                    fresh.bytes().ok();
                    return Ahead::Failed(error);
                }
            }
        }
        // Why one cannot be written is told to whoever stores it.
        operator.fresh.iter().for_each(|fresh| drop(fresh.bytes()));
        Ahead::Nothing
    };
    request.operators.iter().map(&mut ahead).collect()
}

/// Writes a chunk piece by piece, unless it is in memory already.
fn write_fresh(fresh: &FreshChunk, writer: ChunkWriter) -> Result<ChunkFile, String> {
    let draft = fresh.draft();
    let written = match draft.as_ref().and_then(|draft| draft.in_order()) {
        Some(ordered) => writer(ordered.len(), &mut |to| ordered.write_to(to)),
        None => {
            let bytes = fresh.bytes()?;
            writer(bytes.len() as u64, &mut |to| to.write_all(bytes))
        }
    };
    written.map_err(|error| error.to_string())
}

/// Returns the chunk that is to be added as it is, if that is all there is to be done.
fn alone(write: &OperatorWrite) -> Option<&FreshChunk> {
    let [fresh] = &write.fresh[..] else { return None };
    let lengths: Vec<u64> = write.lineage.iter().map(ChunkRef::len).collect();
    let is_merged = !fresh.is_whole() && merge_from(&lengths, fresh.size() as u64, 1).is_some();
    (!is_merged).then_some(fresh)
}

/// Carries a request out, of which some may have been done `ahead`; returns the new lineage of each operator.
///
/// # Errors
/// Why it could not be made durable, in words. Nothing that was durable before is affected.
pub fn write(
    store: &mut dyn CheckpointStore,
    request: &WriteRequest,
    ahead: Vec<Ahead>,
) -> Result<Vec<Vec<ChunkRef>>, String> {
    let ahead = ahead.into_iter().chain(std::iter::repeat_with(Ahead::default));
    request.operators.iter().zip(ahead).map(|(operator, ahead)| write_operator(store, operator, ahead)).collect()
}

fn write_operator(
    store: &mut dyn CheckpointStore,
    write: &OperatorWrite,
    ahead: Ahead,
) -> Result<Vec<ChunkRef>, String> {
    let mut lineage = write.lineage.clone();
    if write.fresh.is_empty() {
        return Ok(lineage);
    }
    match ahead {
        Ahead::Nothing => {}
        Ahead::Failed(error) => return Err(error),
        Ahead::Written(file) => {
            if write.fresh.iter().any(|fresh| fresh.is_whole()) {
                lineage.clear();
            }
            lineage.push(store.put_file(file).map_err(|error| error.to_string())?);
            return Ok(lineage);
        }
    }
    let fresh_chunks = write.fresh.iter().map(|fresh| fresh.bytes()).collect::<Result<Vec<_>, String>>()?;
    let mut id = write.id.clone();
    if let Some(newest) = fresh_chunks.iter().rposition(|fresh| is_whole_chunk(fresh)) {
        // All that came before is void.
        let mut lineage = Vec::new();
        for fresh in &fresh_chunks[newest..] {
            lineage.push(store.put_chunk(id.clone(), fresh).map_err(|error| error.to_string())?);
            id.sequence += 1;
        }
        return Ok(lineage);
    }
    let lengths: Vec<u64> = lineage.iter().map(ChunkRef::len).collect();
    let fresh: u64 = fresh_chunks.iter().map(|fresh| fresh.len() as u64).sum();
    if let Some(first) = merge_from(&lengths, fresh, fresh_chunks.len()) {
        let mut chunks = Vec::with_capacity(lineage.len() - first + fresh_chunks.len());
        for chunk in lineage.drain(first..) {
            chunks.push(store.read_chunk(&chunk).map_err(|error| error.to_string())?);
        }
        chunks.extend(fresh_chunks.into_iter().cloned());
        let merged = merge_chunks(&chunks)
            .map_err(|error| format!("the state of {} could not be merged: {error}", write.id.operator))?;
        lineage.push(store.put_chunk(id, &merged).map_err(|error| error.to_string())?);
        return Ok(lineage);
    }
    for fresh in fresh_chunks {
        lineage.push(store.put_chunk(id.clone(), fresh).map_err(|error| error.to_string())?);
        id.sequence += 1;
    }
    Ok(lineage)
}

/// Returns the first chunk of a lineage that is to be merged with everything behind it, if any is.
fn merge_from(lengths: &[u64], fresh: u64, fresh_chunks: usize) -> Option<usize> {
    let (base, deltas) = lengths.split_first()?;
    let deltas_length = deltas.iter().sum::<u64>() + fresh;
    if base + deltas_length <= SMALL || deltas_length > *base {
        return Some(0);
    }
    let same_size = |length: &&u64| **length <= fresh.max(SMALL) * SAME_SIZE;
    let run = deltas.iter().rev().take_while(same_size).count();
    (run + fresh_chunks >= TIER).then_some(lengths.len() - run)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use piton_actors::Key;
    use piton_actors::state::{StateStore, ValueState};

    use super::*;
    use crate::ids::{Fence, WindowId};
    use crate::store::conformance::chunk_id;
    use crate::store::disk::{DiskFault, SimDisk};
    use crate::store::{OpenOptions, SimStore};

    const COUNT: ValueState<u64> = ValueState::new("count");

    /// What a cut of so many keys asks for.
    fn asked(state: &mut StateStore, sequence: u64, lineage: Vec<ChunkRef>, keys: u64) -> WriteRequest {
        for key in 0..keys {
            state.enter(Key::from(key));
            state.value(COUNT).set(sequence).unwrap();
        }
        let fresh = vec![Arc::new(state.cut().unwrap().into())];
        let operator = OperatorWrite { id: chunk_id("region", Fence::default(), sequence), lineage, fresh };
        WriteRequest { window: WindowId(sequence), operators: vec![operator] }
    }

    fn open(disk: &SimDisk) -> SimStore {
        SimStore::open(disk.clone(), OpenOptions::default()).unwrap().0
    }

    fn ahead_of(store: &mut SimStore, request: &WriteRequest) -> Vec<Ahead> {
        ahead(request, 1, |id| store.chunk_writer(id).map_err(|error| error.to_string()))
    }

    /// Has a request written ahead, and kept; returns what the lineage is then.
    fn written(store: &mut SimStore, request: &WriteRequest) -> Result<Vec<ChunkRef>, String> {
        let ahead = ahead_of(store, request);
        write(store, request, ahead).map(|mut lineages| lineages.remove(0))
    }

    fn counts(store: &mut SimStore, lineage: &[ChunkRef]) -> Vec<Option<u64>> {
        let chunks: Vec<Vec<u8>> = lineage.iter().map(|chunk| store.read_chunk(chunk).unwrap()).collect();
        let mut restored = StateStore::new(0..8, 8);
        restored.restore(chunks).unwrap();
        let mut count = |key: u64| {
            restored.enter(Key::from(key));
            restored.value(COUNT).get().unwrap().copied()
        };
        [0, 100, 19_999].map(&mut count).to_vec()
    }

    #[test]
    fn what_is_written_ahead_is_what_would_have_been_kept() {
        let mut store = open(&SimDisk::new(1));
        let mut state = StateStore::new(0..8, 8);
        let whole = asked(&mut state, 1, Vec::new(), 20_000);
        assert!(matches!(ahead_of(&mut store, &whole)[..], [Ahead::Written(_)]));
        let lineage = written(&mut store, &whole).unwrap();
        assert_eq!(store.read_chunk(&lineage[0]).unwrap(), *whole.operators[0].fresh[0].bytes().unwrap());
        // What changed goes behind it; or is merged with it, for which there is nothing to do ahead.
        let some = asked(&mut state, 2, lineage, 100);
        let lineage = written(&mut store, &some).unwrap();
        assert_eq!((lineage.len(), counts(&mut store, &lineage)), (2, vec![Some(2), Some(1), Some(1)]));
        let most = asked(&mut state, 3, lineage, 9_000);
        let lineage = written(&mut store, &most).unwrap();
        let most = asked(&mut state, 4, lineage, 9_000);
        let lineage = written(&mut store, &most).unwrap();
        assert_eq!(lineage.len(), 4);
        let again = asked(&mut state, 5, lineage, 9_000);
        assert!(matches!(ahead_of(&mut store, &again)[..], [Ahead::Nothing]));
        let lineage = written(&mut store, &again).unwrap();
        assert_eq!((lineage.len(), counts(&mut store, &lineage)), (1, vec![Some(5), Some(5), Some(1)]));
    }

    #[test]
    fn a_disk_that_fails_or_a_store_that_was_opened_again_costs_one_attempt() {
        let disk = SimDisk::new(1);
        let mut store = open(&disk);
        let mut state = StateStore::new(0..8, 8);
        let first = asked(&mut state, 1, Vec::new(), 20_000);
        let lineage = written(&mut store, &first).unwrap();
        let second = asked(&mut state, 2, lineage, 100);
        for (call, fault) in [(0, DiskFault::Full), (0, DiskFault::Write), (1, DiskFault::Sync), (2, DiskFault::Write)]
        {
            disk.fail_at(disk.calls() + call, fault);
            let failed = written(&mut store, &second).unwrap_err();
            assert!(failed.contains("cannot write"), "{failed}");
            assert!(
                !disk.files().iter().any(|(path, _)| path.to_string_lossy().ends_with(".tmp")),
                "its place is free"
            );
        }
        let ahead = ahead_of(&mut store, &second);
        drop(store);
        let mut store = open(&disk);
        let gone = write(&mut store, &second, ahead).unwrap_err();
        assert!(gone.contains("cannot write"), "{gone}");
        let lineage = written(&mut store, &second).unwrap();
        assert_eq!(lineage.len(), 2);
    }

    #[test]
    fn a_small_lineage_is_one_chunk() {
        assert_eq!(merge_from(&[], 100, 1), None);
        assert_eq!(merge_from(&[100], 100, 1), Some(0));
        assert_eq!(merge_from(&[SMALL], 100, 1), None);
    }

    #[test]
    fn one_percent_of_change_writes_less_than_five_percent_of_the_state() {
        let (state, change) = (1_000_000_000, 10_000_000);
        let mut lengths = vec![state];
        let mut written = 0;
        let checkpoints = 1_000;
        for _ in 0..checkpoints {
            match merge_from(&lengths, change, 1) {
                Some(0) => lengths = vec![state],
                Some(first) => {
                    let merged = lengths.drain(first..).sum::<u64>() + change;
                    lengths.push(merged);
                }
                None => lengths.push(change),
            }
            written += lengths.last().unwrap();
            assert!(lengths.len() < 64, "{} chunks", lengths.len());
            assert!(lengths.iter().sum::<u64>() <= 2 * state + change);
        }
        assert!(written / checkpoints < state / 20, "{} bytes a checkpoint", written / checkpoints);
    }
}
