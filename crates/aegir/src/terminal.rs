//! Where text goes: standard output, and the line at its foot that says what runs now.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::Error;
use crate::render::Look;
use aegir_service::terminal::{clean, clean_json};

/// What standard output can do.
#[must_use]
pub fn look() -> Look {
    let stdout = io::stdout();
    Look {
        colour: colours(),
        terminal: stdout.is_terminal(),
        // Some terminals do not say, or say 0; nothing can be laid out in less than this.
        width: comfy_table::Table::new().width().filter(|&width| width >= 40),
        zone: TimeZone::system(),
    }
}

fn colours() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Writes all of it, now.
///
/// # Errors
/// When standard output is closed or full.
pub fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Writes a text for people. Whatever got into it, a terminal is not told to do anything by it.
///
/// # Errors
/// When standard output is closed or full.
pub fn print_text(text: &str) -> Result<(), Error> {
    print(clean(text, colours()).as_bytes())
}

/// Writes a line for people to standard error. One that can't be written is not worth ending for.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{}", clean(text, false));
}

/// Writes a document as JSON: indented for a person, in one line for a pipe.
///
/// # Errors
/// When standard output is closed or full.
pub fn print_json<T: serde::Serialize>(document: &T) -> Result<(), Error> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(document)
    } else {
        serde_json::to_string(document)
    };
    print((clean_json(&text.map_err(io::Error::from)?) + "\n").as_bytes())
}

/// Asks a person on the terminal, and goes on with a yes.
///
/// # Errors
/// Without one, or where nobody can be asked.
pub fn confirm(question: &str) -> Result<(), Error> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Error::Usage(
            "this needs a confirmation, and there is no terminal: add --yes".to_owned(),
        ));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} [y/N] ", clean(question, false))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Error::Usage("not confirmed; nothing was done".to_owned()))
    }
}

/// The line at the foot of the screen. Not there unless a person watches.
#[derive(Debug)]
pub struct Foot {
    bar: Option<ProgressBar>,
}

impl Foot {
    /// A foot for this terminal, if it is one.
    #[must_use]
    pub fn new() -> Self {
        let watched = io::stdout().is_terminal() && io::stderr().is_terminal();
        Self { bar: watched.then(Self::bar) }
    }

    fn bar() -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        bar.set_style(style.expect("the template names fields that there are"));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// What it says.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.bar
            && bar.message() != text
        {
            bar.set_message(text.to_owned());
        }
    }

    /// Counts the time from here.
    pub fn since(&mut self, start: Timestamp) {
        let elapsed = Timestamp::now().as_millisecond() - start.as_millisecond();
        let elapsed = Duration::from_millis(u64::try_from(elapsed).unwrap_or(0));
        self.bar = self.bar.take().map(|bar| bar.with_elapsed(elapsed));
    }

    /// Writes to standard output, above it.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn print(&self, text: &str) -> Result<(), Error> {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(text.as_bytes())),
            None => print(text.as_bytes()),
        }
    }

    /// Writes a line to standard error, above it.
    pub fn remark(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| remark(text)),
            None => remark(text),
        }
    }

    /// Takes it away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Foot {
    fn default() -> Self {
        Self::new()
    }
}
