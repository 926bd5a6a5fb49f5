//! Chunks of state: restoring an operator from whatever stands in them is an error, or gives state that can be read,
//! changed, cut and restored again. To merge them changes nothing of what they hold.
//!
//! The first byte of the input says whether checksums are made right (1), and whether the chunks are adopted, as after
//! a change of parallelism (2); the pieces that follow are the chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton::host::{AnyOperator, Hosted};
use piton::prelude::*;
use piton::state::{Declared, Draft, KeyState, Migration, StateReader, check_declared, merge_chunks};
use piton::{Rows, WATERMARK_MAX, WATERMARK_MIN};
use serde::{Deserialize, Serialize};

use super::input::Input;

pub const FORGED: u8 = 1;
pub const ADOPTED: u8 = 2;
const KEY_GROUPS: u32 = 8;
/// More chunks than that are no other case.
const MOST: usize = 6;

const SEEN: ValueState<u64> = ValueState::new("seen");
const FACT: ValueState<Fact> = ValueState::new("fact").migrations(&[Migration::value::<OldFact>(1)]);
const LEVEL: ValueState<bool> = ValueState::new("level");
const OF: MapState<String, i32> = MapState::new("of");
const LAST: ListState<(u8, Option<f32>)> = ListState::new("last");
const TOTAL: LocalState<u64> = LocalState::new("total");

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fact {
    count: u64,
    #[serde(default)]
    kind: Kind,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum Kind {
    #[default]
    Plain,
    Named(String),
    Nested {
        inner: Vec<Kind>,
    },
}

#[derive(Deserialize)]
struct OldFact {
    count: u32,
}

impl From<OldFact> for Fact {
    fn from(old: OldFact) -> Fact {
        Fact { count: old.count.into(), kind: Kind::Named("old".into()) }
    }
}

/// Keeps something of every kind.
#[derive(Clone)]
pub struct Keeper;

impl Operator for Keeper {
    type In = (String, u64);
    type Out = u64;

    fn key(&self, record: &(String, u64)) -> Key {
        if record.0.is_empty() { Key::from(record.1) } else { Key::from(&record.0) }
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn states(&self) -> Vec<Declared> {
        vec![SEEN.into(), FACT.into(), LEVEL.into(), OF.into(), LAST.into(), TOTAL.into()]
    }

    fn process(&mut self, (name, number): &(String, u64), ctx: &mut Context<u64>) -> Result {
        ctx.state(SEEN).update(|seen| *seen = seen.wrapping_add(1))?;
        let fact = Fact { count: *number, kind: Kind::Nested { inner: vec![Kind::Plain, Kind::Named(name.clone())] } };
        match number % 3 {
            0 => ctx.state(FACT).set(fact)?,
            1 => ctx.map_state(OF).insert(name.clone(), *number as i32).map(drop)?,
            _ => ctx.list_state(LAST).push((*number as u8, Some(0.5)))?,
        }
        ctx.state(LEVEL).set(number % 2 == 0)?;
        ctx.local(TOTAL).update(|total| *total = total.wrapping_add(*number))?;
        ctx.timer_at(*number as i64)?;
        ctx.timer_at_processing_time(1_000)?;
        ctx.emit(*number);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<u64>) -> Result {
        if timer.at % 2 == 0 {
            ctx.state(SEEN).take()?;
            ctx.map_state(OF).clear()?;
        }
        Ok(())
    }
}

/// Makes an operator without state.
pub fn fresh() -> Hosted<Keeper> {
    let subtask = Subtask { key_groups: KEY_GROUPS, ..Subtask::single("keeper") };
    Hosted::new(Arc::new(|| Ok(Keeper)), subtask, 8).expect("the factory does not fail")
}

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let how = input.byte();
    let mut chunks = Vec::new();
    while !input.0.is_empty() && chunks.len() < MOST {
        let mut chunk = input.piece().to_vec();
        if how & FORGED != 0
            && let Some((body, checksum)) = chunk.split_last_chunk_mut::<4>()
        {
            *checksum = crc32fast::hash(body).to_le_bytes();
        }
        chunks.push(chunk);
    }
    // Only that it comes back counts here.
    check_declared(&Keeper.states(), &chunks, KEY_GROUPS).ok();
    merges(&chunks);
    if how & ADOPTED != 0 {
        let (one, other) = chunks.split_at(chunks.len() / 2);
        let mut operator = fresh();
        if operator.adopt(&[one.to_vec(), other.to_vec()], WATERMARK_MIN).is_ok() {
            let cut = operator.cut().and_then(Draft::write).expect("what was adopted can be cut");
            goes_on(operator, Vec::new(), cut);
        }
    } else {
        let mut operator = fresh();
        if operator.restore(chunks.clone(), WATERMARK_MIN).is_ok() {
            goes_on(operator, chunks, Vec::new());
        }
    }
}

/// Asserts that one chunk made of several holds the same.
fn merges(chunks: &[Vec<u8>]) {
    let Some(before) = content(chunks) else {
        // Chunks that say what changed may be merged without their base.
        merge_chunks(chunks).ok();
        return;
    };
    let merged = merge_chunks(chunks).expect("what can be read can be merged");
    let after = content(&[merged]).expect("what was merged can be read");
    assert_eq!(after, before);
}

/// Reads all that stands in chunks, as text; nothing if they cannot be read.
fn content(chunks: &[Vec<u8>]) -> Option<Vec<String>> {
    let reader = StateReader::open(chunks, KEY_GROUPS).ok()?;
    reader.states().ok()?;
    let (keys, timers) = reader.count().ok()?;
    let mut lines = vec![format!("{keys} {timers} {:?}", reader.locals())];
    let each = |state: KeyState<'_>| -> Result {
        lines.push(format!("{state:?}"));
        Ok(())
    };
    reader.each(each).ok()?;
    Some(lines)
}

