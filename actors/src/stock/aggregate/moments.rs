//! Variance and standard deviation, by Welford's method.
//!
//! The state of a key is taken up again for each batch. DataFusion's own accumulator does that by merging it into an
//! empty one, and the merge computes the mean as `mean × n / n`, which is not always `mean`: the result would depend
//! on how rows were cut into batches. This one takes a state up exactly as it was left.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, UInt64Array};
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion_common::Result;
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};

/// What is made of the moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    /// Divide by n - 1 instead of n.
    sample: bool,
    /// Take the root.
    root: bool,
}

impl Measure {
    /// Returns what a function measures, if it is one of these.
    pub(super) fn of(function: &AggregateUDF) -> Option<Measure> {
        let (sample, root) = match function.name() {
            "var" | "var_samp" => (true, false),
            "var_pop" => (false, false),
            "stddev" | "stddev_samp" => (true, true),
            "stddev_pop" => (false, true),
            _ => return None,
        };
        Some(Measure { sample, root })
    }
}

/// Count, mean and sum of the squares of the distances from the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    count: u64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.m2 += before * (value - self.mean);
    }

    fn merge(&mut self, other: Moments) {
        if self.count == 0 {
            *self = other;
        } else if other.count > 0 {
            let count = self.count + other.count;
            let delta = other.mean - self.mean;
            let share = other.count as f64 / count as f64;
            self.m2 += other.m2 + delta * delta * self.count as f64 * share;
            self.mean += delta * share;
            self.count = count;
        }
    }

    fn measure(&self, measure: Measure) -> Option<f64> {
        let divisor = if measure.sample { self.count.checked_sub(1)? } else { self.count };
        let variance = (divisor > 0).then(|| self.m2 / divisor as f64)?;
        Some(if measure.root { variance.sqrt() } else { variance })
    }
}

/// The moments of some groups.
#[derive(Debug)]
pub(super) struct MomentsAccumulator {
    measure: Measure,
    groups: Vec<Moments>,
}

impl MomentsAccumulator {
    pub(super) fn new(measure: Measure) -> MomentsAccumulator {
        MomentsAccumulator { measure, groups: Vec::new() }
    }
}

impl GroupsAccumulator for MomentsAccumulator {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total, Moments::default());
        let values = values[0].as_primitive::<Float64Type>();
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.groups[*group].add(values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let groups = emit.take_needed(&mut self.groups);
        Ok(Arc::new(groups.iter().map(|moments| moments.measure(self.measure)).collect::<Float64Array>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emit.take_needed(&mut self.groups);
        Ok(vec![
            Arc::new(UInt64Array::from_iter_values(groups.iter().map(|moments| moments.count))),
            Arc::new(Float64Array::from_iter_values(groups.iter().map(|moments| moments.mean))),
            Arc::new(Float64Array::from_iter_values(groups.iter().map(|moments| moments.m2))),
        ])
    }

    fn merge_batch(&mut self, state: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize(total, Moments::default());
        let counts = state[0].as_primitive::<UInt64Type>();
        let (means, m2s) = (state[1].as_primitive::<Float64Type>(), state[2].as_primitive::<Float64Type>());
        for (row, group) in groups.iter().enumerate() {
            let saved = Moments { count: counts.value(row), mean: means.value(row), m2: m2s.value(row) };
            self.groups[*group].merge(saved);
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = MomentsAccumulator::new(self.measure);
        each.update_batch(values, &rows, filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Measure = Measure { sample: true, root: false };

    #[test]
    fn measures_follow_their_definitions() {
        let mut moments = Moments::default();
        assert_eq!(moments.measure(SAMPLE), None);
        moments.add(2.0);
        assert_eq!(moments.measure(SAMPLE), None);
        assert_eq!(moments.measure(Measure { sample: false, root: false }), Some(0.0));
        [4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter().for_each(|value| moments.add(value));
        assert_eq!(moments.measure(Measure { sample: false, root: true }), Some(2.0));
        assert_eq!(moments.measure(SAMPLE), Some(32.0 / 7.0));
    }

    #[test]
    fn a_merge_is_as_good_as_the_rows() {
        let (mut whole, mut left, mut right) = (Moments::default(), Moments::default(), Moments::default());
        for value in 0..100 {
            let value = f64::from(value * value % 37);
            whole.add(value);
            if value < 20.0 { left.add(value) } else { right.add(value) }
        }
        left.merge(right);
        assert_eq!(left.count, 100);
        assert!((left.measure(SAMPLE).unwrap() - whole.measure(SAMPLE).unwrap()).abs() < 1e-9);
    }

    #[test]
    fn a_state_is_taken_up_to_the_bit() {
        // A mean for which mean × n / n is another number, as a merge would compute it.
        let saved = (1..100_000u32)
            .map(|n| {
                let mut moments = Moments::default();
                (0..3 + n % 5).for_each(|i| moments.add(f64::from(n) / 7.0 + f64::from(i) / 3.0));
                moments
            })
            .find(|moments| moments.mean * moments.count as f64 / moments.count as f64 != moments.mean)
            .expect("there are many of them");
        let mut fresh = Moments::default();
        fresh.merge(saved);
        assert_eq!(fresh, saved);
    }
}
