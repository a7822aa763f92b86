//! What a publisher is told.

use std::time::Duration;

use aegir_amqp::topology::QueueArgument;
use aegir_amqp::{Consume, Delivery, Outgoing, PublishError, Status};
use aegir_testkit::Broker;
use bytes::Bytes;

use crate::harness::{Running, builder, next, unique, with_queue, within};

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_order_and_each_gets_its_own_answer() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("order");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 100));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    let count = 2000;
    let mut pending = Vec::new();
    for number in 0..count {
        // Some that nobody takes among many that arrive: each must be told apart from its neighbours.
        let to = if number % 7 == 3 { "nobody" } else { &queue };
        let message = Outgoing::new("", to, number.to_string()).message_id(number.to_string());
        pending.push(within(publisher.send(message)).await.unwrap());
    }
    for (number, pending) in pending.into_iter().enumerate() {
        let outcome = within(pending.confirmed()).await;
        if number % 7 == 3 {
            assert!(matches!(outcome, Err(PublishError::Unroutable { .. })), "{number}: {outcome:?}");
        } else {
            assert_eq!(outcome, Ok(()), "{number}");
        }
    }
    let mut batch = Vec::new();
    for number in (0..count).filter(|number| number % 7 != 3) {
        // The batch must be settled before the prefetch is used up.
        let delivery = match deliveries.try_recv() {
            Some(delivery) => delivery,
            None => {
                Delivery::ack_all(std::mem::take(&mut batch)).await.unwrap();
                next(&mut deliveries).await
            }
        };
        assert_eq!(delivery.body(), number.to_string());
        assert_eq!(delivery.message_id(), Some(number.to_string().as_str()));
        batch.push(delivery);
    }
    Delivery::ack_all(batch).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_and_bodies_of_every_size_arrive_as_they_were() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("sizes");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 4));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    for size in [0, 1, 131_063, 131_064, 131_065, 1 << 20, 3 << 20] {
        let body: Bytes = (0..size).map(|index: usize| (index % 251) as u8).collect();
        let mut message = Outgoing::new("", &queue, body.clone())
            .content_type("application/vnd.aegir.chunk")
            .kind("aegir.chunk/0")
            .correlation_id("c")
            .reply_to("r");
        message.headers.insert("key".to_owned(), "value".to_owned());
        within(publisher.publish(message)).await.unwrap();
        let delivery = next(&mut deliveries).await;
        assert!(delivery.body() == body, "a body of {size} bytes was changed");
        assert_eq!(delivery.content_type(), Some("application/vnd.aegir.chunk"));
        assert_eq!(delivery.kind(), Some("aegir.chunk/0"));
        assert_eq!((delivery.correlation_id(), delivery.reply_to()), (Some("c"), Some("r")));
        assert_eq!(delivery.header("key").as_deref(), Some("value"));
        assert!(!delivery.redelivered());
        delivery.ack().await.unwrap();
    }
    let missing = within(publisher.publish(Outgoing::new("", "nobody", "").transient())).await;
    assert_eq!(missing, Ok(()), "what is not mandatory may vanish");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("full");
    let arguments = [
        ("x-max-length-bytes", QueueArgument::Number(10_000)),
        ("x-overflow", QueueArgument::Text("reject-publish".to_owned())),
    ];
    let running = Running::up(builder(&broker, with_queue(&queue, &arguments))).await;
    let publisher = running.link.publisher();
    let fill = async {
        loop {
            if let Err(error) = publisher.publish(Outgoing::new("", &queue, vec![0; 4000])).await {
                return error;
            }
        }
    };
    assert_eq!(within(fill).await, PublishError::Refused);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_does_not_exist_ends_the_session_and_the_next_one_works() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("exchange");
    let running = Running::up(builder(&broker, with_queue(&queue, &[]))).await;
    let publisher = running.link.publisher();
    let outcome = within(publisher.publish(Outgoing::new(unique("none"), "", ""))).await;
    assert_eq!(outcome, Err(PublishError::Lost));
    running.becomes(|status| matches!(status, Status::Connecting { last_error: Some(_), .. })).await;
    running.is_up().await;
    assert_eq!(within(publisher.publish(Outgoing::new("", &queue, ""))).await, Ok(()));
    running.stop().await;
    let outcome = publisher.publish(Outgoing::new("", &queue, "")).await;
    assert_eq!(outcome, Err(PublishError::NotConnected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_short_of_memory_is_reported_and_passes() {
    let mut broker = Broker::private().await.unwrap();
    let queue = unique("blocked");
    let builder = builder(&broker, with_queue(&queue, &[])).confirm_within(Duration::from_secs(2));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    within(publisher.publish(Outgoing::new("", &queue, "before"))).await.unwrap();
    broker.control(&["set_vm_memory_high_watermark", "0.00001"]).await.unwrap();
    // The broker says so when a message comes that it does not want.
    let outcome = within(publisher.publish(Outgoing::new("", &queue, "during"))).await;
    assert!(matches!(outcome, Err(PublishError::Blocked { .. })), "{outcome:?}");
    let status = running.becomes(|status| matches!(status, Status::Blocked { .. })).await;
    assert_eq!(status, Status::Blocked { reason: "low on memory".to_owned() });
    broker.control(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    running.is_up().await;
    assert_eq!(within(publisher.publish(Outgoing::new("", &queue, "after"))).await, Ok(()));
    running.stop().await;
}
