//! What the file part of a store asks of a disk, and the disks there are.
//!
//! The calls are few and each says what it makes durable, because that is what a store gets wrong: content is durable
//! when [`Disk::write_new`], [`Disk::overwrite`] or [`Disk::sync`] return, a *name* only after [`Disk::sync_dir`] of
//! the folder it stands in. [`RealDisk`] is the file system, [`SimDisk`] is one in memory that crashes and fails on
//! demand, [`ShadowDisk`] is the file system plus a record of what a power cut would leave of it.

mod ahead;
mod real;
mod shadow;
mod sim;

use std::io::{self, Write};
use std::path::Path;

pub use real::RealDisk;
pub use shadow::ShadowDisk;
pub use sim::{DiskFault, FaultRates, SimDisk};

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_dir: bool,
    /// The length of the file in bytes.
    pub len: u64,
}

/// Writes the content of a file, piece by piece.
pub type WriteContent<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// What is held while a lock is: dropping it releases the lock, and so does the end of the process.
pub type DiskLock = Box<dyn Send + Sync>;

/// The calls a store makes on a disk. All of them block; paths are absolute or relative to the process.
pub trait Disk: Clone + Send + Sync + 'static {
    /// Makes a folder whose parent exists; one that is there already is left alone. The name is not yet durable.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a new file of what `content` writes, in place of any that has the name. The content is durable on return,
    /// the name is not.
    ///
    /// # Errors
    /// What the system or `content` says; a part of the file may be there.
    fn write_new_with(&self, path: &Path, content: &mut WriteContent<'_>) -> io::Result<()>;

    /// Makes a new file of some bytes, as [`write_new_with`](Disk::write_new_with) does.
    ///
    /// # Errors
    /// What the system says; a part of the file may be there.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_new_with(path, &mut |to| to.write_all(bytes))
    }

    /// Writes over a part of an existing file, or beyond its end; durable on return.
    ///
    /// # Errors
    /// What the system says; any part of the bytes may have been written.
    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what anybody has written to a file.
    ///
    /// # Errors
    /// What the system says. After a failure the content is *not* durable even if a second call succeeds.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: new ones, changed ones, removed ones.
    ///
    /// # Errors
    /// As for [`Disk::sync`].
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file or folder another name in the same folder, in place of any file that has it: after a crash either
    /// the old names are there or the new one.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Reads `len` bytes from `offset` on, less if the file ends before.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>>;

    /// Lists a folder, in order of the names.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Locks a file for this life of the process, making it if need be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] at once if somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;

    /// Gives a file that is never changed a second name, which is not there yet; the disk may make a copy instead. The
    /// content is durable if it was, the name is not.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is a file of that name, or what the system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.read_at(to, 0, 0).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = self.read(from)?;
        self.write_new(to, &content)
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_at(path, 0, u64::MAX)
    }
}

/// Lists a folder; one that does not exist is empty.
pub(crate) fn list_or_empty<D: Disk>(disk: &D, dir: &Path) -> io::Result<Vec<Entry>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Removes a folder with all that is in it.
pub(crate) fn remove_tree<D: Disk>(disk: &D, dir: &Path) -> io::Result<()> {
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_tree(disk, &path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    disk.remove_dir(dir)
}

/// Makes a folder and those above it that are missing; its name is durable on return.
pub(crate) fn create_dirs<D: Disk>(disk: &D, dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if is_missing(disk, dir)? {
        if is_missing(disk, parent)? {
            create_dirs(disk, parent)?;
        }
        disk.create_dir(dir)?;
    }
    // Also if it was there: whoever made it may have been stopped before this.
    disk.sync_dir(parent)
}

fn is_missing<D: Disk>(disk: &D, dir: &Path) -> io::Result<bool> {
    match disk.list(dir) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
