//! Operations of the plug-in runners for Kubernetes and OpenTofu, all the way: planned, approved, carried out, called off and
//! taken away again.
//!
//! kubectl is the real one, which also renders the objects; it speaks to a stand-in for the API server
//! (`aegir_testkit::kubernetes`), which is no cluster. Which OpenTofu a test has stands in its name
//! (`aegir_testkit::opentofu`).

use std::path::{Path, PathBuf};

use aegir_protocol::state::State;
use aegir_testkit::daemon::binary;
use aegir_testkit::opentofu::{real, recorded, role};
use aegir_testkit::{ApiServer, Cluster};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::secrets;
use crate::world::World;

/// Must be seen nowhere, nor as a Secret of Kubernetes holds it.
const SECRET: &str = "hunter22-and-more";
const ENCODED: &str = "aHVudGVyMjItYW5kLW1vcmU=";

/// Carries a plan out.
async fn approved(world: &World, id: &str) -> Result<()> {
    let said = world.aegir(&["approve", id, "--yes", "--follow"]).await?;
    ensure!(said.contains("\nSucceeded after "), "{said}");
    Ok(())
}

/// Tries to carry a plan out that is none any more: it fails, and waits for somebody to plan again.
async fn is_refused(world: &World, plan: &str) -> Result<()> {
    let id = world.aegir(&["approve", plan, "--yes"]).await?;
    let ended = world.client.ended(id.trim()).await?;
    let code = ended.summary.reason.map(|reason| reason.code).unwrap_or_default();
    ensure!(
        (ended.summary.state, code.as_str(), ended.attempts.len()) == (State::Failed, "plan_changed", 1),
        "{code}, {:?}",
        ended.attempts
    );
    Ok(())
}

/// What the transcript says of the last Task: what is left elsewhere.
async fn left_elsewhere(world: &World, id: &str) -> Result<Value> {
    let text = world.client.text(id).await?;
    let records = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let mut finished = records.into_iter().filter(|record| record["kind"] == "task_finished");
    Ok(finished.next_back().context("no Task has ended")?["body"]["remote"].clone())
}

async fn until_it_says(world: &World, id: &str, words: &str) -> Result<()> {
    world.client.until(id, |detail| detail.summary.state == State::Running).await?;
    let looks = async {
        while !world.client.text(id).await?.contains(words) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), looks)
        .await
        .with_context(|| format!("it does not say {words:?}"))?
}

async fn canceled(world: &World, id: &str) -> Result<()> {
    world.aegir(&["cancel", id]).await?;
    let ended = world.client.ended(id).await?;
    ensure!(ended.summary.state == State::Canceled, "{:?}", ended.summary);
    world.copies_are_equal(id).await
}

/// The role `k8s_site`, and what it needs.
struct Kubernetes {
    server: ApiServer,
    world: World,
    /// What the command line reads: the password, and values.
    place: TempDir,
}

impl Kubernetes {
    async fn start() -> Result<Self> {
        let (server, place) = (ApiServer::start(), tempfile::tempdir()?);
        std::fs::write(place.path().join("password"), SECRET)?;
        let values = json!({"site": {"settings": {"GREETING": "{{ 1 + 1 }}"}}});
        std::fs::write(place.path().join("values.json"), values.to_string())?;
        let command = [
            &binary("aegir-runner")?,
            Path::new("kubernetes"),
            Path::new("--kubeconfig"),
            &server.kubeconfig(),
        ]
        .map(|word| word.to_owned());
        let section = format!("[runners.kubernetes]\ncommand = {command:?}");
        let builder = Cluster::builder().dispatcherd(move |dispatcherd| dispatcherd.section(&section));
        Ok(Self { server, world: World::of(builder).await?, place })
    }

    /// What the command line says to a request for the site.
    async fn run(&self, operation: &str, more: &[&str]) -> Result<String> {
        let name = format!("k8s_site.{operation}");
        let words = ["run", &name, "--target", "site:shop.example", "--yes"];
        self.world.aegir(&[&words, more].concat()).await
    }

    /// Asks for a deploy of this image, and gives the Operation's id.
    async fn deploy(&self, image: &str, more: &[&str]) -> Result<String> {
        let image = format!("image=registry.example/{image}");
        let password = format!("database_password=@{}", self.place.path().join("password").display());
        let values = self.place.path().join("values.json").display().to_string();
        let words = ["--var", &image, "--secret", &password, "--vars-file", &values];
        Ok(self.run("deploy", &[&words, more].concat()).await?.trim().to_owned())
    }

    /// The same to a successful end.
    async fn succeeds(&self, id: &str) -> Result<()> {
        let ended = self.world.client.ended(id).await?;
        ensure!(
            ended.summary.state == State::Succeeded,
            "{:?}\n{}",
            ended.summary,
            self.world.client.text(id).await?
        );
        self.world.copies_are_equal(id).await
    }

