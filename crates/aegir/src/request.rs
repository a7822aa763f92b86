//! From what was typed to a request. Files are read through a function, so that tests need none.

use std::path::{Path, PathBuf};

use aegir_protocol::operation::{Host, HostKey, Variables};
use aegir_protocol::read::{UnknownFields, from_json};
use aegir_protocol::request::{Request, RequestTarget};
use serde_json::{Value, json};

use crate::arguments::{CheckArguments, RunArguments};
use crate::error::Error;
use crate::values::{HostArgument, HostKeyArgument, ServiceArgument, TextSource, VariableKey};

/// Gives the text of a file.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<String, Error>;

/// The request that `aegir run` sends.
///
/// # Errors
/// When a file can't be read or does not hold what is expected of it, or a flag names a host that is not there.
pub fn request(run: &RunArguments, read: ReadFile<'_>) -> Result<Request, Error> {
    let mut hosts = hosts(&run.hosts_files, &run.hosts, &run.host_keys, read)?;
    add_services(&mut hosts, &run.services)?;
    Ok(Request {
        name: run.name.clone(),
        target: RequestTarget {
            kind: run.target.kind.clone(),
            id: run.target_id.clone(),
            name: run.target.name.clone(),
        },
        backend: run.backend.clone(),
        hosts,
        variables: variables(run, read)?,
        locks: Vec::new(),
        requested_by: run.requested_by.clone(),
        priority: run.priority,
        dry_run: run.dry_run,
        timeout_seconds: run.timeout,
        idempotency_key: None,
        traceparent: None,
    })
}

/// The minions that `aegir check` is to verify.
///
/// # Errors
/// As for [`request`].
pub fn hosts_to_check(check: &CheckArguments, read: ReadFile<'_>) -> Result<Vec<Host>, Error> {
    hosts(&check.hosts_files, &check.hosts, &check.host_keys, read)
}

fn hosts(
    files: &[PathBuf],
    arguments: &[HostArgument],
    keys: &[HostKeyArgument],
    read: ReadFile<'_>,
) -> Result<Vec<Host>, Error> {
    let mut hosts: Vec<Host> = Vec::new();
    for file in files {
        let listed: Vec<Host> = from_json(read(file)?.as_bytes(), UnknownFields::Refuse)
            .map_err(|error| Error::file(file, format!("expected an array of hosts: {error}")))?;
        hosts.extend(listed);
    }
    for argument in arguments {
        let host = match hosts.iter().position(|host| host.name == argument.name) {
            Some(index) => &mut hosts[index],
            None => {
                hosts.push(Host::named(argument.name.clone()));
                hosts.last_mut().expect("it was pushed just now")
            }
        };
        host.address = argument.address.clone().or_else(|| host.address.take());
        host.port = argument.port.or(host.port);
        host.user = argument.user.clone().or_else(|| host.user.take());
    }
    for argument in keys {
        let host = hosts.iter_mut().find(|host| host.name == argument.host).ok_or_else(|| {
            Error::Usage(format!("--host-key names the unknown host {0}: add --host {0}", argument.host))
        })?;
        host.host_keys.extend(host_keys(&argument.key, read)?);
    }
    Ok(hosts)
}

fn host_keys(source: &TextSource, read: ReadFile<'_>) -> Result<Vec<HostKey>, Error> {
    match source {
        TextSource::Text(text) => {
            let key = HostKey::try_from(text.clone())
                .map_err(|error| Error::Usage(format!("--host-key: {error}")))?;
            Ok(vec![key])
        }
        TextSource::File(path) => {
            let text = read(path)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let keys: Result<Vec<_>, _> = lines.map(|line| HostKey::try_from(line.to_owned())).collect();
            match keys {
                Ok(keys) if keys.is_empty() => Err(Error::file(path, "the file has no host key".to_owned())),
                Ok(keys) => Ok(keys),
                Err(error) => Err(Error::file(path, error.to_string())),
            }
        }
    }
}

