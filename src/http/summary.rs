//! The least, the most, the mean and percentiles of some numbers. Of none, all are 0.

use serde_json::{Value, json};

/// See the module.
#[derive(Debug)]
pub(super) struct Summary {
    /// In order.
    numbers: Vec<u64>,
}

impl Summary {
    /// Summarises these.
    pub(super) fn of(numbers: impl Iterator<Item = u64>) -> Summary {
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        Summary { numbers }
    }

    /// Returns the smallest number that is not exceeded by so many of 1,000: the nearest rank.
    fn permille(&self, of_thousand: usize) -> u64 {
        let rank = (self.numbers.len() * of_thousand).div_ceil(1_000).max(1);
        self.numbers.get(rank - 1).copied().unwrap_or(0)
    }

    fn mean(&self) -> u64 {
        let sum: u128 = self.numbers.iter().map(|number| u128::from(*number)).sum();
        sum.checked_div(self.numbers.len() as u128).and_then(|mean| u64::try_from(mean).ok()).unwrap_or(0)
    }

    /// Says it with Flink's names.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "min": self.numbers.first().copied().unwrap_or(0),
            "max": self.numbers.last().copied().unwrap_or(0),
            "avg": self.mean(),
            "p50": self.permille(500),
            "p90": self.permille(900),
            "p95": self.permille(950),
            "p99": self.permille(990),
            "p999": self.permille(999),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let said = Summary::of((1..=100).rev()).to_json();
        let expected = json!({
            "min": 1, "max": 100, "avg": 50, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "p999": 100
        });
        assert_eq!(said, expected);
        let one = Summary::of([7].into_iter());
        assert_eq!([one.permille(500), one.permille(999), one.mean()], [7, 7, 7]);
    }

    #[test]
    fn of_nothing_all_are_numbers_too() {
        let said = Summary::of(std::iter::empty()).to_json();
        assert!(said.as_object().unwrap().values().all(|value| *value == json!(0)), "{said}");
        assert_eq!(Summary::of([u64::MAX, u64::MAX].into_iter()).mean(), u64::MAX);
    }
}
