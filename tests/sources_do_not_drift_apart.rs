//! A source with a `max_drift` is not polled while it is further ahead of others than that; checkpoints, restarts, a stop
//! and a drain go on meanwhile.
#![allow(missing_docs, reason = "a test")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};

use piton::Overrides;
use piton::prelude::*;
use piton::runtime::{Answer, Ended, Event, Outcome, Request, RunOptions, ask, run};
use serde::Deserialize;

/// How many records a poll gives.
const AT_ONCE: i64 = 20;

/// How far the sources of a job are in event time.
#[derive(Clone, Copy, Default)]
struct Seen {
    slow: i64,
    fast: i64,
    /// How far ahead the fast one was of the slow one at most.
    furthest: i64,
    panics: u32,
}

/// Of each job, by its tag.
static SEEN: Mutex<BTreeMap<String, Seen>> = Mutex::new(BTreeMap::new());

fn all_seen() -> MutexGuard<'static, BTreeMap<String, Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seen(tag: &str) -> Seen {
    all_seen().get(tag).copied().unwrap_or_default()
}

/// Gives records whose event times are so many ms apart, 1 if it is the slow one.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clockwork {
    tag: String,
    step: i64,
    /// Up to which event time.
    until: i64,
    /// How far the fast one has to be for the slow one to give more than its first batch.
    #[serde(default)]
    waits_for_fast: i64,
    /// At which event time it panics, once; never, if that is 0.
    #[serde(default)]
    panics_at: i64,
    #[serde(skip)]
    time: i64,
}

impl Source for Clockwork {
    type Out = (u64, u64);
    type Position = i64;

    async fn open(&mut self, position: Option<i64>, _subtask: &Subtask) -> Result {
        self.time = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        let before = seen(&self.tag);
        if before.slow > 0 && before.fast < self.waits_for_fast {
            return Ok(Progress::Idle(1));
        }
        if self.panics_at > 0 && self.time >= self.panics_at && before.panics == 0 {
            all_seen().entry(self.tag.clone()).or_default().panics += 1;
            panic!("told to panic at {}", self.time);
        }
        for _ in 0..AT_ONCE {
            if self.time >= self.until {
                return Ok(Progress::Done);
            }
            self.time += self.step;
            feed.push_at(self.time, (self.step as u64, self.time as u64));
        }
        let mut all = all_seen();
        let seen = all.entry(self.tag.clone()).or_default();
        if self.step == 1 {
            seen.slow = seen.slow.max(self.time);
            return Ok(Progress::Idle(1));
        }
        seen.fast = seen.fast.max(self.time);
        seen.furthest = seen.furthest.max(self.time - seen.slow);
        Ok(Progress::More)
    }

    fn position(&self) -> i64 {
        self.time
    }
}

/// How far a poll of the fast one takes it.
const BATCH: i64 = 100 * AT_ONCE;
const DRIFT: i64 = 500;
const UNTIL: i64 = 12_000;

/// Makes a job of a fast source and a slow one that meet in an operator; `slow` and `fast` are more options of theirs.
fn topology(tag: &str, slow: &str, fast: &str) -> String {
    format!(
        r#"
        [window]
        interval = "3ms"
        [checkpoint]
        interval = "9ms"
        [recovery]
        initial_backoff = "5ms"
        [sources.slow]
        type = "clockwork"
        tag = "{tag}"
        step = 1
        until = {UNTIL}
        {slow}
        [sources.fast]
        type = "clockwork"
        tag = "{tag}"
        step = 100
        until = {UNTIL}
        {fast}
        [operators.count]
        type = "count"
        inputs = ["slow", "fast"]
        parallelism = 2
        [sinks.out]
        type = "collect"
        name = "{tag}"
        inputs = ["count"]
        "#
    )
}

fn plan(folder: &Path, toml: &str) -> piton::topology::Plan {
    let mut registry = support::registry();
    registry.source::<Clockwork>("clockwork");
    piton::topology::load_text(toml, &folder.join("job.toml"), &Overrides::default(), &registry).unwrap()
}

