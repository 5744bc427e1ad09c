//! A bounded part of the proof about messages, for every test run. A million events are run by hand, see the README of this
//! crate.

use ieum::planted::Rule;
use ieum_simulation::delivery::{Counts, run};

/// How many simulations every test run makes.
const SEEDS: u64 = 30;

#[test]
fn whatever_happens_no_message_is_lost_or_sent_twice_in_silence() {
    let (mut all, mut failures) = (Counts::default(), Vec::new());
    for seed in 0..SEEDS {
        let report = run(seed, None);
        all += report.counts;
        failures.extend(report.violations.iter().map(|violation| format!("seed {seed}: {violation}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let happened = [
        all.killed,
        all.unreliable,
        all.dead_letters,
        all.taken,
        all.reports,
        all.doubts,
        all.decisions,
        all.lost_trips,
    ];
    assert!(happened.iter().all(|count| *count > 0), "something never happened: {all:?}");
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [3, 17, 29] {
        assert_eq!(run(seed, None).counts, run(seed, None).counts, "seed {seed}");
    }
}

#[test]
fn every_broken_rule_of_delivery_is_noticed() {
    for rule in Rule::DELIVERY {
        let noticed = (0..SEEDS).any(|seed| !run(seed, Some(rule)).violations.is_empty());
        assert!(noticed, "nobody noticed that `{rule:?}` was broken");
    }
}
