//! From words to arguments, and what is said of those that make no sense.

use std::ffi::OsString;
use std::process::ExitCode;

use aegir_service::exit::Exit;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _, Parser as _};
use serde_json::json;

use super::Cli;
use crate::terminal::remark;

/// What a newcomer who has typed too little may want to type.
const EXAMPLE: &str = "for example: aegir run static_site.deploy --target site:example.test --hosts-file hosts.json \
                       --vars-file site.json --follow";

/// Why words are no arguments: they make no sense, or they ask for help.
#[derive(Debug)]
pub struct UsageError {
    error: clap::Error,
    as_json: bool,
}

/// What was typed.
///
/// # Errors
/// When it makes no sense, or asks for help or the version.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, UsageError> {
    let words: Vec<_> = words.into_iter().collect();
    Cli::try_parse_from(&words).map_err(|mut error| {
        let mut command = Cli::command();
        command.build();
        let (name, usage) = usage(&mut command, words.get(1..).unwrap_or_default());
        // clap's own names what stands in the environment, such as AEGIR_URL, as if it were needed.
        if error.get(ContextKind::Usage).is_some() {
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
        }
        if error.kind() == ErrorKind::MissingRequiredArgument && name == "run" {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![EXAMPLE.into()]));
        }
        let as_json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
        UsageError { error, as_json }
    })
}

/// The innermost command that the words name, and how it is used.
fn usage(command: &mut Command, words: &[OsString]) -> (String, StyledStr) {
    let named = words.iter().enumerate().find(|(_, word)| command.find_subcommand(word).is_some());
    if let Some((at, word)) = named
        && let Some(inner) = command.find_subcommand_mut(word)
    {
        return usage(inner, &words[at + 1..]);
    }
    (command.get_name().to_owned(), command.render_usage())
}

impl UsageError {
    /// Says it: help on standard output, what makes no sense on standard error.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        let is_error = self.error.use_stderr();
        if self.as_json && is_error {
            remark(&self.document().to_string());
        } else {
            // Nothing is left to do where it can't be written.
            let _ = self.error.print();
        }
        if is_error { Exit::Usage } else { Exit::Success }.into()
    }

    fn document(&self) -> serde_json::Value {
        let text = self.error.render().to_string();
        let detail = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        json!({"code": Exit::Usage.as_str(), "detail": detail, "exit_code": Exit::Usage.code()})
    }
}
