//! The disk of a store that is broken on purpose: it fails, is full or is slow when it is told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::store::disk::{Disk, DiskLock, Entry, RealDisk, WriteContent};

/// How long each write takes longer while the disk is slow.
const SLOW: Duration = Duration::from_millis(60);

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskTrouble {
    /// So many writes fail.
    Fails(u32),
    /// No write succeeds for so long: there is no room.
    Full(Duration),
    /// Every write takes longer, for so long.
    Slow(Duration),
}

/// What the system says of a failed write, and of a full disk.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Is told the number of a fault that has had an effect for the first time.
type Tell = Box<dyn Fn(u32) + Send + Sync>;

/// The file system of the machine, in trouble. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct ChaosDisk {
    real: RealDisk,
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    trouble: Mutex<Vec<Trouble>>,
    tell: Tell,
}

struct Trouble {
    fault: u32,
    kind: DiskTrouble,
    /// From when on it counts: the first write that it meets.
    since: Option<Duration>,
}

/// What a write meets.
enum Met {
    Nothing,
    Error(io::Error),
    Delay,
}

impl ChaosDisk {
    pub(crate) fn new(clock: Clock, tell: impl Fn(u32) + Send + Sync + 'static) -> ChaosDisk {
        let inner = Inner { clock, trouble: Mutex::default(), tell: Box::new(tell) };
        ChaosDisk { real: RealDisk, inner: Arc::new(inner) }
    }

    /// From the next write on there is this trouble.
    pub(crate) fn trouble(&self, fault: u32, kind: DiskTrouble) {
        self.inner.trouble.lock().push(Trouble { fault, kind, since: None });
    }

    /// There is no trouble any more.
    pub(crate) fn heal(&self) {
        self.inner.trouble.lock().clear();
    }

    /// A write is about to be made.
    fn write(&self) -> io::Result<()> {
        let (met, struck) = self.meet();
        for fault in struck {
            (self.inner.tell)(fault);
        }
        match met {
            Met::Nothing => Ok(()),
            Met::Error(error) => Err(error),
            Met::Delay => {
                hold_up(SLOW);
                Ok(())
            }
        }
    }

    /// Returns what a write meets, and which faults have an effect for the first time.
    fn meet(&self) -> (Met, Vec<u32>) {
        let mut trouble = self.inner.trouble.lock();
        let now = self.inner.clock.monotonic();
        trouble.retain(|one| match (one.since, one.kind) {
            (Some(since), DiskTrouble::Full(lasts) | DiskTrouble::Slow(lasts)) => now < since + lasts,
            (_, DiskTrouble::Fails(times)) => times > 0,
            (None, _) => true,
        });
        let mut struck = Vec::new();
        let mut met = Met::Nothing;
        for one in trouble.iter_mut() {
            if one.since.is_none() {
                one.since = Some(now);
                struck.push(one.fault);
            }
            match &mut one.kind {
                DiskTrouble::Slow(_) => met = Met::Delay,
                DiskTrouble::Full(_) => return (Met::Error(io::Error::from_raw_os_error(ENOSPC)), struck),
                DiskTrouble::Fails(times) => {
                    *times -= 1;
                    return (Met::Error(io::Error::from_raw_os_error(EIO)), struck);
                }
            }
        }
        (met, struck)
    }
}

impl Disk for ChaosDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.write().and_then(|()| self.real.create_dir(dir))
    }

    fn write_new_with(&self, path: &Path, content: &mut WriteContent<'_>) -> io::Result<()> {
        self.write().and_then(|()| self.real.write_new_with(path, content))
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write().and_then(|()| self.real.overwrite(path, offset, bytes))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.write().and_then(|()| self.real.sync(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.write().and_then(|()| self.real.sync_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.write().and_then(|()| self.real.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.real.remove_dir(dir)
    }

    fn read_at(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        self.real.read_at(path, offset, len)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.real.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        self.real.lock(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.write().and_then(|()| self.real.link(from, to))
    }
}

/// Blocks the thread for so long.
pub(crate) fn hold_up(time: Duration) {
    let (_held, nobody) = channel::<()>();
    // What it says is that the time is over: the other half is held, and nobody sends.
    nobody.recv_timeout(time).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_begins_with_the_first_write_that_meets_it_and_passes() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::simulated(0);
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let disk = ChaosDisk::new(clock, move |fault| tell.lock().push(fault));
        let write = || disk.write_new(&folder.path().join("f"), b"x").map_err(|error| error.kind());
        write().unwrap();
        disk.trouble(1, DiskTrouble::Fails(2));
        disk.trouble(2, DiskTrouble::Full(Duration::from_secs(1)));
        hand.advance(Duration::from_secs(5));
        let raw = || disk.sync(folder.path()).unwrap_err().raw_os_error();
        assert_eq!([raw(), raw()], [Some(EIO), Some(EIO)]);
        assert_eq!(*told.lock(), [1]);
        assert_eq!(write(), Err(io::ErrorKind::StorageFull));
        assert_eq!(*told.lock(), [1, 2]);
        hand.advance(Duration::from_millis(999));
        assert_eq!(write(), Err(io::ErrorKind::StorageFull));
        assert_eq!(disk.read(&folder.path().join("f")).unwrap(), b"x", "what is there can be read");
        hand.advance(Duration::from_millis(1));
        write().unwrap();
        disk.trouble(3, DiskTrouble::Full(Duration::from_secs(1)));
        disk.heal();
        write().unwrap();
    }
}
