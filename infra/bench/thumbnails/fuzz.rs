//! Damaged pictures, one after the other, for as long as one likes: `thumbnails-fuzz MINUTES [SEED] [FILE…]`.
//!
//! The corpus is every kind of file that the tests know, and the files that are named. A picture that makes a thumbnail
//! or is refused is what is expected; a panic ends the run with its seed. Each file is written to
//! `target/fuzz/thumbnails/last` before it is read, so that one that ends the process is there.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a tool for developers")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use s3_thumbnail::picture::{Limits, thumbnails};
use s3_thumbnail::variant::Variant;

#[path = "../../../functions/s3-thumbnail/tests/pictures/damage.rs"]
mod damage;
#[path = "../../../functions/s3-thumbnail/tests/pictures/samples.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod samples;

const LAST: &str = "target/fuzz/thumbnails/last";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().and_then(|text| text.parse().ok()).expect("how many minutes");
    let first: u64 = arguments.next().map_or(0, |text| text.parse().expect("a number as seed"));
    let mut files = samples::corpus();
    files.extend(arguments.map(|path| fs::read(path).expect("a file")));
    fs::create_dir_all("target/fuzz/thumbnails").expect("a folder");

    // The second list is made of planes where there are any.
    let lists = ["a=24x16;b=5x90,contain;c=96x64,inside,png;d=120x80,enlarge,jpeg", "a=24x16;b=6x90,enlarge;c=120x80"];
    let lists = lists.map(|list| Variant::parse_list(list).expect("variants"));
    let limits = Limits { pixels: 4_000_000, memory: 64 << 20, ..samples::LIMITS };
    let began = Instant::now();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, first);
    let mut seed = first;
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        let file = damage::damaged(&files, seed);
        fs::write(LAST, &file).expect("a file");
        let variants = &lists[usize::from(seed.is_multiple_of(2))];
        let turn = Instant::now();
        let made =
            catch_unwind(|| thumbnails(&file, variants, None, &limits)).unwrap_or_else(|_| panic!("seed {seed}"));
        slowest = slowest.max((turn.elapsed(), seed));
        *outcomes.entry(made.as_ref().map_or_else(|refusal| refusal.reason(), |_| "thumbnails")).or_default() += 1;
        seed += 1;
    }
    let peak = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak").trim();
    println!("{} files of {} kinds, seeds {first} to {seed}: {outcomes:?}", seed - first, files.len());
    println!("slowest {:?} (seed {}), peak memory {peak}", slowest.0, slowest.1);
}
