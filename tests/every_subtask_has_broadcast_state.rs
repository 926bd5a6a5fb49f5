//! What comes by a broadcast input is the same in every subtask of an operator with keys, whatever fails, and every new
//! subtask has it when the parallelism changes.
#![allow(missing_docs, reason = "a test")]

#[path = "support/files.rs"]
mod files;

#[path = "support/counting.rs"]
mod counting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use counting::Counting;
use files::{Files, published_in};
use piton::prelude::*;
use piton::runtime::{Ended, Outcome, RunOptions, run};
use piton::state::StateReader;
use piton::store::{CheckpointStore, OpenOptions, SledStore};
use piton::{Overrides, Registry};
use serde::Deserialize;

const KEYS: u64 = 50;
const ROWS: u64 = 6_000;
const ALL_RULES: u64 = 150;
/// No number is that large.
const ENDLESS: u64 = 1_000_000;

const RULES: BroadcastState<Vec<u64>> = BroadcastState::new("rules");
const SEEN: ValueState<u64> = ValueState::new("seen");

/// Where to panic once, in this process.
static BOMBS: LazyLock<Mutex<BTreeSet<u64>>> = LazyLock::new(Mutex::default);

fn bombs() -> std::sync::MutexGuard<'static, BTreeSet<u64>> {
    BOMBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Emits each number with how many rules there were, after it has made sure that these are all so far.
#[derive(Clone, Deserialize)]
struct Apply {
    /// Ends the job there, as if somebody had killed it.
    until: u64,
}

impl Operator for Apply {
    type In = Either<u64, u64>;
    type Out = (u64, u64);
    const BROADCAST: &'static [usize] = &[1];

    fn key(&self, input: Either<&u64, &u64>) -> Key {
        match input {
            Either::Left(number) => Key::from(number % KEYS),
            Either::Right(_) => Key::None,
        }
    }

    fn process(&mut self, input: Either<&u64, &u64>, ctx: &mut Context<(u64, u64)>) -> Result {
        match input {
            Either::Left(number) => {
                let rules = ctx.broadcast(RULES).get()?;
                assert!(
                    rules.iter().copied().eq(0..rules.len() as u64),
                    "a rule is missing, or there twice: {rules:?}"
                );
                let rules = rules.len() as u64;
                if *number >= self.until {
                    return Err(Error::invalid("told to stop"));
                }
                if bombs().remove(number) {
                    panic!("told to panic");
                }
                ctx.state(SEEN).update(|seen| *seen += 1)?;
                ctx.emit((*number, rules));
            }
            Either::Right(rule) => {
                ctx.broadcast(RULES).update(|rules| rules.push(*rule))?;
                if bombs().remove(&(1_000_000 + rule)) {
                    panic!("told to panic at a rule");
                }
            }
        }
        Ok(())
    }
}

fn life(folder: &Path, parallelism: u32, until: u64) -> Outcome {
    let topology = format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [sources.numbers]
        type = "upto"
        rows = {ROWS}
        at_once = 10
        [sources.rules]
        type = "upto"
        rows = {ALL_RULES}
        at_once = 1
        [operators.apply]
        type = "apply"
        inputs = ["numbers", "rules"]
        parallelism = {parallelism}
        until = {until}
        [sinks.out]
        type = "files"
        inputs = ["apply"]
        folder = {:?}
        "#,
        folder.join("out")
    );
    let mut registry = Registry::new();
    registry.source::<Counting>("upto").operator::<Apply>("apply").sink::<Files>("files");
    let plan =
        piton::topology::load_text(&topology, &folder.join("job.toml"), &Overrides::default(), &registry).unwrap();
    match run(&plan, RunOptions::default()).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    }
}

/// Returns the rules as each subtask has them in the newest checkpoint, as they are written.
fn kept(folder: &Path, outcome: &Outcome) -> Vec<Vec<u8>> {
    let (mut store, _) = SledStore::open(&folder.join(".piton/job"), OpenOptions::default()).unwrap();
    let (region, window) = outcome.windows.iter().next().unwrap();
    let manifest = store.load(region, *window).unwrap();
    let mut kept = Vec::new();
    for part in manifest.subtasks.iter().flat_map(|subtask| &subtask.operators) {
        if part.operator == "apply" {
            let chunks: Vec<Vec<u8>> = part.chunks.iter().map(|chunk| store.read_chunk(chunk).unwrap()).collect();
            let reader = StateReader::open(&chunks, 1024).unwrap();
            kept.push(match reader.broadcasts().get("rules") {
                Some(piton::state::Written::MessagePack(bytes)) => bytes.to_vec(),
                other => panic!("{other:?}"),
            });
        }
    }
    kept
}

#[test]
fn rules_reach_every_subtask_once_over_crashes_kills_and_rescaling() {
    let folder = tempfile::tempdir().unwrap();
    bombs().extend([400, 2_222, 3_900, 5_000, 1_000_020, 1_000_060, 1_000_100]);
    let lives = [(2, 1_500), (4, 3_000), (1, 4_500), (3, ENDLESS)];
    for (number, (parallelism, until)) in lives.into_iter().enumerate() {
        let is_last = number + 1 == lives.len();
        let outcome = life(folder.path(), parallelism, until);
        assert_eq!(outcome.finished, is_last, "{outcome:?}");
        let kept = kept(folder.path(), &outcome);
        assert_eq!(kept.len(), parallelism as usize);
        assert!(kept.iter().all(|rules| *rules == kept[0]), "the subtasks differ");
        let rules: Vec<u64> = rmp_from(&kept[0]);
        assert!(rules.iter().copied().eq(0..rules.len() as u64) && !rules.is_empty(), "{rules:?}");
        assert!(!is_last || rules.len() as u64 == ALL_RULES);
    }
    assert!(bombs().is_empty(), "{:?}", bombs());
    let mut published = BTreeMap::new();
    for (number, rules) in published_in(&folder.path().join("out")) {
        assert_eq!(published.insert(number, rules), None, "{number} twice");
    }
    assert!(published.keys().copied().eq(0..ROWS));
    assert!(published.values().any(|rules| *rules > 0));
}

/// Reads a list of numbers as it is written in state.
fn rmp_from(bytes: &[u8]) -> Vec<u64> {
    rmp_serde::from_slice(bytes).unwrap()
}
