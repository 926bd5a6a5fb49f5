//! A workload whose every byte can be told afterwards, and what must hold after whatever happened to the store.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use piton::ids::{Fence, WindowId};
use piton::protocol::commit::{Commit, CommitError, CommitLog};
use piton::protocol::manifest::{ChunkRef, JoinedOutput, Manifest};
use piton::store::conformance::{chunk_id, content, manifest};
use piton::store::{CheckpointStore, INLINE_LIMIT, JoinedOutputs, StoreError};

pub const REGIONS: [&str; 2] = ["a", "b"];
/// The region in which some manifests do not fit into the catalogue.
const LONG: &str = "b";
const BLOB: usize = 33_000;

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Acknowledged,
    /// It certainly did not happen; the store may be used on.
    Failed,
    /// The store has to be opened again.
    Reopen,
}

/// Commits windows one after the other and remembers what was tried and what was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub acknowledged: BTreeMap<&'static str, u64>,
    pub incarnation: u64,
    attempted: BTreeMap<(&'static str, u64), Vec<Manifest>>,
    sequence: u64,
}

impl Workload {
    /// Begins a life on a store that was just opened.
    pub fn begin(&mut self, store: &mut impl CheckpointStore) -> Result<(), StoreError> {
        let claimed = store.claim_incarnation()?;
        assert!(claimed > self.incarnation, "incarnation {claimed} after {}", self.incarnation);
        self.incarnation = claimed;
        self.sequence = 0;
        Ok(())
    }

    /// Commits the next window of every region in one group; each third one has a long manifest in one of them.
    pub fn step<S: CheckpointStore + JoinedOutputs>(&mut self, store: &mut S) -> Step {
        let fence = Fence { incarnation: self.incarnation, attempt: 0 };
        let mut commits = Vec::new();
        for region in REGIONS {
            let head = match store.head(region) {
                Ok(head) => head.map_or(0, |(window, _)| window.0),
                Err(_) => return Step::Reopen,
            };
            let window = head + 1;
            // The newest chunk of the window before goes on being listed, as the base of an increment does.
            let mut chunks = match self.attempted.get(&(region, head)).and_then(|tried| tried.last()) {
                Some(before) => before.chunks().filter(|chunk| matches!(chunk, ChunkRef::Blob { .. })).last().cloned(),
                None => None,
            }
            .into_iter()
            .collect::<Vec<_>>();
            for len in [100, BLOB] {
                self.sequence += 1;
                let id = chunk_id(region, fence, self.sequence);
                match store.put_chunk(id, content(self.sequence * 1000 + self.incarnation, len)) {
                    Ok(chunk) => chunks.push(chunk),
                    Err(StoreError::Io { .. }) => return Step::Failed,
                    Err(_) => return Step::Reopen,
                }
            }
            if window % 3 == 0 && region == LONG {
                let bytes = content(window, INLINE_LIMIT);
                chunks.extend((0..33).map(|_| ChunkRef::Inline { bytes: bytes.clone() }));
            }
            let manifest = manifest(region, window, fence, chunks);
            self.attempted.entry((region, window)).or_default().push(manifest.clone());
            commits.push(Commit { manifest, joined: vec![joined(window)] });
        }
        let windows: Vec<u64> = commits.iter().map(|commit| commit.manifest.window.0).collect();
        let results = store.commit(commits);
        let mut step = Step::Acknowledged;
        for ((region, window), result) in REGIONS.into_iter().zip(windows).zip(results) {
            match result {
                Ok(()) => drop(self.acknowledged.insert(region, window)),
                Err(CommitError::Failed(_)) if step != Step::Reopen => step = Step::Failed,
                Err(CommitError::Failed(_) | CommitError::Unknown(_)) => step = Step::Reopen,
                Err(error) => panic!("window {window} of region {region}: {error}"),
            }
        }
        step
    }

    /// Asserts that the store holds what was acknowledged, or what came after, whole.
    pub fn verify<S: CheckpointStore + JoinedOutputs>(&self, store: &mut S) {
        for region in REGIONS {
            let head = store.head(region).unwrap();
            let acknowledged = self.acknowledged.get(region).copied().unwrap_or(0);
            let window = head.map_or(0, |(window, _)| window.0);
            assert!(window >= acknowledged, "window {acknowledged} of {region} was acknowledged, the head is {window}");
            let joined_windows: Vec<(WindowId, JoinedOutput)> =
                (1..=window).map(|window| (WindowId(window), joined(window))).collect();
            assert!(store.joined(region).unwrap() == joined_windows, "the joined outputs of {region} up to {window}");
            if window > 0 {
                self.verify_window(store, region, window);
            }
        }
    }

    /// Asserts that the checkpoint of a window is there whole.
    pub fn verify_window<S: CheckpointStore>(&self, store: &mut S, region: &'static str, window: u64) {
        let found = store.load(region, WindowId(window)).unwrap();
        let attempted = &self.attempted[&(region, window)];
        assert!(attempted.contains(&found), "window {window} of {region} is one that was committed");
        for chunk in found.chunks() {
            let read = store.read_chunk(chunk).unwrap();
            if let ChunkRef::Blob { id, .. } = chunk {
                assert!(read == content(id.sequence * 1000 + id.fence.incarnation, BLOB), "chunk {id}");
            }
        }
    }
}

fn joined(window: u64) -> JoinedOutput {
    let subtask = piton::ids::SubtaskId::new("sink", 0);
    JoinedOutput { subtask, operator: "sink".to_owned(), output: content(window, 50) }
}
