//! The life of an Operation.

use std::time::Duration;

use aegir_api::{CheckRequest, PauseRequest};
use aegir_protocol::code::Code;
use aegir_protocol::message::{Blocked, Echoed, Report, ToNode, encode};
use aegir_protocol::state::{Outcome, State};
use jiff::Timestamp;

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn from_submission_to_its_end_with_relayd_restarted_between() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    let id = world.submit("a").await;
    let operation = node.operation().await;
    assert_eq!((operation.id, operation.frontend.clone()), (id, world.frontend.clone()));
    let detail = eventually(async || {
        Some(world.services().operations.detail(id).await.unwrap()).filter(|it| it.published)
    })
    .await;
    assert_eq!(detail.summary.state, State::Queued);

    // The first claim is granted, also when it is repeated; another node's is refused.
    assert!(node.claim(id).await.granted);
    assert!(node.claim(id).await.granted);
    let mut other = world.node("n2").await;
    let refused = other.claim(id).await;
    assert_eq!(refused.reason.map(|reason| reason.code), Some(Code::ClaimRefused.to_string()));
    assert!(!refused.granted);
    world.becomes(id, State::Claimed).await;

    let lines = node.transcript(&operation, 6, Outcome::Succeeded);
    let first = lines[..3].concat();
    node.ship(id, 0, &first).await;
    let receipt = node.receipt().await;
    assert_eq!((receipt.offset, receipt.complete), (first.len() as u64, false));
    world.becomes(id, State::Running).await;

    assert!(world.stop().await < Duration::from_secs(2));
    world.start().await;

    // What comes behind a gap is not taken; what was missing is asked for.
    let whole = lines.concat();
    let behind = lines[..5].concat().len();
    node.ship(id, behind, &whole[behind..]).await;
    let ToNode::Replay(replay) = node.told().await else { panic!("no replay") };
    assert_eq!(replay.offset, first.len() as u64);
    node.ship(id, 0, &whole).await;
    assert!(node.receipted(whole.len()).await.complete);
    world.becomes(id, State::Succeeded).await;
    assert_eq!(world.copy(id).await, whole);

    // What is shipped again after its end is receipted again, so that the node can let go of it.
    node.ship(id, 0, &first).await;
    assert!(node.receipt().await.complete);
    let piece = world.services().operations.records(id, None, 3, 1).await.unwrap();
    assert_eq!(&piece.bytes[..], &lines[2][..]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_goes_on_when_it_is_free() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    let first = world.submit("a").await;
    let second = world.submit("a").await;
    assert_eq!(world.services().operations.detail(second).await.unwrap().waits_for, [first]);
    assert_eq!(node.carry_out(1).await.0, first);
    assert_eq!(node.carry_out(1).await.0, second);
    world.becomes(second, State::Succeeded).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_node_again_and_again() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;

    // What nobody has ends at once, and its claim is refused.
    let unclaimed = world.submit("a").await;
    node.operation().await;
    world.services().operations.cancel(unclaimed, Some("ann".to_owned())).await.unwrap();
    world.becomes(unclaimed, State::Canceled).await;
    assert!(!node.claim(unclaimed).await.granted);
    let again = world.services().operations.cancel(unclaimed, None).await.unwrap_err();
    assert_eq!(again.code, Code::AlreadyEnded.as_str());

    // What a node has ends when the node says so.
    let held = world.submit("a").await;
    let operation = node.operation().await;
    assert!(node.claim(held).await.granted);
    world.services().operations.cancel(held, Some("ann".to_owned())).await.unwrap();
    let ToNode::Cancel(cancel) = node.told().await else { panic!("no cancel") };
    assert_eq!((cancel.operation, cancel.requested_by.as_deref()), (held, Some("ann")));
    let again = world.services().operations.cancel(held, None).await.unwrap_err();
    assert_eq!(again.code, Code::AlreadyCanceled.as_str());
    // Say that the message was lost: the heartbeat shows that the node still has it.
    node.beat(vec![operation.attempt_id()], Vec::new()).await;
    assert!(matches!(node.told().await, ToNode::Cancel(_)));
    let report = Report {
        operation: held,
        attempt: operation.attempt,
        node: node.name.clone(),
        outcome: Outcome::Canceled,
        reason: Code::CanceledByRequest.because("it was called off before it started"),
    };
    node.send(encode(&report)).await;
    world.becomes(held, State::Canceled).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_on_its_node_is_shown_so_until_it_has() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    let id = world.submit("a").await;
    let operation = node.operation().await;
    assert!(node.claim(id).await.granted);
    let reason = Code::DiskFull.because("the disk is full");
    let (attempt, since) = (operation.attempt, Timestamp::UNIX_EPOCH);
    let blocked = Blocked { operation: id, attempt, since, reason: reason.clone() };
    node.beat(vec![operation.attempt_id()], vec![blocked]).await;
    let services = world.services();
    let shown = eventually(async || services.operations.detail(id).await.unwrap().summary.blocked).await;
    assert_eq!((shown.node, shown.since, shown.reason), (node.name.clone(), since, reason));
    node.beat(vec![operation.attempt_id()], Vec::new()).await;
    eventually(async || {
        services.operations.detail(id).await.unwrap().summary.blocked.is_none().then_some(())
    })
    .await;
    drop(services);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_the_hop_that_is_closed() {
    let mut world = World::new().await;
    let report = world.services().diagnosis.check(CheckRequest::default()).await;
    let closed = report.hops.last().unwrap();
    assert_eq!((report.ok, closed.ok, closed.name.as_str()), (false, false, "dispatcherd"));
    assert!(report.hops[..report.hops.len() - 1].iter().all(|hop| hop.ok), "{report:?}");

    // Whoever has just started hears the next heartbeat.
    let mut node = world.node("n1").await;
    let services = world.services();
    let checking = tokio::spawn(async move { services.diagnosis.check(CheckRequest::default()).await });
    node.beat(Vec::new(), Vec::new()).await;
    let ToNode::Echo(echo) = node.told().await else { panic!("no echo") };
    assert_eq!(echo.frontend, world.frontend);
    node.send(encode(&Echoed { id: echo.id, node: node.name.clone() })).await;
    node.carry_out(0).await;
    let report = checking.await.unwrap();
    assert!(report.ok, "{report:?}");
    let names: Vec<_> = report.hops.iter().map(|hop| hop.name.as_str()).collect();
    assert_eq!(names, ["store", "broker", &format!("dispatcherd {}", node.name), "round trip"]);
    let metrics = world.services().diagnosis.metrics().await.unwrap();
    assert!(metrics.contains("relayd_operations{state=\"succeeded\"} 1\n"), "{metrics}");
    assert!(metrics.contains("relayd_broker_up 1\n"), "{metrics}");
    let up = format!("relayd_node_up{{backend=\"{}\",node=\"{}\"}} 1\n", world.backend, node.name);
    assert!(metrics.contains(&up), "{metrics}");

    // What is known to be closed is not waited for.
    let by = PauseRequest { requested_by: Some("kim".to_owned()), reason: Some("an upgrade".to_owned()) };
    world.services().backends.pause(world.backend.clone(), by).await.unwrap();
    node.beat(Vec::new(), Vec::new()).await;
    let services = world.services();
    let checking = tokio::spawn(async move { services.diagnosis.check(CheckRequest::default()).await });
    let ToNode::Echo(echo) = node.told().await else { panic!("no echo") };
    node.send(encode(&Echoed { id: echo.id, node: node.name.clone() })).await;
    let closed = checking.await.unwrap().hops.pop().unwrap();
    let said = &closed.message;
    assert!(!closed.ok && closed.milliseconds < 10_000, "{closed:?}");
    assert!(said.contains("paused by kim since 20") && said.contains("(an upgrade)"), "{said}");
    assert!(said.contains(&format!("`aegir resume {}`", world.backend)), "{said}");
    world.stop().await;
}
