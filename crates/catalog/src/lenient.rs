//! Reading what a newer version has sent: fields that this one does not know are ignored, at every level.
//!
//! Types that people write, such as a manifest, refuse unknown fields, because a misspelt word must not go unnoticed.
//! The same types travel in catalogs, where an unknown field is a word of a newer version and no mistake.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// A value as one of these types, though the type may refuse unknown fields.
///
/// # Errors
/// When it does not fit all the same: a field is missing, or has a value that this version does not know.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Lenient(value))
}

/// Gives a structure the fields that it asks for, and no others.
struct Lenient(Value);

impl<'de> Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Lenient))),
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, Lenient(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Object(mut fields) = self.0 else {
            return Err(Error::custom(format!("an object is expected, not {}", self.0)));
        };
        fields.retain(|name, _| known.contains(&name.as_str()));
        Self(Value::Object(fields)).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, Lenient(value)));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(fields)))
            }
            unit => unit.deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Lenient {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        several: Vec<Inner>,
        named: BTreeMap<String, Inner>,
        maybe: Option<Box<Inner>>,
        choice: Choice,
        pair: (u8, String),
        whatever: Value,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        number: f64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Plain,
        Of(Inner),
        With { inner: Inner },
    }

    #[test]
    fn unknown_fields_are_ignored_at_every_level_and_nothing_else_is_lost() {
        let inner = json!({"number": 1, "future": {"a": [null]}});
        let value = |choice: Value| {
            json!({
                "inner": inner, "several": [inner], "named": {"future": inner}, "maybe": inner, "choice": choice,
                "pair": [1, "x"], "whatever": {"future": [inner]}, "future": null,
            })
        };
        let one = || Inner { number: 1.0 };
        for (choice, expected) in [
            (json!("plain"), Choice::Plain),
            (json!({"of": inner}), Choice::Of(one())),
            (json!({"with": {"inner": inner}}), Choice::With { inner: one() }),
        ] {
            let read: Outer = read(value(choice)).unwrap();
            let expected = Outer {
                inner: one(),
                several: vec![one()],
                named: BTreeMap::from([("future".to_owned(), one())]),
                maybe: Some(Box::new(one())),
                choice: expected,
                pair: (1, "x".to_owned()),
                whatever: json!({"future": [inner]}),
            };
            assert_eq!(read, expected);
        }
        assert!(serde_json::from_value::<Outer>(value(json!("plain"))).is_err(), "where a person writes");
        let odd = read::<Outer>(value(json!("future"))).unwrap_err().to_string();
        assert!(odd.contains("unknown variant `future`"), "{odd}");
        assert!(read::<Inner>(json!([1])).is_err(), "an array is no object");
    }
}
