//! A PHP application on a server as operators have it: Debian 13 under systemd, which nobody but minion.setup prepared. A
//! wiki comes there from the Debian 12 minion, and stays through a reboot.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::hosting::{Hosting, SITES, with};
use crate::localdev::Localdev;
use crate::machine::Machine;

/// What the new server is called.
const NEW: &str = "web3";
const SITE: &str = "site:wiki.test";
const PLATFORM: &str = "platform:mediawiki";
/// What all of the wiki's Operations get.
const WIKI: [&str; 2] = ["site.wiki_name=A wiki", "site.platform=mediawiki"];
const ALL: [&str; 3] = ["nginx", "php-fpm", "mariadb"];

/// Lets the localdev's dispatcherd in, as an operator does on a server that is to be a minion.
fn joins(machine: &Machine, localdev: &Localdev) -> Result<()> {
    let key = localdev.exec("web", &["cat", "/exchange/logins/dispatcherd.pub"])?;
    machine.shell(&format!(
        "install --directory --owner deploy --mode 0700 ~deploy/.ssh && echo '{key}' > ~deploy/.ssh/authorized_keys && \
         chown deploy ~deploy/.ssh/authorized_keys"
    ))?;
    localdev.until("sshd", || Ok(machine.shell("systemctl is-active ssh").is_ok().then_some(())))
}

/// Both servers as the frontend knows them, by their addresses: a database server knows who connects by its address.
fn servers(hosting: &Hosting, machine: &Machine) -> Result<[Value; 2]> {
    let said = hosting.localdev.exec("web", &["cat", "/exchange/hosts/minion.json"])?;
    let mut old: Value = serde_json::from_str(&said)?;
    let key = machine.shell("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub")?;
    let new = json!({"name": NEW, "address": hosting.address(NEW)?, "user": "deploy", "host_keys": [key]});
    old[0]["address"] = hosting.address("minion")?.into();
    Ok([old[0].take(), new])
}

/// Writes down, under a name for `submit`, what hosts an Operation gets and what they offer.
fn describe(hosting: &Hosting, name: &str, hosts: &[(&Value, &[&str])]) -> Result<()> {
    let offer = |(host, services): &(&Value, &[&str])| {
        let mut host = (*host).clone();
        host["services"] = services.iter().map(|service| (*service, json!({}))).collect();
        host
    };
    let hosts: Value = hosts.iter().map(offer).collect();
    hosting.sh("web", &format!("printf %s '{hosts}' > /tmp/{name}")).map(drop)
}

/// What a page of the wiki, and a file that was uploaded, say to its readers.
fn reads(hosting: &Hosting, minion: &str, text: &str) -> Result<()> {
    let (code, page) = hosting.page(minion, "wiki.test", "/index.php/Kept")?;
    ensure!(code == 200 && page.contains(text), "on {minion}: {code}, without {text:?}: {page}");
    let file = hosting.page(minion, "wiki.test", "/images/kept.txt")?;
    ensure!(file == (200, text.to_owned()), "the upload on {minion}: {file:?}");
    Ok(())
}

fn the_same(before: &str, after: &str) -> Result<()> {
    let only = |of: &str, not: &str| {
        of.lines().filter(|line| !not.lines().any(|it| it == *line)).map(str::to_owned).collect()
    };
    let (gone, left): (Vec<_>, Vec<_>) = (only(before, after), only(after, before));
    ensure!(gone.is_empty() && left.is_empty(), "left behind: {left:#?}, gone: {gone:#?}");
    Ok(())
}

