//! The role `k8s_site`, and what may go wrong, with the real kubectl against a stand-in for the API server: see
//! `aegir_testkit::kubernetes`. Nothing here was verified against a cluster.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aegir_testkit::ApiServer;
use aegir_testkit::kubernetes::{TOKEN, write_kubeconfig};
use serde_json::{Value, json};

use super::SECRET;
use super::runner::Runner;

pub(crate) const ENCODED: &str = "aHVudGVyMjItYW5kLW1vcmU=";
const OBJECTS: [&str; 9] = [
    "Namespace",
    "ConfigMap",
    "ConfigMap",
    "Secret",
    "Service",
    "Service",
    "Deployment",
    "StatefulSet",
    "Ingress",
];

fn role() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles/k8s_site")
}

/// What the role's manifest says of a Task.
fn settings(task: &str) -> Value {
    let manifest = std::fs::read_to_string(role().join("meta/aegir.yml")).unwrap();
    let manifest: Value = yaml_serde::from_str(&manifest).unwrap();
    manifest["tasks"][task]["plugin"]["with"].clone()
}

fn options(kubeconfig: &Path) -> Vec<String> {
    ["kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()].map(str::to_owned).to_vec()
}

pub(crate) fn site(cluster: &ApiServer) -> Runner {
    Runner {
        options: options(&cluster.kubeconfig()),
        role_directory: role(),
        settings: settings("deploy"),
        variables: json!({
            "image": "registry.example/shop:1", "port": 8080, "probe_path": "/", "replicas": 2,
            "settings": {"GREETING": "{{ 1 + 1 }} $(id)"}, "database_image": "mariadb:11.4", "database_size": "1Gi",
            "database_password": SECRET,
        }),
        task: "run",
        target: "example.test",
        ..Runner::default()
    }
}

fn removal(cluster: &ApiServer) -> Runner {
    Runner { settings: settings("delete"), deletes: true, variables: json!({}), ..site(cluster) }
}

#[test]
fn a_site_is_planned_deployed_changed_and_deleted() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);

    let plan = site.run("plan").assert_good();
    let (_, changes) = plan.plan();
    let mut kinds: Vec<_> = changes.as_array().unwrap().iter().map(|change| &change["kind"]).collect();
    kinds.sort_by_key(|kind| OBJECTS.iter().position(|known| *kind == known));
    assert_eq!(kinds, OBJECTS);
    assert!(changes.as_array().unwrap().iter().all(|change| change["action"] == "create"), "{changes}");
    assert_eq!(plan.changed().len(), OBJECTS.len());
    assert!(plan.diff("create Ingress/site")["after"].as_str().unwrap().contains("host: example.test"));
    plan.assert_hides(&[SECRET, ENCODED, TOKEN]);
    assert_eq!((cluster.names(), cluster.changes()), (vec![], vec![]));

    let applied = site.run("apply").assert_good();
    assert_eq!(applied.changed().len(), OBJECTS.len());
    assert!(applied.stdout.contains("successfully rolled out"), "{}", applied.stdout);
    applied.assert_hides(&[SECRET, ENCODED, TOKEN]);
    let deployment = cluster.object("deployments", "site").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["status"]["availableReplicas"], 2);
    // A value from a frontend is data.
    assert_eq!(cluster.object("configmaps", "settings").unwrap()["data"]["GREETING"], "{{ 1 + 1 }} $(id)");
    assert_eq!(cluster.object("secrets", "database").unwrap()["data"]["password"], ENCODED);
    assert!(cluster.object("persistentvolumeclaims", "data-database-0").is_some());
    cluster.changes();

    let plan = site.run("plan").assert_good();
    assert_eq!((plan.changed(), plan.plan().1), (vec![], json!([])));
    assert_eq!(cluster.changes(), Vec::<String>::new());
    site.run("cancel").assert_good();

    site.variables["settings"]["GREETING"] = json!("hello");
    site.variables["database_password"] = json!(format!("{SECRET}-new"));
    let plan = site.run("plan").assert_good();
    let changed = plan.changed();
    let (record, rest) = changed.split_last().unwrap();
    assert_eq!(rest, ["update ConfigMap/settings", "update Secret/database", "update Deployment/site"]);
    assert!(record.starts_with("update ConfigMap/aegir-example-run-"), "{record}");
    let diff = plan.diff("update ConfigMap/settings");
    assert!(
        diff["before"].as_str().unwrap().contains("$(id)")
            && diff["after"].as_str().unwrap().contains("hello")
    );
    let diff = plan.diff("update Secret/database");
    assert_ne!(diff["before"], diff["after"]);
    plan.assert_hides(&[SECRET, ENCODED, "aHVudGVyMjItYW5kLW1vcmUtbmV3"]);
    assert_eq!(cluster.changes(), Vec::<String>::new());
    site.run("apply").assert_good();

    let removal = removal(&cluster);
    let plan = removal.run("plan").assert_good();
    assert!(plan.changed().contains(&"delete PersistentVolumeClaim/data-database-0"), "{:?}", plan.changed());
    plan.assert_hides(&[SECRET, ENCODED]);
    let removed = removal.run("delete").assert_good();
    assert_eq!(removed.changed(), plan.changed());
    assert_eq!(cluster.names(), Vec::<String>::new());
    let again = removal.run("delete").assert_good();
    assert_eq!(again.changed(), Vec::<&str>::new());
    removal.run("cancel").assert_good();
}

