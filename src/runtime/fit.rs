//! Where each region of a job stands in a store, and whether its topology can go on from there.
//!
//! All of this is found out before the job runs and before anything is written.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Fence, WindowId};
use crate::protocol::commit::Commit;
use crate::protocol::manifest::Manifest;
use crate::runtime::build::RegionBlueprint;
use crate::runtime::restore;
use crate::store::{CheckpointStore, StoreError};
use crate::topology::{Continuation, Fingerprint, NodeKind, Plan, Unmapped};

/// A region and what the store holds of it.
pub(crate) struct Found {
    pub(crate) blueprint: RegionBlueprint,
    pub(crate) head: WindowId,
    /// If it has finished: how many records it has read and written.
    pub(crate) finished: Option<(u64, u64)>,
}

/// What a job goes on with.
pub(crate) struct Fit {
    /// The regions of the plan, in their order.
    pub(crate) regions: Vec<Found>,
    /// The newest checkpoints of regions of which nothing is left.
    pub(crate) abandoned: Vec<Manifest>,
    /// One line for everything whose state is dropped.
    pub(crate) losses: Vec<String>,
}

/// Finds out where each region stands.
///
/// # Errors
/// Of kind `State` if the topology does not fit, with all that does not.
pub(crate) fn look(plan: &Plan, store: &mut dyn CheckpointStore, unmapped: Unmapped) -> Result<Fit> {
    let mut manifests = BTreeMap::new();
    for region in store.regions().map_err(refused)? {
        let Some((head, _)) = store.head(&region).map_err(refused)? else { continue };
        manifests.insert(region.clone(), store.load(&region, head).map_err(refused)?);
    }
    fit(plan, manifests, unmapped)
}

/// Finds out whether a job can go on from these checkpoints, by their regions.
///
/// # Errors
/// As [`look`].
pub(crate) fn fit(plan: &Plan, mut manifests: BTreeMap<String, Manifest>, unmapped: Unmapped) -> Result<Fit> {
    let Continuation { regions, abandoned, losses } = continuation(plan, &manifests, unmapped)?;
    let mut misfits = Vec::new();
    let mut found = Vec::new();
    for (index, continued) in regions.into_iter().enumerate() {
        let mut blueprint = RegionBlueprint::of_plan(plan, index);
        blueprint.name = continued.name;
        let manifest = manifests.remove(&blueprint.name);
        let (Some(mapping), Some(manifest)) = (continued.mapping, manifest) else {
            found.push(Found { blueprint, head: WindowId::NONE, finished: None });
            continue;
        };
        blueprint.mapping = mapping;
        if let Err((_, error)) = restore::outline(&manifest, &blueprint) {
            misfits.push(error.message().to_string());
        }
        let sum = |count: fn(&crate::protocol::manifest::SubtaskSnapshot) -> u64| {
            manifest.subtasks.iter().map(count).sum::<u64>()
        };
        let is_over = manifest.finished && !reads_more(plan, index, &manifest, &blueprint);
        let finished = is_over.then(|| (sum(|subtask| subtask.read), sum(|subtask| subtask.written)));
        found.push(Found { blueprint, head: manifest.window, finished });
    }
    if !misfits.is_empty() {
        return Err(misfit(plan, misfits));
    }
    manifests.retain(|name, _| abandoned.contains(name));
    Ok(Fit { regions: found, abandoned: manifests.into_values().collect(), losses })
}

/// Returns which regions of the plan are which of the store's.
///
/// # Errors
/// As [`look`].
pub(crate) fn continuation(
    plan: &Plan,
    manifests: &BTreeMap<String, Manifest>,
    unmapped: Unmapped,
) -> Result<Continuation> {
    let mut prints = BTreeMap::new();
    for (name, manifest) in manifests {
        let print = Fingerprint::decode(&manifest.topology).map_err(|error| misfit(plan, vec![error]))?;
        prints.insert(name.clone(), print);
    }
    plan.continue_from(&prints, unmapped).map_err(|misfits| misfit(plan, misfits))
}

fn misfit(plan: &Plan, mut misfits: Vec<String>) -> Error {
    let place = plan.settings.store.path.display();
    misfits.insert(0, format!("the state in \"{place}\" does not fit the topology:"));
    misfits.push("start with `--resume none --discard-state`, or with another `--state`, to begin anew".into());
    Error::new(ErrorKind::State, misfits)
}

/// Returns whether a region has a source that its checkpoint does not know: it has not finished then, whatever that says.
fn reads_more(plan: &Plan, region: usize, manifest: &Manifest, blueprint: &RegionBlueprint) -> bool {
    let known = |name: &str| {
        let mut operators = manifest.subtasks.iter().flat_map(|subtask| &subtask.operators);
        operators.any(|operator| {
            let old = operator.operator.as_str();
            old == name || blueprint.mapping.name(old) == Some(name)
        })
    };
    let nodes = plan.regions[region].chains.iter().flat_map(|chain| &plan.chains[*chain].nodes);
    let mut sources = nodes.map(|node| &plan.nodes[*node]).filter(|node| matches!(node.kind, NodeKind::Source(..)));
    sources.any(|source| !known(&source.name))
}

/// Commits that nothing is left of a region: its number of windows stays, so that a later region of its name goes on
/// counting, and its older checkpoints stay as long as any.
///
/// # Errors
/// If it cannot be committed.
pub(crate) fn abandon(store: &mut dyn CheckpointStore, manifest: &Manifest, incarnation: u64) -> Result {
    let key_groups = Fingerprint::decode(&manifest.topology).map_or(0, |print| print.key_groups);
    let nothing = Fingerprint { key_groups, operators: BTreeMap::new(), edges: Vec::new() };
    let manifest = Manifest {
        window: manifest.window.next(),
        fence: Fence { incarnation, attempt: 0 },
        finished: true,
        copy_of: WindowId::NONE,
        topology: nothing.encode(),
        subtasks: Vec::new(),
        ..manifest.clone()
    };
    let region = manifest.region.clone();
    let outcomes = store.commit(vec![Commit { manifest, joined: Vec::new() }]);
    for outcome in outcomes {
        outcome
            .map_err(|error| Error::state(format!("the state of region \"{region}\" cannot be dropped: {error}")))?;
    }
    Ok(())
}

pub(crate) fn refused(error: StoreError) -> Error {
    Error::state(error.to_string())
}
