//! Savepoints as folders beside the regions, each with all that it needs.
//!
//! ```text
//! savepoints/NAME/SAVEPOINT                   what it says of itself
//! savepoints/NAME/regions/REGION/MANIFEST     the manifest of a region
//! savepoints/NAME/regions/REGION/blobs/CHUNK  its chunks: other names of the same files, where the disk can do that
//! ```
//!
//! While it is made, the folder has a name that ends in `.tmp`; opening the store sweeps what is left of such.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{self, Record};
use super::region::{self, Depth};
use super::{FileStore, blob, commit, names};
use crate::ids::WindowId;
use crate::protocol::manifest::{ChunkRef, Manifest};
use crate::store::StoreError;
use crate::store::catalogue::{Batch, Catalogue};
use crate::store::disk::{Disk, list_or_empty, remove_tree};
use crate::store::savepoint::{Savepoint, Savepoints};

const SAVEPOINT: &str = "SAVEPOINT";
const MANIFEST: &str = "MANIFEST";

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |error| StoreError::io(what, &path, error)
}

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    fn savepoint_folder(&self, name: &str) -> PathBuf {
        self.dir.join(names::SAVEPOINTS).join(names::savepoint(name))
    }

    /// Returns where a region's part of a savepoint is.
    fn saved_region(folder: &Path, region: &str) -> PathBuf {
        region::folder(folder, region)
    }

    fn read_savepoint(&self, folder: &Path) -> Result<Savepoint, StoreError> {
        let path = folder.join(SAVEPOINT);
        let damaged = |reason: String| StoreError::Damaged(format!("{}: {reason}", path.display()));
        let sealed = match self.disk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("the file is missing".to_owned()));
            }
            other => other.map_err(failed("cannot read", &path))?,
        };
        let body = record::unseal(&sealed).map_err(damaged)?;
        let savepoint: Savepoint =
            record::decode(body).ok_or_else(|| damaged("it is whole but cannot be understood".to_owned()))?;
        Ok(savepoint)
    }

    fn saved_record(&self, folder: &Path, region: &str, window: Option<WindowId>) -> Result<Record, StoreError> {
        let path = Self::saved_region(folder, region).join(MANIFEST);
        match self.disk.read(&path) {
            Ok(sealed) => match window {
                Some(window) => record::open(&sealed, &path, region, window),
                None => record::unseal(&sealed)
                    .ok()
                    .and_then(record::decode)
                    .ok_or_else(|| StoreError::Damaged(format!("{}: the manifest is damaged", path.display()))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Damaged(format!("{}: the file is missing", path.display())))
            }
            Err(error) => Err(StoreError::io("cannot read", &path, error)),
        }
    }

    fn add_part(&mut self, folder: &Path, record: &Record) -> io::Result<()> {
        let region = &record.manifest.region;
        let (from, to) = (region::folder(&self.dir, region), Self::saved_region(folder, region));
        let savepoints = self.dir.join(names::SAVEPOINTS);
        self.disk.create_dir(&savepoints)?;
        self.disk.sync_dir(&self.dir)?;
        let blobs = to.join(names::BLOBS);
        for dir in [folder, &folder.join(names::REGIONS), &to, &blobs] {
            self.disk.create_dir(dir)?;
        }
        for chunk in record.manifest.chunks() {
            let ChunkRef::Blob { id, .. } = chunk else { continue };
            let name = region::blob_path(&to, id);
            match self.disk.link(&region::blob_path(&from, id), &name) {
                // Two operators may list the same chunk, and a part may be added again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        let sealed = record::seal(&record::encode(record));
        self.disk.write_new(&to.join(MANIFEST), &sealed)?;
        for dir in [&blobs, &to, &folder.join(names::REGIONS)] {
            self.disk.sync_dir(dir)?;
        }
        Ok(())
    }

    fn saved_regions(&self, folder: &Path) -> Result<Vec<Record>, StoreError> {
        let regions = folder.join(names::REGIONS);
        let mut records = Vec::new();
        for entry in list_or_empty(&self.disk, &regions).map_err(failed("cannot list", &regions))? {
            let path = regions.join(&entry.name).join(MANIFEST);
            let sealed = self.disk.read(&path).map_err(failed("cannot read", &path))?;
            let record: Option<Record> = record::unseal(&sealed).ok().and_then(record::decode);
            records.push(
                record.ok_or_else(|| StoreError::Damaged(format!("{}: the manifest is damaged", path.display())))?,
            );
        }
        Ok(records)
    }

    /// Forgets checkpoints that are not needed any more.
    fn forget_checkpoints(&mut self, region: &str, windows: &[WindowId]) -> Result<(), StoreError> {
        let Some(kept) = self.regions.get(region) else { return Ok(()) };
        let mut batch = Batch::default();
        for window in windows {
            if let Some(retained) = kept.retained.get(window) {
                commit::forget(&mut batch, kept.number, *window, retained);
            }
        }
        let applied = self.catalogue.apply(batch);
        self.poison(applied)?;
        let gone = self.regions.get_mut(region).map(|region| region.forget(windows)).unwrap_or_default();
        for path in gone {
            self.disk.remove(&path).map_err(failed("cannot remove", &path))?;
        }
        Ok(())
    }

    /// Returns what is wrong with savepoints, one line for each.
    pub(super) fn verify_savepoints(&mut self) -> Vec<String> {
        let savepoints = match self.list_savepoints() {
            Ok(savepoints) => savepoints,
            Err(error) => return vec![error.to_string()],
        };
        let mut damage = Vec::new();
        for savepoint in savepoints {
            let folder = self.savepoint_folder(&savepoint.name);
            for (region, window) in &savepoint.regions {
                let checked = self.saved_record(&folder, region, Some(*window)).and_then(|record| {
                    let folder = Self::saved_region(&folder, region);
                    region::check_chunks(&self.disk, &folder, &record.manifest, Depth::Content)
                });
                let line = |what: String| format!("savepoint \"{}\": {what}", savepoint.name);
                match checked {
                    Ok(found) => damage.extend(found.into_iter().map(line)),
                    Err(error) => damage.push(line(error.to_string())),
                }
            }
        }
        damage
    }
}

impl<D: Disk, C: Catalogue<D>> Savepoints for FileStore<D, C> {
    fn add_to_savepoint(&mut self, name: &str, region: &str, window: WindowId) -> Result<(), StoreError> {
        let record = self.record(region, window)?;
        let folder = names::unfinished(&self.savepoint_folder(name));
        self.add_part(&folder, &record).map_err(failed("cannot make", &folder))
    }

    fn seal_savepoint(&mut self, name: &str, job: &str, created_ms: i64) -> Result<Savepoint, StoreError> {
        let folder = self.savepoint_folder(name);
        let unfinished = names::unfinished(&folder);
        if self.disk.list(&folder).is_ok() {
            self.abort_savepoint(name)?;
            let what = format!("there is a savepoint \"{name}\" already: drop it first, or take another name");
            return Err(StoreError::Io { what, source: io::ErrorKind::AlreadyExists.into() });
        }
        let mut savepoint =
            Savepoint { name: name.to_owned(), job: job.to_owned(), created_ms, regions: BTreeMap::new(), bytes: 0 };
        for Record { manifest, .. } in self.saved_regions(&unfinished)? {
            savepoint.bytes += manifest.bytes();
            savepoint.regions.insert(manifest.region, manifest.window);
        }
        let sealed = record::seal(&record::encode(&savepoint));
        let savepoints = self.dir.join(names::SAVEPOINTS);
        let made = self
            .disk
            .write_new(&unfinished.join(SAVEPOINT), &sealed)
            .and_then(|()| self.disk.sync_dir(&unfinished))
            .and_then(|()| self.disk.rename(&unfinished, &folder))
            .and_then(|()| self.disk.sync_dir(&savepoints));
        made.map_err(failed("cannot make", &folder))?;
        Ok(savepoint)
    }

    fn abort_savepoint(&mut self, name: &str) -> Result<(), StoreError> {
        let unfinished = names::unfinished(&self.savepoint_folder(name));
        match remove_tree(&self.disk, &unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(failed("cannot remove", &unfinished)),
        }
    }

    fn drop_savepoint(&mut self, name: &str) -> Result<bool, StoreError> {
        let folder = self.savepoint_folder(name);
        let unfinished = names::unfinished(&folder);
        // Under its temporary name it is none any more, whatever happens then.
        match self.disk.rename(&folder, &unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(failed("cannot remove", &folder))?,
        }
        let savepoints = self.dir.join(names::SAVEPOINTS);
        self.disk
            .sync_dir(&savepoints)
            .and_then(|()| remove_tree(&self.disk, &unfinished))
            .map_err(failed("cannot remove", &unfinished))?;
        Ok(true)
    }

    fn list_savepoints(&mut self) -> Result<Vec<Savepoint>, StoreError> {
        let savepoints = self.dir.join(names::SAVEPOINTS);
        let mut found = Vec::new();
        for entry in list_or_empty(&self.disk, &savepoints).map_err(failed("cannot list", &savepoints))? {
            if entry.is_dir && !entry.name.ends_with(names::UNFINISHED) {
                // A folder that was copied under another name is a savepoint of that name.
                let savepoint = self.read_savepoint(&savepoints.join(&entry.name))?;
                found.push(Savepoint { name: entry.name, ..savepoint });
            }
        }
        found.sort_by(|a, b| (a.created_ms, &a.name).cmp(&(b.created_ms, &b.name)));
        Ok(found)
    }

    fn load_savepoint(&mut self, name: &str, region: &str) -> Result<Manifest, StoreError> {
        Ok(self.saved_record(&self.savepoint_folder(name), region, None)?.manifest)
    }

    fn read_saved_chunk(&mut self, name: &str, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError> {
        match chunk {
            ChunkRef::Inline { bytes } => Ok(bytes.clone()),
            ChunkRef::Blob { id, len, checksum } => {
                let folder = Self::saved_region(&self.savepoint_folder(name), &id.region);
                blob::read(&self.disk, &region::blob_path(&folder, id), id, *len, *checksum)
            }
        }
    }

    fn reuse_savepoint(&mut self, name: &str, region: &str) -> Result<(), StoreError> {
        let manifest = self.load_savepoint(name, region)?;
        let from = Self::saved_region(&self.savepoint_folder(name), region);
        let damage = region::check_chunks(&self.disk, &from, &manifest, Depth::Content)?;
        if !damage.is_empty() {
            return Err(StoreError::Damaged(damage.join("; ")));
        }
        self.ensure_region(region)?;
        for chunk in manifest.chunks() {
            let ChunkRef::Blob { id, .. } = chunk else { continue };
            let kept = self.regions.get_mut(region).expect("the region was just made");
            if kept.has_blob(id) {
                continue;
            }
            let path = region::blob_path(&kept.folder, id);
            self.disk.link(&region::blob_path(&from, id), &path).map_err(failed("cannot make", &path))?;
            kept.reused_blob(id);
        }
        Ok(())
    }

    fn expire(&mut self, before_ms: i64) -> Result<Vec<String>, StoreError> {
        let mut expired = Vec::new();
        for savepoint in self.list_savepoints()? {
            if savepoint.created_ms < before_ms {
                self.drop_savepoint(&savepoint.name)?;
                expired.push(format!("savepoint \"{}\" has expired", savepoint.name));
            }
        }
        let regions: Vec<String> = self.regions.keys().cloned().collect();
        for name in regions {
            let region = &self.regions[&name];
            let newest = region.head.map(|(window, _)| window);
            let old = region
                .retained
                .iter()
                .filter(|(window, retained)| Some(**window) != newest && retained.info.completed_ms < before_ms);
            let windows: Vec<WindowId> = old.map(|(window, _)| *window).collect();
            if !windows.is_empty() {
                self.forget_checkpoints(&name, &windows)?;
            }
            let line = |window| format!("the checkpoint of window {window} of region \"{name}\" has expired");
            expired.extend(windows.into_iter().map(line));
        }
        Ok(expired)
    }
}

#[cfg(test)]
mod tests;