#[test]
fn the_logs_of_what_runs_are_shown() {
    let cluster = ApiServer::start();
    let logs = Runner { settings: settings("logs"), variables: json!({}), ..site(&cluster) };
    assert_eq!(logs.run("plan").assert_good().plan().1, json!([]));
    assert!(logs.run("apply").failure().contains("nothing was deployed"));
    site(&cluster).run("apply").assert_good();
    cluster.changes();
    let shown = logs.run("apply").assert_good();
    for line in ["[pod/site-0/site] site is up", "[pod/database-0/database] database is up"] {
        assert!(shown.stdout.contains(line), "{shown:#?}");
    }
    assert_eq!(cluster.changes(), Vec::<String>::new());
}

fn log(cluster: &ApiServer, pod: &str, log: Value) {
    cluster.change("pods", pod, |pod| pod["metadata"]["annotations"]["log"] = log);
}

#[test]
fn a_password_that_a_site_has_logged_is_not_shown() {
    let cluster = ApiServer::start();
    let logs = Runner { settings: settings("logs"), variables: json!({}), ..site(&cluster) };
    site(&cluster).run("apply").assert_good();
    log(&cluster, "site-0", json!(format!("can't reach mysql://site:{SECRET}@database/site\n{ENCODED}\n")));
    let shown = logs.run("apply").assert_good();
    assert!(shown.stdout.contains("mysql://site:********@database/site"), "{shown:#?}");
    shown.assert_hides(&[SECRET, ENCODED]);
}

#[test]
fn logs_are_shown_beside_a_pod_that_has_not_started() {
    let cluster = ApiServer::start();
    let logs = Runner { settings: settings("logs"), variables: json!({}), ..site(&cluster) };
    site(&cluster).run("apply").assert_good();
    log(&cluster, "site-0", Value::Null);
    let failed = logs.run("apply");
    assert!(failed.failure().contains("waiting to start"), "{failed:#?}");
    assert!(failed.stdout.contains("[pod/database-0/database] database is up"), "{failed:#?}");
}

#[test]
fn the_database_gives_no_password_away_in_its_log() {
    let cluster = ApiServer::start();
    site(&cluster).run("apply").assert_good();
    let database = cluster.object("statefulsets", "database").unwrap();
    let environment = &database["spec"]["template"]["spec"]["containers"][0]["env"];
    let named = |name: &str| {
        let mut all = environment.as_array().unwrap().iter();
        all.find(|variable| variable["name"] == name)
    };
    // MariaDB's image prints the one that it makes up.
    assert_eq!(named("MARIADB_RANDOM_ROOT_PASSWORD"), None);
    assert_eq!(named("MARIADB_ROOT_PASSWORD").unwrap()["valueFrom"]["secretKeyRef"]["name"], "database");
    assert_eq!(named("MARIADB_ROOT_HOST").unwrap()["value"], "localhost");
}

#[test]
fn a_namespace_that_is_still_there_is_not_told_to_be_gone() {
    let cluster = ApiServer::start();
    site(&cluster).run("apply").assert_good();
    // One that does not wait, and is content.
    let directory = tempfile::tempdir().unwrap();
    let hasty = directory.path().join("kubectl");
    let script = "#!/bin/sh\nfor word; do\n    shift\n    case $word in --wait=true) word=--wait=false ;; esac\n    \
        set -- \"$@\" \"$word\"\ndone\nexec kubectl \"$@\"\n";
    std::fs::write(&hasty, script).unwrap();
    std::fs::set_permissions(&hasty, PermissionsExt::from_mode(0o755)).unwrap();
    cluster.hold(true);
    let mut removal = removal(&cluster);
    removal.options.extend(["--kubectl".to_owned(), hasty.to_str().unwrap().to_owned()]);
    let failed = removal.run("delete");
    assert!(failed.failure().contains("is still there"), "{failed:#?}");
    cluster.hold(false);
    // One that waits.
    removal.options.truncate(removal.options.len() - 2);
    removal.run("delete").assert_good();
    assert_eq!(cluster.names(), Vec::<String>::new());
}

