//! From the options and the inputs of a `join` to what it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::super::coder::key_column;
use super::super::expression::normal;
use super::super::types::name_of;
use super::packed::{Packed, Shape};
use super::settings::{On, Settings};
use super::side::Side;
use crate::Timestamp;
use crate::blueprint::Fault;
use crate::join::{How, Place};
use crate::record::RecordType;

/// What a `join` does.
pub(super) struct Plan {
    pub how: How,
    /// The columns of the left and of the right input.
    pub inputs: [SchemaRef; 2],
    pub shape: Arc<Shape>,
    /// What its state was made for: rows of other columns, or found by others, are not to be mixed with these.
    pub state: String,
}

impl Plan {
    /// Makes the plan, or tells everything that is wrong.
    pub(super) fn new(settings: &Settings, inputs: &[RecordType]) -> Result<Plan, Vec<Fault>> {
        let mut faults = settings.check();
        let schemas = match schemas(inputs) {
            Ok(schemas) => schemas,
            Err(more) => {
                faults.extend(more);
                return Err(faults);
            }
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let (on, how, [left, right]) = (settings.on()?, settings.how()?, schemas);
        let by = keys(&on, &left, &right)?;
        let (of_left, of_right): (Vec<usize>, Vec<usize>) = by.into_iter().unzip();
        let kept: Vec<usize> =
            (0..right.fields().len()).filter(|column| !(on.is_shared && of_right.contains(column))).collect();
        clashes(&left, &right, &kept)?;
        let described = |schema: &SchemaRef, by: &[usize]| {
            let by: Vec<&str> = by.iter().map(|column| schema.field(*column).name().as_str()).collect();
            format!("({}) by [{}]", super::super::columns_of(schema), by.join(", "))
        };
        let pairing = how.pairing;
        let state = format!("{pairing:?}, {}, {}", described(&left, &of_left), described(&right, &of_right));
        let side = |index: usize, schema: &SchemaRef, by: Vec<usize>, kept: Vec<usize>| {
            Side::new(schema, by, kept).map_err(|message| vec![Fault::new(format!("inputs[{index}]"), message)])
        };
        let all = (0..left.fields().len()).collect();
        let shape = Shape::pairs(side(0, &left, of_left, all)?, side(1, &right, of_right, kept)?);
        let shape = shape.map_err(|error| vec![Fault::new("inputs", error.to_string())])?;
        Ok(Plan { how, inputs: [left, right], shape: Arc::new(shape), state })
    }

    /// Shows rows that are kept, and when they came, as JSON; nothing if they are not of this plan.
    pub(super) fn show(&self, name: &str, written: &[u8]) -> Option<String> {
        let one = |at: &Timestamp, row: String| format!(r#"{{"time":{at},"row":{row}}}"#);
        let mut shown = Vec::new();
        match name {
            "left" | "right" => {
                let side = self.shape.side(name == "left");
                for ((at, _), row) in &rmp_serde::from_slice::<BTreeMap<Place, Packed>>(written).ok()? {
                    shown.push(one(at, side.show(row)?));
                }
            }
            "versions" => {
                for (at, row) in &rmp_serde::from_slice::<BTreeMap<Timestamp, Packed>>(written).ok()? {
                    shown.push(one(at, self.shape.side(false).show(row)?));
                }
            }
            "alone" => {
                for (at, _) in rmp_serde::from_slice::<BTreeMap<Place, ()>>(written).ok()?.keys() {
                    shown.push(at.to_string());
                }
            }
            _ => return None,
        }
        Some(format!("[{}]", shown.join(",")))
    }
}

fn schemas(inputs: &[RecordType]) -> Result<[SchemaRef; 2], Vec<Fault>> {
    let [left, right] = inputs else {
        let message = format!("a join takes 2 inputs, the left and the right one, not {}", inputs.len());
        return Err(vec![Fault::new("inputs", message)]);
    };
    let mut faults = Vec::new();
    let mut schema = |index: usize, input: &RecordType| match input {
        RecordType::Table(schema) => Some(normal(schema)),
        other => {
            let message = format!("carries {other}, but Arrow batches are needed");
            faults.push(Fault::new(format!("inputs[{index}]"), message));
            None
        }
    };
    match (schema(0, left), schema(1, right)) {
        (Some(left), Some(right)) => Ok([left, right]),
        _ => Err(faults),
    }
}

fn keys(on: &On, left: &SchemaRef, right: &SchemaRef) -> Result<Vec<(usize, usize)>, Vec<Fault>> {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for ((option, of_left), (of, of_right)) in on.left.iter().zip(&on.right) {
        let columns = (key_column(of_left, left), key_column(of_right, right));
        let (Ok(one), Ok(other)) = columns else {
            let told = |input: &'static str| move |message: String| format!("{message}, in the {input} input");
            faults.extend(columns.0.err().map(told("left")).map(|message| Fault::new(option, message)));
            faults.extend(columns.1.err().map(told("right")).map(|message| Fault::new(of, message)));
            continue;
        };
        let (one_type, other_type) = (left.field(one).data_type(), right.field(other).data_type());
        if one_type != other_type {
            let (one_type, other_type) = (name_of(one_type), name_of(other_type));
            let message = format!(
                "column `{of_left}` of the left input is of type {one_type}, but `{of_right}` of the right one is of type {other_type}: make them equal by a CAST in a `select`, or in `schema` of the source"
            );
            faults.push(Fault::new(of, message));
            continue;
        }
        found.push((one, other));
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// Two columns of one name could not be told apart behind the join.
fn clashes(left: &SchemaRef, right: &SchemaRef, kept: &[usize]) -> Result<(), Vec<Fault>> {
    let names = kept.iter().map(|column| right.field(*column).name().as_str());
    let both: Vec<&str> = names.filter(|name| left.column_with_name(name).is_some()).collect();
    let Some(first) = both.first() else { return Ok(()) };
    let named: Vec<String> = both.iter().map(|name| format!("`{name}`")).collect();
    let message = format!(
        "has {} {} that the other input has, too: put a `select` before it that leaves it out or renames it, as in columns = [\"{first} AS right_{first}\", …]; columns of the list `on` come out once",
        if both.len() == 1 { "a column" } else { "the columns" },
        named.join(", ")
    );
    Err(vec![Fault::new("inputs[1]", message)])
}
