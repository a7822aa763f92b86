//! What can be wrong with a minion, and how ssh says it.

use std::io;

use aegir_protocol::code::Code;
use aegir_protocol::state::Reason;
use aegir_service::io_error::is_transient;

use super::login::{KnownHosts, Login};
/// Why a minion can't be used. Every message says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MinionError {
    /// No connection comes up.
    #[error("{0}")]
    Unreachable(String),
    /// It refuses the login.
    #[error("{0}")]
    LoginRefused(String),
    /// It shows another host key than the known one.
    #[error("{0}")]
    HostKeyChanged(String),
    /// Nobody has said which host key it has.
    #[error("{0}")]
    HostKeyUnknown(String),
    /// It has no Python at the configured place.
    #[error("{0}")]
    PythonMissing(String),
    /// It has not what looking for an attempt's processes needs.
    #[error("{0}")]
    CannotLook(String),
    /// `ssh` is not installed beside dispatcherd.
    #[error("{0}")]
    ProgramMissing(String),
    /// There is no room beside dispatcherd for what a connection needs.
    #[error("{0}")]
    NoRoom(String),
    /// Something else beside dispatcherd is in the way.
    #[error("{0}")]
    Here(String),
}

impl MinionError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable(_) => Code::MinionUnreachable,
            Self::LoginRefused(_) => Code::LoginRefused,
            Self::HostKeyChanged(_) => Code::HostKeyChanged,
            Self::HostKeyUnknown(_) => Code::HostKeyUnknown,
            Self::PythonMissing(_) => Code::PythonMissing,
            Self::CannotLook(_) => Code::AttentionNeeded,
            Self::ProgramMissing(_) => Code::ProgramMissing,
            Self::NoRoom(_) => Code::DiskFull,
            Self::Here(_) => Code::RunnerFailed,
        }
    }

    /// Something beside dispatcherd failed.
    pub(super) fn here(message: String, error: &io::Error) -> Self {
        if is_transient(error) { Self::NoRoom(message) } else { Self::Here(message) }
    }

    /// The reason that is recorded.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.code().because(self.to_string())
    }

    /// What ssh's standard error means. The texts are OpenSSH's, whatever the language.
    #[must_use]
    pub fn from_ssh(login: &Login, stderr: &str) -> Self {
        let minion = login.shown();
        let place = format!("{} --address {} --port {}", login.name, login.address, login.port);
        let said = last_words(stderr);
        let has = |text: &str| stderr.contains(text);
        if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("has changed and you have requested strict") {
            return Self::HostKeyChanged(format!(
                "minion {minion} shows another host key than the known one: {}",
                match &login.known_hosts {
                    KnownHosts::Given(_) => "if it was installed anew, correct the host_keys of this host \
                        in the frontend; if not, somebody may be in between"
                        .to_owned(),
                    KnownHosts::File(_) => format!(
                        "if it was installed anew, run `dispatcherd minion add {place}` on the backend; if \
                         not, somebody may be in between"
                    ),
                }
            ));
        }
        if has("Host key verification failed")
            || has("host key is known for")
            || has("no matching host key type")
        {
            return match &login.known_hosts {
                KnownHosts::Given(_) => Self::HostKeyChanged(format!(
                    "minion {minion} shows a host key that is not among the host_keys of this host: correct \
                     them in the frontend, or find out who is in between"
                )),
                KnownHosts::File(_) => Self::HostKeyUnknown(format!(
                    "nobody has said which host key minion {minion} has: run `dispatcherd minion add {place}` \
                     on the backend, or send its host_keys with the Operation"
                )),
            };
        }
        if has("Permission denied") || has("Too many authentication failures") {
            return Self::LoginRefused(format!(
                "minion {minion} refuses the login: put dispatcherd's public key into the authorized_keys of \
                 {}, then run `dispatcherd minion verify {place}` on the backend ({said})",
                login.user
            ));
        }
        // OpenSSH says the one over a shared connection, and the other over one of its own.
        if has("session request failed") || has("open failed: ") {
            return Self::LoginRefused(format!(
                "minion {minion} takes the login and gives it no session: raise MaxSessions in its sshd_config ({said})"
            ));
        }
        let no_room = [
            "No space left on device",
            "Disk quota exceeded",
            "Read-only file system",
            "Too many open files",
        ];
        if (has("unix_listener: ") || has("muxserver_listen: ")) && no_room.into_iter().any(has) {
            return Self::NoRoom(format!("can't make the socket of a connection: {said}"));
        }
        // OpenSSH says the one from 9.8 on, and ssh-keyscan only ever the other.
        let shut_out = if has("Not allowed at this time") || has("Connection closed by remote host") {
            " (sshd shuts an address out for a while after several logins that failed or were broken off, see \
             PerSourcePenalties in sshd_config: wait a minute)"
        } else {
            ""
        };
        Self::Unreachable(format!(
            "can't reach minion {minion}: {said}{shut_out}. Run `dispatcherd minion verify {place}` on the backend"
        ))
    }
}

