//! A sink whose output outlives the process, for tests that kill it.
#![allow(dead_code, reason = "every test uses its part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use piton::prelude::*;
use piton::{Delivery, Rows};
use serde::{Deserialize, Serialize};

/// Publishes into files, in two phases: one for each subtask and window.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    folder: PathBuf,
    #[serde(skip)]
    index: u32,
    #[serde(skip)]
    rows: Vec<(u64, u64)>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Who made it: after a change of the parallelism, another may commit it again.
    index: u32,
    window: WindowId,
    rows: Vec<(u64, u64)>,
}

impl Sink for Files {
    type In = (u64, u64);
    type Pending = Part;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<Part>, subtask: &Subtask) -> Result {
        self.index = subtask.index;
        std::fs::create_dir_all(&self.folder)?;
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<(u64, u64)>>) -> Result {
        self.rows.extend_from_slice(&batch);
        Ok(())
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<Part>> {
        let rows = std::mem::take(&mut self.rows);
        Ok((!rows.is_empty()).then_some(Part { index: self.index, window, rows }))
    }

    async fn commit(&mut self, part: Part) -> Result {
        let name = format!("{}-{:020}", part.index, part.window.0);
        let hidden = self.folder.join(format!(".{name}"));
        std::fs::write(&hidden, serde_json::to_vec(&part.rows)?)?;
        std::fs::rename(hidden, self.folder.join(name))?;
        Ok(())
    }
}

/// Returns what was published in a folder, subtask by subtask and window by window.
pub(crate) fn published_in(folder: &Path) -> Vec<(u64, u64)> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    files.sort();
    let read = |path: PathBuf| serde_json::from_slice::<Vec<(u64, u64)>>(&std::fs::read(path).unwrap()).unwrap();
    files.into_iter().flat_map(read).collect()
}
