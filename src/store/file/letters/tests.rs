use super::*;
use crate::ids::{SubtaskId, WindowId};
use crate::protocol::commit::{Commit, CommitLog as _};
use crate::protocol::manifest::DeadLetter;
use crate::store::conformance::{letter, manifest_with_letters};
use crate::store::disk::{DiskFault, SimDisk};
use crate::store::{CheckpointStore, MemoryStore, OpenOptions, SimStore, letter_id};

const LOG: &str = "/state/regions/r/LETTERS";
const INDEX: &str = "/state/catalog/log";
const HEAD: &str = "/state/regions/r/HEAD";

fn open(disk: &SimDisk, allow_rollback: bool) -> Result<(SimStore, OpenReport), StoreError> {
    SimStore::open(disk.clone(), OpenOptions { retain: 2, allow_rollback })
}

/// The letter that is set aside in a window.
fn of(window: u64) -> DeadLetter {
    letter(&SubtaskId::new("in", 0), window, window, 20)
}

/// Commits a window whose manifest lists its letter and that of the window before.
fn try_commit(store: &mut SimStore, window: u64) -> bool {
    let listed = (window.max(2) - 1..=window).map(of).collect();
    let manifest = manifest_with_letters("r", window, &[listed]);
    store.commit(vec![Commit { manifest, joined: Vec::new() }])[0].is_ok()
}

fn disk_of(windows: u64) -> SimDisk {
    let disk = SimDisk::new(windows);
    let (mut store, _) = open(&disk, false).unwrap();
    store.claim_incarnation().unwrap();
    for window in 1..=windows {
        assert!(try_commit(&mut store, window));
    }
    disk
}

fn up_to(window: u64) -> Vec<DeadLetter> {
    (1..=window).map(of).collect()
}

/// What is there after damage that is mended, and after that nothing is damaged any more.
fn is_mended(disk: &SimDisk, windows: u64, what: &str) {
    let (mut store, report) = open(disk, false).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(store.letters("r").unwrap() == up_to(windows), "{what}");
    assert!(!report.repairs.is_empty(), "{what}");
    assert!(try_commit(&mut store, windows + 1), "{what}");
    drop(store);
    let (mut store, report) = open(disk, false).unwrap();
    assert_eq!(report, OpenReport::default(), "{what}");
    assert!(store.letters("r").unwrap() == up_to(windows + 1), "{what}");
    assert_eq!(store.verify(), [] as [String; 0], "{what}");
}

#[test]
fn a_lost_copy_is_made_again_from_the_other() {
    for path in [LOG, INDEX] {
        let disk = disk_of(9);
        disk.lose(Path::new(path)).unwrap();
        is_mended(&disk, 9, path);
    }
    let disk = disk_of(9);
    disk.truncate(Path::new(LOG), 100).unwrap();
    is_mended(&disk, 9, "a log cut short");
}

#[test]
fn damage_to_either_copy_is_named_and_does_no_harm() {
    for (path, byte) in [(LOG, 200), (INDEX, 2_000)] {
        let disk = disk_of(9);
        let (mut store, _) = open(&disk, false).unwrap();
        disk.flip_bit(Path::new(path), byte * 8).unwrap();
        assert!(store.letters("r").unwrap() == up_to(9), "{path}");
        if path == LOG {
            let damage = store.verify();
            assert!(damage.len() == 1 && damage[0].contains(LOG) && damage[0].contains("region \"r\""), "{damage:?}");
        }
        drop(store);
        let (mut store, _) = open(&disk, false).unwrap();
        assert!(store.letters("r").unwrap() == up_to(9), "{path}");
    }
}

#[test]
fn what_is_in_neither_copy_is_refused_by_name() {
    let disk = disk_of(9);
    disk.lose(Path::new(INDEX)).unwrap();
    disk.flip_bit(Path::new(LOG), 8 * 200).unwrap();
    let Err(StoreError::Damaged(reason)) = open(&disk, false) else { panic!("letters are lost") };
    assert!(reason.contains(LOG) && reason.contains("9 records") && reason.contains("8 are left"), "{reason}");
    let (mut store, _) = open(&disk, true).unwrap();
    let left = store.letters("r").unwrap();
    assert!(left.len() == 8 && left.iter().all(|letter| up_to(9).contains(letter)), "{left:?}");
    assert!(try_commit(&mut store, 10));
    drop(store);
    let (mut store, _) = open(&disk, false).unwrap();
    assert_eq!(store.letters("r").unwrap().len(), 9, "the loss is settled");
}

#[test]
fn the_newest_letters_are_also_in_the_heads() {
    let disk = disk_of(2);
    disk.lose(Path::new(INDEX)).unwrap();
    disk.lose(Path::new(LOG)).unwrap();
    is_mended(&disk, 2, "both copies");
}

