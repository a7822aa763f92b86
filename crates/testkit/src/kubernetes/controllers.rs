//! What a cluster does of itself, played by one thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::store::{ClusterState, ObjectKey, SharedStore};

/// A workload with this in its image never comes up.
const BROKEN: &str = "broken";
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn run(shared: &SharedStore, stop: &AtomicBool) {
    let mut state = shared.state.lock().unwrap();
    while !stop.load(Ordering::SeqCst) {
        // One thing at a time, so that who watches sees it happen.
        if step(&mut state) {
            shared.changed.notify_all();
        }
        state = shared.changed.wait_timeout(state, LOOK).unwrap().0;
    }
}

/// Does the next thing that is to be done.
fn step(state: &mut ClusterState) -> bool {
    let objects: Vec<_> = state.objects.iter().map(|(key, object)| (key.clone(), object.clone())).collect();
    objects.into_iter().any(|(key, object)| match key.plural.as_str() {
        "namespaces" => finalise(state, &key, &object),
        "deployments" | "statefulsets" => bring_up(state, key, object),
        _ => false,
    })
}

fn finalise(state: &mut ClusterState, key: &ObjectKey, namespace: &Value) -> bool {
    if namespace["metadata"]["deletionTimestamp"].is_null() || state.holds {
        return false;
    }
    let inside = state.objects.keys().find(|inside| inside.namespace == key.name).cloned();
    state.remove(&inside.unwrap_or_else(|| key.clone()));
    true
}

fn bring_up(state: &mut ClusterState, key: ObjectKey, mut object: Value) -> bool {
    let broken = object["spec"]["template"]["spec"]["containers"].to_string().contains(BROKEN);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let generation = object["metadata"]["generation"].clone();
    let up = if broken { 0 } else { wanted };
    let seen = object["status"]["observedGeneration"] == generation;
    let status = if seen {
        json!({"observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted, "readyReplicas": up,
            "availableReplicas": up, "unavailableReplicas": wanted - up, "currentReplicas": wanted,
            "currentRevision": "1", "updateRevision": "1"})
    } else {
        json!({"observedGeneration": generation, "replicas": wanted, "updatedReplicas": 0})
    };
    if seen && status == object["status"] {
        return false;
    }
    if seen {
        pods(state, &key, &object, broken);
    }
    object["status"] = status;
    state.put(key, object);
    true
}

/// A pod, and for a StatefulSet the claims of its volumes.
fn pods(state: &mut ClusterState, workload: &ObjectKey, object: &Value, broken: bool) {
    let name = format!("{}-0", workload.name);
    let key = |plural: &str, name: &str| ObjectKey {
        namespace: workload.namespace.clone(),
        plural: plural.to_owned(),
        name: name.to_owned(),
    };
    let template = &object["spec"]["template"];
    let up = format!("{} is up\n", workload.name);
    let log = if broken { "can't open the database\npassword is hunter22-and-more\n" } else { &up };
    let container = json!({"name": template["spec"]["containers"][0]["name"], "restartCount": u8::from(broken),
        "state": if broken { json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}) }
            else { json!({"running": {}}) }});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": template["metadata"]["labels"],
            "annotations": {"log": log, "log-before": "the first try failed too\n"}},
        "spec": template["spec"],
        "status": {"phase": "Running", "containerStatuses": [container],
            "conditions": [{"type": "Ready", "status": if broken { "False" } else { "True" }}]},
    });
    state.put(key("pods", &name), pod);
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.1")},
        "involvedObject": {"kind": "Pod", "name": name}, "reason": "BackOff",
        "message": "Back-off restarting failed container"});
    state.put(key("events", &format!("{name}.1")), event);
    for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let claim_name = format!("{}-{name}", claim["metadata"]["name"].as_str().unwrap());
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim_name},
            "spec": claim["spec"]});
        state.put(key("persistentvolumeclaims", &claim_name), claim);
    }
}
