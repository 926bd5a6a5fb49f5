use super::*;
use crate::protocol::commit::{Commit, CommitLog as _};
use crate::store::conformance::{FIRST, chunk_id, content, manifest};
use crate::store::disk::{FaultRates, SimDisk};
use crate::store::{CheckpointStore as _, INLINE_LIMIT, OpenOptions, SimStore};

const DIR: &str = "/state";

fn open(disk: &SimDisk) -> SimStore {
    SimStore::open(disk.clone(), OpenOptions { retain: 1, allow_rollback: false }).unwrap().0
}

/// Commits a window with a chunk that is a file, and returns its bytes.
fn commit(store: &mut SimStore, window: u64) -> Vec<u8> {
    let bytes = content(window, INLINE_LIMIT + 100);
    let chunk = store.put_chunk(chunk_id("r", FIRST, window), &bytes).unwrap();
    let manifest = manifest("r", window, FIRST, vec![chunk]);
    assert_eq!(store.commit(vec![Commit { manifest, joined: Vec::new() }]), [Ok(())]);
    bytes
}

fn names(store: &mut SimStore) -> Vec<String> {
    store.list_savepoints().unwrap().into_iter().map(|savepoint| savepoint.name).collect()
}

#[test]
fn a_savepoint_outlives_retention_and_the_state_itself() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk);
    let bytes = commit(&mut store, 1);
    store.add_to_savepoint("first", "r", WindowId(1)).unwrap();
    assert_eq!(names(&mut store), [] as [String; 0], "it is not sealed");
    let sealed = store.seal_savepoint("first", "job", 7).unwrap();
    assert_eq!((sealed.regions["r"], sealed.created_ms, sealed.bytes), (WindowId(1), 7, bytes.len() as u64));
    commit(&mut store, 2);
    commit(&mut store, 3);
    assert_eq!(store.list("r").unwrap().len(), 1);
    drop(store);
    SimStore::discard_on(&disk, Path::new(DIR)).unwrap();

    let mut store = open(&disk);
    assert_eq!(store.list_savepoints().unwrap(), [sealed]);
    let saved = store.load_savepoint("first", "r").unwrap();
    let chunk = saved.chunks().next().unwrap().clone();
    assert_eq!(store.read_saved_chunk("first", &chunk).unwrap(), bytes);
    // And it can be gone on from: its chunks are those of a checkpoint again.
    store.reuse_savepoint("first", "r").unwrap();
    let copy = Manifest { window: WindowId(1), ..saved };
    assert_eq!(store.commit(vec![Commit { manifest: copy, joined: Vec::new() }]), [Ok(())]);
    assert!(store.drop_savepoint("first").unwrap() && !store.drop_savepoint("first").unwrap());
    assert_eq!(store.read_chunk(&chunk).unwrap(), bytes);
    assert_eq!(store.verify(), [] as [String; 0]);
}

#[test]
fn a_savepoint_that_was_not_sealed_leaves_nothing_behind() {
    let disk = SimDisk::new(2);
    let mut store = open(&disk);
    commit(&mut store, 1);
    store.add_to_savepoint("aborted", "r", WindowId(1)).unwrap();
    store.abort_savepoint("aborted").unwrap();
    assert_eq!(disk.list(&Path::new(DIR).join("savepoints")).unwrap(), []);
    store.add_to_savepoint("killed", "r", WindowId(1)).unwrap();
    drop(store);
    let mut store = open(&disk);
    assert_eq!(disk.list(&Path::new(DIR).join("savepoints")).unwrap(), []);
    store.add_to_savepoint("twice", "r", WindowId(1)).unwrap();
    store.seal_savepoint("twice", "job", 1).unwrap();
    store.add_to_savepoint("twice", "r", WindowId(1)).unwrap();
    let refused = store.seal_savepoint("twice", "job", 2).unwrap_err().to_string();
    assert!(refused.contains("there is a savepoint \"twice\" already"), "{refused}");
    assert_eq!(disk.list(&Path::new(DIR).join("savepoints")).unwrap().len(), 1);
}

#[test]
fn a_disk_that_fails_leaves_the_store_usable() {
    let disk = SimDisk::new(3);
    let mut store = open(&disk);
    commit(&mut store, 1);
    disk.set_rates(FaultRates { sync: 1.0, ..FaultRates::default() });
    assert!(store.add_to_savepoint("full", "r", WindowId(1)).is_err());
    disk.heal();
    store.abort_savepoint("full").unwrap();
    assert!(!store.is_poisoned());
    store.add_to_savepoint("full", "r", WindowId(1)).unwrap();
    store.seal_savepoint("full", "job", 1).unwrap();
    assert!(store.add_to_savepoint("unknown", "r", WindowId(9)).is_err());
}

#[test]
fn damage_to_a_savepoint_is_named() {
    let disk = SimDisk::new(4);
    let mut store = open(&disk);
    commit(&mut store, 1);
    store.add_to_savepoint("s", "r", WindowId(1)).unwrap();
    store.seal_savepoint("s", "job", 1).unwrap();
    let chunk = store.load_savepoint("s", "r").unwrap().chunks().next().unwrap().clone();
    let ChunkRef::Blob { id, .. } = &chunk else { panic!("a file") };
    let path = region::blob_path(&region::folder(&store.savepoint_folder("s"), "r"), id);
    disk.flip_bit(&path, 8 * 1000).unwrap();
    assert!(store.read_saved_chunk("s", &chunk).unwrap_err().to_string().contains("/savepoints/s/"));
    assert!(store.reuse_savepoint("s", "r").is_err());
    let [line] = &store.verify()[..] else { panic!("one line") };
    assert!(line.contains("savepoint \"s\""), "{line}");
}

#[test]
fn what_is_old_expires_but_not_the_newest_checkpoint() {
    let disk = SimDisk::new(5);
    let (mut store, _) = SimStore::open(disk, OpenOptions { retain: 5, allow_rollback: false }).unwrap();
    for window in 1..=4 {
        commit(&mut store, window);
    }
    for (name, created) in [("old", 1_000), ("new", 9_000)] {
        store.add_to_savepoint(name, "r", WindowId(1)).unwrap();
        store.seal_savepoint(name, "job", created).unwrap();
    }
    // They were complete at 1007, 2007, 3007 and 4007.
    let expired = store.expire(3_000).unwrap();
    assert_eq!(expired.len(), 3, "{expired:?}");
    assert_eq!(names(&mut store), ["new"]);
    let kept =
        |store: &mut SimStore| -> Vec<u64> { store.list("r").unwrap().iter().map(|info| info.window.0).collect() };
    assert_eq!(kept(&mut store), [3, 4]);
    store.expire(1_000_000).unwrap();
    assert_eq!(kept(&mut store), [4]);
    assert_eq!(store.verify(), [] as [String; 0]);
    commit(&mut store, 5);
}
