//! Making one schema.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};

pub(super) fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// A schema with what it refers to.
pub(super) fn whole(mut generator: SchemaGenerator, mut schema: Schema) -> Schema {
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
    schema
}
