//! Checks a request, seals its secrets, and makes the Operation of it.

use std::time::Duration;

use aegir_catalog::{Catalog, Subject};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::limits::{MAX_HOSTS, MAX_MESSAGE, MIN_SECRET};
use aegir_protocol::message;
use aegir_protocol::name::FrontendName;
use aegir_protocol::operation::{Approved, Operation, Target, Variables, sealed};
use aegir_protocol::problem::{FieldProblem, Problem, pointer_token};
use aegir_protocol::request::{Request, secret};
use jiff::Timestamp;
use serde_json::json;

use crate::ledger::RetryPolicy;
use crate::secrets::Seal;

/// The longest text that is only passed on: who asked, the trace context. In characters.
const MAX_TEXT: usize = 255;
/// The most locks that a request may add.
const MAX_LOCKS: usize = 256;

/// The Operation that a request asks for, or that carries out a plan which was approved, and how it is tried again.
///
/// # Errors
/// With everything that is wrong, each with a pointer; the problem's own code is the first one's.
pub fn accept(
    request: &Request,
    catalog: &Catalog,
    frontend: &FrontendName,
    approved: Option<Approved>,
    now: Timestamp,
) -> Result<(Operation, RetryPolicy), Problem> {
    let mut problems = check_fields(request);
    problems.extend(check_secrets(request, catalog));
    let variables = seal(&request.variables, catalog)?;
    let subject = Subject {
        name: &request.name,
        target: &request.target.kind,
        hosts: &request.hosts,
        variables: &variables,
        priority: request.priority,
    };
    problems.extend(catalog.check(&subject));
    if !problems.is_empty() {
        return Err(problem(problems));
    }
    let (role, manifest) = catalog.find(&request.name).map_err(|wrong| problem(vec![wrong]))?;
    let target = target(request)?;
    let locks = role.locks(manifest, &target, &request.hosts, &variables, &request.locks);
    let operation = Operation {
        id: OperationId::generate(),
        attempt: Attempt::FIRST,
        name: request.name.clone(),
        backend: catalog.backend.clone(),
        frontend: frontend.clone(),
        target,
        hosts: request.hosts.clone(),
        variables,
        locks,
        requested_by: request.requested_by.clone(),
        requested_at: now,
        priority: request.priority,
        dry_run: request.dry_run,
        check: request.dry_run,
        timeout_seconds: request.timeout_seconds,
        lease_seconds: manifest.lease_seconds(),
        retry_of: None,
        done: None,
        approved,
        traceparent: request.traceparent.clone(),
    };
    let size = message::encode(&operation).len();
    if size > MAX_MESSAGE {
        let detail = format!(
            "with its secrets sealed the Operation takes {size} bytes, more than the {MAX_MESSAGE} of a message"
        );
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    let retry_policy = RetryPolicy {
        lease: manifest.lease_seconds().map(Duration::from_secs),
        retries: manifest
            .retries
            .map(|retries| (retries.attempts, Duration::from_secs(retries.backoff_seconds))),
    };
    Ok((operation, retry_policy))
}

/// The problem with these fields.
#[must_use]
pub fn problem(errors: Vec<FieldProblem>) -> Problem {
    let first = errors.first();
    let code = first.and_then(|first| Code::from_word(&first.code)).unwrap_or(Code::FieldInvalid);
    let detail = match &errors[..] {
        [] => "the request is not valid".to_owned(),
        [only] => format!("{}: {}", only.pointer, only.message),
        [first, rest @ ..] => format!("{}: {} (and {} more)", first.pointer, first.message, rest.len()),
    };
    Problem { errors, ..Problem::new(code, detail) }
}

fn target(request: &Request) -> Result<Target, Problem> {
    let id = match &request.target.id {
        Some(id) => id.clone(),
        // Names and ids follow the same rule.
        None => {
            request.target.name.as_str().parse().map_err(|error: aegir_protocol::name::InvalidName| {
                problem(vec![FieldProblem::new("/target/name", Code::FieldInvalid, error.to_string())])
            })?
        }
    };
    Ok(Target { kind: request.target.kind.clone(), id, name: request.target.name.clone() })
}

fn check_fields(request: &Request) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let mut wrong = |pointer: &str, message: String| {
        problems.push(FieldProblem::new(pointer, Code::FieldInvalid, message));
    };
    for (pointer, text) in [("/requested_by", &request.requested_by), ("/traceparent", &request.traceparent)]
    {
        if let Some(text) = text
            && (text.chars().count() > MAX_TEXT || text.chars().any(char::is_control))
        {
            wrong(pointer, format!("at most {MAX_TEXT} characters without control characters are expected"));
        }
    }
    if request.timeout_seconds == Some(0) {
        wrong("/timeout_seconds", "1 or more is expected".to_owned());
    }
    if request.locks.len() > MAX_LOCKS {
        wrong(
            "/locks",
            format!("{} locks are more than the {MAX_LOCKS} that can be added", request.locks.len()),
        );
    }
    // The catalog says this too, but only after looking at each pair of them.
    if request.hosts.len() > MAX_HOSTS {
        wrong("/hosts", format!("{} hosts are more than {MAX_HOSTS}", request.hosts.len()));
    }
    problems
}

