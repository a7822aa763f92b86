//! Operations in a list, and one with all that is known of it.

use aegir_api::{AttemptDetail, OperationDetail, OperationSummary};
use aegir_catalog::{Catalog, Resolved};
use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::operation::{Host, LockMode, Variables, sealed};
use aegir_protocol::state::State;
use jiff::Timestamp;
use serde_json::Value;

use super::table::{Cell, cut_table, table};
use super::{Look, bytes, capitalized, duration, milliseconds, outcome_style, state_style};

/// `aegir ls` for a person at a terminal: a line each, as wide as it is.
#[must_use]
pub fn list(look: &Look, operations: &[OperationSummary], now: Timestamp) -> String {
    if !look.terminal {
        return long_list(look, operations);
    }
    if operations.is_empty() {
        return "No Operations found. Start one with `aegir run`.\n".to_owned();
    }
    let ids: Vec<_> = operations.iter().map(|operation| operation.id).collect();
    let length = short_length(&ids);
    let rows: Vec<_> = operations
        .iter()
        .map(|operation| {
            let mut cells = cells(operation);
            cells[0] = operation.id.to_string().chars().take(length).collect::<String>().into();
            cells[4] = look.ago(operation.requested_at, now).into();
            cells
        })
        .collect();
    cut_table(look, &HEADER, &rows)
}

/// `aegir ls --long`, and what a pipe gets: whole ids and times.
#[must_use]
pub fn long_list(look: &Look, operations: &[OperationSummary]) -> String {
    let rows: Vec<_> = operations
        .iter()
        .map(|operation| {
            let mut cells = cells(operation);
            cells[4] = look.time(operation.requested_at).into();
            cells
        })
        .collect();
    table(&Look { width: None, ..look.clone() }, &HEADER, &rows)
}

/// What stands in a list of Operations, the most telling first.
const HEADER: [&str; 6] = ["ID", "STATE", "OPERATION", "TARGET", "REQUESTED", "BY"];

fn cells(operation: &OperationSummary) -> Vec<Cell> {
    vec![
        operation.id.to_string().into(),
        Cell::styled(state_style(operation.state), state(operation)),
        operation.name.to_string().into(),
        format!("{}:{}", operation.target.kind, operation.target.name).into(),
        Cell::default(),
        operation.requested_by.clone().unwrap_or_default().into(),
    ]
}

/// Up to the end of an id's time, which is to the millisecond.
const SHORT_ID: usize = 13;

