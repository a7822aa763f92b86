//! The rules against every order of submissions and ends, on a table in memory.

use std::collections::{BTreeMap, BTreeSet};

use aegir_protocol::operation::LockMode;
use proptest::prelude::*;

use super::{Others, Rank, candidates, grantable};

#[derive(Clone, Debug)]
struct Asker {
    rank: Rank,
    locks: BTreeMap<u8, LockMode>,
    held: bool,
}

#[derive(Default)]
struct Table {
    askers: BTreeMap<i64, Asker>,
    number: i64,
}

impl Table {
    fn others(&self, me: i64, thing: u8) -> Others {
        let mut others = Others::default();
        for (_, asker) in self.askers.iter().filter(|(number, _)| **number != me) {
            let first = |at: Option<Rank>| Some(at.map_or(asker.rank, |at| at.min(asker.rank)));
            match (asker.locks.get(&thing), asker.held) {
                (Some(LockMode::Shared), true) => others.held_shared = true,
                (Some(LockMode::Exclusive), true) => others.held_exclusive = true,
                (Some(LockMode::Shared), false) => others.waiting_shared = first(others.waiting_shared),
                (Some(LockMode::Exclusive), false) => {
                    others.waiting_exclusive = first(others.waiting_exclusive);
                }
                (None, _) => {}
            }
        }
        others
    }

    fn grantable(&self, number: i64) -> bool {
        let asker = &self.askers[&number];
        let wanted: Vec<_> =
            asker.locks.iter().map(|(thing, mode)| (*mode, self.others(number, *thing))).collect();
        grantable(asker.rank, &wanted)
    }

    fn submit(&mut self, priority: u8, locks: BTreeMap<u8, LockMode>) {
        self.number += 1;
        let asker = Asker { rank: Rank::new(priority, self.number), locks, held: false };
        self.askers.insert(self.number, asker);
        if self.grantable(self.number) {
            self.askers.get_mut(&self.number).expect("just inserted").held = true;
        }
    }

    fn release(&mut self, number: i64) {
        let gone = self.askers.remove(&number).expect("it is there");
        let mut touched = BTreeSet::new();
        for (thing, released) in &gone.locks {
            let mut waiters: Vec<_> = self
                .askers
                .iter()
                .filter(|(_, asker)| !asker.held)
                .filter_map(|(number, asker)| Some((asker.rank, *asker.locks.get(thing)?, *number)))
                .collect();
            waiters.sort_by_key(|(rank, ..)| *rank);
            touched.extend(candidates(
                *released,
                waiters.into_iter().map(|(rank, mode, number)| (mode, (rank, number))),
            ));
        }
        for (_, number) in touched {
            if self.grantable(number) {
                self.askers.get_mut(&number).expect("it waits").held = true;
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (a, one) in self.askers.iter().filter(|(_, asker)| asker.held) {
            for (b, other) in self.askers.iter().filter(|(_, asker)| asker.held) {
                let conflict = one.locks.iter().any(|(thing, mode)| {
                    other
                        .locks
                        .get(thing)
                        .is_some_and(|held| *mode == LockMode::Exclusive || *held == LockMode::Exclusive)
                });
                prop_assert!(a == b || !conflict, "{one:?} and {other:?} hold the same");
            }
        }
        for (number, asker) in self.askers.iter().filter(|(_, asker)| !asker.held) {
            prop_assert!(!self.grantable(*number), "{asker:?} waits for nothing");
        }
        let all_wait = !self.askers.is_empty() && self.askers.values().all(|asker| !asker.held);
        prop_assert!(!all_wait, "everybody waits");
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Move {
    Submit(u8, BTreeMap<u8, LockMode>),
    End(prop::sample::Index),
}

fn moves() -> impl Strategy<Value = Move> {
    let mode = prop_oneof![Just(LockMode::Shared), Just(LockMode::Exclusive)];
    prop_oneof![
        (0..3_u8, proptest::collection::btree_map(0..4_u8, mode, 0..4))
            .prop_map(|(priority, locks)| Move::Submit(priority, locks)),
        any::<prop::sample::Index>().prop_map(Move::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn locks_hold_and_nobody_is_forgotten(moves in proptest::collection::vec(moves(), 0..60)) {
        let mut table = Table::default();
        for one in moves {
            match one {
                Move::Submit(priority, locks) => table.submit(priority, locks),
                Move::End(index) if !table.askers.is_empty() => {
                    // Whoever holds ends, whoever waits is called off.
                    let number = *index.get(&table.askers.keys().copied().collect::<Vec<_>>());
                    table.release(number);
                }
                Move::End(_) => {}
            }
            table.check()?;
        }
        // When holders end and nobody new comes, everybody gets a turn.
        while let Some(number) =
            table.askers.iter().find(|(_, asker)| asker.held).map(|(number, _)| *number)
        {
            table.release(number);
            table.check()?;
        }
        prop_assert!(table.askers.is_empty());
    }
}

#[test]
fn an_earlier_exclusive_waiter_holds_back_who_would_share() {
    let locks = |mode| BTreeMap::from([(0, mode)]);
    let mut table = Table::default();
    table.submit(0, locks(LockMode::Shared));
    table.submit(0, locks(LockMode::Exclusive));
    table.submit(0, locks(LockMode::Shared));
    assert_eq!(table.askers.values().map(|asker| asker.held).collect::<Vec<_>>(), [true, false, false]);
    table.release(1);
    assert_eq!(table.askers.values().map(|asker| asker.held).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_higher_priority_goes_first() {
    let locks = || BTreeMap::from([(0, LockMode::Exclusive)]);
    let mut table = Table::default();
    table.submit(0, locks());
    table.submit(0, locks());
    table.submit(5, locks());
    table.release(1);
    assert!(table.askers[&3].held && !table.askers[&2].held);
}
