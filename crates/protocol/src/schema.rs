//! The JSON Schemas (2020-12) of these formats, for `docs/reference/schema/`.

mod generate;
mod lines;

use schemars::Schema;

pub use generate::{built, message, of, strict, when};
pub use lines::record_in;

use crate::message::{
    Cancel, CatalogWanted, Chunk, Claim, Echo, Echoed, Grant, Heartbeat, Receipt, Replay, Report, Unknown,
};
use crate::operation::Operation;
use crate::record;
use crate::request::{Reply, Request};

/// Every schema by its file name without `.json`.
#[must_use]
pub fn all() -> Vec<(String, Schema)> {
    let messages = [
        message::<Request>(),
        message::<Reply>(),
        message::<Operation>(),
        message::<Claim>(),
        message::<Grant>(),
        message::<Chunk>(),
        message::<Receipt>(),
        message::<Replay>(),
        message::<Unknown>(),
        message::<CatalogWanted>(),
        message::<Cancel>(),
        message::<Report>(),
        message::<Echo>(),
        message::<Echoed>(),
        message::<Heartbeat>(),
    ];
    let others = [
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
    ];
    messages.into_iter().flatten().chain(others.map(|(name, schema)| (name.to_owned(), schema))).collect()
}
