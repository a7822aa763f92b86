//! Turns what a child prints into what `output` records hold. Pure: bytes in, pieces out.
//!
//! A piece is complete lines, at most [`MAX_OUTPUT`] bytes after masking. An unfinished last line waits for
//! its newline, for [`MAX_OUTPUT`] bytes, or for the end of the stream; a longer line goes on in further
//! pieces. A line that ends with what may be the beginning of a secret waits for the next one. All pieces put one behind
//! the other are what the child printed, masked and otherwise unchanged.

use aegir_protocol::limits::MAX_OUTPUT;

use super::redactor::{Behind, Redactor};

/// What one record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputPiece<'a> {
    /// The number of the first line here, from 1.
    pub line: u64,
    /// Whether this goes on with the line that the piece before left open.
    pub continued: bool,
    /// Masked, newlines included.
    pub bytes: &'a [u8],
}

/// One stream of one child.
#[derive(Debug)]
pub struct Splitter {
    redactor: Redactor,
    /// What is not given out, and before it as much as must be known to mask that.
    held: Vec<u8>,
    /// How much of it is given out.
    given: usize,
    /// Whether that ends in a mask.
    within: bool,
    numbering: Numbering,
}

/// Where the next piece starts.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    line: u64,
    continued: bool,
}

impl Splitter {
    /// For a stream from which nothing was read yet.
    #[must_use]
    pub fn new(redactor: Redactor) -> Self {
        let numbering = Numbering { line: 1, continued: false };
        Self { redactor, held: Vec::new(), given: 0, within: false, numbering }
    }

    /// From here on these secrets are masked.
    pub fn mask_with(&mut self, redactor: &Redactor) {
        self.redactor = redactor.clone();
    }

