//! `deduplicate`: the first row of each key.
//!
//! With `within`, what counts is event time, so that the result does not depend on the order in which rows came: the
//! rows of a key are looked at in the order of their times, each once the watermark has reached it. A row passes unless
//! one of its key that has passed is at most `within` earlier. A row that was dropped does not count for those behind it:
//! of rows every 40 minutes, with an hour, each second one passes. Of several rows of a key and a moment, the one whose
//! values come first in the order of the columns is looked at. Rows at or before the watermark are late: they are dropped
//! and counted. State is dropped `within` after the row that passed.
//!
//! Without `within`, the first row of a key to arrive passes at once, and its key is kept for ever.
//!
//! NULL is a value like others: rows whose key is NULL are of one key, as with `DISTINCT`.

use std::sync::Arc;

use arrow::array::BooleanArray;
use serde::Deserialize;

use super::coder::key_columns;
use super::join::{Packed, PackedTable, Rows, Shape, Side};
use super::options::{option, read, required};
use super::{columns_of, input_schema, table_operator};
use crate::blueprint::{Again, Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site, Varies};
use crate::duration::milliseconds;
use crate::late::count_late;
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::{Context, Error, Key, MapState, Operator, Result, Timer, Timestamp, ValueState};

/// Whether a row of the key has passed; without `within`.
const SEEN: ValueState<bool> = ValueState::new("seen");
/// When the last row that passed was; with `within`.
const PASSED: ValueState<Timestamp> = ValueState::new("passed");
/// The rows that the watermark has not reached, one for each moment.
const WAITING: MapState<Timestamp, Packed> = MapState::new("waiting");

/// Passes the first row of each key.
#[derive(Clone)]
struct Deduplicate {
    shape: Arc<Shape>,
    within: Option<i64>,
    found: Rows,
}

impl Deduplicate {
    fn of_all_time(&mut self, table: &Table, ctx: &mut Context<PackedTable>) -> Result {
        let keys = self.shape.side(true).keys(table.batch())?;
        let mut first = Vec::with_capacity(table.rows());
        for row in 0..table.rows() {
            ctx.enter(keys.key(row), table.time(row));
            let is_first = ctx.state(SEEN).get()?.is_none();
            if is_first {
                ctx.state(SEEN).set(true)?;
            }
            first.push(is_first);
        }
        ctx.output().add_table(table.filter(&BooleanArray::from(first))?);
        Ok(())
    }

    fn by_time(&self, table: &Table, within: i64, ctx: &mut Context<PackedTable>) -> Result {
        let side = self.shape.side(true);
        let (keys, rows) = (side.keys(table.batch())?, side.rows(table.batch())?);
        for row in 0..table.rows() {
            let Some(at) = table.time(row) else {
                return Err(Error::invalid(
                    "a row has no event time, which `within` goes by: set `event_time` at the source it comes from",
                ));
            };
            ctx.enter(keys.key(row), Some(at));
            if at <= ctx.watermark() {
                count_late(1, ctx)?;
                continue;
            }
            let packed = rows.packed(row);
            let is_known = ctx.state(PASSED).get()?.is_some_and(|passed| at <= passed.saturating_add(within));
            if is_known || ctx.map_state(WAITING).get(&at)?.is_some_and(|other| *other <= packed) {
                continue;
            }
            ctx.map_state(WAITING).insert(at, packed)?;
            ctx.timer_at(at)?;
        }
        Ok(())
    }
}

