//! `filter`: passes on the rows for which a condition is true.

use std::sync::Arc;

use arrow::array::AsArray;
use serde::Deserialize;

use super::expression::{Expression, Scope};
use super::options::{read, required};
use super::{input_schema, table_operator};
use crate::blueprint::{Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::{Context, Operator, Result};

/// Passes on the rows for which a condition is true; a row for which it is NULL is left out.
#[derive(Clone)]
pub(super) struct Filter {
    condition: Expression,
}

impl Operator for Filter {
    type In = Table;
    type Out = Table;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<Table>) -> Result {
        self.process_batch(Arc::new(row.table.slice(row.row, 1)), ctx)
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<Table>) -> Result {
        let mask = self.condition.evaluate(table.batch())?;
        let mask = mask.as_boolean();
        if mask.true_count() == table.rows() {
            ctx.emit_table(Table::clone(&table));
        } else if mask.true_count() > 0 {
            ctx.emit_table(table.filter(mask)?);
        }
        Ok(())
    }
}

/// The kind `filter`.
pub(super) struct FilterKind;

#[derive(Deserialize)]
struct Settings {
    r#where: String,
}

impl OperatorKind for FilterKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Passes on the rows for which a condition is true.",
            options: vec![required("where", "A SQL condition over the input's columns, such as \"dep_delay > 60\".")],
        }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let schema = input_schema(inputs)?;
        let condition = Scope::new(&schema)
            .and_then(|scope| scope.condition(&settings.r#where))
            .map_err(|message| vec![Fault::new("where", message)])?;
        let filter = Filter { condition };
        Ok(table_operator(schema, false, Arc::new(move || Ok(filter.clone()))))
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
    use super::super::tests::{Bench, int_table, ints, plan_operator};
    use super::*;

    #[test]
    fn rows_that_do_not_match_are_left_out_with_their_times() {
        let input = int_table(&[("n", &[Some(1), Some(5), None, Some(7)])], Some(&[10, 20, 30, 40]));
        let mut bench = Bench::of(&FilterKind, serde_json::json!({ "where": "n > 2" }), &input);
        let output = bench.push(&input);
        assert_eq!(output.len(), 1);
        assert_eq!(ints(&output[0], "n"), [Some(5), Some(7)]);
        assert_eq!(output[0].shared_times().unwrap().to_vec(), [20, 40]);
        assert!(bench.push(&int_table(&[("n", &[Some(0)])], None)).is_empty());
    }

    #[test]
    fn a_wrong_condition_is_a_fault_of_its_option() {
        let input = int_table(&[("dep_delay", &[])], None);
        let faults = plan_operator(&FilterKind, serde_json::json!({ "where": "dep_dely > 2" }), &input).err().unwrap();
        assert_eq!(faults[0].option, "where");
        assert!(faults[0].message.contains("did you mean `dep_delay`"));
    }
}
