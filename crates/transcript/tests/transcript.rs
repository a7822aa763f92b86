//! Writing, following and verifying together.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::limits::{MAX_OUTPUT, MAX_RECORD};
use aegir_protocol::record::{Output, Record, Stream};
use aegir_protocol::state::Outcome;
use aegir_transcript::{
    FileWatcher, FollowError, Follower, Piece, Verifier, VerifyError, VerifyReport, Writer, verify,
};
use proptest::prelude::*;
use tokio::time::timeout;

/// Long enough for a loaded machine; a test that meets it has failed.
const DEADLINE: Duration = Duration::from_secs(20);

fn output(bytes: &[u8]) -> Record {
    Record::Output(Output::new(1, Stream::Stdout, None, 1, false, bytes))
}

fn finish(writer: &mut Writer) -> u64 {
    writer.finish(Outcome::Succeeded, Code::Completed.because("every Task did what it should")).unwrap().end
}

struct Transcript {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Transcript {
    fn new() -> (Self, Writer) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("transcript");
        let writer = Writer::create(&path).unwrap();
        (Self { _directory: directory, path }, writer)
    }

    /// A finished one with these outputs; its content and where each record begins, the end included.
    fn finished(outputs: &[Vec<u8>]) -> (Self, Vec<u8>, Vec<u64>) {
        let (transcript, mut writer) = Self::new();
        let mut boundaries = vec![0];
        for bytes in outputs {
            boundaries.push(writer.append(&output(bytes)).unwrap().end);
        }
        boundaries.push(finish(&mut writer));
        let content = fs::read(&transcript.path).unwrap();
        (transcript, content, boundaries)
    }

    fn append_raw(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
    }
}

async fn next(follower: &mut Follower, max: usize) -> Option<Piece> {
    timeout(DEADLINE, follower.next(max)).await.expect("a piece within the deadline").unwrap()
}

