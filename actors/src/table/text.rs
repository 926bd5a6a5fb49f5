//! Tables as text: CSV lines and JSON lines.
//!
//! A value is written so that it reads back the same: a float as the shortest such text, a timestamp as RFC 3339 in
//! UTC with ms. In CSV, NULL is an empty field and an empty text is `""`; only a NULL that is alone in its row is
//! written as `""` too, because readers skip empty lines. In JSON, NULL is `null`, and so are the floats that JSON
//! does not have (NaN and the infinities). What is made of several values is an array or an object in JSON, and in CSV
//! a text that holds that.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, FieldRef, Float32Type, Float64Type, Int64Type, Schema, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Table;
use super::times::in_ms;
use crate::Result;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Comma-separated values (RFC 4180, with line feeds).
    Csv,
    /// One JSON object per line.
    Json,
}

impl Encoding {
    /// Appends what a file of this encoding begins with.
    pub(crate) fn begin(self, schema: &Schema, out: &mut Vec<u8>) {
        if self == Encoding::Csv {
            for (index, field) in schema.fields().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                csv_text(field.name(), out);
            }
            out.push(b'\n');
        }
    }

    /// Appends the rows of a table, one line each.
    pub(crate) fn rows(self, table: &Table, out: &mut Vec<u8>) -> Result {
        let columns = table.batch().columns().iter().map(Column::new).collect::<Result<Vec<Column>>>()?;
        let schema = table.schema();
        match self {
            Encoding::Csv => csv_rows(&columns, table.rows(), out),
            Encoding::Json => {
                let names: Vec<Vec<u8>> = schema.fields().iter().map(|field| json_name(field.name())).collect();
                json_rows(&names, &columns, table.rows(), out);
            }
        }
        Ok(())
    }
}

fn csv_rows(columns: &[Column], rows: usize, out: &mut Vec<u8>) {
    for row in 0..rows {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if !column.is_null(row) {
                column.csv(row, out);
            } else if columns.len() == 1 {
                out.extend_from_slice(b"\"\"");
            }
        }
        out.push(b'\n');
    }
}

