//! The `ansible.cfg` that a playbook of the operator's own runs under: found as Ansible would find it for who stands in
//! the playbook's project, and read for what the runner adds to, such as the places of plug-ins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Ansible's own name for the file.
const NAME: &str = "ansible.cfg";
/// Where Ansible looks when the project has none.
const OF_ALL: &str = "/etc/ansible/ansible.cfg";

/// A section and a key of it.
pub type ConfigKey = (&'static str, &'static str);

/// What an operator's own playbook runs under.
#[derive(Debug, Default)]
pub struct ProjectConfig {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Where somebody who runs the playbook by hand stands: beside that file, else beside the playbook.
    pub start: PathBuf,
    said: BTreeMap<(String, String), String>,
}

impl ProjectConfig {
    /// The nearest `ansible.cfg` beside the playbook or above it, within the content root; else that of the daemon's user,
    /// else that of the machine.
    #[must_use]
    pub fn of(playbook: &Path, roots: &[PathBuf]) -> Self {
        let beside = playbook.parent().unwrap_or(Path::new("/"));
        let roots: Vec<_> = roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
        let within = |directory: &&Path| roots.iter().any(|root| directory.starts_with(root));
        let project = beside.ancestors().take_while(within).map(|directory| directory.join(NAME));
        if let Some(file) = project.into_iter().find(|file| file.is_file()) {
            let start = file.parent().unwrap_or(beside).to_owned();
            return Self::read(file, start);
        }
        let others = [home().join(".ansible.cfg"), PathBuf::from(OF_ALL)];
        match others.into_iter().find(|file| file.is_file()) {
            Some(file) => Self::read(file, beside.to_owned()),
            None => Self { start: beside.to_owned(), ..Self::default() },
        }
    }

    /// One that can't be read says nothing here; Ansible says then what is wrong with it.
    fn read(file: PathBuf, start: PathBuf) -> Self {
        let said = std::fs::read_to_string(&file).map(|text| parsed(&text)).unwrap_or_default();
        Self { file: Some(file), start, said }
    }

