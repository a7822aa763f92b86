//! The lines of a transcript.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::generate::when;
use crate::record;

/// That of a transcript's line, as a part of another schema. Kinds that this version does not know may come.
pub fn record_in(generator: &mut SchemaGenerator) -> Schema {
    let bodies = [
        body::<record::Started>(generator, "started"),
        body::<record::TaskStarted>(generator, "task_started"),
        body::<record::Output>(generator, "output"),
        body::<record::Step>(generator, "step"),
        body::<record::Document>(generator, "document"),
        body::<record::Plan>(generator, "plan"),
        body::<record::Progress>(generator, "progress"),
        body::<record::TaskFinished>(generator, "task_finished"),
        body::<record::Finished>(generator, "finished"),
    ];
    json_schema!({
        "title": "A record",
        "description": "A line of a transcript. A kind that is not known here comes from a newer version.",
        "type": "object",
        "properties": {
            "seq": { "type": "integer", "minimum": 1, "description": "The record's number, without gaps from 1." },
            "at": { "type": "string", "format": "date-time", "description": "When it was written." },
            "kind": { "type": "string", "description": "What it says." },
            "body": { "type": "object" },
        },
        "required": ["seq", "at", "kind", "body"],
        "allOf": bodies,
    })
}

/// What the body is of this kind.
fn body<B: JsonSchema>(generator: &mut SchemaGenerator, kind: &str) -> Value {
    when("kind", kind, &json!({ "properties": { "body": generator.subschema_for::<B>() } }))
}
