//! A fleet of up to 64 environments in one thread and no time.
//!
//! The code under test is the real one: executor, gate, limiter, circuit breaker, corrected clock, bounded store. What is
//! made up is the world around it, drawn whole from one seed: latencies, clocks that are off, environments that freeze and
//! crash at any await point, requests and replies to the store that are late or lost, a store that throttles or is gone,
//! a provider that fails, hangs and throttles. Time is tokio's paused clock, randomness is seeded, there is one thread:
//! the same seed is the same history.
//!
//! [`delivery`] is a simulation of its own, of messages on their way.
//!
//! [`World`] watches from outside and holds each promise of `ieum::resilience` against what happened. That
//! it would notice a broken promise is shown by breaking every rule once, see [`ieum::planted`].

pub mod delivery;
pub mod environment;
pub mod plan;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ieum::planted::{Rule, with_broken};
use tokio::time::sleep;

use environment::{Environment, Task};
use plan::{Kind, Plan};
use world::{Counts, World};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What one simulation showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was simulated.
    pub plan: Plan,
    /// What happened.
    pub counts: Counts,
    /// What should not have happened; empty when all promises held.
    pub violations: Vec<String>,
}

impl Report {
    /// The line that runs this simulation again.
    pub fn repro(&self) -> String {
        format!("cargo run -p ieum-simulation -- --seed {}", self.plan.seed)
    }
}

/// Runs the simulation of `seed`, with one rule broken if need be.
///
/// # Panics
/// When the runtime cannot be made.
#[expect(clippy::expect_used, reason = "a machine that cannot make a runtime cannot simulate")]
pub fn run(seed: u64, broken: Option<Rule>) -> Report {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let plan = Plan::of(seed);
    let world = with_broken(broken, || {
        runtime.block_on(async {
            let world = Arc::new(World::new(plan.clone()));
            live(&world).await;
            world.check_the_end();
            world
        })
    });
    // Late arrivals at the store hold the world until the runtime is gone.
    drop(runtime);
    let (counts, violations) = Arc::into_inner(world).map(World::into_report).unwrap_or_default();
    Report { plan, counts, violations }
}

/// What a healthy fleet of so many environments asks of the store, each making three calls a second within the limit, for
/// twenty seconds after ten that get it going.
///
/// # Panics
/// When the runtime cannot be made.
#[expect(clippy::expect_used, reason = "a machine that cannot make a runtime cannot simulate")]
pub fn cost(seed: u64, environments: usize) -> Counts {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let plan = Plan::healthy(seed, environments, secs(30));
    runtime.block_on(async {
        let world = Arc::new(World::new(plan));
        let watch = async {
            sleep(secs(10)).await;
            world.counts()
        };
        let (begun, ()) = tokio::join!(watch, live(&world));
        world.counts().since(&begun)
    })
}

async fn live(world: &Arc<World>) {
    let mut random = Rng::with_seed(world.plan.seed);
    let mut lives = tokio::task::JoinSet::new();
    for number in 0..world.plan.environments {
        lives.spawn(exist(Arc::clone(world), number, random.fork()));
    }
    while lives.join_next().await.is_some() {}
}

/// One place in the fleet: an environment, and its successor after a crash.
async fn exist(world: Arc<World>, number: usize, mut random: Rng) {
    let mut life = 0;
    while !world.is_over() {
        let environment = Arc::new(Environment::start(&world, (number, life), &mut random));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..world.plan.callers {
            let caller = call_again_and_again(Arc::clone(&world), Arc::clone(&environment), random.fork());
            tasks.spawn(Task::new(caller, Arc::clone(&environment.fate)));
        }
        tasks.spawn(suffer(Arc::clone(&world), Arc::clone(&environment), random.fork()));
        while tasks.join_next().await.is_some() {}
        life += 1;
        sleep(ms(random.u64(50..500))).await;
    }
}

async fn call_again_and_again(world: Arc<World>, environment: Arc<Environment>, mut random: Rng) {
    environment.warm().await;
    if world.plan.kind == Kind::Saturated {
        // What is measured is a fleet that has been running for a while and so knows the time.
        for _ in 0..8 {
            sleep(ms(random.u64(50..300))).await;
            environment.warm().await;
        }
    }
    let mut waiting = tokio::task::JoinSet::new();
    while !world.is_over() {
        sleep(world.plan.rest.mul_f64(-(1.0 - random.f64()).ln())).await;
        if world.plan.kind == Kind::Saturated {
            // Demand does not wait for answers.
            let environment = Arc::clone(&environment);
            waiting.spawn(async move { environment.call().await });
        } else {
            environment.call().await;
        }
    }
}

/// Does to an environment what the plan allows.
async fn suffer(world: Arc<World>, environment: Arc<Environment>, mut random: Rng) {
    let faults = world.plan.faults;
    // The whole fleet stands still at the same time once, as when nobody calls.
    let lull = Rng::with_seed(world.plan.seed ^ 0x1a11).u64(2_000..30_000);
    let mut had_lull = false;
    while !world.is_over() && !environment.fate.has_crashed() {
        sleep(ms(random.u64(100..4_000))).await;
        if faults.freezes && !had_lull && world.now() > ms(lull) {
            had_lull = true;
            let until = ms(lull + 12_000);
            environment.fate.freeze(until.saturating_sub(world.now()), random.bool());
            world.fault("frozen");
        } else if faults.freezes && random.u8(0..4) == 0 {
            environment.fate.freeze(ms(random.u64(50..8_000)), random.bool());
            world.fault("frozen");
        } else if faults.crashes && random.u8(0..4) == 0 {
            environment.fate.crash_after(1 + random.u32(0..60));
            world.fault("crash");
        }
    }
}