    /// Plans, and gives the dry run's id and what its log says.
    async fn plan(&self, id: String) -> Result<(String, String)> {
        self.succeeds(&id).await?;
        let log = self.world.aegir(&["log", &id]).await?;
        ensure!(log.contains(&format!("`aegir approve {id}`")), "{log}");
        Ok((id, log))
    }
}

#[tokio::test]
async fn a_site_on_kubernetes_goes_from_its_plan_to_its_end() -> Result<()> {
    let site = Kubernetes::start().await?;
    // Whoever may use it is told what it is worth.
    let catalog = site.world.aegir(&["catalog", "k8s_site"]).await?;
    let told = |text: &str| {
        text.split_whitespace().collect::<Vec<_>>().join(" ").contains("Not verified against a cluster")
    };
    let howto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto/use-kubernetes.md");
    ensure!(told(&catalog) && told(&std::fs::read_to_string(howto)?), "{catalog}");

    let (plan, log) = site.plan(site.deploy("shop:1", &["--plan"]).await?).await?;
    for part in
        ["create Namespace/", "create Deployment/site", "create StatefulSet/database", "host: shop.example"]
    {
        ensure!(log.contains(part), "{part:?} is not in {log}");
    }
    ensure!(site.server.names().is_empty() && site.server.changes().is_empty(), "{:?}", site.server.names());
    approved(&site.world, &plan).await?;
    let object = |plural: &str, name: &str| {
        site.server.object(plural, name).with_context(|| format!("no {plural}/{name}"))
    };
    ensure!(object("deployments", "site")?["status"]["availableReplicas"] == 1);
    ensure!(object("configmaps", "settings")?["data"]["GREETING"] == "{{ 1 + 1 }}", "a value is data");
    ensure!(object("secrets", "database")?["data"]["password"] == ENCODED);
    object("persistentvolumeclaims", "data-database-0")?;

    let logs = site.run("logs", &["--follow"]).await?;
    ensure!(logs.contains("[pod/site-0/site] site is up") && logs.contains("database is up"), "{logs}");

    // Nothing is to be done; then somebody has changed something by hand between the plan and its approval.
    let (_, log) = site.plan(site.deploy("shop:1", &["--plan"]).await?).await?;
    ensure!(!log.contains("update "), "{log}");
    let (plan, log) = site.plan(site.deploy("shop:2", &["--plan"]).await?).await?;
    ensure!(log.contains("update Deployment/site") && !log.contains("update Secret/"), "{log}");
    site.server.change("deployments", "site", |deployment| deployment["spec"]["paused"] = json!(true));
    site.server.changes();
    is_refused(&site.world, &plan).await?;
    ensure!(site.server.changes().is_empty());

    // With its database.
    let (plan, log) = site.plan(site.run("delete", &["--plan"]).await?.trim().to_owned()).await?;
    ensure!(log.contains("delete PersistentVolumeClaim/data-database-0"), "{log}");
    ensure!(site.server.object("deployments", "site").is_some());
    approved(&site.world, &plan).await?;
    ensure!(site.server.names().is_empty(), "{:?}", site.server.names());
    site.run("delete", &["--follow"]).await?;

    for secret in [SECRET, ENCODED] {
        let leaks = secrets::contains(site.world.directory(), secret.as_bytes())?;
        ensure!(leaks.is_empty(), "in the clear: {leaks:?}");
    }
    site.world.stop().await
}

#[tokio::test]
async fn a_site_on_kubernetes_that_does_not_come_up_is_canceled_and_mended() -> Result<()> {
    let site = Kubernetes::start().await?;
    let id = site.deploy("broken:1", &[]).await?;
    until_it_says(&site.world, &id, "Wait for Deployment/site").await?;
    canceled(&site.world, &id).await?;
    // kubectl is gone, and the cluster goes on trying.
    ensure!(left_elsewhere(&site.world, &id).await? == "unknown");
    let said = site.world.client.output(&id, 1, "stderr").await?;
    let said = String::from_utf8(said)?;
    ensure!(said.contains("the cluster goes on bringing up Deployment/site"), "{said}");

    let id = site.deploy("shop:1", &[]).await?;
    site.succeeds(&id).await?;
    site.run("delete", &["--follow"]).await?;
    ensure!(site.server.names().is_empty(), "{:?}", site.server.names());
    site.world.stop().await
}

/// A role with a configuration, and the states of its targets.
struct Infra {
    world: World,
    states: TempDir,
    _roles: TempDir,
}

