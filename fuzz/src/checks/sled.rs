//! As `store`, with the catalogue that is used in production, and damage to one of its files: it is mended from the
//! other witness, or named. Whatever the database does with what it finds, the process goes on.
//!
//! The first byte of the input says which file, then comes the damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use piton::store::SledStore;
use tempfile::TempDir;

use super::damage::Damage;
use super::input::Input;
use super::kept::{self, Kept, OPTIONS};

/// A state directory, and what it holds.
pub struct Whole {
    root: TempDir,
    /// Those of the catalogue, relative to the directory.
    pub files: Vec<PathBuf>,
    kept: Kept,
}

impl Whole {
    fn new() -> Whole {
        let root = scratch();
        let dir = root.path().join("state");
        let (mut store, _) = SledStore::open(&dir, OPTIONS).expect("an empty directory can be used");
        kept::fill(&mut store, 3, false);
        drop(store);
        let (mut store, report) = SledStore::open(&dir, OPTIONS).expect("nothing is damaged");
        assert_eq!(report.repairs, Vec::<String>::new());
        let kept = kept::read_all(&mut store).expect("nothing is damaged");
        drop(store);
        let mut files = files(&dir, Path::new("catalog"));
        files.sort();
        Whole { root, files, kept }
    }

    /// Returns the directory.
    pub fn get() -> &'static Whole {
        static WHOLE: OnceLock<Whole> = OnceLock::new();
        WHOLE.get_or_init(Whole::new)
    }

    /// Returns what stands in a file.
    pub fn read(&self, file: &Path) -> Vec<u8> {
        fs::read(self.root.path().join("state").join(file)).expect("the file was listed")
    }
}

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let whole = Whole::get();
    let file = &whole.files[usize::from(input.byte()) % whole.files.len()];
    let root = scratch();
    let dir = root.path().join("state");
    copy(&whole.root.path().join("state"), &dir);
    let path = dir.join(file);
    match Damage::take(input).inflict(&whole.read(file)) {
        Some(damaged) => fs::write(&path, damaged).expect("the file can be written"),
        None => fs::remove_file(&path).expect("the file is there"),
    }
    let shown = dir.to_string_lossy();
    match SledStore::open(&dir, OPTIONS) {
        Err(error) => kept::refused(&error, &shown),
        Ok((mut store, report)) => {
            whole.kept.judge(&mut store, &report, &shown);
            whole.kept.go_on(&mut store);
            drop(store);
            let (mut store, _) = SledStore::open(&dir, OPTIONS).expect("it was mended, or was not damaged");
            whole.kept.went_on(&mut store);
        }
    }
}

/// Makes a folder, in memory if the machine has one for that.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("there is room for a folder")
}

fn files(dir: &Path, below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join(below)).expect("the folder is there") {
        let path = below.join(entry.expect("the folder can be read").file_name());
        if dir.join(&path).is_dir() { found.extend(files(dir, &path)) } else { found.push(path) }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the folder is new");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let name = entry.expect("the folder can be read").file_name();
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).expect("the file can be copied");
        }
    }
}