/// The last line that says something, without ssh's own prefix.
fn last_words(stderr: &str) -> String {
    let line = stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ssh gave no reason");
    line.trim_start_matches("ssh: ").trim_end_matches('.').chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(known_hosts: KnownHosts) -> Login {
        Login {
            name: "web1".parse().unwrap(),
            address: "192.0.2.1".to_owned(),
            port: 2222,
            user: "deploy".parse().unwrap(),
            identity_file: None,
            known_hosts,
            connect_timeout_seconds: 5,
        }
    }

    #[track_caller]
    fn check(stderr: &str, code: Code, says: &str) {
        let error = MinionError::from_ssh(&login(KnownHosts::File("/known_hosts".into())), stderr);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn what_ssh_says_becomes_a_code_and_what_to_do() {
        check(
            "ssh: connect to host 192.0.2.1 port 2222: Connection refused\r\n",
            Code::MinionUnreachable,
            "Connection refused. Run `dispatcherd minion verify web1 --address 192.0.2.1 --port 2222`",
        );
        check(
            "ssh: Could not resolve hostname x: Name or service not known",
            Code::MinionUnreachable,
            "resolve",
        );
        check(
            "kex_exchange_identification: read: Connection closed by remote host",
            Code::MinionUnreachable,
            "PerSourcePenalties in sshd_config: wait a minute). Run",
        );
        check(
            "deploy@192.0.2.1: Permission denied (publickey).\r\n",
            Code::LoginRefused,
            "authorized_keys of deploy",
        );
        check(
            "No ED25519 host key is known for [192.0.2.1]:2222 and you have requested strict checking.\r\nHost key \
             verification failed.\r\n",
            Code::HostKeyUnknown,
            "dispatcherd minion add web1 --address 192.0.2.1 --port 2222",
        );
        check(
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key verification failed.\r\n",
            Code::HostKeyChanged,
            "installed anew",
        );
        check(
            "muxserver_listen: link mux listener /run/aegir/x.1 => /run/aegir/x: No space left on device\r\n",
            Code::DiskFull,
            "No space left",
        );
        check(
            "unix_listener: cannot bind to path /run/aegir/x.1: Read-only file system\r\n",
            Code::DiskFull,
            "Read-only",
        );
        check(
            "channel 0: open failed: connect failed: open failed\r\n",
            Code::LoginRefused,
            "raise MaxSessions in its sshd_config",
        );
        check("", Code::MinionUnreachable, "ssh gave no reason");
    }

    #[test]
    fn a_key_beside_those_that_were_sent_is_a_changed_one() {
        let login = login(KnownHosts::Given(Vec::new()));
        let error = MinionError::from_ssh(
            &login,
            "No ED25519 host key is known for x\nHost key verification failed.",
        );
        assert_eq!(error.code(), Code::HostKeyChanged);
        assert!(error.to_string().contains("host_keys"), "{error}");
    }
}
