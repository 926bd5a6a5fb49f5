//! Nothing acknowledged is lost and nothing is half there, wherever the power is cut and whatever the disk refuses.
#![allow(clippy::unwrap_used, reason = "a test")]

mod store_support;

use std::collections::BTreeSet;
use std::path::Path;

use piton::store::disk::{DiskFault, FaultRates, SimDisk};
use piton::store::{CheckpointStore, OpenOptions, SimStore, StoreError};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use store_support::{REGIONS, Step, Workload, rounds};

fn open(disk: &SimDisk) -> Result<SimStore, StoreError> {
    SimStore::open(disk.clone(), OpenOptions { retain: 2, allow_rollback: false }).map(|(store, _)| store)
}

/// Opens a store on which nothing has failed but what a crash does; that always works, and leaves nothing to mend.
fn reopen(disk: &SimDisk, context: &str) -> SimStore {
    match SimStore::open(disk.clone(), OpenOptions { retain: 2, allow_rollback: false }) {
        Ok((store, _)) => store,
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Runs three checkpoints, in two lives of the process; ends early when the machine goes down.
fn run(disk: &SimDisk, workload: &mut Workload) -> Result<(), StoreError> {
    for steps in [2, 1] {
        let mut store = open(disk)?;
        workload.begin(&mut store)?;
        for _ in 0..steps {
            if workload.step(&mut store) != Step::Acknowledged {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn calls_of_a_run() -> u64 {
    let disk = SimDisk::new(0);
    let mut workload = Workload::default();
    run(&disk, &mut workload).unwrap();
    assert_eq!(workload.acknowledged["a"], 3);
    disk.calls()
}

/// Lets the workload go on for two windows, and looks at everything.
fn go_on(disk: &SimDisk, mut workload: Workload, context: &str) -> Workload {
    let mut store = reopen(disk, context);
    workload.verify(&mut store, context);
    workload.begin(&mut store).unwrap();
    for _ in 0..2 {
        assert_eq!(workload.step(&mut store), Step::Acknowledged, "{context}");
    }
    drop(store);
    let mut store = reopen(disk, context);
    workload.verify(&mut store, context);
    assert_eq!(store.verify(), Vec::<String>::new(), "{context}");
    workload
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    let calls = calls_of_a_run();
    let mut heads = BTreeSet::new();
    for call in 0..calls {
        let disk = SimDisk::new(call);
        let mut workload = Workload::default();
        disk.crash_at(call);
        // It ends where the power is cut.
        let ended = run(&disk, &mut workload);
        assert!(disk.is_down(), "call {call}: {ended:?}");
        for seed in 0..4 {
            let context = format!("call {call} of {calls}, seed {seed}");
            let after = disk.fork(seed);
            after.crash(&mut Pcg64Mcg::seed_from_u64(seed));
            let mut store = reopen(&after, &context);
            workload.verify(&mut store, &context);
            for region in REGIONS {
                let window = store.head(region).unwrap().map_or(0, |(window, _)| window.0);
                let acknowledged = workload.acknowledged.get(region).copied().unwrap_or(0);
                assert!(window <= acknowledged + 1, "{context}");
                heads.insert((acknowledged, window));
            }
            drop(store);
            go_on(&after, workload.clone(), &context);
        }
    }
    assert!(heads.contains(&(1, 1)) && heads.contains(&(1, 2)), "old and new heads were met: {heads:?}");
}

#[test]
fn a_kill_at_any_call_loses_nothing_acknowledged() {
    for call in 0..calls_of_a_run() {
        let disk = SimDisk::new(call);
        let mut workload = Workload::default();
        disk.crash_at(call);
        run(&disk, &mut workload).ok();
        disk.kill();
        go_on(&disk, workload, &format!("call {call}"));
    }
}

#[test]
fn crashes_upon_crashes_lose_nothing_acknowledged() {
    for seed in 0..rounds(300) {
        let context = format!("seed {seed}");
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut workload = Workload::default();
        for _ in 0..6 {
            disk.crash_at(disk.calls() + rng.random_range(0..120));
            if let Ok(mut store) = open(&disk)
                && workload.begin(&mut store).is_ok()
            {
                while workload.step(&mut store) == Step::Acknowledged {}
            }
            match rng.random_range(0..4) {
                0 => disk.kill(),
                _ => disk.crash(&mut rng),
            }
            if rng.random_bool(0.5) {
                let mut store = reopen(&disk, &context);
                workload.verify(&mut store, &context);
            }
        }
        go_on(&disk, workload, &context);
    }
}

/// Works on through failures as a job does: retries what failed, opens the store again when it has to.
fn persevere(disk: &SimDisk, workload: &mut Workload, windows: u64, context: &str) {
    for _ in 0..400 {
        if workload.acknowledged.get("a").copied().unwrap_or(0) >= windows {
            return;
        }
        let mut store = match open(disk) {
            Ok(store) => store,
            Err(StoreError::Io { .. }) => continue,
            Err(error) => panic!("{context}: {error}"),
        };
        if workload.begin(&mut store).is_err() {
            continue;
        }
        for _ in 0..20 {
            if workload.acknowledged.get("a").copied().unwrap_or(0) >= windows
                || workload.step(&mut store) == Step::Reopen
            {
                break;
            }
        }
    }
    panic!("{context}: no progress");
}

#[test]
fn a_refusal_at_any_call_is_survived_and_a_power_cut_after_it() {
    let calls = calls_of_a_run();
    let slow = DiskFault::Slow { micros: 2_000_000 };
    let mut effective = 0;
    for fault in [DiskFault::Sync, DiskFault::Full, DiskFault::Write, DiskFault::Read, slow] {
        for call in 0..calls {
            let context = format!("{fault:?} at call {call}");
            let disk = SimDisk::new(call);
            let mut workload = Workload::default();
            disk.fail_at(call, fault);
            persevere(&disk, &mut workload, 3, &context);
            effective += disk.injected();
            disk.heal();
            disk.crash(&mut Pcg64Mcg::seed_from_u64(call));
            go_on(&disk, workload, &context);
        }
    }
    assert!(effective > calls, "{effective} faults took effect");
}

/// Whether it is a part of the catalogue, a head or the root.
fn is_witness(path: &Path) -> bool {
    path.ends_with("HEAD") || path.ends_with("ROOT") || path.parent().is_some_and(|parent| parent.ends_with("catalog"))
}

/// What was left readable by a killed process or by a failed sync is one witness less, unless opening makes it durable.
#[test]
fn damage_after_a_power_cut_after_a_failure_is_mended_or_refused() {
    let calls = calls_of_a_run();
    let (mut mended, mut refused) = (0, 0);
    for (call, fails) in (0..calls).flat_map(|call| [(call, false), (call, true)]) {
        let disk = SimDisk::new(call);
        let mut workload = Workload::default();
        workload.joins = call % 2 == 0;
        if fails {
            disk.fail_at(call, DiskFault::Sync);
            persevere(&disk, &mut workload, 3, "no damage yet");
            disk.heal();
        } else {
            disk.crash_at(call);
            run(&disk, &mut workload).ok();
            disk.kill();
        }
        // Whoever is acknowledged here has been seen.
        let mut store = reopen(&disk, "no damage yet");
        workload.begin(&mut store).unwrap();
        for region in REGIONS {
            let head = store.head(region).unwrap();
            workload.acknowledged.extend(head.map(|(window, _)| (region, window.0)));
        }
        drop(store);
        let mut rng = Pcg64Mcg::seed_from_u64(call);
        disk.crash(&mut rng);
        for (path, len) in disk.files().into_iter().filter(|(path, _)| is_witness(path)) {
            let context = format!("call {call}, fails {fails}, damage to {}", path.display());
            let damaged = disk.fork(call);
            // Where something is written: a file of two slots is sparse.
            if damaged.flip_bit(&path, rng.random_range(0..8 * len.clamp(1, 2_000))).is_err() {
                continue;
            }
            match open(&damaged) {
                Ok(mut store) => {
                    workload.verify(&mut store, &context);
                    mended += 1;
                }
                Err(StoreError::Damaged(_) | StoreError::Format(_)) => refused += 1,
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }
    assert!(mended > calls && refused > 100, "{mended} mended or harmless, {refused} refused of {calls} calls");
}

/// The catalogue cannot tell its last batch, damaged, from one that was cut off in a crash; the head has to.
#[test]
fn damage_to_a_head_and_to_the_last_batch_of_the_catalogue_takes_nothing_back() {
    for windows in [2, 3] {
        let disk = SimDisk::new(windows);
        let mut workload = Workload::default();
        let mut store = open(&disk).unwrap();
        workload.begin(&mut store).unwrap();
        for _ in 0..windows {
            assert_eq!(workload.step(&mut store), Step::Acknowledged);
        }
        drop(store);
        disk.kill();
        let files = disk.files();
        let (log, len) = files.iter().find(|(path, _)| path.ends_with("catalog/log")).unwrap();
        let heads: Vec<_> = files.iter().filter(|(path, _)| path.ends_with("HEAD")).collect();
        assert_eq!(heads.len(), REGIONS.len());
        for (head, head_len) in heads {
            // Both slots begin with a header, the second in the second half of the file.
            for bit in (0..64 * 8).step_by(5).flat_map(|bit| [bit, (1 << 20 | 4096) * 8 + bit]) {
                let context = format!("{windows} windows, bit {bit} of {} of {head_len} bytes", head.display());
                let damaged = disk.fork(bit);
                damaged.flip_bit(head, bit).unwrap();
                damaged.truncate(log, len - 1).unwrap();
                let mut store = open(&damaged).unwrap_or_else(|error| panic!("{context}: {error}"));
                workload.verify(&mut store, &context);
            }
        }
    }
}

#[test]
fn random_refusals_and_power_cuts_lose_nothing_acknowledged() {
    for seed in 0..rounds(200) {
        let context = format!("seed {seed}");
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut workload = Workload::default();
        for round in 0..3 {
            let rate = 0.01;
            disk.set_rates(FaultRates { read: rate, write: rate, sync: rate, full: rate, ..FaultRates::default() });
            persevere(&disk, &mut workload, 3 * (round + 1), &context);
            disk.heal();
            disk.crash(&mut rng);
            let mut store = reopen(&disk, &context);
            workload.verify(&mut store, &context);
        }
    }
}

#[test]
fn a_disk_that_stays_full_stops_commits_and_harms_nothing() {
    let disk = SimDisk::new(1);
    let mut workload = Workload::default();
    run(&disk, &mut workload).unwrap();
    disk.set_full(true);
    {
        let mut store = match open(&disk) {
            // It may not even open: the lock is a file.
            Err(StoreError::Io { .. }) => None,
            other => Some(other.unwrap()),
        };
        if let Some(store) = &mut store {
            assert_ne!(workload.step(store), Step::Acknowledged);
        }
    }
    disk.heal();
    go_on(&disk, workload, "after the disk was full");
}

#[test]
fn after_a_failed_sync_of_a_commit_every_call_is_refused() {
    for call in 0..60 {
        let disk = SimDisk::new(call);
        let mut store = open(&disk).unwrap();
        let mut workload = Workload::default();
        workload.begin(&mut store).unwrap();
        assert_eq!(workload.step(&mut store), Step::Acknowledged);
        disk.fail_at(disk.calls() + call, DiskFault::Sync);
        if workload.step(&mut store) == Step::Reopen {
            assert!(matches!(store.head("a"), Err(StoreError::Poisoned(_))));
            assert!(matches!(store.claim_incarnation(), Err(StoreError::Poisoned(_))));
            assert_ne!(workload.step(&mut store), Step::Acknowledged);
        }
        drop(store);
        disk.heal();
        go_on(&disk, workload, &format!("call {call}"));
    }
}
