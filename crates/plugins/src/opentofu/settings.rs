//! What the operator and a role's manifest say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegir_protocol::name::DocumentName;
use clap::Args;
use serde::Deserialize;

use crate::value::ValueSource;
use crate::verb::VerbArgument;

/// The operator's part, on the command line in dispatcherd's config.
#[derive(Debug, Args)]
pub(crate) struct OpentofuOptions {
    /// The program: tofu, or terraform
    #[arg(long, value_name = "PROGRAM", default_value = "tofu")]
    pub(super) program: PathBuf,
    /// Keep the states in files here, in place of the backend that the role's configuration names. States hold secrets in
    /// the clear. What runs is noted here too
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) state_directory: Option<PathBuf>,
    /// The program's own configuration file, which may name a mirror of providers
    #[arg(long, value_name = "FILE")]
    pub(super) cli_config: Option<PathBuf>,
    /// How long to wait for a state that somebody else has locked
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) lock_timeout: u32,
    /// What to do
    #[arg(value_enum)]
    pub(crate) verb: VerbArgument,
}

/// What a role's manifest says under `with`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpentofuSettings {
    /// The configuration in the role.
    pub(super) directory: String,
    /// Values for the configuration's variables, beside the Task's own, which have their own names.
    #[serde(default)]
    pub(super) variables: BTreeMap<String, ValueSource>,
    /// Which of the configuration's outputs are handed over as documents.
    #[serde(default)]
    pub(super) outputs: Vec<DocumentName>,
    /// The same for what the configuration calls sensitive; the manifest must call them secret.
    #[serde(default)]
    pub(super) secret_outputs: Vec<DocumentName>,
}
