//! What happens: a site is deployed, and its page is fetched.

use std::ffi::OsString;
use std::process::Stdio;

use aegir_testkit::daemon::binary;
use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::demo::cast::{Cast, SITE};
use crate::demo::files;

/// Deploys the site with the log on the terminal, fetches the page, and gives a link to sign in with.
///
/// # Errors
/// When the Operation does not succeed, or the page is not what was deployed.
pub(crate) async fn tell(cast: &Cast) -> anyhow::Result<()> {
    files::write(cast)?;
    deploy(cast).await?;
    fetch(cast).await?;
    let (status, link) = cast.relayd.post("/api/v1/sign-in-links", &Value::Null).await?;
    let path = link["path"].as_str().with_context(|| format!("relayd answers {status}: {link}"))?;
    println!("\nrelayd's page, with a link that signs you in once:\n  {}{path}", cast.relayd.url());
    println!("More, in another terminal (docs/tutorial/first-operation.md goes on from here):");
    println!("  source {}", cast.directory.join("environment").display());
    println!("  aegir ls");
    Ok(())
}

async fn deploy(cast: &Cast) -> anyhow::Result<()> {
    let arguments = arguments(cast);
    println!("\n$ aegir {}\n", shown(&arguments));
    let status = tokio::process::Command::new(binary("aegir")?)
        .args(&arguments)
        .env("AEGIR_URL", cast.relayd.url())
        .env("AEGIR_TOKEN_FILE", cast.relayd.token_file())
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

fn arguments(cast: &Cast) -> Vec<OsString> {
    let value = |name: &str, value: &std::path::Path| -> [OsString; 2] {
        let mut text = OsString::from(format!("{name}="));
        text.push(value);
        ["--var".into(), text]
    };
    let mut arguments: Vec<OsString> = ["run", "static_site.deploy", "--target"].map(Into::into).to_vec();
    arguments.push(format!("site:{SITE}").into());
    arguments.push("--host".into());
    arguments.push(format!("web1={}@127.0.0.1:{}", cast.minion.user, cast.ports.sshd).into());
    arguments.push("--host-key".into());
    arguments.push(format!("web1={}", cast.minion.host_key).into());
    arguments.extend(value("source", &cast.source()));
    arguments.extend(value("root", &cast.directory.join("sites")));
    arguments.extend(value("server_directory", cast.nginx.directory()));
    for word in ["--var", "mode=user", "--var", "listen_addresses:=[\"127.0.0.1\"]", "--var"] {
        arguments.push(word.into());
    }
    arguments.push(format!("listen_port:={}", cast.nginx.port()).into());
    arguments.push("--follow".into());
    arguments
}

/// As it could be typed, an option on each line.
fn shown(arguments: &[OsString]) -> String {
    let mut text = String::new();
    for argument in arguments {
        let argument = argument.to_string_lossy();
        let plain = argument.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./:@+".contains(c));
        let separator = match (text.is_empty(), argument.starts_with("--")) {
            (true, _) => "",
            (false, true) => " \\\n    ",
            (false, false) => " ",
        };
        text.push_str(separator);
        if plain { text.push_str(&argument) } else { text.push_str(&format!("'{argument}'")) }
    }
    text
}

async fn fetch(cast: &Cast) -> anyhow::Result<()> {
    let (status, page) = cast.nginx.fetch(SITE, "/").await?;
    println!("\n$ curl --header 'Host: {SITE}' http://127.0.0.1:{}/\n", cast.nginx.port());
    print!("{}", String::from_utf8_lossy(&page));
    if status != 200 || page != cast.page() {
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
        let words = ["run", "a.b", "--var", "x:=[\"1\"]", "--follow"].map(OsString::from);
        assert_eq!(shown(&words), "run a.b \\\n    --var 'x:=[\"1\"]' \\\n    --follow");
    }
}
