use super::*;
use crate::limits::MAX_RECORD;
use proptest::prelude::*;

fn output(bytes: &[u8]) -> Record {
    Record::Output(Output::new(1, Stream::Stdout, None, 1, false, bytes))
}

#[test]
fn the_longest_outputs_fit_a_record() {
    for byte in [b'a', b'"', b'\n', 0, 0x1b, 0xff] {
        let line = output(&vec![byte; MAX_OUTPUT]).to_line(u64::MAX, Timestamp::now());
        assert!(line.len() <= MAX_RECORD, "{byte}: {}", line.len());
    }
}

#[test]
fn a_kind_that_is_not_known_is_data() {
    let header =
        Header::read(br#"{"seq":3,"at":"2026-01-01T00:00:00Z","kind":"new","body":{"x":1}}"#).unwrap();
    assert_eq!(header.record().unwrap(), None);
}

#[test]
fn a_dry_run_is_one_under_its_former_name_and_is_written_under_both() {
    let line = |field| {
        format!(
            r#"{{"seq":1,"at":"2026-01-01T00:00:00Z","kind":"started","body":{{"operation":
            "019235f0-7a3c-7def-8000-000000000001","attempt":1,"name":"a.b","target":{{"kind":"site","id":"1",
            "name":"x"}},"node":"n","version":"0",{field}"tasks":[]}}}}"#
        )
    };
    for (field, expected) in
        [("", false), (r#""check":false,"#, false), (r#""check":true,"#, true), (r#""dry_run":true,"#, true)]
    {
        let line = line(field);
        let Some(Record::Started(started)) = Header::read(line.as_bytes()).unwrap().record().unwrap() else {
            panic!("{line}")
        };
        assert_eq!(started.is_dry_run(), expected, "{line}");
    }
}

proptest! {
    #[test]
    fn output_comes_back_byte_for_byte(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let record = output(&bytes);
        let line = record.to_line(1, Timestamp::UNIX_EPOCH);
        prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let Some(Record::Output(read)) = Header::read(&line).unwrap().record().unwrap() else { panic!() };
        prop_assert_eq!(&read.bytes().unwrap()[..], &bytes[..]);
    }
}
