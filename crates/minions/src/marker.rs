//! Finding and ending what an attempt left on a minion.
//!
//! Everything that a Task starts there has `AEGIR_ATTEMPT=<id>/<n>` in its environment, and so has all that
//! it starts in turn. That outlives dropped connections and changed process groups, which a process id or
//! an SSH session does not. What Ansible starts has it in the command line of its shell first.

use std::time::Duration;

use aegir_protocol::record::Remains;

/// The environment variable.
pub const MARKER: &str = "AEGIR_ATTEMPT";
/// The environment variable that says when a step of Ansible began: microseconds of the clock beside dispatcherd. It is
/// how what one step has started is told from what others have.
pub const STEP: &str = "AEGIR_STEP";
/// How long a script below may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The steps of stopping a process, each harder than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// Asks it to end and to tidy up (SIGINT).
    Interrupt,
    /// Asks it to end at once (SIGTERM).
    Terminate,
    /// Ends it (SIGKILL).
    Kill,
}

impl StopSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
        }
    }
}

/// Lists the processes. An environment of somebody else can only be read by root, so root looks where the
/// login may become root without a password, as it may wherever a role does. `grep` prints the names of the
/// files that hold one of the markers as a whole entry. A `grep` that can't do that finds nothing in the
/// question before, whose answer is known. The variable's name is put before the markers in here, and `grep` has them
/// from its input: no command line of this script holds one.
const FIND: &str = r#"
root=; if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then root="sudo -n"; fi
printf 'a\0b\0' | grep -qzxE -e b 2>/dev/null || { answer unknown; exit 0; }
marked() { printf "AEGIR_ATTEMPT=%s$1\n" $markers | $root grep -slz$2E -f - /proc/[0-9]*/$3 2>/dev/null | cut -d/ -f3; }
markers=$*
count=
find_them() { marked '' x environ; }
"#;

const SIGNAL: &str = r#"
them=$(find_them); [ -z "$them" ] || $root kill -s "$signal" $them 2>/dev/null
answer done
"#;

/// What Ansible has asked for just now stands in the command line of a shell before it is in an environment, and what
/// sshd has just started in neither; so there is nothing when two looks find nothing.
const ASKED_FOR: &str = r#"
find_all() { find_them; marked '([^0-9]|$)' '' cmdline; }
none() { them=$(find_all); [ -z "$them" ] || return 1; sleep 1; them=$(find_all); [ -z "$them" ]; }
"#;

const RUNNING: &str = r#"
none() { them=$(find_them); [ -z "$them" ]; }
"#;

/// Where programs find their secrets on a minion, when it is a memory file system; else in the login's runtime directory.
pub(super) const KEPT_IN: &str = "/dev/shm";

/// How the names of directories begin that hold the secrets of what has this marker; a point follows.
pub(super) fn kept_as(marker: &str) -> String {
    format!("aegir-{}", marker.replace(['/', ':'], "-"))
}

/// Removes the secrets of what was killed before it could.
const FORGET: &str = r#"
forget() {
  for marker in $markers; do
    marker=$(printf '%s' "$marker" | tr '/:' '--')
    for place in /dev/shm "$XDG_RUNTIME_DIR"; do [ -z "$place" ] || rm -rf "$place/aegir-$marker".*; done
  done
}
"#;

const LOOK: &str = r#"
if none; then answer gone; else answer left; fi
"#;

/// It counts seconds and not its naps, which are longer where sleep takes whole seconds only, and nothing where there is
/// none. Its time is the machine's since its start, which nobody sets; where that can't be read, each nap is a second.
const END: &str = r#"
gone() { forget; answer "gone${count:+ $count}"; exit 0; }
nap() { sleep 0.1 2>/dev/null || sleep 1 2>/dev/null; }
second=0
look_at_clock() { { read -r now rest && second=${now%%.*}; } 2>/dev/null </proc/uptime || second=$((second + 1)); }
none && gone
$root kill -s TERM $them 2>/dev/null
look_at_clock; begun=$second
while [ $((second - begun)) -lt 10 ]; do
  nap
  none && gone
  look_at_clock
  if [ $((second - begun)) -ge 3 ]; then $root kill -s KILL $them 2>/dev/null; fi
