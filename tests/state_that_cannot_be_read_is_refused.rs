//! A type of state may gain fields with a default and lose others; one that cannot read what a checkpoint holds keeps the
//! job from starting, with the name of the state and of the field, before anything is processed.
#![allow(missing_docs, reason = "a test")]

#[path = "support/counting.rs"]
mod counting;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use counting::Counting;
use piton::prelude::*;
use piton::runtime::{Ended, RunOptions, run};
use piton::state::{Declared, StateValue};
use piton::{Delivery, ErrorKind, Overrides, Registry};
use serde::{Deserialize, Serialize};

/// What is kept of each key, in the versions of a program.
trait Version: StateValue + Default + Sync {
    fn see(&mut self, number: u64);
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct First {
    count: u64,
    note: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Second {
    count: u64,
    #[serde(default)]
    last: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Wrong {
    count: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Longer {
    count: u64,
    last: u64,
    sum: u64,
}

impl Version for First {
    fn see(&mut self, number: u64) {
        self.count += 1;
        self.note = format!("seen {number}");
    }
}

impl Version for Second {
    fn see(&mut self, number: u64) {
        self.count += 1;
        self.last = number;
    }
}

impl Version for Wrong {
    fn see(&mut self, _number: u64) {
        self.count.push('x');
    }
}

impl Version for Longer {
    fn see(&mut self, number: u64) {
        self.count += 1;
        self.sum += number;
    }
}

static PROCESSED: AtomicU64 = AtomicU64::new(0);
/// Fails at this number.
static STOP_AT: Mutex<Option<u64>> = Mutex::new(None);

#[derive(Clone, Deserialize)]
struct Watch<V> {
    #[serde(skip)]
    of: std::marker::PhantomData<fn() -> V>,
}

impl<V: Version> Watch<V> {
    const FACT: ValueState<V> = ValueState::new("fact");
}

impl<V: Version> Operator for Watch<V> {
    type In = u64;
    type Out = u64;

    fn key(&self, number: &u64) -> Key {
        Key::from(number % 100)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn states(&self) -> Vec<Declared> {
        vec![Self::FACT.into()]
    }

    fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
        if *STOP_AT.lock().unwrap() == Some(*number) {
            return Err(Error::invalid("told to stop"));
        }
        PROCESSED.fetch_add(1, Ordering::Relaxed);
        ctx.state(Self::FACT).update(|fact| fact.see(*number))
    }
}

#[derive(Clone, Deserialize)]
struct Nowhere {}

impl Sink for Nowhere {
    type In = u64;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Immediate
    }

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: std::sync::Arc<piton::Rows<u64>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

const TOPOLOGY: &str = r#"
    [checkpoint]
    interval = "20ms"
    [window]
    interval = "10ms"
    [sources.numbers]
    type = "numbers"
    rows = 4000
    [operators.watch]
    type = "watch"
    inputs = ["numbers"]
    [sinks.out]
    type = "nowhere"
    inputs = ["watch"]
"#;

fn life<V: Version>(folder: &Path) -> Result<Ended, piton::Error> {
    let mut registry = Registry::new();
    registry.source::<Counting>("numbers").operator::<Watch<V>>("watch").sink::<Nowhere>("nowhere");
    let file = folder.join("job.toml");
    let plan = piton::topology::load_text(TOPOLOGY, &file, &Overrides::default(), &registry).unwrap();
    run(&plan, RunOptions::default())
}

#[test]
fn what_cannot_be_read_is_named_before_the_job_processes_anything() {
    let folder = tempfile::tempdir().unwrap();
    *STOP_AT.lock().unwrap() = Some(2_000);
    let Ended::Ran(first) = life::<First>(folder.path()).unwrap() else { panic!("it ran") };
    assert!(first.failures[0].contains("told to stop") && first.windows["numbers"] > WindowId::NONE, "{first:?}");
    let processed = PROCESSED.load(Ordering::Relaxed);

    let wrong = life::<Wrong>(folder.path()).unwrap_err();
    let expected = "operator \"watch\": state \"fact\" cannot be read as Wrong: field \"count\": invalid type";
    assert!(wrong.kind() == ErrorKind::State && wrong.to_string().contains(expected), "{wrong}");
    let longer = life::<Longer>(folder.path()).unwrap_err();
    assert!(longer.to_string().contains("missing field `last`"), "{longer}");
    assert_eq!(PROCESSED.load(Ordering::Relaxed), processed, "nothing was processed");

    *STOP_AT.lock().unwrap() = None;
    let Ended::Ran(last) = life::<Second>(folder.path()).unwrap() else { panic!("it ran") };
    assert!(last.finished && last.failures.is_empty(), "{last:?}");
}
