//! A real disk, and a record of what a power cut would leave of it.
//!
//! Everything happens on the file system; beside it the record follows what was made durable *through this disk*: a
//! file's content as of its last sync, a folder's names as of its last sync. What somebody else wrote (an embedded
//! database) counts only once we sync it, which is the point: a database that believes its own flush loses here.
//! [`ShadowDisk::image`] writes out what the machine would find after a power cut at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{Disk, DiskLock, Entry, RealDisk, WriteContent};

/// The unit in which unsynced content survives, and in which an image leaves holes.
const BLOCK: usize = 4096;

/// A real disk with a record of what is durable; see the module. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct ShadowDisk {
    root: PathBuf,
    shadow: Arc<Mutex<Shadow>>,
}

#[derive(Debug, Default)]
struct Shadow {
    /// Durable names by folder; nodes go by their inode number, for they are renamed with all they hold.
    names: BTreeMap<u64, BTreeMap<String, (u64, bool)>>,
    /// Durable content by file. The open handle keeps the system from giving the number to another file.
    contents: BTreeMap<u64, (File, Vec<u8>)>,
    syncs: u64,
    images: Option<Images>,
}

#[derive(Debug)]
struct Images {
    folder: PathBuf,
    at: BTreeSet<u64>,
}

impl ShadowDisk {
    /// Watches over a folder that exists and is empty.
    pub fn new(root: &Path) -> ShadowDisk {
        ShadowDisk { root: root.to_owned(), shadow: Arc::default() }
    }

    /// Returns how many syncs of files and folders were made so far.
    pub fn syncs(&self) -> u64 {
        self.shadow.lock().syncs
    }

    /// Writes an image into `folder`, named by the number of the sync, right after each of the syncs `at`. Before a
    /// sync of what somebody else wrote it also writes a torn one, named `NUMBER-torn`.
    pub fn keep_images(&self, folder: &Path, at: impl IntoIterator<Item = u64>) {
        self.shadow.lock().images = Some(Images { folder: folder.to_owned(), at: at.into_iter().collect() });
    }

    /// Writes what a power cut now is guaranteed to leave into a new folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn image(&self, to: &Path) -> io::Result<()> {
        write_image(&self.shadow.lock(), fs::metadata(&self.root)?.ino(), to, &mut |durable, _| Ok(durable.to_vec()))
    }

    /// Writes what a power cut now may leave: of what was not synced, each block survives or not as `rng` says.
    ///
    /// # Errors
    /// What the system says.
    pub fn image_torn(&self, to: &Path, rng: &mut impl Rng) -> io::Result<()> {
        let chance = rng.random_range(0.05..0.95);
        let mut tear = |durable: &[u8], mut file: &File| {
            let mut current = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut current)?;
            let mut torn = durable.to_vec();
            for (nth, block) in current.chunks(BLOCK).enumerate() {
                let (from, to) = (nth * BLOCK, nth * BLOCK + block.len());
                if rng.random_bool(chance) {
                    torn.resize(torn.len().max(to), 0);
                    torn[from..to].copy_from_slice(block);
                }
            }
            Ok(torn)
        };
        write_image(&self.shadow.lock(), fs::metadata(&self.root)?.ino(), to, &mut tear)
    }

    fn note_content(&self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let node = file.metadata()?.ino();
        self.shadow.lock().contents.insert(node, (file, content));
        self.note_sync()
    }

    fn note_sync(&self) -> io::Result<()> {
        let mut shadow = self.shadow.lock();
        shadow.syncs += 1;
        let syncs = shadow.syncs;
        match &shadow.images {
            Some(images) if images.at.contains(&syncs) => {
                let to = images.folder.join(syncs.to_string());
                drop(shadow);
                self.image(&to)
            }
            _ => Ok(()),
        }
    }
}

type Tear<'a> = dyn FnMut(&[u8], &File) -> io::Result<Vec<u8>> + 'a;

fn write_image(shadow: &Shadow, folder: u64, to: &Path, tear: &mut Tear<'_>) -> io::Result<()> {
    fs::create_dir(to)?;
    let Some(names) = shadow.names.get(&folder) else { return Ok(()) };
    for (name, (node, is_dir)) in names {
        let path = to.join(name);
        if *is_dir {
            write_image(shadow, *node, &path, tear)?;
            continue;
        }
        let mut image = File::create_new(path)?;
        let Some((file, durable)) = shadow.contents.get(node) else { continue };
        let content = tear(durable, file)?;
        image.set_len(content.len() as u64)?;
        for (nth, block) in content.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                image.seek(SeekFrom::Start((nth * BLOCK) as u64))?;
                image.write_all(block)?;
            }
        }
    }
    Ok(())
}

impl Disk for ShadowDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn write_new_with(&self, path: &Path, content: &mut WriteContent<'_>) -> io::Result<()> {
        RealDisk.write_new_with(path, content)?;
        self.note_content(path)
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        RealDisk.overwrite(path, offset, bytes)?;
        self.note_content(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let next = self.syncs() + 1;
        let folder = self
            .shadow
            .lock()
            .images
            .as_ref()
            .filter(|images| images.at.contains(&next))
            .map(|images| images.folder.clone());
        if let Some(folder) = folder {
            self.image_torn(&folder.join(format!("{next}-torn")), &mut Pcg64Mcg::seed_from_u64(next))?;
        }
        RealDisk.sync(path)?;
        self.note_content(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)?;
        let mut names = BTreeMap::new();
        for entry in RealDisk.list(dir)? {
            let metadata = fs::symlink_metadata(dir.join(&entry.name))?;
            names.insert(entry.name, (metadata.ino(), metadata.is_dir()));
        }
        self.shadow.lock().names.insert(fs::metadata(dir)?.ino(), names);
        self.note_sync()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_dir(dir)
    }

    fn read_at(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        RealDisk.read_at(path, offset, len)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        RealDisk.lock(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_holds_only_what_was_synced() {
        let real = tempfile::tempdir().unwrap();
        let images = tempfile::tempdir().unwrap();
        let disk = ShadowDisk::new(real.path());
        let file = real.path().join("db");
        fs::write(&file, b"one").unwrap();
        disk.sync_dir(real.path()).unwrap();
        disk.image(&images.path().join("a")).unwrap();
        assert_eq!(fs::read(images.path().join("a/db")).unwrap(), b"", "the name is durable, the content is not");

        disk.sync(&file).unwrap();
        fs::write(&file, b"two").unwrap();
        disk.write_new(&real.path().join("new"), b"new").unwrap();
        disk.image(&images.path().join("b")).unwrap();
        assert_eq!(fs::read(images.path().join("b/db")).unwrap(), b"one");
        assert!(!images.path().join("b/new").exists(), "its content is durable, the name is not");
    }

    #[test]
    fn a_renamed_folder_keeps_what_it_holds() {
        let real = tempfile::tempdir().unwrap();
        let images = tempfile::tempdir().unwrap();
        let disk = ShadowDisk::new(real.path());
        let (old, new) = (real.path().join("old"), real.path().join("new"));
        disk.create_dir(&old).unwrap();
        disk.write_new(&old.join("a"), b"a").unwrap();
        disk.sync_dir(&old).unwrap();
        disk.sync_dir(real.path()).unwrap();
        disk.rename(&old, &new).unwrap();
        disk.image(&images.path().join("before")).unwrap();
        disk.sync_dir(real.path()).unwrap();
        disk.image(&images.path().join("after")).unwrap();
        assert_eq!(fs::read(images.path().join("before/old/a")).unwrap(), b"a");
        assert_eq!(fs::read(images.path().join("after/new/a")).unwrap(), b"a");
    }
}
