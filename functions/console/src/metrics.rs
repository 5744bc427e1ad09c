//! A snapshot as Prometheus reads it: text format 0.0.4.
//!
//! Everything is a gauge. What the table keeps are sums of minutes, not counters that only grow: the calls of the last hour
//! go down again. Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write as _;

use ieum::resilience::health::Status;
use ieum::resilience::rollup::Ending;

use crate::history::{Series, sum};
use crate::snapshot::Snapshot;

/// What Prometheus expects.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How calls end, each with its label.
pub(crate) const ENDINGS: [(Ending, &str); 4] = [
    (Ending::Live, "live"),
    (Ending::Cached, "cached"),
    (Ending::StoodIn, "stood_in"),
    (Ending::Unanswered, "unanswered"),
];

const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)];

/// `snapshot` in that format.
pub fn text(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    let spans = |hour, day| -> [(&'static str, &Series); 2] { [("1h", hour), ("24h", day)] };
    page.family("ieum_status", "0 healthy, 1 degraded, 2 unhealthy");
    for integration in &snapshot.integrations {
        page.sample("ieum_status", &[("integration", &integration.name)], level(integration.status));
    }
    page.family("ieum_provider_status", "0 healthy, 1 degraded, 2 unhealthy");
    page.family("ieum_circuit_open", "1 while nobody may call the provider, or only a probe may");
    page.family("ieum_quota_used", "calls of today, where the provider has a daily quota");
    page.family("ieum_quota", "calls allowed per day");
    page.family("ieum_calls", "calls in the window by how they ended");
    page.family("ieum_call_duration_ms", "the duration that this share of the calls in the window did not exceed");
    page.family("ieum_setbacks", "attempts in the window that failed or were not made, by why");
    page.family("ieum_waiting", "what waits on a list; 1000 means so many or more");
    for integration in &snapshot.integrations {
        let name = ("integration", integration.name.as_str());
        for provider in &integration.providers {
            let labels = [name, ("provider", provider.health.name.as_str())];
            page.sample("ieum_provider_status", &labels, level(provider.health.status));
            page.sample("ieum_circuit_open", &labels, u64::from(provider.circuit != "closed"));
            if let Some(quota) = provider.health.quota {
                page.sample("ieum_quota_used", &labels, quota.used);
                page.sample("ieum_quota", &labels, quota.of);
            }
        }
        for (window, series) in spans(&integration.hour, &integration.day) {
            let counts = sum(series);
            for (ending, label) in ENDINGS {
                page.sample("ieum_calls", &[name, ("window", window), ("ending", label)], counts.ended(ending));
            }
            for (label, share) in QUANTILES {
                if let Some(ms) = counts.percentile_ms(share) {
                    page.sample("ieum_call_duration_ms", &[name, ("window", window), ("quantile", label)], ms);
                }
            }
            for (why, times) in counts.setbacks() {
                page.sample("ieum_setbacks", &[name, ("window", window), ("reason", why)], times);
            }
        }
        for (list, count) in &integration.waiting {
            page.sample("ieum_waiting", &[("list", list)], count);
        }
    }
    page.family("ieum_in_doubt", "messages of which nobody knows whether they were sent; 1000 means so many or more");
    page.sample("ieum_in_doubt", &[], snapshot.in_doubt);
    page.family("ieum_dead_letters", "dead letters by queue, as far as the queue says");
    for queue in &snapshot.queues {
        if let Some(dead) = queue.dead {
            page.sample("ieum_dead_letters", &[("queue", &queue.name)], dead);
        }
    }
    page.finish()
}

fn level(status: Status) -> u8 {
    match status {
        Status::Healthy => 0,
        Status::Degraded => 1,
        Status::Unhealthy => 2,
    }
}

/// Samples by family: the format wants those of a family in one piece.
#[derive(Default)]
struct Page(Vec<(&'static str, String)>);

impl Page {
    fn family(&mut self, name: &'static str, help: &str) {
        self.0.push((name, format!("# HELP {name} {help}\n# TYPE {name} gauge\n")));
    }

    fn sample(&mut self, name: &'static str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let Some((_, text)) = self.0.iter_mut().find(|(family, _)| *family == name) else { return };
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}{labels} {value}");
    }

    fn finish(self) -> String {
        self.0.into_iter().map(|(_, text)| text).collect()
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
