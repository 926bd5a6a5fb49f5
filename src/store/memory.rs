//! A store in memory: for tests, for the harness, for jobs that need not outlive their process.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::commit::{Commit, CommitError, CommitLog};
use crate::protocol::manifest::{ChunkId, ChunkRef, DeadLetter, JoinedOutput, Manifest};
use crate::store::history::History;
use crate::store::{CheckpointInfo, CheckpointStore, INLINE_LIMIT, JoinedOutputs, OpenOptions, StoreError};

/// A store in memory. Clones are the same store, so that a test can drop one and go on with another, as after a crash.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    retain: usize,
}

#[derive(Debug, Default)]
struct Content {
    incarnation: u64,
    chunks: BTreeMap<ChunkId, Vec<u8>>,
    regions: BTreeMap<String, Region>,
}

#[derive(Debug, Default)]
struct Region {
    head: Option<(WindowId, Fence)>,
    retained: BTreeMap<WindowId, Manifest>,
    joined: Vec<(WindowId, JoinedOutput)>,
    letters: BTreeMap<(WindowId, SubtaskId, u64), DeadLetter>,
    history: History,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// Returns an empty store that keeps as many checkpoints as stores do by default.
    pub fn new() -> MemoryStore {
        MemoryStore::with_retain(OpenOptions::default().retain)
    }

    /// Returns an empty store that keeps the newest `retain` checkpoints of each region, at least one.
    pub fn with_retain(retain: usize) -> MemoryStore {
        MemoryStore { content: Arc::default(), retain: retain.max(1) }
    }

    /// Alters a chunk, as damage would.
    ///
    /// Returns whether it is there.
    pub fn damage_chunk(&self, id: &ChunkId) -> bool {
        let mut content = self.content.lock();
        let byte = content.chunks.get_mut(id).and_then(|chunk| chunk.first_mut());
        byte.map(|byte| *byte ^= 1).is_some()
    }

    /// Removes a chunk, as damage would.
    ///
    /// Returns whether it was there.
    pub fn lose_chunk(&self, id: &ChunkId) -> bool {
        self.content.lock().chunks.remove(id).is_some()
    }
}

impl CommitLog for MemoryStore {
    fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        let mut content = self.content.lock();
        commits.into_iter().map(|commit| content.commit(commit, self.retain)).collect()
    }
}

impl Content {
    fn commit(&mut self, commit: Commit, retain: usize) -> Result<(), CommitError> {
        let Commit { manifest, joined } = commit;
        let (window, fence) = (manifest.window, manifest.fence);
        let head = self.regions.get(&manifest.region).and_then(|region| region.head);
        if let Some((head, by)) = head
            && (window <= head || fence < by)
        {
            return Err(CommitError::Fenced { by, head });
        }
        if window == WindowId::NONE {
            return Err(CommitError::Failed(format!(
                "region \"{}\" cannot commit window 0: windows begin at 1",
                manifest.region
            )));
        }
        if let Some(id) = blobs(&manifest).find(|id| id.region != manifest.region || !self.chunks.contains_key(*id)) {
            return Err(CommitError::Failed(format!(
                "the manifest of window {window} lists chunk {id}, which the store does not have"
            )));
        }
        let region = self.regions.entry(manifest.region.clone()).or_default();
        region.head = Some((window, fence));
        region.joined.extend(joined.into_iter().map(|output| (window, output)));
        for letter in manifest.subtasks.iter().flat_map(|subtask| &subtask.letters) {
            let identity = (letter.window, letter.subtask.clone(), letter.number);
            region.letters.entry(identity).or_insert_with(|| letter.clone());
        }
        region.history = region.history.behind(&manifest);
        region.retained.insert(window, manifest);
        while region.retained.len() > retain {
            let Some((_, expired)) = region.retained.pop_first() else { break };
            for id in blobs(&expired) {
                if !region.retained.values().any(|kept| blobs(kept).any(|listed| listed == id)) {
                    self.chunks.remove(id);
                }
            }
        }
        Ok(())
    }
}