fn run_to_its_end(toml: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    match run(&plan(folder.path(), toml), RunOptions::default()).unwrap() {
        Ended::Ran(outcome) => outcome,
        ended @ Ended::AlreadyFinished(_) => panic!("{ended:?}"),
    }
}

/// Panics unless every record was counted once.
fn check(tag: &str, outcome: &Outcome) {
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    let mut counts: Vec<(u64, u64)> = support::published(tag).into_iter().flatten().collect();
    counts.sort_unstable();
    let each = |step: u64| (1..=UNTIL as u64 / step).map(move |count| (step, count));
    assert_eq!(counts, each(1).chain(each(100)).collect::<Vec<_>>());
}

#[test]
fn without_a_limit_a_source_runs_ahead() {
    // There is nothing to keep the fast one back, so the slow one may as well wait for it to be far ahead.
    let outcome = run_to_its_end(&topology("free", "waits_for_fast = 10_000", ""));
    check("free", &outcome);
    assert!(seen("free").furthest > 8_000, "{} ms", seen("free").furthest);
}

#[test]
fn with_a_limit_it_does_not_whatever_fails() {
    for (tag, recovery) in [("held", ""), ("held-alone", "panics_at = 4_000"), ("held-again", "panics_at = 5_000")] {
        let mut toml = topology(tag, recovery, &format!("max_drift = \"{DRIFT}ms\""));
        if tag == "held-again" {
            toml = toml.replace("[recovery]", "[recovery]\nscope = \"region\"");
        }
        let outcome = run_to_its_end(&toml);
        check(tag, &outcome);
        assert_eq!(outcome.restarts, u64::from(tag == "held-again"), "{tag}");
        let Seen { slow, fast, furthest, panics } = seen(tag);
        assert_eq!((slow, fast, panics), (UNTIL, UNTIL, u32::from(!recovery.is_empty())), "{tag}");
        assert!(furthest <= DRIFT + BATCH, "{tag}: {furthest} ms");
    }
}

#[test]
fn nobody_waits_for_a_source_that_is_idle() {
    // The slow one is idle until the fast one is far ahead of it, and is waited for again then.
    let toml = topology("idle", "waits_for_fast = 10_000\nidle_timeout = \"5ms\"", "max_drift = \"1ms\"");
    check("idle", &run_to_its_end(&toml));
}

/// The slow one never gives anything after its first batch: the fast one is held for good.
#[test]
fn checkpoints_a_stop_and_a_drain_pass_a_source_that_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let toml = topology("stuck", "waits_for_fast = 1_000_000", &format!("max_drift = \"{DRIFT}ms\""));
    let plan = plan(folder.path(), &toml);
    let state = plan.settings.store.path.clone();
    for drain in [false, true] {
        let ended = std::thread::scope(|scope| {
            let (committed, commits) = channel();
            let listener = Box::new(move |event: &Event| {
                if let Event::Committed { .. } = event {
                    committed.send(()).ok();
                }
            });
            let options = RunOptions { control: Some(state.clone()), listener, ..RunOptions::default() };
            let job = scope.spawn(|| run(&plan, options));
            (0..5).for_each(|_| commits.recv().unwrap());
            let answer = ask(&state, &Request::Stop { savepoint: None, drain }).unwrap().expect("the job runs");
            assert!(matches!(answer, Answer::Stopped { .. }), "{answer:?}");
            job.join().unwrap()
        });
        let Ended::Ran(outcome) = ended.unwrap() else { panic!("it ran") };
        assert!(outcome.finished == drain && outcome.failures.is_empty(), "{outcome:?}");
        let Seen { slow, fast, .. } = seen("stuck");
        assert_eq!((slow, fast), (AT_ONCE, BATCH), "each was polled until it had given something, once");
    }
}
