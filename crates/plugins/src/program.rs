//! The programs that do the work.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use crate::error::Error;
use crate::interrupt;
use crate::mask::Mask;

/// The longest answer that is taken.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
/// A longer line is passed on in parts.
const LONGEST_LINE: u64 = 64 * 1024;
/// How much of the end of standard error an error repeats.
const END: usize = 1500;

/// A program, and what all its calls have in common.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: OsString,
    /// Before all other arguments.
    pub(crate) options: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    pub(crate) directory: PathBuf,
    /// What must not be seen of its output.
    pub(crate) mask: Mask,
    /// What to do when there is no such program.
    pub(crate) advice: &'static str,
    /// What to do about what it says, by that.
    pub(crate) advise: fn(&str) -> &'static str,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    /// What it printed, where that was not shown.
    pub(crate) answer: Vec<u8>,
    said: String,
}

impl Program {
    /// Its name, for people.
    pub(crate) fn name(&self) -> String {
        let path = std::path::Path::new(&self.path);
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Runs it, and takes what it prints for an answer.
    pub(crate) fn ask(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let ran = self.run(arguments, input, false)?;
        self.went_well(&ran)?;
        Ok(ran.answer)
    }

    /// Runs it, and shows what it prints as the Task's output.
    pub(crate) fn show(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<(), Error> {
        let ran = self.run(arguments, input, true)?;
        self.went_well(&ran)
    }

    /// An error where it did not end well, or was called off.
    pub(crate) fn went_well(&self, ran: &Ran) -> Result<(), Error> {
        interrupt::check()?;
        if ran.status.success() {
            return Ok(());
        }
        let how = match (ran.status.code(), ran.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let advice = (self.advise)(&ran.said);
        let mut said: Vec<_> = ran.said.lines().map(str::trim).filter(|line| !is_klog(line)).collect();
        said.dedup();
        Err(Error::Program { program: self.name(), how, said: said.join("\n").trim().to_owned(), advice })
    }

    /// An answer that is not what it should be.
    pub(crate) fn misunderstood(&self, arguments: &[&str], problem: &dyn std::fmt::Display) -> Error {
        let asked = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        Error::Answer { program: self.name(), asked, problem: problem.to_string() }
    }

    /// Runs it to its end, however that is. Standard error is always shown.
    pub(crate) fn run(&self, arguments: &[&str], input: Option<&[u8]>, show: bool) -> Result<Ran, Error> {
        interrupt::check()?;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { program: self.name(), advice: self.advice },
            _ => Error::Start { program: self.name(), source },
        };
        let mut command = Command::new(&self.path);
        command.args(&self.options).args(arguments).envs(self.environment.iter().cloned());
        command.current_dir(&self.directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (answer, said) = std::thread::scope(|scope| {
            scope.spawn(move || {
                if let (Some(mut stdin), Some(input)) = (stdin, input) {
                    // One that does not read all of it says why on its own.
                    let _ = stdin.write_all(input);
                }
            });
            let errors = scope.spawn(|| stderr.map(|stream| self.pass(stream, io::stderr())));
            let answer = match stdout {
                Some(stream) if show => self.pass(stream, io::stdout()).map(|_| Vec::new()),
                Some(stream) => all(stream),
                None => Ok(Vec::new()),
            };
            let said = errors.join().ok().flatten().and_then(Result::ok).unwrap_or_default();
            (answer, said)
        });
        let status = child.wait().map_err(failed)?;
        let answer = answer.map_err(|error| self.misunderstood(arguments, &error))?;
        Ok(Ran { status, answer, said })
    }

    /// Passes lines on, what is secret hidden, and gives back the end of them.
    fn pass(&self, stream: impl Read, mut to: impl Write) -> io::Result<String> {
        let mut lines = BufReader::new(stream);
        let (mut line, mut end) = (Vec::new(), String::new());
        while lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
            let text = self.mask.hide(&String::from_utf8_lossy(&line));
            to.write_all(text.as_bytes())?;
            to.flush()?;
            end.push_str(&text);
            let mut from = end.len().saturating_sub(END);
            while !end.is_char_boundary(from) {
                from += 1;
            }
            end.drain(..from);
            line.clear();
        }
        Ok(end)
    }
}

/// Whether a line is one of kubectl's own log, `E0102 12:34…`, which says again and again what its last line says.
fn is_klog(line: &str) -> bool {
    let mut chars = line.chars();
    chars.next().is_some_and(|c| "IWEF".contains(c))
        && chars.take(4).filter(char::is_ascii_digit).count() == 4
}

fn all(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut limited = stream.take(LONGEST_ANSWER);
    limited.read_to_end(&mut answer)?;
    if limited.limit() == 0 {
        // Whoever writes on gets SIGPIPE.
        return Err(io::Error::other("it is longer than 64 MiB"));
    }
    Ok(answer)
}
