//! What sources and operators make of records, as plain functions: the operators keep to them with the engine's state
//! and timers, the reference without either.

use serde::Deserialize;

/// A key and a value.
pub(crate) type Row = (u64, u64);

/// Event time, in ms, is cut into windows of this length.
const WINDOW_MS: i64 = 40;

/// So often a sub-key is counted until it begins anew.
pub(crate) const TURN: u64 = 7;

/// Scrambles a number; different numbers stay different.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns a row of a source, and its event time: behind an earlier one by `disorder` at most.
pub(crate) fn source_row(source: u64, number: u64, keys: u64, disorder: u64) -> (i64, Row) {
    let value = mix(mix(source) ^ number);
    let time = (number * 3) as i64 - (mix(value) % (disorder + 1)) as i64;
    (time, (value % keys, value))
}

/// What is made of each record alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Plain {
    /// Another value.
    Map,
    /// Another key.
    Rekey,
    /// Nothing, of a quarter of them.
    Filter,
    /// Two, of a third of them.
    Split,
}

impl Plain {
    pub(crate) fn apply(self, id: u64, (key, value): Row) -> Vec<Row> {
        match self {
            Plain::Map => vec![(key, mix(value ^ id))],
            Plain::Rekey => vec![(mix(value ^ id) % 5, value)],
            Plain::Filter if value % 4 == id % 4 => vec![],
            Plain::Filter => vec![(key, value)],
            Plain::Split if value % 3 == id % 3 => vec![(key, value), (key, mix(value ^ id))],
            Plain::Split => vec![(key, value)],
        }
    }
}

/// What is made of the records of each key. None of it depends on the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Keyed {
    /// Each is numbered.
    Count,
    /// Each is numbered within its sub-key, from one to [`TURN`] and again.
    Spread,
    /// Those of a time window become one.
    Window,
    /// Each stays as it is, and comes a little later.
    Delay,
}

/// The value of the record of a key that was counted as number `count`.
pub(crate) fn counted(id: u64, key: u64, count: u64) -> u64 {
    mix(mix(id ^ mix(key)) ^ count)
}

pub(crate) fn sub_key(value: u64) -> u64 {
    (value >> 8) % 3
}

/// The value of the record of a sub-key that was counted as number `count`.
pub(crate) fn spread(id: u64, key: u64, sub_key: u64, count: u64) -> u64 {
    counted(id ^ mix(sub_key + 1), key, count)
}

/// The value of a record of one side that was counted as number `count` of its side.
pub(crate) fn merged(id: u64, key: u64, side: u64, count: u64) -> u64 {
    counted(id ^ mix(side + 11), key, count)
}

pub(crate) fn window_of(time: i64) -> i64 {
    time.div_euclid(WINDOW_MS)
}

/// The last moment of a time window.
pub(crate) fn end_of(window: i64) -> i64 {
    (window + 1) * WINDOW_MS - 1
}

/// The value of the one record that a time window of a key becomes.
pub(crate) fn digest(id: u64, key: u64, window: i64, mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.into_iter().fold(counted(id, key, window as u64), |digest, value| mix(digest ^ value))
}
