//! `dispatcherd minion add` and `dispatcherd minion verify`.
//!
//! Exit codes beside those that all programs share (`aegir_service::exit`): 30 the address does not answer, 31
//! the host key is unknown or another one, 32 the login is refused, 33 there is no Python.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegir_minions::{KnownHosts, Login, Minion, MinionError, OfferedKey, known_hosts, offered_keys};
use aegir_protocol::name::{Address, HostName, UserName};
use aegir_service::terminal::clean;

/// `dispatcherd minion …`
#[derive(Clone, Debug, clap::Subcommand)]
pub enum MinionCommand {
    /// Fetch a minion's host keys, show their fingerprints, and trust them once you agree
    Add {
        /// What frontends call it
        name: HostName,
        /// Where it is; its name when absent
        #[arg(long)]
        address: Option<Address>,
        /// The port of its sshd
        #[arg(long, default_value_t = 22)]
        port: u16,
        /// Do not ask; needs --fingerprint
        #[arg(long, requires = "fingerprint")]
        yes: bool,
        /// Trust only the key with this fingerprint (SHA256:…), as `ssh-keygen -lf` shows it on the minion
        #[arg(long)]
        fingerprint: Option<String>,
    },
    /// Say which of address, host key, login and Python of a minion is wrong
    Verify {
        /// What frontends call it
        name: HostName,
        /// Where it is; its name when absent
        #[arg(long)]
        address: Option<Address>,
        /// The port of its sshd
        #[arg(long, default_value_t = 22)]
        port: u16,
        /// Who logs in; ssh.user of the config file when absent
        #[arg(long)]
        user: Option<UserName>,
    },
}

/// What of dispatcherd's config these commands need.
#[derive(Clone, Debug)]
pub struct MinionSettings {
    /// The operator's file of trusted host keys.
    pub known_hosts_file: PathBuf,
    /// Where control sockets go.
    pub runtime_directory: PathBuf,
    /// The login where none is named.
    pub ssh_user: UserName,
    /// The private key of the login.
    pub ssh_identity_file: Option<PathBuf>,
    /// How long a connection may take to come up.
    pub connect_timeout_seconds: u64,
    /// The Python that Ansible uses on minions.
    pub minion_python: PathBuf,
}

/// Carries a command out, asking and answering on the terminal.
pub async fn run(command: MinionCommand, settings: &MinionSettings) -> ExitCode {
    let stdin = io::stdin();
    let mut out = io::stdout();
    match command {
        MinionCommand::Add { name, address, port, yes, fingerprint } => {
            let login = login(name, address, port, None, settings);
            let consent = Consent { yes, fingerprint };
            match add(&login, &settings.known_hosts_file, &consent, &mut stdin.lock(), &mut out).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&error),
            }
        }
        MinionCommand::Verify { name, address, port, user } => {
            let login = login(name, address, port, user, settings);
            match verify(login, settings, &mut out).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&error),
            }
        }
    }
}

fn complain(error: &CommandError) -> ExitCode {
    eprintln!("{}", complaint(error));
    ExitCode::from(error.exit_code())
}

/// What the minion has said stands in it, and is not to tell the terminal to do anything.
fn complaint(error: &CommandError) -> String {
    clean(&error.to_string(), false)
}

fn login(
    name: HostName,
    address: Option<Address>,
    port: u16,
    user: Option<UserName>,
    settings: &MinionSettings,
) -> Login {
    Login {
        address: address.map_or_else(|| name.to_string(), |address| address.to_string()),
        name,
        port,
        user: user.unwrap_or_else(|| settings.ssh_user.clone()),
        identity_file: settings.ssh_identity_file.clone(),
        known_hosts: KnownHosts::File(settings.known_hosts_file.clone()),
        connect_timeout_seconds: settings.connect_timeout_seconds.max(1),
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The minion.
    #[error(transparent)]
    Minion(#[from] MinionError),
    /// The person said no, or nothing.
    #[error("nothing was trusted")]
    Declined,
    /// The fingerprint that was expected is not among those offered.
    #[error(
        "the minion offers no key with the fingerprint {0}: nothing was trusted. Compare it with the output of `ssh-keygen -lf` on the minion"
    )]
    OtherFingerprint(String),
    /// The terminal or the known hosts file.
    #[error("can't {what}: {source}")]
    Io {
        /// Read or write what.
        what: String,
        source: io::Error,
    },
}

