//! One suite that every store passes.
//!
//! A store's test makes a [`Fixture`] that opens it, again and again, over the same content, and calls [`check`]. What
//! crashes and faults do is not here: each kind of store has its own ways to fail.

use std::slice::from_ref;

use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::commit::{Commit, CommitError, CommitLog};
use crate::protocol::manifest::{
    ChunkId, ChunkRef, DeadLetter, JoinedOutput, Manifest, OperatorSnapshot, SubtaskSnapshot,
};
use crate::store::{CheckpointStore, INLINE_LIMIT, JoinedOutputs, StoreError};

/// How many checkpoints of each region the store of a fixture keeps.
pub const RETAIN: usize = 2;

/// A store that the suite can close, open again and damage.
pub trait Fixture {
    /// The store.
    type Store: CheckpointStore + JoinedOutputs;

    /// Opens the store, keeping [`RETAIN`] checkpoints; the one opened before has been dropped.
    fn open(&mut self) -> Self::Store;

    /// Alters a byte of a chunk, beneath the store.
    fn damage(&mut self, chunk: &ChunkId);

    /// Removes a chunk, beneath the store.
    fn lose(&mut self, chunk: &ChunkId);
}

/// Runs the suite, each part on a fixture of its own.
///
/// # Panics
/// If the store does not conform.
pub fn check<F: Fixture>(mut make: impl FnMut() -> F) {
    heads_move_forward_only(&mut make());
    fences_hold(&mut make());
    groups_commit_each_on_its_own(&mut make());
    chunks_come_back(&mut make());
    damaged_chunks_are_named(&mut make());
    unknown_chunks_are_not_committed(&mut make());
    retention_keeps_what_is_listed(&mut make());
    reopening_changes_nothing(&mut make());
    incarnations_increase(&mut make());
    joined_outputs_come_with_their_window(&mut make());
    dead_letters_come_once_and_stay(&mut make());
    dead_letters_come_with_their_commit(&mut make());
    dead_letters_of_windows_that_were_given_up_are_left_out(&mut make());
    long_manifests_are_kept(&mut make());
    strange_names_are_kept_apart(&mut make());
}

/// Returns a manifest with one subtask that has some chunks.
pub fn manifest(region: &str, window: u64, fence: Fence, chunks: Vec<ChunkRef>) -> Manifest {
    let operator =
        OperatorSnapshot { chunks, position: Some(vec![window as u8; 20]), ..OperatorSnapshot::empty("count") };
    Manifest {
        job: "conformance".to_owned(),
        region: region.to_owned(),
        window: WindowId(window),
        fence,
        triggered_ms: 1_000 * window as i64,
        completed_ms: 1_000 * window as i64 + 7,
        finished: false,
        topology: b"topology".to_vec(),
        copy_of: WindowId::NONE,
        subtasks: vec![SubtaskSnapshot {
            within: None,
            in_flight: None,
            subtask: SubtaskId::new("count", 0),
            finished: false,
            watermark: window as i64,
            told: None,
            channel_watermarks: vec![window as i64, -1],
            cursors: vec![window, 3],
            read: 0,
            written: 0,
            set_aside: 0,
            letters: Vec::new(),
            operators: vec![operator],
        }],
    }
}

/// Returns a letter that says what it is, and is about as long as asked for.
pub fn letter(subtask: &SubtaskId, number: u64, window: u64, len: usize) -> DeadLetter {
    let operator = format!("parse-{}", subtask.operator);
    let record = format!("\"{subtask}, {number}: {}\"", "x".repeat(len));
    let reason = format!("told to fail at {number}");
    let position = 10 * number;
    DeadLetter {
        operator,
        subtask: subtask.clone(),
        number,
        window: WindowId(window),
        position,
        reason,
        record,
        kept: true,
    }
}

/// Returns a manifest with a subtask for each list of letters.
pub fn manifest_with_letters(region: &str, window: u64, letters: &[Vec<DeadLetter>]) -> Manifest {
    let mut manifest = manifest(region, window, FIRST, Vec::new());
    let template = manifest.subtasks.remove(0);
    for letters in letters {
        let subtask = letters.first().map_or(template.subtask.clone(), |letter| letter.subtask.clone());
        manifest.subtasks.push(SubtaskSnapshot { subtask, letters: letters.clone(), ..template.clone() });
    }
    manifest
}

/// Returns the name of a chunk.
pub fn chunk_id(region: &str, fence: Fence, sequence: u64) -> ChunkId {
    ChunkId { region: region.to_owned(), operator: "count".to_owned(), index: 0, fence, sequence }
}

