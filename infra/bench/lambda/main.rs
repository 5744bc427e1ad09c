//! Cold and warm functions: ours as built for Lambda, and the same work on Node and on Python, alternately.
//!
//! ```text
//! bash infra/bench/install.sh
//! cargo build --release --locked --bins
//! cargo run --release -p ieum-bench --bin bench-lambda -- --rounds 9
//! ```
//!
//! Prints tables in Markdown, and writes charts to `infra/bench/charts`. `--only NAME` leaves all others out, and the charts
//! as they are. `--delay MS` has AWS and the provider that far away. See `README.md` beside this file.

#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod functions;
mod runtime;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ieum_bench::process::{Share, cpu_us, memory_mb};
use ieum_bench::{Fault, chart, flag, median, quantile};
use serde_json::Value;

use functions::{Setup, Spec};
use runtime::{Runtime, Signal};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Companies that are in the table before anything is measured. Each process is asked for each of them once, so that it
/// finds none of them in its memory.
const STORED: usize = 400;

/// The tax service takes ten calls a second, for everybody.
const BETWEEN_CALLS: Duration = Duration::from_millis(110);

/// What one run of a process was like; times in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, Default)]
struct Run {
    poll_cpu: f64,
    poll_wall: f64,
    cold_cpu: f64,
    first_answer: f64,
    hit_cpu_us: f64,
    hit_wall_us: f64,
    stored_cpu_us: f64,
    rss_mb: f64,
}

/// What a process is asked.
#[derive(Debug)]
struct Questions {
    /// A company nobody has asked for, again and again.
    fresh: Vec<u8>,
    hits: usize,
    /// Companies that somebody else has asked for, each once.
    stored: Vec<Vec<u8>>,
}

/// What does not change from run to run.
#[derive(Clone, Debug, Default)]
struct Fixed {
    syscalls: f64,
    raw_mb: f64,
    zip_mb: f64,
}

