use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::*;

/// The end of every wait.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for a byte to cross this machine many times over.
const WHILE: Duration = Duration::from_millis(200);

/// A daemon's socket, the broker's socket, and the proxy between them.
fn connected() -> (TcpStream, TcpStream, Proxy) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&format!("amqp://u:p@{}/%2f", listener.local_addr().unwrap())).unwrap();
    let (_, address, after) = parts(proxy.url()).unwrap();
    assert_eq!(after, "/%2f");
    let daemon = TcpStream::connect(address).unwrap();
    let (broker, _) = listener.accept().unwrap();
    for stream in [&daemon, &broker] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
    }
    (daemon, broker, proxy)
}

fn arrives(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

fn is_quiet(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(WHILE)).unwrap();
    let kind = stream.read(&mut [0]).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
}

fn is_reset(stream: &mut TcpStream) {
    let kind = stream.read(&mut [0]).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stall_holds_one_way_and_gives_it_back_whole() {
    let (mut daemon, mut broker, proxy) = connected();
    daemon.write_all(b"hello").unwrap();
    arrives(&mut broker, b"hello");
    proxy.set(Mode::Stall(Direction::ToBroker));
    daemon.write_all(b"held").unwrap();
    broker.write_all(b"other way").unwrap();
    arrives(&mut daemon, b"other way");
    is_quiet(&mut broker);
    proxy.set(Mode::Stall(Direction::FromBroker));
    arrives(&mut broker, b"held");
    broker.write_all(b"later").unwrap();
    is_quiet(&mut daemon);
    proxy.set(Mode::Pass);
    arrives(&mut daemon, b"later");
    daemon.shutdown(Shutdown::Write).unwrap();
    assert_eq!(broker.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_reset_reaches_both_sides() {
    let (mut daemon, mut broker, proxy) = connected();
    daemon.write_all(b"hello").unwrap();
    arrives(&mut broker, b"hello");
    assert_eq!(proxy.reset(), 1);
    is_reset(&mut daemon);
    is_reset(&mut broker);
}

#[test]
fn one_side_is_closed_and_the_other_is_not_told() {
    let (mut daemon, mut broker, proxy) = connected();
    daemon.write_all(b"hello").unwrap();
    arrives(&mut broker, b"hello");
    assert_eq!(proxy.half_open(Side::Broker), 1);
    assert_eq!(broker.read(&mut [0]).unwrap(), 0);
    daemon.write_all(b"into nowhere").unwrap();
    is_quiet(&mut daemon);
    assert_eq!(proxy.connections(), 1);
    proxy.set(Mode::Refuse);
    is_reset(&mut daemon);
}

#[test]
fn refusing_resets_old_and_new_ones() {
    let (mut daemon, mut broker, proxy) = connected();
    daemon.write_all(b"hello").unwrap();
    arrives(&mut broker, b"hello");
    proxy.set(Mode::Refuse);
    is_reset(&mut daemon);
    let (_, address, _) = parts(proxy.url()).unwrap();
    is_reset(&mut TcpStream::connect(address).unwrap());
}

#[test]
fn a_throttle_lets_so_much_through() {
    let (mut daemon, mut broker, proxy) = connected();
    proxy.set(Mode::Throttle { bytes_per_second: 10_000 });
    let begin = Instant::now();
    daemon.write_all(&[7; 5_000]).unwrap();
    arrives(&mut broker, &[7; 5_000]);
    // Never faster than it says; how much slower depends on the machine.
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
}

#[test]
fn a_connection_is_found_by_what_it_said_first() {
    let (mut daemon, mut broker, proxy) = connected();
    daemon.write_all(b"AMQP I am (consume)").unwrap();
    arrives(&mut broker, b"AMQP I am (consume)");
    assert_eq!(proxy.set_where("(publish)", Mode::Refuse), 0);
    assert_eq!(proxy.set_where("(consume)", Mode::Refuse), 1);
    is_reset(&mut daemon);
}
