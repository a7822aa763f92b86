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

/// Ask for Operations, watch them and call them off. Talks to relayd's HTTP API and to nothing else.
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
    /// Print what an Operation has done, or watch it
    Log(LogArguments),
    /// Call an Operation off
    Cancel(ActionArguments),
    /// Try an ended Operation again: a further attempt with the same input
    Retry(RetryArguments),
    /// Carry out what a dry run has planned, unless it is something else by now
    Approve(ApproveArguments),
    /// Give an attempt up whose node is gone for good, so that its locks are free again
    Lost(LostArguments),
    /// Let nothing new start on a backend; what runs there is not touched
    Pause(PauseArguments),
    /// Let things start on a backend again
    Resume {
        /// Which
        backend: BackendName,
    },
    /// List the backends, and whether anything may start there
    Backends,
    /// Walk the way from here to a minion and give a verdict for every hop
    Check(CheckArguments),
    /// List what the backends can do
    Catalog(CatalogArguments),
    /// List what roles have handed over about a target, or print one value
    Documents(DocumentsArguments),
    /// List the nodes that relayd has heard of
    Nodes,
    /// Look after messages that nobody could handle
    Dead(Dead),
    /// Begin a role, or look at one, on this machine: relayd is not asked
    Role(RoleArguments),
    /// Look at a plug-in runner, on this machine: relayd is not asked
    Runner(RunnerArguments),
    /// Print a link that signs a browser in to relayd's page, once
    SignIn,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `aegir run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Variables: KEY=VALUE is a string; KEY:=JSON is any JSON (numbers, true, lists, objects). A SCOPE before the \
key says which entity the value belongs to (site, platform, tasks.NAME, hosts.NAME, …); without one it is \
`operation`, which outranks them all but tasks.NAME. What an Operation takes: `aegir catalog ROLE`.

Confirming: before an operation that the catalog marks with \"asks first\", such as static_site.delete, the question that its \
role wants answered is asked on the terminal, and y or yes goes on. With --yes, in a dry run, and where nobody sits at a \
terminal (a script, cron, a pipe) nothing is asked, and it is done.

Examples:
  aegir run static_site.deploy --target site:example.test --host web1=192.0.2.7 \\
      --service web1:nginx --var source=/srv/content/example --follow
  aegir run static_site.verify --target site:example.test --hosts-file hosts.json --vars-file site.json")]
pub struct RunArguments {
    /// What to do, as in static_site.deploy
    #[arg(value_name = "ROLE.OPERATION")]
    pub name: OperationName,
    /// What it is about, as in site:example.test
    #[arg(long, value_name = "KIND:NAME")]
    pub target: TargetArgument,
    /// The frontend's id of the target; its name when left out
    #[arg(long, value_name = "ID")]
    pub target_id: Option<TargetId>,
    /// A minion that it may use (repeatable)
    #[arg(long = "host", value_name = "NAME[=[USER@]ADDRESS[:PORT]]")]
    pub hosts: Vec<HostArgument>,
    /// A minion's public host key: TYPE BASE64, or @ and the .pub file that holds it (repeatable)
    #[arg(long = "host-key", value_name = "NAME=KEY")]
    pub host_keys: Vec<HostKeyArgument>,
    /// What a minion offers, as in web1:nginx (repeatable)
    #[arg(long = "service", value_name = "HOST:SERVICE")]
    pub services: Vec<ServiceArgument>,
    /// A JSON file with an array of hosts, in the form of the API (repeatable; --host goes over it)
    #[arg(long = "hosts-file", value_name = "FILE")]
    pub hosts_files: Vec<PathBuf>,
    /// A value (repeatable; goes over --vars-file)
    #[arg(long = "var", value_name = "[SCOPE.]KEY=VALUE")]
    pub variables: Vec<VariableArgument>,
    /// A JSON file with values: {SCOPE: {KEY: VALUE}} (repeatable; a later file goes over an earlier one)
    #[arg(long = "vars-file", value_name = "FILE")]
    pub variables_files: Vec<PathBuf>,
    /// A secret value, read from a file (repeatable). A file of one line loses the newline at its end
    #[arg(long = "secret", value_name = "[SCOPE.]KEY=@FILE")]
    pub secrets: Vec<SecretArgument>,
    /// A dry run: say what would change and change nothing. Its plan can be carried out with `aegir approve`
    #[arg(long, visible_alias = "plan", alias = "check")]
    pub dry_run: bool,
    /// Do not ask what the Operation's role wants confirmed; see below
    #[arg(long)]
    pub yes: bool,
    /// 0 (lowest) to 9
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: u8,
    /// How long an attempt may take, as in 90, 90s, 15m or 2h
    #[arg(long, value_name = "TIME", value_parser = crate::values::seconds)]
    pub timeout: Option<u64>,
    /// The same key with the same request gives the same Operation, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Who is to carry it out; relayd's default when left out
    #[arg(long, value_name = "NAME")]
    pub backend: Option<BackendName>,
    /// Who asks, for the records
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub requested_by: Option<String>,
    /// Watch it to its end; the exit code is then the Operation's
    #[arg(long, short)]
    pub follow: bool,
}

/// `aegir ls`.
#[derive(Debug, Args)]
pub struct LsArguments {
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = crate::values::state)]
    pub state: Option<State>,
    /// Only those about this target, as in site:example.test
    #[arg(long, value_name = "KIND:NAME")]
    pub target: Option<TargetArgument>,
    /// Only those that do this, as in static_site.deploy
    #[arg(long, value_name = "NAME")]
    pub name: Option<OperationName>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// On a terminal too whole ids and times, and nothing cut to its width
    #[arg(long, short)]
    pub long: bool,
}

/// `aegir show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// An id, the start of one, or `latest`
    pub id: String,
    /// List the value that each Task gets for each of its variables, and the scope that it comes from
    #[arg(long)]
    pub variables: bool,
}

