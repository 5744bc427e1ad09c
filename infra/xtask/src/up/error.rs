//! Everything that can keep the system from starting, in the words a person reads.

use std::path::PathBuf;
use std::process::ExitStatus;

use crate::aws::AwsError;
use crate::deploy::DeployError;
use crate::local::LocalError;
use crate::template::TemplateError;

/// Everything that can keep the system from starting or make it end.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// There is no Python.
    #[error(
        "python3 is missing: the local AWS is a Python program; install Python 3.10 or newer and see that `python3` is on the PATH"
    )]
    NoPython,
    /// There is a Python, but too old.
    #[error("python3 is too old: `{found}`; the local AWS needs {needed} or newer")]
    OldPython {
        /// The version found.
        found: String,
        /// The oldest that works.
        needed: String,
    },
    /// Another program listens on a port.
    #[error("port `{port}` of {what} cannot be used ({source}); choose another with {variable}, for instance {variable}={}", port.wrapping_add(100))]
    PortTaken {
        /// The port.
        port: u16,
        /// What was to listen there.
        what: &'static str,
        /// The variable that changes it.
        variable: &'static str,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A variable or an argument has a value that cannot be used.
    #[error("{what} must be {form}: `{value}`")]
    Argument {
        /// The variable or argument.
        what: String,
        /// The allowed form.
        form: &'static str,
        /// The value.
        value: String,
    },
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {what}: {source}")]
    Start {
        /// The program.
        what: String,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A program ended with a failure.
    #[error("{what} failed ({status}):\n{printed}")]
    Command {
        /// The program.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        printed: String,
    },
    /// A started program does not answer.
    #[error("{what} does not answer at {url}{tail}")]
    NotReady {
        /// The program.
        what: &'static str,
        /// Where it should.
        url: String,
        /// The last lines it printed.
        tail: String,
    },
    /// A program the system needs has ended.
    #[error("{0}")]
    Ended(String),
    /// The template is not understood.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A file that describes this machine is not understood.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A resource could not be created as described.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The local AWS could not be asked.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The smoke tour found something wrong.
    #[error("the smoke tour failed: {0} of its points")]
    Check(usize),
    /// The reference names no deployed resource or function.
    #[error("the template deploys nothing of this name: `{0}`")]
    Unknown(String),
}
