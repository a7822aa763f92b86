//! What is asked, and what is answered.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::discovery::{self, Resource};
use super::merge;
use super::message::{Chunks, HttpRequest, HttpResponse};
use super::openapi;
use super::store::{ClusterState, ObjectKey, SharedStore, defaults};

/// How long a watch waits before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What a path names.
struct ResourcePath {
    resource: &'static Resource,
    namespace: String,
    name: Option<String>,
    log: bool,
}

fn place(path: &str) -> Option<ResourcePath> {
    let mut parts = path.trim_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>().into_iter();
    let group = match parts.next()?.as_str() {
        "api" => String::new(),
        "apis" => parts.next()?,
        _ => return None,
    };
    parts.next().filter(|version| version == "v1")?;
    let mut rest: Vec<_> = parts.collect();
    let mut namespace = String::new();
    if rest.len() > 2 && rest[0] == "namespaces" {
        namespace = rest.remove(1);
        rest.remove(0);
    }
    let resource = discovery::find(&group, rest.first()?)?;
    let log = rest.get(2).is_some_and(|part| part == "log");
    Some(ResourcePath { resource, namespace, name: rest.get(1).cloned(), log })
}

impl ResourcePath {
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey {
            namespace: self.namespace.clone(),
            plural: self.resource.plural.to_owned(),
            name: name.to_owned(),
        }
    }

    fn api_version(&self) -> String {
        match self.resource.group {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    fn not_found(&self, name: &str) -> HttpResponse {
        let group = self.resource.group;
        let plural = self.resource.plural;
        let what = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        HttpResponse::no(404, "NotFound", &format!("{what} {name:?} not found"))
    }
}

pub(crate) fn answer(request: &HttpRequest, shared: &SharedStore) -> HttpResponse {
    let path = request.path.as_str();
    let found = match path {
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(discovery::groups()),
        "/version" => Some(json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0"})),
        "/openapi/v2" => {
            return HttpResponse { status: 200, kind: openapi::CONTENT_TYPE, body: openapi::document() };
        }
        "/api/v1" => discovery::resources(""),
        _ => path
            .strip_prefix("/apis/")
            .and_then(|rest| rest.strip_suffix("/v1"))
            .and_then(discovery::resources),
    };
    if let Some(value) = found {
        return HttpResponse::json(200, &value);
    }
    let Some(place) = place(path) else { return HttpResponse::no(404, "NotFound", "there is no such path") };
    let mut state = shared.state.lock().unwrap();
    let response = match (request.method.as_str(), &place.name) {
        ("GET", Some(name)) => get(&state, &place, name, request),
        ("GET", None) => list(&state, &place, request),
        ("PATCH", Some(name)) => patch(&mut state, &place, name, request),
        ("DELETE", Some(name)) => delete(&mut state, &place, name),
        _ => HttpResponse::no(405, "MethodNotAllowed", "this is a stand-in, which does not do that"),
    };
    let dry = request.query.contains_key("dryRun");
    if request.method != "GET" && !dry {
        state.changes.push(format!("{} {path}", request.method));
        shared.changed.notify_all();
    }
    response
}

fn get(state: &ClusterState, place: &ResourcePath, name: &str, request: &HttpRequest) -> HttpResponse {
    match state.objects.get(&place.key(name)) {
        None => place.not_found(name),
        Some(pod) if place.log => {
            let before = request.query.get("previous").is_some_and(|previous| previous == "true");
            let log = &pod["metadata"]["annotations"][if before { "log-before" } else { "log" }];
            match log.as_str() {
                Some(log) => HttpResponse { status: 200, kind: "text/plain", body: log.into() },
                None => HttpResponse::no(
                    400,
                    "BadRequest",
                    &format!("container in pod {name:?} is waiting to start"),
                ),
            }
        }
        Some(object) => HttpResponse::json(200, object),
    }
}

fn list(state: &ClusterState, place: &ResourcePath, request: &HttpRequest) -> HttpResponse {
    let items: Vec<_> =
        matching(state, place, &request.query).into_iter().map(|(_, object)| object).collect();
    let list = json!({"kind": format!("{}List", place.resource.kind), "apiVersion": place.api_version(),
        "metadata": {"resourceVersion": state.version.to_string()}, "items": items});
    HttpResponse::json(200, &list)
}

/// The objects that the selectors name.
fn matching(
    state: &ClusterState,
    place: &ResourcePath,
    query: &BTreeMap<String, String>,
) -> Vec<(ObjectKey, Value)> {
    let pairs = |name: &str| -> Vec<(String, String)> {
        let selector = query.get(name).map(String::as_str).unwrap_or_default();
        let pair = |pair: &str| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        selector.split(',').filter_map(pair).collect()
    };
    let (labels, fields) = (pairs("labelSelector"), pairs("fieldSelector"));
    let fits = |key: &ObjectKey, object: &Value| {
        key.plural == place.resource.plural
            && (place.namespace.is_empty() || key.namespace == place.namespace)
            && labels.iter().all(|(name, value)| object["metadata"]["labels"][name] == **value)
            && fields.iter().all(|(path, value)| {
                path.split('.').fold(object, |object, part| &object[part]) == value.as_str()
            })
    };
    let found = state.objects.iter().filter(|(key, object)| fits(key, object));
    found.map(|(key, object)| (key.clone(), object.clone())).collect()
}

fn patch(state: &mut ClusterState, place: &ResourcePath, name: &str, request: &HttpRequest) -> HttpResponse {
    let Ok(wanted) = serde_json::from_slice::<Value>(&request.body) else {
        return HttpResponse::no(
            400,
            "BadRequest",
            "this takes a server-side apply in JSON and nothing else",
        );
    };
    let Some(manager) = request.query.get("fieldManager") else {
        return HttpResponse::no(400, "BadRequest", "fieldManager is required for apply patch");
    };
    if place.resource.namespaced && !state.has_namespace(&place.namespace) {
        return HttpResponse::no(404, "NotFound", &format!("namespaces {:?} not found", place.namespace));
    }
    let key = place.key(name);
    let live = state.objects.get(&key).cloned();
    let applied = (key.clone(), manager.clone());
    let last = state.applied.get(&applied).cloned().unwrap_or_default();
    let mut merged = merge::apply(live.as_ref().unwrap_or(&Value::Null), &last, &wanted);
    defaults(&mut merged);
    let status = if live.is_some() { 200 } else { 201 };
    if request.query.contains_key("dryRun") {
        return HttpResponse::json(status, &merged);
    }
    if live.as_ref() != Some(&merged) {
        merged["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Apply"}]);
        merged = state.put(key, merged);
    }
    state.applied.insert(applied, wanted);
    HttpResponse::json(status, &merged)
}

