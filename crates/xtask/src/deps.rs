//! The programs that demo and tests run, and the Debian packages that bring them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;

use crate::workspace;

/// A program, where it may be, and what brings it.
struct Program {
    name: &'static str,
    /// Absolute paths; where there are none, `PATH` is searched.
    places: &'static [&'static str],
    package: &'static str,
}

/// Paths are given where it matters which one is found: RabbitMQ's scripts in `/usr/sbin` insist on the
/// system's own node, and Ansible is to use the distribution's Python on the minion.
const PROGRAMS: &[Program] = &[
    Program {
        name: "rabbitmq-server",
        places: &["/usr/lib/rabbitmq/bin/rabbitmq-server"],
        package: "rabbitmq-server",
    },
    Program { name: "epmd", places: &[], package: "erlang-base" },
    Program { name: "ansible-playbook", places: &[], package: "ansible-core" },
    Program { name: "sshd", places: &["/usr/sbin/sshd"], package: "openssh-server" },
    Program { name: "ssh", places: &[], package: "openssh-client" },
    Program { name: "ssh-keygen", places: &[], package: "openssh-client" },
    Program {
        name: "nginx",
        places: &["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"],
        package: "nginx-light",
    },
    Program { name: "python3", places: &["/usr/bin/python3"], package: "python3" },
    Program { name: "git", places: &[], package: "git" },
];

/// What only tests run: a browser for relayd's page, the languages of its script and of examples, what looks at roles, what
/// runners start.
const FOR_TESTS: &[Program] = &[
    Program { name: "chromium", places: &[], package: "chromium" },
    Program { name: "chromedriver", places: &[], package: "chromium-driver" },
    Program { name: "node", places: &[], package: "nodejs" },
    Program { name: "ansible-lint", places: &[], package: "ansible-lint" },
    Program { name: "kubectl", places: &[], package: "kubernetes-client" },
    // Without Debian's configuration and its service.
    Program { name: "apache2", places: &["/usr/sbin/apache2"], package: "apache2-bin" },
    Program { name: "jq", places: &[], package: "jq" },
    Program { name: "hugo", places: &[], package: "hugo" },
    Program { name: "curl", places: &[], package: "curl" },
    Program { name: "tcsh", places: &[], package: "tcsh" },
    Program { name: "php", places: &[], package: "php-cli" },
    Program {
        name: "PHP's extension curl",
        // Of PHP 8.2 in Debian 12 and 8.4 in Debian 13.
        places: &["/usr/lib/php/20220829/curl.so", "/usr/lib/php/20240924/curl.so"],
        package: "php-curl",
    },
];

/// What makes an image without a registry.
const FOR_IMAGES: &[Program] =
    &[Program { name: "debootstrap", places: &["/usr/sbin/debootstrap"], package: "debootstrap" }];

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum For {
    /// The daemons and what they work with.
    Daemons,
    /// Every test.
    Tests,
    /// Container images where the registry can't be reached.
    Images,
}

impl For {
    fn programs(self) -> impl Iterator<Item = &'static Program> {
        let (some, more): (&[Program], &[Program]) = match self {
            Self::Daemons => (PROGRAMS, &[]),
            Self::Tests => (PROGRAMS, FOR_TESTS),
            Self::Images => (FOR_IMAGES, &[]),
        };
        some.iter().chain(more)
    }

    fn missing(self) -> Vec<&'static Program> {
        self.programs().filter(|program| !program.is_there()).collect()
    }
}

/// Installs packages, their services left alone: a package's own RabbitMQ or nginx would take ports, and none of
/// them is wanted. `policy-rc.d` is Debian's way to say so; it is put away afterwards.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends -- "$@"
"#;

impl Program {
    fn is_there(&self) -> bool {
        if self.places.is_empty() {
            let path = std::env::var_os("PATH").unwrap_or_default();
            return std::env::split_paths(&path).any(|directory| directory.join(self.name).is_file());
        }
        self.places.iter().any(|place| Path::new(place).is_file())
    }

    fn place(&self) -> String {
        if self.places.is_empty() { "in PATH".to_owned() } else { self.places.join(" or ") }
    }
}

/// Sees to it that every program is there.
///
/// # Errors
/// When one is missing and can't be installed from here; the message says what to do by hand.
pub(crate) fn ensure(what: For) -> anyhow::Result<()> {
    let missing = what.missing();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    packages.dedup();
    let packages = packages;
    println!("Missing programs:");
    for program in &missing {
        println!("  {} ({}), from the Debian package {}", program.name, program.place(), program.package);
    }
    if !Path::new("/etc/debian_version").exists() {
        bail!(
            "this is not Debian: install the programs listed above in this system's own way, then try again"
        );
    }
    let by_hand = format!("apt-get install {}", packages.join(" "));
    let Some(mut install) = as_root() else {
        bail!("installing them needs root, or sudo: run `{by_hand}` as root, then try again");
    };
    println!("Installing {} with apt-get. Their services will not be started.", packages.join(", "));
    install.args(["/bin/sh", "-c", INSTALL, "install"]).args(&packages).stdin(Stdio::inherit());
    workspace::run(install).map_err(|error| error.context(format!("`{by_hand}` did not work")))?;
    let missing: Vec<_> = what.missing().iter().map(|program| program.name).collect();
    if !missing.is_empty() {
        bail!("still missing after the installation: {}", missing.join(", "));
    }
    Ok(())
}

/// What runs the words after it as root: `env` where we are root, `sudo` where it asks for nothing or where
/// somebody is there to answer it.
pub(crate) fn as_root() -> Option<Command> {
    if rustix::process::geteuid().is_root() {
        return Some(Command::new("/usr/bin/env"));
    }
    let sudo = PathBuf::from("/usr/bin/sudo");
    if !sudo.exists() {
        return None;
    }
    let silent = Command::new(&sudo).args(["-n", "true"]).stderr(Stdio::null()).status();
    let silent = silent.is_ok_and(|status| status.success());
    let mut command = Command::new(sudo);
    if silent {
        command.arg("-n");
    } else if !std::io::stdin().is_terminal() {
        return None;
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_are_those_that_the_readme_names() {
        for package in
            ["rabbitmq-server", "ansible-core", "openssh-server", "openssh-client", "nginx-light", "python3"]
        {
            assert!(PROGRAMS.iter().any(|program| program.package == package), "{package}");
        }
    }

    #[test]
    fn the_installation_is_a_script_that_a_shell_can_read() {
        let status = Command::new("/bin/sh").args(["-n", "-c", INSTALL]).status().unwrap();
        assert!(status.success());
    }
}
