//! Whether relayd can do its work.

use std::time::Duration;

use aegir_amqp::Status;
use aegir_protocol::problem::Problem;

use super::service::Diagnosis;
use crate::store::StoreError;
use crate::store::write::PutSetting;

/// How long the store may take.
const STORE: Duration = Duration::from_secs(2);

/// Whether relayd can do its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What keeps it from that; nothing when it is ready.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Whether it can.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl Diagnosis {
    /// Whether relayd can do its work: store, and reach the broker.
    pub async fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if let Err(reason) = self.probe_store().await {
            reasons.push(reason);
        }
        if let Err(reason) = self.broker_state() {
            reasons.push(reason);
        }
        Readiness { reasons }
    }

    /// Writes something and reads it back.
    pub(super) async fn probe_store(&self) -> Result<(), String> {
        let value = sign(jiff::Timestamp::now().as_microsecond());
        let keep = PutSetting { name: "probe", value: value.clone(), first_wins: false };
        let probe = async {
            self.store.write(keep).await?;
            self.store.setting("probe").await
        };
        let result: Result<_, StoreError> = match tokio::time::timeout(STORE, probe).await {
            Ok(result) => result,
            Err(_) => return Err(format!("the store did not answer within {STORE:?}; is the disk slow?")),
        };
        match result {
            // Another probe may have come between the two.
            Ok(Some(read)) if read.len() == value.len() => Ok(()),
            Ok(_) => Err("the store does not hold what was written".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// How it stands with the broker, if not well.
    pub(super) fn broker_state(&self) -> Result<(), String> {
        let address = self.link.address();
        match &*self.link.status().borrow() {
            Status::Up => Ok(()),
            status @ (Status::Connecting { .. }
            | Status::Silent { .. }
            | Status::Blocked { .. }
            | Status::Mismatch { .. }) => Err(format!("{address}: {status}")),
            Status::Stopped => Err("relayd is stopping".to_owned()),
        }
    }

    /// What is counted, in the OpenMetrics text format (`aegir_service::metrics::CONTENT_TYPE`).
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn metrics(&self) -> Result<String, Problem> {
        let broker = self.link.status().borrow().clone();
        Ok(self.metrics.encode(&self.store, &self.nodes, &broker).await?)
    }
}

fn sign(number: i64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
