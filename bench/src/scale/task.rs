//! One run of a job of some size, and what it tells.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use piton::runtime::{Event as JobEvent, Shared};
use serde::{Deserialize, Serialize};

use super::parts::{SEEN, monotonic, registry};
use crate::job;
use crate::measure::{Memory, processor_seconds};

/// What is run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// A source, a keyed operator of so many subtasks, and a sink; source and sink have so many of their own.
    Subtasks { ends: u64, subtasks: u64, rows: u64 },
    /// The same with one source that emits nothing for so many ms, and windows of a second.
    Idle { subtasks: u64, milliseconds: u64 },
    /// So many jobs on the same threads, each with its share of the rows.
    Jobs { jobs: u64, rows: u64 },
    /// State of so many keys, each a count or a text of so many bytes, and changes of 1 % of them.
    State { keys: u64, bytes: u64, rounds: u64, interval: u64 },
    /// A small job, and when its process was started, in ns of the clock that all processes share.
    Start { started: u64 },
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// How many rows came to sinks in a second.
    pub(crate) rows_per_second: f64,
    /// How many processors worked on it; of an idle job, once it is quiet.
    pub(crate) processors: f64,
    /// How much more memory there was than before: at the peak, when all keys had come, or when it was quiet, in MB.
    pub(crate) more_mb: f64,
    /// How much memory there was in all in the end, in MB.
    pub(crate) resident_mb: f64,
    /// The first checkpoint of everything, and those of 1 %.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// How long it took to write and sync as many bytes as the first checkpoint wrote, in ms.
    pub(crate) raw_ms: f64,
    /// How long the first row took from the start of the process, in ms.
    pub(crate) first_ms: f64,
}

/// A checkpoint with something new in it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// How many bytes it wrote.
    pub(crate) fresh: u64,
    pub(crate) took_ms: f64,
    /// How long the operator stood still.
    pub(crate) pause_ms: f64,
}

/// Runs a task in this process, which can do so once.
pub(crate) fn here(task: &Task) -> Result<Measured, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("there is no folder: {error}"))?;
    let before_mb = Memory::reset();
    let (begin, processor) = (Instant::now(), processor_seconds());
    let mut measured = Measured::default();
    let expected = match *task {
        Task::Subtasks { ends, subtasks, rows } => {
            run(&keyed(ends, subtasks, rows / ends), folder.path())?;
            rows / ends * ends
        }
        Task::Idle { subtasks, milliseconds } => {
            run(&idle(subtasks, milliseconds), folder.path())?;
            0
        }
        Task::Jobs { jobs, rows } => {
            several(jobs, rows / jobs, folder.path())?;
            rows / jobs * jobs
        }
        Task::State { keys, bytes, rounds, interval } => {
            let told = run(&state(keys, bytes, rounds, interval), folder.path())?;
            measured.checkpoints = checkpoints(&told, rounds)?;
            measured.raw_ms = raw(folder.path(), measured.checkpoints[0].fresh)?;
            keys + rounds * (keys / 100).max(1)
        }
        Task::Start { started } => {
            run(&keyed(1, 1, 1_000), folder.path())?;
            let first = SEEN.first.get().copied().ok_or("nothing came")?;
            measured.first_ms = (first - started) as f64 / 1e6;
            1_000
        }
    };
    let (seconds, worked) = (begin.elapsed().as_secs_f64(), processor_seconds() - processor);
    let rows = SEEN.rows.load(Ordering::Relaxed);
    let is_complete = match task {
        Task::State { .. } => rows >= expected,
        _ => rows == expected,
    };
    if !is_complete {
        return Err(format!("{rows} rows came, not {expected}"));
    }
    measured.rows_per_second = rows as f64 / seconds;
    measured.processors = worked / seconds;
    measured.resident_mb = Memory::now_mb();
    measured.more_mb = SEEN.filled_mb.get().copied().unwrap_or_else(Memory::peak_mb) - before_mb;
    if let [(worked, since, _), (until_worked, until, quiet_mb)] = SEEN.quiet.lock().expect("nobody panics with it")[..]
    {
        measured.processors = (until_worked - worked) / (until - since).as_secs_f64();
        measured.more_mb = quiet_mb - before_mb;
    }
    Ok(measured)
}

fn keyed(ends: u64, subtasks: u64, rows: u64) -> String {
    format!(
        "[sources.numbers]\ntype = \"numbers\"\nrows = {rows}\nkeys = 100000\nparallelism = {ends}\n\
         [operators.keep]\ntype = \"keep\"\ninputs = [\"numbers\"]\nparallelism = {subtasks}\n\
         [sinks.out]\ntype = \"counted\"\ninputs = [\"keep\"]\nparallelism = {ends}\n"
    )
}

