//! Damage to any one file of a state directory is mended or refused by name; it never takes anything back silently.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod store_support;

use std::fs::{self, OpenOptions as Files};
use std::path::{Path, PathBuf};

use piton::ids::WindowId;
use piton::store::{CheckpointStore, OpenOptions, OpenReport, SledStore, StoreError};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use store_support::{REGIONS, Step, Workload, copy, rounds, scratch};

const OPTIONS: OpenOptions = OpenOptions { retain: 3, allow_rollback: false };

/// Makes a state directory of some windows in two lives of the process.
fn state(dir: &Path, windows: u64, joins: bool) -> Workload {
    let mut workload = Workload::default();
    workload.joins = joins;
    for steps in [windows / 2, windows - windows / 2] {
        let (mut store, _) = SledStore::open(dir, OPTIONS).unwrap();
        workload.begin(&mut store).unwrap();
        for _ in 0..steps {
            assert_eq!(workload.step(&mut store), Step::Acknowledged);
        }
    }
    workload
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Remove,
    Truncate(u64),
    Flip(u64),
}

impl Damage {
    fn inflict(self, path: &Path) {
        match self {
            Damage::Remove => fs::remove_file(path).unwrap(),
            Damage::Truncate(len) => Files::new().write(true).open(path).unwrap().set_len(len).unwrap(),
            Damage::Flip(bit) => {
                let mut content = fs::read(path).unwrap();
                content[(bit / 8) as usize] ^= 1 << (bit % 8);
                fs::write(path, content).unwrap();
            }
        }
    }
}

/// Returns ways to damage a file: at its ends, around its content, anywhere.
fn damages(path: &Path, rng: &mut Pcg64Mcg) -> Vec<Damage> {
    let content = fs::read(path).unwrap();
    let len = content.len() as u64;
    let mut damages = vec![Damage::Remove];
    if len == 0 {
        return damages;
    }
    let used: Vec<u64> = (0..len).filter(|byte| content[*byte as usize] != 0).collect();
    let last = used.last().copied().unwrap_or(0);
    damages.extend([0, 1, len / 2, last, len - 1].map(Damage::Truncate));
    damages.extend([0, 17, 70, last].map(|byte| Damage::Flip(byte.min(len - 1) * 8 + 3)));
    let is_catalogue = path.parent().is_some_and(|dir| dir.ends_with("catalog"));
    for _ in 0..rounds(if is_catalogue { 30 } else { 6 }) {
        let byte = used[rng.random_range(0..used.len())];
        damages.push(Damage::Flip(byte * 8 + rng.random_range(0..8)));
        damages.push(Damage::Truncate(byte));
    }
    damages
}

