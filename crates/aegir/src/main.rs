//! The aegir program.

use std::process::ExitCode;

use aegir::arguments::Arguments;
use aegir::terminal::remark;
use aegir_service::exit::Exit;
use clap::Parser;

fn main() -> ExitCode {
    // Fails only if there is a provider already, which is then the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("aegir: can't start: {error}");
            return Exit::Internal.into();
        }
    };
    match runtime.block_on(aegir::commands::run(arguments)) {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Success.into(),
        Err(error) => {
            remark(&format!("aegir: {error}"));
            error.exit().into()
        }
    }
}
