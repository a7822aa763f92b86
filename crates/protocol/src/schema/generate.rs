//! Making one schema.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::message::Message;
use crate::read::UnknownFields;

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// That of a type.
#[must_use]
pub fn of<T: JsonSchema>() -> Schema {
    generator().into_root_schema_for::<T>()
}

/// That of what a frontend writes: relayd refuses every field that it does not know.
#[must_use]
pub fn strict<T: JsonSchema>() -> Schema {
    closed(of::<T>())
}

/// The schema without room for fields that it does not list.
fn closed(mut schema: Schema) -> Schema {
    let close = |schema: &mut Schema| {
        if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    };
    RecursiveTransform(close).transform(&mut schema);
    schema
}

/// One that is put together, with what it refers to.
pub fn built(build: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Schema {
    let mut generator = generator();
    let mut schema = build(&mut generator);
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
    schema
}

/// Those of a message, by their file names: of its body, and of the whole. A chunk's whole is its first line.
#[must_use]
pub fn message<M: Message + JsonSchema>() -> [(String, Schema); 2] {
    let (name, _major) = M::SCHEMA.trim_start_matches("aegir.").split_once('/').unwrap_or_default();
    let whole = built(|generator| {
        json_schema!({
            "title": M::SCHEMA,
            "type": "object",
            "properties": { "schema": { "const": M::SCHEMA }, "body": generator.subschema_for::<M>() },
            "required": ["schema", "body"],
        })
    });
    [(name.to_owned(), of::<M>()), (format!("envelope.{name}"), whole)].map(|(name, schema)| match M::UNKNOWN
    {
        UnknownFields::Refuse => (name, closed(schema)),
        UnknownFields::Ignore => (name, schema),
    })
}

/// A condition: where the field has this value, the rest holds.
#[must_use]
pub fn when(field: &str, is: &str, then: &Value) -> Value {
    json!({ "if": { "properties": { field: { "const": is } }, "required": [field] }, "then": then })
}
