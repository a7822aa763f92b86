use super::*;
use aegir_protocol::name::TargetId;
use serde_json::json;

fn catalog() -> Catalog {
    let manifest = json!({
        "schema": "aegir.role/0", "title": "Example", "targets": ["site"],
        "operations": { "print": { "title": "Print", "tasks": ["say"] }, "place": { "title": "Place", "tasks": ["place"] } },
        "tasks": { "place": { "variables": ["rack"] }, "say": { "shell": { "argv": ["/bin/echo", {"variable": "text"}], "where": "dispatcher" },
                            "variables": ["text", "password"] } },
        "variables": {
            "text": { "type": "string", "scope": "site" },
            "password": { "type": "string", "scope": "site", "secret": true, "optional": true },
            "rack": { "type": "integer", "scope": "hosts" },
        },
    });
    let role =
        Role { digest: String::new(), collection: None, manifest: serde_json::from_value(manifest).unwrap() };
    assert_eq!(role.manifest.check(), Vec::<String>::new());
    Catalog {
        backend: "b".parse().unwrap(),
        node: "n".parse().unwrap(),
        recipient: String::new(),
        digest: String::new(),
        roles: BTreeMap::from([("example".parse().unwrap(), role)]),
        left_out: BTreeMap::new(),
    }
}

fn problems(name: &str, kind: &str, variables: Value) -> Vec<(String, String)> {
    let (name, kind) = (name.parse().unwrap(), kind.parse().unwrap());
    let variables: Variables = serde_json::from_value(variables).unwrap();
    let subject = Subject { name: &name, target: &kind, hosts: &[], variables: &variables, priority: 0 };
    catalog().check(&subject).into_iter().map(|problem| (problem.pointer, problem.code)).collect()
}

#[track_caller]
fn check(name: &str, kind: &str, variables: Value, expect: &[(&str, Code)]) {
    let expect: Vec<_> =
        expect.iter().map(|(pointer, code)| ((*pointer).to_owned(), code.as_str().to_owned())).collect();
    assert_eq!(problems(name, kind, variables), expect);
}

#[test]
fn what_fits_has_no_problems() {
    check("example.print", "site", json!({"site": {"text": "x", "password": {"sealed": "…"}}}), &[]);
    check("example.print", "site", json!({"operation": {"text": "{{ lookup('pipe','id') }}"}}), &[]);
}

#[test]
fn each_fault_is_pointed_at() {
    let text = json!({"site": {"text": "x"}});
    check("other.print", "site", text.clone(), &[("/name", Code::UnknownRole)]);
    check("example.other", "site", text.clone(), &[("/name", Code::UnknownOperation)]);
    check("example.print", "host", text, &[("/target/kind", Code::TargetKind)]);
    check("example.print", "site", json!({}), &[("/variables/site/text", Code::VariableMissing)]);
    check(
        "example.print",
        "site",
        json!({"site": {"text": 1}}),
        &[("/variables/site/text", Code::VariableInvalid)],
    );
    check(
        "example.print",
        "site",
        json!({"site": {"text": "x", "a/b": 1}}),
        &[("/variables/site/a~1b", Code::VariableUndeclared)],
    );
    check(
        "example.print",
        "site",
        json!({"site": {"text": "x", "password": "plain"}}),
        &[("/variables/site/password", Code::SecretInvalid)],
    );
    check(
        "example.print",
        "site",
        json!({"site": {"text": "x", "ansible_connection": "local"}}),
        &[("/variables/site/ansible_connection", Code::VariableReserved)],
    );
    check(
        "example.print",
        "site",
        json!({"site": {"text": "x", "password": {"a": {"__ansible_unsafe": "x"}}}}),
        &[("/variables/site/password", Code::VariableReserved)],
    );
}

