//! A wiki whose web server, database and backups are on different servers, that is visited by HTTPS, and that cron works
//! for.

use aegir_testkit::authority::{Authority, Identity};
use anyhow::{Context as _, Result, ensure};

use crate::hosting::{Hosting, SITES, same, with};
use crate::localdev::Localdev;

const SITE: &str = "secure.test";
const BACKUPS: &str = "/var/lib/aegir/backups/secure.test";
/// Where files are that somebody could have written a secret into.
const EVERYWHERE: &str = "/etc /exchange /home /opt /root /run /srv /tmp /usr/local /var";

/// One wiki with the certificate that it has at the time.
struct Wiki {
    hosting: Hosting,
    authority: Authority,
    certificate: String,
}

impl Wiki {
    fn new(hosting: Hosting) -> Result<Self> {
        let mut wiki = Self { hosting, authority: Authority::new()?, certificate: String::new() };
        wiki.certified()?;
        Ok(wiki)
    }

    /// From now on it has a certificate of another authority.
    fn certified(&mut self) -> Result<Identity> {
        self.authority = Authority::new()?;
        let identity = self.authority.issue(SITE)?;
        self.certificate = format!("site.certificate={}", identity.certificate);
        for (file, content) in [("key.pem", &identity.key[..]), ("ca.pem", self.authority.certificate())] {
            let write = format!("umask 077 && printf %s '{content}' > /tmp/{file}");
            self.hosting.sh("web", &write)?;
        }
        Ok(identity)
    }

    fn submit(&self, operation: &str, more: &[&str]) -> Result<String> {
        let variables = with(&["site.platform=mediawiki", "site.wiki_name=Secure", &self.certificate]);
        let secret = ["--secret", "site.certificate_key=@/tmp/key.pem"];
        let target = format!("site:{SITE}");
        let rest = [&variables[..], &secret, more].concat();
        self.hosting.submit(&format!("mediawiki.{operation}"), &target, "apart", &rest)
    }

    fn run(&self, operation: &str, more: &[&str]) -> Result<String> {
        let id = self.submit(operation, more)?;
        self.hosting.ends(&id, "succeeded")?;
        Ok(id)
    }

    /// What curl says of a page, by HTTPS with the authority of the certificate and no other.
    fn curl(&self, words: &[&str]) -> Result<String> {
        let address = self.hosting.address("minion")?;
        let [http, https] = [80, 443].map(|port| format!("{SITE}:{port}:{address}"));
        let fixed = ["--cacert", "/tmp/ca.pem", "--resolve", &http, "--resolve", &https];
        let words = [&["curl", "--silent", "--show-error"], &fixed[..], words].concat();
        self.hosting.localdev.exec("web", &words)
    }

    fn reads(&self, text: &str) -> Result<()> {
        let page = self.curl(&["--fail", &format!("https://{SITE}/index.php/Kept")])?;
        ensure!(page.contains(text), "without {text:?}: {page}");
        let file = self.curl(&["--fail", &format!("https://{SITE}/images/kept.txt")])?;
        ensure!(file == text, "the upload is {file:?}");
        Ok(())
    }

    fn status(&self) -> Result<String> {
        self.curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &format!("https://{SITE}/")])
    }

    /// What cron is told to do for the site, as it stands in its file.
    fn cron(&self) -> Result<String> {
        self.hosting.sh("minion", "cat /etc/cron.d/aegir-*")
    }

    /// The wiki has something to do for cron.
    fn job(&self) -> Result<()> {
        let job = "INSERT INTO job (job_cmd, job_namespace, job_title, job_params, job_sha1) VALUES ('null', 0, '', \
                   'a:2:{s:5:\"lives\";i:0;s:6:\"usleep\";i:0;}', '');";
        let insert = format!(
            "cd {SITES}/{SITE}/current && printf %s '{}' | mariadb --defaults-file=settings/client.cnf $(basename \
             $(sed -n 's/^user=.\\(.*\\).$/\\1/p' settings/client.cnf))",
            job.replace('\'', "'\\''")
        );
        self.hosting.sh("minion", &insert).map(drop)
    }

    fn cron_log(&self) -> Result<String> {
        let log = format!("{SITES}/{SITE}/log/cron.log");
        self.hosting.sh("minion", &format!("[ ! -e {log} ] || {{ stat -c %U {log}; cat {log}; }}"))
    }
}

