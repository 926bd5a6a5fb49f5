//! A plan of faults that can be read says the same after it was written and read again; what fits the job can be
//! played: the run ends, the same each time, and nothing in the engine panics.
//!
//! The input is the text of the plan.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use piton::Rows;
use piton::chaos::invariants::InvariantId;
use piton::config::Overrides;
use piton::prelude::*;
use piton::sim::{Found, Options, Simulation};
use piton::topology::{Plan, load_text};
use serde::Deserialize;

/// Longer runs are no other case.
const FAULTS: usize = 6;
const ROWS: u64 = 20;

const JOB: &str = r#"
[sources.numbers]
type = "numbers"
[operators.sums]
type = "sum"
inputs = ["numbers"]
parallelism = 2
[sinks.out]
type = "keep"
inputs = ["sums"]
"#;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(found) = Found::parse(text) else { return };
    let written = found.to_toml("a promise\nof two lines");
    assert_eq!(Found::parse(&written).as_ref(), Ok(&found), "another plan than was written:\n{written}");
    let (plan, simulation) = job();
    if found.fits(plan).is_err() || found.faults.faults.len() > FAULTS {
        return;
    }
    let options = Options { faults: Some(found.faults), trace: false };
    let outcome = simulation.run(found.seed, &options);
    if let Some(violation) = outcome.violation {
        assert_ne!(violation.invariant, InvariantId::EngineSound, "{violation}");
    }
}

fn job() -> &'static (Arc<Plan>, Simulation) {
    static JOBS: OnceLock<(Arc<Plan>, Simulation)> = OnceLock::new();
    JOBS.get_or_init(|| {
        let mut registry = Registry::new();
        registry.source::<Numbers>("numbers").operator::<Sum>("sum").sink::<Keep>("keep");
        let plan = load_text(JOB, Path::new("job.toml"), &Overrides::default(), &registry).expect("the job is right");
        let plan = Arc::new(plan);
        let simulation = Simulation::of(Arc::clone(&plan), ROWS).expect("the job keeps its promises");
        (plan, simulation)
    })
}

#[derive(Clone, Default, Deserialize)]
struct Numbers {
    #[serde(skip)]
    next: u64,
}

impl Source for Numbers {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<u64>) -> Result<Progress> {
        for _ in 0..3 {
            feed.push(self.next);
            self.next += 1;
        }
        Ok(Progress::More)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

const SUM: ValueState<u64> = ValueState::new("sum");

#[derive(Clone, Deserialize)]
struct Sum {}

impl Operator for Sum {
    type In = u64;
    type Out = (u64, u64);

    fn key(&self, record: &u64) -> Key {
        Key::from(record % 5)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, record: &u64, ctx: &mut Context<(u64, u64)>) -> Result {
        let sum = ctx.state(SUM).update(|sum| {
            *sum += record;
            *sum
        })?;
        ctx.emit((record % 5, sum));
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Keep {}

impl Sink for Keep {
    type In = (u64, u64);
    type Pending = u64;

    async fn open(&mut self, _pending: Vec<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: Arc<Rows<(u64, u64)>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<u64>> {
        Ok(None)
    }
}
