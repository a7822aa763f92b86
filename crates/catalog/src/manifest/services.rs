//! Which services a host must offer for a Task.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use aegir_protocol::name::ServiceName;
use aegir_protocol::operation::Host;

/// Services of which a host offers at least one. In a manifest one is a name, and several are a list of names; with none
/// every host will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services(Vec<ServiceName>);

impl Services {
    /// Whether every host will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this host will do.
    #[must_use]
    pub fn offered_by(&self, host: &Host) -> bool {
        self.is_empty() || self.0.iter().any(|service| host.services.contains_key(service))
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(ServiceName::as_str).collect();
        f.pad(&names.join(" or "))
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Services {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let names = match Value::deserialize(deserializer)? {
            name @ Value::String(_) => vec![name],
            Value::Array(names) if !names.is_empty() => names,
            other => {
                return Err(D::Error::custom(format!(
                    "a service or a list of services is expected, not {other}"
                )));
            }
        };
        let names = names.into_iter().map(serde_json::from_value);
        names.collect::<Result<_, _>>().map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for Services {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Services".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = generator.subschema_for::<ServiceName>();
        schemars::json_schema!({ "oneOf": [name, { "type": "array", "items": name, "minItems": 1 }] })
    }
}
