//! The aegir program.

use std::process::ExitCode;

use aegir::arguments;
use aegir::error::Error;
use aegir::terminal::remark;
use aegir_service::exit::Exit;

fn main() -> ExitCode {
    // Fails only if there is a provider already, which is then the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = match arguments::parse::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(refusal) => return refusal.print(),
    };
    let as_json = arguments.connection.json;
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
            complain(&error, as_json);
            error.exit().into()
        }
    }
}

fn complain(error: &Error, as_json: bool) {
    if as_json {
        remark(&error.document().to_string());
    } else {
        remark(&format!("aegir: {error}"));
    }
}
