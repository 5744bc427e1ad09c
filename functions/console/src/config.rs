//! The variables of `console`.

use ieum::config::{Common, ConfigError, Env, Reader};

use crate::integrations::Integrations;

/// A queue of wake-ups and where its dead letters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAddress {
    /// What operators call it.
    pub name: String,
    /// Its address.
    pub url: String,
    /// That of its dead letters.
    pub dead_letters: String,
}

/// Everything `console` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// The integrations to show, each with its providers.
    pub integrations: Integrations,
    /// The queues whose dead letters are counted and put back.
    pub queues: Vec<QueueAddress>,
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
        let queues = reader.optional_text("CONSOLE_QUEUES").map(|text| queues(reader, &text)).unwrap_or_default();
        Some(Self { common: common?, integrations: integrations?, queues })
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

/// `email=https://…>https://…`, separated by commas.
fn queues(reader: &Reader<'_>, text: &str) -> Vec<QueueAddress> {
    let one = |entry: &str| {
        let (name, addresses) = entry.trim().split_once('=')?;
        let (url, dead_letters) = addresses.split_once('>')?;
        let whole = ![name, url, dead_letters].contains(&"");
        whole.then(|| QueueAddress { name: name.into(), url: url.into(), dead_letters: dead_letters.into() })
    };
    let mut queues = Vec::new();
    for entry in text.split(',') {
        match one(entry) {
            Some(queue) => queues.push(queue),
            None => reader.mistake(format!("`CONSOLE_QUEUES` holds `{entry}`: expected `name=queue>dead letters`")),
        }
    }
    queues
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

    #[test]
    fn a_queue_is_told_with_its_dead_letters_or_it_is_a_mistake() {
        let env = Env::from([("STAGE", "local"), ("CONSOLE_INTEGRATIONS", "verify/nice")]);
        assert_eq!(Config::from_env(&env).expect("no queues").queues, []);
        let told = Config::from_env(&env.clone().with("CONSOLE_QUEUES", "email=http://q/1>http://q/2, sms=a>b"));
        let [email, sms] = told.expect("two queues").queues.try_into().expect("two queues");
        assert_eq!((email.url.as_str(), email.dead_letters.as_str()), ("http://q/1", "http://q/2"));
        assert_eq!(sms.name, "sms");
        assert_eq!(Config::from_env(&env.with("CONSOLE_QUEUES", "email=a,=a>b,sms=a>b")).expect_err("two").0.len(), 2);
    }
}
