//! What would change: what is there compared with what the server says would be there.

use aegir_protocol::name::PlanHash;
use serde_json::{Value, json};

use super::cluster::{FIELD_MANAGER, KubernetesCluster, list};
use super::object::{self, CLAIM, ObjectId};
use super::record;
use super::settings::KubernetesSettings;
use crate::digest::Inputs;
use crate::error::Error;
use crate::task::Task;

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectAction {
    Create,
    Update,
    Keep,
    Delete,
}

impl ObjectAction {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Keep => "keep",
            Self::Delete => "delete",
        }
    }
}

/// One object, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) id: ObjectId,
    pub(super) action: ObjectAction,
    before: Option<Value>,
    after: Option<Value>,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Changes(pub(super) Vec<Change>);

impl Changes {
    /// Compares, and changes nothing.
    pub(super) fn find(
        cluster: &mut KubernetesCluster,
        settings: &KubernetesSettings,
        wanted: &[Value],
        task: &mut Task,
    ) -> Result<Self, Error> {
        task.doing(15, "Ask the cluster what would change")?;
        let Some(namespace) = cluster.namespace_there()? else {
            // The server makes no objects in a namespace that is not there, in a dry run neither.
            let namespace = cluster.namespace_object();
            return Ok(Self(std::iter::once(&namespace).chain(wanted).map(Change::create).collect()));
        };
        if !namespace["metadata"]["deletionTimestamp"].is_null() {
            return Err(Error::Refused(format!(
                "the namespace {} is being deleted: try again when it is gone",
                cluster.namespace
            )));
        }
        // Also those of other Tasks: what is deployed may print them when it does not come up.
        cluster.hide_secrets()?;
        let wanted_text = list(wanted);
        let there = cluster.get(&["get", "--filename", "-", "--ignore-not-found"], Some(&wanted_text))?;
        let arguments = |of: &KubernetesSettings| [apply_arguments(of), vec!["--dry-run=server"]].concat();
        let (recorded, others): (Vec<&Value>, Vec<&Value>) =
            wanted.iter().partition(|object| record::is_record(cluster, object));
        let mut after = cluster.get(&arguments(settings), Some(&list(others)))?;
        if !recorded.is_empty() {
            after.extend(cluster.get(&arguments(&record::forced(settings)), Some(&list(recorded)))?);
        }
        let arguments = arguments(settings);
        let mut changes = Vec::new();
        for object in wanted {
            let id = ObjectId::of(object);
            let find = |objects: &[Value]| {
                objects.iter().find(|object| ObjectId::of(object) == id).map(object::essence)
            };
            let after = find(&after)
                .ok_or_else(|| cluster.program.misunderstood(&arguments, &format!("it leaves {id} out")))?;
            changes.push(match find(&there) {
                None => Change::create(object),
                Some(before) if before == after => {
                    Change::of(id, ObjectAction::Keep, Some(before), Some(after))
                }
                Some(before) => Change::of(id, ObjectAction::Update, Some(before), Some(after)),
            });
        }
        changes.extend(left_over(cluster, wanted)?);
        Ok(Self(changes))
    }

    /// A hash over all of it: what is wanted, what is there, and what the server makes of it; of Secrets only whether they differ.
    pub(super) fn hash(&self) -> PlanHash {
        let mut inputs = Inputs::default();
        for Change { id, action, before, after } in &self.0 {
            inputs.add(id.kind.as_bytes());
            inputs.add(id.name.as_bytes());
            inputs.add(action.word().as_bytes());
            for side in [before, after] {
                inputs.add_value(
                    &side.as_ref().map_or(Value::Null, |side| object::hidden(side, before.as_ref())),
                );
            }
        }
        inputs.hash()
    }

    /// For programs: only what changes.
    pub(super) fn listed(&self, cluster: &KubernetesCluster) -> Value {
        let changing = self.0.iter().filter(|change| change.action != ObjectAction::Keep);
        changing.map(|change| change.listed(&cluster.namespace)).collect()
    }

    /// A step for each.
    pub(super) fn report(&self, task: &mut Task) -> Result<(), Error> {
        self.0.iter().try_for_each(|change| change.report(task))
    }
}

impl Change {
    fn of(id: ObjectId, action: ObjectAction, before: Option<Value>, after: Option<Value>) -> Self {
        Self { id, action, before, after }
    }

    /// What is not there yet. What the server would add is not known before it is.
    fn create(object: &Value) -> Self {
        Self::of(ObjectId::of(object), ObjectAction::Create, None, Some(object.clone()))
    }

    pub(super) fn delete(object: &Value) -> Self {
        Self::of(ObjectId::of(object), ObjectAction::Delete, Some(object::essence(object)), None)
    }

    pub(super) fn before(&self) -> Option<&Value> {
        self.before.as_ref()
    }

    fn listed(&self, namespace: &str) -> Value {
        let object = self.after.as_ref().or(self.before.as_ref());
        let version = object.map_or(&Value::Null, |object| &object["apiVersion"]);
        let namespace = if self.id.kind == "Namespace" { Value::Null } else { namespace.into() };
        json!({"apiVersion": version, "kind": self.id.short_kind(), "namespace": namespace, "name": self.id.name,
            "action": self.action.word()})
    }

    fn report(&self, task: &mut Task) -> Result<(), Error> {
        let before = self.before.as_ref().map(|before| object::shown(before, None)).unwrap_or_default();
        let after = self.after.as_ref().map(|after| object::shown(after, self.before.as_ref()));
        let after = after.unwrap_or_default();
        let name = format!("{} {}", self.action.word(), self.id);
        let diff = json!({"before": before, "after": after, "after_header": self.id.to_string()});
        let changed = self.action != ObjectAction::Keep;
        task.step(&name, changed, changed.then_some(diff))
    }
}

pub(super) fn apply_arguments(settings: &KubernetesSettings) -> Vec<&'static str> {
    // The server checks what it is to apply against its own schemas.
    let mut arguments = vec!["apply", "--server-side", FIELD_MANAGER, "--validate=false", "--filename", "-"];
    if settings.force_conflicts {
        arguments.push("--force-conflicts");
    }
    arguments
}

/// What an earlier version of the role had and this one has not. Volumes with their data stay.
fn left_over(cluster: &KubernetesCluster, wanted: &[Value]) -> Result<Vec<Change>, Error> {
    let wanted: Vec<_> = wanted.iter().map(ObjectId::of).collect();
    let there = cluster.labelled(&cluster.kinds(), true)?;
    let left = there.iter().filter(|object| {
        let id = ObjectId::of(object);
        // What a controller makes of an object may carry its labels.
        id.kind != CLAIM && !wanted.contains(&id) && object["metadata"]["ownerReferences"].is_null()
    });
    Ok(left.map(Change::delete).collect())
}
