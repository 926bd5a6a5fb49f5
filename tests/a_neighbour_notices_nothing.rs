//! Two pipelines in one file that share no edge: while one panics a hundred times, the other is not restarted, misses no
//! checkpoint, and its output is right; by whichever rung the panics are mended.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::runtime::{Ended, Event, Outcome, RunOptions};
use piton::{Overrides, Timestamp};
use serde::Deserialize;
use support::check_counts;

const KEYS: u64 = 97;
const PANICS: u64 = 100;
/// The numbers between two panics: some ms apart, so that checkpoints of the neighbour fall between them.
const APART: u64 = 70;
/// How many numbers the pipeline emits that panics.
const ROWS: u64 = (PANICS + 2) * APART;

/// Which pipelines that panic have come to their end.
static OVER: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

fn over() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    OVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Emits `(key, number)` in small steps, until the other pipeline of its job is over.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Company {
    keys: u64,
    name: String,
    #[serde(skip)]
    next: u64,
}

impl Source for Company {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        let is_over = over().contains(&self.name);
        for _ in 0..7 {
            feed.push_at(self.next as Timestamp, (self.next % self.keys, self.next));
            self.next += 1;
        }
        Ok(if is_over { Progress::Done } else { Progress::Idle(1) })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// How many commits of the neighbour were seen, for each job.
static COMMITS: LazyLock<Mutex<BTreeMap<String, u64>>> = LazyLock::new(Mutex::default);

fn commits() -> std::sync::MutexGuard<'static, BTreeMap<String, u64>> {
    COMMITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Emits `(key, number)` in small steps, and waits in the middle of each quarter until the neighbour has committed: how
/// fast the disk is decides nothing.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paced {
    rows: u64,
    keys: u64,
    name: String,
    #[serde(skip)]
    next: u64,
    /// How many commits there were when it began to wait, and how many ms ago that was.
    #[serde(skip)]
    waiting: Option<(u64, u64)>,
}

/// After so many ms it waits no longer, and the test fails.
const PATIENCE_MS: u64 = 60_000;

impl Source for Paced {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        const QUARTER: u64 = PANICS / 4 * APART;
        if self.next % QUARTER == QUARTER / 2 / 7 * 7 {
            let seen = commits().get(&self.name).copied().unwrap_or(0);
            let (before, for_ms) = self.waiting.get_or_insert((seen, 0));
            *for_ms += 1;
            if seen == *before && *for_ms < PATIENCE_MS {
                return Ok(Progress::Idle(1));
            }
            self.waiting = None;
        }
        for _ in 0..7 {
            if self.next >= self.rows {
                return Ok(Progress::Done);
            }
            feed.push_at(self.next as Timestamp, (self.next % self.keys, self.next));
            self.next += 1;
        }
        Ok(Progress::Idle(1))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

fn topology(name: &str, scope: &str, set: &str) -> String {
    let panics: Vec<u64> = (1..=PANICS).map(|panic| panic * APART).collect();
    format!(
        r#"
        [job]
        parallelism = 2
        {set}
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "{scope}"
        strategy = "fixed-delay"
        attempts = "unlimited"
        delay = "1ms"
        [mailbox]
        batch = 64
        capacity = 8
        [sources.good]
        type = "company"
        keys = {KEYS}
        name = "{name}"
        parallelism = 1
        [operators.good_count]
        type = "count"
        inputs = ["good"]
        tag = "{name}-good"
        [sinks.good_out]
        type = "collect"
        inputs = ["good_count"]
        name = "{name}-good"
        [sources.bad]
        type = "paced"
        rows = {ROWS}
        keys = {KEYS}
        name = "{name}"
        parallelism = 1
        [operators.bad_count]
        type = "count"
        inputs = ["bad"]
        panic_at = {panics:?}
        tag = "{name}-bad"
        [sinks.bad_out]
        type = "collect"
        inputs = ["bad_count"]
        name = "{name}-bad"
        "#
    )
}

/// Ends the company of a pipeline.
struct Ender(String);

impl Ender {
    fn end(&self) {
        over().insert(self.0.clone());
    }
}

fn run(name: &str, toml: &str) -> (Outcome, Vec<Event>) {
    let mut registry = support::registry();
    registry.source::<Company>("company");
    registry.source::<Paced>("paced");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    let plan = piton::topology::load_text(toml, &file, &Overrides::default(), &registry).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let ender = Ender(name.to_string());
    let job = name.to_string();
    let mut mended = 0;
    let listener = Box::new(move |event: &Event| {
        match event {
            Event::Restarted { .. } => mended += 1,
            Event::Committed { region, .. } if region == "bad" && mended >= PANICS => ender.end(),
            Event::Committed { region, .. } if region == "good" => *commits().entry(job.clone()).or_default() += 1,
            Event::Failed { .. } => ender.end(),
            _ => {}
        }
        events.lock().unwrap().push(event.clone());
    });
    let outcome = match piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    };
    let events = std::mem::take(&mut *seen.lock().unwrap());
    (outcome, events)
}

#[track_caller]
fn check(name: &str, scope: &str, set: &str) {
    let (outcome, events) = run(name, &topology(name, scope, set));
    assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");

    let restarts: Vec<(&str, &str)> = (events.iter())
        .filter_map(|event| match event {
            Event::Restarted { region, scope, .. } => Some((region.as_str(), *scope)),
            _ => None,
        })
        .collect();
    assert!(restarts.iter().all(|(region, _)| *region == "bad"), "{name}: the neighbour was restarted: {restarts:?}");
    assert_eq!(restarts.len() as u64, PANICS, "{name}: one for each panic");
    // Until the first checkpoint nobody knows that an operator holds nothing in its fields.
    let of_scope = restarts.iter().filter(|(_, of)| *of == scope).count() as u64;
    assert!(of_scope >= PANICS - 10, "{name}: {of_scope} restarts of this scope: {restarts:?}");
    let rolled_back = if scope == "region" { PANICS } else { 0 };
    assert_eq!(outcome.restarts, rolled_back, "{name}: rollbacks of a region");

    let commits_of = |events: &[Event], name: &str| {
        let is_commit = |event: &&Event| matches!(event, Event::Committed { region, .. } if region == name);
        events.iter().filter(is_commit).count()
    };
    let failed: Vec<&Event> = (events.iter())
        .filter(|event| matches!(event, Event::CheckpointFailed { region, .. } if region == "good"))
        .collect();
    assert!(failed.is_empty(), "{name}: checkpoints of the neighbour failed: {failed:?}");
    let panics: Vec<usize> = (events.iter().enumerate())
        .filter(|(_, event)| matches!(event, Event::Restarted { .. }))
        .map(|(at, _)| at)
        .collect();
    let quarters: Vec<usize> = (panics.chunks(PANICS as usize / 4))
        .map(|quarter| commits_of(&events[quarter[0]..=quarter[quarter.len() - 1]], "good"))
        .collect();
    println!("{name}: commits of the neighbour in each quarter of the panics: {quarters:?}");
    assert!(quarters.iter().all(|commits| *commits > 0), "{name}: {quarters:?}");

    check_counts(&format!("{name}-bad"), ROWS, KEYS);
    check_counts(&format!("{name}-good"), outcome.records_in - ROWS, KEYS);
}

#[test]
fn while_batches_are_taken_back() {
    check("batch", "batch", "");
    check("batch-unchained", "batch", "chaining = \"off\"");
}

#[test]
fn while_operators_are_restarted() {
    check("operator", "operator", "");
    check("operator-unchained", "operator", "chaining = \"off\"");
}

#[test]
fn while_a_region_rolls_back() {
    check("region", "region", "");
}
