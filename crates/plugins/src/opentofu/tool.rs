//! The program, at work in a copy of the role's configuration.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use aegir_catalog::runner::Input;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::configuration;
use super::rescue::Rescued;
use super::settings::{OpentofuOptions, OpentofuSettings};
use crate::digest::Inputs;
use crate::error::Error;
use crate::hidden::Hidden;
use crate::mask::Mask;
use crate::name;
use crate::program::{Program, Ran};
use crate::task::Task;

/// Both hold the Task's secrets, so they are in memory only.
const VARIABLES: &str = "aegir-runner.tfvars.json";
const PLAN: &str = "aegir-runner.plan";
/// A file of this ending takes the place of what the configuration says of the same.
const OVERRIDE: &str = "aegir_runner_override.tf.json";
/// What the program keeps of a role's backend, in the copy.
const BACKEND: &str = ".terraform/terraform.tfstate";

/// The program, ready for plans.
#[derive(Debug)]
pub(super) struct Tool {
    program: Program,
    /// The configuration's files.
    pub(super) inputs: Inputs,
    /// What its variables are set to.
    pub(super) variables: Map<String, Value>,
    lock: String,
    /// Where this target's state is, if that is a directory here.
    state: Option<PathBuf>,
    _hidden: [Hidden; 2],
}

/// The name of a target's state: one for each configuration of a role.
pub(super) fn workspace(input: &Input, settings: &OpentofuSettings) -> String {
    let (kind, id) = (input.target.kind.as_str(), input.target.id.as_str());
    name::of(id, &[kind, id, input.role.as_str(), &settings.directory])
}

impl Tool {
    pub(super) fn prepare(
        options: &OpentofuOptions,
        settings: &OpentofuSettings,
        task: &mut Task,
    ) -> Result<Self, Error> {
        task.doing(5, "Prepare the configuration")?;
        let current = std::env::current_dir().map_err(Error::file("the working directory".as_ref()))?;
        let directory = current.join("configuration");
        let mut inputs = Inputs::default();
        configuration::copy(&task.role_directory(&settings.directory)?, &directory, &mut inputs)?;
        let variables = variables(&task.input, settings).map_err(Error::Role)?;
        let hidden = [
            Hidden::at(&directory.join(VARIABLES), json!(variables).to_string().as_bytes())?,
            Hidden::at(&directory.join(PLAN), b"")?,
        ];
        let workspace = workspace(&task.input, settings);
        let state = options.state_directory.as_ref().map(|states| states.join(&workspace));
        if let Some(states) = &options.state_directory {
            let backend = json!({"path": states.join("terraform.tfstate"), "workspace_dir": states});
            let text = json!({"terraform": {"backend": {"local": backend}}}).to_string();
            fs::write(directory.join(OVERRIDE), text).map_err(Error::file(&directory))?;
        }
        let set = |text: &str| OsString::from(text);
        let mut environment = vec![
            ("TF_IN_AUTOMATION", set("1")),
            ("TF_INPUT", set("0")),
            // It asks its maker for newer versions otherwise.
            ("CHECKPOINT_DISABLE", set("1")),
        ];
        environment.extend(options.cli_config.iter().map(|file| ("TF_CLI_CONFIG_FILE", file.into())));
        let mut program = Program {
            path: options.program.clone().into_os_string(),
            options: Vec::new(),
            environment,
            directory,
            mask: Mask::default(),
            advice: "install OpenTofu, or name the program with --program in dispatcherd's config",
            advise,
        };
        let lock = format!("-lock-timeout={}s", options.lock_timeout);
        initialise(&program, &lock, options, task)?;
        program.environment.push(("TF_WORKSPACE", set(&workspace)));
        Ok(Self { program, inputs, variables, lock, state, _hidden: hidden })
    }

    /// Makes a plan. Whether there is something to change, and what the program prints about it: which is not shown yet, for
    /// only the plan says what must be hidden of it.
    pub(super) fn plan(&self, destroy: bool) -> Result<(bool, String), Error> {
        let (variables, plan) = (format!("-var-file={VARIABLES}"), format!("-out={PLAN}"));
        let mut arguments = vec!["plan", "-input=false", "-no-color", "-detailed-exitcode", &self.lock];
        arguments.extend([variables.as_str(), &plan]);
        if destroy {
            arguments.push("-destroy");
        }
        let ran = self.program.run(&arguments, None, false)?;
        let text = String::from_utf8_lossy(&ran.answer).into_owned();
        // 2 is a plan that changes something.
        if ran.status.code() == Some(2) {
            return Ok((true, text));
        }
        self.program.went_well(&ran).map(|()| (false, text))
    }

