//! Processes: what they have used, and the share of a processor that they get.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// CPU time of all live threads of `pid`, in microseconds: what the scheduler has accounted to them.
#[must_use]
pub fn cpu_us(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1_000.0
}

/// The number of kB that `/proc/PID/status` gives for `name`, in MB.
#[must_use]
pub fn memory_mb(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1_024.0)
}

/// A share of one processor, for the processes put into it.
#[derive(Debug)]
pub struct Share {
    folder: PathBuf,
}

/// Over how long the share is reckoned.
const PERIOD_US: u32 = 20_000;

impl Share {
    /// A new group `name` that gets `megabytes` / 1,769 of a processor, as a function of Lambda does.
    ///
    /// # Errors
    /// When control groups cannot be made here: not root, or a container.
    pub fn of_memory(name: &str, megabytes: u32) -> io::Result<Self> {
        let quota = PERIOD_US * megabytes / 1_769;
        let old = Path::new("/sys/fs/cgroup/cpu");
        let folder = if old.exists() { old.join(name) } else { Path::new("/sys/fs/cgroup").join(name) };
        fs::create_dir_all(&folder)?;
        if old.exists() {
            fs::write(folder.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            fs::write(folder.join("cpu.cfs_quota_us"), quota.to_string())?;
        } else {
            fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        }
        Ok(Self { folder })
    }

    /// Puts `pid` and all its threads into it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Gives `pid` whole processors again.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn release(&self, pid: u32) -> io::Result<()> {
        let above = self.folder.parent().unwrap_or(&self.folder);
        fs::write(above.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Fails while somebody is in it; an empty group costs nothing.
        let _ = fs::remove_dir(&self.folder);
    }
}
