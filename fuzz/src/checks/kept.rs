//! What a state directory was given to keep, and what must hold when it is opened again after damage to one file.

use std::collections::BTreeMap;

use piton::fuzzing::print_letter;
use piton::ids::{Fence, SubtaskId, WindowId};
use piton::protocol::commit::Commit;
use piton::protocol::manifest::{ChunkRef, DeadLetter, JoinedOutput, Manifest};
use piton::store::conformance::{chunk_id, content, letter, manifest};
use piton::store::{CheckpointStore, INLINE_LIMIT, JoinedOutputs, OpenOptions, OpenReport, Savepoint, StoreError};

pub const OPTIONS: OpenOptions = OpenOptions { retain: 3, allow_rollback: false };
const REGIONS: [&str; 2] = ["a", "b"];
const SAVEPOINT: &str = "before";
/// Long enough for a file of its own.
const BLOB: usize = INLINE_LIMIT + 100;

/// Everything that a store keeps.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    regions: BTreeMap<String, KeptRegion>,
    savepoints: Vec<(Savepoint, Vec<Checkpoint>)>,
    incarnation: u64,
}

#[derive(Debug, PartialEq)]
struct KeptRegion {
    head: (WindowId, Fence),
    checkpoints: BTreeMap<WindowId, Checkpoint>,
    letters: Vec<DeadLetter>,
    joined: Vec<(WindowId, JoinedOutput)>,
}

#[derive(Debug, PartialEq)]
struct Checkpoint {
    manifest: Manifest,
    chunks: Vec<Vec<u8>>,
}

/// Commits some windows and makes a savepoint. With `long`, a manifest is too long for the catalogue.
pub fn fill<S: CheckpointStore + JoinedOutputs>(store: &mut S, windows: u64, long: bool) {
    let incarnation = store.claim_incarnation().expect("a store that is whole");
    for _ in 0..windows {
        commit_next(store, incarnation, long).expect("a store that is whole");
    }
    let savepoints = store.savepoints().expect("this kind of store has savepoints");
    for region in REGIONS {
        savepoints.add_to_savepoint(SAVEPOINT, region, WindowId(windows)).expect("the window is kept");
    }
    savepoints.seal_savepoint(SAVEPOINT, "job", 7).expect("there is none of that name");
    commit_next(store, incarnation, long).expect("a store that is whole");
}

/// Commits the next window of every region; returns what the store says if it will not.
fn commit_next<S: CheckpointStore>(store: &mut S, incarnation: u64, long: bool) -> Result<(), String> {
    let fence = Fence { incarnation, attempt: 0 };
    let mut commits = Vec::new();
    for region in REGIONS {
        let head = store.head(region).map_err(|error| error.to_string())?;
        let window = head.map_or(0, |(window, _)| window.0) + 1;
        let mut chunks = Vec::new();
        for (nth, len) in [(1, 40), (2, BLOB)] {
            let id = chunk_id(region, fence, 10 * window + nth);
            chunks.push(store.put_chunk(id, &content(window + nth, len)).map_err(|error| error.to_string())?);
        }
        if long && window % 2 == 0 && region == "b" {
            chunks.extend((0..33).map(|_| ChunkRef::Inline { bytes: content(window, INLINE_LIMIT) }));
        }
        let mut manifest = manifest(region, window, fence, chunks);
        manifest.subtasks[0].letters = (window.max(2) - 1..=window).map(letter_of).collect();
        let subtask = SubtaskId::new("sink", 0);
        let output = content(window, 50);
        let joined = JoinedOutput { subtask, operator: "sink".to_owned(), window: WindowId(window), output };
        commits.push(Commit { manifest, joined: vec![joined] });
    }
    store.commit(commits).into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())
}

fn letter_of(window: u64) -> DeadLetter {
    letter(&SubtaskId::new("count", 0), window, window, if window.is_multiple_of(3) { 4_500 } else { 30 })
}

/// Reads everything that a store keeps.
pub fn read_all<S: CheckpointStore + JoinedOutputs>(store: &mut S) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    for region in store.regions()? {
        let Some(head) = store.head(&region)? else { continue };
        let mut checkpoints = BTreeMap::new();
        for info in store.list(&region)? {
            checkpoints.insert(info.window, read_checkpoint(store, &region, info.window)?);
        }
        let (letters, joined) = (store.letters(&region)?, store.joined(&region)?);
        kept.regions.insert(region, KeptRegion { head, checkpoints, letters, joined });
    }
    kept.savepoints = read_savepoints(store)?;
    kept.incarnation = store.claim_incarnation()?;
    Ok(kept)
}

fn read_checkpoint<S: CheckpointStore>(
    store: &mut S,
    region: &str,
    window: WindowId,
) -> Result<Checkpoint, StoreError> {
    let manifest = store.load(region, window)?;
    let chunks = manifest.chunks().map(|chunk| store.read_chunk(chunk)).collect::<Result<_, _>>()?;
    Ok(Checkpoint { manifest, chunks })
}

