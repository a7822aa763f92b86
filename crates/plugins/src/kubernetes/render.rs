//! From a role's directory to the objects of one target.

use std::collections::BTreeSet;

use aegir_catalog::runner::Input;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::cluster::KubernetesCluster;
use super::object::{self, KINDS, ObjectId};
use super::record;
use super::settings::{KubernetesSettings, Set};
use crate::digest::Inputs;
use crate::error::Error;
use crate::task::Task;
use crate::value::ValueSource;

/// The objects that are to be there. Secrets are only ever in memory: kustomize sees none, and kubectl reads the objects from
/// a pipe.
pub(super) fn objects(
    cluster: &mut KubernetesCluster,
    settings: &KubernetesSettings,
    task: &mut Task,
) -> Result<Vec<Value>, Error> {
    task.doing(5, "Render the objects")?;
    let within = settings.kustomization.as_deref();
    let within = within.ok_or_else(|| Error::Role("`with` names no `kustomization`".to_owned()))?;
    let directory = task.role_directory(within)?;
    let directory =
        directory.to_str().ok_or_else(|| Error::Role(format!("the path of {within} is no text")))?;
    let text = cluster.program.ask(&["kustomize", directory], None)?;
    let text = String::from_utf8_lossy(&text);
    let mut objects = parse(&text).map_err(Error::Role)?;
    let record = record::complete(cluster, settings, task)?;
    for set in &settings.set {
        apply(set, &mut objects, &task.input).map_err(Error::Role)?;
    }
    objects.extend(record);
    for object in &mut objects {
        object::encode_secret(object);
        object::hide_secret(object, &mut cluster.program.mask);
        cluster.label(object);
    }
    check(&objects, cluster).map_err(Error::Role)?;
    Ok(objects)
}

fn parse(text: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        let value =
            Value::deserialize(document).map_err(|error| format!("what kustomize renders: {error}"))?;
        if !value.is_null() {
            objects.push(value);
        }
    }
    if objects.is_empty() { Err("its kustomization has no objects".to_owned()) } else { Ok(objects) }
}

fn check(objects: &[Value], cluster: &KubernetesCluster) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for object in objects {
        let id = ObjectId::of(object);
        if !KINDS.contains(&id.kind.as_str()) && !cluster.allowed.contains(&id.kind) {
            return Err(format!(
                "{id}: objects of the kind {} are not allowed; an operator can allow one that lives in namespaces with \
                 `--allow-kind {}`",
                id.kind, id.kind
            ));
        }
        if !object["metadata"]["namespace"].is_null() {
            return Err(format!(
                "{id} names a namespace: every target has one of its own, {}",
                cluster.namespace
            ));
        }
        if !seen.insert(id.clone()) {
            return Err(format!("{id} is there twice"));
        }
    }
    Ok(())
}

fn find<'a>(objects: &'a mut [Value], name: &str) -> Result<&'a mut Value, String> {
    let found = objects.iter_mut().find(|object| ObjectId::of(object).to_string() == name);
    found.ok_or_else(|| format!("`set` names the object {name:?}, which its kustomization does not have"))
}

fn apply(set: &Set, objects: &mut [Value], input: &Input) -> Result<(), String> {
    // Of anything but a Secret, what was there before is shown when another value comes.
    if let Some(ValueSource::Variable(name)) = &set.value
        && record::is_secret(input, name)
        && !set.object.starts_with("Secret/")
    {
        return Err(format!(
            "`set` puts the secret {name} into {}: only a Secret is for secrets",
            set.object
        ));
    }
    let value = match (&set.value, &set.digest_of) {
        (Some(source), None) => source.of(input)?.filter(|value| !set.skip_empty || value != ""),
        (None, Some(name)) => Some(digest(find(objects, name)?)?),
        _ => return Err(format!("`set` of {}: either value or digest_of is expected", set.object)),
    };
    let object = find(objects, &set.object)?;
    match value {
        Some(value) => put(object, &set.at, value)
            .map_err(|problem| format!("`set` of {} at {:?}: {problem}", set.object, set.at)),
        None => Ok(()),
    }
}

fn digest(object: &Value) -> Result<Value, String> {
    if object["kind"] == "Secret" {
        // Everybody who may see pods could try passwords on it.
        return Err(format!("`digest_of` names {}: there is no digest of a Secret", ObjectId::of(object)));
    }
    let mut inputs = Inputs::default();
    inputs.add_value(object);
    Ok(inputs.hash().as_str().into())
}

/// Puts a value where a JSON pointer shows. Objects on the way are made, items of arrays must be there or be the next (`-`).
fn put(object: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    let Some(path) = pointer.strip_prefix('/') else {
        return Err("a pointer begins with a slash".to_owned());
    };
    let mut place = object;
    for part in path.split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        place = match place {
            Value::Object(members) => members.entry(part).or_insert(Value::Null),
            Value::Array(items) => {
                let index = if part == "-" { items.len() } else { part.parse().unwrap_or(usize::MAX) };
                if part == "-" {
                    items.push(Value::Null);
                }
                items.get_mut(index).ok_or_else(|| format!("there is no item {part:?}"))?
            }
            _ => return Err(format!("{part:?} is below something that is neither object nor array")),
        };
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_put_where_the_pointer_shows_and_nothing_reads_it() {
        let mut object = json!({"spec": {"replicas": 1, "containers": [{"image": "a"}]}});
        put(&mut object, "/spec/replicas", json!(3)).unwrap();
        put(&mut object, "/spec/containers/0/image", json!("{{ x }}\n- y: $(z)")).unwrap();
        put(&mut object, "/spec/containers/-", json!({"image": "b"})).unwrap();
        put(&mut object, "/metadata/annotations/a.test~1b~0c", json!("d")).unwrap();
        assert_eq!(
            object,
            json!({"spec": {"replicas": 3, "containers": [{"image": "{{ x }}\n- y: $(z)"}, {"image": "b"}]},
                "metadata": {"annotations": {"a.test/b~c": "d"}}})
        );
    }

    #[test]
    fn a_pointer_into_nothing_is_refused() {
        let mut object = json!({"a": [1], "b": "text"});
        for (pointer, problem) in [
            ("a", "begins with a slash"),
            ("/a/1", "no item \"1\""),
            ("/a/x", "no item \"x\""),
            ("/b/c", "neither object nor array"),
        ] {
            let found = put(&mut object, pointer, json!(1)).unwrap_err();
            assert!(found.contains(problem), "{pointer}: {found}");
        }
    }

    #[test]
    fn there_is_no_digest_of_a_secret() {
        let object = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
        assert_eq!(
            digest(&object("Secret")).unwrap_err(),
            "`digest_of` names Secret/x: there is no digest of a Secret"
        );
        assert_eq!(digest(&object("ConfigMap")).unwrap().as_str().map(str::len), Some(64));
    }

    #[test]
    fn what_kustomize_prints_is_read() {
        assert_eq!(
            parse("a: 1\n---\nb: {c: \"on\"}\n---\n").unwrap(),
            [json!({"a": 1}), json!({"b": {"c": "on"}})]
        );
        assert!(parse("").is_err());
        assert!(parse("a: [").is_err());
    }
}
