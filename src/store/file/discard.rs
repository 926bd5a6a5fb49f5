//! Discarding: removes what a store has kept, and nothing else.

use std::io;
use std::path::Path;

use super::{FileStore, directory, names};
use crate::store::StoreError;
use crate::store::catalogue::Catalogue;
use crate::store::disk::{Disk, list_or_empty, remove_tree};

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    /// Returns whether a directory is a state directory on this disk; creates nothing.
    ///
    /// # Errors
    /// [`StoreError::Format`] if it is something else, or of another version of the format.
    pub fn is_there_on(disk: &D, dir: &Path) -> Result<bool, StoreError> {
        match disk.list(dir) {
            Ok(_) => directory::check_format::<D, C>(disk, dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("cannot list", dir, error)),
        }
    }

    /// Removes everything that a store on this disk has made in a directory, damaged or not; what is not the store's
    /// stays. The directory is still a state directory then, without a checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Format`] if it is something else: nothing is
    /// removed then.
    pub fn discard_on(disk: &D, dir: &Path) -> Result<(), StoreError> {
        if !Self::is_there_on(disk, dir)? {
            return Ok(());
        }
        let _lock = directory::take::<D, C>(disk, dir)?;
        let failed = |error| StoreError::io("cannot clear", dir, error);
        for entry in list_or_empty(disk, dir).map_err(failed)? {
            let path = dir.join(&entry.name);
            match (names::is_own(&entry.name), entry.is_dir) {
                (false, _) => {}
                (true, true) => remove_tree(disk, &path).map_err(failed)?,
                (true, false) => disk.remove(&path).map_err(failed)?,
            }
        }
        disk.sync_dir(dir).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::SimDisk;
    use crate::store::{CheckpointStore as _, OpenOptions, SimStore};

    const DIR: &str = "/state";

    fn names(disk: &SimDisk) -> Vec<String> {
        disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn what_is_not_the_stores_stays_and_a_store_begins_anew() {
        let disk = SimDisk::new(1);
        let (mut store, _) = SimStore::open(disk.clone(), OpenOptions::default()).unwrap();
        store.claim_incarnation().unwrap();
        disk.write_new(&Path::new(DIR).join("notes.txt"), b"mine").unwrap();
        let refused = SimStore::discard_on(&disk, Path::new(DIR));
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        drop(store);

        SimStore::discard_on(&disk, Path::new(DIR)).unwrap();
        assert_eq!(names(&disk), ["FORMAT", "LOCK", "notes.txt"]);
        let (mut store, _) = SimStore::open(disk.clone(), OpenOptions::default()).unwrap();
        assert_eq!(store.claim_incarnation().unwrap(), 1);
        assert!(!SimStore::is_there_on(&disk, Path::new("/elsewhere")).unwrap());
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let disk = SimDisk::new(2);
        disk.create_dir(Path::new(DIR)).unwrap();
        disk.write_new(&Path::new(DIR).join("regions"), b"of Italy").unwrap();
        let refused = SimStore::discard_on(&disk, Path::new(DIR));
        assert!(matches!(refused, Err(StoreError::Format(_))), "{refused:?}");
        assert_eq!(names(&disk), ["regions"]);
    }
}
