//! Operators, sources and sinks that block for ever, or until they are let go.
#![allow(dead_code, clippy::disallowed_methods, reason = "every test uses its part of it; blocking is what it is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use piton::prelude::*;
use piton::runtime::{Ended, Event, Outcome, RunOptions};
use piton::{Delivery, Overrides, Registry};
use serde::Deserialize;

use super::support::{Collect, Numbers, Staged, registry};

/// Longer than anything here takes, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What is known of those that block, by their tag.
#[derive(Default)]
struct Gate {
    /// How many have blocked here.
    blocked: u64,
    since: Option<Instant>,
    is_open: bool,
    /// How many were let go again.
    gone: u64,
}

static GATES: LazyLock<(Mutex<BTreeMap<String, Gate>>, Condvar)> = LazyLock::new(Default::default);

fn gates() -> MutexGuard<'static, BTreeMap<String, Gate>> {
    GATES.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks until the gate is opened, if fewer than `times` have blocked there before; returns whether it has.
fn block(tag: &str, times: u64) -> bool {
    let mut all = gates();
    let gate = all.entry(tag.into()).or_default();
    if gate.blocked >= times {
        return false;
    }
    gate.blocked += 1;
    gate.since.get_or_insert_with(Instant::now);
    GATES.1.notify_all();
    let mut all = GATES.1.wait_while(all, |all| !all[tag].is_open).unwrap_or_else(PoisonError::into_inner);
    all.get_mut(tag).unwrap().gone += 1;
    GATES.1.notify_all();
    true
}

/// Waits until something is true of a gate.
fn wait(tag: &str, what: impl Fn(&Gate) -> bool) {
    let all = gates();
    let waiting = |all: &mut BTreeMap<String, Gate>| !what(all.entry(tag.into()).or_default());
    let (all, waited) = GATES.1.wait_timeout_while(all, LONG, waiting).unwrap_or_else(PoisonError::into_inner);
    drop(all);
    assert!(!waited.timed_out(), "nothing happens at the gate \"{tag}\"");
}

/// Waits until somebody blocks.
pub(crate) fn wait_blocked(tag: &str) {
    wait(tag, |gate| gate.blocked > 0);
}

/// Waits until all that have blocked were let go.
pub(crate) fn wait_gone(tag: &str) {
    wait(tag, |gate| gate.blocked == gate.gone);
}

/// Lets go whoever blocks.
pub(crate) fn open(tag: &str) {
    gates().entry(tag.into()).or_default().is_open = true;
    GATES.1.notify_all();
}

/// Returns how many have blocked, and when the first did.
pub(crate) fn blocked(tag: &str) -> (u64, Option<Instant>) {
    gates().get(tag).map_or((0, None), |gate| (gate.blocked, gate.since))
}

/// Counts per key, and may be stuck at a number.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stuck {
    pub tag: String,
    /// The number at which it blocks, and how often.
    #[serde(default)]
    pub at: Option<u64>,
    #[serde(default)]
    pub times: u64,
    /// What it does when it is let go.
    #[serde(default)]
    pub panics: bool,
    /// How long it takes over each record.
    #[serde(default)]
    pub slow_ms: u64,
    /// The number at which it ends its thread.
    #[serde(default)]
    pub ends_thread_at: Option<u64>,
    /// Whether the second subtask panics as soon as the first is stuck.
    #[serde(default)]
    pub panics_beside: bool,
    /// Whether it blocks when it is dropped, as often as `times` says.
    #[serde(default)]
    pub drops_slowly: bool,
    #[serde(skip)]
    was_used: bool,
    #[serde(skip)]
    was_stuck: bool,
}

const SEEN: ValueState<u64> = ValueState::new("seen");

impl Operator for Stuck {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        self.was_used = true;
        if self.slow_ms > 0 {
            std::thread::sleep(Duration::from_millis(self.slow_ms));
        }
        if self.ends_thread_at == Some(record.1) {
            actix::Arbiter::current().stop();
        }
        let is_close = self.at.is_some_and(|at| (at - 300..at).contains(&record.1));
        if self.panics_beside && is_close && ctx.subtask().index == 1 {
            wait_blocked(&self.tag);
            let mut all = gates();
            let other = all.entry(format!("{} beside", self.tag)).or_default();
            other.blocked += 1;
            if other.blocked == 1 {
                drop(all);
                panic!("told to panic beside one that is stuck");
            }
        }
        if self.drops_slowly && self.at == Some(record.1) && blocked(&self.tag).0 == 0 {
            panic!("told to panic before it is dropped");
        }
        if self.at == Some(record.1) && !self.drops_slowly {
            self.was_stuck = block(&self.tag, self.times);
            assert!(!(self.was_stuck && self.panics), "told to panic when it is let go");
        }
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        ctx.emit((record.0, seen));
        Ok(())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        if self.drops_slowly && self.was_used {
            block(&self.tag, self.times);
        }
        assert!(!self.was_stuck || std::thread::panicking(), "one that was stuck panics when it is dropped, too");
    }
}

