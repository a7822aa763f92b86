//! Plan, approve, carry out: exactly what was planned happens, or nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aegir_protocol::state::State;
use aegir_testkit::Cluster;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::world::World;

/// The role `keeper`: a file on the minion by Ansible, and a note beside dispatcherd by a plug-in.
struct Keeper {
    world: World,
    roles: TempDir,
}

const TASKS: &str = "\
- name: The file says it
  ansible.builtin.copy: {content: '{{ keeper_text }}', dest: '{{ keeper_path }}', mode: '0600'}
";

impl Keeper {
    async fn start() -> Result<Self> {
        let roles = tempfile::tempdir()?;
        let role = roles.path().join("keeper");
        for directory in ["meta", "tasks"] {
            std::fs::create_dir_all(role.join(directory))?;
        }
        let settings = json!({"directory": roles.path()});
        let manifest = json!({
            "schema": "aegir.role/0", "title": "Keeper", "targets": ["site"],
            "operations": {
                "keep": {"title": "Keep", "tasks": ["write", "note", "mark"]},
                "forget": {"title": "Forget", "tasks": ["forget"]},
            },
            "tasks": {
                "write": {"variables": ["path", "text"]},
                "note": {"plugin": {"runner": "note", "with": settings}, "variables": ["text"],
                         "outputs": {"note": {"type": "object"}}},
                "mark": {"shell": {"argv": ["/usr/bin/cp", "--", {"variable": "path"}, {"variable": "mark"}]},
                         "variables": ["path", "mark"]},
                "forget": {"plugin": {"runner": "note", "verb": "delete", "with": settings}},
            },
            "variables": {"path": {"type": "string", "scope": "site"}, "text": {"type": "string", "scope": "site"},
                          "mark": {"type": "string", "scope": "site"}},
        });
        std::fs::write(role.join("meta/aegir.yml"), manifest.to_string())?;
        std::fs::write(role.join("tasks/write.yml"), TASKS)?;
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto/runners/note.py");
        let (place, section) = (roles.path().to_owned(), format!("[runners.note]\ncommand = [{plugin:?}]"));
        let builder =
            Cluster::builder().dispatcherd(move |dispatcherd| dispatcherd.roles(&place).section(&section));
        Ok(Self { world: World::of(builder).await?, roles })
    }

    fn request(&self, operation: &str, dry_run: bool) -> Value {
        json!({
            "name": format!("keeper.{operation}"),
            "target": {"kind": "site", "name": "kept.test"},
            "hosts": [self.world.cluster.host()],
            "variables": if operation == "keep" { json!({"site": {"path": self.file(), "text": "hello", "mark": self.mark()}}) } else { json!({}) },
            "dry_run": dry_run,
        })
    }

    fn file(&self) -> PathBuf {
        self.roles.path().join("file")
    }

    /// What a program writes.
    fn mark(&self) -> PathBuf {
        self.roles.path().join("mark")
    }

    fn note(&self) -> PathBuf {
        self.roles.path().join("kept.test")
    }

    /// Plans, and gives the dry run's id.
    async fn plan(&self) -> Result<String> {
        self.world.client.succeeds(&self.request("keep", true)).await
    }

    async fn approve(&self, id: &str, body: &Value) -> Result<(u16, Value)> {
        let answer = self.world.client.post(&format!("/api/v1/operations/{id}/approve"), body).await?;
        Ok((answer.status.as_u16(), answer.json()?))
    }

    /// Approves, and gives the end of what that asked for.
    async fn carried_out(&self, id: &str) -> Result<(State, String)> {
        let (status, accepted) = self.approve(id, &json!({})).await?;
        ensure!(status == 201, "{status}: {accepted}");
        let ended = self.world.client.ended(accepted["id"].as_str().context("no id")?).await?;
        ensure!(ended.approves.is_some_and(|dry_run| dry_run.to_string() == id), "{:?}", ended.approves);
        let reason = ended.summary.reason.map(|reason| reason.to_string()).unwrap_or_default();
        Ok((ended.summary.state, reason))
    }
}

