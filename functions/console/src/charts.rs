//! Small pictures of a series of periods, as SVG: only numbers and words of ours go into them. Pure.
//!
//! Colours are classes of the page's style, so that a strict policy needs no exception and the dark scheme no second picture.
//! Whoever cannot see a picture is read its label; every number in it stands in the table beside it as well.

use std::fmt::Write as _;

use ieum::resilience::rollup::Counts;

use crate::history::{Harm, Series, outages};
use crate::metrics::ENDINGS;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 80.0;

/// The longest duration that is told apart, in milliseconds: the last bound of the rollups.
const LONGEST_MS: f64 = 20_000.0;

/// The lines of a picture of durations: their classes and shares. Where two are the same, the lower one is seen.
const SHARES: [(&str, f64); 3] = [("p99", 0.99), ("p95", 0.95), ("p50", 0.5)];

fn picture(height: f64, label: &str, content: &str) -> String {
    let label = minijinja::HtmlEscape(label);
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{label}\">{content}</svg>"
    )
}

/// Where a period begins, and how wide it is.
fn places(series: &Series) -> (impl Iterator<Item = (f64, &Counts)>, f64) {
    let width = WIDTH / series.len().max(1) as f64;
    (series.iter().enumerate().map(move |(place, (_, counts))| (place as f64 * width, counts)), width)
}

/// The calls of each period, one upon the other by how they ended; the highest bar is the largest period.
pub fn calls(series: &Series, label: &str) -> String {
    let most = series.iter().map(|(_, counts)| counts.calls()).max().unwrap_or(0).max(1) as f64;
    let (places, width) = places(series);
    let mut bars = String::new();
    for (x, counts) in places {
        let mut top = HEIGHT;
        for (ending, class) in ENDINGS {
            let height = counts.ended(ending) as f64 / most * HEIGHT;
            if height > 0.0 {
                top -= height;
                bar(&mut bars, class, [x, top, width * 0.85, height]);
            }
        }
    }
    picture(HEIGHT, label, &bars)
}

fn bar(into: &mut String, class: &str, [x, y, width, height]: [f64; 4]) {
    // Writing to a string does not fail.
    let _ =
        write!(into, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>");
}

/// How high a duration stands: by its logarithm, from 1 ms to the longest.
fn height_of(ms: u64) -> f64 {
    HEIGHT - (ms.max(1) as f64).ln() / LONGEST_MS.ln() * (HEIGHT - 2.0)
}

/// The percentiles of each period's durations, as lines that break where nobody called; a quiet line at each power of ten.
pub fn durations(series: &Series, label: &str) -> String {
    let mut lines = String::new();
    for ms in [10, 100, 1_000, 10_000] {
        let y = height_of(ms);
        let _ = write!(lines, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
    }
    for (class, share) in SHARES {
        let (places, width) = places(series);
        let (mut path, mut drawing) = (String::new(), false);
        for (x, counts) in places {
            let Some(ms) = counts.percentile_ms(share) else {
                drawing = false;
                continue;
            };
            let (letter, end, y) = (if drawing { 'L' } else { 'M' }, x + width, height_of(ms));
            let _ = write!(path, "{letter}{x:.1} {y:.1}H{end:.1}");
            drawing = true;
        }
        let _ = write!(lines, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    picture(HEIGHT, label, &lines)
}

/// The outages of a series, on one strip as long as it.
pub fn timeline(series: &Series, label: &str) -> String {
    let mut strip = String::new();
    bar(&mut strip, "calm", [0.0, 0.0, WIDTH, 12.0]);
    if let (Some((first, _)), Some((last, _))) = (series.first(), series.last()) {
        let (begins, span) = (first.begins(), last.ends().since(first.begins()).as_secs_f64());
        for outage in outages(series) {
            let at = |time: ieum::clock::Timestamp| time.since(begins).as_secs_f64() / span * WIDTH;
            let class = match outage.harm {
                Harm::Bridged => "stood_in",
                Harm::Unanswered => "unanswered",
            };
            bar(&mut strip, class, [at(outage.from), 0.0, (at(outage.until) - at(outage.from)).max(2.0), 12.0]);
        }
    }
    picture(12.0, label, &strip)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ieum::clock::Timestamp;
    use ieum::resilience::rollup::{Ending, Grain};

    use super::*;

    fn series(calls: &[(usize, Ending, u64)]) -> Series {
        let mut series: Series = Grain::Minute
            .of(Timestamp::from_millis(0))
            .and_before(4)
            .map(|period| (period, Counts::default()))
            .collect();
        calls.iter().for_each(|(place, ending, ms)| series[*place].1.note(*ending, Duration::from_millis(*ms)));
        series
    }

    #[test]
    fn bars_stand_on_each_other_and_the_largest_period_fills_the_height() {
        let drawn =
            calls(&series(&[(0, Ending::Live, 1), (1, Ending::Live, 1), (1, Ending::Unanswered, 1)]), "a \"label\"");
        assert!(drawn.contains("aria-label=\"a &quot;label&quot;\""));
        assert!(drawn.contains("<rect class=\"live\" x=\"0.0\" y=\"40.0\" width=\"127.5\" height=\"40.0\"/>"));
        assert!(drawn.contains("<rect class=\"unanswered\" x=\"150.0\" y=\"0.0\" width=\"127.5\" height=\"40.0\"/>"));
        assert!(!calls(&series(&[]), "").contains("rect"));
    }

    #[test]
    fn a_line_breaks_where_nobody_called() {
        let drawn = durations(&series(&[(0, Ending::Live, 1), (1, Ending::Live, 20_000), (3, Ending::Live, 1)]), "");
        assert!(drawn.contains("class=\"p50\" d=\"M0.0 80.0H150.0L150.0 2.0H300.0M450.0 80.0H600.0\""), "{drawn}");
    }

    #[test]
    fn an_outage_is_on_the_strip_where_it_was() {
        let drawn = timeline(&series(&[(1, Ending::Unanswered, 1), (2, Ending::StoodIn, 1), (3, Ending::Live, 1)]), "");
        assert!(drawn.contains("<rect class=\"unanswered\" x=\"150.0\" y=\"0.0\" width=\"300.0\" height=\"12.0\"/>"));
        assert!(!timeline(&Series::new(), "").contains("unanswered"));
    }
}
