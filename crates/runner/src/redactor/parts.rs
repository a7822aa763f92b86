//! What of a secret is looked for: all of it, its lines, and where it is a document the values in it.

use std::collections::BTreeSet;

use aegir_protocol::limits::MIN_SECRET;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value as Json;
use yaml_serde::Value as Yaml;

/// The largest secret that is read as a document, in bytes.
const LARGEST_DOCUMENT: usize = 256 * 1024;
/// How deep documents in documents are read.
const DEEPEST: u32 = 4;
/// Of a secret with more lines than this, a line alone is not looked for in base64 or as hexadecimal digits.
const FEW_LINES: usize = 16;
/// A value whose key has one of these in it is masked, however ordinary it looks.
const TELLING: [&str; 15] = [
    "pass", "pwd", "pw", "secret", "token", "key", "auth", "cred", "priv", "salt", "phrase", "dsn", "cookie",
    "session", "sign",
];

/// Everything that is looked for.
#[derive(Debug, Default)]
pub(super) struct SecretParts {
    /// In every form.
    pub(super) encoded: BTreeSet<String>,
    /// As text only.
    pub(super) text: BTreeSet<String>,
    /// As text that may be laid out in any way only.
    pub(super) layouts: BTreeSet<String>,
}

impl SecretParts {
    /// Of a secret. No part has fewer than [`MIN_SECRET`] bytes.
    pub(super) fn of(secret: &str) -> Self {
        let mut parts = Self::default();
        parts.add(secret.trim_end_matches(['\r', '\n']));
        parts.take(secret, 0);
        parts
    }

    fn add(&mut self, part: &str) {
        if part.len() >= MIN_SECRET {
            self.encoded.insert(part.to_owned());
        }
        // What a client makes of a part of a URL, and may go on to encode in another way.
        if let Some(meant) = percent_decoded(part).filter(|meant| meant.len() >= MIN_SECRET) {
            self.encoded.insert(meant);
        }
    }

    /// A secret, or a value in one.
    fn take(&mut self, text: &str, depth: u32) {
        if depth > DEEPEST {
            return;
        }
        self.add(text.trim());
        let document = document(text);
        let known = !document.is_empty();
        for value in &document {
            self.layouts.insert(value.to_string());
            self.values(value, false, depth);
        }
        self.lines(text, known, depth);
        if let Some(password) = password_of_url(text.trim()) {
            self.add(password);
        }
        if let Some(decoded) = decoded(text.trim()) {
            // As HTTP and container registries want it: `user:password`.
            if let Some((_, password)) = decoded.split_once(':') {
                self.add(password.trim());
            }
            self.take(&decoded, depth + 1);
        }
    }

    fn lines(&mut self, text: &str, document: bool, depth: u32) {
        let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
        for line in &lines {
            // Lines of only punctuation are frames, and ordinary words of a document are keys.
            let says_nothing =
                !line.contains(|c: char| c.is_alphanumeric()) || (document && is_ordinary(line.trim()));
            if line.len() >= MIN_SECRET && !says_nothing {
                let few = lines.len() <= FEW_LINES && !document;
                let set = if few { &mut self.encoded } else { &mut self.text };
                set.insert((*line).to_owned());
            }
            if !document && let Some((name, value)) = assignment(line) {
                self.value(value, is_telling(name), depth);
            }
        }
    }