fn read_savepoints<S: CheckpointStore>(store: &mut S) -> Result<Vec<(Savepoint, Vec<Checkpoint>)>, StoreError> {
    let savepoints = store.savepoints().expect("this kind of store has savepoints");
    let mut read = Vec::new();
    for savepoint in savepoints.list_savepoints()? {
        let mut parts = Vec::new();
        for region in savepoint.regions.keys() {
            let manifest = savepoints.load_savepoint(&savepoint.name, region)?;
            let chunks = manifest.chunks().map(|chunk| savepoints.read_saved_chunk(&savepoint.name, chunk));
            let chunks = chunks.collect::<Result<_, _>>()?;
            parts.push(Checkpoint { manifest, chunks });
        }
        read.push((savepoint, parts));
    }
    Ok(read)
}

/// Reads whatever there is, although nothing is known of what there should be.
pub fn look_around<S: CheckpointStore + JoinedOutputs>(store: &mut S) {
    for region in store.regions().unwrap_or_default() {
        for info in store.list(&region).unwrap_or_default() {
            // Only that it comes back counts here, and below.
            read_checkpoint(store, &region, info.window).ok();
        }
        for letter in store.letters(&region).unwrap_or_default() {
            print_letter(&region, &letter);
        }
        store.joined(&region).ok();
    }
    read_savepoints(store).ok();
    store.verify();
}

/// Asserts that a refusal says what is wrong and where.
pub fn refused(error: &StoreError, dir: &str) {
    assert!(matches!(error, StoreError::Damaged(_) | StoreError::Format(_)), "refused for another reason: {error:?}");
    assert!(error.to_string().contains(dir), "does not say where: {error}");
}

impl Kept {
    /// Asserts that a store which was opened after damage holds all this, or says what it lacks: the newest checkpoint
    /// whole, everything else whole or named.
    pub fn judge<S: CheckpointStore + JoinedOutputs>(&self, store: &mut S, report: &OpenReport, dir: &str) {
        let names: Vec<&String> = self.regions.keys().collect();
        assert!(store.regions().expect("it is open").iter().eq(names), "other regions than there were");
        assert_eq!(report.rolled_back, []);
        let mut lacks = Vec::new();
        for (name, kept) in &self.regions {
            assert_eq!(store.head(name).expect("it is open"), Some(kept.head), "another head than there was");
            let head = read_checkpoint(store, name, kept.head.0).expect("a store opens only with a whole head");
            assert!(head == kept.checkpoints[&kept.head.0], "another checkpoint than was committed");
            let listed: Vec<WindowId> = store.list(name).expect("it is open").iter().map(|info| info.window).collect();
            assert!(listed.iter().all(|window| kept.checkpoints.contains_key(window)), "a checkpoint of nobody's");
            for (window, checkpoint) in &kept.checkpoints {
                if !listed.contains(window) {
                    assert!(!report.repairs.is_empty(), "window {window} is gone and nobody says so");
                    continue;
                }
                same(read_checkpoint(store, name, *window), checkpoint, dir, &mut lacks);
            }
            same(store.letters(name), &kept.letters, dir, &mut lacks);
            same(store.joined(name), &kept.joined, dir, &mut lacks);
        }
        same(read_savepoints(store), &self.savepoints, dir, &mut lacks);
        let found = store.verify();
        assert!(lacks.is_empty() || !found.is_empty(), "these cannot be read, and `verify` finds nothing: {lacks:?}");
    }

    /// Commits on, as if nothing had happened.
    pub fn go_on<S: CheckpointStore>(&self, store: &mut S) {
        let incarnation = store.claim_incarnation().expect("an open store can be claimed");
        assert!(incarnation > self.incarnation, "incarnation {incarnation} after {}", self.incarnation);
        commit_next(store, incarnation, false).expect("an open store can be committed to");
    }

    /// Asserts that a store holds what was committed after all this, too.
    pub fn went_on<S: CheckpointStore + JoinedOutputs>(&self, store: &mut S) {
        for (name, kept) in &self.regions {
            let head = store.head(name).expect("it is open").map(|(window, _)| window);
            assert_eq!(head, Some(kept.head.0.next()), "what was committed last");
            read_checkpoint(store, name, kept.head.0.next()).expect("a store opens only with a whole head");
            let letters = store.letters(name).expect("letters are whole, or the store does not open");
            assert_eq!(letters.len(), kept.letters.len() + 1);
            let joined = store.joined(name).expect("joined outputs are whole, or the store does not open");
            assert_eq!(joined.len(), kept.joined.len() + 1);
        }
    }
}

/// Asserts that something comes back as it was, or that the error names the damage.
fn same<T: PartialEq>(found: Result<T, StoreError>, expected: &T, dir: &str, lacks: &mut Vec<String>) {
    match found {
        Ok(found) => assert!(found == *expected, "something else came back than was kept"),
        Err(error) => {
            refused(&error, dir);
            lacks.push(error.to_string());
        }
    }
}