fn main() -> Result<(), Fault> {
    let number = |name: &str, otherwise: usize| flag(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (rounds, hits) = (number("rounds", 9), number("hits", 1_000));
    let delay = Duration::from_millis(number("delay", 0).try_into()?);
    let setup = Setup::start(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."), delay)?;
    let only = flag("only");
    let wanted = |spec: &Spec| only.as_deref().is_none_or(|only| only == spec.name);
    let specs: Vec<Spec> = setup.same_work().into_iter().filter(wanted).collect();
    let stored: Vec<Vec<u8>> = (0..STORED).map(|number| setup.event(rounds + number)).collect();
    for spec in &specs {
        store(spec, &stored)?;
        eprintln!("{} has {STORED} answers in the table", spec.name);
    }
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for round in 0..rounds {
        // Another company each time: the first answer is one that nobody remembers.
        let questions = Questions { fresh: setup.event(round), hits, stored: stored.clone() };
        for spec in &specs {
            runs.entry(spec.name).or_default().push(run(spec, Some(&questions))?);
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    let mut tables = String::new();
    same_work(&specs, &runs, &mut tables)?;
    println!("{tables}");
    tables.clear();
    let all: Vec<Spec> = setup.all_functions().into_iter().filter(wanted).collect();
    let mut rows: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for _ in 0..rounds {
        for spec in &all {
            rows.entry(spec.name).or_default().push(run(spec, None)?);
        }
    }
    functions_table(&all, &rows, &mut tables)?;
    println!("{tables}");
    Ok(())
}

/// Has a process of its own answer `events`, so that the answers are in the table.
fn store(spec: &Spec, events: &[Vec<u8>]) -> Result<(), Fault> {
    let runtime = Runtime::start()?;
    let _process = Process(spec.command(&runtime.address, &[])?.spawn()?);
    polled(spec, &runtime)?;
    for event in events {
        runtime.events.send(event.clone())?;
        answered(spec, &runtime, "live")?;
        polled(spec, &runtime)?;
        sleep(BETWEEN_CALLS);
    }
    Ok(())
}

/// One process from its start: to its first poll, its first answer with a 256 MB function's share of a processor, and
/// warm hits with all of one.
fn run(spec: &Spec, questions: Option<&Questions>) -> Result<Run, Fault> {
    let runtime = Runtime::start()?;
    let began = Instant::now();
    let process = Process(spec.command(&runtime.address, &[])?.spawn()?);
    let (pid, mut run) = (process.0.id(), Run::default());
    run.poll_wall = millis(polled(spec, &runtime)?.duration_since(began));
    // The last instructions before it falls asleep belong to it.
    sleep(Duration::from_millis(20));
    run.poll_cpu = cpu_us(pid) / 1_000.0;
    run.rss_mb = memory_mb(pid, "VmHWM");
    let Some(Questions { fresh, hits, stored }) = questions else { return Ok(run) };

    let share = Share::of_memory("ieum-bench", 256)?;
    share.take(pid)?;
    let sent = Instant::now();
    runtime.events.send(fresh.clone())?;
    let answered = answered(spec, &runtime, "live")?;
    run.first_answer = run.poll_wall + millis(answered.duration_since(sent));
    polled(spec, &runtime)?;
    sleep(Duration::from_millis(40));
    run.cold_cpu = cpu_us(pid) / 1_000.0;
    share.release(pid)?;

    let again: Vec<&[u8]> = (0..hits + hits / 3).map(|_| &fresh[..]).collect();
    (run.hit_cpu_us, run.hit_wall_us) = warm(spec, &runtime, pid, &again)?;
    let stored: Vec<&[u8]> = stored.iter().map(|event| &event[..]).collect();
    (run.stored_cpu_us, _) = warm(spec, &runtime, pid, &stored)?;
    run.rss_mb = memory_mb(pid, "VmHWM");
    Ok(run)
}

/// Answers that are remembered, one after another: CPU for one, and the time that half of them take, in microseconds.
/// The first quarter is for compilers that learn from what they run.
fn warm(spec: &Spec, runtime: &Runtime, pid: u32, events: &[&[u8]]) -> Result<(f64, f64), Fault> {
    let (learning, counted) = events.split_at(events.len() / 4);
    let ask = |event: &[u8]| {
        let sent = Instant::now();
        runtime.events.send(event.to_vec())?;
        let took = answered(spec, runtime, "cached")?.duration_since(sent);
        polled(spec, runtime)?;
        Ok::<f64, Fault>(took.as_secs_f64() * 1e6)
    };
    for event in learning {
        ask(event)?;
    }
    sleep(Duration::from_millis(20));
    let used = cpu_us(pid);
    let walls = counted.iter().map(|event| ask(event)).collect::<Result<Vec<_>, _>>()?;
    sleep(Duration::from_millis(20));
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each = (cpu_us(pid) - used) / counted.len() as f64;
    Ok((each, quantile(&walls, 0.5)))
}

/// A child that does not outlive its run.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(spec: &Spec, runtime: &Runtime) -> Result<Signal, Fault> {
    match runtime.signals.recv_timeout(PATIENCE) {
        Ok(Signal::Failed(why)) => Err(format!("{} failed: {why}; see {}", spec.name, spec.errors.display()).into()),
        Ok(signal) => Ok(signal),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(format!("{} does nothing; see {}", spec.name, spec.errors.display()).into())
        }
    }
}

fn polled(spec: &Spec, runtime: &Runtime) -> Result<Instant, Fault> {
    match signal(spec, runtime)? {
        Signal::Polled(at) => Ok(at),
        other @ (Signal::Answered(..) | Signal::Failed(_)) => {
            Err(format!("{} did not ask for an event: {other:?}", spec.name).into())
        }
    }
}

/// Until the answer; it must be a good one, and ours must come from where `source` says.
fn answered(spec: &Spec, runtime: &Runtime, source: &str) -> Result<Instant, Fault> {
    match signal(spec, runtime)? {
        Signal::Answered(at, body) => {
            let answer: Value = serde_json::from_slice(&body)?;
            let from = &answer["headers"]["x-ieum-source"];
            if answer["statusCode"] == 200 && (from.is_null() || from == source) {
                return Ok(at);
            }
            Err(format!("{} answered {answer}", spec.name).into())
        }
        other @ (Signal::Polled(_) | Signal::Failed(_)) => {
            Err(format!("{} did not answer: {other:?}", spec.name).into())
        }
    }
}

/// Syscalls to the first poll, by strace, and the sizes of what would be uploaded.
fn fixed(spec: &Spec) -> Result<Fixed, Fault> {
    let runtime = Runtime::start()?;
    let summary = spec.errors.with_extension("strace");
    let strace = ["strace".into(), "-f".into(), "-c".into(), "-o".into(), OsString::from(&summary)];
    let mut tracer = Process(spec.command(&runtime.address, &strace)?.spawn()?);
    polled(spec, &runtime)?;
    sleep(Duration::from_millis(100));
    let id = tracer.0.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    Command::new("kill").args(["-KILL", children.split_whitespace().next().unwrap_or_default()]).status()?;
    tracer.0.wait()?;
    let summary = fs::read_to_string(summary)?;
    let total = summary.lines().rfind(|line| line.ends_with("total")).unwrap_or_default();
    let syscalls = total.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).nth(3);
    let zip = spec.errors.with_extension("zip");
    let _ = fs::remove_file(&zip);
    let mut command = Command::new("zip");
    command.args(["-9", "-q", "-r"]).arg(&zip).args(&spec.upload).current_dir(&spec.upload_from);
    command.stdout(Stdio::null()).status()?;
    let raw: u64 = spec.upload.iter().map(|path| size(&spec.upload_from.join(path))).sum();
    Ok(Fixed { syscalls: syscalls.unwrap_or(f64::NAN), raw_mb: mega(raw), zip_mb: mega(size(&zip)) })
}

fn size(path: &Path) -> u64 {
    if path.is_dir() {
        return fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum();
    }
    fs::symlink_metadata(path).map_or(0, |data| data.len())
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

type Column = (&'static str, fn(&Run) -> f64);

const COLUMNS: [Column; 7] = [
    ("CPU to first poll, ms", |run| run.poll_cpu),
    ("cold CPU with first answer, ms", |run| run.cold_cpu),
    ("init + first answer at 256 MB, ms", |run| run.first_answer),
    ("CPU per hit, µs", |run| run.hit_cpu_us),
    ("hit p50, µs", |run| run.hit_wall_us),
    ("CPU per stored hit, µs", |run| run.stored_cpu_us),
    ("peak RSS, MB", |run| run.rss_mb),
];

fn same_work(specs: &[Spec], runs: &BTreeMap<&str, Vec<Run>>, out: &mut String) -> Result<(), Fault> {
    let [first, others @ ..] = specs else { return Ok(()) };
    let medians =
        |name: &str, of: fn(&Run) -> f64| median(&runs.get(name).into_iter().flatten().map(of).collect::<Vec<_>>());
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    *out += &format!("| | {} | syscalls to first poll | raw MB | zip MB |\n", names.join(" | "));
    *out += &format!("|---{}|\n", "|---".repeat(COLUMNS.len() + 3));
    for spec in specs {
        let fixed = fixed(spec)?;
        let mut cells: Vec<String> = COLUMNS.iter().map(|(_, of)| chart::number(medians(spec.name, *of))).collect();
        cells.extend([fixed.syscalls, fixed.raw_mb, fixed.zip_mb].map(chart::number));
        *out += &format!("| {} | {} |\n", spec.name, cells.join(" | "));
    }
    if others.is_empty() {
        return Ok(());
    }
    *out += "\nTimes ours, median of the rounds' ratios (least to most):\n\n";
    *out += &format!("| | {} |\n|---{}|\n", names.join(" | "), "|---".repeat(COLUMNS.len()));
    let empty = Vec::new();
    let ours = runs.get(first.name).unwrap_or(&empty);
    for spec in others {
        let theirs = runs.get(spec.name).unwrap_or(&empty);
        let cells = COLUMNS.iter().map(|(_, of)| {
            let ratios: Vec<f64> = theirs.iter().zip(ours).map(|(theirs, ours)| of(theirs) / of(ours)).collect();
            let [least, middle, most] = [0.0, 0.5, 1.0].map(|part| chart::number(quantile(&ratios, part)));
            format!("**{middle}** ({least} to {most})")
        });
        *out += &format!("| {} | {} |\n", spec.name, cells.collect::<Vec<_>>().join(" | "));
    }
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts");
    fs::create_dir_all(&charts)?;
    for (file, place, unit) in [("cold", 2, "ms"), ("first-poll", 0, "ms"), ("hit", 3, "µs")] {
        let (title, of) = COLUMNS[place];
        let rows: Vec<(String, f64)> =
            specs.iter().map(|spec| (spec.name.to_owned(), medians(spec.name, of))).collect();
        fs::write(charts.join(format!("{file}.svg")), chart::bars(&format!("{title} (logarithmic)"), unit, &rows))?;
    }
    Ok(())
}

fn functions_table(specs: &[Spec], runs: &BTreeMap<&str, Vec<Run>>, out: &mut String) -> Result<(), Fault> {
    if specs.is_empty() {
        return Ok(());
    }
    *out += "\n| function | CPU to first poll, ms | to first poll, ms | syscalls | peak RSS, MB | raw MB | zip MB |\n";
    *out += "|---|---|---|---|---|---|---|\n";
    for spec in specs {
        let fixed = fixed(spec)?;
        let of = |of: fn(&Run) -> f64| median(&runs.get(spec.name).into_iter().flatten().map(of).collect::<Vec<_>>());
        let cells = [
            of(|run| run.poll_cpu),
            of(|run| run.poll_wall),
            fixed.syscalls,
            of(|run| run.rss_mb),
            fixed.raw_mb,
            fixed.zip_mb,
        ];
        *out += &format!("| {} | {} |\n", spec.name, cells.map(chart::number).join(" | "));
    }
    Ok(())
}
