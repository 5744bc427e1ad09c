//! Runs simulations: one with its plan and what became of it, or a hundred thousand.
//!
//! ```text
//! cargo run -p ieum-simulation -- --seed 4711
//! cargo run --profile simulation -p ieum-simulation -- --seeds 100000
//! cargo run --profile simulation -p ieum-simulation -- --seeds 2000 --broken
//! ```
//!
//! What a healthy fleet asks of the store, by its size (`infra/bench/kernel`):
//!
//! ```text
//! cargo run --profile simulation -p ieum-simulation -- --cost
//! ```
//!
//! The same of messages on their way, with `--delivery`; there `--events` says how much is to happen.
//!
//! ```text
//! cargo run --profile simulation -p ieum-simulation -- --delivery --events 1000000
//! cargo run --profile simulation -p ieum-simulation -- --delivery --seeds 200 --broken
//! cargo run -p ieum-simulation -- --delivery --seed 4711
//! ```

#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ieum::planted::Rule;
use ieum_simulation::{Report, delivery, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let (delivery, plant_breaches) = (given("--delivery"), given("--broken"));
    if given("--cost") {
        return cost(number("--seeds").unwrap_or(3));
    }
    if let (true, Some(seed)) = (delivery, number("--seed")) {
        let report = delivery::run(seed, None);
        println!("{report:#?}");
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Some(seed) = number("--seed") {
        let report = run(seed, None);
        println!("{report:#?}");
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (first, seeds) = (number("--from").unwrap_or(0), number("--seeds").unwrap_or(1_000));
    match (delivery, plant_breaches) {
        (false, false) => many(first, seeds),
        (false, true) => plant(&Rule::ALL, first, seeds, |seed, rule| run(seed, Some(rule)).violations),
        (true, true) => plant(&Rule::DELIVERY, first, seeds, |seed, rule| delivery::run(seed, Some(rule)).violations),
        (true, false) => deliver(first, number("--events").unwrap_or(100_000)),
    }
}

/// Says what healthy fleets ask of the store for a thousand calls.
fn cost(seeds: u64) -> ExitCode {
    println!("| environments | calls | readings of the circuit | leases | other writes | operations for 1,000 calls |");
    println!("|---|---|---|---|---|---|");
    for environments in [1, 10, 100, 1_000] {
        let all = (0..seeds).map(|seed| ieum_simulation::cost(seed, environments));
        let [calls, reads, leases, others] = all.fold([0; 4], |[calls, reads, leases, others], counts| {
            let others = others + counts.breaker_writes;
            [calls + counts.calls, reads + counts.breaker_reads, leases + counts.rate_writes, others]
        });
        let in_all = (reads + leases + others) * 1_000 / calls.max(1);
        println!("| {environments} | {calls} | {reads} | {leases} | {others} | {in_all} |");
    }
    ExitCode::SUCCESS
}

/// Runs simulations of messages on all cores until so many events have happened, and adds up what they were.
fn deliver(first: u64, events: u64) -> ExitCode {
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let totals = Mutex::new((delivery::Counts::default(), 0_u64, 0_u64));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while totals.lock().unwrap_or_else(PoisonError::into_inner).0.events < events {
                    let report = delivery::run(next.fetch_add(1, Ordering::Relaxed), None);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.0 += report.counts;
                    totals.1 += 1;
                    totals.2 += u64::from(!report.violations.is_empty());
                    for violation in &report.violations {
                        println!("seed {}: {violation}", report.seed);
                    }
                }
            });
        }
    });
    let (counts, seeds, failed) = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{seeds} simulations in {:.0} s, {failed} failed\n{counts:#?}", began.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `seeds` simulations on all cores and adds up what happened.
fn many(first: u64, seeds: u64) -> ExitCode {
    let (next, began, failed) = (AtomicU64::new(first), Instant::now(), AtomicU64::new(0));
    let totals = Mutex::new((BTreeMap::<&str, u64>::new(), [0_u64; 4], u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let report = run(seed, None);
                    if !report.violations.is_empty() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tell(&report);
                    }
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    let counts = report.counts;
                    counts.faults.iter().for_each(|(kind, count)| *totals.0.entry(kind).or_default() += count);
                    let numbers = [counts.operations, counts.calls, counts.probes, counts.opens];
                    totals.1.iter_mut().zip(numbers).for_each(|(total, number)| *total += number);
                    totals.2 = totals.2.min(counts.operations);
                }
            });
        }
    });
    let (faults, [operations, calls, probes, opens], fewest) =
        totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{seeds} simulations in {:.0} s, {} failed",
        began.elapsed().as_secs_f64(),
        failed.load(Ordering::Relaxed)
    );
    println!("{operations} operations (at least {fewest} each), {calls} calls, {opens} opens, {probes} probes");
    faults.iter().for_each(|(kind, count)| println!("{count:>10} x {kind}"));
    if failed.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Breaks each rule and says how many simulations it took to notice.
fn plant(rules: &[Rule], first: u64, seeds: u64, run: impl Fn(u64, Rule) -> Vec<String>) -> ExitCode {
    let mut missed = 0;
    for rule in rules.iter().copied() {
        let mut found = (first..first + seeds).map(|seed| (seed, run(seed, rule)));
        match found.find(|(_, violations)| !violations.is_empty()) {
            Some((seed, violations)) => {
                let taken = seed - first + 1;
                println!("{rule:?}: found after {taken}: {}", violations.first().map_or("", String::as_str));
            }
            None => {
                missed += 1;
                println!("{rule:?}: NOT FOUND in {seeds}");
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report) {
    for violation in &report.violations {
        println!("seed {} ({:?}): {violation}", report.plan.seed, report.plan.kind);
    }
    println!("    again with: {}", report.repro());
}
