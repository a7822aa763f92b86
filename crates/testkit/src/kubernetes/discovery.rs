//! Which resources there are.

use serde_json::{Value, json};

pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
}

const fn resource(group: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource { group, kind, plural, namespaced: true }
}

/// All in version v1 of their group.
pub(crate) const RESOURCES: [Resource; 17] = [
    Resource { group: "", kind: "Namespace", plural: "namespaces", namespaced: false },
    resource("", "ConfigMap", "configmaps"),
    resource("", "Secret", "secrets"),
    resource("", "Service", "services"),
    resource("", "ServiceAccount", "serviceaccounts"),
    resource("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    resource("", "Pod", "pods"),
    resource("", "Event", "events"),
    resource("apps", "Deployment", "deployments"),
    resource("apps", "StatefulSet", "statefulsets"),
    resource("apps", "DaemonSet", "daemonsets"),
    resource("batch", "Job", "jobs"),
    resource("batch", "CronJob", "cronjobs"),
    resource("networking.k8s.io", "Ingress", "ingresses"),
    resource("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    resource("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    resource("test.example", "Certificate", "certificates"),
];

pub(crate) fn groups() -> Value {
    let mut names: Vec<_> =
        RESOURCES.iter().map(|resource| resource.group).filter(|name| !name.is_empty()).collect();
    names.dedup();
    let group = |name: &&str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": names.iter().map(group).collect::<Vec<_>>()})
}

pub(crate) fn resources(group: &str) -> Option<Value> {
    let here: Vec<_> = RESOURCES
        .iter()
        .filter(|resource| resource.group == group)
        .map(|resource| {
            json!({"name": resource.plural, "singularName": resource.kind.to_lowercase(), "kind": resource.kind,
                "namespaced": resource.namespaced,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]})
        })
        .collect();
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let list =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": here});
    (!here.is_empty()).then_some(list)
}

pub(crate) fn find(group: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.group == group && resource.plural == plural)
}
