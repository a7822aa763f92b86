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
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{Cancel, Grant};
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::{Outcome, Reason};

/// A claim that nobody answered for this long is sent again.
pub(super) const CLAIM_AGAIN: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An Operation is in the journal.
    Journaled(AttemptId, FrontendName),
    /// An attempt was found whose runner was started by an earlier process.
    Adopted(AttemptId, FrontendName),
    /// An attempt was found that is over and must be told.
    Leaving(AttemptId, FrontendName),
    /// relayd answered a claim.
    Answered(Grant),
    /// relayd calls an attempt off.
    Canceled(Cancel),
    /// A claim could not be sent, or its answer got lost with the connection.
    ClaimLost(AttemptId),
    /// No process of the runner is left, or there never was one.
    RunnerGone(AttemptId),
    /// relayd knows the end, and the journal has its tombstone.
    Over(AttemptId),
    /// Time went by.
    Tick,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask relayd whether this attempt may start.
    Claim(AttemptId, FrontendName),
    /// Plan and start it.
    Start(AttemptId, FrontendName),
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
    Claiming { asked: Instant },
    Started,
    Leaving,
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
}

/// How many attempts are where: for heartbeats, the status line, and the intake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Journaled and not started.
    pub waiting: Vec<AttemptId>,
    /// With a runner.
    pub running: Vec<AttemptId>,
}

impl Slots {
    /// No attempts, and room for so many runners.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// Takes note of an event and says what is to be done, in order.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Journaled(attempt, frontend) => {
                if self.enter(attempt, frontend, Phase::Waiting) {
                    self.queue.push_back(attempt);
                }
            }
            Event::Adopted(attempt, frontend) => {
                self.enter(attempt, frontend, Phase::Started);
            }
            Event::Leaving(attempt, frontend) => {
                self.enter(attempt, frontend, Phase::Leaving);
            }
            Event::Answered(grant) => effects.extend(self.answered(grant)),
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
            Phase::Waiting | Phase::Started | Phase::Leaving => None,
        });
        asked.min()
    }

    /// How many attempts are where.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for (&attempt, entry) in &self.entries {
            match entry.phase {
                Phase::Waiting | Phase::Claiming { .. } => census.waiting.push(attempt),
                Phase::Started => census.running.push(attempt),
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

    fn answered(&mut self, grant: Grant) -> Option<Effect> {
        let attempt = AttemptId { operation: grant.operation, attempt: grant.attempt };
        let entry = self.entries.get_mut(&attempt)?;
        // An answer that comes twice, or after the attempt was called off, changes nothing.
        if !matches!(entry.phase, Phase::Claiming { .. }) {
            return None;
        }
        if grant.granted {
            entry.phase = Phase::Started;
            Some(Effect::Start(attempt, entry.frontend.clone()))
        } else {
            entry.phase = Phase::Leaving;
            Some(Effect::Bury(attempt, grant.reason))
        }
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
            Phase::Started => Some(Effect::CallOff(cancel)),
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
            if let Phase::Claiming { asked } = &mut entry.phase
                && now.saturating_duration_since(*asked) >= CLAIM_AGAIN
            {
                *asked = now;
                effects.push(Effect::Claim(attempt, entry.frontend.clone()));
            }
        }
        while self.held() < self.capacity
            && let Some(attempt) = self.queue.pop_front()
        {
            if let Some(entry) = self.entries.get_mut(&attempt) {
                entry.phase = Phase::Claiming { asked: now };
                effects.push(Effect::Claim(attempt, entry.frontend.clone()));
            }
        }
        effects
    }

    fn held(&self) -> usize {
        let holds = |entry: &&Entry| matches!(entry.phase, Phase::Claiming { .. } | Phase::Started);
        self.entries.values().filter(holds).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::id::{Attempt, OperationId};

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
        Event::Answered(Grant { operation, attempt, granted, reason: None })
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
        assert_eq!(bench.on(answer(two, true)), [Effect::Start(two, frontend())]);
        assert_eq!(bench.on(Event::RunnerGone(two)), [claim(three)]);
        assert_eq!(bench.on(answer(one, false)), [Effect::Bury(one, None), claim(four)]);
        assert_eq!(bench.on(Event::Over(two)), []);
        assert_eq!(bench.slots.census(), Census { waiting: vec![three, four], running: vec![] });
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
        assert_eq!(bench.on(answer(one, true)), [Effect::Start(one, frontend())]);
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
    fn what_was_found_running_holds_its_slot() {
        let mut bench = Bench::new(1);
        let adopted = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        bench.on(Event::Adopted(adopted, frontend()));
        let (one, effects) = bench.journaled();
        assert_eq!(effects, []);
        assert_eq!(bench.on(Event::Journaled(adopted, frontend())), []);
        assert_eq!(bench.on(Event::RunnerGone(adopted)), [claim(one)]);
    }
}
