//! A program whose types of state have changed goes on from what the one before it has written, with the migrations that
//! its handles declare: every value once, whenever either program is killed. Without a migration it does not start.
#![allow(missing_docs, reason = "a test")]

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "support/counting.rs"]
mod counting;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::process::{Ended as Exit, Job};
use counting::Counting;
use piton::prelude::*;
use piton::runtime::{Ended, Event, RunOptions, run};
use piton::state::{Declared, Migration};
use piton::{Delivery, ErrorKind, Overrides, Registry};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

const KEYS: u64 = 50;

/// What is known of a key before it sees a number: how often it was seen, and the sum.
fn before(number: u64) -> (u64, u64) {
    let (key, seen) = (number % KEYS, number / KEYS);
    (seen, (0..seen).map(|round| round * KEYS + key).sum())
}

fn check<T: PartialEq + std::fmt::Debug>(number: u64, what: &str, found: T, expected: T) -> Result {
    if found == expected {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} before {number}: {found:?} and not {expected:?}")))
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct FactV1 {
    seen: u64,
    seconds: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Fact {
    seen: u32,
    /// Without the migration it would be 0, and nobody would notice when it is read.
    #[serde(default)]
    ms: u64,
}

impl TryFrom<FactV1> for Fact {
    type Error = std::num::TryFromIntError;

    fn try_from(old: FactV1) -> Result<Fact, Self::Error> {
        Ok(Fact { seen: old.seen.try_into()?, ms: old.seconds * 1000 })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Text(String);

impl From<u64> for Text {
    fn from(old: u64) -> Text {
        Text(old.to_string())
    }
}

/// The first version of a program.
#[derive(Clone, Deserialize)]
struct First {}

impl First {
    const FACT: ValueState<FactV1> = ValueState::new("fact");
    const TOTAL: ValueState<u64> = ValueState::new("total");
    const ROUNDS: MapState<u64, u64> = MapState::new("rounds");
    const ALL: LocalState<u64> = LocalState::new("all");
}

impl Operator for First {
    type In = u64;
    type Out = u64;

    fn key(&self, number: &u64) -> Key {
        Key::from(number % KEYS)
    }

    fn states(&self) -> Vec<Declared> {
        vec![Self::FACT.into(), Self::TOTAL.into(), Self::ROUNDS.into(), Self::ALL.into()]
    }

    fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
        let (seen, sum) = before(*number);
        let fact = ctx.state(Self::FACT).get()?.cloned().unwrap_or_default();
        check(*number, "fact", (fact.seen, fact.seconds), (seen, sum))?;
        ctx.state(Self::FACT).set(FactV1 { seen: seen + 1, seconds: sum + number })?;
        ctx.state(Self::TOTAL).set(sum + number)?;
        ctx.map_state(Self::ROUNDS).insert(seen % 3, *number)?;
        ctx.local(Self::ALL).update(|all| *all += 1)
    }
}

/// A second version that forgot to say how `fact` changes.
#[derive(Clone, Deserialize)]
struct Forgetful {}

impl Operator for Forgetful {
    type In = u64;
    type Out = u64;

    fn key(&self, number: &u64) -> Key {
        Key::from(number % KEYS)
    }

    fn states(&self) -> Vec<Declared> {
        vec![ValueState::<Text>::new("fact").into()]
    }

    fn process(&mut self, number: &u64, _ctx: &mut Context<u64>) -> Result {
        Err(Error::invalid(format!("it has started, and sees {number}")))
    }
}

/// The second version of the program.
#[derive(Clone, Deserialize)]
struct Second {}

impl Second {
    const FACT: ValueState<Fact> = ValueState::new("fact").migrations(&[Migration::value::<FactV1>(1)]);
    const TOTAL: ValueState<Text> = ValueState::new("total").migrations(&[Migration::value::<u64>(1)]);
    const ROUNDS: MapState<u64, Text> = MapState::new("rounds").migrations(&[Migration::map::<u64, u64>(1)]);
    const ALL: LocalState<Text> = LocalState::new("all").migrations(&[Migration::value::<u64>(1)]);
}

impl Operator for Second {
    type In = u64;
    type Out = u64;

    fn key(&self, number: &u64) -> Key {
        Key::from(number % KEYS)
    }

    fn states(&self) -> Vec<Declared> {
        vec![Self::FACT.into(), Self::TOTAL.into(), Self::ROUNDS.into(), Self::ALL.into()]
    }

    fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
        let (seen, sum) = before(*number);
        let fact = ctx.state(Self::FACT).get()?.cloned().unwrap_or_default();
        check(*number, "fact", (u64::from(fact.seen), fact.ms), (seen, sum * 1000))?;
        ctx.state(Self::FACT).set(Fact { seen: fact.seen + 1, ms: fact.ms + number * 1000 })?;
        if seen > 0 {
            check(*number, "total", ctx.state(Self::TOTAL).get()?.cloned(), Some(sum.into()))?;
            let last = ctx.map_state(Self::ROUNDS).get(&((seen - 1) % 3))?.cloned();
            check(*number, "rounds", last, Some((number - KEYS).into()))?;
        }
        ctx.state(Self::TOTAL).set((sum + number).into())?;
        ctx.map_state(Self::ROUNDS).insert(seen % 3, (*number).into())?;
        let all = ctx.local(Self::ALL).get()?.clone();
        check(*number, "all", if *number == 0 { 0.into() } else { all }, (*number).into())?;
        ctx.local(Self::ALL).set((number + 1).into())
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

fn topology(rows: u64) -> String {
    format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        [operators.watch]
        type = "watch"
        inputs = ["numbers"]
        [sinks.out]
        type = "nowhere"
        inputs = ["watch"]
        "#
    )
}

fn life<O: Operator<In = u64, Out = u64> + Clone + Sync + for<'de> Deserialize<'de>>(
    folder: &Path,
    rows: u64,
) -> Result<Ended, piton::Error> {
    let mut registry = Registry::new();
    registry.source::<Counting>("numbers").operator::<O>("watch").sink::<Nowhere>("nowhere");
    let file = folder.join("job.toml");
    let plan = piton::topology::load_text(&topology(rows), &file, &Overrides::default(), &registry).unwrap();
    let listener = Box::new(|event: &Event| {
        if let Event::Committed { window, .. } = event {
            println!("committed {window}");
        }
    });
    run(&plan, RunOptions { listener, ..RunOptions::default() })
}

/// Not a test by itself: the processes that the test kills.
#[test]
fn child() {
    let Ok(folder) = std::env::var("PITON_MIGRATED") else { return };
    let rows = std::env::var("PITON_ROWS").unwrap().parse().unwrap();
    let ended = match std::env::var("PITON_VERSION").unwrap().as_str() {
        "1" => life::<First>(Path::new(&folder), rows),
        _ => life::<Second>(Path::new(&folder), rows),
    };
    let Ended::Ran(outcome) = ended.unwrap() else { panic!("it has finished before") };
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
}

#[test]
fn an_upgrade_loses_nothing_whenever_it_is_killed() {
    let mut rng = rng("state_is_migrated");
    for round in 0..rounds(2) {
        let folder = tempfile::tempdir().unwrap();
        let job = Job::new(folder.path(), "");
        let rows = 13 * KEYS * KEYS;
        let start = |version: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "child", "--nocapture"]).env("PITON_MIGRATED", folder.path());
            command.env("PITON_VERSION", version).env("PITON_ROWS", rows.to_string());
            job.spawn(command)
        };
        let kill = |version: &str, time: u64| {
            let ended: Option<Exit> = start(version).kill_after(Duration::from_micros(time));
            assert!(ended.is_none(), "round {round}: it ended by itself: {ended:?}");
        };
        kill("1", rng.random_range(300_000..600_000));
        // What cannot be read does not start, and changes nothing.
        let refused = life::<Forgetful>(folder.path(), rows).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::State);
        let refused = refused.to_string();
        for part in ["operator \"watch\": state \"fact\" cannot be read as Text", "`migrations` of the handle"] {
            assert!(refused.contains(part), "{refused}");
        }
        // Right behind the upgrade, before and behind its first checkpoint.
        for _ in 0..4 {
            kill("2", rng.random_range(0..250_000));
        }
        start("2").wait().expect(0);
    }
}
