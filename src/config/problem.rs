//! What is wrong with a configuration, collected so that everything can be said at once.

use std::fmt;

/// One thing that is wrong, or odd, at a path like `operators.count.columns[1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) path: String,
    pub(crate) at: At,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// Which part of the entry at a path is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Key,
    Value,
    /// A place in the text itself, as a byte offset.
    Offset(usize),
    /// An override as a whole.
    Override(String),
}

/// Where a problem is, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the file, both from 1.
    File { line: usize, column: usize },
    /// In the file as a whole.
    WholeFile,
    /// In what was set over it: `environment variable PITON__X`, `--set x.y`.
    Override(String),
}

impl Place {
    /// Returns the place of a byte offset in a text.
    pub(crate) fn of_offset(text: &str, offset: usize) -> Place {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// Writes it in front of a message, with the name of the file.
    pub(crate) fn prefix(&self, file: &str) -> String {
        match self {
            Place::File { line, column } => format!("{file}:{line}:{column}"),
            Place::WholeFile => file.to_string(),
            Place::Override(what) => what.clone(),
        }
    }
}

/// Everything that is wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes an error about the key at a path: that it is unknown, or about the table that it begins.
    pub(crate) fn key(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Error, path.into(), At::Key, message.into());
    }

    /// Notes an error about the value at a path.
    pub(crate) fn value(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Error, path.into(), At::Value, message.into());
    }

    /// Notes an error at a place in the text.
    pub(crate) fn text(&mut self, offset: usize, message: impl Into<String>) {
        self.push(Severity::Error, String::new(), At::Offset(offset), message.into());
    }

    /// Notes an error about an override as a whole.
    pub(crate) fn in_override(&mut self, what: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Error, String::new(), At::Override(what.into()), message.into());
    }

    /// Adds what was noted elsewhere.
    pub(crate) fn append(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    /// Notes something odd about the key at a path.
    pub(crate) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Warning, path.into(), At::Key, message.into());
    }

    fn push(&mut self, severity: Severity, path: String, at: At, message: String) {
        self.0.push(Problem { severity, path, at, message });
    }

    /// Returns whether there are errors.
    pub(crate) fn any_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Returns what was noted, in that order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

/// Returns the known name that is most like a misspelt one, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (likeness(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.6)
        // The first of the best, so that the answer does not depend on anything but the order of the names.
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, candidate)| candidate)
}

fn likeness(name: &str, candidate: &str) -> f64 {
    let edits = strsim::normalized_damerau_levenshtein(name, candidate);
    // "delim" for "delimiter": an abbreviation is far away in edits.
    let shorter = name.len().min(candidate.len());
    let abbreviates = shorter >= 3 && (name.starts_with(candidate) || candidate.starts_with(name));
    if abbreviates { edits.max(0.7) } else { edits }
}

/// A hint to append: `; did you mean "y"?`, or nothing.
pub(crate) struct DidYouMean<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean \"{name}\"?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_most_likely_typo() {
        assert_eq!(nearest("cuont", ["split", "count", "mount"]), Some("count"));
        assert_eq!(nearest("interval", ["INTERVAL"]), Some("INTERVAL"));
        assert_eq!(nearest("delim", ["path", "delimiter"]), Some("delimiter"));
        assert_eq!(nearest("xyz", ["count", "split"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
