//! A program on a minion.
//!
//! ssh's own exit code says too little (255 and 127 mean several things), so a shell of a few lines around
//! the program says how it ended: on standard error, behind a control character and a random word that no
//! program can know ([`super::stream`]).
//!
//! Whoever ends what a dead runner has left looks for the marker on the minion, and sshd may take seconds to start a
//! shell there: without more, what was asked for before the look would start after it. So the shell is there before it is
//! told what to do, and what it is told is one command, which does nothing when only a part of it arrives.

use std::io;

use aegir_protocol::record::Remains;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::error::MinionError;
use super::marker::{self, StopSignal};
use super::minion::Minion;
use super::remote_start::RemoteStart;
use super::shell::{RemoteShell, Waiting, quoted_words};
use super::stream::RemoteStream;

/// Around the program, with the marker in its environment: so what the program is told to end by reaches the shell too,
/// which goes on, for it has the program's exit code to tell. The program's standard input is empty.
const AROUND: &str = r#"
"$@" </dev/null
set -- "$?"
[ -z "$kept" ] || rm -rf "$kept"
say "$1"
exit 0
"#;

/// What comes before it.
const BEFORE: &str = r#"
kept=
trap : INT TERM
command -v -- "$1" >/dev/null 2>&1 || { say missing; exit 0; }
"#;

/// What keeps the secrets: in a directory that nobody else can look into, in memory, as files of their names. They come
/// by standard input, each with its length: so they stand in no command line, and a shell that is killed leaves them
/// where whoever looks for what it left finds them by their name.
const KEEP: &str = r#"
in_memory() { [ -n "$1" ] && grep -qE "^[^ ]+ $1 (tmpfs|ramfs) " /proc/mounts 2>/dev/null; }
take() { dd bs=1 count="$2" of="$kept/$1" 2>/dev/null && [ "$(($(wc -c <"$kept/$1")))" = "$2" ]; }
mask=$(umask); umask 077
for place in $places "$XDG_RUNTIME_DIR"; do
  [ -z "$kept" ] || continue
  place=$(cd "$place" 2>/dev/null && pwd -P)
  in_memory "$place" && mkdir "$place/$name" 2>/dev/null && kept=$place/$name
done
[ -n "$kept" ] || { say nowhere; exit 0; }
trap 'rm -rf "$kept"' EXIT
say waits
{ take_all && read -r go && [ "$go" = go ]; } || { say unkept; exit 0; }
umask "$mask"
AEGIR_SECRETS=$kept; export AEGIR_SECRETS
"#;

/// Secrets, by the names that their files have.
pub type SecretFiles<'a> = [(&'a str, &'a str)];

/// The whole of what the shell is told.
fn around(word: &str, argv: &[String], marker: &str, secrets: &SecretFiles<'_>, places: &str) -> String {
    let mut keep = String::new();
    if !secrets.is_empty() {
        let name = format!("{}.{}", marker::kept_as(marker), uuid::Uuid::new_v4().simple());
        let takes = secrets.iter().map(|(name, secret)| format!("take {name} {}", secret.len()));
        let takes = takes.collect::<Vec<_>>().join(" && ");
        keep = format!("places='{places}' name={name}\ntake_all() {{ {takes}; }}{KEEP}");
    }
    format!(
        "{{\nset -- {}\nsay() {{ printf '\\036%s %s\\n' {word} \"$1\" >&2; }}{BEFORE}{keep}{AROUND}}}\n",
        quoted_words(argv)
    )
}

/// A program that runs on a minion.
pub struct RemoteProgram {
    minion: Minion,
    marker: String,
    waiting: Waiting,
    streams: Option<(RemoteStream, RemoteStream)>,
    heard: watch::Receiver<Option<RemoteStart>>,
}

impl RemoteProgram {
    /// Starts it, when there is on the minion what carries the marker. Dropped before that, nothing starts.
    ///
    /// # Errors
    /// When ssh can't be started.
    pub async fn start(
        minion: &Minion,
        argv: &[String],
        marker: &str,
        secrets: &SecretFiles<'_>,
    ) -> Result<Self, MinionError> {
        let mut shell = minion.shell(Some(marker)).await?;
        let script = around(&shell.word, argv, marker, secrets, marker::KEPT_IN);
        // A connection that has ended is noticed when the program is waited for.
        let _ = shell.write(script.as_bytes()).await;
        // A shell may read more than it needs at once, and the secrets are for others.
        if !secrets.is_empty() && shell.stderr.waits().await {
            for (_, secret) in secrets {
                let _ = shell.write(secret.as_bytes()).await;
            }
            let _ = shell.write(b"go\n").await;
        }
        let RemoteShell { mut stdin, stdout, stderr, heard, waiting, .. } = shell;
        let _ = stdin.shutdown().await;
        Ok(Self {
            minion: minion.clone(),
            marker: marker.to_owned(),
            waiting,
            streams: Some((stdout, stderr)),
            heard,
        })
    }

    /// What the shell around it has said, for when the program itself was taken away.
    #[must_use]
    pub fn trailer(&self) -> watch::Receiver<Option<RemoteStart>> {
        self.heard.clone()
    }

