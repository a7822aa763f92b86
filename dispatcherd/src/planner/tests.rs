use std::collections::BTreeMap;
use std::path::Path;

use aegir_role::RolePaths;
use serde_json::{Value, json};

use super::*;
use crate::catalog::CatalogReader;
use crate::config::Config;

fn catalog() -> std::sync::Arc<Catalog> {
    let catalog_reader = CatalogReader {
        backend: "main".parse().unwrap(),
        node: "node1".parse().unwrap(),
        recipient: String::new(),
        role_paths: RolePaths {
            roles: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles")],
            collections: Vec::new(),
        },
        content: None,
    };
    catalog_reader.read().unwrap()
}

fn planning() -> PlanningContext {
    let config: Config = toml::from_str("").unwrap();
    PlanningContext {
        task_quiet_seconds: None,
        node: "node1".parse().unwrap(),
        settings: config.settings(),
        programs_on_dispatcher: true,
        runners: config.runners,
        task_timeout_seconds: 60,
    }
}

fn operation(name: &str, variables: Value) -> Operation {
    serde_json::from_value(json!({
        "id": "019235f0-7a3c-7def-8000-000000000001", "attempt": 1, "name": name, "backend": "main",
        "frontend": "main", "target": {"kind": "site", "id": "1", "name": "example.test"},
        "hosts": [{"name": "web1"}], "variables": variables, "locks": [], "requested_by": null,
        "requested_at": "2026-01-01T00:00:00Z", "timeout_seconds": null, "retry_of": null,
        "traceparent": null,
    }))
    .unwrap()
}

#[test]
fn a_plan_has_every_task_with_its_own_variables_only() {
    let operation = operation("example.fail", json!({"site": {"text": "{{ x }}"}}));
    let plan = plan(&operation, &catalog(), &planning()).unwrap();
    assert_eq!(plan.tasks.iter().map(|task| task.number).collect::<Vec<_>>(), [1, 2]);
    let text = &plan.tasks[0].variables[&"text".parse().unwrap()];
    assert_eq!((&text.value, text.from.as_str()), (&json!("{{ x }}"), "site"));
    assert_eq!(plan.tasks[0].absent, ["note".parse().unwrap()]);
    assert_eq!((&plan.tasks[1].variables, &*plan.tasks[1].absent), (&BTreeMap::new(), &[][..]));
    assert_eq!(plan.tasks[0].hosts, []);
    assert_eq!(plan.tasks[0].timeout_seconds, 60);
    assert_eq!(plan.tasks[0].action.runner(), "shell");
    let read: TaskPlan = serde_json::from_slice(&serde_json::to_vec(&plan).unwrap()).unwrap();
    assert_eq!(read, plan);
}

#[track_caller]
fn rejected(operation: &Operation, planning: &PlanningContext, code: Code) {
    let reason = plan(operation, &catalog(), planning).unwrap_err();
    assert_eq!(reason.code, code.as_str(), "{reason}");
}

#[test]
fn what_can_not_be_planned_says_why() {
    rejected(&operation("other.print", json!({})), &planning(), Code::UnknownRole);
    rejected(&operation("example.other", json!({})), &planning(), Code::UnknownOperation);
    rejected(&operation("example.sleep", json!({})), &planning(), Code::VariableMissing);
    let wrong = json!({"operation": {"count": "ten"}});
    rejected(&operation("example.many", wrong), &planning(), Code::VariableInvalid);
    let reserved = json!({"site": {"ansible_connection": "local"}});
    rejected(&operation("example.print", reserved), &planning(), Code::VariableReserved);
}

#[test]
fn programs_beside_dispatcherd_need_the_operators_consent() {
    let planning = PlanningContext { programs_on_dispatcher: false, ..planning() };
    rejected(&operation("example.print", json!({})), &planning, Code::NotAllowed);
}
