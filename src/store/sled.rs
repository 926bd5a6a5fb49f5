//! The catalogue in an embedded sled database, and all that has to be known to trust it.
//!
//! sled 0.34 is a fast ordered map whose own promises end before ours begin: its `flush` does not reach the medium
//! (it calls `sync_file_range`), values that make a page longer than an eighth of a segment go to files it never
//! syncs, a temporary file left by a crash keeps it from opening, and damage makes it roll back silently, panic or
//! hang. So here a batch is followed by a sync of the database file, values are short, left-overs are removed before,
//! every call is guarded, and whoever uses this catalogue holds another witness of what it should contain.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::store::StoreError;
use crate::store::catalogue::{Batch, Catalogue, Pairs, Visit};
use crate::store::disk::{Disk, list_or_empty};

/// How long sled may take to open before it counts as stuck in what it found.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// A database that was just dropped by this process lets go of its lock a moment later.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const CACHE: u64 = 16 << 20;
/// sled collects garbage only where it flushes by itself.
const FLUSH_EVERY_MS: u64 = 500;
const DATABASE: &str = "db";
const BLOBS: &str = "blobs";

/// A catalogue in a sled database; see the module.
pub struct SledCatalogue<D> {
    // Gone only while it is dropped.
    database: Option<sled::Db>,
    disk: D,
    dir: PathBuf,
}

impl<D: Disk> Catalogue<D> for SledCatalogue<D> {
    const NAME: &'static str = "sled 0.34";

    fn open(disk: &D, dir: &Path) -> Result<SledCatalogue<D>, StoreError> {
        remove_leftovers(disk, dir)?;
        let database = open_guarded(dir)?;
        let catalogue = SledCatalogue { database: Some(database), disk: disk.clone(), dir: dir.to_owned() };
        catalogue.sync_all()?;
        Ok(catalogue)
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        self.call("write to", |database| {
            database.apply_batch(changes)?;
            database.flush()
        })?;
        self.sync_blobs()?;
        let path = self.dir.join(DATABASE);
        self.disk.sync(&path).map_err(|error| StoreError::io("cannot sync", &path, error))
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.call("read", |database| Ok(database.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&mut self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        self.call("read", |database| {
            let pair =
                |pair: sled::Result<(sled::IVec, sled::IVec)>| pair.map(|(key, value)| (key.to_vec(), value.to_vec()));
            database.scan_prefix(prefix).map(pair).collect()
        })
    }

    fn scan_back(&mut self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.call("read", |database| {
            for pair in database.range(from..to).rev() {
                let (key, value) = pair?;
                if visit(&key, &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl<D: Disk> SledCatalogue<D> {
    fn call<T>(&self, what: &str, run: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let database = self.database.as_ref().expect("the database is there until it is dropped");
        match catch_unwind(AssertUnwindSafe(|| run(database))) {
            Ok(result) => result.map_err(|error| translate(what, &self.dir, error)),
            Err(_) => Err(panicked(what, &self.dir)),
        }
    }

    /// Makes durable what opening has written: the settings, a snapshot, the names.
    fn sync_all(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("cannot sync", &self.dir, error);
        for entry in self.disk.list(&self.dir).map_err(failed)? {
            if !entry.is_dir {
                self.disk.sync(&self.dir.join(&entry.name)).map_err(failed)?;
            }
        }
        self.sync_blobs()?;
        self.disk.sync_dir(&self.dir).map_err(failed)
    }

    /// Our values are too short for sled to make files of them; that is checked here, not believed.
    fn sync_blobs(&self) -> Result<(), StoreError> {
        let blobs = self.dir.join(BLOBS);
        let failed = |error| StoreError::io("cannot sync", &blobs, error);
        let entries = list_or_empty(&self.disk, &blobs).map_err(failed)?;
        if entries.is_empty() {
            return Ok(());
        }
        warn!(folder = %blobs.display(), files = entries.len(), "sled keeps values in files of their own, which it does not sync");
        for entry in entries {
            self.disk.sync(&blobs.join(&entry.name)).map_err(failed)?;
        }
        self.disk.sync_dir(&blobs).map_err(failed)
    }
}

impl<D> Drop for SledCatalogue<D> {
    fn drop(&mut self) {
        let database = self.database.take();
        // It flushes when it goes, which may fail or panic; nothing that matters waits for that flush.
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            warn!(folder = %self.dir.display(), "sled panicked while it was closed");
        }
    }
}

/// A snapshot that was being written in a crash is taken for the newest one, and then for damage.
fn remove_leftovers<D: Disk>(disk: &D, dir: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("cannot clear", dir, error);
    let mut removed = false;
    for entry in disk.list(dir).map_err(failed)? {
        if entry.name.starts_with("snap.") && entry.name.ends_with(".generating") {
            disk.remove(&dir.join(&entry.name)).map_err(failed)?;
            removed = true;
        }
    }
    if removed { disk.sync_dir(dir).map_err(failed) } else { Ok(()) }
}

/// Opens on a thread of its own, which is left behind if it does not come back.
fn open_guarded(dir: &Path) -> Result<sled::Db, StoreError> {
    let (sender, receiver) = mpsc::channel();
    let path = dir.to_owned();
    let open = move || {
        let result = catch_unwind(|| open_when_unlocked(&path));
        // Nobody listens any more if it took too long.
        sender.send(result).ok();
    };
    thread::Builder::new()
        .name("piton-catalogue".to_owned())
        .spawn(open)
        .map_err(|error| StoreError::io("cannot start a thread to open", dir, error))?;
    match receiver.recv_timeout(OPEN_TIMEOUT) {
        Ok(Ok(result)) => result.map_err(|error| translate("open", dir, error)),
        Ok(Err(_)) => Err(panicked("open", dir)),
        Err(_) => Err(StoreError::Damaged(format!(
            "the catalogue in {} did not open within {} s",
            dir.display(),
            OPEN_TIMEOUT.as_secs()
        ))),
    }
}

#[expect(clippy::disallowed_methods, reason = "it waits on a thread of its own, for another thread to end")]
fn open_when_unlocked(path: &Path) -> sled::Result<sled::Db> {
    let mut attempt = 0;
    loop {
        let settings = sled::Config::default()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        match settings.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) && attempt < LOCK_ATTEMPTS => {
                attempt += 1;
                thread::sleep(LOCK_PAUSE);
            }
            other => return other,
        }
    }
}

/// sled wraps the refusal of its lock into an error of no particular kind.
fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

fn translate(what: &str, dir: &Path, error: sled::Error) -> StoreError {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    match error {
        // What a cut-off or missing file looks like from inside; the other kinds are the disk's own refusals.
        sled::Error::Io(error) if !matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof) => {
            StoreError::io(&format!("cannot {what} the catalogue in"), dir, error)
        }
        error => StoreError::Damaged(format!("cannot {what} the catalogue in {}: {error}", dir.display())),
    }
}

fn panicked(what: &str, dir: &Path) -> StoreError {
    StoreError::Damaged(format!("sled panicked when asked to {what} the catalogue in {}", dir.display()))
}
