//! What can be typed.

mod dead;
pub mod parse;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use aegir_client::address::RelaydAddress;
use aegir_protocol::name::{
    BackendName, DocumentName, OperationName, PlanHash, RoleName, TargetId, VariableName,
};
use aegir_protocol::record::Stream;
use aegir_protocol::state::State;
use aegir_service::exit::Exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use crate::values::{
    HostArgument, HostKeyArgument, JsonArgument, SecretArgument, ServiceArgument, TargetArgument,
    VariableArgument,
};

pub use dead::{Dead, DeadChoice, DeadCommand, DeadDrop, DeadFilter, DeadLs, DeadShow};

/// What stands below every help text: the codes that scripts decide by, as far as this program gives them.
fn exit_codes() -> String {
    let ours = Exit::ALL.iter().filter(|exit| exit.code() < Exit::ConfigInvalid.code());
    let lines = ours.map(|exit| format!("\n  {:>2}  {}", exit.code(), exit.meaning()));
    format!("Exit codes:{}\n\nMore: docs/reference/cli.md", lines.collect::<String>())
}

/// The options of every command stand apart from its own.
const HEADING: &str = "relayd";

/// Ask for Operations, watch them and cancel them. Uses relayd's HTTP API only.
#[derive(Debug, Parser)]
#[command(name = "aegir", version, max_term_width = 100, after_help = exit_codes())]
pub struct Cli {
    /// Where and how.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How relayd is reached, and in which form the answer is wanted.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// Where relayd listens: http://HOST:PORT, https://HOST:PORT or unix:/path/of/its/socket
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        hide_env_values = true,
        env = "AEGIR_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:7180"
    )]
    pub url: RelaydAddress,
    /// The file with relayd's API token
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        env = "AEGIR_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE",
        default_value = "/var/lib/aegir-relayd/api-token"
    )]
    pub token_file: PathBuf,
    /// Print JSON, as the API gives it
    #[arg(long, global = true, help_heading = HEADING)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask for an Operation
    Run(Box<RunArguments>),
    /// List Operations, newest first
    Ls(LsArguments),
    /// Show an Operation: its attempts, its locks and every change of its state
    Show(ShowArguments),
    /// Print what an Operation did, or watch it with --follow
    Log(LogArguments),
    /// Cancel an Operation
    Cancel(ActionArguments),
    /// Try an Operation again that has ended: a new attempt with the same input
    Retry(RetryArguments),
    /// Carry out the plan of a dry run, if it still holds
    Approve(ApproveArguments),
    /// Give up an attempt whose node is gone for good, and release its locks
    Lost(LostArguments),
    /// Pause a backend: nothing new starts there; what already runs continues
    Pause(PauseArguments),
    /// End the pause of a backend
    Resume {
        /// The backend's name, from `aegir backends`
        backend: BackendName,
    },
    /// List the backends, and whether they are paused
    Backends,
    /// Check each hop from here to a minion, and name the first that fails
    Check(CheckArguments),
    /// List the operations that the backends offer, or the variables of a role
    Catalog(CatalogArguments),
    /// List the documents that roles have produced about a target, or print one
    Documents(DocumentsArguments),
    /// List the nodes that relayd has heard from since it started
    Nodes,
    /// List, show, replay or drop dead letters: messages that a daemon could not handle
    Dead(Dead),
    /// Create or check a role on this machine; needs no relayd
    Role(RoleArguments),
    /// Check a plug-in runner on this machine; needs no relayd
    Runner(RunnerArguments),
    /// Print a link that signs a browser in to relayd's page; it works once
    SignIn,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `aegir run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Variables: KEY=VALUE is a string; KEY:=JSON is any JSON (a number, true, a list, an object). A SCOPE before the \
key says which entity the value belongs to: site, platform, tasks.NAME, hosts.NAME, …. Without a scope it is \
`operation`, which overrides all others but tasks.NAME. `aegir catalog ROLE` lists the variables of a role.

Confirmation: an operation that `aegir catalog` marks with \"asks first\", such as static_site.delete, is confirmed on the \
terminal: y or yes continues. Nothing is asked, and the operation is done, with --yes, in a dry run, and without a terminal \
(in a script, cron or a pipe).

Examples:
  aegir run static_site.deploy --target site:example.test --host web1=192.0.2.7 \\
      --service web1:nginx --var source=/srv/content/example --follow
  aegir run static_site.verify --target site:example.test --hosts-file hosts.json --vars-file site.json")]
pub struct RunArguments {
    /// The operation, as in static_site.deploy
    #[arg(value_name = "ROLE.OPERATION")]
    pub name: OperationName,
    /// The target, as in site:example.test
    #[arg(long, value_name = "KIND:NAME")]
    pub target: TargetArgument,
    /// The id that the frontend gives the target [default: the target's name]
    #[arg(long, value_name = "ID")]
    pub target_id: Option<TargetId>,
    /// A minion that the operation may use (repeatable)
    #[arg(long = "host", value_name = "NAME[=[USER@]ADDRESS[:PORT]]")]
    pub hosts: Vec<HostArgument>,
    /// A minion's public host key: "TYPE BASE64", or @ and a .pub file (repeatable)
    #[arg(long = "host-key", value_name = "NAME=KEY")]
    pub host_keys: Vec<HostKeyArgument>,
    /// A service that a minion offers, as in web1:nginx (repeatable)
    #[arg(long = "service", value_name = "HOST:SERVICE")]
    pub services: Vec<ServiceArgument>,
    /// A JSON file with an array of hosts, in the form of the API (repeatable; --host overrides it)
    #[arg(long = "hosts-file", value_name = "FILE")]
    pub hosts_files: Vec<PathBuf>,
    /// The value of a variable (repeatable; overrides --vars-file)
    #[arg(long = "var", value_name = "[SCOPE.]KEY=VALUE")]
    pub variables: Vec<VariableArgument>,
    /// A JSON file with variables: {SCOPE: {KEY: VALUE}} (repeatable; a later file overrides an earlier one)
    #[arg(long = "vars-file", value_name = "FILE")]
    pub variables_files: Vec<PathBuf>,
    /// The value of a secret variable, read from a file (repeatable). The newline of a file with one line is dropped
    #[arg(long = "secret", value_name = "[SCOPE.]KEY=@FILE")]
    pub secrets: Vec<SecretArgument>,
    /// Dry run: say what would change, and change nothing. `aegir approve` then carries out the plan
    #[arg(long, visible_alias = "plan", alias = "check")]
    pub dry_run: bool,
    /// Do not ask for confirmation; see below
    #[arg(long)]
    pub yes: bool,
    /// The priority, from 0 (lowest) to 9
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: u8,
    /// How long an attempt may take, as in 90, 90s, 15m or 2h
    #[arg(long, value_name = "TIME", value_parser = crate::values::seconds)]
    pub timeout: Option<u64>,
    /// The idempotency key: sending the same request again with the same key gives the same Operation
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The backend that carries it out [default: relayd's default backend]
    #[arg(long, value_name = "NAME")]
    pub backend: Option<BackendName>,
    /// Who asks; kept with the Operation
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub requested_by: Option<String>,
    /// Watch the Operation to its end, and exit with the code of its outcome
    #[arg(long, short)]
    pub follow: bool,
}

/// `aegir ls`.
#[derive(Debug, Args)]
pub struct LsArguments {
    /// Only Operations in this state
    #[arg(long, value_name = "STATE", value_parser = crate::values::state)]
    pub state: Option<State>,
    /// Only Operations on this target, as in site:example.test
    #[arg(long, value_name = "KIND:NAME")]
    pub target: Option<TargetArgument>,
    /// Only Operations of this name, as in static_site.deploy
    #[arg(long, value_name = "NAME")]
    pub name: Option<OperationName>,
    /// How many to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Whole ids and times, and nothing cut to the terminal's width
    #[arg(long, short)]
    pub long: bool,
}

/// `aegir show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The Operation: its id, the start of its id, or `latest`
    pub id: String,
    /// List the value that each Task gets for each variable, and the scope that the value comes from
    #[arg(long)]
    pub variables: bool,
}

