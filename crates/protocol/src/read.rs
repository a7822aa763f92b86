//! Reading what was written elsewhere: an object is an object, and what is wrong has a place.
//!
//! serde's derived types take an array for an object, field by field in the order of the type. So a list that
//! somebody sends by mistake would be read as something that nobody meant. [`Objects`] takes that away from any
//! format. What a person or a frontend writes is also read with [`UnknownFields::Refuse`]: a field that no type knows
//! is refused at every level, for a misspelt one would otherwise be left out without a word. The same types come
//! from newer daemons with fields that are not known yet, so the types themselves stay lenient.

mod objects;
mod unknown;

use std::fmt;

use serde::Deserialize;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment, Track};

use crate::problem::pointer_token;
pub use objects::Objects;
pub use unknown::UnknownFields;

/// The longest message, in characters: it may quote what was sent.
const MAX_MESSAGE: usize = 500;

/// JSON that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Whether it is JSON, with something wrong in it, rather than no JSON at all.
    pub is_json: bool,
    /// Where, as a JSON pointer (RFC 6901). Of what is no JSON, the whole.
    pub pointer: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// What is wrong, without the place. It may quote a value.
    pub message: String,
}

impl Misread {
    /// The place alone, which quotes no value.
    #[must_use]
    pub fn place(&self) -> String {
        let Self { pointer, line, column, .. } = self;
        let at = format!("line {line} column {column}");
        if pointer.is_empty() { at } else { format!("{pointer} ({at})") }
    }
}

impl Misread {
    /// The same in a document of which this one is the part at `pointer`, behind the bytes `before`.
    #[must_use]
    pub(crate) fn within(mut self, pointer: &str, before: &[u8]) -> Self {
        let last_line = before.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        if self.line == 1 {
            self.column += last_line.len();
        }
        self.line += before.iter().filter(|&&byte| byte == b'\n').count();
        self.pointer.insert_str(0, pointer);
        self
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.message, self.place())
    }
}

impl std::error::Error for Misread {}

/// Reads JSON.
///
/// # Errors
/// When it is no JSON, or not what is expected, with the place.
pub fn from_json<'de, T: Deserialize<'de>>(bytes: &'de [u8], unknown: UnknownFields) -> Result<T, Misread> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = Track::new();
    // In this order, so that the name of an unknown field is part of the path.
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    match T::deserialize(Objects::new(tracked, unknown)) {
        Ok(value) => json.end().map(|()| value).map_err(|error| misread(String::new(), &error)),
        Err(error) => Err(misread(pointer(&track.path()), &error)),
    }
}

fn misread(pointer: String, error: &serde_json::Error) -> Misread {
    let is_json = match error.classify() {
        Category::Data => true,
        Category::Io | Category::Syntax | Category::Eof => false,
    };
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let position = format!(" at line {line} column {column}");
    let message = text.strip_suffix(&position).unwrap_or(&text).chars().take(MAX_MESSAGE).collect();
    Misread { is_json, pointer: if is_json { pointer } else { String::new() }, line, column, message }
}

/// A place in a document as a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => pointer_token(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::Request;

    fn request(change: impl FnOnce(&mut Value)) -> String {
        let mut request = json!({
            "name": "static_site.deploy",
            "target": {"kind": "site", "name": "example.test"},
            "hosts": [{"name": "web1", "services": {"nginx": {"port": 80}}}],
            "locks": [{"kind": "site", "id": "a", "mode": "shared"}],
            "variables": {"site": {"any": {"thing": [1]}}},
        });
        change(&mut request);
        request.to_string()
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Value), pointer: &str, says: &str) {
        let text = request(change);
        let misread = from_json::<Request>(text.as_bytes(), UnknownFields::Refuse).unwrap_err();
        assert_eq!(misread.pointer, pointer, "{misread}");
        assert!(misread.message.contains(says), "{misread}");
    }

    #[test]
    fn a_misspelt_field_is_refused_at_every_level() {
        assert!(from_json::<Request>(request(|_| {}).as_bytes(), UnknownFields::Refuse).is_ok());
        refused(|r| r["varables"] = json!({}), "/varables", "did you mean `variables`?");
        refused(|r| r["target"]["nam"] = json!("x"), "/target/nam", "did you mean `name`?");
        refused(|r| r["hosts"][0]["adress"] = json!("::1"), "/hosts/0/adress", "did you mean `address`?");
        refused(|r| r["hosts"][0]["hostkeys"] = json!([]), "/hosts/0/hostkeys", "did you mean `host_keys`?");
        refused(|r| r["locks"][0]["mod"] = json!("x"), "/locks/0/mod", "did you mean `mode`?");
        refused(|r| r["locks"][0]["node"] = json!("x"), "/locks/0/node", "`mode`");
        refused(|r| r["hosts"][0]["frobnicate"] = json!(1), "/hosts/0/frobnicate", "expected one of `name`");
    }

    #[test]
    fn an_array_is_no_object() {
        refused(|r| *r = json!(["a.b", {"kind": "site", "name": "x"}]), "", "an object");
        refused(|r| r["target"] = json!(["site", "1", "x"]), "/target", "sequence");
        refused(|r| r["hosts"][0] = json!(["web1", null, null, null]), "/hosts/0", "sequence");
        refused(|r| r["locks"] = json!([["site", "a", "shared"]]), "/locks/0", "sequence");
        // On the wire too.
        let text = request(|r| r["target"] = json!(["site", "1", "x"]));
        assert!(from_json::<Request>(text.as_bytes(), UnknownFields::Ignore).is_err());
    }

    #[test]
    fn a_newer_sender_may_say_more() {
        let host = br#"{"name": "web1", "jump_host": {"name": "x"}}"#;
        assert!(from_json::<crate::operation::Host>(host, UnknownFields::Ignore).is_ok());
        assert!(from_json::<crate::operation::Host>(host, UnknownFields::Refuse).is_err());
    }

    #[test]
    fn what_is_not_json_has_a_line_and_a_column() {
        let misread = from_json::<Value>(b"{\"a\":\n x}", UnknownFields::Refuse).unwrap_err();
        assert_eq!((misread.is_json, misread.line, misread.column), (false, 2, 2));
        assert!(!misread.message.contains("line"), "{}", misread.message);
        assert!(from_json::<Value>(b"{} {}", UnknownFields::Refuse).is_err());
    }
}
