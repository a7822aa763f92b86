//! A configuration for OpenTofu, or Terraform, with a state of the target's own.
//!
//! A plan is always made anew from the Task; what is applied is exactly that plan. Where one was approved, the hash over
//! all that went into it must be the same.

mod change;
mod configuration;
mod outputs;
mod rescue;
mod running;
mod tool;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegir_protocol::manifest::PluginVerb;
use aegir_protocol::name::DocumentName;
use aegir_protocol::runner::Verb;
use clap::Args;
use serde::Deserialize;

use self::change::TofuPlan;
use self::rescue::Rescued;
use self::running::Running;
use self::tool::Tool;
use crate::VerbArgument;
use crate::error::Error;
use crate::task::Task;
use crate::value::ValueSource;

/// The operator's part, on the command line in dispatcherd's config.
#[derive(Debug, Args)]
pub(crate) struct OpentofuOptions {
    /// The program: tofu, or terraform
    #[arg(long, value_name = "PROGRAM", default_value = "tofu")]
    program: PathBuf,
    /// Keep the states in files here, in place of the backend that the role's configuration names. States hold secrets in
    /// the clear. What runs is noted here too
    #[arg(long, value_name = "DIRECTORY")]
    state_directory: Option<PathBuf>,
    /// The program's own configuration file, which may name a mirror of providers
    #[arg(long, value_name = "FILE")]
    cli_config: Option<PathBuf>,
    /// How long to wait for a state that somebody else has locked
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    lock_timeout: u32,
    /// What to do
    #[arg(value_enum)]
    pub(crate) verb: VerbArgument,
}

/// What a role's manifest says under `with`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpentofuSettings {
    /// The configuration in the role.
    directory: String,
    /// Values for the configuration's variables, beside the Task's own, which have their own names.
    #[serde(default)]
    variables: BTreeMap<String, ValueSource>,
    /// Which of the configuration's outputs are handed over as documents.
    #[serde(default)]
    outputs: Vec<DocumentName>,
    /// The same for what the configuration calls sensitive; the manifest must call them secret.
    #[serde(default)]
    secret_outputs: Vec<DocumentName>,
}

pub(crate) fn run(options: &OpentofuOptions, task: &mut Task) -> Result<(), Error> {
    let settings: OpentofuSettings = task.settings()?;
    let running = Running::of(options, &settings, task)?;
    let delete = match (task.input.verb, task.input.task_verb) {
        (Verb::Cancel, _) => return running.look(),
        (Verb::Plan, PluginVerb::Delete) | (Verb::Delete, _) => true,
        (Verb::Plan | Verb::Apply, _) => false,
    };
    let rescued = Rescued::of(options, tool::workspace(&task.input, &settings), task);
    rescued.refuse_if_there()?;
    let mut tool = Tool::prepare(options, &settings, task)?;
    let plan = TofuPlan::make(&mut tool, delete, task)?;
    if task.input.verb == Verb::Plan {
        plan.report(&tool, task)?;
        return task.plan(plan.hash.clone(), plan.listed());
    }
    task.check_approved(&plan.hash)?;
    carry_out(&tool, &plan, &running, &rescued, task)?;
    if delete { tool.forget() } else { outputs::hand_over(&tool, &settings, task) }
}

fn carry_out(
    tool: &Tool,
    plan: &TofuPlan,
    running: &Running,
    rescued: &Rescued,
    task: &mut Task,
) -> Result<(), Error> {
    if plan.changes_something {
        task.doing(60, "Carry the plan out")?;
        running.begin()?;
        let applied = tool.apply();
        let ended = running.end(&applied);
        let went = applied.and_then(|ran| tool.went_well(&ran));
        went.map_err(|failed| tool.rescue(rescued, failed))?;
        ended?;
    }
    plan.report(tool, task)
}
