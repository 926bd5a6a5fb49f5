//! Whose directory it is: the format and the lock.

use std::io;
use std::path::Path;

use super::names;
use crate::store::StoreError;
use crate::store::catalogue::Catalogue;
use crate::store::disk::{Disk, DiskLock, create_dirs};

/// Makes sure that the directory is ours and nobody else's.
pub(super) fn take<D: Disk, C: Catalogue<D>>(disk: &D, dir: &Path) -> Result<DiskLock, StoreError> {
    let failed = |error| StoreError::io("cannot open the state directory", dir, error);
    create_dirs(disk, dir).map_err(failed)?;
    // Not even a lock is left in a directory that is something else.
    check_format::<D, C>(disk, dir)?;
    let lock = disk.lock(&dir.join(names::LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::Locked(format!(
            "the state directory {} is in use by another process: stop it first, or use another directory",
            dir.display()
        )),
        _ => failed(error),
    })?;
    if !check_format::<D, C>(disk, dir)? {
        // The folder may be that of a process that was killed before its name was durable.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(failed)?;
        }
        let path = dir.join(names::FORMAT);
        let temporary = names::unfinished(&path);
        disk.write_new(&temporary, format_text::<D, C>().as_bytes()).map_err(failed)?;
        disk.rename(&temporary, &path).map_err(failed)?;
    }
    disk.sync_dir(dir).map_err(failed)?;
    Ok(lock)
}

fn format_text<D: Disk, C: Catalogue<D>>() -> String {
    format!("piton state 1\ncatalogue {}\n", C::NAME)
}

/// Returns whether the directory has been made before.
pub(super) fn check_format<D: Disk, C: Catalogue<D>>(disk: &D, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(names::FORMAT);
    let expected = format_text::<D, C>();
    match disk.read(&path) {
        Ok(found) if found == expected.as_bytes() => Ok(true),
        Ok(found) => {
            let found = String::from_utf8_lossy(&found[..found.len().min(80)]).into_owned();
            Err(StoreError::Format(format!("{}: {expected:?} expected, {found:?} found", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let unfinished = format!("{}{}", names::FORMAT, names::UNFINISHED);
            let entries = disk.list(dir).map_err(|error| StoreError::io("cannot list", dir, error))?;
            // Savepoints may be brought into a directory before anything else is there.
            let own = [names::LOCK, names::SAVEPOINTS, &unfinished];
            match entries.iter().find(|entry| !own.contains(&entry.name.as_str())) {
                None => Ok(false),
                Some(other) => Err(StoreError::Format(format!(
                    "{}: the file is missing, while there is \"{}\": this is not a state directory, or it is damaged",
                    path.display(),
                    other.name
                ))),
            }
        }
        Err(error) => Err(StoreError::io("cannot read", &path, error)),
    }
}
