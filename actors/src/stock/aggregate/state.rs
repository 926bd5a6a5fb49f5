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
use super::extreme::Extreme;
use super::moments::{Measure, MomentsAccumulator};
use super::sum::Integers;
use crate::table::{Encoding, Table};
use crate::{Error, Result};

/// The state of one key as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in super::super) struct Packed(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Where the states of keys are kept while no batch is worked on.
pub(super) trait Kept {
    /// Appends the state of the group's key; nothing if it has none.
    fn load(&mut self, group: usize, saved: &mut Saved) -> Result;

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
    Extreme(Extreme),
}

/// Rows that are added to groups.
pub(in super::super) struct Added<'a> {
    pub batch: &'a RecordBatch,
    /// The group of each row.
    pub of_row: &'a [usize],
}

/// States that were kept, one after the other in some bytes, each with the group that it belongs to.
#[derive(Default)]
pub(in super::super) struct Saved {
    bytes: Vec<u8>,
    /// The group of each, and where its bytes end.
    ends: Vec<(usize, usize)>,
}

impl Saved {
    /// Appends the state of a group. A group may have several, which are then merged in this order.
    pub(in super::super) fn push(&mut self, group: usize, state: &Packed) {
        self.bytes.extend_from_slice(&state.0);
        self.ends.push((group, self.bytes.len()));
    }

    /// Returns each state with its group, in the order in which they were appended.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(begins).map(|((group, end), begin)| (*group, &self.bytes[begin..*end]))
    }
}

/// New states of groups.
pub(super) struct Folded {
    states: Vec<ArrayRef>,
    /// The row of each group in the columns of the states.
    place: UInt32Array,
}

impl One {
    /// Merges saved states, adds the rows of a batch, and returns the new states of the groups. Groups that have saved
    /// states come before all others.
    fn fold(
        &self,
        added: Option<&Added<'_>>,
        saved: &[ArrayRef],
        of_saved: &[usize],
        groups: usize,
    ) -> DataFusionResult<Vec<ArrayRef>> {
        let mut accumulator = self.accumulator()?;
        if let Some(last) = of_saved.iter().max() {
            accumulator.merge_batch(saved, of_saved, last + 1)?;
        }
        let Some(Added { batch, of_row }) = added else { return accumulator.state(EmitTo::All) };
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            arguments.push(argument.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        let filter = self.filter.as_ref().map(|filter| filter.evaluate(batch)?.into_array(batch.num_rows()));
        let filter: Option<ArrayRef> = filter.transpose()?;
        let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
        accumulator.update_batch(&arguments, of_row, filter, groups)?;
        accumulator.state(EmitTo::All)
    }

    /// Returns the values of states.
    fn values(&self, states: &[ArrayRef]) -> DataFusionResult<ArrayRef> {
        let rows = states.first().map_or(0, |column| column.len());
        let all: Vec<usize> = (0..rows).collect();
        let mut accumulator = self.accumulator()?;
        accumulator.merge_batch(states, &all, rows)?;
        accumulator.evaluate(EmitTo::All)
    }

    fn accumulator(&self) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        match self.ours {
            Some(Ours::Moments(measure)) => return Ok(Box::new(MomentsAccumulator::new(measure))),
            Some(Ours::Sum(integers)) => return Ok(integers.accumulator()),
            Some(Ours::Extreme(extreme)) => return Ok(extreme.accumulator()),
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
            // To leave what is there twice away changes nothing about the least and the greatest.
            let ours = ours.or_else(|| Extreme::of(function, gives.data_type()).map(Ours::Extreme));
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
        let mut saved = Saved::default();
        for group in 0..groups {
            kept.load(group, &mut saved)?;
        }
        let folded = self.fold(Some(Added { batch, of_row }), &saved, groups)?;
        for (group, state) in self.pack(&folded)?.into_iter().enumerate() {
            kept.save(group, state)?;
        }
        self.values(&folded)
    }

    /// Merges the saved states of groups and adds the rows of a batch. Every group has a saved state, or a row.
    pub(super) fn fold(&self, added: Option<Added<'_>>, saved: &Saved, groups: usize) -> Result<Folded> {
        let mut has_saved = vec![false; groups];
        let mut rows = Vec::with_capacity(saved.ends.len());
        let parser = self.converter.parser();
        for (group, bytes) in saved.iter() {
            let Some(row) = bytes.strip_prefix(&self.layout) else {
                return Err(Error::invalid(
                    "its state was made for other `columns`; put the old ones back, or start anew with `--resume none`",
                ));
            };
            has_saved[group] = true;
            rows.push(parser.parse(row));
        }
        let columns = self.converter.convert_rows(rows)?;
        // An accumulator takes it for granted that no group before the last one it has seen is without rows. So the
        // groups that have a state come first here, and the new ones, which have rows in this batch, behind them.
        let order = (0..groups).filter(|group| has_saved[*group]).chain((0..groups).filter(|group| !has_saved[*group]));
        let mut place = vec![0; groups];
        order.enumerate().for_each(|(index, group)| place[group] = index);
        let of_saved: Vec<usize> = saved.ends.iter().map(|(group, _)| place[*group]).collect();
        let of_row: Option<Vec<usize>> =
            added.as_ref().map(|added| added.of_row.iter().map(|group| place[*group]).collect());
        let added = added.as_ref().zip(of_row.as_ref());
        let added = added.map(|(added, of_row)| Added { batch: added.batch, of_row });

        let mut columns = columns.into_iter();
        let mut states = Vec::new();
        for one in &self.aggregates {
            let saved: Vec<ArrayRef> = columns.by_ref().take(one.columns).collect();
            let folded = one.fold(added.as_ref(), &saved, &of_saved, groups);
            states.extend(folded.map_err(|error| one.failed(&error))?);
        }
        Ok(Folded { states, place: place.iter().map(|place| *place as u32).collect() })
    }

    /// Returns the states of all groups as they are kept.
    pub(super) fn pack(&self, folded: &Folded) -> Result<Vec<Packed>> {
        let rows = self.converter.convert_columns(&folded.states)?;
        let pack = |place: &u32| {
            let row = rows.row(*place as usize);
            Packed([&self.layout, row.as_ref()].concat())
        };
        Ok(folded.place.values().iter().map(pack).collect())
    }

    /// Returns the value of each aggregate for each group.
    pub(super) fn values(&self, folded: &Folded) -> Result<Vec<ArrayRef>> {
        let mut columns = &folded.states[..];
        let mut values = Vec::with_capacity(self.aggregates.len());
        for one in &self.aggregates {
            let (states, rest) = columns.split_at(one.columns);
            // Giving the state away has emptied the accumulator; the value is that of the state as it will be kept.
            let value = one.values(states).map_err(|error| one.failed(&error))?;
            values.push(take(&value, &folded.place, None)?);
            columns = rest;
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
}