#[test]
fn damage_to_any_one_file_is_mended_or_refused_by_name() {
    let root = scratch();
    let (mut mended, mut refused, mut harmless) = (0, 0, 0);
    for (nth, windows) in [6, 7].into_iter().enumerate() {
        let whole = root.path().join(format!("whole{nth}"));
        let workload = state(&whole, windows, nth == 1);
        let mut rng = Pcg64Mcg::seed_from_u64(windows);
        for file in files(&whole) {
            let name = file.strip_prefix(&whole).unwrap();
            for damage in damages(&file, &mut rng) {
                let context = format!("{windows} windows, {damage:?} of {}", name.display());
                let dir = root.path().join("damaged");
                copy(&whole, &dir);
                damage.inflict(&dir.join(name));
                match SledStore::open(&dir, OPTIONS) {
                    Ok((mut store, report)) => {
                        workload.verify(&mut store, &context);
                        let mut workload = workload.clone();
                        workload.begin(&mut store).unwrap();
                        assert_eq!(workload.step(&mut store), Step::Acknowledged, "{context}");
                        drop(store);
                        let (mut store, again) = SledStore::open(&dir, OPTIONS).unwrap();
                        workload.verify(&mut store, &context);
                        if report.repairs.is_empty() {
                            harmless += 1
                        } else {
                            mended += 1
                        }
                        let only_older = |line: &String| line.contains("cannot be restored");
                        assert!(again.repairs.iter().all(only_older), "{context}: {again:?}");
                    }
                    Err(StoreError::Damaged(reason) | StoreError::Format(reason)) => {
                        let file_name = name.file_name().unwrap().to_str().unwrap();
                        // Which of its files the database stumbled over it does not say.
                        let is_named = if name.starts_with("catalog") {
                            assert!(workload.joins, "{context}: the heads make up for the catalogue: {reason}");
                            reason.contains("catalog")
                        } else {
                            reason.contains(file_name)
                        };
                        assert!(is_named, "{context}: {reason}");
                        refused += 1;
                    }
                    Err(error) => panic!("{context}: {error:?}"),
                }
                fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
    println!("{mended} mended, {refused} refused, {harmless} harmless");
    assert!(mended > 50 && refused > 20, "{mended} mended, {refused} refused, {harmless} harmless");
}

#[test]
fn the_whole_catalogue_may_be_lost() {
    let root = scratch();
    let dir = root.path().join("state");
    let workload = state(&dir, 6, false);
    fs::remove_dir_all(dir.join("catalog")).unwrap();
    let (mut store, report) = SledStore::open(&dir, OPTIONS).unwrap();
    workload.verify(&mut store, "without a catalogue");
    assert!(report.repairs.iter().any(|line| line.contains("catalog.bad-1")), "{report:?}");
}

/// The database writes its settings in two pieces: a process that is killed between them leaves what looks like damage.
#[test]
fn a_catalogue_that_was_only_being_made_is_no_damage() {
    let root = scratch();
    let dir = root.path().join("state");
    SledStore::open(&dir, OPTIONS).unwrap();
    let settings = fs::read(dir.join("catalog/conf")).unwrap();
    for entry in ["catalog", "regions"] {
        fs::remove_dir_all(dir.join(entry)).unwrap();
    }
    fs::remove_file(dir.join("ROOT")).unwrap();
    fs::create_dir(dir.join("catalog.tmp")).unwrap();
    fs::write(dir.join("catalog.tmp/conf"), &settings[..settings.len() - 4]).unwrap();
    {
        let (mut store, report) = SledStore::open(&dir, OPTIONS).unwrap();
        assert_eq!(report.repairs, Vec::<String>::new());
        assert_eq!(store.claim_incarnation().unwrap(), 1);
    }
    assert!(!dir.join("catalog.tmp").exists());
}

#[test]
fn a_catalogue_that_went_back_is_replaced() {
    let root = scratch();
    let (dir, old) = (root.path().join("state"), root.path().join("old"));
    let mut workload = state(&dir, 4, true);
    copy(&dir, &old);
    {
        let (mut store, _) = SledStore::open(&dir, OPTIONS).unwrap();
        workload.begin(&mut store).unwrap();
        for _ in 0..2 {
            assert_eq!(workload.step(&mut store), Step::Acknowledged);
        }
    }
    fs::remove_dir_all(dir.join("catalog")).unwrap();
    copy(&old.join("catalog"), &dir.join("catalog"));
    let (mut store, report) = SledStore::open(&dir, OPTIONS).unwrap();
    workload.verify(&mut store, "with an older catalogue");
    assert!(report.repairs.iter().any(|line| line.contains("gone back")), "{report:?}");
    workload.begin(&mut store).unwrap();
}

#[test]
fn a_rollback_happens_only_when_it_is_asked_for() {
    let root = scratch();
    let dir = root.path().join("state");
    state(&dir, 5, true);
    let blobs = dir.join("regions/a/blobs");
    let newest = {
        let (mut store, _) = SledStore::open(&dir, OPTIONS).unwrap();
        let manifest = store.load("a", WindowId(5)).unwrap();
        let last = manifest.chunks().last().unwrap();
        let piton::protocol::manifest::ChunkRef::Blob { id, .. } = last else { panic!("the last chunk is long") };
        blobs.join(id.to_string())
    };
    fs::remove_file(&newest).unwrap();
    for _ in 0..2 {
        let Err(StoreError::Damaged(reason)) = SledStore::open(&dir, OPTIONS) else { panic!("it is damaged") };
        for part in ["window 5 ", "window 4", "\"a\"", newest.to_str().unwrap()] {
            assert!(reason.contains(part), "{reason}");
        }
    }
    {
        let options = OpenOptions { allow_rollback: true, ..OPTIONS };
        let (mut store, report) = SledStore::open(&dir, options).unwrap();
        assert_eq!(report.rolled_back, [("a".to_owned(), WindowId(5), WindowId(4))]);
        assert_eq!(store.head("a").unwrap().map(|(window, _)| window), Some(WindowId(4)));
    }
    let (mut store, report) = SledStore::open(&dir, OPTIONS).unwrap();
    let again = OpenReport { repairs: Vec::new(), rolled_back: Vec::new(), ..report.clone() };
    assert_eq!(report, again);
    let heads = REGIONS.map(|region| store.head(region).unwrap().map(|(window, _)| window.0));
    assert_eq!(heads, [Some(4), Some(5)]);
    let mut workload = Workload::default();
    workload.begin(&mut store).unwrap();
    assert_eq!(workload.step(&mut store), Step::Acknowledged);
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let root = scratch();
    fs::write(root.path().join("letter.txt"), b"dear").unwrap();
    let Err(StoreError::Format(reason)) = SledStore::open(root.path(), OPTIONS) else { panic!("it is foreign") };
    assert!(reason.contains("FORMAT") && reason.contains("letter.txt"), "{reason}");
    assert_eq!(files(root.path()).len(), 1);
}