#[test]
fn each_host_has_its_own() {
    let (catalog, name, kind) = (catalog(), "example.place".parse().unwrap(), "site".parse().unwrap());
    let hosts: Vec<Host> = ["web1", "web2"].map(|host| Host::named(host.parse().unwrap())).into();
    let check = |variables: Value| {
        let variables: Variables = serde_json::from_value(variables).unwrap();
        let subject =
            Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
        let problems: Vec<_> =
            catalog.check(&subject).into_iter().map(|problem| (problem.pointer, problem.code)).collect();
        let role = &catalog.roles[&name.role];
        let racks = hosts.iter().map(|host| {
            let resolved = role.resolve_for(&"place".parse().unwrap(), &host.name, &variables);
            resolved.into_values().map(|resolved| (resolved.value, resolved.from)).next()
        });
        (problems, racks.collect::<Vec<_>>())
    };
    let at = |rack: u32, from: &str| Some((json!(rack), from.to_owned()));
    let (problems, racks) = check(json!({"hosts.web1": {"rack": 1}, "hosts.web2": {"rack": 2}}));
    assert_eq!((problems, racks), (Vec::new(), vec![at(1, "hosts.web1"), at(2, "hosts.web2")]));
    let (problems, racks) = check(json!({"hosts.web1": {"rack": 1}, "operation": {"rack": 3}}));
    assert_eq!((problems, racks), (Vec::new(), vec![at(3, "operation"), at(3, "operation")]));
    let missing = ("/variables/hosts.web2/rack".to_owned(), "variable_missing".to_owned());
    assert_eq!(check(json!({"hosts.web1": {"rack": 1}})).0, [missing]);
    let other = ("/variables/hosts.web3/rack".to_owned(), "variable_undeclared".to_owned());
    assert_eq!(check(json!({"hosts.web3": {"rack": 1}})).0[0], other);
    assert_eq!(check(json!({"hosts": {"rack": 1}})).0[0].1, "variable_undeclared");
}

#[test]
fn the_most_specific_scope_wins() {
    let of = |scope: &str| json!({ "type": "string", "scope": scope, "default": "x" });
    let catalog = catalog_of(json!({
        "schema": "aegir.role/0", "title": "R", "targets": ["site"],
        "operations": { "o": { "title": "O", "tasks": ["t"] } },
        "tasks": { "t": { "variables": ["a", "b", "c", "d", "e", "f"] } },
        "variables": {
            "a": of("platform"), "b": of("services.nginx"), "c": of("bundle"), "d": of("site"), "e": of("site"), "f": of("site"),
        },
    }));
    let variables: Variables = serde_json::from_value(json!({
        "platform": {"a": ""}, "services.nginx": {"b": ""}, "bundle": {}, "site": {"d": "", "e": "", "f": ""},
        "operation": {"e": "", "f": ""}, "tasks.t": {"f": ""},
    }))
    .unwrap();
    let (name, kind) = ("r.o".parse().unwrap(), "site".parse().unwrap());
    let subject = Subject { name: &name, target: &kind, hosts: &[], variables: &variables, priority: 0 };
    // The Task is for hosts, and there are none.
    assert_eq!(catalog.check(&subject).len(), 1);
    let resolved = catalog.roles[&name.role].resolve(&"t".parse().unwrap(), &variables);
    let from: Vec<_> = resolved.values().map(|resolved| resolved.from.as_str()).collect();
    assert_eq!(from, ["platform", "services.nginx", "default", "site", "operation", "tasks.t"]);
}

/// A catalog of one role, `r`.
fn catalog_of(manifest: Value) -> Catalog {
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    assert_eq!(manifest.check(), Vec::<String>::new());
    let role = Role { digest: String::new(), collection: None, manifest };
    Catalog { roles: BTreeMap::from([("r".parse().unwrap(), role)]), ..catalog() }
}

/// What an application does with sites and platforms.
fn locking() -> Catalog {
    let platform = json!({"kind": "platform", "variable": "platform", "mode": "shared"});
    catalog_of(json!({
        "schema": "aegir.role/0", "title": "T", "targets": ["site", "platform"],
        "operations": {
            "deploy": {"title": "Deploy", "tasks": ["deploy"], "locks": [platform]},
            "clone": {"title": "Clone", "tasks": ["look", "clone", "again"],
                      "locks": [{"kind": "site", "variable": "from", "mode": "exclusive"}, platform]},
            "delete": {"title": "Delete", "tasks": ["look"]},
        },
        "tasks": {"look": {}, "deploy": {"variables": ["platform"]}, "again": {"variables": ["from"]},
                  "clone": {"variables": ["from", "platform"]}},
        "variables": {"platform": {"type": "string", "scope": "site"}, "from": {"type": "string", "scope": "site"}},
    }))
}

