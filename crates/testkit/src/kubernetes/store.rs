//! The objects.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};

use serde_json::{Value, json};

/// Which object. Cluster-wide ones have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) plural: String,
    pub(crate) name: String,
}

#[derive(Debug, Default)]
pub(crate) struct SharedStore {
    pub(crate) state: Mutex<ClusterState>,
    pub(crate) changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct ClusterState {
    pub(crate) objects: BTreeMap<ObjectKey, Value>,
    /// What a field manager has applied last.
    pub(crate) applied: BTreeMap<(ObjectKey, String), Value>,
    /// Requests that changed something.
    pub(crate) changes: Vec<String>,
    pub(crate) version: u64,
    /// Namespaces are deleted only when this is over.
    pub(crate) holds: bool,
}

impl ClusterState {
    /// Puts an object there, as the server does: with a version, a generation and where it is.
    pub(crate) fn put(&mut self, key: ObjectKey, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        let before = self.objects.get(&key);
        let generation = match before {
            Some(before) if before["spec"] == object["spec"] => before["metadata"]["generation"].clone(),
            Some(before) => json!(before["metadata"]["generation"].as_u64().unwrap_or(0) + 1),
            None => json!(1),
        };
        let metadata = &mut object["metadata"];
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["resourceVersion"] = json!(version.to_string());
        metadata["generation"] = generation;
        if before.is_none() {
            metadata["uid"] = json!(format!("00000000-0000-4000-8000-{version:012}"));
            metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.objects.insert(key, object.clone());
        object
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) -> Option<Value> {
        self.version += 1;
        self.applied.retain(|(applied, _), _| applied != key);
        self.objects.remove(key)
    }

    pub(crate) fn has_namespace(&self, name: &str) -> bool {
        let (namespace, plural, name) = (String::new(), "namespaces".to_owned(), name.to_owned());
        self.objects.contains_key(&ObjectKey { namespace, plural, name })
    }
}

/// What the server fills in.
pub(crate) fn defaults(object: &mut Value) {
    let set = |place: &mut Value, value: Value| {
        if place.is_null() {
            *place = value;
        }
    };
    match object["kind"].as_str() {
        Some("Service") => {
            set(&mut object["spec"]["type"], json!("ClusterIP"));
            set(&mut object["spec"]["clusterIP"], json!("10.96.0.10"));
        }
        Some("Deployment") => set(&mut object["spec"]["strategy"], json!({"type": "RollingUpdate"})),
        Some("StatefulSet") => set(&mut object["spec"]["updateStrategy"], json!({"type": "RollingUpdate"})),
        Some("Namespace") => set(&mut object["status"], json!({"phase": "Active"})),
        Some("Secret") => set(&mut object["type"], json!("Opaque")),
        _ => {}
    }
}
