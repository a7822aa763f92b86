//! relayd's page, in a browser.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::World;

/// Whether the log shows its last line.
const AT_THE_END: &str = "(box => box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 2)\
                          (document.getElementById('log'))";
/// Whether all of the Operation was shown.
const ENDED: &str =
    "/^(Succeeded|Failed|Canceled|Rejected|Lost)/.test(document.getElementById('announce').textContent)";

/// A person who came in by a link.
struct Visitor {
    browser: Browser,
    relayd: String,
}

impl Visitor {
    async fn sign_in(world: &World) -> Result<Self> {
        let browser = Browser::start(world.directory()).await?;
        let relayd = world.cluster.relayd.url();
        let link: Value = world.client.post("/api/v1/sign-in-links", &json!({})).await?.json()?;
        let path = link["path"].as_str().context("a link without a path")?;
        browser.open(&format!("{relayd}{path}")).await?;
        browser
            .until("location.pathname === '/' && document.querySelector('h1').innerText === 'Operations'")
            .await?;
        Ok(Self { browser, relayd })
    }

    async fn open(&self, id: &str) -> Result<()> {
        self.browser.open(&format!("{}/operations/{id}", self.relayd)).await
    }

    async fn state_is(&self, state: &str) -> Result<()> {
        self.browser.until(&format!("document.getElementById('state').textContent === '{state}'")).await
    }

    /// The lines that the log shows.
    async fn log(&self) -> Result<Vec<String>> {
        let lines = "return [...document.querySelectorAll('#log > div')].map((line) => line.textContent)";
        Ok(serde_json::from_value(self.browser.script(lines).await?)?)
    }

    async fn ticks(&self) -> Result<Vec<String>> {
        let mut lines = self.log().await?;
        lines.retain(|line| line.starts_with("tick "));
        Ok(lines)
    }
}

fn operation(action: &str, variables: &Value) -> Value {
    let target = json!({"kind": "site", "name": format!("{action}.test")});
    json!({"name": format!("noisy.{action}"), "target": target, "variables": {"site": variables}})
}

fn ticks(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("tick {number}")).collect()
}

#[tokio::test]
async fn an_operation_is_seen_line_by_line_to_its_end() -> Result<()> {
    let world = World::start().await?;
    let visitor = Visitor::sign_in(&world).await?;
    let browser = &visitor.browser;
    // It comes into the list by itself.
    let id = world.client.submit(&operation("sleep", &json!({"count": 4}))).await?;
    let row = format!("tr[data-id='{id}']");
    browser.until(&format!("document.querySelector(\"{row} .state\")?.textContent === 'running'")).await?;
    browser.click(&format!("{row} a")).await?;

    visitor.state_is("running").await?;
    browser.until("document.querySelector('#tasks li .outcome')?.textContent === 'running'").await?;
    browser.until("document.querySelectorAll('#log .stdout').length > 0").await?;
    let some = visitor.ticks().await?.len();
    ensure!(some < 40, "the log came only when it was whole");
    browser.until(&format!("document.querySelectorAll('#log .stdout').length > {some}")).await?;
    // One who reloads in the middle sees the lines from before, and goes on.
    browser.reload().await?;
    browser.until(&format!("document.querySelectorAll('#log .stdout').length > {some}")).await?;

    browser.until(ENDED).await?;
    visitor.state_is("succeeded").await?;
    ensure!(visitor.ticks().await? == ticks(40), "{:?}", visitor.log().await?);
    let task = browser.script("return document.querySelector('#tasks li').innerText").await?;
    ensure!(task.as_str().is_some_and(|text| text.starts_with("Sleep succeeded")), "{task}");
    let last = "document.querySelector('#log > div:last-child').textContent";
    browser.until(&format!("{last}.startsWith('Succeeded after ')")).await?;
    browser.until(AT_THE_END).await?;
    visitor.browser.close().await?;
    world.stop().await
}

#[tokio::test]
async fn the_log_of_what_has_ended_opens_at_its_end() -> Result<()> {
    let world = World::start().await?;
    let visitor = Visitor::sign_in(&world).await?;
    let browser = &visitor.browser;
    let many = world.client.succeeds(&operation("print", &json!({"kind": "numbered", "count": 400}))).await?;
    // One line that is wrapped into many: how high it is shows only when it is drawn.
    let long = world.client.succeeds(&operation("print", &json!({"kind": "long", "count": 40_000}))).await?;
    for id in [&many, &long] {
        visitor.open(id).await?;
        browser.until(ENDED).await?;
        browser.until(AT_THE_END).await?;
        browser.resize(500, 700).await?;
        browser.until("innerWidth < 600").await?;
        browser.until(AT_THE_END).await?;
        browser.resize(1000, 800).await?;
        browser.until("innerWidth > 900").await?;
        browser.until(AT_THE_END).await?;
        ensure!(browser.script("return document.getElementById('follow').checked").await? == true);
        // One who scrolls up is left there.
        browser.script("document.getElementById('log').scrollTop = 0").await?;
        browser.until("!document.getElementById('follow').checked").await?;
        browser.click("#follow").await?;
        browser.until(AT_THE_END).await?;
    }
    visitor.browser.close().await?;
    world.stop().await
}

#[tokio::test]
async fn a_plan_is_looked_at_and_carried_out() -> Result<()> {
    let world = World::start().await?;
    let visitor = Visitor::sign_in(&world).await?;
    let browser = &visitor.browser;
    let mut request = operation("sleep", &json!({"count": 1}));
    request["dry_run"] = true.into();
    let plan = world.client.submit(&request).await?;
    visitor.open(&plan).await?;
    browser.until(ENDED).await?;
    browser.click("#approve button").await?;
    browser.until(&format!("!location.pathname.endsWith('{plan}')")).await?;
    browser.until(ENDED).await?;
    visitor.state_is("succeeded").await?;
    ensure!(visitor.ticks().await? == ticks(10), "{:?}", visitor.log().await?);
    for shown in [
        "document.getElementById('approve').hidden",
        &format!("document.querySelector('dd a').textContent === '{plan}'"),
    ] {
        browser.until(shown).await?;
    }
    visitor.browser.close().await?;
    world.stop().await
}

#[tokio::test]
async fn the_button_cancels_and_signing_out_signs_out() -> Result<()> {
    let world = World::start().await?;
    let visitor = Visitor::sign_in(&world).await?;
    let browser = &visitor.browser;
    let id = world.client.submit(&operation("sleep", &json!({"count": 600}))).await?;
    visitor.open(&id).await?;
    browser.until("document.querySelectorAll('#log .stdout').length > 0").await?;
    browser.click("#cancel button").await?;
    visitor.state_is("canceled").await?;
    browser.until(ENDED).await?;
    browser.reload().await?;
    browser.until(ENDED).await?;
    for shown in [
        "document.getElementById('cancel').hidden",
        "document.getElementById('reason').textContent.includes('(canceled')",
        "document.querySelector('#tasks .outcome').textContent === 'canceled'",
        "document.querySelector('#ledger tr:last-child .state').textContent === 'canceled'",
    ] {
        browser.until(shown).await?;
    }
    world.client.ended(&id).await?;

    browser.click(".site button").await?;
    browser.until("location.pathname === '/sign-in'").await?;
    visitor.open(&id).await?;
    browser.until("document.querySelector('h1').innerText === 'Sign in'").await?;
    visitor.browser.close().await?;
    world.stop().await
}
