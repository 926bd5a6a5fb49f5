//! Options of a user's own type and of the kit's, in one table.
//!
//! They are taken apart while they are read, so that a mistake in any of them is told with its name and its place.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// Options that stand in one table with those of a user's own type.
pub(crate) trait Shared {
    /// Reads the value of an option, if it is one of these; returns whether it is.
    ///
    /// # Errors
    /// If it is not such a value.
    fn take<'de, M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<bool, M::Error>;
}

/// A table of which some options are taken out while it is read. It serves as deserializer, visitor and map, one inside the
/// other.
pub(crate) struct Apart<'f, D, F> {
    deserializer: D,
    found: &'f mut F,
}

impl<'f, D, F> Apart<'f, D, F> {
    /// Takes the options that `found` knows out of what the deserializer gives.
    pub(crate) fn new(deserializer: D, found: &'f mut F) -> Self {
        Apart { deserializer, found }
    }
}

impl<'de, D: Deserializer<'de>, F: Shared> Deserializer<'de> for Apart<'_, D, F> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserializer.deserialize_map(Apart { deserializer: visitor, found: self.found })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserializer.deserialize_struct(name, fields, Apart { deserializer: visitor, found: self.found })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>, F: Shared> Visitor<'de> for Apart<'_, V, F> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deserializer.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<V::Value, M::Error> {
        self.deserializer.visit_map(Apart { deserializer: map, found: self.found })
    }
}

impl<'de, M: MapAccess<'de>, F: Shared> MapAccess<'de> for Apart<'_, M, F> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        while let Some(name) = self.deserializer.next_key::<String>()? {
            if !self.found.take(&name, &mut self.deserializer)? {
                let name: StringDeserializer<M::Error> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        self.deserializer.next_value_seed(seed)
    }
}
