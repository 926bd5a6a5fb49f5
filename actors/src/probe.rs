//! Finds out whether an operator has a key, by asking it about a made-up record.
//!
//! A user writes `key` or leaves it out; which of the two cannot be seen in the type. So a record is made up through
//! its own `Deserialize` (all numbers zero, all texts empty, all collections empty, the first variant of an enum) and
//! `key` is asked about it. When in doubt the answer is yes: a key too many costs an exchange, a key too few would
//! spread the records of one key over subtasks.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::operator::Operator;
use crate::record::Inputs;

/// Returns whether the operator's `key` gives a key for a made-up record, or fails on one.
pub(crate) fn is_keyed<O: Operator>(operator: &O) -> bool {
    O::In::probe(|record| {
        let asked = quietly(|| operator.key(record));
        asked.map_or(true, |key| !key.is_none())
    })
}

/// Returns the names of the side outputs that an operator declares whose options are made up; none if it cannot be made, or
/// fails.
pub(crate) fn side_outputs<O: Operator + DeserializeOwned>() -> Vec<&'static str> {
    let Some(operator) = made_up::<O>() else { return Vec::new() };
    let declared = quietly(|| operator.side_outputs()).unwrap_or_default();
    declared.iter().filter_map(crate::SideOutputDeclared::fixed_name).collect()
}

thread_local! {
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread asks an operator about something made up: if it panics, nothing is wrong, and nobody need
/// be told.
pub fn is_asking() -> bool {
    IS_ASKING.get()
}

fn quietly<R>(ask: impl FnOnce() -> R) -> std::thread::Result<R> {
    let before = IS_ASKING.replace(true);
    let asked = catch_unwind(AssertUnwindSafe(ask));
    IS_ASKING.set(before);
    asked
}

/// Records nest no deeper than this; what does holds itself, and cannot be made up.
const DEPTH: u32 = 64;

/// What a text may have to look like to be accepted: nothing, a number, a time, an id, an address.
const TEXTS: [&str; 6] =
    ["", "0", "1970-01-01T00:00:00Z", "1970-01-01", "00000000-0000-0000-0000-000000000000", "127.0.0.1"];

/// Makes up a record; nothing if its type accepts none of what is tried.
pub(crate) fn made_up<T: DeserializeOwned>() -> Option<T> {
    let attempts = TEXTS.iter().flat_map(|text| [0, 1].map(|number| MadeUp { number, text, depth: DEPTH }));
    attempts.into_iter().find_map(|made_up| {
        // A `Deserialize` written by hand may panic on what it did not expect.
        quietly(|| T::deserialize(made_up).ok()).ok().flatten()
    })
}

/// Gives every field the simplest value of its type.
#[derive(Clone, Copy)]
struct MadeUp {
    number: u8,
    text: &'static str,
    depth: u32,
}

/// Why nothing could be made up; nobody reads it.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record of this type cannot be made up")
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    fn custom<T: fmt::Display>(_message: T) -> Refused {
        Refused
    }
}

impl MadeUp {
    fn deeper(self) -> Result<MadeUp, Refused> {
        let depth = self.depth.checked_sub(1).ok_or(Refused)?;
        Ok(MadeUp { depth, ..self })
    }

    fn fields(self, count: usize) -> Result<Fields, Refused> {
        Ok(Fields { of: self.deeper()?, left: count })
    }
}

macro_rules! numbers {
    ($($deserialize:ident $visit:ident),*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            visitor.$visit(self.number.into())
        }
    )*};
}

impl<'de> Deserializer<'de> for MadeUp {
    type Error = Refused;

    numbers!(
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
        deserialize_u128 visit_u128, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_i128 visit_i128, deserialize_f32 visit_f32, deserialize_f64 visit_f64
    );

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_i8(i8::from(self.number != 0))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bool(false)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_char('\0')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_bytes(&[])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_bytes(&[])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.fields(0)?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.fields(count)?)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.fields(count)?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(serde::de::value::MapDeserializer::new(std::iter::empty::<((), ())>()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.fields(fields.len())?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(self.deeper()?)
    }

    // Without a type to go by there is nothing simpler than nothing.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { unit unit_struct identifier ignored_any }
}

