//! State with a time to live is gone when its time has come, and not before, whatever fails, and goes with its keys when
//! the parallelism changes.
#![allow(missing_docs, reason = "a test")]

#[path = "support/files.rs"]
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use files::{Files, published_in};
use piton::prelude::*;
use piton::runtime::{Ended, Event, Outcome, RunOptions, run};
use piton::state::Declared;
use piton::{Overrides, Registry, Timestamp};
use serde::Deserialize;

const KEYS: u64 = 40;
/// How often each key comes in a round.
const TIMES: u64 = 25;
const ROUNDS: u64 = 12;
/// How long a round is, in ms of event time.
const ROUND: u64 = 10_000;
/// No number is that large.
const ENDLESS: u64 = 1_000_000;

/// Rounds of records: in each, all keys at about the same time, and long after it the next. Before each, one record alone,
/// of another key, so that the watermark comes first.
#[derive(Clone, Deserialize)]
struct Rounds {
    #[serde(skip)]
    next: u64,
}

const IN_ROUND: u64 = 1 + KEYS * TIMES;

impl Source for Rounds {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        let begin = self.next;
        while self.next < begin + 20 && self.next < ROUNDS * IN_ROUND {
            let (round, at) = (self.next / IN_ROUND, self.next % IN_ROUND);
            if at == 0 && self.next > begin {
                break;
            }
            let key = if at == 0 { KEYS + round } else { at % KEYS };
            feed.push_at((round * ROUND + at) as Timestamp, (key, self.next));
            self.next += 1;
            if at == 0 {
                break;
            }
        }
        Ok(if self.next < ROUNDS * IN_ROUND { Progress::Idle(1) } else { Progress::Done })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

const HALF: Duration = Duration::from_millis(ROUND / 2);
const INSTANT: Duration = Duration::from_millis(3);
const SEEN: ValueState<u64> = ValueState::new("seen").ttl(Ttl::event_time(HALF));
const NUMBERS: MapState<u64, u64> = MapState::new("numbers").ttl(Ttl::event_time(HALF));
const LAST: ListState<u64> = ListState::new("last").ttl(Ttl::event_time(HALF));
const LATELY: MapState<u64, u64> = MapState::new("lately").ttl(Ttl::processing_time(INSTANT));

/// Where to panic once, in this process.
static BOMBS: LazyLock<Mutex<BTreeMap<String, BTreeSet<u64>>>> = LazyLock::new(Mutex::default);

fn goes_off(tag: &str, number: u64) -> bool {
    let mut bombs = BOMBS.lock().unwrap_or_else(PoisonError::into_inner);
    bombs.get_mut(tag).is_some_and(|bombs| bombs.remove(&number))
}

/// Emits each number with how often its key has come lately.
#[derive(Clone, Deserialize)]
struct Count {
    tag: String,
    /// By the engine's time; otherwise by event time.
    by_clock: bool,
    /// Ends the job there, as if somebody had killed it.
    until: u64,
}

impl Operator for Count {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn states(&self) -> Vec<Declared> {
        vec![SEEN.into(), NUMBERS.into(), LAST.into(), LATELY.into()]
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        let (_, number) = *record;
        if number >= self.until {
            return Err(Error::invalid("told to stop"));
        }
        if self.by_clock {
            ctx.map_state(LATELY).insert(number, number)?;
            let lately = ctx.map_state(LATELY).len()?;
            ctx.emit((number, lately as u64));
        } else {
            let seen = ctx.state(SEEN).update(|seen| (*seen += 1, *seen).1)?;
            ctx.map_state(NUMBERS).insert(number, number)?;
            ctx.list_state(LAST).push(number)?;
            assert_eq!(ctx.map_state(NUMBERS).iter()?.count() as u64, seen);
            assert_eq!(ctx.list_state(LAST).get()?.len() as u64, seen);
            ctx.emit((number, seen));
        }
        if goes_off(&self.tag, number) {
            panic!("told to panic at {number}");
        }
        Ok(())
    }
}

/// Runs a job; returns how it ended, how often an operator was restarted alone, and why not where that was not possible.
fn life(folder: &Path, tag: &str, parallelism: u32, until: u64, set: &[&str]) -> (Outcome, usize, Vec<String>) {
    let topology = format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [sources.rounds]
        type = "rounds"
        [operators.count]
        type = "count"
        inputs = ["rounds"]
        parallelism = {parallelism}
        until = {until}
        tag = "{tag}"
        by_clock = {}
        [sinks.out]
        type = "files"
        inputs = ["count"]
        folder = {:?}
        "#,
        tag == "clock",
        folder.join("out")
    );
    let mut registry = Registry::new();
    registry.source::<Rounds>("rounds").operator::<Count>("count").sink::<Files>("files");
    let overrides = Overrides { set: set.iter().map(ToString::to_string).collect(), ..Overrides::default() };
    let plan = piton::topology::load_text(&topology, &folder.join("job.toml"), &overrides, &registry).unwrap();
    let seen = Arc::new(Mutex::new((0, Vec::new())));
    let events = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| match event {
        Event::Restarted { scope: "operator", .. } => events.lock().unwrap().0 += 1,
        Event::Escalated { reason, .. } => events.lock().unwrap().1.push(reason.clone()),
        _ => {}
    });
    let outcome = match run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    };
    let (restarts, escalated) = std::mem::take(&mut *seen.lock().unwrap());
    (outcome, restarts, escalated)
}

