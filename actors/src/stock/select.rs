//! `select`: computes the columns of each row anew.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::Deserialize;

use super::expression::{Expression, Scope};
use super::options::{read, required};
use super::{input_schema, table_operator};
use crate::blueprint::{Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::{Context, Operator, Result};

/// Computes the columns of each row anew.
#[derive(Clone)]
pub(super) struct Select {
    columns: Vec<Expression>,
    schema: SchemaRef,
}

impl Operator for Select {
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
        let columns = self.columns.iter().map(|column| column.evaluate(table.batch()));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<Vec<ArrayRef>>>()?)?;
        ctx.emit_table(Table::with_times(batch, table.shared_times()));
        Ok(())
    }
}

/// The kind `select`.
pub(super) struct SelectKind;

#[derive(Deserialize)]
struct Settings {
    columns: Vec<String>,
}

impl OperatorKind for SelectKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Computes the columns of each row anew.",
            options: vec![required(
                "columns",
                "SQL expressions over the input's columns, such as \"dep_delay / 60.0 AS hours\"; \"*\" stands for all columns of the input.",
            )],
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
        let scope = Scope::new(&input).map_err(|message| vec![Fault::new("inputs", message)])?;
        if settings.columns.is_empty() {
            return Err(vec![Fault::new("columns", "name at least one column")]);
        }
        let mut columns = Vec::new();
        let mut faults = Vec::new();
        for (index, text) in settings.columns.iter().enumerate() {
            let texts: Vec<String> = match text.trim() {
                "*" => input.fields().iter().map(|field| quoted(field.name())).collect(),
                _ => vec![text.clone()],
            };
            for text in texts {
                match scope.expression(&text) {
                    Ok(column) => columns.push((index, column)),
                    Err(message) => faults.push(Fault::new(format!("columns[{index}]"), message)),
                }
            }
        }
        faults.extend(twice(columns.iter().map(|(index, column)| (*index, column.name.as_str()))));
        if !faults.is_empty() {
            return Err(faults);
        }
        let columns: Vec<Expression> = columns.into_iter().map(|(_, column)| column).collect();
        let schema = Arc::new(Schema::new(columns.iter().map(Expression::field).collect::<Vec<Field>>()));
        let passes = columns.iter().filter_map(|column| Some((column.of.clone()?, column.name.clone()))).collect();
        let select = Select { columns, schema: Arc::clone(&schema) };
        let blueprint = table_operator(schema, false, Arc::new(move || Ok(select.clone())));
        Ok(OperatorBlueprint { passes: Some(passes), ..blueprint })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}

/// Returns a name as SQL reads it whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns a fault for each column that has the name of an earlier one.
pub(super) fn twice<'a>(columns: impl Iterator<Item = (usize, &'a str)>) -> Vec<Fault> {
    let mut seen: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for (index, name) in columns {
        if seen.contains(&name) {
            let message = format!("there already is a column `{name}`; give this one another name with `AS`");
            faults.push(Fault::new(format!("columns[{index}]"), message));
        }
        seen.push(name);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, int_table, ints, plan_operator};
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_computed_and_times_kept() {
        let input = int_table(&[("a", &[Some(1), None]), ("b", &[Some(10), Some(20)])], Some(&[7, 8]));
        let mut bench = Bench::of(&SelectKind, json!({ "columns": ["b", "a + b AS sum", "a * 2"] }), &input);
        let output = bench.push(&input);
        let names: Vec<_> = output[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["b", "sum", "a * 2"]);
        assert_eq!(ints(&output[0], "sum"), [Some(11), None]);
        assert_eq!(output[0].shared_times().unwrap().to_vec(), [7, 8]);
    }

    #[test]
    fn a_star_stands_for_all_columns() {
        let input = int_table(&[("a", &[Some(1)]), ("b c", &[Some(2)])], None);
        let mut bench = Bench::of(&SelectKind, json!({ "columns": ["*", "a + 1 AS next"] }), &input);
        let output = bench.push(&input);
        assert_eq!(ints(&output[0], "b c"), [Some(2)]);
        assert_eq!(ints(&output[0], "next"), [Some(2)]);
    }

    #[test]
    fn what_is_passed_on_unchanged_is_known() {
        let input = int_table(&[("a", &[Some(1)]), ("b", &[Some(2)])], None);
        let options = json!({ "columns": ["a AS x", "b + 0", "b"] });
        let blueprint = plan_operator(&SelectKind, options, &input).unwrap();
        assert_eq!(blueprint.passes.unwrap(), [("a".into(), "x".into()), ("b".into(), "b".into())]);
    }

    #[test]
    fn every_wrong_column_is_named() {
        let input = int_table(&[("a", &[])], None);
        let options = json!({ "columns": ["a", "x", "1 AS a", "now()"] });
        let faults = plan_operator(&SelectKind, options, &input).err().unwrap();
        let named: Vec<_> = faults.iter().map(|fault| fault.option.as_str()).collect();
        assert_eq!(named, ["columns[1]", "columns[3]", "columns[2]"]);
    }
}
