//! `join`: the rows of two inputs that have the same values in some columns.
//!
//! How partners are found, what waits for how long, and what happens to late rows is told in [`crate::join`]. Here rows
//! are those of tables: they are kept as Arrow's row encoding, without a column or a batch around each, and become
//! columns again many at a time, when the output of a whole batch or watermark is handed on.

mod inputs;
mod packed;
mod plan;
mod settings;
mod side;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;

use super::options::{option, read, required};
use super::table_operator;
use crate::blueprint::{Again, Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::join::{Found, How, Matcher};
use crate::late::{self, count_late};
use crate::record::{Either, RecordType};
use crate::table::{Table, TableRow};
use crate::{Context, Key, Operator, Result, SideOutput, SideOutputDeclared, Timer, Timestamp};
use inputs::TwoTables;
use plan::Plan;
use settings::Settings;

pub(super) use packed::{Packed, PackedTable, Rows, Shape};
pub(super) use side::Side;

/// The rows that are late.
const LATE_LEFT: SideOutput<Table> = SideOutput::new(late::LATE_LEFT);
const LATE_RIGHT: SideOutput<Table> = SideOutput::new(late::LATE_RIGHT);

/// Joins two tables.
#[derive(Clone)]
struct TableJoin {
    plan: Arc<Plan>,
    matcher: Arc<Matcher<Packed, Packed>>,
    /// What was found by the current call, until it is handed on.
    found: Rows,
}

impl Found<Packed, Packed> for Rows {
    fn pair(&mut self, left: &Packed, right: Option<&Packed>, at: Option<Timestamp>) -> Result {
        self.push(left, right, at);
        Ok(())
    }
}

impl TableJoin {
    fn take(&mut self, table: &Table, is_left: bool, ctx: &mut Context<PackedTable>) -> Result {
        let side = self.plan.shape.side(is_left);
        let keys = side.keys(table.batch())?;
        let kept = side.rows(table.batch())?;
        let mut late: Vec<u32> = Vec::new();
        for (row, number) in (0..table.rows()).zip(0..) {
            ctx.enter(keys.key(row), table.time(row));
            if self.matcher.is_late(ctx, is_left)? {
                late.push(number);
                continue;
            }
            let packed = kept.packed(row);
            let packed = if is_left { Either::Left(packed) } else { Either::Right(packed) };
            self.matcher.take(ctx, packed, !keys.is_null(row), &mut self.found)?;
            // A row with many partners must not be held in memory with all of them twice.
            if self.found.is_large() {
                ctx.output().add(&self.plan.shape, &mut self.found);
            }
        }
        ctx.output().add(&self.plan.shape, &mut self.found);
        if late.is_empty() {
            return Ok(());
        }
        count_late(late.len() as u64, ctx)?;
        ctx.emit_table_to(if is_left { LATE_LEFT } else { LATE_RIGHT }, table.take(&UInt32Array::from(late))?)
    }
}

impl Operator for TableJoin {
    type In = TwoTables;
    type Out = PackedTable;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, row: Either<TableRow<'_>, TableRow<'_>>) -> Key {
        let (row, is_left) = match row {
            Either::Left(row) => (row, true),
            Either::Right(row) => (row, false),
        };
        let keys = self.plan.shape.side(is_left).keys(row.table.slice(row.row, 1).batch());
        keys.expect("the types of the key columns were checked when the plan was made").key(0)
    }

    fn key_hashes(&self, batch: &Either<Arc<Table>, Arc<Table>>, hashes: &mut Vec<u64>) -> Result {
        let (table, is_left) = match batch {
            Either::Left(table) => (table, true),
            Either::Right(table) => (table, false),
        };
        let keys = self.plan.shape.side(is_left).keys(table.batch())?;
        keys.hashes(table.rows(), hashes);
        Ok(())
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        let (left, right) = self.matcher.late();
        let [of_left, of_right] = &self.plan.inputs;
        let left = left.then(|| LATE_LEFT.with_schema(SchemaRef::clone(of_left)));
        left.into_iter().chain(right.then(|| LATE_RIGHT.with_schema(SchemaRef::clone(of_right)))).collect()
    }

    fn process(&mut self, row: Either<TableRow<'_>, TableRow<'_>>, ctx: &mut Context<PackedTable>) -> Result {
        match row {
            Either::Left(row) => self.take(&row.table.slice(row.row, 1), true, ctx),
            Either::Right(row) => self.take(&row.table.slice(row.row, 1), false, ctx),
        }
    }

    fn process_batch(&mut self, batch: Either<Arc<Table>, Arc<Table>>, ctx: &mut Context<PackedTable>) -> Result {
        match batch {
            Either::Left(table) => self.take(&table, true, ctx),
            Either::Right(table) => self.take(&table, false, ctx),
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<PackedTable>) -> Result {
        self.matcher.timer(ctx, timer.at, &mut self.found)?;
        ctx.output().add(&self.plan.shape, &mut self.found);
        Ok(())
    }
}

/// The kind `join`.
pub(super) struct JoinKind;

/// Of right rows of the same time the greatest is the newest, not the one that comes last: which that is differs from run to
/// run.
fn matcher(how: How) -> Matcher<Packed, Packed> {
    Matcher::new(how, |row, known| row > known)
}

impl OperatorKind for JoinKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Joins two inputs, left and right: the columns of the left, then those of the right without the key columns that both have; NULL equals nothing.",
            options: vec![
                required(
                    "on",
                    "The columns that have to be equal: [\"origin\", \"hour\"], or { left = [\"origin\"], right = [\"airport\"] } where they have other names; then all columns of both come out.",
                ),
                option(
                    "kind",
                    "\"inner\"",
                    "\"inner\": pairs only; \"left\": also left rows without a partner, once none can come any more, at the event time at which that is known.",
                ),
                option(
                    "within",
                    "",
                    "How far apart the event times of a pair may be, as in \"1h\". Late rows find nobody, with `window` neither; those of the left input are read as inputs = [\"NAME.late_left\"], those of the right one as \"NAME.late_right\". Without `within`, `window` or `newest`, all rows of a key are partners: both inputs are kept for ever, and with kind = \"left\" both have to end.",
                ),
                option(
                    "window",
                    "",
                    "A pair lies in the same time window of this length: \"1h\", or { tumbling = \"1h\" }; windows begin at multiples of it since 1970.",
                ),
                option(
                    "newest",
                    "false",
                    "Whether each left row finds one right row: the newest that is not later than it, by event time, once the watermark has reached it; of several at the same time, the one whose columns, compared from left to right, are the greatest. A left row without event time finds the newest that has come so far; a right row without one is older than any other.",
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
        let plan = Arc::new(Plan::new(&settings, inputs)?);
        let join = TableJoin { matcher: Arc::new(matcher(plan.how)), plan: Arc::clone(&plan), found: Rows::default() };
        let output = Arc::clone(&plan.shape.output);
        let (of_keys, of_states) = (Arc::clone(&plan), Arc::clone(&plan));
        Ok(OperatorBlueprint {
            state: Some(plan.state.clone()),
            again: Again::Rows,
            waits_for_event_time: settings.waits_for_event_time(),
            show_key: Some(Arc::new(move |key| of_keys.shape.side(true).show_key(key))),
            show_state: Some(Arc::new(move |name, written| of_states.show(name, written))),
            ..table_operator(output, true, Arc::new(move || Ok(join.clone())))
        })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    /// Those that there can be: rows of a join without event times are never late.
    fn side_outputs(&self) -> Vec<&'static str> {
        vec![late::LATE_LEFT, late::LATE_RIGHT]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        match read::<Settings>(options, &self.doc()) {
            Ok(settings) => settings.check(),
            Err(faults) => faults,
        }
    }
}
