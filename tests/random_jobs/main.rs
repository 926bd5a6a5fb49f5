//! Random topologies on the real engine, with random failures of user code: what is published is what a plain loop over
//! the input gives, whatever failed, and by whichever rung it was mended.
//!
//! `PITON_SEEDS=500 cargo test --test random_jobs` runs so many seeds, `PITON_FIRST_SEED` begins elsewhere.

mod draw;
mod faults;
mod nodes;
mod reference;
mod rules;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use draw::Job;
use nodes::Published;
use piton::Overrides;
use piton::runtime::{Ended, Event, Outcome, RunOptions};

/// No job takes this long: one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many jobs run at the same time: most of the time they wait.
const AT_ONCE: u64 = 3;

fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => usual,
    }
}

/// What happened in some runs.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    faults: usize,
    struck: usize,
    commits: u64,
    failed_checkpoints: u64,
    escalated: u64,
    /// By what was restarted.
    restarts: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.rows += other.rows;
        self.faults += other.faults;
        self.struck += other.struck;
        self.commits += other.commits;
        self.failed_checkpoints += other.failed_checkpoints;
        self.escalated += other.escalated;
        for (scope, times) in &other.restarts {
            *self.restarts.entry(scope).or_default() += times;
        }
    }
}

/// Runs a job to its end.
fn run(job: &Job) -> Result<(Outcome, Vec<Event>), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("job.toml");
    let plan = piton::topology::load_text(&job.toml(), &file, &Overrides::default(), &nodes::registry())
        .map_err(|error| error.to_string())?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| events.lock().unwrap().push(event.clone()));
    let options = RunOptions { listener, threads: Some(job.threads), ..RunOptions::default() };
    faults::arm(job.seed, &job.faults);
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        // Whoever waits may have given up.
        done.send(piton::runtime::run(&plan, options)).ok();
    });
    let ended = ended.recv_timeout(PATIENCE).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => format!("it has not ended; so far:\n{}", told(&seen.lock().unwrap())),
        mpsc::RecvTimeoutError::Disconnected => "the engine panicked".to_string(),
    })?;
    let Ended::Ran(outcome) = ended.map_err(|error| error.to_string())? else {
        return Err("it had finished before".to_string());
    };
    let events = std::mem::take(&mut *seen.lock().unwrap());
    Ok((outcome, events))
}

/// The last things that happened.
fn told(events: &[Event]) -> String {
    let last = &events[events.len().saturating_sub(30)..];
    last.iter().map(|event| format!("{event:?}\n")).collect()
}

/// Compares what a sink has published with what it must.
fn compare(sink: &str, expected: &Published, published: &Published) -> Result<(), String> {
    for (row, times) in expected {
        let seen = published.get(row).copied().unwrap_or_default();
        if seen != *times {
            return Err(format!("{sink} shows {row:?} {seen} times, not {times}"));
        }
    }
    match published.keys().find(|row| !expected.contains_key(row)) {
        Some(row) => Err(format!("{sink} shows {row:?}, which should never be seen")),
        None => Ok(()),
    }
}

/// Runs the job of a seed and holds it against the reference.
fn check(seed: u64) -> Result<Tally, String> {
    let job = Job::draw(seed);
    let ran = run(&job);
    let left = faults::disarm(seed);
    let expected = reference::expected(&job);
    // What is published is taken out of memory, however the run went.
    let published: BTreeMap<&str, Published> =
        expected.keys().map(|sink| (sink.as_str(), nodes::take_published(seed, sink))).collect();
    let context = |what: String| format!("seed {seed}: {what}\n{:#?}\n{}", job.faults, job.toml());
    let (outcome, events) = ran.map_err(context)?;
    let context = |what: String| context(format!("{what}\n{}", told(&events)));
    if !outcome.finished || !outcome.failures.is_empty() {
        return Err(context(format!("{outcome:?}")));
    }
    for (sink, expected) in &expected {
        compare(sink, expected, &published[sink.as_str()]).map_err(context)?;
    }
    let rows = expected.values().flat_map(BTreeMap::values).sum();
    if outcome.records_out != rows {
        return Err(context(format!("{} records were counted at the sinks, not {rows}", outcome.records_out)));
    }
    let mut tally = Tally { rows, faults: job.faults.len(), struck: job.faults.len() - left, ..Tally::default() };
    for event in &events {
        match event {
            Event::Committed { .. } => tally.commits += 1,
            Event::CheckpointFailed { .. } => tally.failed_checkpoints += 1,
            Event::Escalated { .. } => tally.escalated += 1,
            Event::Restarted { scope, .. } => *tally.restarts.entry(scope).or_default() += 1,
            _ => {}
        }
    }
    Ok(tally)
}

#[test]
fn what_is_published_is_what_a_plain_loop_gives() {
    let first = setting("PITON_FIRST_SEED", 0);
    let seeds = setting("PITON_SEEDS", 60);
    let next = AtomicU64::new(first);
    let work = || {
        let (mut tally, mut failed) = (Tally::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failed.len() == 3 {
                return (tally, failed);
            }
            match check(seed) {
                Ok(of_seed) => tally.add(&of_seed),
                Err(what) => failed.push(what),
            }
        }
    };
    let (mut total, mut failed) = (Tally::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (tally, mut of_worker) = worker.join().expect("a worker returns what it has found");
            total.add(&tally);
            failed.append(&mut of_worker);
        }
    });
    println!("{seeds} seeds from {first}: {total:?}");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));

    if seeds >= 60 {
        // Where nothing goes wrong and nothing is committed, nothing is tested.
        let rungs: Vec<&str> = total.restarts.keys().copied().collect();
        assert_eq!(rungs, ["batch", "operator", "region"]);
        assert!(total.struck > seeds as usize && total.commits > 3 * seeds, "{total:?}");
    }
}
