//! What the localdev is for.

use std::process::Command;

use aegir_client::address::RelaydAddress;
use aegir_client::{Client, Method};
use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use crate::hosting::Hosting;
use crate::localdev::{Localdev, docker, root};

pub(crate) fn get(url: &str, host: &str) -> Result<(u16, String)> {
    let client = Client::new(RelaydAddress::Http(url.to_owned()), None)?;
    Runtime::new()?.block_on(async {
        let answer = client.answer(client.request(Method::GET, "").header("host", host)).await?;
        Ok((answer.status.as_u16(), String::from_utf8(answer.body.to_vec())?))
    })
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

    let status = localdev.xtask(&["status"])?;
    let healthy = status.lines().filter(|line| line.contains("(healthy)")).count();
    ensure!(healthy == 4 && status.contains("web"), "{status}");

    // Every hop from the web container on, as `ddev aegir-check` looks at it.
    let checked = localdev.exec("web", &["/var/www/html/ddev/commands/web/aegir-check"])?;
    ensure!(checked.contains("RabbitMQ 3.10") && checked.contains("minion"), "{checked}");

    // A host's entry says who works there, and what is its own.
    let as_root = r#"sed 's/{"/{"become": true, "/' /exchange/hosts/minion.json > /tmp/root.json"#;
    localdev.exec("web", &["sh", "-c", as_root])?;
    for (hosts, who) in [("/exchange/hosts/minion.json", "aegir-minion"), ("/tmp/root.json", "root")] {
        let run = ["run", "steady.who", "--target", "site:who.example", "--hosts-file", hosts];
        let said =
            localdev.aegir(&[&run, &["--var", "hosts.minion.label={{ x }}", "--follow"][..]].concat())?;
        ensure!(said.contains(&format!("{who} on {{{{ x }}}}")), "{said}");
    }

    // And away with it again.
    let delete = ["run", "static_site.delete", "--target", "site:welcome.example", "--follow"];
    localdev.aegir(&[&delete, &["--hosts-file", "/exchange/hosts/minion.json"][..]].concat())?;
    ensure!(get(&published, "welcome.example")?.0 == 404);
    Ok(())
}

#[test]
fn apache_serves_a_site_as_nginx_does() -> Result<()> {
    let hosting = Hosting::of(Localdev::up()?)?;
    hosting.localdev.exec("minion", &["service", "nginx", "stop"])?;
    hosting.describe("apache", &[("minion", &["apache", "ssh"])])?;
    hosting.run("minion.setup", "host:minion", "apache", &["server=apache"])?;
    let seen = hosting.localdev.aegir(&["documents", "host:minion", "host"])?;
    let seen: serde_json::Value = serde_json::from_str(&seen)?;
    for service in ["apache", "ssh"] {
        ensure!(seen["services"][service]["running"] == true, "{service}: {seen:#}");
    }
    let (source, code) = hosting.code("site", "ddev/localdev/site")?;
    let site = "site:apache.example";
    hosting.run("static_site.deploy", site, "apache", &["server=apache", &source])?;
    let page = std::fs::read_to_string(code.join("index.html"))?;
    ensure!(hosting.page("minion", "apache.example", "/")? == (200, page.clone()));
    hosting.run("static_site.delete", site, "apache", &["server=apache"])?;
    ensure!(hosting.page("minion", "apache.example", "/")?.1 != page);

    // A host that offers no web server has none for it.
    hosting.describe("database", &[("minion", &["mariadb"])])?;
    let refused = hosting.submit("static_site.deploy", site, "database", &["--var", &source]);
    let why = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(why.contains("no_host_for_task"), "{why}");
    Ok(())
}

#[test]
fn it_runs_on_rabbitmq_4_as_well() -> Result<()> {
    let localdev = Localdev::with(&[("AEGIR_RABBITMQ_IMAGE", "aegir-rabbitmq:trixie")])?;
    let checked = localdev.exec("web", &["/var/www/html/ddev/commands/web/aegir-check"])?;
    ensure!(checked.contains("RabbitMQ 4."), "{checked}");
    let operation = localdev.submit("steady.play", "four", "minion", 3)?;
    ensure!(localdev.until_it_ends(&operation)?["outcome"] == "succeeded");
    Ok(())
}

#[test]
fn no_layer_of_an_image_holds_a_secret() -> Result<()> {
    for image in [
        "aegir-relayd:latest",
        "aegir-dispatcherd:latest",
        "aegir-rabbitmq:bookworm",
        "aegir-rabbitmq:trixie",
        "aegir-minion:latest",
        "aegir-localdev-web:latest",
    ] {
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
