//! The forms of arguments that have parts: `KIND:NAME`, `NAME=ADDRESS:PORT`, `SCOPE.KEY=VALUE`.

use std::path::PathBuf;
use std::str::FromStr;

use aegir_protocol::name::{Address, HostName, Kind, ServiceName, TargetName, UserName, VariableName};
use aegir_protocol::operation::OPERATION_SCOPE;
use aegir_protocol::state::State;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// `KIND:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetArgument {
    /// `site`, `platform`, …
    pub kind: Kind,
    /// `example.test`.
    pub name: TargetName,
}

impl FromStr for TargetArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) =
            text.split_once(':').ok_or("expected KIND:NAME, as in site:example.test".to_owned())?;
        Ok(Self { kind: parse(kind)?, name: parse(name)? })
    }
}

/// `NAME[=[USER@]ADDRESS[:PORT]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostArgument {
    /// What the frontend calls it.
    pub name: HostName,
    /// The login.
    pub user: Option<UserName>,
    /// Where it is.
    pub address: Option<Address>,
    /// The port of its sshd.
    pub port: Option<u16>,
}

impl FromStr for HostArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, place)) = text.split_once('=') else {
            return Ok(Self { name: parse(text)?, user: None, address: None, port: None });
        };
        let (user, place) = match place.split_once('@') {
            Some((user, place)) => (Some(parse(user)?), place),
            None => (None, place),
        };
        let (address, port) = address_and_port(place)?;
        Ok(Self { name: parse(name)?, user, address: Some(parse(address)?), port })
    }
}

/// `192.0.2.1`, `192.0.2.1:22`, `[::1]:22`, `::1`: more than one colon outside brackets is IPv6 without a port.
fn address_and_port(place: &str) -> Result<(&str, Option<u16>), String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not a port: expected 1 to 65535")),
        Ok(port) => Ok(Some(port)),
    };
    if let Some(rest) = place.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("the bracket is not closed: [ADDRESS]:PORT")?;
        return match rest.strip_prefix(':') {
            Some(number) => Ok((address, port(number)?)),
            None if rest.is_empty() => Ok((address, None)),
            None => Err("expected :PORT after the bracket".to_owned()),
        };
    }
    match place.split_once(':') {
        Some((address, number)) if !number.contains(':') => Ok((address, port(number)?)),
        Some(_) | None => Ok((place, None)),
    }
}

/// A text, or the file that it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// As typed.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
}

impl From<&str> for TextSource {
    fn from(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None => Self::Text(text.to_owned()),
        }
    }
}

/// `NAME=KEY` or `NAME=@FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyArgument {
    pub host: HostName,
    /// The key.
    pub key: TextSource,
}

impl FromStr for HostKeyArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, key) = text.split_once('=').ok_or("expected NAME=KEY or NAME=@FILE".to_owned())?;
        Ok(Self { host: parse(host)?, key: key.into() })
    }
}

/// `HOST:SERVICE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceArgument {
    /// Which minion.
    pub host: HostName,
    /// What it offers.
    pub service: ServiceName,
}

impl FromStr for ServiceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, service) =
            text.split_once(':').ok_or("expected HOST:SERVICE, as in web1:nginx".to_owned())?;
        Ok(Self { host: parse(host)?, service: parse(service)? })
    }
}

/// `[SCOPE.]KEY`, before a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableKey {
    /// Which entity the value belongs to.
    pub scope: String,
    /// The variable.
    pub name: String,
}

impl FromStr for VariableKey {
    type Err = String;

    /// The scope ends at the last dot: `tasks.codebase.ref` is `ref` in the scope `tasks.codebase`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (scope, name) = text.rsplit_once('.').unwrap_or((OPERATION_SCOPE, text));
        if scope.is_empty() {
            return Err(format!("{text:?} has an empty scope: expected [SCOPE.]KEY"));
        }
        let name: VariableName = parse(name)?;
        Ok(Self { scope: scope.to_owned(), name: name.as_str().to_owned() })
    }
}

/// `[SCOPE.]KEY=VALUE` or `[SCOPE.]KEY:=JSON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableArgument {
    pub key: VariableKey,
    /// Its value.
    pub value: Value,
}

