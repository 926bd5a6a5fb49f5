//! A disk in memory that crashes, fails and lies as a seed says.
//!
//! It keeps apart what the process sees and what the medium has. A power cut ([`SimDisk::crash`]) leaves, of all that
//! was not synced, nothing, a prefix, or any subset of sectors and of names; a killed process ([`SimDisk::kill`])
//! leaves everything. A failed sync of a file is the worst kind: its pages count as clean, so that the content stays
//! readable and no later sync makes it durable. Everything that happens is a function of the seed and the calls.

mod node;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use self::node::{DirNode, FileNode};
use self::world::{Node, Step, Verdict, World};
use super::{Disk, DiskLock, Entry, WriteContent};
use crate::protocol::mutant::{self, Mutant};

/// After how many calls or so the content of removed files is given back.
const COLLECT_EVERY: u64 = 64;

/// Something that goes wrong in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A read fails.
    Read,
    /// A write fails half-way.
    Write,
    /// A sync fails: what it should have made durable never will be.
    Sync,
    /// The disk is full, for this call.
    Full,
    /// The call takes longer.
    Slow {
        /// By how much.
        micros: u64,
    },
}

/// How often calls fail, each between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// Of reads: an error.
    pub read: f64,
    /// Of writes: an error half-way.
    pub write: f64,
    /// Of syncs: an error.
    pub sync: f64,
    /// Of writes: no space.
    pub full: f64,
    /// Of all calls: slow.
    pub slow: f64,
    /// How slow.
    pub slow_micros: u64,
}