/// `aegir log`.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// An id, the start of one, or `latest`
    pub id: String,
    /// Go on until the Operation has ended; the exit code is then the Operation's
    #[arg(long, short, conflicts_with = "output")]
    pub follow: bool,
    /// Of which attempt; the latest when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Only what belongs to this Task
    #[arg(long, value_name = "N")]
    pub task: Option<u32>,
    /// What ansible-playbook itself prints, too; it says once more what the steps say
    #[arg(long, conflicts_with_all = ["raw", "output"])]
    pub all: bool,
    /// The transcript's own lines, byte for byte, instead of a text for people
    #[arg(long, conflicts_with_all = ["task", "output"])]
    pub raw: bool,
    /// What the children printed to this stream, byte for byte, and nothing else
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
    /// An id, the start of one, or `latest`
    pub id: String,
    /// Who asks, for the records
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub requested_by: Option<String>,
}

/// `aegir approve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The new Operation has the input of the dry run. It is rejected when another Operation on the target has come between, or when \
the role has changed since. A Task of a plug-in runner that would change something else now fails before it does; Tasks \
before it have run by then. What a source holds, such as a branch, is not part of a plan. Asked for twice, it is done once.

  aegir run static_site.deploy --target site:example.test … --plan --follow
  aegir approve 019aab34 --follow")]
pub struct ApproveArguments {
    /// Which dry run, and who approves
    #[command(flatten)]
    pub action: ActionArguments,
    /// Do not ask what the Operation's role wants confirmed
    #[arg(long)]
    pub yes: bool,
    /// The hash of the plan that was looked at (`aegir show`); another plan is not carried out
    #[arg(long, value_name = "HASH")]
    pub plan: Option<PlanHash>,
    /// Watch it to its end; the exit code tells how it ended
    #[arg(short, long)]
    pub follow: bool,
}