fn delete(state: &mut ClusterState, place: &ResourcePath, name: &str) -> HttpResponse {
    let key = place.key(name);
    let Some(mut object) = state.objects.get(&key).cloned() else { return place.not_found(name) };
    if place.resource.kind == "Namespace" {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
        object["status"]["phase"] = json!("Terminating");
        return HttpResponse::json(200, &state.put(key, object));
    }
    state.remove(&key);
    let details = json!({"name": name, "uid": object["metadata"]["uid"]});
    HttpResponse::json(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}),
    )
}

/// Tells what becomes of the objects that the selectors name, until kubectl goes away.
pub(crate) fn watch(
    request: &HttpRequest,
    shared: &SharedStore,
    stop: &AtomicBool,
    to: &mut Chunks<'_>,
) -> io::Result<()> {
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<u64>().ok());
    let until = number("timeoutSeconds").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let from = number("resourceVersion").unwrap_or(0);
    let place = place(&request.path).ok_or(io::ErrorKind::NotFound)?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    to.begin()?;
    let mut known: BTreeMap<ObjectKey, Value> = BTreeMap::new();
    let mut first = true;
    while !stop.load(Ordering::SeqCst) && until.is_none_or(|until| Instant::now() < until) {
        let mut state = shared.state.lock().unwrap();
        if !first {
            state = shared.changed.wait_timeout(state, LOOK).unwrap().0;
        }
        let now: BTreeMap<_, _> = matching(&state, &place, &request.query).into_iter().collect();
        drop(state);
        for (key, object) in &now {
            let old =
                version(object).and_then(|version| version.parse::<u64>().ok()).is_some_and(|v| v <= from);
            let event = match known.get(key) {
                None if first && old => continue,
                None => "ADDED",
                Some(before) if version(before) != version(object) => "MODIFIED",
                Some(_) => continue,
            };
            to.chunk(&json!({"type": event, "object": object}))?;
        }
        for (_, object) in known.iter().filter(|(key, _)| !now.contains_key(*key)) {
            to.chunk(&json!({"type": "DELETED", "object": object}))?;
        }
        (known, first) = (now, false);
    }
    to.end()
}
