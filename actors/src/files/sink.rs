//! One subtask's files.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use super::FileFormat;
use crate::batch::AnyBatch as _;
use crate::{Error, Result, Sink, Subtask, WindowId};

/// How much is collected before it is written.
const BUFFERED: usize = 256 << 10;

/// What a file sink is made from.
pub struct FilePlan<F> {
    /// The folder that the files go to.
    pub folder: PathBuf,
    /// The sink's name in the topology, with which the names of its files begin.
    pub name: String,
    /// What the names of its files end with, without the dot.
    pub extension: &'static str,
    /// How rows are written.
    pub format: F,
    /// The number of the next file that is staged: no two instances of a process ever use the same.
    next: AtomicU64,
}

impl<F> FilePlan<F> {
    /// Plans a sink of this name that writes files with this extension, which has no dot, into a folder.
    pub fn new(folder: PathBuf, name: String, extension: &'static str, format: F) -> FilePlan<F> {
        FilePlan { folder, name, extension, format, next: AtomicU64::new(0) }
    }
}

/// A file that is written but does not have its name yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePending {
    /// What it is called now.
    staged: String,
    /// What it is to be called.
    file: String,
    length: u64,
    checksum: u32,
}

/// Writes rows into files that appear by one rename.
pub struct FileSink<F: FileFormat> {
    plan: Arc<FilePlan<F>>,
    subtask: Subtask,
    open: Option<Staged<F::Open>>,
    /// A failed write leaves nobody knows what behind: no more is written by this instance.
    broken: bool,
    /// The files that this instance has written itself, which need not be read again to be believed.
    own: BTreeSet<String>,
}

/// The file that is being written.
struct Staged<O> {
    name: String,
    file: File,
    /// What the format remembers of it.
    open: O,
    buffer: Vec<u8>,
    length: u64,
    checksum: Hasher,
}

impl<O> Staged<O> {
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.length += self.buffer.len() as u64;
        self.checksum.update(&self.buffer);
        self.buffer.clear();
        // A format that holds rows back hands on many at once.
        self.buffer.shrink_to(BUFFERED + (BUFFERED >> 2));
        Ok(())
    }
}

/// What lies under a name.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// What was expected.
    Same,
    Other,
}

impl<F: FileFormat> FileSink<F> {
    /// Makes an instance that has not been opened.
    pub fn new(plan: Arc<FilePlan<F>>) -> FileSink<F> {
        let subtask = Subtask::single(&plan.name);
        FileSink { plan, subtask, open: None, broken: false, own: BTreeSet::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.plan.folder.join(name)
    }

    /// Begins the name of every staged file of this subtask. It holds the parallelism, so that after a change of it
    /// nobody takes files for left-overs that are another subtask's to commit.
    fn prefix(&self) -> String {
        format!(".{}-{:05}-{}-", self.plan.name, self.subtask.index, self.subtask.parallelism)
    }

    fn stage(&mut self) -> Result<Staged<F::Open>> {
        loop {
            // Not a number of this instance: one that takes its place within the attempt must not use a name again that
            // a committed checkpoint may still list as that of a file which has been renamed since.
            let number = self.plan.next.fetch_add(1, Ordering::Relaxed);
            let life = format!("{}-{}-{number}", self.subtask.incarnation, self.subtask.attempt);
            let name = format!("{}{life}.tmp", self.prefix());
            let path = self.path(&name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut buffer = Vec::with_capacity(BUFFERED + (BUFFERED >> 2));
                    let open = self.plan.format.begin(&mut buffer)?;
                    return Ok(Staged { name, file, open, buffer, length: 0, checksum: Hasher::new() });
                }
                // Whoever left it there: it has its name for good.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot("be made", &path, &error)),
            }
        }
    }

