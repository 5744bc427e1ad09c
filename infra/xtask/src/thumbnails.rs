//! `cargo xtask thumbnails DIR`: what `s3-thumbnail` does with a bucket, done with a folder.
//!
//! The same pipeline, variants and limits. Results lie in `DIR/thumbnail/VARIANT/NAME.EXT`, as in the bucket, and that
//! folder is not looked into. A file that has no thumbnails is listed with its reason, and nothing else stops for it.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use s3_thumbnail::picture::{Limits, Refusal, thumbnails};
use s3_thumbnail::variant::{FORM, Variant};

/// The folder of the results, as the function has it by default.
const TARGET: &str = "thumbnail";

/// The function's defaults.
const LIMITS: Limits = Limits { bytes: 32 << 20, pixels: 100_000_000, frames: 1_000, scans: 100, memory: 256 << 20 };

/// Wide enough to see, narrow enough for every terminal.
const BAR: usize = 30;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailsError {
    /// The variants are not understood.
    #[error("the variants are `{0}`: expected {FORM}")]
    Variants(String),
    /// A folder or file could not be read or written.
    #[error("`{path}`: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is the matter.
        problem: std::io::Error,
    },
}

/// What became of a folder.
#[derive(Debug, Default)]
pub struct Summary {
    /// Pictures that have thumbnails now.
    pub made: usize,
    /// Files that have none, with the reason.
    pub refused: Vec<(PathBuf, Refusal)>,
}

/// Makes the thumbnails of every picture in `folder` and below, and says how far it is.
///
/// # Errors
/// [`ThumbnailsError`]; what was written stays.
pub fn run(folder: &Path, variants: &str) -> Result<Summary, ThumbnailsError> {
    let variants = Variant::parse_list(variants).ok_or_else(|| ThumbnailsError::Variants(variants.to_owned()))?;
    let files = files(folder)?;
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let summary = Mutex::new(Summary::default());
    let bar = Bar::new(files.len());
    let work = || -> Result<(), ThumbnailsError> {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = one(folder, file, &variants)?;
            let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match outcome {
                Ok(()) => summary.made += 1,
                Err(refusal) => summary.refused.push((file.clone(), refusal)),
            }
            bar.show(done.fetch_add(1, Ordering::Relaxed) + 1, summary.refused.len(), file);
        }
        Ok(())
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    bar.end();
    let mut summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.refused.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(summary)
}

/// The files in `folder` and below, in order, without those of an earlier run.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ThumbnailsError> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(&path).map_err(|problem| failed(&path, problem))? {
            let entry = entry.map_err(|problem| failed(&path, problem))?;
            let kind = entry.file_type().map_err(|problem| failed(&entry.path(), problem))?;
            if kind.is_dir() && entry.path() != folder.join(TARGET) {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn one(folder: &Path, file: &Path, variants: &[Variant]) -> Result<Result<(), Refusal>, ThumbnailsError> {
    let bytes = fs::read(file).map_err(|problem| failed(file, problem))?;
    let made = match thumbnails(&bytes, variants, None, &LIMITS) {
        Ok(made) => made,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let name = file.strip_prefix(folder).unwrap_or(file);
    for (variant, thumbnail) in variants.iter().zip(made) {
        let mut path = folder.join(TARGET).join(&variant.name).join(name).into_os_string();
        path.push(".");
        path.push(variant.output.extension());
        let path = PathBuf::from(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|problem| failed(parent, problem))?;
        }
        fs::write(&path, thumbnail.bytes).map_err(|problem| failed(&path, problem))?;
    }
    Ok(Ok(()))
}

fn failed(path: &Path, problem: std::io::Error) -> ThumbnailsError {
    ThumbnailsError::File { path: path.to_owned(), problem }
}

/// One line on standard error that fills up; on anything but a terminal, a line for each tenth.
struct Bar {
    total: usize,
    began: Instant,
    terminal: bool,
}

impl Bar {
    fn new(total: usize) -> Self {
        Self { total, began: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: usize, refused: usize, file: &Path) {
        let filled = (done * BAR).checked_div(self.total).unwrap_or(BAR);
        let counts = format!("{done}/{} pictures, {refused} without thumbnails", self.total);
        if self.terminal {
            let name: String = file.file_name().unwrap_or_default().to_string_lossy().chars().take(24).collect();
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
            self.write(&format!("\r\x1b[2K{bar} {counts}  {name}"));
        } else if done * 10 / self.total != (done - 1) * 10 / self.total {
            self.write(&format!("{counts}\n"));
        }
    }

    fn end(&self) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.write(&format!("{}{} files in {seconds:.1} s\n", if self.terminal { "\n" } else { "" }, self.total));
    }

    fn write(&self, text: &str) {
        // A reader that went away is no reason to stop.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHOTOGRAPH: &[u8] = include_bytes!("../../../functions/s3-thumbnail/tests/pictures/rocket.jpg");

    #[test]
    fn a_folder_gets_its_thumbnails_and_says_what_has_none() {
        let mut token = [0; 8];
        getrandom::fill(&mut token).expect("a name");
        let folder = std::env::temp_dir().join(format!("thumbnails-{}", hex::encode(token)));
        fs::create_dir_all(folder.join("여름")).expect("a folder");
        fs::write(folder.join("여름/로켓 1.jpg"), PHOTOGRAPH).expect("a file");
        fs::write(folder.join("cut.jpg"), &PHOTOGRAPH[..20_000]).expect("a file");
        fs::write(folder.join("notes.txt"), "not a picture").expect("a file");
        for _ in 0..2 {
            let summary = run(&folder, "card=300x200;square=64x64,jpeg").expect("a summary");
            assert_eq!(summary.made, 1);
            let reasons: Vec<_> = summary.refused.iter().map(|(_, refusal)| refusal.reason()).collect();
            assert_eq!(reasons, ["broken", "not_a_picture"]);
        }
        let card = fs::read(folder.join("thumbnail/card/여름/로켓 1.jpg.webp")).expect("a thumbnail");
        assert!(card.starts_with(b"RIFF"));
        assert!(folder.join("thumbnail/square/여름/로켓 1.jpg.jpg").exists());
        assert!(run(&folder, "card").is_err());
        fs::remove_dir_all(&folder).expect("cleaned up");
    }
}
