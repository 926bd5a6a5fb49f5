//! Durations as a user writes them: `"100ms"`, `"1.5h"`. They are whole milliseconds, which times are counted in.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A duration as it is written: `"10s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration(&text).map(Span).map_err(D::Error::custom)
    }
}

/// Reads a duration such as `"100ms"` or `"1.5h"`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    milliseconds(text).map(|ms| Duration::from_millis(ms.unsigned_abs()))
}

/// Reads a duration as milliseconds, of which there are few enough for a time.
pub(crate) fn milliseconds(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "ms" => 1.0,
        "s" => 1e3,
        "m" | "min" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        _ => return Err(not_a_duration(text)),
    };
    let amount: f64 = digits.trim().parse().map_err(|_| not_a_duration(text))?;
    let ms = amount * unit;
    if !(0.0..=LONGEST_MS).contains(&ms) {
        return Err(not_a_duration(text));
    }
    if (ms - ms.round()).abs() > 1e-6 {
        return Err(format!("`{text}` is not a whole number of milliseconds, which times are counted in"));
    }
    Ok(ms.round() as i64)
}

/// Three thousand years.
const LONGEST_MS: f64 = 1e14;

fn not_a_duration(text: &str) -> String {
    format!("`{text}` is not a duration; write a number and a unit (ms, s, m, h, d), as in \"100ms\" or \"10s\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required() {
        assert!(duration("10s").is_ok() && duration("1.5h").is_ok());
        assert!(duration("10").is_err() && duration("s").is_err() && duration("-1s").is_err());
    }

    #[test]
    fn fractions_that_are_whole_milliseconds_are_read_as_these() {
        for (text, ms) in [("0ms", 0), ("0.07h", 252_000), ("1.5 min", 90_000), ("1d", 86_400_000)] {
            assert_eq!(milliseconds(text), Ok(ms), "{text}");
        }
        assert!(milliseconds("0.5ms").unwrap_err().contains("not a whole number"));
        assert!(milliseconds("2e9d").is_err() && milliseconds("NaNs").is_err());
    }
}