/// Nothing but the file for nginx holds the key: no log, no journal, and no database of anybody's.
fn keeps_its_key(wiki: &Wiki, identity: &Identity) -> Result<()> {
    let line = identity.key.lines().nth(1).context("a key of one line")?;
    let localdev = &wiki.hosting.localdev;
    // The exit code of grep is that of a file that went meanwhile, too.
    let grep = format!("grep -rlF -e '{line}' {EVERYWHERE} 2>/dev/null; true");
    for container in ["relayd", "dispatcherd", "dispatcherd2", "rabbitmq", "minion2"] {
        let found = localdev.exec(container, &["sh", "-c", &grep])?;
        ensure!(found.is_empty(), "on {container} the key is in {found}");
    }
    let found = localdev.exec("minion", &["sh", "-c", &grep])?;
    ensure!(found.starts_with(&format!("{SITES}/{SITE}/tls/")) && found.ends_with("/key.pem"), "{found}");
    ensure!(found.lines().count() == 1, "the key is in {found}");
    let about = wiki.hosting.sh("minion", &format!("stat -c '%U %a' {found}"))?;
    ensure!(about == "root 600", "{found} is {about}");
    Ok(())
}

/// The database is on the other server, and the site's user comes in from its web server only.
fn lets_in_its_web_server_only(wiki: &Wiki) -> Result<()> {
    let hosting = &wiki.hosting;
    let web = hosting.address("minion")?;
    let users = "mariadb -N -e \"SELECT DISTINCT Host FROM mysql.user WHERE User LIKE 'aegir%'; SELECT Host, \
                 Drop_priv, Grant_priv FROM mysql.db WHERE User LIKE 'aegir%'; SHOW DATABASES LIKE 'aegir%'\"";
    let said = hosting.sh("minion2", users)?;
    let lines: Vec<_> = said.lines().collect();
    ensure!(lines.len() == 3 && lines[0] == web && lines[1] == format!("{web}\tY\tN"), "{said}");

    let client = format!("{SITES}/{SITE}/current/settings/client.cnf");
    let ask = format!("mariadb --defaults-file={client} -e 'SELECT 1'");
    hosting.sh("minion", &ask)?;
    let settings = hosting.sh("minion", &format!("cat {client}"))?;
    let elsewhere = format!(
        "umask 077; printf %s '{settings}' > /root/client.cnf; mariadb --defaults-file=/root/client.cnf -e 'SELECT 1' \
         2>&1; rm /root/client.cnf"
    );
    let said = hosting.sh("minion2", &elsewhere)?;
    ensure!(said.contains("is not allowed to connect"), "from its own server the database is open: {said}");
    Ok(())
}

