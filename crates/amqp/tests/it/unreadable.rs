//! Messages that no reader can make sense of.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use aegir_amqp::topology::{DEAD, QueueArgument, UNREADABLE};
use aegir_amqp::{Consume, Outgoing, Topology};
use aegir_testkit::Broker;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::harness::{DEADLINE, Other, Running, builder, eventually, next, unique, with_queue, within};

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_can_be_delivered_and_dead_lettered() {
    let broker = Broker::for_tests().await.unwrap();
    let queue = unique("bytes");
    let mut builder = builder(&broker, with_queue(&queue, &[]));
    let (mut deliveries, _control) = builder.consume(Consume::queue(&queue, 10));
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    let mut runner = TestRunner::deterministic();
    let strategy = (
        proptest::collection::vec(proptest::num::u8::ANY, 0..2000),
        ".{0,60}",
        proptest::collection::btree_map(".{0,60}", ".{0,300}", 0..8),
    );
    for _ in 0..100 {
        let (body, text, headers) = strategy.new_tree(&mut runner).unwrap().current();
        let mut message = Outgoing::new("", &queue, body.clone())
            .content_type(text.clone())
            .kind(text.clone())
            .message_id(text.clone())
            .correlation_id(text.clone())
            .reply_to(text.clone());
        message.headers = headers;
        within(publisher.publish(message)).await.unwrap();
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.body(), body);
        assert_eq!(delivery.content_type(), Some(text.as_str()));
        within(delivery.dead_letter("malformed", &text)).await.unwrap();
    }
    assert!(running.link.status().borrow().is_up());
    running.stop().await;
}

/// AMQP leaves open what bytes a short text holds; lapin ends the connection at one that is no UTF-8.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_every_session_is_moved_away_by_the_broker() {
    let broker = Broker::private().await.unwrap();
    let queue = unique("poison");
    let arguments = [
        ("x-delivery-limit", QueueArgument::Number(8)),
        ("x-dead-letter-exchange", QueueArgument::Text(DEAD.to_owned())),
    ];
    let mut builder = builder(&broker, with_queue(&queue, &arguments));
    let (mut deliveries, control) = builder.consume(Consume::queue(&queue, 10));
    control.pause();
    let running = Running::up(builder).await;
    let publisher = running.link.publisher();
    for number in 0..3 {
        within(publisher.publish(Outgoing::new("", &queue, number.to_string()))).await.unwrap();
    }
    let port = broker.port().unwrap();
    let to = queue.clone();
    tokio::task::spawn_blocking(move || publish_raw(port, &to, &no_utf8())).await.unwrap();
    let other = Other::connect(&broker).await;
    eventually(async || (other.depth(&queue).await == 4).then_some(())).await;
    for number in 3..6 {
        within(publisher.publish(Outgoing::new("", &queue, number.to_string()))).await.unwrap();
    }
    control.resume();
    let mut wanted: Vec<_> = (0..6).map(|number| number.to_string()).collect();
    while !wanted.is_empty() {
        let delivery = next(&mut deliveries).await;
        let body = String::from_utf8(delivery.body().to_vec()).unwrap();
        if delivery.ack().await.is_ok() {
            wanted.retain(|wanted| *wanted != body);
        }
    }
    eventually(async || (other.depth(DEAD).await == 1).then_some(())).await;
    running.is_up().await;
    running.stop().await;
}

/// Otherwise the one that reads the letters would lose its session for ever.
#[tokio::test(flavor = "multi_thread")]
async fn letters_that_end_every_session_are_moved_away_too() {
    let broker = Broker::private().await.unwrap();
    let mut builder = builder(&broker, Topology::base());
    let (mut dead, control) = builder.consume(Consume::queue(DEAD, 10));
    control.pause();
    let running = Running::up(builder).await;
    let port = broker.port().unwrap();
    let publish = move || [no_utf8(), oversize()].iter().for_each(|bad| publish_raw(port, DEAD, bad));
    tokio::task::spawn_blocking(publish).await.unwrap();
    let publisher = running.link.publisher();
    within(publisher.publish(Outgoing::new(DEAD, "", "behind it"))).await.unwrap();
    let other = Other::connect(&broker).await;
    eventually(async || (other.depth(DEAD).await == 3).then_some(())).await;
    control.resume();
    while next(&mut dead).await.ack().await.is_err() {}
    eventually(async || (other.depth(UNREADABLE).await == 2).then_some(())).await;
    running.is_up().await;
    running.stop().await;
}

/// A content type that is no UTF-8.
fn no_utf8() -> Vec<u8> {
    [&[0x80, 0][..], &text(b"\xff\xfe")].concat()
}

/// A header that fits the sender's frame and not ours.
fn oversize() -> Vec<u8> {
    [&[0x20, 0][..], &long(&[&text(b"x")[..], b"S", &long(&[b'x'; 20_000])].concat())].concat()
}

/// Publishes one message with these properties, speaking AMQP by hand.
fn publish_raw(port: u16, queue: &str, properties: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    read_method(&mut stream, (10, 10));
    let start_ok = [&[0, 0, 0, 0][..], &text(b"PLAIN"), &long(b"\0guest\0guest"), &text(b"en_US")].concat();
    write_method(&mut stream, 0, (10, 11), &start_ok);
    read_method(&mut stream, (10, 30));
    write_method(&mut stream, 0, (10, 31), &[7, 255, 0, 2, 0, 0, 0, 0]);
    write_method(&mut stream, 0, (10, 40), &[&text(b"/")[..], &[0, 0]].concat());
    read_method(&mut stream, (10, 41));
    write_method(&mut stream, 1, (20, 10), &[0]);
    read_method(&mut stream, (20, 11));
    let publish = [&[0, 0][..], &text(b""), &text(queue.as_bytes()), &[0]].concat();
    write_method(&mut stream, 1, (60, 40), &publish);
    let mut header = vec![0, 60, 0, 0];
    header.extend(2_u64.to_be_bytes());
    header.extend(properties);
    write_frame(&mut stream, 2, 1, &header);
    write_frame(&mut stream, 3, 1, b"hi");
    write_method(&mut stream, 0, (10, 50), &[&[0, 200][..], &text(b"bye"), &[0, 0, 0, 0]].concat());
    read_method(&mut stream, (10, 51));
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn write_method(stream: &mut TcpStream, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
    let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
    write_frame(stream, 1, channel, &payload);
}

fn write_frame(stream: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let frame = [&[kind][..], &channel.to_be_bytes(), &length, payload, &[0xce]].concat();
    stream.write_all(&frame).unwrap();
}

fn read_method(stream: &mut TcpStream, (class, method): (u16, u16)) {
    let mut head = [0; 7];
    stream.read_exact(&mut head).unwrap();
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut payload = vec![0; usize::try_from(length).unwrap() + 1];
    stream.read_exact(&mut payload).unwrap();
    let got = (u16::from_be_bytes([payload[0], payload[1]]), u16::from_be_bytes([payload[2], payload[3]]));
    assert_eq!(got, (class, method), "{:?}", String::from_utf8_lossy(&payload));
}
