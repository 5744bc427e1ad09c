//! `functions/README.md`, followed to the letter: a copy of the repository, into which each block goes as the page says, whose
//! commands are run, and which is deployed and asked. Some minutes, so only by name:
//! `cargo test --workspace --test guide -- --ignored`.
//!
//! The copy has its own target folder, into which what third parties wrote is linked as it was built here.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

const PAGE: &str = "functions/README.md";

/// Where the page says that the API is; the copy's is elsewhere, so that nobody's is in the way.
const USUAL: &str = "http://127.0.0.1:3000";

/// What the page asks of its reader.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A file, and what is in it.
    File(String, String),
    /// A file, a line of it, and what comes below that.
    After(String, String, String),
    /// Commands.
    Run(String),
}

/// The steps of a page: each fenced block is one, and the line above says where it goes.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut lines, mut above) = (page.lines(), "");
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            above = if line.is_empty() { above } else { line };
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = block.join("\n") + "\n";
        let quoted: Vec<&str> = above.split('`').collect();
        steps.push(match (kind, &quoted[..]) {
            ("sh", _) => Step::Run(text),
            (_, ["", file, ":"]) => Step::File((*file).to_owned(), text),
            (_, ["", file, ", after the line ", line, ":"]) => {
                Step::After((*file).to_owned(), (*line).to_owned(), text)
            }
            _ => panic!("nobody can tell where this goes: `{above}`"),
        });
        above = "";
    }
    steps
}

/// `text` with `block` below the first line that reads `line`, whatever stands before and after it there.
fn inserted(text: &str, line: &str, block: &str) -> Option<String> {
    let mut done = String::new();
    let mut rest = text.split_inclusive('\n');
    for own in rest.by_ref() {
        done.push_str(own);
        if own.trim() == line {
            return Some(done + block + &rest.collect::<String>());
        }
    }
    None
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Links all below `from` into `to`; what `wanted` refuses is left out, with everything below it.
fn link(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (name, path) = (entry.file_name(), entry.path());
        if !wanted(&name.to_string_lossy()) {
            continue;
        }
        let target = to.join(&name);
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => link(&path, &target, &|_| true),
            _ => fs::hard_link(&path, &target).expect("a link"),
        }
    }
}

/// A copy of what git knows and of what is new, with a target folder that has what third parties wrote.
fn copy(copy: &Path) {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .expect("git");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).expect("names");
    for file in listed.split('\0').filter(|file| !file.is_empty() && root.join(file).is_file()) {
        let target = copy.join(file);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(root.join(file), target).expect("a copy");
    }
    if root.join(".venv").is_dir() {
        std::os::unix::fs::symlink(root.join(".venv"), copy.join(".venv")).expect("a link");
    }
    let built = std::env::current_exe().expect("this program");
    let built = built.ancestors().find(|folder| folder.ends_with("debug")).expect("target/debug").to_owned();
    let functions: Vec<String> = fs::read_dir(root.join("functions"))
        .expect("the functions")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .flat_map(|name| [name.replace('-', "_"), name])
        .collect();
    let tests = ["contract", "door", "end_to_end", "guide", "kernel", "wire", "command", "memory", "providers"];
    let own = |name: &str| {
        let name = name.strip_prefix("lib").unwrap_or(name);
        let stem = name.rsplit_once('-').map_or(name, |(stem, _)| stem);
        stem.starts_with("ieum") || stem == "xtask" || tests.contains(&stem) || functions.iter().any(|own| own == stem)
    };
    for folder in ["deps", "build", ".fingerprint"] {
        link(&built.join(folder), &copy.join("target/debug").join(folder), &|name| !own(name));
    }
}

/// A shell in the copy, without what cargo has told this test of itself.
fn shell(copy: &Path, commands: &str) -> Command {
    let of_this_run =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "CARGO_TARGET_"];
    let mut command = Command::new("bash");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if of_this_run.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO" {
            command.env_remove(&*name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH").current_dir(copy).stdin(Stdio::null());
    command.args(["-euo", "pipefail", "-c", commands]);
    command
}

/// A running `cargo up`, and the rest of what it says; stopped when it is dropped.
struct Up(Child, Option<Lines<BufReader<ChildStdout>>>);

impl Drop for Up {
    fn drop(&mut self) {
        // It leaves nothing behind whichever way it ends.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Starts the system with these commands, and says where it is once it is ready.
fn started(copy: &Path, commands: &str) -> (Up, String) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let mut command =
        shell(copy, &format!("export IEUM_PORT={free} IEUM_AWS_PORT=0 IEUM_SANDBOX_PORT=0; exec env {commands}"));
    let mut up = Up(command.stdout(Stdio::piped()).spawn().expect("a shell"), None);
    let mut lines = BufReader::new(up.0.stdout.take().expect("its output")).lines();
    let mut said = String::new();
    while let Some(line) = lines.next() {
        let line = line.expect("text");
        if let Some(url) = line.strip_prefix("ready ") {
            up.1 = Some(lines);
            return (up, url.to_owned());
        }
        said.push_str(&line);
        said.push('\n');
    }
    panic!("it ended before it was ready:\n{said}");
}

#[test]
#[ignore = "minutes: only by name"]
fn an_integration_is_added_by_following_the_page() {
    let scratch = root().join("target").join(format!("guide-{}", std::process::id()));
    let _ = fs::remove_dir_all(&scratch);
    copy(&scratch);
    let page = fs::read_to_string(scratch.join(PAGE)).expect("the page");
    let (mut up, mut answer) = (None, String::new());
    for step in steps(&page) {
        let began = Instant::now();
        match step {
            Step::File(file, text) => {
                let path = scratch.join(&file);
                assert!(!path.exists(), "{file} is there already");
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("written");
            }
            Step::After(file, line, block) => {
                let text = fs::read_to_string(scratch.join(&file)).expect("the file");
                let text = inserted(&text, &line, &block).unwrap_or_else(|| panic!("{file} has no line `{line}`"));
                fs::write(scratch.join(&file), text).expect("written");
            }
            Step::Run(commands) if commands.contains("cargo up") => up = Some(started(&scratch, commands.trim())),
            Step::Run(commands) => {
                let url = up.as_ref().map_or(USUAL, |(_, url)| url.as_str());
                let output = shell(&scratch, &commands.replace(USUAL, url)).output().expect("bash");
                answer = String::from_utf8_lossy(&output.stdout).into_owned();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{commands}{answer}{said}");
                eprintln!("{} ... {:.0} s", commands.trim().replace('\n', " && "), began.elapsed().as_secs_f64());
            }
        }
    }
    assert!(page.contains("`\"krw\":1391.5`") && answer.contains("\"krw\":1391.5"), "{answer}");
    drop(up);
    fs::remove_dir_all(&scratch).expect("removed");
}

#[test]
fn each_block_of_the_page_goes_somewhere() {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page");
    let steps = steps(&page);
    let files = steps.iter().filter(|step| matches!(step, Step::File(..))).count();
    let runs = steps.iter().filter(|step| matches!(step, Step::Run(_))).count();
    assert!(files >= 10 && runs >= 4, "{files} files, {runs} commands");
    for step in steps {
        if let Step::After(file, line, block) = step {
            let text = fs::read_to_string(root().join(&file)).expect("the file");
            assert!(inserted(&text, &line, &block).is_some(), "{file} has no line `{line}`");
        }
    }
    assert_eq!(inserted("a\n  b\nc\n", "b", "x\n"), Some("a\n  b\nx\nc\n".to_owned()));
    assert_eq!(inserted("a\n", "b", "x\n"), None);
}
