//! A broker in a container, from an image that `cargo xtask images` builds.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{ExecCommand, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

/// The port for AMQP clients, in the container.
const PORT: u16 = 5672;

/// How long it may take until the broker listens: a whole test run may start a dozen.
const STARTUP: Duration = Duration::from_secs(180);

/// A container that is removed when this is dropped.
pub(super) struct Container(ContainerAsync<GenericImage>);

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Container").field(&self.0.id()).finish()
    }
}

/// Starts one and gives its URL, once it is healthy.
pub(super) async fn start(image: &str) -> anyhow::Result<(Container, String)> {
    let (name, tag) = image.rsplit_once(':').with_context(|| format!("{image:?} is no image with a tag"))?;
    let request = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::healthcheck())
        .with_startup_timeout(STARTUP)
        // Tells whose it was, should this process be killed.
        .with_container_name(format!(
            "aegir-test-broker-{}-{}",
            std::process::id(),
            uuid::Uuid::new_v4().simple()
        ))
        .with_host_config_modifier(|host| {
            // For this machine only; by default a port is published on every address.
            let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
            host.port_bindings = Some(HashMap::from([(format!("{PORT}/tcp"), Some(vec![loopback]))]));
            host.publish_all_ports = Some(false);
        });
    let missing = || format!("cannot start {image}: `cargo xtask images rabbitmq` builds it");
    let container = request.start().await.with_context(missing)?;
    let port = container.get_host_port_ipv4(PORT).await.context("the broker's port is not published")?;
    let cat = ExecCommand::new(["cat", "/exchange/broker-password"]);
    let mut said = container.exec(cat).await.context("cannot read the broker's password")?;
    let password = String::from_utf8(said.stdout_to_vec().await?).context("the password is no text")?;
    ensure!(!password.is_empty(), "the broker has no password");
    Ok((Container(container), format!("amqp://aegir:{}@127.0.0.1:{port}/%2f", password.trim())))
}
