//! From a loaded checkpoint to what each subtask restores.
//!
//! State belongs to operators, not to the chains they happened to run in: a job whose chains have changed finds the
//! state of every operator again. An operator that the checkpoint does not know begins with nothing.

use std::collections::BTreeMap;

use piton_actors::WATERMARK_MIN;

use crate::ids::SubtaskId;
use crate::protocol::manifest::{OperatorSnapshot, SubtaskSnapshot};
use crate::protocol::subtask::Restored;
use crate::runtime::storage::Loaded;

/// Splits a checkpoint; `members` names the nodes of each subtask.
pub(crate) fn split(loaded: Loaded, ids: &[SubtaskId], members: &[Vec<String>]) -> BTreeMap<SubtaskId, Box<Restored>> {
    let Loaded { manifest, chunks } = loaded;
    let window = manifest.window;
    let mut whole = BTreeMap::new();
    let mut parts = BTreeMap::new();
    for (snapshot, chunks) in manifest.subtasks.into_iter().zip(chunks) {
        let unchanged = ids.iter().zip(members).any(|(id, names)| {
            *id == snapshot.subtask && names.iter().eq(snapshot.operators.iter().map(|operator| &operator.operator))
        });
        if unchanged {
            whole.insert(snapshot.subtask.clone(), (snapshot, chunks));
            continue;
        }
        let frame = SubtaskSnapshot { operators: Vec::new(), ..snapshot.clone() };
        for (operator, chunks) in snapshot.operators.into_iter().zip(chunks) {
            let key = (operator.operator.clone(), snapshot.subtask.index);
            parts.insert(key, (frame.clone(), operator, chunks));
        }
    }
    let mut restored = BTreeMap::new();
    for (id, names) in ids.iter().zip(members) {
        let (snapshot, chunks) = match whole.remove(id) {
            Some(whole) => whole,
            None => assemble(id, names, &mut parts),
        };
        restored.insert(id.clone(), Box::new(Restored { window, snapshot, chunks, abandoned: Vec::new() }));
    }
    restored
}

type Part = (SubtaskSnapshot, OperatorSnapshot, Vec<Vec<u8>>);

/// Puts the snapshot of a subtask together from those of its operators.
///
/// Watermarks of channels and round-robin cursors belong to edges that may no longer be there: they begin anew, which
/// is safe, since a watermark only rises again and a cursor only spreads records.
fn assemble(
    id: &SubtaskId,
    names: &[String],
    parts: &mut BTreeMap<(String, u32), Part>,
) -> (SubtaskSnapshot, Vec<Vec<Vec<u8>>>) {
    let mut snapshot = SubtaskSnapshot {
        subtask: id.clone(),
        finished: false,
        watermark: WATERMARK_MIN,
        channel_watermarks: Vec::new(),
        cursors: Vec::new(),
        read: 0,
        written: 0,
        set_aside: 0,
        letters: Vec::new(),
        operators: Vec::new(),
    };
    let mut chunks = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let Some((frame, operator, kept)) = parts.remove(&(name.clone(), id.index)) else {
            snapshot.operators.push(OperatorSnapshot::empty(name));
            chunks.push(Vec::new());
            continue;
        };
        if position == 0 {
            snapshot.finished = frame.finished;
            snapshot.watermark = frame.watermark;
        }
        if operator.position.is_some() {
            snapshot.read = frame.read;
        }
        if position + 1 == names.len() {
            snapshot.written = frame.written;
        }
        snapshot.operators.push(operator);
        chunks.push(kept);
    }
    (snapshot, chunks)
}
