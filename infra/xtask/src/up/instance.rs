//! The folder of one running instance: temporary files, logs, and how its Lambda environments are found.
//!
//! It lies in `.local/` under the port of its local AWS and the process id, is locked while in use, and is deleted at
//! the end. A folder nobody has locked belonged to an instance that could not clean up; the next start removes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::UpError;

const SITECUSTOMIZE: &str = include_str!("../../python/sitecustomize.py");

/// A locked folder, deleted on drop.
#[derive(Debug)]
pub(super) struct Instance {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// The lock is on the folder itself and ends with this process, in whatever way it ends.
    _lock: File,
}

impl Instance {
    /// Makes the folder, after removing those left behind.
    pub(super) fn create(root: &Path, aws: &str) -> Result<Self, UpError> {
        let all = root.join(".local");
        let port = aws.rsplit(':').next().unwrap_or_default();
        let folder = all.join(format!("up-{port}-{}", std::process::id()));
        let instance = Self::make(&all, &folder).map_err(|source| UpError::File { path: folder.clone(), source })?;
        Ok(instance)
    }

    fn make(all: &Path, folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(all)?;
        remove_abandoned(all)?;
        fs::create_dir_all(folder)?;
        let lock = File::open(folder)?;
        lock.lock()?;
        let instance = Self { folder: folder.to_owned(), _lock: lock };
        fs::create_dir_all(instance.temporary())?;
        fs::create_dir_all(instance.python_path())?;
        fs::write(instance.python_path().join("sitecustomize.py"), SITECUSTOMIZE)?;
        Ok(instance)
    }

    /// The local AWS' folder for temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// The folder on the local AWS' PYTHONPATH.
    pub(super) fn python_path(&self) -> PathBuf {
        self.folder.join("python")
    }

    /// The running environments of a function: processes that carry its name and this instance's folder among their
    /// variables.
    pub(super) fn environments(&self, function: &str) -> Vec<u32> {
        let name = format!("AWS_LAMBDA_FUNCTION_NAME={function}");
        let place = format!("TMPDIR={}", self.temporary().display());
        let is_one = |id: &u32| {
            let variables = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let has = |wanted: &str| variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
            has(&name) && has(&place)
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The leash deletes it as well, and may have been first.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn remove_abandoned(all: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(all)?.flatten() {
        let path = entry.path();
        let is_instance = entry.file_name().to_str().is_some_and(|name| name.starts_with("up-"));
        if is_instance && File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
            // Another start may be removing it at this moment.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// Kills one process at once; says whether it was there.
pub(super) fn kill(id: u32) -> bool {
    i32::try_from(id).ok().and_then(Pid::from_raw).is_some_and(|id| kill_process(id, Signal::KILL).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_folder_is_removed_and_a_used_one_stays() {
        let all = std::env::temp_dir().join(format!("ieum-instance-test-{}", std::process::id()));
        let used = Instance::make(&all, &all.join("up-1-1")).unwrap_or_else(|error| panic!("{error}"));
        fs::create_dir_all(all.join("up-2-2/tmp")).unwrap_or_else(|error| panic!("{error}"));
        let second = Instance::make(&all, &all.join("up-3-3")).unwrap_or_else(|error| panic!("{error}"));
        assert!(used.folder.exists() && second.folder.exists() && !all.join("up-2-2").exists());
        drop((used, second));
        assert_eq!(fs::read_dir(&all).map(Iterator::count).ok(), Some(0));
        let _ = fs::remove_dir_all(&all);
    }
}