/// Returns bytes that say what they are for, and differ from one seed to the next.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut word = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        bytes.extend((word ^ (word >> 29)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The first life of a region.
pub const FIRST: Fence = Fence { incarnation: 1, attempt: 0 };

fn joined(window: u64, len: usize) -> JoinedOutput {
    JoinedOutput {
        subtask: SubtaskId::new("sink", 1),
        operator: "sink".to_owned(),
        window: WindowId(window),
        output: content(window, len),
    }
}

fn commit_one<S: CheckpointStore>(store: &mut S, manifest: Manifest) -> Result<(), CommitError> {
    let mut results = store.commit(vec![Commit { manifest, joined: Vec::new() }]);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn put<S: CheckpointStore>(store: &mut S, region: &str, sequence: u64, len: usize) -> ChunkRef {
    store.put_chunk(chunk_id(region, FIRST, sequence), &content(sequence, len)).expect("a chunk is kept")
}

fn windows<S: CheckpointStore>(store: &mut S, region: &str) -> Vec<u64> {
    store.list(region).expect("checkpoints are listed").iter().map(|info| info.window.0).collect()
}

fn head<S: CheckpointStore>(store: &mut S, region: &str) -> Option<(u64, Fence)> {
    store.head(region).expect("a head is read").map(|(window, fence)| (window.0, fence))
}

fn heads_move_forward_only<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    assert_eq!(store.regions().expect("regions are listed"), Vec::<String>::new());
    assert_eq!(head(&mut store, "a"), None);
    assert_eq!(windows(&mut store, "a"), Vec::<u64>::new());
    assert!(matches!(commit_one(&mut store, manifest("a", 0, FIRST, Vec::new())), Err(CommitError::Failed(_))));
    for window in [1, 4, 5] {
        commit_one(&mut store, manifest("a", window, FIRST, Vec::new())).expect("a later window commits");
        assert_eq!(head(&mut store, "a"), Some((window, FIRST)));
    }
    for window in [1, 2, 5] {
        let result = commit_one(&mut store, manifest("a", window, FIRST, Vec::new()));
        assert_eq!(result, Err(CommitError::Fenced { by: FIRST, head: WindowId(5) }));
    }
    assert_eq!(store.regions().expect("regions are listed"), ["a"]);
    assert_eq!(windows(&mut store, "a"), [4, 5]);
    let listed = store.list("a").expect("checkpoints are listed");
    assert_eq!((listed[1].triggered_ms, listed[1].completed_ms, listed[1].fence), (5_000, 5_007, FIRST));
}

fn fences_hold<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    let second = Fence { incarnation: 1, attempt: 1 };
    let third = Fence { incarnation: 2, attempt: 0 };
    commit_one(&mut store, manifest("a", 1, second, Vec::new())).expect("a first window commits");
    let fenced = Err(CommitError::Fenced { by: second, head: WindowId(1) });
    assert_eq!(commit_one(&mut store, manifest("a", 2, FIRST, Vec::new())), fenced);
    commit_one(&mut store, manifest("a", 2, third, Vec::new())).expect("a later life commits");
    drop(store);
    let mut store = fixture.open();
    let fenced = Err(CommitError::Fenced { by: third, head: WindowId(2) });
    assert_eq!(commit_one(&mut store, manifest("a", 3, second, Vec::new())), fenced);
    commit_one(&mut store, manifest("b", 1, FIRST, Vec::new())).expect("fences are of a region");
}

fn groups_commit_each_on_its_own<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    commit_one(&mut store, manifest("b", 7, FIRST, Vec::new())).expect("a window commits");
    let group = [("a", 1), ("b", 7), ("c", 3), ("a", 2), ("a", 2)];
    let commits = group
        .map(|(region, window)| Commit { manifest: manifest(region, window, FIRST, Vec::new()), joined: Vec::new() });
    let results = store.commit(commits.to_vec());
    let fenced = |head| Err(CommitError::Fenced { by: FIRST, head: WindowId(head) });
    assert_eq!(results, [Ok(()), fenced(7), Ok(()), Ok(()), fenced(2)]);
    drop(store);
    let mut store = fixture.open();
    assert_eq!(store.regions().expect("regions are listed"), ["a", "b", "c"]);
    let heads = ["a", "b", "c"].map(|region| head(&mut store, region).map(|(window, _)| window));
    assert_eq!(heads, [Some(2), Some(7), Some(3)]);
    assert_eq!(windows(&mut store, "a"), [1, 2]);
}