/// What is wrong with the secrets. No message shows any of a value.
fn check_secrets(request: &Request, catalog: &Catalog) -> Vec<FieldProblem> {
    let role = catalog.roles.get(&request.name.role);
    let mut problems = Vec::new();
    for (scope, values) in &request.variables {
        for (name, value) in values {
            let pointer = || format!("/variables/{}/{}", pointer_token(scope), pointer_token(name));
            let Some(plain) = secret(value) else {
                if let Some(sealed) = sealed(value)
                    && !looks_sealed(sealed)
                {
                    let message = "an age file in base64 is expected; send {\"secret\": …} to have it sealed";
                    problems.push(FieldProblem::new(pointer(), Code::SecretInvalid, message));
                }
                continue;
            };
            if plain.len() < MIN_SECRET {
                let message = format!(
                    "a secret has at least {MIN_SECRET} bytes: a shorter one can't be masked without masking \
                     ordinary words"
                );
                problems.push(FieldProblem::new(pointer(), Code::SecretInvalid, message));
            }
            let declared = role.and_then(|role| role.manifest.variables.get(&name.parse().ok()?));
            if declared.is_some_and(|variable| !variable.faults(&json!(plain)).is_empty()) {
                let message = "the secret does not fit the variable's schema";
                problems.push(FieldProblem::new(pointer(), Code::VariableInvalid, message));
            }
        }
    }
    problems
}

fn looks_sealed(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .is_ok_and(|bytes| bytes.starts_with(b"age-encryption.org/v1\n"))
}

