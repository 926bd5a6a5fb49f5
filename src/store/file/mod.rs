//! The store that keeps checkpoints on a disk: chunks in files, manifests in a catalogue, a witness beside it.
//!
//! ```text
//! FORMAT                              what this directory is
//! LOCK                                held for the life of the process
//! ROOT                                two slots: the incarnation, the regions
//! catalog/                            the catalogue: manifests, joined outputs
//! regions/REGION/HEAD                 two slots: the newest manifest, and the one before
//! regions/REGION/WINDOW.manifest      a manifest that is too long for the two above
//! regions/REGION/LETTERS              dead letters: the copy of their index in the catalogue
//! regions/REGION/blobs/CHUNK          a chunk that is too long for its manifest
//! savepoints/NAME/                    a savepoint, with all that it needs
//! ```
//!
//! A commit makes durable, in this order: the chunks, new dead letters, the manifest if it is a file, one batch of the
//! catalogue, the slot in `HEAD`. The catalogue is therefore never behind `HEAD`, except where it was damaged; a slot is
//! never torn but by a crash before the commit was acknowledged, or by damage. Opening compares the two and repairs the one from
//! the other (`open.rs`). What was acknowledged and cannot be found whole is an error, never an older state.
//!
//! After any failure that leaves open what the disk holds, the store refuses every call until it is opened again.

mod blob;
mod choose;
mod commit;
mod directory;
mod discard;
mod judge;
mod keys;
mod letter_log;
mod letters;
mod names;
mod open;
mod record;
mod region;
mod savepoint;
mod settle;
mod slots;
mod witness;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use self::record::{Place, Record, Root};
use self::region::Region;
use self::slots::{Content, Kind, SlotFile};
use crate::ids::{Fence, WindowId};
use crate::protocol::manifest::{ChunkId, ChunkRef, DeadLetter, JoinedOutput, Manifest};
use crate::store::catalogue::{Batch, Catalogue, LogCatalogue};
use crate::store::disk::{Disk, DiskLock, RealDisk, SimDisk};
use crate::store::sled::SledCatalogue;
use crate::store::{
    CheckpointInfo, CheckpointStore, ChunkFile, ChunkReader, ChunkWriter, INLINE_LIMIT, JoinedOutputs, LetterId,
    Savepoints, StoreError,
};

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// How many checkpoints of each region are kept, the newest included; at least one.
    pub retain: usize,
    /// Whether to go back to an older checkpoint if the newest is damaged. What was published since then is
    /// published again.
    pub allow_rollback: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions { retain: 3, allow_rollback: false }
    }
}

/// What was found and mended when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// One line for each thing that was not as it should be and is now.
    pub repairs: Vec<String>,
    /// The regions that went back: from which window, to which.
    pub rolled_back: Vec<(String, WindowId, WindowId)>,
    /// How many files were removed that belong to no checkpoint.
    pub swept: usize,
}

impl OpenReport {
    fn repair(&mut self, what: String) {
        warn!(repair = %what, "the state directory was mended");
        self.repairs.push(what);
    }
}

/// Returns the letters of a log, each with the window whose commit has brought it, and what is wrong with the log.
pub(crate) fn read_letter_log(bytes: &[u8]) -> (Vec<(WindowId, DeadLetter)>, Vec<String>) {
    let (letters, damage) = letter_log::decode(bytes);
    (letters.into_values().map(|kept| (kept.commit, kept.letter)).collect(), damage)
}

/// Returns the log that some letters make; see [`read_letter_log`].
pub(crate) fn write_letter_log(letters: Vec<(WindowId, DeadLetter)>) -> Vec<u8> {
    let kept = |(commit, letter)| (letter_log::identity(&letter), letter_log::Kept { commit, letter });
    letter_log::encode(&letters.into_iter().map(kept).collect())
}

/// The default store: files, and a catalogue in sled.
pub type SledStore = FileStore<RealDisk, SledCatalogue<RealDisk>>;

/// The same store on a simulated disk.
pub type SimStore = FileStore<SimDisk, LogCatalogue<SimDisk>>;

/// A store on a disk; see the module.
pub struct FileStore<D: Disk, C: Catalogue<D>> {
    disk: D,
    dir: PathBuf,
    options: OpenOptions,
    // Before the lock: whoever gets the lock next must find the catalogue closed.
    catalogue: C,
    root: Root,
    root_file: SlotFile,
    regions: BTreeMap<String, Region>,
    poisoned: Option<String>,
    _lock: DiskLock,
}