/// `aegir log`.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// The Operation: its id, the start of its id, or `latest`
    pub id: String,
    /// Watch the Operation to its end, and exit with the code of its outcome
    #[arg(long, short, conflicts_with = "output")]
    pub follow: bool,
    /// The attempt's number [default: the latest attempt]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Only the Task with this number
    #[arg(long, value_name = "N")]
    pub task: Option<u32>,
    /// Show Ansible's raw output as well; it repeats what the steps say
    #[arg(long, conflicts_with_all = ["raw", "output"])]
    pub all: bool,
    /// Print the transcript's own lines (JSON), byte for byte
    #[arg(long, conflicts_with_all = ["task", "output"])]
    pub raw: bool,
    /// Print only what the programs wrote to this stream, byte for byte
    #[arg(long, value_name = "STREAM", conflicts_with = "tail")]
    pub output: Option<StreamArgument>,
    /// Only the last N records
    #[arg(long, value_name = "N")]
    pub tail: Option<u64>,
}

/// A stream of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamArgument {
    /// Standard output
    Stdout,
    /// Standard error
    Stderr,
}

impl From<StreamArgument> for Stream {
    fn from(stream: StreamArgument) -> Self {
        match stream {
            StreamArgument::Stdout => Self::Stdout,
            StreamArgument::Stderr => Self::Stderr,
        }
    }
}

