//! Builds the functions of the template and the sandbox for this host, with the same cargo, profile and target folder
//! as everything else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::UpError;
use super::children::Leashed;

/// The sandbox's package and binary.
pub(super) const SANDBOX: &str = "ieum-sandbox";

/// Builds one package per binary (they have the same name) and the sandbox.
pub(super) async fn build(
    python: &Path,
    root: &Path,
    binaries: &BTreeSet<String>,
    doing: &watch::Sender<String>,
) -> Result<(), UpError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = vec![cargo, "build".into()];
    for package in binaries.iter().map(String::as_str).chain([SANDBOX]) {
        command.extend(["-p".into(), package.into()]);
    }
    let mut build = Leashed::new(python, root, command);
    build.environment =
        Some(std::env::vars_os().filter(|(name, _)| !is_of_this_run(&name.to_string_lossy())).collect());
    let what = "cargo build";
    let (status, printed) =
        build.run(Some(doing)).await.map_err(|source| UpError::Start { what: what.to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(UpError::Command { what: what.to_owned(), status, printed }) }
}

/// Variables by which an outer `cargo run` or `cargo test` describes xtask. Build scripts watch some of them: passed
/// on, they would rebuild half of the dependencies at each change between `cargo up` and `cargo build`.
fn is_of_this_run(name: &str) -> bool {
    let exact = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "LD_LIBRARY_PATH",
    ];
    let starts = ["CARGO_BIN_EXE_", "CARGO_MANIFEST_", "CARGO_PKG_"];
    exact.contains(&name) || starts.iter().any(|start| name.starts_with(start))
}

/// Where cargo puts binaries of the dev profile: beside this very program when cargo runs it, so that a moved target
/// folder is found.
pub(super) fn folder(root: &Path) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| {
        // A test binary lies one folder deeper, in `deps`.
        let folder = own.parent()?;
        Some(if folder.ends_with("deps") { folder.parent()?.to_owned() } else { folder.to_owned() })
    });
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    beside.filter(|folder| folder.ends_with("debug")).unwrap_or_else(|| target.join("debug"))
}
