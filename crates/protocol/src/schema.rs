//! The JSON Schemas (2020-12) of these formats, for `docs/reference/schema/`.

mod generate;
mod lines;

use schemars::Schema;

pub use generate::{built, envelope, of, strict, when};
pub use lines::record_in;

use crate::{catalog, manifest, message, operation, record, request, runner};

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
        ("record", built(record_in)),
        ("record.started", of::<record::Started>()),
        ("record.task_started", of::<record::TaskStarted>()),
        ("record.output", of::<record::Output>()),
        ("record.step", of::<record::Step>()),
        ("record.document", of::<record::Document>()),
        ("record.plan", of::<record::Plan>()),
        ("record.progress", of::<record::Progress>()),
        ("record.task_finished", of::<record::TaskFinished>()),
        ("record.finished", of::<record::Finished>()),
    ]
}
