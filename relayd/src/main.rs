//! The relayd program.

use std::path::PathBuf;

use aegir_protocol::code::Code;
use aegir_service::exit::Exit;
use aegir_service::{logging, shutdown};
use clap::{Parser, Subcommand};
use relayd::app::{App, StartError};
use relayd::config::Config;

const CONFIG: &str = "/etc/aegir/relayd.toml";

/// Keeps the Operations of a frontend, decides, and hands on what happens.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until TERM or INT.
    Serve {
        /// The config file.
        #[arg(long, default_value = CONFIG, env = "AEGIR_RELAYD_CONFIG")]
        config: PathBuf,
    },
    /// Read the config file, and say what is wrong with it.
    CheckConfig {
        /// The config file.
        #[arg(long, default_value = CONFIG, env = "AEGIR_RELAYD_CONFIG")]
        config: PathBuf,
    },
}

fn main() -> Exit {
    // The one that was installed before, if any, is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().command {
        Command::Serve { config } => match Config::read(&config) {
            Ok(config) => serve(config),
            Err(error) => fail(&error, error.code(), Exit::from(&error)),
        },
        Command::CheckConfig { config } => match Config::read(&config) {
            Ok(read) => {
                println!("{} is valid", config.display());
                println!("frontend {}, default backend {}", read.frontend, read.default_backend);
                println!("state directory {}", read.state_directory().display());
                println!("API on {}, broker {}", read.http.listen, read.broker.address());
                Exit::Success
            }
            Err(error) => fail(&error, error.code(), Exit::from(&error)),
        },
    }
}

fn serve(config: Config) -> Exit {
    if let Err(error) = logging::init(&format!("info,{}", aegir_amqp::LOG_DIRECTIVE)) {
        return fail(&error, Code::Internal, Exit::Internal);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Code::Internal, Exit::Internal),
    };
    let result = runtime.block_on(async {
        let cancel = match shutdown::on_signals() {
            Ok(cancel) => cancel,
            Err(error) => return Some(fail(&error, Code::Internal, Exit::Internal)),
        };
        match App::start(config).await {
            Ok(app) => app.run(cancel).await.err().map(|error| fail(&error, Code::Internal, Exit::Internal)),
            Err(error) => {
                let (code, exit) = verdict(&error);
                Some(fail(&error, code, exit))
            }
        }
    });
    // A blocking call that hangs must not hold up the end.
    runtime.shutdown_background();
    result.unwrap_or(Exit::Success)
}

fn verdict(error: &StartError) -> (Code, Exit) {
    match error {
        StartError::Directory(error) => (error.code(), Exit::from(error)),
        StartError::Open(_) | StartError::Store(_) | StartError::Token(_) => {
            (Code::StateDirectoryUnwritable, Exit::StateDirectoryUnwritable)
        }
        StartError::Listen(_) => (Code::ConfigInvalid, Exit::ConfigInvalid),
    }
}

fn fail(error: &dyn std::error::Error, code: Code, exit: Exit) -> Exit {
    eprintln!("relayd: {error} ({code})");
    exit
}
