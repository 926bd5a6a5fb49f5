//! Aggregates of groups of rows, and their state as bytes.
//!
//! Nothing is kept in accumulators between two batches: for each batch the states of the keys in it are taken up, all
//! at once and column by column, and put down again. The state of a key is one row of all aggregates' state columns
//! in Arrow's row encoding, which gives every value back to the bit. So what a crash leaves behind is the same as what
//! the next batch would have started from anyway.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion_common::{DataFusionError, Result as DataFusionResult};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate};
use serde::{Deserialize, Serialize};

use super::super::expression::{checked, plain};
use super::moments::{Measure, MomentsAccumulator};
use super::sum::Integers;
use crate::table::{Encoding, Table};
use crate::{Error, Result};

/// The state of one key as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Packed(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Where the states of keys are kept while no batch is worked on.
pub(super) trait Kept {
    /// Appends the state of the group's key to `bytes`; nothing if it has none.
    fn load(&mut self, group: usize, bytes: &mut Vec<u8>) -> Result;

    /// Replaces the state of the group's key.
    fn save(&mut self, group: usize, state: Packed) -> Result;
}

/// The aggregates of one operator.
pub(super) struct Aggregates {
    aggregates: Vec<One>,
    converter: RowConverter,
    /// What the columns of the states are called.
    columns: SchemaRef,
    /// Stands before each state, so that one made for other aggregates is refused and not misread.
    layout: [u8; 4],
    /// The aggregates and the types of their states, for people.
    pub described: String,
}

struct One {
    /// What identifies it: the function and its arguments.
    text: String,
    function: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// How many columns its state has.
    columns: usize,
    /// Set if the accumulator is one of ours.
    ours: Option<Ours>,
}

/// What our own accumulators compute.
#[derive(Clone, Copy)]
enum Ours {
    Moments(Measure),
    Sum(Integers),
}

/// The states of the groups of a batch: those of the first `known` groups are saved, the others are new.
struct TakenUp {
    saved: Vec<ArrayRef>,
    known: usize,
    groups: usize,
}

impl One {
    /// Adds the rows of a batch to the states that were taken up. Returns the new states and the new values.
    fn advance(
        &self,
        batch: &RecordBatch,
        of_row: &[usize],
        taken_up: TakenUp,
    ) -> DataFusionResult<(Vec<ArrayRef>, ArrayRef)> {
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            arguments.push(argument.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        let filter = self.filter.as_ref().map(|filter| filter.evaluate(batch)?.into_array(batch.num_rows()));
        let filter: Option<ArrayRef> = filter.transpose()?;
        let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());

        let TakenUp { saved, known, groups } = taken_up;
        let all: Vec<usize> = (0..groups).collect();
        let mut accumulator = self.accumulator()?;
        if known > 0 {
            accumulator.merge_batch(&saved, &all[..known], known)?;
        }
        accumulator.update_batch(&arguments, of_row, filter, groups)?;
        let state = accumulator.state(EmitTo::All)?;
        // Giving the state away has emptied the accumulator; the value is that of the state as it will be kept.
        let mut accumulator = self.accumulator()?;
        accumulator.merge_batch(&state, &all, groups)?;
        Ok((state, accumulator.evaluate(EmitTo::All)?))
    }

    fn accumulator(&self) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        match self.ours {
            Some(Ours::Moments(measure)) => return Ok(Box::new(MomentsAccumulator::new(measure))),
            Some(Ours::Sum(integers)) => return Ok(integers.accumulator()),
            None => {}
        }
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = Arc::clone(&self.function);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }

    fn failed(&self, error: &DataFusionError) -> Error {
        Error::failed(format!("`{}`: {}", self.text, plain(error)))
    }
}

