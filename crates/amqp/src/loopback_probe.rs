//! The loopback probe: a message to ourselves, through the broker, every so often.
//!
//! A connection can look healthy, heartbeats and all, and deliver nothing: a consumer that the broker forgot, a
//! queue without a leader, a broker that takes messages and never confirms one. So for each queue that only we
//! consume a probe is published to it, and must be confirmed and delivered. Any other confirm or delivery
//! meanwhile counts as well: what is busy is alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::activity::{ConsumerActivity, PublisherActivity};
use crate::outgoing::{Outgoing, PublishError};
use crate::publisher::Publisher;
use crate::status::Status;

/// The kind of a probe. A consumer of this crate takes it out before anybody sees it, whoever sent it.
pub(crate) const KIND: &str = "aegir.canary";
/// What RabbitMQ does that looks like this, and the way out.
const FORGOTTEN: &str = "if `rabbitmqctl list_queues name leader` shows no leader for it although the broker is \
                         up, the broker has lost it (RabbitMQ 3.10 does when it is killed seconds after the queue \
                         was made): `rabbitmqctl delete_queue` it; it is made anew and what was in it is sent again";

/// The probing of one session.
#[derive(Debug)]
pub(crate) struct LoopbackProbe {
    pub(crate) publisher: Publisher,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) activity: PublisherActivity,
    /// The consumers that a probe is sent to.
    pub(crate) heard: Vec<Arc<ConsumerActivity>>,
    /// How often, and how long an answer may take.
    pub(crate) every: Duration,
}

/// What the broker said to a message that no queue takes, which it confirms at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// It confirmed it.
    Answers,
    /// It did not, and confirmed others.
    Busy,
    /// It confirmed nothing.
    Silent,
}

/// What a round of probes showed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// All came back.
    Alive,
    /// The broker takes no messages, or the session is about to end: there is nothing to be seen.
    Unknown,
    /// One queue does not confirm, and the broker does otherwise.
    SilentQueue(String),
    /// The session does not do what it is for.
    SilentSession(String),
}

impl LoopbackProbe {
    /// Probes until `ended`, and shows what is not heard. Gives the reason when the session is to be made anew.
    pub(crate) async fn run(self, ended: CancellationToken) -> Option<String> {
        ended.run_until_cancelled(self.probe_on()).await
    }

    async fn probe_on(self) -> String {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = false;
        let mut suspected = None;
        loop {
            ticks.tick().await;
            let seen = self.probe().await;
            match seen {
                Seen::Alive => {
                    suspected = None;
                    self.show(None);
                }
                Seen::Unknown => {}
                Seen::SilentQueue(reason) => {
                    suspected = Some(reason.clone());
                    self.show(Some(reason));
                }
                Seen::SilentSession(reason) => {
                    // Behind a silent queue all is silent sooner or later, and it is still that queue.
                    let reason = suspected.clone().unwrap_or(reason);
                    if before {
                        return reason;
                    }
                    self.show(Some(reason));
                    before = true;
                    // The next probe at once: it has as long again.
                    ticks.reset_immediately();
                    continue;
                }
            }
            before = false;
        }
    }

    /// Sends one probe to each queue and waits for what comes.
    async fn probe(&self) -> Seen {
        let deadline = Instant::now() + self.every;
        let mut confirms = self.activity.confirms();
        confirms.mark_unchanged();
        let deliveries: Vec<_> = self.heard.iter().map(|heard| heard.deliveries()).collect();
        let sent = join_all(self.heard.iter().map(async |heard| {
            let probe = self.publisher.publish(Outgoing::new("", heard.queue.clone(), "").kind(KIND));
            timeout_at(deadline, probe).await.unwrap_or(Err(PublishError::TimedOut))
        }));
        // This tells a silent queue from a silent connection. It goes first: a queue without a leader stops RabbitMQ's
        // whole channel.
        let nowhere = self.publisher.publish(Outgoing::new("", KIND, "").kind(KIND).transient());
        let nowhere = timeout_at(deadline, nowhere);
        let arrived = join_all(deliveries.into_iter().map(async |mut deliveries| {
            timeout_at(deadline, deliveries.changed()).await.is_ok_and(|changed| changed.is_ok())
        }));
        let (nowhere, sent, arrived) = tokio::join!(nowhere, sent, arrived);
        let line = match (nowhere, confirms.has_changed()) {
            (Ok(Ok(())), _) => Line::Answers,
            (Ok(Err(_)) | Err(_), Ok(true)) => Line::Busy,
            (Ok(Err(_)) | Err(_), Ok(false) | Err(_)) => Line::Silent,
        };
        let queues = self.heard.iter().zip(sent).zip(arrived);
        let queues = queues.map(|((heard, sent), arrived)| {
            let arrived = arrived || !heard.expects();
            (heard.queue.clone(), (sent, arrived))
        });
        evaluate(&queues.collect(), line, self.every)
    }

