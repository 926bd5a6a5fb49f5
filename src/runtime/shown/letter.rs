//! A dead letter as JSON, with its record as it is.

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::protocol::manifest::DeadLetter;

/// A letter as a line of JSON; its record, which is JSON already, follows.
#[derive(Serialize)]
struct Line<'a> {
    operator: &'a str,
    subtask: u32,
    number: u64,
    window: u64,
    position: u64,
    reason: &'a str,
}

/// Returns a letter as a line of JSON.
pub(crate) fn line(letter: &DeadLetter) -> String {
    let json = |value: &dyn erased_serde::Serialize| {
        serde_json::to_string(value).expect("letters are numbers and texts, which JSON can hold")
    };
    let DeadLetter { operator, subtask, number, window, position, reason, record, .. } = letter;
    let line =
        Line { operator, subtask: subtask.index, number: *number, window: window.0, position: *position, reason };
    // Passed on as it is: reading it might round numbers and sort fields. Line ends can stand between values only.
    let record = if is_json(record) { record.replace(['\n', '\r'], " ") } else { json(record) };
    let line = json(&line);
    let open = line.strip_suffix('}').expect("a struct is an object");
    format!("{open},\"record\":{record}}}")
}

/// Returns whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SubtaskId, WindowId};

    fn letter(record: &str) -> DeadLetter {
        DeadLetter {
            operator: "parse".into(),
            subtask: SubtaskId::new("in", 3),
            number: 7,
            window: WindowId(42),
            position: 1_234,
            reason: "a \"panic\"\nof two lines".into(),
            record: record.into(),
            kept: true,
        }
    }

    #[test]
    fn a_line_holds_the_record_as_it_is() {
        let line_of = |record| line(&letter(record));
        let begin = r#"{"operator":"parse","subtask":3,"number":7,"window":42,"position":1234,"reason":"a \"panic\"\nof two lines","record":"#;
        let same = r#"{"z":18446744073709551615,"a":0.10}"#;
        assert_eq!(line_of(same), format!("{begin}{same}}}"));
        assert_eq!(line_of("[1,\n2]"), format!("{begin}[1, 2]}}"));
        assert_eq!(line_of("{\"torn"), format!("{begin}{}}}", r#""{\"torn""#), "what is no JSON is a text");
    }
}
