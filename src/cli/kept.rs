//! Checkpoints and savepoints by what somebody calls them: the number of a window, `latest`, or a name.

use std::collections::BTreeMap;

use crate::cli::resume::refused;
use crate::error::{Error, Result};
use crate::protocol::manifest::{ChunkRef, Manifest};
use crate::store::{CheckpointStore, Savepoint, check_savepoint_name};

/// What a checkpoint or savepoint is called on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Id {
    Latest,
    Window(u64),
    Savepoint(String),
}

impl Id {
    /// Reads what was written.
    ///
    /// # Errors
    /// Of kind `Config` if it is none of them.
    pub(super) fn read(text: &str) -> Result<Id> {
        if text == "latest" {
            return Ok(Id::Latest);
        }
        if let Ok(window) = text.parse() {
            return Ok(Id::Window(window));
        }
        match check_savepoint_name(text) {
            Ok(()) => Ok(Id::Savepoint(text.to_string())),
            Err(_) => Err(Error::config(format!(
                "\"{text}\" is no checkpoint: write the number of its window, the name of a savepoint, or `latest`"
            ))),
        }
    }
}

/// One checkpoint of each region, and where its chunks are.
pub(super) struct Kept {
    /// The savepoint that they are part of, if any.
    pub(super) savepoint: Option<Savepoint>,
    /// By region.
    pub(super) manifests: BTreeMap<String, Manifest>,
}

impl Kept {
    /// Finds what is meant.
    ///
    /// # Errors
    /// Of kind `State` if there is no such checkpoint, or it is damaged.
    pub(super) fn find(store: &mut dyn CheckpointStore, id: &Id) -> Result<Kept> {
        match id {
            Id::Latest => Kept::of_windows(store, None),
            Id::Window(window) => Kept::of_windows(store, Some(*window)),
            Id::Savepoint(name) => Kept::of_savepoint(store, name),
        }
    }

    /// Every region that has it; of one window, a region that does not have it is left out.
    fn of_windows(store: &mut dyn CheckpointStore, wanted: Option<u64>) -> Result<Kept> {
        let mut manifests = BTreeMap::new();
        let mut kept = Vec::new();
        for region in store.regions().map_err(refused)? {
            let list = store.list(&region).map_err(refused)?;
            let found = match wanted {
                Some(wanted) => list.iter().find(|info| info.window.0 == wanted),
                None => list.last(),
            };
            kept.extend(list.iter().map(|info| info.window));
            if let Some(info) = found {
                manifests.insert(region.clone(), store.load(&region, info.window).map_err(refused)?);
            }
        }
        if let (Some(wanted), true) = (wanted, manifests.is_empty()) {
            kept.sort_unstable();
            kept.dedup();
            let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
            let kept = if kept.is_empty() { "none".to_string() } else { kept.join(", ") };
            return Err(Error::state(format!("there is no checkpoint of window {wanted} (kept: {kept})")));
        }
        Ok(Kept { savepoint: None, manifests })
    }

    fn of_savepoint(store: &mut dyn CheckpointStore, name: &str) -> Result<Kept> {
        let unknown = |there: Vec<Savepoint>| {
            let names: Vec<String> = there.into_iter().map(|savepoint| savepoint.name).collect();
            let names = if names.is_empty() { "none".to_string() } else { names.join(", ") };
            Error::state(format!("there is no savepoint \"{name}\" (there are: {names})"))
        };
        let Some(savepoints) = store.savepoints() else { return Err(unknown(Vec::new())) };
        let all = savepoints.list_savepoints().map_err(refused)?;
        let Some(savepoint) = all.iter().find(|savepoint| savepoint.name == name).cloned() else {
            return Err(unknown(all));
        };
        let mut manifests = BTreeMap::new();
        for region in savepoint.regions.keys() {
            manifests.insert(region.clone(), savepoints.load_savepoint(name, region).map_err(refused)?);
        }
        Ok(Kept { savepoint: Some(savepoint), manifests })
    }

    /// Reads a chunk.
    ///
    /// # Errors
    /// Of kind `State` if it is damaged.
    pub(super) fn read_chunk(&self, store: &mut dyn CheckpointStore, chunk: &ChunkRef) -> Result<Vec<u8>> {
        let read = match (&self.savepoint, store.savepoints()) {
            (Some(savepoint), Some(savepoints)) => savepoints.read_saved_chunk(&savepoint.name, chunk),
            _ => store.read_chunk(chunk),
        };
        read.map_err(refused)
    }
}
