//! A container in which systemd is the first process, as on a server.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::localdev::{docker, root};

/// It is removed when this is dropped.
pub(crate) struct Machine(String);

impl Machine {
    /// Builds a Dockerfile of tests/containers/systemd with a release of Debian, and boots that, in a network perhaps.
    pub(crate) fn boot(name: String, dockerfile: &str, release: &str, network: Option<&str>) -> Result<Self> {
        let kind = dockerfile.strip_prefix("Dockerfile.").unwrap_or("systemd");
        let image = format!("aegir-test-{kind}:{release}");
        let file = format!("tests/containers/systemd/{dockerfile}");
        let mut build = Command::new("docker");
        build.args(["build", "--quiet", "--build-arg", &format!("DEBIAN={release}"), "--tag", &image]);
        build.args(["--file", &file, "."]).current_dir(root());
        let built = build.stdout(Stdio::null()).output().context("can't start docker")?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let machine = Self(name);
        // With a namespace of its own for control groups, systemd would take the engine's root for its own, as all other
        // machines do, and where that is of version 1 the journal of Debian 13 would not start.
        let options = "--detach --env container=docker --cap-add SYS_ADMIN --security-opt seccomp=unconfined \
                       --security-opt apparmor=unconfined --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw \
                       --tmpfs /run --tmpfs /run/lock --tmpfs /tmp";
        let mut words = vec!["run", "--name", &machine.0];
        words.extend(options.split_whitespace());
        match network {
            Some(network) => words.extend(["--network", network]),
            None => words.extend(["--hostname", "localhost"]),
        }
        words.push(&image);
        docker(&words)?;
        // As on every machine but in a container: without it no unit sees the credentials that systemd has mounted for it.
        machine.shell("mount --make-rshared /")?;
        Ok(machine)
    }

    /// What a shell in it prints.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        docker(&["exec", &self.0, "sh", "-c", script])
    }

    /// Shuts it down as a server's operator would, and starts it again.
    pub(crate) fn reboot(&self) -> Result<()> {
        docker(&["restart", "--time", "90", &self.0]).map(drop)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.0]);
    }
}