done
none && gone
forget
answer "left${count:+ $count}"
"#;

/// Of those that [`FIND`] finds the ones of the steps that began in one of the windows; says how many there are.
const OF_STEPS: &str = r#"
find_them() {
  for pid in $(marked '' x environ); do
    step=$($root cat "/proc/$pid/environ" 2>/dev/null | tr '\0' '\n' | sed -n 's/^AEGIR_STEP=\([0-9][0-9]*\)$/\1/p' | head -n 1)
    for window in $windows; do
      if [ -n "$step" ] && [ "$step" -ge "${window%-*}" ] && [ "$step" -le "${window#*-}" ]; then echo "$pid"; break; fi
    done
  done
}
them=$(find_them); set -- $them; count=$#
"#;

/// The script that signals, and its arguments.
pub(super) fn signal(markers: &[String], signal: StopSignal) -> (String, Vec<String>) {
    (format!("signal={}\n{FIND}{SIGNAL}", signal.name()), markers.to_vec())
}

/// The script that ends (SIGTERM, after three seconds SIGKILL) what runs and what was asked for, and its arguments.
pub(super) fn end(markers: &[String]) -> (String, Vec<String>) {
    (format!("{FIND}{ASKED_FOR}{FORGET}{END}"), markers.to_vec())
}

/// The same for what runs alone. On a minion that is dispatcherd's own host, the ssh of a program on another one has
/// its marker in its command line too.
pub(super) fn end_running(markers: &[String]) -> (String, Vec<String>) {
    (format!("{FIND}{RUNNING}{FORGET}{END}"), markers.to_vec())
}

/// The script that says whether anything runs, and ends nothing.
pub(super) fn look(markers: &[String]) -> (String, Vec<String>) {
    (format!("{FIND}{RUNNING}{LOOK}"), markers.to_vec())
}

/// The script that ends what steps have started that began in one of these windows (microseconds, both ends included),
/// and its arguments. It says how many processes it has found.
pub(super) fn end_steps(markers: &[String], windows: &[(u64, u64)]) -> (String, Vec<String>) {
    let windows: Vec<_> = windows.iter().map(|(since, until)| format!("{since}-{until}")).collect();
    (format!("windows='{}'\n{FIND}{OF_STEPS}{RUNNING}{FORGET}{END}", windows.join(" ")), markers.to_vec())
}

/// What [`end_steps`] found: how many processes, and what is left of them.
///
/// # Errors
/// Why it could not look.
pub(super) fn found(answer: &str) -> Result<(usize, Remains), String> {
    let (word, count) = answer.split_once(' ').unwrap_or((answer, "0"));
    let count = count.parse().map_err(|_| format!("its shell answers {answer:?}"))?;
    Ok((count, remains(word)?))
}

