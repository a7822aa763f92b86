//! Which attempt may go on: a pure function of what happened.
//!
//! ```text
//! waiting --slot free--> claiming --granted--> started --runner gone--> leaving --relayd knows--> (over)
//!    |                      |--refused--> (over)  |--rejected------------^
//!    '--canceled------------'--------------------------------------------^
//! ```
//! A slot is held from `claiming` until the runner is gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, AttemptId};
use aegir_protocol::message::{Cancel, Grant, Lease};
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::{Outcome, Reason};

/// A claim that nobody answered for this long is sent again.
pub(super) const CLAIM_AGAIN: Duration = Duration::from_secs(10);

/// What of a lease matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The lease.
    pub lease: Lease,
    /// Whether it was over when it came.
    pub over: bool,
    /// How long after a claim the next one is due.
    pub renew_after: Duration,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An Operation is in the journal.
    Journaled(AttemptId, FrontendName),
    /// An attempt was found whose runner was started by an earlier process, and the lease that it has.
    Adopted(AttemptId, FrontendName, Option<Term>),
    /// An attempt was found that is over and must be told.
    Leaving(AttemptId, FrontendName),
    /// relayd answered a claim; with the lease that it gave.
    Answered(Grant, Option<Term>),
    /// relayd calls an attempt off.
    Canceled(Cancel),
    /// A claim could not be sent, or its answer got lost with the connection.
    ClaimLost(AttemptId),
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
pub enum Effect {
    /// Ask relayd whether this attempt may start.
    Claim(AttemptId, FrontendName),
    /// Plan and start it.
    Start(AttemptId, FrontendName, Option<Lease>),
    /// Let its runner know that it may go on.
    Renew(AttemptId, Lease),
    /// Bury it: relayd said no.
    Bury(AttemptId, Option<Reason>),
    /// Tell relayd that it ended before it started.
    Report(AttemptId, FrontendName, Outcome, Reason),
    /// Leave word for its runner.
    CallOff(Cancel),
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
    fn of(term: Option<Term>, now: Instant) -> Option<Self> {
        term.map(|Term { renew_after: after, .. }| Self { due: now + after, after })
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
    /// Attempts in phase `Waiting`, the oldest first.
    queue: VecDeque<AttemptId>,
    draining: bool,
}

/// How many attempts are where: for heartbeats, the status line, and the intake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
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
        Self { capacity, entries: BTreeMap::new(), queue: VecDeque::new(), draining: false }
    }

    /// Takes note of an event and says what is to be done, in order.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Journaled(attempt, frontend) => {
                if self.enter(attempt, frontend, Phase::Waiting) {
                    self.queue.push_back(attempt);
                    effects.extend(self.end_earlier(attempt));
                }
            }
            Event::Adopted(attempt, frontend, term) => {
                // An earlier process may have asked long ago.
                let renewal = Renewal::of(term, now).map(|renewal| Renewal { due: now, ..renewal });
                self.enter(attempt, frontend, Phase::Started { renewal });
            }
            Event::Leaving(attempt, frontend) => {
                self.enter(attempt, frontend, Phase::Leaving);
            }
            Event::Answered(grant, term) => effects.extend(self.answered(grant, term, now)),
            Event::Canceled(cancel) => effects.extend(self.canceled(cancel)),
            Event::ClaimLost(attempt) => self.ask_again(attempt, now),
            Event::RunnerGone(attempt) => {
                if let Some(entry) = self.entries.get_mut(&attempt) {
                    entry.phase = Phase::Leaving;
                }
            }
            Event::Over(attempt) => {
                self.entries.remove(&attempt);
                self.queue.retain(|&waiting| waiting != attempt);
            }
            Event::Draining(draining) => self.draining = draining,
            Event::Tick => {}
        }
        effects.extend(self.claims(now));
        effects
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
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
    pub fn census(&self) -> Census {
        let mut census = Census { draining: self.draining, ..Census::default() };
        for (&attempt, entry) in &self.entries {
            match entry.phase {
                Phase::Waiting => census.waiting.push(attempt),
                Phase::Claiming { .. } => census.claiming.push(attempt),
                Phase::Started { .. } => census.running.push(attempt),
                Phase::Leaving => {}
            }
        }
        census
    }

    fn enter(&mut self, attempt: AttemptId, frontend: FrontendName, phase: Phase) -> bool {
        let new = !self.entries.contains_key(&attempt);
        if new {
            self.entries.insert(attempt, Entry { frontend, phase });
        }
        new
    }

    fn answered(&mut self, grant: Grant, term: Option<Term>, now: Instant) -> Option<Effect> {
        let attempt = AttemptId { operation: grant.operation, attempt: grant.attempt };
        let entry = self.entries.get_mut(&attempt)?;
        match entry.phase {
            Phase::Claiming { .. } if !grant.granted => {
                entry.phase = Phase::Leaving;
                Some(Effect::Bury(attempt, grant.reason))
            }
            // The answer to a claim of long ago. relayd may have given the attempt up: it is asked again.
            Phase::Claiming { .. } if term.is_some_and(|term| term.over) => {
                self.ask_again(attempt, now);
                None
            }
            Phase::Claiming { .. } => {
                entry.phase = Phase::Started { renewal: Renewal::of(term, now) };
                Some(Effect::Start(attempt, entry.frontend.clone(), term.map(|term| term.lease)))
            }
            // A refusal means that the attempt was given up; its runner stops when its lease is over.
            Phase::Started { .. } => {
                let term = term.filter(|term| grant.granted && !term.over)?;
                Some(Effect::Renew(attempt, term.lease))
            }
            // An answer that comes twice, or after the attempt was called off, changes nothing.
            Phase::Waiting | Phase::Leaving => None,
        }
    }

    /// relayd has given up the attempts at an Operation before this one. What of them still runs here is ended
    /// first.
    fn end_earlier(&self, attempt: AttemptId) -> Vec<Effect> {
        self.earlier(attempt)
            .map(|earlier| {
                let requested_by = Some(format!("relayd, which has begun attempt {}", attempt.attempt));
                Effect::CallOff(Cancel {
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

    fn canceled(&mut self, cancel: Cancel) -> Option<Effect> {
        let attempt = AttemptId { operation: cancel.operation, attempt: cancel.attempt };
        let entry = self.entries.get_mut(&attempt)?;
        match entry.phase {
            Phase::Waiting | Phase::Claiming { .. } => {
                entry.phase = Phase::Leaving;
                self.queue.retain(|&waiting| waiting != attempt);
                let by = cancel.requested_by.map(|name| format!(" by {name}")).unwrap_or_default();
                let reason = Code::CanceledByRequest.because(format!("canceled{by} before it started"));
                Some(Effect::Report(attempt, entry.frontend.clone(), Outcome::Canceled, reason))
            }
            Phase::Started { .. } => Some(Effect::CallOff(cancel)),
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

    fn claims(&mut self, now: Instant) -> Vec<Effect> {
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
                effects.push(Effect::Claim(attempt, entry.frontend.clone()));
            }
        }
        while !self.draining
            && self.held() < self.capacity
            && let Some(next) = self.queue.iter().position(|&waiting| self.earlier(waiting).next().is_none())
            && let Some(attempt) = self.queue.remove(next)
        {
            if let Some(entry) = self.entries.get_mut(&attempt) {
                entry.phase = Phase::Claiming { asked: now };
                effects.push(Effect::Claim(attempt, entry.frontend.clone()));
            }
        }
        effects
    }

    fn held(&self) -> usize {
        let holds = |entry: &&Entry| matches!(entry.phase, Phase::Claiming { .. } | Phase::Started { .. });
        self.entries.values().filter(holds).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::id::OperationId;
    use aegir_protocol::message::BootTime;

    struct Bench {
        slots: Slots,
        now: Instant,
    }

    impl Bench {
        fn new(capacity: usize) -> Self {
            Self { slots: Slots::new(capacity), now: Instant::now() }
        }

        fn on(&mut self, event: Event) -> Vec<Effect> {
            self.slots.on(event, self.now)
        }

        fn journaled(&mut self) -> (AttemptId, Vec<Effect>) {
            let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
            (attempt, self.on(Event::Journaled(attempt, frontend())))
        }
    }

    fn frontend() -> FrontendName {
        "main".parse().unwrap()
    }

    fn claim(attempt: AttemptId) -> Effect {
        Effect::Claim(attempt, frontend())
    }

    fn answer(attempt: AttemptId, granted: bool) -> Event {
        let AttemptId { operation, attempt } = attempt;
        Event::Answered(Grant { operation, attempt, granted, reason: None, lease: None }, None)
    }

    fn start(attempt: AttemptId) -> Effect {
        Effect::Start(attempt, frontend(), None)
    }

    /// A grant with a lease that is renewed each minute.
    fn leased(attempt: AttemptId, over: bool) -> (Event, Lease) {
        let asked_at = BootTime { boot: uuid::Uuid::nil(), milliseconds: 0 };
        let lease = Lease { asked_at, seconds: 900 };
        let AttemptId { operation, attempt } = attempt;
        let grant = Grant { operation, attempt, granted: true, reason: None, lease: Some(lease) };
        let term = Term { lease, over, renew_after: Duration::from_secs(60) };
        (Event::Answered(grant, Some(term)), lease)
    }

    fn cancel(attempt: AttemptId) -> Cancel {
        Cancel { operation: attempt.operation, attempt: attempt.attempt, requested_by: None }
    }

    #[test]
    fn as_many_are_claimed_as_there_are_slots_the_oldest_first() {
        let mut bench = Bench::new(2);
        let (one, effects) = bench.journaled();
        assert_eq!(effects, [claim(one)]);
        let (two, effects) = bench.journaled();
        assert_eq!(effects, [claim(two)]);
        let (three, effects) = bench.journaled();
        assert_eq!(effects, []);
        let (four, effects) = bench.journaled();
        assert_eq!(effects, []);
        assert_eq!(bench.on(answer(two, true)), [start(two)]);
        assert_eq!(bench.on(Event::RunnerGone(two)), [claim(three)]);
        assert_eq!(bench.on(answer(one, false)), [Effect::Bury(one, None), claim(four)]);
        assert_eq!(bench.on(Event::Over(two)), []);
        assert_eq!(bench.slots.census(), Census { claiming: vec![three, four], ..Census::default() });
    }

    #[test]
    fn a_draining_node_claims_nothing_new_and_starts_what_it_is_granted() {
        let mut bench = Bench::new(1);
        let (one, _) = bench.journaled();
        assert_eq!(bench.on(Event::Draining(true)), []);
        let (two, effects) = bench.journaled();
        assert_eq!(effects, []);
        bench.now += CLAIM_AGAIN;
        assert_eq!(bench.on(Event::Tick), [claim(one)], "what was asked for is asked for again");
        assert_eq!(bench.on(answer(one, true)), [start(one)]);
        assert_eq!(bench.on(Event::RunnerGone(one)), []);
        let census = Census { waiting: vec![two], draining: true, ..Census::default() };
        assert_eq!(bench.slots.census(), census);
        assert_eq!(bench.on(Event::Draining(false)), [claim(two)]);
    }

    #[test]
    fn a_claim_is_repeated_until_it_is_answered() {
        let mut bench = Bench::new(1);
        let (one, _) = bench.journaled();
        assert_eq!(bench.slots.next_tick(), Some(bench.now + CLAIM_AGAIN));
        assert_eq!(bench.on(Event::Tick), []);
        bench.now += CLAIM_AGAIN;
        assert_eq!(bench.on(Event::Tick), [claim(one)]);
        assert_eq!(bench.on(Event::ClaimLost(one)), []);
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.on(Event::Tick), [claim(one)]);
        assert_eq!(bench.on(answer(one, true)), [start(one)]);
        assert_eq!(bench.on(answer(one, true)), []);
        assert_eq!(bench.slots.next_tick(), None);
    }

    #[test]
    fn a_cancel_reaches_an_attempt_wherever_it_is() {
        let mut bench = Bench::new(1);
        let (one, _) = bench.journaled();
        let (two, _) = bench.journaled();
        let (three, _) = bench.journaled();
        let reported = |effects: &[Effect]| matches!(effects[0], Effect::Report(_, _, Outcome::Canceled, _));
        // Waiting.
        let effects = bench.on(Event::Canceled(cancel(two)));
        assert!(reported(&effects) && effects.len() == 1, "{effects:?}");
        // Claiming: its slot goes to the next, and an answer that comes later starts nothing.
        let effects = bench.on(Event::Canceled(cancel(one)));
        assert!(reported(&effects), "{effects:?}");
        assert_eq!(effects[1], claim(three));
        assert_eq!(bench.on(answer(one, true)), []);
        // Started.
        bench.on(answer(three, true));
        assert_eq!(bench.on(Event::Canceled(cancel(three))), [Effect::CallOff(cancel(three))]);
        // Over, or never heard of.
        bench.on(Event::RunnerGone(three));
        assert_eq!(bench.on(Event::Canceled(cancel(three))), []);
        bench.on(Event::Over(three));
        assert_eq!(bench.on(Event::Canceled(cancel(three))), []);
    }

    #[test]
    fn a_lease_is_renewed_as_long_as_the_runner_lives() {
        let mut bench = Bench::new(1);
        let (one, _) = bench.journaled();
        // One that was over when it came starts nothing; the next claim is answered anew.
        assert_eq!(bench.on(leased(one, true).0), []);
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.on(Event::Tick), [claim(one)]);
        let (granted, lease) = leased(one, false);
        assert_eq!(bench.on(granted.clone()), [Effect::Start(one, frontend(), Some(lease))]);
        assert_eq!(bench.slots.next_tick(), Some(bench.now + Duration::from_secs(60)));
        bench.now += Duration::from_secs(60);
        assert_eq!(bench.on(Event::Tick), [claim(one)]);
        assert_eq!(bench.on(granted), [Effect::Renew(one, lease)]);
        assert_eq!(bench.on(answer(one, false)), [], "a refusal lets it run out");
        bench.on(Event::RunnerGone(one));
        assert_eq!(bench.slots.next_tick(), None);
    }

    #[test]
    fn a_later_attempt_waits_until_nothing_of_an_earlier_one_runs_here() {
        let mut bench = Bench::new(2);
        let (one, _) = bench.journaled();
        bench.on(answer(one, true));
        let two = AttemptId { attempt: one.attempt.next(), ..one };
        let effects = bench.on(Event::Journaled(two, frontend()));
        assert!(
            matches!(&effects[..], [Effect::CallOff(cancel)] if cancel.attempt == one.attempt),
            "{effects:?}"
        );
        let (three, effects) = bench.journaled();
        assert_eq!(effects, [claim(three)], "others go past it");
        assert_eq!(bench.on(Event::RunnerGone(one)), [claim(two)]);
    }

    #[test]
    fn what_was_found_running_holds_its_slot() {
        let mut bench = Bench::new(1);
        let adopted = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        bench.on(Event::Adopted(adopted, frontend(), None));
        let (one, effects) = bench.journaled();
        assert_eq!(effects, []);
        assert_eq!(bench.on(Event::Journaled(adopted, frontend())), []);
        assert_eq!(bench.on(Event::RunnerGone(adopted)), [claim(one)]);
    }
}
