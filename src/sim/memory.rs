//! A store in memory, until there is a better one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ids::{Fence, WindowId};
use crate::protocol::commit::{Commit, CommitError, CommitLog};
use crate::protocol::manifest::{ChunkId, ChunkRef, JoinedOutput, Manifest};
use crate::store::{CheckpointInfo, CheckpointStore, StoreError};

#[derive(Default)]
struct Content {
    heads: BTreeMap<String, Manifest>,
    joined: BTreeMap<String, Vec<(WindowId, JoinedOutput)>>,
    chunks: BTreeMap<ChunkId, Vec<u8>>,
    incarnation: u64,
    fail_after: u64,
    fail: u64,
    crash_at: Option<u64>,
    crashed: bool,
}

impl Content {
    fn call(&mut self) -> Result<(), StoreError> {
        let error = || StoreError::Io { what: "a disk".into(), source: std::io::Error::other("a fault of the plan") };
        if self.crashed {
            return Err(error());
        }
        if let Some(at) = &mut self.crash_at {
            if *at == 0 {
                self.crashed = true;
                return Err(error());
            }
            *at -= 1;
        }
        if self.fail > 0 {
            if self.fail_after > 0 {
                self.fail_after -= 1;
            } else {
                self.fail -= 1;
                return Err(error());
            }
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Medium(Arc<Mutex<Content>>);

impl Medium {
    pub(crate) fn crash(&self) {
        let mut content = self.0.lock();
        content.crashed = false;
        content.crash_at = None;
        content.fail = 0;
    }
    pub(crate) fn crash_at(&self, call: u64) {
        self.0.lock().crash_at = Some(call);
    }
    pub(crate) fn has_crashed(&self) -> bool {
        self.0.lock().crashed
    }
    pub(crate) fn fail(&self, after: u64, calls: u64) {
        let mut content = self.0.lock();
        content.fail_after = after;
        content.fail = calls;
    }
    pub(crate) fn open(&self) -> Result<Memory, StoreError> {
        self.0.lock().call()?;
        Ok(Memory { medium: self.clone(), poisoned: false })
    }
}

pub(crate) struct Memory {
    medium: Medium,
    poisoned: bool,
}

impl CommitLog for Memory {
    fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        let mut content = self.medium.0.lock();
        let mut answers = Vec::new();
        for commit in commits {
            if self.poisoned {
                answers.push(Err(CommitError::Failed("poisoned".into())));
                continue;
            }
            if let Some(head) = content.heads.get(commit.domain())
                && (commit.manifest.window <= head.window || commit.fence() < head.fence)
            {
                answers.push(Err(CommitError::Fenced { by: head.fence, head: head.window }));
                continue;
            }
            if let Err(error) = content.call() {
                answers.push(Err(CommitError::Failed(error.to_string())));
                continue;
            }
            let window = commit.manifest.window;
            let region = commit.domain().to_string();
            let joined = commit.joined.into_iter().map(|joined| (window, joined));
            content.joined.entry(region.clone()).or_default().extend(joined);
            content.heads.insert(region, commit.manifest);
            if let Err(error) = content.call() {
                self.poisoned = true;
                answers.push(Err(CommitError::Unknown(error.to_string())));
                continue;
            }
            answers.push(Ok(()));
        }
        answers
    }
}

impl Memory {
    pub(crate) fn joined(&mut self, region: &str) -> Result<Vec<(WindowId, JoinedOutput)>, StoreError> {
        Ok(self.medium.0.lock().joined.get(region).cloned().unwrap_or_default())
    }
}

impl CheckpointStore for Memory {
    fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkRef, StoreError> {
        let mut content = self.medium.0.lock();
        content.call()?;
        if bytes.len() < 64 {
            return Ok(ChunkRef::Inline { bytes: bytes.to_vec() });
        }
        assert!(!content.chunks.contains_key(&id), "chunk {id} is written twice");
        content.chunks.insert(id.clone(), bytes.to_vec());
        Ok(ChunkRef::Blob { id, len: bytes.len() as u64, checksum: 0 })
    }

    fn read_chunk(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError> {
        let mut content = self.medium.0.lock();
        content.call()?;
        match chunk {
            ChunkRef::Inline { bytes } => Ok(bytes.clone()),
            ChunkRef::Blob { id, .. } => {
                content.chunks.get(id).cloned().ok_or_else(|| StoreError::Damaged(format!("chunk {id} is not there")))
            }
        }
    }

    fn regions(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(self.medium.0.lock().heads.keys().cloned().collect())
    }

    fn head(&mut self, region: &str) -> Result<Option<(WindowId, Fence)>, StoreError> {
        let mut content = self.medium.0.lock();
        content.call()?;
        Ok(content.heads.get(region).map(|head| (head.window, head.fence)))
    }

    fn load(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError> {
        let mut content = self.medium.0.lock();
        content.call()?;
        let manifest = content.heads.get(region).filter(|manifest| manifest.window == window);
        manifest.cloned().ok_or_else(|| StoreError::Damaged(format!("window {window} is not there")))
    }

    fn list(&mut self, _region: &str) -> Result<Vec<CheckpointInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        let mut content = self.medium.0.lock();
        content.call()?;
        content.incarnation += 1;
        Ok(content.incarnation)
    }

    fn verify(&mut self) -> Vec<String> {
        Vec::new()
    }
}
