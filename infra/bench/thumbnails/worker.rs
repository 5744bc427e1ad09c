//! Ours, for the benchmark beside this file: makes thumbnails as it is told on standard input, and says what they cost.
//!
//! A line is a JSON object: `input`, `variants` (as in `THUMBNAIL_VARIANTS`), `rounds`, and `output`, where the first
//! thumbnail is written if it is there. The answer is a JSON object of `cpu_ms` and `wall_ms` for one round and `rss_kb`,
//! the most memory the process has had so far.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use s3_thumbnail::picture::{Limits, thumbnails};
use s3_thumbnail::variant::Variant;
use serde_json::{Value, json};

const LIMITS: Limits = Limits { bytes: 256 << 20, pixels: 268_402_689, frames: 1_000, scans: 100, memory: 2 << 30 };

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let job: Value = serde_json::from_str(&line?)?;
        let text = |name: &str| job[name].as_str().ok_or_else(|| format!("no {name}"));
        let bytes = fs::read(text("input")?)?;
        let variants = Variant::parse_list(text("variants")?).ok_or("no variants")?;
        let rounds = u32::try_from(job["rounds"].as_u64().ok_or("no rounds")?)?;
        let (cpu, wall) = (cpu_ms()?, Instant::now());
        let mut made = Vec::new();
        for _ in 0..rounds {
            made = thumbnails(&bytes, &variants, None, &LIMITS)?;
        }
        let (cpu, wall) = (cpu_ms()? - cpu, wall.elapsed().as_secs_f64() * 1e3);
        if let (Ok(path), Some(first)) = (text("output"), made.first()) {
            fs::write(path, &first.bytes)?;
        }
        let sizes: Vec<usize> = made.iter().map(|thumbnail| thumbnail.bytes.len()).collect();
        let rounds = f64::from(rounds);
        let answer = json!({"cpu_ms": cpu / rounds, "wall_ms": wall / rounds, "rss_kb": rss_kb()?, "bytes": sizes});
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

/// What this thread, the only one, has cost so far: the first number of the scheduler's statistics is in nanoseconds.
fn cpu_ms() -> Result<f64, Box<dyn Error>> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(statistics.split_whitespace().next().ok_or("no statistics")?.parse::<f64>()? / 1e6)
}

fn rss_kb() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
