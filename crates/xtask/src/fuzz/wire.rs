//! Just enough of AMQP 0-9-1, by hand: a client library does not let its user say everything that a stranger can,
//! and what reads the messages must not be what writes them.

use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::mutate::FuzzMessage;

const FRAME: usize = 128 * 1024;
const SILENCE: Duration = Duration::from_secs(120);

/// A channel with publisher confirms.
pub(super) struct Wire {
    read: BufReader<TcpStream>,
    write: BufWriter<TcpStream>,
    /// How many messages were published; the broker counts along.
    published: u64,
}

impl Wire {
    pub(super) fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("no connection to the broker")?;
        stream.set_read_timeout(Some(SILENCE))?;
        let write = BufWriter::with_capacity(1 << 20, stream.try_clone()?);
        let mut wire = Self { read: BufReader::new(stream), write, published: 0 };
        wire.write.write_all(b"AMQP\x00\x00\x09\x01")?;
        wire.expect((10, 10))?;
        let start = [&[0; 4][..], &short("PLAIN"), &long(b"\0guest\0guest"), &short("en_US")].concat();
        wire.method(0, (10, 11), &start)?;
        wire.expect((10, 30))?;
        // No more than a channel, frames of 128 KiB, no heartbeats.
        wire.method(0, (10, 31), &[0, 1, 0, 2, 0, 0, 0, 0])?;
        wire.method(0, (10, 40), &[&short("/")[..], &[0, 0]].concat())?;
        wire.expect((10, 41))?;
        wire.method(1, (20, 10), &[0])?;
        wire.expect((20, 11))?;
        wire.method(1, (85, 10), &[0])?;
        wire.expect((85, 11))?;
        Ok(wire)
    }

    /// Publishes messages and waits for every confirm; says of each whether the broker has taken it.
    pub(super) fn publish(
        &mut self,
        exchange: &str,
        routing_key: &str,
        messages: &[FuzzMessage],
    ) -> anyhow::Result<Vec<bool>> {
        let first = self.published + 1;
        for message in messages {
            let arguments = [&[0, 0][..], &short(exchange), &short(routing_key), &[0]].concat();
            self.method(1, (60, 40), &arguments)?;
            let mut header = vec![0, 60, 0, 0];
            header.extend((message.body.len() as u64).to_be_bytes());
            header.extend(properties(message));
            self.frame(2, 1, &header)?;
            for piece in message.body.chunks(FRAME - 8) {
                self.frame(3, 1, piece)?;
            }
            self.published += 1;
        }
        self.write.flush()?;
        let mut taken: Vec<Option<bool>> = vec![None; messages.len()];
        while taken.contains(&None) {
            let (method, arguments) = self.read_method()?;
            let outcome = match method {
                (60, 80) => true,
                (60, 120) => false,
                other => bail!("the broker says {other:?}: {}", String::from_utf8_lossy(&arguments)),
            };
            let tag = u64::from_be_bytes(arguments[..8].try_into().context("a confirm without a tag")?);
            let last = usize::try_from(tag - first)?;
            // All before it, too.
            let from = if arguments[8] & 1 == 1 { 0 } else { last };
            taken[from..=last]
                .iter_mut()
                .filter(|taken| taken.is_none())
                .for_each(|taken| *taken = Some(outcome));
        }
        Ok(taken.into_iter().map(|taken| taken == Some(true)).collect())
    }

    /// How many messages are ready in a queue.
    pub(super) fn depth(&mut self, queue: &str) -> anyhow::Result<u64> {
        self.method(1, (50, 10), &[&[0, 0][..], &short(queue), &[1, 0, 0, 0, 0]].concat())?;
        let arguments = self.expect((50, 11))?;
        let at = 1 + usize::from(arguments[0]);
        Ok(u32::from_be_bytes(arguments[at..at + 4].try_into()?).into())
    }

    /// Empties a queue; says how many messages were ready in it.
    pub(super) fn purge(&mut self, queue: &str) -> anyhow::Result<u64> {
        self.method(1, (50, 30), &[&[0, 0][..], &short(queue), &[0]].concat())?;
        let arguments = self.expect((50, 31))?;
        Ok(u32::from_be_bytes(arguments[..4].try_into()?).into())
    }

    fn method(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) -> anyhow::Result<()> {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload)
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> anyhow::Result<()> {
        self.write.write_all(&[kind])?;
        self.write.write_all(&channel.to_be_bytes())?;
        self.write.write_all(&u32::try_from(payload.len())?.to_be_bytes())?;
        self.write.write_all(payload)?;
        Ok(self.write.write_all(&[0xce])?)
    }

    fn expect(&mut self, wanted: (u16, u16)) -> anyhow::Result<Vec<u8>> {
        self.write.flush()?;
        let (method, arguments) = self.read_method()?;
        let shown = || String::from_utf8_lossy(&arguments).into_owned();
        ensure!(method == wanted, "the broker says {method:?} instead of {wanted:?}: {}", shown());
        Ok(arguments)
    }

    fn read_method(&mut self) -> anyhow::Result<((u16, u16), Vec<u8>)> {
        let mut head = [0; 7];
        self.read.read_exact(&mut head).context("the broker says nothing, or has gone")?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; usize::try_from(length)? + 1];
        self.read.read_exact(&mut payload)?;
        payload.pop();
        ensure!(head[0] == 1 && payload.len() >= 4, "a frame of kind {}", head[0]);
        let arguments = payload.split_off(4);
        let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        Ok(((number(0), number(2)), arguments))
    }
}

/// Properties as section 4.2.6.1 has them: flags, then what they announce.
fn properties(message: &FuzzMessage) -> Vec<u8> {
    let mut flags = 0x1000_u16;
    let mut list = Vec::new();
    if let Some(kind) = &message.content_type {
        flags |= 0x8000;
        list.extend(short(kind));
    }
    if message.nesting > 0 {
        flags |= 0x2000;
        list.extend(nested(message.nesting));
    }
    // The delivery mode: kept on disk.
    list.push(2);
    if let Some(id) = &message.message_id {
        flags |= 0x0080;
        list.extend(short(id));
    }
    [&flags.to_be_bytes()[..], &list].concat()
}

/// A table in a table in a table. From the outside in, for the length stands first.
fn nested(depth: usize) -> Vec<u8> {
    /// Of an entry with an empty name: the name's length, the type, the length of the table in it.
    const ENTRY: usize = 6;
    let mut table = Vec::with_capacity(4 + ENTRY * depth);
    for left in (1..=depth).rev() {
        table.extend(u32::try_from(left * ENTRY).unwrap_or(u32::MAX).to_be_bytes());
        table.extend([0, b'F']);
    }
    table.extend([0; 4]);
    table
}

fn short(text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    [&[u8::try_from(bytes.len()).unwrap_or(u8::MAX)], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(), bytes].concat()
}
