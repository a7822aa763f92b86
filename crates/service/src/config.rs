//! Reading a config file.
//!
//! Config files are TOML. The types they are read into refuse unknown fields, so that a misspelt key is an
//! error with its line and not a default. A relative path in a config file is relative to the directory that
//! the file is in ([`beside`]), not to wherever the program was started. Secrets are never in a config file;
//! it names files ([`crate::secret`]).

use std::io;
use std::path::{Path, PathBuf};

use aegir_protocol::code::Code;
use aegir_protocol::read::{Objects, UnknownFields};
use serde::de::DeserializeOwned;

/// Why a config file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is none.
    #[error("there is no config file {path}: make it, or name another with --config")]
    Missing { path: PathBuf },
    /// It can't be read.
    #[error("can't read the config file {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// It is not TOML, or has a key that is unknown, missing, or of another type. The message points at it.
    #[error("the config file {path} is not valid: {}", .source.to_string().trim_end())]
    Invalid {
        path: PathBuf,
        /// What, with the line and a caret.
        source: Box<toml::de::Error>,
    },
    /// A value is of the right type and makes no sense all the same.
    #[error("the config file {path} is not valid: {key}: {message}")]
    Unusable {
        path: PathBuf,
        /// The key, with its table: `broker.url`.
        key: &'static str,
        /// What is expected.
        message: String,
    },
}

impl ConfigError {
    /// The error of a value that makes no sense: `key` with its table (`broker.url`), and what is expected.
    #[must_use]
    pub fn unusable(path: &Path, key: &'static str, message: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), key, message: message.into() }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } | Self::Unreadable { .. } | Self::Invalid { .. } | Self::Unusable { .. } => {
                Code::ConfigInvalid
            }
        }
    }
}

/// Reads a config file.
///
/// # Errors
/// When it can't be read, or does not fit `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::Missing { path: path.to_owned() },
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    })?;
    // The types say themselves which fields there are; an array in the place of a table is refused besides.
    toml::Deserializer::parse(&text)
        .and_then(|toml| T::deserialize(Objects::new(toml, UnknownFields::Ignore)))
        .map_err(|source| ConfigError::Invalid { path: path.to_owned(), source: Box::new(source) })
}

/// A path as a config file means it: an absolute one as it is, another one from the file's own directory.
#[must_use]
pub fn beside(config: &Path, path: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        slots: u32,
    }

    fn load_text(text: &str) -> (String, Result<Config, ConfigError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        fs::write(&path, text).unwrap();
        (path.display().to_string(), load(&path))
    }

    #[test]
    fn an_unknown_key_is_pointed_at() {
        let (path, result) = load_text("slots = 4\nslotz = 5\n");
        let expected = format!(
            "the config file {path} is not valid: TOML parse error at line 2, column 1\n  \
             |\n2 | slotz = 5\n  | ^^^^^\nunknown field `slotz`, expected `slots`"
        );
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_wrong_type_is_pointed_at() {
        let (_, result) = load_text("slots = \"four\"\n");
        let message = result.unwrap_err().to_string();
        assert!(message.contains("1 | slots = \"four\"\n  |         ^^^^^^\n"), "{message}");
    }

    #[test]
    fn an_array_is_no_table() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[serde(rename = "inner")]
            _inner: Config,
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        fs::write(&path, "inner = [4]\n").unwrap();
        let error = load::<Outer>(&path).unwrap_err().to_string();
        assert!(error.contains("1 | inner = [4]\n") && error.contains("invalid type: sequence"), "{error}");
        fs::write(&path, "[inner]\nslots = 4\n").unwrap();
        load::<Outer>(&path).unwrap();
    }

    #[test]
    fn what_is_right_is_read() {
        assert_eq!(load_text("slots = 4\n").1.unwrap(), Config { slots: 4 });
    }

    #[test]
    fn a_missing_file_is_said() {
        let error = load::<Config>(Path::new("/nowhere/relayd.toml")).unwrap_err();
        assert!(matches!(error, ConfigError::Missing { .. }));
        let unreadable = load::<Config>(Path::new("/")).unwrap_err();
        assert!(matches!(unreadable, ConfigError::Unreadable { .. }));
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let config = Path::new("/etc/aegir/relayd.toml");
        assert_eq!(beside(config, Path::new("password")), Path::new("/etc/aegir/password"));
        assert_eq!(beside(config, Path::new("/run/password")), Path::new("/run/password"));
        assert_eq!(beside(Path::new("relayd.toml"), Path::new("password")), Path::new("password"));
    }
}