fn chunks_come_back<F: Fixture>(fixture: &mut F) {
    let lens = [0, 1, INLINE_LIMIT, INLINE_LIMIT + 1, 300_000, 1_000_000];
    let mut store = fixture.open();
    let chunks: Vec<ChunkRef> = (0..).zip(lens).map(|(nth, len)| put(&mut store, "a", nth, len)).collect();
    for (chunk, len) in chunks.iter().zip(lens) {
        assert_eq!(matches!(chunk, ChunkRef::Inline { .. }), len <= INLINE_LIMIT);
        assert_eq!(chunk.len(), len as u64);
    }
    assert!(store.put_chunk(chunk_id("a", FIRST, 4), &content(9, 300_000)).is_err(), "a name is used once");
    commit_one(&mut store, manifest("a", 1, FIRST, chunks)).expect("a window commits");
    drop(store);

    let mut store = fixture.open();
    let found = store.load("a", WindowId(1)).expect("the manifest is whole");
    for ((chunk, len), nth) in found.chunks().zip(lens).zip(0..) {
        let read = store.read_chunk(chunk).expect("the chunk is whole");
        assert!(read == content(nth, len), "chunk {nth} of {len} bytes came back as it was");
    }
    assert_eq!(store.verify(), Vec::<String>::new());
    assert_eq!(store.list("a").expect("checkpoints are listed")[0].bytes, lens.iter().sum::<usize>() as u64);
}

fn damaged_chunks_are_named<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    let chunks: Vec<ChunkRef> = (0..3).map(|nth| put(&mut store, "a", nth, 40_000)).collect();
    commit_one(&mut store, manifest("a", 1, FIRST, chunks.clone())).expect("a window commits");
    fixture.damage(&chunk_id("a", FIRST, 1));
    fixture.lose(&chunk_id("a", FIRST, 2));
    store.read_chunk(&chunks[0]).expect("this one is whole");
    for nth in [1, 2] {
        match store.read_chunk(&chunks[nth]) {
            Err(StoreError::Damaged(reason)) => assert!(reason.contains(&format!("count-0-1-0-{nth}")), "{reason}"),
            other => panic!("chunk {nth} is damaged, and reading it gave {other:?}"),
        }
    }
    let damage = store.verify();
    assert_eq!(damage.len(), 2, "{damage:?}");
    assert!(damage.iter().all(|line| line.contains("window 1") && line.contains("\"a\"")), "{damage:?}");
}

fn unknown_chunks_are_not_committed<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    let known = put(&mut store, "a", 1, 40_000);
    let unknown = ChunkRef::Blob { id: chunk_id("a", FIRST, 2), len: 40_000, checksum: 0 };
    let foreign = put(&mut store, "b", 1, 40_000);
    for chunks in [vec![known.clone(), unknown], vec![known.clone(), foreign]] {
        let result = commit_one(&mut store, manifest("a", 1, FIRST, chunks));
        assert!(matches!(result, Err(CommitError::Failed(_))), "{result:?}");
    }
    assert_eq!(head(&mut store, "a"), None);
    commit_one(&mut store, manifest("a", 1, FIRST, vec![known])).expect("the store is still usable");
}

fn retention_keeps_what_is_listed<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    let base = put(&mut store, "a", 0, 50_000);
    let mut deltas = Vec::new();
    for window in 1..=6 {
        deltas.push(put(&mut store, "a", window, 40_000));
        let newest = deltas.last().cloned().expect("one was just put");
        commit_one(&mut store, manifest("a", window, FIRST, vec![base.clone(), newest])).expect("a window commits");
        if window == 3 {
            drop(store);
            store = fixture.open();
        }
    }
    assert_eq!(windows(&mut store, "a"), [5, 6]);
    for window in [5, 6] {
        let manifest = store.load("a", WindowId(window)).expect("a kept manifest is whole");
        for chunk in manifest.chunks() {
            store.read_chunk(chunk).expect("a listed chunk is kept");
        }
    }
    assert_eq!(store.verify(), Vec::<String>::new());
    assert!(store.load("a", WindowId(4)).is_err());
    for delta in &deltas[..4] {
        assert!(store.read_chunk(delta).is_err(), "{delta:?} is of no use any more");
    }
}

fn reopening_changes_nothing<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    for window in 1..=3 {
        for region in ["a", "b"] {
            let sequence = window * 2;
            let chunks = vec![put(&mut store, region, sequence, 100), put(&mut store, region, sequence + 1, 70_000)];
            commit_one(&mut store, manifest(region, window, FIRST, chunks)).expect("a window commits");
        }
    }
    let mut before = Vec::new();
    let mut after = Vec::new();
    for all in [&mut before, &mut after] {
        for region in store.regions().expect("regions are listed") {
            for info in store.list(&region).expect("checkpoints are listed") {
                let manifest = store.load(&region, info.window).expect("a kept manifest is whole");
                let chunks: Vec<ChunkRef> = manifest.chunks().cloned().collect();
                let contents: Vec<Vec<u8>> =
                    chunks.iter().map(|chunk| store.read_chunk(chunk).expect("a chunk is whole")).collect();
                all.push((head(&mut store, &region), info, manifest, contents));
            }
        }
        drop(store);
        store = fixture.open();
    }
    assert_eq!(before.len(), 4);
    assert!(before == after);
}

