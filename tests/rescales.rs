//! A job goes on with another parallelism, up and down, after failures at any moment, and its output is that of a job
//! that never changed: every kind of state, timers, sources, pending outputs.
#![allow(missing_docs, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::protocol::manifest::SubtaskSnapshot;
use piton::runtime::{Ended, Outcome, RunOptions, run};
use piton::store::{CheckpointStore, OpenOptions, SledStore};
use piton::{Delivery, ErrorKind, Overrides, Registry, Timestamp};
use serde::{Deserialize, Serialize};

/// Emits `(key, number)`; its share is some sequences of numbers, which can be divided.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    rows: u64,
    #[serde(skip)]
    sequences: Vec<(u64, u64)>,
}

const KEYS: u64 = 97;
/// The length of a time window, in ms; a number comes each ms.
const SPAN: u64 = 50;

impl Source for Numbers {
    type Out = (u64, u64);
    type Position = Vec<(u64, u64)>;

    async fn open(&mut self, position: Option<Vec<(u64, u64)>>, subtask: &Subtask) -> Result {
        let first = (u64::from(subtask.index), u64::from(subtask.parallelism));
        self.sequences = position.unwrap_or_else(|| vec![first]);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        for _ in 0..feed.room().min(16) {
            let Some(lowest) = self.sequences.iter_mut().min().filter(|(next, _)| *next < self.rows) else {
                return Ok(Progress::Done);
            };
            feed.push_at(lowest.0 as Timestamp, (lowest.0 % KEYS, lowest.0));
            lowest.0 += lowest.1;
        }
        Ok(Progress::Idle(1))
    }

    fn position(&self) -> Vec<(u64, u64)> {
        self.sequences.clone()
    }

    fn redistribute(positions: Vec<Option<Vec<(u64, u64)>>>, parallelism: u32) -> Result<Vec<Option<Vec<(u64, u64)>>>> {
        let before = positions.len() as u64;
        let all =
            positions.into_iter().zip(0..).flat_map(|(position, index)| position.unwrap_or(vec![(index, before)]));
        let parts = u64::from(parallelism);
        let divide = |part: u64| move |(next, step): (u64, u64)| (next + part * step, step * parts);
        let all: Vec<_> = all.collect();
        Ok((0..parts).map(|part| Some(all.iter().copied().map(divide(part)).collect())).collect())
    }
}

/// A source that cannot share its positions out.
#[derive(Clone, Deserialize)]
struct Stubborn {
    #[serde(skip)]
    next: u64,
}

impl Source for Stubborn {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        feed.push((0, self.next));
        self.next += 1;
        Ok(Progress::Idle(1))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Panics at the next record whose number is this one or a later one.
static BOMB: LazyLock<Mutex<BTreeMap<String, u64>>> = LazyLock::new(Mutex::default);

/// Sums up each key's numbers by time window, with every kind of state.
#[derive(Clone, Deserialize)]
struct Tally {
    tag: String,
    /// How long it takes for each record, in µs: what comes meanwhile waits in its mailbox.
    #[serde(default)]
    pause_us: u64,
}

const SEEN: ValueState<u64> = ValueState::new("seen");
const SPANS: MapState<u64, u64> = MapState::new("spans");
const LAST: ListState<String> = ListState::new("last");
const STARTS: LocalState<u64> = LocalState::new("starts");

/// A key, what it stands for, and a number.
type Fact = (u64, u64);

impl Operator for Tally {
    type In = (u64, u64);
    type Out = Fact;

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn open(&mut self, ctx: &mut Context<Fact>) -> Result {
        ctx.local(STARTS).update(|starts| *starts += 1).map(drop)
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<Fact>) -> Result {
        let (_, number) = *record;
        if self.pause_us > 0 {
            #[expect(clippy::disallowed_methods, reason = "this operator is slow in real time")]
            std::thread::sleep(std::time::Duration::from_micros(self.pause_us));
        }
        let due = BOMB.lock().unwrap_or_else(PoisonError::into_inner).get(&self.tag).copied();
        if due.is_some_and(|due| number >= due) {
            BOMB.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tag);
            panic!("told to panic at {number}");
        }
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        let span = number / SPAN;
        let before = ctx.map_state(SPANS).get(&span)?.copied().unwrap_or_default();
        ctx.map_state(SPANS).insert(span, before + number)?;
        ctx.timer_at(((span + 1) * SPAN - 1) as Timestamp)?;
        ctx.list_state(LAST).push(number.to_string())?;
        // What the list holds has to be what came before, in order.
        if seen % 10 == 0 {
            let last: Vec<String> = ctx.list_state(LAST).get()?.to_vec();
            assert_eq!(last.len(), 10, "key {} at {number}", record.0);
            ctx.list_state(LAST).clear()?;
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<Fact>) -> Result {
        let span = timer.at as u64 / SPAN;
        let sum = ctx.map_state(SPANS).remove(&span)?.expect("a timer is set with its span");
        ctx.emit((timer.key.as_u64().unwrap() * 1_000_000 + span, sum));
        Ok(())
    }
}

/// Lets the numbers through that leave this rest when they are divided by two.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Half {
    rest: u64,
}

