//! What happens: a site is deployed, and its page is fetched.

use std::path::Path;
use std::process::Stdio;

use aegir_testkit::daemon::binary;
use aegir_testkit::demo::{self, SITE};
use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::demo::services::DemoServices;

/// The directory that the pages name.
const USUAL: &str = "target/demo";

/// Deploys the site with the log on the terminal and fetches the page.
///
/// # Errors
/// When the Operation does not succeed, or the page is not what was deployed.
pub(crate) async fn run(services: &DemoServices) -> anyhow::Result<()> {
    services.write_files()?;
    deploy(services).await?;
    fetch(services).await
}

/// Says how to go on while everything stays up.
///
/// # Errors
/// When relayd gives no link to sign in with.
pub(crate) async fn invite(services: &DemoServices) -> anyhow::Result<()> {
    let (status, link) = services.relayd.post("/api/v1/sign-in-links", &Value::Null).await?;
    let path = link["path"].as_str().with_context(|| format!("relayd answers {status}: {link}"))?;
    println!("\nrelayd's page, with a link that signs you in once:\n  {}{path}", services.relayd.url());
    let directory = typed(&services.directory);
    println!("More, in another terminal:");
    println!("  source {}", demo::environment(directory).display());
    println!("  aegir ls");
    println!("docs/tutorial/first-operation.md goes on from here{}.", in_place_of(directory));
    println!("\nEverything stays up until Ctrl-C.");
    Ok(())
}

async fn deploy(services: &DemoServices) -> anyhow::Result<()> {
    let arguments = demo::deploy(typed(&services.directory));
    println!("\n$ aegir {}\n", shown(&arguments));
    let status = tokio::process::Command::new(binary("aegir")?)
        .args(&arguments)
        .env("AEGIR_URL", services.relayd.url())
        .env("AEGIR_TOKEN_FILE", services.relayd.token_file())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("can't start aegir")?;
    if !status.success() {
        bail!("the Operation did not succeed: aegir ended with {status}");
    }
    Ok(())
}

/// A path as a reader would type it in the directory where the demo was started.
fn typed(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path)
}

/// What a reader of the pages has to know who has chosen other ports.
fn in_place_of(directory: &Path) -> String {
    if directory == Path::new(USUAL) {
        return String::new();
    }
    format!(", with {} in place of {USUAL}", directory.display())
}

/// As it could be typed, an option on each line.
fn shown(arguments: &[String]) -> String {
    let mut text = String::new();
    for argument in arguments {
        let plain = argument.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./:@+".contains(c));
        let separator = match (text.is_empty(), argument.starts_with("--")) {
            (true, _) => "",
            (false, true) => " \\\n    ",
            (false, false) => " ",
        };
        text.push_str(separator);
        if plain { text.push_str(argument) } else { text.push_str(&format!("'{argument}'")) }
    }
    text
}

async fn fetch(services: &DemoServices) -> anyhow::Result<()> {
    let (status, page) = services.nginx.fetch(SITE, "/").await?;
    println!("\n$ curl --header 'Host: {SITE}' http://127.0.0.1:{}/\n", services.nginx.port());
    print!("{}", String::from_utf8_lossy(&page));
    if status != 200 || page != services.page() {
        bail!(
            "nginx answered with status {status} and {} bytes, not with the page that was deployed",
            page.len()
        );
    }
    println!("\nThis is the page that was deployed, byte for byte.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let words = ["run", "a.b", "--var", "x:=[\"1\"]", "--follow"].map(str::to_owned);
        assert_eq!(shown(&words), "run a.b \\\n    --var 'x:=[\"1\"]' \\\n    --follow");
    }

    #[test]
    fn whoever_chose_other_ports_is_told_where_the_files_are() {
        assert_eq!(in_place_of(Path::new("target/demo")), "");
        assert_eq!(
            in_place_of(Path::new("target/demo/4000")),
            ", with target/demo/4000 in place of target/demo"
        );
    }
}
