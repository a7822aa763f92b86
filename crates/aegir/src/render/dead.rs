//! Dead letters in a list, and one with its body.

use std::fmt::Write as _;

use aegir_api::{DeadLetter, DeadLetterList, KeptBody};
use anstyle::{AnsiColor, Style};

use super::table::{Cell, table};
use super::{Look, bytes};
use aegir_service::terminal::clean;

/// How much of a body is shown, in bytes; `--raw` has all of it.
const SHOWN: usize = 16 * 1024;

/// `aegir dead ls`.
#[must_use]
pub fn list(look: &Look, list: &DeadLetterList) -> String {
    let mut text = String::new();
    if list.letters.is_empty() && look.terminal {
        text.push_str("No dead letters found.\n");
    } else {
        let rows: Vec<_> = list.letters.iter().map(|letter| row(look, letter)).collect();
        text.push_str(&table(look, &["ID", "CODE", "QUEUE", "SIZE", "TIME", "REPLAYS", "REASON"], &rows));
    }
    if look.terminal && list.kept.count > list.letters.len() as u64 {
        let _ =
            write!(text, "\nrelayd keeps {} dead letters, {}.\n", list.kept.count, bytes(list.kept.bytes));
    }
    if look.terminal && list.kept.full {
        text.push_str(
            "relayd keeps no more than that; further ones stay in the queue aegir.dead. Make room with `aegir dead \
             replay` or `aegir dead drop`.\n",
        );
    }
    text
}

fn row(look: &Look, letter: &DeadLetter) -> Vec<Cell> {
    let code = Cell::styled(Style::new().fg_color(Some(AnsiColor::Red.into())), clean(&letter.code, false));
    vec![
        letter.id.to_string().into(),
        code,
        clean(&letter.queue, false).into(),
        bytes(letter.size).into(),
        look.time(letter.buried_at.unwrap_or(letter.received_at)).into(),
        letter.replays.to_string().into(),
        clean(&letter.reason, false).into(),
    ]
}

/// `aegir dead show`.
#[must_use]
pub fn detail(look: &Look, letter: &DeadLetter, body: &[u8]) -> String {
    let mut fields = vec![
        ("Letter", letter.id.to_string()),
        ("Code", letter.code.clone()),
        ("Reason", letter.reason.clone()),
        ("Queue", letter.queue.clone()),
        ("Origin", format!("exchange {:?}, routing key {:?}", letter.exchange, letter.routing_key)),
    ];
    fields.extend(letter.content_type.clone().map(|kind| ("Type", kind)));
    fields.extend(letter.message_id.clone().map(|id| ("Message", id)));
    fields.extend(letter.buried_at.map(|at| ("Closed", look.time(at))));
    fields.push(("Received", look.time(letter.received_at)));
    fields.push(("Replays", letter.replays.to_string()));
    if letter.headers_dropped {
        fields.push(("Headers", "too large to be kept".to_owned()));
    }
    fields.push(("Size", bytes(letter.size)));
    let mut text = String::new();
    for (name, value) in &fields {
        let _ = writeln!(text, "{} {}", look.strong(&format!("{name:<10}")), clean(value, false));
    }
    text.push('\n');
    text.push_str(match letter.body {
        KeptBody::Whole => "",
        KeptBody::Redacted => "Secrets in the clear were removed from the body, so it can't be replayed.\n\n",
        KeptBody::Removed => {
            return text
                + "The body was not kept: it is not JSON, so nothing tells which parts of it are secrets.\n";
        }
    });
    text + &shown(body)
}

/// JSON laid out, other text as it is, anything else as hexadecimal; no more than fits a few screens.
fn shown(body: &[u8]) -> String {
    if body.is_empty() {
        return "The body is empty.\n".to_owned();
    }
    let laid_out = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|document| serde_json::to_string_pretty(&document).ok());
    let whole = laid_out.as_deref().or_else(|| std::str::from_utf8(body).ok());
    let (mut text, cut) = match whole {
        Some(whole) => {
            let end = whole.floor_char_boundary(SHOWN);
            (clean(&whole[..end], false), end < whole.len())
        }
        None => (hexadecimal(&body[..body.len().min(SHOWN / 4)]), body.len() > SHOWN / 4),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if cut {
        text.push_str("… cut here; --raw prints the whole body.\n");
    }
    text
}

/// Sixteen bytes on a line: offset, bytes, and what of them is printable ASCII.
fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let codes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable: String = bytes
            .iter()
            .map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' })
            .collect();
        let _ = writeln!(text, "{:08x}  {:<47}  {printable}", line * 16, codes.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use aegir_api::DeadLettersKept;

    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: 17,
            code: "schema_too_new".to_owned(),
            reason: "schema \"aegir.grant/1\" is newer than this version understands".to_owned(),
            queue: "aegir.control.node1".to_owned(),
            exchange: "aegir.control".to_owned(),
            routing_key: "node1".to_owned(),
            content_type: Some("application/json".to_owned()),
            message_id: None,
            buried_at: Some("2026-11-23T12:00:00Z".parse().unwrap()),
            received_at: "2026-11-23T12:00:01Z".parse().unwrap(),
            size: 31,
            body: KeptBody::Whole,
            headers_dropped: false,
            replays: 1,
        }
    }

    #[test]
    fn letters_are_listed() {
        let kept = DeadLettersKept { count: 10_000, bytes: 4_000_000, full: true };
        let full = DeadLetterList { letters: vec![letter()], next: Some(17), kept };
        let look = Look { terminal: true, width: Some(140), ..Look::plain() };
        insta::assert_snapshot!("full", list(&look, &full));
        insta::assert_snapshot!("pipe", list(&Look::plain(), &full));
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        let look = Look::plain();
        insta::assert_snapshot!("json", detail(&look, &letter(), br#"{"schema":"aegir.grant/1","body":{}}"#));
        let letter = DeadLetter { content_type: None, buried_at: None, ..letter() };
        insta::assert_snapshot!(
            "bytes",
            detail(&look, &letter, b"\0\xff\x1b]0;title\x07 and more than one line")
        );
        let redacted = DeadLetter { body: KeptBody::Redacted, ..letter.clone() };
        assert!(detail(&look, &redacted, b"{}").contains("Secrets in the clear were removed"));
        let removed = DeadLetter { body: KeptBody::Removed, ..letter };
        assert!(detail(&look, &removed, b"").ends_with("nothing tells which parts of it are secrets.\n"));
    }

    #[test]
    fn what_is_long_is_cut_and_what_a_terminal_obeys_is_left_out() {
        let long = shown("é".repeat(SHOWN).as_bytes());
        assert!(long.ends_with("… cut here; --raw prints the whole body.\n") && long.len() < SHOWN + 100);
        assert!(shown(&[0xff; SHOWN]).ends_with("cut here; --raw prints the whole body.\n"));
        assert_eq!(shown(b"a\x1b]0;title\x07b"), "ab\n");
        assert_eq!(shown(b""), "The body is empty.\n");
    }
}