#[test]
fn a_wiki_has_its_database_and_its_backups_on_another_server() -> Result<()> {
    let hosting = Hosting::of(Localdev::pair()?)?;
    hosting.describe("web", &[("minion", &["nginx", "php-fpm"])])?;
    hosting.describe("database", &[("minion2", &["mariadb"])])?;
    hosting.describe("apart", &[("minion", &["nginx", "php-fpm"]), ("minion2", &["mariadb"])])?;
    let web = [r#"services:=["nginx","php-fpm"]"#, r#"tools:=["cron"]"#];
    let database = [r#"services:=["mariadb"]"#, "database_address=0.0.0.0"];
    let both = [
        hosting.submit("minion.setup", "host:minion", "web", &with(&web))?,
        hosting.submit("minion.setup", "host:minion2", "database", &with(&database))?,
    ];
    for id in both {
        hosting.ends(&id, "succeeded")?;
    }
    let source = hosting.mediawiki("minion")?;
    hosting.run("php_platform.deploy", "platform:mediawiki", "web", &[&source, "source_kind=directory"])?;
    let empty = [hosting.all_of("minion")?, hosting.all_of("minion2")?];

    let mut wiki = Wiki::new(hosting)?;
    let identity = wiki.certified()?;
    wiki.hosting.sh("web", "umask 077 && printf 'correct horse battery' > /tmp/word")?;
    wiki.run("install", &["--secret", "admin_password=@/tmp/word"])?;
    wiki.hosting.write("minion", SITE, "as it was")?;
    wiki.reads("as it was")?;
    let head = wiki.curl(&["--head", &format!("http://{SITE}/index.php/Kept?a=b")])?;
    ensure!(
        head.starts_with("HTTP/1.1 301") && head.contains(&format!("https://{SITE}/index.php/Kept?a=b")),
        "{head}"
    );
    keeps_its_key(&wiki, &identity)?;
    lets_in_its_web_server_only(&wiki)?;

    // Cron does what the site's file says, only more often, while a backup goes to the other server.
    ensure!(wiki.cron()?.contains("*/5 * * * *"), "{}", wiki.cron()?);
    wiki.job()?;
    wiki.hosting.sh("minion", "sed -i 's|^[*]/5 |* |' /etc/cron.d/aegir-*")?;
    let elsewhere = ["--var", "backup_host=minion2"];
    let backup = wiki.run("backup", &elsewhere)?[24..].to_owned();
    wiki.hosting.sh("minion", &format!("! test -e {BACKUPS}"))?;
    let kept = wiki.hosting.sh("minion2", &format!("stat -c '%U %a' {BACKUPS}/{backup}"))?;
    ensure!(kept == "root 700", "the backup is {kept}");
    let user = wiki.hosting.sh("minion", &format!("stat -c %U {SITES}/{SITE}/current/private"))?;
    let done = || Ok(Some(wiki.cron_log()?).filter(|log| log.contains("null ")));
    let cron = wiki.hosting.localdev.until("the work of cron", done)?;
    ensure!(cron.starts_with(&user), "cron worked as another user: {cron}");

    // From there it is restored; one that is not whole any more changes nothing, and leaves nothing.
    let of_backup = format!("backup={backup}");
    let from = [&elsewhere[..], &["--var", &of_backup]].concat();
    wiki.hosting.write("minion", SITE, "broken")?;
    wiki.run("restore", &from)?;
    wiki.reads("as it was")?;
    lets_in_its_web_server_only(&wiki)?;
    let here = wiki.hosting.sh("minion", &format!("ls -A {BACKUPS}"))?;
    ensure!(here.lines().count() == 1 && here != backup, "beside the safety backup there is more: {here}");
    wiki.hosting.sh("minion2", &format!("echo more >> {BACKUPS}/{backup}/database.sql.gz"))?;
    let damaged = wiki.submit("restore", &from)?;
    wiki.hosting.fails(&damaged, &["damaged", "database.sql.gz"])?;
    wiki.reads("as it was")?;
    ensure!(wiki.hosting.sh("minion", &format!("ls -A {BACKUPS}"))? == here, "it left something behind");

    // Another certificate takes the place of the first.
    let identity = wiki.certified()?;
    ensure!(wiki.reads("as it was").is_err(), "the new authority has nothing to do with it yet");
    wiki.run("verify", &[])?;
    wiki.reads("as it was")?;
    keeps_its_key(&wiki, &identity)?;
    let certificates = wiki.hosting.sh("minion", &format!("ls -A {SITES}/{SITE}/tls"))?;
    ensure!(certificates.lines().count() == 1, "the certificate before is still there: {certificates}");
    ensure!(wiki.cron()?.contains("*/5 * * * *"), "cron was not written anew: {}", wiki.cron()?);

    // What is not said again holds: its certificate, its name, where its uploads are.
    wiki.hosting.run("mediawiki.verify", &format!("site:{SITE}"), "apart", &[])?;
    wiki.reads("as it was")?;
    let name = wiki.curl(&["--fail", &format!("https://{SITE}/index.php/Kept")])?;
    ensure!(name.contains("Secure"), "the wiki has lost its name: {name}");

    // Cron does nothing for a site that is disabled, and of one that is deleted nothing is left on either server.
    wiki.run("disable", &[])?;
    ensure!(wiki.status()? == "503");
    wiki.job()?;
    let before = wiki.cron_log()?;
    let cron = wiki.cron()?;
    let command = cron.lines().last().and_then(|line| line.split(' ').next_back()).context("no command")?;
    let script = format!("runuser -u {user} -- {command}");
    wiki.hosting.sh("minion", &script)?;
    ensure!(wiki.cron_log()? == before, "cron worked for a disabled site");
    wiki.run("delete", &["--var", "with_backups:=true"])?;
    let target = format!("site:{SITE}");
    wiki.hosting.run("mediawiki.backup_delete", &target, "apart", &[&of_backup])?;
    for (minion, empty) in ["minion", "minion2"].iter().zip(&empty) {
        same(empty, &wiki.hosting.all_of(minion)?).with_context(|| format!("on {minion}"))?;
    }
    Ok(())
}
