//! From texts and JSON values to Arrow columns.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow::array::timezone::Tz;
use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder, Int32Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMillisecondBuilder,
};
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::{DataType, Date32Type, SchemaRef};

use super::super::types::name_of;

/// What `piton list` says about the types of a `schema` option.
pub(super) const TYPES_DOC: &str = "Column -> type: string, bigint, int, double, float, boolean, timestamp (ms; RFC 3339 or epoch ms) or date; columns that are not named are inferred from the first 1000 rows.";

/// One value of a JSON row.
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
}

/// Rows being read, column by column.
pub(super) struct Columns {
    schema: SchemaRef,
    builders: Vec<Builder>,
}

enum Builder {
    Text(StringBuilder),
    Int64(Int64Builder),
    Int32(Int32Builder),
    Float64(Float64Builder),
    Float32(Float32Builder),
    Bool(BooleanBuilder),
    Timestamp(TimestampMillisecondBuilder),
    Date(Date32Builder),
}

impl Columns {
    /// Makes empty columns with room for so many rows.
    pub(super) fn new(schema: &SchemaRef, rows: usize) -> Columns {
        let builders = schema.fields().iter().map(|field| match field.data_type() {
            DataType::Int64 => Builder::Int64(Int64Builder::with_capacity(rows)),
            DataType::Int32 => Builder::Int32(Int32Builder::with_capacity(rows)),
            DataType::Float64 => Builder::Float64(Float64Builder::with_capacity(rows)),
            DataType::Float32 => Builder::Float32(Float32Builder::with_capacity(rows)),
            DataType::Boolean => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Date32 => Builder::Date(Date32Builder::with_capacity(rows)),
            DataType::Timestamp(..) => Builder::Timestamp(TimestampMillisecondBuilder::with_capacity(rows)),
            _ => Builder::Text(StringBuilder::with_capacity(rows, rows * 8)),
        });
        Columns { schema: Arc::clone(schema), builders: builders.collect() }
    }

    /// Appends NULL to a column.
    pub(super) fn append_null(&mut self, column: usize) {
        match &mut self.builders[column] {
            Builder::Text(builder) => builder.append_null(),
            Builder::Int64(builder) => builder.append_null(),
            Builder::Int32(builder) => builder.append_null(),
            Builder::Float64(builder) => builder.append_null(),
            Builder::Float32(builder) => builder.append_null(),
            Builder::Bool(builder) => builder.append_null(),
            Builder::Timestamp(builder) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
        }
    }

    /// Appends the value that a text stands for.
    ///
    /// # Errors
    /// What is wrong, if it stands for none of the column's type; nothing is appended then.
    #[inline]
    pub(super) fn append_text(&mut self, column: usize, text: &str) -> Result<(), String> {
        let understood = match &mut self.builders[column] {
            Builder::Text(builder) => {
                builder.append_value(text);
                return Ok(());
            }
            Builder::Int64(builder) => text.trim().parse().map(|value| builder.append_value(value)).is_ok(),
            Builder::Int32(builder) => text.trim().parse().map(|value| builder.append_value(value)).is_ok(),
            Builder::Float64(builder) => text.trim().parse().map(|value| builder.append_value(value)).is_ok(),
            Builder::Float32(builder) => text.trim().parse().map(|value| builder.append_value(value)).is_ok(),
            Builder::Bool(builder) => boolean(text.trim()).map(|value| builder.append_value(value)).is_some(),
            Builder::Timestamp(builder) => timestamp(text.trim()).map(|value| builder.append_value(value)).is_some(),
            Builder::Date(builder) => date(text.trim()).map(|value| builder.append_value(value)).is_some(),
        };
        if understood { Ok(()) } else { Err(self.misfit(column, text)) }
    }

    /// Appends a JSON value.
    ///
    /// # Errors
    /// As [`append_text`](Columns::append_text).
    pub(super) fn append_cell(&mut self, column: usize, cell: &Cell<'_>) -> Result<(), String> {
        let understood = match (&mut self.builders[column], cell) {
            (_, Cell::Null) => {
                self.append_null(column);
                true
            }
            (Builder::Text(builder), Cell::Bool(value)) => {
                builder.append_value(if *value { "true" } else { "false" });
                true
            }
            (Builder::Text(builder), Cell::Int(value)) => {
                builder.append_value(value.to_string());
                true
            }
            (Builder::Text(builder), Cell::Float(value)) => {
                builder.append_value(value.to_string());
                true
            }
            (Builder::Int64(builder), Cell::Int(value)) => {
                builder.append_value(*value);
                true
            }
            (Builder::Int32(builder), Cell::Int(value)) => {
                i32::try_from(*value).map(|value| builder.append_value(value)).is_ok()
            }
            (Builder::Float64(builder), Cell::Int(value)) => {
                builder.append_value(*value as f64);
                true
            }
            (Builder::Float64(builder), Cell::Float(value)) => {
                builder.append_value(*value);
                true
            }
            (Builder::Float32(builder), Cell::Int(value)) => {
                builder.append_value(*value as f32);
                true
            }
            (Builder::Float32(builder), Cell::Float(value)) => {
                builder.append_value(*value as f32);
                true
            }
            (Builder::Bool(builder), Cell::Bool(value)) => {
                builder.append_value(*value);
                true
            }
            (Builder::Timestamp(builder), Cell::Int(value)) => {
                builder.append_value(*value);
                true
            }
            (Builder::Text(_) | Builder::Timestamp(_) | Builder::Date(_), Cell::Text(text)) => {
                return self.append_text(column, text);
            }
            _ => false,
        };
        if understood { Ok(()) } else { Err(self.misfit(column, &cell.to_string())) }
    }