fn blobs(manifest: &Manifest) -> impl Iterator<Item = &ChunkId> {
    manifest.chunks().filter_map(|chunk| match chunk {
        ChunkRef::Blob { id, .. } => Some(id),
        ChunkRef::Inline { .. } => None,
    })
}

impl CheckpointStore for MemoryStore {
    fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkRef, StoreError> {
        if bytes.len() <= INLINE_LIMIT {
            return Ok(ChunkRef::Inline { bytes: bytes.to_vec() });
        }
        let mut content = self.content.lock();
        if content.chunks.contains_key(&id) {
            let what = format!("cannot keep a second chunk of the same name {id}");
            return Err(StoreError::Io { what, source: std::io::ErrorKind::AlreadyExists.into() });
        }
        let (len, checksum) = (bytes.len() as u64, xxh3_64(bytes));
        content.chunks.insert(id.clone(), bytes.to_vec());
        Ok(ChunkRef::Blob { id, len, checksum })
    }

    fn read_chunk(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError> {
        let (id, len, checksum) = match chunk {
            ChunkRef::Inline { bytes } => return Ok(bytes.clone()),
            ChunkRef::Blob { id, len, checksum } => (id, *len, *checksum),
        };
        let content = self.content.lock();
        let Some(bytes) = content.chunks.get(id) else {
            return Err(StoreError::Damaged(format!("chunk {id}: it is missing")));
        };
        let found = xxh3_64(bytes);
        if bytes.len() as u64 != len || found != checksum {
            return Err(StoreError::Damaged(format!(
                "chunk {id}: checksum {checksum:016x} expected, {found:016x} found"
            )));
        }
        Ok(bytes.clone())
    }

    fn regions(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(self.content.lock().regions.keys().cloned().collect())
    }

    fn head(&mut self, region: &str) -> Result<Option<(WindowId, Fence)>, StoreError> {
        Ok(self.content.lock().regions.get(region).and_then(|region| region.head))
    }

    fn load(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError> {
        let content = self.content.lock();
        let manifest = content.regions.get(region).and_then(|region| region.retained.get(&window));
        manifest
            .cloned()
            .ok_or_else(|| StoreError::Damaged(format!("region \"{region}\" has no checkpoint of window {window}")))
    }

    fn list(&mut self, region: &str) -> Result<Vec<CheckpointInfo>, StoreError> {
        let content = self.content.lock();
        let retained = content.regions.get(region).into_iter().flat_map(|region| region.retained.values());
        Ok(retained.map(CheckpointInfo::of).collect())
    }

    fn letters(&mut self, region: &str) -> Result<Vec<DeadLetter>, StoreError> {
        let content = self.content.lock();
        let Some(region) = content.regions.get(region) else { return Ok(Vec::new()) };
        let letters = region.letters.values().filter(|letter| region.history.holds(letter.window));
        Ok(letters.cloned().collect())
    }

    fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        let mut content = self.content.lock();
        content.incarnation += 1;
        Ok(content.incarnation)
    }

    fn verify(&mut self) -> Vec<String> {
        let manifests: Vec<Manifest> =
            self.content.lock().regions.values().flat_map(|region| region.retained.values().cloned()).collect();
        let mut damage = Vec::new();
        for manifest in manifests {
            for chunk in manifest.chunks() {
                if let Err(error) = self.read_chunk(chunk) {
                    let Manifest { region, window, .. } = &manifest;
                    damage.push(format!("checkpoint of window {window} of region \"{region}\": {error}"));
                }
            }
        }
        damage
    }
}

impl JoinedOutputs for MemoryStore {
    fn joined(&mut self, region: &str) -> Result<Vec<(WindowId, JoinedOutput)>, StoreError> {
        let content = self.content.lock();
        Ok(content.regions.get(region).map(|region| region.joined.clone()).unwrap_or_default())
    }
}