    /// Looks at what lies under a name; its content counts only if `whole` is to be read.
    fn look(&self, name: &str, pending: &FilePending, whole: bool) -> Result<Found> {
        let path = self.path(name);
        let unreadable = |error: std::io::Error| cannot("be read", &path, &error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(unreadable(error)),
        };
        if file.metadata().map_err(unreadable)?.len() != pending.length {
            return Ok(Found::Other);
        }
        if !whole {
            return Ok(Found::Same);
        }
        let mut checksum = Hasher::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            match file.read(&mut piece).map_err(unreadable)? {
                0 => break,
                read => checksum.update(&piece[..read]),
            }
        }
        Ok(if checksum.finalize() == pending.checksum { Found::Same } else { Found::Other })
    }

    fn remove(&self, name: &str) -> Result {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot("be removed", &path, &error)),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self) -> Result {
        sync_folder(&self.plan.folder)
    }

    /// Removes what earlier lives of this subtask have staged and nobody will ask for again.
    fn remove_left_overs(&self, pending: &[FilePending]) -> Result {
        let folder = &self.plan.folder;
        let prefix = self.prefix();
        for entry in std::fs::read_dir(folder).map_err(|error| cannot("be read", folder, &error))? {
            let entry = entry.map_err(|error| cannot("be read", folder, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let life = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tmp"));
            // Exactly incarnation, attempt and number: a sink whose name begins like this one's has more to its own.
            let own = life.is_some_and(|life| {
                life.split('-').count() == 3 && life.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
            });
            if own && pending.iter().all(|pending| pending.staged != name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, batch: &F::Batch) -> Result {
        let mut staged = match self.open.take() {
            Some(staged) => staged,
            None => self.stage()?,
        };
        self.plan.format.rows(&mut staged.open, batch, &mut staged.buffer)?;
        if staged.buffer.len() >= BUFFERED {
            staged.flush().map_err(|error| cannot("be written", &self.path(&staged.name), &error))?;
        }
        self.open = Some(staged);
        Ok(())
    }

    fn finish(&mut self, window: WindowId) -> Result<Option<FilePending>> {
        let Some(staged) = self.open.take() else { return Ok(None) };
        let Staged { name, mut file, open, mut buffer, length, mut checksum } = staged;
        self.plan.format.end(open, &mut buffer)?;
        checksum.update(&buffer);
        let synced = file.write_all(&buffer).and_then(|()| file.sync_all());
        synced.map_err(|error| cannot("be written", &self.path(&name), &error))?;
        // The name has to be as durable as the rows: the checkpoint will refer to it.
        self.sync_folder()?;
        self.own.insert(name.clone());
        let file = format!("{}-{:05}-{:020}.{}", self.plan.name, self.subtask.index, window.0, self.plan.extension);
        let (length, checksum) = (length + buffer.len() as u64, checksum.finalize());
        Ok(Some(FilePending { staged: name, file, length, checksum }))
    }

    fn whole(&self) -> Result {
        if self.broken {
            return Err(Error::failed(format!(
                "sink \"{}\" goes on only after a restart: a write failed",
                self.plan.name
            )));
        }
        Ok(())
    }
}

impl<F: FileFormat> Sink for FileSink<F> {
    type In = F::In;
    type Pending = FilePending;

    async fn open(&mut self, pending: Vec<FilePending>, subtask: &Subtask) -> Result {
        self.subtask = subtask.clone();
        self.open = None;
        make_folder(&self.plan.folder)?;
        self.remove_left_overs(&pending)
    }

    async fn write(&mut self, batch: Arc<F::Batch>) -> Result {
        self.whole()?;
        if batch.is_empty() {
            return Ok(());
        }
        let added = self.add(&batch);
        self.broken = added.is_err();
        added
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<FilePending>> {
        self.whole()?;
        let finished = self.finish(window);
        self.broken = finished.is_err();
        finished
    }

    async fn commit(&mut self, pending: FilePending) -> Result {
        let foreign = self.path(&pending.file);
        let foreign = || {
            Error::failed(format!(
                "file {} is there already, with other content than this job has to commit under that name: move it away",
                foreign.display()
            ))
        };
        let trusted = self.own.contains(&pending.staged);
        match self.look(&pending.staged, &pending, !trusted)? {
            Found::Same => {
                match self.look(&pending.file, &pending, true)? {
                    Found::Nothing => {
                        let (from, to) = (self.path(&pending.staged), self.path(&pending.file));
                        std::fs::rename(&from, &to).map_err(|error| cannot("be renamed", &from, &error))?;
                    }
                    // A folder that was copied while the file was renamed has it under both names.
                    Found::Same => self.remove(&pending.staged)?,
                    Found::Other => return Err(foreign()),
                }
            }
            // Published, and its old name used again: earlier versions did that within an attempt. Whose it is now is seen
            // from what is pending under that name.
            Found::Other if self.look(&pending.file, &pending, true)? == Found::Same => {}
            Found::Other => {
                return Err(Error::failed(format!(
                    "file {} is damaged: it holds other bytes than were written for {}",
                    self.path(&pending.staged).display(),
                    pending.file
                )));
            }
            Found::Nothing => match self.look(&pending.file, &pending, true)? {
                // Renamed before a crash; whether the folder knew of it durably is not certain.
                Found::Same => {}
                Found::Other => return Err(foreign()),
                Found::Nothing => {
                    return Err(Error::failed(format!(
                        "file {} has to be committed, but is gone, and so is {}, which held its rows: put it back",
                        self.path(&pending.file).display(),
                        pending.staged
                    )));
                }
            },
        }
        self.sync_folder()?;
        self.own.remove(&pending.staged);
        Ok(())
    }

    async fn abort(&mut self, pending: FilePending) -> Result {
        self.own.remove(&pending.staged);
        self.remove(&pending.staged)
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("{} cannot {what}: {error}", path.display()))
}

fn sync_folder(folder: &Path) -> Result {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| cannot("be made durable", folder, &error))
}

/// Makes a folder with all those above it, durably.
fn make_folder(folder: &Path) -> Result {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    match std::fs::create_dir(folder) {
        // Another subtask was faster.
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(cannot("be made", folder, &error))
        }
        _ => sync_folder(above),
    }
}

#[cfg(test)]
mod tests;