    fn misfit(&self, column: usize, text: &str) -> String {
        let field = self.schema.field(column);
        let shown: String = text.chars().take(60).collect();
        format!(
            "column `{}` is of type {}, but here is `{shown}`; correct the data, or give the column another type in `schema`",
            field.name(),
            name_of(field.data_type())
        )
    }

    /// Returns the rows.
    pub(super) fn finish(self) -> crate::Result<RecordBatch> {
        let columns = self.builders.into_iter().map(|builder| -> ArrayRef {
            match builder {
                Builder::Text(mut builder) => Arc::new(builder.finish()),
                Builder::Int64(mut builder) => Arc::new(builder.finish()),
                Builder::Int32(mut builder) => Arc::new(builder.finish()),
                Builder::Float64(mut builder) => Arc::new(builder.finish()),
                Builder::Float32(mut builder) => Arc::new(builder.finish()),
                Builder::Bool(mut builder) => Arc::new(builder.finish()),
                Builder::Timestamp(mut builder) => Arc::new(builder.finish()),
                Builder::Date(mut builder) => Arc::new(builder.finish()),
            }
        });
        Ok(RecordBatch::try_new(self.schema, columns.collect())?)
    }
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Null => f.write_str("null"),
            Cell::Bool(value) => value.fmt(f),
            Cell::Int(value) => value.fmt(f),
            // 2.0 is no integer, and looks like none.
            Cell::Float(value) => write!(f, "{value:?}"),
            Cell::Text(text) => text.fmt(f),
        }
    }
}

/// Returns the boolean that a text stands for.
pub(super) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Returns the ms since 1970 that a text stands for: RFC 3339, the same with a space or without a zone (UTC), a date,
/// or the number itself.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    // Arrow's own type for ms goes by way of ns, which end in 2262, and rounds towards 1970.
    static UTC: LazyLock<Tz> = LazyLock::new(|| "+00:00".parse().expect("an offset is a zone"));
    match string_to_datetime(&*UTC, text) {
        Ok(time) if text.contains('-') => Some(time.timestamp_millis()),
        _ => text.parse().ok(),
    }
}

/// Returns the days since 1970 that a text such as `2013-01-31` stands for.
pub(super) fn date(text: &str) -> Option<i32> {
    (text.len() == 10).then(|| Date32Type::parse(text)).flatten()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Field, Float64Type, Schema, TimestampMillisecondType};

    use super::*;
    use crate::stock::types::type_named;

    #[test]
    fn texts_become_values_of_the_column() {
        let types = ["string", "bigint", "int", "double", "float", "boolean", "timestamp", "date"];
        let fields: Vec<Field> = types.iter().map(|name| Field::new(*name, type_named(name).unwrap(), true)).collect();
        let mut columns = Columns::new(&Arc::new(Schema::new(fields)), 1);
        let texts = ["x", "-9007199254740993", "7", "0.1", "1.5", "TRUE", "2013-01-01T10:00:00Z", "2013-01-01"];
        for (column, text) in texts.iter().enumerate() {
            columns.append_text(column, text).unwrap();
        }
        for (column, name) in types.iter().enumerate().skip(1) {
            let error = columns.append_text(column, "x").unwrap_err();
            assert!(error.contains(name) && error.contains("`x`"), "{error}");
        }
        let batch = columns.finish().unwrap();
        assert_eq!(batch.column(1).as_primitive::<arrow::datatypes::Int64Type>().value(0), -9_007_199_254_740_993);
        assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(0), 0.1);
        assert_eq!(batch.column(6).as_primitive::<TimestampMillisecondType>().value(0), 1_357_034_400_000);
        assert_eq!(batch.column(7).as_primitive::<Date32Type>().value(0), 15_706);
    }

    #[test]
    fn timestamps_are_read_in_their_usual_forms() {
        let expected = Some(1_357_034_400_000);
        for text in [
            "2013-01-01T10:00:00Z",
            "2013-01-01 10:00:00",
            "2013-01-01T11:00:00.000+01:00",
            "2013-01-01T10:00:00.000Z",
            "1357034400000",
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
        assert_eq!(timestamp("2013-01-01"), Some(1_356_998_400_000));
        assert_eq!(timestamp("9999-12-31T23:59:59Z"), Some(253_402_300_799_000));
        assert_eq!(timestamp("0001-01-01T00:00:00Z"), Some(-62_135_596_800_000));
        assert_eq!(timestamp("1969-12-31T23:59:59.9995Z"), Some(-1), "before 1970 is before 1970");
        assert_eq!(timestamp("1970-01-01T00:00:00.9999Z"), Some(999));
        assert_eq!(timestamp("-5"), Some(-5));
        assert_eq!(timestamp("tomorrow"), None);
    }
}
