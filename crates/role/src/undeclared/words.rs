//! The words of expressions, in texts and under keys whose text is one as a whole.

use yaml_serde::Value;

/// Keys whose text is an expression without braces.
const EXPRESSIONS: [&str; 7] = ["when", "changed_when", "failed_when", "until", "that", "var", "break_when"];
/// What asks whether a variable is there, and does not show it.
const ASKS: [&str; 3] = ["is defined", "is not defined", "is undefined"];

pub(super) fn is_expression(key: &str) -> bool {
    EXPRESSIONS.contains(&key)
}

/// Each expression in what stands under a key.
pub(crate) fn expressions(key: &str, value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) if is_expression(key) => each(text),
        Value::String(text) => in_braces(text, each),
        Value::Sequence(items) => items.iter().for_each(|item| expressions(key, item, each)),
        Value::Mapping(mapping) => {
            for (name, value) in mapping {
                expressions(name.as_str().unwrap_or_default(), value, each);
            }
        }
        // `!unsafe` and `!vault` are no templates.
        Value::Tagged(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What stands in braces in a text.
pub(super) fn in_braces(text: &str, each: &mut dyn FnMut(&str)) {
    let text = without(&without(text, "{#", "#}"), "{% raw %}", "{% endraw %}");
    let mut rest = text.as_str();
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let end = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        let inside = &rest[start + 2..];
        let length = inside.find(end).unwrap_or(inside.len());
        each(&inside[..length]);
        rest = &inside[length..];
    }
}

/// The variables whose value an expression uses, with their attributes: `a.b.c`.
pub(crate) fn used_in(expression: &str) -> Vec<String> {
    let outside = without_quoted(expression);
    let used = words(&outside).filter(|(_, before, behind)| {
        !is_no_variable(before, behind) && !ASKS.iter().any(|asks| behind.starts_with(asks))
    });
    used.map(|(word, ..)| word.to_owned()).collect()
}

/// Whether a word between these is a filter or a test, a function, or the name of an argument.
pub(super) fn is_no_variable(before: &str, behind: &str) -> bool {
    let follows = |sign: &str| before.trim_end().ends_with(sign);
    let is_argument = behind.starts_with('=') && !behind.starts_with("==");
    follows("|") || follows(" is") || follows(" is not") || behind.starts_with('(') || is_argument
}

/// The words of an expression, each with what stands before and behind it.
pub(super) fn words(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(part)?;
        let end = text[start..].find(|c| !part(c)).map_or(text.len(), |length| start + length);
        at = end;
        Some((&text[start..end], &text[..start], text[end..].trim_start()))
    })
}

/// A text without what stands between two signs, and without these.
fn without(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        kept.push_str(&rest[..start]);
        let inside = &rest[start + open.len()..];
        rest = inside.find(close).map_or("", |end| &inside[end + close.len()..]);
    }
    kept.push_str(rest);
    kept
}

/// An expression without its quoted texts.
pub(super) fn without_quoted(text: &str) -> String {
    let mut outside = String::with_capacity(text.len());
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                    outside.push(' ');
                }
                escaped = c == '\\' && !escaped;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            None => outside.push(c),
        }
    }
    outside
}