#[test]
fn what_is_still_being_deleted_is_told_after_a_cancel() {
    let cluster = ApiServer::start();
    let site = site(&cluster);
    site.run("apply").assert_good();
    site.run("cancel").assert_good();
    cluster.change("services", "site", |service| {
        service["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
    });
    let moving = site.run("cancel");
    assert!(moving.failure().contains("goes on deleting Service/site"), "{moving:#?}");
}

#[test]
fn a_plan_is_carried_out_as_it_was_approved_or_not_at_all() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    let hash = |runner: &Runner| runner.run("plan").assert_good().plan().0;
    let first = hash(&site);
    assert_eq!(first, hash(&site));

    // Another image than in the plan.
    site.approved = Some(first.clone());
    site.variables["image"] = json!("registry.example/shop:2");
    let refused = site.run("apply");
    assert!(refused.failure().starts_with("plan_changed: "), "{refused:#?}");
    assert_eq!(cluster.changes(), Vec::<String>::new());

    site.variables["image"] = json!("registry.example/shop:1");
    site.run("apply").assert_good();
    cluster.changes();

    // Somebody changes what the plan is about; what the cluster itself says of its state does not count.
    site.variables["replicas"] = json!(3);
    let second = hash(&site);
    assert_ne!(first, second);
    cluster.change("deployments", "site", |deployment| deployment["status"]["note"] = json!("x"));
    assert_eq!(second, hash(&site));
    cluster.change("deployments", "site", |deployment| deployment["spec"]["paused"] = json!(true));
    site.approved = Some(second);
    assert!(site.run("apply").failure().starts_with("plan_changed: "));
    site.approved = Some(hash(&site));
    assert_eq!(cluster.changes(), Vec::<String>::new());
    site.run("apply").assert_good();

    let mut removal = removal(&cluster);
    removal.approved = Some(hash(&removal));
    cluster.change("services", "site", |service| service["metadata"]["uid"] = json!("of another one"));
    assert!(removal.run("delete").failure().starts_with("plan_changed: "));
    removal.approved = Some(hash(&removal));
    removal.run("delete").assert_good();
}

#[test]
fn what_does_not_come_up_fails_with_the_words_of_its_pods() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    site.variables["image"] = json!("registry.example/broken:1");
    site.settings["timeout_seconds"] = json!(2);
    let failed = site.run("apply");
    let message = failed.failure();
    let reason = "Deployment/site did not come up: pod site-0: CrashLoopBackOff: back-off 10s";
    assert!(message.contains(reason), "{message}");
    for words in ["can't open the database", "the first try failed too", "BackOff: Back-off restarting"] {
        assert!(failed.stdout.contains(words), "{failed:#?}");
    }
    failed.assert_hides(&[SECRET, ENCODED]);
    let moving = site.run("cancel");
    assert!(moving.failure().contains("goes on bringing up Deployment/site"), "{moving:#?}");
}

/// A role of these objects.
fn role_of(objects: &[Value]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let mut names = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        names.push(format!("{number}.json"));
        std::fs::write(files.join(&names[number]), object.to_string()).unwrap();
    }
    std::fs::write(files.join("kustomization.yaml"), json!({"resources": names}).to_string()).unwrap();
    directory
}

fn object(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": {}})
}

fn plain(cluster: &ApiServer, role: &tempfile::TempDir) -> Runner {
    Runner {
        role_directory: role.path().to_owned(),
        settings: json!({"kustomization": "files"}),
        variables: json!({}),
        ..site(cluster)
    }
}

#[test]
fn what_a_role_no_longer_has_is_taken_away_but_volumes_stay() {
    let cluster = ApiServer::start();
    let names = [("Service", "one"), ("Service", "two"), ("PersistentVolumeClaim", "data")];
    let before = role_of(&names.map(|(kind, name)| object("v1", kind, name)));
    let after = role_of(&[object("v1", "Service", "one")]);
    plain(&cluster, &before).run("apply").assert_good();
    // Of another Task, and of nobody.
    let other = role_of(&[object("v1", "Service", "other")]);
    let mut of_other = plain(&cluster, &other);
    of_other.task = "other";
    of_other.run("apply").assert_good();

    let runner = plain(&cluster, &after);
    assert_eq!(runner.run("plan").assert_good().changed(), ["delete Service/two"]);
    runner.run("apply").assert_good();
    let left: Vec<_> = cluster.names().into_iter().filter(|name| !name.starts_with("namespaces/")).collect();
    assert_eq!(left, ["persistentvolumeclaims/data", "services/one", "services/other"]);
}