#[tokio::test]
async fn what_was_planned_is_carried_out_once() -> Result<()> {
    let keeper = Keeper::start().await?;
    let id = keeper.plan().await?;
    let written = [keeper.file(), keeper.note(), keeper.mark()];
    ensure!(!written.iter().any(|path| path.exists()), "a plan changes nothing");
    let log = keeper.world.aegir(&["log", &id]).await?;
    for part in
        ["+ hello", "Would write", "/usr/bin/cp", "\"changed\": true", &format!("`aegir approve {id}`")]
    {
        ensure!(log.contains(part), "{part:?} is not in {log}");
    }
    let plan = keeper.world.client.operation(&id).await?.plan.context("no plan")?.to_string();
    ensure!(keeper.world.aegir(&["show", &id]).await?.contains(&plan), "{plan}");

    let (status, problem) = keeper.approve(&id, &json!({"plan": "another"})).await?;
    ensure!(status == 409 && problem["code"] == "plan_changed", "{problem}");
    let said = keeper.world.aegir(&["approve", &id, "--plan", &plan, "--follow"]).await?;
    ensure!(said.contains("\nSucceeded after "), "{said}");
    for path in &written {
        ensure!(std::fs::read_to_string(path)? == "hello", "{}", path.display());
    }

    // It is carried out once, however often that is asked for.
    let (status, accepted) = keeper.approve(&id, &json!({})).await?;
    ensure!(status == 200 && accepted["repeated"] == true && accepted["state"] == "succeeded", "{accepted}");
    // Planned again there is nothing to change, and that can be carried out too.
    let id = keeper.plan().await?;
    let log = keeper.world.aegir(&["log", &id]).await?;
    ensure!(log.contains("\"changed\": false"), "{log}");
    ensure!(keeper.carried_out(&id).await?.0 == State::Succeeded);
    // What deletes has a plan as well.
    let id = keeper.world.client.succeeds(&keeper.request("forget", true)).await?;
    ensure!(keeper.world.aegir(&["log", &id]).await?.contains("Would remove") && keeper.note().exists());
    ensure!(keeper.carried_out(&id).await?.0 == State::Succeeded && !keeper.note().exists());
    keeper.world.stop().await
}

#[tokio::test]
async fn what_has_changed_since_it_was_planned_is_not_carried_out() -> Result<()> {
    let keeper = Keeper::start().await?;
    // What the plug-in looks after.
    let id = keeper.plan().await?;
    std::fs::write(keeper.note(), "by hand")?;
    let (state, reason) = keeper.carried_out(&id).await?;
    ensure!(state == State::Failed && reason.contains("plan_changed"), "{reason}");
    ensure!(std::fs::read_to_string(keeper.note())? == "by hand");

    // The target, by another Operation.
    let id = keeper.plan().await?;
    let other = keeper.world.client.succeeds(&keeper.request("keep", false)).await?;
    let (status, problem) = keeper.approve(&id, &json!({})).await?;
    ensure!(
        status == 409 && problem["detail"].as_str().is_some_and(|detail| detail.contains(&other)),
        "{problem}"
    );

    // And between one attempt at it and the next.
    let id = keeper.plan().await?;
    std::fs::write(keeper.note(), "by hand again")?;
    let (state, reason) = keeper.carried_out(&id).await?;
    ensure!(state == State::Failed && reason.contains("plan_changed"), "{reason}");
    let failed = keeper.approve(&id, &json!({})).await?.1["id"].as_str().context("no id")?.to_owned();
    keeper.world.client.succeeds(&keeper.request("keep", false)).await?;
    keeper.world.client.ask(&failed, "retry").await?;
    let ended = keeper.world.client.ended(&failed).await?;
    let reason = ended.summary.reason.map(|reason| reason.to_string()).unwrap_or_default();
    ensure!(ended.summary.state == State::Rejected && reason.contains("has come after the plan"), "{reason}");

    // What is no plan.
    let (status, problem) = keeper.approve(&other, &json!({})).await?;
    ensure!(status == 409 && problem["code"] == "no_plan", "{problem}");

    // The role.
    let id = keeper.plan().await?;
    let digest = async || {
        let list = keeper.world.client.get("/api/v1/catalog").await?.json::<Value>()?;
        anyhow::Ok(list["catalogs"][0]["roles"]["keeper"]["digest"].clone())
    };
    let before = digest().await?;
    std::fs::write(keeper.roles.path().join("keeper/tasks/write.yml"), format!("# Newer.\n{TASKS}"))?;
    let changed = async {
        while digest().await? == before {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(60), changed).await.context("the role is not read again")??;
    let shown = keeper.world.aegir(&["show", &id, "--variables"]).await?;
    ensure!(shown.contains("keeper has changed since it ran") && shown.contains("site"), "{shown}");
    let (state, reason) = keeper.carried_out(&id).await?;
    ensure!(state == State::Rejected && reason.contains("role keeper has changed"), "{reason}");
    keeper.world.stop().await
}