/// A disk in memory; see the module. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// Returns an empty disk whose faults come from a seed.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { world: Arc::new(Mutex::new(World::new(seed))) }
    }

    /// Returns another disk that is as this one is now, and goes its own way from here.
    pub fn fork(&self, seed: u64) -> SimDisk {
        let mut world = self.world.lock().clone();
        world.rng = Pcg64Mcg::seed_from_u64(seed);
        SimDisk { world: Arc::new(Mutex::new(world)) }
    }

    /// Cuts the power and turns it on again: unsynced content and names survive in part at best, as `rng` says.
    pub fn crash(&self, rng: &mut impl Rng) {
        self.world.lock().crash(rng);
    }

    /// Kills the process, which keeps all that was written, and starts it again.
    pub fn kill(&self) {
        self.world.lock().restart();
    }

    /// Returns how many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// Lets call number `call`, counted from 0 and from the disk's beginning, and all after it fail until
    /// [`SimDisk::crash`] or [`SimDisk::kill`].
    pub fn crash_at(&self, call: u64) {
        self.world.lock().crash_at = Some(call);
    }

    /// Returns whether the call of [`SimDisk::crash_at`] was reached.
    pub fn is_down(&self) -> bool {
        self.world.lock().down
    }

    /// Lets call number `call` fail, if it is of the kind that the fault meets.
    pub fn fail_at(&self, call: u64, fault: DiskFault) {
        self.world.lock().planned.insert(call, fault);
    }

    /// Lets calls fail at random.
    pub fn set_rates(&self, rates: FaultRates) {
        self.world.lock().rates = rates;
    }

    /// Makes the disk full until it is told otherwise.
    pub fn set_full(&self, full: bool) {
        self.world.lock().full = full;
    }

    /// Ends all faults: those at random, those planned, and that the disk is full.
    pub fn heal(&self) {
        let mut world = self.world.lock();
        world.rates = FaultRates::default();
        world.planned.clear();
        world.full = false;
    }

    /// Returns how many faults took effect so far.
    pub fn injected(&self) -> u64 {
        self.world.lock().injected
    }

    /// Returns how long the calls since the last time took, in µs, and begins anew.
    pub fn take_cost_micros(&self) -> u64 {
        std::mem::take(&mut self.world.lock().cost_us)
    }

    /// Returns all files with their lengths, in order of their paths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let world = self.world.lock();
        let mut files = Vec::new();
        let mut queue = vec![(PathBuf::from("/"), 0)];
        while let Some((path, node)) = queue.pop() {
            match &world.nodes[node] {
                Node::File(file) => files.push((path, file.current.len())),
                Node::Dir(dir) => queue.extend(dir.current.iter().map(|(name, node)| (path.join(name), *node))),
            }
        }
        files.sort();
        files
    }

    /// Flips one bit of a file, on the medium too.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let file = world.file(path)?;
        file.current.flip(bit);
        file.durable.flip(bit);
        Ok(())
    }

    /// Cuts a file off, on the medium too.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let file = world.file(path)?;
        file.current.truncate(len);
        file.durable.truncate(len);
        Ok(())
    }

    /// Removes a file or folder, from the medium too.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn lose(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let (dir, name) = world.parent(path)?;
        if !dir.current.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        dir.change(vec![(name, None)]);
        dir.sync();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let verdict = world.step(Step::Write)?;
        match world.find(path) {
            Ok(node) if matches!(world.nodes[node], Node::Dir(_)) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        match verdict {
            Verdict::Go => world.link(path, Node::Dir(DirNode::default())),
            Verdict::Fail(error) => Err(error),
        }
    }

    fn write_new_with(&self, path: &Path, content: &mut WriteContent<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        content(&mut bytes)?;
        let mut world = self.world.lock();
        let verdict = world.step(Step::Write)?;
        world.link(path, Node::File(FileNode::default()))?;
        let file = world.file(path)?;
        match verdict {
            Verdict::Go => file.write(0, &bytes),
            Verdict::Fail(error) => {
                file.write(0, &bytes[..bytes.len() / 2]);
                return Err(error);
            }
        }
        sync(&mut world, path)
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        let verdict = world.step(Step::Write)?;
        let reached = match verdict {
            Verdict::Go => bytes.len(),
            Verdict::Fail(_) if bytes.is_empty() => 0,
            Verdict::Fail(_) => world.rng.random_range(0..=bytes.len()),
        };
        world.file(path)?.write(offset, &bytes[..reached]);
        match verdict {
            Verdict::Go if mutant::is(Mutant::NoHeadSync) => Ok(()),
            Verdict::Go => sync(&mut world, path),
            Verdict::Fail(error) => Err(error),
        }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        sync(&mut self.world.lock(), path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let verdict = world.step(Step::Sync)?;
        let dir = world.dir(path)?;
        match verdict {
            Verdict::Go => dir.sync(),
            Verdict::Fail(error) => return Err(error),
        }
        if world.calls.is_multiple_of(COLLECT_EVERY) {
            world.collect();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let verdict = world.step(Step::Write)?;
        if from.parent() != to.parent() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the simulated disk renames within one folder"));
        }
        let node = world.find(from)?;
        if let Ok(target) = world.find(to)
            && let Node::Dir(dir) = &world.nodes[target]
            && !dir.current.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let new_name = to.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        match verdict {
            Verdict::Go => {
                let (dir, name) = world.parent(from)?;
                dir.change(vec![(name, None), (new_name, Some(node))]);
                Ok(())
            }
            Verdict::Fail(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let verdict = world.step(Step::Write)?;
        world.file(path)?;
        unlink(&mut world, path, verdict)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let verdict = world.step(Step::Write)?;
        if !world.dir(path)?.current.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        unlink(&mut world, path, verdict)
    }

    fn read_at(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut world = self.world.lock();
        match world.step(Step::Read)? {
            Verdict::Go => Ok(world.file(path)?.current.read(offset, len)),
            Verdict::Fail(error) => Err(error),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.world.lock();
        if let Verdict::Fail(error) = world.step(Step::Read)? {
            return Err(error);
        }
        let names = world.dir(path)?.current.clone();
        let entry = |(name, node): (String, usize)| match &world.nodes[node] {
            Node::File(file) => Entry { name, is_dir: false, len: file.current.len() },
            Node::Dir(_) => Entry { name, is_dir: true, len: 0 },
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut world = self.world.lock();
        if let Verdict::Fail(error) = world.step(Step::Write)? {
            return Err(error);
        }
        if world.find(path).is_err() {
            world.link(path, Node::File(FileNode::default()))?;
        }
        if world.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let life = world.life;
        world.locks.insert(path.to_owned(), life);
        Ok(Box::new(SimLock { world: Arc::clone(&self.world), path: path.to_owned(), life }))
    }
}

fn sync(world: &mut World, path: &Path) -> io::Result<()> {
    let verdict = world.step(Step::Sync)?;
    let mut rng = world.rng.clone();
    let file = world.file(path)?;
    let result = match verdict {
        Verdict::Go => {
            file.sync();
            Ok(())
        }
        Verdict::Fail(error) => {
            file.sync_badly(&mut rng);
            Err(error)
        }
    };
    world.rng = rng;
    result
}

fn unlink(world: &mut World, path: &Path, verdict: Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Go => {
            let (dir, name) = world.parent(path)?;
            dir.change(vec![(name, None)]);
            Ok(())
        }
        Verdict::Fail(error) => Err(error),
    }
}

struct SimLock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        // A lock of an earlier life was released by its end; the file may be locked by another one now.
        if world.locks.get(&self.path) == Some(&self.life) {
            world.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
