//! dispatcherd's config file.
//!
//! A key that is not known here is refused: a misspelt setting that is silently ignored is found much later
//! and at a higher price.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aegir_attempt::plan::{PluginCommand, RunnerSettings};
use aegir_attempt::vault;
use aegir_protocol::name::{BackendName, FrontendName, NodeName, RunnerName, UserName};
use aegir_service::config::ConfigError;
use aegir_service::directory::from_environment;
use serde::Deserialize;

/// `dispatcherd.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The group of dispatcherds that this one belongs to.
    #[serde(default = "default_backend")]
    pub backend: BackendName,
    /// This one; the host's name when absent.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// Whose Operations it takes, and who gets its catalog.
    #[serde(default = "default_frontends")]
    pub frontends: Vec<FrontendName>,
    /// The journal, roles by digest, and the key that secrets are sealed for. `$STATE_DIRECTORY`, or
    /// `/var/lib/aegir-dispatcherd`, when absent.
    #[serde(default)]
    pub state_directory: Option<PathBuf>,
    /// Opened secrets and sockets: a memory file system with a short path. `$RUNTIME_DIRECTORY`, or
    /// `/run/aegir-dispatcherd`, when absent.
    #[serde(default)]
    pub runtime_directory: Option<PathBuf>,
    /// How many attempts run at the same time.
    #[serde(default = "default_slots")]
    pub slots: u32,
    /// Directories that hold roles, each a subdirectory with a `meta/aegir.yml`.
    #[serde(default = "default_roles")]
    pub roles: Vec<PathBuf>,
    /// Directories with installed Ansible collections, whose roles with a `meta/aegir.yml` are offered too.
    #[serde(default = "default_collections")]
    pub collections: Vec<PathBuf>,
    /// Directories that codebases and playbooks may come from.
    #[serde(default)]
    pub content_roots: Vec<PathBuf>,
    /// How long a transcript stays here after relayd has all of it.
    #[serde(default)]
    pub transcript_retention_seconds: u64,
    /// How the broker is reached.
    #[serde(default)]
    pub broker: aegir_amqp::BrokerConfig,
    /// How minions are reached.
    #[serde(default)]
    pub ssh: Ssh,
    /// How Ansible is run.
    #[serde(default)]
    pub ansible: Ansible,
    /// Files with passwords of Ansible Vault, by vault id.
    #[serde(default)]
    pub vault_passwords: BTreeMap<String, PathBuf>,
    /// What is off until an operator allows it.
    #[serde(default)]
    pub allow: Allow,
    /// The plug-in runners that Tasks may name.
    #[serde(default)]
    pub runners: BTreeMap<RunnerName, RunnerConfig>,
    /// How much an attempt may use.
    #[serde(default)]
    pub limits: Limits,
}

/// `[ssh]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// The login where a host names none.
    pub user: UserName,
    /// The private key of the login; ssh's own defaults when absent.
    pub identity_file: Option<PathBuf>,
    /// How long a connection may take to come up.
    pub connect_timeout_seconds: u64,
}

/// `[ansible]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ansible {
    /// `ansible-playbook`, as a path or a name to look up in `PATH`.
    pub playbook: PathBuf,
    /// The Python that Ansible uses on minions.
    pub python: PathBuf,
    /// Where dispatcherd's callback and action plug-ins are.
    pub plugins: PathBuf,
}

/// `[allow]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Tasks of the `shell` runner may run beside dispatcherd, as its user.
    pub programs_on_dispatcher: bool,
}

/// A plug-in that takes longer to end than a day is not ending.
const LONGEST_GRACE: u64 = 24 * 3600;

/// `[runners.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerConfig {
    /// The program and its first arguments; the verb comes behind them.
    pub command: Vec<String>,
    /// How many files one of its processes may have open.
    #[serde(default = "RunnerConfig::default_open_files")]
    pub open_files: u64,
    /// How much memory one of its processes may have, in bytes; as much as there is when absent.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// How long one of its processes may compute, in seconds; as long as it likes when absent.
    #[serde(default)]
    pub processor_seconds: Option<u64>,
    /// How long it may take to end in good order when a Task is called off, in seconds; then it gets SIGTERM.
    #[serde(default = "RunnerConfig::default_grace_seconds")]
    pub grace_seconds: u64,
}

impl RunnerConfig {
    pub(crate) fn default_grace_seconds() -> u64 {
        aegir_catalog::runner::GRACE_SECONDS
    }

    fn default_open_files() -> u64 {
        1024
    }
}

