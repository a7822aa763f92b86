//! Server-sent events, read from a stream of bytes that may be cut anywhere (WHATWG HTML, section 9.2).

/// No line of relayd's events is longer: a record is at most 256 KiB.
const MAX_LINE: usize = 1024 * 1024;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// What to send as `Last-Event-ID` to go on behind it.
    pub(crate) id: Option<String>,
    /// Its type.
    pub(crate) kind: String,
    /// What it carries.
    pub(crate) data: Vec<u8>,
}

/// A line that is longer than any that relayd sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the event stream is longer than {MAX_LINE} bytes")]
pub(crate) struct LineTooLong;

/// Takes bytes and gives events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// Where the first line starts that was not read yet.
    start: usize,
    /// Up to where there is no newline.
    searched: usize,
    event: SseEvent,
    has_data: bool,
}

impl Parser {
    /// Adds what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if it has arrived.
    ///
    /// # Errors
    /// When a line is too long to be relayd's.
    pub(crate) fn next_event(&mut self) -> Result<Option<SseEvent>, LineTooLong> {
        while let Some(length) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
            let (from, to) = (self.start, self.searched + length);
            self.start = to + 1;
            self.searched = self.start;
            if let Some(event) = self.line(from, to) {
                return Ok(Some(event));
            }
        }
        self.searched = self.buffer.len();
        if self.buffer.len() - self.start > MAX_LINE { Err(LineTooLong) } else { Ok(None) }
    }

    fn line(&mut self, from: usize, to: usize) -> Option<SseEvent> {
        let line = &self.buffer[from..to];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.event.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" => self.event.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            // A comment (a line that starts with a colon) is a ping; other fields mean nothing here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": ping\n\nevent: state\ndata: {}\n\nevent: record\r\nid: 1-1\r\ndata: {\"a\": \"b:c\"}\r\n\r\n\
                          event: end\ndata\n\ndata: one\ndata: two\n\nevent: nothing\n\n";

    fn events(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<SseEvent> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(&piece);
            while let Some(event) = parser.next_event().unwrap() {
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn it_does_not_matter_where_the_stream_is_cut() {
        let event = |id: Option<&str>, kind: &str, data: &str| SseEvent {
            id: id.map(str::to_owned),
            kind: kind.to_owned(),
            data: data.as_bytes().to_vec(),
        };
        let expect = vec![
            event(None, "state", "{}"),
            event(Some("1-1"), "record", "{\"a\": \"b:c\"}"),
            event(None, "end", ""),
            event(None, "", "one\ntwo"),
        ];
        for size in 1..STREAM.len() {
            assert_eq!(events(STREAM.as_bytes().chunks(size).map(<[u8]>::to_vec)), expect, "cut at {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        parser.push(&vec![b'x'; MAX_LINE + 1]);
        assert_eq!(parser.next_event(), Err(LineTooLong));
    }
}
