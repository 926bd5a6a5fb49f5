//! Event times of a source's rows, taken from one of their columns.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema};

use super::options::unknown;
use super::types::name_of;
use crate::table::{Table, in_ms};
use crate::{AnyBatch, Error, Result, Timestamp};

/// What `idle_timeout` of a source means; it is the engine that reads it.
pub(super) const IDLE_DOC: &str = "After how long without a row a subtask's event time is not waited for until it has rows again, which may be late then; waited for without end if left out.";

/// What `max_drift` of a source means; it is the engine that reads it.
pub(super) const DRIFT_DOC: &str = "How far a subtask's event time may be ahead of that of the slowest subtask of any source that it is connected with: beyond that it is not polled until those have caught up. Sources that are idle, have ended or have no event times are not waited for. How far the others are is heard with every window, so event time advances by about this much in a window at most. Not limited if left out.";

/// Which column holds the event time.
#[derive(Clone, Debug)]
pub(super) struct EventTime {
    column: usize,
    name: String,
}

impl EventTime {
    /// Finds the column: a timestamp, a date, or an integer that counts ms since 1970.
    pub(super) fn find(name: &str, schema: &Schema) -> Result<EventTime, String> {
        let Some((column, field)) = schema.column_with_name(name) else {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(unknown("column", name, &names));
        };
        match field.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Int64 | DataType::Int32 => {
                Ok(EventTime { column, name: name.into() })
            }
            other => Err(format!(
                "column `{name}` is of type {}; an event time is a timestamp, a date, or an integer of ms since 1970",
                name_of(other)
            )),
        }
    }

    /// Returns the event time of each row in ms.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<ScalarBuffer<Timestamp>> {
        let column = batch.column(self.column);
        if column.null_count() > 0
            && let Some(row) = (0..column.len()).find(|row| column.is_null(*row))
        {
            let row = Table::new(batch.slice(row, 1)).show(0);
            return Err(Error::invalid(format!("a row has no event time, its column `{}` is NULL: {row}", self.name)));
        }
        Ok(match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().values().clone(),
            DataType::Int32 => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().values().clone(),
            _ => in_ms(column)?.values().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int64Array, TimestampSecondArray};
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn times_come_out_in_ms() {
        let schema = Schema::new(vec![
            Field::new("second", DataType::Timestamp(TimeUnit::Second, None), true),
            Field::new("day", DataType::Date32, true),
            Field::new("ms", DataType::Int64, true),
            Field::new("text", DataType::Utf8, true),
        ]);
        let short = Arc::new(schema.project(&[0, 1, 2]).unwrap());
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(TimestampSecondArray::from(vec![3])),
            Arc::new(Date32Array::from(vec![1])),
            Arc::new(Int64Array::from(vec![None])),
        ];
        let batch = RecordBatch::try_new(short, columns).unwrap();
        let times = |name: &str| EventTime::find(name, &schema).unwrap().of(&batch);
        assert_eq!(times("second").unwrap().to_vec(), [3000]);
        assert_eq!(times("day").unwrap().to_vec(), [86_400_000]);
        let error = times("ms").unwrap_err();
        assert!(error.message().contains("`ms` is NULL: {") && error.message().contains("1970-01-02"), "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::Invalid, "the NULL is there after a restart, too");
        assert!(EventTime::find("text", &schema).unwrap_err().contains("of type string;"));
        assert!(EventTime::find("dya", &schema).unwrap_err().contains("did you mean `day`"));
    }
}
