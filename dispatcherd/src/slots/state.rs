//! Which attempt may go on: a pure function of what happened.
//!
//! ```text
//! waiting --slot free--> claiming --granted--> started --runner gone--> leaving --relayd knows--> (over)
//!    |                      |--refused--> (over)  |--rejected------------^
//!    '--canceled------------'--------------------------------------------^
//! ```
//! Of those that wait the most urgent is claimed first, the frontends taking turns among equals; of one frontend's the
//! oldest. What can't be started now, because the disk is full, goes back from `started` to `claiming`.
//! A slot is held from `claiming` until the runner is gone.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, AttemptId};
use aegir_protocol::message::{Cancel, Grant, Lease};
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::{Outcome, Reason};

use super::lease_state::LeaseState;

/// A claim that nobody answered for this long is sent again.
pub(super) const CLAIM_AGAIN: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub enum SlotEvent {
    /// An Operation is in the journal, and so urgent.
    Journaled(AttemptId, FrontendName, u8),
    /// An attempt was found whose runner was started by an earlier process, and the lease that it has.
    Adopted(AttemptId, FrontendName, Option<LeaseState>),
    /// An attempt was found that is over and must be told.
    Leaving(AttemptId, FrontendName),
    /// relayd answered a claim; with the lease that it gave.
    Answered(Grant, Option<LeaseState>),
    /// relayd calls an attempt off.
    Canceled(Cancel),
    /// A claim could not be sent, or its answer got lost with the connection.
    ClaimLost(AttemptId),
    /// A granted attempt could not be started, for a reason that will pass.
    NotStarted(AttemptId),
    /// No process of the runner is left, or there never was one.
    RunnerGone(AttemptId),
    /// relayd knows the end, and the journal has its tombstone.
    Over(AttemptId),
    /// Whether nothing that waits is claimed any more.
    Draining(bool),
    /// Time went by.
    Tick,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotEffect {
    /// Ask relayd whether this attempt may start.
    Claim(AttemptId, FrontendName),
    /// Plan and start it.
    Start(AttemptId, FrontendName, Option<Lease>),
    /// Let its runner know that it may go on.
    Renew(AttemptId, Lease),
    /// Bury it: relayd said no.
    CloseRefused(AttemptId, Option<Reason>),
    /// Tell relayd that it ended before it started.
    Report(AttemptId, FrontendName, Outcome, Reason),
    /// Leave word for its runner.
    Cancel(Cancel),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Claiming {
        asked: Instant,
    },
    /// With the next claim, if it has a lease.
    Started {
        renewal: Option<Renewal>,
    },
    Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Renewal {
    due: Instant,
    after: Duration,
}

impl Renewal {
    fn of(lease_state: Option<LeaseState>, now: Instant) -> Option<Self> {
        lease_state.map(|LeaseState { renew_after: after, .. }| Self { due: now + after, after })
    }
}

#[derive(Debug)]
struct Entry {
    frontend: FrontendName,
    phase: Phase,
}

/// All attempts that are not over.
#[derive(Debug)]
pub struct Slots {
    capacity: usize,
    entries: BTreeMap<AttemptId, Entry>,
    /// Attempts in phase `Waiting` and how urgent they are, the oldest first.
    queue: Vec<(AttemptId, u8)>,
    /// When each frontend had its last turn, counted in turns.
    last_served: BTreeMap<FrontendName, u64>,
    draining: bool,
}

/// How many attempts are where: for heartbeats, the status line, and the intake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Journaled and not claimed.
    pub waiting: Vec<AttemptId>,
    /// Claimed and not started.
    pub claiming: Vec<AttemptId>,
    /// With a runner.
    pub running: Vec<AttemptId>,
    /// Whether nothing that waits is claimed any more.
    pub draining: bool,
}

impl Slots {
    /// No attempts, and room for so many runners.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: BTreeMap::new(),
            queue: Vec::new(),
            last_served: BTreeMap::new(),
            draining: false,
        }
    }

    /// Takes note of an event and says what is to be done, in order.
    pub fn on(&mut self, event: SlotEvent, now: Instant) -> Vec<SlotEffect> {
        let mut effects = Vec::new();
        match event {
            SlotEvent::Journaled(attempt, frontend, priority) => {
                if self.enter(attempt, frontend, Phase::Waiting) {
                    self.queue.push((attempt, priority));
                    effects.extend(self.end_earlier(attempt));
                }
            }
            SlotEvent::Adopted(attempt, frontend, lease_state) => {
                // An earlier process may have asked long ago.
                let renewal = Renewal::of(lease_state, now).map(|renewal| Renewal { due: now, ..renewal });
                self.enter(attempt, frontend, Phase::Started { renewal });
            }
            SlotEvent::Leaving(attempt, frontend) => {
                self.enter(attempt, frontend, Phase::Leaving);
            }
            SlotEvent::Answered(grant, lease_state) => effects.extend(self.answered(grant, lease_state, now)),
            SlotEvent::Canceled(cancel) => effects.extend(self.canceled(cancel)),
            SlotEvent::ClaimLost(attempt) => self.ask_again(attempt, now),
            SlotEvent::NotStarted(attempt) => {
                if let Some(Entry { phase: phase @ Phase::Started { .. }, .. }) =
                    self.entries.get_mut(&attempt)
                {
                    *phase = Phase::Claiming { asked: now.checked_sub(CLAIM_AGAIN).unwrap_or(now) };
                }
            }
            SlotEvent::RunnerGone(attempt) => {
                if let Some(entry) = self.entries.get_mut(&attempt) {
                    entry.phase = Phase::Leaving;
                }
            }
            SlotEvent::Over(attempt) => {
                self.entries.remove(&attempt);
                self.queue.retain(|&(waiting, _)| waiting != attempt);
            }
            SlotEvent::Draining(draining) => self.draining = draining,
            SlotEvent::Tick => {}
        }
        effects.extend(self.claims(now));
        effects
    }

    /// When [`SlotEvent::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        let asked = self.entries.values().filter_map(|entry| match entry.phase {
            Phase::Claiming { asked } => Some(asked + CLAIM_AGAIN),
            Phase::Started { renewal } => renewal.map(|renewal| renewal.due),
            Phase::Waiting | Phase::Leaving => None,
        });
        asked.min()
    }

    /// How many attempts are where.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        let mut occupancy = Occupancy { draining: self.draining, ..Occupancy::default() };
        for (&attempt, entry) in &self.entries {
            match entry.phase {
                Phase::Waiting => occupancy.waiting.push(attempt),
                Phase::Claiming { .. } => occupancy.claiming.push(attempt),
                Phase::Started { .. } => occupancy.running.push(attempt),
                Phase::Leaving => {}
            }
        }
        occupancy
    }

    fn enter(&mut self, attempt: AttemptId, frontend: FrontendName, phase: Phase) -> bool {
        let new = !self.entries.contains_key(&attempt);
        if new {
            self.entries.insert(attempt, Entry { frontend, phase });
        }
        new
    }

    fn answered(
        &mut self,
        grant: Grant,
        lease_state: Option<LeaseState>,
        now: Instant,
    ) -> Option<SlotEffect> {
        let attempt = AttemptId { operation: grant.operation, attempt: grant.attempt };
        let entry = self.entries.get_mut(&attempt)?;
        match entry.phase {
            Phase::Claiming { .. } if !grant.granted => {
                entry.phase = Phase::Leaving;
                Some(SlotEffect::CloseRefused(attempt, grant.reason))
            }
            // The answer to a claim of long ago. relayd may have given the attempt up: it is asked again.
            Phase::Claiming { .. } if lease_state.is_some_and(|lease_state| lease_state.over) => {
                self.ask_again(attempt, now);
                None
            }
            Phase::Claiming { .. } => {
                entry.phase = Phase::Started { renewal: Renewal::of(lease_state, now) };
                Some(SlotEffect::Start(
                    attempt,
                    entry.frontend.clone(),
                    lease_state.map(|lease_state| lease_state.lease),
                ))
            }
            // A refusal means that the attempt was given up; its runner stops when its lease is over.
            Phase::Started { .. } => {
                let lease_state = lease_state.filter(|lease_state| grant.granted && !lease_state.over)?;
                Some(SlotEffect::Renew(attempt, lease_state.lease))
            }
            // An answer that comes twice, or after the attempt was called off, changes nothing.
            Phase::Waiting | Phase::Leaving => None,
        }
    }

    /// relayd has given up the attempts at an Operation before this one. What of them still runs here is ended
    /// first.
    fn end_earlier(&self, attempt: AttemptId) -> Vec<SlotEffect> {
        self.earlier(attempt)
            .map(|earlier| {
                let requested_by = Some(format!("relayd, which has begun attempt {}", attempt.attempt));
                SlotEffect::Cancel(Cancel {
                    operation: earlier.operation,
                    attempt: earlier.attempt,
                    requested_by,
                })
            })
            .collect()
    }

    fn earlier(&self, attempt: AttemptId) -> impl Iterator<Item = AttemptId> {
        let first = AttemptId { attempt: Attempt::FIRST, ..attempt };
        let started = |(_, entry): &(&AttemptId, &Entry)| matches!(entry.phase, Phase::Started { .. });
        self.entries.range(first..attempt).filter(started).map(|(earlier, _)| *earlier)
    }

    fn canceled(&mut self, cancel: Cancel) -> Option<SlotEffect> {
        let attempt = AttemptId { operation: cancel.operation, attempt: cancel.attempt };
        let entry = self.entries.get_mut(&attempt)?;
        match entry.phase {
            Phase::Waiting | Phase::Claiming { .. } => {
                entry.phase = Phase::Leaving;
                self.queue.retain(|&(waiting, _)| waiting != attempt);
                let by = cancel.requested_by.map(|name| format!(" by {name}")).unwrap_or_default();
                let reason = Code::CanceledByRequest.because(format!("canceled{by} before it started"));
                Some(SlotEffect::Report(attempt, entry.frontend.clone(), Outcome::Canceled, reason))
            }
            Phase::Started { .. } => Some(SlotEffect::Cancel(cancel)),
            Phase::Leaving => None,
        }
    }

    /// Makes a claim due at once, or as soon as a second has passed since it was last sent.
    fn ask_again(&mut self, attempt: AttemptId, now: Instant) {
        const AT_MOST_EVERY: Duration = Duration::from_secs(1);
        if let Some(Entry { phase: Phase::Claiming { asked }, .. }) = self.entries.get_mut(&attempt) {
            let soon = now + AT_MOST_EVERY;
            *asked = (*asked).min(soon.checked_sub(CLAIM_AGAIN).unwrap_or(*asked));
        }
    }

    fn claims(&mut self, now: Instant) -> Vec<SlotEffect> {
        let mut effects = Vec::new();
        for (&attempt, entry) in &mut self.entries {
            let due = match &mut entry.phase {
                Phase::Claiming { asked } if now.saturating_duration_since(*asked) >= CLAIM_AGAIN => {
                    *asked = now;
                    true
                }
                Phase::Started { renewal: Some(renewal) } if renewal.due <= now => {
                    renewal.due = now + renewal.after;
                    true
                }
                Phase::Claiming { .. } | Phase::Started { .. } | Phase::Waiting | Phase::Leaving => false,
            };
            if due {
                effects.push(SlotEffect::Claim(attempt, entry.frontend.clone()));
            }
        }
        while !self.draining
            && self.held() < self.capacity
            && let Some(next) = self.next()
        {
            let (attempt, _) = self.queue.remove(next);
            if let Some(entry) = self.entries.get_mut(&attempt) {
                entry.phase = Phase::Claiming { asked: now };
                let served = self.last_served.values().max().map_or(0, |last| last + 1);
                self.last_served.insert(entry.frontend.clone(), served);
                effects.push(SlotEffect::Claim(attempt, entry.frontend.clone()));
            }
        }
        effects
    }

    /// The place in the queue of who is next.
    fn next(&self) -> Option<usize> {
        let can_start =
            |(_, (attempt, _)): &(usize, &(AttemptId, u8))| self.earlier(*attempt).next().is_none();
        let rank = |(place, (attempt, priority)): &(usize, &(AttemptId, u8))| {
            let served = self.entries.get(attempt).and_then(|entry| self.last_served.get(&entry.frontend));
            (Reverse(*priority), served.copied(), *place)
        };
        self.queue.iter().enumerate().filter(can_start).min_by_key(rank).map(|(place, _)| place)
    }

    fn held(&self) -> usize {
        let holds = |entry: &&Entry| matches!(entry.phase, Phase::Claiming { .. } | Phase::Started { .. });
        self.entries.values().filter(holds).count()
    }
}
