//! `cargo xtask localdev`: the network of services in containers, from the files of the DDEV add-on.

use std::io::{Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::base::Debian;
use super::engine::{Compose, Engine};
use super::images::{self, Compile, Image, VERSION};
use crate::workspace;

/// What the add-on installs, and what stands in for DDEV itself. The first one's directory is what relative paths in
/// all of them begin at.
const FILES: [&str; 5] = [
    "ddev/docker-compose.rabbitmq.yaml",
    "ddev/docker-compose.relayd.yaml",
    "ddev/docker-compose.dispatcherd.yaml",
    "ddev/docker-compose.minion.yaml",
    "ddev/localdev/docker-compose.localdev.yaml",
];
const PAIR: &str = "ddev/localdev/docker-compose.pair.yaml";
/// All services of all of these files.
const SERVICES: [&str; 7] = ["rabbitmq", "relayd", "dispatcherd", "minion", "web", "dispatcherd2", "minion2"];

/// How long containers may take until all are healthy, in seconds.
const HEALTHY_SECONDS: &str = "300";
/// How long the first catalog may take after that.
const CATALOG: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `cargo xtask localdev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The network's name: several can run side by side, with ports of their own
    #[arg(long, global = true, default_value = "aegir-localdev")]
    name: String,
    /// The first of three ports on 127.0.0.1: relayd, the broker's management page, the minion's web server
    #[arg(long, global = true, value_name = "N", default_value_t = 17280, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    port_base: u16,
    /// With a second dispatcherd and a second minion
    #[arg(long, global = true)]
    pair: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Build what is missing, start everything, and say where it is
    Up {
        /// The cargo profile of daemons that have to be built
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Deploy the static site in ddev/localdev/site/ to the minion, and fetch its page
    Deploy,
    /// Say what runs, and where
    Status,
    /// Follow the logs of all services, or of some
    Logs {
        /// relayd, dispatcherd, rabbitmq, minion or web
        services: Vec<String>,
    },
    /// Stop and remove everything, with all that it holds
    Down,
}

/// Does what was asked for.
///
/// # Errors
/// When there is no engine or compose, or something does not start; the message says what to do.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let network = Network::new(arguments)?;
    match &arguments.action {
        Action::Up { profile } => {
            network.images(profile)?;
            network.up()?;
            network.print_status()
        }
        Action::Deploy => network.deploy(),
        Action::Status => network.print_status(),
        Action::Logs { services } => {
            let mut command = network.compose(&["logs", "--follow", "--tail", "100"]);
            command.args(services);
            workspace::run(command)
        }
        Action::Down => network.down(),
    }
}

struct Network {
    engine: Engine,
    compose: Compose,
    name: String,
    ports: [(&'static str, &'static str, u16); 3],
    pair: bool,
}

impl Network {
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let Arguments { name, port_base: base, pair, .. } = arguments;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            bail!("{name:?} is no name for a network: use a-z, 0-9 and -");
        }
        let engine = Engine::find()?;
        let compose = Compose::find()?;
        let ports = [
            ("relayd", "AEGIR_RELAYD_PORT", *base),
            ("rabbitmq", "AEGIR_RABBITMQ_PORT", base + 1),
            ("minion", "AEGIR_MINION_PORT", base + 2),
        ];
        Ok(Self { engine, compose, name: name.clone(), ports, pair: *pair })
    }

    /// compose with our files and DDEV's variables.
    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = self.compose.command();
        command.args(["--project-name", &format!("ddev-{}", self.name), "--project-directory", "ddev"]);
        // What is to go goes with the second of each, whether that is there or not.
        let pair = self.pair || arguments.first() == Some(&"down");
        for file in FILES.iter().chain(pair.then_some(&PAIR)) {
            command.args(["--file", file]);
        }
        // The token of a relayd that runs as root would be root's alone.
        let own = |id: u32| if id == 0 { 1000 } else { id };
        command.args(arguments).envs([
            ("DDEV_SITENAME", self.name.clone()),
            ("DDEV_APPROOT", workspace::root().display().to_string()),
            ("DDEV_HOSTNAME", format!("{}.ddev.site", self.name)),
            ("DDEV_UID", own(rustix::process::getuid().as_raw()).to_string()),
            ("DDEV_GID", own(rustix::process::getgid().as_raw()).to_string()),
        ]);
        command.envs(self.ports.map(|(_, variable, port)| (variable, port.to_string())));
        command
    }

    fn container(&self, service: &str) -> String {
        format!("ddev-{}-{service}", self.name)
    }

    fn runs(&self, service: &str) -> bool {
        let format = "{{.State.Running}}";
        let container = self.container(service);
        self.engine.ask(&["inspect", "--format", format, &container]).is_ok_and(|said| said == "true")
    }

    /// Builds images that are not here, and refuses those of another version.
    fn images(&self, profile: &str) -> anyhow::Result<()> {
        let mut missing = Vec::new();
        for image in Image::ALL {
            let name = image.used();
            match self.engine.label(&name, images::VERSION_LABEL) {
                Some(version) if version == VERSION => self.compare(&name),
                Some(version) => bail!(
                    "the image {name} is of version {version:?}, this tree is {VERSION}: build it anew with `cargo \
                     xtask images`"
                ),
                None if name == image.built() => missing.push(image),
                None => bail!("there is no image {name}, which the environment names: pull it, or build it"),
            }
        }
        images::build(&self.engine, &missing, Debian::Bookworm, Compile::InTheImage { profile })
    }

    /// Says that an image was built of another commit. That need not matter, so nothing is refused.
    fn compare(&self, image: &str) {
        let of = self.engine.label(image, images::REVISION_LABEL).unwrap_or_default();
        if of != images::revision() {
            println!(
                "The image {image} is of commit {of}, not of this tree: `cargo xtask images` builds it anew"
            );
        }
    }

    fn up(&self) -> anyhow::Result<()> {
        for (service, _, port) in self.ports {
            if !self.runs(service) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                bail!(
                    "port {port} on 127.0.0.1, for {service}, is taken: stop what listens there (`ss -ltnp` names it), \
                     or choose others with --port-base"
                );
            }
        }
        if self.pair {
            self.share_the_key()?;
        }
        let up = ["up", "--detach", "--remove-orphans", "--wait", "--wait-timeout", HEALTHY_SECONDS];
        let started = workspace::run(self.compose(&up));
        if started.is_err() {
            let _ = self.compose(&["ps", "--all"]).status();
        }
        started.context(
            "not everything came up: `cargo xtask localdev logs` shows why; `cargo xtask localdev down` clears away what \
             an earlier run left half done, volumes included",
        )
    }

    /// Nodes of a backend share its key: the second one gets the first one's before it starts for the first time.
    fn share_the_key(&self) -> anyhow::Result<()> {
        let key = "/var/lib/aegir-dispatcherd/age-identity";
        workspace::run(self.compose(&[
            "up",
            "--detach",
            "--wait",
            "--wait-timeout",
            HEALTHY_SECONDS,
            "dispatcherd",
        ]))?;
        let read = format!("for _ in $(seq 100); do [ -s {key} ] && exec cat {key}; sleep 0.2; done; exit 1");
        let read = self.engine.ask(&["exec", &self.container("dispatcherd"), "sh", "-c", &read]);
        let mut file = tempfile::tempfile().context("can't make a temporary file")?;
        writeln!(file, "{}", read.context("dispatcherd made no key")?)
            .context("can't write a temporary file")?;
        file.rewind().context("can't read a temporary file")?;
        let write = format!("umask 077; cat > {key}");
        let mut run =
            self.compose(&["run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "dispatcherd2", "-c"]);
        run.arg(write).stdin(file);
        workspace::run(run)
    }

    fn down(&self) -> anyhow::Result<()> {
        workspace::run(self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "10"]))?;
        // What has our containers' names and compose does not know, since a run was killed half way.
        for container in SERVICES.map(|service| self.container(service)) {
            if self.engine.ask(&["inspect", "--format", "{{.Id}}", &container]).is_ok() {
                self.engine.ask(&["rm", "--force", &container])?;
            }
        }
        Ok(())
    }

    /// Runs something in the web container, as a frontend would, and gives what it prints.
    fn in_web(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let container = self.container("web");
        self.engine.ask(&[&["exec", container.as_str()], arguments].concat())
    }

    /// Where everything is.
    fn print_status(&self) -> anyhow::Result<()> {
        let state = self.compose(&["ps", "--all", "--format", "table {{.Service}}\t{{.Status}}"]);
        workspace::run(state)?;
        if !self.runs("web") {
            println!("\nIt is not up: `cargo xtask localdev up` starts it.");
            return Ok(());
        }
        let [(_, _, relayd), (_, _, rabbitmq), (_, _, minion)] = self.ports;
        let link = self.in_web(&["aegir", "sign-in", "--json"])?;
        let link: Value =
            serde_json::from_str(&link).context("aegir sign-in printed something else than JSON")?;
        let path = link["path"].as_str().unwrap_or("/");
        let broker = self.container("rabbitmq");
        println!("\nrelayd's page, with a link that signs you in once:\n  http://127.0.0.1:{relayd}{path}");
        println!(
            "The broker's page (user aegir, password: docker exec {broker} cat /exchange/broker-password):"
        );
        println!("  http://127.0.0.1:{rabbitmq}/");
        println!("The minion's web server:\n  http://127.0.0.1:{minion}/");
        println!(
            "A shell beside the frontend, with aegir in it:\n  docker exec -it {} bash",
            self.container("web")
        );
        Ok(())
    }

    fn deploy(&self) -> anyhow::Result<()> {
        if !self.runs("web") {
            bail!("the localdev is not up: `cargo xtask localdev up` starts it");
        }
        self.wait_for_catalog()?;
        let container = self.container("web");
        let site = "welcome.example";
        let mut words = vec!["exec", container.as_str(), "aegir", "run", "static_site.deploy", "--follow"];
        let target = format!("site:{site}");
        words.extend(["--target", &target, "--hosts-file", "/exchange/hosts/minion.json"]);
        words.extend(["--var", "source=/var/www/html/ddev/localdev/site"]);
        workspace::run(self.engine.docker(&words))?;
        let (host, url) = (format!("Host: {site}"), format!("http://{}/", self.container("minion")));
        let page = self.in_web(&["curl", "--silent", "--show-error", "--fail", "--header", &host, &url])?;
        println!("\n{page}\n");
        let [.., (_, _, minion)] = self.ports;
        println!("From here: curl --header 'Host: {site}' http://127.0.0.1:{minion}/");
        Ok(())
    }

    fn wait_for_catalog(&self) -> anyhow::Result<()> {
        let end = Instant::now() + CATALOG;
        loop {
            let known = self.in_web(&["aegir", "catalog", "static_site"]);
            match known {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    return Err(
                        error.context("relayd has heard of no backend: see `cargo xtask localdev logs`")
                    );
                }
                Err(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}
