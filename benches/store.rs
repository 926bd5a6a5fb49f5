//! What the default store costs, beside the floor of the disk in the same run.
//!
//! `cargo bench --bench store [DIR]`: publishes checkpoints of 5 operators with 2 KB each, then writes and reads a
//! chunk of 256 MB, each interleaved with the plain system calls that a store cannot do without.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark takes real time and prints it")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use piton::ids::{Fence, SubtaskId, WindowId};
use piton::protocol::commit::{Commit, CommitLog};
use piton::protocol::manifest::{ChunkId, ChunkRef, Manifest, OperatorSnapshot, SubtaskSnapshot};
use piton::store::{CheckpointStore, OpenOptions, SledStore};

const PUBLISHED: u64 = 500;
const OPERATORS: u64 = 5;
const STATE: usize = 2_000;
const LARGE: usize = 256 << 20;
const ROUNDS: u64 = 8;
const PAUSE: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo passes flags of its own.
    let base = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let dir = match base {
        Some(base) => tempfile::tempdir_in(base)?,
        None => tempfile::tempdir()?,
    };
    publish(dir.path())?;
    large(dir.path())
}

fn publish(dir: &Path) -> Result<(), Box<dyn Error>> {
    let (mut store, _) = SledStore::open(&dir.join("small"), OpenOptions::default())?;
    let fence = Fence { incarnation: store.claim_incarnation()?, attempt: 0 };
    let mut floor_file = File::create(dir.join("floor"))?;
    let mut slot_file = File::create(dir.join("slot"))?;
    let record = noise(OPERATORS as usize * STATE);
    slot_file.write_all(&record)?;
    slot_file.sync_all()?;
    let (mut publishes, mut appends, mut overwrites) = (Vec::new(), Vec::new(), Vec::new());
    for window in 1..=PUBLISHED {
        let begin = Instant::now();
        let mut subtasks = Vec::new();
        for nth in 0..OPERATORS {
            let operator = format!("operator{nth}");
            let sequence = window * OPERATORS + nth;
            let id = ChunkId { region: "job".to_owned(), operator: operator.clone(), index: 0, fence, sequence };
            let chunks = vec![store.put_chunk(id, &noise(STATE))?];
            subtasks.push(SubtaskSnapshot {
                subtask: SubtaskId::new(operator.as_str(), 0),
                finished: false,
                watermark: 0,
                channel_watermarks: vec![0],
                cursors: vec![0],
                read: 0,
                written: 0,
                operators: vec![OperatorSnapshot { chunks, ..OperatorSnapshot::empty(operator) }],
            });
        }
        commit(&mut store, window, fence, subtasks)?;
        publishes.push(begin.elapsed());

        let begin = Instant::now();
        floor_file.write_all(&record)?;
        floor_file.sync_data()?;
        appends.push(begin.elapsed());

        let begin = Instant::now();
        slot_file.seek(SeekFrom::Start(0))?;
        slot_file.write_all(&record)?;
        slot_file.sync_data()?;
        overwrites.push(begin.elapsed());
    }
    println!("publish {OPERATORS} x {STATE} B, {PUBLISHED} times    p50 / p99 / max");
    print_percentiles("  store: chunks + commit", publishes);
    print_percentiles("  floor: append + fdatasync", appends);
    print_percentiles("  floor: overwrite + fdatasync", overwrites);
    Ok(())
}

fn large(dir: &Path) -> Result<(), Box<dyn Error>> {
    let root = dir.join("large");
    let (mut store, _) = SledStore::open(&root, OpenOptions { retain: 1, ..OpenOptions::default() })?;
    let fence = Fence { incarnation: store.claim_incarnation()?, attempt: 0 };
    println!("chunk of {} MiB            store MB/s   raw MB/s   ratio", LARGE >> 20);
    for round in 1..=ROUNDS {
        let bytes = noise(LARGE);
        let raw_path = dir.join("raw");
        let id = ChunkId { region: "job".to_owned(), operator: "a".to_owned(), index: 0, fence, sequence: round };
        // Whoever writes first has the better of a disk that lends speed for a moment: they take turns.
        let (mut raw_written, mut written) = (Duration::ZERO, Duration::ZERO);
        let mut chunk = None;
        for turn in 0..2 {
            std::thread::sleep(PAUSE);
            let begin = Instant::now();
            if turn == round % 2 {
                let mut raw = File::create(&raw_path)?;
                raw.write_all(&bytes)?;
                raw.sync_all()?;
                raw_written = begin.elapsed();
                // Its pages are given back, or whoever comes next pays for that.
                fs::remove_file(&raw_path)?;
            } else {
                let kept = store.put_chunk(id.clone(), &bytes)?;
                let subtask = SubtaskSnapshot {
                    subtask: SubtaskId::new("a", 0),
                    finished: false,
                    watermark: 0,
                    channel_watermarks: Vec::new(),
                    cursors: Vec::new(),
                    read: 0,
                    written: 0,
                    operators: vec![OperatorSnapshot { chunks: vec![kept.clone()], ..OperatorSnapshot::empty("a") }],
                };
                commit(&mut store, round, fence, vec![subtask])?;
                written = begin.elapsed();
                chunk = Some(kept);
            }
        }
        let chunk = chunk.expect("the store had its turn");
        let blob = root.join("regions/job/blobs").join(id.to_string());
        print_rates("  write, durable", written, raw_written);

        let begin = Instant::now();
        let mut raw = Vec::with_capacity(LARGE);
        File::open(&blob)?.take(LARGE as u64).read_to_end(&mut raw)?;
        let raw_read = begin.elapsed();
        drop(raw);
        let begin = Instant::now();
        let read = store.read_chunk(&chunk)?;
        print_rates("  read, verified, cached", begin.elapsed(), raw_read);
        assert_eq!(read.len() as u64, ChunkRef::len(&chunk));
    }
    drop(store);
    let begin = Instant::now();
    SledStore::open(&root, OpenOptions { retain: 1, ..OpenOptions::default() })?;
    println!("open, the head's chunk verified   {:.1} ms", milliseconds(begin.elapsed()));
    Ok(())
}

fn commit(
    store: &mut SledStore,
    window: u64,
    fence: Fence,
    subtasks: Vec<SubtaskSnapshot>,
) -> Result<(), Box<dyn Error>> {
    let manifest = Manifest {
        job: "bench".to_owned(),
        region: "job".to_owned(),
        window: WindowId(window),
        fence,
        triggered_ms: 0,
        completed_ms: 0,
        finished: false,
        topology: vec![0; 200],
        subtasks,
    };
    for result in store.commit(vec![Commit { manifest, joined: Vec::new() }]) {
        result?;
    }
    Ok(())
}

/// Returns bytes that no disk compresses.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut word = len as u64;
    while bytes.len() < len {
        word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        bytes.extend((word ^ (word >> 29)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn print_percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| milliseconds(times[(times.len() - 1) * percent / 100]);
    println!("{what:<34} {:>7.2} / {:>7.2} / {:>7.2} ms", at(50), at(99), at(100));
}

fn print_rates(what: &str, store: Duration, raw: Duration) {
    let rate = |time: Duration| LARGE as f64 / 1e6 / time.as_secs_f64();
    println!("{what:<26} {:>10.0} {:>10.0} {:>7.2}", rate(store), rate(raw), rate(store) / rate(raw));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