impl SledStore {
    /// Opens a state directory, making it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Format`] if it is something else,
    /// [`StoreError::Damaged`] if the newest committed checkpoint of a region is not there whole.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<(SledStore, OpenReport), StoreError> {
        FileStore::open_on(RealDisk, dir, options)
    }

    /// Returns whether a directory is a state directory; see [`FileStore::is_there_on`].
    ///
    /// # Errors
    /// See there.
    pub fn is_there(dir: &Path) -> Result<bool, StoreError> {
        SledStore::is_there_on(&RealDisk, dir)
    }

    /// Returns whether there are savepoints in a directory, which may be all that there is.
    pub fn has_savepoints(dir: &Path) -> bool {
        dir.join(names::SAVEPOINTS).is_dir()
    }

    /// Returns whether another store has a directory open, in this process or another one.
    pub fn is_in_use(dir: &Path) -> bool {
        let lock = dir.join(names::LOCK);
        lock.is_file() && RealDisk.lock(&lock).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Removes everything that a store has made in a directory; see [`FileStore::discard_on`].
    ///
    /// # Errors
    /// See there.
    pub fn discard(dir: &Path) -> Result<(), StoreError> {
        SledStore::discard_on(&RealDisk, dir)
    }
}

impl SimStore {
    /// Opens the store on a simulated disk; see [`SledStore::open`].
    ///
    /// # Errors
    /// As for [`SledStore::open`], and whatever faults the disk injects.
    pub fn open(disk: SimDisk, options: OpenOptions) -> Result<(SimStore, OpenReport), StoreError> {
        FileStore::open_on(disk, Path::new("/state"), options)
    }
}

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    fn usable(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => Err(StoreError::Poisoned(reason.clone())),
        }
    }

    /// Notes that what the disk holds is not known any more.
    fn poison<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && self.poisoned.is_none()
        {
            warn!(%error, directory = %self.dir.display(), "the store has to be opened again");
            self.poisoned = Some(error.to_string());
        }
        result
    }

    fn region(&self, region: &str) -> Option<&Region> {
        self.regions.get(region)
    }

    /// Makes the folder of a region that has none, with the witness that nothing was committed in it.
    fn ensure_region(&mut self, region: &str) -> Result<(), StoreError> {
        if self.regions.contains_key(region) {
            return Ok(());
        }
        let created = Region::create(&self.disk, &self.dir, region, self.free_number());
        let created = self.poison(created)?;
        self.root.regions.push(region.to_owned());
        self.root.regions.sort();
        let written = self.write_root();
        self.poison(written)?;
        self.regions.insert(region.to_owned(), created);
        Ok(())
    }

    fn free_number(&self) -> u32 {
        self.regions.values().map(|region| region.number + 1).max().unwrap_or(0)
    }

    fn write_root(&mut self) -> Result<(), StoreError> {
        let content = root_content(&self.root);
        let failed = |error| StoreError::io("cannot write", &self.dir.join(names::ROOT), error);
        self.root_file.write(&self.disk, &content).map_err(failed)
    }

    /// Reads the record of a retained window.
    fn record(&mut self, region: &str, window: WindowId) -> Result<Record, StoreError> {
        self.usable()?;
        let found = self.region(region).and_then(|region| Some((region.retained.get(&window)?.place, region)));
        let Some((place, kept)) = found else {
            return Err(StoreError::Damaged(format!(
                "region \"{region}\" has no checkpoint of window {window} in {}",
                self.dir.display()
            )));
        };
        let (number, folder) = (kept.number, kept.folder.clone());
        match place {
            Place::Catalogue => {
                let sealed = keys::join(self.catalogue.scan(&keys::record(number, window))?);
                record::open(&sealed, &self.dir.join(names::CATALOGUE), region, window)
            }
            Place::File { .. } => region::read_manifest(&self.disk, &folder, region, window),
        }
    }
}

fn root_content(root: &Root) -> Content {
    let fence = Fence { incarnation: root.incarnation, attempt: 0 };
    Content { kind: Kind::Root, window: WindowId::NONE, fence, body: record::encode(root) }
}

impl<D: Disk, C: Catalogue<D>> CheckpointStore for FileStore<D, C> {
    fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkRef, StoreError> {
        self.usable()?;
        if bytes.len() <= INLINE_LIMIT {
            return Ok(ChunkRef::Inline { bytes: bytes.to_vec() });
        }
        self.ensure_region(&id.region)?;
        let path = self.regions[&id.region].free_path(&id)?;
        let written = |to: &mut dyn io::Write| to.write_all(bytes);
        let file = region::write_blob(&self.disk, &path, id, bytes.len() as u64, &mut { written })?;
        self.put_file(file)
    }

    fn chunk_writer(&mut self, id: ChunkId) -> Result<Option<ChunkWriter>, StoreError> {
        self.usable()?;
        self.ensure_region(&id.region)?;
        let path = self.regions[&id.region].free_path(&id)?;
        let disk = self.disk.clone();
        Ok(Some(Box::new(move |len, chunk| region::write_blob(&disk, &path, id, len, chunk))))
    }

    fn put_file(&mut self, file: ChunkFile) -> Result<ChunkRef, StoreError> {
        self.usable()?;
        self.ensure_region(&file.id.region)?;
        let region = self.regions.get_mut(&file.id.region).expect("the region was just made");
        region.put_blob(&self.disk, file)
    }