impl Operator for Deduplicate {
    type In = Table;
    type Out = PackedTable;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, row: TableRow<'_>) -> Key {
        let keys = self.shape.side(true).keys(row.table.slice(row.row, 1).batch());
        keys.expect("the types of the key columns were checked when the plan was made").key(0)
    }

    fn key_hashes(&self, table: &Arc<Table>, hashes: &mut Vec<u64>) -> Result {
        let keys = self.shape.side(true).keys(table.batch())?;
        keys.hashes(table.rows(), hashes);
        Ok(())
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<PackedTable>) -> Result {
        self.process_batch(Arc::new(row.table.slice(row.row, 1)), ctx)
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<PackedTable>) -> Result {
        match self.within {
            None => self.of_all_time(&table, ctx),
            Some(within) => self.by_time(&table, within, ctx),
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<PackedTable>) -> Result {
        let Some(within) = self.within else { return Ok(()) };
        let (at, passed) = (timer.at, ctx.state(PASSED).get()?.copied());
        let until = passed.map(|passed| passed.saturating_add(within));
        if let Some(row) = ctx.map_state(WAITING).remove(&at)?
            && until.is_none_or(|until| at > until)
        {
            self.found.push(&row, None, Some(at));
            ctx.output().add(&self.shape, &mut self.found);
            ctx.state(PASSED).set(at)?;
            return ctx.timer_at(at.saturating_add(within));
        }
        if until == Some(at) {
            ctx.state(PASSED).take()?;
        }
        Ok(())
    }
}

/// The kind `deduplicate`.
pub(super) struct DeduplicateKind;

#[derive(Deserialize)]
struct Settings {
    by: Vec<String>,
    within: Option<String>,
}

impl Settings {
    fn within(&self) -> Result<Option<i64>, Vec<Fault>> {
        let within = self.within.as_deref().map(milliseconds).transpose();
        within.map_err(|message| vec![Fault::new("within", message)])
    }

    fn by(&self, schema: &arrow::datatypes::SchemaRef) -> Result<Vec<usize>, Vec<Fault>> {
        if self.by.is_empty() {
            return Err(vec![Fault::new("by", "name at least one column")]);
        }
        key_columns(&self.by, schema)
    }
}

impl OperatorKind for DeduplicateKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Passes the first row of each key, and drops the others.",
            options: vec![
                required("by", "The columns of the key, such as [\"order\"]; NULL is a value like others."),
                option(
                    "within",
                    "",
                    "For how long others are dropped, as in \"1h\": those whose event time is at most so much later than that of the row that has passed. Rows then wait for the watermark, so that the first is the earliest; late rows are dropped and counted. Without it, the first to arrive passes at once, and its key is kept for ever.",
                ),
            ],
        }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let input = input_schema(inputs)?;
        let (by, within) = match (settings.by(&input), settings.within()) {
            (Ok(by), Ok(within)) => (by, within),
            (by, within) => return Err([by.err(), within.err()].into_iter().flatten().flatten().collect()),
        };
        let named: Vec<&str> = by.iter().map(|column| input.field(*column).name().as_str()).collect();
        let state = match within {
            Some(_) => format!("by [{}] within a time, rows ({})", named.join(", "), columns_of(&input)),
            None => {
                let types = by.iter().map(|column| input.field(*column).data_type().to_string());
                format!("by [{}] of types [{}]", named.join(", "), types.collect::<Vec<_>>().join(", "))
            }
        };
        let of_input = |message: String| vec![Fault::new("inputs", message)];
        // Without a time nothing is kept of the rows, so that they may hold anything.
        let kept = if within.is_some() { (0..input.fields().len()).collect() } else { Vec::new() };
        let side = Side::new(&input, by, kept).map_err(of_input)?;
        let shape = Arc::new(Shape::single(side).map_err(|error| of_input(error.to_string()))?);
        let of_keys = Arc::clone(&shape);
        let deduplicate = Deduplicate { shape, within, found: Rows::default() };
        Ok(OperatorBlueprint {
            state: Some(state),
            again: Again::Rows,
            // Without it, the first to arrive passes.
            varies: if within.is_none() { Varies::WithArrival } else { Varies::No },
            waits_for_event_time: within.map(|_| "within"),
            show_key: Some(Arc::new(move |key| of_keys.side(true).show_key(key))),
            ..table_operator(input, true, Arc::new(move || Ok(deduplicate.clone())))
        })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        match read::<Settings>(options, &self.doc()) {
            Ok(settings) => settings.within().err().unwrap_or_default(),
            Err(faults) => faults,
        }
    }
}

#[cfg(test)]
mod tests;