/// `aegir cancel` and `aegir retry`.
#[derive(Debug, Args)]
pub struct ActionArguments {
    /// The Operation: its id, the start of its id, or `latest`
    pub id: String,
    /// Who asks; kept with the Operation
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub requested_by: Option<String>,
}

/// `aegir approve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The new Operation has the input of the dry run. It is rejected when another Operation on the target was carried out since, or \
when the role has changed. A Task of a plug-in runner that would now change something else than planned fails before it \
changes anything; the Tasks before it have run by then. The content of a source, such as a branch, is not part of a plan. \
A plan that is approved twice is carried out once.

  aegir run static_site.deploy --target site:example.test … --plan --follow
  aegir approve 019aab34 --follow")]
pub struct ApproveArguments {
    /// Which dry run, and who approves
    #[command(flatten)]
    pub action: ActionArguments,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// The hash of the plan that you have seen (`aegir show`); another plan is refused
    #[arg(long, value_name = "HASH")]
    pub plan: Option<PlanHash>,
    /// Watch the new Operation to its end, and exit with the code of its outcome
    #[arg(short, long)]
    pub follow: bool,
}

/// `aegir lost`.
#[derive(Debug, Args)]
#[command(after_help = "\
A silent node may only be disconnected, and still at work. Before you give up its attempt, make sure that nothing of \
the attempt still runs: the node is down, or its dispatcherd and its runners are stopped (`systemctl stop \
aegir-dispatcherd` does not stop runners); and on its minions no process has AEGIR_ATTEMPT=ID/N in its environment. If \
the node comes back, relayd makes it stop the attempt; what the attempt did until then stays done. A lost Operation is \
not tried again by itself: use `aegir retry ID`.")]
pub struct LostArguments {
    /// Which, and who asks
    #[command(flatten)]
    pub action: ActionArguments,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// `aegir pause`.
#[derive(Debug, Args)]
pub struct PauseArguments {
    /// The backend's name, from `aegir backends`
    pub backend: BackendName,
    /// Why; shown to everybody who looks at the backend
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who asks; kept with the Operation
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub requested_by: Option<String>,
}

/// `aegir check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// A minion to check as well (repeatable)
    #[arg(long = "host", value_name = "NAME[=[USER@]ADDRESS[:PORT]]")]
    pub hosts: Vec<HostArgument>,
    /// A minion's public host key: "TYPE BASE64", or @ and a .pub file (repeatable)
    #[arg(long = "host-key", value_name = "NAME=KEY")]
    pub host_keys: Vec<HostKeyArgument>,
    /// A JSON file with an array of hosts, in the form of the API (repeatable; --host overrides it)
    #[arg(long = "hosts-file", value_name = "FILE")]
    pub hosts_files: Vec<PathBuf>,
    /// The backend to check [default: relayd's default backend]
    #[arg(long, value_name = "NAME")]
    pub backend: Option<BackendName>,
}

