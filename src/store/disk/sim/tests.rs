use std::collections::BTreeSet;

use super::*;

fn path(path: &str) -> &Path {
    Path::new(path)
}

#[test]
fn a_power_cut_loses_names_that_were_not_synced() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..64 {
        let disk = SimDisk::new(seed);
        disk.write_new(path("/a"), b"a").unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.write_new(path("/b"), b"b").unwrap();
        disk.crash(&mut Pcg64Mcg::seed_from_u64(seed));
        assert_eq!(disk.read(path("/a")).unwrap(), b"a");
        match disk.read(path("/b")) {
            Ok(content) => {
                assert_eq!(content, b"b", "its content was synced");
                kept += 1;
            }
            Err(_) => lost += 1,
        }
    }
    assert!(kept > 0 && lost > 0, "kept {kept}, lost {lost}");
}

#[test]
fn an_interrupted_overwrite_tears_by_sector() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        disk.write_new(path("/a"), &[1; 2048]).unwrap();
        disk.sync_dir(path("/")).unwrap();
        // The write is the call after the three above and the sync within the first.
        disk.crash_at(disk.calls() + 1);
        disk.overwrite(path("/a"), 0, &[2; 2048]).unwrap_err();
        assert!(disk.is_down());
        disk.read(path("/a")).unwrap_err();
        disk.crash(&mut Pcg64Mcg::seed_from_u64(seed));
        let content = disk.read(path("/a")).unwrap();
        let sectors: Vec<u8> = content.chunks(512).map(|sector| sector[0]).collect();
        assert!(content.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        seen.insert(sectors);
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn after_a_failed_sync_nothing_makes_it_durable() {
    let mut lost = 0;
    for seed in 0..64 {
        let disk = SimDisk::new(seed);
        disk.write_new(path("/a"), b"old").unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.fail_at(disk.calls() + 1, DiskFault::Sync);
        disk.overwrite(path("/a"), 0, b"new").unwrap_err();
        disk.sync(path("/a")).unwrap();
        assert_eq!(disk.read(path("/a")).unwrap(), b"new", "it stays readable");
        disk.crash(&mut Pcg64Mcg::seed_from_u64(seed));
        lost += usize::from(disk.read(path("/a")).unwrap() == b"old");
    }
    assert!(lost > 0);
}

#[test]
fn a_rename_is_all_or_nothing() {
    for seed in 0..64 {
        let disk = SimDisk::new(seed);
        disk.write_new(path("/a"), b"old").unwrap();
        disk.write_new(path("/t"), b"new").unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.rename(path("/t"), path("/a")).unwrap();
        disk.crash(&mut Pcg64Mcg::seed_from_u64(seed));
        let content = disk.read(path("/a")).unwrap();
        assert_eq!(content == b"old", disk.read(path("/t")).is_ok());
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    let disk = SimDisk::new(0);
    disk.set_full(true);
    let error = disk.write_new(path("/a"), b"a").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.set_full(false);
    disk.write_new(path("/a"), b"a").unwrap();
    assert_eq!(disk.injected(), 1);
}

#[test]
fn a_lock_ends_with_the_life_that_holds_it() {
    let disk = SimDisk::new(0);
    let first = disk.lock(path("/LOCK")).unwrap();
    assert_eq!(disk.lock(path("/LOCK")).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    disk.kill();
    let second = disk.lock(path("/LOCK")).unwrap();
    drop(first);
    assert!(disk.lock(path("/LOCK")).is_err(), "the lock of an earlier life does not release this one");
    drop(second);
    disk.lock(path("/LOCK")).unwrap();
}

#[test]
fn slow_calls_are_on_the_bill() {
    let disk = SimDisk::new(0);
    disk.fail_at(0, DiskFault::Slow { micros: 2_000_000 });
    disk.write_new(path("/a"), b"a").unwrap();
    assert!(disk.take_cost_micros() > 2_000_000);
    assert_eq!(disk.take_cost_micros(), 0);
}

#[test]
fn reads_cross_sectors_and_holes() {
    let disk = SimDisk::new(0);
    disk.write_new(path("/a"), b"abc").unwrap();
    disk.overwrite(path("/a"), 1500, b"xyz").unwrap();
    let content = disk.read(path("/a")).unwrap();
    assert_eq!(content.len(), 1503);
    assert_eq!((&content[..3], &content[1500..]), (&b"abc"[..], &b"xyz"[..]));
    assert!(content[3..1500].iter().all(|byte| *byte == 0));
    assert_eq!(disk.read_at(path("/a"), 1501, 10).unwrap(), b"yz");
    disk.truncate(path("/a"), 2).unwrap();
    assert_eq!(disk.read(path("/a")).unwrap(), b"ab");
}
