//! Submissions: what is refused, what is the same again, what comes by AMQP.

use aegir_amqp::topology::{Lifetime, Queue, REQUESTS};
use aegir_amqp::{BrokerConfig, Consume, Outgoing, SessionBuilder, Topology};
use aegir_protocol::code::Code;
use aegir_protocol::message::{decode, encode};
use aegir_protocol::operation::sealed;
use aegir_protocol::request::{Reply, Request};
use base64::Engine as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{World, request, within};

#[tokio::test(flavor = "multi_thread")]
async fn by_amqp_each_request_gets_its_reply() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    let answers = format!("answers-{}", world.frontend);
    let mut topology = Topology::base();
    topology.queues.push(Queue {
        name: answers.clone(),
        lifetime: Lifetime::Durable,
        arguments: [(
            "x-queue-type".to_owned(),
            aegir_amqp::topology::QueueArgument::Text("quorum".to_owned()),
        )]
        .into(),
    });
    let mut builder = SessionBuilder::new(BrokerConfig::from_url(world.broker.url()), "frontend", topology);
    let (mut replies, _) = builder.consume(Consume::queue(answers.clone(), 10));
    let cancel = CancellationToken::new();
    let link = builder.start(cancel.clone(), &TaskTracker::new());
    assert!(within(link.up()).await);

    let mut ask = async |body: Vec<u8>, id: &str| -> Reply {
        let outgoing =
            Outgoing::new(REQUESTS, world.frontend.as_str(), body).message_id(id).reply_to(answers.clone());
        within(link.publisher().publish(outgoing)).await.unwrap();
        let delivery = within(replies.recv()).await.unwrap();
        assert_eq!(delivery.correlation_id(), Some(id));
        let reply = decode(&delivery.body()).unwrap();
        delivery.ack().await.unwrap();
        reply
    };
    let accepted = ask(encode(&request("a")), "1").await.accepted.unwrap();
    assert!(!accepted.repeated);
    // The same message, delivered twice.
    let again = ask(encode(&request("a")), "1").await.accepted.unwrap();
    assert_eq!((again.id, again.repeated), (accepted.id, true));
    let unknown = Request { name: "example.nothing".parse().unwrap(), ..request("a") };
    let problem = ask(encode(&unknown), "2").await.problem.unwrap();
    assert_eq!((problem.code.as_str(), problem.errors[0].pointer.as_str()), ("unknown_operation", "/name"));
    let misspelt = br#"{"schema":"aegir.request/0","body":{"name":"example.print","targt":{}}}"#;
    let problem = ask(misspelt.to_vec(), "3").await.problem.unwrap();
    assert_eq!(problem.code, "request_malformed");
    assert_eq!(node.carry_out(0).await.0, accepted.id);

    let host =
        br#"{"schema":"aegir.request/0","body":{"name":"example.print","target":{"kind":"site","name":"a"},
        "hosts":[{"name":"web1","hostkeys":[]}]}}"#;
    let problem = ask(host.to_vec(), "4").await.problem.unwrap();
    assert!(
        problem.detail.contains("did you mean `host_keys`? at /body/hosts/0/hostkeys (line 2 column"),
        "{problem:?}"
    );
    // As long as the broker takes: each is a key.
    let long = "x".repeat(255);
    let accepted = ask(encode(&request("c")), &long[..248]).await.accepted.unwrap();
    assert!(!accepted.repeated);
    assert!(!ask(encode(&request("c")), &long).await.accepted.unwrap().repeated);
    assert_eq!(ask(encode(&request("c")), &long[..248]).await.accepted.unwrap().id, accepted.id);

    // Without an id, and with an empty one, as some clients send.
    let outgoing =
        Outgoing::new(REQUESTS, world.frontend.as_str(), encode(&request("b"))).reply_to(answers.clone());
    for outgoing in [outgoing.clone(), outgoing.message_id("")] {
        within(link.publisher().publish(outgoing)).await.unwrap();
        let delivery = within(replies.recv()).await.unwrap();
        let reply: Reply = decode(&delivery.body()).unwrap();
        assert_eq!(reply.problem.unwrap().code, "idempotency_key_missing");
        delivery.ack().await.unwrap();
    }
    cancel.cancel();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_its_backend_sealed() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    let mut secret = request("a");
    secret.variables = serde_json::from_value(json!({"site": {"password": {"secret": "hunter22"}}})).unwrap();
    let services = world.services();
    let first = services.operations.submit(secret.clone(), Some("key".to_owned())).await.unwrap();
    let again = services.operations.submit(secret.clone(), Some("key".to_owned())).await.unwrap();
    assert_eq!((again.id, again.repeated), (first.id, true));
    secret.variables = serde_json::from_value(json!({"site": {"password": {"secret": "hunter23"}}})).unwrap();
    let conflict = services.operations.submit(secret, Some("key".to_owned())).await.unwrap_err();
    assert_eq!(conflict.code, Code::IdempotencyConflict.as_str());

    let operation = node.operation().await;
    let ciphertext = sealed(&operation.variables["site"]["password"]).unwrap().to_owned();
    let ciphertext = base64::engine::general_purpose::STANDARD.decode(ciphertext).unwrap();
    assert_eq!(age::decrypt(&world.identity, &ciphertext).unwrap(), b"hunter22");
    world.stop().await;
    for entry in std::fs::read_dir(world.state_directory()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"hunter22"));
    }
}