/// How many characters of these ids tell them apart from each other, and as good as always from all others.
fn short_length(ids: &[OperationId]) -> usize {
    let mut texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.dedup();
    let common = |pair: &[String]| match pair {
        [one, two] => one.chars().zip(two.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    texts.windows(2).map(common).max().map_or(SHORT_ID, |shared| SHORT_ID.max(shared + 1))
}

/// The state's word, and what is said beside it.
fn state(operation: &OperationSummary) -> String {
    let mut beside = Vec::new();
    if operation.silent {
        beside.push("silent");
    }
    if operation.blocked.is_some() {
        beside.push("blocked");
    }
    if operation.cancel_requested && operation.state.outcome().is_none() {
        beside.push("canceling");
    }
    if operation.is_dry_run() {
        beside.push("dry run");
    }
    let word = operation.state.as_str();
    if beside.is_empty() { word.to_owned() } else { format!("{word} ({})", beside.join(", ")) }
}

/// `aegir show`.
#[must_use]
pub fn detail(look: &Look, detail: &OperationDetail) -> String {
    let summary = &detail.summary;
    let mut fields: Vec<(&str, String)> = vec![
        ("Operation", summary.id.to_string()),
        ("Name", summary.name.to_string()),
        ("Target", format!("{} {} (id {})", summary.target.kind, summary.target.name, summary.target.id)),
        ("Backend", summary.backend.to_string()),
        ("State", look.paint(state_style(summary.state), &state(summary))),
    ];
    if let Some(reason) = &summary.reason {
        fields.push(("Reason", reason.to_string()));
    }
    if let Some(blocked) = &summary.blocked {
        let since = look.time(blocked.since);
        fields.push(("Blocked", format!("on node {} since {since}: {}", blocked.node, blocked.reason)));
    }
    if let Some(next) = next_step(detail) {
        fields.push(("", next));
    }
    fields.extend(detail.plan.iter().map(|plan| ("Plan", plan.to_string())));
    fields.extend(
        detail.approves.iter().map(|dry_run| ("Approves", format!("the plan of Operation {dry_run}"))),
    );
    let by = summary.requested_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    fields.push(("Requested", format!("{}{by}", look.time(summary.requested_at))));
    if detail.priority > 0 {
        fields.push(("Priority", detail.priority.to_string()));
    }
    if let Some(seconds) = detail.timeout_seconds {
        fields.push(("Timeout", duration(seconds.saturating_mul(1000))));
    }
    fields.extend(detail.hosts.iter().map(|shown| ("Host", host(shown))));
    let lock_rows = detail.locks.iter().map(|lock| {
        let mode = match lock.mode {
            LockMode::Shared => "shared",
            LockMode::Exclusive => "exclusive",
        };
        ("Lock", format!("{} {} ({mode})", lock.kind, lock.id))
    });
    fields.extend(lock_rows);
    fields.extend(detail.waits_for.iter().map(|id| ("Waits for", id.to_string())));

    let mut text = String::new();
    let mut before = "";
    for (name, value) in &fields {
        let shown = if *name == before { "" } else { name };
        text.push_str(&format!("{} {value}\n", look.strong(&format!("{shown:<10}"))));
        before = name;
    }
    if !detail.attempts.is_empty() {
        text.push('\n');
        text.push_str(&attempts(look, &detail.attempts));
    }
    text.push('\n');
    text.push_str(&ledger(look, detail));
    text
}

fn next_step(detail: &OperationDetail) -> Option<String> {
    let id = detail.summary.id;
    if let Some(pause) = &detail.paused {
        let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = pause.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let backend = &detail.summary.backend;
        return Some(format!(
            "Backend {backend} is paused{by}{why}. End the pause with `aegir resume {backend}`."
        ));
    }
    match detail.summary.state {
        State::Queued if !detail.published => {
            Some(
                "It waits for a free slot; Operations of a higher priority and older ones go first. If nothing \
                 moves, see `aegir nodes` and `aegir check`."
                    .to_owned(),
            )
        }
        State::Claimed | State::Running if detail.summary.silent => Some(
            "Its node has sent nothing for a while. The Operation may still be running: see `aegir check`. If the \
             node is gone for good, see `aegir lost --help`."
                .to_owned(),
        ),
        State::Running => Some(format!("Watch it with `aegir log -f {id}`.")),
        State::Failed | State::Lost => {
            Some(format!("What it did: `aegir log {id}`. Try it again: `aegir retry {id}`."))
        }
        State::Succeeded if detail.plan.is_some() => Some(carry_out(id)),
        State::Waiting
        | State::Queued
        | State::Claimed
        | State::Succeeded
        | State::Canceled
        | State::Rejected => None,
    }
}

/// Who has asked to cancel an Operation that has not ended, and where it is stopped, as far as relayd says it.
#[must_use]
pub fn cancellation(summary: &OperationSummary) -> Option<String> {
    let reason = summary.reason.as_ref()?;
    (reason.code == Code::CanceledByRequest.as_str()).then(|| capitalized(&reason.message))
}

/// What to do with a plan.
#[must_use]
pub fn carry_out(id: OperationId) -> String {
    format!("Carry out this plan with `aegir approve {id}`.")
}

fn host(host: &Host) -> String {
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let services: Vec<_> = host.services.keys().map(ToString::to_string).collect();
    let offers = if services.is_empty() { String::new() } else { format!(" with {}", services.join(", ")) };
    let root = if host.becomes_root { ", as root" } else { "" };
    format!("{} at {user}{} port {}{root}{offers}", host.name, host.ssh_address(), host.ssh_port())
}

fn attempts(look: &Look, attempts: &[AttemptDetail]) -> String {
    let rows: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            let outcome =
                attempt.outcome.map(|outcome| Cell::styled(outcome_style(outcome), outcome.as_str()));
            let took =
                attempt.started_at.zip(attempt.ended_at).map(|(from, to)| duration(milliseconds(from, to)));
            let transcript = match (attempt.transcript_records, attempt.transcript_complete) {
                (0, _) => String::new(),
                (records, true) => format!("{records} records, {}", bytes(attempt.transcript_bytes)),
                (records, false) => {
                    format!("{records} records, {}, incomplete", bytes(attempt.transcript_bytes))
                }
            };
            vec![
                attempt.attempt.to_string().into(),
                attempt.node.as_ref().map(ToString::to_string).unwrap_or_default().into(),
                outcome.unwrap_or_default(),
                attempt.started_at.map(|at| look.time(at)).unwrap_or_default().into(),
                took.unwrap_or_default().into(),
                transcript.into(),
            ]
        })
        .collect();
    table(look, &["ATTEMPT", "NODE", "OUTCOME", "STARTED", "TOOK", "TRANSCRIPT"], &rows)
}

