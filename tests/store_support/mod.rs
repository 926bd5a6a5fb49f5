//! A workload whose every byte can be told afterwards, and what must hold after whatever happened to the store.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use piton::ids::{Fence, SubtaskId, WindowId};
use piton::invariants::HeadOrder;
use piton::protocol::commit::{Commit, CommitError};
use piton::protocol::manifest::{ChunkRef, DeadLetter, JoinedOutput, Manifest};
use piton::store::conformance::{chunk_id, content, letter, manifest};
use piton::store::{CheckpointStore, INLINE_LIMIT, JoinedOutputs, StoreError};
use tempfile::TempDir;

pub(crate) const REGIONS: [&str; 2] = ["a", "b"];
/// The region in which some manifests do not fit into the catalogue.
const LONG: &str = "b";
const BLOB: usize = 33_000;

/// Returns how many rounds to run: `rounds`, times `PITON_ROUNDS` if it is set.
pub(crate) fn rounds(rounds: u64) -> u64 {
    let factor = std::env::var("PITON_ROUNDS").ok().and_then(|factor| factor.parse::<f64>().ok()).unwrap_or(1.0);
    (rounds as f64 * factor).ceil() as u64
}

/// Returns a folder in memory if the machine has one: hundreds of stores are opened, and what is tested is not whether
/// the kernel syncs.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acknowledged,
    /// It certainly did not happen; the store may be used on.
    Failed,
    /// The store has to be opened again.
    Reopen,
}

/// Commits windows one after the other and remembers what was tried and what was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) acknowledged: BTreeMap<&'static str, u64>,
    pub(crate) incarnation: u64,
    /// Whether commits carry joined outputs.
    pub(crate) joins: bool,
    attempted: BTreeMap<(&'static str, u64), Vec<Manifest>>,
    sequence: u64,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload { acknowledged: BTreeMap::new(), incarnation: 0, joins: true, attempted: BTreeMap::new(), sequence: 0 }
    }
}

impl Workload {
    /// Begins a life on a store that was just opened.
    pub(crate) fn begin(&mut self, store: &mut impl CheckpointStore) -> Result<(), StoreError> {
        let claimed = store.claim_incarnation()?;
        assert!(claimed > self.incarnation, "incarnation {claimed} after {}", self.incarnation);
        self.incarnation = claimed;
        self.sequence = 0;
        Ok(())
    }

    /// Commits the next window of every region in one group; each third one has a long manifest in one of them.
    pub(crate) fn step<S: CheckpointStore + JoinedOutputs>(&mut self, store: &mut S) -> Step {
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
                match store.put_chunk(id, &content(self.sequence * 1000 + self.incarnation, len)) {
                    Ok(chunk) => chunks.push(chunk),
                    Err(StoreError::Io { .. }) => return Step::Failed,
                    Err(_) => return Step::Reopen,
                }
            }
            if window % 3 == 0 && region == LONG {
                let bytes = content(window, INLINE_LIMIT);
                chunks.extend((0..33).map(|_| ChunkRef::Inline { bytes: bytes.clone() }));
            }
            let mut manifest = manifest(region, window, fence, chunks);
            // Listed again as long as it is not known to be committed.
            manifest.subtasks[0].letters = letters(window.max(2) - 1, window);
            self.attempted.entry((region, window)).or_default().push(manifest.clone());
            commits.push(Commit { manifest, joined: self.joined(window) });
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

    fn joined(&self, window: u64) -> Vec<JoinedOutput> {
        let subtask = SubtaskId::new("sink", 0);
        let output = JoinedOutput {
            subtask,
            operator: "sink".to_owned(),
            window: WindowId(window),
            output: content(window, 50),
        };
        if self.joins { vec![output] } else { Vec::new() }
    }

    /// Asserts that the store holds what was acknowledged, or what came after, whole.
    pub(crate) fn verify<S: CheckpointStore + JoinedOutputs>(&self, store: &mut S, context: &str) {
        for region in REGIONS {
            let head = store.head(region).unwrap();
            let acknowledged = self.acknowledged.get(region).copied().unwrap_or(0);
            let window = head.map_or(0, |(window, _)| window.0);
            let mut order = HeadOrder::default();
            let seen = order.seen(WindowId(acknowledged)).and_then(|()| order.seen(WindowId(window)));
            seen.unwrap_or_else(|broken| panic!("{context}: region {region}: {broken}"));
            let joined_windows: Vec<(WindowId, JoinedOutput)> = (1..=window)
                .flat_map(|window| self.joined(window).into_iter().map(move |output| (WindowId(window), output)))
                .collect();
            assert!(
                store.joined(region).unwrap() == joined_windows,
                "{context}: the joined outputs of {region} up to {window}"
            );
            let set_aside = store.letters(region).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(set_aside == letters(1, window), "{context}: the dead letters of {region} up to {window}");
            if window > 0 {
                self.verify_window(store, region, window, context);
            }
        }
    }

    /// Asserts that the checkpoint of a window is there whole.
    pub(crate) fn verify_window<S: CheckpointStore>(
        &self,
        store: &mut S,
        region: &'static str,
        window: u64,
        context: &str,
    ) {
        let found = store.load(region, WindowId(window)).unwrap_or_else(|error| panic!("{context}: {error}"));
        // Another process tried other windows, which it did not tell us of.
        if let Some(attempted) = self.attempted.get(&(region, window)) {
            assert!(attempted.contains(&found), "{context}: window {window} of {region} is one that was committed");
        }
        for chunk in found.chunks() {
            let read = store.read_chunk(chunk).unwrap_or_else(|error| panic!("{context}: window {window}: {error}"));
            if let ChunkRef::Blob { id, .. } = chunk {
                let expected = content(id.sequence * 1000 + id.fence.incarnation, BLOB);
                assert!(read == expected, "{context}: chunk {id}");
            }
        }
    }
}

/// Returns the letters that are set aside in some windows, two in each; those of each third one are long.
fn letters(from: u64, to: u64) -> Vec<DeadLetter> {
    let subtask = SubtaskId::new("count", 0);
    let numbers = 2 * from - 1..=2 * to;
    let of =
        |number: u64| letter(&subtask, number, number.div_ceil(2), if number.is_multiple_of(3) { 4_500 } else { 30 });
    numbers.map(of).collect()
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
