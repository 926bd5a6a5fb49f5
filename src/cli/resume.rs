//! From where a job starts, and what has to be out of the way for that.
//!
//! Nothing is removed unless it was asked for in so many words, and nothing is removed before it is clear that
//! everything that was asked for can be done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::kept::Id;
use crate::cli::output::{FileSink, file_sinks, remove};
use crate::cli::owner::{self, Claim};
use crate::cli::rewind::{finish, rewind};
use crate::cli::text::count;
use crate::config::Resume;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::manifest::Manifest;
use crate::runtime::fit;
use crate::store::{CheckpointStore, OpenOptions, SledStore, StoreError};
use crate::topology::{Continued, Plan, Unmapped};

/// What may be removed to begin anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Discard {
    pub(super) state: bool,
    pub(super) output: bool,
}

/// Opens the state directory of a job, making it if it is not there.
pub(super) type OpenStore<'a> = &'a dyn Fn() -> Result<Box<dyn CheckpointStore>, StoreError>;

/// Opens the state directory of a job, as `open_store` does, for a start from `resume`, and says whose its sinks' folders
/// are.
///
/// # Errors
/// Of kind `State` if it cannot be opened, or if such a start would lose or mix up something; of kind `Config` if the
/// request does not make sense.
pub(super) fn open(
    plan: &Plan,
    resume: &Resume,
    discard: Discard,
    unmapped: Unmapped,
    open_store: OpenStore<'_>,
) -> Result<(Box<dyn CheckpointStore>, Claim)> {
    let path = &plan.settings.store.path;
    let id = match resume {
        Resume::Id(id) => Some(Id::read(id)?),
        Resume::Latest | Resume::None => None,
    };
    if *resume != Resume::None && discard.state {
        return Err(Error::config("`--discard-state` is for beginning anew: it goes with `--resume none`"));
    }
    if *resume == Resume::Latest && discard.output {
        return Err(Error::config(
            "`--discard-output` is for beginning anew or going back: it goes with `--resume none` or `--resume ID`",
        ));
    }
    owner::check(plan)?;
    if discard.state {
        let files = begin_anew(plan, &file_sinks(plan), discard)?;
        // The state first: if this is cut short, files without a checkpoint are noticed; rows missing from what a
        // checkpoint has committed would not be.
        SledStore::discard(path).map_err(refused)?;
        remove(&files)?;
        return Ok((open_store().map_err(refused)?, owner::claim(plan, true)?));
    }
    if id.is_some() && !SledStore::has_savepoints(path) && !SledStore::is_there(path).map_err(refused)? {
        let place = path.display();
        return Err(Error::state(format!("there is nothing to go on from in \"{place}\" yet: leave out `--resume`")));
    }
    let mut store = open_store().map_err(refused)?;
    if *resume == Resume::None {
        refuse_checkpoints(plan, store.as_mut())?;
    }
    if let Some(id) = &id {
        rewind(plan, store.as_mut(), id, unmapped, discard.output)?;
    }
    let heads = heads(plan, store.as_mut(), unmapped)?;
    finish(plan, &heads)?;
    let mut fresh = file_sinks(plan);
    fresh.retain(|sink| heads[sink.region].1.is_none());
    let files = begin_anew(plan, &fresh, discard)?;
    let begins = !fresh.is_empty();
    remove(&files)?;
    let has_finished = heads.iter().all(|(_, manifest)| manifest.as_ref().is_some_and(|manifest| manifest.finished));
    let claim = if has_finished { owner::left_behind(plan) } else { owner::claim(plan, begins)? };
    Ok((store, claim))
}

/// Opens the state directory of a job, making it if it is not there.
pub(super) fn open_store(plan: &Plan, options: OpenOptions) -> Result<Box<dyn CheckpointStore>, StoreError> {
    let (store, report) = SledStore::open(&plan.settings.store.path, options)?;
    for (region, from, to) in &report.rolled_back {
        tracing::warn!(region, %from, %to, "the newest checkpoint was damaged: the region goes back");
    }
    Ok(Box::new(store))
}

/// Makes of a store's error what the command ends with.
pub(super) fn refused(error: StoreError) -> Error {
    let can_go_back = matches!(error, StoreError::Damaged(_));
    let mut lines = vec![error.to_string()];
    if can_go_back {
        lines.push(
            "`piton run --allow-rollback` starts from the newest checkpoint that is whole, if there is one; \
             rows after it may be written again"
                .to_string(),
        );
    }
    Error::new(ErrorKind::State, lines)
}

/// Returns for each region of the plan its name in the store, and its newest checkpoint.
fn heads(plan: &Plan, store: &mut dyn CheckpointStore, unmapped: Unmapped) -> Result<Vec<(String, Option<Manifest>)>> {
    let mut manifests = BTreeMap::new();
    for region in store.regions().map_err(refused)? {
        let Some((window, _)) = store.head(&region).map_err(refused)? else { continue };
        manifests.insert(region.clone(), store.load(&region, window).map_err(refused)?);
    }
    let continuation = fit::continuation(plan, &manifests, unmapped)?;
    let head = |region: Continued| {
        let manifest = manifests.get(&region.name).filter(|_| region.mapping.is_some()).cloned();
        (region.name, manifest)
    };
    Ok(continuation.regions.into_iter().map(head).collect())
}

fn refuse_checkpoints(plan: &Plan, store: &mut dyn CheckpointStore) -> Result {
    for region in store.regions().map_err(refused)? {
        let Some((window, _)) = store.head(&region).map_err(refused)? else { continue };
        let place = plan.settings.store.path.display();
        return Err(Error::new(
            ErrorKind::State,
            vec![
                format!(
                    "the state directory \"{place}\" holds checkpoints (region \"{region}\" up to window {window})"
                ),
                "to continue from them, leave out `--resume none`; to lose them and begin anew, add `--discard-state`"
                    .into(),
            ],
        ));
    }
    Ok(())
}

/// Returns the files that have to go before sinks can begin anew.
///
/// # Errors
/// Of kind `State` if there are committed ones, and they may not be removed.
fn begin_anew(plan: &Plan, sinks: &[FileSink<'_>], discard: Discard) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut held = Vec::new();
    for sink in sinks {
        let own = sink.files()?;
        if !own.committed.is_empty() {
            let (name, folder) = (sink.name, sink.folder.display());
            held.push(format!("sink \"{name}\": {} in \"{folder}\"", count(own.committed.len() as u64, "file")));
        }
        if discard.output {
            files.extend(own.committed);
            files.extend(own.unfinished);
        }
    }
    if held.is_empty() || discard.output {
        return Ok(files);
    }
    let mut lines = vec![format!(
        "job \"{}\" would begin anew, but an earlier run of it, or of another job with such a sink, has left its output:",
        plan.settings.job.name
    )];
    lines.extend(held);
    let flags = if discard.state { "--discard-output" } else { "--resume none --discard-output" };
    lines.push(format!("move these files away, or add `{flags}` to remove them"));
    Err(Error::new(ErrorKind::State, lines))
}
