//! What code of sites may do to a server, and what becomes of a site when its code fails.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::hosting::{Hosting, SITES, same, with};
use crate::localdev::{Localdev, docker};

const DIRECTORY: &str = "source_kind=directory";
const SHOP: &str = "shop.test";
const TITLE: &str = "Shoes & {{ boots }}";

/// The code is changed in one place.
fn replaced(file: &Path, what: &str, with: &str) -> Result<()> {
    let before = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    ensure!(before.contains(what), "{} has no {what:?}", file.display());
    Ok(fs::write(file, before.replacen(what, with, 1))?)
}

/// Nothing is left of composer and its plug-ins: no user, no process, no file of theirs.
fn nobody_is_left(hosting: &Hosting) -> Result<()> {
    let look = "getent passwd | grep aegir-code; grep -l '[s]leep.1000' /proc/[0-9]*/cmdline; \
                find /tmp /var/lib/aegir -name lodger -type f -o -name .composer -o -nouser; true";
    let left = hosting.sh("minion", look)?;
    ensure!(left.is_empty(), "composer has left {left}");
    Ok(())
}

/// Composer installs what a real lock names, by path. Of what its plug-in would like to do nothing succeeds.
fn composer(hosting: &Hosting) -> Result<()> {
    let from = "tests/containers/composer";
    let deploy = |name: &str, change: &dyn Fn(&Path) -> Result<()>| {
        let (source, directory) = hosting.code(name, from)?;
        change(&directory)?;
        let variables = with(&[&source, DIRECTORY]);
        hosting.submit("php_platform.deploy", "platform:packages", "minion", &variables)
    };
    hosting.ends(&deploy("packages", &|_| Ok(()))?, "succeeded")?;
    nobody_is_left(hosting)?;
    let current = "/var/lib/aegir/platforms/packages/current";
    let release = hosting.sh("minion", &format!("readlink {current}"))?;
    let who = hosting.sh("minion", &format!("cat {current}/web/who.txt"))?;
    ensure!(who.starts_with("aegir-code-"), "composer ran as {who}");
    let of_others = format!("find -H {current} ! -user root -o -perm /7022 ! -type l");
    let of_others = hosting.sh("minion", &of_others)?;
    ensure!(of_others.is_empty(), "not only root may change {of_others}");
    hosting.sh("minion", &format!("! test -e {current}/web/a-script-was-run"))?;
    // Two packages, and the site uses one of them.
    let install = ["platform=packages", "document_root=web", "expected=Hello from a package, and 2"];
    hosting.run("php_site.install", "site:packages.test", "minion", &install)?;
    let page = hosting.page("minion", "packages.test", "/")?;
    ensure!(page == (200, "Hello from a package, and 2".to_owned()), "{page:?}");

    // A plug-in that links to something outside, and one that fails: no release comes of either.
    let touch = |file: &'static str| move |code: &Path| Ok(fs::write(code.join(file), "")?);
    hosting.fails(&deploy("leading-out", &touch("lead-out"))?, &["web/passwd.txt", "/etc/passwd"])?;
    nobody_is_left(hosting)?;
    hosting.fails(&deploy("refusing", &touch("refuse"))?, &["composer failed", "the lodger refuses"])?;
    nobody_is_left(hosting)?;
    ensure!(hosting.sh("minion", &format!("readlink {current}"))? == release, "the release has changed");
    Ok(())
}