    /// What it says of a setting that may stand under several keys, of which the last counts.
    #[must_use]
    pub fn says(&self, keys: &[ConfigKey]) -> Option<&str> {
        let said = |&(section, key): &ConfigKey| self.said.get(&(section.to_owned(), key.to_owned()));
        keys.iter().rev().find_map(said).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The directories of a setting, or where Ansible looks when nothing is said: below its home, and those of the machine.
    #[must_use]
    pub fn paths(&self, keys: &[ConfigKey], home_and: (&str, &[&str])) -> Vec<PathBuf> {
        match self.says(keys) {
            Some(value) => value.split(':').filter_map(|path| self.resolved(path)).collect(),
            None => {
                let of_home = self.ansible_home().join(home_and.0);
                std::iter::once(of_home).chain(home_and.1.iter().map(PathBuf::from)).collect()
            }
        }
    }

    /// The inventories that it names, and that are there.
    #[must_use]
    pub fn inventories(&self) -> Vec<PathBuf> {
        let named = self.says(&[("defaults", "inventory")]).unwrap_or_default();
        named.split(',').filter_map(|path| self.resolved(path)).filter(|path| path.exists()).collect()
    }

    fn ansible_home(&self) -> PathBuf {
        let said = self.says(&[("defaults", "home")]).and_then(|path| self.resolved(path));
        said.unwrap_or_else(|| home().join(".ansible"))
    }

    /// A path as Ansible means it: a relative one starts at the file's directory.
    fn resolved(&self, path: &str) -> Option<PathBuf> {
        let path = path.trim();
        if path.is_empty() {
            return None;
        }
        if let Some(rest) = path.strip_prefix("~/") {
            return Some(home().join(rest));
        }
        let path = path.replace("{{CWD}}", &self.start.to_string_lossy());
        // What begins with a variable is for Ansible to read.
        if path.starts_with(['$', '~']) {
            return Some(PathBuf::from(path));
        }
        let beside = self.file.as_deref().and_then(Path::parent).unwrap_or(&self.start);
        Some(beside.join(path))
    }
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// The values of a file as Python's `configparser` reads it for Ansible: keys in lower case, a value goes on in lines that
/// are indented further, and a comment begins at `#` or `;` or behind a space and `;`.
fn parsed(text: &str) -> BTreeMap<(String, String), String> {
    let mut said = BTreeMap::<_, String>::new();
    let mut section = String::new();
    let mut open: Option<((String, String), usize)> = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = uncommented(line).trim_end();
        let content = line.trim_start();
        if content.is_empty() {
            continue;
        }
        let indent = line.len() - content.len();
        if let Some((key, of_key)) = &open
            && indent > *of_key
        {
            if let Some(value) = said.get_mut(key) {
                value.push('\n');
                value.push_str(content);
            }
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.clone_into(&mut section);
            open = None;
            continue;
        }
        let Some((key, value)) = content.split_once(['=', ':']) else { continue };
        let key = (section.clone(), key.trim().to_lowercase());
        said.insert(key.clone(), value.trim().to_owned());
        open = Some((key, indent));
    }
    said.values_mut().for_each(|value| *value = unquoted(value).replace("%%", "%"));
    said
}

fn uncommented(line: &str) -> &str {
    if line.trim_start().starts_with(['#', ';']) {
        return "";
    }
    let behind_a_space = |&(at, _): &(usize, &str)| line[..at].ends_with(char::is_whitespace);
    line.match_indices(';').find(behind_a_space).map_or(line, |(at, _)| &line[..at])
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_ansible_reads_it() {
        let text = "\u{feff}# comment\n[defaults]\nRoles_Path = ./a:/b ; more\nlibrary: \"c;d\"\n\
                    inventory = one,\n   two\n  # not this\ncallback_plugins=\n[ssh_connection]\n  pipelining = no\n  ssh_args = -o A=%%h\n";
        let said = parsed(text);
        let at = |section: &str, key: &str| said.get(&(section.to_owned(), key.to_owned())).cloned();
        assert_eq!(at("defaults", "roles_path").as_deref(), Some("./a:/b"));
        assert_eq!(at("defaults", "library").as_deref(), Some("c;d"));
        assert_eq!(at("defaults", "inventory").as_deref(), Some("one,\ntwo"));
        assert_eq!(at("defaults", "callback_plugins").as_deref(), Some(""));
        assert_eq!(at("ssh_connection", "pipelining").as_deref(), Some("no"));
        assert_eq!(at("ssh_connection", "ssh_args").as_deref(), Some("-o A=%h"));
    }

    #[test]
    fn the_nearest_file_within_the_content_root_counts() {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().canonicalize().unwrap().join("root");
        let plays = root.join("project/plays");
        std::fs::create_dir_all(&plays).unwrap();
        std::fs::write(plays.join("site.yml"), "[]").unwrap();
        std::fs::write(above.path().join(NAME), "[defaults]\nforks=1\n").unwrap();
        let of = || ProjectConfig::of(&plays.join("site.yml"), std::slice::from_ref(&root));
        assert_ne!(of().file, Some(above.path().join(NAME)));
        assert_eq!(of().start, plays);
        let project = root.join("project");
        std::fs::write(project.join(NAME), "[defaults]\nroles_path=x:~/y:/z\ninventory=hosts, none\n")
            .unwrap();
        std::fs::write(project.join("hosts"), "web1\n").unwrap();
        let own = of();
        assert_eq!((&own.file, &own.start), (&Some(project.join(NAME)), &project));
        let paths = own.paths(&[("defaults", "roles_path")], ("roles", &[]));
        assert_eq!(paths, [project.join("x"), home().join("y"), PathBuf::from("/z")]);
        assert_eq!(own.inventories(), [project.join("hosts")]);
        let paths = own.paths(&[("defaults", "library")], ("plugins/modules", &["/usr/share"]));
        assert_eq!(paths, [home().join(".ansible/plugins/modules"), PathBuf::from("/usr/share")]);
    }
}