impl CommandError {
    /// See the module's documentation.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Minion(MinionError::Unreachable(_)) => 30,
            Self::Minion(MinionError::HostKeyChanged(_) | MinionError::HostKeyUnknown(_))
            | Self::OtherFingerprint(_) => 31,
            Self::Minion(MinionError::LoginRefused(_)) => 32,
            Self::Minion(MinionError::PythonMissing(_)) => 33,
            Self::Minion(
                MinionError::CannotLook(_)
                | MinionError::ProgramMissing(_)
                | MinionError::NoRoom(_)
                | MinionError::Here(_),
            )
            | Self::Declined
            | Self::Io { .. } => 1,
        }
    }
}

#[derive(Debug, Default)]
struct Consent {
    yes: bool,
    fingerprint: Option<String>,
}

async fn add(
    login: &Login,
    file: &Path,
    consent: &Consent,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), CommandError> {
    let terminal = |source| CommandError::Io { what: "use the terminal".to_owned(), source };
    let offered = offered_keys(login).await?;
    let chosen: Vec<&OfferedKey> = match &consent.fingerprint {
        Some(wanted) => {
            let found: Vec<_> = offered.iter().filter(|key| key.fingerprint == *wanted).collect();
            if found.is_empty() {
                return Err(CommandError::OtherFingerprint(wanted.chars().take(100).collect()));
            }
            found
        }
        None => offered.iter().collect(),
    };
    let place = known_hosts::place(&login.address, login.port);
    let known = login
        .known_host_lines()
        .map_err(|source| CommandError::Io { what: format!("read {}", file.display()), source })?;
    writeln!(output, "{} at {place} offers:", login.name).map_err(terminal)?;
    for key in &chosen {
        let trusted = if known.contains(&key.key) { "  (trusted already)" } else { "" };
        writeln!(output, "  {:<20} {}{trusted}", key.kind(), key.fingerprint).map_err(terminal)?;
    }
    let others = known.lines().filter(|line| !chosen.iter().any(|key| line.contains(&key.key))).count();
    if others > 0 {
        writeln!(output, "{others} other key(s) of it that are trusted now will be forgotten.")
            .map_err(terminal)?;
    }
    if !consent.yes {
        write!(
            output,
            "Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the minion.\n\
             Trust what it offers? Type yes: "
        )
        .and_then(|()| output.flush())
        .map_err(terminal)?;
        let mut answer = String::new();
        input.read_line(&mut answer).map_err(terminal)?;
        if answer.trim() != "yes" {
            return Err(CommandError::Declined);
        }
    }
    let keys: Vec<String> = chosen.iter().map(|key| key.key.clone()).collect();
    known_hosts::trust(file, &login.address, login.port, &keys)
        .map_err(|source| CommandError::Io { what: format!("write {}", file.display()), source })?;
    writeln!(output, "Trusted. Written to {}.", file.display()).map_err(terminal)
}

