//! Objects, as JSON.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::mask::{HIDDEN, Mask};

/// What roles may have objects of: what lives in a namespace, and gives nobody rights. As `KIND.GROUP`.
pub(super) const KINDS: [&str; 13] = [
    "ConfigMap",
    "Secret",
    "Service",
    "ServiceAccount",
    "PersistentVolumeClaim",
    "Deployment.apps",
    "StatefulSet.apps",
    "DaemonSet.apps",
    "Job.batch",
    "CronJob.batch",
    "Ingress.networking.k8s.io",
    "NetworkPolicy.networking.k8s.io",
    "PodDisruptionBudget.policy",
];

/// What holds data, and so is only taken away when somebody asks for it.
pub(super) const CLAIM: &str = "PersistentVolumeClaim";

/// What brings pods up.
pub(super) const WORKLOADS: [&str; 3] = ["Deployment.apps", "StatefulSet.apps", "DaemonSet.apps"];

/// Which object: kind with group, and name. Within one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectId {
    /// As `KIND.GROUP`.
    pub(super) kind: String,
    pub(super) name: String,
}

impl ObjectId {
    pub(super) fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, version) = (text(&object["kind"]), text(&object["apiVersion"]));
        let kind = match version.split_once('/') {
            Some((group, _)) => format!("{kind}.{group}"),
            None => kind,
        };
        Self { kind, name: text(&object["metadata"]["name"]) }
    }

    /// The kind without its group, for people.
    pub(super) fn short_kind(&self) -> &str {
        self.kind.split('.').next().unwrap_or_default()
    }

    pub(super) fn is_workload(&self) -> bool {
        WORKLOADS.contains(&self.kind.as_str())
    }
}

/// `Deployment/site`.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.short_kind(), self.name)
    }
}

/// Puts labels on an object.
pub(super) fn label(object: &mut Value, labels: &[(&str, &str)]) {
    for (name, value) in labels {
        object["metadata"]["labels"][name] = json!(value);
    }
}

/// Only what was asked for, or what somebody changed: without what the server keeps of its own.
pub(super) fn essence(object: &Value) -> Value {
    const OF_THE_SERVER: [&str; 6] =
        ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"];
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            OF_THE_SERVER.iter().for_each(|name| drop(metadata.remove(*name)));
        }
    }
    object
}

/// Makes one map of a Secret's two: with `stringData` a server-side apply can't take a key away again.
pub(super) fn encode_secret(object: &mut Value) {
    if object["kind"] != "Secret" {
        return;
    }
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|members| members.remove("stringData"))
    else {
        return;
    };
    for (key, value) in texts {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        object["data"][key] = STANDARD.encode(text).into();
    }
}

/// What is in a Secret must not be seen, encoded or not.
pub(super) fn hide_secret(object: &Value, mask: &mut Mask) {
    for encoded in secret_data(object).into_iter().flat_map(Map::values).filter_map(Value::as_str) {
        mask.add(encoded);
        if let Some(text) = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            mask.add(&text);
        }
    }
}

fn secret_data(object: &Value) -> Option<&Map<String, Value>> {
    if object["kind"] == "Secret" { object["data"].as_object() } else { None }
}

/// An object for people; `before` is what it was until then.
pub(super) fn shown(object: &Value, before: Option<&Value>) -> String {
    yaml_serde::to_string(&hidden(object, before)).unwrap_or_default()
}

/// An object without what is secret; `before` is what it was until then.
///
/// Of a Secret that is its annotations too: `kubectl apply` of somebody else repeats all of it in one.
pub(super) fn hidden(object: &Value, before: Option<&Value>) -> Value {
    let mut shown = object.clone();
    if object["kind"] == "Secret" {
        for place in ["/data", "/metadata/annotations"] {
            let before = before.map(|before| before.pointer(place).unwrap_or(&Value::Null));
            for (key, value) in shown.pointer_mut(place).and_then(Value::as_object_mut).into_iter().flatten()
            {
                let same = before.is_none_or(|before| before[key] == *value);
                *value = if same { HIDDEN.into() } else { format!("{HIDDEN} (another one)").into() };
            }
        }
    }
    shown
}

/// The objects in what kubectl prints as JSON: one, a list, or nothing.
pub(super) fn objects(text: &[u8]) -> Result<Vec<Value>, serde_json::Error> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_slice(text).into_iter::<Value>() {
        let mut value = value?;
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => found.extend(items),
            Some(_) | None => found.push(value),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(password: &str) -> Value {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "stringData": {"password": password}, "data": {"user": "YWRtaW4="}});
        encode_secret(&mut secret);
        secret
    }

    #[test]
    fn a_secret_is_never_shown() {
        let (one, other) = (secret("hunter22"), secret("hunter23"));
        assert_eq!(one["data"], json!({"password": "aHVudGVyMjI=", "user": "YWRtaW4="}));
        assert!(one.get("stringData").is_none());
        for text in [shown(&one, None), shown(&one, Some(&other))] {
            assert!(!text.contains("aHVu") && !text.contains("hunter") && !text.contains("YWRt"), "{text}");
        }
        let text = shown(&one, Some(&other));
        assert!(text.contains("another one") && text.matches(HIDDEN).count() == 2, "{text}");
        let mut mask = Mask::default();
        hide_secret(&one, &mut mask);
        assert_eq!(mask.hide("hunter22 aHVudGVyMjI="), format!("{HIDDEN} {HIDDEN}"));
    }

    #[test]
    fn what_kubectl_keeps_of_a_secret_in_an_annotation_is_not_shown() {
        let mut one = secret("hunter22");
        let annotation = |object: &mut Value, text: &str| {
            object["metadata"]["annotations"] =
                json!({"kubectl.kubernetes.io/last-applied-configuration": text});
        };
        annotation(&mut one, r#"{"data": {"password": "aHVudGVyMjI="}}"#);
        let mut other = one.clone();
        annotation(&mut other, r#"{"data": {"password": "aHVudGVyMjM="}}"#);
        for text in [shown(&one, None), shown(&one, Some(&other)), shown(&one, Some(&json!({})))] {
            assert!(!text.contains("aHVu"), "{text}");
            assert!(text.contains("last-applied-configuration: '*"), "{text}");
        }
        assert_ne!(hidden(&one, Some(&other)), hidden(&one, Some(&one)));
    }

    #[test]
    fn an_id_has_the_group_but_not_the_version() {
        let id =
            ObjectId::of(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}));
        assert_eq!((id.kind.as_str(), id.to_string().as_str()), ("Deployment.apps", "Deployment/x"));
        assert!(id.is_workload());
        let id = ObjectId::of(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}));
        assert_eq!(id.kind, "Service");
    }

    #[test]
    fn one_object_a_list_and_nothing_are_taken() {
        let count = |text: &str| objects(text.as_bytes()).unwrap().len();
        assert_eq!(
            [count(""), count("{}"), count(r#"{"items": [{}, {}]}"#), count("{}\n{\"items\": []}")],
            [0, 1, 2, 1]
        );
    }
}
