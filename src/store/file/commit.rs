//! The commit: chunks, dead letters, manifest, one batch of the catalogue, the slot in `HEAD`, each durable before the next.

use std::collections::BTreeSet;

use tracing::warn;

use super::letter_log::Extent;
use super::record::{self, Place, Record};
use super::region::{self, Retained};
use super::slots::{self, Content};
use super::{FileStore, keys, letters, names};
use crate::ids::WindowId;
use crate::protocol::commit::{Commit, CommitError, CommitLog};
use crate::protocol::manifest::{ChunkRef, JoinedOutput};
use crate::store::StoreError;
use crate::store::catalogue::{Batch, Catalogue};
use crate::store::disk::Disk;
use crate::store::history::History;

/// A commit of which everything but the batch and the slot is on its way to the disk.
struct Prepared {
    /// Which of the caller's commits it is.
    nth: usize,
    region: String,
    retained: Retained,
    expired: Vec<WindowId>,
    joined_total: u64,
    letters: Extent,
    history: History,
    slot: Content,
}

impl<D: Disk, C: Catalogue<D>> CommitLog for FileStore<D, C> {
    fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        let mut results = Vec::with_capacity(commits.len());
        let mut group = Vec::new();
        let mut domains = BTreeSet::new();
        for commit in commits {
            // A second commit of a domain sees the head that the first one makes.
            if !domains.insert(commit.domain().to_owned()) {
                results.extend(self.commit_group(std::mem::take(&mut group)));
                domains = BTreeSet::from([commit.domain().to_owned()]);
            }
            group.push(commit);
        }
        results.extend(self.commit_group(group));
        results
    }
}

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    /// Commits once in each of several domains.
    fn commit_group(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        let mut results: Vec<Result<(), CommitError>> = vec![Ok(()); commits.len()];
        let mut batch = Batch::default();
        let mut prepared = Vec::new();
        for (nth, commit) in commits.into_iter().enumerate() {
            match self.prepare(nth, commit, &mut batch) {
                Ok(commit) => prepared.push(commit),
                Err(error) => results[nth] = Err(error),
            }
        }
        if let Some(reason) = &self.poisoned {
            for Prepared { nth, .. } in prepared {
                results[nth] = Err(CommitError::Failed(reason.clone()));
            }
            return results;
        }
        if prepared.is_empty() {
            return results;
        }

        let applied = self.catalogue.apply(batch);
        let mut outcome = self.poison(applied);
        let mut gone = Vec::new();
        for Prepared { nth, region: name, retained, expired, joined_total, letters, history, slot } in prepared {
            if outcome.is_ok() {
                let region = self.regions.get_mut(&name).expect("the region was there when the commit was prepared");
                let path = region.head_file.path().to_owned();
                let written = region.head_file.write(&self.disk, &slot);
                outcome = self.poison(written.map_err(|error| StoreError::io("cannot write", &path, error)));
            }
            match &outcome {
                Ok(()) => {
                    let region = self.regions.get_mut(&name).expect("the region was there when its slot was written");
                    region.joined_total = joined_total;
                    region.letters = letters;
                    region.history = history;
                    gone.extend(region.committed(retained, &expired));
                }
                Err(error) => results[nth] = Err(CommitError::Unknown(error.to_string())),
            }
        }
        if outcome.is_ok() {
            for path in gone {
                if let Err(error) = self.disk.remove(&path) {
                    warn!(file = %path.display(), %error, "a file that is not needed any more cannot be removed");
                }
            }
        }
        results
    }

    /// Checks a commit, makes durable what it refers to, and adds it to the batch.
    fn prepare(&mut self, nth: usize, commit: Commit, batch: &mut Batch) -> Result<Prepared, CommitError> {
        let failed = |error: StoreError| CommitError::Failed(error.to_string());
        self.usable().map_err(failed)?;
        let Commit { manifest, joined } = commit;
        let (name, window, fence) = (manifest.region.clone(), manifest.window, manifest.fence);
        if let Some((head, by)) = self.region(&name).and_then(|region| region.head)
            && (window <= head || fence < by)
        {
            return Err(CommitError::Fenced { by, head });
        }
        if window == WindowId::NONE {
            return Err(CommitError::Failed(format!("region \"{name}\" cannot commit window 0: windows begin at 1")));
        }
        self.ensure_region(&name).map_err(failed)?;
        let region = &self.regions[&name];
        let unknown = manifest.chunks().find_map(|chunk| match chunk {
            ChunkRef::Blob { id, .. } if id.region != name || !region.has_blob(id) => Some(id),
            _ => None,
        });
        if let Some(id) = unknown {
            return Err(CommitError::Failed(format!(
                "the manifest of window {window} lists chunk {id}, which the store does not have"
            )));
        }

        let (number, joined_total) = (region.number, region.joined_total + joined.len() as u64);
        let brought = self.new_letters(number, &manifest).map_err(failed)?;
        let letters = self.log_letters(&name, &brought).map_err(failed)?;
        let history = self.regions[&name].history.behind(&manifest);
        let record = Record { manifest, joined, joined_total, letters, history };
        let encoded = record::encode(&record);
        let sealed = record::seal(&encoded);
        let place = if encoded.len() <= slots::MAX_BODY {
            Place::Catalogue
        } else {
            Place::File { len: sealed.len() as u64, checksum: xxhash_rust::xxh3::xxh3_64(&encoded) }
        };
        self.make_durable(&name, window, place, &sealed).map_err(failed)?;

        let region = &self.regions[&name];
        let expired = region.expired_by(window, self.options.retain);
        for window in &expired {
            forget(batch, region.number, *window, &region.retained[window]);
        }
        batch.put(keys::region(region.number), name.clone().into_bytes());
        add(batch, region.number, &record, place, &sealed);
        letters::add(batch, region.number, brought.values());
        let retained = Retained::new(&record.manifest, place, sealed.len());
        let slot = region::slot_content(&record, encoded, place);
        let history = record.history;
        Ok(Prepared { nth, region: name, retained, expired, joined_total, letters, history, slot })
    }

    fn make_durable(&mut self, name: &str, window: WindowId, place: Place, sealed: &[u8]) -> Result<(), StoreError> {
        let region = self.regions.get_mut(name).expect("the region of a commit is made before");
        let synced = region.sync_blobs(&self.disk);
        let folder = region.folder.clone();
        self.poison(synced)?;
        if place == Place::Catalogue {
            return Ok(());
        }
        let path = folder.join(names::manifest(window));
        let temporary = names::unfinished(&path);
        let written = self.disk.write_new(&temporary, sealed).and_then(|()| self.disk.rename(&temporary, &path));
        if let Err(error) = written {
            // Nothing refers to it: the store stays usable, and on a full disk the space is wanted now.
            self.disk.remove(&temporary).ok();
            return Err(StoreError::io("cannot write", &path, error));
        }
        let synced = self.disk.sync_dir(&folder).map_err(|error| StoreError::io("cannot sync", &folder, error));
        self.poison(synced)
    }
}

