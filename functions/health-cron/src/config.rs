//! The variables of `health-cron`: those of every function.

use ieum::config::{Common, ConfigError, Env, Reader};

/// Everything `health-cron` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
}

impl Config {
    /// Reads the whole configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake at once.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        env.read(Self::read)
    }

    /// Reads with a reader of the caller's, who wants to know what was asked for.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        Some(Self { common: reader.common()? })
    }
}
