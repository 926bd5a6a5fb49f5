//! A log of dead letters: what is read of it can be written and read again; what cannot be read is named; no letter
//! comes out of it that does not stand in it. Every letter can be shown, and exported as one line of JSON.
//!
//! The first byte of the input says whether the checksums in the rest are to be made right.

use piton::fuzzing::{print_letter, read_letter_log, write_letter_log};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{forge, input::Input};

/// What stands in a line of an export, apart from the record.
#[derive(Deserialize)]
struct Line {
    operator: String,
    subtask: u32,
    number: u64,
    window: u64,
    position: u64,
    reason: String,
    #[serde(rename = "record")]
    _record: IgnoredAny,
}

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let is_forged = input.byte() & 1 == 1;
    let mut log = input.0.to_vec();
    if is_forged {
        forge::sealed(&mut log);
    }
    let (letters, damage) = read_letter_log(&log);
    for (_, letter) in &letters {
        let (shown, line) = print_letter("region", letter);
        assert!(shown.starts_with("dead letter "));
        assert!(!line.contains(['\n', '\r']), "a line is one line: {line:?}");
        let read: Line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!((&read.operator, &read.reason), (&letter.operator, &letter.reason));
        assert_eq!((read.subtask, read.number), (letter.subtask.index, letter.number));
        assert_eq!((read.window, read.position), (letter.window.0, letter.position));
    }
    let written = write_letter_log(letters.clone());
    let (again, no_damage) = read_letter_log(&written);
    assert_eq!(no_damage, Vec::<String>::new());
    assert!(again == letters, "other letters than were written");
    let is_told = !letters.is_empty() || !damage.is_empty();
    assert!(is_told || is_forged || log.is_empty(), "a log that is neither read nor damaged");
}
