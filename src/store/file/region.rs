//! One region's folder, and what the store remembers of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::letter_log::Extent;
use super::names;
use super::record::{self, Place, Record};
use super::slots::{Content, Kind, SlotFile};
use super::{blob, slots};
use crate::ids::{Fence, WindowId};
use crate::protocol::manifest::{ChunkId, ChunkRef, Manifest};
use crate::protocol::mutant::{self, Mutant};
use crate::store::disk::{Disk, WriteContent, list_or_empty};
use crate::store::history::History;
use crate::store::{CheckpointInfo, ChunkFile, StoreError};

/// A chunk that no manifest has listed within this many commits of its region belongs to a checkpoint that was given
/// up: its file is removed.
const UNLISTED_COMMITS: u64 = 16;

/// Writes a chunk of a length to the file that it is going to have, under the name of one that is not finished.
pub(super) fn write_blob<D: Disk>(
    disk: &D,
    path: &Path,
    id: ChunkId,
    len: u64,
    chunk: &mut WriteContent<'_>,
) -> Result<ChunkFile, StoreError> {
    match blob::write(disk, &names::unfinished(path), &id, len, chunk) {
        Ok(checksum) => Ok(ChunkFile { id, len, checksum }),
        Err(error) => Err(unwritable(disk, path, error)),
    }
}

/// What there is of the file is garbage that the next opening sweeps; on a full disk the space is wanted now.
fn unwritable<D: Disk>(disk: &D, path: &Path, error: std::io::Error) -> StoreError {
    disk.remove(&names::unfinished(path)).ok();
    StoreError::io("cannot write", path, error)
}

/// What the store remembers of a region.
#[derive(Debug)]
pub(super) struct Region {
    /// What it is called in the keys of the catalogue.
    pub(super) number: u32,
    pub(super) folder: PathBuf,
    pub(super) head_file: SlotFile,
    pub(super) head: Option<(WindowId, Fence)>,
    pub(super) retained: BTreeMap<WindowId, Retained>,
    pub(super) joined_total: u64,
    pub(super) letters: Extent,
    pub(super) history: History,
    /// The files of chunks, each with the commit after which it was put, until a manifest lists it.
    blobs: BTreeMap<String, Option<u64>>,
    commits: u64,
    /// Names of chunks are not durable yet.
    dirty: bool,
}

/// What the store remembers of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Retained {
    pub(super) info: CheckpointInfo,
    pub(super) place: Place,
    /// The length of the sealed record.
    pub(super) len: usize,
    /// The files of the chunks it lists.
    blobs: BTreeSet<String>,
}

impl Retained {
    pub(super) fn new(manifest: &Manifest, place: Place, len: usize) -> Retained {
        let info = CheckpointInfo::of(manifest);
        Retained { info, place, len, blobs: blob_ids(manifest).map(names::blob).collect() }
    }
}

impl Region {
    /// Makes a region's folder; it is there whole and durable, or not at all.
    pub(super) fn create<D: Disk>(disk: &D, dir: &Path, region: &str, number: u32) -> Result<Region, StoreError> {
        let folder = folder(dir, region);
        let temporary = names::unfinished(&folder);
        let failed = |error| StoreError::io("cannot make", &folder, error);
        disk.create_dir(&temporary).map_err(failed)?;
        disk.create_dir(&temporary.join(names::BLOBS)).map_err(failed)?;
        SlotFile::create(disk, &temporary.join(names::HEAD), &nothing(region)).map_err(failed)?;
        disk.sync_dir(&temporary).map_err(failed)?;
        disk.rename(&temporary, &folder).map_err(failed)?;
        disk.sync_dir(&dir.join(names::REGIONS)).map_err(failed)?;
        let head = folder.join(names::HEAD);
        let slots = SlotFile::read(disk, &head).map_err(failed)?;
        Ok(Region::new(number, folder, SlotFile::resume(&head, &slots)))
    }

