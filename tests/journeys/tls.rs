//! Everything over TLS, with an authority of its own.

use std::path::PathBuf;

use aegir_testkit::{Authority, Cluster};
use anyhow::{Result, ensure};

use crate::restarts;
use crate::world::World;

#[tokio::test]
async fn an_operation_runs_over_tls_from_end_to_end() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let authority = Authority::new()?;
    let (broker, client) = (authority.issue("127.0.0.1")?, authority.issue("daemons.example")?);
    let file = |name: &str, text: &str| -> Result<String> {
        use std::os::unix::fs::PermissionsExt as _;
        let path: PathBuf = directory.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path.display().to_string())
    };
    let settings = format!(
        "ca_file = {:?}\ncertificate_file = {:?}\nkey_file = {:?}",
        file("ca.pem", authority.certificate())?,
        file("certificate.pem", &client.certificate)?,
        file("key.pem", &client.key)?
    );
    let builder = Cluster::builder()
        .broker(move |builder| builder.tls(&authority, broker, true))
        .daemons_over_tls(&settings);
    let mut world = World::of(builder).await?;
    let id = restarts::started(&world, &restarts::sleep(1)).await?;
    restarts::is_whole(&world, &id, 1).await?;
    // Nobody came in by the other door, but for these tests themselves.
    let connections =
        world.cluster.broker.control(&["list_connections", "--silent", "ssl", "client_properties"]);
    let connections = connections.await?;
    let of = |word: &str| -> Vec<_> {
        let ours = connections.lines().filter(|line| line.contains(word));
        ours.map(|line| line.starts_with("true")).collect()
    };
    ensure!(of("relayd") == [true, true] && of("dispatcherd") == [true, true], "{connections}");
    world.stop().await
}