/// `aegir catalog`.
#[derive(Debug, Args)]
pub struct CatalogArguments {
    /// Show only this role, with its variables
    pub role: Option<String>,
}

/// `aegir retry`.
#[derive(Debug, Args)]
#[command(after_help = "\
The new attempt starts at the first Task that no earlier attempt has finished; finished Tasks keep their outputs. If the \
role has changed since, every Task runs again.")]
pub struct RetryArguments {
    /// Which one, and who asks
    #[command(flatten)]
    pub action: ActionArguments,
    /// Run every Task again, also those that are finished
    #[arg(long)]
    pub from_start: bool,
}

/// `aegir role`.
#[derive(Debug, Args)]
pub struct RoleArguments {
    /// What to do
    #[command(subcommand)]
    pub command: RoleCommand,
}

/// What `aegir role` does.
#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// Report what is wrong with roles: what dispatcherd finds, and what ansible-lint finds if it is installed
    Check {
        /// The roles' directories
        #[arg(required = true)]
        roles: Vec<PathBuf>,
        /// A directory with roles that these use; those beside a role are found without it (repeatable)
        #[arg(long, value_name = "DIRECTORY")]
        beside: Vec<PathBuf>,
        /// A content root with the playbooks that the roles name; checks these as well (repeatable)
        #[arg(long, value_name = "DIRECTORY")]
        content: Vec<PathBuf>,
    },
    /// Create a role that deploys a page, with tests
    New {
        /// The role's name: 1 to 63 characters a-z, 0-9 and _, a letter first
        name: RoleName,
        /// The directory to create it in
        #[arg(long, value_name = "DIRECTORY", default_value = ".")]
        directory: PathBuf,
    },
}

/// `aegir runner`.
#[derive(Debug, Args)]
pub struct RunnerArguments {
    /// What to do
    #[command(subcommand)]
    pub command: RunnerCommand,
}

/// What `aegir runner` does.
#[derive(Debug, Subcommand)]
pub enum RunnerCommand {
    /// Run a plug-in as dispatcherd does, and report where it breaks the protocol
    Check(RunnerCheck),
}

/// `aegir runner check`.
#[derive(Debug, Args)]
pub struct RunnerCheck {
    /// The settings that a role's manifest would give it
    #[arg(long = "with", value_name = "JSON", default_value = "{}")]
    pub settings: JsonArgument<Map<String, Value>>,
    /// The Task's variables
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub variables: JsonArgument<BTreeMap<VariableName, Value>>,
    /// A variable of the Task that has no value (repeatable)
    #[arg(long, value_name = "NAME")]
    pub absent: Vec<VariableName>,
    /// The directory of the role that uses it [default: an empty directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub role: Option<PathBuf>,
    /// The program and its first arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// `aegir documents`.
#[derive(Debug, Args)]
pub struct DocumentsArguments {
    /// The target, as its Operations named it; a target without an id has its name as its id
    #[arg(value_name = "KIND:ID")]
    pub target: TargetArgument,
    /// Print only the value of this document, as JSON
    pub name: Option<DocumentName>,
    /// Run the Operation that produced this document again, with the same input
    #[arg(long, requires = "name")]
    pub refresh: bool,
    /// Who asks for the new Operation
    #[arg(long, value_name = "NAME", requires = "refresh")]
    pub requested_by: Option<String>,
}
