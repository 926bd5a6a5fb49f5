//! What the default store costs, beside the floor of the disk in the same run.
//!
//! `cargo bench --bench store [-- DIR]`, of which each part can be asked for alone (`-- job`, `-- publish`,
//! `-- large`):
//!
//! - a running job of 5 operators with 2 KB of state each and a checkpoint every 100 ms: how long publishing takes,
//!   from the moment the last subtask's snapshot comes to the store until the commit is durable;
//! - the same without a job around it;
//! - writing and reading a chunk of 256 MB.
//!
//! Each is interleaved with the plain system calls that a store cannot do without. State is kept in a temporary
//! folder, in `DIR` if it is given; which file system that is, is printed.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark takes real time and prints it")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use piton::Delivery;
use piton::ids::{Fence, SubtaskId, WindowId};
use piton::prelude::*;
use piton::protocol::commit::{Commit, CommitLog};
use piton::protocol::manifest::{ChunkId, ChunkRef, Manifest, OperatorSnapshot, SubtaskSnapshot};
use piton::runtime::RunOptions;
use piton::store::{CheckpointStore, OpenOptions, SledStore};
use piton::{Overrides, Rows};
use serde::Deserialize;

mod watched;

use watched::{Notes, Watched, milliseconds, print_percentiles};

const PUBLISHED: u64 = 500;
const OPERATORS: u64 = 5;
const STATE: usize = 2_000;
/// A row takes 20 bytes, and a key group with one row 12 more.
const KEYS: u64 = 64;
const LARGE: usize = 256 << 20;
const ROUNDS: u64 = 8;
const PAUSE: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo passes flags of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (parts, bases): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| ["job", "publish", "large"].contains(&argument.as_str()));
    let dir = match bases.first() {
        Some(base) => tempfile::tempdir_in(base)?,
        None => tempfile::tempdir()?,
    };
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("state in {}: {}", dir.path().display(), watched::file_system(dir.path()));
    if is_wanted("job") {
        job(dir.path())?;
    }
    if is_wanted("publish") {
        publish(dir.path())?;
    }
    if is_wanted("large") {
        large(dir.path())?;
    }
    Ok(())
}

/// Emits every key, again and again, until enough was committed.
#[derive(Clone, Deserialize)]
struct Keys {}

static COMMITTED: AtomicU64 = AtomicU64::new(0);

impl Source for Keys {
    type Out = u64;
    type Position = ();

    async fn open(&mut self, _: Option<()>, _: &Subtask) -> piton::prelude::Result {
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<u64>) -> piton::prelude::Result<Progress> {
        for key in 0..KEYS {
            feed.push(key);
        }
        Ok(if COMMITTED.load(Ordering::Relaxed) < PUBLISHED { Progress::Idle(10) } else { Progress::Done })
    }

    fn position(&self) {}
}

#[derive(Clone, Deserialize)]
struct Count {}

const COUNT: ValueState<u64> = ValueState::new("count");

impl Operator for Count {
    type In = u64;
    type Out = u64;

    fn key(&self, key: &u64) -> Key {
        key.into()
    }

