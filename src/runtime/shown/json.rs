//! Values of state as JSON, whatever their types are.

use std::fmt;

use piton_actors::state::Written;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Returns a value as JSON. Bytes become numbers, keys of maps become texts, numbers that JSON has not become texts.
///
/// # Errors
/// If it is not what it says it is.
pub(crate) fn of_written(value: Written<'_>) -> Result<Value, String> {
    match value {
        Written::Unsigned(number) => Ok(number.into()),
        Written::Signed(number) => Ok(number.into()),
        Written::Float(number) => Ok(of_float(number)),
        Written::Bool(value) => Ok(value.into()),
        Written::MessagePack(bytes) => {
            rmp_serde::from_slice(bytes).map(|Any(value)| value).map_err(|error| error.to_string())
        }
    }
}

fn of_float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
}

struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Any)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(of_float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(value.iter().map(|byte| Value::from(*byte)).collect())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Any(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((Any(key), Any(value))) = entries.next_entry()? {
            let key = match key {
                Value::String(text) => text,
                other => other.to_string(),
            };
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Fact {
        name: Option<&'static str>,
        of: BTreeMap<(u8, bool), f64>,
        bytes: serde_bytes::ByteBuf,
        kind: Kind,
    }

    #[derive(Serialize)]
    enum Kind {
        Plain,
        With(u8),
    }

    #[test]
    fn every_value_has_a_form_in_json() {
        let fact = Fact {
            name: None,
            of: [((1, true), f64::NAN), ((2, false), 0.5)].into(),
            bytes: serde_bytes::ByteBuf::from(vec![0, 255]),
            kind: Kind::With(3),
        };
        let bytes = rmp_serde::to_vec_named(&fact).unwrap();
        let expected = json!({
            "name": null, "of": { "[1,true]": "NaN", "[2,false]": 0.5 }, "bytes": [0, 255], "kind": { "With": 3 }
        });
        assert_eq!(of_written(Written::MessagePack(&bytes)).unwrap(), expected);
        let bytes = rmp_serde::to_vec_named(&Kind::Plain).unwrap();
        assert_eq!(of_written(Written::MessagePack(&bytes)).unwrap(), json!("Plain"));
        assert_eq!(of_written(Written::Signed(-1)).unwrap(), json!(-1));
        assert!(of_written(Written::MessagePack(&[0xC1])).is_err());
    }
}