/// Adds to a batch what the catalogue knows of a window that becomes the newest of its region.
fn add(batch: &mut Batch, number: u32, record: &Record, place: Place, sealed: &[u8]) {
    let window = record.manifest.window;
    batch.put(keys::head(number), window.0.to_be_bytes().to_vec());
    add_retained(batch, number, window, place, sealed);
    for (nth, output) in record.joined.iter().enumerate() {
        add_joined(batch, number, window, nth as u32, output);
    }
}

/// Adds to a batch an output that becomes visible with it.
pub(super) fn add_joined(batch: &mut Batch, number: u32, window: WindowId, nth: u32, output: &JoinedOutput) {
    let sealed = record::seal(&record::encode(output));
    for (key, piece) in keys::pieces(&keys::joined_output(number, window, nth), &sealed) {
        batch.put(key, piece);
    }
}

/// Adds to a batch a window whose checkpoint is kept.
pub(super) fn add_retained(batch: &mut Batch, number: u32, window: WindowId, place: Place, sealed: &[u8]) {
    batch.put(keys::place(number, window), record::encode(&place));
    if place == Place::Catalogue {
        for (key, piece) in keys::pieces(&keys::record(number, window), sealed) {
            batch.put(key, piece);
        }
    }
}

/// Adds to a batch that a checkpoint is not kept any more.
pub(super) fn forget(batch: &mut Batch, number: u32, window: WindowId, retained: &Retained) {
    batch.remove(keys::place(number, window));
    if retained.place == Place::Catalogue {
        for key in keys::piece_keys(&keys::record(number, window), retained.len) {
            batch.remove(key);
        }
    }
}
