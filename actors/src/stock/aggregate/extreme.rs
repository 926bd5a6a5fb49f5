//! The least and the greatest of floating-point numbers, whatever order they come in.
//!
//! DataFusion's own accumulators compare with `<`, for which NaN is neither less nor greater than anything: a row after one
//! that holds NaN takes the place of whatever was there. Here NaN is greater than all numbers, as it is where rows are
//! sorted, and -0 is less than 0. The state is the same.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion_common::{Result, internal_err};
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};

/// Which of the numbers of a group is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extreme {
    /// The one that compares so with all others.
    is: Ordering,
    is_double: bool,
}

impl Extreme {
    /// Returns what a function that gives this type finds, if it is one of these.
    pub(super) fn of(function: &AggregateUDF, gives: &DataType) -> Option<Extreme> {
        let is = match function.name() {
            "min" => Ordering::Less,
            "max" => Ordering::Greater,
            _ => return None,
        };
        match gives {
            DataType::Float64 => Some(Extreme { is, is_double: true }),
            DataType::Float32 => Some(Extreme { is, is_double: false }),
            _ => None,
        }
    }

    /// Makes an accumulator without groups.
    pub(super) fn accumulator(self) -> Box<dyn GroupsAccumulator> {
        if self.is_double {
            return Box::new(ExtremeAccumulator::<Float64Type> {
                is: self.is,
                order: double_order,
                groups: Vec::new(),
            });
        }
        let order = |one: &f32, other: &f32| double_order(&f64::from(*one), &f64::from(*other));
        Box::new(ExtremeAccumulator::<Float32Type> { is: self.is, order, groups: Vec::new() })
    }
}

/// NaN is one number, the greatest, whatever its sign.
fn double_order(one: &f64, other: &f64) -> Ordering {
    one.is_nan().cmp(&other.is_nan()).then_with(|| if one.is_nan() { Ordering::Equal } else { one.total_cmp(other) })
}

/// The extremes of some groups; none for a group without values.
#[derive(Debug)]
struct ExtremeAccumulator<T: ArrowPrimitiveType> {
    is: Ordering,
    order: fn(&T::Native, &T::Native) -> Ordering,
    groups: Vec<Option<T::Native>>,
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for ExtremeAccumulator<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total, None);
        let Some(values) = values[0].as_primitive_opt::<T>() else {
            return internal_err!("an extreme of {} was given {}", T::DATA_TYPE, values[0].data_type());
        };
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                let (known, value) = (&mut self.groups[*group], values.value(row));
                if known.is_none_or(|known| (self.order)(&value, &known) == self.is) {
                    *known = Some(value);
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
        let mut each = ExtremeAccumulator::<T> { is: self.is, order: self.order, groups: Vec::new() };
        each.update_batch(values, &rows, filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Option<T::Native>>()
    }
}
