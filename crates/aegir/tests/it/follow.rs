//! Following through broken connections, against a relayd that is played.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::record::{Finished, Output, Record, Stream};
use aegir_protocol::state::{Outcome, Reason};
use serde_json::json;

use crate::aegir;

/// Takes the next connection and reads its head: the request line, and the header `Last-SseEvent-ID`.
fn accept(listener: &TcpListener) -> (TcpStream, String, Option<String>) {
    let (stream, _) = listener.accept().expect("aegir connects");
    let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(
        headers.iter().any(|line| line == "authorization: Bearer 0123456789abcdef0123456789abcdef"),
        "{headers:?}"
    );
    let last = headers.iter().find_map(|line| line.strip_prefix("last-event-id: ")).map(str::to_owned);
    (stream, request, last)
}

fn send_events(stream: &mut TcpStream, events: &[String]) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all((head.to_owned() + &events.concat()).as_bytes()).expect("aegir reads");
}

fn record(attempt: u32, seq: u64, record: &Record) -> String {
    let line =
        String::from_utf8(record.to_line(seq, jiff::Timestamp::UNIX_EPOCH)).expect("records are UTF-8");
    format!("event: record\nid: {attempt}-{seq}\ndata: {line}\n")
}

fn finished(outcome: Outcome, reason: Reason) -> Record {
    Record::Finished(Finished { outcome, reason, records: 0, sha256: String::new() })
}

fn output(seq: u64, text: &str) -> String {
    record(1, seq, &Record::Output(Output::new(1, Stream::Stdout, None, seq, false, text.as_bytes())))
}

fn state(id: OperationId, attempt: u32, state: &str, reason: Option<Reason>) -> String {
    let target = json!({"kind": "site", "id": "x", "name": "x"});
    let time = "2026-11-23T12:00:00Z";
    let summary = json!({
        "id": id, "name": "example.print", "target": target, "backend": "main", "state": state, "silent": false,
        "reason": reason, "attempt": attempt, "dry_run": false, "check": false, "requested_by": null, "requested_at": time,
        "changed_at": time, "revision": 1, "cancel_requested": false,
    });
    format!("event: state\ndata: {summary}\n\n")
}

/// What a relayd does that goes away twice in the middle, once in the middle of a record.
fn play(listener: &TcpListener, id: OperationId) {
    let (mut stream, request, last) = accept(listener);
    assert_eq!((request, last), (format!("GET /api/v1/operations/{id}/events HTTP/1.1"), None));
    let torn = output(3, "three\n");
    send_events(
        &mut stream,
        &[state(id, 1, "running", None), output(1, "one\n"), output(2, "two\n"), torn[..40].to_owned()],
    );
    drop(stream);

    // Somebody in between who answers for a relayd that is away.
    let (mut stream, _, last) = accept(listener);
    assert_eq!(last.as_deref(), Some("1-2"));
    stream
        .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\nconnection: close\r\n\r\naway")
        .expect("aegir reads");
    drop(stream);

    let (mut stream, _, last) = accept(listener);
    assert_eq!(last.as_deref(), Some("1-2"));
    let failed = Code::TaskFailed.because("Task 1 failed.");
    // One who sends a record again does no harm.
    let events = [
        state(id, 1, "failed", Some(failed.clone())),
        output(2, "two\n"),
        output(3, "three\n"),
        record(1, 4, &finished(Outcome::Failed, failed)),
        "event: end\ndata: {}\n\n".to_owned(),
    ];
    send_events(&mut stream, &events);
}

/// The manifest tries a failure again: the last record of the first attempt is not the end.
fn play_two_attempts(listener: &TcpListener, id: OperationId) {
    let (mut stream, ..) = accept(listener);
    let again =
        Code::TriedAgain.because("attempt 1 ended as failed; attempt 2 begins in 10 s at the earliest");
    let completed = Code::Completed.because("Every Task did what it should.");
    let events = [
        state(id, 1, "running", None),
        output(1, "one\n"),
        record(1, 2, &finished(Outcome::Failed, Code::TaskFailed.because("Task 1 failed."))),
        state(id, 2, "waiting", Some(again)),
        state(id, 2, "running", None),
        record(2, 1, &Record::Output(Output::new(1, Stream::Stdout, None, 1, false, b"two\n"))),
        record(2, 2, &finished(Outcome::Succeeded, completed.clone())),
        state(id, 2, "succeeded", Some(completed)),
        "event: end\ndata: {}\n\n".to_owned(),
    ];
    send_events(&mut stream, &events);
}