fn incarnations_increase<F: Fixture>(fixture: &mut F) {
    let mut last = 0;
    for _ in 0..4 {
        let mut store = fixture.open();
        for _ in 0..2 {
            let next = store.claim_incarnation().expect("an incarnation is claimed");
            assert_eq!(next, last + 1);
            last = next;
        }
    }
}

fn joined_outputs_come_with_their_window<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    let mut expected = Vec::new();
    for window in 1..=5 {
        let outputs = vec![joined(window, 10), joined(window, 9_000)];
        expected.extend(outputs.iter().map(|output| (WindowId(window), output.clone())));
        let commit = Commit { manifest: manifest("a", window, FIRST, Vec::new()), joined: outputs };
        assert_eq!(store.commit(vec![commit.clone()]), [Ok(())]);
        assert!(store.commit(vec![commit])[0].is_err(), "a refused commit publishes nothing");
        assert_eq!(store.joined("a").expect("outputs are read"), expected);
    }
    drop(store);
    let mut store = fixture.open();
    assert_eq!(store.joined("a").expect("outputs are read"), expected, "they outlive their checkpoints");
    assert_eq!(store.joined("b").expect("outputs are read"), []);
}

fn dead_letters_come_once_and_stay<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    // Names of which one begins as another goes on, and one that is no name at all.
    let subtasks =
        [("in", 0), ("in", 1), ("in2", 0), ("a/b\u{1}ö", 7)].map(|(name, index)| SubtaskId::new(name, index));
    let mut expected: Vec<DeadLetter> = Vec::new();
    for window in 1..=8_u64 {
        // Each subtask lists what it has set aside in this window and in the one before; some letters are long.
        let listed: Vec<Vec<DeadLetter>> = subtasks
            .iter()
            .map(|subtask| {
                let windows = [window - 1, window].into_iter().filter(|window| *window > 0);
                windows.map(|of| letter(subtask, of, of, if of % 3 == 0 { 9_000 } else { 10 })).collect()
            })
            .collect();
        expected.extend(listed.iter().filter_map(|letters| letters.last().cloned()));
        commit_one(&mut store, manifest_with_letters("a", window, &listed)).expect("a window commits");
        expected.sort_by_key(|letter| (letter.window, letter.subtask.clone(), letter.number));
        assert!(store.letters("a").expect("letters are read") == expected, "after window {window}");
        if window % 2 == 0 {
            drop(store);
            store = fixture.open();
            assert!(store.letters("a").expect("letters are read") == expected, "after window {window}, opened again");
        }
    }
    assert_eq!(windows(&mut store, "a"), [7, 8]);
    for window in 9..=12 {
        commit_one(&mut store, manifest("a", window, FIRST, Vec::new())).expect("a window commits");
    }
    drop(store);
    let mut store = fixture.open();
    assert!(store.letters("a").expect("letters are read") == expected, "they outlive the checkpoints that list them");
    assert_eq!(store.verify(), Vec::<String>::new());
}

fn dead_letters_come_with_their_commit<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    assert_eq!(store.letters("a").expect("letters are read"), []);
    let subtask = SubtaskId::new("in", 0);
    let with = |region, window, letters: Vec<DeadLetter>| manifest_with_letters(region, window, &[letters]);
    let [first, second, third] = [1, 2, 3].map(|number| letter(&subtask, number, number, 10));
    commit_one(&mut store, with("a", 1, vec![first.clone()])).expect("a window commits");

    // Commits that do not happen bring nothing.
    let mut unknown = with("a", 2, vec![second.clone()]);
    let chunk = ChunkRef::Blob { id: chunk_id("a", FIRST, 9), len: 40_000, checksum: 0 };
    unknown.subtasks[0].operators[0].chunks = vec![chunk];
    assert!(commit_one(&mut store, unknown).is_err());
    assert!(commit_one(&mut store, with("a", 1, vec![second.clone()])).is_err(), "it is fenced");
    assert_eq!(store.letters("a").expect("letters are read"), from_ref(&first));
    drop(store);
    let mut store = fixture.open();
    assert_eq!(store.letters("a").expect("letters are read"), from_ref(&first));

    // What was rolled back is set aside again, or something else is.
    let other = DeadLetter { record: "\"another\"".to_owned(), ..second };
    let group = [with("a", 3, vec![other.clone()]), with("b", 5, vec![first.clone(), third.clone()])];
    let commits = group.map(|manifest| Commit { manifest, joined: Vec::new() });
    assert_eq!(store.commit(commits.to_vec()), [Ok(()), Ok(())]);
    assert_eq!(store.letters("a").expect("letters are read"), [first.clone(), other.clone()]);

    // A subtask whose chain has changed counts anew.
    let again = DeadLetter { number: 1, ..letter(&subtask, 1, 9, 10) };
    commit_one(&mut store, with("a", 9, vec![again.clone()])).expect("a window commits");
    drop(store);
    let mut store = fixture.open();
    assert_eq!(store.letters("a").expect("letters are read"), [first.clone(), other, again]);
    assert_eq!(store.letters("b").expect("letters are read"), [first, third], "letters are of a region");
}

