//! Files that a command writes beside what it says: that they can be written is found out before anything runs, and no
//! other file is lost for them.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// So many files of nearly the same name are looked past at most.
const MOST_NAMES: u32 = 1_000;

/// Finds out whether a file can be written; leaves everything as it is.
///
/// # Errors
/// Of kind `Config` if it cannot.
pub(super) fn can_be_written(path: &Path) -> Result<()> {
    let is_new = !path.exists();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| Error::config(format!("\"{}\" cannot be written: {error}", path.display())))?;
    if is_new {
        fs::remove_file(path)
            .map_err(|error| Error::config(format!("\"{}\" cannot be replaced: {error}", path.display())))?;
    }
    Ok(())
}

/// Writes a file under this name; if another file has it, under the same with a number behind it. Returns the name.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_beside(path: &Path, content: &str) -> io::Result<PathBuf> {
    for number in 1..=MOST_NAMES {
        let name = numbered(path, number);
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(mut file) => return file.write_all(content.as_bytes()).map(|()| name),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if fs::read(&name).is_ok_and(|there| there == content.as_bytes()) {
                    return Ok(name);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{MOST_NAMES} files of this name are there already")))
}

/// Finds out whether [`write_beside`] can write; leaves everything as it is.
///
/// # Errors
/// Of kind `Config` if it cannot.
pub(super) fn can_be_written_beside(path: &Path) -> Result<()> {
    let free = (1..=MOST_NAMES).map(|number| numbered(path, number)).find(|name| !name.exists());
    can_be_written(free.as_deref().unwrap_or(path))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_path_buf();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_of_the_name_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sim-7.toml");
        assert_eq!(write_beside(&path, "a").unwrap(), path);
        assert_eq!(write_beside(&path, "a").unwrap(), path, "it is the same");
        assert_eq!(write_beside(&path, "b").unwrap(), folder.path().join("sim-7-2.toml"));
        assert_eq!(write_beside(&path, "c").unwrap(), folder.path().join("sim-7-3.toml"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a");
        assert!(write_beside(&folder.path().join("none/x"), "a").is_err());
    }

    #[test]
    fn to_ask_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "a").unwrap();
        can_be_written(&old).unwrap();
        can_be_written(&new).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "a");
        assert!(!new.exists());
        can_be_written_beside(&old).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(can_be_written_beside(&folder.path().join("none/x")).is_err());
        assert_eq!(can_be_written(&folder.path().join("none/x")).unwrap_err().kind().exit_code(), 2);
        assert!(can_be_written(folder.path()).is_err(), "a folder is no file");
    }
}
