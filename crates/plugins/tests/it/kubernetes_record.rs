//! What was last sent of a site holds where nothing is sent.

use std::os::unix::fs::PermissionsExt as _;

use aegir_testkit::ApiServer;
use serde_json::json;

use super::SECRET;
use super::kubernetes::{ENCODED, site};

#[test]
fn what_was_last_sent_holds_where_nothing_is_sent() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    site.variables = json!({
        "image": "registry.example/shop:1", "port": 9000, "probe_path": "/up", "replicas": 3, "host": "www.example.test",
        "ingress_class": "public", "settings": {"GREETING": "hello"}, "database_image": "mariadb:10.11",
        "database_size": "20Gi", "database_password": SECRET,
    });
    site.run("apply").assert_good().assert_hides(&[SECRET, ENCODED]);
    let spec = |plural: &str, name: &str| cluster.object(plural, name).unwrap()["spec"].clone();
    let before = [spec("deployments", "site"), spec("statefulsets", "database"), spec("ingresses", "site")];
    cluster.changes();

    // Everything that can be forgotten, with another image.
    site.variables = json!({"image": "registry.example/shop:2", "database_password": SECRET});
    let plan = site.run("plan").assert_good();
    assert_eq!(plan.changed(), ["update Deployment/site"]);
    assert!(
        serde_json::to_string(&plan.lines).unwrap().contains(
            "As last sent: port, probe_path, replicas, host, ingress_class, settings, database_image, database_size"
        ),
        "{plan:#?}"
    );
    assert_eq!(cluster.changes(), Vec::<String>::new());
    site.approved = Some(plan.plan().0);
    site.run("apply").assert_good();
    site.approved = None;
    let mut after =
        [spec("deployments", "site"), spec("statefulsets", "database"), spec("ingresses", "site")];
    assert_eq!(after[0]["template"]["spec"]["containers"][0]["image"].take(), "registry.example/shop:2");
    after[0]["template"]["spec"]["containers"][0]["image"] = json!("registry.example/shop:1");
    assert_eq!(after, before);
    assert_eq!(cluster.object("configmaps", "settings").unwrap()["data"], json!({"GREETING": "hello"}));

    // One is said, two are taken away; the rest holds.
    site.variables["replicas"] = json!(5);
    site.variables["host"] = json!("");
    site.variables["settings"] = json!({});
    site.run("apply").assert_good();
    site.variables = json!({"image": "registry.example/shop:2", "database_password": SECRET});
    assert_eq!(site.run("plan").assert_good().changed(), Vec::<&str>::new());
    assert_eq!(spec("deployments", "site")["replicas"], 5);
    let ingress = spec("ingresses", "site");
    assert_eq!(
        (&ingress["rules"][0]["host"], &ingress["ingressClassName"]),
        (&json!("example.test"), &json!("public"))
    );
    assert_eq!(cluster.object("configmaps", "settings").unwrap()["data"], json!({}));

    // No secret is in the record, and one that somebody has broken is named.
    let record = cluster.names().into_iter().find(|name| name.starts_with("configmaps/aegir-")).unwrap();
    let record = record.strip_prefix("configmaps/").unwrap();
    let text = cluster.object("configmaps", record).unwrap().to_string();
    assert!(!text.contains(SECRET) && !text.contains("password"), "{text}");
    cluster.change("configmaps", record, |record| record["data"]["replicas"] = json!("many"));
    let refused = site.run("plan");
    assert!(refused.failure().contains("Give the variable replicas a value"), "{refused:#?}");
}

#[test]
fn what_the_cluster_refuses_is_not_recorded() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    site.run("apply").assert_good();
    site.variables["replicas"] = json!(7);
    // Applies nothing but the record.
    let directory = tempfile::tempdir().unwrap();
    let refusing = directory.path().join("kubectl");
    let script = "#!/bin/sh\ncase \"$*\" in *--dry-run*) ;; *' apply '*) cat >objects; grep -q Deployment objects && exit 1; \
                  exec kubectl \"$@\" <objects ;; esac\nexec kubectl \"$@\"\n";
    std::fs::write(&refusing, script).unwrap();
    std::fs::set_permissions(&refusing, std::fs::Permissions::from_mode(0o755)).unwrap();
    let good = site.options.clone();
    site.options.extend(["--kubectl".to_owned(), refusing.to_str().unwrap().to_owned()]);
    site.run("apply").failure();
    site.options = good;
    site.variables.as_object_mut().unwrap().remove("replicas");
    assert_eq!(site.run("plan").assert_good().changed(), Vec::<&str>::new());
}

