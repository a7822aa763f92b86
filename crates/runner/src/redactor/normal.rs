//! Undoes encodings and escapes, so that one search finds every form of a secret: percent-encoding, the escapes of JSON, C, Python, SQL, YAML
//! and shells, HTML entities, quotes, and how it is laid out; whichever of them, however often, and one in the other.
//!
//! Each byte is put behind those before it, and where that completes an escape, what the escape stands for is put in its
//! place in the same way. So what comes out of an encoded secret is what comes out of the secret itself, and one search
//! for that finds all of its forms.

/// How much of a text is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// All but escapes and quotes. `+` is a space, and so is a line end that was escaped, for it ends no line.
    Lines,
    /// Neither line ends, spaces, quotes nor what separates the values of a document; `-` and `+` of base64 neither, and
    /// `_` is `/`.
    Ignored,
}

/// The longest name or number of an HTML entity.
const LONGEST_ENTITY: usize = 10;
/// Of the characters from U+00A0 to U+00FF, as HTML 4 has them.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

/// What is left of a text, and where each byte of it came from.
#[derive(Debug)]
pub(super) struct Normal {
    pub(super) bytes: Vec<u8>,
    /// Of each byte, where its form in the text starts and ends, if that is asked for: most texts hold no secret.
    pub(super) spans: Vec<Span>,
    /// How many quotes and backslashes were left out that may have been characters of the text and not of an escape.
    pub(super) left_out: usize,
    with_spans: bool,
    layout: Layout,
    /// Where a backslash stands whose escape is not complete.
    escape: Option<usize>,
}