impl Operator for Half {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        if record.1 % 2 == self.rest {
            ctx.emit(*record);
        }
        Ok(())
    }
}

type Place = (String, u32, WindowId);

/// What was published, by sink; and what was committed already: a second commit changes nothing.
static PUBLISHED: LazyLock<Mutex<BTreeMap<String, Vec<Fact>>>> = LazyLock::new(Mutex::default);
static COMMITTED: LazyLock<Mutex<BTreeSet<Place>>> = LazyLock::new(Mutex::default);

#[derive(Clone, Deserialize)]
struct Collect {
    name: String,
    #[serde(skip)]
    index: u32,
    #[serde(skip)]
    rows: Vec<Fact>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Staged {
    index: u32,
    window: WindowId,
    rows: Vec<Fact>,
}

impl Sink for Collect {
    type In = Fact;
    type Pending = Staged;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<Staged>, subtask: &Subtask) -> Result {
        self.index = subtask.index;
        Ok(())
    }

    async fn write(&mut self, batch: std::sync::Arc<piton::Rows<Fact>>) -> Result {
        self.rows.extend_from_slice(&batch);
        Ok(())
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<Staged>> {
        let rows = std::mem::take(&mut self.rows);
        Ok((!rows.is_empty()).then_some(Staged { index: self.index, window, rows }))
    }

    async fn commit(&mut self, pending: Staged) -> Result {
        let place = (self.name.clone(), pending.index, pending.window);
        if COMMITTED.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
            let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
            published.entry(self.name.clone()).or_default().extend(pending.rows);
        }
        Ok(())
    }
}

fn topology(tag: &str, rows: u64) -> String {
    format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "region"
        strategy = "none"
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        [operators.tally]
        type = "tally"
        inputs = ["numbers"]
        tag = "{tag}"
        [sinks.out]
        type = "collect"
        inputs = ["tally"]
        name = "{tag}"
        "#
    )
}

fn try_run(folder: &Path, toml: &str, set: &[String]) -> Result<Outcome, piton::Error> {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").source::<Stubborn>("stubborn");
    registry.operator::<Tally>("tally").operator::<Half>("half").sink::<Collect>("collect");
    let overrides = Overrides { set: set.to_vec(), ..Overrides::default() };
    let plan = piton::topology::load_text(toml, &folder.join("job.toml"), &overrides, &registry).unwrap();
    match run(&plan, RunOptions::default())? {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => Ok(outcome),
    }
}

/// Every span of every key once, with the sum of its numbers.
fn assert_golden(tag: &str, rows: u64) {
    let mut golden: BTreeMap<u64, u64> = BTreeMap::new();
    for number in 0..rows {
        *golden.entry(number % KEYS * 1_000_000 + number / SPAN).or_default() += number;
    }
    let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner)[tag].clone();
    published.sort_unstable();
    let golden: Vec<Fact> = golden.into_iter().collect();
    assert_eq!(published.len(), golden.len(), "{tag}");
    assert!(published == golden, "{tag}: the sums differ");
}

/// Runs a job through these parallelisms of source and operator, and lets it fail in each but the last. Returns how many
/// records were under way at the checkpoints that it went on from.
fn rescaled(tag: &str, rows: u64, set: &[&str], steps: &[(u32, u32)]) -> u64 {
    let mut under_way = 0;
    let folder = tempfile::tempdir().unwrap();
    for (number, (source, operator)) in steps.iter().enumerate() {
        let is_last = number + 1 == steps.len();
        if !is_last {
            let due = rows * (number as u64 + 1) / steps.len() as u64;
            BOMB.lock().unwrap_or_else(PoisonError::into_inner).insert(tag.to_string(), due);
        }
        let mut set: Vec<String> = set.iter().map(ToString::to_string).collect();
        set.push(format!("sources.numbers.parallelism={source}"));
        set.push(format!("operators.tally.parallelism={operator}"));
        let outcome = try_run(folder.path(), &topology(tag, rows), &set).unwrap();
        assert_eq!(outcome.finished, is_last, "{tag}, step {number}: {outcome:?}");
        if is_last {
            assert_eq!(outcome.records_in, rows, "{tag}");
        } else {
            assert!(outcome.failures[0].contains("told to panic"), "{outcome:?}");
            assert!(outcome.windows["numbers"] > WindowId::NONE, "{tag}, step {number}: nothing was committed");
            let (mut store, _) = SledStore::open(&folder.path().join(".piton/job"), OpenOptions::default()).unwrap();
            let manifest = store.load("numbers", outcome.windows["numbers"]).unwrap();
            under_way += manifest.subtasks.iter().map(SubtaskSnapshot::under_way).sum::<u64>();
        }
    }
    assert_golden(tag, rows);
    under_way
}

