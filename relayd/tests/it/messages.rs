//! Messages that can't be handled, and a broker that goes away.

use aegir_amqp::Outgoing;
use aegir_amqp::topology::{STATUS, TRANSCRIPTS};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::message::{Grant, Report, ToNode, encode};
use aegir_protocol::state::{Outcome, State};

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_handled_is_dead_lettered_with_its_code_and_stops_nobody() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    let frontend = world.frontend.to_string();
    let grant = Grant {
        operation: OperationId::generate(),
        attempt: Attempt::FIRST,
        granted: true,
        reason: None,
        lease: None,
    };
    let green = Report {
        operation: grant.operation,
        attempt: Attempt::FIRST,
        node: node.name.clone(),
        outcome: Outcome::Succeeded,
        reason: Code::Completed.because("it says so"),
    };
    let bad: [(&'static str, Vec<u8>, Code); 7] = [
        (TRANSCRIPTS, b"not JSON".to_vec(), Code::MessageMalformed),
        (TRANSCRIPTS, br#"{"schema":"aegir.new/0","body":{}}"#.to_vec(), Code::SchemaUnknown),
        (TRANSCRIPTS, br#"{"schema":"aegir.claim/1","body":{}}"#.to_vec(), Code::SchemaTooNew),
        (TRANSCRIPTS, encode(&grant), Code::MessageMisplaced),
        (TRANSCRIPTS, vec![b'x'; 1024 * 1024 + 1], Code::MessageTooLarge),
        (TRANSCRIPTS, encode(&green), Code::MessageMalformed),
        (STATUS, b"{}".to_vec(), Code::MessageMalformed),
    ];
    for (exchange, body, code) in bad {
        node.publish(Outgoing::new(exchange, frontend.clone(), body)).await;
        let letter = world.dead_letter().await;
        assert_eq!((letter.code.as_str(), letter.routing_key.as_str()), (code.as_str(), &*frontend));
        world.services().dead_letters.drop_letter(letter.id).await.unwrap();
    }
    node.ship(grant.operation, 0, b"{}\n").await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.code, Code::NoSuchOperation.as_str());
    let ToNode::Unknown(unknown) = node.told().await else { panic!("the node was not told") };
    assert_eq!(unknown.operation, grant.operation);

    let id = world.submit("a").await;
    assert_eq!(node.carry_out(1).await.0, id);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_is_not_here_is_asked_for() {
    let mut world = World::new().await;
    let mut last = world.node("n1").await;
    // What n2 sends has the same digest, so what relayd has is n1's. Until n1 is gone n2 need not have the same.
    let mut node = world.node("n2").await;
    assert_eq!(world.services().backends.catalog(&world.backend).unwrap().node, last.name);
    node.catalog = Some("of n2".to_owned());
    node.beat(Vec::new(), Vec::new()).await;
    last.catalog = Some("of n1, which did not arrive".to_owned());
    last.beat(Vec::new(), Vec::new()).await;
    let ToNode::CatalogWanted(wanted) = last.told().await else { panic!("it was not asked for") };
    assert_eq!(wanted.backend, world.backend);
    last.catalog = Some(world.services().backends.catalog(&world.backend).unwrap().digest.clone());
    last.beat(Vec::new(), Vec::new()).await;
    // A node of an earlier version names none, and could not read the wish.
    node.catalog = None;
    node.beat(Vec::new(), Vec::new()).await;
    // The first who consumes the backend's queue gets the first Operation.
    let id = world.submit("a").await;
    assert_eq!(last.carry_out(1).await.0, id);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_while_the_broker_is_away_is_published_later() {
    let mut world = World::new().await;
    let mut private = aegir_testkit::Broker::private().await.unwrap();
    world.stop().await;
    std::mem::swap(&mut world.broker, &mut private);
    drop(private);
    world.start().await;
    let mut node = world.node("n1").await;
    world.broker.stop().await.unwrap();
    let id = world.submit("a").await;
    // A moment passes before the end of the connection is noticed.
    eventually(async || (!world.services().diagnosis.readiness().await.is_ready()).then_some(())).await;
    assert!(!world.services().operations.detail(id).await.unwrap().published);
    world.broker.restart().await.unwrap();
    assert_eq!(node.carry_out(3).await.0, id);
    world.becomes(id, State::Succeeded).await;
    assert!(world.services().operations.detail(id).await.unwrap().published);
    world.stop().await;
}
