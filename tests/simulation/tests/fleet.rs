//! A bounded part of the proof, for every test run. A hundred thousand simulations are run by hand, see the README of
//! this crate.

use ieum::planted::Rule;
use ieum_simulation::{Report, run};

/// How many simulations every test run makes.
const SEEDS: u64 = 120;

fn failures(reports: impl Iterator<Item = Report>) -> Vec<String> {
    reports
        .filter(|report| !report.violations.is_empty())
        .map(|report| format!("{}\n    {}", report.repro(), report.violations.join("\n    ")))
        .collect()
}

#[test]
fn all_promises_hold_in_whatever_happens() {
    let failures = failures((0..SEEDS).map(|seed| run(seed, None)));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [3, 17, 29] {
        let [first, second] = [(); 2].map(|()| run(seed, None).counts);
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "seed {seed}");
    }
}

/// Each rule, and a seed near which its breach shows. The search goes on from there, so that a change elsewhere that
/// draws other histories does not fail the test at once.
const BREACHES: [(Rule, u64); Rule::ALL.len()] = [
    (Rule::AgesByBothClocks, 8),
    (Rule::ClockIsCorrected, 1),
    (Rule::FailuresCountInTheirEpoch, 1),
    (Rule::SuccessHeals, 4),
    (Rule::StreakHasAnAge, 203),
    (Rule::OpenLastsItsTime, 0),
    (Rule::OneProbeAtATime, 1),
    (Rule::ProbesExpire, 0),
    (Rule::OnlyTheProbeCloses, 11),
    (Rule::ClaimsAreAnswered, 65),
    (Rule::ReadingsExpire, 8),
    (Rule::ReadingsGoForward, 1_307),
    (Rule::SlotsAreFree, 7),
    (Rule::SlotsExpire, 511),
    (Rule::BlocksHold, 19),
    (Rule::QuotasCount, 14),
    (Rule::ThrottledIsAlive, 205),
];

#[test]
fn every_broken_rule_is_noticed() {
    for (rule, from) in BREACHES {
        let noticed = (from..from + 40).any(|seed| !run(seed, Some(rule)).violations.is_empty());
        assert!(noticed, "nobody noticed that `{rule:?}` was broken");
    }
}
