//! Why something does not come up: the pods' own words.

use serde_json::Value;

use super::cluster::KubernetesCluster;
use crate::error::Error;

/// Of how many pods.
const PODS: usize = 3;
/// How many events of each.
const EVENTS: usize = 10;
const LINES: &str = "--tail=50";
const BYTES: &str = "--limit-bytes=16384";

/// Prints events and logs of the pods that are not ready, and gives back the reasons in a line.
pub(super) fn show(cluster: &KubernetesCluster, workload: &Value) -> Result<String, Error> {
    let pods = cluster.get(&["get", "pods", "--selector", &selector(workload)], None)?;
    let stuck: Vec<_> = pods.iter().filter(|pod| !is_ready(pod)).take(PODS).collect();
    let mut reasons = Vec::new();
    for pod in &stuck {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        reasons.push(format!("pod {name}: {}", reason(pod)));
        events(cluster, name);
        logs(cluster, name, restarted(pod));
    }
    Ok(if reasons.is_empty() { "there is no pod that is not ready".to_owned() } else { reasons.join("; ") })
}

/// By which labels a workload's pods are found.
pub(super) fn selector(workload: &Value) -> String {
    let labels = workload["spec"]["selector"]["matchLabels"].as_object();
    let pairs =
        labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    pairs.collect::<Vec<_>>().join(",")
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten())
}

fn restarted(pod: &Value) -> bool {
    containers(pod).any(|container| container["restartCount"].as_u64().is_some_and(|count| count > 0))
}

/// What a container waits for, or why the pod is nowhere.
fn reason(pod: &Value) -> String {
    let waiting = containers(pod).map(|container| &container["state"]["waiting"]);
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let unmet = conditions.filter(|condition| condition["status"] == "False");
    let found = waiting.chain(unmet).find_map(|state| {
        let reason = state["reason"].as_str()?;
        Some(match state["message"].as_str() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        })
    });
    found.unwrap_or_else(|| pod["status"]["phase"].as_str().unwrap_or("unknown").to_owned())
}

fn events(cluster: &KubernetesCluster, pod: &str) {
    let selector = format!("--field-selector=involvedObject.name={pod}");
    let events = cluster.get(&["get", "events", &selector], None).unwrap_or_default();
    println!("--- the last events of the pod {pod}");
    for event in events.iter().skip(events.len().saturating_sub(EVENTS)) {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        println!("{}", cluster.program.mask.hide(&format!("{}: {}", text("reason"), text("message"))));
    }
}

fn logs(cluster: &KubernetesCluster, pod: &str, before_too: bool) {
    // A container that never started has no log, which kubectl says.
    println!("--- the end of the log of the pod {pod}");
    let _ = cluster.program.show(&["logs", pod, "--all-containers", LINES, BYTES], None);
    if before_too {
        println!("--- the end of its log before it was started again");
        let _ = cluster.program.show(&["logs", pod, "--all-containers", "--previous", LINES, BYTES], None);
    }
}