#[test]
fn a_wiki_moves_to_debian_13_under_systemd_and_lives_there() -> Result<()> {
    let hosting = Hosting::of(Localdev::up()?)?;
    let localdev = &hosting.localdev;
    let machine =
        Machine::boot(localdev.container(NEW), "Dockerfile.host", "trixie", Some(&localdev.network()))?;
    joins(&machine, localdev)?;
    let [old, new] = servers(&hosting, &machine)?;
    describe(&hosting, "old", &[(&old, &ALL)])?;
    describe(&hosting, "new", &[(&new, &ALL)])?;
    describe(&hosting, "both", &[(&old, &ALL), (&new, &ALL)])?;

    // MediaWiki of Debian 13 runs with the PHP of both.
    let set_up = |minion: &str, hosts: &str, address: &str| {
        let address = format!("database_address={address}");
        let variables = [r#"services:=["nginx","php-fpm","mariadb"]"#, r#"tools:=["cron"]"#, &address];
        hosting.submit("minion.setup", &format!("host:{minion}"), hosts, &with(&variables))
    };
    let old_set_up = set_up("minion", "old", "0.0.0.0")?;
    machine.shell("apt-get update")?;
    let source = hosting.mediawiki(NEW)?;
    hosting.ends(&set_up(NEW, "new", "127.0.0.1")?, "succeeded")?;
    hosting.ends(&old_set_up, "succeeded")?;
    hosting.run("php_platform.deploy", PLATFORM, "both", &[&source, "source_kind=directory"])?;
    let empty = [hosting.all_of("minion")?, hosting.all_of(NEW)?];

    // From PHP 8.2 and MariaDB 10.11 to 8.4 and 11.8.
    hosting.sh("web", "umask 077 && printf 'correct horse battery' > /tmp/word")?;
    let secret = ["--secret", "admin_password=@/tmp/word"];
    let install = hosting.submit("mediawiki.install", SITE, "old", &[&with(&WIKI)[..], &secret].concat())?;
    hosting.ends(&install, "succeeded")?;
    hosting.write("minion", "wiki.test", "as it was")?;
    reads(&hosting, "minion", "as it was")?;
    let wiki = |operation: &str, hosts: &str, more: &[&str]| {
        hosting.run(&format!("mediawiki.{operation}"), SITE, hosts, &[&WIKI[..], more].concat())
    };
    let to = format!("destination={NEW}");
    wiki("migrate", "both", &[&to])?;
    reads(&hosting, NEW, "as it was")?;
    ensure!(!hosting.all_of("minion")?.contains("wiki.test"), "something of it is left where it was");

    // It comes up with its server, and so does the connection to that.
    machine.reboot()?;
    localdev.until("the wiki", || Ok(reads(&hosting, NEW, "as it was").is_ok().then_some(())))?;
    let states = machine.shell("systemctl is-active nginx php8.4-fpm mariadb cron ssh; true")?;
    ensure!(states.lines().all(|state| state == "active"), "{states}");
    let id = wiki("backup", "new", &[])?;
    let backup = format!("backup={}", &id[24..]);
    hosting.write(NEW, "wiki.test", "broken")?;
    reads(&hosting, NEW, "broken")?;

    // The backup is restored with its database on the Debian 12 server, which has no TLS: the client of Debian 13 would ask
    // for that by itself.
    let [old, new] = servers(&hosting, &machine)?;
    describe(&hosting, "apart", &[(&old, &["mariadb"]), (&new, &["nginx", "php-fpm", "mariadb"])])?;
    wiki("restore", "apart", &[&backup, "database_host=minion"])?;
    reads(&hosting, NEW, "as it was")?;
    let databases = hosting.sh(NEW, "mariadb --batch -e 'SHOW DATABASES'")?;
    ensure!(!databases.contains("aegir"), "the database did not move: {databases}");
    wiki("backup", "apart", &[])?;

    // What cron does for it, it does with the PHP of Debian 13 as well.
    let jobs = format!(
        "cd {SITES}/wiki.test && runuser -u $(stat -c %U current/private) -- ./cron && cat log/cron.log"
    );
    let jobs = hosting.sh(NEW, &jobs)?;
    ensure!(!jobs.contains("rror"), "{jobs}");

    hosting.run("mediawiki.disable", SITE, "apart", &WIKI[1..])?;
    hosting.run("mediawiki.delete", SITE, "apart", &["with_backups:=true"])?;
    the_same(&empty[0], &hosting.all_of("minion")?).context("on the Debian 12 minion")?;
    the_same(&empty[1], &hosting.all_of(NEW)?).context("on the Debian 13 server")
}