fn json_rows(names: &[Vec<u8>], columns: &[Column], rows: usize, out: &mut Vec<u8>) {
    for row in 0..rows {
        for (index, (name, column)) in names.iter().zip(columns).enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            out.extend_from_slice(name);
            column.json(row, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

/// A column, prepared for writing its values one by one.
struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Integers(Int64Array),
    Unsigned(UInt64Array),
    Doubles(Float64Array),
    Floats(Float32Array),
    Booleans(BooleanArray),
    Texts(StringArray),
    /// Milliseconds since 1970.
    Times(arrow::array::TimestampMillisecondArray),
    /// Days since 1970.
    Dates(arrow::array::Date32Array),
    Lists {
        offsets: OffsetBuffer<i32>,
        items: Box<Column>,
    },
    Maps {
        offsets: OffsetBuffer<i32>,
        keys: Box<Column>,
        values: Box<Column>,
    },
    /// Each part with its name, as it stands in JSON.
    Structs(Vec<(Vec<u8>, Column)>),
    /// Of a type that has no number, text or time of its own: as Arrow displays it.
    Shown(Vec<String>),
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Column> {
        let as_type = |data_type: DataType| cast(array, &data_type);
        let values = match array.data_type() {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Values::Integers(as_type(DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            DataType::UInt64 => Values::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float64 => Values::Doubles(array.as_primitive::<Float64Type>().clone()),
            DataType::Float16 | DataType::Float32 => {
                Values::Floats(as_type(DataType::Float32)?.as_primitive::<Float32Type>().clone())
            }
            DataType::Boolean => Values::Booleans(array.as_boolean().clone()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Values::Texts(as_type(DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Timestamp(..) => Values::Times(in_ms(array)?),
            DataType::Date32 => Values::Dates(array.as_primitive::<Date32Type>().clone()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                Values::Lists { offsets: lists.offsets().clone(), items: Box::new(Column::new(lists.values())?) }
            }
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                return Column::new(&as_type(DataType::List(Arc::clone(item)))?);
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                let (keys, values) = (Column::new(maps.keys())?, Column::new(maps.values())?);
                Values::Maps { offsets: maps.offsets().clone(), keys: Box::new(keys), values: Box::new(values) }
            }
            DataType::Struct(fields) => {
                let part =
                    |(field, column): (&FieldRef, &ArrayRef)| Ok((json_name(field.name()), Column::new(column)?));
                Values::Structs(fields.iter().zip(array.as_struct().columns()).map(part).collect::<Result<_>>()?)
            }
            DataType::Dictionary(_, value) => return Column::new(&as_type(DataType::clone(value))?),
            _ => Values::Shown(shown(array)?),
        };
        // Some types (the dictionary, for one) know only through their values what is NULL.
        Ok(Column { nulls: array.logical_nulls(), values })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn csv(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Integers(array) => put(out, format_args!("{}", array.value(row))),
            Values::Unsigned(array) => put(out, format_args!("{}", array.value(row))),
            Values::Doubles(array) => put(out, format_args!("{:?}", array.value(row))),
            Values::Floats(array) => put(out, format_args!("{:?}", array.value(row))),
            Values::Booleans(array) => put(out, format_args!("{}", array.value(row))),
            Values::Texts(array) => csv_text(array.value(row), out),
            Values::Times(array) => put_time(out, array.value(row)),
            Values::Dates(array) => put_date(out, i64::from(array.value(row))),
            Values::Lists { .. } | Values::Maps { .. } | Values::Structs(_) => {
                let mut json = Vec::new();
                self.json(row, &mut json);
                csv_text(&String::from_utf8_lossy(&json), out);
            }
            Values::Shown(shown) => csv_text(&shown[row], out),
        }
    }

    /// Appends the name that a value has in a map.
    fn name(&self, row: usize, out: &mut Vec<u8>) {
        if let Values::Texts(_) | Values::Shown(_) = self.values {
            return self.json(row, out);
        }
        let mut text = Vec::new();
        self.csv(row, &mut text);
        json_text(&String::from_utf8_lossy(&text), out);
    }

    fn json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::Integers(_) | Values::Unsigned(_) | Values::Booleans(_) => self.csv(row, out),
            Values::Doubles(array) if array.value(row).is_finite() => self.csv(row, out),
            Values::Floats(array) if array.value(row).is_finite() => self.csv(row, out),
            Values::Doubles(_) | Values::Floats(_) => out.extend_from_slice(b"null"),
            Values::Texts(array) => json_text(array.value(row), out),
            Values::Times(_) | Values::Dates(_) => {
                out.push(b'"');
                self.csv(row, out);
                out.push(b'"');
            }
            Values::Lists { offsets, items, .. } => {
                out.push(b'[');
                let begin = offsets[row] as usize;
                for item in begin..offsets[row + 1] as usize {
                    if item > begin {
                        out.push(b',');
                    }
                    items.json(item, out);
                }
                out.push(b']');
            }
            Values::Maps { offsets, keys, values } => {
                out.push(b'{');
                let begin = offsets[row] as usize;
                for item in begin..offsets[row + 1] as usize {
                    if item > begin {
                        out.push(b',');
                    }
                    keys.name(item, out);
                    out.push(b':');
                    values.json(item, out);
                }
                out.push(b'}');
            }
            Values::Structs(parts) => {
                out.push(b'{');
                for (index, (name, column)) in parts.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    column.json(row, out);
                }
                out.push(b'}');
            }
            Values::Shown(shown) => json_text(&shown[row], out),
        }
    }
}

fn shown(array: &ArrayRef) -> Result<Vec<String>> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        texts.push(formatter.value(row).try_to_string()?);
    }
    Ok(texts)
}

fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("writing to memory does not fail");
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    let quoted = text.is_empty() || text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Returns what stands before a value of this name in an object.
fn json_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    json_text(name, &mut out);
    out.push(b':');
    out
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text can always be written as JSON");
}

/// Appends a day, counted from 1970-01-01, as `2013-01-31`.
fn put_date(out: &mut Vec<u8>, day: i64) {
    let (year, month, day) = civil(day);
    put(out, format_args!("{year:04}-{month:02}-{day:02}"));
}

