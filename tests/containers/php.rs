//! A real PHP application on real servers: MediaWiki from Debian's archive, with nginx, php-fpm and MariaDB from there
//! too. All of it by `aegir run`, with two power cuts: of the node while it restores, of a server while a site moves there.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::hosting::{Hosting, SITES, same, with};
use crate::localdev::{Localdev, docker};

/// Of a wiki, beside its id: what all of its Operations get, whether they need it or not.
const WIKI: [&str; 2] = ["site.wiki_name=It's $(a) {{ wiki }}", "site.platform=mediawiki"];
const SERVICES: [&str; 3] = ["nginx", "php-fpm", "mariadb"];

/// Two servers that offer all that a site needs.
fn servers() -> Result<Hosting> {
    let hosting = Hosting::of(Localdev::pair()?)?;
    for minions in [&["minion"][..], &["minion2"], &["minion", "minion2"]] {
        let offer: Vec<_> = minions.iter().map(|minion| (*minion, &SERVICES[..])).collect();
        hosting.describe(&minions.join("-"), &offer)?;
    }
    Ok(hosting)
}

impl Hosting {
    /// Something was killed under it: it succeeds after all, by itself or because somebody tries it again, once.
    fn again(&self, id: &str) -> Result<()> {
        let mut asked = false;
        self.localdev.until("its success", || {
            let shown: Value = serde_json::from_str(&self.localdev.aegir(&["show", id, "--json"])?)?;
            match shown["summary"]["state"].as_str() {
                Some("succeeded") => return Ok(Some(())),
                Some("failed" | "lost") if asked => {
                    bail!("{shown:#}\n{}", self.localdev.aegir(&["log", id])?)
                }
                Some("failed" | "lost") => {
                    self.localdev.aegir(&["retry", id])?;
                    asked = true;
                }
                _ => {}
            }
            Ok(None)
        })
    }

    /// What a page of the wiki says to its readers.
    fn reads(&self, minion: &str, site: &str, text: &str) -> Result<()> {
        let (code, page) = self.page(minion, site, "/index.php/Kept")?;
        ensure!(
            code == 200 && page.contains(text),
            "{site} on {minion} answers {code}, without {text:?}: {page}"
        );
        let (code, file) = self.page(minion, site, "/images/kept.txt")?;
        ensure!(code == 200 && file == text, "the upload of {site} on {minion}: {code} {file:?}");
        Ok(())
    }

    /// Every file of a site, and the rows of its pages.
    fn site(&self, minion: &str, site: &str) -> Result<String> {
        let list = format!(
            "cd {SITES}/{site} && find . -type f ! -path '*/cache/*' ! -path './tmp/*' ! -path './log/*' -exec \
             sha256sum {{}} + | sort && name=$(basename $(readlink current)) && for db in $(mariadb -N -e 'SHOW \
             DATABASES' | grep \"$name\\$\"); do mariadb $db -e 'SELECT * FROM revision; SELECT * FROM page'; done"
        );
        self.localdev.exec(minion, &["sh", "-c", &list])
    }
}

/// Role drupal asks drush for the right things. There is no real one in Debian's archive.
fn drupal(hosting: &Hosting) -> Result<()> {
    let (localdev, site) = (&hosting.localdev, "site:drupal.test");
    let source = ["source=/var/www/html/tests/containers/drupal", "source_kind=directory"];
    hosting.run("php_platform.deploy", "platform:drupal", "minion", &source)?;
    let title = "site_title=A \"title\" of $(three) {{ words }}";
    hosting.run("drupal.install", site, "minion", &["platform=drupal", title])?;
    let page = hosting.page("minion", "drupal.test", "/")?;
    ensure!(page == (200, "A \"title\" of $(three) {{ words }}".to_owned()), "{page:?}");

    let link = hosting.run("drupal.login_link", site, "minion", &[])?;
    ensure!(!localdev.aegir(&["log", &link, "--all"])?.contains("let-me-in"), "the log shows the link");
    ensure!(localdev.aegir(&["documents", site])?.contains("login_link"), "the link was not handed over");

    let id = hosting.run("drupal.backup", site, "minion", &[])?;
    hosting.run("drupal.restore", site, "minion", &[&format!("backup={}", &id[24..])])?;
    let log = localdev.exec("minion", &["cat", &format!("{SITES}/drupal.test/tmp/drush.log")])?;
    let asked: Vec<_> =
        log.lines().filter_map(|line| line.split_once("drupal.test ")).map(|(_, it)| it).collect();
    let install = format!(
        "site:install --yes --{} --account-name=admin --locale=en -- standard",
        title.replace('_', "-")
    );
    let install = install.replace("site-title", "site-name");
    ensure!(asked.len() == 6 && asked[0].ends_with(&install), "{log}");
    let status = "core:status --field=bootstrap";
    let rest = [status, "user:login --no-browser --uid=1", "updatedb --yes", "cache:rebuild", status];
    ensure!(asked[1..] == rest, "{log}");

    hosting.run("drupal.disable", site, "minion", &[])?;
    hosting.run("drupal.delete", site, "minion", &["with_backups:=true"])?;
    hosting.run("php_platform.delete", "platform:drupal", "minion", &[])?;
    ensure!(!hosting.all_of("minion")?.contains("drupal"), "something of it is left");
    Ok(())
}

