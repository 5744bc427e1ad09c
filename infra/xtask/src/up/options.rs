//! How to start the system: what a person may choose on the command line, and what a test may change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::build::folder;
use super::{Progress, UpError, ports};

/// How to start the system.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the repository.
    pub root: PathBuf,
    /// The template; by default the repository's.
    pub template: PathBuf,
    /// Values of this machine; by default `infra/xtask/local.toml`.
    pub settings: PathBuf,
    /// Test credentials; by default `infra/xtask/secrets.json`.
    pub base_secrets: PathBuf,
    /// A file whose secrets win over [`Self::base_secrets`].
    pub secrets: Option<PathBuf>,
    /// The folder with the binaries; by default cargo's.
    pub binaries: PathBuf,
    /// Whether to build them first.
    pub build: bool,
    /// Variables set on every function.
    pub environment: BTreeMap<String, String>,
    /// The API key to use instead of a random one.
    pub api_key: Option<String>,
    /// The port of the local AWS; 0 for any.
    pub aws_port: u16,
    /// The port of the sandbox; 0 for any.
    pub sandbox_port: u16,
    /// The port of the API; 0 for any.
    pub port: u16,
    /// What to show while starting.
    pub progress: Progress,
}

impl Options {
    /// For tests: any free ports, silent, binaries built if they are not up to date.
    pub fn for_tests(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let own = root.join("infra/xtask");
        Self {
            template: root.join("template.yaml"),
            settings: own.join("local.toml"),
            base_secrets: own.join("secrets.json"),
            secrets: None,
            binaries: folder(&root),
            root,
            build: true,
            environment: BTreeMap::new(),
            api_key: None,
            aws_port: 0,
            sandbox_port: 0,
            port: 0,
            progress: Progress::Silent,
        }
    }

    /// For a person: the usual ports or those of `IEUM_AWS_PORT`, `IEUM_SANDBOX_PORT` and `IEUM_PORT`, the key of
    /// `IEUM_LOCAL_API_KEY`.
    ///
    /// # Errors
    /// When a variable holds no port.
    pub fn for_people(root: impl Into<PathBuf>) -> Result<Self, UpError> {
        let port = |variable: &str, usual: u16| match std::env::var(variable) {
            Ok(value) => {
                value.parse().map_err(|_| wrong(variable, "a port number from 0 to 65535, 0 for any free one", &value))
            }
            Err(_) => Ok(usual),
        };
        Ok(Self {
            aws_port: port(ports::AWS.1, 4566)?,
            sandbox_port: port(ports::SANDBOX.1, 4600)?,
            port: port(ports::DOOR.1, 3000)?,
            api_key: std::env::var("IEUM_LOCAL_API_KEY").ok().filter(|key| !key.is_empty()),
            progress: Progress::detect(),
            ..Self::for_tests(root)
        })
    }

    /// Adds a variable in the form `NAME=VALUE`.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn set(&mut self, text: &str) -> Result<(), UpError> {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| is_name(name))
            .ok_or_else(|| wrong("--env", "NAME=VALUE, the name of letters, digits and `_`", text))?;
        self.environment.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

fn wrong(what: &str, form: &'static str, value: &str) -> UpError {
    UpError::Argument { what: what.to_owned(), form, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_any_value() {
        let mut options = Options::for_tests("/nowhere");
        for text in ["A=1", "_B2=x=y", "C="] {
            assert!(options.set(text).is_ok(), "{text}");
        }
        let set: Vec<_> = options.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(set, [("A", "1"), ("C", ""), ("_B2", "x=y")]);
    }

    #[test]
    fn another_form_is_shown_with_the_allowed_one() {
        for text in ["A", "=1", "1A=1", "A-B=1", ""] {
            let message = Options::for_tests("/nowhere").set(text).err().map(|error| error.to_string());
            let expected = format!("--env must be NAME=VALUE, the name of letters, digits and `_`: `{text}`");
            assert_eq!(message, Some(expected));
        }
    }
}
