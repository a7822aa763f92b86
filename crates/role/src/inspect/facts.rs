//! Facts that a role's files use as variables: in task-files they are none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use yaml_serde::Value;

use super::steps::YamlStep;
use crate::undeclared::{expressions, used_in};

/// What the module `setup` finds on a minion. Other words with `ansible_` are Ansible's own variables.
const FACTS: [&str; 44] = [
    "all_ipv4_addresses",
    "all_ipv6_addresses",
    "apparmor",
    "architecture",
    "bios_version",
    "cmdline",
    "date_time",
    "default_ipv4",
    "default_ipv6",
    "devices",
    "distribution",
    "distribution_file_variety",
    "distribution_major_version",
    "distribution_release",
    "distribution_version",
    "dns",
    "domain",
    "effective_user_id",
    "env",
    "fips",
    "form_factor",
    "fqdn",
    "hostname",
    "interfaces",
    "kernel",
    "local",
    "lsb",
    "machine",
    "memfree_mb",
    "memory_mb",
    "memtotal_mb",
    "mounts",
    "nodename",
    "os_family",
    "pkg_mgr",
    "processor_cores",
    "processor_vcpus",
    "python_version",
    "real_user_id",
    "selinux",
    "service_mgr",
    "swaptotal_mb",
    "system",
    "virtualization_type",
];

/// What is used so, in sentences.
pub(super) fn check(role: &Path, steps: &[YamlStep], variables: &[(PathBuf, Value)]) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut look = |place: &str, text: &str| {
        for word in used_in(text) {
            let first = word.split('.').next().unwrap_or_default();
            if let Some(fact) = first.strip_prefix("ansible_").filter(|fact| FACTS.contains(fact)) {
                used.insert((place.to_owned(), fact.to_owned()));
            }
        }
    };
    for step in steps {
        for (key, value) in &step.keys {
            expressions(key, value, &mut |text| look(&step.place(), text));
        }
    }
    for (file, value) in variables {
        expressions("vars", value, &mut |text| look(&file.display().to_string(), text));
    }
    for file in super::inspected_role::templates(role) {
        let text = std::fs::read_to_string(role.join(&file)).unwrap_or_default();
        expressions("text", &Value::String(text), &mut |text| look(&file.display().to_string(), text));
    }
    let said = |(place, fact): (String, String)| {
        format!(
            "{place}: ansible_{fact} is no variable in a role's task-files: write ansible_facts.{fact}, after a step with \
             ansible.builtin.setup"
        )
    };
    used.into_iter().map(said).collect()
}