fn dead_letters_of_windows_that_were_given_up_are_left_out<F: Fixture>(fixture: &mut F) {
    let subtask = SubtaskId::new("in", 0);
    let of = |window| letter(&subtask, window, window, 10);
    let with = |window, copy_of| Manifest {
        copy_of: WindowId(copy_of),
        ..manifest_with_letters("a", window, &[vec![of(if copy_of > 0 { copy_of } else { window })]])
    };
    let mut store = fixture.open();
    // Up to 5, back to 2 and up to 8, then to 4 after all.
    for (window, copy_of, expected) in [
        (1, 0, &[1][..]),
        (2, 0, &[1, 2]),
        (3, 0, &[1, 2, 3]),
        (4, 0, &[1, 2, 3, 4]),
        (5, 0, &[1, 2, 3, 4, 5]),
        (6, 2, &[1, 2]),
        (7, 0, &[1, 2, 7]),
        (8, 0, &[1, 2, 7, 8]),
        (9, 4, &[1, 2, 3, 4]),
        (10, 0, &[1, 2, 3, 4, 10]),
    ] {
        commit_one(&mut store, with(window, copy_of)).expect("a window commits");
        let expected: Vec<DeadLetter> = expected.iter().map(|window| of(*window)).collect();
        assert!(store.letters("a").expect("letters are read") == expected, "window {window}");
        drop(store);
        store = fixture.open();
        assert!(store.letters("a").expect("letters are read") == expected, "window {window}, opened again");
    }
    assert_eq!(store.verify(), Vec::<String>::new());
}

fn long_manifests_are_kept<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.open();
    for window in 1..=4 {
        let count = if window == 3 { 2 } else { 50 };
        let chunks: Vec<ChunkRef> =
            (0..count).map(|nth| put(&mut store, "a", window * 100 + nth, INLINE_LIMIT)).collect();
        commit_one(&mut store, manifest("a", window, FIRST, chunks)).expect("a window commits");
        if window == 2 {
            drop(store);
            store = fixture.open();
        }
    }
    drop(store);
    let mut store = fixture.open();
    for (window, count) in [(3, 2), (4, 50)] {
        let manifest = store.load("a", WindowId(window)).expect("a kept manifest is whole");
        assert_eq!(manifest.chunks().count(), count);
        for (chunk, nth) in manifest.chunks().zip(0..) {
            let read = store.read_chunk(chunk).expect("the chunk is whole");
            assert!(read == content(window * 100 + nth, INLINE_LIMIT));
        }
    }
}

fn strange_names_are_kept_apart<F: Fixture>(fixture: &mut F) {
    let names = ["a/b", "a%2Fb", "..", "ö ß", "HEAD", "a.tmp", "-", "x\u{0}y"];
    let mut store = fixture.open();
    for (name, window) in names.iter().zip(1..) {
        let chunk = put(&mut store, name, 1, 40_000 + window as usize);
        commit_one(&mut store, manifest(name, window, FIRST, vec![chunk])).expect("a window commits");
    }
    drop(store);
    let mut store = fixture.open();
    assert_eq!(store.regions().expect("regions are listed").len(), names.len());
    for (name, window) in names.iter().zip(1..) {
        assert_eq!(head(&mut store, name), Some((window, FIRST)));
        let manifest = store.load(name, WindowId(window)).expect("a kept manifest is whole");
        let chunk = manifest.chunks().next().expect("it lists a chunk").clone();
        assert_eq!(store.read_chunk(&chunk).expect("the chunk is whole").len(), 40_000 + window as usize);
    }
}