#[test]
fn an_operation_locks_what_its_manifest_names() {
    let catalog = locking();
    let check = |action: &str, target: (&str, &str), variables: Value, expect: &[&str]| {
        let name: OperationName = format!("r.{action}").parse().unwrap();
        let (role, operation) = catalog.find(&name).unwrap();
        let variables: Variables = serde_json::from_value(variables).unwrap();
        let (kind, id): (Kind, TargetId) = (target.0.parse().unwrap(), target.1.parse().unwrap());
        let hosts = [Host::named("web1".parse().unwrap())];
        let subject =
            Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
        assert_eq!(catalog.check(&subject), []);
        let target = Target { name: target.1.parse().unwrap(), kind, id };
        let locks = role.locks(operation, &target, &hosts, &variables, &[]);
        let locks = locks.iter().map(|lock| {
            let mode = if lock.mode == LockMode::Exclusive { "exclusive" } else { "shared" };
            format!("{} {} {mode}", lock.kind, lock.id)
        });
        assert_eq!(locks.collect::<Vec<_>>(), expect, "{action}");
    };
    let of = |values: Value| json!({ "site": values });
    let host = "host web1 shared";
    let platform = "platform p1 shared";
    check("deploy", ("site", "s1"), of(json!({"platform": "p1"})), &[host, platform, "site s1 exclusive"]);
    check("delete", ("platform", "p1"), json!({}), &[host, "platform p1 exclusive"]);
    let both = of(json!({"platform": "p1", "from": "s2"}));
    check("clone", ("site", "s1"), both, &[host, platform, "site s1 exclusive", "site s2 exclusive"]);
    let itself = of(json!({"platform": "p1", "from": "s1"}));
    check("clone", ("site", "s1"), itself, &[host, platform, "site s1 exclusive"]);
    let apart = json!({"site": {"platform": "p1", "from": "s2"}, "tasks.again": {"from": "s3"}});
    let all = [host, platform, "site s1 exclusive", "site s2 exclusive", "site s3 exclusive"];
    check("clone", ("site", "s1"), apart, &all);
}

#[test]
fn what_names_nothing_to_lock_is_refused() {
    let (catalog, kind) = (locking(), "site".parse().unwrap());
    let hosts = [Host::named("web1".parse().unwrap())];
    let name = "r.deploy".parse().unwrap();
    let check = |variables: Value, pointer: &str| {
        let variables: Variables = serde_json::from_value(variables).unwrap();
        let subject =
            Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
        let problems = catalog.check(&subject);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].pointer.as_str(), problems[0].code.as_str()), (pointer, "variable_invalid"));
    };
    check(json!({"site": {"platform": "a platform"}}), "/variables/site/platform");
    check(json!({"site": {"platform": "../p1"}}), "/variables/site/platform");
    check(json!({"operation": {"platform": {"sealed": "…"}}}), "/variables/operation/platform");
    check(json!({"site": {"platform": 1}}), "/variables/site/platform");
}

#[test]
fn a_task_is_for_the_hosts_that_offer_its_service() {
    let catalog = catalog_of(json!({
        "schema": "aegir.role/0", "title": "T", "targets": ["site"],
        "operations": {"all": {"title": "All", "tasks": ["web"]}, "beside": {"title": "Beside", "tasks": ["beside", "cloud"]}},
        "tasks": {
            "any": {}, "web": {"service": ["nginx", "apache"]}, "database": {"service": "mariadb"},
            "beside": {"shell": {"argv": ["/bin/true"], "where": "dispatcher"}},
            "cloud": {"plugin": {"runner": "note"}},
            "near": {"plugin": {"runner": "note"}, "service": "mariadb"},
        },
    }));
    let role = &catalog.roles[&"r".parse().unwrap()];
    let host = |(name, services): (&str, &[&str])| Host {
        services: services.iter().map(|name| (name.parse().unwrap(), BTreeMap::new())).collect(),
        ..Host::named(name.parse().unwrap())
    };
    let check = |task: &str, hosts: &[(&str, &[&str])], expect: Result<&[&str], &str>| {
        let hosts: Vec<_> = hosts.iter().copied().map(host).collect();
        let task = task.parse().unwrap();
        let of: Vec<_> = role.hosts_of(&task, &hosts).iter().map(|host| host.name.as_str()).collect();
        let problem = role.check_hosts_of(&task, &hosts);
        match (expect, problem) {
            (Ok(expect), None) => assert_eq!(of, expect, "{task}"),
            (Err(part), Some(problem)) => {
                assert_eq!((problem.pointer.as_str(), problem.code.as_str()), ("/hosts", "no_host_for_task"));
                assert!(problem.message.contains(part), "{}", problem.message);
            }
            (expect, problem) => panic!("{task}: {problem:?}, not {expect:?}"),
        }
    };
    let (web1, web2): ((_, &[_]), (_, &[_])) =
        (("web1", &["nginx", "php-fpm"]), ("web2", &["apache", "ssh"]));
    let (db, bare): ((_, &[_]), (_, &[_])) = (("db", &["mariadb"]), ("bare", &[]));
    check("any", &[web1, db, bare], Ok(&["web1", "db", "bare"]));
    check("any", &[], Err("needs at least one host"));
    check("web", &[web1, db, web2, bare], Ok(&["web1", "web2"]));
    check("web", &[db, bare], Err("the service nginx or apache"));
    check("database", &[web1, db], Ok(&["db"]));
    check("database", &[web1], Err("the service mariadb"));
    check("near", &[], Err("the service mariadb"));
    check("near", &[web1, db], Ok(&["db"]));
    for task in ["beside", "cloud"] {
        check(task, &[], Ok(&[]));
    }
    // One is written as it was, for those who read catalogs and know no lists.
    assert_eq!(json!(role.manifest.tasks[&"database".parse().unwrap()])["service"], "mariadb");
    assert_eq!(json!(role.manifest.tasks[&"web".parse().unwrap()])["service"], json!(["nginx", "apache"]));
    for wrong in [json!([]), json!(3), json!(["-x"])] {
        assert!(serde_json::from_value::<crate::manifest::Services>(wrong).is_err());
    }
}

