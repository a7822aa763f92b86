//! A broker that goes away.

use std::collections::BTreeSet;
use std::time::Duration;

use aegir_amqp::{Consume, Outgoing, PublishError, Status};
use aegir_testkit::Broker;

use crate::harness::{Running, builder, eventually, next, unique, with_queue, within};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let mut broker = Broker::private().await.unwrap();
    let queue = unique("killed");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 50));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    broker.sync().await.unwrap();
    let mut confirmed = BTreeSet::new();
    let mut pending = Vec::new();
    let mut seen = BTreeSet::new();
    for number in 0..500 {
        pending.push((number, publisher.send(Outgoing::new("", &queue, number.to_string())).await.unwrap()));
    }
    // Some are confirmed and some not, some are delivered and some not, when it dies.
    for (number, pending) in pending.drain(..100) {
        pending.confirmed().await.unwrap();
        confirmed.insert(number);
    }
    let held = next(&mut deliveries).await;
    broker.kill().await.unwrap();
    for (number, pending) in pending {
        match within(pending.confirmed()).await {
            Ok(()) => drop(confirmed.insert(number)),
            Err(error) => {
                assert!(matches!(error, PublishError::Lost | PublishError::NotConnected), "{error:?}");
            }
        }
    }
    let status = running.becomes(|status| matches!(status, Status::Connecting { .. })).await;
    assert!(matches!(status, Status::Connecting { last_error: Some(_), .. }), "{status:?}");
    assert_eq!(publisher.publish(Outgoing::new("", &queue, "")).await, Err(PublishError::NotConnected));
    assert!(within(held.ack()).await.is_err(), "a delivery of a lost session was settled");

    broker.restart().await.unwrap();
    running.is_up().await;
    within(publisher.publish(Outgoing::new("", &queue, "last"))).await.unwrap();
    loop {
        let delivery = next(&mut deliveries).await;
        let body = String::from_utf8(delivery.body().to_vec()).unwrap();
        // Deliveries of the lost session may still be in the channel; they come again.
        if delivery.ack().await.is_err() {
            continue;
        }
        if body == "last" {
            break;
        }
        seen.insert(body.parse::<i32>().unwrap());
    }
    let missing: Vec<_> = confirmed.difference(&seen).collect();
    assert!(missing.is_empty(), "confirmed and lost: {missing:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_given_up_and_found_again() {
    let mut broker = Broker::private().await.unwrap();
    let queue = unique("hangs");
    let mut config = aegir_amqp::BrokerConfig::from_url(broker.url());
    config.heartbeat_seconds = 1;
    let builder = aegir_amqp::SessionBuilder::new(config, "test", with_queue(&queue, &[]))
        .confirm_within(Duration::from_millis(500));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    broker.pause().unwrap();
    let outcome = within(publisher.publish(Outgoing::new("", &queue, "x"))).await;
    assert_eq!(outcome, Err(PublishError::TimedOut));
    running.becomes(|status| matches!(status, Status::Connecting { last_error: Some(_), .. })).await;
    // The attempt to connect meets a peer that accepts and says nothing.
    running.becomes(|status| matches!(status, Status::Connecting { attempt: 2.., .. })).await;
    assert!(running.link.idle() < Duration::from_secs(10), "the supervisor is stuck");
    broker.resume().unwrap();
    running.is_up().await;
    within(publisher.publish(Outgoing::new("", &queue, "x"))).await.unwrap();
    running.stop().await;
}

/// RabbitMQ 3.10 forgets a quorum queue's log when it is killed directly after the queue was made, and comes back with
/// a queue that has no leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_the_broker_has_forgotten_is_named_with_the_way_out() {
    let mut broker = Broker::private().await.unwrap();
    let queue = unique("forgotten");
    let mut builder = builder(&broker, with_queue(&queue, &[])).probe_every(Duration::from_secs(2));
    let (_deliveries, _control) = builder.consume(Consume::queue(&queue, 50).alone());
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    within(publisher.publish(Outgoing::new("", &queue, "x"))).await.unwrap();
    // What a kill at this moment may leave behind, made certain.
    broker.forget(&queue).await.unwrap();
    broker.restart().await.unwrap();
    let status = running.becomes(|status| matches!(status, Status::Silent { .. })).await;
    let told = status.to_string();
    assert!(told.contains(&queue) && told.contains("rabbitmqctl delete_queue"), "{told}");
    broker.control(&["delete_queue", &queue]).await.unwrap();
    eventually(async || publisher.publish(Outgoing::new("", &queue, "x")).await.ok()).await;
    running.becomes(|status| *status == Status::Up).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_a_broker_keeps_trying_and_stops_when_told() {
    let config = aegir_amqp::BrokerConfig::from_url("amqp://127.0.0.1:1/%2f");
    let builder = aegir_amqp::SessionBuilder::new(config, "test", aegir_amqp::Topology::base());
    let running = Running::start(builder);
    running.becomes(|status| matches!(status, Status::Connecting { attempt: 2.., .. })).await;
    running.stop().await;
}
