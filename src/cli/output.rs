//! The files that a job's sinks have written: which of those in a folder they are.
//!
//! A committed file of sink `out` is called `out-SUBTASK-WINDOW.csv`; one that is not committed begins with a dot.
//! Everything else in the folder is somebody else's.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::topology::{NodeKind, Plan};

/// A sink that makes files.
pub(super) struct FileSink<'p> {
    /// Its name in the topology.
    pub(super) name: &'p str,
    /// The region that it belongs to.
    pub(super) region: usize,
    /// Where its files are.
    pub(super) folder: &'p Path,
    /// How many subtasks it has.
    pub(super) parallelism: u32,
}

/// The files of one sink.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// Those that are committed, in the order of their names.
    pub(super) committed: Vec<PathBuf>,
    /// Those that were being written.
    pub(super) unfinished: Vec<PathBuf>,
}

/// Returns the sinks of a job that make files.
pub(super) fn file_sinks(plan: &Plan) -> Vec<FileSink<'_>> {
    let mut sinks = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let NodeKind::Sink(blueprint) = &node.kind else { continue };
        if let Some(folder) = &blueprint.folder {
            let region = plan.region_of(plan.chain_of(index));
            let parallelism = node.parallelism;
            sinks.push(FileSink { name: &node.name, region, folder, parallelism });
            // Its files of before are called by its name of before.
            if let Some(name) = &node.renamed_from {
                sinks.push(FileSink { name, region, folder, parallelism });
            }
        }
    }
    sinks
}

impl FileSink<'_> {
    /// Looks for its files.
    ///
    /// # Errors
    /// If the folder is there but cannot be read.
    pub(super) fn files(&self) -> Result<Files> {
        let failed = |error: io::Error| {
            Error::failed(format!("sink \"{}\": cannot read folder \"{}\": {error}", self.name, self.folder.display()))
        };
        let mut files = Files::default();
        let entries = match std::fs::read_dir(self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Not one that is not Unicode, and not a folder or link that happens to be called so.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !entry.file_type().map_err(failed)?.is_file() {
                continue;
            }
            if is_committed(self.name, &name) {
                files.committed.push(entry.path());
            } else if is_unfinished(self.name, &name) {
                files.unfinished.push(entry.path());
            }
        }
        files.committed.sort();
        files.unfinished.sort();
        Ok(files)
    }
}

/// Removes files.
///
/// # Errors
/// If one is there and cannot be removed.
pub(super) fn remove(files: &[PathBuf]) -> Result {
    for file in files {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::failed(format!("cannot remove \"{}\": {error}", file.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `SINK-SUBTASK-WINDOW.EXTENSION`
fn is_committed(sink: &str, file: &str) -> bool {
    let Some((numbers, extension)) = own_part(sink, file).and_then(|rest| rest.split_once('.')) else { return false };
    let Some((subtask, window)) = numbers.split_once('-') else { return false };
    is_number(subtask, 5) && is_number(window, 20) && !extension.is_empty()
}

/// `.SINK-SUBTASK-…`, where only numbers follow up to the extension.
fn is_unfinished(sink: &str, file: &str) -> bool {
    let Some((numbers, extension)) =
        file.strip_prefix('.').and_then(|file| own_part(sink, file)).and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let mut numbers = numbers.split('-');
    numbers.next().is_some_and(|subtask| is_number(subtask, 5))
        && numbers.all(|number| is_number(number, 1))
        && extension == "tmp"
}

fn own_part<'f>(sink: &str, file: &'f str) -> Option<&'f str> {
    file.strip_prefix(sink)?.strip_prefix('-')
}

fn is_number(text: &str, digits: usize) -> bool {
    text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_sink_are_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let own = ["out-00000-00000000000000000007.csv", "out-00001-00000000000000000003.csv"];
        let staged = [".out-00000-2-1-0-0.tmp"];
        let foreign = [
            "out-00000-7.csv",
            "out-00000-00000000000000000007",
            "out-00000-00000000000000000007.csv~/",
            "out-more-00000-00000000000000000007.csv",
            "other-00000-00000000000000000007.csv",
            "README",
            ".out-more-00000-2-1-0-0.tmp",
            ".out-00000-notes.tmp",
            ".out.tmp",
        ];
        for name in own.iter().chain(&staged) {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        for name in foreign {
            match name.strip_suffix("~/") {
                Some(name) => std::fs::create_dir_all(folder.path().join(name.replace("00000", "00009"))).unwrap(),
                None => std::fs::write(folder.path().join(name), "x").unwrap(),
            }
        }
        let sink = FileSink { name: "out", region: 0, folder: folder.path(), parallelism: 1 };
        let files = sink.files().unwrap();
        let names = |files: &[PathBuf]| -> Vec<String> {
            files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(&files.committed), own);
        assert_eq!(names(&files.unfinished), staged);

        remove(&files.committed).unwrap();
        remove(&files.committed).unwrap();
        assert_eq!(sink.files().unwrap().committed, Vec::<PathBuf>::new());
        assert!(folder.path().join("README").exists());
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing() {
        let sink = FileSink { name: "out", region: 0, folder: Path::new("/no/such/folder"), parallelism: 1 };
        assert_eq!(sink.files().unwrap(), Files::default());
    }
}