impl Infra {
    async fn start(program: &str) -> Result<Self> {
        let (roles, states) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let place = roles.path().join("infra");
        for directory in ["meta", "files/infra"] {
            std::fs::create_dir_all(place.join(directory))?;
        }
        let configuration = "files/infra/main.tf";
        std::fs::copy(role().join(configuration), place.join(configuration))?;
        let with = json!({"directory": "files/infra", "variables": {"name": {"target": "name"}}});
        let mut making = with.clone();
        making["outputs"] = json!(["address"]);
        making["secret_outputs"] = json!(["password"]);
        let variables = ["greeting", "password", "seconds"];
        let manifest = json!({
            "schema": "aegir.role/0", "title": "Infrastructure", "targets": ["site"],
            "operations": {
                "deploy": {"title": "Deploy", "tasks": ["infra", "tell"], "retry": "safe",
                           "retries": {"attempts": 3, "backoff_seconds": 1}},
                "remove": {"title": "Remove", "tasks": ["remove"], "retry": "safe"},
            },
            "tasks": {
                "infra": {"plugin": {"runner": "opentofu", "with": making}, "variables": variables,
                    "outputs": {"address": {"type": "string"}, "password": {"type": "string", "secret": true}}},
                "tell": {"shell": {"argv": ["/bin/echo", "it is", {"output": "infra.address"}], "where": "dispatcher"}},
                "remove": {"plugin": {"runner": "opentofu", "verb": "delete", "with": with}, "variables": variables},
            },
            "variables": {
                "greeting": {"type": "string", "scope": "site"},
                "password": {"type": "string", "scope": "site", "secret": true},
                "seconds": {"type": "integer", "scope": "site", "default": 0},
            },
        });
        std::fs::write(place.join("meta/aegir.yml"), manifest.to_string())?;
        let command = [
            &binary("aegir-runner")?,
            Path::new("opentofu"),
            Path::new("--program"),
            Path::new(program),
            Path::new("--state-directory"),
            states.path(),
        ]
        .map(Path::to_owned);
        let section = format!("[runners.opentofu]\ncommand = {command:?}\ngrace_seconds = 40");
        let directory = roles.path().to_owned();
        let builder = Cluster::builder()
            .dispatcherd(move |dispatcherd| dispatcherd.roles(&directory).section(&section));
        Ok(Self { world: World::of(builder).await?, states, _roles: roles })
    }

    fn request(&self, operation: &str, greeting: &str) -> Value {
        json!({
            "name": format!("infra.{operation}"),
            "target": {"kind": "site", "name": "example.test"},
            "variables": {"site": {"greeting": greeting, "password": {"secret": SECRET}}},
        })
    }

    /// Plans, and gives the dry run's id and what its log says.
    async fn plan(&self, operation: &str, greeting: &str) -> Result<(String, String)> {
        let mut request = self.request(operation, greeting);
        request["dry_run"] = json!(true);
        let id = self.world.client.succeeds(&request).await?;
        let log = self.world.aegir(&["log", &id]).await?;
        Ok((id, log))
    }

    /// The files below the directory of states.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let (mut found, mut open) = (Vec::new(), vec![self.states.path().to_owned()]);
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        Ok(found)
    }

    /// The one file there is.
    fn file(&self) -> Result<PathBuf> {
        match self.files()?.as_slice() {
            [one] => Ok(one.clone()),
            others => bail!("{others:?}"),
        }
    }
}

