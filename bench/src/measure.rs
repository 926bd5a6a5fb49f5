//! One measured run, in a process of its own: nothing that an earlier run has left in memory or on threads counts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::engine::Engine;
use crate::event;
use crate::query::Query;

/// What is to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) engine: Engine,
    pub(crate) query: Query,
    pub(crate) events: usize,
    /// Where the events of NEXMark are kept.
    pub(crate) cache: PathBuf,
    /// What is set in the topology of piton.
    pub(crate) set: Vec<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) answer: Answer,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// How long processors worked on it, all threads together, in seconds.
    pub(crate) processor_seconds: f64,
    /// How much memory it had at its peak, beyond the events, in MB.
    pub(crate) peak_mb: f64,
    /// How often something was committed.
    pub(crate) commits: u64,
}

/// Runs a task in a process of its own.
pub(crate) fn apart(task: &Task) -> Result<Measured, String> {
    in_process("one", task, &format!("{} of {}", task.query.name(), task.engine.name()))
}

/// Runs a hidden command with a task in a process of its own, and returns what that measured.
pub(crate) fn in_process<T: DeserializeOwned>(command: &str, task: &impl Serialize, what: &str) -> Result<T, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is not to be found: {error}"))?;
    let told = serde_json::to_string(task).expect("a task is plain data");
    let output = Command::new(program)
        .args([command, &told])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{what} did not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("{what} ended with {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{what} told something else: {error}"))
}

/// Runs a task in this process, which can do so once.
pub(crate) fn here(task: &Task) -> Result<Measured, String> {
    let events = match task.query {
        Query::Kc => event::random_keys(task.events),
        _ => read(&task.cache, task.events)?,
    };
    let run = task.engine.prepare(task.query, events, task.set.clone());
    let before = Memory::reset();
    let (begin, processor) = (Instant::now(), processor_seconds());
    let (answer, commits) = run();
    let seconds = begin.elapsed().as_secs_f64();
    let processor_seconds = processor_seconds() - processor;
    let peak_mb = Memory::peak_mb() - before;
    Ok(Measured { answer, seconds, processor_seconds, peak_mb, commits })
}

fn read(cache: &Path, events: usize) -> Result<Vec<event::Event>, String> {
    let path = event::cached(cache, events).map_err(|error| format!("{} is not written: {error}", cache.display()))?;
    event::read(&path).map_err(|error| format!("{} is not read: {error}", path.display()))
}

/// Returns how long processors have worked on this process.
pub(crate) fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What Linux tells of the memory of this process.
pub(crate) struct Memory;

impl Memory {
    /// Forgets the peak so far, and returns how much there is, in MB.
    pub(crate) fn reset() -> f64 {
        // Where it is not allowed, the peak is that of reading the events, and too high.
        let reset = std::fs::write("/proc/self/clear_refs", "5");
        if let Err(error) = reset {
            eprintln!("the peak of memory includes what came before: {error}");
        }
        Memory::now_mb()
    }

    pub(crate) fn now_mb() -> f64 {
        Memory::told("VmRSS:")
    }

    pub(crate) fn peak_mb() -> f64 {
        Memory::told("VmHWM:")
    }

    fn told(name: &str) -> f64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.unwrap_or(f64::NAN) / 1_000.0
    }
}
