//! Two pipelines in one file: how much of its throughput one keeps while its neighbour panics.
//!
//! The neighbour is paced, and does the same whether it panics or not; the other one takes whatever else there is of the
//! machine, from the neighbour's first record to its last. Runs with and without panics take turns, so that a machine
//! that becomes slower does so for both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use piton::prelude::*;
use piton::runtime::{Ended, Event, RunOptions};
use piton::{Delivery, Overrides, Rows};
use serde::Deserialize;

use super::{Count, PANICKED, Paced};

const PANICS: u64 = 100;
/// Of each kind.
const RUNS: usize = 7;
/// Records of the neighbour between two panics.
const APART: u64 = 20_000;
const KEYS: u64 = 1_000;
/// A number that no other one is a multiple of, and that a topology file can hold.
const NEVER: u64 = 1 << 62;

/// Whether the neighbour has come to its end.
static OVER: AtomicBool = AtomicBool::new(false);

/// How many records the other pipeline has seen through.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// When the neighbour's first and last record were taken, and how many the other had seen through by then.
static SPAN: Mutex<[Option<(Instant, u64)>; 2]> = Mutex::new([None, None]);

fn note(end: usize) {
    let mut span = SPAN.lock().unwrap_or_else(PoisonError::into_inner);
    span[end].get_or_insert_with(|| (Instant::now(), TAKEN.load(Ordering::Relaxed)));
}

/// Emits numbers as fast as it can, until the neighbour has come to its end.
#[derive(Clone, Deserialize)]
struct Unpaced {
    #[serde(skip)]
    next: u64,
}

impl Source for Unpaced {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<u64>) -> Result<Progress> {
        for _ in 0..feed.room() {
            feed.push(self.next);
            self.next += 1;
        }
        Ok(if OVER.load(Ordering::Relaxed) { Progress::Done } else { Progress::More })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Counts rows: those of the pipeline that is measured, or those of its neighbour up to the last.
#[derive(Clone, Deserialize)]
struct Tally {
    #[serde(default)]
    total: u64,
    #[serde(skip)]
    rows: u64,
}

impl Sink for Tally {
    type In = u64;
    type Pending = u64;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, pending: Vec<u64>, _: &Subtask) -> Result {
        self.rows = pending.last().copied().unwrap_or(self.rows);
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<u64>>) -> Result {
        let rows = batch.len() as u64;
        if self.total == 0 {
            TAKEN.fetch_add(rows, Ordering::Relaxed);
            return Ok(());
        }
        note(0);
        self.rows += rows;
        if self.rows >= self.total {
            note(1);
            OVER.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<u64>> {
        Ok((self.total > 0).then_some(self.rows))
    }
}

/// Returns how many records a second the pipeline saw through beside a neighbour, and how often that was restarted.
fn run(scope: &str, panics: u64) -> (f64, u64) {
    OVER.store(false, Ordering::Relaxed);
    *SPAN.lock().unwrap_or_else(PoisonError::into_inner) = [None, None];
    PANICKED.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let mut registry = Registry::new();
    registry.source::<Paced>("paced").source::<Unpaced>("unpaced");
    registry.operator::<Count>("count").sink::<Tally>("tally");
    let rows = (PANICS + 1) * APART;
    let every = if panics > 0 { APART } else { NEVER };
    let toml = format!(
        "[checkpoint]\ninterval = \"50ms\"\n\
         [recovery]\nscope = \"{scope}\"\nstrategy = \"fixed-delay\"\nattempts = \"unlimited\"\ndelay = \"1ms\"\n\
         [sources.good]\ntype = \"unpaced\"\nparallelism = 2\n\
         [operators.good_count]\ntype = \"count\"\ninputs = [\"good\"]\nkeys = {KEYS}\nevery = {NEVER}\nparallelism = 2\n\
         [sinks.good_out]\ntype = \"tally\"\ninputs = [\"good_count\"]\n\
         [sources.bad]\ntype = \"paced\"\nkeys = 0\nrows = {rows}\n\
         [operators.bad_count]\ntype = \"count\"\ninputs = [\"bad\"]\nkeys = {KEYS}\nevery = {every}\n\
         [sinks.bad_out]\ntype = \"tally\"\ninputs = [\"bad_count\"]\ntotal = {rows}\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bench.toml");
    let plan = piton::topology::load_text(&toml, &file, &Overrides::default(), &registry).expect("a plan");
    let restarts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&restarts);
    let listener = Box::new(move |event: &Event| match event {
        Event::Restarted { region, .. } if region == "bad" => _ = counted.fetch_add(1, Ordering::Relaxed),
        Event::Restarted { reason, .. } => panic!("the pipeline that is measured was restarted: {reason}"),
        Event::CheckpointFailed { region, reason, .. } if region == "good" => panic!("no checkpoint: {reason}"),
        _ => {}
    });
    let ended = piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).expect("it runs");
    assert!(matches!(ended, Ended::Ran(outcome) if outcome.finished), "it did not finish");
    let [Some((begin, before)), Some((end, after))] = *SPAN.lock().unwrap_or_else(PoisonError::into_inner) else {
        panic!("the neighbour did nothing");
    };
    ((after - before) as f64 / (end - begin).as_secs_f64(), restarts.load(Ordering::Relaxed))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures and prints.
pub(crate) fn measure() {
    println!("two pipelines: million records/s of one, median of {RUNS} runs (least - most)");
    for scope in ["batch", "operator", "region"] {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let (rate, restarts) = run(scope, 0);
            assert_eq!(restarts, 0, "nobody was told to panic");
            alone.push(rate / 1e6);
            let (rate, restarts) = run(scope, PANICS);
            assert_eq!(restarts, PANICS);
            beside.push(rate / 1e6);
        }
        let (without, with) = (median(&mut alone), median(&mut beside));
        let range = |values: &[f64]| format!("{:.2} - {:.2}", values[0], values[values.len() - 1]);
        println!(
            "{scope:>8}: {without:.2} ({}) beside a neighbour that runs, {with:.2} ({}) beside one that panics \
             {PANICS} times: {:.1} %",
            range(&alone),
            range(&beside),
            100.0 * with / without
        );
    }
}