    /// Takes what was read, and gives out what is complete.
    ///
    /// # Errors
    /// The first error that `emit` returns; nothing is given out after it.
    pub fn push<E>(
        &mut self,
        bytes: &[u8],
        emit: &mut (impl FnMut(OutputPiece<'_>) -> Result<(), E> + ?Sized),
    ) -> Result<(), E> {
        self.held.extend_from_slice(bytes);
        if let Some(newline) = memchr::memrchr(b'\n', bytes) {
            let complete = self.held.len() - bytes.len() + newline + 1;
            self.give_out(complete, Behind::Lines, emit)?;
        }
        // The beginning of a line that is too long to wait for its newline.
        while self.held.len() - self.given >= MAX_OUTPUT + self.redactor.held_back() {
            self.give_out(self.held.len(), Behind::Anything, emit)?;
        }
        Ok(())
    }

    /// Gives out what is left at the end of the stream.
    ///
    /// # Errors
    /// The error that `emit` returns.
    pub fn finish<E>(
        &mut self,
        emit: &mut (impl FnMut(OutputPiece<'_>) -> Result<(), E> + ?Sized),
    ) -> Result<(), E> {
        self.give_out(self.held.len(), Behind::Nothing, emit)
    }

    /// Gives out what is certain of the bytes up to an index.
    fn give_out<E>(
        &mut self,
        upto: usize,
        behind: Behind,
        emit: &mut (impl FnMut(OutputPiece<'_>) -> Result<(), E> + ?Sized),
    ) -> Result<(), E> {
        let bytes = &self.held[..upto];
        let found = self.redactor.look(bytes, behind);
        let settled = found.settled.max(self.given);
        if settled > self.given {
            let (masked, within) = found.masked(bytes, self.given, self.within);
            self.within = within;
            give_out(&masked, &mut self.numbering, emit)?;
        }
        let known = self.redactor.context(&bytes[..settled]);
        self.held.drain(..settled - known);
        self.given = known;
        Ok(())
    }
}

fn give_out<E>(
    mut masked: &[u8],
    numbering: &mut Numbering,
    emit: &mut (impl FnMut(OutputPiece<'_>) -> Result<(), E> + ?Sized),
) -> Result<(), E> {
    while !masked.is_empty() {
        let (bytes, rest) = masked.split_at(cut(masked));
        emit(OutputPiece { line: numbering.line, continued: numbering.continued, bytes })?;
        numbering.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        numbering.continued = !bytes.ends_with(b"\n");
        masked = rest;
    }
    Ok(())
}

/// Where the first piece of these bytes ends: behind the last newline that fits, else where a character
/// does, else where the piece is full.
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= MAX_OUTPUT {
        return bytes.len();
    }
    if let Some(newline) = memchr::memrchr(b'\n', &bytes[..MAX_OUTPUT]) {
        return newline + 1;
    }
    let is_boundary = |&at: &usize| bytes[at] & 0b1100_0000 != 0b1000_0000;
    (MAX_OUTPUT - 3..=MAX_OUTPUT).rev().find(is_boundary).unwrap_or(MAX_OUTPUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Owned {
        line: u64,
        continued: bool,
        bytes: Vec<u8>,
    }

    fn split(secrets: &[&str], chunks: &[&[u8]]) -> Vec<Owned> {
        let mut splitter = Splitter::new(Redactor::new(secrets.iter().copied()).unwrap());
        let mut pieces = Vec::new();
        let mut emit = |piece: OutputPiece<'_>| {
            pieces.push(Owned { line: piece.line, continued: piece.continued, bytes: piece.bytes.to_vec() });
            Ok::<_, ()>(())
        };
        for chunk in chunks {
            splitter.push(chunk, &mut emit).unwrap();
        }
        splitter.finish(&mut emit).unwrap();
        pieces
    }

    fn piece(line: u64, continued: bool, bytes: &[u8]) -> Owned {
        Owned { line, continued, bytes: bytes.to_vec() }
    }

    #[test]
    fn lines_are_given_out_as_soon_as_they_are_complete() {
        let pieces = split(&[], &[b"one\ntw", b"o\nthree\nfo", b"ur"]);
        assert_eq!(
            pieces,
            [piece(1, false, b"one\n"), piece(2, false, b"two\nthree\n"), piece(4, false, b"four"),]
        );
    }

    #[test]
    fn a_long_line_goes_on_in_further_pieces() {
        let mut text = vec![b'x'; 2 * MAX_OUTPUT + 5];
        text.extend_from_slice(b"\nnext\n");
        let pieces = split(&[], &[&text]);
        assert_eq!(
            pieces.iter().map(|p| (p.line, p.continued)).collect::<Vec<_>>(),
            [(1, false), (1, true), (1, true)]
        );
        assert_eq!(pieces.concat_bytes(), text);
        assert!(split(&[], &[b"x\n", b"y\n"])[1].line == 2);
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        let text = format!("{}é{}", "x".repeat(MAX_OUTPUT - 1), "y".repeat(MAX_OUTPUT));
        let pieces = split(&[], &[text.as_bytes()]);
        assert!(pieces.iter().all(|piece| std::str::from_utf8(&piece.bytes).is_ok()));
        assert_eq!(pieces.concat_bytes(), text.as_bytes());
    }

    #[test]
    fn a_secret_across_the_cut_of_a_long_line_is_masked() {
        for before in (MAX_OUTPUT - 15..MAX_OUTPUT + 3).step_by(3) {
            let text = format!("{}hunter2hunter2{}", "x".repeat(before), "y".repeat(MAX_OUTPUT));
            for step in [4096, MAX_OUTPUT, 2 * MAX_OUTPUT] {
                let chunks: Vec<_> = text.as_bytes().chunks(step).collect();
                let masked = split(&["hunter2hunter2"], &chunks).concat_bytes();
                let expected = format!("{}********{}", "x".repeat(before), "y".repeat(MAX_OUTPUT));
                assert_eq!(masked, expected.as_bytes());
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut splitter = Splitter::new(Redactor::new(["hunter2"]).unwrap());
        let chunk = vec![b'x'; 64 * 1024];
        let (mut total, mut most) = (0, 0);
        for _ in 0..200 {
            splitter
                .push(&chunk, &mut |piece| {
                    total += piece.bytes.len();
                    Ok::<_, ()>(())
                })
                .unwrap();
            most = most.max(splitter.held.capacity());
        }
        splitter
            .finish(&mut |piece| {
                total += piece.bytes.len();
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(total, 200 * 64 * 1024);
        assert!(most <= 4 * MAX_OUTPUT, "{most} bytes were held");
    }

    #[test]
    fn a_run_of_overlapping_secrets_is_masked_in_bounded_memory() {
        let text = "a".repeat(3 * MAX_OUTPUT);
        let masked = split(&["aaaaaa"], &text.as_bytes().chunks(5000).collect::<Vec<_>>()).concat_bytes();
        assert!(!masked.contains(&b'a'), "{}", String::from_utf8_lossy(&masked));
    }

    trait Concat {
        fn concat_bytes(&self) -> Vec<u8>;
    }
    impl Concat for Vec<Owned> {
        fn concat_bytes(&self) -> Vec<u8> {
            self.iter().flat_map(|piece| piece.bytes.iter().copied()).collect()
        }
    }

    proptest! {
        #[test]
        fn without_secrets_the_pieces_are_the_input(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..2000),
            step in 1usize..300,
        ) {
            let chunks: Vec<_> = text.chunks(step).collect();
            let pieces = split(&[], &chunks);
            prop_assert_eq!(pieces.concat_bytes(), text);
            let mut line = 1;
            for piece in &pieces {
                prop_assert_eq!(piece.line, line);
                prop_assert!(!piece.bytes.is_empty());
                line += piece.bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            }
        }

        #[test]
        fn a_secret_never_shows_whatever_the_chunking(
            text in "[ab\n]{0,300}", secret in "[ab]{6,8}", at in 0usize..300, step in 1usize..50,
        ) {
            let mut text = text;
            text.insert_str(at.min(text.len()), &secret);
            let chunks: Vec<_> = text.as_bytes().chunks(step).collect();
            let masked = split(&[&secret], &chunks).concat_bytes();
            let masked = String::from_utf8(masked).unwrap();
            prop_assert!(!masked.contains(&secret), "{} in {}", secret, masked);
            prop_assert!(masked.contains(crate::redactor::MASK));
        }
    }
}
