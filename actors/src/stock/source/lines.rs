//! Rows that are lines: plain ones, and JSON objects.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::columns::{Cell, Columns};
use super::files::{Format, LONGEST_ROW, Place, RowReader, TextReader};
use super::infer::{Guess, INFERENCE_ROWS};
use super::span::Span;
use crate::{Error, Result};

/// The byte order mark, which may stand at the beginning of a file.
const MARK: char = '\u{feff}';

/// One row per line, in one column of text.
pub(super) struct LineFormat;

/// One JSON object per line; empty lines are skipped.
pub(super) struct JsonFormat {
    /// Where the column of each name stands. Other names are skipped, and a missing one is NULL.
    pub columns: Arc<HashMap<String, usize>>,
}

/// Reads the lines of a file, without their ends.
struct Lines<R> {
    reader: R,
    place: Place,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Returns the next line and its number from 1, or nothing at the end.
    fn next(&mut self) -> Result<Option<(&str, u64)>> {
        self.line.clear();
        let number = self.place.line + 1;
        let read = (&mut self.reader)
            .take(LONGEST_ROW)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| Error::failed(format!("line {number}: {error}")))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == LONGEST_ROW {
            return Err(Error::invalid(format!("line {number} is longer than {LONGEST_ROW} bytes")));
        }
        self.place = Place { offset: self.place.offset + read as u64, line: number };
        text(&self.line)
            .map(|line| if number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line })
            .map(|line| Some((line, number)))
            .ok_or_else(|| Error::invalid(format!("line {number} is not UTF-8")))
    }
}

/// Returns a line without its end, if it is text.
pub(super) fn text(line: &[u8]) -> Option<&str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()
}

fn open(mut file: Span, at: Place) -> Result<Lines<BufReader<Span>>> {
    file.seek(SeekFrom::Start(at.offset))?;
    Ok(Lines { reader: BufReader::with_capacity(64 << 10, file), place: at, line: Vec::new() })
}

impl Format for LineFormat {
    fn open(&self, file: Span, _name: &str, at: Place) -> Result<Box<dyn RowReader>> {
        Ok(Box::new(LineReader(open(file, at)?)))
    }
}

struct LineReader(Lines<BufReader<Span>>);

impl TextReader for LineReader {
    fn read(&mut self, limit: usize, columns: &mut Columns) -> Result<usize> {
        for row in 0..limit {
            let Some((line, _)) = self.0.next()? else { return Ok(row) };
            columns.append_text(0, line).map_err(Error::invalid)?;
        }
        Ok(limit)
    }

    fn place(&self) -> Place {
        self.0.place
    }
}

impl Format for JsonFormat {
    fn open(&self, file: Span, _name: &str, at: Place) -> Result<Box<dyn RowReader>> {
        let filled = vec![false; self.columns.len()];
        Ok(Box::new(JsonReader { lines: open(file, at)?, columns: Arc::clone(&self.columns), filled }))
    }
}

struct JsonReader {
    lines: Lines<BufReader<Span>>,
    columns: Arc<HashMap<String, usize>>,
    filled: Vec<bool>,
}

impl TextReader for JsonReader {
    fn read(&mut self, limit: usize, columns: &mut Columns) -> Result<usize> {
        let mut row = 0;
        while row < limit {
            let Some((line, number)) = self.lines.next()? else { return Ok(row) };
            if line.trim().is_empty() {
                continue;
            }
            self.filled.fill(false);
            let fill = Fill { places: &self.columns, columns, filled: &mut self.filled };
            parse(line, fill).map_err(|message| Error::invalid(format!("line {number}: {message}")))?;
            for (column, _) in self.filled.iter().enumerate().filter(|(_, filled)| !**filled) {
                columns.append_null(column);
            }
            row += 1;
        }
        Ok(limit)
    }

    fn place(&self) -> Place {
        self.lines.place
    }
}

/// Looks at the first rows of a file of JSON lines: the names in the order in which they come up.
pub(super) fn sample(file: Span) -> std::result::Result<Vec<(String, Guess)>, String> {
    let mut lines = open(file, Place::default()).map_err(|error| error.to_string())?;
    let mut found: Vec<(String, Guess)> = Vec::new();
    for _ in 0..INFERENCE_ROWS {
        let Some((line, number)) = lines.next().map_err(|error| error.to_string())? else { break };
        if !line.trim().is_empty() {
            parse(line, Look(&mut found)).map_err(|message| format!("line {number}: {message}"))?;
        }
    }
    Ok(found)
}

fn parse<'a, S: DeserializeSeed<'a, Value = ()>>(line: &'a str, seed: S) -> std::result::Result<(), String> {
    let mut json = serde_json::Deserializer::from_str(line);
    let parsed = seed.deserialize(&mut json).and_then(|()| json.end());
    parsed.map_err(|error| {
        let message = error.to_string();
        match message.rsplit_once(" at line 1 column ") {
            // It names the column of the table, and says what to do.
            Some((message, _)) if error.is_data() => message.to_string(),
            Some((message, column)) => format!("{message} at column {column}"),
            None => message,
        }
    })
}

/// Appends a JSON object to the columns.
struct Fill<'a> {
    places: &'a HashMap<String, usize>,
    columns: &'a mut Columns,
    filled: &'a mut [bool],
}

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let Some(column) = self.places.get(name.as_ref()) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut self.filled[*column], true) {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
            let cell = map.next_value_seed(Any)?;
            self.columns.append_cell(*column, &cell).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Notes the names and the kinds of values of a JSON object.
struct Look<'a>(&'a mut Vec<(String, Guess)>);

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let place = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                self.0.push((name.to_string(), Guess::default()));
                self.0.len() - 1
            });
            let cell = map.next_value_seed(Any)?;
            self.0[place].1.cell(&cell);
        }
        Ok(())
    }
}

/// A name in a JSON object, borrowed from the line unless it holds an escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_string()))
    }
}

/// Any JSON value; arrays and objects become their text.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Cell<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Self::Value, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Self::Value, E> {
        Ok(Cell::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Self::Value, E> {
        // Beyond the range of a bigint only its digits are exact.
        Ok(i64::try_from(value).map_or_else(|_| Cell::Text(value.to_string().into()), Cell::Int))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Self::Value, E> {
        Ok(Cell::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Owned(text.to_string())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element::<Value>()? {
            values.push(value);
        }
        Ok(Cell::Text(Value::Array(values).to_string().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut values = serde_json::Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            values.insert(name, value);
        }
        Ok(Cell::Text(Value::Object(values).to_string().into()))
    }
}
