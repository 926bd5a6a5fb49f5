//! `generate`: rows that can be computed from their number, for benchmarks and for trying things out.
//!
//! Row `id` of a seed is the same on every machine and after every restart, so that what a job made of it can be
//! checked from outside.
//!
//! The ids are divided into sequences of equal steps: with parallelism *p*, subtask *s* begins with the ids ≡ *s* mod
//! *p*. When the parallelism is changed, what is left of the sequences is divided further and shared out anew; a subtask
//! that has several goes on with the lowest id that any of them has next.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::event_time::{DRIFT_DOC, EventTime, IDLE_DOC};
use super::options::{option, rate, read};
use super::pace::Pace;
use super::table_source;
use crate::blueprint::{Fault, KindDoc, Options, Site, SourceBlueprint, SourceKind};
use crate::duration::duration;
use crate::key::mix;
use crate::table::Table;
use crate::{Feed, Progress, Result, Source, Subtask};

/// Makes rows that follow from their number.
#[derive(Clone)]
pub(super) struct Generate {
    settings: Arc<Settings>,
    schema: SchemaRef,
    event_time: Option<EventTime>,
    pace: Pace,
    /// What this subtask makes, at least one.
    sequences: Vec<Sequence>,
    /// Whether they are not the one that it began with.
    is_shared: bool,
}

/// Ids that are equally far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sequence {
    next: u64,
    step: u64,
}

impl Sequence {
    /// Returns how many ids below `rows` are left.
    fn left(self, rows: u64) -> u64 {
        rows.saturating_sub(self.next).div_ceil(self.step)
    }

    /// Divides it into so many.
    fn divide(self, parts: u64) -> impl Iterator<Item = Sequence> {
        (0..parts).map(move |part| Sequence { next: self.next + part * self.step, step: self.step * parts })
    }
}

/// Where a `generate` source is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NextRow {
    /// The lowest id that is left.
    next: u64,
    /// What is left, if that is not the sequence with which a subtask begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shared: Vec<Sequence>,
}

impl Generate {
    /// Takes the next ids.
    fn take(&mut self, count: usize) -> Vec<u64> {
        if let [Sequence { next, step }] = &mut self.sequences[..] {
            let ids = (0..count as u64).map(|row| *next + row * *step).collect();
            *next += count as u64 * *step;
            return ids;
        }
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(lowest) = self.sequences.iter_mut().min() else { break };
            ids.push(lowest.next);
            lowest.next += lowest.step;
        }
        ids
    }

    fn rows(&mut self, count: usize) -> Result<Table> {
        let taken = self.take(count);
        let settings = &self.settings;
        let ids = || taken.iter().copied();
        let (mut keys, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for id in ids() {
            // The finaliser adds the constant once itself: mix(seed + id·c) is the mix of seed + (id+1)·c.
            let z = mix(settings.seed.wrapping_add(id.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            keys.push((z % settings.keys) as i64);
            values.push(((z >> 32) % 1000) as i64);
        }
        let time = |id: u64| settings.start.wrapping_add((id as i64).wrapping_mul(settings.step));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids().map(|id| id as i64))),
            Arc::new(Int64Array::from(keys)),
            Arc::new(Int64Array::from(values)),
            Arc::new(TimestampMillisecondArray::from_iter_values(ids().map(time))),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let times = self.event_time.as_ref().map(|column| column.of(&batch)).transpose()?;
        Ok(Table::with_times(batch, times))
    }
}

impl Source for Generate {
    type Out = Table;
    type Position = NextRow;

    async fn open(&mut self, position: Option<NextRow>, subtask: &Subtask) -> Result {
        let (index, parallelism) = (u64::from(subtask.index), u64::from(subtask.parallelism.max(1)));
        self.is_shared = position.as_ref().is_some_and(|position| !position.shared.is_empty());
        self.sequences = match position {
            Some(NextRow { shared, .. }) if !shared.is_empty() => shared,
            position => {
                let next = position.map_or(index, |position| position.next);
                vec![Sequence { next, step: parallelism }]
            }
        };
        self.pace = Pace::new(self.settings.per_second, subtask.parallelism);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Table>) -> Result<Progress> {
        let allowed = self.pace.allow(feed.room());
        let left =
            self.settings.rows.map(|rows| self.sequences.iter().map(|sequence| sequence.left(rows)).sum::<u64>());
        let count = left.map_or(allowed, |left| allowed.min(usize::try_from(left).unwrap_or(usize::MAX)));
        if count > 0 {
            let rows = self.rows(count)?;
            feed.push_table(rows);
        }
        if left.is_some_and(|left| left <= count as u64) {
            return Ok(Progress::Done);
        }
        Ok(self.pace.took(count))
    }