fn ledger(look: &Look, detail: &OperationDetail) -> String {
    let rows: Vec<_> = detail
        .ledger
        .iter()
        .map(|entry| {
            vec![
                entry.revision.to_string().into(),
                look.time(entry.at).into(),
                Cell::styled(state_style(entry.state), entry.state.as_str()),
                entry.source.as_str().into(),
                entry.reason.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            ]
        })
        .collect();
    table(look, &["REVISION", "TIME", "STATE", "SOURCE", "REASON"], &rows)
}

/// `aegir show --variables`: what each Task gets, and the scope that it comes from. Without the backend's
/// catalog only the values as they were sent are known.
#[must_use]
pub fn variables(look: &Look, detail: &OperationDetail, catalog: Option<&Catalog>) -> String {
    let found = catalog.and_then(|catalog| catalog.find(&detail.summary.name).ok());
    let Some((role, operation)) = found else {
        let note = "The backend's catalog is not known. These are the values as they were sent:\n";
        return format!("{note}{}", sent(look, &detail.variables));
    };
    let mut rows = Vec::new();
    for task in &operation.tasks {
        let row = |(name, resolved): (String, &Resolved)| {
            [task.to_string(), name, value(&resolved.value), resolved.from.clone()].map(Cell::from).to_vec()
        };
        rows.extend(
            role.resolve(task, &detail.variables)
                .iter()
                .map(|(name, resolved)| row((name.to_string(), resolved))),
        );
        for host in role.hosts_of(task, &detail.hosts) {
            let own = role.resolve_for(task, &host.name, &detail.variables);
            rows.extend(
                own.iter().map(|(name, resolved)| row((format!("{name} ({})", host.name), resolved))),
            );
        }
    }
    let table = table(look, &["TASK", "VARIABLE", "VALUE", "FROM"], &rows);
    if role_has_changed(detail, catalog) {
        let role = &detail.summary.name.role;
        return format!(
            "Role {role} has changed since it ran. The same request would now give its Tasks:\n{table}"
        );
    }
    table
}

/// Whether its latest attempt ran another role than the catalog has now, which may declare and default other things.
pub fn role_has_changed(detail: &OperationDetail, catalog: Option<&Catalog>) -> bool {
    let now = catalog.and_then(|catalog| catalog.find(&detail.summary.name).ok());
    let ran = detail.attempts.iter().rev().find_map(|attempt| attempt.digest.as_ref());
    ran.zip(now).is_some_and(|(ran, (role, _))| *ran != role.digest)
}

fn sent(look: &Look, variables: &Variables) -> String {
    let rows: Vec<_> = variables
        .iter()
        .flat_map(|(scope, values)| {
            values.iter().map(move |(name, given)| {
                [scope.clone(), name.clone(), value(given)].map(Cell::from).to_vec()
            })
        })
        .collect();
    table(look, &["SCOPE", "VARIABLE", "VALUE"], &rows)
}

