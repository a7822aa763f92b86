//! Letters: read from the dead-letter queue, and published again.

use aegir_amqp::dead::{Body, Cause, Kept, REPLAYS, ReplayError};
use aegir_amqp::topology::{DEAD, QueueArgument};
use aegir_amqp::{Consume, Outgoing, PublishError};
use aegir_testkit::Broker;

use crate::harness::{Running, builder, next, unique, with_queue, within};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dead_lettered_goes_back_as_it_came_and_says_how_often() {
    let broker = Broker::private().await.unwrap();
    let queue = unique("again");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 10));
    let (mut dead, _control) = builder.consume(Consume::queue(DEAD, 10));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    let mut message = Outgoing::new("", &queue, &b"\0\xff"[..])
        .content_type("application/x-thing")
        .kind("thing")
        .message_id("m1")
        .correlation_id("c1")
        .reply_to("nobody");
    message.headers.insert("own".to_owned(), "header".to_owned());
    within(publisher.publish(message)).await.unwrap();
    for replays in 0..3 {
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.body(), &b"\0\xff"[..]);
        let said = (delivery.content_type(), delivery.kind(), delivery.message_id());
        assert_eq!(said, (Some("application/x-thing"), Some("thing"), Some("m1")));
        assert_eq!((delivery.correlation_id(), delivery.reply_to()), (Some("c1"), Some("nobody")));
        assert_eq!(delivery.header("own").as_deref(), Some("header"));
        within(delivery.dead_letter("strange", "nobody knows it")).await.unwrap();

        let delivery = next(&mut dead).await;
        let letter = delivery.letter();
        let cause = Cause::ByConsumer { code: "strange".to_owned(), reason: "nobody knows it".to_owned() };
        assert_eq!((letter.cause, letter.queue.as_str(), letter.replays), (cause, queue.as_str(), replays));
        assert_eq!((letter.kept, letter.length), (Kept::Whole, 2));
        assert!(letter.at.is_some());
        assert_eq!(letter.content_type.as_deref(), Some("application/x-thing"));
        within(publisher.replay(letter.original, replays + 1)).await.unwrap();
        within(delivery.ack()).await.unwrap();
    }
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.header(REPLAYS), None, "a number is no text");
    let body = Body { bytes: "{}".into(), kept: Kept::Redacted, length: 7 };
    within(delivery.dead_letter_with("secret", "it held one", body)).await.unwrap();
    let delivery = next(&mut dead).await;
    let mut letter = delivery.letter();
    assert_eq!((letter.kept, letter.length, letter.replays), (Kept::Redacted, 7, 3));
    assert_eq!(letter.original.body, "{}");
    within(delivery.ack()).await.unwrap();

    letter.original.routing_key = unique("nobody");
    let outcome = within(publisher.replay(letter.original.clone(), 1)).await;
    assert!(matches!(outcome, Err(ReplayError::Publish(PublishError::Unroutable { .. }))), "{outcome:?}");
    letter.original.properties = "?".into();
    let outcome = within(publisher.replay(letter.original, 1)).await;
    assert!(matches!(outcome, Err(ReplayError::Properties)), "{outcome:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_moved_or_a_stranger_sent_can_be_read_too() {
    let broker = Broker::private().await.unwrap();
    let queue = unique("expires");
    let arguments = [
        ("x-message-ttl", QueueArgument::Number(1)),
        ("x-dead-letter-exchange", QueueArgument::Text(DEAD.to_owned())),
    ];
    let mut builder = builder(&broker, with_queue(&queue, &arguments));
    let (mut dead, _control) = builder.consume(Consume::queue(DEAD, 10));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    within(publisher.publish(Outgoing::new("", &queue, "moved").message_id("m1"))).await.unwrap();
    let delivery = next(&mut dead).await;
    let letter = delivery.letter();
    assert_eq!((letter.cause, letter.queue.as_str()), (Cause::Moved("expired".to_owned()), queue.as_str()));
    assert_eq!((letter.original.exchange.as_str(), letter.original.routing_key), ("", queue.clone()));
    assert_eq!((letter.message_id.as_deref(), letter.at), (Some("m1"), None));
    within(delivery.ack()).await.unwrap();

    within(publisher.publish(Outgoing::new(DEAD, "here", "strange"))).await.unwrap();
    let delivery = next(&mut dead).await;
    let letter = delivery.letter();
    assert_eq!(letter.cause, Cause::Strange);
    let place = (letter.original.exchange.as_str(), letter.original.routing_key.as_str());
    assert_eq!(place, (DEAD, "here"));
    within(delivery.ack()).await.unwrap();
    running.stop().await;
}