    /// Says in the status what is not heard, unless something else is known that matters more.
    fn show(&self, silence: Option<String>) {
        let next = silence.map_or(Status::Up, |reason| Status::Silent { reason });
        let changed = self.status.send_if_modified(|status| match status {
            Status::Up | Status::Silent { .. } if *status != next => {
                *status = next;
                true
            }
            Status::Up
            | Status::Silent { .. }
            | Status::Connecting { .. }
            | Status::Blocked { .. }
            | Status::Mismatch { .. }
            | Status::Stopped => false,
        });
        if let (true, Status::Silent { reason }) = (changed, &*self.status.borrow()) {
            tracing::warn!(reason, "the broker is silent");
        }
    }
}

/// What it means. For each queue: what became of its probe, and whether anything was delivered that should be.
fn evaluate(
    queues: &BTreeMap<String, (Result<(), PublishError>, bool)>,
    line: Line,
    limit: Duration,
) -> Seen {
    let mut silent_queue = None;
    for (queue, (sent, arrived)) in queues {
        match sent {
            // A full queue refuses the probe, and has something to deliver.
            Ok(()) | Err(PublishError::Refused) if *arrived => {}
            Ok(()) | Err(PublishError::Refused) => {
                return Seen::SilentSession(format!(
                    "{queue} holds messages and nothing was delivered from it within {limit:?}"
                ));
            }
            Err(PublishError::Unroutable { .. }) => {
                return Seen::SilentSession(format!("{queue} is gone from the broker"));
            }
            Err(PublishError::TimedOut) if line == Line::Answers => {
                silent_queue.get_or_insert_with(|| {
                    let what = format!("{queue} confirmed nothing within {limit:?}");
                    Seen::SilentQueue(format!("{what}; {FORGOTTEN}"))
                });
            }
            // The probe waits behind what is under way.
            Err(PublishError::TimedOut) if line == Line::Busy => {}
            Err(PublishError::TimedOut) => {
                return Seen::SilentSession(format!("nothing was confirmed within {limit:?}"));
            }
            Err(
                PublishError::Blocked { .. }
                | PublishError::Lost
                | PublishError::NotConnected
                | PublishError::TooLong { .. },
            ) => return Seen::Unknown,
        }
    }
    silent_queue.unwrap_or(Seen::Alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn seen(queues: &[(&str, Result<(), PublishError>, bool)], line: Line) -> Seen {
        let queues =
            queues.iter().map(|(queue, sent, arrived)| ((*queue).to_owned(), (sent.clone(), *arrived)));
        evaluate(&queues.collect(), line, LIMIT)
    }

    #[test]
    fn silence_is_told_apart_by_who_is_silent() {
        let (ok, late, full) = (Ok(()), Err(PublishError::TimedOut), Err(PublishError::Refused));
        assert_eq!(seen(&[], Line::Answers), Seen::Alive);
        assert_eq!(seen(&[("a", ok.clone(), true), ("b", full.clone(), true)], Line::Answers), Seen::Alive);
        assert_eq!(seen(&[("a", late.clone(), false)], Line::Busy), Seen::Alive);
        let blocked = Err(PublishError::Blocked { reason: "low on disk".to_owned() });
        assert_eq!(seen(&[("a", blocked, false)], Line::Silent), Seen::Unknown);
        for (sent, line, word) in [
            (ok.clone(), Line::Answers, "delivered"),
            (full, Line::Answers, "delivered"),
            (late.clone(), Line::Silent, "confirmed"),
        ] {
            let Seen::SilentSession(reason) = seen(&[("a", sent, false)], line) else { panic!("{word}") };
            assert!(reason.contains(word), "{reason}");
        }
        let seen = seen(&[("a", late, false), ("b", ok, true)], Line::Answers);
        assert!(matches!(&seen, Seen::SilentQueue(reason) if reason.starts_with("a confirmed nothing")));
    }
}
