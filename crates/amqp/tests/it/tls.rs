//! `amqps`: who is believed, and what is said when somebody is not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegir_amqp::{Builder, Config, Outgoing, Status};
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

fn config(broker: &Broker) -> Config {
    Config::from_url(&format!("amqps://guest:guest@127.0.0.1:{}/%2f", broker.tls_port().unwrap()))
}

async fn refusal(config: Config) -> String {
    let running = Running::start(Builder::new(config, "test", with_queue("q", &[])));
    let status =
        running.becomes(|status| matches!(status, Status::Connecting { last_error: Some(_), .. })).await;
    running.stop().await;
    status.to_string()
}

async fn works(config: Config) {
    let queue = unique("tls");
    let running = Running::up(Builder::new(config, "test", with_queue(&queue, &[]))).await;
    within(running.link.publisher().publish(Outgoing::new("", &queue, vec![7; 100_000]))).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_believed_by_its_authority_and_its_name() {
    let files = Files::new();
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let right = broker(files.0.path(), &authority, "127.0.0.1", false).await;
    let trusted = files.write("trusted.pem", authority.certificate());
    works(Config { ca_file: Some(trusted.clone()), ..config(&right) }).await;

    let wrong = files.write("stranger.pem", stranger.certificate());
    let told = refusal(Config { ca_file: Some(wrong), ..config(&right) }).await;
    assert!(told.contains("name the certificate of its CA in broker.ca_file"), "{told}");

    let port = right.port().unwrap();
    let plain =
        Config { ca_file: Some(trusted.clone()), ..Config::from_url(&format!("amqps://127.0.0.1:{port}")) };
    let told = refusal(plain).await;
    assert!(told.contains("use the broker's port for TLS"), "{told}");
    drop(right);

    let elsewhere = tempfile::tempdir().unwrap();
    let other = broker(elsewhere.path(), &authority, "broker.example", false).await;
    let told = refusal(Config { ca_file: Some(trusted), ..config(&other) }).await;
    assert!(told.contains("use a name that is in it in broker.url"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_wants_a_certificate_gets_ours() {
    let files = Files::new();
    let authority = Authority::new().unwrap();
    let broker = broker(files.0.path(), &authority, "127.0.0.1", true).await;
    let anonymous = Config { ca_file: Some(files.write("ca", authority.certificate())), ..config(&broker) };
    let told = refusal(anonymous.clone()).await;
    assert!(told.contains("broker.certificate_file"), "{told}");
    let identity = authority.issue("dispatcherd.example").unwrap();
    works(Config {
        certificate_file: Some(files.write("certificate", &identity.certificate)),
        key_file: Some(files.write("our-key", &identity.key)),
        ..anonymous
    })
    .await;
}