#[test]
fn what_a_role_may_not_have_is_refused_before_anything_changes() {
    let cluster = ApiServer::start();
    let mut elsewhere = object("v1", "Service", "x");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    let certificate = object("test.example/v1", "Certificate", "x");
    for (object, problem) in [
        (
            object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "x"),
            "kind ClusterRoleBinding.rbac.authorization",
        ),
        (object("v1", "Namespace", "kube-system"), "kind Namespace are not allowed"),
        (elsewhere, "Service/x names a namespace"),
        (certificate.clone(), "`--allow-kind Certificate.test.example`"),
    ] {
        let role = role_of(&[object]);
        let refused = plain(&cluster, &role).run("apply");
        assert!(refused.failure().contains(problem), "{problem}: {}", refused.failure());
    }
    let role = role_of(&[certificate]);
    let mut runner = plain(&cluster, &role);
    for (settings, problem) in [
        (json!({}), "names no `kustomization`"),
        (json!({"kustomization": "../x"}), "no path within the role"),
        (json!({"kustomization": "nothing"}), "has no directory nothing"),
        (json!({"kustomisation": "files"}), "unknown field `kustomisation`"),
        (json!({"kustomization": "files", "record": ["hots"]}), "`record` names the variable hots, which"),
        (
            json!({"kustomization": "files", "record": ["host"], "set": [
                {"object": "Secret/x", "at": "/stringData/host", "value": {"variable": "host"}}]}),
            "goes into a Secret",
        ),
        (
            json!({"kustomization": "files", "set": [
                {"object": "Certificate/x", "at": "/spec/name", "value": {"variable": "hots"}}]}),
            "names the variable hots, which the Task does not get",
        ),
    ] {
        runner.settings = settings;
        let refused = runner.run("apply");
        assert!(refused.failure().contains(problem), "{problem}: {}", refused.failure());
    }
    assert_eq!(cluster.changes(), Vec::<String>::new());
    runner.settings = json!({"kustomization": "files"});
    runner.options.extend(["--allow-kind".to_owned(), "Certificate.test.example".to_owned()]);
    runner.run("apply").assert_good();
    assert!(cluster.object("certificates", "x").is_some());
}

#[test]
fn a_namespace_of_somebody_else_is_left_alone() {
    let cluster = ApiServer::start();
    let site = site(&cluster);
    site.run("apply").assert_good();
    let name =
        cluster.names().into_iter().find_map(|name| name.strip_prefix("namespaces/").map(str::to_owned));
    let name = name.unwrap();
    assert!(name.len() <= 63, "{name}");
    let namespace = cluster.object("namespaces", &name).unwrap();
    // The hash of another target's name could be the same.
    for (place, value) in [("labels", json!({})), ("annotations", json!({"aegir/target-name": "site:other"}))]
    {
        cluster.change("namespaces", &name, |there| {
            *there = namespace.clone();
            there["metadata"][place] = value;
        });
        cluster.changes();
        for (runner, verb) in [(&site, "apply"), (&removal(&cluster), "delete")] {
            let refused = runner.run(verb);
            assert!(refused.failure().contains("is there and is not this target's"), "{refused:#?}");
        }
    }
    assert_eq!(cluster.changes(), Vec::<String>::new());
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let cluster = ApiServer::start();
    let directory = tempfile::tempdir().unwrap();
    let told = |runner: &Runner, words: &[&str]| {
        let failed = runner.run("plan");
        for words in words {
            assert!(failed.failure().contains(words), "{words}: {}", failed.failure());
        }
    };
    let mut site = site(&cluster);
    site.path = Some(directory.path().to_str().unwrap().to_owned());
    told(&site, &["can't find the program \"kubectl\"", "kubernetes-client"]);
    site.path = None;
    site.options = options(&directory.path().join("none"));
    told(&site, &["can't read the kubeconfig", "--kubeconfig in the runner's command"]);
    // Taken and given back, so nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.options = options(&write_kubeconfig(directory.path(), &format!("http://{closed}")));
    told(&site, &["refused", "can it be reached from here?"]);
    site.options.extend(["--context", "nowhere"].map(str::to_owned));
    told(&site, &["nowhere", "Correct the kubeconfig"]);
    std::fs::write(directory.path().join("broken"), "clusters: 1").unwrap();
    site.options = options(&directory.path().join("broken"));
    told(&site, &["Correct the kubeconfig"]);
}
