//! Where relayd listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelaydAddress {
    /// The start of every URL, without a slash at its end.
    Http(String),
    /// relayd's socket.
    Unix(PathBuf),
}

impl RelaydAddress {
    /// The URL of one of the API's paths. Over a unix socket the host's name has no meaning.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        match self {
            Self::Http(base) => format!("{base}{path}"),
            Self::Unix(_) => format!("http://localhost{path}"),
        }
    }

    /// Whether certificates matter.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Http(base) if base.starts_with("https:"))
    }
}

impl FromStr for RelaydAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err("unix: and an absolute path is expected, as in unix:/run/aegir-relayd/api.sock"
                    .to_owned())
            };
        }
        let wrong = "http://HOST:PORT, https://HOST:PORT or unix:/PATH is expected";
        let url = reqwest::Url::parse(text).map_err(|error| format!("{wrong} ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            return Err(wrong.to_owned());
        }
        if url.password().is_some() || !url.username().is_empty() {
            return Err(
                "a URL without a login is expected: relayd wants a token, see --token-file".to_owned()
            );
        }
        Ok(Self::Http(text.trim_end_matches('/').to_owned()))
    }
}

/// A path with a query, whose values may hold what means something in a URL.
#[must_use]
pub fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let url = reqwest::Url::parse_with_params("http://relayd", query);
    match url.as_ref().map(reqwest::Url::query) {
        Ok(Some(query)) if !query.is_empty() => format!("{path}?{query}"),
        Ok(_) | Err(_) => path.to_owned(),
    }
}

impl fmt::Display for RelaydAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(base) => f.write_str(base),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_or_sockets() {
        let url = |text: &str| text.parse::<RelaydAddress>().map(|address| address.url("/healthz"));
        assert_eq!(url("http://127.0.0.1:7180/").unwrap(), "http://127.0.0.1:7180/healthz");
        assert_eq!(url("https://relayd.test/aegir").unwrap(), "https://relayd.test/aegir/healthz");
        assert_eq!(url("unix:/run/x.sock").unwrap(), "http://localhost/healthz");
        for wrong in ["", "127.0.0.1:7180", "unix:x", "ftp://x", "http://a:b@x"] {
            assert!(url(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
