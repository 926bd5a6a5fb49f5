//! Types of columns as a topology file names them, in what is read and in what is said.

use std::str::FromStr as _;

use arrow::datatypes::{DataType, TimeUnit};

use super::options::unknown;

/// The names of column types as a topology file has them, the usual one first.
const TYPE_NAMES: &[(&[&str], DataType)] = &[
    (&["string", "text", "varchar", "utf8"], DataType::Utf8),
    (&["bigint", "long", "int64"], DataType::Int64),
    (&["int", "integer", "int32"], DataType::Int32),
    (&["double", "float64"], DataType::Float64),
    (&["float", "real", "float32"], DataType::Float32),
    (&["boolean", "bool"], DataType::Boolean),
    (&["timestamp", "datetime"], DataType::Timestamp(TimeUnit::Millisecond, None)),
    (&["date"], DataType::Date32),
];

/// Returns the type of this name, in any case.
pub(super) fn type_named(name: &str) -> Result<DataType, String> {
    let lower = name.trim().to_lowercase();
    let found = TYPE_NAMES.iter().find(|(names, _)| names.contains(&lower.as_str()));
    found.map(|(_, data_type)| data_type.clone()).ok_or_else(|| {
        let known: Vec<&str> = TYPE_NAMES.iter().map(|(names, _)| names[0]).collect();
        unknown("type", name, &known)
    })
}

/// Returns the usual name of a type. What no source reads, but an expression may make, is named as SQL does, or as Arrow
/// does if that has no name for it.
pub(crate) fn name_of(data_type: &DataType) -> String {
    if let Some((names, _)) = TYPE_NAMES.iter().find(|(_, known)| known == data_type) {
        return names[0].to_string();
    }
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => "string".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::UInt64 => "bigint unsigned".into(),
        DataType::UInt32 => "int unsigned".into(),
        DataType::UInt16 => "smallint unsigned".into(),
        DataType::UInt8 => "tinyint unsigned".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Timestamp(unit, None) => format!("timestamp in {unit}"),
        DataType::Timestamp(_, Some(zone)) => format!("timestamp in the time zone {zone}"),
        DataType::Null => "NULL".into(),
        other => other.to_string(),
    }
}

/// Returns a message of the planner of expressions, or what a state says it is of, with the types in it named as
/// [`name_of`] does.
pub(crate) fn in_words(message: &str) -> String {
    let mut words = String::with_capacity(message.len());
    let mut rest = message;
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    while let Some(start) = rest.find(is_part) {
        words.push_str(&rest[..start]);
        rest = &rest[start..];
        let word = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
        // `Timestamp(ms)`, `Decimal128(38, 10)`: what is in parentheses belongs to it. `Int64(1)` is the number 1.
        let whole = rest[word..].starts_with('(').then(|| rest.find(')').map(|end| end + 1)).flatten();
        let named = |end: usize| Some((DataType::from_str(&rest[..end]).ok()?, end));
        let is_type = rest.starts_with(|char: char| char.is_ascii_uppercase());
        let found = whole.and_then(named).or_else(|| named(word)).filter(|_| is_type);
        match (found, whole) {
            (Some((_, end)), Some(whole)) if end < whole => {
                words.push_str(&rest[end + 1..whole - 1]);
                rest = &rest[whole..];
            }
            (Some((data_type, end)), _) => {
                words.push_str(&name_of(&data_type));
                rest = &rest[end..];
            }
            (None, _) => {
                words.push_str(&rest[..word]);
                rest = &rest[word..];
            }
        }
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_as_it_is_written() {
        for (names, data_type) in TYPE_NAMES {
            assert_eq!(type_named(&name_of(data_type)).as_ref(), Ok(data_type));
            assert!(names.iter().all(|name| type_named(name).as_ref() == Ok(data_type)));
        }
        assert!(type_named("bigin").unwrap_err().contains("did you mean `bigint`"));
    }

    #[test]
    fn types_within_a_message_are_named_so_too() {
        let said = "cannot coerce Timestamp(ms) + Utf8 (Int64, Utf8View, Decimal128(38, 10)) in date_part(Int64s, x)";
        let expected = "cannot coerce timestamp + string (bigint, string, decimal(38, 10)) in date_part(Int64s, x)";
        assert_eq!(in_words(said), expected);
        assert_eq!(in_words("count(Int64(1)): Int64"), "count(1): bigint");
        assert_eq!(in_words("no Timestamp(ns) — and `x`"), "no timestamp in ns — and `x`");
    }
}
