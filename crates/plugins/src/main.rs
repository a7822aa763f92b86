//! Plug-in runners of dispatcherd for Kubernetes and OpenTofu, in one program.
//!
//! dispatcherd starts it as `aegir-runner kubernetes VERB` or `aegir-runner opentofu VERB`, and it speaks
//! [`aegir_catalog::runner`]. The work is done by `kubectl` and `tofu`; this turns a Task into their input, and what they
//! answer into steps, plans and documents.

mod digest;
mod error;
mod hidden;
mod interrupt;
mod kubernetes;
mod mask;
mod name;
mod opentofu;
mod program;
mod task;
mod value;
mod verb;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::task::Task;

/// Carries Tasks out on Kubernetes or with OpenTofu. dispatcherd starts it, as a plug-in runner; it reads the Task as JSON on
/// its standard input and speaks JSON lines on descriptor 3.
#[derive(Debug, Parser)]
#[command(name = "aegir-runner", version, max_term_width = 100)]
#[command(after_help = "More: docs/howto/use-kubernetes.md, docs/howto/use-opentofu.md")]
struct Arguments {
    #[command(subcommand)]
    runner: Runner,
}

#[derive(Debug, Subcommand)]
enum Runner {
    /// Objects in a namespace of the target's own, by kubectl and kustomize
    Kubernetes(kubernetes::KubernetesOptions),
    /// A configuration with a state of the target's own, by OpenTofu or Terraform
    Opentofu(opentofu::OpentofuOptions),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let verb = match &arguments.runner {
        Runner::Kubernetes(options) => options.verb,
        Runner::Opentofu(options) => options.verb,
    };
    let begun = interrupt::watch().and_then(|()| Task::begin(verb.into()));
    let mut task = match begun {
        Ok(task) => task,
        Err(error) => {
            eprintln!("aegir-runner: {}", error::chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let done = match &arguments.runner {
        Runner::Kubernetes(options) => kubernetes::run(options, &mut task),
        Runner::Opentofu(options) => opentofu::run(options, &mut task),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The same twice: for who follows the steps, and for who reads the output.
            eprintln!("aegir-runner: {}", error::chain(&error));
            let _ = task.failed(error::chain(&error));
            ExitCode::FAILURE
        }
    }
}
