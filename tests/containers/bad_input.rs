//! What can be in the way of a localdev is said with what to do about it, and the next try works.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};

use crate::localdev::{Localdev, docker};

/// What is said about a try that must fail.
fn refused(tried: Result<String>, says: &[&str]) -> Result<()> {
    let error = tried.err().context("it was not refused")?.to_string();
    for says in says {
        ensure!(error.contains(says), "it does not say {says:?}: {error}");
    }
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_named() -> Result<()> {
    let localdev = Localdev::down()?;
    let port = localdev.port(1);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    refused(localdev.xtask(&["up"]), &[&port.to_string(), "rabbitmq", "--port-base"])?;
    drop(listener);
    localdev.xtask(&["up"])?;
    localdev.ready()
}

#[test]
fn an_engine_that_does_not_run_is_said() -> Result<()> {
    let localdev = Localdev::down()?;
    let nobody = [("DOCKER_HOST", "unix:///nonexistent/docker.sock")];
    refused(
        localdev.xtask_with(&["up"], &nobody),
        &["the Docker engine does not run", "systemctl start docker"],
    )
}

#[test]
fn a_compose_that_is_too_old_is_said() -> Result<()> {
    let localdev = Localdev::down()?;
    // The machine of somebody who has docker-compose 1 and no way to Debian.
    let directory = tempfile::tempdir()?;
    let fake = |name: &str, script: &str| -> Result<()> {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        Ok(std::fs::set_permissions(&path, Permissions::from_mode(0o755))?)
    };
    let path = std::env::var("PATH")?;
    fake("docker", &format!("[ \"$1\" != compose ] && PATH='{path}' exec docker \"$@\"; exit 1"))?;
    fake("docker-compose", "echo 1.29.2")?;
    fake("apt-get", "exit 100")?;
    let path = format!("{}:{path}", directory.path().display());
    let target = directory.path().join("target").display().to_string();
    let old = [("PATH", path.as_str()), ("CARGO_TARGET_DIR", &target)];
    refused(localdev.xtask_with(&["up"], &old), &["1.29.2", "2.21", "install docker-compose-plugin"])?;
    localdev.xtask(&["status"]).map(drop)
}

#[test]
fn an_image_of_another_version_is_not_used() -> Result<()> {
    let localdev = Localdev::down()?;
    let image = format!("aegir-relayd:test-{}", std::process::id());
    let container = docker(&["create", "aegir-relayd:latest"])?;
    docker(&["commit", "--change", "LABEL org.opencontainers.image.version=0.0.0-old", &container, &image])?;
    docker(&["rm", &container])?;
    let tried = localdev.xtask_with(&["up"], &[("AEGIR_RELAYD_IMAGE", &image)]);
    docker(&["image", "rm", &image])?;
    refused(tried, &[&image, "0.0.0-old", "cargo xtask images"])
}

#[test]
fn what_a_killed_run_left_is_cleared_away() -> Result<()> {
    let localdev = Localdev::down()?;
    // A container with one of our names, of which compose knows nothing.
    docker(&["create", "--name", &localdev.container("relayd"), "aegir-relayd:latest"])?;
    refused(localdev.xtask(&["up"]), &["cargo xtask localdev down"])?;
    localdev.xtask(&["down"])?;
    localdev.xtask(&["up"])?;
    localdev.ready()?;
    // And one of which half is gone is made whole by the next `up`.
    docker(&["rm", "--force", &localdev.container("dispatcherd")])?;
    localdev.xtask(&["up"])?;
    let operation = localdev.submit("steady.count", "whole", "minion", 3)?;
    localdev.ran_once(&operation, "minion", 3).map(drop)
}
