//! Every reason and error that a person can meet, by its stable code.
//!
//! Each has a row in `docs/reference/errors.md` (a test compares the two). A code never changes its meaning.

use std::fmt;

use crate::state::Reason;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal;)+) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant),+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it stands in messages, records and problems.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The code that a word stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The HTTP status that relayd's API answers with when it is the cause; 0 for a code that is
            /// never the answer to a request.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }
        }
    };
}

codes! {
    // How attempts end.
    /// Every Task did what it should.
    Completed = "completed", 0;
    /// A Task ended with a failure.
    TaskFailed = "task_failed", 0;
    /// The Task, or the attempt, took longer than it may.
    TimedOut = "timed_out", 0;
    /// The attempt printed more than it may.
    OutputLimit = "output_limit", 0;
    /// A Task did not hand over what its manifest declares.
    OutputInvalid = "output_invalid", 0;
    /// Somebody called it off.
    CanceledByRequest = "canceled_by_request", 0;
    /// The runner ended without finishing its transcript.
    RunnerGone = "runner_gone", 0;
    /// The node was silent for longer than the attempt's lease, and the attempt was given up.
    LeaseExpired = "lease_expired", 0;
    /// An operator said that the attempt is lost.
    DeclaredLost = "declared_lost", 0;
    /// It is tried again.
    TriedAgain = "tried_again", 0;
    /// The backend is paused.
    BackendPaused = "backend_paused", 0;
    /// A node may not start an attempt: another node has it, or it is not the current one.
    ClaimRefused = "claim_refused", 0;
    /// The transcript that arrived is not the one that was written.
    TranscriptMismatch = "transcript_mismatch", 0;
    /// Somebody must look before the Task is tried again.
    AttentionNeeded = "attention_needed", 0;
    /// The runner met an error of its own, such as a full disk.
    RunnerFailed = "runner_failed", 0;

    // Minions.
    /// The minion does not answer.
    MinionUnreachable = "minion_unreachable", 0;
    /// The minion refuses the login.
    LoginRefused = "login_refused", 0;
    /// The minion shows another host key than the known one.
    HostKeyChanged = "host_key_changed", 0;
    /// Nobody has said which host key the minion has.
    HostKeyUnknown = "host_key_unknown", 0;
    /// The minion has no Python at the configured place.
    PythonMissing = "python_missing", 0;
    /// No host of the Operation offers the service that a Task needs.
    NoHostForTask = "no_host_for_task", 422;

    // Ansible and other children.
    /// Ansible can't parse the playbook or role.
    PlaybookInvalid = "playbook_invalid", 0;
    /// No play of a Task's playbook is for any of its hosts.
    NoHostMatched = "no_host_matched", 0;
    /// A program that a Task needs can't be started.
    ProgramMissing = "program_missing", 0;
    /// A task asks for what the operator has not allowed.
    NotAllowed = "not_allowed", 422;

    // Requests.
    /// The body is not JSON, or not of the expected form.
    RequestMalformed = "request_malformed", 400;
    /// A parameter of the query is unknown, empty or not valid.
    ParameterInvalid = "parameter_invalid", 400;
    /// A name, host, limit or other field is not valid.
    FieldInvalid = "field_invalid", 422;
    /// No catalog of that backend has arrived.
    UnknownBackend = "unknown_backend", 422;
    /// The backend has no such role.
    UnknownRole = "unknown_role", 422;
    /// The role has no such operation.
    UnknownOperation = "unknown_operation", 422;
    /// The role has no such task.
    UnknownTask = "unknown_task", 422;
    /// The operation is not for targets of this kind.
    TargetKind = "target_kind", 422;
    /// A variable that the operation needs was not given.
    VariableMissing = "variable_missing", 422;
    /// A variable's value does not fit its schema.
    VariableInvalid = "variable_invalid", 422;
    /// A variable that the operation does not declare was given.
    VariableUndeclared = "variable_undeclared", 422;
    /// A name that Ansible gives a meaning of its own (`ansible_…`).
    VariableReserved = "variable_reserved", 422;
    /// A secret is too short to be masked, or a declared secret came in the clear.
    SecretInvalid = "secret_invalid", 422;
    /// A request by AMQP holds a secret in the clear.
    SecretInTheClear = "secret_in_the_clear", 422;
    /// A sealed value was not sealed for this backend.
    SecretUnopened = "secret_unopened", 0;
    /// A request by AMQP has nothing by which a second delivery of it could be told from a second request.
    IdempotencyKeyMissing = "idempotency_key_missing", 422;
    /// The idempotency key stands for another request.
    IdempotencyConflict = "idempotency_conflict", 409;
    /// There is no Operation with this id.
    NoSuchOperation = "no_such_operation", 404;
    /// The Operation has no such attempt.
    NoSuchAttempt = "no_such_attempt", 404;
    /// No backend of this name was heard of.
    NoSuchBackend = "no_such_backend", 404;
    /// There is no such page or resource.
    NotFound = "not_found", 404;
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408;
    /// The request's path and query are longer than they may be.
    UriTooLong = "uri_too_long", 414;
    /// The request's headers are larger than they may be.
    HeadersTooLarge = "headers_too_large", 431;
    /// The Operation has ended already.
    AlreadyEnded = "already_ended", 409;
    /// The Operation has not ended yet.
    NotEnded = "not_ended", 409;
    /// The Operation has succeeded, so there is nothing to try again.
    NothingToRetry = "nothing_to_retry", 409;
    /// The Operation is no dry run that has succeeded, so there is no plan to approve.
    NoPlan = "no_plan", 409;
    /// A document is not worth doing again what handed it over.
    NotRefreshable = "not_refreshable", 409;
    /// What was planned is not what would be done now.
    PlanChanged = "plan_changed", 409;
    /// No node has started the Operation.
    NotStarted = "not_started", 409;
    /// Canceling was asked for before.
    AlreadyCanceled = "already_canceled", 409;
    /// The request brings no valid token or cookie.
    Unauthorized = "unauthorized", 401;
    /// The request comes from another site.
    CrossSite = "cross_site", 403;
    /// The request's body is larger than it may be.
    BodyTooLarge = "body_too_large", 413;
    /// relayd can't store anything now.
    StoreUnavailable = "store_unavailable", 503;
    /// The broker is away.
    BrokerUnavailable = "broker_unavailable", 503;
    /// Something that should not happen.
    Internal = "internal", 500;

    // Sources of codebases.
    /// A source lies outside the directories that the operator allows, or is reached by a link.
    SourceNotAllowed = "source_not_allowed", 0;

    // What roles of PHP sites refuse.
    /// The directory of the site's name is another target's, or below another root.
    SiteTaken = "site_taken", 0;
    /// The site is there already.
    SiteExists = "site_exists", 0;
    /// The site is on none of the hosts.
    SiteMissing = "site_missing", 0;
    /// The site was moved away, by an Operation that did not get to its end.
    SiteMoved = "site_moved", 0;
    /// The site is on more than one of the hosts.
    SiteTwice = "site_twice", 0;
    /// The site is in use.
    SiteNotDisabled = "site_not_disabled", 0;
    /// The platform has no code on the host.
    PlatformMissing = "platform_missing", 0;
    /// The code has no page to begin with, or PHP can't read it.
    CodebaseBroken = "codebase_broken", 0;
    /// Sites are on the platform.
    PlatformInUse = "platform_in_use", 0;
    /// The host has no such backup.
    BackupMissing = "backup_missing", 0;
    /// A part of the backup is not what was backed up.
    BackupDamaged = "backup_damaged", 0;
    /// A host that the Task needs is not among the Operation's, or did not answer.
    HostMissing = "host_missing", 0;

    // Dead letters.
    /// Not JSON, or without the envelope.
    MessageMalformed = "message_malformed", 0;
    /// A schema that this version does not know.
    SchemaUnknown = "schema_unknown", 0;
    /// A newer major version of a known schema.
    SchemaTooNew = "schema_too_new", 0;
    /// More bytes than a message may have.
    MessageTooLarge = "message_too_large", 0;
    /// A known message on a queue that does not carry it.
    MessageMisplaced = "message_misplaced", 0;
    /// The broker moved the message by itself: it was delivered again and again, and nobody settled it.
    MovedByBroker = "moved_by_broker", 0;
    /// There is no dead letter with this number.
    NoSuchDeadLetter = "no_such_dead_letter", 404;
    /// Secrets were removed from the dead letter, so that what is left can't be published again.
    DeadLetterIncomplete = "dead_letter_incomplete", 409;
    /// No queue takes the dead letter where it came from.
    DeadLetterUnroutable = "dead_letter_unroutable", 409;

    // Daemons.
    /// The config file can't be read or understood.
    ConfigInvalid = "config_invalid", 0;
    /// Another daemon uses the state directory.
    StateDirectoryInUse = "state_directory_in_use", 0;
    /// The state directory can't be written.
    StateDirectoryUnwritable = "state_directory_unwritable", 0;
    /// A queue or exchange exists with other arguments.
    TopologyMismatch = "topology_mismatch", 0;
    /// The disk is full.
    DiskFull = "disk_full", 0;
    /// More transcript bytes than allowed wait for relayd's receipt.
    SpoolFull = "spool_full", 0;
    /// An operator wants the node to take nothing new.
    Draining = "draining", 0;
    /// An operator has let go of a transcript that relayd had not received.
    SpoolForgotten = "spool_forgotten", 0;
    /// A role can't be used as it is.
    RoleInvalid = "role_invalid", 0;
}

impl Code {
    /// The reason with this code and a sentence.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Reason {
        Reason { code: self.as_str().to_owned(), message: message.into() }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_its_row_in_the_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/errors.md");
        let page = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let documented: BTreeSet<&str> = rows.iter().copied().collect();
        assert_eq!(rows.len(), documented.len(), "a code has two rows");
        let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(documented, known);
    }
}