fn value(value: &Value) -> String {
    if sealed(value).is_some() { "(sealed)".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example() -> OperationDetail {
        let id = "019235f0-7a3c-7def-8000-000000000001";
        let at = |second: u32| format!("2026-11-23T12:00:{second:02}Z");
        let reason = json!({"code": "task_failed", "message": "Task 2 failed."});
        serde_json::from_value(json!({
            "summary": {
                "id": id, "name": "static_site.deploy",
                "target": {"kind": "site", "id": "17", "name": "example.test"},
                "backend": "main", "state": "failed", "silent": false, "reason": reason, "attempt": 1,
                "dry_run": false, "check": false, "requested_by": "kim", "requested_at": at(0), "changed_at": at(9),
                "revision": 5, "cancel_requested": false,
            },
            "hosts": [{"name": "web1", "address": "192.0.2.7", "port": 2200, "user": null,
                       "services": {"nginx": {}}}],
            "variables": {"site": {"password": {"sealed": "x"}, "source": "/srv/content/example"}},
            "locks": [{"kind": "site", "id": "17", "mode": "exclusive"},
                      {"kind": "host", "id": "web1", "mode": "shared"}],
            "priority": 3, "timeout_seconds": 900, "waits_for": [], "published": true, "paused": null,
            "attempts": [{"attempt": 1, "node": "node1", "outcome": "failed", "reason": reason,
                          "started_at": at(1), "ended_at": at(9), "transcript_bytes": 4321,
                          "transcript_records": 17, "transcript_complete": true}],
            "ledger": [
                {"revision": 1, "attempt": 1, "state": "queued", "reason": null, "source": "frontend", "at": at(0)},
                {"revision": 2, "attempt": 1, "state": "failed", "reason": reason, "source": "node1", "at": at(9)},
            ],
        }))
        .unwrap()
    }

    fn terminal() -> Look {
        Look { terminal: true, width: Some(120), ..Look::plain() }
    }

    #[test]
    fn an_operation_with_all_that_is_known() {
        insta::assert_snapshot!(detail(&terminal(), &example()));
    }

    #[test]
    fn what_has_no_room_on_its_node_says_where_since_when_and_why() {
        let mut held_up = example();
        held_up.summary.state = State::Running;
        held_up.summary.reason = None;
        held_up.summary.blocked = serde_json::from_value(json!({
            "node": "node1", "since": "2026-11-23T12:00:05Z",
            "reason": {"code": "disk_full", "message": "the disk is full: make room there"},
        }))
        .unwrap();
        let text = detail(&terminal(), &held_up);
        let lines: Vec<_> = text.lines().skip(4).take(3).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        State      running (blocked)
        Blocked    on node node1 since 2026-11-23 12:00:05: the disk is full: make room there (disk_full)
                   Watch it with `aegir log -f 019235f0-7a3c-7def-8000-000000000001`.
        ");
    }

    fn operations() -> [OperationSummary; 3] {
        let operation = OperationSummary { silent: true, state: State::Running, ..example().summary };
        let mut check = OperationSummary { dry_run: true, cancel_requested: true, ..operation.clone() };
        check.id = "019235f0-7a3c-7fff-8000-000000000001".parse().unwrap();
        let mut long = example().summary;
        long.id = "019235e0-0000-7def-8000-000000000007".parse().unwrap();
        long.name = "php_site.regenerate_settings".parse().unwrap();
        long.target.name = "a-rather-long-name-of-a-site.example.test".parse().unwrap();
        long.requested_by = Some("sascha.vandermeer@agency.example".to_owned());
        [operation, check, long]
    }

    #[test]
    fn lists_for_people_and_for_pipes() {
        let operations = operations();
        let now = "2026-11-23T12:03:40Z".parse().unwrap();
        for width in [40, 60, 80, 120, 200] {
            let look = Look { width: Some(width), ..terminal() };
            let text = list(&look, &operations, now);
            assert_eq!(text.lines().count(), 4, "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line:?}");
                assert!(
                    line.starts_with(" ID")
                        || line.starts_with(" 019235f0-7a3c-7")
                        || line.starts_with(" 019235e0-0000-7")
                );
            }
            insta::assert_snapshot!(format!("list_{width}"), text);
        }
        insta::assert_snapshot!("list_long", long_list(&Look { width: Some(80), ..terminal() }, &operations));
        insta::assert_snapshot!("list_pipe", list(&Look::plain(), &operations, now));
        assert!(list(&terminal(), &[], now).contains("aegir run"));
    }

    #[test]
    fn ids_are_as_short_as_they_stay_apart() {
        let ids = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let one = "019235f0-7a3c-7def-8000-000000000001";
        assert_eq!(short_length(&ids(&[])), SHORT_ID);
        assert_eq!(short_length(&ids(&[one, one])), SHORT_ID);
        assert_eq!(short_length(&ids(&[one, "019235f0-7a3d-7def-8000-000000000001"])), SHORT_ID);
        assert_eq!(
            short_length(&ids(&[one, "019235f0-7a3c-7e00-8000-000000000001"])),
            "019235f0-7a3c-7e".len()
        );
    }

    #[test]
    fn variables_without_a_catalog_are_as_they_were_sent() {
        insta::assert_snapshot!(variables(&Look::plain(), &example(), None));
    }

    #[test]
    fn variables_say_where_they_come_from() {
        let catalog: Catalog = serde_json::from_value(json!({
            "backend": "main", "node": "node1", "recipient": "age1", "digest": "", "left_out": {},
            "roles": {"static_site": {"digest": "new", "manifest": {
                "schema": "aegir.role/0", "title": "Static site", "targets": ["site"],
                "operations": {"deploy": {"title": "Deploy", "tasks": ["deploy"]}},
                "tasks": {"deploy": {"title": "Deploy", "variables": ["password", "source", "root", "rack"]}},
                "variables": {
                    "password": {"type": "string", "scope": "site", "secret": true},
                    "source": {"type": "string", "scope": "site"},
                    "root": {"type": "string", "scope": "site", "default": "/srv"},
                    "rack": {"type": "integer", "scope": "hosts"},
                },
            }}},
        }))
        .unwrap();
        let mut ran = example();
        ran.variables
            .extend([("hosts.web1".to_owned(), serde_json::from_value(json!({"rack": 7})).unwrap())]);
        ran.attempts[0].digest = Some("new".to_owned());
        let told = variables(&terminal(), &ran, Some(&catalog));
        insta::assert_snapshot!(told);
        ran.attempts[0].digest = Some("old".to_owned());
        assert!(
            variables(&terminal(), &ran, Some(&catalog))
                .ends_with(&format!("would now give its Tasks:\n{told}"))
        );
    }
}
