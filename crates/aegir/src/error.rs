//! What can go wrong, as the person at the terminal reads it, and the exit code of each.

use std::io;
use std::path::{Path, PathBuf};

use aegir_client::ClientError;
use aegir_protocol::name::DocumentName;
use aegir_service::exit::Exit;
use serde_json::{Value, json};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line makes no sense together.
    #[error("{0}")]
    Usage(String),
    /// A file that an argument names can't be used.
    #[error("{}: {message}", path.display())]
    File {
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The API token can't be read.
    #[error(
        "can't read relayd's API token from {}: {source}. Run aegir as a user who may read this file, or name a copy \
         of it with --token-file or AEGIR_TOKEN_FILE", path.display()
    )]
    Token {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// relayd's answer, or its absence.
    #[error("{0}{advice}", advice = meaning(.0).1)]
    Client(#[from] ClientError),
    /// No Operation's id starts like this.
    #[error("no Operation's id starts with {0}: `aegir ls` lists the Operations")]
    NoSuchPrefix(String),
    /// No role has handed this over.
    #[error(
        "there is no document {name} about {target}: `aegir documents {target}` lists those that there are"
    )]
    NoSuchDocument {
        /// `KIND:ID`.
        target: String,
        /// Which document.
        name: DocumentName,
    },
    /// No backend has a role of this name.
    #[error("no backend has a role {0:?}: {next}", next = next_for_role(.0))]
    NoSuchRole(String),
    /// There is no Operation at all.
    #[error("there is no Operation yet: start one with `aegir run`")]
    NoneYet,
    /// More than one Operation's id starts like this.
    #[error("more than one Operation's id starts with {prefix}, among them {}: give more digits", ids.join(" and "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// Two that fit.
        ids: Vec<String>,
    },
    /// Standard output can't be written.
    #[error("can't write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// The error of a file.
    #[must_use]
    pub fn file(path: &Path, message: String) -> Self {
        Self::File { path: path.to_owned(), message }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::File { .. } | Self::Ambiguous { .. } => Exit::Usage,
            Self::Token { .. } => Exit::TokenRefused,
            Self::NoSuchPrefix(_) | Self::NoSuchDocument { .. } | Self::NoSuchRole(_) | Self::NoneYet => {
                Exit::NotFound
            }
            Self::Output(_) => Exit::Internal,
            Self::Client(error) => meaning(error).0,
        }
    }

    /// As `--json` tells it: relayd's own problem document, or one whose code is the exit code's word; and the exit code.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = match self {
            Self::Client(ClientError::Refused(problem)) => json!(problem),
            other => json!({"code": other.exit().as_str(), "detail": other.to_string()}),
        };
        document["exit_code"] = json!(self.exit().code());
        document
    }

    /// Whether the reader of a pipe has gone, as in `aegir log ID | head`: nothing to complain about.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What helps whoever has typed this for a role.
fn next_for_role(typed: &str) -> String {
    match typed.split_once('.') {
        Some((role, _)) if !role.is_empty() => {
            format!("give the role alone, `aegir catalog {role}`")
        }
        Some(_) | None => "`aegir catalog` lists the roles".to_owned(),
    }
}

/// The exit code, and what to do about it.
fn meaning(error: &ClientError) -> (Exit, &'static str) {
    match error {
        ClientError::Token | ClientError::SetUp(_) => (Exit::Usage, ""),
        ClientError::Unreachable { .. } => (
            Exit::RelaydUnreachable,
            ". Check that it runs (systemctl status aegir-relayd), or give its address with --url or AEGIR_URL",
        ),
        ClientError::BrokeOff(_) => {
            (Exit::Unavailable, ". See relayd's log; `aegir log --raw` prints a transcript as it is stored")
        }
        ClientError::Refused(problem) => (Exit::from_status(problem.status), ""),
        ClientError::Answer { .. } => (Exit::Internal, ". Are aegir and relayd of the same version?"),
    }
}

#[cfg(test)]
mod tests {
    use aegir_protocol::code::Code;
    use aegir_protocol::problem::{FieldProblem, Problem};

    use super::*;

    fn refused(problem: Problem) -> Error {
        ClientError::Refused(Box::new(problem)).into()
    }

    #[test]
    fn a_refusal_lists_every_field() {
        let mut problem = Problem::new(Code::VariableMissing, "2 fields are not valid");
        problem.errors = vec![
            FieldProblem::new("/variables/site/ref", Code::VariableMissing, "variable ref is missing"),
            FieldProblem::new("/hosts", Code::NoHostForTask, "task vhost needs a host"),
        ];
        let error = refused(problem);
        insta::assert_snapshot!(error, @r"
        relayd refuses: 2 fields are not valid (variable_missing)
          /variables/site/ref: variable ref is missing (variable_missing)
          /hosts: task vhost needs a host (no_host_for_task)
        ");
        assert_eq!(error.exit(), Exit::Rejected);

        let once = |errors: Vec<FieldProblem>, more: &str| {
            let first = &errors[0];
            let detail = format!("{}: {}{more}", first.pointer, first.message);
            let mut problem = Problem::new(Code::VariableMissing, detail);
            problem.errors = errors;
            refused(problem).to_string()
        };
        let field = |name: &str| {
            FieldProblem::new(
                format!("/variables/site/{name}"),
                Code::VariableMissing,
                format!("{name} is missing"),
            )
        };
        assert_eq!(
            once(vec![field("ref")], ""),
            "relayd refuses: /variables/site/ref: ref is missing (variable_missing)"
        );
        insta::assert_snapshot!(once(vec![field("ref"), field("root")], " (and 1 more)"), @r"
        relayd refuses 2 things (variable_missing):
          /variables/site/ref: ref is missing (variable_missing)
          /variables/site/root: root is missing (variable_missing)
        ");
    }

    #[test]
    fn an_error_is_a_document_too() {
        let mut problem = Problem::new(Code::VariableMissing, "variable ref is missing");
        problem.errors = vec![FieldProblem::new("/variables/site/ref", Code::VariableMissing, "is missing")];
        let kind = problem.kind.clone();
        assert_eq!(
            refused(problem).document(),
            json!({
                "type": kind, "status": 422, "code": "variable_missing",
                "detail": "variable ref is missing", "exit_code": 4,
                "errors": [{"pointer": "/variables/site/ref", "code": "variable_missing", "message": "is missing"}],
            })
        );
        let own = Error::NoSuchRole("static_site.deploy".to_owned()).document();
        assert_eq!((&own["code"], &own["exit_code"]), (&json!("not_found"), &json!(12)));
        assert!(own["detail"].as_str().unwrap().contains("`aegir catalog static_site`"), "{own}");
    }

    #[test]
    fn each_kind_of_refusal_has_its_exit_code() {
        let exit = |code: Code| refused(Problem::new(code, "")).exit();
        assert_eq!(exit(Code::Unauthorized), Exit::TokenRefused);
        assert_eq!(exit(Code::NoSuchOperation), Exit::NotFound);
        assert_eq!(exit(Code::StoreUnavailable), Exit::Unavailable);
        assert_eq!(exit(Code::Internal), Exit::Internal);
    }
}
