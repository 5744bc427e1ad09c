//! What the person who started the command sees: one line per step, a ticking clock for long ones, and the few lines
//! that matter at the end.
//!
//! The only place of this crate that writes to standard output. A terminal gets a line that is rewritten in place;
//! anything else (a log, CI) gets plain lines, and for a step that takes long one line at its start as well. Tests are
//! silent.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How much to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: for tests.
    Silent,
    /// Lines.
    Plain,
    /// Lines that tick in place.
    Terminal,
}

/// A step that runs longer than this shows itself before it is done.
const LONG: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);

impl Progress {
    /// What suits standard output.
    pub fn detect() -> Self {
        if std::io::stdout().is_terminal() { Self::Terminal } else { Self::Plain }
    }

    /// Runs one step under its label.
    pub(super) async fn step<T, E>(self, label: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let (_, detail) = watch::channel(String::new());
        self.long_step(label, detail, work).await
    }

    /// Runs one step whose current doing is worth showing.
    pub(super) async fn long_step<T, E>(
        self,
        label: &str,
        detail: watch::Receiver<String>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let mut announced = false;
        let mut work = std::pin::pin!(work);
        let outcome = loop {
            match tokio::time::timeout(TICK, work.as_mut()).await {
                Ok(outcome) => break outcome,
                Err(_) if self == Self::Terminal => {
                    let doing = detail.borrow().chars().take(50).collect::<String>();
                    self.write(&format!("\r\x1b[2K  …   {label} {} s {doing}", started.elapsed().as_secs()));
                }
                Err(_) if !announced && started.elapsed() >= LONG => {
                    announced = true;
                    self.write(&format!("  …   {label}\n"));
                }
                Err(_) => {}
            }
        };
        let mark = if outcome.is_ok() { "ok  " } else { "FAIL" };
        let rewind = if self == Self::Terminal { "\r\x1b[2K" } else { "" };
        self.write(&format!("{rewind}  {mark}  {label} ({:.1} s)\n", started.elapsed().as_secs_f64()));
        outcome
    }

    /// One line.
    pub fn line(self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn write(self, text: &str) {
        if self != Self::Silent {
            let mut out = std::io::stdout().lock();
            // A reader that went away (`| head`) must not take the system down with it.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}
