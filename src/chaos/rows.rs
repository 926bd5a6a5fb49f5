//! Rows of committed files, as far as two runs are compared by them.
//!
//! A row is its text. Two rows are the same if their texts are, or differ only in floating-point numbers that were
//! summed up in another order: by less than a billionth of themselves.

use serde_json::Value;

/// How much two floating-point numbers that mean the same may differ, as a part of themselves.
const TOLERANCE: f64 = 1e-9;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Comma-separated values, with a header.
    Csv,
    /// A JSON object on each line.
    Json,
    /// Plain lines.
    Lines,
}

impl Format {
    /// Returns the format that a file has by its name.
    pub(crate) fn of_file(name: &str) -> Format {
        match name.rsplit_once('.') {
            Some((_, "csv")) => Format::Csv,
            // A file that is no text is compared by what stands for it.
            Some((_, "ndjson" | "json" | "parquet")) => Format::Json,
            _ => Format::Lines,
        }
    }

    /// Splits a file into its header, if it has one, and its rows.
    pub(crate) fn split(self, text: &str) -> (Option<&str>, Vec<&str>) {
        match self {
            Format::Csv => {
                let mut records = records(text).into_iter();
                (records.next(), records.collect())
            }
            Format::Json | Format::Lines => (None, text.lines().collect()),
        }
    }

    /// Returns the values of columns in a row, as one text that is the same for the same values; nothing if the row does
    /// not have them.
    pub(crate) fn key(self, header: Option<&str>, row: &str, columns: &[String]) -> Option<String> {
        let mut key = Vec::new();
        match self {
            Format::Csv => {
                let (names, cells) = (cells(header?), cells(row));
                for column in columns {
                    let at = names.iter().position(|name| unquoted(name) == *column)?;
                    key.push(Value::from(*cells.get(at)?));
                }
            }
            Format::Json => {
                let object: Value = serde_json::from_str(row).ok()?;
                for column in columns {
                    key.push(object.get(column)?.clone());
                }
            }
            Format::Lines if columns.is_empty() => {}
            Format::Lines => return None,
        }
        Some(Value::Array(key).to_string())
    }

    /// Returns what is the same of two rows that differ only in floating-point numbers.
    pub(crate) fn shape(self, row: &str) -> String {
        match self {
            Format::Csv => {
                let shaped: Vec<&str> =
                    cells(row).into_iter().map(|cell| if float(cell).is_some() { "~" } else { cell }).collect();
                shaped.join(",")
            }
            Format::Json => {
                serde_json::from_str(row).map_or_else(|_| row.to_string(), |value| shape(value).to_string())
            }
            Format::Lines => row.to_string(),
        }
    }

    /// Returns whether two rows say the same.
    pub(crate) fn is_same(self, left: &str, right: &str) -> bool {
        if left == right {
            return true;
        }
        match self {
            Format::Csv => {
                let (left, right) = (cells(left), cells(right));
                left.len() == right.len() && left.iter().zip(&right).all(|(left, right)| same_cell(left, right))
            }
            Format::Json => match (serde_json::from_str(left), serde_json::from_str(right)) {
                (Ok(left), Ok(right)) => is_same_value(&left, &right),
                _ => false,
            },
            Format::Lines => false,
        }
    }
}

/// Returns whether two values are the same, but for what summing up in another order does to floating-point numbers.
pub(crate) fn is_same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right
                || (left.is_f64() || right.is_f64())
                    && left.as_f64().zip(right.as_f64()).is_some_and(|(left, right)| is_near(left, right))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same_value(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let has =
                |(name, value): (&String, &Value)| right.get(name).is_some_and(|other| is_same_value(value, other));
            left.len() == right.len() && left.iter().all(has)
        }
        (left, right) => left == right,
    }
}

fn is_near(left: f64, right: f64) -> bool {
    left == right || (left - right).abs() <= TOLERANCE * left.abs().max(right.abs())
}

fn shape(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => "~".into(),
        Value::Array(items) => items.into_iter().map(shape).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, shape(value))).collect(),
        other => other,
    }
}

/// Reads a cell as a floating-point number; integers are none.
fn float(cell: &str) -> Option<f64> {
    let is_float = cell.contains(['.', 'e', 'E']) && cell.bytes().any(|byte| byte.is_ascii_digit());
    cell.parse().ok().filter(|_| is_float)
}

fn same_cell(left: &str, right: &str) -> bool {
    left == right || float(left).zip(float(right)).is_some_and(|(left, right)| is_near(left, right))
}

/// Splits CSV text into records: line ends within quotes end nothing.
fn records(text: &str) -> Vec<&str> {
    let mut records = Vec::new();
    let (mut start, mut is_quoted) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => {
                records.push(text[start..at].trim_end_matches('\r'));
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        records.push(&text[start..]);
    }
    records
}

/// Splits a CSV record into cells as they are written.
fn cells(record: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let (mut start, mut is_quoted) = (0, false);
    for (at, byte) in record.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                cells.push(&record[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    cells.push(&record[start..]);
    cells
}

fn unquoted(cell: &str) -> String {
    match cell.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => cell.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_record_may_have_line_ends_and_commas_in_quotes() {
        let text = "a,\"b,c\"\n\"x\ny\",1\n\"he said \"\"so\"\"\",2\n";
        let (header, rows) = Format::Csv.split(text);
        assert_eq!(rows, ["\"x\ny\",1", "\"he said \"\"so\"\"\",2"]);
        assert_eq!(Format::Csv.key(header, rows[0], &columns(&["b,c"])).unwrap(), "[\"1\"]");
        assert_ne!(
            Format::Csv.key(header, rows[0], &columns(&["a"])),
            Format::Csv.key(header, rows[1], &columns(&["a"]))
        );
        assert_eq!(Format::Csv.key(header, rows[0], &columns(&["c"])), None);
    }

    #[test]
    fn only_floats_may_differ_and_only_a_little() {
        let same = |left, right| Format::Csv.is_same(left, right);
        assert!(same("UA,0.30000000000000004", "UA,0.3") && same("1e300,1", "1.0000000001e300,1"));
        assert!(!same("UA,0.3001", "UA,0.3") && !same("UB,0.3", "UA,0.3") && !same("1,2", "1,3") && !same("1", "1,1"));
        assert!(!same("1.5e,x", "1.5f,x"), "texts that look like numbers are texts");
        let same = |left, right| Format::Json.is_same(left, right);
        assert!(same("{\"a\":0.30000000000000004,\"b\":1}", "{\"b\":1,\"a\":0.3}"));
        assert!(!same("{\"a\":1}", "{\"a\":2}") && !same("{\"a\":1}", "{\"b\":1}") && !same("{", "{\"a\":1}"));
        assert!(Format::Lines.is_same("x", "x") && !Format::Lines.is_same("0.30000000000000004", "0.3"));
    }

    #[test]
    fn rows_that_may_be_the_same_have_the_same_shape() {
        assert_eq!(Format::Csv.shape("UA,7,0.30000000000000004"), Format::Csv.shape("UA,7,0.3"));
        assert_ne!(Format::Csv.shape("UA,7,0.3"), Format::Csv.shape("UA,8,0.3"));
        assert_eq!(Format::Json.shape("{\"a\":[0.1,1]}"), Format::Json.shape("{\"a\":[0.2,1]}"));
        assert_eq!(Format::Json.key(None, "{\"a\":1,\"b\":null}", &columns(&["b", "a"])).unwrap(), "[null,1]");
    }
}