async fn verify(
    login: Login,
    settings: &MinionSettings,
    output: &mut impl Write,
) -> Result<(), CommandError> {
    let shown = login.shown();
    let result = Minion::open(login, &settings.runtime_directory, Some(&settings.minion_python)).await;
    // In the order in which they are tried: all before the failed one were well.
    let words = ["address", "host key", "login", "python"];
    let wrong = result.as_ref().err().map(|error| match error {
        MinionError::Unreachable(_) => 0,
        MinionError::HostKeyChanged(_) | MinionError::HostKeyUnknown(_) => 1,
        MinionError::LoginRefused(_) => 2,
        MinionError::PythonMissing(_) => 3,
        MinionError::CannotLook(_)
        | MinionError::ProgramMissing(_)
        | MinionError::NoRoom(_)
        | MinionError::Here(_) => 4,
    });
    let mut text = format!("{shown}\n");
    for (index, word) in words.iter().enumerate() {
        let verdict = match wrong {
            Some(4) => "not tried",
            Some(wrong) if index == wrong => "wrong",
            Some(wrong) if index > wrong => "not tried",
            Some(_) | None => "ok",
        };
        text.push_str(&format!("  {word:<9} {verdict}\n"));
    }
    output
        .write_all(text.as_bytes())
        .map_err(|source| CommandError::Io { what: "use the terminal".to_owned(), source })?;
    result.map(drop).map_err(CommandError::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_testkit::TestMinion as Sshd;

    fn settings(directory: &Path, sshd: &Sshd) -> MinionSettings {
        MinionSettings {
            known_hosts_file: directory.join("known_hosts"),
            runtime_directory: directory.join("run"),
            ssh_user: sshd.user.parse().unwrap(),
            ssh_identity_file: Some(sshd.identity_file.clone()),
            connect_timeout_seconds: 5,
            minion_python: PathBuf::from("/usr/bin/python3"),
        }
    }

    fn web1(settings: &MinionSettings, port: u16) -> Login {
        login("web1".parse().unwrap(), Some("127.0.0.1".parse().unwrap()), port, None, settings)
    }

    async fn answer(
        login: &Login,
        file: &Path,
        consent: &Consent,
        typed: &str,
    ) -> (Result<(), CommandError>, String) {
        let mut output = Vec::new();
        let result = add(login, file, consent, &mut typed.as_bytes(), &mut output).await;
        (result, String::from_utf8(output).unwrap())
    }

    async fn verdicts(login: Login, settings: &MinionSettings) -> (Result<(), CommandError>, Vec<String>) {
        let mut output = Vec::new();
        let result = verify(login, settings, &mut output).await;
        let text = String::from_utf8(output).unwrap();
        let words = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        (result, words.collect())
    }

    #[tokio::test]
    async fn what_a_minion_says_tells_the_operators_terminal_nothing() {
        let directory = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let sshd = Sshd::start(&directory.path().join("web1")).await.unwrap();
        let settings = settings(directory.path(), &sshd);
        std::fs::write(&settings.known_hosts_file, sshd.known_hosts_line()).unwrap();
        let keys = sshd.directory().join("authorized_keys");
        let key = std::fs::read_to_string(&keys).unwrap();
        let says = r#"command="printf '\033]0;title\007\033[2Jno shell \033[31mhere'" "#;
        std::fs::write(&keys, says.to_owned() + &key).unwrap();
        let error = verify(web1(&settings, sshd.port), &settings, &mut Vec::new()).await.unwrap_err();
        let said = complaint(&error);
        assert!(said.contains("(no shell here)"), "{said:?} of {error:?}");
        assert!(!said.contains(|c: char| c.is_control()), "{said:?}");
    }

    #[tokio::test]
    async fn a_key_is_trusted_only_when_a_person_agrees() {
        let directory = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let sshd = Sshd::start(&directory.path().join("web1")).await.unwrap();
        let settings = settings(directory.path(), &sshd);
        let (login, file) = (web1(&settings, sshd.port), settings.known_hosts_file.clone());

        let (result, shown) = answer(&login, &file, &Consent::default(), "no\n").await;
        assert!(matches!(result, Err(CommandError::Declined)), "{result:?}");
        let fingerprint =
            shown.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned();
        assert!(!file.exists());

        let other = Consent { yes: true, fingerprint: Some("SHA256:other".to_owned()) };
        let (result, _) = answer(&login, &file, &other, "").await;
        assert_eq!(result.unwrap_err().exit_code(), 31);
        assert!(!file.exists());

        let same = Consent { yes: true, fingerprint: Some(fingerprint) };
        let (result, _) = answer(&login, &file, &same, "").await;
        result.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), sshd.known_hosts_line());
        let (result, shown) = answer(&login, &file, &Consent::default(), "yes\n").await;
        result.unwrap();
        assert!(shown.contains("trusted already"), "{shown}");
    }

    #[tokio::test]
    async fn verify_says_which_of_four_is_wrong() {
        let directory = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let mut sshd = Sshd::start(&directory.path().join("web1")).await.unwrap();
        let mut settings = settings(directory.path(), &sshd);
        let login = web1(&settings, sshd.port);

        let (result, words) = verdicts(login.clone(), &settings).await;
        assert_eq!(result.unwrap_err().exit_code(), 31);
        assert_eq!(words, ["address ok", "host key wrong", "login not tried", "python not tried"]);

        known_hosts::trust(
            &settings.known_hosts_file,
            "127.0.0.1",
            sshd.port,
            std::slice::from_ref(&sshd.host_key),
        )
        .unwrap();
        let authorized = sshd.directory().join("authorized_keys");
        let keys = std::fs::read(&authorized).unwrap();
        std::fs::write(&authorized, "").unwrap();
        let (result, words) = verdicts(login.clone(), &settings).await;
        assert_eq!(result.unwrap_err().exit_code(), 32);
        assert_eq!(words[2], "login wrong");

        std::fs::write(&authorized, keys).unwrap();
        settings.minion_python = PathBuf::from("/no/python");
        let (result, words) = verdicts(login.clone(), &settings).await;
        assert_eq!(result.unwrap_err().exit_code(), 33);
        assert_eq!(words, ["address ok", "host key ok", "login ok", "python wrong"]);

        settings.minion_python = PathBuf::from("/usr/bin/python3");
        let (result, words) = verdicts(login.clone(), &settings).await;
        result.unwrap();
        assert!(words.iter().all(|word| word.ends_with(" ok")), "{words:?}");

        sshd.kill().await.unwrap();
        let (result, words) = verdicts(login, &settings).await;
        assert_eq!(result.unwrap_err().exit_code(), 30);
        assert_eq!(words[0], "address wrong");
    }
}