/// What [`end`] found.
///
/// # Errors
/// Why it could not look.
pub(super) fn remains(answer: &str) -> Result<Remains, String> {
    match answer {
        "gone" => Ok(Remains::Gone),
        "left" => Ok(Remains::Left),
        "unknown" => Err("its grep can't look for whole entries of an environment (-z)".to_owned()),
        other => Err(format!("its shell answers {:?}", other.chars().take(200).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shell::{find_answer, question};
    use super::super::stream::mark;
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    fn run(script: (String, Vec<String>)) -> String {
        run_in(Command::new("sh").arg("-s"), script)
    }

    fn run_in(shell: &mut Command, (script, arguments): (String, Vec<String>)) -> String {
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let script = question("word", &script, &arguments);
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        find_answer(&output.stdout, &mark("word")).unwrap()
    }

    #[test]
    fn marked_processes_are_ended_and_others_are_not() {
        let marker = format!("{}/1", uuid::Uuid::now_v7());
        let sleep = |marker: &str| {
            Command::new("sh").args(["-c", "trap '' TERM; sleep 1000"]).env(MARKER, marker).spawn().unwrap()
        };
        let asked_for = |marker: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "read -r word"]).arg(format!("{MARKER}={marker} python3"));
            shell.stdin(Stdio::piped()).spawn().unwrap()
        };
        let (mut asked, mut asked_by_other) = (asked_for(&marker), asked_for(&format!("{marker}1")));
        let (mut ours, mut other) = (sleep(&marker), sleep(&format!("{marker}1")));
        let mut lives_on = sleep(&format!("{marker}:2"));
        assert_eq!(remains(&run(look(std::slice::from_ref(&marker)))), Ok(Remains::Left));
        assert_eq!(remains(&run(end(std::slice::from_ref(&marker)))), Ok(Remains::Gone));
        assert!(ours.wait().unwrap().code().is_none(), "killed, since it does not listen to SIGTERM");
        assert!(asked.wait().unwrap().code().is_none());
        for other in [&mut other, &mut asked_by_other, &mut lives_on] {
            assert!(other.try_wait().unwrap().is_none(), "another attempt's process was ended");
        }
        run(signal(&[marker.clone(), format!("{marker}1")], StopSignal::Kill));
        other.wait().unwrap();
        let its = format!("{marker}:2");
        assert_eq!(remains(&run(end(std::slice::from_ref(&its)))), Ok(Remains::Gone));
        lives_on.wait().unwrap();
        assert_eq!(remains(&run(look(&[its]))), Ok(Remains::Gone));
        // Its input ends.
        drop(asked_by_other.stdin.take());
        asked_by_other.wait().unwrap();
        assert_eq!(remains(&run(end(&[marker]))), Ok(Remains::Gone));
        assert!(remains("unknown").is_err());
    }

    #[test]
    fn what_ignores_sigterm_is_killed_in_time_where_sleep_takes_whole_seconds_or_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        for script in ["case $1 in *.*) exit 1;; esac\nexec /bin/sleep \"$1\"", "exit 127"] {
            let sleep = directory.path().join("sleep");
            std::fs::write(&sleep, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&sleep, std::fs::Permissions::from_mode(0o755)).unwrap();
            let marker = format!("{}/1", uuid::Uuid::now_v7());
            let mut deaf = Command::new("sh");
            deaf.args(["-c", "trap '' TERM; read -r word"]).env(MARKER, &marker).stdin(Stdio::piped());
            let mut deaf = deaf.spawn().unwrap();
            let begun = Instant::now();
            let answer = run_in(Command::new("sh").arg("-s").env("PATH", &path), end_running(&[marker]));
            assert_eq!(remains(&answer), Ok(Remains::Gone), "{script}");
            assert!(begun.elapsed() < PATIENCE / 2, "{script}: {:?}", begun.elapsed());
            assert!(deaf.wait().unwrap().code().is_none());
        }
    }

    #[test]
    fn of_an_attempt_only_what_certain_steps_have_started_is_ended() {
        let marker = format!("{}/1", uuid::Uuid::now_v7());
        let sleep = |step: &str| {
            Command::new("sleep").arg("1000").env(MARKER, &marker).env(STEP, step).spawn().unwrap()
        };
        let (mut before, mut cut_off, mut after) =
            (sleep("1764522300000000"), sleep("1764522300000001"), sleep("1764522300000003"));
        let windows = [(1_764_522_300_000_001, 1_764_522_300_000_002), (1, 2)];
        let printed = run(end_steps(std::slice::from_ref(&marker), &windows));
        assert_eq!(found(&printed), Ok((1, Remains::Gone)));
        assert!(cut_off.wait().unwrap().code().is_none());
        for other in [&mut before, &mut after] {
            assert!(other.try_wait().unwrap().is_none(), "what another step has started was ended");
            other.kill().unwrap();
            other.wait().unwrap();
        }
        assert_eq!(found(&run(end_steps(&[marker], &windows))), Ok((0, Remains::Gone)));
        assert!(found("unknown").is_err());
    }
}
