//! Amounts that carry their unit in the file: `"100ms"`, `"64MiB"`, `"5000/s"`.
//!
//! A bare number is refused rather than guessed at, with the two likeliest ways to write it.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, exact to the millisecond: `"100ms"`, `"1s"`, `"1m30s"`, `"12h"`, `"7d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(0);

    /// Makes a length of time of ms.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(millis)
    }

    /// Makes a length of time of seconds.
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(seconds * 1000)
    }

    /// Returns it in ms.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns it as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Returns whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Largest first: `Display` takes the first that divides.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Duration, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err("a length of time is empty; write \"10s\" or \"10ms\"".into());
        }
        let mut rest = trimmed;
        let mut total = 0u64;
        while !rest.is_empty() {
            let (number, after) = split_number(rest);
            let (unit, after) = split_unit(after);
            if number.is_empty() {
                return Err(format!("`{trimmed}` is not a length of time; write \"10s\" or \"10ms\""));
            }
            if unit.is_empty() {
                return Err(format!("`{trimmed}` has no unit; write \"{number}s\" or \"{number}ms\""));
            }
            let Some((_, size)) = TIMES.iter().find(|(name, _)| *name == unit) else {
                return Err(format!("`{unit}` is not a unit of time (known: ms, s, m, h, d)"));
            };
            let part = scale(number, *size).ok_or_else(|| not_whole(trimmed, "a millisecond"))?;
            total = total.checked_add(part).ok_or_else(|| format!("`{trimmed}` is too long"))?;
            rest = after.trim_start();
        }
        Ok(Duration(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        write_largest(f, self.0, &TIMES)
    }
}

/// A number of bytes: `"64MiB"`, `"1GiB"`, `"500kB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// Makes a number of bytes.
    pub const fn new(bytes: u64) -> Bytes {
        Bytes(bytes)
    }

    /// Makes a number of MiB.
    pub const fn from_mib(mib: u64) -> Bytes {
        Bytes(mib << 20)
    }

    /// Returns the number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DECIMAL_SIZES: [(&str, u64); 5] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000), ("KB", 1000)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let text = text.trim();
        let (number, after) = split_number(text);
        let unit = after.trim();
        if number.is_empty() {
            return Err(format!("`{text}` is not a size; write \"64MiB\" or \"1GiB\""));
        }
        if unit.is_empty() {
            return Err(format!("`{text}` has no unit; write \"{number}MiB\" or \"{number}B\""));
        }
        let Some((_, size)) = SIZES.iter().chain(&DECIMAL_SIZES).find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is not a unit of size (known: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)"));
        };
        scale(number, *size).map(Bytes).ok_or_else(|| not_whole(text, "a byte"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0B");
        }
        write_largest(f, self.0, &SIZES)
    }
}

/// So many per length of time: `"5000/s"`, `"100/m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u64,
    per: Duration,
}

impl Rate {
    /// Returns how many there are in one second.
    pub fn per_second(self) -> f64 {
        self.count as f64 * 1000.0 / self.per.0 as f64
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let text = text.trim();
        let Some((count, unit)) = text.split_once('/') else {
            return Err(format!("`{text}` is not a rate; write \"5000/s\""));
        };
        let count: u64 = count
            .trim()
            .replace('_', "")
            .parse()
            .map_err(|_| format!("`{}` is not a whole number of rows; write a rate as \"5000/s\"", count.trim()))?;
        let Some((_, size)) = TIMES.iter().find(|(name, _)| *name == unit.trim()) else {
            return Err(format!("`{}` is not a unit of time (known: ms, s, m, h, d)", unit.trim()));
        };
        if count == 0 {
            return Err("a rate of 0 would never give anything; leave the option out for no limit".into());
        }
        Ok(Rate { count, per: Duration(*size) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = TIMES.iter().find(|(_, size)| *size == self.per.0).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)
    }
}

/// A number of times, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So often and no more.
    Of(u32),
    /// For ever.
    Unlimited,
}