/// Asserts that state which was accepted can be used, and is kept by a cut.
fn goes_on(mut operator: Hosted<Keeper>, mut chunks: Vec<Vec<u8>>, cut: Vec<u8>) {
    chunks.push(cut);
    again(&chunks);
    // A value that is not what its type wants is an error where it is met.
    if use_it(&mut operator).is_err() {
        return;
    }
    let cut = operator.cut().and_then(Draft::write).expect("state that was changed can be cut");
    chunks.push(cut);
    again(&chunks);
    let (kept, used) = (cells(&chunks), in_memory(&mut operator));
    assert_eq!(kept, used, "another state than was cut");
}

fn use_it(operator: &mut Hosted<Keeper>) -> Result {
    operator.begin_entry(5);
    operator.open()?;
    let records = [("", 7), ("tea", 3), ("", 8), ("milk", 4)];
    operator
        .process(0, &(Arc::new(Rows::new(records.map(|(name, number)| (name.to_string(), number)).to_vec())) as _))?;
    operator.begin();
    operator.process(0, &(Arc::new(Rows::new(vec![("tea".to_string(), 9)])) as _))?;
    operator.advance_watermark(6)?;
    if !operator.undo()? {
        return Err(Error::failed("there is no way back"));
    }
    operator.fire_processing_timers()?;
    operator.begin_entry(2_000);
    operator.fire_processing_timers()?;
    operator.advance_watermark(WATERMARK_MAX)
}

fn again(chunks: &[Vec<u8>]) {
    fresh().restore(chunks.to_vec(), WATERMARK_MIN).expect("what was cut can be restored");
}

/// Returns what chunks hold for each key that the operator has numbers for.
fn cells(chunks: &[Vec<u8>]) -> BTreeMap<String, Option<u64>> {
    let mut operator = fresh();
    operator.restore(chunks.to_vec(), WATERMARK_MIN).expect("it was restored before");
    in_memory(&mut operator)
}

fn in_memory(operator: &mut Hosted<Keeper>) -> BTreeMap<String, Option<u64>> {
    let context = operator.context();
    let mut found = BTreeMap::new();
    for key in context.keys() {
        context.enter_key(key.clone());
        let seen = context.state(SEEN).get().ok().flatten().copied();
        found.insert(format!("{key:?}"), seen);
    }
    found
}