#[test]
fn each_fault_within_a_value_is_pointed_at() {
    let catalog = catalog_of(json!({
        "schema": "aegir.role/0", "title": "T", "targets": ["site"],
        "operations": {"run": {"title": "Run", "tasks": ["run"]}},
        "tasks": {"run": {"variables": ["pool", "names"]}},
        "variables": {
            "pool": {"type": "object", "scope": "site", "required": ["size"], "additionalProperties": false,
                     "properties": {"size": {"type": "integer", "minimum": 1}, "a/b": {"type": "string"}}},
            "names": {"type": "array", "items": {"type": "string"}, "scope": "site", "default": []},
        },
    }));
    let (name, kind) = ("r.run".parse().unwrap(), "site".parse().unwrap());
    let hosts = [Host::named("web1".parse().unwrap())];
    let check = |variables: Value, expect: &[(&str, &str)]| {
        let variables: Variables = serde_json::from_value(variables).unwrap();
        let subject =
            Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
        let problems = catalog.check(&subject);
        assert_eq!(problems.len(), expect.len(), "{problems:?}");
        for (pointer, part) in expect {
            let found = problems.iter().any(|problem| {
                problem.pointer == *pointer
                    && problem.code == "variable_invalid"
                    && problem.message.contains(part)
            });
            assert!(found, "{pointer}: {part} is not in {problems:?}");
        }
    };
    check(json!({"site": {"pool": {"size": 3}}}), &[]);
    check(
        json!({"site": {"pool": {"size": 0, "a/b": 1}, "names": ["x", 2, 3]}}),
        &[
            ("/variables/site/pool/size", "less than the minimum of 1"),
            ("/variables/site/pool/a~1b", "not of type \"string\""),
            ("/variables/site/names/1", "not of type \"string\""),
            ("/variables/site/names/2", "not of type \"string\""),
        ],
    );
    let pool = "/variables/site/pool";
    check(
        json!({"site": {"pool": {"sise": 1}}}),
        &[(pool, "\"size\" is a required"), (pool, "'sise' was unexpected")],
    );
}

#[test]
fn what_is_meant_for_this_operation_and_taken_by_nothing_is_refused() {
    let text = |scope: &str| json!({"site": {"text": "x"}, scope: {"rack": 1}});
    let undeclared = |pointer| [(pointer, Code::VariableUndeclared)];
    // Frontends send whole entities, whatever an operation takes of them.
    let whole = json!({"site": {"text": "x"}});
    assert_eq!(problems("example.place", "site", whole), problems("example.place", "site", json!({})));
    check("example.print", "site", text("operation"), &undeclared("/variables/operation/rack"));
    check("example.print", "site", text("tasks.place"), &undeclared("/variables/tasks.place/rack"));
    check("example.print", "site", text("tasks.say"), &undeclared("/variables/tasks.say/rack"));
    check("example.print", "site", text("tasks.none"), &undeclared("/variables/tasks.none/rack"));
    check("example.print", "site", json!({"tasks.say": {"text": "x"}, "operation": {"text": "y"}}), &[]);
}
