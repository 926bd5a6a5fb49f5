//! A state directory of which one file is damaged: opening it is refused with the name of the damage, or it holds what
//! it was given, and goes on. Nothing is silently less.
//!
//! The first byte of the input says which of two directories it is (one with a manifest that is a file, if its upper half
//! is all ones), and whether the checksums of the damaged file are made right (8); the second one which file; then comes the
//! damage. With right checksums the file tells lies that no disk tells: then it only counts that everything comes back,
//! with whatever answer.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use piton::store::disk::{Disk as _, SimDisk};
use piton::store::{OpenOptions, SimStore};

use super::damage::Damage;
use super::forge;
use super::input::Input;
use super::kept::{self, Kept, OPTIONS};

const DIR: &str = "/state";
/// Seldom: it is the slow one.
pub const LONG: u8 = 0xF0;
pub const FORGED: u8 = 8;
/// With right checksums: whether going back is allowed.
pub const BACK: u8 = 4;

/// A state directory, and what it holds.
pub struct Whole {
    disk: SimDisk,
    pub files: Vec<PathBuf>,
    kept: Kept,
}

impl Whole {
    fn new(long: bool) -> Whole {
        let disk = SimDisk::new(1);
        let (mut store, _) = SimStore::open(disk.clone(), OPTIONS).expect("an empty disk can be used");
        kept::fill(&mut store, 3, long);
        drop(store);
        let (mut store, report) = SimStore::open(disk.clone(), OPTIONS).expect("nothing is damaged");
        assert_eq!(report.repairs, Vec::<String>::new());
        let kept = kept::read_all(&mut store).expect("nothing is damaged");
        drop(store);
        let files = disk.files().into_iter().map(|(path, _)| path).collect();
        Whole { disk, files, kept }
    }

    /// Returns the directory with a long manifest, or the one without.
    pub fn get(long: bool) -> &'static Whole {
        static WHOLE: [OnceLock<Whole>; 2] = [OnceLock::new(), OnceLock::new()];
        WHOLE[usize::from(long)].get_or_init(|| Whole::new(long))
    }

    /// Returns what stands in a file.
    pub fn read(&self, file: &Path) -> Vec<u8> {
        self.disk.fork(1).read(file).expect("the file was listed")
    }
}

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let (which, file) = (input.byte(), usize::from(input.byte()));
    let is_forged = which & FORGED != 0;
    let whole = Whole::get(which & LONG == LONG);
    let disk = whole.disk.fork(1);
    let path = &whole.files[file % whole.files.len()];
    let content = disk.read(path).expect("the file was listed");
    match Damage::take(input).inflict(&content) {
        Some(mut damaged) => {
            if is_forged {
                forge::file(&path.to_string_lossy(), &mut damaged);
            }
            replace(&disk, path, &content, &damaged);
        }
        None => disk.lose(path).expect("the file was listed"),
    }
    let allow_rollback = is_forged && which & BACK != 0;
    let options = OpenOptions { allow_rollback, ..OPTIONS };
    let opened = SimStore::open(disk.clone(), options);
    if is_forged {
        if let Ok((mut store, _)) = opened {
            kept::look_around(&mut store);
        }
        return;
    }
    match opened {
        Err(error) => kept::refused(&error, DIR),
        Ok((mut store, report)) => {
            whole.kept.judge(&mut store, &report, DIR);
            whole.kept.go_on(&mut store);
            drop(store);
            let (mut store, _) = SimStore::open(disk, OPTIONS).expect("it was mended, or was not damaged");
            whole.kept.went_on(&mut store);
        }
    }
}

/// Gives a file another content; of a long one that only differs in places, only these are written.
fn replace(disk: &SimDisk, path: &Path, old: &[u8], new: &[u8]) {
    let differs = |(old, new): (&u8, &u8)| old != new;
    let written = match old.iter().zip(new).position(differs) {
        Some(first) if old.len() == new.len() => {
            let last = old.iter().zip(new).rposition(differs).unwrap_or(first);
            disk.overwrite(path, first as u64, &new[first..=last])
        }
        None if old.len() == new.len() => Ok(()),
        _ => disk.write_new(path, new),
    };
    written.expect("nothing fails on this disk");
}
