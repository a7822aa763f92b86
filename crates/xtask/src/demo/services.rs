//! Who takes part: broker, minion, web server and both daemons.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aegir_testkit::demo::{self, SITE};
use aegir_testkit::{Broker, Dispatcherd, Nginx, Relayd, TestMinion};
use anyhow::Context as _;

use crate::demo::leftovers::DemoDirectory;
use crate::demo::ports::Ports;

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<title>example.test</title>\n\
                    <h1>Deployed through RabbitMQ</h1>\n\
                    <p>relayd decided, dispatcherd carried out, the runner did the work.</p>\n</html>\n";
/// How long the catalog may take on its way from dispatcherd to relayd.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs. The order of the fields is the order in which it ends.
#[derive(Debug)]
pub(crate) struct DemoServices {
    pub(crate) dispatcherd: Dispatcherd,
    pub(crate) relayd: Relayd,
    pub(crate) nginx: Nginx,
    pub(crate) minion: TestMinion,
    broker: Broker,
    pub(crate) directory: PathBuf,
}

impl DemoServices {
    /// Starts all of them and waits until relayd knows what the backend can do.
    ///
    /// # Errors
    /// When one does not start; the message holds the end of its log.
    pub(crate) async fn start(stage: &DemoDirectory, ports: Ports) -> anyhow::Result<Self> {
        let directory = stage.directory().to_owned();
        let at = |name: &str| directory.join(name);
        let content = at("content").join(SITE);
        fs::create_dir_all(&content).context("can't make the site's content")?;
        fs::create_dir_all(at("roles")).context("can't make a directory for roles")?;
        fs::write(content.join("index.html"), PAGE).context("can't write the site's content")?;

        println!("Starting everything below {}", directory.display());
        say("a RabbitMQ node of its own", ports.broker);
        let broker = Broker::builder(&at("broker"))
            .node_name("aegir-demo")
            .amqp_port(ports.broker)
            .dist_port(ports.broker_distribution)
            .epmd_port(ports.epmd)
            .start()
            .await?;
        stage.note_file("rabbitmq-server", &at("broker/pid"))?;
        say("an sshd that plays the minion web1", ports.sshd);
        let minion = TestMinion::builder(&at("minion")).port(ports.sshd).start().await?;
        stage.note_file("sshd", &at("minion/sshd.pid"))?;
        say("the minion's nginx", ports.nginx);
        let nginx = Nginx::start_on(&at("nginx"), ports.nginx).await?;
        stage.note("nginx", nginx.id())?;
        say("relayd", ports.relayd);
        let mut relayd = Relayd::builder(&at("relayd"), broker.url()).port(ports.relayd).start().await?;
        if let Some(process) = relayd.process() {
            stage.note("relayd", process.id())?;
        }
        println!("  dispatcherd");
        let mut dispatcherd = Dispatcherd::builder(&stage.dispatcherd(), broker.url())
            .content_root(&at("content"))
            // What docs/tutorial/roles.md fills.
            .roles(&at("roles"))
            .section(&format!("[runners.note]\ncommand = [{:?}]", at("runners/note.py")))
            .identity_file(&minion.identity_file)
            .runtime_directory(&stage.runtime())
            .start()
            .await?;
        if let Some(process) = dispatcherd.process() {
            stage.note("dispatcherd", process.id())?;
        }
        let services = Self { dispatcherd, relayd, nginx, minion, broker, directory };
        let arrived = services.relayd.wait_for_catalog(PATIENCE).await;
        arrived.with_context(|| format!("dispatcherd's log ends:\n{}", services.dispatcherd.log_tail()))?;
        Ok(services)
    }

    /// The page that is to be served.
    pub(crate) fn page(&self) -> &'static [u8] {
        PAGE.as_bytes()
    }

    /// Writes the files that the tutorial's commands use.
    ///
    /// # Errors
    /// When one of them can't be written.
    pub(crate) fn write_files(&self) -> anyhow::Result<()> {
        let (source, root) = (self.directory.join("content").join(SITE), self.directory.join("sites"));
        let variables = demo::site_variables(&source, &root, &self.nginx);
        demo::write(&self.directory, &self.relayd, &self.nginx, &demo::host(&self.minion), &variables)
    }

    /// Stops the daemons in order and kills the rest, which keeps nothing that is wanted.
    pub(crate) async fn stop(&mut self) {
        println!("Stopping everything that was started");
        let stopped = [self.dispatcherd.stop().await, self.relayd.stop().await];
        for error in stopped.into_iter().filter_map(Result::err) {
            eprintln!("  {error:#}");
        }
        if let Err(error) = self.broker.kill().await {
            eprintln!("  {error:#}");
        }
    }
}

fn say(what: &str, port: u16) {
    println!("  {what}, on 127.0.0.1:{port}");
}
