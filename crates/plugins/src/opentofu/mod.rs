//! A configuration for OpenTofu, or Terraform, with a state of the target's own.
//!
//! A plan is always made anew from the Task; what is applied is exactly that plan. Where one was approved, the hash over
//! all that went into it must be the same.

mod change;
mod configuration;
mod outputs;
mod rescue;
mod running;
mod settings;
mod tool;

use aegir_catalog::manifest::PluginVerb;
use aegir_catalog::runner::Verb;

use self::change::TofuPlan;
use self::rescue::Rescued;
use self::running::Running;
use self::settings::OpentofuSettings;
use self::tool::Tool;
use crate::error::Error;
use crate::task::Task;

pub(crate) use self::settings::OpentofuOptions;

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