fn idle(subtasks: u64, milliseconds: u64) -> String {
    format!(
        "window.interval = \"1s\"\ncheckpoint.interval = \"1s\"\n\
         [sources.quiet]\ntype = \"quiet\"\nmilliseconds = {milliseconds}\n\
         [operators.keep]\ntype = \"keep\"\ninputs = [\"quiet\"]\nparallelism = {subtasks}\n\
         [sinks.out]\ntype = \"counted\"\ninputs = [\"keep\"]\n"
    )
}

fn state(keys: u64, bytes: u64, rounds: u64, interval: u64) -> String {
    format!(
        "checkpoint.interval = \"{interval}ms\"\n\
         [sources.changes]\ntype = \"changes\"\nkeys = {keys}\nrounds = {rounds}\n\
         [operators.keep]\ntype = \"keep\"\ninputs = [\"changes\"]\nkeys = {keys}\nbytes = {bytes}\n\
         [sinks.out]\ntype = \"counted\"\ninputs = [\"keep\"]\n"
    )
}

/// What was told of checkpoints: how many bytes the operator had that were new, and how long one took in ms.
type Told = Vec<(u64, i64)>;

fn run(toml: &str, folder: &Path) -> Result<Told, String> {
    let told = Arc::new(Mutex::new((Told::new(), None)));
    let noted = Arc::clone(&told);
    let mut fresh = 0;
    job::run(toml, folder, &registry(), None, move |event| match event {
        JobEvent::Acknowledged { part, .. } => fresh += part.fresh,
        JobEvent::Committed { took_ms, .. } => {
            noted.lock().expect("nobody panics with it").0.push((std::mem::take(&mut fresh), *took_ms));
        }
        // What the next one writes and how long it takes would be told as one.
        JobEvent::CheckpointFailed { reason, .. } => {
            noted.lock().expect("nobody panics with it").1 = Some(reason.clone());
        }
        _ => {}
    })?;
    let (told, failed) = std::mem::take(&mut *told.lock().expect("nobody panics with it"));
    failed.map_or(Ok(told), |reason| Err(format!("a checkpoint failed: {reason}")))
}

/// Runs jobs on the same threads, each in a folder of its own.
fn several(jobs: u64, rows: u64, folder: &Path) -> Result<(), String> {
    let shared = Shared::start(None).map_err(|error| error.to_string())?;
    let one = |number: u64| {
        let own = folder.join(number.to_string());
        std::fs::create_dir(&own).map_err(|error| format!("{} is not made: {error}", own.display()))?;
        job::run(&keyed(1, 1, rows), &own, &registry(), Some(shared.clone()), |_| {})
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..jobs).map(|number| scope.spawn(move || one(number))).collect();
        running.into_iter().try_for_each(|job| job.join().map_err(|_| "a job panicked".to_string())?)
    })
}

/// Returns the first checkpoint, which has everything, and those of the changes.
fn checkpoints(told: &Told, rounds: u64) -> Result<Vec<Checkpoint>, String> {
    let pauses = SEEN.pauses.lock().expect("nobody panics with it");
    let all = told.iter().zip(pauses.iter()).filter(|((fresh, _), _)| *fresh > 0);
    let all: Vec<Checkpoint> = all
        .map(|(&(fresh, took_ms), pause)| Checkpoint {
            fresh,
            took_ms: took_ms as f64,
            pause_ms: pause.as_secs_f64() * 1e3,
        })
        .collect();
    // One that came while the state was filled would have parted it in two.
    if all.len() as u64 != rounds + 1 {
        let new = all.iter().map(|checkpoint| checkpoint.fresh).collect::<Vec<_>>();
        return Err(format!(
            "{} checkpoints had something new, not {}: {new:?}; try a longer --interval",
            all.len(),
            rounds + 1
        ));
    }
    Ok(all)
}

/// Writes so many bytes to the same disk, and waits until they are there; returns how long that took, in ms.
fn raw(folder: &Path, bytes: u64) -> Result<f64, String> {
    let block: Vec<u8> = (0..1u64 << 20).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let write = || -> std::io::Result<f64> {
        let begin = Instant::now();
        let mut file = File::create(folder.join("raw"))?;
        let mut left = bytes as usize;
        while left > 0 {
            let next = left.min(block.len());
            file.write_all(&block[..next])?;
            left -= next;
        }
        file.sync_all()?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    };
    write().map_err(|error| format!("nothing is written to {}: {error}", folder.display()))
}

/// Returns a small job whose process starts now.
pub(super) fn start() -> Task {
    Task::Start { started: monotonic() }
}
