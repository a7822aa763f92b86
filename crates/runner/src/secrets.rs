//! Opening sealed values, and keeping them where only this attempt finds them.
//!
//! A sealed value is an age file in base64, encrypted for the backend's key. Only the runner opens it, into a
//! directory (0700) on a memory file system that is removed before the transcript is finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use aegir_attempt::plan::PlannedTask;
use aegir_attempt::private::PrivateError;
use aegir_protocol::code::Code;
use aegir_protocol::limits::MIN_SECRET;
use aegir_protocol::name::{DocumentName, VariableName};
use aegir_protocol::operation::sealed;
use aegir_protocol::state::Reason;
use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// Why secrets could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnsealError {
    /// The backend's key can't be read.
    #[error("can't read the backend's key {path}: {reason}")]
    Identity {
        /// The file.
        path: PathBuf,
        reason: String,
    },
    /// The value was not sealed for this backend, or is damaged.
    #[error(
        "the secret {variable} can't be opened ({reason}): seal it again for the recipient that \
         `dispatcherd catalog` shows"
    )]
    Unopened { variable: String, reason: String },
    /// The value is so short that masking it would mask ordinary words.
    #[error("the secret {0} has fewer than {MIN_SECRET} bytes, which can't be masked: choose a longer one")]
    TooShort(String),
    /// The runtime directory.
    #[error(transparent)]
    Private(#[from] PrivateError),
}

impl UnsealError {
    /// The reason that is recorded.
    #[must_use]
    pub(crate) fn reason(&self) -> Reason {
        let code = match self {
            Self::Identity { .. } | Self::Unopened { .. } => Code::SecretUnopened,
            Self::TooShort(_) => Code::SecretInvalid,
            Self::Private(error) => return error.reason(),
        };
        code.because(aegir_service::error::chain(self))
    }
}

/// The secrets of an attempt, opened.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// By the Task's number and the variable's name.
    values: BTreeMap<(u32, VariableName), SecretString>,
    /// What Tasks of earlier attempts have handed over, by the Task's number.
    outputs: BTreeMap<(u32, DocumentName), SecretString>,
}

impl Secrets {
    /// Opens every sealed value of these Tasks. The key is read only when there is one.
    ///
    /// # Errors
    /// When the key can't be read, or a value can't be opened with it.
    pub(crate) fn open(tasks: &[PlannedTask], identity_file: &Path) -> Result<Self, UnsealError> {
        let mut secrets = Self::default();
        let mut identity = None;
        let mut opened = |name: &str, value: &Value| -> Result<Option<SecretString>, UnsealError> {
            let Some(ciphertext) = sealed(value) else { return Ok(None) };
            let identity = match &mut identity {
                Some(identity) => identity,
                empty => empty.insert(read_identity(identity_file)?),
            };
            let value = open(name, ciphertext, identity)?;
            if value.expose_secret().trim().len() < MIN_SECRET {
                return Err(UnsealError::TooShort(name.to_owned()));
            }
            Ok(Some(value))
        };
        for task in tasks {
            for (variable, resolved) in &task.variables {
                if let Some(value) = opened(variable.as_str(), &resolved.value)? {
                    secrets.values.insert((task.number, variable.clone()), value);
                }
            }
            for (name, value) in task.done.iter().flat_map(|done| &done.outputs) {
                if let Some(value) = opened(name.as_str(), value)? {
                    secrets.outputs.insert((task.number, name.clone()), value);
                }
            }
        }
        Ok(secrets)
    }

    /// A secret that a Task of an earlier attempt has handed over.
    #[must_use]
    pub(crate) fn of_output(&self, number: u32, name: &DocumentName) -> Option<&SecretString> {
        self.outputs.get(&(number, name.clone()))
    }

    /// The secrets of one Task.
    pub(crate) fn of_task(&self, number: u32) -> impl Iterator<Item = (&VariableName, &SecretString)> {
        self.values
            .iter()
            .filter(move |((task, _), _)| *task == number)
            .map(|((_, variable), value)| (variable, value))
    }