#[test]
fn parallelism_goes_up_and_down() {
    assert_eq!(rescaled("both", 40_000, &[], &[(1, 1), (4, 4), (3, 3), (8, 8)]), 0);
}

#[test]
fn what_is_under_way_goes_where_its_keys_go() {
    let set = ["checkpoint.alignment=\"unaligned\"", "operators.tally.pause_us=1000", "mailbox.batch=8"];
    let under_way = rescaled("under-way", 6_000, &set, &[(1, 1), (4, 4), (3, 3), (8, 8)]);
    assert!(under_way > 0, "nothing was under way");
}

#[test]
fn sources_and_operators_are_rescaled_apart() {
    rescaled("apart", 40_000, &[], &[(3, 2), (1, 5), (4, 1), (2, 3), (2, 1)]);
}

#[test]
fn chains_come_apart_and_together_on_the_way() {
    rescaled("unchained", 40_000, &["job.chaining=\"off\""], &[(1, 1), (2, 4), (2, 2)]);
    let folder = tempfile::tempdir().unwrap();
    for (number, chaining) in ["auto", "off", "auto"].into_iter().enumerate() {
        BOMB.lock().unwrap_or_else(PoisonError::into_inner).insert("rechained".into(), 10_000 * (number as u64 + 1));
        let set = [format!("job.chaining=\"{chaining}\""), format!("sources.numbers.parallelism={}", 1 + number % 2)];
        try_run(folder.path(), &topology("rechained", 30_000), &set).unwrap();
    }
    assert_golden("rechained", 30_000);
}

#[test]
fn ways_that_meet_come_apart_and_together_on_the_way() {
    let half =
        |name: &str, rest: u64| format!("[operators.{name}]\ntype = \"half\"\ninputs = [\"numbers\"]\nrest = {rest}\n");
    let toml = topology("meeting", 60_000)
        .replace("type = \"tally\"\n        inputs = [\"numbers\"]", "type = \"tally\"\ninputs = [\"even\", \"odd\"]");
    let toml = format!("{toml}{}{}", half("even", 0), half("odd", 1));
    let folder = tempfile::tempdir().unwrap();
    let lives = [("auto", 1), ("off", 1), ("auto", 1), ("auto", 2), ("auto", 1), ("off", 3)];
    for (number, (chaining, parallelism)) in lives.into_iter().enumerate() {
        let is_last = number + 1 == lives.len();
        if !is_last {
            BOMB.lock().unwrap_or_else(PoisonError::into_inner).insert("meeting".into(), 10_000 * (number as u64 + 1));
        }
        let set = [format!("job.chaining=\"{chaining}\""), format!("sources.numbers.parallelism={parallelism}")];
        let outcome = try_run(folder.path(), &toml, &set).unwrap();
        assert_eq!(outcome.finished, is_last, "{outcome:?}");
    }
    assert_golden("meeting", 60_000);
}

#[test]
fn a_source_that_cannot_share_out_what_is_left_is_refused_before_the_job_starts() {
    let folder = tempfile::tempdir().unwrap();
    let toml = topology("stubborn", 1).replace("type = \"numbers\"\n        rows = 1", "type = \"stubborn\"");
    BOMB.lock().unwrap_or_else(PoisonError::into_inner).insert("stubborn".into(), 300);
    let outcome = try_run(folder.path(), &toml, &["sources.numbers.parallelism=2".into()]).unwrap();
    assert!(outcome.windows["numbers"] > WindowId::NONE);
    let error = try_run(folder.path(), &toml, &["sources.numbers.parallelism=3".into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    let said = error.to_string();
    let reason = "source \"numbers\" cannot go on with parallelism 3, because it cannot share out what is left to read: \
                  set its parallelism back to 2";
    assert!(error.lines().iter().any(|line| line == reason), "{said}");
}