#[test]
fn what_somebody_has_written_into_a_record_is_held_to_the_schemas() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    site.variables["replicas"] = json!(2);
    site.run("apply").assert_good();
    let record = cluster.names().into_iter().find(|name| name.starts_with("configmaps/aegir-")).unwrap();
    let record = record.strip_prefix("configmaps/").unwrap();
    site.declared = json!({
        "replicas": {"type": "integer", "minimum": 1, "maximum": 100, "optional": true, "scope": "site"},
        "host": {"type": "string", "pattern": "^[a-z.]*$", "optional": true, "scope": "site"},
    });
    site.variables = json!({"image": "registry.example/shop:2", "database_password": SECRET});
    for (name, text) in
        [("replicas", "500"), ("replicas", "\"3\""), ("host", "null"), ("host", "\"evil.example; x\"")]
    {
        cluster.change("configmaps", record, |record| record["data"] = json!({name: text}));
        let refused = site.run("plan");
        assert!(refused.failure().contains(&format!("{name} in ConfigMap/")), "{refused:#?}");
        assert!(refused.failure().contains(&format!("Give the variable {name} a value")), "{refused:#?}");
    }
    // Which helps, also where a server says whose each field is.
    let directory = tempfile::tempdir().unwrap();
    let owned = directory.path().join("kubectl");
    let script = "#!/bin/sh\ncase \"$*\" in *' apply '*) ;; *) exec kubectl \"$@\" ;; esac\ncat >objects\n\
                  if grep -q '\"name\":\"aegir-example-' objects; then case \"$*\" in *--force-conflicts*) ;;\n\
                  *) echo 'Apply failed with 1 conflict: conflict with \"kubectl-edit\"' >&2; exit 1 ;; esac; fi\n\
                  exec kubectl \"$@\" <objects\n";
    std::fs::write(&owned, script).unwrap();
    std::fs::set_permissions(&owned, std::fs::Permissions::from_mode(0o755)).unwrap();
    site.options.extend(["--kubectl".to_owned(), owned.to_str().unwrap().to_owned()]);
    site.variables["host"] = json!("www.example.test");
    site.run("plan").assert_good();
    site.run("apply").assert_good();
    let host = cluster.object("configmaps", record).unwrap()["data"]["host"].clone();
    assert_eq!(host, "\"www.example.test\"");
}

#[test]
fn a_secret_is_never_where_others_read_it() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    site.variables["host"] = json!(SECRET);
    site.declared = json!({"host": {"type": "string", "optional": true, "secret": true, "scope": "site"}});
    let refused = site.run("apply");
    assert!(refused.failure().contains("`record` names the variable host, which is secret"), "{refused:#?}");
    site.settings["record"] = json!([]);
    let refused = site.run("apply");
    refused.assert_hides(&[SECRET]);
    assert!(refused.failure().contains("`set` puts the secret host into Ingress/site"), "{refused:#?}");
    assert_eq!(cluster.changes(), Vec::<String>::new());
}

#[test]
fn a_record_that_no_config_map_holds_is_refused_before_anything_changes() {
    let cluster = ApiServer::start();
    let mut site = site(&cluster);
    // Six bytes as JSON, and a backslash more in the list of objects.
    let setting = "\u{1}".repeat(4096);
    let settings = (0..100).map(|number| (format!("S{number}"), json!(setting)));
    site.variables["settings"] = settings.collect();
    for verb in ["plan", "apply"] {
        let refused = site.run(verb);
        assert!(refused.failure().contains("give the variable settings a shorter value"), "{refused:#?}");
    }
    assert_eq!(cluster.changes(), Vec::<String>::new());
}
