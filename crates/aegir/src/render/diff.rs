//! What a step changes, as Ansible tells it: the whole value before and after, or a text that is ready.

use serde_json::Value;

/// The most lines that are shown of one change. The transcript has all of them.
const MAX_LINES: usize = 40;

/// A step's changes as lines that start with `-`, `+` or a blank; empty when there is nothing to show.
#[must_use]
pub fn lines(diff: &Value) -> Vec<String> {
    let mut lines = match diff {
        Value::Array(items) => items.iter().flat_map(one).collect(),
        other => one(other),
    };
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("… {more} more lines of this change; `aegir log --raw` shows them"));
    }
    lines
}

fn one(diff: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(text) = diff.get("prepared").and_then(Value::as_str) {
        lines.extend(text.lines().map(str::to_owned));
    }
    let side = |name: &str| match diff.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let (before, after) = (side("before"), side("after"));
    if before != after {
        let header = ["after_header", "before_header"].iter().find_map(|name| diff.get(*name)?.as_str());
        lines.extend(header.map(|header| format!("@ {header}")));
        lines.extend(change(&before, &after));
    }
    lines
}

/// The lines that went and that came, without those that both sides begin and end with.
fn change(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let gone = before[..before.len() - end].iter().map(|line| format!("- {line}"));
    let come = after[..after.len() - end].iter().map(|line| format!("+ {line}"));
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_shown() {
        let diff = json!({"before": "a\nb\nc\n", "after": "a\nB\nc\n", "before_header": "/etc/x"});
        assert_eq!(lines(&diff), ["@ /etc/x", "- b", "+ B"]);
        assert_eq!(
            lines(&json!([{"before": "", "after": "new\n"}, {"prepared": " x\n+y"}])),
            ["+ new", " x", "+y"]
        );
        let state = json!({"before": {"mode": "0755"}, "after": {"mode": "0700"}});
        assert_eq!(lines(&state), ["-   \"mode\": \"0755\"", "+   \"mode\": \"0700\""]);
        assert_eq!(lines(&json!({"before": "same", "after": "same"})), Vec::<String>::new());
    }

    #[test]
    fn a_long_change_is_cut_and_says_so() {
        let shown = lines(&json!({"before": "", "after": "x\n".repeat(100)}));
        assert_eq!(shown.len(), MAX_LINES + 1);
        assert!(shown.last().unwrap().contains("60 more lines"));
    }
}
