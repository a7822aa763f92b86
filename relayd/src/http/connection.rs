//! One HTTP connection: its time limits, and problems in the place of hyper's bare errors.
//!
//! hyper reads the requests. What it can't read it answers itself, with a status and nothing else; [`Stream`] makes a
//! problem of that. It also ends a connection whose client takes nothing.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::problem::Problem;
use axum::Router;
use axum::http::HeaderName;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The name of the header that carries a request's id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most bytes of a request's head, and of what waits in a connection to be sent beside the piece of a transcript
/// that is being sent.
const MAX_HEAD: usize = 32 * 1024;
/// How long a client that was refused may go on sending, and how much, before the connection ends: whoever is still
/// sending when it ends does not get to read the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many connections there are at once, on each listener. Further ones wait until one ends.
    pub connections: usize,
    /// How long a request's head may take, from the end of the answer before it: so it is also how long a
    /// connection may be idle.
    pub head: Duration,
    /// How long a client may take nothing of an answer that is being sent.
    pub stall: Duration,
}

impl ConnectionLimits {
    /// Those of a relayd, with so many connections at once.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self { connections, head: Duration::from_secs(30), stall: Duration::from_secs(300) }
    }
}

/// Answers the requests of one connection until it ends. After `stop` the request in progress is the last.
pub(super) async fn answer<T>(stream: T, router: Router, limits: ConnectionLimits, stop: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = TokioIo::new(Stream::new(stream, limits.stall));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD);
    let mut connection = pin!(http.serve_connection(stream, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that goes away, is too slow or speaks no HTTP: nothing to be mended here.
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// A client's connection.
struct Stream<T> {
    inner: T,
    stall: Duration,
    /// Until when the client has to take something; none while nothing waits.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the first line of the request that is being read is here.
    has_line: bool,
    /// What is sent in the place of an empty refusal.
    replacement: Option<Replacement>,
    /// After that: what may still be read and thrown away.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

struct Replacement {
    bytes: Vec<u8>,
    sent: usize,
    /// How many bytes it stands for.
    instead_of: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    fn new(inner: T, stall: Duration) -> Self {
        Self { inner, stall, deadline: None, has_line: false, replacement: None, linger: None }
    }

    /// The outcome of a write; an error when the client has taken nothing for too long.
    fn in_time(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let stall = self.stall;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(deadline.as_mut().poll(context));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of the answer");
        Poll::Ready(Err(error))
    }

    /// Sends what stands for what was to be written.
    fn replace(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(replacement) = &mut self.replacement {
            let rest = &replacement.bytes[replacement.sent..];
            if rest.is_empty() {
                let instead_of = replacement.instead_of;
                self.replacement = None;
                self.linger = Some((Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES));
                return Poll::Ready(Ok(instead_of));
            }
            let written = Pin::new(&mut self.inner).poll_write(context, rest);
            let written = ready!(self.in_time(context, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(replacement) = &mut self.replacement {
                replacement.sent += written;
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Whether something else is sent in the place of these bytes.
    fn is_replaced(&mut self, bytes: &[u8]) -> bool {
        if self.replacement.is_none() {
            self.replacement = replacement(bytes, self.has_line);
        }
        if self.replacement.is_none() {
            self.has_line = false;
        }
        self.replacement.is_some()
    }

    /// Reads and throws away what a client that was refused still sends.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some((until, left)) = &mut self.linger {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
                Poll::Pending => ready!(until.as_mut().poll(context)),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && *left > 0 => {
                    *left = left.saturating_sub(buffer.filled().len());
                    continue;
                }
                Poll::Ready(Ok(()) | Err(_)) => {}
            }
            self.linger = None;
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.has_line = self.has_line || buffer.filled()[before..].contains(&b'\n');
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_replaced(bytes) {
            return self.replace(context);
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // What hyper answers itself is one piece.
        let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && self.is_replaced(only)
        {
            return self.replace(context);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
        ready!(self.drain(context));
        Poll::Ready(Ok(()))
    }
}

/// What is sent in the place of `head`, if that is an empty refusal by hyper. relayd's own answers carry a request's id.
fn replacement(head: &[u8], has_line: bool) -> Option<Replacement> {
    let status = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    let (code, detail) = match status {
        b"400" => (
            Code::RequestMalformed,
            "this is no HTTP/1.1 request that can be read: its first line, a header or its length is not valid",
        ),
        b"414" => (Code::UriTooLong, URI_TOO_LONG),
        b"431" if !has_line => (Code::UriTooLong, URI_TOO_LONG),
        b"431" => (
            Code::HeadersTooLarge,
            "the request's head takes more than 32 KiB, or has more than 100 headers: send fewer and smaller ones",
        ),
        _ => return None,
    };
    let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let is = |line: &str, name: &str| {
        line.split_once(':').is_some_and(|(before, _)| before.eq_ignore_ascii_case(name))
    };
    if lines.clone().any(|line| is(line, REQUEST_ID.as_str())) {
        return None;
    }
    let problem = Problem::new(code, detail);
    let reason = axum::http::StatusCode::from_u16(problem.status).ok()?;
    let body = serde_json::to_string(&problem).ok()?;
    let mut answer = format!("{} {reason}\r\n", lines.next()?.split(' ').next()?);
    for line in lines.filter(|line| !is(line, "content-length") && !is(line, "connection")) {
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer.push_str(&format!(
        "content-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\
         cache-control: no-store\r\n{}: {}\r\n\r\n{body}",
        body.len(),
        REQUEST_ID,
        Uuid::new_v4(),
    ));
    Some(Replacement { bytes: answer.into_bytes(), sent: 0, instead_of: head.len() + 4 })
}

const URI_TOO_LONG: &str =
    "the request's path and query are longer than the 32 KiB that a request's head may have";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(head: &str, has_line: bool) -> Option<String> {
        replacement(head.as_bytes(), has_line)
            .map(|replacement| String::from_utf8(replacement.bytes).unwrap())
    }

    #[test]
    fn an_empty_refusal_becomes_a_problem_and_nothing_else_does() {
        let empty =
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        let headers = text(empty, true).unwrap();
        assert!(
            headers.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ndate: today\r\n"),
            "{headers}"
        );
        assert!(headers.contains("\r\nconnection: close\r\n") && !headers.contains("content-length: 0"));
        let line = text(empty, false).unwrap();
        assert!(line.starts_with("HTTP/1.1 414 URI Too Long\r\n") && line.contains("uri_too_long"), "{line}");
        assert_eq!(text("HTTP/1.1 200 OK\r\n\r\n", true), None);
        assert_eq!(
            text("HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 2\r\n\r\n", true),
            None
        );
        assert_eq!(text("HTTP/1.1 400 Bad Request\r\n\r\n{}", true), None);
        assert_eq!(text("event: state\ndata: HTTP/1.1 400 \r\n\r\n", true), None);
    }
}