/// The fields of a struct or tuple.
struct Fields {
    of: MadeUp,
    left: usize,
}

impl<'de> SeqAccess<'de> for Fields {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.of).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The first variant of an enum.
impl<'de> EnumAccess<'de> for MadeUp {
    type Error = Refused;
    type Variant = MadeUp;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, MadeUp), Refused> {
        let first: U32Deserializer<Refused> = 0u32.into_deserializer();
        Ok((seed.deserialize(first)?, self))
    }
}

impl<'de> VariantAccess<'de> for MadeUp {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.fields(count)?)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.fields(fields.len())?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{Context, Either, InputRef, Key, Record, Result};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
    struct Order {
        id: u64,
        name: String,
        price: Option<f32>,
        at: (i64, char),
        items: Vec<Item>,
        tags: BTreeMap<String, u8>,
        kind: Kind,
        count: NonZeroU32,
        #[serde(default)]
        fixed: [u8; 4],
        #[serde(skip)]
        scratch: u8,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Item(u8);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Gift { to: Box<str>, note: Item },
        Plain,
    }

    #[derive(Clone, Serialize, Deserialize, Record)]
    struct Endless {
        next: Box<Endless>,
    }

    #[derive(Clone, Serialize, Deserialize, Record)]
    struct Untyped {
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Inner {
        id: u64,
    }

    #[test]
    fn a_record_is_made_up_of_nothings() {
        let order = made_up::<Order>().unwrap();
        let expected = Order {
            id: 1,
            name: String::new(),
            price: None,
            at: (1, '\0'),
            items: vec![],
            tags: BTreeMap::new(),
            kind: Kind::Gift { to: "".into(), note: Item(1) },
            count: NonZeroU32::MIN,
            fixed: [1; 4],
            scratch: 0,
        };
        assert_eq!(order, expected);
        assert_eq!(made_up::<(u8, bool, String)>(), Some((0, false, String::new())));
        assert_eq!(made_up::<std::net::IpAddr>(), Some([127, 0, 0, 1].into()));
        assert!(made_up::<Endless>().is_none());
        assert!(made_up::<Untyped>().is_none());
    }

    struct Asked<I, F>(F, std::marker::PhantomData<fn(I)>);

    impl<I: Inputs, F: Fn() -> Key + Send + 'static> Operator for Asked<I, F> {
        type In = I;
        type Out = u64;
        fn key(&self, _: InputRef<'_, Self>) -> Key {
            (self.0)()
        }
        fn process(&mut self, _: InputRef<'_, Self>, _: &mut Context<u64>) -> Result {
            Ok(())
        }
    }

    fn asked<I: Inputs>(key: impl Fn() -> Key + Send + 'static) -> bool {
        is_keyed(&Asked::<I, _>(key, std::marker::PhantomData))
    }

    #[test]
    fn only_an_operator_that_surely_has_no_key_is_taken_for_one() {
        assert!(!asked::<Order>(|| Key::None));
        assert!(asked::<Order>(|| Key::from(1u64)));
        assert!(asked::<Order>(|| panic!("no item")));
        assert!(asked::<Endless>(|| Key::None));
        assert!(!asked::<Either<Order, String>>(|| Key::None));
        assert!(asked::<Either<Order, Endless>>(|| Key::None));
    }

    struct Right;

    impl Operator for Right {
        type In = Either<u64, String>;
        type Out = u64;
        fn key(&self, record: Either<&u64, &String>) -> Key {
            match record {
                Either::Left(_) => Key::None,
                Either::Right(text) => Key::from(text),
            }
        }
        fn process(&mut self, _: Either<&u64, &String>, _: &mut Context<u64>) -> Result {
            Ok(())
        }
    }

    #[test]
    fn a_key_for_one_of_two_inputs_is_a_key() {
        assert!(is_keyed(&Right));
    }
}