async fn a_configuration_goes_from_its_plan_to_its_end(program: &str) -> Result<()> {
    let infra = Infra::start(program).await?;
    let world = &infra.world;
    let (plan, log) = infra.plan("deploy", "hello").await?;
    for part in ["create terraform_data.site", "greeting: hello", "Would run"] {
        ensure!(log.contains(part), "{part:?} is not in {log}");
    }
    ensure!(infra.files()?.is_empty(), "{:?}", infra.files());
    approved(world, &plan).await?;
    infra.file()?;
    let address = world.aegir(&["documents", "site:example.test", "address"]).await?;
    ensure!(address.trim() == r#""https://example.test/""#, "{address}");
    let deployed = world.client.operation(&plan).await?;
    ensure!(deployed.summary.state == State::Succeeded);

    let (_, log) = infra.plan("deploy", "hello").await?;
    ensure!(log.contains("All resources are as the configuration says"), "{log}");
    let id = world.client.succeeds(&infra.request("deploy", "good day")).await?;
    ensure!(world.client.output(&id, 2, "stdout").await? == b"it is https://example.test/\n");
    world.copies_are_equal(&id).await?;

    // Somebody works on the state beside all this, between the plan and its approval.
    let (plan, log) = infra.plan("deploy", "good night").await?;
    ensure!(log.contains("update terraform_data.site"), "{log}");
    let mut state: Value = serde_json::from_slice(&std::fs::read(infra.file()?)?)?;
    state["serial"] = json!(state["serial"].as_u64().context("no serial")? + 1);
    std::fs::write(infra.file()?, serde_json::to_string_pretty(&state)?)?;
    is_refused(world, &plan).await?;

    let (plan, log) = infra.plan("remove", "good day").await?;
    ensure!(log.contains("delete terraform_data.site") && infra.file().is_ok(), "{log}");
    approved(world, &plan).await?;
    ensure!(infra.files()?.is_empty(), "{:?}", infra.files());
    let leaks = secrets::contains(world.directory(), SECRET.as_bytes())?;
    ensure!(leaks.is_empty(), "in the clear: {leaks:?}");
    infra.world.stop().await
}

#[tokio::test]
async fn a_configuration_goes_from_its_plan_to_its_end_with_recorded_answers() -> Result<()> {
    a_configuration_goes_from_its_plan_to_its_end(&recorded()).await
}

#[tokio::test]
async fn a_configuration_goes_from_its_plan_to_its_end_with_the_real_program() -> Result<()> {
    match real() {
        Some(program) => a_configuration_goes_from_its_plan_to_its_end(&program).await,
        None => Ok(()),
    }
}

#[tokio::test]
async fn the_real_program_ends_in_good_order_when_its_operation_is_canceled() -> Result<()> {
    let Some(program) = real() else { return Ok(()) };
    let infra = Infra::start(&program).await?;
    let mut request = infra.request("deploy", "hello");
    request["variables"]["site"]["seconds"] = json!(600);
    let id = infra.world.client.submit(&request).await?;
    until_it_says(&infra.world, &id, "name: Provisioning").await?;
    canceled(&infra.world, &id).await?;
    let left = left_elsewhere(&infra.world, &id).await?;
    ensure!(left == "gone", "{left}: {}", infra.world.client.text(&id).await?);
    // What was made stands in its state, which nobody has locked.
    infra.file()?;
    infra.world.client.succeeds(&infra.request("deploy", "hello")).await?;
    infra.world.stop().await
}

#[tokio::test]
async fn what_a_killed_program_was_at_is_not_known_with_recorded_answers() -> Result<()> {
    let infra = Infra::start(&recorded()).await?;
    let mut request = infra.request("deploy", "hello");
    request["variables"]["site"]["seconds"] = json!(600);
    let id = infra.world.client.submit(&request).await?;
    until_it_says(&infra.world, &id, "Carry the plan out").await?;
    infra.world.client.until(&id, |_| infra.files().is_ok_and(|files| files.len() == 1)).await?;
    // The signal ends it at once, as SIGKILL does the real one.
    canceled(&infra.world, &id).await?;
    ensure!(left_elsewhere(&infra.world, &id).await? == "unknown");
    infra.world.client.succeeds(&infra.request("deploy", "hello")).await?;
    infra.world.stop().await
}

#[tokio::test]
async fn a_state_that_could_not_be_written_is_not_worked_past_with_recorded_answers() -> Result<()> {
    let infra = Infra::start(&recorded()).await?;
    let client = &infra.world.client;
    let id = client.submit(&infra.request("deploy", "unwritten")).await?;
    let mut left = None;
    for attempts in 1..=2 {
        let ended = client.ended(&id).await?;
        let reason = ended.summary.reason.context("no reason")?;
        // The manifest says three attempts.
        ensure!(
            (reason.code.as_str(), ended.attempts.len()) == ("attention_needed", attempts),
            "{reason}: {:?}",
            ended.attempts
        );
        let file = infra.file()?;
        ensure!(
            reason.message.contains(&*file.to_string_lossy()),
            "{reason} does not name {}",
            file.display()
        );
        ensure!(left.replace(file.clone()).is_none_or(|before| before == file));
        if attempts == 1 {
            client.ask(&id, "retry").await?;
            client.until(&id, |detail| detail.attempts.len() == 2).await?;
        }
    }
    let (code, other) =
        client.fails(&infra.request("remove", "unwritten")).await.map(|(id, code)| (code, id))?;
    ensure!(code == "attention_needed", "{other}: {code}");
    // Somebody has looked, and does what the reason says.
    let file = left.context("no file")?;
    let name = file.file_name().context("no name")?.to_string_lossy().into_owned();
    let target = infra.states.path().join(name.split(".errored-").next().context("no target")?);
    std::fs::create_dir_all(&target)?;
    std::fs::rename(&file, target.join("terraform.tfstate"))?;
    client.ask(&id, "retry").await?;
    let ended = client
        .until(&id, |detail| detail.attempts.len() == 3 && detail.summary.state == State::Succeeded)
        .await?;
    ensure!(ended.attempts.len() == 3);
    infra.world.stop().await
}