fn seal(variables: &Variables, catalog: &Catalog) -> Result<Variables, Problem> {
    let none = !variables.values().any(|values| values.values().any(|value| secret(value).is_some()));
    if none {
        return Ok(variables.clone());
    }
    let internal = |error: crate::secrets::SealError| {
        let backend = &catalog.backend;
        Problem::new(Code::Internal, format!("a secret can't be sealed for backend {backend}: {error}"))
    };
    let key = Seal::new(&catalog.recipient).map_err(internal)?;
    let mut variables = variables.clone();
    for value in variables.values_mut().flat_map(|values| values.values_mut()) {
        let sealed = match secret(value) {
            Some(plain) => json!({"sealed": key.seal(plain).map_err(internal)?}),
            None => continue,
        };
        *value = sealed;
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aegir_catalog::Role;
    use serde_json::Value;

    use super::*;

    pub(crate) fn catalog(recipient: &str) -> Catalog {
        let manifest = json!({
            "schema": "aegir.role/0", "title": "Example", "targets": ["site"],
            "operations": { "print": { "title": "Print", "tasks": ["say"] } },
            "tasks": { "say": { "shell": { "argv": ["/bin/true"], "where": "dispatcher" },
                                "variables": ["text", "password"] } },
            "variables": {
                "text": { "type": "string", "scope": "site" },
                "password": { "type": "string", "maxLength": 30, "scope": "site", "secret": true, "optional": true },
            },
        });
        let role = Role {
            digest: String::new(),
            collection: None,
            manifest: serde_json::from_value(manifest).unwrap(),
        };
        Catalog {
            backend: "main".parse().unwrap(),
            node: "n".parse().unwrap(),
            recipient: recipient.to_owned(),
            digest: String::new(),
            roles: BTreeMap::from([("example".parse().unwrap(), role)]),
            left_out: BTreeMap::new(),
        }
    }

    fn request(variables: Value) -> Request {
        serde_json::from_value(json!({
            "name": "example.print", "target": {"kind": "site", "name": "example.test"}, "variables": variables,
        }))
        .unwrap()
    }

    fn try_accept(request: &Request) -> Result<Operation, Problem> {
        let identity = age::x25519::Identity::generate();
        let catalog = catalog(&identity.to_public().to_string());
        accept(request, &catalog, &"main".parse().unwrap(), None, Timestamp::UNIX_EPOCH)
            .map(|(operation, _)| operation)
    }

    #[test]
    fn a_secret_is_sealed_and_nowhere_in_the_clear() {
        let request = request(json!({"site": {"text": "x", "password": {"secret": "hunter22\nline two"}}}));
        let operation = try_accept(&request).unwrap();
        assert!(sealed(&operation.variables["site"]["password"]).is_some_and(looks_sealed));
        assert!(!serde_json::to_string(&operation).unwrap().contains("hunter22"));
        assert_eq!(operation.target.id.as_str(), "example.test");
        assert_eq!(operation.locks.len(), 1);
    }

    /// A node of the version before reads `check` only, and would carry a dry run out.
    #[test]
    fn a_dry_run_says_so_under_both_of_its_names() {
        for (field, expected) in [("dry_run", true), ("check", true), ("dry_run", false)] {
            let mut sent = serde_json::to_value(request(json!({"site": {"text": "x"}}))).unwrap();
            sent.as_object_mut().unwrap().remove("dry_run");
            sent[field] = json!(expected);
            let operation = try_accept(&serde_json::from_value(sent).unwrap()).unwrap();
            assert_eq!(operation.is_dry_run(), expected);
            let written = serde_json::to_value(&operation).unwrap();
            assert_eq!((&written["dry_run"], &written["check"]), (&json!(expected), &json!(expected)));
            for left_out in ["dry_run", "check"] {
                let mut read = written.clone();
                read.as_object_mut().unwrap().remove(left_out);
                let read: Operation = serde_json::from_value(read).unwrap();
                assert_eq!(read.is_dry_run(), expected, "without {left_out}");
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_is_pointed_at() {
        let mut wrong = request(json!({"site": {"password": {"secret": "short"}, "other": 1}}));
        wrong.requested_by = Some("a\nb".to_owned());
        wrong.timeout_seconds = Some(0);
        let problem = try_accept(&wrong).unwrap_err();
        let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/requested_by",
                "/timeout_seconds",
                "/variables/site/password",
                "/variables/site/other",
                "/variables/site/text"
            ]
        );
        assert_eq!((problem.code.as_str(), problem.status), ("field_invalid", 422));
    }

    #[test]
    fn no_message_shows_a_secret() {
        let long = "x".repeat(31);
        let problem =
            try_accept(&request(json!({"site": {"text": "x", "password": {"secret": long}}}))).unwrap_err();
        assert_eq!(problem.code, "variable_invalid");
        assert!(!format!("{problem:?}").contains(&long));
        let forged = request(json!({"site": {"text": "x", "password": {"sealed": "plain text"}}}));
        assert_eq!(try_accept(&forged).unwrap_err().code, "secret_invalid");
    }
}