    fn read_chunk(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError> {
        self.usable()?;
        match chunk {
            ChunkRef::Inline { bytes } => Ok(bytes.clone()),
            ChunkRef::Blob { id, len, checksum } => {
                let path = region::blob_path(&region::folder(&self.dir, &id.region), id);
                blob::read(&self.disk, &path, id, *len, *checksum)
            }
        }
    }

    fn chunk_reader(&mut self, chunk: &ChunkRef) -> Result<ChunkReader, StoreError> {
        self.usable()?;
        match chunk {
            ChunkRef::Inline { bytes } => {
                let bytes = bytes.clone();
                Ok(Box::new(move || Ok(bytes)))
            }
            ChunkRef::Blob { id, len, checksum } => {
                let path = region::blob_path(&region::folder(&self.dir, &id.region), id);
                let (disk, id, len, checksum) = (self.disk.clone(), id.clone(), *len, *checksum);
                Ok(Box::new(move || blob::read(&disk, &path, &id, len, checksum)))
            }
        }
    }

    fn regions(&mut self) -> Result<Vec<String>, StoreError> {
        self.usable()?;
        let with_head = self.regions.iter().filter(|(_, region)| region.head.is_some());
        Ok(with_head.map(|(name, _)| name.clone()).collect())
    }

    fn head(&mut self, region: &str) -> Result<Option<(WindowId, Fence)>, StoreError> {
        self.usable()?;
        Ok(self.region(region).and_then(|region| region.head))
    }

    fn load(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError> {
        Ok(self.record(region, window)?.manifest)
    }

    fn list(&mut self, region: &str) -> Result<Vec<CheckpointInfo>, StoreError> {
        self.usable()?;
        let retained = self.region(region).into_iter().flat_map(|region| region.retained.values());
        Ok(retained.map(|retained| retained.info.clone()).collect())
    }

    fn letters(&mut self, region: &str) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.read_letters(region)?.into_values().map(|kept| kept.letter).collect())
    }

    fn newest_letters(
        &mut self,
        region: &str,
        before: Option<&LetterId>,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.read_newest_letters(region, before, most, bytes)
    }

    fn renew(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        let heads = self.regions.values().map(|region| &region.head_file);
        let failed = |error| StoreError::io("cannot write", &self.dir, error);
        let renewed = heads.chain([&self.root_file]).try_for_each(|file| file.renew(&self.disk).map_err(failed));
        self.poison(renewed)
    }

    fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        self.renew()?;
        let next = self.root.incarnation.checked_add(1).ok_or_else(|| {
            let path = self.dir.join(names::ROOT);
            StoreError::Damaged(format!("{}: nobody can have started a job so often", path.display()))
        })?;
        // The catalogue first, as in a commit: only damage leaves it behind its witness.
        let mut batch = Batch::default();
        batch.put(keys::incarnation(), next.to_be_bytes().to_vec());
        let applied = self.catalogue.apply(batch);
        self.poison(applied)?;
        self.root.incarnation = next;
        let written = self.write_root();
        self.poison(written)?;
        Ok(next)
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    fn savepoints(&mut self) -> Option<&mut dyn Savepoints> {
        Some(self)
    }

    fn verify(&mut self) -> Vec<String> {
        let mut damage = Vec::new();
        let windows: Vec<(String, WindowId)> = self
            .regions
            .iter()
            .flat_map(|(name, region)| region.retained.keys().map(|window| (name.clone(), *window)))
            .collect();
        if let Err(error) = self.usable() {
            return vec![error.to_string()];
        }
        for (region, window) in windows {
            let record = match self.record(&region, window) {
                Ok(record) => record,
                Err(error) => {
                    damage.push(error.to_string());
                    continue;
                }
            };
            let folder = region::folder(&self.dir, &region);
            match region::check_chunks(&self.disk, &folder, &record.manifest, region::Depth::Content) {
                Ok(found) => {
                    let line = |what| format!("checkpoint of window {window} of region \"{region}\": {what}");
                    damage.extend(found.into_iter().map(line));
                }
                Err(error) => damage.push(error.to_string()),
            }
        }
        damage.extend(self.verify_savepoints());
        damage.extend(self.verify_letters());
        damage
    }
}

impl<D: Disk, C: Catalogue<D>> JoinedOutputs for FileStore<D, C> {
    fn joined(&mut self, region: &str) -> Result<Vec<(WindowId, JoinedOutput)>, StoreError> {
        self.usable()?;
        let Some(number) = self.region(region).map(|region| region.number) else { return Ok(Vec::new()) };
        let outputs = witness::read_joined(&mut self.catalogue, &self.dir, region, number)?;
        Ok(outputs.into_iter().map(|(window, _, output)| (window, output)).collect())
    }
}
