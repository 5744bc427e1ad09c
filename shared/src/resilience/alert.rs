//! When an integration's numbers are bad enough to tell somebody: the one rule, for the rollups of the table and for the
//! alarms of CloudWatch alike.
//!
//! | | condition, over five minutes | says |
//! |---|---|---|
//! | critical | more than 10 % of the answers, and at least 5, had no provider behind them | unhealthy |
//! | warning | more than 1 %, and at least 5 | degraded |
//! | slow | one answer in twenty took 5 s or longer | degraded |
//!
//! An answer has no provider behind it when nobody answered, or when something stood in: an old answer, one entered by hand,
//! a default. The rule judges what is in the table as [`judge`], and is written out for CloudWatch by [`alarms`];
//! `template.yaml` must say the latter, and a test holds both against the same series of numbers.
//!
//! This file refuses to know the time, and whether anybody listens.

use std::time::Duration;

use crate::resilience::health::{Finding, Reason};
use crate::resilience::rollup::{Counts, Ending};

/// What is looked at together.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);

/// A share of failures that is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRate {
    /// More than this many in a hundred.
    pub percent: u64,
    /// And at least so many.
    pub failures: u64,
}

/// Something is broken.
pub const CRITICAL: FailureRate = FailureRate { percent: 10, failures: 5 };

/// Something is about to break.
pub const WARNING: FailureRate = FailureRate { percent: 1, failures: 5 };

/// What one answer in twenty may not take, in milliseconds.
pub const SLOW_MS: u64 = 5_000;

impl FailureRate {
    /// Whether `failures` of `answers` are too many.
    pub fn is_exceeded(self, failures: u64, answers: u64) -> bool {
        failures >= self.failures && self.is_share_exceeded(failures, answers)
    }

    /// Whether they are too many of them, however few they are.
    pub fn is_share_exceeded(self, failures: u64, answers: u64) -> bool {
        failures * 100 > self.percent * answers
    }

    /// The same, of the metrics `failures` and `answers`, in CloudWatch's language
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>).
    pub fn expression(self) -> String {
        let Self { percent, failures } = self;
        format!("IF(failures >= {failures} AND failures * 100 > {percent} * answers, 1, 0)")
    }
}

/// What five minutes of an integration say of it.
pub fn judge(counts: &Counts) -> Finding {
    let failures = counts.ended(Ending::Unanswered) + counts.ended(Ending::StoodIn);
    let answers = counts.calls();
    if CRITICAL.is_exceeded(failures, answers) {
        Finding::Down(Reason::FailureRateCritical)
    } else if WARNING.is_exceeded(failures, answers) {
        Finding::Impaired(Reason::FailureRateRaised)
    } else if counts.percentile_ms(0.95).is_some_and(|p95| p95 >= SLOW_MS) {
        Finding::Impaired(Reason::Slow)
    } else {
        Finding::Well
    }
}

/// A metric that an alarm of CloudWatch computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What the expression calls it.
    pub id: &'static str,
    /// Its name in the log lines (`ieum::telemetry::METRICS`).
    pub name: &'static str,
    /// How its values are summed up.
    pub stat: &'static str,
}

/// An alarm of CloudWatch about an integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The last part of its name.
    pub name: &'static str,
    /// What it computes with.
    pub metrics: Vec<Metric>,
    /// Expressions by id, each of which may use those before it. The last one is 1 while the alarm is raised.
    pub expressions: Vec<(&'static str, String)>,
}

/// The rule as alarms over metrics of one integration.
pub fn alarms() -> [Alarm; 3] {
    let sum = |id, name| Metric { id, name, stat: "Sum" };
    let failed = [
        sum("none", "unanswered"),
        sum("stale", "cache_stale"),
        sum("manual", "manual"),
        sum("defaulted", "defaulted"),
    ];
    let rate = |name, rate: FailureRate| Alarm {
        name,
        metrics: [&failed[..], &[Metric { id: "answers", name: "answer_ms", stat: "SampleCount" }]].concat(),
        // What was never counted is not there, and would take the sum along.
        expressions: vec![
            ("failures", failed.map(|Metric { id, .. }| format!("FILL({id}, 0)")).join(" + ")),
            ("raised", rate.expression()),
        ],
    };
    let slow = Alarm {
        name: "slow",
        metrics: vec![Metric { id: "p95", name: "answer_ms", stat: "p95" }],
        expressions: vec![("raised", format!("IF(p95 >= {SLOW_MS}, 1, 0)"))],
    };
    [rate("critical", CRITICAL), rate("warning", WARNING), slow]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ok: u32, stood_in: u32, unanswered: u32, ms: u64) -> Finding {
        let mut counts = Counts::default();
        for (ending, times) in [(Ending::Live, ok), (Ending::StoodIn, stood_in), (Ending::Unanswered, unanswered)] {
            (0..times).for_each(|_| counts.note(ending, Duration::from_millis(ms)));
        }
        judge(&counts)
    }

    #[test]
    fn a_share_and_a_number_make_an_alarm() {
        let critical = Finding::Down(Reason::FailureRateCritical);
        let raised = Finding::Impaired(Reason::FailureRateRaised);
        assert_eq!(found(0, 0, 0, 1), Finding::Well, "nobody has called");
        assert_eq!(found(0, 0, 4, 1), Finding::Well, "four are too few to say anything");
        assert_eq!(found(0, 0, 5, 1), critical);
        assert_eq!(found(45, 0, 5, 1), raised, "exactly a tenth");
        assert_eq!(found(44, 0, 5, 1), critical);
        assert_eq!(found(44, 3, 2, 1), critical, "what stood in was no provider");
        assert_eq!(found(495, 0, 5, 1), Finding::Well, "exactly a hundredth");
        assert_eq!(found(494, 0, 5, 1), raised);
    }

    #[test]
    fn slow_begins_at_five_seconds() {
        let slow = Finding::Impaired(Reason::Slow);
        assert_eq!(found(20, 0, 0, 4_999), Finding::Well);
        assert_eq!(found(20, 0, 0, 5_000), slow);
        let mut counts = Counts::default();
        (0..95).for_each(|_| counts.note(Ending::Live, Duration::from_millis(10)));
        (0..5).for_each(|_| counts.note(Ending::Live, Duration::from_secs(9)));
        assert_eq!(judge(&counts), Finding::Well, "one in twenty may be slow");
        counts.note(Ending::Live, Duration::from_secs(9));
        assert_eq!(judge(&counts), slow);
    }
}
