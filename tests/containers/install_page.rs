//! docs/howto/install.md, typed as it stands on a machine of Debian 12 that has nothing of ours but the clone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::machine::Machine;

/// How long a machine may take to have its broker.
const BOOT: Duration = Duration::from_secs(180);

/// The page's commands, in their order.
fn commands(page: &str) -> Vec<&str> {
    let mut is_console = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) => is_console = language == "console",
            None if is_console => commands.extend(line.strip_prefix("$ ")),
            None => {}
        }
    }
    commands
}

/// What the page has its reader do on the minion, before the first command that goes there.
const ON_THE_MINION: &str = "install --directory --owner deploy --mode 0700 ~deploy/.ssh && \
    install --owner deploy --mode 0600 /var/lib/aegir-dispatcherd/.ssh/id_ed25519.pub ~deploy/.ssh/authorized_keys";

/// Asks for an Operation as the frontend's own user of the broker and prints the answer; then tries what that user may not.
const FRONTEND: &str = r#"
import json, pika, sys
password = open('/etc/aegir/frontend-broker-password').read().strip()
login = pika.PlainCredentials('frontend', password)
def channel():
    return pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', credentials=login)).channel()
ask = channel()
queue = ask.queue_declare('', exclusive=True).method.queue
body = {'name': 'aegir.check', 'target': {'kind': 'backend', 'id': 'main', 'name': 'main'}}
ask.basic_publish('aegir.requests', 'main', json.dumps({'schema': 'aegir.request/0', 'body': body}),
                  pika.BasicProperties(reply_to=queue, message_id='first', correlation_id='1'))
for method, properties, answer in ask.consume(queue, inactivity_timeout=30):
    print(answer.decode() if answer else 'no answer')
    break
for attempt in (lambda c: c.basic_get('aegir.operations.main'), lambda c: c.queue_declare('aegir.dead', passive=False),
                lambda c: c.queue_bind(queue, 'aegir.transcripts', 'main')):
    try:
        attempt(channel())
        sys.exit('the frontend may do what it may not')
    except pika.exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 403, error
"#;

#[test]
fn the_install_page_ends_with_everything_running() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto/install.md");
    let page = std::fs::read_to_string(page)?;
    let commands = commands(&page);
    ensure!(commands.len() > 25, "only {} commands found", commands.len());

    let name = format!("aegir-test-install-{}", std::process::id());
    let machine = Machine::boot(name, "Dockerfile.bare", "bookworm", None)?;
    machine.shell("echo 127.0.0.1 web1.example >> /etc/hosts")?;
    let end = Instant::now() + BOOT;
    while let Err(error) = machine.shell("rabbitmqctl await_startup --timeout 5") {
        ensure!(Instant::now() < end, "no broker: {error:#}");
    }

    for command in commands {
        // What it builds is in the image.
        if command.starts_with("cargo build ") {
            continue;
        }
        if command.contains(" minion add ") {
            machine.shell(ON_THE_MINION)?;
        }
        // A reader who is asked says yes.
        let typed = format!("cd /root/aegir && yes yes | bash -c '{}'", command.replace('\'', r"'\''"));
        machine.shell(&typed).with_context(|| command.to_owned())?;
    }

    machine.shell(&format!("cat > /root/frontend.py <<'END'\n{FRONTEND}END\n"))?;
    let answer = machine.shell("python3 /root/frontend.py")?;
    ensure!(answer.contains(r#""accepted""#), "{answer}");
    let users = machine.shell("rabbitmqctl list_connections user | sort -u")?;
    ensure!(users.contains("aegir-relayd") && users.contains("aegir-dispatcherd"), "{users}");
    Ok(())
}
