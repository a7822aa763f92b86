//! The JSON Schemas of the bodies.

use aegir_protocol::problem::Problem;
use aegir_protocol::request::Accepted;
use aegir_protocol::schema::{built, of, record_in, strict, when};
use schemars::{Schema, json_schema};
use serde_json::json;

use crate::backends::{BackendList, CatalogList, NodeList, PauseRequest};
use crate::dead_letters::{DeadLetterDetail, DeadLetterList};
use crate::diagnosis::{CheckReport, CheckRequest};
use crate::documents::DocumentList;
use crate::operations::{
    ActionRequest, ApproveRequest, OperationDetail, OperationList, OperationSummary, RetryRequest,
};
use crate::sessions::SignInLink;

/// Every schema by its file name without `.json`.
#[must_use]
pub fn all() -> Vec<(String, Schema)> {
    let bodies = [
        ("problem", of::<Problem>()),
        ("accepted", of::<Accepted>()),
        ("operation_list", of::<OperationList>()),
        ("operation_detail", of::<OperationDetail>()),
        ("action_request", strict::<ActionRequest>()),
        ("approve_request", strict::<ApproveRequest>()),
        ("retry_request", strict::<RetryRequest>()),
        ("pause_request", strict::<PauseRequest>()),
        ("check_request", strict::<CheckRequest>()),
        ("operation_summary", of::<OperationSummary>()),
        ("catalog_list", of::<CatalogList>()),
        ("sign_in_link", of::<SignInLink>()),
        ("event", event()),
        ("backend_list", of::<BackendList>()),
        ("document_list", of::<DocumentList>()),
        ("node_list", of::<NodeList>()),
        ("check_report", of::<CheckReport>()),
        ("dead_letter_list", of::<DeadLetterList>()),
        ("dead_letter", of::<DeadLetterDetail>()),
    ];
    bodies.into_iter().map(|(name, schema)| (format!("api.{name}"), schema)).collect()
}

/// That of a server-sent event of `GET /api/v1/operations/{id}/events`, with its `data` read as JSON.
fn event() -> Schema {
    built(|generator| {
        let record = record_in(generator);
        let state = generator.subschema_for::<OperationSummary>();
        json_schema!({
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
        })
    })
}
