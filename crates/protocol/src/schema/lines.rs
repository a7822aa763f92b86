//! What is sent line by line: the records of a transcript, and events.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::generate::{generator, whole};
use crate::api::OperationSummary;
use crate::record;

/// That of a transcript's line. Kinds that this version does not know may come.
pub(super) fn record() -> Schema {
    let mut generator = generator();
    let schema = record_in(&mut generator);
    whole(generator, schema)
}

fn record_in(generator: &mut SchemaGenerator) -> Schema {
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

/// That of a server-sent event of `GET /api/v1/operations/{id}/events`, with its `data` read as JSON.
pub(super) fn event() -> Schema {
    let mut generator = generator();
    let record = record_in(&mut generator);
    let state = generator.subschema_for::<OperationSummary>();
    let schema = json_schema!({
        "title": "An event",
        "description": "A server-sent event by its fields, with its `data` read as JSON.",
        "type": "object",
        "properties": {
            "event": { "enum": ["state", "record", "end"] },
            "id": { "type": "string", "pattern": "^[1-9][0-9]*-[1-9][0-9]*$", "description": "ATTEMPT-SEQ" },
            "data": { "type": "object" },
        },
        "required": ["event", "data"],
        "allOf": [
            when("event", "state", &json!({ "properties": { "data": state } })),
            when("event", "record", &json!({ "properties": { "data": record }, "required": ["id"] })),
            when("event", "end", &json!({ "properties": { "data": { "maxProperties": 0 } } })),
        ],
    });
    whole(generator, schema)
}

fn when(field: &str, is: &str, then: &Value) -> Value {
    json!({ "if": { "properties": { field: { "const": is } }, "required": [field] }, "then": then })
}
