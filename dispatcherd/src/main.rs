//! The dispatcherd program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegir_catalog::Catalog;
use aegir_service::exit::Exit;
use aegir_service::terminal::clean;
use clap::{Parser, Subcommand};
use dispatcherd::app;
use dispatcherd::config::Config;
use dispatcherd::drain::{self, command::DrainArguments};
use dispatcherd::identity;
use dispatcherd::minion_command::{self as command, MinionCommand, MinionSettings};
use dispatcherd::operator::OperatorError;
use dispatcherd::spool::{self, command::SpoolCommand};

const CONFIG: &str = "/etc/aegir/dispatcherd.toml";

/// Carries out Operations on minions
#[derive(Debug, Parser)]
#[command(version, name = "dispatcherd")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take Operations from the broker and carry them out, until TERM or INT
    Serve {
        /// The config file
        #[arg(long, default_value = CONFIG, env = "AEGIR_DISPATCHERD_CONFIG")]
        config: PathBuf,
    },
    /// Say what is wrong with the config file and the roles, and what to do about it
    CheckConfig {
        /// The config file
        #[arg(long, default_value = CONFIG, env = "AEGIR_DISPATCHERD_CONFIG")]
        config: PathBuf,
        /// Print what this node declares on the broker
        #[arg(long)]
        topology: bool,
    },
    /// Show what this backend can do, and which roles are left out and why
    Catalog {
        /// The config file
        #[arg(long, default_value = CONFIG, env = "AEGIR_DISPATCHERD_CONFIG")]
        config: PathBuf,
        /// As the frontends get it
        #[arg(long)]
        json: bool,
    },
    /// Take nothing new and claim nothing that waits; what runs, runs on. Holds over restarts
    Drain {
        /// The config file
        #[arg(long, default_value = CONFIG, env = "AEGIR_DISPATCHERD_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        arguments: DrainArguments,
    },
    /// See, save and let go of transcripts that relayd has not received
    Spool {
        /// The config file
        #[arg(long, global = true, default_value = CONFIG, env = "AEGIR_DISPATCHERD_CONFIG")]
        config: PathBuf,
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Get to know minions
    Minion {
        /// The config file
        #[arg(long, global = true, default_value = CONFIG, env = "AEGIR_DISPATCHERD_CONFIG")]
        config: PathBuf,
        #[command(subcommand)]
        command: MinionCommand,
    },
    /// Carry out one attempt; started by `serve`
    #[command(hide = true)]
    Runner {
        /// The attempt's directory
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    // The runner comes first: it needs neither TLS nor more than one thread, and is started often.
    if let Command::Runner { directory } = command {
        return aegir_runner::main(directory);
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("dispatcherd: the TLS provider was set up twice");
        return Exit::Internal.into();
    }
    let result = match command {
        Command::Serve { config } => serve(&config),
        Command::CheckConfig { config, topology } => check_config(&config, topology),
        Command::Catalog { config, json } => catalog(&config, json),
        Command::Drain { config, arguments } => {
            operate(&config, |state, output| drain::command::run(arguments, state, output))
        }
        Command::Spool { config, command } => {
            operate(&config, |state, output| spool::command::run(command, state, output))
        }
        Command::Minion { config, command } => return minion(&config, command),
        Command::Runner { directory } => return aegir_runner::main(directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((exit, error)) => {
            complain(&error);
            exit.into()
        }
    }
}

/// Some of what is said comes from minions and files, and is not to tell the terminal to do anything.
fn complain(error: &str) {
    eprintln!("dispatcherd: {}", clean(error, false));
}

type Outcome = Result<(), (Exit, String)>;

fn load(file: &Path) -> Result<Config, (Exit, String)> {
    Config::load(file).map_err(|error| ((&error).into(), error.to_string()))
}

fn internal(error: impl std::fmt::Display) -> (Exit, String) {
    (Exit::Internal, error.to_string())
}

fn serve(file: &Path) -> Outcome {
    let config = load(file)?;
    aegir_service::logging::init(&format!("info,{}", aegir_amqp::LOG_DIRECTIVE)).map_err(internal)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    let served = runtime.block_on(app::serve(config));
    // What still blocks on the disk is not waited for: the journal is whole at every moment.
    runtime.shutdown_background();
    served.map_err(|error| (error.exit(), error.to_string()))
}

fn check_config(file: &Path, print_topology: bool) -> Outcome {
    let config = load(file)?;
    let mut wrong = config.check();
    match app::topology(&config) {
        Ok(topology) if print_topology => {
            print(&topology.to_string())?;
        }
        // A node without a name is among what `check` says.
        Ok(_) | Err(_) => {}
    }
    if config.node_name().is_ok() {
        for (role, reasons) in &read_catalog(&config)?.left_out {
            wrong.extend(reasons.iter().map(|reason| format!("role {role}: {reason}")));
        }
    }
    if wrong.is_empty() {
        return if print_topology { Ok(()) } else { print("the config file and all roles can be used\n") };
    }
    Err((
        Exit::ConfigInvalid,
        format!("{} can't be used as it is:\n  {}", file.display(), wrong.join("\n  ")),
    ))
}

fn read_catalog(config: &Config) -> Result<Catalog, (Exit, String)> {
    let recipient = identity::existing_recipient(&config.state_path())
        .map_err(|error| (Exit::StateDirectoryUnwritable, error.to_string()))?;
    let catalog_reader = app::catalog_reader(config, recipient.unwrap_or_default(), false)
        .map_err(|error| (Exit::ConfigInvalid, error.to_string()))?;
    catalog_reader.read().map(|catalog| (*catalog).clone()).map_err(internal)
}

fn catalog(file: &Path, json: bool) -> Outcome {
    let catalog = read_catalog(&load(file)?)?;
    if json {
        let text = serde_json::to_string_pretty(&catalog).map_err(internal)?;
        return print(&format!("{text}\n"));
    }
    let mut text = format!("backend {}, node {}\n", catalog.backend, catalog.node);
    if catalog.roles.is_empty() {
        text += "no roles can be used: see `roles` in the config file\n";
    }
    for (name, role) in &catalog.roles {
        text += &format!("\n{name}: {}\n", role.manifest.title);
        for (action, operation) in &role.manifest.operations {
            let tasks: Vec<_> = operation.tasks.iter().map(ToString::to_string).collect();
            let tasks = if tasks.is_empty() { "no tasks".to_owned() } else { tasks.join(", ") };
            text += &format!("  {name}.{action}: {} ({tasks})\n", operation.title);
        }
    }
    for (name, reasons) in &catalog.left_out {
        text += &format!("\n{name} is left out:\n");
        for reason in reasons {
            text += &format!("  {reason}\n");
        }
    }
    print(&text)
}

/// Carries out what an operator wants of this node, on its state directory.
fn operate(
    file: &Path,
    command: impl FnOnce(&Path, &mut std::io::StdoutLock<'_>) -> Result<(), OperatorError>,
) -> Outcome {
    let config = load(file)?;
    match command(&config.state_path(), &mut std::io::stdout().lock()) {
        // A reader that has gone away, as `head` does, is no error.
        Err(OperatorError::File { error, .. }) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|error| (error.exit(), error.to_string())),
    }
}

fn minion(file: &Path, command: MinionCommand) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err((exit, error)) => {
            complain(&error);
            return exit.into();
        }
    };
    let settings = config.settings();
    let settings = MinionSettings {
        known_hosts_file: settings.known_hosts_file,
        runtime_directory: settings.runtime_directory,
        ssh_user: settings.ssh_user,
        ssh_identity_file: settings.ssh_identity_file,
        connect_timeout_seconds: settings.connect_timeout_seconds,
        minion_python: settings.minion_python,
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command::run(command, &settings)),
        Err(error) => {
            eprintln!("dispatcherd: {error}");
            Exit::Internal.into()
        }
    }
}

/// A reader that has gone away, as `head` does, is no error.
fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(internal(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
