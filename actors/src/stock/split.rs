//! `split`: rows by conditions to side outputs.
//!
//! The conditions are asked in the order in which they are written, each of the rows that none before it has taken: what
//! is not asked cannot fail either, such as a division for rows that an earlier condition has sorted out.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{not, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use serde::Deserialize;

use super::expression::{Expression, Scope};
use super::options::{read, required};
use super::{input_schema, table_operator};
use crate::blueprint::{Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::{Context, Operator, Result, SideOutputDeclared};

/// Passes rows on to the first side output whose condition is true, and to the main output if none is.
#[derive(Clone)]
struct Split {
    outputs: Arc<[(String, Expression)]>,
    /// The columns of its input, and so of all outputs.
    schema: SchemaRef,
}

impl Operator for Split {
    type In = Table;
    type Out = Table;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        false
    }

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        let declared = |(name, _): &(String, Expression)| {
            SideOutputDeclared::of::<Table>(Cow::Owned(name.clone()), RecordType::Table(Arc::clone(&self.schema)))
        };
        self.outputs.iter().map(declared).collect()
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<Table>) -> Result {
        self.process_batch(Arc::new(row.table.slice(row.row, 1)), ctx)
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<Table>) -> Result {
        let mut left = Table::clone(&table);
        for (name, condition) in self.outputs.iter() {
            if left.rows() == 0 {
                return Ok(());
            }
            let mask = condition.evaluate(left.batch())?;
            let mask = is_true(mask.as_boolean());
            let matching = mask.true_count();
            if matching == left.rows() {
                return ctx.emit_table_named(name, left);
            }
            if matching > 0 {
                ctx.emit_table_named(name, left.filter(&mask)?)?;
                left = left.filter(&not(&mask)?)?;
            }
        }
        ctx.emit_table(left);
        Ok(())
    }
}

/// Returns for which rows a condition is true; where it is NULL it is not.
fn is_true(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) }
}

/// The kind `split`.
pub(super) struct SplitKind;

#[derive(Deserialize)]
struct Settings {
    outputs: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    r#where: String,
}

impl Settings {
    /// Returns what is wrong with the names.
    fn faults(&self) -> Vec<Fault> {
        if self.outputs.is_empty() {
            return vec![Fault::new("outputs", "name at least one output")];
        }
        let mut faults = Vec::new();
        for (index, Part { name, .. }) in self.outputs.iter().enumerate() {
            let option = format!("outputs[{index}].name");
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
            if name.is_empty() || !name.chars().all(is_letter) {
                let message = format!("`{name}` cannot name an output; use letters, digits, \"_\" and \"-\"");
                faults.push(Fault::new(option, message));
            } else if self.outputs[..index].iter().any(|earlier| earlier.name == *name) {
                let message = format!("there are two outputs `{name}`; join their conditions with OR, or rename one");
                faults.push(Fault::new(option, message));
            }
        }
        faults
    }
}