impl Limit {
    /// Returns whether so many are still allowed.
    pub fn allows(self, count: u32) -> bool {
        match self {
            Limit::Of(limit) => count <= limit,
            Limit::Unlimited => true,
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        if text == "unlimited" {
            return Ok(Limit::Unlimited);
        }
        text.parse().map(Limit::Of).map_err(|_| format!("`{text}` is neither a number nor \"unlimited\""))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Of(limit) => limit.fmt(f),
            Limit::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// Reads text, or a number as the text that it would be: the amount itself says what is wrong with a bare number.
struct Text<T> {
    expected: &'static str,
    marker: std::marker::PhantomData<T>,
}

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

macro_rules! written_as_text {
    ($($amount:ident $expected:literal),*) => {$(
        impl<'de> Deserialize<'de> for $amount {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Text { expected: $expected, marker: std::marker::PhantomData })
            }
        }
        impl Serialize for $amount {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
written_as_text!(
    Duration "a length of time like \"10s\"",
    Bytes "a size like \"64MiB\"",
    Rate "a rate like \"5000/s\"",
    Limit "a number or \"unlimited\""
);

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    text.split_at(end)
}

/// Returns `number × size` if that is whole and not too large. Decimals are counted exactly, not as floats.
fn scale(number: &str, size: u64) -> Option<u64> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let places = u32::try_from(fraction.len()).ok()?;
    let denominator = 10u128.checked_pow(places)?;
    let numerator: u128 = format!("{whole}{fraction}").parse().ok()?;
    let product = numerator.checked_mul(u128::from(size))?;
    if product % denominator != 0 {
        return None;
    }
    u64::try_from(product / denominator).ok()
}

fn not_whole(text: &str, smallest: &str) -> String {
    format!("`{text}` is not a whole multiple of {smallest}, or is too large")
}

fn write_largest(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let largest = units.iter().find(|(_, size)| amount.is_multiple_of(*size));
    let (unit, size) = largest.expect("the last unit is 1, which divides everything");
    write!(f, "{}{unit}", amount / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_back() {
        for text in ["100ms", "1s", "90s", "10m", "12h", "7d", "0s"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        for text in ["64MiB", "1GiB", "1000B", "0B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("5000/s".parse::<Rate>().unwrap().per_second(), 5000.0);
        assert_eq!("120/m".parse::<Rate>().unwrap().to_string(), "120/m");
        assert_eq!("unlimited".parse::<Limit>().unwrap(), Limit::Unlimited);
    }

    #[test]
    fn parts_and_decimals_add_up() {
        assert_eq!("1m30s".parse::<Duration>().unwrap().millis(), 90_000);
        assert_eq!("1.5s".parse::<Duration>().unwrap().millis(), 1500);
        assert_eq!("1 h".parse::<Duration>().unwrap().millis(), 3_600_000);
        assert_eq!("0.5KiB".parse::<Bytes>().unwrap().get(), 512);
        assert_eq!("1_000MB".parse::<Bytes>().unwrap().get(), 1_000_000_000);
    }

    #[test]
    fn mistakes_are_explained() {
        let duration = |text: &str| text.parse::<Duration>().unwrap_err();
        assert_eq!(duration("10"), "`10` has no unit; write \"10s\" or \"10ms\"");
        assert!(duration("10 sec").contains("`sec` is not a unit of time"));
        assert!(duration("-1s").contains("not a length of time"));
        assert!(duration("0.1ms").contains("not a whole multiple"));
        assert!(duration("99999999999999999999d").contains("too large"));
        assert!(duration("").contains("empty"));
        assert!("64".parse::<Bytes>().unwrap_err().contains("write \"64MiB\""));
        assert!("64mb".parse::<Bytes>().unwrap_err().contains("`mb` is not a unit of size"));
        assert!("5000".parse::<Rate>().unwrap_err().contains("\"5000/s\""));
        assert!("0/s".parse::<Rate>().unwrap_err().contains("never"));
        assert!("many".parse::<Limit>().unwrap_err().contains("unlimited"));
    }
}