    fn process(&mut self, key: &u64, ctx: &mut Context<u64>) -> piton::prelude::Result {
        ctx.state(COUNT).update(|count| *count += 1)?;
        ctx.emit(*key);
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Nowhere {}

impl Sink for Nowhere {
    type In = u64;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<()>, _: &Subtask) -> piton::prelude::Result {
        Ok(())
    }

    async fn write(&mut self, _: Arc<Rows<u64>>) -> piton::prelude::Result {
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> piton::prelude::Result<Option<()>> {
        Ok(None)
    }
}

fn job(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut registry = Registry::new();
    registry.source::<Keys>("keys").operator::<Count>("count").sink::<Nowhere>("nowhere");
    let mut toml =
        "checkpoint.interval = \"100ms\"\njob.chaining = \"off\"\n[sources.keys]\ntype = \"keys\"\n".to_owned();
    let mut input = "keys".to_owned();
    for nth in 0..OPERATORS {
        toml += &format!("[operators.count{nth}]\ntype = \"count\"\ninputs = [\"{input}\"]\n");
        input = format!("count{nth}");
    }
    toml += &format!("[sinks.out]\ntype = \"nowhere\"\ninputs = [\"{input}\"]\n");
    let plan = piton::topology::load_text(&toml, &dir.join("job.toml"), &Overrides::default(), &registry)?;
    let notes = Arc::new(Mutex::new(Notes::default()));
    let (state, raw, noted) = (dir.join("job"), dir.join("job.raw"), Arc::clone(&notes));
    let opener = move || -> Result<Box<dyn CheckpointStore>, piton::store::StoreError> {
        let (store, _) = SledStore::open(&state, OpenOptions::default())?;
        let raw = watched::raw_file(&raw).expect("the disk makes a file");
        Ok(Box::new(Watched::new(Box::new(store), Arc::clone(&noted), Some(raw))))
    };
    let mut took = Vec::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let options = RunOptions {
        listener: Box::new(move |event| {
            if let piton::runtime::Event::Committed { took_ms, .. } = event {
                COMMITTED.fetch_add(1, Ordering::Relaxed);
                // The receiver outlives the job.
                sender.send(*took_ms).ok();
            }
        }),
        ..RunOptions::default()
    };
    piton::runtime::run_in(&plan, options, Box::new(opener))?;
    took.extend(receiver.iter().map(|took: i64| Duration::from_millis(took as u64)));
    let notes = notes.lock().expect("nobody panics with it");
    let commits = &notes.commits;
    let last = commits.last().ok_or("nothing was committed")?;
    println!(
        "a job of {OPERATORS} operators, {} B of state in all, a checkpoint every 100 ms, {} of them, {} B written each",
        last.state,
        commits.len(),
        last.manifest
    );
    println!("{:<44} {:>7} / {:>7} / {:>7} / {:>7}", "", "p10", "p50", "p99", "max");
    let all = |of: fn(&watched::Committed) -> Duration| commits.iter().map(of).collect();
    print_percentiles("  publish: last snapshot in to durable", all(|commit| commit.publish));
    print_percentiles("    of it the store's commit", all(|commit| commit.commit));
    print_percentiles("  raw disk: one write + fdatasync", all(|commit| commit.raw.unwrap_or_default()));
    print_percentiles("  trigger to committed (in whole ms)", took);
    println!("  limits: p50 2 ms, p99 15 ms on an idle disk");
    Ok(())
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
                within: None,
                in_flight: None,
                subtask: SubtaskId::new(operator.as_str(), 0),
                finished: false,
                watermark: 0,
                told: None,
                channel_watermarks: vec![0],
                cursors: vec![0],
                read: 0,
                written: 0,
                set_aside: 0,
                letters: Vec::new(),
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
    println!("without a job: {OPERATORS} x {STATE} B, {PUBLISHED} times");
    println!("{:<44} {:>7} / {:>7} / {:>7} / {:>7}", "", "p10", "p50", "p99", "max");
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
                    within: None,
                    in_flight: None,
                    subtask: SubtaskId::new("a", 0),
                    finished: false,
                    watermark: 0,
                    told: None,
                    channel_watermarks: Vec::new(),
                    cursors: Vec::new(),
                    read: 0,
                    written: 0,
                    set_aside: 0,
                    letters: Vec::new(),
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
        copy_of: WindowId::NONE,
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

fn print_rates(what: &str, store: Duration, raw: Duration) {
    let rate = |time: Duration| LARGE as f64 / 1e6 / time.as_secs_f64();
    println!("{what:<26} {:>10.0} {:>10.0} {:>7.2}", rate(store), rate(raw), rate(store) / rate(raw));
}
