//! A headless Chromium, driven by chromedriver over the WebDriver protocol: HTTP and JSON, so that no client
//! library is needed for the few commands that a person's journey takes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aegir_client::address::RelaydAddress;
use aegir_client::{Client, Method};
use aegir_testkit::Process;
use aegir_testkit::port::free_port;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long a browser may take to start; far more than it takes, for machines that do much else.
const START: Duration = Duration::from_secs(60);
/// How long a page may take to show what is waited for.
const DEADLINE: Duration = Duration::from_secs(60);
/// The key of an element's id in the protocol (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A window of a browser of its own. Dropping it ends the browser: it is in chromedriver's process group.
pub(crate) struct Browser {
    http: Client,
    /// Of the session.
    path: String,
    _driver: Process,
}

impl Browser {
    /// Starts one with its profile and its log in `directory`.
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        let mut driver = Process::spawn("chromedriver", command, &directory.join("chromedriver.log"))?;
        let address = RelaydAddress::Http(format!("http://127.0.0.1:{port}"));
        let http = Client::new(address, None)?.timeout(DEADLINE);
        driver.until("an answer", START, async || http.bytes("/status").await.ok()).await?;
        let arguments = [
            "--headless=new",
            // Chromium refuses its sandbox to root, and containers have no room for it.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--window-size=1000,800",
            &format!("--user-data-dir={}", directory.join("browser").display()),
        ];
        let capabilities = json!({
            "capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}},
        });
        let session = send(&http, Method::POST, "/session", &capabilities).await?;
        let id = session["sessionId"].as_str().context("a session without an id")?;
        Ok(Self { path: format!("/session/{id}"), http, _driver: driver })
    }

    async fn command(&self, path: &str, body: &Value) -> Result<Value> {
        send(&self.http, Method::POST, &format!("{}/{path}", self.path), body).await
    }

    /// Opens a page and waits until it has loaded.
    pub(crate) async fn open(&self, url: &str) -> Result<()> {
        self.command("url", &json!({ "url": url })).await.map(drop)
    }

    pub(crate) async fn reload(&self) -> Result<()> {
        self.command("refresh", &json!({})).await.map(drop)
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.command("window/rect", &json!({ "width": width, "height": height })).await.map(drop)
    }

    /// Clicks as a person does: what is hidden or covered can't be clicked.
    pub(crate) async fn click(&self, selector: &str) -> Result<()> {
        let search = json!({ "using": "css selector", "value": selector });
        let found = self.command("element", &search).await.with_context(|| format!("no {selector}"))?;
        let id = found[ELEMENT].as_str().context("an element without an id")?;
        let clicked = self.command(&format!("element/{id}/click"), &json!({})).await;
        clicked.map(drop).with_context(|| format!("can't click {selector}"))
    }

    /// Runs a script in the page and gives what it returns.
    pub(crate) async fn script(&self, script: &str) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression holds in the page.
    pub(crate) async fn until(&self, expression: &str) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        let script = format!("return Boolean({expression})");
        while self.script(&script).await? != true {
            if Instant::now() > end {
                let text = self.script("return document.body.innerText").await?;
                bail!("{expression} did not become true; the page says:\n{}", text.as_str().unwrap_or("?"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Closes window and browser.
    pub(crate) async fn close(self) -> Result<()> {
        send(&self.http, Method::DELETE, &self.path, &json!({})).await.map(drop)
    }
}

async fn send(http: &Client, method: Method, path: &str, body: &Value) -> Result<Value> {
    let request = http.request(method, path).json(body);
    let answer = http.answer(request).await.context("chromedriver does not answer")?;
    let failed = !answer.status.is_success();
    let mut answer: Value = answer.json().context("chromedriver's answer is not JSON")?;
    let value = answer["value"].take();
    if failed {
        bail!("{}: {}", value["error"].as_str().unwrap_or("?"), value["message"].as_str().unwrap_or("?"));
    }
    Ok(value)
}
