//! The units under a real systemd, on both releases of Debian: what they start, what they must not interrupt, and what
//! brings a daemon back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::localdev::ended;
use crate::machine::Machine;

const DEADLINE: Duration = Duration::from_secs(180);

/// A machine on which both daemons are installed, with one minion: itself.
struct Installed(Machine);

impl Installed {
    fn boot(release: &str) -> Result<Self> {
        let name = format!("aegir-test-systemd-{release}-{}", std::process::id());
        let machine = Self(Machine::boot(name, "Dockerfile", release, None)?);
        machine.is_up()?;
        machine.shell(
            "install --directory --owner aegir-dispatcherd --mode 0700 /var/lib/aegir-dispatcherd/.ssh && \
             runuser -u aegir-dispatcherd -- ssh-keygen -q -t ed25519 -N '' -f /var/lib/aegir-dispatcherd/.ssh/id_ed25519 && \
             install --directory --owner deploy --mode 0700 ~deploy/.ssh && \
             install --owner deploy --mode 0600 /var/lib/aegir-dispatcherd/.ssh/id_ed25519.pub ~deploy/.ssh/authorized_keys && \
             fingerprint=$(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2) && \
             runuser -u aegir-dispatcherd -- aegir-dispatcherd minion add web1 --address 127.0.0.1 --yes --fingerprint \"$fingerprint\"",
        )?;
        Ok(machine)
    }

    /// Waits until both daemons run and know each other.
    fn is_up(&self) -> Result<()> {
        self.until("both daemons", || {
            let active = self.shell("systemctl is-active aegir-relayd aegir-dispatcherd").is_ok();
            Ok((active && self.shell("aegir catalog steady").is_ok()).then_some(()))
        })
    }

    fn shell(&self, script: &str) -> Result<String> {
        self.0.shell(script)
    }

    fn property(&self, unit: &str, property: &str) -> Result<String> {
        self.shell(&format!("systemctl show --value --property {property} {unit}"))
    }

    fn submit(&self, operation: &str, rest: &str) -> Result<String> {
        let said = self.shell(&format!(
            "aegir run {operation} --target site:unit.example --host web1=deploy@127.0.0.1 --service web1:nginx --json {rest}"
        ))?;
        let operation: Value = serde_json::from_str(&said).context("no JSON")?;
        Ok(operation["id"].as_str().context("no id")?.to_owned())
    }

    /// A playbook that counts for so many tenths of a second, and has begun.
    fn play(&self, ticks: u32) -> Result<String> {
        self.begun("steady.play", &format!("--var ticks:={ticks}"))
    }

    fn begun(&self, operation: &str, rest: &str) -> Result<String> {
        let id = self.submit(operation, rest)?;
        self.until("its start", || {
            Ok(self.shell(&format!("test -e /var/tmp/begun-{id}")).is_ok().then_some(()))
        })?;
        Ok(id)
    }

    fn end(&self, id: &str) -> Result<Value> {
        let show = format!("aegir show {id} --json");
        self.until("its end", || Ok(self.shell(&show).ok().and_then(|shown| ended(&shown))))
    }

    fn succeeded_once(&self, id: &str) -> Result<()> {
        let ended = self.end(id)?;
        ensure!(ended["outcome"] == "succeeded", "{ended:#}");
        let begun = self.shell(&format!("cat /var/tmp/begun-{id}"))?;
        ensure!(begun == "x", "it was begun {} times", begun.len());
        Ok(())
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > end {
                let journal =
                    self.shell("systemctl --failed; journalctl --no-pager --lines 60").unwrap_or_default();
                bail!("{what} did not come within {DEADLINE:?}\n{journal}");
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn the_units_keep_what_they_promise(release: &str) -> Result<()> {
    let machine = Installed::boot(release)?;
    // Start, and deploy.
    let site = machine.submit("static_site.deploy", "--var source=/srv/content/site")?;
    let ended = machine.end(&site)?;
    ensure!(ended["outcome"] == "succeeded", "{ended:#}");
    let page = machine.shell("curl --silent --fail --header 'Host: unit.example' http://127.0.0.1/")?;
    ensure!(page == "<h1>From a unit</h1>", "{page}");

    // A restart under a play: it is not interrupted, its connection stays where it was, and so do its secrets.
    let sockets = "find /run/aegir-dispatcherd/ssh -type s -printf '%p %i\\n' | sort";
    machine.shell("umask 077 && printf mellon > /root/word")?;
    let play = machine.begun("steady.play_and_tell", "--var ticks:=150 --secret word=@/root/word")?;
    let before = machine.shell(sockets)?;
    ensure!(!before.is_empty(), "there is no connection to the minion");
    machine.shell("systemctl restart aegir-dispatcherd aegir-relayd")?;
    ensure!(machine.shell(sockets)? == before, "the sockets went with the restart");
    machine.succeeded_once(&play)?;
    ensure!(machine.shell("cat /var/tmp/told")? == "mellon", "the secret went with the restart");

    // So does a crash, after which systemd brings the daemon back.
    for unit in ["aegir-dispatcherd", "aegir-relayd"] {
        let play = machine.play(80)?;
        machine.shell(&format!("systemctl kill --kill-whom main --signal KILL {unit}"))?;
        machine.succeeded_once(&play)?;
        ensure!(machine.property(unit, "NRestarts")? == "1", "{unit} was not restarted once");
    }

    // A daemon that hangs is ended by the watchdog.
    machine.shell("systemctl kill --kill-whom main --signal STOP aegir-dispatcherd aegir-relayd")?;
    for unit in ["aegir-dispatcherd", "aegir-relayd"] {
        machine.until("the watchdog", || {
            let restarts: u32 = machine.property(unit, "NRestarts")?.parse()?;
            Ok((restarts >= 2).then_some(()))
        })?;
    }
    machine.is_up()?;

    // A stop takes no time and ends no play.
    let play = machine.play(100)?;
    let begin = Instant::now();
    machine.shell("systemctl stop aegir-dispatcherd aegir-relayd")?;
    ensure!(begin.elapsed() < Duration::from_secs(10), "stopping took {:?}", begin.elapsed());
    ensure!(machine.property("aegir-dispatcherd", "Result")? == "success", "the stop was no success");
    machine.shell("systemctl start aegir-dispatcherd aegir-relayd")?;
    machine.succeeded_once(&play)?;

    // A reboot ends it, and says so.
    let play = machine.play(3000)?;
    machine.0.reboot()?;
    machine.is_up()?;
    let ended = machine.end(&play)?;
    ensure!(ended["outcome"] == "lost" && ended["reason"]["code"] == "runner_gone", "{ended:#}");
    let next = machine.play(3)?;
    machine.succeeded_once(&next)
}

#[test]
fn the_units_keep_what_they_promise_on_debian_12() -> Result<()> {
    the_units_keep_what_they_promise("bookworm")
}

#[test]
fn the_units_keep_what_they_promise_on_debian_13() -> Result<()> {
    the_units_keep_what_they_promise("trixie")
}
