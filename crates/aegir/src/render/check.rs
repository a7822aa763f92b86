//! `aegir check`: a verdict for each hop.

use aegir_api::CheckReport;
use anstyle::{AnsiColor, Style};

use super::table::{Cell, table};
use super::{Look, duration};

/// The hops in the order of the way, and what it means.
#[must_use]
pub fn report(look: &Look, report: &CheckReport) -> String {
    let rows: Vec<_> = report
        .hops
        .iter()
        .map(|hop| {
            let (word, colour) = if hop.ok { ("ok", AnsiColor::Green) } else { ("FAILED", AnsiColor::Red) };
            let verdict = Cell::styled(Style::new().fg_color(Some(colour.into())), word);
            let time = if hop.milliseconds < 1000 {
                format!("{} ms", hop.milliseconds)
            } else {
                duration(hop.milliseconds)
            };
            vec![hop.name.as_str().into(), verdict, time.into(), hop.message.as_str().into()]
        })
        .collect();
    let mut text = table(look, &["HOP", "VERDICT", "TIME", "MESSAGE"], &rows);
    if look.terminal {
        let failed: Vec<_> = report.hops.iter().filter(|hop| !hop.ok).map(|hop| hop.name.as_str()).collect();
        text.push('\n');
        text.push_str(&match failed.as_slice() {
            [] if report.ok => "Every hop works.\n".to_owned(),
            [] => "The check failed.\n".to_owned(),
            failed => format!("Failed at: {}. Later checks were not tried.\n", failed.join(", ")),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use aegir_api::Hop;

    use super::*;

    fn hop(name: &str, ok: bool, milliseconds: u64, message: &str) -> Hop {
        Hop { name: name.to_owned(), ok, milliseconds, message: message.to_owned() }
    }

    #[test]
    fn a_verdict_for_each_hop() {
        let hops = vec![
            hop("relayd API", true, 2, "http://127.0.0.1:7180 answers"),
            hop("store", true, 1, "committed a row"),
            hop(
                "broker",
                false,
                5012,
                "no connection to 127.0.0.1:5672: refused; is rabbitmq-server running?",
            ),
        ];
        let look = Look { terminal: true, width: Some(100), ..Look::plain() };
        insta::assert_snapshot!("closed", report(&look, &CheckReport { ok: false, hops: hops.clone() }));
        insta::assert_snapshot!(
            "pipe",
            report(&Look::plain(), &CheckReport { ok: false, hops: hops.clone() })
        );
        let open = report(&look, &CheckReport { ok: true, hops: hops[..2].to_vec() });
        assert!(open.ends_with("\nEvery hop works.\n"), "{open}");
    }
}
