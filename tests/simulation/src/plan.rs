//! What happens in one simulation: drawn whole from the seed before it begins, so that a seed is a test case.

use std::time::Duration;

use fastrand::Rng;
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;

use crate::{ms, secs};

/// What the fleet goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The provider answers always.
    Healthy,
    /// One call in twenty fails, each on its own.
    Flaky,
    /// The provider dies, and comes back in the end.
    Outage,
    /// Twice the demand that the limit allows.
    Saturated,
    /// Phases of everything, throttling included.
    Wild,
}

/// How the provider behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// Answers.
    Well,
    /// Fails this share of the calls.
    Failing(f64),
    /// Refuses connections.
    Refusing,
    /// Never answers.
    Silent,
    /// Asks to be left alone for so long.
    Throttling(Duration),
}

/// Which faults happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Raw clocks are off by up to 5 s.
    pub skew: bool,
    /// Environments die at any await point.
    pub crashes: bool,
    /// Environments are frozen, and their monotonic clocks may stand still meanwhile.
    pub freezes: bool,
    /// Some trips to the store take far longer than the limit.
    pub spikes: bool,
    /// Requests to the store, or its replies, are lost.
    pub losses: bool,
    /// The store throttles for a while.
    pub throttling: bool,
    /// The store is gone for a while.
    pub dead_store: bool,
}

impl Faults {
    /// Whether every environment always has an answer from the store.
    pub fn store_answers(&self) -> bool {
        !(self.spikes || self.losses || self.throttling || self.dead_store)
    }

    /// Whether nothing is wrong with the environments themselves.
    pub fn environments_live(&self) -> bool {
        !(self.crashes || self.freezes)
    }
}

/// One simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// What the fleet goes through.
    pub kind: Kind,
    /// How many environments there are.
    pub environments: usize,
    /// How many calls one environment makes at a time.
    pub callers: usize,
    /// How long it lasts.
    pub lasts: Duration,
    /// How long a caller rests between two calls, on average.
    pub rest: Duration,
    /// The provider's phases, each from its time on.
    pub phases: Vec<(Duration, Phase)>,
    /// Which faults happen.
    pub faults: Faults,
    /// The provider's limit.
    pub rate: Option<RatePolicy>,
    /// When to stop calling it.
    pub breaker: BreakerPolicy,
    /// Attempts per call.
    pub attempts: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The time of day at the beginning: milliseconds before midnight in Seoul.
    pub before_midnight: Duration,
}

