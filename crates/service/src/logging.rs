//! Where the log goes: to the journal with its fields when systemd has connected stderr to it, as JSON lines
//! when stderr is a file or a pipe, as plain text on a terminal. Times are UTC.
//!
//! `RUST_LOG` says what is logged, in the syntax of `tracing_subscriber::EnvFilter`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The program's own directives make no sense.
    #[error("the log directives `{directives}` are not valid")]
    Directives {
        /// What was given.
        directives: String,
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was set up before.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// How log events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Journal,
    Json,
    Plain { colour: bool },
}

/// Sets up logging for the whole process. `default_directives` hold when `RUST_LOG` is not set, or can't be
/// understood, which is then the first thing that is logged.
///
/// # Errors
/// When `default_directives` are not valid, or it was set up before.
pub fn init(default_directives: &str) -> Result<(), LoggingError> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let (filter, misunderstood) = filter(wanted.as_deref(), default_directives)?;
    let registry = tracing_subscriber::registry().with(filter);
    let json = || {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
        // A log on a full disk is not worth a panic, which is what saying so on stderr would end in.
        layer.log_internal_errors(false).with_writer(io::stderr)
    };
    match format() {
        Format::Journal => match tracing_journald::layer() {
            // Without a prefix, so that `journalctl OPERATION_ID=…` finds them.
            Ok(journal) => registry.with(journal.with_field_prefix(None)).try_init()?,
            Err(_) => registry.with(json()).try_init()?,
        },
        Format::Json => registry.with(json()).try_init()?,
        Format::Plain { colour } => {
            let layer = tracing_subscriber::fmt::layer().with_ansi(colour);
            registry.with(layer.log_internal_errors(false).with_writer(io::stderr)).try_init()?;
        }
    }
    if let Some(error) = misunderstood {
        tracing::warn!(%error, using = default_directives, "RUST_LOG is not valid and was ignored");
    }
    Ok(())
}

fn filter(wanted: Option<&str>, default: &str) -> Result<(EnvFilter, Option<String>), LoggingError> {
    let otherwise = || {
        EnvFilter::try_new(default)
            .map_err(|source| LoggingError::Directives { directives: default.to_owned(), source })
    };
    match wanted.map(EnvFilter::try_new) {
        Some(Ok(filter)) => Ok((filter, None)),
        Some(Err(error)) => Ok((otherwise()?, Some(error.to_string()))),
        None => Ok((otherwise()?, None)),
    }
}

fn format() -> Format {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stderr = rustix::fs::fstat(io::stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    choose(stream.as_deref(), stderr, io::stderr().is_terminal(), colour)
}

/// `JOURNAL_STREAM` is inherited by everything that a service starts. Only if it names the very device and
/// inode of this stderr does this stderr end in the journal (systemd.exec(5)).
fn choose(stream: Option<&str>, stderr: Option<(u64, u64)>, terminal: bool, colour: bool) -> Format {
    let journal = stream.and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    if journal.is_some() && journal == stderr {
        Format::Journal
    } else if terminal {
        Format::Plain { colour }
    } else {
        Format::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_only_when_stderr_is_the_journal() {
        let plain = Format::Plain { colour: true };
        for (stream, stderr, terminal, expected) in [
            (Some("8:42"), Some((8, 42)), false, Format::Journal),
            (Some("8:42"), Some((8, 43)), false, Format::Json),
            (Some("8:42"), Some((8, 43)), true, plain),
            (Some("nonsense"), Some((8, 42)), false, Format::Json),
            (Some("8:42"), None, false, Format::Json),
            (None, None, false, Format::Json),
            (None, Some((8, 42)), true, plain),
        ] {
            assert_eq!(choose(stream, stderr, terminal, true), expected, "{stream:?} {stderr:?}");
        }
    }

    #[test]
    fn a_wrong_rust_log_is_told_and_does_not_stop_a_daemon() {
        let (filter, misunderstood) = filter(Some("=,=/"), "info").unwrap();
        assert_eq!(filter.to_string(), "info");
        assert!(misunderstood.is_some());
        assert!(matches!(super::filter(None, "=,=/"), Err(LoggingError::Directives { .. })));
        let (wanted, misunderstood) = super::filter(Some("debug,lapin=warn"), "info").unwrap();
        assert_eq!((wanted.to_string().contains("lapin=warn"), misunderstood), (true, None));
    }
}
