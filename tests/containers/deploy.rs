//! What the localdev is for.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::localdev::{Localdev, docker, root};

fn get(url: &str, host: &str) -> Result<(u16, String)> {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--write-out",
        "\n%{http_code}",
        "--header",
        &format!("Host: {host}"),
        url,
    ]);
    let output = curl.output().context("can't start curl")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').context("curl said nothing")?;
    Ok((code.parse()?, body.to_owned()))
}

#[test]
fn a_site_is_deployed_and_served_by_the_minion() -> Result<()> {
    let localdev = Localdev::up()?;
    localdev.xtask(&["deploy"])?;
    let page = std::fs::read_to_string(root().join("ddev/localdev/site/index.html"))?;
    // Through the published port, and at the minion's own address.
    let published = format!("http://127.0.0.1:{}/", localdev.port(2));
    ensure!(get(&published, "welcome.example")? == (200, page.clone()));
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker(&["inspect", "--format", address, &localdev.container("minion")])?;
    ensure!(get(&format!("http://{address}/"), "welcome.example")? == (200, page));
    ensure!(get(&published, "nobody.example")?.0 == 404);

    // What `up` prints leads somewhere; and a second one changes nothing.
    let told = localdev.xtask(&["up"])?;
    let link = told.lines().find(|line| line.contains("sign-in")).context("no link to sign in with")?.trim();
    ensure!(get(link, "127.0.0.1")?.0 == 303, "{link}");
    let (code, _) = get(&format!("http://127.0.0.1:{}/", localdev.port(1)), "127.0.0.1")?;
    ensure!(code == 200, "the broker's page answers {code}");

    // Every hop from the web container on.
    let checked = localdev.aegir(&["check", "--hosts-file", "/exchange/hosts/minion.json"])?;
    ensure!(checked.contains("RabbitMQ 3.10"), "{checked}");
    Ok(())
}

#[test]
fn no_layer_of_an_image_holds_a_secret() -> Result<()> {
    for image in
        ["aegir-relayd:latest", "aegir-dispatcherd:latest", "aegir-rabbitmq:bookworm", "aegir-minion:latest"]
    {
        // Each layer is an archive in the archive: what a later one removes is still in the earlier.
        let list = "docker save \"$0\" | tar --extract --to-command='case $TAR_FILENAME in *layer.tar | blobs/*) tar --list \
                    2>/dev/null ;; esac'; true";
        let listed = Command::new("sh").args(["-c", list, image]).output().context("can't start sh")?;
        let files = String::from_utf8_lossy(&listed.stdout).into_owned();
        ensure!(files.contains("usr/bin/tini"), "the layers of {image} could not be looked at");
        for secret in
            ["ssh_host_", ".erlang.cookie", "id_ed25519", "api-token", "age-identity", "broker-password"]
        {
            ensure!(!files.contains(secret), "{image} holds {secret}");
        }
    }
    Ok(())
}