impl FromStr for VariableArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE or KEY:=JSON".to_owned())?;
        let value = match key.strip_suffix(':') {
            Some(_) => serde_json::from_str(value)
                .map_err(|error| format!("the text after := is not JSON: {error}"))?,
            None => Value::String(value.to_owned()),
        };
        Ok(Self { key: key.strip_suffix(':').unwrap_or(key).parse()?, value })
    }
}

/// `[SCOPE.]KEY=@FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretArgument {
    pub key: VariableKey,
    /// Where its value is read from.
    pub file: PathBuf,
}

impl FromStr for SecretArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=@FILE".to_owned())?;
        // The refusal must not repeat what was typed.
        let file = value.strip_prefix('@').ok_or(
            "put the secret in a file and give KEY=@FILE: everybody on this machine can see the command line",
        )?;
        Ok(Self { key: key.parse()?, file: file.into() })
    }
}

/// `90`, `90s`, `15m`, `2h` as seconds.
///
/// # Errors
/// When the text is none of these.
pub fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some(_) | None => (text, 1),
    };
    let number = number.parse::<u64>().ok().filter(|&number| number > 0);
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "expected a time, as in 90, 90s, 15m or 2h".to_owned())
}

/// A state's word.
///
/// # Errors
/// When the text is none; the message lists them.
pub fn state(text: &str) -> Result<State, String> {
    State::from_word(text).ok_or_else(|| {
        let words: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("unknown state. Known: {}", words.join(", "))
    })
}

fn parse<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A JSON value on the command line.
#[derive(Clone, Debug, Default)]
pub struct JsonArgument<T>(pub T);

impl<T: DeserializeOwned> FromStr for JsonArgument<T> {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_have_users_addresses_and_ports() {
        let host = |text: &str| {
            let host = text.parse::<HostArgument>()?;
            let text = |name: Option<&str>| name.unwrap_or("-").to_owned();
            Ok::<_, String>(format!(
                "{} {} {} {:?}",
                host.name,
                text(host.user.as_ref().map(UserName::as_str)),
                text(host.address.as_ref().map(Address::as_str)),
                host.port
            ))
        };
        assert_eq!(host("web1").unwrap(), "web1 - - None");
        assert_eq!(host("web1=192.0.2.7").unwrap(), "web1 - 192.0.2.7 None");
        assert_eq!(host("web1=deploy@web.test:2222").unwrap(), "web1 deploy web.test Some(2222)");
        assert_eq!(host("web1=::1").unwrap(), "web1 - ::1 None");
        assert_eq!(host("web1=[::1]:22").unwrap(), "web1 - ::1 Some(22)");
        for wrong in ["", "-x", "web1=", "web1=a:0", "web1=a:70000", "web1=[::1", "web1=[::1]22", "web1=-o"] {
            assert!(host(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn variables_have_scopes_and_types() {
        #[track_caller]
        fn check(text: &str, scope: &str, name: &str, value: Value) {
            let key = VariableKey { scope: scope.to_owned(), name: name.to_owned() };
            assert_eq!(text.parse(), Ok(VariableArgument { key, value }));
        }
        check("ref=main", "operation", "ref", json!("main"));
        check("n=1", "operation", "n", json!("1"));
        check("n:=1", "operation", "n", json!(1));
        check("site.names:=[\"a=b\"]", "site", "names", json!(["a=b"]));
        check("tasks.codebase.ref=a=b:c", "tasks.codebase", "ref", json!("a=b:c"));
        check("v={{ lookup('pipe','id') }}", "operation", "v", json!("{{ lookup('pipe','id') }}"));
        for wrong in ["x", "=1", ".x=1", "X=1", "x:=", "x:={", "a-b=1"] {
            assert!(wrong.parse::<VariableArgument>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let error = "password=hunter22".parse::<SecretArgument>().unwrap_err();
        assert!(error.contains("@FILE") && !error.contains("hunter22"), "{error}");
        let secret: SecretArgument = "site.password=@/run/p".parse().unwrap();
        assert_eq!((secret.key.scope.as_str(), secret.file), ("site", PathBuf::from("/run/p")));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("2h"), Ok(7200));
        for wrong in ["", "0", "m", "-1", "1d", "é", "99999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
