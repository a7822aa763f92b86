//! Server-side apply, as far as it matters here: maps are merged, all else is replaced, and what a manager applied before and
//! leaves out now goes.

use serde_json::{Map, Value};

pub(crate) fn apply(live: &Value, last: &Value, wanted: &Value) -> Value {
    let (Value::Object(live_members), Value::Object(wanted)) = (live, wanted) else { return wanted.clone() };
    let empty = Map::new();
    let last = last.as_object().unwrap_or(&empty);
    let mut merged = live_members.clone();
    merged.retain(|name, _| wanted.contains_key(name) || !last.contains_key(name));
    for (name, value) in wanted {
        let (live, last) = (&live[name], last.get(name).unwrap_or(&Value::Null));
        merged.insert(name.clone(), apply(live, last, value));
    }
    Value::Object(merged)
}