impl OperatorKind for SplitKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Passes each row on to the first of its outputs whose condition is true, and by its own name if none is.",
            options: vec![required(
                "outputs",
                "What there is to read as inputs = [\"NAME.OUTPUT\"], in the order in which the conditions are asked: [{ name = \"big\", where = \"value > 500\" }, { name = \"small\", where = \"value <= 10\" }]; the rows that no condition takes are read as inputs = [\"NAME\"].",
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
        let mut faults = settings.faults();
        let schema = input_schema(inputs)?;
        let scope = Scope::new(&schema).map_err(|message| vec![Fault::new("inputs", message)])?;
        let mut outputs = Vec::new();
        for (index, Part { name, r#where }) in settings.outputs.into_iter().enumerate() {
            match scope.condition(&r#where) {
                Ok(condition) => outputs.push((name, condition)),
                Err(message) => faults.push(Fault::new(format!("outputs[{index}].where"), message)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let split = Split { outputs: outputs.into(), schema: Arc::clone(&schema) };
        Ok(table_operator(schema, false, Arc::new(move || Ok(split.clone()))))
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        match read::<Settings>(options, &self.doc()) {
            Ok(settings) => settings.faults(),
            Err(faults) => faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{int_table, ints, plan_operator};
    use super::*;
    use crate::harness::Harness;
    use crate::table::table;

    fn harness(outputs: Value, input: &Table) -> Harness<Split> {
        let parts: Vec<Part> = serde_json::from_value(outputs).unwrap();
        let scope = Scope::new(&input.schema()).unwrap();
        let outputs = parts.into_iter().map(|part| (part.name, scope.condition(&part.r#where).unwrap()));
        let split = Split { outputs: outputs.collect(), schema: input.schema() };
        Harness::new(move || split.clone())
    }

    fn values(batches: &[crate::Batch]) -> Vec<(Option<i64>, Option<i64>)> {
        let tables: Vec<_> = batches.iter().map(|batch| table(batch).unwrap()).collect();
        let rows = |table: &Arc<Table>| {
            let times = (0..table.rows()).map(|row| table.time(row)).collect::<Vec<_>>();
            ints(table, "v").into_iter().zip(times).collect::<Vec<_>>()
        };
        tables.iter().flat_map(rows).collect()
    }

    #[test]
    fn the_first_condition_that_is_true_takes_a_row() {
        let rows = [Some(900), Some(5), None, Some(100), Some(0), Some(901)];
        let input = int_table(&[("v", &rows)], Some(&[1, 2, 3, 4, 5, 6]));
        let outputs = json!([
            { "name": "big", "where": "v > 500" },
            { "name": "zero", "where": "v = 0" },
            // Of a row that is 0, nobody asks this.
            { "name": "small", "where": "1000 / v >= 100 OR v > 900" },
        ]);
        let mut harness = harness(outputs, &input);
        harness.push_batch(0, Arc::new(input)).unwrap();
        assert_eq!(values(harness.output_batches()), [(None, Some(3)), (Some(100), Some(4))]);
        let aside = |name: &str| values(harness.side_output_batches(name));
        assert_eq!(aside("big"), [(Some(900), Some(1)), (Some(901), Some(6))]);
        assert_eq!(aside("zero"), [(Some(0), Some(5))]);
        assert_eq!(aside("small"), [(Some(5), Some(2))]);
    }

    #[test]
    fn a_batch_that_goes_one_way_is_not_copied() {
        let input = int_table(&[("v", &[Some(1), Some(2)])], None);
        let mut harness = harness(json!([{ "name": "all", "where": "v > 0" }]), &input);
        harness.push_batch(0, Arc::new(input.clone())).unwrap();
        let out = table(&harness.side_output_batches("all")[0]).unwrap();
        assert_eq!(out.column(0).to_data().buffers()[0].as_ptr(), input.column(0).to_data().buffers()[0].as_ptr());
        assert!(harness.output_batches().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_options() {
        let input = int_table(&[("v", &[])], None);
        let told = |outputs: Value| {
            let faults = plan_operator(&SplitKind, json!({ "outputs": outputs }), &input).err().unwrap();
            faults.into_iter().map(|fault| (fault.option, fault.message)).collect::<Vec<_>>()
        };
        let ok = json!({ "name": "a", "where": "v > 0" });
        for (outputs, option, part) in [
            (json!([]), "outputs", "at least one"),
            (json!([ok, { "name": "b", "where": "w > 0" }]), "outputs[1].where", "unknown column `w`"),
            (json!([{ "name": "b", "where": "v" }]), "outputs[0].where", "true or false"),
            (json!([{ "name": "b.c", "where": "v > 0" }]), "outputs[0].name", "cannot name an output"),
            (json!([ok, ok]), "outputs[1].name", "two outputs `a`"),
            (json!([{ "name": "b" }]), "outputs[0]", "missing field `where`"),
            (json!([{ "name": "b", "where": "v > 0", "wehre": 1 }]), "outputs[0].wehre", "unknown field `wehre`"),
        ] {
            let faults = told(outputs.clone());
            assert!(faults.len() == 1 && faults[0].0 == option && faults[0].1.contains(part), "{outputs}: {faults:?}");
        }
        let blueprint = plan_operator(&SplitKind, json!({ "outputs": [ok] }), &input).unwrap();
        assert!(!blueprint.keyed);
        let [declared] = &blueprint.side_outputs[..] else { panic!("{:?}", blueprint.side_outputs) };
        assert_eq!(declared.name(), "a");
        assert!(declared.carries().agrees_with(&blueprint.output));
    }
}
