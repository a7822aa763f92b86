//! Topologies on a real broker.

use aegir_amqp::session::DeclareError;
use aegir_amqp::topology::{DEAD, OPERATIONS, QueueArgument, operations_queue};
use aegir_amqp::{Outgoing, Status, Topology};
use aegir_protocol::name::{BackendName, FrontendName};
use aegir_testkit::Broker;
use lapin::options::QueueDeleteOptions;

use crate::harness::{Other, Running, builder, eventually, unique, with_queue, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_takes_every_argument_and_both_sides_agree() {
    let broker = Broker::for_tests().await.unwrap();
    let frontend: FrontendName = unique("f").parse().unwrap();
    let backend: BackendName = unique("b").parse().unwrap();
    let node = unique("n").parse().unwrap();
    let dispatcherd =
        Running::up(builder(&broker, Topology::of_node(&backend, &node, std::slice::from_ref(&frontend))))
            .await;
    let relayd = Running::up(builder(&broker, Topology::of_frontend(&frontend))).await;
    within(relayd.link.declare(Topology::of_backend(&backend))).await.unwrap();
    within(relayd.link.declare(Topology::of_backend(&backend))).await.unwrap();
    relayd.stop().await;
    dispatcherd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_reported_by_name_and_mended_by_deleting_it() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("clash");
    let long = with_queue(&queue, &[("x-max-length", QueueArgument::Number(5))]);
    let first = Running::up(builder(&broker, long)).await;
    first.stop().await;
    let second = Running::start(builder(&broker, with_queue(&queue, &[])));
    let status = second.becomes(|status| matches!(status, Status::Mismatch { .. })).await;
    let Status::Mismatch { object, error } = status else { unreachable!() };
    assert_eq!(object, format!("queue {queue}"));
    assert!(error.contains("x-max-length") && error.contains("delete it"), "{error}");
    let other = Other::connect(&broker).await;
    other.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    second.is_up().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_at_run_time_stays_declared_and_a_clash_ends_nothing() {
    let mut broker = Broker::private().await.unwrap();
    let backend: BackendName = "later".parse().unwrap();
    let running = Running::up(builder(&broker, with_queue("mine", &[]))).await;
    let publisher = running.link.publisher();
    let operation = || Outgoing::new(OPERATIONS, backend.as_str(), "{}");
    assert!(within(publisher.publish(operation())).await.is_err());
    within(running.link.declare(Topology::of_backend(&backend))).await.unwrap();
    within(publisher.publish(operation())).await.unwrap();

    let clash = with_queue("mine", &[("x-max-length", QueueArgument::Number(5))]);
    let outcome = within(running.link.declare(clash)).await;
    assert!(
        matches!(&outcome, Err(DeclareError::Mismatch { object, .. }) if object == "queue mine"),
        "{outcome:?}"
    );
    assert!(running.link.status().borrow().is_up());
    within(publisher.publish(operation())).await.unwrap();

    // Asked for while the broker is away, declared when it is back.
    broker.sync().await.unwrap();
    broker.kill().await.unwrap();
    running.becomes(|status| matches!(status, Status::Connecting { .. })).await;
    let away: BackendName = "away".parse().unwrap();
    within(running.link.declare(Topology::of_backend(&away))).await.unwrap();
    broker.restart().await.unwrap();
    running.is_up().await;
    within(publisher.publish(Outgoing::new(OPERATIONS, away.as_str(), "{}"))).await.unwrap();
    within(publisher.publish(operation())).await.unwrap();
    let other = Other::connect(&broker).await;
    assert_eq!(other.depth(&operations_queue(&away)).await, 1);
    assert_eq!(other.depth(&operations_queue(&backend)).await, 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clash_that_was_asked_for_while_the_broker_was_away_ends_no_later_session() {
    let mut broker = Broker::private().await.unwrap();
    let other = Running::up(builder(&broker, with_queue("theirs", &[]))).await;
    other.stop().await;
    let running = Running::up(builder(&broker, with_queue("mine", &[]))).await;
    let publisher = running.link.publisher();
    broker.sync().await.unwrap();
    broker.kill().await.unwrap();
    running.becomes(|status| matches!(status, Status::Connecting { .. })).await;
    let clash = with_queue("theirs", &[("x-max-length", QueueArgument::Number(5))]);
    within(running.link.declare(clash.clone())).await.unwrap();
    within(running.link.declare(with_queue("added", &[]))).await.unwrap();
    broker.restart().await.unwrap();
    running.is_up().await;
    within(publisher.publish(Outgoing::new("", "added", ""))).await.unwrap();
    // Whoever asks again is told.
    let outcome = within(running.link.declare(clash)).await;
    assert!(
        matches!(&outcome, Err(DeclareError::Mismatch { object, .. }) if object == "queue theirs"),
        "{outcome:?}"
    );
    assert!(running.link.status().borrow().is_up());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_consumes_comes_back_when_a_message_misses_it() {
    let broker = Broker::private().await.unwrap();
    let running = Running::up(builder(&broker, Topology::base())).await;
    let backend: BackendName = "later".parse().unwrap();
    within(running.link.declare(Topology::of_backend(&backend))).await.unwrap();
    let publisher = running.link.publisher();
    let other = Other::connect(&broker).await;
    for (exchange, queue) in [(DEAD, DEAD.to_owned()), (OPERATIONS, operations_queue(&backend))] {
        let message = || Outgoing::new(exchange, backend.as_str(), "{}");
        within(publisher.publish(message())).await.unwrap();
        other.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        eventually(async || publisher.publish(message()).await.ok()).await;
        assert_eq!(other.depth(&queue).await, 1);
    }
    running.stop().await;
}
