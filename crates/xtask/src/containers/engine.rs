//! The Docker engine and docker compose: found, or what to do about it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::workspace;

/// The oldest compose that knows all that we ask of it: `up --wait-timeout`, and `ps --format` with a template.
const COMPOSE: (u32, u32) = (2, 21);

/// An engine that answers.
#[derive(Debug)]
pub(crate) struct Engine(());

impl Engine {
    /// Looks for the engine.
    ///
    /// # Errors
    /// When there is none, it does not run, or it is not for us; the message says what to do.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let asked = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
        let output = match asked {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no program \"docker\": install the engine (on Debian `apt-get install docker.io`), then \
                 try again"
            ),
            asked => asked.context("can't start docker")?,
        };
        if output.status.success() {
            return Ok(Self(()));
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("permission denied") {
            bail!(
                "the Docker engine is not for this user: join the group docker (`sudo usermod -aG docker $USER`, then \
                 log in anew), then try again ({said})"
            );
        }
        bail!(
            "the Docker engine does not run: start it (`sudo systemctl start docker`), then try again ({said})"
        );
    }

    /// `docker`, to be described further.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).current_dir(workspace::root());
        command
    }

    /// What docker prints.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.docker(arguments).output().context("can't start docker")?;
        if !output.status.success() {
            bail!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Whether there is such an image here.
    pub(crate) fn has_image(&self, name: &str) -> bool {
        self.ask(&["image", "inspect", "--format", "{{.Id}}", name]).is_ok()
    }

    /// A label of an image that is here.
    pub(crate) fn label(&self, image: &str, label: &str) -> Option<String> {
        let format = format!("{{{{index .Config.Labels {label:?}}}}}");
        self.ask(&["image", "inspect", "--format", &format, image]).ok()
    }
}

/// docker compose, version 2 or newer.
#[derive(Debug)]
pub(crate) struct Compose(Vec<String>);

impl Compose {
    /// Looks for a compose that is new enough, and on Debian fetches one that is into `target/tools/`.
    ///
    /// # Errors
    /// When there is none and none can be fetched; the message says what to do.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let fetched = tools().join("docker-compose");
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let candidates =
            [words(&["docker", "compose"]), words(&["docker-compose"]), vec![fetched.display().to_string()]];
        let mut old = Vec::new();
        for words in candidates {
            match version(&words) {
                Some(version) if number(&version) >= COMPOSE => return Ok(Self(words)),
                Some(version) => old.push(format!("`{}` is {version}", words.join(" "))),
                None => {}
            }
        }
        let found = if old.is_empty() { "there is no docker compose".to_owned() } else { old.join(", ") };
        println!(
            "{found}; version {} or newer is needed. Fetching it from Debian 13 into target/tools/",
            oldest()
        );
        fetch(&fetched).with_context(|| {
            format!(
                "{found}; version {} or newer is needed, and could not be fetched: install docker-compose-plugin, or \
                 Debian 13's docker-compose, then try again",
                oldest()
            )
        })?;
        let words = vec![fetched.display().to_string()];
        match version(&words) {
            Some(_) => Ok(Self(words)),
            None => bail!("{} does not run: remove it, then try again", fetched.display()),
        }
    }

    /// The command, to be described further.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.0.iter();
        let mut command = Command::new(words.next().map_or("docker", String::as_str));
        command.args(words).current_dir(workspace::root());
        command
    }
}

fn tools() -> PathBuf {
    workspace::target().join("tools")
}

fn version(words: &[String]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let output = Command::new(program).args(rest).args(["version", "--short"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The first two numbers of a version.
fn number(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn oldest() -> String {
    format!("{}.{}", COMPOSE.0, COMPOSE.1)
}

/// Takes the package of Debian 13 apart. It is a program without dependencies, and runs on Debian 12 as well.
const FETCH: &str = r#"
set -e
place=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$(dirname "$place")"
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main' \
    > "$work/sources.list"
cd "$work"
apt() {
    apt-get --quiet -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= "$@"
}
apt update
apt download docker-compose
dpkg --extract docker-compose_*.deb "$work/package"
cp "$work/package/usr/libexec/docker/cli-plugins/docker-compose" "$place.new"
chmod 755 "$place.new"
mv "$place.new" "$place"
"#;

fn fetch(place: &Path) -> anyhow::Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is not Debian");
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", FETCH, "fetch"]).arg(place).stdin(Stdio::null());
    workspace::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_compose_is_told_from_a_new_one() {
        assert!(number("1.29.2") < COMPOSE);
        assert!(number("2.10.2") < COMPOSE);
        assert!(number("2.26.1-4") >= COMPOSE);
        assert!(number("5.0.0") >= COMPOSE);
        assert_eq!(number("unknown"), (0, 0));
    }

    #[test]
    fn the_fetching_is_a_script_that_a_shell_can_read() {
        assert!(Command::new("/bin/sh").args(["-n", "-c", FETCH]).status().unwrap().success());
    }
}
