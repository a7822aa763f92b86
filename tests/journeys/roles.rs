//! A role's way from its author into the catalog.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use aegir_testkit::Cluster;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::world::World;

/// Longer than dispatcherd lets a change wait.
const SOON: Duration = Duration::from_secs(60);

async fn output(mut command: Command) -> Result<Output> {
    Ok(spawn_blocking(move || command.output()).await??)
}

/// Waits until the catalog tells of a role: that it can be used, or why not.
async fn told(world: &World, role: &str) -> Result<Value> {
    let look = async {
        loop {
            let list = world.client.get("/api/v1/catalog").await?.json::<Value>()?;
            let catalog = &list["catalogs"][0];
            if let Some(found) =
                [&catalog["roles"][role], &catalog["left_out"][role]].into_iter().find(|told| !told.is_null())
            {
                return anyhow::Ok(found.clone());
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, look).await.with_context(|| format!("the catalog does not tell of {role}"))?
}

async fn with_roles() -> Result<(World, tempfile::TempDir)> {
    let directory = tempfile::tempdir()?;
    let roles = directory.path().to_owned();
    let world =
        World::of(Cluster::builder().dispatcherd(move |dispatcherd| dispatcherd.roles(&roles))).await?;
    Ok((world, directory))
}

#[tokio::test]
async fn a_new_role_checks_is_tested_and_deploys() -> Result<()> {
    let (world, directory) = with_roles().await?;
    let place = directory.path().to_str().context("no UTF-8")?;
    let made = output(world.cluster.aegir(&["role", "new", "my_shop", "--directory", place])?).await?;
    ensure!(made.status.success(), "{made:?}");
    let role = directory.path().join("my_shop");
    let checked = output(world.cluster.aegir(&["role", "check", &role.to_string_lossy()])?).await?;
    ensure!(checked.status.success() && checked.stdout.ends_with(b": good\n"), "{checked:?}");
    let mut tests = Command::new(role.join("tests/run"));
    tests.env("AEGIR_ANSIBLE", Path::new(env!("CARGO_MANIFEST_DIR")).join("../dispatcherd/ansible"));
    let tested = output(tests).await?;
    ensure!(tested.status.success(), "{tested:?}");

    ensure!(told(&world, "my_shop").await?["manifest"]["title"] == "My shop");
    let root = world.directory().join("shops");
    let request = |operation: &str| {
        json!({
            "name": format!("my_shop.{operation}"),
            "target": {"kind": "site", "name": "shop.test"},
            "hosts": [world.cluster.host()],
            "variables": {"site": {"root": root, "greeting": "{{ Hello }}"}},
        })
    };
    world.client.succeeds(&request("deploy")).await?;
    let page = root.join("shop.test/index.html");
    ensure!(std::fs::read_to_string(&page)?.contains("<p>{{ Hello }}"));
    let documents = world.client.get("/api/v1/targets/site/shop.test/documents").await?.json::<Value>()?;
    ensure!(documents["documents"][0]["value"]["path"] == json!(page), "{documents:#}");
    world.client.succeeds(&request("delete")).await?;
    ensure!(!root.join("shop.test").exists());
    world.stop().await
}

#[tokio::test]
async fn a_role_that_does_not_check_is_left_out_with_its_reason() -> Result<()> {
    let (world, directory) = with_roles().await?;
    let role = aegir_role(directory.path(), "odd", "- ansible.builtin.debug: {msg: '{{ odd_wrod }}'}\n")?;
    let checked = output(world.cluster.aegir(&["role", "check", &role.to_string_lossy()])?).await?;
    let said = String::from_utf8(checked.stdout)?;
    ensure!(checked.status.code() == Some(1), "{said}");
    let why = "tasks/say.yml: task say uses odd_wrod, and no variable wrod is declared";
    ensure!(said.contains(why) && told(&world, "odd").await? == json!([why]), "{said}");
    // ansible-lint has something to say as well, which keeps no role out of the catalog.
    ensure!(said.contains("tasks/say.yml:1: name[missing]"), "{said}");
    // It is picked up when it is corrected.
    aegir_role(directory.path(), "odd", "- ansible.builtin.debug: {msg: '{{ odd_word }}'}\n")?;
    let look = async {
        while told(&world, "odd").await?["manifest"].is_null() {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(SOON, look).await.context("it is not picked up")??;
    world.stop().await
}

/// A role with one operation, `say`, and one variable, `word`.
fn aegir_role(directory: &Path, name: &str, tasks: &str) -> Result<PathBuf> {
    let role = directory.join(name);
    let manifest = json!({
        "schema": "aegir.role/0", "title": "Say", "targets": ["site"],
        "operations": {"say": {"title": "Say it", "tasks": ["say"]}},
        "tasks": {"say": {"variables": ["word"]}},
        "variables": {"word": {"type": "string", "scope": "site"}},
    });
    for (file, text) in [("meta/aegir.yml", manifest.to_string()), ("tasks/say.yml", tasks.to_owned())] {
        let path = role.join(file);
        std::fs::create_dir_all(path.parent().context("no directory")?)?;
        std::fs::write(path, text)?;
    }
    Ok(role)
}

#[tokio::test]
async fn a_role_of_a_collection_runs_with_the_modules_of_its_collection() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let collection = directory.path().join("ansible_collections/our/apps");
    aegir_role(&collection.join("roles"), "speech", "- our.apps.say: {word: '{{ speech_word }}'}\n")?;
    std::fs::create_dir_all(collection.join("plugins/modules"))?;
    let module = "from ansible.module_utils.basic import AnsibleModule\n\
                  module = AnsibleModule(argument_spec={'word': {'type': 'str'}})\n\
                  module.exit_json(msg='it says ' + module.params['word'])\n";
    std::fs::write(collection.join("plugins/modules/say.py"), module)?;
    let setting = format!("collections = [{:?}]", directory.path());
    let world =
        World::of(Cluster::builder().dispatcherd(move |dispatcherd| dispatcherd.setting(&setting))).await?;
    ensure!(told(&world, "speech").await?["collection"] == "our.apps");
    let request = json!({
        "name": "speech.say",
        "target": {"kind": "site", "name": "speech.test"},
        "hosts": [world.cluster.host()],
        "variables": {"site": {"word": "hello"}},
    });
    let id = world.client.succeeds(&request).await?;
    let text = world.client.text(&id).await?;
    ensure!(text.contains("it says hello"), "{text}");
    world.stop().await
}