/// `aegir lost`.
#[derive(Debug, Args)]
#[command(after_help = "\
A silent node may be cut off and still at work. Before you give its attempt up, see to it that nothing of the \
attempt can act any more: that the node is down or its dispatcherd and runners are stopped (`systemctl stop \
aegir-dispatcherd` does not stop runners), and that on its minions no process has AEGIR_ATTEMPT=ID/N in its \
environment. Should the node be heard of again, it is told to stop the attempt; what it did until then is done. \
What is declared lost is not tried again by itself: `aegir retry ID`.")]
pub struct LostArguments {
    /// Which, and who asks
    #[command(flatten)]
    pub action: ActionArguments,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `aegir pause`.
#[derive(Debug, Args)]
pub struct PauseArguments {
    /// Which
    pub backend: BackendName,
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who asks, for the records
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub requested_by: Option<String>,
}

/// `aegir check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// A minion to verify at the end of the way (repeatable)
    #[arg(long = "host", value_name = "NAME[=[USER@]ADDRESS[:PORT]]")]
    pub hosts: Vec<HostArgument>,
    /// A minion's public host key: TYPE BASE64, or @ and the .pub file that holds it (repeatable)
    #[arg(long = "host-key", value_name = "NAME=KEY")]
    pub host_keys: Vec<HostKeyArgument>,
    /// A JSON file with an array of hosts, in the form of the API (repeatable; --host goes over it)
    #[arg(long = "hosts-file", value_name = "FILE")]
    pub hosts_files: Vec<PathBuf>,
    /// Which backend; relayd's default when left out
    #[arg(long, value_name = "NAME")]
    pub backend: Option<BackendName>,
}

/// `aegir catalog`.
#[derive(Debug, Args)]
pub struct CatalogArguments {
    /// Only this role, with its variables
    pub role: Option<String>,
}

/// `aegir retry`.
#[derive(Debug, Args)]
#[command(after_help = "\
The new attempt goes on from the first Task that no earlier one has finished, with what the finished ones handed over. \
When the role has changed since then, it begins from the start.")]
pub struct RetryArguments {
    /// Which one, and who asks
    #[command(flatten)]
    pub action: ActionArguments,
    /// Run the Tasks that are finished again, too
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
    /// Say what is wrong with roles, as dispatcherd would, and what ansible-lint says where it is installed
    Check {
        /// Their directories
        #[arg(required = true)]
        roles: Vec<PathBuf>,
        /// Where roles are that they use, if not beside them (repeatable)
        #[arg(long, value_name = "DIRECTORY")]
        beside: Vec<PathBuf>,
        /// A content root with the playbooks that they name, which are looked at too (repeatable)
        #[arg(long, value_name = "DIRECTORY")]
        content: Vec<PathBuf>,
    },
    /// Make a role that can be deployed, with tests
    New {
        /// 1 to 63 characters a-z, 0-9 and _, a letter first
        name: RoleName,
        /// The directory to make it in
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
    /// Play dispatcherd's part for a plug-in, and say where it does not keep to the protocol
    Check(RunnerCheck),
}

/// `aegir runner check`.
#[derive(Debug, Args)]
pub struct RunnerCheck {
    /// What a role's manifest would say to it
    #[arg(long = "with", value_name = "JSON", default_value = "{}")]
    pub settings: JsonArgument<Map<String, Value>>,
    /// The Task's variables
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub variables: JsonArgument<BTreeMap<VariableName, Value>>,
    /// A variable that the Task lists and that has no value (repeatable)
    #[arg(long, value_name = "NAME")]
    pub absent: Vec<VariableName>,
    /// The directory of the role that names it; an empty one when left out
    #[arg(long, value_name = "DIRECTORY")]
    pub role: Option<PathBuf>,
    /// The program and its first arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// `aegir documents`.
#[derive(Debug, Args)]
pub struct DocumentsArguments {
    /// As the Operations named it. The id is the name of a target that was given none
    #[arg(value_name = "KIND:ID")]
    pub target: TargetArgument,
    /// Print this one's value, as JSON
    pub name: Option<DocumentName>,
    /// Ask once more for the Operation that handed it over, with the same input
    #[arg(long, requires = "name")]
    pub refresh: bool,
    /// Who asks for that
    #[arg(long, value_name = "NAME", requires = "refresh")]
    pub requested_by: Option<String>,
}
