//! What can go wrong.

use aegir_protocol::problem::Problem;

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What is to be sent as a token can't be one.
    #[error("this is not a token: expected one line of letters and digits")]
    Token,
    /// The machine does not allow for it.
    #[error("can't set up HTTP: {0}")]
    SetUp(String),
    /// Nobody answers.
    #[error("relayd does not answer at {address}: {message}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the network said.
        message: String,
        /// Whether there was somebody, who may have got the request.
        connected: bool,
    },
    /// An answer ended in its middle.
    #[error("relayd's answer broke off and is incomplete: {0}")]
    BrokeOff(String),
    /// relayd answered, and the answer is no.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
    /// relayd answered with something that this version does not understand.
    #[error("aegir does not understand relayd's answer to {what}: {message}")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        message: String,
    },
}

impl ClientError {
    /// Whether it makes sense to try again: nobody there, or somebody who is not ready.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff(_) => true,
            Self::Refused(problem) => problem.status >= 500,
            // A proxy in between that answers with a page of its own while relayd is away.
            Self::Answer { .. } => true,
            Self::Token | Self::SetUp(_) => false,
        }
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The detail, and a line for each field that is wrong.
fn refusal(problem: &Problem) -> String {
    // The detail says the first of them again, where there are any.
    let repeats = problem.errors.first().is_some_and(|first| problem.detail.contains(&first.message));
    let mut text = match problem.errors.len() {
        1 if repeats => return format!("relayd refuses: {} ({})", problem.detail, problem.code),
        several if repeats => format!("relayd refuses {several} things ({}):", problem.code),
        _ => format!("relayd refuses: {} ({})", problem.detail, problem.code),
    };
    for field in &problem.errors {
        let pointer = if field.pointer.is_empty() { "/" } else { &field.pointer };
        text.push_str(&format!("\n  {pointer}: {} ({})", field.message, field.code));
    }
    text
}