    fn values(&mut self, value: &Json, telling: bool, depth: u32) {
        match value {
            Json::String(text) => self.value(text, telling, depth),
            Json::Number(number) if telling => self.add(&number.to_string()),
            Json::Array(items) => items.iter().for_each(|item| self.values(item, telling, depth)),
            Json::Object(members) => {
                for (key, value) in members {
                    self.values(value, telling || is_telling(key), depth);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn value(&mut self, text: &str, telling: bool, depth: u32) {
        let text = text.trim();
        let may_hold_values = text.contains(['{', '[', '=', '\n']);
        let ordinary = is_ordinary(text) && !may_hold_values && (!telling || text.contains("://"));
        if text.len() >= MIN_SECRET && !ordinary {
            self.take(text, depth + 1);
        }
    }
}

/// What a text holds that is a JSON or YAML document with values in it; usually nothing.
fn document(text: &str) -> Vec<Json> {
    if text.len() > LARGEST_DOCUMENT {
        return Vec::new();
    }
    let parsed = match serde_json::from_str(text) {
        Ok(json) => vec![json],
        Err(_) if text.contains([':', '-', '{', '[']) => {
            let documents = yaml_serde::Deserializer::from_str(text);
            let read = |document| -> Option<Json> {
                Some(from_yaml(serde::Deserialize::deserialize(document).ok()?))
            };
            // One that can't be read hides those behind it.
            documents.map_while(read).collect()
        }
        Err(_) => Vec::new(),
    };
    parsed.into_iter().filter(|value| value.is_object() || value.is_array()).collect()
}

fn from_yaml(value: Yaml) -> Json {
    match value {
        Yaml::Null => Json::Null,
        Yaml::Bool(yes) => Json::Bool(yes),
        Yaml::Number(number) => serde_json::to_value(number).unwrap_or(Json::Null),
        Yaml::String(text) => Json::String(text),
        Yaml::Sequence(items) => items.into_iter().map(from_yaml).collect(),
        Yaml::Mapping(members) => {
            let name = |key: Yaml| match from_yaml(key) {
                Json::String(text) => text,
                other => other.to_string(),
            };
            Json::Object(members.into_iter().map(|(key, value)| (name(key), from_yaml(value))).collect())
        }
        Yaml::Tagged(tagged) => from_yaml(tagged.value),
    }
}

fn is_telling(key: &str) -> bool {
    let key = key.to_lowercase();
    key == "pin" || TELLING.iter().any(|word| key.contains(word))
}

/// `NAME=value` of an environment or INI file.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim().trim_start_matches("export ").trim();
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    is_name.then(|| (name, value.trim().trim_matches(['"', '\''])))
}

fn password_of_url(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let (login, _) = rest.split('/').next()?.rsplit_once('@')?;
    login.split_once(':').map(|(_, password)| password)
}

/// What a text with percent-encoding in it stands for.
fn percent_decoded(text: &str) -> Option<String> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if let (b'%', [high, low, behind @ ..]) = (first, behind)
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high << 4 | low);
            rest = behind;
        } else {
            bytes.push(*first);
        }
    }
    (bytes.len() < text.len()).then(|| String::from_utf8(bytes).ok()).flatten()
}

/// The text that this is the base64 of.
fn decoded(text: &str) -> Option<String> {
    if text.len() < 8 || text.len() > LARGEST_DOCUMENT {
        return None;
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let one_line: String = text.split_whitespace().collect();
    let bytes = [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(&one_line).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    let readable =
        text.trim().len() >= MIN_SECRET && !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    readable.then_some(text)
}

/// Whether a value in a document is a name, a word, an address or a path as they stand in every log, so that one would no
/// longer be readable without them.
fn is_ordinary(text: &str) -> bool {
    let address = text.contains("://")
        || text.starts_with('/')
        || text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'));
    if (text.len() > 24 && !address) || text.contains(['?', '%']) || password_of_url(text).is_some() {
        return false;
    }
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .all(|word| is_word(word, address))
}

fn is_word(word: &str, address: bool) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    if digits == word.len() {
        return digits <= 4;
    }
    let lower = word.chars().skip(1).all(|c| c.is_lowercase() || c.is_ascii_digit());
    let one_case = lower || word.chars().all(char::is_uppercase);
    // `oauth2`, `x509`, `web12`
    let numbered = digits == 0 || (address && digits <= 3 && word.len() <= 12);
    one_case && numbered && word.len() <= if address { 24 } else { 16 }
}
