//! A job that is told to drain ends its input where it is: time runs to its end, every timer fires, and what it has read
//! is published; then it has finished.
#![allow(missing_docs, reason = "a test")]

#[path = "support/counting.rs"]
mod counting;

use std::sync::{Mutex, PoisonError};

use counting::Counting;
use piton::prelude::*;
use piton::runtime::{Answer, Ended, Request, RunOptions, ask, run};
use piton::{Delivery, Overrides, Registry};
use serde::Deserialize;

const COUNT: ValueState<u64> = ValueState::new("count");

/// Counts the numbers of each key until a time that does not come by itself; panics once on the way there.
#[derive(Clone, Deserialize)]
struct UntilTheEnd {}

impl Operator for UntilTheEnd {
    type In = u64;
    type Out = u64;

    fn key(&self, number: &u64) -> Key {
        Key::from(number % 7)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, _number: &u64, ctx: &mut Context<u64>) -> Result {
        ctx.state(COUNT).update(|count| *count += 1)?;
        ctx.timer_at(1_000_000_000_000)
    }

    fn on_timer(&mut self, _timer: Timer, ctx: &mut Context<u64>) -> Result {
        static FAILED: Mutex<bool> = Mutex::new(false);
        if !std::mem::replace(&mut *FAILED.lock().unwrap_or_else(PoisonError::into_inner), true) {
            panic!("told to fail while the job drains");
        }
        let count = ctx.state(COUNT).take()?.unwrap_or_default();
        ctx.emit(count);
        Ok(())
    }
}

static PUBLISHED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

#[derive(Clone, Deserialize)]
struct Publish {
    #[serde(skip)]
    rows: Vec<u64>,
}

impl Sink for Publish {
    type In = u64;
    type Pending = Vec<u64>;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<Vec<u64>>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: std::sync::Arc<piton::Rows<u64>>) -> Result {
        self.rows.extend_from_slice(&batch);
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<Vec<u64>>> {
        let rows = std::mem::take(&mut self.rows);
        Ok((!rows.is_empty()).then_some(rows))
    }

    async fn commit(&mut self, rows: Vec<u64>) -> Result {
        PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
        Ok(())
    }
}

const TOPOLOGY: &str = r#"
    [checkpoint]
    interval = "20ms"
    [window]
    interval = "10ms"
    [recovery]
    scope = "region"
    initial_backoff = "5ms"
    [sources.endless]
    type = "endless"
    at_once = 1
    timed = true
    [operators.counts]
    type = "until-the-end"
    inputs = ["endless"]
    parallelism = 2
    [sinks.out]
    type = "publish"
    inputs = ["counts"]
"#;

#[test]
fn every_timer_fires_and_everything_is_published_even_if_something_fails_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = Registry::new();
    registry.source::<Counting>("endless").operator::<UntilTheEnd>("until-the-end").sink::<Publish>("publish");
    let file = folder.path().join("job.toml");
    let plan = piton::topology::load_text(TOPOLOGY, &file, &Overrides::default(), &registry).unwrap();
    let state = plan.settings.store.path.clone();
    let ended = std::thread::scope(|scope| {
        let (committed, enough) = std::sync::mpsc::channel();
        let listener = Box::new(move |event: &piton::runtime::Event| {
            if let piton::runtime::Event::Committed { .. } = event {
                committed.send(()).ok();
            }
        });
        let options = RunOptions { control: Some(state.clone()), listener, ..RunOptions::default() };
        let job = scope.spawn(|| run(&plan, options));
        for _ in 0..5 {
            enough.recv().unwrap();
        }
        let request = Request::Stop { savepoint: Some("drained".into()), drain: true };
        let answer = ask(&state, &request).unwrap().expect("the job runs");
        let Answer::Stopped { savepoint: Some(savepoint), windows } = answer else { panic!("{answer:?}") };
        assert_eq!((savepoint.name.as_str(), savepoint.regions["endless"].0), ("drained", windows["endless"]));
        job.join().unwrap()
    });
    let Ended::Ran(outcome) = ended.unwrap() else { panic!("it ran") };
    assert!(outcome.finished && outcome.failures.is_empty() && outcome.restarts == 1, "{outcome:?}");
    let published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!((published.len(), published.iter().sum::<u64>()), (7, outcome.records_in), "{published:?}");
    let again = run(&plan, RunOptions::default()).unwrap();
    assert!(matches!(again, Ended::AlreadyFinished(_)), "{again:?}");
}