impl From<&RunnerConfig> for PluginCommand {
    fn from(runner: &RunnerConfig) -> Self {
        let RunnerConfig { command, open_files, memory_bytes, processor_seconds, grace_seconds } = runner;
        Self {
            command: command.clone(),
            open_files: *open_files,
            memory_bytes: *memory_bytes,
            processor_seconds: *processor_seconds,
            grace_seconds: *grace_seconds,
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How many bytes an attempt may print before its Task is stopped.
    pub output_bytes: u64,
    /// How long a Task may take whose manifest says nothing else.
    pub task_timeout_seconds: u64,
    /// How long it may print nothing; as long as it likes when absent.
    pub task_quiet_seconds: Option<u64>,
    /// How many bytes of transcripts may lie here that relayd has not receipted.
    pub spool_bytes: u64,
}

fn default_backend() -> BackendName {
    "main".parse().expect("`main` is a name")
}

fn default_frontends() -> Vec<FrontendName> {
    vec!["main".parse().expect("`main` is a name")]
}

fn default_slots() -> u32 {
    4
}

fn default_roles() -> Vec<PathBuf> {
    vec![PathBuf::from("/usr/share/aegir/roles")]
}

fn default_collections() -> Vec<PathBuf> {
    vec![PathBuf::from("/usr/share/ansible/collections")]
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            user: "root".parse().expect("`root` is a name"),
            identity_file: None,
            connect_timeout_seconds: 10,
        }
    }
}

impl Default for Ansible {
    fn default() -> Self {
        Self {
            playbook: PathBuf::from("ansible-playbook"),
            python: PathBuf::from("/usr/bin/python3"),
            plugins: PathBuf::from("/usr/share/aegir-dispatcherd/ansible"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output_bytes: 1024 * 1024 * 1024,
            task_timeout_seconds: 3600,
            task_quiet_seconds: None,
            spool_bytes: 4 * 1024 * 1024 * 1024,
        }
    }
}

/// What is needed and neither stands in the config file nor can be found out.
#[derive(Debug, thiserror::Error)]
#[error("the host's name {name:?} can't be this node's name ({why}): set `node` in the config file")]
pub struct NoNodeName {
    name: String,
    why: String,
}

impl Config {
    /// Reads a config file. Relative paths in it are relative to the directory that it is in.
    ///
    /// # Errors
    /// When it can't be read or understood.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = aegir_service::config::load(file)?;
        let beside = |path: &mut PathBuf| *path = aegir_service::config::beside(file, path);
        config.state_directory.iter_mut().for_each(beside);
        config.runtime_directory.iter_mut().for_each(beside);
        config.roles.iter_mut().for_each(beside);
        config.collections.iter_mut().for_each(beside);
        config.content_roots.iter_mut().for_each(beside);
        config.ssh.identity_file.iter_mut().for_each(beside);
        config.broker.password_file.iter_mut().for_each(beside);
        config.broker.ca_file.iter_mut().for_each(beside);
        config.broker.certificate_file.iter_mut().for_each(beside);
        config.broker.key_file.iter_mut().for_each(beside);
        for path in config.vault_passwords.values_mut() {
            *path = vault::password_path(file, path);
        }
        beside(&mut config.ansible.plugins);
        // A name without a slash is looked up in `PATH`.
        if config.ansible.playbook.components().count() > 1 {
            beside(&mut config.ansible.playbook);
        }
        Ok(config)
    }