impl Plan {
    /// The plan of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let kind = match random.u8(0..10) {
            0 => Kind::Healthy,
            1 | 2 => Kind::Flaky,
            3..=5 => Kind::Outage,
            6 => Kind::Saturated,
            _ => Kind::Wild,
        };
        let environments = [1, 2, 8, 8, 16, 32, 64][random.usize(..7)];
        let environments = if kind == Kind::Saturated { [1, 8, 64][random.usize(..3)] } else { environments };
        let callers = if environments <= 8 { [1, 3, 8][random.usize(..3)] } else { 1 };
        // Calls per second of the whole fleet, and for how long: some hundred calls either way.
        let (per_second, lasts) = match kind {
            Kind::Healthy => (40 + random.u32(0..60), secs(8)),
            Kind::Flaky => (100 + random.u32(0..150), secs(5)),
            Kind::Saturated => (20 + random.u32(0..40), secs(14)),
            Kind::Outage => (8 + random.u32(0..8), secs(100)),
            Kind::Wild => (8 + random.u32(0..20), secs(40 + random.u64(0..60))),
        };
        let callers_in_all = u32::try_from(environments * callers).unwrap_or(1);
        let rest = secs(1) * callers_in_all / per_second;
        let faults = match kind {
            Kind::Healthy | Kind::Flaky | Kind::Saturated => Faults { skew: random.bool(), ..Faults::default() },
            Kind::Outage | Kind::Wild => Faults {
                skew: random.bool(),
                crashes: random.u8(0..3) == 0,
                freezes: random.u8(0..3) == 0,
                spikes: random.u8(0..4) == 0,
                losses: random.u8(0..4) == 0,
                throttling: random.u8(0..6) == 0,
                dead_store: random.u8(0..6) == 0,
            },
        };
        Self {
            seed,
            kind,
            environments,
            callers,
            lasts,
            rest,
            phases: phases(kind, lasts, &mut random),
            faults,
            rate: rate(kind, per_second, &mut random),
            breaker: BreakerPolicy::default(),
            attempts: if kind == Kind::Wild { 1 + random.u32(0..3) } else { 1 },
            timeout: secs(1),
            before_midnight: if random.bool() { lasts / 2 } else { secs(3_600) },
        }
    }

    /// So many environments with nothing wrong: each makes three calls a second, of four that the limit has for it.
    pub fn healthy(seed: u64, environments: usize, lasts: Duration) -> Self {
        let fleet = u32::try_from(environments).unwrap_or(u32::MAX);
        let rate = RatePolicy::new(fleet.saturating_mul(4), secs(1), fleet.saturating_mul(4), ms(500));
        Self {
            seed,
            kind: Kind::Healthy,
            environments,
            callers: 3,
            lasts,
            rest: secs(1),
            phases: vec![(Duration::ZERO, Phase::Well)],
            faults: Faults::default(),
            rate,
            breaker: BreakerPolicy::default(),
            attempts: 1,
            timeout: secs(1),
            before_midnight: secs(3_600),
        }
    }

    /// How the provider behaves at `at`.
    pub fn phase(&self, at: Duration) -> Phase {
        self.phases.iter().rev().find(|(from, _)| *from <= at).map_or(Phase::Well, |(_, phase)| *phase)
    }
}

fn phases(kind: Kind, lasts: Duration, random: &mut Rng) -> Vec<(Duration, Phase)> {
    let dead = if random.bool() { Phase::Refusing } else { Phase::Silent };
    match kind {
        Kind::Healthy | Kind::Saturated => vec![(Duration::ZERO, Phase::Well)],
        Kind::Flaky => vec![(Duration::ZERO, Phase::Failing(0.05))],
        Kind::Outage => {
            let from = ms(random.u64(0..4_000));
            vec![(Duration::ZERO, Phase::Well), (from, dead), (from + secs(2 + random.u64(0..75)), Phase::Well)]
        }
        Kind::Wild => {
            let (mut at, mut phases) = (Duration::ZERO, Vec::new());
            while at < lasts {
                phases.push((
                    at,
                    match random.u8(0..6) {
                        0 | 1 => Phase::Well,
                        2 => Phase::Failing(random.f64() / 2.0),
                        3 => Phase::Refusing,
                        4 => Phase::Silent,
                        _ => Phase::Throttling(ms(random.u64(200..5_000))),
                    },
                ));
                at += ms(random.u64(1_000..15_000));
            }
            phases
        }
    }
}

fn rate(kind: Kind, per_second: u32, random: &mut Rng) -> Option<RatePolicy> {
    let wait = [Duration::ZERO, ms(500), secs(2), secs(5)][random.usize(..4)];
    match kind {
        Kind::Saturated => {
            let calls = per_second / 2;
            RatePolicy::new(calls, secs(1), 1 + random.u32(..2 * calls), wait.max(ms(500)))
        }
        Kind::Healthy | Kind::Flaky | Kind::Outage if random.bool() => None,
        Kind::Healthy | Kind::Flaky | Kind::Outage | Kind::Wild => {
            let calls = (per_second * random.u32(1..5) / 4).max(2);
            let quota = (random.u8(0..4) == 0).then(|| random.u32(20..300));
            RatePolicy::new(calls, secs(1), 1 + random.u32(..2 * calls), wait).map(|rate| rate.daily(quota))
        }
    }
}
