//! The storage of a run: the real store and writer, on a disk that fails.

use piton_actors::WindowId;

use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::lineage::WriteRequest;
use crate::protocol::manifest::{ChunkRef, JoinedOutput, Manifest};
use crate::sim::memory::{Medium, Memory};
use crate::store::{CheckpointStore, StoreError, writer};

/// A checkpoint with the chunks of every operator of every subtask.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    /// `[subtask][operator][chunk]`, in the order of the manifest.
    pub(crate) chunks: Vec<Vec<Vec<Vec<u8>>>>,
}

/// See the module.
pub(crate) struct Storage {
    disk: Medium,
    store: Option<Memory>,
    power: bool,
    trouble: bool,
}

impl Storage {
    pub(crate) fn new(_seed: u64) -> Storage {
        Storage { disk: Medium::default(), store: None, power: true, trouble: false }
    }

    pub(crate) fn crash_at(&mut self, call: u64, power: bool) {
        self.trouble = true;
        self.power = power;
        self.disk.crash_at(call);
    }

    pub(crate) fn fail(&mut self, after: u64, calls: u64) {
        self.trouble = true;
        self.disk.fail(after, calls);
    }

    pub(crate) fn decay(&mut self) {
        self.trouble = true;
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.disk.has_crashed()
    }

    pub(crate) fn loses_power(&self) -> bool {
        self.power
    }

    pub(crate) fn had_trouble(&self) -> bool {
        self.trouble
    }

    pub(crate) fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        self.store()?.claim_incarnation()
    }

    pub(crate) fn verify(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Opens the store, again if it was open.
    pub(crate) fn open(&mut self) -> Result<(), StoreError> {
        self.store = None;
        self.store = Some(self.disk.open()?);
        Ok(())
    }

    /// The process ends.
    pub(crate) fn crash(&mut self, _power: bool) {
        self.store = None;
        self.disk.crash();
    }

    /// Returns the open store.
    ///
    /// # Errors
    /// If it is not open.
    pub(crate) fn store(&mut self) -> Result<&mut Memory, StoreError> {
        self.store.as_mut().ok_or_else(|| StoreError::Poisoned("it could not be opened".into()))
    }

    pub(crate) fn write(&mut self, request: &WriteRequest) -> Result<Vec<Vec<ChunkRef>>, String> {
        let store = self.store().map_err(|error| error.to_string())?;
        writer::write(store, request)
    }

    pub(crate) fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        use crate::protocol::commit::CommitLog;
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

    pub(crate) fn load(&mut self, region: &str, window: WindowId) -> Result<Loaded, StoreError> {
        let store = self.store()?;
        let manifest = store.load(region, window)?;
        let mut chunks = Vec::with_capacity(manifest.subtasks.len());
        for subtask in &manifest.subtasks {
            let mut operators = Vec::with_capacity(subtask.operators.len());
            for operator in &subtask.operators {
                let read = operator.chunks.iter().map(|chunk| store.read_chunk(chunk));
                operators.push(read.collect::<Result<Vec<_>, _>>()?);
            }
            chunks.push(operators);
        }
        Ok(Loaded { manifest, chunks })
    }
}