#[test]
fn a_wiki_is_installed_restored_cloned_moved_and_deleted_through_power_cuts() -> Result<()> {
    let hosting = servers()?;
    let localdev = &hosting.localdev;
    let wiki = |operation: &str, site: &str, minions: &str, more: &[&str]| {
        hosting.run(
            &format!("mediawiki.{operation}"),
            &format!("site:{site}"),
            minions,
            &[&WIKI[..], more].concat(),
        )
    };

    let services = [r#"services:=["nginx","php-fpm","mariadb"]"#];
    let both = ["minion", "minion2"]
        .map(|minion| hosting.submit("minion.setup", &format!("host:{minion}"), minion, &with(&services)));
    for id in both {
        hosting.ends(&id?, "succeeded")?;
    }
    // What a host offers and does not run is seen, and set up again.
    localdev.exec("minion2", &["service", "nginx", "stop"])?;
    let verify = hosting.submit("minion.verify", "host:minion2", "minion2", &[])?;
    let down = hosting.ends(&verify, "failed")?;
    ensure!(down["reason"]["message"].as_str().is_some_and(|why| why.contains("offers nginx,")), "{down:#}");
    hosting.run("minion.setup", "host:minion2", "minion2", &services)?;
    let seen: Value = serde_json::from_str(&localdev.aegir(&["documents", "host:minion2", "host"])?)?;
    ensure!(seen["services"]["nginx"]["running"] == true && seen["free_megabytes"].is_u64(), "{seen:#}");
    let source = hosting.mediawiki("minion")?;
    let platform = "platform:mediawiki";
    hosting.run("php_platform.deploy", platform, "minion-minion2", &[&source, "source_kind=directory"])?;
    drupal(&hosting)?;
    let empty = hosting.all_of("minion2")?;

    // A new wiki, with a page and an upload; its settings are nobody's but its own.
    localdev.exec("web", &["sh", "-c", "umask 077 && printf 'correct horse {{ 7*7 }}' > /tmp/word"])?;
    let secret = ["--secret", "admin_password=@/tmp/word"];
    let install = hosting.submit(
        "mediawiki.install",
        "site:wiki.test",
        "minion",
        &[&with(&WIKI)[..], &secret].concat(),
    )?;
    hosting.ends(&install, "succeeded")?;
    hosting.write("minion", "wiki.test", "as it was")?;
    hosting.reads("minion", "wiki.test", "as it was")?;
    ensure!(hosting.page("minion", "wiki.test", "/index.php/Kept")?.1.contains("It&#039;s $(a) {{ wiki }}"));
    for hidden in ["/LocalSettings.php", "/maintenance/update.php", "/includes/Setup.php", "/.aegir-php-site"]
    {
        ensure!(hosting.page("minion", "wiki.test", hidden)?.0 == 404, "{hidden} is shown");
    }
    let settings = format!("{SITES}/wiki.test/current/settings/settings.json");
    let read = ["runuser", "-u", "www-data", "--", "cat", &settings];
    ensure!(localdev.exec("minion", &read).is_err(), "the web server reads the settings");

    // A link among the uploads shows nothing that is not the site's, though nginx may read it.
    let plant = format!(
        "cd {SITES}/wiki.test/current/code/images && runuser -u $(stat -c %U .) -- ln -s /var/log/nginx/access.log log.txt"
    );
    localdev.exec("minion", &["sh", "-c", &plant])?;
    let (_, page) = hosting.page("minion", "wiki.test", "/images/log.txt")?;
    ensure!(!page.contains("GET /"), "a link of the site's shows {page}");
    localdev.exec("minion", &["rm", &format!("{SITES}/wiki.test/current/code/images/log.txt")])?;

    // Another target of that name is none of its own.
    let other = hosting.submit("mediawiki.disable", "site:wiki.test", "minion", &["--target-id", "17"])?;
    let refused = hosting.ends(&other, "failed")?;
    ensure!(refused["reason"]["code"] == "site_taken", "{refused:#}");

    // A backup, and something that it is for.
    let id = wiki("backup", "wiki.test", "minion", &[])?;
    let backup = format!("backup={}", &id[24..]);
    hosting.write("minion", "wiki.test", "broken")?;

    // The node loses its power while a restore builds. The site is what it was before, until it is tried again.
    let variables = [&WIKI[..], &[&backup]].concat();
    let restore = hosting.submit("mediawiki.restore", "site:wiki.test", "minion", &with(&variables))?;
    let appears = |minion: &str, path: &str| {
        localdev.until(path, || Ok(localdev.exec(minion, &["test", "-e", path]).is_ok().then_some(())))
    };
    appears("minion", &format!("{SITES}/wiki.test/instances/{}/instance.json", &restore[24..]))?;
    let nodes = ["dispatcherd", "dispatcherd2"].map(|node| localdev.container(node));
    docker(&[&["kill"][..], &nodes.each_ref().map(String::as_str)].concat())?;
    let current = localdev.exec("minion", &["readlink", &format!("{SITES}/wiki.test/current")])?;
    ensure!(current.ends_with(&install[24..]), "the power was cut too late: {current}");
    ensure!(hosting.page("minion", "wiki.test", "/index.php/Kept")?.0 == 503, "it is not offline");
    docker(&[&["start"][..], &nodes.each_ref().map(String::as_str)].concat())?;
    hosting.again(&restore)?;
    hosting.reads("minion", "wiki.test", "as it was")?;
    let instances = localdev.exec("minion", &["ls", "-A", &format!("{SITES}/wiki.test/instances")])?;
    ensure!(instances == restore[24..], "of the restore there is more than its own instance: {instances}");

    // A clone of it, changed by itself.
    wiki("clone", "copy.test", "minion", &["from_site=wiki.test"])?;
    hosting.reads("minion", "copy.test", "as it was")?;
    hosting.write("minion", "copy.test", "of the clone")?;
    hosting.reads("minion", "wiki.test", "as it was")?;

    // The other server loses its power while the clone moves there: nobody gets in meanwhile, and nothing is lost.
    let neighbour = hosting.site("minion", "wiki.test")?;
    let variables = [&WIKI[..], &["destination=minion2"]].concat();
    let migrate =
        hosting.submit("mediawiki.migrate", "site:copy.test", "minion-minion2", &with(&variables))?;
    appears("minion2", &format!("{SITES}/copy.test/instances/{}/instance.json", &migrate[24..]))?;
    let power = localdev.container("minion2");
    docker(&["kill", &power])?;
    hosting.ends(&migrate, "failed")?;
    hosting.reads("minion", "copy.test", "of the clone")?;
    let instances = localdev.exec("minion", &["ls", "-A", &format!("{SITES}/copy.test/instances")])?;
    ensure!(instances.lines().count() == 1, "{instances}");
    hosting.write("minion", "copy.test", "of the last moment")?;
    docker(&["start", &power])?;
    localdev.until("its health", || {
        Ok(localdev.exec("minion2", &["/usr/local/bin/entrypoint", "healthy"]).is_ok().then_some(()))
    })?;
    hosting.again(&migrate)?;
    hosting.reads("minion2", "copy.test", "of the last moment")?;
    ensure!(!hosting.all_of("minion")?.contains("copy.test"), "something of it is left where it was");

    // A site that is in use is not deleted; of one that was, nothing is left.
    let delete = hosting.submit("mediawiki.delete", "site:copy.test", "minion2", &[])?;
    let refused = hosting.ends(&delete, "failed")?;
    ensure!(refused["reason"]["code"] == "site_not_disabled", "{refused:#}");
    hosting.run("mediawiki.disable", "site:copy.test", "minion2", &[])?;
    ensure!(hosting.page("minion2", "copy.test", "/index.php/Kept")?.0 == 503);
    hosting.run("mediawiki.delete", "site:copy.test", "minion2", &["with_backups:=true"])?;
    same(&empty, &hosting.all_of("minion2")?)?;

    // The neighbour did not notice any of it, and its platform can't be taken from it.
    ensure!(hosting.site("minion", "wiki.test")? == neighbour, "something of wiki.test was changed");
    hosting.reads("minion", "wiki.test", "as it was")?;
    let delete = hosting.submit("php_platform.delete", platform, "minion", &[])?;
    let refused = hosting.ends(&delete, "failed")?;
    ensure!(refused["reason"]["code"] == "platform_in_use", "{refused:#}");
    ensure!(
        refused["reason"]["message"].as_str().is_some_and(|why| why.contains("wiki.test")),
        "{refused:#}"
    );
    Ok(())
}
