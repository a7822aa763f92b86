//! Names that people choose.
//!
//! Every name ends up in a path, a queue, an inventory or a command line, so each is checked when it is
//! read: a value of one of these types can't hold a newline, a slash, a leading dash or a wildcard.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// A text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    rule: &'static str,
    text: String,
}

/// Which characters a name may have.
struct Rule {
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
    longest: usize,
    /// The same as a regular expression; the length stands beside it.
    pattern: &'static str,
    says: &'static str,
}

impl Rule {
    fn admits(&self, text: &str) -> bool {
        let mut chars = text.chars();
        text.len() <= self.longest
            && chars.next().is_some_and(self.first)
            && chars.all(self.rest)
            && !text.contains("..")
    }
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase()
}
fn word(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}
fn label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}
fn alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric()
}
fn entity(c: char) -> bool {
    label(c) || c == ':'
}
fn address_first(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

const WORD: Rule = Rule {
    first: lower,
    rest: word,
    longest: 63,
    pattern: "^[a-z][a-z0-9_]{0,62}$",
    says: "1 to 63 characters a-z, 0-9 and _ are expected, a letter first",
};
const LABEL: Rule = Rule {
    first: alphanumeric,
    rest: label,
    longest: 63,
    pattern: r"^[A-Za-z0-9](\.?[A-Za-z0-9_-])*\.?$",
    says: "1 to 63 letters, digits, '.', '_' and '-' are expected, a letter or digit first, no '..'",
};
const ENTITY: Rule = Rule {
    first: alphanumeric,
    rest: entity,
    longest: 253,
    pattern: r"^[A-Za-z0-9](\.?[A-Za-z0-9_:-])*\.?$",
    says: "1 to 253 letters, digits, '.', '_', ':' and '-' are expected, a letter or digit first, no '..'",
};
const ADDRESS: Rule = Rule {
    first: address_first,
    rest: entity,
    longest: 253,
    pattern: r"^[A-Za-z0-9:](\.?[A-Za-z0-9_:-])*\.?$",
    says: "a host name, an IPv4 or an IPv6 address without brackets is expected",
};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $rule.admits(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    // Enough to recognise it by; the rest may be ten thousand characters.
                    let text = text.chars().take(64).collect();
                    Err(InvalidName { kind: $kind, rule: $rule.says, text })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $rule.pattern, "maxLength": $rule.longest })
            }
        }
    };
}

name!(
    /// A group of dispatcherds that share one queue.
    BackendName, "backend's name", LABEL
);
name!(
    /// One relayd, or several over one database.
    FrontendName, "frontend's name", LABEL
);
name!(
    /// One dispatcherd of a backend.
    NodeName, "node's name", LABEL
);
name!(
    /// A minion, as the frontend calls it.
    HostName, "host's name", LABEL
);
name!(
    /// Where a minion is reached: a host name or an IP address.
    Address, "host's address", ADDRESS
);
name!(
    /// The login on a minion.
    UserName, "user's name", LABEL
);
name!(
    /// What a minion offers, such as `nginx`.
    ServiceName, "service's name", LABEL
);
name!(
    /// The kind of a target: `site`, `platform`, `host`, or whatever a manifest names.
    Kind, "kind of target", WORD
);
name!(
    /// The frontend's id of a target, often a UUID.
    TargetId, "target's id", ENTITY
);
name!(
    /// What people call a target: `example.test`.
    TargetName, "target's name", ENTITY
);
name!(
    /// A role: the first half of an Operation's name.
    RoleName, "role's name", WORD
);
name!(
    /// An operation within its role: the second half of an Operation's name.
    ActionName, "operation's name", WORD
);
name!(
    /// A Task within its role.
    TaskName, "Task's name", WORD
);
name!(
    /// A plug-in runner, as dispatcherd's config and manifests name it.
    RunnerName, "runner's name", WORD
);
name!(
    /// A variable.
    VariableName, "variable's name", WORD
);
name!(
    /// A document that a Task produces.
    DocumentName, "document's name", WORD
);

name!(
    /// What a plug-in's plan depends on, as one value; two plans with the same one change the same.
    PlanHash, "plan's hash", ENTITY
);

macro_rules! of_role {
    ($(#[$doc:meta])* $type:ident, $(#[$part_doc:meta])* $part:ident: $of:ident, $kind:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            /// Which role.
            pub role: RoleName,
            $(#[$part_doc])*
            pub $part: $of,
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let parse = || {
                    let (role, $part) = text.split_once('.')?;
                    Some(Self { role: role.parse().ok()?, $part: $part.parse().ok()? })
                };
                parse().ok_or_else(|| InvalidName {
                    kind: $kind,
                    rule: $rule,
                    text: text.chars().take(64).collect(),
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}.{}", self.role, self.$part))
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}\\.[a-z][a-z0-9_]{0,62}$" })
            }
        }
    };
}

of_role!(
    /// What an Operation does: a role and one of its operations, as in `static_site.deploy`.
    OperationName,
    /// Which of the role's operations.
    action: ActionName,
    "name of an Operation",
    "ROLE.OPERATION is expected, as in static_site.deploy"
);
of_role!(
    /// A Task of a role, as in `static_site.vhost`.
    RoleTask,
    /// Which of the role's Tasks.
    task: TaskName,
    "Task of a role",
    "ROLE.TASK is expected, as in static_site.vhost"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = InvalidName> + fmt::Debug>(text: &str) {
        assert!(T::from_str(text).is_err(), "{text:?} was taken");
    }

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for text in ["", "-rf", "a/b", "a\nb", "../x", "a..b", "a b", "é", "a\0", &"x".repeat(10_000)] {
            refused::<TargetName>(text);
            refused::<HostName>(text);
            refused::<Address>(text);
            refused::<OperationName>(text);
        }
    }

    #[test]
    fn ordinary_names_are_taken() {
        assert!(TargetName::from_str("example.test").is_ok());
        assert!(TargetId::from_str("019235f0-7a3c-7def-8000-000000000001").is_ok());
        assert!(Address::from_str("::1").is_ok());
        assert!(HostName::from_str("web1").is_ok());
        assert_eq!(OperationName::from_str("static_site.deploy").unwrap().to_string(), "static_site.deploy");
    }

    #[test]
    fn an_error_shows_the_start_of_what_was_wrong_only() {
        let error = HostName::from_str(&"-".repeat(10_000)).unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
    }
}