    /// This node's name: the configured one, or the host's.
    ///
    /// # Errors
    /// When none is configured and the host's name is not fit to be one.
    pub fn node_name(&self) -> Result<NodeName, NoNodeName> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        name.parse().map_err(|error| NoNodeName { name: name.to_owned(), why: format!("{error}") })
    }

    /// The state directory: configured, or systemd's, or the usual place.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        let usual = || from_environment("STATE_DIRECTORY", "/var/lib/aegir-dispatcherd");
        self.state_directory.clone().unwrap_or_else(usual)
    }

    /// The runtime directory: configured, or systemd's, or the usual place.
    #[must_use]
    pub fn runtime_path(&self) -> PathBuf {
        let usual = || from_environment("RUNTIME_DIRECTORY", "/run/aegir-dispatcherd");
        self.runtime_directory.clone().unwrap_or_else(usual)
    }

    /// What a plan keeps of the config.
    #[must_use]
    pub fn settings(&self) -> RunnerSettings {
        let state = absolute(&self.state_path());
        RunnerSettings {
            runtime_directory: absolute(&self.runtime_path()),
            content_directory: state.join("content"),
            collections: self.collections.iter().map(|path| absolute(path)).collect(),
            content_roots: self.content_roots.iter().map(|root| absolute(root)).collect(),
            age_identity_file: state.join(crate::identity::FILE_NAME),
            ssh_user: self.ssh.user.clone(),
            ssh_identity_file: self.ssh.identity_file.as_deref().map(absolute),
            known_hosts_file: state.join("known_hosts"),
            connect_timeout_seconds: self.ssh.connect_timeout_seconds,
            ansible_playbook: self.ansible.playbook.clone(),
            minion_python: self.ansible.python.clone(),
            vault_passwords: absolute_all(&self.vault_passwords),
            ansible_plugins: absolute(&self.ansible.plugins),
            output_limit_bytes: self.limits.output_bytes,
        }
    }

    /// What is wrong with the values, in sentences that say what to do; empty when nothing is.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Err(error) = self.node_name() {
            wrong.push(error.to_string());
        }
        if self.frontends.is_empty() {
            wrong.push("frontends is empty: name the relayd that this backend works for".to_owned());
        }
        if self.slots == 0 || self.slots > 1000 {
            wrong.push(format!("slots is {}: a number from 1 to 1000 is expected", self.slots));
        }
        if self.limits.task_timeout_seconds == 0 {
            wrong.push("limits.task_timeout_seconds is 0: no Task could run".to_owned());
        }
        if self.limits.task_quiet_seconds == Some(0) {
            wrong.push("limits.task_quiet_seconds is 0: every Task would be stopped at once".to_owned());
        }
        if self.limits.spool_bytes == 0 {
            wrong.push("limits.spool_bytes is 0: no child could print".to_owned());
        }
        if self.ssh.connect_timeout_seconds == 0 {
            wrong.push("ssh.connect_timeout_seconds is 0: no minion could be reached".to_owned());
        }
        for (name, runner) in &self.runners {
            if ["ansible", "shell"].contains(&name.as_str()) {
                wrong.push(format!("runners.{name}: that is the name of a runner of dispatcherd's own"));
            }
            if runner.command.is_empty() {
                wrong.push(format!("runners.{name}.command is empty: name the program"));
            }
            if runner.open_files < 16 {
                wrong.push(format!("runners.{name}.open_files is {}: 16 at least", runner.open_files));
            }
            if !(1..=LONGEST_GRACE).contains(&runner.grace_seconds) {
                wrong.push(format!(
                    "runners.{name}.grace_seconds is {}: 1 to {LONGEST_GRACE} is expected",
                    runner.grace_seconds
                ));
            }
        }
        wrong.extend(vault::check(&self.vault_passwords));
        for (setting, path) in self.directories() {
            if !path.is_dir() {
                wrong.push(format!(
                    "{setting} names {}, which is not a directory: create it, or correct the setting",
                    path.display()
                ));
            }
        }
        if let Err(error) = self.broker.check() {
            wrong.push(error.to_string());
        }
        if let Some(file) = self.ssh.identity_file.as_deref().filter(|file| !file.is_file()) {
            wrong.push(format!(
                "ssh.identity_file names {}, which is not a file: create the key with ssh-keygen, or correct \
                 the setting",
                file.display()
            ));
        }
        wrong
    }

    fn directories(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let roles = self.roles.iter().map(|path| ("roles", path.as_path()));
        let roots = self.content_roots.iter().map(|path| ("content_roots", path.as_path()));
        roles.chain(roots).chain([("ansible.plugins", self.ansible.plugins.as_path())])
    }
}

fn absolute_all(paths: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    paths.iter().map(|(name, path)| (name.clone(), absolute(path))).collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_config() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(config.slots, 4);
        assert_eq!(config.frontends, default_frontends());
        assert!(!config.allow.programs_on_dispatcher);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Config>("slot = 3").is_err());
        assert!(toml::from_str::<Config>("[allow]\nprograms = true").is_err());
    }

    #[test]
    fn relative_paths_are_beside_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dispatcherd.toml");
        std::fs::write(&file, "roles = [\"roles\"]\nstate_directory = \"/s\"").unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.roles, [directory.path().join("roles")]);
        assert_eq!(config.state_path(), Path::new("/s"));
        assert_eq!(config.ansible.playbook, Path::new("ansible-playbook"));
    }

    #[test]
    fn a_plug_in_has_a_grace() {
        let grace = |line: &str| {
            let config: Config = toml::from_str(&format!("[runners.a]\ncommand = [\"x\"]\n{line}")).unwrap();
            config.runners[&"a".parse().unwrap()].grace_seconds
        };
        assert_eq!((grace(""), grace("grace_seconds = 600")), (60, 600));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_setting() {
        let text = "slots = 0\nroles = [\"/nowhere/roles\"]\nfrontends = []\n[runners.a]\ncommand = [\"x\"]\ngrace_seconds = 0";
        let config: Config = toml::from_str(text).unwrap();
        let wrong = config.check().join("\n");
        let parts = [
            "slots is 0",
            "roles names /nowhere/roles",
            "frontends is empty",
            "runners.a.grace_seconds is 0: 1 to",
        ];
        for part in parts {
            assert!(wrong.contains(part), "{part} is not in {wrong}");
        }
    }
}
