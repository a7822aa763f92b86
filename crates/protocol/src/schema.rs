//! The JSON Schemas (2020-12) of every format, for `docs/reference/schema/`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::{api, catalog, dead_letter, manifest, message, operation, record, request, runner};

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
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
        ("request", of::<request::Request>()),
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
        ("role", role()),
        ("runner.input", of::<runner::Input>()),
        ("runner.line", of::<runner::Line>()),
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
        ("api.action_request", of::<api::ActionRequest>()),
        ("api.approve_request", of::<api::ApproveRequest>()),
        ("api.retry_request", of::<api::RetryRequest>()),
        ("api.pause_request", of::<api::PauseRequest>()),
        ("api.backend_list", of::<api::BackendList>()),
        ("api.document_list", of::<api::DocumentList>()),
        ("api.node_list", of::<api::NodeList>()),
        ("api.check_report", of::<api::CheckReport>()),
        ("api.dead_letter_list", of::<dead_letter::DeadLetterList>()),
        ("api.dead_letter", of::<dead_letter::DeadLetterDetail>()),
    ]
}