    /// Remembers a region that has committed nothing.
    pub(super) fn new(number: u32, folder: PathBuf, head_file: SlotFile) -> Region {
        Region {
            number,
            folder,
            head_file,
            head: None,
            retained: BTreeMap::new(),
            joined_total: 0,
            letters: Extent::default(),
            history: History::default(),
            blobs: BTreeMap::new(),
            commits: 0,
            dirty: true,
        }
    }

    /// Returns where the file of a new chunk is to stand.
    ///
    /// # Errors
    /// If there is one already.
    pub(super) fn free_path(&self, id: &ChunkId) -> Result<PathBuf, StoreError> {
        let path = blob_path(&self.folder, id);
        if self.blobs.contains_key(&names::blob(id)) {
            let error = std::io::ErrorKind::AlreadyExists.into();
            return Err(StoreError::io("cannot write a second chunk of the same name to", &path, error));
        }
        Ok(path)
    }

    /// Keeps a chunk whose content is durable. Its name is so before the next commit.
    pub(super) fn put_blob<D: Disk>(&mut self, disk: &D, file: ChunkFile) -> Result<ChunkRef, StoreError> {
        let path = self.free_path(&file.id)?;
        let temporary = names::unfinished(&path);
        disk.rename(&temporary, &path).map_err(|error| unwritable(disk, &path, error))?;
        self.blobs.insert(names::blob(&file.id), Some(self.commits));
        self.dirty = true;
        Ok(ChunkRef::Blob { id: file.id, len: file.len, checksum: file.checksum })
    }

    pub(super) fn has_blob(&self, id: &ChunkId) -> bool {
        self.blobs.contains_key(&names::blob(id))
    }

    /// Remembers a chunk that has a file again, which no checkpoint lists yet.
    pub(super) fn reused_blob(&mut self, id: &ChunkId) {
        self.blobs.insert(names::blob(id), Some(self.commits));
        self.dirty = true;
    }

    /// Remembers a file that was found.
    pub(super) fn found_blob(&mut self, name: String) {
        let put = if self.lists(&name) { None } else { Some(0) };
        self.blobs.insert(name, put);
    }

