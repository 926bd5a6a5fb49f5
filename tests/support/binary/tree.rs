//! A folder with everything in it: to copy it, and to see whether anybody has touched it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Returns a folder in memory if the machine has one, for tests that start many processes: what they are about is not
/// whether the disk keeps what it was told to.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Returns all files below a folder, relative to it, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    listing(folder).into_iter().filter(|(path, _)| folder.join(path).is_file()).map(|(path, _)| path).collect()
}

/// Returns everything below a folder, the folder itself too, with lengths and times of the last change.
pub(crate) fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    fn enter(root: &Path, path: &Path, listing: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
        let metadata = fs::symlink_metadata(path).unwrap();
        let length = if metadata.is_dir() { 0 } else { metadata.len() };
        listing.insert(path.strip_prefix(root).unwrap().to_path_buf(), (length, metadata.modified().unwrap()));
        if metadata.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                enter(root, &entry.unwrap().path(), listing);
            }
        }
    }
    let mut found = BTreeMap::new();
    if folder.exists() {
        enter(folder, folder, &mut found);
    }
    found
}

/// Appends to a file as whoever writes a log does; a new one begins with the header.
pub(crate) fn append(path: &Path, header: &str, text: &str) {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    if is_new {
        file.write_all(format!("{header}\n").as_bytes()).unwrap();
    }
    file.write_all(text.as_bytes()).unwrap();
}

/// Copies a folder with all files that are in it; the socket of a job that was killed is none.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
