//! What backends can do, and the nodes that do it.

use std::sync::Arc;

use aegir_api::{BackendDetail, NodeDetail};
use aegir_catalog::manifest::VariableManifest;
use aegir_catalog::{Catalog, Role};
use aegir_protocol::name::RoleName;

use super::table::{Cell, table};
use super::{Look, bytes};

/// `aegir catalog`: an operation in each line.
#[must_use]
pub fn catalogs(look: &Look, catalogs: &[Arc<Catalog>]) -> String {
    if catalogs.is_empty() && look.terminal {
        return "No backend has sent its catalog yet. Start a dispatcherd, then run `aegir check`.\n"
            .to_owned();
    }
    let mut rows = Vec::new();
    for catalog in catalogs {
        for (name, role) in &catalog.roles {
            rows.extend(operations(name, role).into_iter().map(|row| {
                let mut cells = vec![Cell::from(catalog.backend.to_string())];
                cells.extend(row);
                cells
            }));
        }
    }
    let mut text = table(look, &["BACKEND", "OPERATION", "TARGETS", "TASKS", "TITLE"], &rows);
    for catalog in catalogs {
        for (role, reasons) in &catalog.left_out {
            text.push_str(&format!(
                "Backend {} leaves out {role}: {}\n",
                catalog.backend,
                reasons.join("; ")
            ));
        }
    }
    text
}

fn operations(name: &RoleName, role: &Role) -> Vec<Vec<Cell>> {
    let targets: Vec<_> = role.manifest.targets.iter().map(ToString::to_string).collect();
    let operations = role.manifest.operations.iter().map(|(action, operation)| {
        let tasks: Vec<_> = operation.tasks.iter().map(ToString::to_string).collect();
        let title = match (&operation.confirm, operation.dangerous) {
            (Some(_), _) => format!("{} (asks first)", operation.title),
            (None, true) => format!("{} (dangerous)", operation.title),
            (None, false) => operation.title.clone(),
        };
        [format!("{name}.{action}"), targets.join(", "), tasks.join(", "), title].map(Cell::from).to_vec()
    });
    operations.collect()
}

/// `aegir catalog ROLE`: each role's operations and variables.
#[must_use]
pub fn roles(look: &Look, catalogs: &[Arc<Catalog>]) -> String {
    let mut text = String::new();
    for catalog in catalogs {
        for (name, role) in &catalog.roles {
            let heading = format!("{name} on backend {}: {}", catalog.backend, role.manifest.title);
            text.push_str(&format!("{}\n", look.strong(&heading)));
            if let Some(summary) = &role.manifest.summary {
                text.push_str(&format!("{summary}\n"));
            }
            text.push('\n');
            text.push_str(&table(look, &["OPERATION", "TARGETS", "TASKS", "TITLE"], &operations(name, role)));
            text.push('\n');
            let rows: Vec<_> = role
                .manifest
                .variables
                .iter()
                .map(|(name, variable)| {
                    let mut cells = vec![Cell::from(name.to_string())];
                    cells.extend(describe(variable).map(Cell::from));
                    cells
                })
                .collect();
            text.push_str(&table(look, &["VARIABLE", "SCOPE", "TYPE", "DEFAULT", "DESCRIPTION"], &rows));
        }
    }
    text
}

