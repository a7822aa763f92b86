//! Dead letters: kept, replayed, dropped, without a secret and within their limits.

use aegir_amqp::topology::{DEAD, REQUESTS, TRANSCRIPTS};
use aegir_amqp::{BrokerConfig, BrokerSession, Outgoing, SessionBuilder, Topology};
use aegir_api::{CheckRequest, KeptBody};
use aegir_protocol::code::Code;
use aegir_protocol::limits::MAX_DEAD_LETTERS;
use aegir_protocol::message::encode;
use futures_util::future::join_all;
use relayd::dead_letters::PREFETCH;
use relayd::store::DeadLetterFilter;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{World, eventually, request, within};

/// Somebody else on the broker, until the test ends.
async fn stranger(world: &World) -> BrokerSession {
    let builder =
        SessionBuilder::new(BrokerConfig::from_url(world.broker.url()), "stranger", Topology::base());
    let link = builder.start(CancellationToken::new(), &TaskTracker::new());
    assert!(within(link.up()).await);
    link
}

/// A request of these variables, as a message.
fn message(variables: &Value) -> Vec<u8> {
    let mut request = request("a");
    request.variables = serde_json::from_value(variables.clone()).unwrap();
    encode(&request)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_replayed_when_what_was_missing_is_there() {
    let mut world = World::new().await;
    let link = stranger(&world).await;
    let body = encode(&request("a"));
    let early = Outgoing::new(REQUESTS, world.frontend.as_str(), body.clone()).message_id("m1");
    within(link.publisher().publish(early)).await.unwrap();
    let letter = world.dead_letter().await;
    assert_eq!((letter.code.as_str(), letter.replays), (Code::UnknownBackend.as_str(), 0));
    assert_eq!(letter.message_id.as_deref(), Some("m1"));
    let services = world.services();
    assert_eq!(services.dead_letters.show(letter.id).await.unwrap().bytes().unwrap(), body);

    // Too early still: it comes back, and says so.
    services.dead_letters.replay(letter.id).await.unwrap();
    let again =
        eventually(async || Some(world.dead_letter().await).filter(|again| again.id > letter.id)).await;
    assert_eq!((again.code.as_str(), again.replays), (Code::UnknownBackend.as_str(), 1));
    assert_eq!(services.dead_letters.show(again.id).await.unwrap().bytes().unwrap(), body);

    let mut node = world.node("n1").await;
    services.dead_letters.replay(again.id).await.unwrap();
    let (id, _) = node.carry_out(1).await;
    assert_eq!(services.operations.detail(id).await.unwrap().summary.target.name.as_str(), "a");
    assert_eq!(services.dead_letters.list(&DeadLetterFilter::default()).await.unwrap().letters, []);
    for gone in [again.id, u64::MAX] {
        let problem = services.dead_letters.replay(gone).await.unwrap_err();
        assert_eq!(problem.code, Code::NoSuchDeadLetter.as_str());
        assert_eq!(services.dead_letters.drop_letter(gone).await.unwrap_err().status, 404);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_any_more_stays_a_letter() {
    let mut world = World::new().await;
    let link = stranger(&world).await;
    let queue = aegir_amqp::topology::transcripts_queue(&"elsewhere".parse().unwrap());
    let mut moved = Outgoing::new(DEAD, "", "x");
    for (name, text) in [("code", "message_malformed"), ("queue", &queue), ("exchange", TRANSCRIPTS)] {
        moved.headers.insert(format!("x-aegir-{name}"), text.to_owned());
    }
    moved.headers.insert("x-aegir-routing-key".to_owned(), "elsewhere".to_owned());
    within(link.publisher().publish(moved)).await.unwrap();
    let letter = world.dead_letter().await;
    let problem = world.services().dead_letters.replay(letter.id).await.unwrap_err();
    assert_eq!((problem.code.as_str(), problem.status), (Code::DeadLetterUnroutable.as_str(), 409));
    assert_eq!(world.dead_letter().await, letter);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_kept_with_a_letter() {
    let mut world = World::new().await;
    let _node = world.node("n1").await;
    let link = stranger(&world).await;
    let marked = message(&json!({"site": {"password": {"secret": "hunter22"}}}));
    let unmarked = message(&json!({"site": {"password": "hunter22"}}));
    let torn = marked[..marked.len() - 4].to_vec();
    let cases: [(&'static str, Vec<u8>, Code, KeptBody); 5] = [
        (REQUESTS, marked.clone(), Code::SecretInTheClear, KeptBody::Redacted),
        (REQUESTS, unmarked, Code::SecretInvalid, KeptBody::Redacted),
        (REQUESTS, torn, Code::MessageMalformed, KeptBody::Removed),
        (TRANSCRIPTS, marked.clone(), Code::MessageMisplaced, KeptBody::Redacted),
        (DEAD, marked.clone(), Code::MessageMisplaced, KeptBody::Redacted),
    ];
    for (exchange, body, code, kept) in cases {
        let size = body.len() as u64;
        let outgoing = Outgoing::new(exchange, world.frontend.as_str(), body).message_id("m");
        within(link.publisher().publish(outgoing)).await.unwrap();
        let letter = world.dead_letter().await;
        assert_eq!((letter.code.as_str(), letter.body, letter.size), (code.as_str(), kept, size));
        let has_place = letter.reason.contains("what is wrong stands at line 1 column ");
        assert_eq!(has_place, kept == KeptBody::Removed, "{}", letter.reason);
        let problem = world.services().dead_letters.replay(letter.id).await.unwrap_err();
        assert_eq!(problem.code, Code::DeadLetterIncomplete.as_str());
        let body = world.services().dead_letters.show(letter.id).await.unwrap().bytes().unwrap();
        assert_eq!(body.is_empty(), kept == KeptBody::Removed);
        world.services().dead_letters.drop_letter(letter.id).await.unwrap();
    }
    // What stood in a dropped row may still stand in the file.
    world.stop().await;
    let files = std::fs::read_dir(world.state_directory()).unwrap();
    for file in files.map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"hunter22"), "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_rest_stays_in_the_queue_until_there_is_room() {
    let mut world = World::new().await;
    let link = stranger(&world).await;
    let (publisher, services) = (link.publisher(), world.services());
    let (most, beyond) = (MAX_DEAD_LETTERS, 200);
    for number in 0..most + beyond {
        let pending = within(publisher.send(Outgoing::new(DEAD, "", number.to_string()))).await.unwrap();
        if number % 500 == 0 {
            within(pending.confirmed()).await.unwrap();
        }
    }
    let all = DeadLetterFilter { limit: Some(500), ..DeadLetterFilter::default() };
    let kept = eventually(async || {
        Some(services.dead_letters.list(&all).await.unwrap().kept).filter(|kept| kept.full)
    })
    .await;
    assert!((most..=most + 2 * u64::from(PREFETCH)).contains(&kept.count), "{kept:?}");
    let hop = services.diagnosis.check(CheckRequest::default()).await.hops.swap_remove(0);
    assert!(hop.ok && hop.message.contains("the most that relayd keeps"), "{hop:?}");
    assert!(services.diagnosis.metrics().await.unwrap().contains("relayd_dead_letters_full 1"));

    // The rest arrives as room is made.
    let mut dropped = 0;
    while dropped < most + beyond {
        let list = eventually(async || {
            Some(services.dead_letters.list(&all).await.unwrap()).filter(|list| !list.letters.is_empty())
        })
        .await;
        let outcomes =
            join_all(list.letters.iter().map(|letter| services.dead_letters.drop_letter(letter.id))).await;
        dropped += outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    }
    let kept = services.dead_letters.list(&all).await.unwrap().kept;
    assert_eq!((dropped, kept.count, kept.full), (most + beyond, 0, false));
    world.stop().await;
}
