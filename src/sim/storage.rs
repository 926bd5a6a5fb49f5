//! The storage of a run: the real store and writer, on a disk that crashes, fails and decays.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::ids::WindowId;
use crate::protocol::commit::{Commit, CommitError, CommitLog};
use crate::protocol::lineage::WriteRequest;
use crate::protocol::manifest::{ChunkRef, JoinedOutput, Manifest};
use crate::runtime::storage::{Loaded, load, read_chunks};
use crate::sim::random::Random;
use crate::store::disk::{DiskFault, SimDisk};
use crate::store::writer::{self, LARGE};
use crate::store::{CheckpointStore, JoinedOutputs, OpenOptions, SimStore, StoreError};

/// See the module.
pub(crate) struct Storage {
    disk: SimDisk,
    options: OpenOptions,
    store: Option<SimStore>,
    /// What survives a power cut, and what decays.
    random: Random,
    /// Whether the machine goes down with the process that crashes within a call of the disk.
    power: bool,
    /// Whether the disk was ever told to fail.
    trouble: bool,
    /// Whether it was told to fail in making something durable.
    unsynced: bool,
    /// Whether more may be damaged than the store keeps copies of.
    beyond_repair: bool,
}

impl Storage {
    pub(crate) fn new(seed: u64) -> Storage {
        let mut random = Random::new(seed, "disk");
        let options = OpenOptions { retain: random.between(1, 3) as usize, allow_rollback: false };
        Storage {
            disk: SimDisk::new(random.next()),
            options,
            store: None,
            random,
            power: false,
            trouble: false,
            unsynced: false,
            beyond_repair: false,
        }
    }

    // What goes wrong.

    /// The process is to end at a call of the disk, counted from now.
    pub(crate) fn crash_at(&mut self, call: u64, power: bool) {
        self.trouble = true;
        self.power = power;
        self.disk.crash_at(self.disk.calls() + call);
    }

    /// Calls of the disk are to fail.
    pub(crate) fn fail(&mut self, after: u64, calls: u64) {
        self.trouble = true;
        let first = self.disk.calls() + after;
        for call in first..first + calls {
            let fault = self.random.pick(&[DiskFault::Read, DiskFault::Write, DiskFault::Sync, DiskFault::Full]);
            self.unsynced |= fault == DiskFault::Sync;
            self.disk.fail_at(call, fault);
        }
    }

    /// Flips a bit of a file, rather of a chunk of state if there is one.
    pub(crate) fn decay(&mut self) {
        self.trouble = true;
        self.beyond_repair = true;
        let mut files = self.disk.files();
        files.retain(|(_, len)| *len > 0);
        let chunks: Vec<_> =
            files.iter().filter(|(path, _)| path.to_string_lossy().contains("/blobs/")).cloned().collect();
        // There is nothing to be learned from a damaged FORMAT more than a few times.
        if self.random.percent(95) {
            files.retain(|(path, _)| !path.ends_with("FORMAT"));
        }
        if !chunks.is_empty() && self.random.percent(50) {
            files = chunks;
        }
        if files.is_empty() {
            return;
        }
        let (path, len) = &files[self.random.index(files.len())];
        let flipped = self.disk.flip_bit(path, self.random.below(len * 8));
        flipped.expect("the file was just listed");
    }

    /// The process ends, and perhaps the machine with it.
    pub(crate) fn crash(&mut self, power: bool) {
        self.store = None;
        if power {
            // What a failed sync has left readable but not durable, nobody could have known of after a restart.
            self.beyond_repair |= self.unsynced;
            self.disk.crash(&mut Pcg64Mcg::seed_from_u64(self.random.next()));
        } else {
            self.disk.kill();
        }
    }

    /// Returns whether the call at which the process was to end has been reached.
    pub(crate) fn has_crashed(&self) -> bool {
        self.disk.is_down()
    }

    /// Returns whether the machine goes down with it.
    pub(crate) fn loses_power(&self) -> bool {
        self.power
    }

    /// Returns whether the disk was ever told to fail.
    pub(crate) fn had_trouble(&self) -> bool {
        self.trouble
    }

    /// Returns whether the store may refuse to go on: more may be damaged than it keeps copies of.
    pub(crate) fn may_refuse(&self) -> bool {
        self.beyond_repair
    }

    // What it is asked for.

    /// Opens the store, again if it was open.
    pub(crate) fn open(&mut self) -> Result<(), StoreError> {
        self.store = None;
        let (store, _) = SimStore::open(self.disk.clone(), self.options)?;
        self.store = Some(store);
        Ok(())
    }

    fn store(&mut self) -> Result<&mut SimStore, StoreError> {
        self.store.as_mut().ok_or_else(|| StoreError::Poisoned("it could not be opened".into()))
    }

    /// Returns whether the store can be used as it is.
    pub(crate) fn is_usable(&self) -> bool {
        self.store.as_ref().is_some_and(|store| !store.is_poisoned())
    }

    pub(crate) fn renew(&mut self) -> Result<(), StoreError> {
        self.store()?.renew()
    }

    pub(crate) fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        self.store()?.claim_incarnation()
    }

    pub(crate) fn write(&mut self, request: &WriteRequest) -> Result<Vec<Vec<ChunkRef>>, String> {
        // Now and then every chunk is a large one.
        let large = if self.disk.calls().is_multiple_of(2) { LARGE } else { 0 };
        let store = self.store().map_err(|error| error.to_string())?;
        let ahead = writer::ahead(request, large, |id| store.chunk_writer(id).map_err(|error| error.to_string()));
        writer::write(store, request, ahead)
    }

    pub(crate) fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        match self.store() {
            Ok(store) => store.commit(commits),
            Err(error) => commits.iter().map(|_| Err(CommitError::Failed(error.to_string()))).collect(),
        }
    }

    pub(crate) fn head(&mut self, region: &str) -> Result<WindowId, StoreError> {
        Ok(self.store()?.head(region)?.map_or(WindowId::NONE, |(window, _)| window))
    }

    pub(crate) fn manifest(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError> {
        self.store()?.load(region, window)
    }

    pub(crate) fn joined(&mut self, region: &str) -> Result<Vec<(WindowId, JoinedOutput)>, StoreError> {
        self.store()?.joined(region)
    }

    /// Reads chunks, for each operator.
    pub(crate) fn chunks(&mut self, chunks: &[Vec<ChunkRef>]) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let store = self.store().map_err(|error| error.to_string())?;
        read_chunks(store, chunks).map_err(|error| error.to_string())
    }

    pub(crate) fn load(&mut self, region: &str, window: WindowId) -> Result<Loaded, StoreError> {
        load(self.store()?, region, window)
    }

    /// Reads everything that is retained.
    ///
    /// # Errors
    /// What is damaged.
    pub(crate) fn verify(&mut self) -> Result<(), String> {
        let mut verified = self.verify_once();
        // Calls that were told to fail may still lie ahead.
        for _ in 0..20 {
            match &verified {
                Err(StoreError::Io { .. } | StoreError::Poisoned(_)) => verified = self.verify_once(),
                _ => break,
            }
        }
        let damage = verified.map_err(|error| error.to_string())?;
        if damage.is_empty() { Ok(()) } else { Err(damage.join("; ")) }
    }

    fn verify_once(&mut self) -> Result<Vec<String>, StoreError> {
        self.store = None;
        self.disk.kill();
        self.open()?;
        Ok(self.store()?.verify())
    }
}
