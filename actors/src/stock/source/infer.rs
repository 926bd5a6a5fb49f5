//! Guessing the types of columns from their first values.

use arrow::datatypes::{DataType, TimeUnit};

use super::columns::{Cell, boolean, date, timestamp};

/// How many rows are looked at.
pub(super) const INFERENCE_ROWS: usize = 1000;

/// What the values of a column could all be so far.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    seen: bool,
    integer: bool,
    number: bool,
    boolean: bool,
    date: bool,
    timestamp: bool,
}

impl Default for Guess {
    fn default() -> Guess {
        Guess { seen: false, integer: true, number: true, boolean: true, date: true, timestamp: true }
    }
}

impl Guess {
    /// Looks at a value that is written as text.
    pub(super) fn text(&mut self, text: &str) {
        let text = text.trim();
        self.seen = true;
        let digits = text.trim_start_matches(['-', '+']);
        // A number with a leading zero is a code: as a number it would lose the zero.
        let code = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        self.integer &= !code && text.parse::<i64>().is_ok();
        // Words such as "inf" and "nan" are no sign of a number.
        self.number &= !code
            && digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && text.parse::<f64>().is_ok();
        self.boolean &= boolean(text).is_some();
        self.date &= date(text).is_some();
        self.timestamp &= text.contains('-') && text.contains(':') && timestamp(text).is_some();
    }

    /// Looks at a JSON value.
    pub(super) fn cell(&mut self, cell: &Cell<'_>) {
        let before = std::mem::replace(
            self,
            Guess { seen: true, integer: false, number: false, boolean: false, date: false, timestamp: false },
        );
        match cell {
            Cell::Null => *self = before,
            Cell::Bool(_) => self.boolean = before.boolean,
            Cell::Int(_) => {
                self.integer = before.integer;
                self.number = before.number;
            }
            Cell::Float(_) => self.number = before.number,
            Cell::Text(text) => {
                let mut guess = before;
                guess.text(text);
                self.date = guess.date;
                self.timestamp = guess.timestamp;
            }
        }
    }

    /// Returns the narrowest type that fits all values; text if there were none.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Guess { seen: false, .. } => DataType::Utf8,
            Guess { integer: true, .. } => DataType::Int64,
            Guess { number: true, .. } => DataType::Float64,
            Guess { boolean: true, .. } => DataType::Boolean,
            Guess { date: true, .. } => DataType::Date32,
            Guess { timestamp: true, .. } => DataType::Timestamp(TimeUnit::Millisecond, None),
            _ => DataType::Utf8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> DataType {
        let mut guess = Guess::default();
        texts.iter().for_each(|text| guess.text(text));
        guess.data_type()
    }

    #[test]
    fn the_narrowest_type_wins() {
        assert_eq!(of(&["1", "-20"]), DataType::Int64);
        assert_eq!(of(&["1", "2.5", "1e3"]), DataType::Float64);
        assert_eq!(of(&["true", "False"]), DataType::Boolean);
        assert_eq!(of(&["2013-01-01"]), DataType::Date32);
        assert_eq!(
            of(&["2013-01-01 05:00:00", "2013-01-01T05:00:00Z"]),
            DataType::Timestamp(TimeUnit::Millisecond, None)
        );
        assert_eq!(of(&["1", "x"]), DataType::Utf8);
        assert_eq!(of(&[]), DataType::Utf8);
    }

    #[test]
    fn codes_and_words_are_no_numbers() {
        assert_eq!(of(&["007"]), DataType::Utf8);
        assert_eq!(of(&["nan", "inf"]), DataType::Utf8);
        assert_eq!(of(&["0", "0.5"]), DataType::Float64);
    }

    #[test]
    fn json_values_are_taken_as_they_are() {
        let mut guess = Guess::default();
        guess.cell(&Cell::Int(1));
        guess.cell(&Cell::Null);
        assert_eq!(guess.data_type(), DataType::Int64);
        guess.cell(&Cell::Float(1.5));
        assert_eq!(guess.data_type(), DataType::Float64);
        guess.cell(&Cell::Text("1".into()));
        assert_eq!(guess.data_type(), DataType::Utf8, "a number in quotes is a text");
    }
}
