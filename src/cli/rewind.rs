//! Going back to an older checkpoint, or to a savepoint.
//!
//! Windows are never counted twice: the older checkpoint becomes the newest one by a commit of its own, under the next
//! number, so that everything that holds for commits holds for this one. What was published in between would appear a
//! second time, so it has to go, and only goes if that was asked for: after the commit, since then a start that was cut
//! short finds out what is still to be removed ([`finish`]); rows missing from what is committed nobody would notice.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use piton_actors::Delivery;

use crate::cli::kept::{Id, Kept};
use crate::cli::output::{FileSink, file_sinks, remove};
use crate::cli::resume::refused;
use crate::cli::text::count;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Fence, WindowId};
use crate::protocol::commit::Commit;
use crate::protocol::manifest::{ChunkRef, Manifest};
use crate::runtime::fit;
use crate::store::CheckpointStore;
use crate::topology::{NodeKind, Plan, Unmapped};

/// Makes what is meant the newest checkpoint of every region.
///
/// # Errors
/// Of kind `State` if it is not there, does not fit the topology, or something newer is in the way.
pub(super) fn rewind(
    plan: &Plan,
    store: &mut dyn CheckpointStore,
    id: &Id,
    unmapped: Unmapped,
    discard_output: bool,
) -> Result {
    let kept = Kept::find(store, id)?;
    let mut heads = BTreeMap::new();
    for region in store.regions().map_err(refused)? {
        let Some((window, _)) = store.head(&region).map_err(refused)? else { continue };
        if !kept.manifests.contains_key(&region) {
            return Err(Error::state(format!(
                "region \"{region}\" has committed window {window}, but is not part of what is to be resumed from: \
                 windows are counted for each region apart, so resume from a savepoint, which has one of each"
            )));
        }
        heads.insert(region, window);
    }
    let is_head = |(region, manifest): (&String, &Manifest)| heads.get(region) == Some(&manifest.window);
    if kept.savepoint.is_none() && kept.manifests.iter().all(is_head) {
        return Ok(());
    }
    let fit = fit::fit(plan, kept.manifests.clone(), unmapped)?;
    let mut sinks = file_sinks(plan);
    let mut newer = Vec::new();
    let mut held = Vec::new();
    for sink in &mut sinks {
        let name = &fit.regions[sink.region].blueprint.name;
        let Some(manifest) = kept.manifests.get(name) else { continue };
        let files = sink.files_of(manifest.window.next()..=WindowId(u64::MAX))?;
        if !files.is_empty() {
            let (name, folder) = (sink.name, sink.folder.display());
            held.push(format!("sink \"{name}\": {} in \"{folder}\"", count(files.len() as u64, "newer file")));
        }
        newer.extend(files);
    }
    held.extend(elsewhere(plan, &heads, &kept));
    if !held.is_empty() && !discard_output {
        let mut lines = vec!["what was published after that checkpoint would be published a second time:".to_string()];
        lines.extend(held);
        lines.push("add `--discard-output` to remove it, or use `--resume latest`".to_string());
        return Err(Error::new(ErrorKind::State, lines));
    }
    commit(store, &kept, &heads)?;
    remove(&newer)
}

/// Returns what is said of sinks that publish elsewhere than in files: nobody can take that back.
fn elsewhere(plan: &Plan, heads: &BTreeMap<String, WindowId>, kept: &Kept) -> Vec<String> {
    let is_newer =
        |(region, manifest): (&String, &Manifest)| heads.get(region).is_some_and(|head| *head > manifest.window);
    if !kept.manifests.iter().any(is_newer) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for node in &plan.nodes {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        // What is only shown may be shown again.
        if sink.folder.is_none() && !sink.repeats && sink.delivery != Delivery::Immediate {
            lines.push(format!("sink \"{}\": what it has published cannot be taken back from here", node.name));
        }
    }
    lines
}

fn commit(store: &mut dyn CheckpointStore, kept: &Kept, heads: &BTreeMap<String, WindowId>) -> Result {
    // Chunks are named by the life that wrote them: the next life must not be one of those again.
    let lives = kept.manifests.values().flat_map(|manifest| {
        let of_chunk = |chunk: &ChunkRef| match chunk {
            ChunkRef::Blob { id, .. } => Some(id.fence.incarnation),
            ChunkRef::Inline { .. } => None,
        };
        manifest.chunks().filter_map(of_chunk).chain([manifest.fence.incarnation]).collect::<Vec<_>>()
    });
    let newest = lives.max().unwrap_or(0);
    let mut incarnation = store.claim_incarnation().map_err(refused)?;
    while incarnation <= newest {
        incarnation = store.claim_incarnation().map_err(refused)?;
    }
    let mut commits = Vec::new();
    for (region, manifest) in &kept.manifests {
        if let (Some(savepoint), Some(savepoints)) = (&kept.savepoint, store.savepoints()) {
            savepoints.reuse_savepoint(&savepoint.name, region).map_err(refused)?;
        }
        let head = heads.get(region).copied().unwrap_or(WindowId::NONE);
        let copy = Manifest {
            window: head.max(manifest.window).next(),
            fence: Fence { incarnation, attempt: 0 },
            copy_of: manifest.window,
            ..manifest.clone()
        };
        commits.push(Commit { manifest: copy, joined: Vec::new() });
    }
    for outcome in store.commit(commits) {
        outcome.map_err(|error| Error::state(format!("the older checkpoint cannot be made the newest: {error}")))?;
    }
    Ok(())
}

/// Removes what a start that went back, or one with another parallelism, was cut short of removing: files of windows
/// that were given up, and hidden files that nobody will ever publish.
///
/// # Errors
/// If a file cannot be removed.
pub(super) fn finish(plan: &Plan, heads: &[(String, Option<Manifest>)]) -> Result {
    let mut gone = Vec::new();
    for sink in file_sinks(plan) {
        let Some((_, Some(manifest))) = heads.get(sink.region) else { continue };
        if manifest.copy_of > WindowId::NONE {
            gone.extend(sink.files_of(manifest.copy_of.next()..=manifest.window)?);
        }
        gone.extend(strays(&sink, manifest)?);
    }
    remove(&gone)
}

/// Returns the hidden files of a sink that no pending output names, if the sink has another parallelism than before:
/// its subtasks then only look for files of their own.
fn strays(sink: &FileSink<'_>, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let operators = || manifest.subtasks.iter().flat_map(|subtask| &subtask.operators);
    let was = operators().filter(|operator| operator.operator == sink.name).count();
    if was == sink.parallelism as usize || was == 0 {
        return Ok(Vec::new());
    }
    let mut strays = sink.files()?.unfinished;
    strays.retain(|path| {
        let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let names_it = |output: &[u8]| output.windows(name.len().max(1)).any(|part| part == name);
        !operators().any(|operator| operator.pending.iter().any(|pending| names_it(&pending.output)))
    });
    Ok(strays)
}

impl FileSink<'_> {
    /// Returns its committed files of some windows.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn files_of(&self, windows: RangeInclusive<WindowId>) -> Result<Vec<PathBuf>> {
        let mut files = self.files()?.committed;
        files.retain(|path| {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let window = name.rsplit('-').next().and_then(|window| window.parse().ok());
            window.is_some_and(|window| windows.contains(&WindowId(window)))
        });
        Ok(files)
    }
}
