//! Every store keeps checkpoints the same way: the one suite, over each of them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use piton::protocol::manifest::ChunkId;
use piton::store::catalogue::LogCatalogue;
use piton::store::conformance::{Fixture, RETAIN, check};
use piton::store::disk::{RealDisk, SimDisk};
use piton::store::{FileStore, MemoryStore, OpenOptions, OpenReport, SimStore, SledStore};
use tempfile::TempDir;

const OPTIONS: OpenOptions = OpenOptions { retain: RETAIN, allow_rollback: false };

#[test]
fn the_memory_store_conforms() {
    struct Memory(MemoryStore);
    impl Fixture for Memory {
        type Store = MemoryStore;
        fn open(&mut self) -> MemoryStore {
            self.0.clone()
        }
        fn damage(&mut self, chunk: &ChunkId) {
            assert!(self.0.damage_chunk(chunk));
        }
        fn lose(&mut self, chunk: &ChunkId) {
            assert!(self.0.lose_chunk(chunk));
        }
    }
    check(|| Memory(MemoryStore::with_retain(RETAIN)));
}

#[test]
fn the_store_on_a_simulated_disk_conforms() {
    struct Simulated(SimDisk);
    impl Fixture for Simulated {
        type Store = SimStore;
        fn open(&mut self) -> SimStore {
            let (store, report) = SimStore::open(self.0.clone(), OPTIONS).unwrap();
            assert_eq!(report, OpenReport::default());
            store
        }
        fn damage(&mut self, chunk: &ChunkId) {
            self.0.flip_bit(&blob(Path::new("/state"), chunk), 8_003).unwrap();
        }
        fn lose(&mut self, chunk: &ChunkId) {
            self.0.lose(&blob(Path::new("/state"), chunk)).unwrap();
        }
    }
    check(|| Simulated(SimDisk::new(1)));
}

struct Real<S> {
    dir: TempDir,
    open: fn(&Path) -> (S, OpenReport),
}

impl<S: piton::store::CheckpointStore + piton::store::JoinedOutputs> Fixture for Real<S> {
    type Store = S;
    fn open(&mut self) -> S {
        let (store, report) = (self.open)(&self.dir.path().join("state"));
        assert_eq!(report, OpenReport::default());
        store
    }
    fn damage(&mut self, chunk: &ChunkId) {
        let path = blob(&self.dir.path().join("state"), chunk);
        let mut content = fs::read(&path).unwrap();
        content[1_000] ^= 1;
        fs::write(&path, content).unwrap();
    }
    fn lose(&mut self, chunk: &ChunkId) {
        fs::remove_file(blob(&self.dir.path().join("state"), chunk)).unwrap();
    }
}

#[test]
fn the_default_store_conforms() {
    let open = |dir: &Path| SledStore::open(dir, OPTIONS).unwrap();
    check(|| Real { dir: tempfile::tempdir().unwrap(), open });
}

#[test]
fn the_file_store_with_a_log_conforms() {
    type Store = FileStore<RealDisk, LogCatalogue<RealDisk>>;
    let open = |dir: &Path| Store::open_on(RealDisk, dir, OPTIONS).unwrap();
    check(|| Real { dir: tempfile::tempdir().unwrap(), open });
}

fn blob(dir: &Path, chunk: &ChunkId) -> PathBuf {
    dir.join("regions").join(&chunk.region).join("blobs").join(chunk.to_string())
}
