//! Servers that PHP applications live on, in a localdev, and what the tests ask of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deploy::get;
use crate::localdev::{Localdev, docker, root};

pub(crate) const SITES: &str = "/var/lib/aegir/sites";

/// A localdev, and code for its platforms.
pub(crate) struct Hosting {
    pub(crate) localdev: Localdev,
    code: TempDir,
}

impl Hosting {
    pub(crate) fn of(localdev: Localdev) -> Result<Self> {
        // A content root of the localdev's dispatcherd is the repository.
        let target = root().join("target");
        std::fs::create_dir_all(&target)?;
        let code = tempfile::Builder::new().prefix("code-").tempdir_in(target)?;
        Ok(Self { localdev, code })
    }

    /// Writes down, under a name for `submit`, which minions an Operation gets and what they offer.
    pub(crate) fn describe(&self, name: &str, minions: &[(&str, &[&str])]) -> Result<()> {
        let mut hosts = Vec::new();
        for (minion, services) in minions {
            let said = self.localdev.exec("web", &["cat", &format!("/exchange/hosts/{minion}.json")])?;
            let mut host: Vec<Value> = serde_json::from_str(&said)?;
            host[0]["services"] = services.iter().map(|service| (*service, json!({}))).collect();
            hosts.append(&mut host);
        }
        self.localdev
            .exec("web", &["sh", "-c", &format!("printf %s '{}' > /tmp/{name}", Value::from(hosts))])
            .map(drop)
    }

    /// A directory with code that is made of another one of the repository, as a source of a platform.
    pub(crate) fn code(&self, name: &str, from: &str) -> Result<(String, std::path::PathBuf)> {
        let to = self.code.path().join(name);
        let copied = Command::new("cp").arg("-R").arg(root().join(from)).arg(&to).status()?;
        ensure!(copied.success(), "{from} can't be copied");
        Ok((self.source(&to)?, to))
    }

    /// How dispatcherd sees a directory of the code. Whoever it runs as must get in.
    fn source(&self, directory: &Path) -> Result<String> {
        let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(self.code.path()).status()?;
        ensure!(opened.success());
        let below = directory.strip_prefix(root()).context("the code is not below the repository")?;
        Ok(format!("source=/var/www/html/{}", below.display()))
    }

    /// MediaWiki as the package of a minion's Debian has it, in one directory. Translations are left out: nobody reads them
    /// here.
    pub(crate) fn mediawiki(&self, minion: &str) -> Result<String> {
        let script = "set -e; mkdir /var/tmp/code && cd /var/tmp/code && apt-get download mediawiki mediawiki-classes >&2; \
                      for package in *.deb; do dpkg-deb -x $package .; done; cd usr/share/mediawiki; find . -type l \
                      -delete; mkdir images extensions; mv extensions-core/ParserFunctions extensions/; rm -r \
                      extensions-core; find . -path '*i18n*' -name '*.json' ! -name 'en*.json' -delete";
        self.sh(minion, script)?;
        let from = format!("{}:/var/tmp/code/usr/share/mediawiki/.", self.localdev.container(minion));
        let to = self.code.path().join("mediawiki");
        docker(&["cp", "--quiet", &from, &to.display().to_string()])?;
        self.sh(minion, "rm -r /var/tmp/code")?;
        self.source(&to)
    }

    /// Asks for an Operation on these minions and gives its id.
    pub(crate) fn submit(
        &self,
        operation: &str,
        target: &str,
        minions: &str,
        rest: &[&str],
    ) -> Result<String> {
        let hosts = format!("/tmp/{minions}");
        let words = ["run", operation, "--target", target, "--hosts-file", &hosts, "--json"];
        let said = self.localdev.aegir(&[&words[..], rest].concat())?;
        let operation: Value = serde_json::from_str(&said).context("no JSON")?;
        Ok(operation["id"].as_str().context("no id")?.to_owned())
    }

    /// Its latest attempt, which must have ended in this way.
    pub(crate) fn ends(&self, id: &str, outcome: &str) -> Result<Value> {
        let attempt = self.localdev.until_it_ends(id)?;
        if attempt["outcome"] != outcome {
            bail!("{attempt:#}\n{}", self.localdev.aegir(&["log", id])?);
        }
        Ok(attempt)
    }

    pub(crate) fn run(
        &self,
        operation: &str,
        target: &str,
        minions: &str,
        variables: &[&str],
    ) -> Result<String> {
        let id = self.submit(operation, target, minions, &with(variables))?;
        self.ends(&id, "succeeded")?;
        Ok(id)
    }

    /// It fails, and says this of it.
    pub(crate) fn fails(&self, id: &str, reasons: &[&str]) -> Result<()> {
        let refused = self.ends(id, "failed")?;
        let part = |name: &str| refused["reason"][name].as_str().unwrap_or_default();
        let why = format!("{}: {}", part("code"), part("message"));
        for reason in reasons {
            ensure!(why.contains(reason), "it does not say {reason:?}: {refused:#}");
        }
        Ok(())
    }

    pub(crate) fn address(&self, minion: &str) -> Result<String> {
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "--format", address, &self.localdev.container(minion)])
    }

    pub(crate) fn page(&self, minion: &str, site: &str, path: &str) -> Result<(u16, String)> {
        get(&format!("http://{}{path}", self.address(minion)?), site)
    }

    /// A shell's script on a minion.
    pub(crate) fn sh(&self, minion: &str, script: &str) -> Result<String> {
        self.localdev.exec(minion, &["sh", "-c", script])
    }

    /// Writes a page by the wiki's own means, and a file where uploads are.
    pub(crate) fn write(&self, minion: &str, site: &str, text: &str) -> Result<()> {
        let script = format!(
            "cd {SITES}/{site}/current/code && user=$(stat -c %U ../private) && \
             printf %s '{text}' | runuser -u $user -- env TMPDIR={SITES}/{site}/tmp php maintenance/edit.php \
             --user Admin Kept && \
             printf %s '{text}' | runuser -u $user -- tee images/kept.txt"
        );
        self.sh(minion, &script).map(drop)
    }

    /// All that is on a server but what every program there changes, and what a module of Ansible's has left that ran when
    /// the power was cut.
    pub(crate) fn all_of(&self, minion: &str) -> Result<String> {
        let list = "find /etc /home /opt /root /run/php /srv /tmp /usr/local /var -xdev \\( -path /var/lib/mysql -o \
                    -path /var/log -o -path /var/lib/nginx -o -path /var/lib/aegir-minion -o -path \
                    '/tmp/ansible_*' \\) -prune -o \
                    ! -name '*-' ! -name '*.pid' ! -type d -printf '%p %s %m %U %l\\n' | sort; \
                    [ ! -e /etc/mysql/debian-start ] || mariadb --batch -e 'SHOW DATABASES; SELECT User, Host FROM \
                    mysql.user; SELECT * FROM mysql.db'";
        self.sh(minion, list)
    }
}

pub(crate) fn with<'a>(variables: &[&'a str]) -> Vec<&'a str> {
    variables.iter().flat_map(|variable| ["--var", variable]).collect()
}

/// What there is now is what there was before.
pub(crate) fn same(before: &str, now: &str) -> Result<()> {
    let lacks = |all: &str, line: &str| !all.lines().any(|other| other == line);
    let more: Vec<_> = now.lines().filter(|line| lacks(before, line)).collect();
    let gone: Vec<_> = before.lines().filter(|line| lacks(now, line)).collect();
    ensure!(before == now, "there is more: {more:#?}, and this is gone: {gone:#?}");
    Ok(())
}
