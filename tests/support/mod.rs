//! A small typed topology for tests of the engine: numbers, a keyed count, and a staged sink in memory.
#![allow(dead_code, missing_docs, reason = "every test uses its part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::runtime::{Ended, Outcome, RunOptions};
use piton::{Delivery, Overrides, Registry, Timestamp};
use serde::{Deserialize, Serialize};

/// Emits `(key, number)` for the numbers of its share, a batch at a time.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Numbers {
    pub rows: u64,
    pub keys: u64,
    #[serde(default)]
    pub idle_ms: u64,
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    step: u64,
}

impl Source for Numbers {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.step = u64::from(subtask.parallelism);
        self.next = position.unwrap_or(u64::from(subtask.index));
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        let room = if self.idle_ms > 0 { 7 } else { feed.room() };
        for _ in 0..room {
            if self.next >= self.rows {
                return Ok(Progress::Done);
            }
            feed.push_at(self.next as Timestamp, (self.next % self.keys, self.next));
            self.next += self.step;
        }
        Ok(if self.idle_ms > 0 { Progress::Idle(self.idle_ms) } else { Progress::More })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// How often operators of each name were told to fail so far in this process.
static FAILED: LazyLock<Mutex<BTreeMap<String, u64>>> = LazyLock::new(Mutex::default);

/// Counts per key; panics at each multiple of `panic_every` numbers seen, `times` times in all.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    #[serde(default)]
    pub panic_at: Vec<u64>,
    #[serde(default)]
    pub always: bool,
    /// Tells the panics of one job from those of another in the same process.
    #[serde(default)]
    pub tag: String,
}

const SEEN: ValueState<u64> = ValueState::new("seen");

impl Operator for Count {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        if self.panic_at.contains(&record.1) {
            let place = format!("{}:{}:{}", self.tag, ctx.subtask(), record.1);
            let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
            let times = failed.entry(place).or_default();
            *times += 1;
            if *times == 1 || self.always {
                drop(failed);
                panic!("told to panic at {}", record.1);
            }
        }
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        ctx.emit((record.0, seen));
        Ok(())
    }
}

type Rows = Vec<(u64, u64)>;
type Place = (String, u32, WindowId);

/// What each sink has published, by name and subtask.
static PUBLISHED: LazyLock<Mutex<BTreeMap<(String, u32), Rows>>> = LazyLock::new(Mutex::default);

/// Publishes into memory, in two phases.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Collect {
    pub name: String,
    #[serde(skip)]
    index: u32,
    #[serde(skip)]
    rows: Rows,
    #[serde(skip)]
    published: Vec<WindowId>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Staged {
    window: WindowId,
    rows: Rows,
}

/// What was committed already, by sink, subtask and window: a second commit of it must change nothing.
static COMMITTED: LazyLock<Mutex<BTreeSet<Place>>> = LazyLock::new(Mutex::default);

impl Sink for Collect {
    type In = (u64, u64);
    type Pending = Staged;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<Staged>, subtask: &Subtask) -> Result {
        self.index = subtask.index;
        Ok(())
    }

    async fn write(&mut self, batch: std::sync::Arc<piton::Rows<(u64, u64)>>) -> Result {
        self.rows.extend_from_slice(&batch);
        Ok(())
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<Staged>> {
        let rows = std::mem::take(&mut self.rows);
        Ok((!rows.is_empty()).then_some(Staged { window, rows }))
    }

    async fn commit(&mut self, pending: Staged) -> Result {
        let place = (self.name.clone(), self.index, pending.window);
        if COMMITTED.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
            let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
            published.entry((self.name.clone(), self.index)).or_default().extend(pending.rows);
        }
        Ok(())
    }
}

/// Returns what a sink has published so far, subtask by subtask.
pub(crate) fn published(name: &str) -> Vec<Rows> {
    let published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    published.iter().filter(|((sink, _), _)| sink == name).map(|(_, rows)| rows.clone()).collect()
}

/// Panics unless every key's counts are 1, 2, 3, … and there are as many as numbers with that key.
pub(crate) fn check_counts(name: &str, rows: u64, keys: u64) {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for subtask in published(name) {
        for (key, count) in subtask {
            let seen = last.entry(key).or_default();
            assert_eq!(count, *seen + 1, "key {key}");
            *seen = count;
        }
    }
    for key in 0..keys {
        let expected = rows / keys + u64::from(key < rows % keys);
        assert_eq!(last.get(&key).copied().unwrap_or_default(), expected, "key {key}");
    }
}

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").operator::<Count>("count").sink::<Collect>("collect");
    registry
}

pub(crate) fn run(folder: &Path, toml: &str, set: &[&str]) -> Outcome {
    let mut overrides = Overrides::default();
    for assignment in set {
        overrides = overrides.set(*assignment);
    }
    let plan = piton::topology::load_text(toml, &folder.join("job.toml"), &overrides, &registry()).unwrap();
    match piton::runtime::run(&plan, RunOptions::default()).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    }
}