/// Brings code to the minion, and gives the sources that it can be fetched from there: a git repository behind ssh, and an
/// archive behind HTTP.
fn served(hosting: &Hosting, git: &Path, archive: &Path) -> Result<[Vec<String>; 2]> {
    for (code, name) in [(git, "git"), (archive, "archive")] {
        let to = format!("{}:/root/{name}", hosting.localdev.container("minion"));
        docker(&["cp", "--quiet", &code.display().to_string(), &to])?;
    }
    let serve = "set -e; cd /root; umask 077; mkdir -p .ssh archives
        ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
        ssh-keygen -q -t ed25519 -N '' -f .ssh/host
        printf '%s\n' 'Port 2222' 'ListenAddress 127.0.0.1' 'HostKey /root/.ssh/host' 'PidFile none' \
            'AuthorizedKeysFile /root/.ssh/id_ed25519.pub' > .ssh/server
        /usr/sbin/sshd -f .ssh/server
        echo \"[127.0.0.1]:2222 $(cat .ssh/host.pub)\" > .ssh/known_hosts
        git init --quiet --bare code.git
        cd git; git init --quiet; git add .
        git -c user.name=me -c user.email=me@example.test commit --quiet --message 'Begin'
        git push --quiet /root/code.git HEAD:refs/heads/stable
        tar --directory /root/archive --create --gzip --file /root/archives/code.tar.gz .
        setsid python3 -m http.server 8099 --bind 127.0.0.1 --directory /root/archives > /dev/null 2>&1 &
        timeout 30 sh -c \"until python3 -c 'import socket; socket.create_connection((\\\"127.0.0.1\\\", 8099))' 2> \
            /dev/null; do :; done\"
        sha256sum /root/archives/code.tar.gz";
    let said = hosting.sh("minion", serve)?;
    let checksum = said.split(' ').next().context("no checksum")?;
    let git = ["source=ssh://root@127.0.0.1:2222/root/code.git", "source_kind=git", "ref=stable"];
    let archive = ["source=http://127.0.0.1:8099/code.tar.gz".to_owned(), format!("checksum={checksum}")];
    let archive = archive.into_iter().chain(["source_kind=archive".to_owned()]);
    Ok([git.map(str::to_owned).to_vec(), archive.collect()])
}

/// Everything of the shop, and of what it must not have left elsewhere.
fn shop(hosting: &Hosting) -> Result<String> {
    let page = hosting.page("minion", SHOP, "/")?;
    ensure!(page == (200, TITLE.to_owned()), "{page:?}");
    // But what PHP and drush's stand-in write down of all that happens.
    let logs = ["tmp", "log"].map(|directory| format!("{SITES}/{SHOP}/{directory}/"));
    let all = hosting.all_of("minion")?;
    let kept = all.lines().filter(|line| !logs.iter().any(|log| line.starts_with(log)));
    Ok(kept.collect::<Vec<_>>().join("\n"))
}