/// Appends ms since 1970 as `2013-01-31T10:00:00.000Z`.
fn put_time(out: &mut Vec<u8>, ms: i64) {
    const DAY: i64 = 86_400_000;
    put_date(out, ms.div_euclid(DAY));
    let ms = ms.rem_euclid(DAY);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    put(out, format_args!("T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000));
}

/// Returns year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(day: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, a leap day is the last day of its year, and the months follow a fixed pattern.
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, ListArray, MapArray, RecordBatch, StructArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn text(encoding: Encoding, columns: Vec<(&str, ArrayRef)>) -> String {
        let table = Table::new(RecordBatch::try_from_iter(columns).unwrap());
        let mut out = Vec::new();
        encoding.begin(&table.schema(), &mut out);
        encoding.rows(&table, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn columns() -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("n", Arc::new(Int64Array::from(vec![Some(i64::MIN), None])) as ArrayRef),
            ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
            ("x", Arc::new(Float64Array::from(vec![0.1 + 0.2, 1e300]))),
            ("y", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
            ("s, t", Arc::new(StringArray::from(vec![Some("a \"b\",\nc"), Some("")]))),
            ("z", Arc::new(StringArray::from(vec![Some("plain"), None]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_357_034_400_123_456, -1000]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false]))),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]))),
        ]
    }

    #[test]
    fn csv_is_rfc_4180_and_reads_back_the_same() {
        let expected = "n,u,x,y,\"s, t\",z,at,b,l\n\
            -9223372036854775808,18446744073709551615,0.30000000000000004,0.1,\"a \"\"b\"\",\nc\",plain,2013-01-01T10:00:00.123Z,true,\"[1,null]\"\n\
            ,0,1e300,NaN,\"\",,1969-12-31T23:59:59.999Z,false,\n";
        assert_eq!(text(Encoding::Csv, columns()), expected);
    }

    #[test]
    fn json_has_every_column_in_every_row() {
        let expected = concat!(
            r#"{"n":-9223372036854775808,"u":18446744073709551615,"x":0.30000000000000004,"y":0.1,"s, t":"a \"b\",\nc","z":"plain","at":"2013-01-01T10:00:00.123Z","b":true,"l":[1,null]}"#,
            "\n",
            r#"{"n":null,"u":0,"x":1e300,"y":null,"s, t":"","z":null,"at":"1969-12-31T23:59:59.999Z","b":false,"l":null}"#,
            "\n"
        );
        assert_eq!(text(Encoding::Json, columns()), expected);
    }

    #[test]
    fn what_is_made_of_values_is_json_in_both() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b\"", "c"]));
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let parts = vec![(field("n", &numbers), Arc::clone(&numbers)), (field("t", &texts), Arc::clone(&texts))];
        let nulls = Some(NullBuffer::from(vec![true, true, false]));
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = parts.into_iter().unzip();
        let pairs = StructArray::new(fields.into(), arrays, nulls);
        let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("x")].into_iter().collect();
        let entries = vec![
            (Arc::new(Field::new("key", DataType::Utf8, false)), Arc::clone(&texts)),
            (Arc::new(Field::new("value", DataType::Int64, true)), numbers),
        ];
        let entries = StructArray::from(entries);
        let of_map = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        let map = MapArray::new(of_map, OffsetBuffer::from_lengths([2, 0, 1]), entries, None, false);
        let large = cast(&list(), &DataType::LargeList(Arc::new(Field::new("item", DataType::Int32, true)))).unwrap();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("s", Arc::new(pairs)), ("d", Arc::new(dictionary)), ("m", Arc::new(map)), ("l", large)];
        let expected = concat!(
            r#"{"s":{"n":1,"t":"a"},"d":"x","m":{"a":1,"b\"":null},"l":[1,null]}"#,
            "\n",
            r#"{"s":{"n":null,"t":"b\""},"d":null,"m":{},"l":null}"#,
            "\n",
            r#"{"s":null,"d":"x","m":{"c":3},"l":[]}"#,
            "\n"
        );
        let json = text(Encoding::Json, columns.clone());
        assert_eq!(json, expected);
        for line in json.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        let csv = text(Encoding::Csv, columns);
        assert!(csv.starts_with("s,d,m,l\n\"{\"\"n\"\":1,\"\"t\"\":\"\"a\"\"}\",x,"), "{csv}");
        let key: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let mut name = Vec::new();
        Column::new(&key).unwrap().name(0, &mut name);
        assert_eq!(name, b"\"7\"");
    }

    fn list() -> ArrayRef {
        let lists = vec![Some(vec![Some(1), None]), None, Some(Vec::new())];
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
    }

    #[test]
    fn a_lone_null_is_no_empty_line() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
        assert_eq!(text(Encoding::Csv, vec![("n", column)]), "n\n\"\"\n1\n");
    }

    #[test]
    fn every_day_has_its_date() {
        let mut days = Vec::new();
        put_date(&mut days, 0);
        assert_eq!(days, b"1970-01-01");
        for (day, expected) in [
            (-719_528, (0, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (15_706, (2013, 1, 1)),
            (19_781, (2024, 2, 28)),
            (-1, (1969, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(day), expected, "{day}");
        }
        // The calendar advances by exactly one day each day.
        let mut last = civil(-800_000);
        for day in -799_999..100_000 {
            let now = civil(day);
            let next_day = now == (last.0, last.1, last.2 + 1);
            let next_month = now == (last.0, last.1 + 1, 1) && last.2 >= 28;
            let next_year = now == (last.0 + 1, 1, 1) && (last.1, last.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{last:?} {now:?}");
            last = now;
        }
    }
}