fn add_services(hosts: &mut [Host], services: &[ServiceArgument]) -> Result<(), Error> {
    for argument in services {
        let host = hosts.iter_mut().find(|host| host.name == argument.host).ok_or_else(|| {
            Error::Usage(format!("--service names the unknown host {0}: add --host {0}", argument.host))
        })?;
        host.services.entry(argument.service.clone()).or_default();
    }
    Ok(())
}

fn variables(run: &RunArguments, read: ReadFile<'_>) -> Result<Variables, Error> {
    let mut variables = Variables::new();
    let mut set = |key: &VariableKey, value: Value| {
        variables.entry(key.scope.clone()).or_default().insert(key.name.clone(), value);
    };
    for file in &run.variables_files {
        let listed: Variables = serde_json::from_str(&read(file)?)
            .map_err(|error| Error::file(file, format!("expected {{SCOPE: {{KEY: VALUE}}}}: {error}")))?;
        for (scope, values) in listed {
            for (name, value) in values {
                set(&VariableKey { scope: scope.clone(), name }, value);
            }
        }
    }
    for argument in &run.variables {
        set(&argument.key, argument.value.clone());
    }
    for argument in &run.secrets {
        set(&argument.key, json!({ "secret": secret_text(&read(&argument.file)?) }));
    }
    Ok(variables)
}

/// A file of one line is a password, and its newline belongs to the editor; a file of more lines is a key, and
/// every byte belongs to it.
fn secret_text(text: &str) -> &str {
    match text.strip_suffix('\n') {
        Some(line) if !line.contains('\n') => line.strip_suffix('\r').unwrap_or(line),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Cli, Command};

    fn files(path: &Path) -> Result<String, Error> {
        Ok(match path.to_str() {
            Some("hosts.json") => {
                r#"[{"name": "web1", "port": 2200, "services": {"nginx": {"root": "/srv"}}}]"#
            }
            Some("misspelt.json") => r#"[{"name": "web1", "hostkeys": ["ssh-ed25519 AAAA"]}]"#,
            Some("array.json") => r#"[["web1", "192.0.2.7", null, null]]"#,
            Some("vars.json") => r#"{"site": {"ref": "main", "depth": 1}}"#,
            Some("password") => "hunter22\n",
            Some("key") => "BEGIN\nEND\n",
            Some("web1.pub") => "ssh-ed25519 AAAA root@web1\n",
            Some(_) | None => return Err(Error::file(path, "no such file".to_owned())),
        }
        .to_owned())
    }

    fn run(arguments: &[&str]) -> Result<Request, Error> {
        let all =
            ["aegir", "run", "static_site.deploy", "--target", "site:example.test", "--requested-by", "kim"];
        let Command::Run(run) = Cli::try_parse_from(all.iter().chain(arguments)).unwrap().command else {
            panic!("not a run")
        };
        request(&run, &files)
    }

    #[test]
    fn flags_go_over_files() {
        let request = run(&[
            "--hosts-file",
            "hosts.json",
            "--host",
            "web1=192.0.2.7",
            "--host",
            "db1",
            "--service",
            "db1:mariadb",
            "--host-key",
            "web1=@web1.pub",
            "--vars-file",
            "vars.json",
            "--var",
            "site.ref=next",
            "--secret",
            "site.password=@password",
            "--secret",
            "site.key=@key",
            "--timeout",
            "15m",
            "--check",
        ])
        .unwrap();
        insta::assert_json_snapshot!(request);
    }

    #[test]
    fn a_flag_about_a_host_that_is_not_there_says_so() {
        for arguments in [["--service", "web1:nginx"], ["--host-key", "web1=ssh-ed25519 AAAA"]] {
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.contains("add --host web1"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_named() {
        let error = run(&["--vars-file", "hosts.json"]).unwrap_err().to_string();
        assert!(error.contains("hosts.json") && error.contains("SCOPE"), "{error}");
        for (file, says) in [
            ("misspelt.json", "unknown field `hostkeys`: did you mean `host_keys`? at /0/hostkeys"),
            ("array.json", "invalid type: sequence, expected an object"),
        ] {
            let error = run(&["--hosts-file", file]).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(says), "{error}");
        }
    }
}
