//! `aegir ls` and `aegir show`.

use std::process::ExitCode;

use aegir_protocol::api::{CatalogList, OperationList};
use aegir_protocol::catalog::Catalog;
use aegir_service::exit::Exit;
use serde_json::json;

use super::Context;
use crate::arguments::{Ls, Show};
use crate::error::Error;
use crate::render::operation;
use crate::terminal::{print, print_json};

pub(super) async fn list(context: &Context, arguments: &Ls) -> Result<ExitCode, Error> {
    let list: OperationList = context.client.get(&list_path(arguments)).await?;
    if context.json {
        print_json(&list)?;
    } else {
        print(operation::list(&context.look, &list.operations).as_bytes())?;
    }
    Ok(Exit::Success.into())
}

/// Every value is of a type whose characters mean nothing in a URL.
fn list_path(arguments: &Ls) -> String {
    let mut path = format!("/api/v1/operations?limit={}", arguments.limit);
    if let Some(state) = arguments.state {
        path.push_str(&format!("&state={state}"));
    }
    if let Some(target) = &arguments.target {
        path.push_str(&format!("&target={}:{}", target.kind, target.name));
    }
    if let Some(name) = &arguments.name {
        path.push_str(&format!("&name={name}"));
    }
    path
}

pub(super) async fn show(context: &Context, arguments: &Show) -> Result<ExitCode, Error> {
    let id = context.client.resolve(&arguments.id).await?;
    let detail = context.client.operation(id).await?;
    if !arguments.variables {
        if context.json {
            print_json(&detail)?;
        } else {
            print(operation::detail(&context.look, &detail).as_bytes())?;
        }
        return Ok(Exit::Success.into());
    }
    let list: CatalogList = context.client.get("/api/v1/catalog").await?;
    let catalog = list.catalogs.iter().find(|catalog| catalog.backend == detail.summary.backend);
    if context.json {
        print_json(&json!({ "sent": detail.variables, "tasks": resolved(&detail, catalog) }))?;
    } else {
        print(operation::variables(&context.look, &detail, catalog).as_bytes())?;
    }
    Ok(Exit::Success.into())
}

/// What each Task gets, by its name; nothing where the catalog is not known.
fn resolved(detail: &aegir_protocol::api::OperationDetail, catalog: Option<&Catalog>) -> serde_json::Value {
    let found = catalog.and_then(|catalog| catalog.find(&detail.summary.name).ok());
    let Some((role, operation)) = found else { return serde_json::Value::Null };
    let tasks = operation.tasks.iter().map(|task| {
        let values = role.resolve(task, &detail.variables).into_iter();
        let values: serde_json::Map<_, _> =
            values.map(|(name, resolved)| (name.to_string(), json!(resolved))).collect();
        (task.to_string(), serde_json::Value::Object(values))
    });
    serde_json::Value::Object(tasks.collect())
}