#[test]
fn code_that_fails_leaves_the_site_that_there_is() -> Result<()> {
    let hosting = Hosting::of(Localdev::up()?)?;
    hosting.describe("minion", &[("minion", &["nginx", "php-fpm", "mariadb"])])?;
    let services = [r#"services:=["nginx","php-fpm","mariadb"]"#, r#"tools:=["composer"]"#];
    hosting.run("minion.setup", "host:minion", "minion", &services)?;
    composer(&hosting)?;

    // A platform for each thing that can be wrong with it.
    let drupal = "tests/containers/drupal";
    let fails = "if (in_array('updatedb', $words, true)) {\n    fwrite(STDERR, 'update 8001 of shop fails');\n    \
                 exit(3);\n}\n$d = ";
    let (_, good) = hosting.code("good", drupal)?;
    let (unparsable, code) = hosting.code("unparsable", drupal)?;
    replaced(&code.join("web/index.php"), "$database = ", "$database = = ")?;
    let (_, unupdatable) = hosting.code("unupdatable", drupal)?;
    replaced(&unupdatable.join("vendor/bin/drush"), "$d = ", fails)?;
    let [git, archive] = served(&hosting, &good, &unupdatable)?;
    let directory = vec![unparsable, DIRECTORY.to_owned()];
    for (platform, source) in [("good", &git), ("unparsable", &directory), ("unupdatable", &archive)] {
        let source: Vec<_> = source.iter().map(String::as_str).collect();
        hosting.run("php_platform.deploy", &format!("platform:{platform}"), "minion", &source)?;
    }
    let release = hosting.sh("minion", "readlink /var/lib/aegir/platforms/good/current")?;
    let commit = hosting.sh("minion", "git -C /root/git rev-parse HEAD")?;
    ensure!(release.ends_with(&commit), "the release {release} does not have the name of commit {commit}");
    // The frontend knows the site by another name than its visitors.
    let target = format!("site:{SHOP}");
    let of_shop = |operation: &str, variables: &[&str]| {
        let rest = [&["--target-id", "node-7"], &with(variables)[..]].concat();
        hosting.submit(&format!("drupal.{operation}"), &target, "minion", &rest)
    };
    let run = |operation: &str, variables: &[&str]| {
        let id = of_shop(operation, variables)?;
        hosting.ends(&id, "succeeded")?;
        anyhow::Ok(id[24..].to_owned())
    };
    run("install", &["platform=good", "memory:=1024", &format!("site_title={TITLE}")])?;
    let backup = format!("backup={}", run("backup", &[])?);
    let before = shop(&hosting)?;

    // To a platform whose code fails the site does not go.
    let update = ["Bring the database up to the code", "update 8001 of shop fails"];
    let unparsable = of_shop("migrate", &["platform=unparsable", "patience:=2"])?;
    hosting.fails(&unparsable, &["codebase_broken", "Parse error", "web/index.php"])?;
    same(&before, &shop(&hosting)?)?;
    let unupdatable = of_shop("migrate", &["platform=unupdatable"])?;
    hosting.fails(&unupdatable, &update)?;
    same(&before, &shop(&hosting)?)?;

    // A restore takes the platform's code, and not what became of the site's copy; nor is a backup put into code that does
    // not update it.
    let drush = format!("{SITES}/{SHOP}/current/code/vendor/bin/drush");
    let failing = "/var/lib/aegir/platforms/unupdatable/current/vendor/bin/drush";
    let release = "/var/lib/aegir/platforms/good/current/vendor/bin/drush";
    hosting.sh("minion", &format!("cp {failing} {drush}"))?;
    run("restore", &[&backup, "safety_backup:=false"])?;
    hosting.sh("minion", &format!("cmp {release} {drush} && grep -rl 1024M /etc/php/*/fpm/pool.d"))?;
    let before = shop(&hosting)?;
    hosting.sh("minion", &format!("cp -a {release} /root/drush && cp {failing} {release}"))?;
    let restore = of_shop("restore", &[&backup])?;
    hosting.fails(&restore, &update)?;
    hosting.sh("minion", &format!("mv /root/drush {release}"))?;
    same(&before, &shop(&hosting)?)?;

    // A clone by its other name. No application takes what another one has written.
    let from = ["platform=good", "from_site=node-7", "from_name=shop.test"];
    hosting.run("drupal.clone", "site:copy.test", "minion", &from)?;
    let page = hosting.page("minion", "copy.test", "/")?;
    ensure!(page == (200, TITLE.to_owned()), "{page:?}");
    hosting.run("drupal.disable", "site:copy.test", "minion", &[])?;
    hosting.run("drupal.delete", "site:copy.test", "minion", &["with_backups:=true"])?;
    same(&before, &shop(&hosting)?).context("the clone has left something")?;
    let other = hosting.submit("php_site.clone", "site:other.test", "minion", &with(&from))?;
    hosting.fails(&other, &["a site of drupal", "one of php_site"])?;
    same(&before, &shop(&hosting)?).context("what was not cloned has left something")?;

    // Back from being disabled, and without its backup.
    run("disable", &[])?;
    ensure!(hosting.page("minion", SHOP, "/")?.0 == 503);
    run("enable", &[])?;
    same(&before, &shop(&hosting)?)?;
    run("backup_delete", &[&backup])?;
    hosting.sh("minion", "! test -e /var/lib/aegir/backups/shop.test")?;
    hosting.fails(&of_shop("restore", &[&backup])?, &["there is no backup"])?;
    shop(&hosting).map(drop)
}