    /// The streams; called once.
    pub fn streams(&mut self) -> (RemoteStream, RemoteStream) {
        self.streams.take().unwrap_or_else(|| (RemoteStream::closed(), RemoteStream::closed()))
    }

    /// Waits for its end, which may come before the end of its streams is read.
    ///
    /// # Errors
    /// When the connection ended before the program did.
    pub async fn wait(&mut self) -> io::Result<()> {
        tokio::select! {
            // ssh itself waits for whatever holds the streams open, which need not be the program.
            said = self.heard.wait_for(Option::is_some) => said.map(drop).map_err(io::Error::other),
            // Nothing but the trailer is believed, and it may be unread still.
            ended = &mut self.waiting => ended.map(drop),
        }
    }

    /// Signals it and all that it started, in the background of the connection.
    pub fn signal(&self, signal: StopSignal) {
        let (minion, marker) = (self.minion.clone(), self.marker.clone());
        // Bounded by its own timeout; the runtime drops it at the latest when the runner ends.
        tokio::spawn(async move { minion.signal(&[marker], signal).await });
    }

    /// Whether any of it is left on the minion.
    pub async fn look(&self) -> Remains {
        self.minion.look(std::slice::from_ref(&self.marker)).await
    }

    /// Ends what is left of it on the minion.
    pub async fn end(&self) -> Remains {
        self.minion.end_running(std::slice::from_ref(&self.marker)).await
    }
}

impl std::fmt::Debug for RemoteProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteProgram").field("minion", &self.minion).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    /// What a shell that reads this from a pipe has said, and whether anything is kept after it.
    fn run(shell: &[&str], input: &[&str], marker: &str) -> (String, String, bool) {
        let mut child = Command::new(shell[0]);
        child.args(&shell[1..]).arg("-s").env_remove("XDG_RUNTIME_DIR");
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut said = String::new();
        for (index, part) in input.iter().enumerate() {
            stdin.write_all(part.as_bytes()).unwrap();
            // The next part when it is waited for.
            let mut byte = [0];
            while index == 0
                && input.len() > 1
                && !said.ends_with("waits\n")
                && stderr.read(&mut byte).unwrap() == 1
            {
                said.push(char::from(byte[0]));
            }
        }
        drop(stdin);
        stderr.read_to_string(&mut said).unwrap();
        let printed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let kept = std::fs::read_dir(marker::KEPT_IN).unwrap().flatten();
        let kept =
            kept.filter(|entry| entry.file_name().to_string_lossy().starts_with(&marker::kept_as(marker)));
        (said, printed, kept.count() > 0)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn what_arrives_in_part_starts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("it's started");
        let argv = words(&["touch", file.to_str().unwrap()]);
        let whole = around("word", &argv, "m/1", &[], marker::KEPT_IN);
        for length in [0, 1, whole.len() / 2, whole.len() - 3, whole.len()] {
            run(&["sh"], &[&whole[..length]], "m/1");
            assert_eq!(file.exists(), length == whole.len(), "{length} of {}", whole.len());
        }
    }

    /// Whatever `sh` is on a minion; those that are here are tried.
    #[test]
    fn secrets_are_files_in_memory_while_the_program_runs_and_no_longer() {
        let many = "x\n'$!\\\0é".repeat(3000);
        let secrets = [("password", "hunter2\n\n"), ("many", &*many)];
        let script = "cat $AEGIR_SECRETS/*; ls -ld $AEGIR_SECRETS $AEGIR_SECRETS/password | cut -c 1-10; umask; exit 3";
        let argv = words(&["sh", "-c", script]);
        let shells: [&[&str]; 6] = [&["sh"], &["bash"], &["dash"], &["busybox", "sh"], &["mksh"], &["ksh"]];
        let here = |shell: &&&[&str]| Command::new(shell[0]).args(["-c", ":"]).output().is_ok();
        for shell in shells.iter().filter(here) {
            let marker = format!("{}/1:2", uuid::Uuid::new_v4());
            let whole = around("word", &argv, &marker, &secrets, marker::KEPT_IN);
            let (said, printed, kept) = run(shell, &[&whole, secrets[0].1, secrets[1].1, "go\n"], &marker);
            assert_eq!(said, "\x1eword waits\n\x1eword 3\n", "{shell:?}");
            let expected = format!("{many}hunter2\n\ndrwx------\n-rw-------\n");
            assert!(printed.starts_with(&expected) && printed.ends_with("22\n"), "{shell:?}: {printed}");
            assert!(!kept, "{shell:?} leaves secrets");
            // The connection ends in between.
            let (said, printed, kept) = run(shell, &[&whole, secrets[0].1, "x"], &marker);
            assert_eq!(
                (&*said, &*printed, kept),
                ("\x1eword waits\n\x1eword unkept\n", "", false),
                "{shell:?}"
            );
            let nowhere = around("word", &argv, &marker, &secrets, "/etc /nowhere");
            let (said, printed, kept) = run(shell, &[&nowhere], &marker);
            assert_eq!((&*said, &*printed, kept), ("\x1eword nowhere\n", "", false), "{shell:?}");
        }
    }
}