    fn position(&self) -> NextRow {
        let next = self.sequences.iter().map(|sequence| sequence.next).min().unwrap_or_default();
        NextRow { next, shared: if self.is_shared { self.sequences.clone() } else { Vec::new() } }
    }

    fn redistribute(positions: Vec<Option<NextRow>>, parallelism: u32) -> Result<Vec<Option<NextRow>>> {
        let mut sequences = Vec::new();
        let step = positions.len() as u64;
        for (index, position) in positions.into_iter().enumerate() {
            match position {
                Some(NextRow { shared, .. }) if !shared.is_empty() => sequences.extend(shared),
                position => {
                    let next = position.map_or(index as u64, |position| position.next);
                    sequences.push(Sequence { next, step });
                }
            }
        }
        let parallelism = u64::from(parallelism.max(1));
        // As few parts as give every subtask the same number of them.
        let parts = parallelism / greatest_common_divisor(sequences.len() as u64, parallelism);
        let mut parts: Vec<Sequence> = sequences.into_iter().flat_map(|sequence| sequence.divide(parts)).collect();
        parts.sort_unstable();
        let share = |index: usize| {
            let shared: Vec<Sequence> = parts.iter().skip(index).step_by(parallelism as usize).copied().collect();
            let next = shared.iter().map(|sequence| sequence.next).min()?;
            Some(NextRow { next, shared })
        };
        Ok((0..parallelism as usize).map(share).collect())
    }
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// The kind `generate`.
pub(super) struct GenerateKind;

#[derive(Clone, Deserialize)]
struct Settings {
    rows: Option<u64>,
    #[serde(default = "usual_keys")]
    keys: u64,
    #[serde(default)]
    seed: u64,
    rate: Option<String>,
    #[serde(skip)]
    per_second: Option<f64>,
    #[serde(default)]
    start: i64,
    #[serde(default = "usual_step")]
    step: i64,
    event_time: Option<String>,
    out_of_order: Option<String>,
}

fn usual_keys() -> u64 {
    1000
}

fn usual_step() -> i64 {
    1
}

impl SourceKind for GenerateKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Makes rows that follow from their number: id, key, value (bigint) and time (timestamp).",
            options: vec![
                option("rows", "", "How many rows, with the ids 0 to rows - 1; endless if left out."),
                option("keys", "1000", "How many different keys there are: 0 to keys - 1."),
                option("seed", "0", "What keys and values are derived from."),
                option("rate", "", "How many rows at most, of all subtasks together, as in \"5000/s\"."),
                option("start", "0", "The time of row 0, in ms since 1970."),
                option("step", "1", "How much later each row is than the one before, in ms."),
                option("event_time", "", "The column that holds the event time, usually \"time\"."),
                option("out_of_order", "\"0ms\"", "How late a row may be, for the watermark."),
                option("idle_timeout", "", IDLE_DOC),
                option("max_drift", "", DRIFT_DOC),
            ],
        }
    }

    fn plan(&self, options: &mut Options<'_>, _site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let mut settings: Settings = read(options, &self.doc())?;
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("key", DataType::Int64, true),
            Field::new("value", DataType::Int64, true),
            Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]));
        let mut faults = Vec::new();
        match settings.rate.as_deref().map(rate).transpose() {
            Ok(per_second) => settings.per_second = per_second,
            Err(message) => faults.push(Fault::new("rate", message)),
        }
        if settings.keys == 0 {
            faults.push(Fault::new("keys", "there must be at least one key"));
        }
        if let Some(Err(message)) = settings.out_of_order.as_deref().map(duration) {
            faults.push(Fault::new("out_of_order", message));
        }
        let event_time = settings.event_time.as_deref().map(|name| EventTime::find(name, &schema)).transpose();
        let event_time = event_time.unwrap_or_else(|message| {
            faults.push(Fault::new("event_time", message));
            None
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let (endless, gives_event_time) = (settings.rows.is_none(), event_time.is_some());
        let source = Generate {
            settings: Arc::new(settings),
            schema: Arc::clone(&schema),
            event_time,
            pace: Pace::new(None, 1),
            sequences: vec![Sequence { next: 0, step: 1 }],
            is_shared: false,
        };
        Ok(SourceBlueprint { endless, gives_event_time, ..table_source(schema, true, move || source.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::with_options;
    use super::super::source::tests::{Tap, subtask};
    use super::super::tests::{ints, site};
    use super::*;
    use serde_json::{Value, json};

    fn tap(options: &Value, index: u32, parallelism: u32, position: Option<Vec<u8>>) -> Tap {
        let blueprint = with_options(options, |options| GenerateKind.plan(options, &site("generated"))).unwrap();
        Tap::open(&blueprint, subtask(index, parallelism), position, 100).unwrap()
    }

    /// The published splitmix64, written down once more.
    fn splitmix64(state: u64) -> u64 {
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D049BB133111EB);
        z ^ (z >> 31)
    }

    #[test]
    fn rows_follow_the_formula() {
        // The first outputs of splitmix64 seeded with 0, as its author publishes them.
        assert_eq!(splitmix64(0x9E3779B97F4A7C15), 0xE220A8397B1DCDAF);
        assert_eq!(splitmix64(0x9E3779B97F4A7C15u64.wrapping_mul(2)), 0x6E789E6AA1B965F4);
        let options = json!({ "rows": 5, "keys": 7, "seed": 42, "start": 1_000, "step": 10, "event_time": "time" });
        let tables = tap(&options, 0, 1, None).rest();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for id in 0..5u64 {
            let z = splitmix64(42u64.wrapping_add((id + 1).wrapping_mul(0x9E3779B97F4A7C15)));
            keys.push(Some((z % 7) as i64));
            values.push(Some(((z >> 32) % 1000) as i64));
        }
        assert_eq!(ints(&tables[0], "id"), (0..5).map(Some).collect::<Vec<_>>());
        assert_eq!(ints(&tables[0], "key"), keys);
        assert_eq!(ints(&tables[0], "value"), values);
        assert_eq!(tables[0].shared_times().unwrap().to_vec(), [1000, 1010, 1020, 1030, 1040]);
    }

    #[test]
    fn subtasks_share_the_ids_and_continue_where_they_were() {
        let options = json!({ "rows": 1003 });
        let mut all = Vec::new();
        for index in 0..4 {
            let mut first = tap(&options, index, 4, None);
            let begun = first.poll().unwrap();
            let mut rest = tap(&options, index, 4, Some(first.position().to_vec()));
            let tables = begun.into_iter().chain(rest.rest());
            let ids: Vec<i64> = tables.flat_map(|table| ints(&table, "id")).flatten().collect();
            assert!(ids.iter().all(|id| *id % 4 == i64::from(index)), "{index}");
            all.extend(ids);
        }
        all.sort_unstable();
        assert_eq!(all, (0..1003).collect::<Vec<i64>>());
    }

    #[test]
    fn another_parallelism_makes_the_rest_of_the_ids() {
        let options = json!({ "rows": 5003 });
        let blueprint = with_options(&options, |options| GenerateKind.plan(options, &site("generated"))).unwrap();
        let mut positions = vec![None];
        let mut all = Vec::new();
        for parallelism in [1, 4, 3, 8, 1] {
            positions = (blueprint.redistribute)(&positions, parallelism).unwrap();
            for (index, position) in positions.iter_mut().enumerate() {
                let mut tap = Tap::open(&blueprint, subtask(index as u32, parallelism), position.take(), 100).unwrap();
                // The further a subtask is behind the others, the more it has to make up for.
                for _ in 0..=index % 2 {
                    let tables = tap.poll().unwrap();
                    let ids: Vec<i64> = tables.iter().flat_map(|table| ints(table, "id")).flatten().collect();
                    assert!(ids.is_sorted(), "{ids:?}");
                    all.extend(ids);
                }
                *position = Some(tap.position().to_vec());
            }
        }
        let mut last = Tap::open(&blueprint, subtask(0, 1), positions.pop().unwrap(), 100).unwrap();
        all.extend(last.rest().iter().flat_map(|table| ints(table, "id")).flatten());
        all.sort_unstable();
        assert_eq!(all, (0..5003).collect::<Vec<i64>>());
    }

    #[test]
    fn wrong_options_are_faults() {
        let options = json!({ "keys": 0, "rate": "fast", "event_time": "tme" });
        let faults = with_options(&options, |options| GenerateKind.plan(options, &site("g"))).err().unwrap();
        let named: Vec<_> = faults.iter().map(|fault| fault.option.as_str()).collect();
        assert_eq!(named, ["rate", "keys", "event_time"]);
    }

    #[test]
    fn no_rows_end_at_once() {
        assert!(tap(&json!({ "rows": 0 }), 0, 1, None).rest().is_empty());
        assert!(tap(&json!({ "rows": 1 }), 3, 4, None).rest().is_empty());
    }
}
