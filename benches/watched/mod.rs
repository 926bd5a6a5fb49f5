//! A store that notes what a running job asks of it, and the disk beside it.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a benchmark takes real time")]

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use piton::ids::{Fence, WindowId};
use piton::protocol::commit::{Commit, CommitError, CommitLog};
use piton::protocol::manifest::{ChunkId, ChunkRef, DeadLetter, Manifest};
use piton::store::{CheckpointInfo, CheckpointStore, StoreError};

/// One commit of a job.
#[derive(Clone, Debug)]
pub struct Committed {
    /// From the last chunk that was handed in for it until it was durable.
    pub publish: Duration,
    /// The commit alone.
    pub commit: Duration,
    /// How many bytes were put as chunks since the commit before.
    pub put: u64,
    /// The longest of them.
    pub longest: u64,
    /// How long that took.
    pub putting: Duration,
    /// How many bytes the manifest takes, with the chunks that travel in it.
    pub manifest: u64,
    /// How much state the checkpoint refers to.
    pub state: u64,
    /// One write and fdatasync of as many bytes as the manifest takes, on the same disk, right after it.
    pub raw: Option<Duration>,
}

/// What was noted.
#[derive(Default)]
pub struct Notes {
    pub commits: Vec<Committed>,
    pub read: u64,
    /// The names of the chunks that were read from files of their own.
    pub read_ids: Vec<String>,
    pub reading: Duration,
    put: u64,
    longest: u64,
    putting: Duration,
    handed_in: Option<Instant>,
}

/// A store with a notebook.
pub struct Watched {
    inner: Box<dyn CheckpointStore>,
    notes: Arc<Mutex<Notes>>,
    /// Is written over after each commit, to know what the disk takes for it.
    raw: Option<File>,
}

impl Watched {
    /// Watches a store; `raw` is a file for the disk's own measure.
    pub fn new(inner: Box<dyn CheckpointStore>, notes: Arc<Mutex<Notes>>, raw: Option<File>) -> Watched {
        Watched { inner, notes, raw }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody panics with it")
    }
}

/// Makes the file for the disk's own measure.
pub fn raw_file(path: &Path) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    Ok(file)
}

fn overwrite(file: &mut File, bytes: u64) -> io::Result<Duration> {
    let record = vec![7; bytes as usize];
    let begin = Instant::now();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&record)?;
    file.sync_data()?;
    Ok(begin.elapsed())
}

impl CommitLog for Watched {
    fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        let manifests: Vec<_> = commits.iter().map(|commit| &commit.manifest).collect();
        let manifest = rmp_serde::to_vec_named(&manifests).expect("manifests can be encoded").len() as u64;
        let state = manifests.iter().map(|manifest| manifest.bytes()).sum();
        let begin = Instant::now();
        let outcomes = self.inner.commit(commits);
        let commit = begin.elapsed();
        let (put, longest, putting, handed_in) = {
            let mut notes = self.notes();
            let Notes { put, longest, putting, handed_in, .. } = &mut *notes;
            (std::mem::take(put), std::mem::take(longest), std::mem::take(putting), handed_in.take())
        };
        let publish = handed_in.map_or(commit, |handed_in| handed_in.elapsed());
        let raw = self.raw.as_mut().map(|file| overwrite(file, manifest).expect("the disk writes"));
        self.notes().commits.push(Committed { publish, commit, put, longest, putting, manifest, state, raw });
        outcomes
    }
}

impl CheckpointStore for Watched {
    fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkRef, StoreError> {
        let begin = Instant::now();
        let kept = self.inner.put_chunk(id, bytes);
        let mut notes = self.notes();
        notes.handed_in = Some(begin);
        notes.put += bytes.len() as u64;
        notes.longest = notes.longest.max(bytes.len() as u64);
        notes.putting += begin.elapsed();
        kept
    }

    fn read_chunk(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError> {
        let begin = Instant::now();
        let read = self.inner.read_chunk(chunk);
        let mut notes = self.notes();
        notes.read += ChunkRef::len(chunk);
        if let ChunkRef::Blob { id, .. } = chunk {
            notes.read_ids.push(id.to_string());
        }
        notes.reading += begin.elapsed();
        read
    }

    fn regions(&mut self) -> Result<Vec<String>, StoreError> {
        self.inner.regions()
    }

    fn head(&mut self, region: &str) -> Result<Option<(WindowId, Fence)>, StoreError> {
        self.inner.head(region)
    }

    fn load(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError> {
        self.inner.load(region, window)
    }

    fn list(&mut self, region: &str) -> Result<Vec<CheckpointInfo>, StoreError> {
        self.inner.list(region)
    }

    fn letters(&mut self, region: &str) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.letters(region)
    }

    fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        self.inner.claim_incarnation()
    }

    fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    fn verify(&mut self) -> Vec<String> {
        self.inner.verify()
    }
}

/// Returns all files below a folder.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads files one after the other, each into memory of its own; returns how many bytes and how long it took.
pub fn read_all(files: &[PathBuf]) -> io::Result<(u64, Duration)> {
    let begin = Instant::now();
    let mut kept = Vec::new();
    for path in files {
        let mut file = File::open(path)?;
        let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize);
        file.read_to_end(&mut bytes)?;
        kept.push(bytes);
    }
    let took = begin.elapsed();
    Ok((kept.iter().map(|bytes| bytes.len() as u64).sum(), took))
}

/// Reads files one after the other through one buffer.
pub fn read_through(files: &[PathBuf]) -> io::Result<Duration> {
    let mut buffer = vec![0; 1 << 20];
    let begin = Instant::now();
    for path in files {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(begin.elapsed())
}

/// Returns the file system that a folder is on, as the kernel names it.
pub fn file_system(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut best = ("", "unknown".to_owned());
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(at), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        if folder.starts_with(at) && at.len() >= best.0.len() {
            best = (at, format!("{kind} on {device}"));
        }
    }
    best.1
}

/// Prints median, 99th percentile and extremes.
pub fn print_percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| milliseconds(times[(times.len() - 1) * percent / 100]);
    println!("{what:<44} {:>7.2} / {:>7.2} / {:>7.2} / {:>7.2} ms", at(10), at(50), at(99), at(100));
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
