//! How many faults a simulation strikes with for each minute of processor time: on a job of two sources, six operators
//! and two sinks, and on made-up jobs; on one thread.
//!
//! Run it with `cargo bench --bench simulation [-- SEEDS]`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement in real time")]

use std::path::Path;
use std::sync::Arc;

use piton::config::Mode;
use piton::prelude::*;
use piton::sim::{Options, Simulation, Stats};
use piton::topology::load_text;
use piton::{Delivery, Overrides, Rows};
use serde::Deserialize;

mod processor;

const JOB: &str = r#"
[sources.left]
type = "numbers"
parallelism = 2
[sources.right]
type = "numbers"
[operators.triple]
type = "triple"
inputs = ["left"]
[operators.spread]
type = "triple"
inputs = ["right"]
[operators.count]
type = "count"
inputs = ["triple", "spread"]
parallelism = 2
[operators.again]
type = "triple"
inputs = ["count"]
[operators.last]
type = "count"
inputs = ["again"]
parallelism = 3
[operators.side]
type = "count"
inputs = ["spread"]
[sinks.all]
type = "discard"
inputs = ["last"]
[sinks.aside]
type = "discard"
inputs = ["side"]
"#;

/// How many rows each subtask of a source gives.
const ROWS: u64 = 40;

#[derive(Clone, Deserialize)]
struct Numbers {
    #[serde(skip)]
    next: u64,
}

impl Source for Numbers {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        for _ in 0..feed.room().min(7) {
            feed.push((self.next % 5, self.next));
            self.next += 1;
        }
        Ok(Progress::Idle(3))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

#[derive(Clone, Deserialize)]
struct Triple {}

impl Operator for Triple {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.emit((record.0, record.1 * 3));
        Ok(())
    }
}

const SEEN: ValueState<u64> = ValueState::new("seen");

#[derive(Clone, Deserialize)]
struct Count {}

impl Operator for Count {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        ctx.emit((record.0, seen));
        Ok(())
    }
}

/// The simulation puts a sink of its own in its place.
#[derive(Clone, Deserialize)]
struct Discard {}

impl Sink for Discard {
    type In = (u64, u64);
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: Arc<Rows<(u64, u64)>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

fn measure(name: &str, simulation: &Simulation, seeds: u64) {
    let processor_time = || processor::of_thread().expect("Linux tells it").as_secs_f64();
    let begin = processor_time();
    let mut total = Stats::default();
    for seed in 0..seeds {
        let outcome = simulation.run(seed, &Options::default());
        assert_eq!(outcome.violation, None, "seed {seed}");
        total.add(&outcome.stats);
    }
    let seconds = processor_time() - begin;
    println!(
        "{name}: {seeds} seeds, {} faults, {} crashes, {} checkpoints, {} rows in {seconds:.1} s of processor time: \
         {:.0} faults a minute, {:.2} ms a seed, {:.2} µs a step",
        total.faults,
        total.crashes,
        total.checkpoints,
        total.rows,
        total.faults as f64 / seconds * 60.0,
        seconds * 1e3 / seeds as f64,
        seconds * 1e6 / total.steps as f64,
    );
}

fn main() {
    let seeds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000);
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").operator::<Triple>("triple").operator::<Count>("count");
    registry.sink::<Discard>("discard");
    let plan = load_text(JOB, Path::new("job.toml"), &Overrides::default(), &registry).expect("the job is right");
    let six = Simulation::of(Arc::new(plan), ROWS).expect("the job is sound");
    measure("six operators", &six, seeds);
    measure("made-up jobs", &Simulation::made_up(Mode::ExactlyOnce), seeds);
}