impl Aggregates {
    /// Makes the aggregates of planned functions, each with the text that identifies it.
    pub(super) fn new(planned: Vec<(LoweredAggregate, String)>) -> Result<Aggregates> {
        let mut aggregates = Vec::new();
        let mut types = Vec::new();
        let mut columns = Vec::new();
        let mut identified = String::new();
        let mut described = Vec::new();
        for (lowered, text) in planned {
            let fields = lowered.aggregate.state_fields().map_err(|error| Error::invalid(plain(&error)))?;
            identified.push_str(&text);
            for field in &fields {
                identified.push_str(&format!("|{}", field.data_type()));
                types.push(SortField::new(field.data_type().clone()));
                let part = field.name().rfind('[').map_or("", |at| &field.name()[at..]);
                let part = if fields.len() == 1 { "" } else { part };
                columns.push(Field::new(format!("{text}{part}"), field.data_type().clone(), true));
            }
            identified.push('\n');
            let kept: Vec<String> = fields.iter().map(|field| field.data_type().to_string()).collect();
            described.push(format!("{text}: {}", kept.join(" ")));
            let (function, gives) = (lowered.aggregate.fun(), lowered.aggregate.field());
            let ours = Measure::of(function).map(Ours::Moments);
            let ours = ours.or_else(|| Integers::of(function, gives.data_type()).map(Ours::Sum));
            let ours = ours.filter(|_| !lowered.aggregate.is_distinct());
            let arguments = lowered.aggregate.expressions().into_iter().map(checked);
            let arguments =
                arguments.collect::<DataFusionResult<_>>().map_err(|error| Error::invalid(plain(&error)))?;
            let filter = lowered.filter.map(checked).transpose().map_err(|error| Error::invalid(plain(&error)))?;
            aggregates.push(One { text, arguments, function: lowered.aggregate, filter, columns: fields.len(), ours });
        }
        let layout = crc32fast::hash(identified.as_bytes()).to_be_bytes();
        let described = described.join(", ");
        let columns = Arc::new(Schema::new(columns));
        Ok(Aggregates { aggregates, converter: RowConverter::new(types)?, columns, layout, described })
    }

    /// Takes up the states of the groups, adds the rows of a batch, and puts the states down again. Returns the new
    /// value of each aggregate for each group.
    pub(super) fn advance(
        &self,
        batch: &RecordBatch,
        of_row: &[usize],
        groups: usize,
        kept: &mut impl Kept,
    ) -> Result<Vec<ArrayRef>> {
        let (mut order, saved) = self.load(groups, kept)?;
        // An accumulator takes it for granted that no group before the last one it has seen is without rows. So the
        // groups that have a state come first here, and the new ones, which have rows in this batch, behind them.
        let known = order.len();
        let mut place = vec![usize::MAX; groups];
        order.iter().enumerate().for_each(|(index, group)| place[*group] = index);
        for (group, place) in place.iter_mut().enumerate().filter(|(_, place)| **place == usize::MAX) {
            *place = order.len();
            order.push(group);
        }
        let of_row: Vec<usize> = of_row.iter().map(|group| place[*group]).collect();
        let place: UInt32Array = place.iter().map(|place| *place as u32).collect();

        let mut saved = saved.into_iter();
        let mut states = Vec::new();
        let mut values = Vec::new();
        for one in &self.aggregates {
            let saved: Vec<ArrayRef> = saved.by_ref().take(one.columns).collect();
            let taken_up = TakenUp { saved, known, groups };
            let (state, value) = one.advance(batch, &of_row, taken_up).map_err(|error| one.failed(&error))?;
            states.extend(state);
            values.push(take(&value, &place, None)?);
        }
        let rows = self.converter.convert_columns(&states)?;
        for (group, row) in order.into_iter().zip(rows.iter()) {
            let mut bytes = Vec::with_capacity(self.layout.len() + row.as_ref().len());
            bytes.extend_from_slice(&self.layout);
            bytes.extend_from_slice(row.as_ref());
            kept.save(group, Packed(bytes))?;
        }
        Ok(values)
    }

    /// Returns a state as a JSON object; nothing if it was not made for these aggregates.
    pub(super) fn show(&self, state: &Packed) -> Option<String> {
        let row = state.0.strip_prefix(&self.layout)?;
        let columns = self.converter.convert_rows([self.converter.parser().parse(row)]).ok()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.columns), columns).ok()?;
        let mut json = Vec::new();
        Encoding::Json.rows(&Table::new(batch), &mut json).ok()?;
        String::from_utf8(json).ok().map(|json| json.trim_end().to_string())
    }

    /// Returns the groups that have a state, and the columns of these states.
    fn load(&self, groups: usize, kept: &mut impl Kept) -> Result<(Vec<usize>, Vec<ArrayRef>)> {
        let mut bytes = Vec::new();
        let mut known = Vec::new();
        let mut ends = Vec::new();
        for group in 0..groups {
            let begin = bytes.len();
            kept.load(group, &mut bytes)?;
            if bytes.len() > begin {
                if !bytes[begin..].starts_with(&self.layout) {
                    return Err(Error::invalid(
                        "its state was made for other `columns`; put the old ones back, or start anew with `--resume none`",
                    ));
                }
                known.push(group);
                ends.push((begin + self.layout.len(), bytes.len()));
            }
        }
        let parser = self.converter.parser();
        let rows = ends.iter().map(|(begin, end)| parser.parse(&bytes[*begin..*end]));
        Ok((known, self.converter.convert_rows(rows)?))
    }
}