    /// What must be seen nowhere from now on.
    pub(super) fn hide(&mut self, secrets: &Value) {
        match secrets {
            Value::String(text) => self.program.mask.add(text),
            Value::Array(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Object(members) => members.values().for_each(|value| self.hide(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The text without what must be seen nowhere.
    pub(super) fn hidden(&self, text: &str) -> String {
        self.program.mask.hide(text)
    }

    /// The plan, for programs.
    pub(super) fn planned<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.answer(&["show", "-json", "-no-color", PLAN])
    }

    /// What becomes of all outputs.
    pub(super) fn outputs<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.answer(&["output", "-json", "-no-color"])
    }

    fn answer<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Error> {
        let answer = self.program.ask(arguments, None)?;
        serde_json::from_slice(&answer).map_err(|error| self.program.misunderstood(arguments, &error))
    }

    /// Which state it is, and how often it was written. A new one is none yet.
    pub(super) fn state_version(&self) -> Result<[Value; 2], Error> {
        let arguments = ["state", "pull"];
        let text = self.program.ask(&arguments, None)?;
        if text.trim_ascii().is_empty() {
            return Ok([Value::Null, Value::Null]);
        }
        let state: Value =
            serde_json::from_slice(&text).map_err(|error| self.program.misunderstood(&arguments, &error))?;
        Ok([state["lineage"].clone(), state["serial"].clone()])
    }

    /// Carries out the plan that was made, and nothing else.
    pub(super) fn apply(&self) -> Result<Ran, Error> {
        let mut arguments = vec!["apply", "-input=false", "-no-color", &self.lock];
        if self.state.is_some() {
            // A copy of the state would outlive what is deleted.
            arguments.push("-backup=-");
        }
        arguments.push(PLAN);
        self.program.run(&arguments, None, true)
    }

    pub(super) fn went_well(&self, ran: &Ran) -> Result<(), Error> {
        self.program.went_well(ran)
    }

    /// Brings a state to safety that the program could not write where it belongs, and says so in the error.
    pub(super) fn rescue(&self, rescued: &Rescued, failed: Error) -> Error {
        rescued.bring_to_safety(&self.program, &self.lock, failed)
    }

    /// Removes the state of what is no longer there, where it is a file here.
    pub(super) fn forget(&self) -> Result<(), Error> {
        match self.state.as_ref().map(|path| (path, fs::remove_dir_all(path))) {
            Some((path, Err(error))) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::File { path: path.clone(), source: error })
            }
            _ => Ok(()),
        }
    }
}

/// Fetches what the configuration needs. The target's workspace is not chosen yet: `init` refuses one that is
/// not there as soon as another one is, while all else makes it.
fn initialise(
    program: &Program,
    lock: &str,
    options: &OpentofuOptions,
    task: &mut Task,
) -> Result<(), Error> {
    task.doing(10, "Fetch providers and modules")?;
    program.show(&["init", "-input=false", "-no-color", "-lockfile=readonly", lock], None)?;
    let kept = fs::read(program.directory.join(BACKEND)).unwrap_or_default();
    let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
    let backend = kept["backend"]["type"].as_str().unwrap_or("local");
    if backend == "local" && options.state_directory.is_none() {
        return Err(Error::Refused(
            "the configuration keeps its state in the working directory, which is removed: name a backend in it, or \
             give the runner --state-directory in dispatcherd's config"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The Task's variables and what the manifest adds. They are data: the program reads them as JSON.
fn variables(input: &Input, settings: &OpentofuSettings) -> Result<Map<String, Value>, String> {
    let mut variables: Map<String, Value> =
        input.variables.iter().map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
    for (name, source) in &settings.variables {
        if let Some(value) = source.of(input)? {
            variables.insert(name.clone(), value);
        }
    }
    Ok(variables)
}

/// What to do about what it says.
fn advise(said: &str) -> &'static str {
    const ADVICE: [(&str, &str); 3] = [
        (
            "state lock",
            ". Somebody else works on this state, or was killed while doing so: where nobody is, `force-unlock` with the ID \
             above gives it free",
        ),
        (
            "lockfile=readonly",
            ". The role must bring its .terraform.lock.hcl: `init` in the role's directory writes it",
        ),
        (
            "provider",
            ". Providers are fetched from where the file of --cli-config says, else from the program's registry",
        ),
    ];
    let found = ADVICE.iter().find(|(words, _)| said.contains(words));
    found.map_or("", |(_, advice)| advice)
}
