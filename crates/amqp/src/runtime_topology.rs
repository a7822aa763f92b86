//! What is declared at run time: a backend's queue, when its first Operation comes.
//!
//! It is kept apart from what the session was built with, because it may clash with what is on the broker, and one
//! clashing queue must not end every later session.

use lapin::Connection;

use crate::connect::{Names, SessionError, declare, is_not_found};
use crate::declare::{DeclareError, DeclareRequest};
use crate::topology::Topology;

/// The additions that later sessions declare again.
#[derive(Debug, Default)]
pub(crate) struct RuntimeTopology {
    all: Vec<Topology>,
}

impl RuntimeTopology {
    /// Takes what is asked for while there is no session. Whether the broker takes it shows in the next.
    pub(crate) fn remember(&mut self, command: DeclareRequest) {
        self.keep(command.topology);
        let _ = command.answer.send(Ok(()));
    }

    /// Declares what is asked for now. What the broker refuses is not remembered. An error ends the session.
    pub(crate) async fn declare(
        &mut self,
        connection: &Connection,
        command: DeclareRequest,
    ) -> Result<(), SessionError> {
        let DeclareRequest { topology, answer } = command;
        let (outcome, end) = match add(connection, &topology).await {
            Ok(Ok(())) => {
                self.keep(topology);
                (Ok(()), Ok(()))
            }
            Ok(Err(deleted @ DeclareError::Deleted { .. })) => {
                self.keep(topology);
                (Err(deleted), Ok(()))
            }
            Ok(Err(refused)) => {
                self.all.retain(|kept| *kept != topology);
                (Err(refused), Ok(()))
            }
            Err(error) => {
                self.keep(topology);
                (Err(DeclareError::Lost(error.to_string())), Err(error))
            }
        };
        let _ = answer.send(outcome);
        end
    }

    /// Declares all of them, and forgets what the broker refuses: whoever needs it asks again, and is told. An error
    /// ends the session.
    pub(crate) async fn declare_all(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let mut taken = Vec::with_capacity(self.all.len());
        for topology in &self.all {
            match add(connection, topology).await {
                Ok(Ok(()) | Err(DeclareError::Deleted { .. })) => taken.push(topology.clone()),
                // It was said in the log.
                Ok(Err(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.all = taken;
        Ok(())
    }

    fn keep(&mut self, topology: Topology) {
        if !self.all.contains(&topology) {
            self.all.push(topology);
        }
    }
}

/// The outer error is the session's, the inner one only this topology's.
async fn add(connection: &Connection, topology: &Topology) -> Result<Result<(), DeclareError>, SessionError> {
    let refused = match declare(connection, &topology.lasting(), &mut Names::new()).await {
        Ok(()) => return Ok(Ok(())),
        Err(SessionError::Mismatch { object, error }) => DeclareError::Mismatch { object, error },
        Err(SessionError::Declare { object, source }) if is_not_found(&source) => {
            DeclareError::Deleted { object, error: source.to_string() }
        }
        Err(SessionError::Declare { object, source }) if connection.status().connected() => {
            DeclareError::Refused { object, error: source.to_string() }
        }
        Err(error @ SessionError::TooLong(_)) => {
            DeclareError::Refused { object: "a name".to_owned(), error: error.to_string() }
        }
        Err(
            error @ (SessionError::Declare { .. }
            | SessionError::BrokerConfig(_)
            | SessionError::Connect(_)
            | SessionError::Tls { .. }
            | SessionError::Silent(_)
            | SessionError::Channel(_)),
        ) => return Err(error),
    };
    tracing::error!(error = %refused, "the broker does not take what is declared at run time");
    Ok(Err(refused))
}