/// A count that takes its time to be written down, the first time.
#[derive(Clone, Default, Deserialize)]
struct Heavy(u64);

impl serde::Serialize for Heavy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut all = gates();
        let gate = all.entry("heavy".into()).or_default();
        gate.blocked += 1;
        if gate.blocked == 1 {
            drop(all);
            std::thread::sleep(Duration::from_secs(2));
        }
        serializer.serialize_newtype_struct("Heavy", &self.0)
    }
}

/// Counts per key in state that takes its time to be written down.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slow {}

const HEAVY: ValueState<Heavy> = ValueState::new("heavy");

impl Operator for Slow {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        let seen = ctx.state(HEAVY).update(|seen| {
            seen.0 += 1;
            seen.0
        })?;
        ctx.emit((record.0, seen));
        Ok(())
    }
}

/// Passes records on.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pass {}

impl Operator for Pass {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.emit(*record);
        Ok(())
    }
}

/// [`Numbers`], with a poll that blocks once behind some numbers, or waits for a timer each time.
#[derive(Clone, Deserialize)]
pub(crate) struct StuckNumbers {
    pub tag: String,
    #[serde(default)]
    pub at: Option<u64>,
    #[serde(default)]
    pub waits: bool,
    #[serde(flatten)]
    numbers: Numbers,
}

impl Source for StuckNumbers {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.numbers.open(position, subtask).await
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        if self.at.is_some_and(|at| self.numbers.position() >= at) {
            block(&self.tag, 1);
        }
        if self.waits {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.numbers.poll(feed).await
    }

    fn position(&self) -> u64 {
        self.numbers.position()
    }
}

/// [`Collect`], with a write that blocks once.
#[derive(Clone, Deserialize)]
pub(crate) struct StuckCollect {
    pub tag: String,
    pub after: u64,
    #[serde(skip)]
    written: u64,
    #[serde(flatten)]
    collect: Collect,
}

impl Sink for StuckCollect {
    type In = (u64, u64);
    type Pending = Staged;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, pending: Vec<Staged>, subtask: &Subtask) -> Result {
        self.collect.open(pending, subtask).await
    }

    async fn write(&mut self, batch: Arc<piton::Rows<(u64, u64)>>) -> Result {
        self.written += batch.len() as u64;
        if self.written > self.after {
            block(&self.tag, 1);
        }
        self.collect.write(batch).await
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<Staged>> {
        self.collect.prepare(window).await
    }

    async fn commit(&mut self, pending: Staged) -> Result {
        self.collect.commit(pending).await
    }
}

pub(crate) type Happened = Arc<Mutex<Vec<(Instant, Event)>>>;

/// What a run was.
pub(crate) struct Run {
    pub outcome: Outcome,
    pub events: Vec<(Instant, Event)>,
}

impl Run {
    /// Returns who was found to be stuck.
    pub(crate) fn hung(&self) -> Vec<(String, u32)> {
        let hung = |event: &Event| match event {
            Event::Hung { operator, subtask, .. } => Some((operator.clone(), *subtask)),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| hung(event)).collect()
    }

    /// Returns who was restarted, and how.
    pub(crate) fn restarted(&self) -> Vec<(String, Option<u32>, &'static str)> {
        let restarted = |event: &Event| match event {
            Event::Restarted { operator, subtask, scope, .. } => Some((operator.clone(), *subtask, *scope)),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| restarted(event)).collect()
    }

    /// Returns how long it took from the first block at a gate until somebody was found to be stuck.
    pub(crate) fn found_within(&self, tag: &str) -> Duration {
        let found = self.events.iter().find(|(_, event)| matches!(event, Event::Hung { .. })).unwrap().0;
        found.duration_since(blocked(tag).1.unwrap())
    }
}

pub(crate) fn plan(folder: &Path, toml: &str, set: &[&str]) -> piton::topology::Plan {
    let mut registry: Registry = registry();
    registry.operator::<Stuck>("stuck").operator::<Pass>("pass").operator::<Slow>("slow");
    registry.source::<StuckNumbers>("stuck-numbers").sink::<StuckCollect>("stuck-collect");
    let overrides = set.iter().fold(Overrides::default(), |overrides, assignment| overrides.set(*assignment));
    piton::topology::load_text(toml, &folder.join("job.toml"), &overrides, &registry).unwrap()
}

/// Runs a job on so many threads; `on_event` sees what happens as it does.
pub(crate) fn run_watched(
    toml: &str,
    set: &[&str],
    threads: usize,
    mut options: RunOptions,
    mut on_event: impl FnMut(&Event) + Send + 'static,
) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let happened = Happened::default();
    let told = Arc::clone(&happened);
    options.threads = Some(threads);
    options.listener = Box::new(move |event| {
        told.lock().unwrap().push((Instant::now(), event.clone()));
        on_event(event);
    });
    let ended = piton::runtime::run(&plan(folder.path(), toml, set), options).unwrap();
    let Ended::Ran(outcome) = ended else { panic!("{ended:?}") };
    let events = std::mem::take(&mut *happened.lock().unwrap());
    Run { outcome, events }
}
