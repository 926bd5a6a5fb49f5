//! What the fuzz targets begin with, and what they have found once: every file in `fuzz/seeds` keeps its promise.
//!
//! `PITON_FUZZ=path/to/file cargo test --test fuzz_corpus` tries one file, of the target that its folder names.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/checks/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "it is part of the fuzz targets, too")]
mod checks;

type Check = fn(&[u8]);

/// The targets, as in `fuzz/Cargo.toml`.
const TARGETS: [(&str, Check); 8] = [
    ("topology", checks::topology::check),
    ("manifest", checks::manifest::check),
    ("state", checks::state::check),
    ("store", checks::store::check),
    ("sled", checks::sled::check),
    ("letters", checks::letters::check),
    ("in_flight", checks::in_flight::check),
    ("faults", checks::faults::check),
];

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// Gives every seed of a target to its check.
fn try_all(target: &str) {
    let chosen = std::env::var_os("PITON_FUZZ").map(PathBuf::from);
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(seeds().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    if let Some(chosen) = chosen {
        let is_of_target = chosen.parent().is_some_and(|folder| folder.ends_with(target));
        files = if is_of_target { vec![chosen] } else { Vec::new() };
    }
    for file in files {
        // The last line before a failure is the file that it is about.
        println!("{}", file.display());
        check(&fs::read(&file).unwrap());
    }
}

macro_rules! targets {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            try_all(stringify!($target));
        }
    )*};
}
targets! { topology manifest state store sled letters in_flight faults }

#[test]
fn every_target_has_seeds_and_every_seed_a_target() {
    let mut seeds_of = BTreeMap::new();
    for entry in fs::read_dir(seeds()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        seeds_of.insert(name, fs::read_dir(folder).unwrap().count());
    }
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(seeds_of.keys().eq(names.iter()), "{seeds_of:?}");
    assert!(seeds_of.values().all(|seeds| *seeds > 2), "{seeds_of:?}");
    let manifest = fs::read_to_string(seeds().parent().unwrap().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is no target in fuzz/Cargo.toml");
    }
}

/// A check that lets everything through would find nothing, either.
#[test]
#[should_panic(expected = "another head than there was")]
fn a_store_that_has_gone_back_is_not_let_through() {
    use piton::store::SimStore;
    use piton::store::disk::SimDisk;

    let open = |disk: &SimDisk| SimStore::open(disk.clone(), checks::kept::OPTIONS).unwrap();
    let [less, more] = [2, 3].map(|windows| {
        let disk = SimDisk::new(1);
        checks::kept::fill(&mut open(&disk).0, windows, false);
        disk
    });
    let kept = checks::kept::read_all(&mut open(&more).0).unwrap();
    let (mut store, report) = open(&less);
    kept.judge(&mut store, &report, "/state");
}
