//! Values that belong to no key do not move when the parallelism changes. What is lost by that is said at the start.
#![allow(missing_docs, reason = "a test")]

#[path = "support/counting.rs"]
mod counting;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use counting::Counting;
use piton::prelude::*;
use piton::runtime::{Ended, RunOptions, run};
use piton::{Delivery, Overrides, Registry};
use serde::Deserialize;

const SEEN: LocalState<u64> = LocalState::new("seen");
const LAST: ValueState<u64> = ValueState::new("last");

/// Notes what it has seen, beside or without what each key has; stops the job after a while.
#[derive(Clone, Deserialize)]
struct Watch {
    counts: bool,
    until: u64,
}

impl Operator for Watch {
    type In = u64;
    type Out = u64;

    fn key(&self, number: &u64) -> Key {
        Key::from(number % 100)
    }

    fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
        if *number >= self.until {
            return Err(Error::invalid("told to stop"));
        }
        if self.counts {
            ctx.local(SEEN).update(|seen| *seen += 1)?;
        }
        ctx.state(LAST).set(*number)
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

    async fn write(&mut self, _batch: Arc<piton::Rows<u64>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs until a number is seen; returns what was logged at the start.
fn life(folder: &Path, parallelism: u32, counts: bool, until: u64) -> String {
    let topology = format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [sources.numbers]
        type = "numbers"
        [operators.watch]
        type = "watch"
        inputs = ["numbers"]
        parallelism = {parallelism}
        counts = {counts}
        until = {until}
        [sinks.out]
        type = "nowhere"
        inputs = ["watch"]
        "#
    );
    let mut registry = Registry::new();
    registry.source::<Counting>("numbers").operator::<Watch>("watch").sink::<Nowhere>("nowhere");
    let file = folder.join("job.toml");
    let plan = piton::topology::load_text(&topology, &file, &Overrides::default(), &registry).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).without_time().finish();
    let ended = tracing::subscriber::with_default(subscriber, || run(&plan, RunOptions::default()));
    let Ended::Ran(outcome) = ended.unwrap() else { panic!("it does not end by itself") };
    assert!(outcome.failures[0].contains("told to stop"), "{outcome:?}");
    let log = log.0.lock().unwrap();
    String::from_utf8_lossy(&log).into_owned()
}

#[test]
fn what_is_lost_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let lost = "is dropped: only that of the first one stays";
    assert!(!life(folder.path(), 3, true, 2_000).contains(lost), "a first start");
    assert!(!life(folder.path(), 3, true, 4_000).contains(lost), "with the same parallelism");
    let said = life(folder.path(), 2, true, 6_000);
    let expected =
        "operator \"watch\": its parallelism was 3 and is 2 now; \"seen\" belongs to no key, so that what 2 of its";
    assert!(said.contains(expected) && said.contains(lost), "{said}");
    assert!(life(folder.path(), 1, true, 8_000).contains("was 2 and is 1 now"));

    let folder = tempfile::tempdir().unwrap();
    life(folder.path(), 3, false, 2_000);
    assert!(!life(folder.path(), 1, false, 4_000).contains(lost), "nothing is lost of what belongs to keys");
}
