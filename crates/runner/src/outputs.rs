//! What Tasks hand over: checked against what their manifest declares, sealed where it says so, and kept for the
//! Tasks after them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aegir_attempt::plan::{PlannedTask, TaskPlan};
use aegir_catalog::manifest::OutputManifest;
use aegir_protocol::limits::MIN_SECRET;
use aegir_protocol::name::{DocumentName, TaskName};
use aegir_protocol::operation::sealed;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::unsafe_text::is_data;
use crate::secrets::{Secrets, seal};

/// How deep a value may be: readers of JSON end at 128 levels, and it stands deeper in what is made of it.
pub(super) const DEEPEST: usize = 64;

/// How many levels of arrays and objects a value has.
pub(super) fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A value that a Task has handed over.
#[derive(Clone, Debug)]
pub(super) enum OutputValue {
    /// As its record has it.
    Plain(Value),
    /// What its record has sealed.
    Secret(SecretString),
}

/// What is recorded of a value that fits.
#[derive(Debug)]
pub(super) struct CheckedOutput {
    /// As it is to be recorded.
    pub(super) value: Value,
    /// For how long it is to be believed, in seconds.
    pub(super) fresh_seconds: Option<u64>,
    pub(super) held: OutputValue,
}

/// What the Tasks of an attempt have handed over so far.
#[derive(Debug)]
pub(super) struct Outputs {
    dry_run: bool,
    identity_file: PathBuf,
    by_task: BTreeMap<TaskName, BTreeMap<DocumentName, OutputValue>>,
    /// What the Task that runs declares, and hands over.
    declared: BTreeMap<DocumentName, OutputManifest>,
    now: BTreeMap<DocumentName, OutputValue>,
    /// What is wrong with the first that can't be taken, and with how many more something is.
    fault: Option<String>,
    more_faults: usize,
}

impl Outputs {
    /// With what earlier attempts have handed over. A dry run hands nothing over.
    pub(super) fn new(plan: &TaskPlan, secrets: &Secrets, dry_run: bool) -> Self {
        let held = |task: &PlannedTask, name: &DocumentName, value: &Value| match sealed(value) {
            Some(_) => Some(OutputValue::Secret(secrets.of_output(task.number, name)?.clone())),
            None => Some(OutputValue::Plain(value.clone())),
        };
        let of_task = |task: &PlannedTask| {
            let done = task.done.as_ref()?;
            let outputs = done.outputs.iter();
            let outputs = outputs.filter_map(|(name, value)| Some((name.clone(), held(task, name, value)?)));
            Some((task.name.clone(), outputs.collect()))
        };
        Self {
            dry_run,
            identity_file: plan.settings.age_identity_file.clone(),
            by_task: plan.tasks.iter().filter_map(of_task).collect(),
            declared: BTreeMap::new(),
            now: BTreeMap::new(),
            fault: None,
            more_faults: 0,
        }
    }

    pub(super) fn begin_task(&mut self, task: &PlannedTask) {
        self.declared = task.outputs.clone();
        self.now.clear();
        self.fault = None;
        self.more_faults = 0;
    }

    pub(super) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Whether a document is declared to be a secret.
    pub(super) fn is_secret(&self, name: &DocumentName) -> bool {
        self.declared.get(name).is_some_and(OutputManifest::secret)
    }

    /// What is to be recorded of a value.
    ///
    /// # Errors
    /// Why it can't be taken.
    pub(super) fn fit(&self, name: &DocumentName, value: Value) -> Result<CheckedOutput, String> {
        let Some(declared) = self.declared.get(name) else {
            return Err("the manifest does not declare it among the task's outputs".to_owned());
        };
        if levels(&value) > DEEPEST {
            return Err(format!("it has more than {DEEPEST} levels of arrays and objects"));
        }
        declared.fits(&value)?;
        is_data(&value).map_err(|error| error.to_string())?;
        if sealed(&value).is_some() {
            return Err("it has the form of a sealed secret, and is none".to_owned());
        }
        let fresh_seconds = declared.fresh_seconds();
        if !declared.secret() {
            return Ok(CheckedOutput { held: OutputValue::Plain(value.clone()), value, fresh_seconds });
        }
        let Value::String(text) = value else { return Err("it is a secret, and no text".to_owned()) };
        if text.trim().len() < MIN_SECRET {
            return Err(format!("it has fewer than {MIN_SECRET} bytes, which can't be masked"));
        }
        let secret = SecretString::from(text);
        let value = seal(secret.expose_secret(), &self.identity_file).map_err(|error| error.to_string())?;
        Ok(CheckedOutput { value, fresh_seconds, held: OutputValue::Secret(secret) })
    }

    /// Keeps what was recorded.
    pub(super) fn hold(&mut self, name: DocumentName, held: OutputValue) {
        self.now.insert(name, held);
    }

    /// Notes that a document can't be taken.
    pub(super) fn fault(&mut self, name: &str, problem: &str) {
        if self.fault.is_some() {
            self.more_faults += 1;
        } else {
            self.fault = Some(format!("document {name} was left out: {problem}"));
        }
    }

    /// What is wrong with what the Task has handed over, if anything is.
    pub(super) fn problems(&self) -> Option<String> {
        let missing = || {
            let wanted = self.declared.iter().filter(|(_, output)| !output.optional());
            let wanted: BTreeSet<_> = wanted.map(|(name, _)| name).collect();
            let missing: Vec<_> = wanted.into_iter().filter(|name| !self.now.contains_key(*name)).collect();
            let missing = missing.into_iter().map(DocumentName::as_str).collect::<Vec<_>>().join(", ");
            (!self.dry_run && !missing.is_empty())
                .then(|| format!("it did not hand over what its manifest declares: {missing}"))
        };
        let more = match self.more_faults {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        self.fault.as_ref().map(|fault| format!("{fault}{more}")).or_else(missing)
    }

    /// The Task has succeeded: those after it get what it has handed over.
    pub(super) fn keep(&mut self, task: &TaskName) {
        self.by_task.insert(task.clone(), std::mem::take(&mut self.now));
    }

    /// By Task.
    pub(super) fn by_task(&self) -> &BTreeMap<TaskName, BTreeMap<DocumentName, OutputValue>> {
        &self.by_task
    }
}