/// From where to where, in bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Normal {
    /// What is left of a text behind which more may come.
    pub(super) fn of(text: &[u8], layout: Layout) -> Self {
        Self::new(text, layout, false)
    }

    /// The same, with where each byte was.
    pub(super) fn with_spans(text: &[u8], layout: Layout) -> Self {
        Self::new(text, layout, true)
    }

    fn new(text: &[u8], layout: Layout, with_spans: bool) -> Self {
        let bytes = Vec::with_capacity(text.len());
        let spans = Vec::with_capacity(if with_spans { text.len() } else { 0 });
        let mut normal = Self { bytes, spans, left_out: 0, with_spans, layout, escape: None };
        for (start, &byte) in text.iter().enumerate() {
            normal.feed(byte, Span { start, end: start + 1 });
        }
        normal
    }

    /// Nothing comes behind the text.
    pub(super) fn end(mut self) -> Self {
        self.give_up();
        self
    }

    /// How many bytes at the start hold no part of an escape that is not complete.
    pub(super) fn settled(&self) -> usize {
        let length = self.bytes.len();
        let recent = length.saturating_sub(LONGEST_ENTITY);
        let entity = self.bytes[recent..].iter().rposition(|&byte| byte == b'&').map(|at| at + recent);
        let percent = (length.saturating_sub(2)..length).find(|&at| self.bytes[at] == b'%');
        let settled = [self.escape, entity, percent].into_iter().flatten().min().unwrap_or(length);
        // The first half of a character beyond U+FFFF.
        if let [.., 0xed, 0xa0..=0xaf, _] = self.bytes[..settled] { settled - 3 } else { settled }
    }

    fn feed(&mut self, byte: u8, span: Span) {
        if let Some(backslash) = self.escape {
            self.go_on_with_escape(backslash, byte, span);
            return;
        }
        match byte {
            b'\\' => {
                self.escape = Some(self.bytes.len());
                self.put(byte, span);
            }
            b'\'' | b'"' => self.left_out += 1,
            b'+' | b'\n' if self.layout == Layout::Lines => self.put(b' ', span),
            _ if self.layout == Layout::Ignored && separates(byte) => {}
            b'_' if self.layout == Layout::Ignored => self.put(b'/', span),
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => self.put_digit(byte, span),
            b';' => self.put_semicolon(span),
            _ => self.put(byte, span),
        }
    }

    fn put(&mut self, byte: u8, span: Span) {
        self.bytes.push(byte);
        if self.with_spans {
            self.spans.push(span);
        }
    }

    /// Takes back all from an index on, which stood for something else; gives where it started.
    fn take_back(&mut self, from: usize) -> usize {
        let start = self.spans.get(from).map_or(0, |span| span.start);
        self.bytes.truncate(from);
        self.spans.truncate(from);
        start
    }

    /// A hexadecimal digit, which may be the second behind a percent sign.
    fn put_digit(&mut self, byte: u8, span: Span) {
        let length = self.bytes.len();
        if let Some(&[b'%', first]) = length.checked_sub(2).and_then(|from| self.bytes.get(from..))
            && let (Some(high), Some(low)) = (digit(first), digit(byte))
        {
            let start = self.take_back(length - 2);
            self.feed(high << 4 | low, Span { start, end: span.end });
        } else {
            self.put(byte, span);
        }
    }

    /// A semicolon, which may end an HTML entity.
    fn put_semicolon(&mut self, span: Span) {
        let recent = self.bytes.len().saturating_sub(LONGEST_ENTITY);
        let found = self.bytes[recent..].iter().rposition(|&byte| byte == b'&').map(|at| at + recent);
        if let Some(from) = found
            && let Some(meant) = entity(&self.bytes[from + 1..])
        {
            let start = self.take_back(from);
            self.feed_char(meant, Span { start, end: span.end });
        } else {
            self.put(b';', span);
        }
    }

    fn feed_char(&mut self, meant: char, span: Span) {
        for &byte in meant.encode_utf8(&mut [0; 4]).as_bytes() {
            self.feed(byte, span);
        }
    }

    /// A byte behind a backslash, or behind what followed one.
    fn go_on_with_escape(&mut self, backslash: usize, byte: u8, span: Span) {
        let said = self.bytes.get(backslash + 1).copied();
        match (said, byte) {
            // A backslash is doubled with each time that a text is escaped: a run of them counts as one.
            (None, b'\\') => {
                if let Some(run) = self.spans.get_mut(backslash) {
                    run.end = span.end;
                }
            }
            (None, b'u' | b'U' | b'x' | b'0'..=b'7') => self.put(byte, span),
            (None, _) => {
                let start = self.take_back(backslash);
                self.escape = None;
                let meant = control(byte);
                self.left_out += usize::from(meant == byte && !matches!(byte, b'\'' | b'"' | b'/' | b'\n'));
                self.feed(meant, Span { start, end: span.end });
            }
            // A line that was broken inside of an escape.
            (Some(_), b'\n' | b'\r' | b' ') if self.layout == Layout::Ignored => {}
            (Some(kind), _) => {
                let (digits, radix) = match kind {
                    b'u' => (4, 16),
                    b'U' => (8, 16),
                    b'x' => (2, 16),
                    // The first digit is the kind.
                    _ => (2, 8),
                };
                if !char::from(byte).is_digit(radix) {
                    self.give_up();
                    self.feed(byte, span);
                    return;
                }
                self.put(byte, span);
                let from = backslash + if radix == 8 { 1 } else { 2 };
                if self.bytes.len() - backslash - 2 == digits {
                    self.end_escape(backslash, from, radix);
                }
            }
        }
    }

    /// Puts what a number stands for in the place of its escape.
    fn end_escape(&mut self, backslash: usize, from: usize, radix: u32) {
        let (kind, end) = (self.bytes[backslash + 1], self.spans.last().map_or(0, |span| span.end));
        let number = self.bytes[from..]
            .iter()
            .fold(0_u32, |number, &byte| number * radix + char::from(byte).to_digit(radix).unwrap_or(0));
        self.escape = None;
        let start = self.take_back(backslash);
        let span = Span { start, end };
        match (kind, char::from_u32(number)) {
            (b'u' | b'U', Some(meant)) => self.feed_char(meant, span),
            (b'u' | b'U', None) => self.put_half(number, span),
            // Up to 0o777, of which C takes the low byte.
            _ => self.feed(number.to_le_bytes()[0], span),
        }
    }

    /// One half of a character beyond U+FFFF; with the half before it, the character.
    fn put_half(&mut self, number: u32, span: Span) {
        let [low, high, ..] = number.to_le_bytes();
        let half = [0xed, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f];
        let from = self.bytes.len().saturating_sub(3);
        if let (0xdc..=0xdf, &[0xed, a @ 0xa0..=0xaf, b]) = (high, &self.bytes[from..]) {
            let first = u32::from(a & 0x0f) << 6 | u32::from(b & 0x3f);
            if let Some(meant) = char::from_u32(0x10000 + (first << 10 | number & 0x3ff)) {
                let start = self.take_back(from);
                self.feed_char(meant, Span { start, end: span.end });
                return;
            }
        }
        for byte in half {
            self.put(byte, span);
        }
    }

    /// The backslash meant nothing.
    fn give_up(&mut self) {
        if let Some(backslash) = self.escape.take() {
            self.bytes.remove(backslash);
            self.left_out += 1;
            if self.with_spans {
                let Span { start, .. } = self.spans.remove(backslash);
                if let Some(next) = self.spans.get_mut(backslash) {
                    next.start = start;
                }
            }
        }
    }
}

/// What says how a text is laid out, and nothing else.
fn separates(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | b'`' | b'+' | b'-' | b',' | b':' | b'{' | b'}' | b'[' | b']')
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What a letter behind a backslash stands for.
fn control(letter: u8) -> u8 {
    match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        b'e' | b'E' => 0x1b,
        other => other,
    }
}

/// The character of an entity, without `&` and `;`.
fn entity(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(number) = name.strip_prefix('#') {
        let number = match number.strip_prefix(['x', 'X']) {
            Some(number) => u32::from_str_radix(number, 16),
            None => number.parse(),
        };
        return char::from_u32(number.ok()?);
    }
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => ('\u{a0}'..='\u{ff}')
            .zip(LATIN.split_whitespace())
            .find(|(_, latin)| *latin == name)
            .map(|(c, _)| c),
    }
}
