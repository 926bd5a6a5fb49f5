//! A topology file as it was written: its values, and where in the text each of them stands.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::config::problem::Problems;

/// A parsed file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) table: Table,
    /// By path, as in `operators.count.columns[1]`.
    positions: BTreeMap<String, Position>,
    /// By byte offset: values that lack their quotes, as they were meant.
    unquoted: BTreeMap<usize, String>,
}

/// Where an entry stands: byte offsets of its key and of its value. Elements of a list are their own key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) key: usize,
    pub(crate) value: usize,
    pub(crate) is_table: bool,
}

impl Document {
    /// Reads the text. What the parser can recover from (a missing pair of quotes, a key that is given twice) does not
    /// keep the rest from being checked; otherwise there is no document and the problems say why.
    pub(crate) fn parse(text: &str, problems: &mut Problems) -> Option<Document> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut document = Document::default();
        let mut whole = true;
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let written = text.get(span.clone()).unwrap_or_default().trim();
            let (message, recovered) = match error.message() {
                message if message.starts_with("duplicate key") => (format!("\"{written}\" is given twice"), true),
                message if wants_quotes(message, written) => {
                    document.unquoted.insert(span.start, written.to_string());
                    (format!("text needs quotes: \"{written}\""), true)
                }
                message if message.starts_with(UNQUOTED) => ("a value is missing".to_string(), false),
                message => (message.to_string(), false),
            };
            whole &= recovered;
            problems.text(span.start, message);
        }
        if !whole {
            return None;
        }
        document.table = document.read_table(table.get_ref(), "", problems);
        Some(document)
    }

    /// Returns where the entry at a path stands.
    pub(crate) fn position(&self, path: &str) -> Option<Position> {
        self.positions.get(path).copied()
    }

    fn read_table(&mut self, table: &DeTable<'_>, prefix: &str, problems: &mut Problems) -> Table {
        let mut values = Table::new();
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            let is_table = value.get_ref().is_table();
            let position = Position { key: key.span().start, value: value.span().start, is_table };
            self.positions.insert(path.clone(), position);
            if let Some(value) = self.read_value(value, &path, problems) {
                values.insert(key.get_ref().to_string(), value);
            }
        }
        values
    }

    fn read_array(&mut self, array: &DeArray<'_>, prefix: &str, problems: &mut Problems) -> Vec<Value> {
        let mut values = Vec::new();
        for (index, value) in array.iter().enumerate() {
            let path = format!("{prefix}[{index}]");
            let at = value.span().start;
            self.positions.insert(path.clone(), Position { key: at, value: at, is_table: false });
            values.extend(self.read_value(value, &path, problems));
        }
        values
    }

    fn read_value(&mut self, value: &Spanned<DeValue<'_>>, path: &str, problems: &mut Problems) -> Option<Value> {
        if let Some(text) = self.unquoted.get(&value.span().start) {
            return Some(Value::String(text.clone()));
        }
        let read = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                Err(_) => {
                    problems.text(value.span().start, format!("the number {integer} is too large"));
                    return None;
                }
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Value::Float(float),
                Err(_) => {
                    problems.text(value.span().start, format!("{float} is not a number"));
                    return None;
                }
            },
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => Value::Datetime(*datetime),
            DeValue::Array(array) => Value::Array(self.read_array(array, path, problems)),
            DeValue::Table(table) => Value::Table(self.read_table(table, path, problems)),
        };
        Some(read)
    }
}

/// What the parser says of most values that are text without quotes.
const UNQUOTED: &str = "string values must be quoted";

/// Returns whether a value is wrong because it is text without quotes. Words that begin like a number, `true` or `nan`
/// are to the parser a number or a choice that went wrong.
fn wants_quotes(message: &str, written: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || "_-./:*".contains(c);
    let is_spoilt =
        ["invalid float", "invalid boolean", "invalid integer"].iter().any(|start| message.starts_with(start));
    !written.is_empty() && (message.starts_with(UNQUOTED) || is_spoilt && written.chars().all(is_word))
}

/// Returns the path of a key below a path.
pub(crate) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}

/// Returns the path above a path: `a.b[1]` is below `a.b`, which is below `a`.
pub(crate) fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).map_or("", |at| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Place;

    fn messages(text: &str) -> (Option<Document>, Vec<String>) {
        let mut problems = Problems::default();
        let document = Document::parse(text, &mut problems);
        (document, problems.iter().map(|problem| problem.message.clone()).collect())
    }

    #[test]
    fn every_entry_has_its_place() {
        let text = "[operators.count]\ncolumns = [\n  \"ä\", \"b\",\n]\nwindow = { sliding = 1 }\n";
        let (document, problems) = messages(text);
        let document = document.unwrap();
        assert!(problems.is_empty());
        let place = |path: &str| Place::of_offset(text, document.position(path).unwrap().value);
        assert_eq!(place("operators.count.columns[1]"), Place::File { line: 3, column: 8 });
        assert_eq!(place("operators.count.window.sliding"), Place::File { line: 5, column: 22 });
        let header = document.position("operators.count").unwrap();
        assert_eq!(Place::of_offset(text, header.key), Place::File { line: 1, column: 12 });
    }

    #[test]
    fn a_missing_pair_of_quotes_does_not_end_the_check() {
        let (document, problems) = messages("interval = 10s\ninterval = \"1s\"\nnext = 2");
        assert_eq!(problems, ["text needs quotes: \"10s\"", "\"interval\" is given twice"]);
        assert_eq!(document.unwrap().table["next"].as_integer(), Some(2));
    }

    #[test]
    fn what_cannot_be_read_gives_no_document() {
        let (document, problems) = messages("x = \ny = 1\n");
        assert!(document.is_none());
        assert_eq!(problems, ["a value is missing"]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_named() {
        let (_, problems) = messages("x = 99999999999999999999");
        assert_eq!(problems, ["the number 99999999999999999999 is too large"]);
    }
}
