//! `fail`: passes rows on and panics at some of them, for trying out recovery.
//!
//! A failure that always comes back could only be looked at, never recovered from. So each row that is meant fails a
//! number of times and passes after that. How often it has failed must not be state: state is rolled back by the very
//! failure. It is remembered for as long as the process lives, by the values of the row, for each operator of each job.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, AsArray};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::array_value_to_string;
use serde::Deserialize;

use super::expression::{Expression, Scope};
use super::options::{option, read, required};
use super::{input_schema, table_operator};
use crate::blueprint::{Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::key::Key;
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::{Context, Operator, Result};

/// Which operator of which job.
type Place = (PathBuf, String, String);

/// How often each row, by its bytes, has failed.
type Failures = HashMap<Place, HashMap<Box<[u8]>, u64>>;

static FAILURES: Mutex<Option<Failures>> = Mutex::new(None);

fn failures() -> MutexGuard<'static, Option<Failures>> {
    // Nothing panics while it holds the lock with the counts half-changed.
    FAILURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets which rows have failed in this process, so that another run of the same job in it fails like the first.
pub fn forget_failures() {
    *failures() = None;
}

/// Passes rows on and panics at those for which a condition holds, a number of times for each.
#[derive(Clone)]
pub(super) struct Fail {
    place: Arc<Place>,
    condition: Expression,
    /// 0 stands for always.
    times: u64,
    schema: SchemaRef,
    rows: Arc<RowConverter>,
}

impl Fail {
    fn strike(&self, table: &Table, row: usize) -> Result {
        let bytes = self.rows.convert_columns(table.slice(row, 1).batch().columns())?;
        let bytes = bytes.row(0).as_ref().into();
        let failed = {
            let mut failures = failures();
            let of_operator = failures.get_or_insert_default().entry(Place::clone(&self.place)).or_default();
            let count: &mut u64 = of_operator.entry(bytes).or_default();
            let failed = *count < self.times || self.times == 0;
            *count += u64::from(failed);
            failed
        };
        if failed {
            panic!("operator \"{}\" fails as it was told to at the row {}", self.place.2, self.show(table, row));
        }
        Ok(())
    }

    fn show(&self, table: &Table, row: usize) -> String {
        let cells = self.schema.fields().iter().zip(table.batch().columns()).map(|(field, column)| {
            let value = if column.is_null(row) { Ok("NULL".into()) } else { array_value_to_string(column, row) };
            format!("{} = {}", field.name(), value.unwrap_or_else(|error| error.to_string()))
        });
        format!("({})", cells.collect::<Vec<_>>().join(", "))
    }
}

impl Operator for Fail {
    type In = Table;
    type Out = Table;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<Table>) -> Result {
        let table = row.table.slice(row.row, 1);
        let mask = self.condition.evaluate(table.batch())?;
        if mask.as_boolean().true_count() > 0 {
            self.strike(&table, 0)?;
        }
        ctx.emit_table(table);
        Ok(())
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<Table>) -> Result {
        let mask = self.condition.evaluate(table.batch())?;
        let mask = mask.as_boolean();
        if mask.true_count() > 0 {
            for row in 0..table.rows() {
                // Each row is entered, so that the right one is blamed.
                ctx.enter(Key::None, table.time(row));
                if mask.is_valid(row) && mask.value(row) {
                    self.strike(&table, row)?;
                }
            }
        }
        ctx.emit_table(Table::clone(&table));
        Ok(())
    }
}

/// The kind `fail`.
pub(super) struct FailKind;

#[derive(Deserialize)]
struct Settings {
    r#where: String,
    #[serde(default = "once")]
    times: u64,
}

fn once() -> u64 {
    1
}

impl OperatorKind for FailKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Passes rows on, and panics at some of them: for trying out recovery.",
            options: vec![
                required("where", "A SQL condition over the input's columns: the rows to panic at."),
                option(
                    "times",
                    "1",
                    "How often each of these rows fails before it passes, as long as the process lives; 0: always.",
                ),
            ],
        }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let schema = input_schema(inputs)?;
        let condition = Scope::new(&schema)
            .and_then(|scope| scope.condition(&settings.r#where))
            .map_err(|message| vec![Fault::new("where", message)])?;
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let rows = RowConverter::new(fields).map_err(|error| vec![Fault::new("inputs", error.to_string())])?;
        let fail = Fail {
            place: Arc::new((site.folder.clone(), site.job.clone(), site.name.clone())),
            condition,
            times: settings.times,
            schema: Arc::clone(&schema),
            rows: Arc::new(rows),
        };
        Ok(table_operator(schema, false, Arc::new(move || Ok(fail.clone()))))
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::tests::{Bench, int_table, ints};
    use super::*;
    use serde_json::json;

    fn push(bench: &mut Bench, input: &Table) -> std::result::Result<Vec<Table>, String> {
        catch_unwind(AssertUnwindSafe(|| bench.push(input))).map_err(|panic| *panic.downcast::<String>().unwrap())
    }

    #[test]
    fn each_row_fails_as_often_as_it_should_and_then_passes() {
        let input = int_table(&[("id", &[Some(1), Some(2), Some(3)])], None);
        let mut bench = Bench::named(&FailKind, json!({ "where": "id >= 2", "times": 2 }), &input, "fail-twice");
        for (attempt, row) in ["2", "2", "3", "3"].iter().enumerate() {
            let message = push(&mut bench, &input).unwrap_err();
            assert!(message.contains("\"fail-twice\"") && message.contains(&format!("id = {row}")), "{message}");
            assert_eq!(bench.row(), if attempt < 2 { 1 } else { 2 }, "the row to blame");
            bench = Bench::named(&FailKind, json!({ "where": "id >= 2", "times": 2 }), &input, "fail-twice");
        }
        assert_eq!(ints(&push(&mut bench, &input).unwrap()[0], "id"), [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn another_operator_counts_for_itself_and_null_is_no_match() {
        let input = int_table(&[("id", &[Some(4), None])], None);
        for name in ["fail-a", "fail-b"] {
            let mut bench = Bench::named(&FailKind, json!({ "where": "id = 4" }), &input, name);
            assert!(push(&mut bench, &input).is_err(), "{name}");
            assert!(push(&mut bench, &input).is_ok(), "{name}");
        }
    }

    #[test]
    fn zero_times_is_always() {
        let input = int_table(&[("id", &[Some(9)])], None);
        let mut bench = Bench::named(&FailKind, json!({ "where": "id = 9", "times": 0 }), &input, "fail-always");
        assert!((0..5).all(|_| push(&mut bench, &input).is_err()));
    }
}
