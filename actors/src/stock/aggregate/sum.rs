//! Sums of integers that fail when they no longer fit.
//!
//! DataFusion's own sum wraps around: the total of large numbers would come out small or negative, without a word.
//! The state is the same, so what was kept by the one is taken up by the other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion_common::{Result, exec_err, internal_err};
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};

/// The integers that are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integers {
    Signed,
    Unsigned,
}

impl Integers {
    /// Returns what a function that gives this type sums up, if it sums up integers.
    pub(super) fn of(function: &AggregateUDF, gives: &DataType) -> Option<Integers> {
        match gives {
            DataType::Int64 if function.name() == "sum" => Some(Integers::Signed),
            DataType::UInt64 if function.name() == "sum" => Some(Integers::Unsigned),
            _ => None,
        }
    }

    /// Makes an accumulator without groups.
    pub(super) fn accumulator(self) -> Box<dyn GroupsAccumulator> {
        match self {
            Integers::Signed => Box::new(SumAccumulator::<Int64Type> { groups: Vec::new() }),
            Integers::Unsigned => Box::new(SumAccumulator::<UInt64Type> { groups: Vec::new() }),
        }
    }
}

/// The sums of some groups; none for a group without values.
#[derive(Debug)]
struct SumAccumulator<T: ArrowPrimitiveType> {
    groups: Vec<Option<T::Native>>,
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for SumAccumulator<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total, None);
        let Some(values) = values[0].as_primitive_opt::<T>() else {
            return internal_err!("a sum of {} was given {}", T::DATA_TYPE, values[0].data_type());
        };
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                let (sum, value) = (self.groups[*group].unwrap_or(T::Native::ZERO), values.value(row));
                match sum.add_checked(value) {
                    Ok(sum) => self.groups[*group] = Some(sum),
                    Err(_) => return exec_err!("the sum is too large for {}: {sum:?} + {value:?}", T::DATA_TYPE),
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(emit.take_needed(&mut self.groups).into_iter().collect::<PrimitiveArray<T>>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn merge_batch(&mut self, state: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(state, groups, None, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = SumAccumulator::<T> { groups: Vec::new() };
        each.update_batch(values, &rows, filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Option<T::Native>>()
    }
}
