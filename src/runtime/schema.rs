//! Whether the state in a checkpoint can be read by the operators as they are now, before any of them runs.
//!
//! Only state that an operator declares can be checked: its types are known nowhere else. Of a piece of state with few
//! values every one is tried, of a larger one thousands, evenly spread; see [`piton_actors::state::check_declared`].
//!
//! Values that belong to no key stay with their subtask. If its operator gets another parallelism, only the first subtask
//! keeps its own, so that the user is warned of those that are lost.

use std::collections::BTreeSet;

use piton_actors::state::{StateReader, check_declared};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::WindowId;
use crate::protocol::failure::guard;
use crate::protocol::manifest::Manifest;
use crate::runtime::build::RegionBlueprint;
use crate::runtime::fit::{Found, refused};
use crate::store::CheckpointStore;
use crate::topology::Fingerprint;

/// Checks the newest checkpoints of all regions; returns one line for each operator that loses values although it can go
/// on.
///
/// # Errors
/// Of kind `State`, with one line for each operator whose state it cannot read.
pub(crate) fn check(store: &mut dyn CheckpointStore, regions: &[Found]) -> Result<Vec<String>> {
    let (mut misfits, mut losses) = (Vec::new(), Vec::new());
    for region in regions.iter().filter(|region| region.head > WindowId::NONE && region.finished.is_none()) {
        let manifest = store.load(&region.blueprint.name, region.head).map_err(refused)?;
        check_region(store, &manifest, &region.blueprint, &mut misfits)?;
        find_lost_locals(store, &manifest, &region.blueprint, &mut losses)?;
    }
    if misfits.is_empty() {
        return Ok(losses);
    }
    misfits.insert(0, "state in the checkpoint cannot be read by the operators as they are now:".to_string());
    Err(Error::new(ErrorKind::State, misfits))
}

fn check_region(
    store: &mut dyn CheckpointStore,
    manifest: &Manifest,
    blueprint: &RegionBlueprint,
    misfits: &mut Vec<String>,
) -> Result {
    let key_groups =
        Fingerprint::decode(&manifest.topology).map_or(blueprint.topology.key_groups, |was| was.key_groups);
    for (name, operator) in blueprint.chains.iter().flat_map(|chain| &chain.operators) {
        if operator.states.is_empty() {
            continue;
        }
        let parts = manifest.subtasks.iter().flat_map(|subtask| &subtask.operators);
        for part in parts.filter(|part| blueprint.mapping.name(&part.operator) == Some(name)) {
            let chunks = part.chunks.iter().map(|chunk| store.read_chunk(chunk).map_err(refused));
            let chunks = chunks.collect::<Result<Vec<_>>>()?;
            // What converts a value is the user's, and may panic.
            if let Err(failure) = guard(name, || check_declared(&operator.states, &chunks, key_groups)) {
                misfits.push(format!("operator \"{name}\": {}", failure.message));
                // Its other subtasks have the same to say.
                break;
            }
        }
    }
    Ok(())
}

/// Finds values that belong to no key of subtasks beside the first, of operators whose parallelism is another than it was.
fn find_lost_locals(
    store: &mut dyn CheckpointStore,
    manifest: &Manifest,
    blueprint: &RegionBlueprint,
    losses: &mut Vec<String>,
) -> Result {
    let key_groups =
        Fingerprint::decode(&manifest.topology).map_or(blueprint.topology.key_groups, |was| was.key_groups);
    for chain in &blueprint.chains {
        for (name, _) in &chain.operators {
            let parts = manifest.subtasks.iter().flat_map(|subtask| {
                let index = subtask.subtask.index;
                subtask.operators.iter().map(move |operator| (index, operator))
            });
            let parts: Vec<_> =
                parts.filter(|(_, part)| blueprint.mapping.name(&part.operator) == Some(name)).collect();
            if parts.len() == chain.parallelism as usize {
                continue;
            }
            let (mut names, mut subtasks) = (BTreeSet::new(), 0_u32);
            for (_, part) in parts.iter().filter(|(index, _)| *index > 0) {
                let chunks = part.chunks.iter().map(|chunk| store.read_chunk(chunk).map_err(refused));
                let chunks = chunks.collect::<Result<Vec<_>>>()?;
                let reader = StateReader::open(&chunks, key_groups).map_err(|error| Error::state(error.to_string()))?;
                let locals = reader.locals();
                subtasks += u32::from(!locals.is_empty());
                names.extend(locals.into_keys().map(str::to_string));
            }
            if !names.is_empty() {
                let names = names.into_iter().collect::<Vec<_>>().join("\", \"");
                losses.push(format!(
                    "operator \"{name}\": its parallelism was {} and is {} now; \"{names}\" belongs to no key, so that what \
                     {subtasks} of its subtasks have kept there is dropped: only that of the first one stays",
                    parts.len(),
                    chain.parallelism
                ));
            }
        }
    }
    Ok(())
}
