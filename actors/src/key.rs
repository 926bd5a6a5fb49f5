//! Keys: what records are partitioned by and what keyed state belongs to.
//!
//! A [`Key`] carries its 64-bit hash, computed once when the key is made and used for routing, for the key group and
//! for finding the state. The hash is part of the on-disk format (it decides the key group), so it is a fixed
//! function: xxh3 over the bytes of a text key, the splitmix64 finaliser for an integer.
//!
//! Key groups are the unit in which keyed state moves between subtasks (the idea and the name are Flink's): a group
//! is `hash × groups / 2^64`, and a subtask owns one contiguous range of groups.

use std::fmt;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// What a record is partitioned by.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    hash: u64,
    value: Value,
}

/// Keys of up to this many bytes are kept without an allocation.
const INLINE: usize = 22;

#[derive(Clone, PartialEq, Eq)]
enum Value {
    None,
    Integer(u64),
    Short { len: u8, bytes: [u8; INLINE] },
    Long(Box<[u8]>),
}

/// A key of bytes without its hash, for whoever keeps that elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(Value);

impl Text {
    pub(crate) fn of(key: &Key) -> Text {
        Text(key.value.clone())
    }

    /// Returns the key, which has this hash.
    pub(crate) fn into_key(self, hash: u64) -> Key {
        Key { hash, value: self.0 }
    }

    /// Returns whether it is that of this key.
    pub(crate) fn is_of(&self, key: &Key) -> bool {
        self.0 == key.value
    }

    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_bytes()
    }
}

impl Value {
    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Short { len, bytes } => Some(&bytes[..usize::from(*len)]),
            Value::Long(bytes) => Some(bytes),
            Value::None | Value::Integer(_) => None,
        }
    }
}

impl Key {
    /// No key: the record may go to any subtask, and keyed state is out of reach.
    #[allow(non_upper_case_globals, reason = "reads like the variant of an enum, which is how users meet it")]
    pub const None: Key = Key { hash: 0, value: Value::None };

    /// Makes a key of raw bytes; two keys are equal if their bytes are.
    pub fn bytes(bytes: &[u8]) -> Key {
        let value = match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= INLINE => {
                let mut short = [0; INLINE];
                short[..bytes.len()].copy_from_slice(bytes);
                Value::Short { len, bytes: short }
            }
            _ => Value::Long(bytes.into()),
        };
        Key { hash: xxh3_64(bytes), value }
    }

    /// Makes the integer key that has this hash.
    #[inline]
    pub(crate) fn of_integer_hash(hash: u64) -> Key {
        Key { hash, value: Value::Integer(unmix(hash)) }
    }

    /// Returns whether this is [`Key::None`].
    pub fn is_none(&self) -> bool {
        matches!(self.value, Value::None)
    }

    /// Returns the hash that routing, key groups and state use.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the key group of this key, out of `groups`.
    #[inline]
    pub fn group(&self, groups: u32) -> u32 {
        group_of(self.hash, groups)
    }

    /// Returns the integer that the key was made from, if it was made from one.
    #[inline]
    pub fn as_u64(&self) -> Option<u64> {
        match self.value {
            Value::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// Returns the bytes that the key was made from, if it was made from bytes or text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.value.as_bytes()
    }

    /// Returns the text that the key was made from, if it was made from text.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

impl From<u64> for Key {
    #[inline]
    fn from(value: u64) -> Key {
        Key { hash: mix(value), value: Value::Integer(value) }
    }
}

macro_rules! integer_keys {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Key {
            #[inline]
            fn from(value: $integer) -> Key {
                // Sign extension keeps equal numbers equal whatever their width.
                Key::from(value as i64 as u64)
            }
        }
        impl From<&$integer> for Key {
            #[inline]
            fn from(value: &$integer) -> Key {
                Key::from(*value)
            }
        }
    )*};
}
integer_keys!(u8, u16, u32, usize, i8, i16, i32, i64, isize);

impl From<&u64> for Key {
    #[inline]
    fn from(value: &u64) -> Key {
        Key::from(*value)
    }
}

impl From<&str> for Key {
    fn from(value: &str) -> Key {
        Key::bytes(value.as_bytes())
    }
}

impl From<&String> for Key {
    fn from(value: &String) -> Key {
        Key::bytes(value.as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::None => f.write_str("none"),
            Value::Integer(integer) => integer.fmt(f),
            Value::Short { .. } | Value::Long(_) => match self.as_str() {
                Some(text) => write!(f, "{text:?}"),
                None => write!(f, "{:02x?}", self.as_bytes().unwrap_or_default()),
            },
        }
    }
}

/// Returns the key group of a hash, out of `groups`.
#[inline]
pub fn group_of(hash: u64, groups: u32) -> u32 {
    ((u128::from(hash) * u128::from(groups)) >> 64) as u32
}

/// Returns the subtask, out of `parallelism`, that owns a key group.
#[inline]
pub fn subtask_of(group: u32, parallelism: u32, groups: u32) -> u32 {
    (u64::from(group) * u64::from(parallelism) / u64::from(groups)) as u32
}

/// Returns the key groups that a subtask owns: the inverse of [`subtask_of`].
pub fn groups_of(subtask: u32, parallelism: u32, groups: u32) -> Range<u32> {
    let first = |subtask: u32| {
        let product = u64::from(subtask) * u64::from(groups);
        product.div_ceil(u64::from(parallelism)) as u32
    };
    first(subtask)..first(subtask + 1)
}

/// The finaliser of splitmix64: a bijection, so different integers never share a hash.
#[inline]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns the integer that [`mix`] makes this hash of, so that whoever keeps an integer key's hash keeps the key.
#[inline]
pub(crate) fn unmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(0x3196_42B2_D24D_8EC3);
    z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(0x96DE_1B17_3F11_9089);
    z = z ^ (z >> 30) ^ (z >> 60);
    z.wrapping_sub(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_integer_gives_the_integer_back() {
        for integer in (0..64).map(|bit| 1u64 << bit).chain(0..1000).chain([u64::MAX, u64::MAX / 3]) {
            assert_eq!(unmix(mix(integer)), integer);
        }
    }

    #[test]
    fn every_key_group_has_exactly_one_subtask() {
        for groups in [1, 7, 128, 1024] {
            for parallelism in 1..=groups.min(33) {
                let mut next = 0;
                for subtask in 0..parallelism {
                    let own = groups_of(subtask, parallelism, groups);
                    assert_eq!(own.start, next, "{subtask}/{parallelism} of {groups}");
                    assert!(own.clone().all(|group| subtask_of(group, parallelism, groups) == subtask));
                    next = own.end;
                }
                assert_eq!(next, groups);
            }
        }
    }

    #[test]
    fn hashes_are_part_of_the_format() {
        assert_eq!(Key::from(0u64).hash(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(Key::from(1u32), Key::from(1u64));
        assert_eq!(Key::from(-1i32), Key::from(-1i64));
        assert_eq!(Key::from("").hash(), 0x2D06_8005_38D3_94C2);
        assert_eq!(Key::from("piton").hash(), xxh3_64(b"piton"));
    }

    #[test]
    fn a_key_gives_back_what_it_was_made_from() {
        let long = "x".repeat(100);
        assert_eq!(Key::from(long.as_str()).as_str(), Some(long.as_str()));
        assert_eq!(Key::from("tea").as_str(), Some("tea"));
        assert_eq!(Key::from(7u64).as_u64(), Some(7));
        assert!(Key::None.is_none());
    }
}
