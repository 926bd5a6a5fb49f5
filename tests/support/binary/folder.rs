//! A reader of a sink's folder who believes the committed rule: what has a name is there for good.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// Follows one folder.
pub(crate) struct Folder {
    path: PathBuf,
    sink: String,
    seen: BTreeMap<Place, Seen>,
    newest: BTreeMap<u32, u64>,
}

/// Which of a sink's files: its window, then its subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) window: u64,
    pub(crate) subtask: u32,
}

struct Seen {
    name: String,
    stamp: Stamp,
    hash: u64,
}

/// What changes when anybody touches a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Folder {
    /// Follows the folder of a sink, which need not be there yet.
    pub(crate) fn new(path: PathBuf, sink: &str) -> Folder {
        Folder { path, sink: sink.to_string(), seen: BTreeMap::new(), newest: BTreeMap::new() }
    }

    /// Returns the files that have appeared since the last look, with their content, in the order of their windows.
    ///
    /// # Panics
    /// If a file breaks the rule: it has a wrong name, or appears before one that is there already.
    pub(crate) fn look(&mut self) -> Vec<(Place, String)> {
        // A listing is no snapshot: it may miss a file and show one that was renamed after it. The second one shows
        // everything that was there before the first one ended, and that is looked at only as far as the first saw.
        let mut first: BTreeMap<u32, u64> = BTreeMap::new();
        for (place, _) in self.list() {
            let newest = first.entry(place.subtask).or_default();
            *newest = place.window.max(*newest);
        }
        let mut second = self.list();
        second.retain(|place, _| first.get(&place.subtask).is_some_and(|newest| place.window <= *newest));
        for seen in self.seen.keys() {
            assert!(second.contains_key(seen), "{} is gone", self.seen[seen].name);
        }
        second.retain(|place, _| !self.seen.contains_key(place));
        let mut appeared = Vec::new();
        for (place, name) in second {
            let newest = self.newest.entry(place.subtask).or_default();
            assert!(place.window > *newest, "{name} came after window {newest}");
            *newest = place.window;
            let path = self.path.join(&name);
            let stamp = stamp(&path);
            let text = fs::read_to_string(&path).unwrap();
            self.seen.insert(place, Seen { name, stamp, hash: xxh3_64(text.as_bytes()) });
            appeared.push((place, text));
        }
        appeared
    }

    /// Panics if anybody has touched a file since it was first seen.
    pub(crate) fn assert_untouched(&self) {
        for seen in self.seen.values() {
            assert_eq!(stamp(&self.path.join(&seen.name)), seen.stamp, "{} was touched", seen.name);
        }
    }

    /// Panics unless every file holds what it held when it was first seen, and there is nothing else.
    pub(crate) fn assert_whole(&self) {
        self.assert_untouched();
        for seen in self.seen.values() {
            let content = fs::read(self.path.join(&seen.name)).unwrap();
            assert_eq!(xxh3_64(&content), seen.hash, "{} holds something else", seen.name);
        }
        let names: Vec<_> = fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let known: Vec<_> = self.seen.values().map(|seen| seen.name.clone()).collect();
        let others: Vec<_> = names.iter().filter(|name| !known.iter().any(|known| **name == **known)).collect();
        assert!(others.is_empty(), "left behind in {}: {others:?}", self.path.display());
    }

    /// Returns how many files were seen.
    pub(crate) fn files(&self) -> usize {
        self.seen.len()
    }

    fn list(&self) -> BTreeMap<Place, String> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => panic!("{}: {error}", self.path.display()),
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let committed = names.filter(|name| !name.starts_with('.'));
        committed
            .map(|name| (place(&self.sink, &name).unwrap_or_else(|| panic!("a strange name: {name}")), name))
            .collect()
    }
}

/// Reads a name of the form `NAME-SUBTASK-WINDOW.csv` or `.ndjson`.
fn place(sink: &str, name: &str) -> Option<Place> {
    let (stem, kind) = name.split_once('.')?;
    let (subtask, window) = stem.strip_prefix(sink)?.strip_prefix('-')?.split_once('-')?;
    let is_number = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if !["csv", "ndjson"].contains(&kind) || !is_number(subtask, 5) || !is_number(window, 20) {
        return None;
    }
    Some(Place { window: window.parse().ok()?, subtask: subtask.parse().ok()? })
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Stamp {
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}