    /// Every text that must be masked.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.values().chain(self.outputs.values()).map(|value| value.expose_secret())
    }
}

fn read_identity(path: &Path) -> Result<age::x25519::Identity, UnsealError> {
    let failed = |reason: String| UnsealError::Identity { path: path.to_owned(), reason };
    let text: SecretString = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?.into();
    let line = text.expose_secret().lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-"));
    let line = line.ok_or_else(|| failed("it holds no age identity".to_owned()))?;
    age::x25519::Identity::from_str(line).map_err(|error| failed(error.to_owned()))
}

fn open(
    variable: &str,
    ciphertext: &str,
    identity: &age::x25519::Identity,
) -> Result<SecretString, UnsealError> {
    let failed = |reason: String| UnsealError::Unopened { variable: variable.to_owned(), reason };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(ciphertext)
        .map_err(|error| failed(error.to_string()))?;
    let plain = age::decrypt(identity, &bytes).map_err(|error| failed(error.to_string()))?;
    String::from_utf8(plain).map(SecretString::from).map_err(|_| failed("it is not UTF-8".to_owned()))
}

/// A text as only this backend can read it: `{"sealed": "…"}`.
///
/// # Errors
/// When the backend's key can't be read or used.
pub(crate) fn seal(text: &str, identity_file: &Path) -> Result<Value, UnsealError> {
    let recipient = read_identity(identity_file)?.to_public();
    let bytes = age::encrypt(&recipient, text.as_bytes()).map_err(|error| UnsealError::Identity {
        path: identity_file.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(json!({ "sealed": base64::engine::general_purpose::STANDARD.encode(bytes) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_attempt::plan::TaskAction;
    use aegir_catalog::Resolved;

    fn task(value: serde_json::Value) -> PlannedTask {
        PlannedTask {
            number: 1,
            role: "r".parse().unwrap(),
            digest: String::new(),
            collection: None,
            name: "t".parse().unwrap(),
            title: String::new(),
            action: TaskAction::TaskFile("t.yml".to_owned()),
            hosts: Vec::new(),
            variables: BTreeMap::from([(
                "password".parse().unwrap(),
                Resolved { value, from: "site".to_owned() },
            )]),
            absent: Vec::new(),
            declared: BTreeMap::new(),
            of_hosts: BTreeMap::new(),
            uses: BTreeMap::new(),
            outputs: BTreeMap::new(),
            may_match_no_host: false,
            leaves_processes: false,
            done: None,
            quiet_seconds: None,
            timeout_seconds: 1,
        }
    }

    fn seal(identity: &age::x25519::Identity, text: &str) -> serde_json::Value {
        let bytes = age::encrypt(&identity.to_public(), text.as_bytes()).unwrap();
        json!({ "sealed": base64::engine::general_purpose::STANDARD.encode(bytes) })
    }

    #[test]
    fn a_value_opens_with_its_own_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity");
        let (ours, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        std::fs::write(&file, format!("# key\n{}\n", ours.to_string().expose_secret())).unwrap();
        let secrets = Secrets::open(&[task(seal(&ours, "correct horse"))], &file).unwrap();
        assert_eq!(secrets.texts().collect::<Vec<_>>(), ["correct horse"]);
        assert_eq!(secrets.of_task(1).count(), 1);
        assert_eq!(secrets.of_task(2).count(), 0);
        let code = |value| Secrets::open(&[task(value)], &file).unwrap_err().reason().code;
        assert_eq!(code(seal(&other, "correct horse")), "secret_unopened");
        assert_eq!(code(json!({ "sealed": "?" })), "secret_unopened");
        assert_eq!(code(seal(&ours, "short")), "secret_invalid");
        let nowhere =
            Secrets::open(&[task(seal(&ours, "correct horse"))], Path::new("/nowhere")).unwrap_err();
        assert_eq!(nowhere.reason().code, "secret_unopened");
        assert!(Secrets::open(&[task(json!("plain"))], Path::new("/nowhere")).is_ok());
    }
}
