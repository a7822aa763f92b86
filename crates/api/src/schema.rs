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
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("api.problem", of::<Problem>()),
        ("api.accepted", of::<Accepted>()),
        ("api.operation_list", of::<OperationList>()),
        ("api.operation_detail", of::<OperationDetail>()),
        ("api.action_request", strict::<ActionRequest>()),
        ("api.approve_request", strict::<ApproveRequest>()),
        ("api.retry_request", strict::<RetryRequest>()),
        ("api.pause_request", strict::<PauseRequest>()),
        ("api.check_request", strict::<CheckRequest>()),
        ("api.operation_summary", of::<OperationSummary>()),
        ("api.catalog_list", of::<CatalogList>()),
        ("api.sign_in_link", of::<SignInLink>()),
        ("api.event", event()),
        ("api.backend_list", of::<BackendList>()),
        ("api.document_list", of::<DocumentList>()),
        ("api.node_list", of::<NodeList>()),
        ("api.check_report", of::<CheckReport>()),
        ("api.dead_letter_list", of::<DeadLetterList>()),
        ("api.dead_letter", of::<DeadLetterDetail>()),
    ]
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