/// What `aegir log` says of an Operation whose relayd does as it is told.
fn log(
    options: &[&str],
    play: impl FnOnce(&TcpListener, OperationId) + Send + 'static,
) -> (i32, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let id = OperationId::generate();
    let relayd = thread::spawn(move || play(&listener, id));
    let token = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/token");
    let arguments = ["--url", &url, "--token-file", token, "log", &id.to_string()];
    let said = aegir(&[&arguments, options].concat());
    relayd.join().expect("relayd was asked as it should be");
    said
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_all_of_it() {
    let (code, stdout, stderr) = log(&["--output", "stdout"], |listener, id| {
        answer(listener, &detail(id));
        // Always at the same place, as where what is stored can't be read.
        for _ in 0..6 {
            break_off(listener, "one\n");
        }
    });
    assert_eq!((code, stdout.as_str()), (13, "one\n"));
    assert!(stderr.contains("broke off"), "{stderr}");
}

/// Begins an answer and closes the connection, as relayd does with a client that takes nothing for long; gives what was
/// asked for.
fn break_off(listener: &TcpListener, begun: &str) -> String {
    let (mut stream, request, _) = accept(listener);
    let answer =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{begun}\r\n", begun.len());
    stream.write_all(answer.as_bytes()).expect("aegir reads");
    request
}

/// A whole answer; gives what was asked for.
fn answer(listener: &TcpListener, body: &str) -> String {
    let (mut stream, request, _) = accept(listener);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).expect("aegir reads");
    request
}

fn detail(id: OperationId) -> String {
    let state = state(id, 1, "failed", Some(Code::TaskFailed.because("Task 1 failed.")));
    let summary = state.lines().find_map(|line| line.strip_prefix("data: ")).expect("a state has data");
    let summary: serde_json::Value = serde_json::from_str(summary).expect("a summary is JSON");
    let detail = json!({
        "summary": summary, "hosts": [], "variables": {}, "locks": [], "priority": 3, "timeout_seconds": null,
        "waits_for": [], "published": true, "paused": null, "attempts": [], "ledger": [],
    });
    detail.to_string()
}

#[test]
fn a_log_goes_on_where_its_answer_broke_off() {
    let line = |seq: u64, text: &str| {
        let record = Record::Output(Output::new(1, Stream::Stdout, None, seq, false, text.as_bytes()));
        String::from_utf8(record.to_line(seq, jiff::Timestamp::UNIX_EPOCH)).expect("records are UTF-8")
    };
    let lines = [line(8, "one\n"), line(9, "two\n"), line(10, "three\n")];
    let whole = lines.concat();
    for (options, first) in [(&["--raw"][..], ""), (&["--raw", "--tail", "3"], "&tail=3"), (&[], "")] {
        let (played, expected) = (lines.clone(), format!("attempt=1{first} "));
        let (code, stdout, stderr) = log(options, move |listener, id| {
            answer(listener, &detail(id));
            // In the middle of a record.
            let begun = [&*played[0], &*played[1], &played[2][..20]].concat();
            let request = break_off(listener, &begun);
            assert!(request.contains(&expected), "{request}");
            // Somebody in between who answers for a relayd that is away.
            let (mut stream, ..) = accept(listener);
            let away = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\nconnection: close\r\n\r\naway";
            stream.write_all(away).expect("aegir reads");
            let request = answer(listener, &played[2]);
            assert!(request.contains("attempt=1&from=10 "), "{request}");
        });
        assert_eq!((code, stderr.as_str()), (0, ""));
        if options.is_empty() {
            let shown: Vec<_> = stdout.lines().take(3).map(str::trim).collect();
            assert_eq!(shown, ["one", "two", "three"], "{stdout}");
        } else {
            assert_eq!(stdout, whole);
        }
    }
    for (options, attempt) in
        [(&["--output", "stdout"][..], 1), (&["--output", "stdout", "--attempt", "2"], 2)]
    {
        let (code, stdout, stderr) = log(options, move |listener, id| {
            if attempt == 1 {
                answer(listener, &detail(id));
            }
            let expected =
                format!("GET /api/v1/operations/{id}/output?stream=stdout&attempt={attempt} HTTP/1.1");
            // Another attempt may have begun when it is asked for again.
            assert_eq!(break_off(listener, "one\ntw"), expected);
            assert_eq!(break_off(listener, "one\n"), expected);
            assert_eq!(answer(listener, "one\ntwo\nthree\n"), expected);
        });
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "one\ntwo\nthree\n", ""));
    }
}

#[test]
fn an_answer_that_is_shorter_than_before_is_not_taken_for_all_of_it() {
    let (code, stdout, stderr) = log(&["--output", "stdout", "--attempt", "1"], |listener, _| {
        break_off(listener, "one\ntwo\n");
        for _ in 0..5 {
            answer(listener, "one\n");
        }
    });
    assert_eq!((code, stdout.as_str()), (13, "one\ntwo\n"));
    assert!(stderr.contains("shorter than it was before"), "{stderr}");
}

#[test]
fn an_attempt_that_is_tried_again_is_not_the_end() {
    let (code, stdout, stderr) = log(&["-f"], play_two_attempts);
    insta::assert_snapshot!(stdout, @r"
      one

    Attempt 1 failed: Task 1 failed. (task_failed)
    Attempt 2
      two

    Succeeded at attempt 2
    ");
    assert_eq!(code, 0);
    assert!(stderr.contains("attempt 2 begins in 10 s"), "{stderr}");
}

#[test]
fn every_record_is_told_once_however_often_relayd_goes_away() {
    let (code, stdout, stderr) = log(&["-f"], play);
    insta::assert_snapshot!(stdout, @r"
      one
      two
      three

    Failed: Task 1 failed. (task_failed)
    ");
    assert_eq!(code, 1);
    assert_eq!(stderr.matches("Connection lost").count(), 1, "{stderr}");
    assert_eq!(stderr.lines().filter(|line| *line == "Connected again.").count(), 1, "{stderr}");
}
