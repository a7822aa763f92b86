//! `aegir ls` and `aegir show`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use aegir_api::{CatalogList, OperationDetail, OperationList};
use aegir_catalog::Catalog;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::context::Context;
use crate::arguments::{LsArguments, ShowArguments};
use crate::error::Error;
use crate::render::operation;
use crate::resolve::resolve;

pub(super) async fn list(context: &Context, arguments: &LsArguments) -> Result<ExitCode, Error> {
    let list: OperationList = context.client.get(&list_path(arguments)).await?;
    context.show(&list, || {
        if arguments.long {
            operation::long_list(&context.look, &list.operations)
        } else {
            operation::list(&context.look, &list.operations, Timestamp::now())
        }
    })
}

/// Every value is of a type whose characters mean nothing in a URL.
fn list_path(arguments: &LsArguments) -> String {
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

pub(super) async fn show(context: &Context, arguments: &ShowArguments) -> Result<ExitCode, Error> {
    let id = resolve(&context.client, &arguments.id).await?;
    let detail = context.client.operation(id).await?;
    if !arguments.variables {
        return context.show(&detail, || operation::detail(&context.look, &detail));
    }
    let list: CatalogList = context.client.get("/api/v1/catalog").await?;
    let catalog =
        list.catalogs.iter().map(Arc::as_ref).find(|catalog| catalog.backend == detail.summary.backend);
    let (tasks, hosts) = resolved(&detail, catalog).unzip();
    let changed = operation::role_has_changed(&detail, catalog);
    let said = json!({"sent": detail.variables, "tasks": tasks, "hosts": hosts, "role_has_changed": changed});
    context.show(&said, || operation::variables(&context.look, &detail, catalog))
}

/// By Task: its variables, and those of which each of its hosts has its own. Nothing where the catalog is not known.
fn resolved(detail: &OperationDetail, catalog: Option<&Catalog>) -> Option<(Value, Value)> {
    let (role, operation) = catalog?.find(&detail.summary.name).ok()?;
    let tasks: BTreeMap<_, _> =
        operation.tasks.iter().map(|task| (task, role.resolve(task, &detail.variables))).collect();
    let own = |task| {
        let hosts = role.hosts_of(task, &detail.hosts).into_iter();
        let own = hosts.map(|host| (&host.name, role.resolve_for(task, &host.name, &detail.variables)));
        own.filter(|(_, values)| !values.is_empty()).collect::<BTreeMap<_, _>>()
    };
    let hosts: BTreeMap<_, _> = operation.tasks.iter().map(|task| (task, own(task))).collect();
    Some((json!(tasks), json!(hosts)))
}