fn describe(variable: &VariableManifest) -> [String; 4] {
    let schema = |key: &str| variable.0.get(key);
    let text = |key: &str| schema(key).and_then(|value| value.as_str());
    let mut kind = match schema("enum").and_then(|value| value.as_array()) {
        Some(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        None => schema("type").map_or_else(|| "any".to_owned(), |kind| kind.to_string().replace('"', "")),
    };
    if let Some(unit) = text("unit") {
        kind.push_str(&format!(" ({unit})"));
    }
    if variable.secret() {
        kind.push_str(", secret");
    }
    let default = match variable.default() {
        Some(value) => value.to_string(),
        None if variable.optional() => "(optional)".to_owned(),
        None => "(required)".to_owned(),
    };
    let about = text("description").or_else(|| text("title")).unwrap_or_default();
    [variable.scope().unwrap_or_default().to_owned(), kind, default, about.to_owned()]
}

/// `aegir backends`.
#[must_use]
pub fn backends(look: &Look, backends: &[BackendDetail]) -> String {
    if backends.is_empty() && look.terminal {
        return "No backend has sent its catalog yet. Start a dispatcherd, then run `aegir check`.\n"
            .to_owned();
    }
    let rows: Vec<_> = backends
        .iter()
        .map(|backend| {
            let alive: Vec<_> = backend.alive.iter().map(ToString::to_string).collect();
            let pause = backend.paused.as_ref();
            let state = if pause.is_some() { "paused" } else { "open" };
            let cells = [
                backend.name.to_string(),
                state.to_owned(),
                alive.join(", "),
                pause.map(|pause| look.time(pause.since)).unwrap_or_default(),
                pause.and_then(|pause| pause.by.clone()).unwrap_or_default(),
                pause.and_then(|pause| pause.reason.clone()).unwrap_or_default(),
            ];
            cells.map(Cell::from).to_vec()
        })
        .collect();
    table(look, &["BACKEND", "STATE", "NODES ALIVE", "SINCE", "BY", "REASON"], &rows)
}

/// `aegir nodes`.
#[must_use]
pub fn nodes(look: &Look, nodes: &[NodeDetail]) -> String {
    if nodes.is_empty() && look.terminal {
        return "relayd has not heard from any node since it started. Start a dispatcherd, then run `aegir check`.\n"
            .to_owned();
    }
    let rows: Vec<_> = nodes
        .iter()
        .map(|node| {
            let heartbeat = &node.heartbeat;
            let state = match (node.silent, heartbeat.accepting, &heartbeat.closed) {
                (true, _, _) => "silent".to_owned(),
                (false, true, _) => "accepting".to_owned(),
                (false, false, None) => "not accepting".to_owned(),
                (false, false, Some(reason)) => format!("not accepting ({})", reason.code),
            };
            let blocked = match heartbeat.blocked.len() {
                0 => String::new(),
                blocked => format!(", {blocked} blocked"),
            };
            let cells = [
                heartbeat.node.to_string(),
                heartbeat.backend.to_string(),
                state,
                format!("{} of {}{blocked}", heartbeat.running.len(), heartbeat.slots),
                heartbeat.waiting.len().to_string(),
                bytes(heartbeat.spool_bytes),
                heartbeat.version.clone(),
                look.time(node.heard_at),
            ];
            cells.map(Cell::from).to_vec()
        })
        .collect();
    let header = ["NODE", "BACKEND", "STATE", "RUNNING", "WAITING", "SPOOL", "VERSION", "LAST HEARD"];
    table(look, &header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::code::Code;
    use aegir_protocol::id::{Attempt, AttemptId, OperationId};
    use aegir_protocol::message::Blocked;
    use serde_json::json;

    fn first(operation: OperationId) -> AttemptId {
        AttemptId { operation, attempt: Attempt::FIRST }
    }

    fn catalog() -> Catalog {
        serde_json::from_value(json!({
            "backend": "main", "node": "node1", "recipient": "age1", "digest": "x",
            "roles": {"static_site": {"digest": "y", "manifest": {
                "schema": "aegir.role/0", "title": "Static site", "summary": "Files that Nginx serves.",
                "targets": ["site"],
                "operations": {
                    "deploy": {"title": "Deploy", "tasks": ["codebase", "vhost"]},
                    "delete": {"title": "Delete", "tasks": ["delete"], "dangerous": true,
                               "confirm": "Go on?"},
                },
                "tasks": {"codebase": {}, "vhost": {}, "delete": {}},
                "variables": {
                    "source": {"type": "string", "scope": "site", "description": "Where the files come from."},
                    "server": {"enum": ["nginx", "apache"], "scope": "site", "default": "nginx"},
                    "password": {"type": "string", "scope": "site", "secret": true, "optional": true},
                    "keep": {"type": "integer", "scope": "site", "default": 3, "unit": "releases"},
                },
            }}},
            "left_out": {"broken": ["meta/aegir.yml: no schema"]},
        }))
        .unwrap()
    }

    #[test]
    fn operations_and_variables_are_listed() {
        let look = Look { terminal: true, width: Some(110), ..Look::plain() };
        insta::assert_snapshot!("catalog", catalogs(&look, &[Arc::new(catalog())]));
        insta::assert_snapshot!("role", roles(&look, &[Arc::new(catalog())]));
    }

    #[test]
    fn nodes_say_whether_they_take_work() {
        let node: NodeDetail = serde_json::from_value(json!({
            "heartbeat": {"node": "node1", "backend": "main", "version": "0.0.0", "at": "2026-11-23T12:00:00Z",
                          "slots": 4, "waiting": [], "running": [], "spool_bytes": 4096, "accepting": true},
            "heard_at": "2026-11-23T12:00:01Z", "silent": false,
        }))
        .unwrap();
        insta::assert_snapshot!(
            "nodes",
            nodes(&Look::plain(), &[node.clone(), NodeDetail { silent: true, ..node.clone() }])
        );
        let mut closed = node;
        closed.heartbeat.accepting = false;
        closed.heartbeat.closed = Some(Code::SpoolFull.because("relayd has received too little"));
        closed.heartbeat.running = vec!["019235f0-7a3c-7def-8000-000000000001".parse().map(first).unwrap()];
        closed.heartbeat.blocked = vec![Blocked {
            operation: closed.heartbeat.running[0].operation,
            attempt: closed.heartbeat.running[0].attempt,
            since: closed.heartbeat.at,
            reason: Code::SpoolFull.because("the spool is full"),
        }];
        insta::assert_snapshot!("closed_nodes", nodes(&Look::plain(), &[closed]));
    }
}
