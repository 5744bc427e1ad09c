//! The variables of `console`.

use ieum::config::{Common, ConfigError, Env, Reader};

use crate::integrations::Integrations;

/// Everything `console` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// The integrations to show, each with its providers.
    pub integrations: Integrations,
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
        let common = reader.common();
        let integrations = reader.words("CONSOLE_INTEGRATIONS", None).map(|pairs| integrations(reader, &pairs));
        Some(Self { common: common?, integrations: integrations? })
    }
}

/// `verify/nice`, `verify/nts` … by integration.
fn integrations(reader: &Reader<'_>, pairs: &[String]) -> Integrations {
    let mut integrations = Integrations::new();
    for pair in pairs {
        match pair.split_once('/') {
            Some((integration, provider)) if !integration.is_empty() && !provider.is_empty() => {
                integrations.entry(integration.to_owned()).or_default().push(provider.to_owned());
            }
            _ => reader.mistake(format!("`CONSOLE_INTEGRATIONS` holds `{pair}`: expected `integration/provider`")),
        }
    }
    integrations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_grouped_by_integration_and_every_bad_pair_is_told() {
        let env = Env::from([("STAGE", "local"), ("CONSOLE_INTEGRATIONS", "verify/nice,verify/nts")]);
        let config = Config::from_env(&env).expect("a valid configuration");
        assert_eq!(config.integrations["verify"], ["nice", "nts"]);
        let env = env.with("CONSOLE_INTEGRATIONS", "verify,/nts,verify/nice");
        assert_eq!(Config::from_env(&env).expect_err("two bad pairs").0.len(), 2);
    }
}
