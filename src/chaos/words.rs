//! What is wrong, in words that have an end: rows and states may be of any length, and many mistakes are one.

use std::fmt;

/// How many characters of a row or a value are shown.
const MOST_OF_A_VALUE: usize = 160;

/// Returns the beginning of a text, and says how long it is if that is not all.
pub(crate) fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_string(),
        Some((end, _)) => format!("{}… ({} characters in all)", &text[..end], text.chars().count()),
    }
}

/// Returns a row or a value as a message shows it: in backquotes, of which there are no others in it.
pub(crate) fn quoted(value: &str) -> String {
    format!("`{}`", beginning(value, MOST_OF_A_VALUE).replace('`', "'"))
}

/// Returns what messages have in common that say the same of other rows, files and times: what stands in backquotes is
/// left out, and so is which numbers there are.
pub(crate) fn gist(message: &str) -> String {
    let mut gist = String::new();
    for words in message.split('`').step_by(2) {
        for part in words.split_inclusive(|char: char| char.is_ascii_digit()) {
            let rest = part.trim_end_matches(|char: char| char.is_ascii_digit());
            gist.push_str(rest);
            if rest.len() < part.len() && !gist.ends_with('#') {
                gist.push('#');
            }
        }
        gist.push('`');
    }
    gist
}

/// A row, as the predicates show it that follow which rows were seen.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row(pub(crate) String);

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_an_end() {
        assert_eq!(quoted("a`b"), "`a'b`");
        let long = quoted(&"ä".repeat(10_000));
        assert!(long.starts_with("`ää") && long.ends_with("ä… (10000 characters in all)`"), "{long}");
        assert!(long.chars().count() < 200);
        assert_eq!(format!("{:?}", Row("{\"a\":\"b\"}".into())), "`{\"a\":\"b\"}`", "as it stands in its file");
    }

    #[test]
    fn what_is_said_of_another_row_or_number_is_alike() {
        let row =
            |file: &str, row: &str| gist(&format!("sink \"out\": file {file}: {} was seen too often", quoted(row)));
        assert_eq!(row("part-0-9.csv", "a,1"), row("part-0-10.csv", "b`2"));
        assert_ne!(row("part-0-9.csv", "a,1"), row("part-0-9.csv", "a,1").replace("out", "other"));
        assert_ne!(gist("9 of 10 were seen"), gist("9 were seen"));
    }
}
