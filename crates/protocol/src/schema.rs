//! The JSON Schemas (2020-12) of every format, for `docs/reference/schema/`.

mod generate;
mod lines;

use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, json_schema};

use crate::message::Message;
use crate::read::UnknownFields;
use crate::{api, catalog, dead_letter, manifest, message, operation, record, request, runner};
use generate::{generator, whole};

fn of<T: JsonSchema>() -> Schema {
    generator().into_root_schema_for::<T>()
}

/// That of what a frontend writes: relayd refuses every field that it does not know.
fn strict<T: JsonSchema>() -> Schema {
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

/// That of a whole message on the broker. A chunk's is that of its first line.
fn envelope<M: Message + JsonSchema>() -> Schema {
    let mut generator = generator();
    let body = generator.subschema_for::<M>();
    let schema = json_schema!({
        "title": M::SCHEMA,
        "type": "object",
        "properties": { "schema": { "const": M::SCHEMA }, "body": body },
        "required": ["schema", "body"],
    });
    let schema = whole(generator, schema);
    match M::UNKNOWN {
        UnknownFields::Refuse => closed(schema),
        UnknownFields::Ignore => schema,
    }
}

/// That of a role's manifest, for editors.
#[must_use]
pub fn role() -> Schema {
    of::<manifest::Manifest>()
}

/// Every schema by its file name without `.json`.
#[must_use]
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("request", strict::<request::Request>()),
        ("reply", of::<request::Reply>()),
        ("operation", of::<operation::Operation>()),
        ("claim", of::<message::Claim>()),
        ("grant", of::<message::Grant>()),
        ("chunk", of::<message::Chunk>()),
        ("receipt", of::<message::Receipt>()),
        ("replay", of::<message::Replay>()),
        ("unknown", of::<message::Unknown>()),
        ("catalog_wanted", of::<message::CatalogWanted>()),
        ("cancel", of::<message::Cancel>()),
        ("report", of::<message::Report>()),
        ("echo", of::<message::Echo>()),
        ("echoed", of::<message::Echoed>()),
        ("heartbeat", of::<message::Heartbeat>()),
        ("catalog", of::<catalog::Catalog>()),
        ("envelope.request", envelope::<request::Request>()),
        ("envelope.reply", envelope::<request::Reply>()),
        ("envelope.operation", envelope::<operation::Operation>()),
        ("envelope.claim", envelope::<message::Claim>()),
        ("envelope.grant", envelope::<message::Grant>()),
        ("envelope.chunk", envelope::<message::Chunk>()),
        ("envelope.receipt", envelope::<message::Receipt>()),
        ("envelope.replay", envelope::<message::Replay>()),
        ("envelope.unknown", envelope::<message::Unknown>()),
        ("envelope.catalog_wanted", envelope::<message::CatalogWanted>()),
        ("envelope.cancel", envelope::<message::Cancel>()),
        ("envelope.report", envelope::<message::Report>()),
        ("envelope.echo", envelope::<message::Echo>()),
        ("envelope.echoed", envelope::<message::Echoed>()),
        ("envelope.heartbeat", envelope::<message::Heartbeat>()),
        ("envelope.catalog", envelope::<catalog::Catalog>()),
        ("role", role()),
        ("runner.input", of::<runner::Input>()),
        ("runner.line", of::<runner::Line>()),
        ("record", lines::record()),
        ("record.started", of::<record::Started>()),
        ("record.task_started", of::<record::TaskStarted>()),
        ("record.output", of::<record::Output>()),
        ("record.step", of::<record::Step>()),
        ("record.document", of::<record::Document>()),
        ("record.plan", of::<record::Plan>()),
        ("record.progress", of::<record::Progress>()),
        ("record.task_finished", of::<record::TaskFinished>()),
        ("record.finished", of::<record::Finished>()),
        ("api.problem", of::<api::Problem>()),
        ("api.accepted", of::<request::Accepted>()),
        ("api.operation_list", of::<api::OperationList>()),
        ("api.operation_detail", of::<api::OperationDetail>()),
        ("api.action_request", strict::<api::ActionRequest>()),
        ("api.approve_request", strict::<api::ApproveRequest>()),
        ("api.retry_request", strict::<api::RetryRequest>()),
        ("api.pause_request", strict::<api::PauseRequest>()),
        ("api.check_request", strict::<api::CheckRequest>()),
        ("api.operation_summary", of::<api::OperationSummary>()),
        ("api.catalog_list", of::<api::CatalogList>()),
        ("api.sign_in_link", of::<api::SignInLink>()),
        ("api.event", lines::event()),
        ("api.backend_list", of::<api::BackendList>()),
        ("api.document_list", of::<api::DocumentList>()),
        ("api.node_list", of::<api::NodeList>()),
        ("api.check_report", of::<api::CheckReport>()),
        ("api.dead_letter_list", of::<dead_letter::DeadLetterList>()),
        ("api.dead_letter", of::<dead_letter::DeadLetterDetail>()),
    ]
}
