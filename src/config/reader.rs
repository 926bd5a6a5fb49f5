//! Turns values into settings, and what serde says about a mistake into what a user can act on.
//!
//! serde stops at the first mistake. To name all of them, the entry that was wrong is taken out and the rest read
//! again, until it can be read.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::document::{join, parent};
use crate::config::layers::Layered;
use crate::config::problem::{DidYouMean, Problems, nearest};

/// Reads a `T` out of the table at a path. Where something is wrong, the default stands in and a problem is noted.
pub(crate) fn read<T: DeserializeOwned + Default>(
    layered: &Layered<'_>,
    mut table: Table,
    prefix: &str,
    problems: &mut Problems,
) -> T {
    loop {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let path = error.path().to_string();
        let full = join(prefix, &path);
        let mistake = Mistake::of(&error.inner().to_string());
        if matches!(mistake, Mistake::Type(_))
            && let Some(other) = layered.alternative(&full)
            && replace(&mut table, &path, other)
        {
            continue;
        }
        note(&mistake, full, &[], "", problems);
        if !remove(&mut table, &path) {
            return T::default();
        }
    }
}

/// Notes a mistake. `also_known` are options that somebody else reads out of the same table.
pub(crate) fn note(mistake: &Mistake, path: String, also_known: &[&str], who: &str, problems: &mut Problems) {
    let message = format!("{who}{}", mistake.message(also_known));
    match mistake {
        Mistake::UnknownField { name, .. } => {
            // The path of an unknown field is its own, or its table's: it depends on who reads.
            let last = path.rsplit('.').next().unwrap_or_default();
            let own = if last == name { path.clone() } else { join(&path, name) };
            problems.key(own, message);
        }
        Mistake::MissingField(_) => problems.key(path, message),
        _ => problems.value(path, message),
    }
}

/// What serde says is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// There is no option of this name.
    UnknownField { name: String, known: Vec<String> },
    /// There is no choice of this name.
    UnknownVariant { name: String, known: Vec<String> },
    /// An option has to be given.
    MissingField(String),
    /// A value of another type is needed.
    Type(String),
    /// Anything else, in its own words.
    Other(String),
}

impl Mistake {
    /// Understands a message of serde's.
    pub(crate) fn of(message: &str) -> Mistake {
        // The parser adds lines that say where; that is known better here. What is left becomes one line.
        let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("in `"));
        let message = lines.collect::<Vec<_>>().join(" ");
        let message = message.as_str();
        let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_string).collect() };
        let named = |start: &str| -> Option<(String, Vec<String>)> {
            let mut names = quoted(message.strip_prefix(start)?).into_iter();
            Some((names.next()?, names.collect()))
        };
        if let Some((name, known)) = named("unknown field ") {
            return Mistake::UnknownField { name, known };
        }
        if let Some((name, known)) = named("unknown variant ") {
            return Mistake::UnknownVariant { name, known };
        }
        if let Some((name, _)) = named("missing field ") {
            return Mistake::MissingField(name);
        }
        let wrong_type = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "));
        match wrong_type.and_then(|rest| rest.split_once(", expected ")) {
            Some((got, expected)) => Mistake::Type(format!("expected {}, not {}", plain(expected), plain(got))),
            None => Mistake::Other(message.to_string()),
        }
    }

    /// Says it in words that fit the file.
    pub(crate) fn message(&self, also_known: &[&str]) -> String {
        match self {
            Mistake::UnknownField { name, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let hint = DidYouMean(nearest(name, known.iter().chain(also_known).copied()));
                match known.as_slice() {
                    [] => format!("unknown option \"{name}\"{hint}"),
                    known => format!("unknown option \"{name}\"{hint} (known: {})", known.join(", ")),
                }
            }
            Mistake::UnknownVariant { name, known } => {
                let hint = DidYouMean(nearest(name, known.iter().map(String::as_str)));
                format!("\"{name}\" is not one of the choices{hint} (choices: {})", known.join(", "))
            }
            Mistake::MissingField(name) => format!("option \"{name}\" is missing"),
            Mistake::Type(message) | Mistake::Other(message) => message.clone(),
        }
    }
}

