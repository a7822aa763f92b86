//! What a consumer can rely on.

use aegir_amqp::topology::{DEAD, STATUS};
use aegir_amqp::{Consume, Outgoing, Status, Topology, dead};
use aegir_testkit::Broker;
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, message::BasicGetMessage};

use crate::harness::{Other, Running, builder, eventually, next, unique, with_queue, within};

fn header(message: &BasicGetMessage, name: &str) -> Option<String> {
    match message.properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_lettered_message_lies_in_the_dead_letter_queue_with_its_reason_and_all_it_had() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("bury");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 10));
    let running = Running::up(builder).await;
    let other = Other::connect(&broker).await;
    let mut headers = FieldTable::default();
    // What would send it elsewhere, let it vanish or get it refused, if it were simply copied.
    let copy_to = vec![AMQPValue::LongString("elsewhere".into())];
    headers.insert("CC".into(), AMQPValue::FieldArray(copy_to.into()));
    let properties = BasicProperties::default()
        .with_content_type("text/odd".into())
        .with_correlation_id("c".into())
        .with_user_id("guest".into())
        .with_expiration("3600000".into())
        .with_headers(headers);
    let options = BasicPublishOptions::default();
    let publishing =
        other.channel.basic_publish("".into(), queue.as_str().into(), options, b"\xff\0", properties);
    publishing.await.unwrap();
    let delivery = next(&mut deliveries).await;
    within(delivery.dead_letter("malformed", &"é".repeat(100_000))).await.unwrap();
    let letter = other.take(DEAD, |letter| header(letter, dead::QUEUE).as_ref() == Some(&queue)).await;
    assert_eq!(letter.data, b"\xff\0");
    assert_eq!(header(&letter, dead::CODE).as_deref(), Some("malformed"));
    assert!(header(&letter, dead::REASON).is_some_and(|reason| reason.starts_with("éé")));
    assert!(header(&letter, dead::AT).is_some_and(|at| at.ends_with('Z')));
    assert_eq!(letter.properties.content_type().as_ref().map(|text| text.as_str()), Some("text/odd"));
    assert_eq!(letter.properties.expiration(), &None);
    let kept = letter.properties.headers().as_ref().and_then(|headers| headers.inner().get(dead::HEADERS));
    assert!(matches!(kept, Some(AMQPValue::FieldTable(table)) if table.contains_key("CC")), "{kept:?}");
    running.stop().await;
    assert_eq!(other.depth(&queue).await, 0, "the original is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsettled_delivery_comes_again_and_a_late_settling_is_told_so() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("again");
    let mut first = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = first.consume(Consume::queue(&queue, 10));
    let running = Running::up(first).await;
    within(running.link.publisher().publish(Outgoing::new("", &queue, "x"))).await.unwrap();
    let early = next(&mut deliveries).await;
    running.stop().await;
    assert!(within(early.ack()).await.is_err());
    assert!(within(deliveries.recv()).await.is_none());
    let mut second = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = second.consume(Consume::queue(&queue, 10));
    let running = Running::up(second).await;
    let again = next(&mut deliveries).await;
    assert!(again.redelivered());
    again.ack().await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_noticed_and_declared_anew() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("deleted");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 10));
    let running = Running::up(builder).await;
    let other = Other::connect(&broker).await;
    let mut status = running.link.status();
    status.mark_unchanged();
    other.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    within(status.changed()).await.unwrap();
    running.is_up().await;
    within(running.link.publisher().publish(Outgoing::new("", &queue, "x"))).await.unwrap();
    next(&mut deliveries).await.ack().await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_gets_nothing_until_it_goes_on() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("pause");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, control) = builder.consume(Consume::queue(&queue, 2));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    let other = Other::connect(&broker).await;
    within(publisher.publish(Outgoing::new("", &queue, "0"))).await.unwrap();
    let held = next(&mut deliveries).await;
    control.pause();
    // Two fit into the prefetch until the broker has heard of the pause; then all stay.
    let mut sent = 0;
    eventually(async || {
        within(publisher.publish(Outgoing::new("", &queue, "x"))).await.unwrap();
        sent += 1;
        while let Some(delivery) = deliveries.try_recv() {
            delivery.ack().await.unwrap();
            sent -= 1;
        }
        (other.depth(&queue).await >= 5).then_some(())
    })
    .await;
    // What came before can still be settled.
    held.ack().await.unwrap();
    // The pause outlives the session.
    let mut status = running.link.status();
    status.mark_unchanged();
    within(publisher.publish(Outgoing::new(unique("none"), "", ""))).await.unwrap_err();
    within(status.changed()).await.unwrap();
    running.is_up().await;
    assert!(control.is_paused());
    let waiting = eventually(async || Some(other.depth(&queue).await).filter(|depth| *depth == sent)).await;
    assert!(deliveries.try_recv().is_none());
    control.resume();
    for _ in 0..waiting {
        next(&mut deliveries).await.ack().await.unwrap();
    }
    running.stop().await;
    assert_eq!(other.depth(&queue).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_reach_every_relayd_of_a_frontend_by_queues_of_their_own() {
    let broker = Broker::for_tests().await.unwrap();
    let frontend = unique("main").parse().unwrap();
    let queue = aegir_amqp::topology::status_queue(&frontend);
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut builder = builder(&broker, Topology::of_frontend(&frontend));
        let (deliveries, _control) = builder.consume(Consume::queue(&queue, 100).settled_on_arrival());
        readers.push((Running::up(builder).await, deliveries));
    }
    let heartbeat = Outgoing::new(STATUS, frontend.as_str(), "beat").transient();
    within(readers[0].0.link.publisher().publish(heartbeat.clone())).await.unwrap();
    for (_, deliveries) in &mut readers {
        let delivery = next(deliveries).await;
        assert_eq!(delivery.body(), "beat");
        assert_eq!(delivery.queue(), queue);
        delivery.ack().await.unwrap();
    }
    // The queue of the next session has another name and the consumer finds it.
    let (running, mut deliveries) = readers.remove(0);
    let publisher = running.link.publisher();
    within(publisher.publish(Outgoing::new(unique("none"), "", ""))).await.unwrap_err();
    running.becomes(|status| matches!(status, Status::Connecting { .. })).await;
    running.is_up().await;
    within(publisher.publish(heartbeat)).await.unwrap();
    assert_eq!(next(&mut deliveries).await.body(), "beat");
    running.stop().await;
}
