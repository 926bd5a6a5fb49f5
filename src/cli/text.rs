//! Amounts and times as people read them.

/// Returns an amount of bytes with at most one decimal: `1.2 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    for unit in UNITS {
        tenths = (tenths + 512) / 1024;
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{} PiB", bytes >> 50)
}

/// Returns a number with its thousands apart: `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of things: `1 file`, `2 files`.
pub(super) fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", number(count)) }
}

/// Returns a span of time: `250 ms`, `3.2 s`, `2 min 5 s`.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Returns a time in ms since 1970 as RFC 3339 in UTC with milliseconds: `2026-01-31T08:00:00.000Z`.
pub(super) fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Returns the year, month and day of a day counted from 1970-01-01. Years are taken to begin in March, so that the
/// leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    const FROM_MARCH_0000_TO_1970: i64 = 719_468;
    let days = days + FROM_MARCH_0000_TO_1970;
    let (cycle, of_cycle) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
    // Leap days every 4 years, but not every 100, but every 400.
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days, again and again.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, is_next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + is_next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_and_one_decimal() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024)], ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!([bytes(1_263), bytes(64 << 20), bytes(1 << 60)], ["1.2 KiB", "64.0 MiB", "1024 PiB"]);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([number(0), number(999), number(1_000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([count(1, "file"), count(2_000, "file")], ["1 file", "2,000 files"]);
    }

    #[test]
    fn spans_are_short() {
        assert_eq!([span(250), span(3_250), span(125_900)], ["250 ms", "3.2 s", "2 min 5 s"]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // From `date -u -d @SECONDS +%FT%TZ`.
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_735_689_599_042), "2024-12-31T23:59:59.042Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(-2_203_891_200_000), "1900-03-01T00:00:00.000Z");
    }
}
