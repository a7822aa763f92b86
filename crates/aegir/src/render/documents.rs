//! Documents of a target.

use aegir_api::DocumentDetail;

use super::Look;
use super::table::{Cell, table};
use aegir_service::terminal::clean;

/// How much of a value a list shows, in characters.
const SHOWN: usize = 60;

/// `aegir documents`.
#[must_use]
pub fn list(look: &Look, documents: &[DocumentDetail]) -> String {
    if documents.is_empty() && look.terminal {
        return "No documents about this target.\n".to_owned();
    }
    let rows: Vec<_> = documents
        .iter()
        .map(|document| {
            let value = document.value.to_string();
            let mut shown: String = value.chars().take(SHOWN).collect();
            if shown.len() < value.len() {
                shown.push('…');
            }
            let cells = [
                document.name.to_string(),
                clean(&shown, false),
                format!(
                    "{}{}",
                    look.time(document.produced_at),
                    if document.stale { " (stale)" } else { "" }
                ),
                document.operation_name.to_string(),
                document.operation.to_string(),
            ];
            cells.map(Cell::from).to_vec()
        })
        .collect();
    table(look, &["DOCUMENT", "VALUE", "TIME", "BY", "OPERATION"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_cut_and_nothing_in_it_reaches_the_terminal_as_a_command() {
        let document = serde_json::from_value(json!({
            "name": "backup", "value": {"path": "\u{1b}]0;x\u{7}".repeat(20)}, "sha256": "00",
            "operation": "01a22115-8ccd-7657-91c7-a7f938f9a473", "operation_name": "site.backup", "attempt": 1,
            "produced_at": "2026-11-23T12:00:01Z",
        }))
        .unwrap();
        let text = list(&Look::plain(), &[document]);
        assert!(text.starts_with("DOCUMENT\tVALUE\tTIME\tBY\tOPERATION\nbackup\t{\"path\":"), "{text:?}");
        assert!(text.contains('…') && !text.contains('\u{1b}'), "{text:?}");
    }
}