async fn all(follower: &mut Follower, mut max: impl FnMut() -> usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = follower.offset();
    while let Some(piece) = next(follower, max()).await {
        assert_eq!(piece.offset, offset);
        assert_eq!(piece.bytes.last(), Some(&b'\n'));
        offset = piece.end();
        bytes.extend_from_slice(&piece.bytes);
    }
    bytes
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn verified(bytes: &[u8]) -> VerifyReport {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    verify(file.path()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_followed_and_verified(
        outputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..30),
        sizes in proptest::collection::vec(1_usize..5000, 1..10),
        resume in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let (transcript, content, boundaries) = Transcript::finished(&outputs);
        let report = verify(&transcript.path).unwrap();
        prop_assert!(report.matches, "{:?}", report);
        prop_assert_eq!(report.records, outputs.len() as u64 + 1);
        prop_assert_eq!(report.bytes, content.len() as u64);

        run(async {
            let watcher = FileWatcher::new().unwrap();
            let mut follower = Follower::open(&transcript.path, 0, &watcher).unwrap();
            let mut sizes = sizes.iter().copied().cycle();
            assert_eq!(all(&mut follower, || sizes.next().unwrap()).await, content);

            // Back to any record, and open at any record: the rest follows.
            let start = *resume.get(&boundaries);
            let rest = &content[usize::try_from(start).unwrap()..];
            follower.rewind(start).unwrap();
            assert_eq!(all(&mut follower, || sizes.next().unwrap()).await, rest);
            let mut follower = Follower::open(&transcript.path, start, &watcher).unwrap();
            assert_eq!(all(&mut follower, || sizes.next().unwrap()).await, rest);
        });

        // However the records come in, the verifier says the same of them.
        let mut places: Vec<_> = cuts.iter().map(|cut| *cut.get(&boundaries)).collect();
        places.push(content.len() as u64);
        places.sort_unstable();
        let (mut verifier, mut start, mut seen) = (Verifier::new(), 0, Vec::new());
        for place in places {
            let end = usize::try_from(place).unwrap();
            verifier.push(&content[start..end], |offset, header| seen.push((offset, header.seq))).unwrap();
            start = end;
        }
        prop_assert!(verifier.matches());
        let expected: Vec<_> = boundaries[..boundaries.len() - 1].iter().copied().zip(1..).collect();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn any_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8) {
        let (_transcript, mut content, _) = Transcript::finished(&[b"one\n".to_vec(), b"two\n".to_vec()]);
        // What `finished` says about the outcome is not covered by its digest.
        let covered = content[..content.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
        let place = at.index(covered + 1);
        content[place] ^= 1_u8 << bit;
        prop_assert!(!verified(&content).matches);
    }
}

#[tokio::test]
async fn a_follower_wakes_for_each_record() {
    let (transcript, mut writer) = Transcript::new();
    let watcher = FileWatcher::new().unwrap();
    let mut follower = Follower::open(&transcript.path, 0, &watcher).unwrap();
    let (told, mut tell) = tokio::sync::mpsc::channel(1);
    let follow = tokio::spawn(async move {
        while let Some(piece) = follower.next(1024).await.unwrap() {
            told.send(piece.end()).await.unwrap();
        }
    });
    for n in 0..200 {
        tokio::task::yield_now().await;
        let end = writer.append(&output(format!("line {n}\n").as_bytes())).unwrap().end;
        assert_eq!(timeout(DEADLINE, tell.recv()).await.unwrap(), Some(end));
    }
    let end = finish(&mut writer);
    assert_eq!(timeout(DEADLINE, tell.recv()).await.unwrap(), Some(end));
    assert_eq!(timeout(DEADLINE, tell.recv()).await.unwrap(), None);
    follow.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_followers_of_many_writers_get_everything() {
    let watcher = FileWatcher::new().unwrap();
    let mut pairs = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (transcript, mut writer) = Transcript::new();
        let writing = tokio::task::spawn_blocking(move || {
            for n in 0..500 {
                writer.append(&output(format!("line {n}\n").as_bytes())).unwrap();
            }
            finish(&mut writer);
        });
        let watcher = watcher.clone();
        pairs.spawn(async move {
            // All of it, and not only its path: the directory goes with it.
            let transcript = transcript;
            let mut follower = Follower::open(&transcript.path, 0, &watcher).unwrap();
            let followed = all(&mut follower, || 4096).await;
            writing.await.unwrap();
            assert_eq!(followed, fs::read(&transcript.path).unwrap());
        });
    }
    while let Some(pair) = timeout(DEADLINE, pairs.join_next()).await.unwrap() {
        pair.unwrap();
    }
}

#[tokio::test]
async fn a_torn_line_is_not_dispatched_before_it_is_whole() {
    let (transcript, mut writer) = Transcript::new();
    let end = writer.append(&output(b"whole\n")).unwrap().end;
    let line = output(b"later\n").to_line(2, jiff::Timestamp::now());
    let (head, tail) = line.split_at(line.len() / 2);
    transcript.append_raw(head);
    let watcher = FileWatcher::new().unwrap();
    let mut follower = Follower::open(&transcript.path, 0, &watcher).unwrap();
    assert_eq!(next(&mut follower, 1 << 20).await.unwrap().end(), end);
    assert_eq!(follower.next_there_is(1 << 20).unwrap(), None);
    let report = verify(&transcript.path).unwrap();
    assert_eq!((report.torn, report.bytes, report.records), (Some(end), end, 1));
    assert!(!report.matches && report.problem.is_none());
    transcript.append_raw(tail);
    assert_eq!(next(&mut follower, 1 << 20).await.unwrap().bytes, line);
}

#[tokio::test]
async fn a_torn_line_that_is_written_anew_is_read_anew() {
    let (transcript, mut writer) = Transcript::new();
    let end = writer.append(&output(b"whole\n")).unwrap().end;
    transcript.append_raw(b"{\"seq\":2,\"at\":\"to");
    let watcher = FileWatcher::new().unwrap();
    let mut follower = Follower::open(&transcript.path, end, &watcher).unwrap();
    assert_eq!(follower.next_there_is(1 << 20).unwrap(), None);
    OpenOptions::new().write(true).open(&transcript.path).unwrap().set_len(end).unwrap();
    let again = writer.append(&output(b"again\n")).unwrap().end;
    let piece = next(&mut follower, 1 << 20).await.unwrap();
    assert_eq!((piece.offset, piece.end()), (end, again));
}

#[tokio::test]
async fn the_largest_record_comes_whole_however_little_is_asked_for() {
    let (transcript, mut writer) = Transcript::new();
    writer.append(&output(&vec![0xff; MAX_OUTPUT])).unwrap();
    finish(&mut writer);
    let watcher = FileWatcher::new().unwrap();
    let mut follower = Follower::open(&transcript.path, 0, &watcher).unwrap();
    assert!(next(&mut follower, 1).await.unwrap().bytes.len() > MAX_OUTPUT);
    assert!(next(&mut follower, 0).await.unwrap().finished);
    assert_eq!(next(&mut follower, 1).await, None);
}

#[tokio::test]
async fn what_is_no_transcript_is_refused() {
    let (transcript, mut writer) = Transcript::new();
    let end = writer.append(&output(b"whole\n")).unwrap().end;
    let watcher = FileWatcher::new().unwrap();
    let not_there = Follower::open(Path::new("/nowhere/transcript"), 0, &watcher).unwrap_err();
    assert!(matches!(not_there, FollowError::Open { .. }));
    for offset in [1, end - 1, end + 1, u64::MAX] {
        let error = Follower::open(&transcript.path, offset, &watcher).unwrap_err();
        assert!(matches!(error, FollowError::NotABoundary { .. }), "{offset}: {error:?}");
    }
    let mut follower = Follower::open(&transcript.path, end, &watcher).unwrap();
    transcript.append_raw(&vec![b'x'; MAX_RECORD]);
    let error = timeout(DEADLINE, follower.next(1)).await.unwrap().unwrap_err();
    assert!(matches!(error, FollowError::RecordTooLong { offset, .. } if offset == end), "{error:?}");
    OpenOptions::new().write(true).open(&transcript.path).unwrap().set_len(0).unwrap();
    assert!(matches!(follower.next_there_is(1), Err(FollowError::Shrunk { length: 0, .. })));
}

#[tokio::test]
async fn an_unknown_kind_is_passed_on_and_verified() {
    let known = output(b"x\n").to_line(1, jiff::Timestamp::now());
    let mut content = String::from_utf8(known).unwrap().replace("\"output\"", "\"from_the_future\"");
    let digest = {
        let mut verifier = Verifier::new();
        verifier.push(content.as_bytes(), |_, header| assert_eq!(header.kind, "from_the_future")).unwrap();
        assert_eq!(verifier.records(), 1);
        sha256(content.as_bytes())
    };
    content.push_str(&format!(
        "{{\"seq\":2,\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"finished\",\"body\":{{\"outcome\":\"failed\",\
         \"reason\":{{\"code\":\"new\",\"message\":\"m\"}},\"records\":2,\"sha256\":\"{digest}\"}}}}\n"
    ));
    let report = verified(content.as_bytes());
    assert!(report.matches, "{report:?}");
    let (transcript, _) = Transcript::new();
    transcript.append_raw(content.as_bytes());
    let mut follower = Follower::open(&transcript.path, 0, &FileWatcher::new().unwrap()).unwrap();
    assert_eq!(all(&mut follower, || 100).await, content.as_bytes());
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[test]
fn each_damage_is_named() {
    let outputs = ["one\n", "two\n", "three\n"].map(|text| text.as_bytes().to_vec());
    let (_transcript, content, at) = Transcript::finished(&outputs);
    let at: Vec<_> = at.into_iter().map(|offset| usize::try_from(offset).unwrap()).collect();
    let problem = |bytes: &[u8]| verified(bytes).problem;

    let missing = [&content[..at[1]], &content[at[2]..]].concat();
    let offset = at[1] as u64;
    assert_eq!(problem(&missing), Some(VerifyError::Sequence { offset, expected: 2, found: 3 }));

    let repeated = [&content[..at[1]], &content[..]].concat();
    assert_eq!(problem(&repeated), Some(VerifyError::Sequence { offset, expected: 2, found: 1 }));

    let unfinished = verified(&content[..at[3]]);
    assert_eq!((unfinished.records, unfinished.finished, unfinished.problem), (3, None, None));
    assert!(!unfinished.matches);

    let torn = verified(&content[..content.len() - 1]);
    assert_eq!((torn.torn, torn.matches), (Some(at[3] as u64), false));

    let flipped = String::from_utf8(content.clone()).unwrap().replace("two", "six");
    assert!(matches!(problem(flipped.as_bytes()), Some(VerifyError::Digest { .. })));

    let miscounted = String::from_utf8(content.clone()).unwrap().replace("\"records\":4", "\"records\":5");
    assert_eq!(problem(miscounted.as_bytes()), Some(VerifyError::Count { stated: 5, counted: 4 }));

    let longer = [&content[..], &output(b"late\n").to_line(5, jiff::Timestamp::now())].concat();
    assert_eq!(problem(&longer), Some(VerifyError::AfterFinished { offset: content.len() as u64 }));

    assert!(matches!(problem(b"not json\n"), Some(VerifyError::NotARecord { offset: 0, .. })));
    let endless = vec![b'x'; 3 << 20];
    assert!(matches!(problem(&endless), Some(VerifyError::Torn { offset: 0 })));
    let long = [&endless[..MAX_RECORD], b"\n"].concat();
    assert!(matches!(problem(&long), Some(VerifyError::TooLong { offset: 0, .. })));
}

#[test]
fn a_damaged_transcript_is_counted_to_its_end() {
    let (_transcript, content, _) = Transcript::finished(&[b"one\n".to_vec()]);
    let bytes = [b"garbage\n".as_slice(), &content].concat();
    let mut verifier = Verifier::new();
    let mut visited = 0;
    let first = verifier.push(&bytes, |_, _| visited += 1).unwrap_err();
    assert_eq!((verifier.offset(), verifier.records(), visited), (bytes.len() as u64, 3, 2));
    assert_eq!(verifier.error(), Some(&first));
    assert!(verifier.finished().is_some() && !verifier.matches());
}
