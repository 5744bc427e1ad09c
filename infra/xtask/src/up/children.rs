//! The processes `cargo up` starts, none of which may outlive it.
//!
//! Each runs under a small Python program, the leash (`python/leash.py`), that ends it with all its descendants as soon
//! as its own standard input closes. This process holds the other end: dropping a [`Child`] is enough, and the
//! operating system does the same on a panic or SIGKILL. That needs no signal handling here, and no unsafe code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;

const LEASH: &str = include_str!("../../python/leash.py");

/// The leash ends its child within three seconds; beyond this something is very wrong and the leash itself is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A command to be run on a leash.
#[derive(Debug, Clone)]
pub(super) struct Leashed {
    /// The Python that runs the leash.
    pub(super) python: PathBuf,
    /// Program and arguments.
    pub(super) command: Vec<OsString>,
    /// Where it runs.
    pub(super) directory: PathBuf,
    /// Its whole environment, or `None` to inherit this process's.
    pub(super) environment: Option<BTreeMap<OsString, OsString>>,
    /// Folders deleted when it has ended.
    pub(super) folders: Vec<PathBuf>,
}

impl Leashed {
    /// A command that inherits the environment and leaves nothing to delete.
    pub(super) fn new<T: Into<OsString>>(
        python: &Path,
        directory: &Path,
        command: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            python: python.to_owned(),
            command: command.into_iter().map(Into::into).collect(),
            directory: directory.to_owned(),
            environment: None,
            folders: Vec::new(),
        }
    }

    fn prepare(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-I", "-S", "-c", LEASH]).args(&self.folders).arg("--").args(&self.command);
        command.current_dir(&self.directory).stdin(Stdio::piped());
        // Out of the terminal's foreground group: Ctrl-C is for `cargo up`, which then stops everything in order.
        command.process_group(0);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment);
        }
        command
    }

    /// Runs to the end; answers its status and everything it printed. `doing` is told each line.
    pub(super) async fn run(&self, doing: Option<&watch::Sender<String>>) -> std::io::Result<(ExitStatus, String)> {
        let mut child = self.prepare().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut printed = String::new();
        let read_errors = async {
            let mut text = String::new();
            if let Some(stderr) = stderr {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some(doing) = doing {
                        doing.send_replace(line.trim().to_owned());
                    }
                    text.push_str(&line);
                    text.push('\n');
                }
            }
            text
        };
        let read_output = async {
            if let Some(mut stdout) = stdout {
                // Output that is not UTF-8 ends the text early; the status still decides.
                let _ = stdout.read_to_string(&mut printed).await;
            }
        };
        let (errors, ()) = tokio::join!(read_errors, read_output);
        let status = child.wait().await?;
        drop(input);
        printed.push_str(&errors);
        Ok((status, printed))
    }

    /// Starts it and lets it run, printing into the file `log`.
    pub(super) fn start(&self, name: &'static str, log: &Path) -> std::io::Result<Child> {
        let file = std::fs::File::create(log)?;
        let mut leash = self.prepare().stdout(file.try_clone()?).stderr(file).spawn()?;
        let input = leash.stdin.take();
        Ok(Child { name, leash, input, log: log.to_owned() })
    }
}

/// A running process; dropping it ends the process.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    leash: tokio::process::Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Child {
    /// The last lines it printed, once it has ended by itself.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.leash.try_wait().ok()??;
        Some(format!("{} ended by itself ({status}){}", self.name, self.tail()))
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(15)..];
        if last.is_empty() { String::new() } else { format!("; its last lines:\n{}", last.join("\n")) }
    }

    async fn stop(mut self) {
        drop(self.input.take());
        if tokio::time::timeout(STOP_LIMIT, self.leash.wait()).await.is_err() {
            // Nothing more can be done than to kill; a failure means it is gone already.
            let _ = self.leash.kill().await;
        }
    }
}

/// All running processes, kept apart from the work that starts them so that a failure half-way still finds and stops
/// them.
#[derive(Debug, Clone, Default)]
pub(super) struct Children(Arc<Mutex<Vec<Child>>>);

impl Children {
    /// Adds a process.
    pub(super) fn add(&self, child: Child) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    /// Says so when a process has ended by itself.
    pub(super) fn ended(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().find_map(Child::ended)
    }

    /// The end of a process's log.
    pub(super) fn tail(&self, name: &str) -> String {
        let children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        children.iter().find(|child| child.name == name).map(Child::tail).unwrap_or_default()
    }

    /// Whether there is nothing to stop.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Stops all of them, at the same time, and waits until they are gone.
    pub(super) async fn stop(&self) {
        let children = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let stopping: Vec<_> = children.into_iter().map(|child| tokio::spawn(child.stop())).collect();
        for one in stopping {
            // A panic while stopping one must not keep the others.
            let _ = one.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::python;

    fn alive(id: &str) -> bool {
        // A zombie waits for its parent and runs no more.
        let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[tokio::test]
    async fn dropping_a_child_ends_it_with_its_descendants_and_deletes_its_folder() {
        let python = python::find().await.unwrap_or_else(|error| panic!("{error}"));
        let folder = std::env::temp_dir().join(format!("ieum-leash-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        let log = folder.with_extension("log");
        let mut command =
            Leashed::new(&python, &folder, ["sh", "-c", "sleep 300 & echo $$ $!; trap '' TERM; wait; wait"]);
        command.folders = vec![folder.clone()];
        let child = command.start("a test", &log).unwrap_or_else(|error| panic!("{error}"));

        let ids = loop {
            let printed = std::fs::read_to_string(&log).unwrap_or_default();
            if printed.ends_with('\n') {
                break printed.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(ids.len() == 2 && ids.iter().all(|id| alive(id)), "{ids:?}");
        drop(child);
        for _ in 0..500 {
            if !ids.iter().any(|id| alive(id)) && !folder.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = std::fs::remove_file(&log);
        assert!(!ids.iter().any(|id| alive(id)) && !folder.exists());
    }

    #[tokio::test]
    async fn a_command_that_fails_answers_its_status_and_what_it_printed() {
        let python = python::find().await.unwrap_or_else(|error| panic!("{error}"));
        let command = Leashed::new(&python, Path::new("/"), ["sh", "-c", "echo one; echo two >&2; exit 7"]);
        let (status, printed) = command.run(None).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((status.code(), printed.as_str()), (Some(7), "one\ntwo\n"));
    }
}
