//! Python: finds it, and prepares `.venv` with the pinned local AWS.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::watch;

use super::UpError;
use super::children::Leashed;

/// The oldest Python the local AWS runs on.
const OLDEST: (u32, u32) = (3, 10);
/// What the environment is made of, every version pinned.
const REQUIREMENTS: &str = "infra/xtask/requirements.txt";
/// Written last: its content is what the environment was made from.
const STAMP: &str = "ieum-pins";

/// Finds the real interpreter behind `python3`: shims of version managers cost time at each start.
pub(super) async fn find() -> Result<PathBuf, UpError> {
    let script = "import sys; print('%d %d %s' % (*sys.version_info[:2], sys.executable))";
    let output = Command::new("python3")
        .args(["-I", "-S", "-c", script])
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|_| UpError::NoPython)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut parts = text.trim().splitn(3, ' ');
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => {
            parts.next().map(PathBuf::from).ok_or(UpError::NoPython)
        }
        (Some(major), Some(minor)) => {
            Err(UpError::OldPython { found: format!("{major}.{minor}"), needed: format!("{}.{}", OLDEST.0, OLDEST.1) })
        }
        _ => Err(UpError::NoPython),
    }
}

/// Makes `.venv`, or renews it when the pins changed; answers its interpreter.
pub(super) async fn prepare(python: &Path, root: &Path, doing: &watch::Sender<String>) -> Result<PathBuf, UpError> {
    let requirements = root.join(REQUIREMENTS);
    let venv = root.join(".venv");
    let interpreter = venv.join("bin/python");
    let pins = std::fs::read_to_string(&requirements)
        .map_err(|source| UpError::File { path: requirements.clone(), source })?;
    let is_ready =
        || interpreter.exists() && std::fs::read_to_string(venv.join(STAMP)).is_ok_and(|stamp| stamp == pins);
    if is_ready() {
        return Ok(interpreter);
    }

    // Two instances on a fresh clone: the second waits here, then finds the work done. The lock is on the folder
    // itself, so no file is left.
    std::fs::create_dir_all(&venv).map_err(|source| UpError::File { path: venv.clone(), source })?;
    let lock = std::fs::File::open(&venv).map_err(|source| UpError::File { path: venv.clone(), source })?;
    doing.send_replace("waiting for another instance to prepare it".to_owned());
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock =
        lock.map_err(std::io::Error::other).flatten().map_err(|source| UpError::File { path: venv.clone(), source })?;
    if is_ready() {
        return Ok(interpreter);
    }
    // pip comes last: an environment without it was interrupted, and making it again completes it.
    if !venv.join("bin/pip").exists() {
        doing.send_replace("python3 -m venv .venv".to_owned());
        let create = Leashed::new(python, root, [python.as_os_str(), "-m".as_ref(), "venv".as_ref(), venv.as_os_str()]);
        finish(create, "python3 -m venv .venv (on Debian and Ubuntu it needs the package python3-venv)", doing).await?;
    }
    doing.send_replace(format!("pip install -r {}", requirements.display()));
    let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r"].map(AsRef::as_ref);
    let install =
        Leashed::new(python, root, [interpreter.as_os_str()].into_iter().chain(pip).chain([requirements.as_os_str()]));
    finish(install, "pip install -r infra/xtask/requirements.txt", doing).await?;
    std::fs::write(venv.join(STAMP), pins).map_err(|source| UpError::File { path: venv.join(STAMP), source })?;
    Ok(interpreter)
}

async fn finish(command: Leashed, what: &str, doing: &watch::Sender<String>) -> Result<(), UpError> {
    let (status, printed) =
        command.run(Some(doing)).await.map_err(|source| UpError::Start { what: what.to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(UpError::Command { what: what.to_owned(), status, printed }) }
}
