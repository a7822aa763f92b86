//! `amqps`: who is believed, and what is said when somebody is not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegir_amqp::{BrokerConfig, Outgoing, SessionBuilder, Status};
use aegir_testkit::{Authority, Broker};
use tempfile::TempDir;

use crate::harness::{Running, unique, with_queue, within};

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

async fn broker(directory: &Path, authority: &Authority, name: &str, mutual: bool) -> Broker {
    let identity = authority.issue(name).unwrap();
    Broker::builder(directory).tls(authority, identity, mutual).start().await.unwrap()
}

fn config(broker: &Broker) -> BrokerConfig {
    BrokerConfig::from_url(&format!("amqps://guest:guest@127.0.0.1:{}/%2f", broker.tls_port().unwrap()))
}

/// Waits until somebody is told this. Not the first time in any case: a broker that closes the connection in the same
/// moment can reset it before its alert was read.
async fn refused(config: BrokerConfig, advice: &str) {
    let running = Running::start(SessionBuilder::new(config, "test", with_queue("q", &[])));
    let told = |status: &Status| matches!(status, Status::Connecting { last_error: Some(error), .. } if error.contains(advice));
    running.becomes(told).await;
    running.stop().await;
}

async fn works(config: BrokerConfig) {
    let queue = unique("tls");
    let running = Running::up(SessionBuilder::new(config, "test", with_queue(&queue, &[]))).await;
    within(running.link.publisher().publish(Outgoing::new("", &queue, vec![7; 100_000]))).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_believed_by_its_authority_and_its_name() {
    let files = Files::new();
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let right = broker(files.0.path(), &authority, "127.0.0.1", false).await;
    let trusted = files.write("trusted.pem", authority.certificate());
    works(BrokerConfig { ca_file: Some(trusted.clone()), ..config(&right) }).await;

    let wrong = files.write("stranger.pem", stranger.certificate());
    let advice = "name the certificate of its CA in broker.ca_file";
    refused(BrokerConfig { ca_file: Some(wrong), ..config(&right) }, advice).await;

    let port = right.port().unwrap();
    let plain = BrokerConfig {
        ca_file: Some(trusted.clone()),
        ..BrokerConfig::from_url(&format!("amqps://127.0.0.1:{port}"))
    };
    refused(plain, "use the broker's port for TLS").await;
    drop(right);

    let elsewhere = tempfile::tempdir().unwrap();
    let other = broker(elsewhere.path(), &authority, "broker.example", false).await;
    refused(
        BrokerConfig { ca_file: Some(trusted), ..config(&other) },
        "use a name that is in it in broker.url",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_wants_a_certificate_gets_ours() {
    let files = Files::new();
    let authority = Authority::new().unwrap();
    let broker = broker(files.0.path(), &authority, "127.0.0.1", true).await;
    let anonymous =
        BrokerConfig { ca_file: Some(files.write("ca", authority.certificate())), ..config(&broker) };
    refused(anonymous.clone(), "broker.certificate_file").await;
    let identity = authority.issue("dispatcherd.example").unwrap();
    works(BrokerConfig {
        certificate_file: Some(files.write("certificate", &identity.certificate)),
        key_file: Some(files.write("our-key", &identity.key)),
        ..anonymous
    })
    .await;
}
