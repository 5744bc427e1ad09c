//! What the benches share: a DynamoDB with TLS, plain HTTP, processes and what they have used, medians, charts.
//!
//! Threads and blocking sockets throughout: a server that does little is least in the way of what is measured.

#[cfg(feature = "local-aws")]
pub mod aws;
pub mod chart;
pub mod process;
pub mod wire;

/// Anything that can go wrong while a bench runs.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The median of `numbers`; not a number when there are none.
#[must_use]
pub fn median(numbers: &[f64]) -> f64 {
    quantile(numbers, 0.5)
}

/// The number that `part` of `numbers` do not exceed.
#[must_use]
pub fn quantile(numbers: &[f64], part: f64) -> f64 {
    let mut sorted: Vec<f64> = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
    let place = (part * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// The value after `--name` on the command line.
#[must_use]
pub fn flag(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    arguments.find(|argument| argument.strip_prefix("--") == Some(name))?;
    arguments.next()
}