fn published(folder: &Path) -> BTreeMap<u64, u64> {
    let mut published = BTreeMap::new();
    for (number, count) in published_in(&folder.join("out")) {
        assert_eq!(published.insert(number, count), None, "{number} twice");
    }
    published
}

#[test]
fn event_time_lets_state_expire_over_crashes_kills_and_rescaling() {
    let folder = tempfile::tempdir().unwrap();
    BOMBS.lock().unwrap().insert("event".into(), [777, 3_210, 5_555, 8_000, 11_000].into());
    let lives = [(2, 2_500), (4, 6_600), (1, 9_000), (3, ENDLESS)];
    for (number, (parallelism, until)) in lives.into_iter().enumerate() {
        let (outcome, ..) = life(folder.path(), "event", parallelism, until, &[]);
        assert_eq!(outcome.finished, number + 1 == lives.len(), "{outcome:?}");
    }
    let mut expected = BTreeMap::new();
    for number in 0..ROUNDS * IN_ROUND {
        // Counted from the beginning of the round: what came in those before has expired.
        let at = number % IN_ROUND;
        let same = (1..=at).filter(|earlier| earlier % KEYS == at % KEYS).count() as u64;
        expected.insert(number, same.max(1));
    }
    let published = published(folder.path());
    assert_eq!(published.len(), expected.len());
    let differs = published.iter().find(|(number, count)| expected[number] != **count);
    assert_eq!(differs, None);
}

#[test]
fn a_replay_sees_the_same_expire_by_the_engines_time() {
    let folder = tempfile::tempdir().unwrap();
    let bombs: BTreeSet<u64> = (1..40).map(|number| number * 297).collect();
    let count = bombs.len();
    BOMBS.lock().unwrap().insert("clock".into(), bombs);
    // The sink has what was emitted before: a replay is compared with that.
    let set = ["job.chaining=\"off\"", "recovery.scope=\"operator\"", "recovery.initial_backoff=\"1ms\""];
    let (outcome, restarts, escalated) = life(folder.path(), "clock", 2, ENDLESS, &set);
    assert!(outcome.finished && outcome.restarts == 0, "{outcome:?}");
    assert_eq!((restarts, escalated), (count, vec![]));
    let published = published(folder.path());
    assert!(published.keys().copied().eq(0..ROUNDS * IN_ROUND));
    let (most, least) = (published.values().max(), published.values().skip(5_000).min());
    assert!(most > Some(&1) && most < Some(&200), "{most:?}: it expires, but not at once");
    assert_eq!(least, Some(&1));
}