    /// Makes the names of chunks durable.
    pub(super) fn sync_blobs<D: Disk>(&mut self, disk: &D) -> Result<(), StoreError> {
        if self.dirty && !mutant::is(Mutant::NoBlobSync) {
            let blobs = self.folder.join(names::BLOBS);
            disk.sync_dir(&blobs).map_err(|error| StoreError::io("cannot sync", &blobs, error))?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Returns whether a chunk file is listed by a checkpoint that is kept.
    pub(super) fn lists(&self, blob: &str) -> bool {
        self.retained.values().any(|retained| retained.blobs.contains(blob))
    }

    /// Notes a commit, and forgets what is needed by no checkpoint any more; returns the paths of the files.
    pub(super) fn committed(&mut self, retained: Retained, expired: &[WindowId]) -> Vec<PathBuf> {
        self.commits += 1;
        for name in &retained.blobs {
            if let Some(put) = self.blobs.get_mut(name) {
                *put = None;
            }
        }
        self.head = Some((retained.info.window, retained.info.fence));
        self.retained.insert(retained.info.window, retained);

        self.forget(expired)
    }

    /// Forgets checkpoints, and with them what nothing else needs; returns the paths of the files.
    pub(super) fn forget(&mut self, windows: &[WindowId]) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        let mut candidates = BTreeSet::new();
        for window in windows {
            let Some(retained) = self.retained.remove(window) else { continue };
            if matches!(retained.place, Place::File { .. }) {
                gone.push(self.folder.join(names::manifest(*window)));
            }
            candidates.extend(retained.blobs);
        }
        let is_given_up = |put: &Option<u64>| put.is_some_and(|put| self.commits - put >= UNLISTED_COMMITS);
        candidates.extend(self.blobs.iter().filter(|(_, put)| is_given_up(put)).map(|(name, _)| name.clone()));
        candidates.retain(|name| !self.lists(name));
        for name in candidates {
            if self.blobs.remove(&name).is_some() {
                gone.push(self.folder.join(names::BLOBS).join(name));
            }
        }
        gone
    }

    /// Returns the windows that are not kept any more once `window` is committed, oldest first.
    pub(super) fn expired_by(&self, window: WindowId, retain: usize) -> Vec<WindowId> {
        let older: Vec<WindowId> = self.retained.keys().copied().filter(|kept| *kept != window).collect();
        let surplus = (older.len() + 1).saturating_sub(retain.max(1));
        older.into_iter().take(surplus).collect()
    }
}

/// Returns the folder of a region.
pub(super) fn folder(dir: &Path, region: &str) -> PathBuf {
    dir.join(names::REGIONS).join(names::region(region))
}

pub(super) fn blob_path(folder: &Path, id: &ChunkId) -> PathBuf {
    folder.join(names::BLOBS).join(names::blob(id))
}

fn blob_ids(manifest: &Manifest) -> impl Iterator<Item = &ChunkId> {
    manifest.chunks().filter_map(|chunk| match chunk {
        ChunkRef::Blob { id, .. } => Some(id),
        ChunkRef::Inline { .. } => None,
    })
}

/// Returns what a slot says of a region without a commit.
pub(super) fn nothing(region: &str) -> Content {
    Content { kind: Kind::Nothing, window: WindowId::NONE, fence: Fence::default(), body: record::encode(&region) }
}

/// Returns what a slot says of a commit.
pub(super) fn slot_content(record: &Record, encoded: Vec<u8>, place: Place) -> Content {
    let Manifest { region, window, fence, .. } = &record.manifest;
    let (kind, body) = match place {
        Place::Catalogue => (Kind::Record, encoded),
        Place::File { .. } => (Kind::Reference, record::encode(&record::Reference { region: region.clone(), place })),
    };
    debug_assert!(body.len() <= slots::MAX_BODY);
    Content { kind, window: *window, fence: *fence, body }
}

/// Reads a manifest that is a file.
pub(super) fn read_manifest<D: Disk>(
    disk: &D,
    folder: &Path,
    region: &str,
    window: WindowId,
) -> Result<Record, StoreError> {
    let path = folder.join(names::manifest(window));
    match disk.read(&path) {
        Ok(sealed) => record::open(&sealed, &path, region, window),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::Damaged(format!("{}: the file is missing", path.display())))
        }
        Err(error) => Err(StoreError::io("cannot read", &path, error)),
    }
}

/// How closely chunks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The files are there and have the right lengths.
    Length,
    /// Their content has the right checksums.
    Content,
}

/// Returns what is wrong with the chunk files that a manifest lists.
///
/// # Errors
/// If the disk does not let us look.
pub(super) fn check_chunks<D: Disk>(
    disk: &D,
    folder: &Path,
    manifest: &Manifest,
    depth: Depth,
) -> Result<Vec<String>, StoreError> {
    let mut damage = Vec::new();
    if blob_ids(manifest).next().is_none() {
        return Ok(damage);
    }
    let blobs = folder.join(names::BLOBS);
    let entries = list_or_empty(disk, &blobs).map_err(|error| StoreError::io("cannot list", &blobs, error))?;
    let lengths: BTreeMap<String, u64> = entries.into_iter().map(|entry| (entry.name, entry.len)).collect();
    for chunk in manifest.chunks() {
        let ChunkRef::Blob { id, len, checksum } = chunk else { continue };
        let path = blob_path(folder, id);
        let expected = blob::file_len(*len);
        match lengths.get(&names::blob(id)) {
            None => damage.push(format!("{}: the file is missing", path.display())),
            Some(found) if *found != expected => {
                damage.push(format!("{}: a file of {expected} bytes expected, {found} found", path.display()));
            }
            Some(_) if depth == Depth::Length => {}
            Some(_) => match blob::check(disk, &path, id, *len, *checksum) {
                Ok(()) => {}
                Err(error @ StoreError::Io { .. }) => return Err(error),
                Err(error) => damage.push(error.to_string()),
            },
        }
    }
    Ok(damage)
}
