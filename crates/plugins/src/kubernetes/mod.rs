//! Objects in a Kubernetes cluster.
//!
//! What a role brings is a kustomize directory, rendered by kubectl, and a list of what to set in its objects, done here on the
//! objects and not on text. A target has a namespace of its own, so nothing of another one can be taken over, and deleting the
//! namespace deletes all of the target's.

mod cancel;
mod change;
mod cluster;
mod delete;
mod deploy;
mod diagnose;
mod logs;
mod object;
mod options;
mod record;
mod render;
mod rollout;
mod settings;

use aegir_catalog::manifest::PluginVerb;
use aegir_catalog::runner::Verb;

use self::cluster::KubernetesCluster;
use self::settings::KubernetesSettings;

pub(crate) use self::options::KubernetesOptions;
use crate::error::Error;
use crate::task::Task;

pub(crate) fn run(options: &KubernetesOptions, task: &mut Task) -> Result<(), Error> {
    let settings: KubernetesSettings = task.settings()?;
    let mut cluster = KubernetesCluster::new(options, task)?;
    if let Some(logs) = &settings.logs {
        return match task.input.verb {
            Verb::Plan => logs::plan(task),
            Verb::Apply => logs::show(&mut cluster, logs, task),
            Verb::Delete => Err(Error::Role("`logs` is for Tasks without `verb: delete`".to_owned())),
            Verb::Cancel => Ok(()),
        };
    }
    match (task.input.verb, task.input.task_verb) {
        (Verb::Plan, PluginVerb::Delete) => delete::plan(&cluster, task),
        (Verb::Plan, _) => deploy::plan(&mut cluster, &settings, task),
        (Verb::Apply, _) => deploy::apply(&mut cluster, &settings, task),
        (Verb::Delete, _) => delete::apply(&cluster, &settings, task),
        (Verb::Cancel, _) => cancel::look(&cluster, task),
    }
}
