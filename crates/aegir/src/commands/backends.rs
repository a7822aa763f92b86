//! `aegir backends`, `aegir pause` and `aegir resume`.

use std::process::ExitCode;

use aegir_api::{BackendList, PauseRequest};
use aegir_protocol::name::BackendName;
use serde_json::json;

use super::context::Context;
use crate::arguments::PauseArguments;
use crate::error::Error;
use crate::render::catalog;

pub(super) async fn list(context: &Context) -> Result<ExitCode, Error> {
    let list = context.client.get("/api/v1/backends").await?;
    show(context, &list)
}

pub(super) async fn pause(context: &Context, arguments: &PauseArguments) -> Result<ExitCode, Error> {
    let request =
        PauseRequest { requested_by: arguments.requested_by.clone(), reason: arguments.reason.clone() };
    let path = format!("/api/v1/backends/{}/pause", arguments.backend);
    let list = context.client.post(&path, &request).await?;
    show(context, &list)
}

pub(super) async fn resume(context: &Context, backend: &BackendName) -> Result<ExitCode, Error> {
    let path = format!("/api/v1/backends/{backend}/resume");
    let list = context.client.post(&path, &json!({})).await?;
    show(context, &list)
}

fn show(context: &Context, list: &BackendList) -> Result<ExitCode, Error> {
    context.show(list, || catalog::backends(&context.look, &list.backends))
}