/// Says serde's name of a type, or of a value it met, in the words of a TOML file.
fn plain(name: &str) -> String {
    match name {
        "u64" | "usize" => "a whole number that is not negative".into(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" | "string only" | "path string" => "text in quotes".into(),
        "a boolean" => "true or false".into(),
        "sequence" | "a sequence" => "a list".into(),
        "map" | "a map" => "a table".into(),
        // The parser's words for a value that is no text where a choice is wanted.
        "unit variant" => "something else".into(),
        _ if name.starts_with("struct ") => "a table".into(),
        _ if name.starts_with("enum ") => "text in quotes".into(),
        _ => plain_value(name),
    }
}

fn plain_value(name: &str) -> String {
    if let Some(text) = name.strip_prefix("string ") {
        return format!("the text {text}");
    }
    let number = ["integer ", "floating point ", "boolean "].iter().find_map(|kind| name.strip_prefix(kind));
    number.unwrap_or(name).trim_matches('`').to_string()
}

/// Removes the entry at a path below a table; of a list, the whole list. Returns whether there was one.
pub(crate) fn remove(table: &mut Table, path: &str) -> bool {
    let path = path.split('[').next().unwrap_or_default();
    let (above, key) = match parent(path) {
        "" => (Some(table), path),
        above => (find(table, above), &path[above.len() + 1..]),
    };
    above.is_some_and(|table| table.remove(key).is_some())
}

/// Takes the entry at a path out, and nothing around it, also inside lists. Returns whether it was there.
pub(crate) fn remove_exactly(table: &mut Table, path: &str) -> bool {
    let mut above = table;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return above.remove(part).is_some();
        }
        let mut indices = part.split('[');
        let entry = above.get_mut(indices.next().unwrap_or_default());
        let within = indices.try_fold(entry, |entry, index| {
            let index: usize = index.strip_suffix(']')?.parse().ok()?;
            Some(entry.and_then(|entry| entry.as_array_mut()?.get_mut(index)))
        });
        let Some(inner) = within.flatten().and_then(Value::as_table_mut) else { return false };
        above = inner;
    }
    false
}

/// Replaces the entry at a path, which is not inside a list. Returns whether that changed anything.
pub(crate) fn replace(table: &mut Table, path: &str, value: &Value) -> bool {
    let (above, key) = match parent(path) {
        "" => (Some(table), path),
        above => (find(table, above), path.get(above.len() + 1..).unwrap_or_default()),
    };
    let Some(entry) = above.and_then(|table| table.get_mut(key)) else { return false };
    let changes = entry != value;
    *entry = value.clone();
    changes
}

fn find<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Table> {
    path.split('.').try_fold(table, |table, key| table.get_mut(key)?.as_table_mut())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_list_is_taken_out_alone() {
        let text = "a = [{ b = 1, c = 2 }, { b = 3, c = [[{ d = 1 }]] }]";
        let mut table: Table = toml::from_str(text).unwrap();
        assert!(remove_exactly(&mut table, "a[0].b") && remove_exactly(&mut table, "a[1].c[0][0].d"));
        for nothing in ["a[0].b", "a[2].b", "a.b", "a[x].b", "a[0].c.d", "x"] {
            assert!(!remove_exactly(&mut table, nothing), "{nothing}");
        }
        assert_eq!(table, toml::from_str("a = [{ c = 2 }, { b = 3, c = [[{}]] }]").unwrap());
        assert!(remove_exactly(&mut table, "a"));
    }

    #[test]
    fn serdes_words_become_a_users() {
        let say = |message: &str| Mistake::of(message).message(&["parallelism"]);
        assert_eq!(
            say("unknown field `intervall`, expected one of `interval`, `mode`\nin `checkpoint`\n"),
            "unknown option \"intervall\"; did you mean \"interval\"? (known: interval, mode)"
        );
        assert_eq!(
            say("unknown field `paralelism`, there are no fields"),
            "unknown option \"paralelism\"; did you mean \"parallelism\"?"
        );
        assert_eq!(
            say("unknown variant `exactly`, expected `exactly-once` or `at-least-once`"),
            "\"exactly\" is not one of the choices; did you mean \"exactly-once\"? (choices: exactly-once, at-least-once)"
        );
        assert_eq!(
            say("invalid type: string \"a\", expected u32\n\nin `x`"),
            "expected a whole number from 0 to 4294967295, not the text \"a\""
        );
        assert_eq!(
            say("invalid value: integer `-1`, expected u64"),
            "expected a whole number that is not negative, not -1"
        );
        assert_eq!(say("missing field `path`"), "option \"path\" is missing");
        assert_eq!(say("`10` has no unit; write \"10s\""), "`10` has no unit; write \"10s\"");
    }

    #[test]
    fn entries_are_removed_and_replaced_by_path() {
        let mut table: Table = toml::from_str("a = 1\nb = { c = [1, 2], d = 2 }").unwrap();
        assert!(remove(&mut table, "b.c[1]"));
        assert!(replace(&mut table, "b.d", &Value::Integer(3)));
        assert!(!replace(&mut table, "b.d", &Value::Integer(3)));
        assert!(remove(&mut table, "a"));
        assert!(!remove(&mut table, "b.x.y"));
        assert_eq!(table, toml::from_str("b = { d = 3 }").unwrap());
    }
}