#[test]
fn letters_of_windows_that_are_given_up_go_with_them() {
    let disk = disk_of(9);
    // The newest window is proven, and its record is nowhere whole.
    let newest =
        if disk.read_at(Path::new(HEAD), 24, 8).unwrap() == 9_u64.to_le_bytes() { 0 } else { (1 << 20) + 4096 };
    disk.flip_bit(Path::new(HEAD), (newest + 576 + 20) * 8).unwrap();
    disk.lose(Path::new(INDEX)).unwrap();
    assert!(open(&disk, false).is_err());
    let (mut store, report) = open(&disk, true).unwrap();
    assert_eq!(report.rolled_back, [("r".to_owned(), WindowId(9), WindowId(8))]);
    assert!(store.letters("r").unwrap() == up_to(8));
    // What they are set aside as again is what counts.
    assert!(try_commit(&mut store, 9));
    drop(store);
    assert!(open(&disk, false).unwrap().0.letters("r").unwrap() == up_to(9));
}

#[test]
fn wherever_a_commit_is_cut_off_letters_are_those_of_the_head() {
    let whole = disk_of(3);
    let mut heads = [0; 2];
    for call in 0.. {
        let disk = whole.fork(call);
        disk.kill();
        let (mut store, _) = open(&disk, false).unwrap();
        disk.crash_at(disk.calls() + call);
        let committed = try_commit(&mut store, 4);
        drop(store);
        if !disk.is_down() {
            assert!(committed && call > 5, "call {call}");
            break;
        }
        disk.kill();
        let (mut store, _) = open(&disk, false).unwrap();
        let (head, _) = store.head("r").unwrap().unwrap();
        assert!(store.letters("r").unwrap() == up_to(head.0), "call {call}");
        heads[usize::from(head.0 == 4)] += 1;
        // The window may be another one now: a letter that was written down and not committed is not seen again.
        assert!(try_commit(&mut store, 6));
        let expected: Vec<DeadLetter> = up_to(head.0).into_iter().chain([of(5), of(6)]).collect();
        assert!(store.letters("r").unwrap() == expected, "call {call}");
        assert_eq!(store.verify(), [] as [String; 0], "call {call}");
    }
    assert!(heads[0] > 0 && heads[1] > 0, "{heads:?}");
}

#[test]
fn a_log_that_cannot_be_written_fails_the_commit() {
    for fault in [DiskFault::Full, DiskFault::Write, DiskFault::Sync] {
        let disk = disk_of(3);
        let (mut store, _) = open(&disk, false).unwrap();
        // Nothing but letters is written before the batch of the catalogue.
        disk.fail_at(disk.calls() + u64::from(fault == DiskFault::Sync), fault);
        assert!(!try_commit(&mut store, 4) && store.is_poisoned(), "{fault:?}");
        drop(store);
        let (mut store, _) = open(&disk, false).unwrap();
        assert!(store.letters("r").unwrap() == up_to(3), "{fault:?}");
        assert!(try_commit(&mut store, 4) && store.letters("r").unwrap() == up_to(4), "{fault:?}");
    }
}

#[test]
fn the_newest_are_read_page_by_page() {
    fn commit(store: &mut dyn CheckpointStore) -> Vec<DeadLetter> {
        let mut all = Vec::new();
        for window in 1..=5 {
            // Several of one window, some of them of many pieces.
            let subtasks = ["in", "int"].map(|operator| SubtaskId::new(operator, window as u32 % 2));
            let listed =
                subtasks.map(|subtask| vec![letter(&subtask, window, window, 20 + 9_000 * (window as usize % 2))]);
            all.extend(listed.iter().flatten().cloned());
            let manifest = manifest_with_letters("r", window, &listed);
            assert!(store.commit(vec![Commit { manifest, joined: Vec::new() }])[0].is_ok());
        }
        all
    }
    let (mut on_disk, _) = open(&SimDisk::new(1), false).unwrap();
    on_disk.claim_incarnation().unwrap();
    let mut in_memory = MemoryStore::default();
    for store in [&mut on_disk as &mut dyn CheckpointStore, &mut in_memory] {
        let mut all = commit(store);
        all.reverse();
        for most in [1, 3, 100] {
            let mut found: Vec<DeadLetter> = Vec::new();
            loop {
                let before = found.last().map(letter_id);
                let page = store.newest_letters("r", before.as_ref(), most, usize::MAX).unwrap();
                assert!(page.len() <= most);
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            assert!(found == all, "{most} at a time");
        }
        let few = store.newest_letters("r", None, 100, 1).unwrap();
        assert!(few == all[..1], "one is enough, if it is as long as that");
        assert_eq!(store.newest_letters("elsewhere", None, 100, 1).unwrap(), []);
    }
}
