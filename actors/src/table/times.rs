//! Timestamps of any unit as ms since 1970.

use arrow::array::{Array, ArrayRef, AsArray, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};

use crate::Result;

/// Returns a column of times in ms, rounded down: what is before an hour stays before it. Arrow's own cast rounds towards
/// 1970.
///
/// # Errors
/// If a column is not one of times, or one of them is too far from 1970.
pub(crate) fn in_ms(column: &ArrayRef) -> Result<TimestampMillisecondArray> {
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().unary(|time| time.div_euclid(1_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            column.as_primitive::<TimestampNanosecondType>().unary(|time| time.div_euclid(1_000_000))
        }
        _ => {
            let times = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            times.as_primitive::<TimestampMillisecondType>().clone()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn times_are_rounded_down() {
        let columns: [(ArrayRef, i64); 4] = [
            (Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None])), -1),
            (Arc::new(TimestampMicrosecondArray::from(vec![Some(-1_001), None])), -2),
            (Arc::new(TimestampSecondArray::from(vec![Some(-3), None])), -3_000),
            (Arc::new(Date32Array::from(vec![Some(-1), None])), -86_400_000),
        ];
        for (column, expected) in columns {
            let times = in_ms(&column).unwrap();
            assert_eq!((times.value(0), times.is_null(1)), (expected, true));
        }
    }
}
