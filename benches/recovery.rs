//! How long a failed operator is away: by the batch rung and by the operator rung, with a small state and with a
//! million keys, at a load of a fifth or less. Beside it, the same panics with the region rung. Then what a pipeline of
//! its own in the same file notices of such panics.
//!
//! Run it with `cargo bench --bench recovery [-- PANICS]`; `-- neighbours` runs the last part alone.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement in real time")]

mod neighbours;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::runtime::{Ended, Event, RunOptions};
use piton::{Delivery, Overrides, Rows};
use serde::Deserialize;

/// Emits every key once, as fast as it can, then `rows` numbers at no more than about a million a second.
#[derive(Clone, Deserialize)]
struct Paced {
    keys: u64,
    rows: u64,
    #[serde(skip)]
    next: u64,
}

impl Source for Paced {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<u64>) -> Result<Progress> {
        let end = self.keys + self.rows;
        for _ in 0..feed.room().min((end - self.next) as usize) {
            feed.push(self.next);
            self.next += 1;
        }
        Ok(match self.next {
            next if next == end => Progress::Done,
            next if next < self.keys => Progress::More,
            _ => Progress::Idle(1),
        })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

static PANICKED: LazyLock<Mutex<BTreeSet<u64>>> = LazyLock::new(Mutex::default);

/// Counts per key, and panics once at each of so many numbers.
#[derive(Clone, Deserialize)]
struct Count {
    keys: u64,
    every: u64,
}

const SEEN: ValueState<u64> = ValueState::new("seen");

impl Operator for Count {
    type In = u64;
    type Out = u64;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, number: &u64) -> Key {
        Key::from(number % self.keys)
    }

    fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        let due = *number > self.keys && number.is_multiple_of(self.every);
        if due && PANICKED.lock().unwrap_or_else(PoisonError::into_inner).insert(*number) {
            std::panic::resume_unwind(Box::new("told to panic"));
        }
        ctx.emit(seen);
        Ok(())
    }
}

static WRONG: AtomicBool = AtomicBool::new(false);

/// Sees to it that the counts are those of a run without panics: each number has its own.
#[derive(Clone, Deserialize)]
struct Check {
    total: u64,
    keys: u64,
    #[serde(skip)]
    sum: u64,
    #[serde(skip)]
    rows: u64,
}

impl Sink for Check {
    type In = u64;
    type Pending = (u64, u64);

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, pending: Vec<(u64, u64)>, _: &Subtask) -> Result {
        (self.sum, self.rows) = pending.last().copied().unwrap_or_default();
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<u64>>) -> Result {
        self.sum += batch.iter().sum::<u64>();
        self.rows += batch.len() as u64;
        if self.rows == self.total {
            let expected: u64 = (0..self.total).map(|number| number / self.keys + 1).sum();
            WRONG.store(self.sum != expected, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<(u64, u64)>> {
        Ok(Some((self.sum, self.rows)))
    }
}

struct Measured {
    scope: &'static str,
    took_ms: f64,
    restore_ms: f64,
    replay_ms: f64,
    replayed: u64,
}

fn run(keys: u64, panics: u64, scope: &str) -> Vec<Measured> {
    PANICKED.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let every = 50_000;
    let rows = panics * every;
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = Registry::new();
    registry.source::<Paced>("paced").operator::<Count>("count").sink::<Check>("check");
    let total = keys + rows;
    let toml = format!(
        "[recovery]\nscope = \"{scope}\"\ninitial_backoff = \"1ms\"\nbackoff_multiplier = 1.0\n\
         [sources.numbers]\ntype = \"paced\"\nkeys = {keys}\nrows = {rows}\n\
         [operators.count]\ntype = \"count\"\ninputs = [\"numbers\"]\nkeys = {keys}\nevery = {every}\n\
         [sinks.out]\ntype = \"check\"\ninputs = [\"count\"]\ntotal = {total}\nkeys = {keys}\n"
    );
    let overrides = Overrides::default().set("job.chaining=\"off\"");
    let plan =
        piton::topology::load_text(&toml, &folder.path().join("bench.toml"), &overrides, &registry).expect("a plan");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| {
        if let Event::Restarted { scope, took_ms, restore_ms, replay_ms, replayed, .. } = event {
            let measured = Measured {
                scope,
                took_ms: *took_ms,
                restore_ms: *restore_ms,
                replay_ms: *replay_ms,
                replayed: *replayed,
            };
            events.lock().unwrap_or_else(PoisonError::into_inner).push(measured);
        }
    });
    let ended = piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).expect("it runs");
    assert!(matches!(ended, Ended::Ran(outcome) if outcome.finished), "it did not finish");
    assert!(!WRONG.load(Ordering::Relaxed), "the counts are wrong");
    let measured = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(measured.len() as u64, (total - 1) / every - keys / every);
    measured
}

fn main() {
    if !std::env::args().any(|argument| argument == "neighbours") {
        let panics = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100);
        measure(panics);
    }
    neighbours::measure();
}

fn measure(panics: u64) {
    println!("{panics} panics each, p50 / p99 / most, in ms");
    for (name, keys) in [("65,536 keys, 1 MB of state", 65_536), ("1,000,000 keys", 1_000_000)] {
        for scope in ["batch", "operator", "region"] {
            let measured = run(keys, panics, scope);
            assert!(measured.iter().all(|measured| measured.scope == scope));
            let of = |what: fn(&Measured) -> f64| {
                let mut values: Vec<f64> = measured.iter().map(what).collect();
                values.sort_by(f64::total_cmp);
                let at = |share: usize| values[(values.len() - 1) * share / 100];
                format!("{:8.3} / {:8.3} / {:8.3}", at(50), at(99), at(100))
            };
            let replayed = measured.iter().map(|measured| measured.replayed).sum::<u64>() / measured.len() as u64;
            println!(
                "{name}, {scope:>8}: took {}; restored in {}; {replayed} records replayed in {}",
                of(|measured| measured.took_ms),
                of(|measured| measured.restore_ms),
                of(|measured| measured.replay_ms)
            );
        }
    }
}
