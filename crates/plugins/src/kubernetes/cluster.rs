//! kubectl, and what is where in the cluster.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::object::{self, KINDS};
use super::options::KubernetesOptions;
use crate::error::Error;
use crate::mask::Mask;
use crate::name;
use crate::program::Program;
use crate::task::Task;

/// Who set what, for the server.
pub(super) const FIELD_MANAGER: &str = "--field-manager=aegir";
/// Tells what belongs to a target.
const TARGET: &str = "aegir/target";
/// Tells what belongs to a Task of a role.
const PART: &str = "aegir/part";
/// Which target a namespace belongs to, in full.
const TARGET_NAME: &str = "aegir/target-name";

/// A cluster, as one Task sees it.
#[derive(Debug)]
pub(super) struct KubernetesCluster {
    pub(super) program: Program,
    /// The target's own.
    pub(super) namespace: String,
    /// Kinds that roles may have besides.
    pub(super) allowed: Vec<String>,
    target: String,
    part: String,
    target_name: String,
}

impl KubernetesCluster {
    pub(super) fn new(options: &KubernetesOptions, task: &Task) -> Result<Self, Error> {
        let input = &task.input;
        let (kind, id) = (input.target.kind.as_str(), input.target.id.as_str());
        let target = name::of(id, &[kind, id]);
        let part =
            name::of(&format!("{}-{}", input.role, input.task), &[input.role.as_str(), input.task.as_str()]);
        let kubeconfig = kubeconfig(options)?;
        let directory = std::env::current_dir().map_err(Error::file("the working directory".as_ref()))?;
        let namespace = format!("aegir-{target}");
        let mut arguments = vec!["--kubeconfig".into(), kubeconfig.into_os_string()];
        if let Some(context) = &options.context {
            arguments.extend(["--context".into(), context.into()]);
        }
        arguments.extend(["--cache-dir".into(), directory.join("kubectl-cache").into_os_string()]);
        arguments.extend(["--namespace".into(), namespace.as_str().into()]);
        let program = Program {
            path: options.kubectl.clone().into_os_string(),
            options: arguments,
            environment: Vec::new(),
            directory,
            mask: Mask::default(),
            advice: "install kubectl (Debian's package kubernetes-client), or name it with --kubectl in dispatcherd's config",
            advise,
        };
        let target_name = format!("{kind}:{id}");
        Ok(Self { program, namespace, allowed: options.allow_kind.clone(), target, part, target_name })
    }

    /// Marks an object as this Task's.
    pub(super) fn label(&self, object: &mut Value) {
        object::label(
            object,
            &[("app.kubernetes.io/managed-by", "aegir"), (TARGET, &self.target), (PART, &self.part)],
        );
    }

    /// What the ConfigMap is called that holds what was said for this Task.
    pub(super) fn record(&self) -> String {
        format!("aegir-{}", self.part)
    }

    /// The target's namespace, as it is to be.
    pub(super) fn namespace_object(&self) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": self.namespace,
            "annotations": {TARGET_NAME: self.target_name},
        }});
        object::label(&mut object, &[("app.kubernetes.io/managed-by", "aegir"), (TARGET, &self.target)]);
        object
    }

    /// The target's namespace, as it is.
    pub(super) fn namespace_there(&self) -> Result<Option<Value>, Error> {
        match self.namespace_now()? {
            Some(namespace) if !self.owns(&namespace) => Err(Error::Refused(format!(
                "the namespace {} is there and is not this target's: it has not both the label {TARGET}={} and the annotation \
                 {TARGET_NAME}={}. Remove it, or give it both if it may be used, and deleted, for that target",
                self.namespace, self.target, self.target_name
            ))),
            there => Ok(there),
        }
    }

    /// The namespace of that name, whosever it is.
    pub(super) fn namespace_now(&self) -> Result<Option<Value>, Error> {
        Ok(self.get(&["get", "namespace", &self.namespace, "--ignore-not-found"], None)?.pop())
    }

    /// The label is made of a hash, which two targets could share; the annotation is the target's whole name.
    fn owns(&self, namespace: &Value) -> bool {
        let metadata = &namespace["metadata"];
        metadata["labels"][TARGET] == self.target && metadata["annotations"][TARGET_NAME] == self.target_name
    }

    /// What is in any Secret of the namespace must not be seen from now on, whoever made it.
    pub(super) fn hide_secrets(&mut self) -> Result<(), Error> {
        let secrets = self.get(&["get", "Secret", "--ignore-not-found"], None)?;
        secrets.iter().for_each(|secret| object::hide_secret(secret, &mut self.program.mask));
        Ok(())
    }

    /// What kubectl answers as objects.
    pub(super) fn get(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<Vec<Value>, Error> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let answer = self.program.ask(&arguments, input)?;
        object::objects(&answer).map_err(|error| self.program.misunderstood(&arguments, &error))
    }

    /// All of the target's objects of these kinds, or only this Task's.
    pub(super) fn labelled(&self, kinds: &str, only_this_part: bool) -> Result<Vec<Value>, Error> {
        let mut selector = format!("{TARGET}={}", self.target);
        if only_this_part {
            selector.push_str(&format!(",{PART}={}", self.part));
        }
        self.get(&["get", kinds, "--selector", &selector, "--ignore-not-found"], None)
    }

    /// All kinds that a role's objects can be of, as kubectl takes them.
    pub(super) fn kinds(&self) -> String {
        let allowed = self.allowed.iter().map(String::as_str);
        KINDS.into_iter().chain(allowed).collect::<Vec<_>>().join(",")
    }
}

/// Objects, as kubectl reads them from its standard input.
pub(super) fn list<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<u8> {
    let objects: Vec<_> = objects.into_iter().collect();
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string().into_bytes()
}

fn kubeconfig(options: &KubernetesOptions) -> Result<PathBuf, Error> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    let path = options.kubeconfig.clone().or_else(home).unwrap_or_default();
    // kubectl takes a missing one for an empty one, and then asks a server on localhost.
    match std::fs::File::open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Error::Refused(format!(
            "can't read the kubeconfig {}: {error}. Name one that dispatcherd's user can read with --kubeconfig in the \
             runner's command in dispatcherd's config",
            path.display()
        ))),
    }
}

/// What to do about what kubectl says.
fn advise(said: &str) -> &'static str {
    const ADVICE: [(&[&str], &str); 4] = [
        (
            &["was refused", "Unable to connect", "no such host", "i/o timeout", "connection refused"],
            ". Is the server in the kubeconfig the right one, and can it be reached from here? `kubectl --kubeconfig FILE \
             version`, as dispatcherd's user, must show it",
        ),
        (
            &["loading config file", "context was not found", "does not exist", "invalid configuration"],
            ". Correct the kubeconfig, or --kubeconfig and --context in the runner's command in dispatcherd's config",
        ),
        (
            &["Forbidden", "Unauthorized", "forbidden", "must be logged in"],
            ". The kubeconfig's user may not do that: docs/howto/use-kubernetes.md says what it must be allowed",
        ),
        (
            &["conflict"],
            ". Something else in the cluster has set these fields; `force_conflicts: true` in the role takes them over",
        ),
    ];
    let found = ADVICE.iter().find(|(words, _)| words.iter().any(|word| said.contains(word)));
    found.map_or("", |(_, advice)| advice)
}
