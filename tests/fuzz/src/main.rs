//! `cargo run -p ieum-fuzz -- [MINUTES] [TARGET…] [--seed FIRST]`: damaged input until the time is over, to all targets in turn or to
//! those that are named. A finding ends the run with the target and the seed; `target/fuzz/TARGET` holds the input.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a tool for developers: what is wrong with it ends it")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use ieum_fuzz::{Outcome, Target, targets};

/// How long a target has before it is the next one's turn.
const TURN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Run {
    /// The next seed.
    next: u64,
    outcomes: BTreeMap<Outcome, u64>,
    slowest: (Duration, u64),
}

fn main() {
    let (mut minutes, mut first, mut named) = (1.0_f64, 0_u64, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.parse() {
            Ok(number) => minutes = number,
            Err(_) if argument == "--seed" => {
                first = arguments.next().and_then(|text| text.parse().ok()).expect("--seed NUMBER");
            }
            Err(_) => named.push(argument),
        }
    }
    fs::create_dir_all("target/fuzz").expect("a folder");
    let mut targets = targets();
    targets.retain(|target| named.is_empty() || named.iter().any(|name| name == target.name));
    assert!(!targets.is_empty(), "no target of that name");

    let run = || Run { next: first, ..Run::default() };
    let mut runs: BTreeMap<&str, Run> = targets.iter().map(|target| (target.name, run())).collect();
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        for target in &targets {
            let run = runs.get_mut(target.name).expect("a run");
            let turn = Instant::now();
            while turn.elapsed() < TURN {
                one(target, run);
            }
        }
    }
    println!("{} targets in {:.1} minutes, no finding", targets.len(), began.elapsed().as_secs_f64() / 60.0);
    for Target { name, about, seeds, .. } in &targets {
        let Run { next, outcomes, slowest } = &runs[name];
        println!(
            "{name}: {about}; {} inputs (seeds {first} to {next}) from {} whole ones, slowest {:?} (seed {}): {outcomes:?}",
            next - first,
            seeds.len(),
            slowest.0,
            slowest.1,
        );
    }
}

fn one(target: &Target, run: &mut Run) {
    let seed = run.next;
    run.next += 1;
    let input = target.input(seed);
    let turn = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| (target.read)(input.case, &input.bytes))) {
        Ok(outcome) => *run.outcomes.entry(outcome).or_default() += 1,
        Err(panic) => {
            let path = format!("target/fuzz/{}", target.name);
            fs::write(&path, &input.bytes).expect("a file");
            println!("FINDING: {} with --seed {seed}, case {}; the input is in {path}", target.name, input.case);
            resume_unwind(panic);
        }
    }
    run.slowest = run.slowest.max((turn.elapsed(), seed));
}
