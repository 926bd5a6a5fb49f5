//! What has not expired of a value as it is written, for whoever looks at it without its type.

use std::borrow::Cow;

use super::chunk::{Kind, Primitive};
use super::ttl::is_past;
use crate::time::Timestamp;
use crate::{Error, Result};

/// The first byte of a map, and of an array, whose length is a u32.
const MAP: u8 = 0xdf;
const ARRAY: u8 = 0xdd;

/// Returns what has not expired of a value; nothing if that is nothing.
///
/// # Errors
/// If the bytes are damaged.
pub(super) fn living<'a>(
    kind: Kind,
    value: &'a [u8],
    deadlines: &[u8],
    now: Timestamp,
) -> Result<Option<Cow<'a, [u8]>>> {
    if kind == Kind::Value {
        let deadline = <Timestamp as Primitive>::read(deadlines).ok_or_else(damaged)?;
        return Ok((!is_past(deadline, now)).then_some(Cow::Borrowed(value)));
    }
    let is_map = kind == Kind::Map;
    let (items, deadlines) = (items(value, is_map)?, items(deadlines, is_map)?);
    if items.len() != deadlines.len() {
        return Err(damaged());
    }
    let mut left = Vec::new();
    for (item, (_, deadline)) in items.iter().zip(deadlines) {
        let deadline: Timestamp = rmp_serde::from_slice(deadline).map_err(|_| damaged())?;
        if !is_past(deadline, now) {
            left.push(*item);
        }
    }
    if left.len() == items.len() {
        return Ok((!left.is_empty()).then_some(Cow::Borrowed(value)));
    }
    let mut bytes = vec![if is_map { MAP } else { ARRAY }];
    bytes.extend_from_slice(&(left.len() as u32).to_be_bytes());
    for (key, value) in &left {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    Ok((!left.is_empty()).then_some(Cow::Owned(bytes)))
}

/// Returns the pairs of a map, or the items of an array, which have no keys.
fn items(mut bytes: &[u8], is_map: bool) -> Result<Vec<(&[u8], &[u8])>> {
    let (count, _) = match (read(&mut bytes)?, is_map) {
        (Head { maps: true, items, .. }, true) => (items / 2, ()),
        (Head { maps: false, items, bytes: 0, .. }, false) => (items, ()),
        _ => return Err(damaged()),
    };
    let mut all = Vec::new();
    for _ in 0..count {
        let key = if is_map { next(&mut bytes)? } else { &[] };
        all.push((key, next(&mut bytes)?));
    }
    Ok(all)
}

/// Takes the next value.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let all = *bytes;
    let mut left = 1u64;
    while left > 0 {
        let head = read(bytes)?;
        take(bytes, head.bytes)?;
        left = left - 1 + head.items;
    }
    Ok(&all[..all.len() - bytes.len()])
}

/// What a value of MessagePack begins with.
struct Head {
    /// How many bytes follow that are its own.
    bytes: u64,
    /// How many values follow that are part of it.
    items: u64,
    /// Whether it is a map.
    maps: bool,
}

fn read(bytes: &mut &[u8]) -> Result<Head> {
    let first = take(bytes, 1)?[0];
    let mut length = |width: u64| -> Result<u64> {
        Ok(take(bytes, width)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    };
    let own = |bytes: u64| Head { bytes, items: 0, maps: false };
    let array = |items: u64| Head { bytes: 0, items, maps: false };
    let map = |pairs: u64| Head { bytes: 0, items: 2 * pairs, maps: true };
    Ok(match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => own(0),
        0x80..=0x8f => map(u64::from(first & 0x0f)),
        0x90..=0x9f => array(u64::from(first & 0x0f)),
        0xa0..=0xbf => own(u64::from(first & 0x1f)),
        0xc4..=0xc6 => own(length(1 << (first - 0xc4))?),
        0xc7..=0xc9 => own(length(1 << (first - 0xc7))? + 1),
        0xca | 0xce | 0xd2 => own(4),
        0xcb | 0xcf | 0xd3 => own(8),
        0xcc | 0xd0 => own(1),
        0xcd | 0xd1 => own(2),
        0xd4..=0xd8 => own((1 << (first - 0xd4)) + 1),
        0xd9..=0xdb => own(length(1 << (first - 0xd9))?),
        0xdc => array(length(2)?),
        ARRAY => array(length(4)?),
        0xde => map(length(2)?),
        MAP => map(length(4)?),
        0xc1 => return Err(damaged()),
    })
}

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [u8]> {
    let count = usize::try_from(count).map_err(|_| damaged())?;
    let (taken, rest) = bytes.split_at_checked(count).ok_or_else(damaged)?;
    *bytes = rest;
    Ok(taken)
}

fn damaged() -> Error {
    Error::invalid("a chunk of state is damaged: a value that does not go with its deadlines")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_form_of_a_value_is_passed_over() {
        let all = (
            (1u8, -1i8, 200u8, 70_000u32, u64::MAX, i64::MIN, -300i16, 1.5f32, 2.5f64, true),
            "x".repeat(40),
            vec![(); 20],
            (0..70_000u32).collect::<Vec<_>>(),
            (0..20u8).map(|key| (key, "x".repeat(300))).collect::<BTreeMap<_, _>>(),
            Option::<u8>::None,
        );
        let bytes = rmp_serde::to_vec_named(&vec![all.clone(), all]).unwrap();
        let items = items(&bytes, false).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].1, items[1].1);
        assert_eq!(items[0].1.len() * 2 + 1, bytes.len());
        for length in 0..bytes.len().min(3000) {
            assert!(super::items(&bytes[..length], false).is_err());
        }
    }

    #[test]
    fn what_has_expired_is_left_out() {
        let map: BTreeMap<String, Vec<u8>> = ["a", "b", "c"].map(|key| (key.to_string(), vec![1, 2])).into();
        let times: BTreeMap<&str, Timestamp> = [("a", 10), ("b", 20), ("c", i64::MIN)].into();
        let (value, deadlines) = (rmp_serde::to_vec_named(&map).unwrap(), rmp_serde::to_vec_named(&times).unwrap());
        for (now, keys) in [(9, "abc"), (10, "bc"), (20, "c")] {
            let living = living(Kind::Map, &value, &deadlines, now).unwrap().unwrap();
            let left: BTreeMap<String, Vec<u8>> = rmp_serde::from_slice(&living).unwrap();
            assert_eq!(left.into_keys().collect::<String>(), keys);
        }
        let list = rmp_serde::to_vec_named(&["x", "y"]).unwrap();
        let times = rmp_serde::to_vec_named(&[5i64, 3]).unwrap();
        let left = living(Kind::List, &list, &times, 4).unwrap().unwrap();
        assert_eq!(rmp_serde::from_slice::<Vec<String>>(&left).unwrap(), ["x"]);
        assert_eq!(living(Kind::List, &list, &times, 5).unwrap(), None);
        assert_eq!(living(Kind::Value, &[7], &8i64.to_le_bytes(), 8).unwrap(), None);
        assert!(living(Kind::Map, &list, &times, 5).is_err());
    }
}
