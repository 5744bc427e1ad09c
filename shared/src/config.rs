//! Configuration: read once at start, whole or not at all.
//!
//! A [`Reader`] collects *every* mistake, each naming the variable, the bad value in backticks and the form allowed, so
//! that a deployment is corrected once and not one variable at a time. What is required has no default; what has a
//! default says so where it is read, and the function's README says the same (a test compares the two).
//!
//! Only `main.rs` hands the process's environment to this file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use crate::policy::{Policy, Replay};
use crate::resilience::backoff::Backoff;
use crate::resilience::cache::CachePolicy;
use crate::resilience::circuit_breaker::BreakerPolicy;
use crate::resilience::rate_limit::RatePolicy;
use crate::secrets::SecretName;
use crate::settings::{Texts, is_adjustable};
use crate::telemetry::LogLevel;

/// How the ARN of a secret begins, after the partition.
const SECRETS_MANAGER: &str = ":secretsmanager:";

/// What the numbers of an integration may be: at start, and when they are changed while it runs.
pub(crate) mod range {
    use std::ops::RangeInclusive;

    type Range = RangeInclusive<u32>;

    const YEAR_SECONDS: u32 = 366 * 24 * 60 * 60;

    pub(crate) const ATTEMPTS: Range = 1..=4;
    pub(crate) const TIMEOUT_MS: Range = 50..=60_000;
    pub(crate) const DEADLINE_MS: Range = 100..=900_000;
    pub(crate) const BREAKER_FAILURES: Range = 1..=1_000;
    pub(crate) const BREAKER_OPEN_SECONDS: Range = 1..=3_600;
    pub(crate) const CACHE_TTL_SECONDS: Range = 1..=YEAR_SECONDS;
    pub(crate) const CACHE_STALE_SECONDS: Range = 0..=YEAR_SECONDS;
    pub(crate) const CACHE_UNKNOWN_SECONDS: Range = 0..=YEAR_SECONDS;
    pub(crate) const RATE_PER_PERIOD: Range = 1..=100_000;
    pub(crate) const RATE_PERIOD_SECONDS: Range = 1..=86_400;
    pub(crate) const RATE_BURST: Range = 1..=10_000;
    pub(crate) const DAILY_QUOTA: Range = 1..=1_000_000_000;
}

/// Environment variables as they are. An empty value counts as absent, because templates cannot leave one out.
#[derive(Clone, Debug, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The process's own environment; values that are not Unicode are left out.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// The variable `name`, unless absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The variables that are settings of some integration.
    fn adjustable(&self) -> Texts {
        let names = self.0.keys().filter(|name| is_adjustable(name));
        names.filter_map(|name| Some((name.clone(), self.get(name)?.to_owned()))).collect()
    }

    /// The secrets in Secrets Manager whose ARNs are values, as `template.yaml` gives them. Nothing else may be taken for the
    /// name of a secret here: it is sent to AWS, and could be one.
    fn managed_secrets(&self) -> Vec<String> {
        let values = self.0.values().map(|value| value.trim());
        let arns = values.filter(|value| value.starts_with("arn:") && value.contains(SECRETS_MANAGER));
        let mut managed: Vec<String> = arns.map(str::to_owned).collect();
        managed.sort_unstable();
        managed.dedup();
        managed
    }

    /// The same environment with `name` set to `value`.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What `read` makes of it: `environment.read(Config::read)`.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake at once.
    pub fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> Option<T>) -> Result<T, ConfigError> {
        let reader = Reader::new(self);
        let config = read(&reader);
        reader.finish(config)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// What a variable of AWS's own says, such as `AWS_REGION`: for [`crate::aws`], which hands the credentials on and keeps them from
/// being printed. An empty one says nothing.
pub(crate) fn aws_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A developer's machine: memory store, secrets from files and plain HTTP are allowed.
    Local,
    /// Shared, for development.
    Dev,
    /// Like production.
    Staging,
    /// The real thing: no mock.
    Production,
}

impl Stage {
    /// The value of `STAGE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// Everything wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} mistake(s): {}", self.0.len(), self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

/// One variable that was asked for, for comparing documents with code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Its default; `None` when it is required, empty when it is optional.
    pub default: Option<String>,
}

/// Reads variables, and remembers what is wrong with them.
///
/// Each method returns `None` only after noting a mistake, so that a whole struct is built with `?` and [`Reader::finish`]
/// then yields either the struct or all mistakes.
#[derive(Debug)]
pub struct Reader<'e> {
    env: &'e Env,
    mistakes: RefCell<Vec<String>>,
    asked: RefCell<Vec<Asked>>,
}

impl<'e> Reader<'e> {
    /// A reader of `env`.
    pub fn new(env: &'e Env) -> Self {
        Self { env, mistakes: RefCell::default(), asked: RefCell::default() }
    }

    /// Notes a mistake that no single variable's form shows, for example two that contradict each other.
    pub fn mistake(&self, what: impl Into<String>) {
        self.mistakes.borrow_mut().push(what.into());
    }

    /// The struct, or every mistake noted while it was read.
    ///
    /// # Errors
    /// [`ConfigError`] with all mistakes.
    pub fn finish<T>(self, config: Option<T>) -> Result<T, ConfigError> {
        let mistakes = self.mistakes.into_inner();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError(mistakes)),
        }
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    fn read<T>(
        &self,
        name: &str,
        default: Option<&str>,
        form: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let asked = Asked { name: name.to_owned(), default: default.map(str::to_owned) };
        self.asked.borrow_mut().push(asked);
        let Some(text) = self.env.get(name).or(default) else {
            self.mistake(format!("`{name}` is missing: expected {form}"));
            return None;
        };
        let parsed = parse(text);
        if parsed.is_none() {
            let shown = if crate::telemetry::redact::is_secret_name(name) { "(hidden)" } else { text };
            self.mistake(format!("`{name}` is `{shown}`: expected {form}"));
        }
        parsed
    }

    /// Required text.
    pub fn text(&self, name: &str, default: Option<&str>) -> Option<String> {
        self.read(name, default, "text", |text| Some(text.to_owned()))
    }

    /// Text that may be absent.
    pub fn optional_text(&self, name: &str) -> Option<String> {
        self.asked.borrow_mut().push(Asked { name: name.to_owned(), default: Some(String::new()) });
        self.env.get(name).map(str::to_owned)
    }

    /// The name of a queue or the like, which only a local run without a table may leave out.
    pub fn resource(&self, name: &str, common: Option<&Common>) -> Option<Option<String>> {
        if common.is_some_and(|common| common.table.is_none()) {
            return Some(self.optional_text(name));
        }
        self.text(name, None).map(Some)
    }

    /// A whole number within `range`.
    pub fn number(&self, name: &str, default: Option<u32>, range: RangeInclusive<u32>) -> Option<u32> {
        let form = format!("a whole number from {} to {}", range.start(), range.end());
        let default = default.map(|number| number.to_string());
        self.read(name, default.as_deref(), &form, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// A whole number within `range` that may be absent.
    pub fn optional_number(&self, name: &str, range: RangeInclusive<u32>) -> Option<Option<u32>> {
        if self.env.get(name).is_some() {
            return self.number(name, None, range).map(Some);
        }
        self.optional_text(name);
        Some(None)
    }

    /// A span in the unit that the name ends with: `_MS` or `_SECONDS`.
    pub fn span(&self, name: &str, default: Option<u32>, range: RangeInclusive<u32>) -> Option<Duration> {
        let number = self.number(name, default, range)?;
        if name.ends_with("_MS") {
            Some(Duration::from_millis(number.into()))
        } else if name.ends_with("_SECONDS") {
            Some(Duration::from_secs(number.into()))
        } else {
            self.mistake(format!("`{name}` says no unit"));
            None
        }
    }

    /// A fraction from 0 to 1.
    pub fn fraction(&self, name: &str, default: &str) -> Option<f64> {
        self.read(name, Some(default), "a number from 0 to 1", |text| {
            text.parse().ok().filter(|number| (0.0..=1.0).contains(number))
        })
    }

    /// One of `choices`, each a word and its meaning.
    pub fn choice<T: Clone>(&self, name: &str, default: Option<&str>, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.read(name, default, &format!("one of {}", words.join(", ")), |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone())
        })
    }

    /// An ordered list of different words out of `choices`, separated by commas.
    pub fn list<T: Clone>(&self, name: &str, default: Option<&str>, choices: &[(&str, T)]) -> Option<Vec<T>> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let form = format!("a comma-separated list of different words out of {}", words.join(", "));
        self.read(name, default, &form, |text| {
            let mut seen = Vec::new();
            text.split(',')
                .map(|word| {
                    let word = word.trim();
                    let (_, meaning) = choices.iter().find(|(choice, _)| *choice == word)?;
                    (!seen.contains(&word)).then(|| {
                        seen.push(word);
                        meaning.clone()
                    })
                })
                .collect()
        })
    }

    /// Words separated by commas, whatever they are.
    pub fn words(&self, name: &str, default: Option<&str>) -> Option<Vec<String>> {
        self.read(name, default, "words separated by commas", |text| {
            let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
            (!words.iter().any(String::is_empty)).then_some(words)
        })
    }

    /// The address of a provider: HTTPS, or plain HTTP to this machine when `stage` is local.
    pub fn base_url(&self, name: &str, default: Option<&str>, stage: Stage) -> Option<Url> {
        let form =
            if stage == Stage::Local { "an https:// address, or http:// to loopback" } else { "an https:// address" };
        self.read(name, default, form, |text| {
            let url = Url::parse(text).ok()?;
            let host = url.host_str()?;
            let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
            let allowed = url.scheme() == "https" || url.scheme() == "http" && loopback && stage == Stage::Local;
            let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
            (allowed && bare).then_some(url)
        })
    }

    /// The same, where it may be absent.
    pub fn optional_base_url(&self, name: &str, stage: Stage) -> Option<Option<Url>> {
        match self.optional_text(name) {
            Some(_) => self.base_url(name, None, stage).map(Some),
            None => Some(None),
        }
    }

    /// An address on this machine that stands in for a host which is not a setting; absent unless `stage` is local.
    pub fn local_url(&self, name: &str, stage: Stage) -> Option<Option<Url>> {
        let Some(text) = self.optional_text(name) else { return Some(None) };
        let url = Url::parse(&text).ok().filter(|url| {
            url.scheme() == "http" && matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
        });
        match (stage, url) {
            (Stage::Local, Some(url)) => Some(Some(url)),
            (Stage::Local, None) => {
                self.mistake(format!("`{name}` is `{text}`: expected an http:// address on loopback"));
                None
            }
            (Stage::Dev | Stage::Staging | Stage::Production, _) => {
                self.mistake(format!("`{name}` is set: allowed only when `STAGE` is `local`"));
                None
            }
        }
    }

    /// The path of an endpoint, appended to a base address.
    pub fn path(&self, name: &str, default: Option<&str>) -> Option<String> {
        self.read(name, default, "a path that begins with `/`", |text| {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\'));
            (text.starts_with('/') && plain).then(|| text.to_owned())
        })
    }

    /// Where a secret is kept: its name or ARN in Secrets Manager, or `file:PATH` or `file:PATH@MEMBER` when
    /// `stage` is local.
    pub fn secret(&self, name: &str, stage: Stage) -> Option<SecretName> {
        let form = if stage == Stage::Local {
            "the name or ARN of a secret, or `file:` and a path"
        } else {
            "the name or ARN of a secret"
        };
        self.read(name, None, form, |text| match text.strip_prefix("file:") {
            Some(file) => (stage == Stage::Local).then(|| match file.split_once('@') {
                Some((path, member)) => SecretName::File(path.into(), Some(member.to_owned())),
                None => SecretName::File(file.into(), None),
            }),
            None => Some(SecretName::Managed(text.to_owned())),
        })
    }

    /// A secret in place of a role; absent unless `stage` is local.
    pub fn local_secret(&self, name: &str, stage: Stage) -> Option<Option<SecretName>> {
        match self.optional_text(name) {
            Some(_) if stage == Stage::Local => self.secret(name, stage).map(Some),
            Some(_) => {
                self.mistake(format!(
                    "`{name}` is set: allowed only when `STAGE` is `local`; a deployed function has a role"
                ));
                None
            }
            None => Some(None),
        }
    }

    /// The stage.
    pub fn stage(&self) -> Option<Stage> {
        let stages = [Stage::Local, Stage::Dev, Stage::Staging, Stage::Production];
        self.choice("STAGE", None, &stages.map(|stage| (stage.as_str(), stage)))
    }

    /// What every function needs.
    pub fn common(&self) -> Option<Common> {
        let stage = self.stage()?;
        let level = self.read("LOG_LEVEL", Some("info"), "one of `error`, `warn`, `info`, `debug`", LogLevel::parse);
        let table = match stage {
            Stage::Local => Some(self.optional_text("TABLE_NAME")),
            Stage::Dev | Stage::Staging | Stage::Production => self.text("TABLE_NAME", None).map(Some),
        };
        let bucket = match table {
            Some(None) => Some(self.optional_text("BUCKET_NAME")),
            Some(Some(_)) | None => self.text("BUCKET_NAME", None).map(Some),
        };
        // Without a table there is no AWS at all, and so no secret of the layer's own: see `Common::secret`.
        let secret = match (stage, self.env.get("IEUM_SECRET")) {
            (Stage::Local, None) => {
                self.optional_text("IEUM_SECRET");
                Some(None)
            }
            _ => self.secret("IEUM_SECRET", stage).map(Some),
        };
        let store_timeout = self.span("STORE_TIMEOUT_MS", Some(50), 5..=10_000);
        let local_key = self.optional_text("IEUM_LOCAL_API_KEY");
        if local_key.is_some() && stage != Stage::Local {
            self.mistake("`IEUM_LOCAL_API_KEY` is set: allowed only when `STAGE` is `local`");
        }
        let mock = MockSettings {
            latency: self.span("MOCK_LATENCY_MS", Some(0), 0..=60_000)?,
            failure_rate: self.fraction("MOCK_FAILURE_RATE", "0")?,
        };
        let caller_rate = self.caller_rate()?;
        let ca_file = self.optional_text("SSL_CERT_FILE");
        Some(Common {
            stage,
            log_level: level?,
            table: table?,
            bucket: bucket?,
            secret: secret?,
            store_timeout: store_timeout?,
            local_key,
            mock,
            caller_rate,
            ca_file,
            adjustable: self.env.adjustable(),
            secrets: self.env.managed_secrets(),
            first_provider: None,
        })
    }

    /// What each caller may ask for: nothing is limited unless `CALLER_RATE_PER_PERIOD` says so.
    fn caller_rate(&self) -> Option<Option<RatePolicy>> {
        let calls = self.optional_number("CALLER_RATE_PER_PERIOD", 1..=100_000)?;
        let period = self.span("CALLER_RATE_PERIOD_SECONDS", Some(60), 1..=86_400)?;
        Some(calls.and_then(|calls| RatePolicy::new(calls, period, calls, Duration::ZERO)))
    }

    /// The calling policy of the integration whose variables begin with `prefix`.
    pub fn policy(&self, prefix: &str, replay: Replay) -> Option<Policy> {
        let name = |noun: &str| format!("{prefix}_{noun}");
        let base = self.span(&name("BACKOFF_BASE_MS"), Some(200), 0..=60_000);
        let max = self.span(&name("BACKOFF_MAX_MS"), Some(2_000), 0..=300_000);
        let shape =
            self.choice(&name("BACKOFF"), Some("exponential"), &[("exponential", 0), ("linear", 1), ("fixed", 2)]);
        let attempts = self.number(&name("ATTEMPTS"), Some(4), range::ATTEMPTS);
        let timeout = self.span(&name("TIMEOUT_MS"), Some(5_000), range::TIMEOUT_MS);
        let deadline = self.span(&name("DEADLINE_MS"), Some(20_000), range::DEADLINE_MS);
        let (base, max) = (base?, max?);
        Some(Policy {
            attempts: attempts?,
            backoff: match shape? {
                0 => Backoff::Exponential { base, max },
                1 => Backoff::Linear { step: base, max },
                _ => Backoff::Fixed(base),
            },
            retryable_statuses: vec![500, 502, 503, 504],
            timeout: timeout?,
            deadline: deadline?,
            replay,
        })
    }

    /// The breaker of the integration whose variables begin with `prefix`.
    pub fn breaker(&self, prefix: &str) -> Option<BreakerPolicy> {
        let failures = self.number(&format!("{prefix}_BREAKER_FAILURES"), Some(5), range::BREAKER_FAILURES);
        let open_for = self.span(&format!("{prefix}_BREAKER_OPEN_SECONDS"), Some(60), range::BREAKER_OPEN_SECONDS);
        Some(BreakerPolicy { failures: failures?, open_for: open_for?, ..BreakerPolicy::default() })
    }

    /// The cache of the integration whose variables begin with `prefix`.
    pub fn cache(&self, prefix: &str, fresh: u32, stale: u32, unknown: u32) -> Option<CachePolicy> {
        let fresh = self.span(&format!("{prefix}_CACHE_TTL_SECONDS"), Some(fresh), range::CACHE_TTL_SECONDS);
        let stale = self.span(&format!("{prefix}_CACHE_STALE_SECONDS"), Some(stale), range::CACHE_STALE_SECONDS);
        let unknown =
            self.span(&format!("{prefix}_CACHE_UNKNOWN_SECONDS"), Some(unknown), range::CACHE_UNKNOWN_SECONDS);
        Some(CachePolicy { fresh: fresh?, stale: stale?, unknown: unknown? })
    }

    /// The rate limit of the provider whose variables begin with `prefix`: `calls` per second and no daily quota unless
    /// set otherwise.
    pub fn rate(&self, prefix: &str, calls: u32, burst: u32) -> Option<RatePolicy> {
        self.rate_with_quota(prefix, calls, burst, None)
    }

    /// The same, with `daily` calls a day unless set otherwise.
    pub fn rate_with_quota(&self, prefix: &str, calls: u32, burst: u32, daily: Option<u32>) -> Option<RatePolicy> {
        let calls = self.number(&format!("{prefix}_RATE_PER_PERIOD"), Some(calls), range::RATE_PER_PERIOD);
        let period = self.span(&format!("{prefix}_RATE_PERIOD_SECONDS"), Some(1), range::RATE_PERIOD_SECONDS);
        let burst = self.number(&format!("{prefix}_RATE_BURST"), Some(burst), range::RATE_BURST);
        let wait = self.span(&format!("{prefix}_RATE_MAX_WAIT_MS"), Some(2_000), 0..=60_000);
        let quota = format!("{prefix}_DAILY_QUOTA");
        let daily = match daily {
            Some(_) => self.number(&quota, daily, range::DAILY_QUOTA).map(Some),
            None => self.optional_number(&quota, range::DAILY_QUOTA),
        };
        Some(RatePolicy::new(calls?, period?, burst?, wait?)?.daily(daily?))
    }

    /// A limit at which nobody waits in line, of the variables that begin with `prefix`: `calls` in `seconds`, and `burst`
    /// of them at once, unless set otherwise. Beside each number stands the largest that may be set. Where no `burst` is
    /// given, all of them may come at once.
    pub fn instant_rate(
        &self,
        prefix: &str,
        (calls, most): (u32, u32),
        seconds: u32,
        burst: Option<(u32, u32)>,
    ) -> Option<RatePolicy> {
        let calls = self.number(&format!("{prefix}_RATE_PER_PERIOD"), Some(calls), 1..=most);
        let period = self.span(&format!("{prefix}_RATE_PERIOD_SECONDS"), Some(seconds), range::RATE_PERIOD_SECONDS);
        let burst = match burst {
            Some((burst, most)) => self.number(&format!("{prefix}_RATE_BURST"), Some(burst), 1..=most),
            None => calls,
        };
        RatePolicy::new(calls?, period?, burst?, Duration::ZERO)
    }
}

/// What every function needs.
#[derive(Clone, Debug)]
pub struct Common {
    /// Where this deployment stands.
    pub stage: Stage,
    /// How much is logged, to begin with.
    pub log_level: LogLevel,
    /// The shared table; without one (local only) state lives in this process.
    pub table: Option<String>,
    /// The bucket of what is too large for the table; absent only where there is no table.
    pub bucket: Option<String>,
    /// The layer's own secret; without one (local only) keys are made up at start.
    pub secret: Option<SecretName>,
    /// The longest the kernel's own state may hold a request up.
    pub store_timeout: Duration,
    /// The API key of a local run, if it should not be made up.
    pub local_key: Option<String>,
    /// How mock providers behave.
    pub mock: MockSettings,
    /// What each caller may ask of the fleet; `None` for no such limit.
    pub caller_rate: Option<RatePolicy>,
    /// Roots to trust instead of Mozilla's.
    pub ca_file: Option<String>,
    /// The variables that are settings of some integration, as they are.
    pub adjustable: Texts,
    /// What this process is to read in Secrets Manager: ARNs, sorted.
    pub secrets: Vec<String>,
    /// Whom the first request will most likely need; absent where nobody waits for an answer.
    pub first_provider: Option<Url>,
}

impl Common {
    /// The same of a function whose callers wait for `provider`. For calls that may be repeated without harm: a connection
    /// made ahead may have been hung up on, which a message must not meet.
    pub fn expecting(self, provider: Option<&Url>) -> Self {
        Self { first_provider: provider.cloned(), ..self }
    }
}

/// How mock providers behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MockSettings {
    /// How long each answer takes.
    pub latency: Duration,
    /// The share of calls that fail, from 0 to 1.
    pub failure_rate: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> Env {
        Env::from([
            ("STAGE", "dev"),
            ("TABLE_NAME", "ieum-dev"),
            ("BUCKET_NAME", "b"),
            ("IEUM_SECRET", "ieum/dev/ieum"),
        ])
    }

    fn common(env: &Env) -> Result<Common, Vec<String>> {
        let reader = Reader::new(env);
        let common = reader.common();
        reader.finish(common).map_err(|error| error.0)
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_value_and_form() {
        let env = dev()
            .with("LOG_LEVEL", "loud")
            .with("STORE_TIMEOUT_MS", "1")
            .with("MOCK_FAILURE_RATE", "1.5")
            .with("IEUM_LOCAL_API_KEY", "x");
        let env = env.with("TABLE_NAME", " ");
        assert_eq!(
            common(&env).unwrap_err(),
            [
                "`LOG_LEVEL` is `loud`: expected one of `error`, `warn`, `info`, `debug`",
                "`TABLE_NAME` is missing: expected text",
                "`STORE_TIMEOUT_MS` is `1`: expected a whole number from 5 to 10000",
                "`IEUM_LOCAL_API_KEY` is set: allowed only when `STAGE` is `local`",
                "`MOCK_FAILURE_RATE` is `1.5`: expected a number from 0 to 1",
            ]
        );
    }

    #[test]
    fn only_a_local_stage_does_without_table_and_secret() {
        let local = common(&Env::from([("STAGE", "local")])).expect("local needs nothing else");
        assert!(local.table.is_none() && local.secret.is_none());
        assert_eq!(common(&Env::from([("STAGE", "production")])).unwrap_err().len(), 3, "table, bucket and secret");
        assert_eq!(
            common(&Env::default()).unwrap_err(),
            ["`STAGE` is missing: expected one of `local`, `dev`, `staging`, `production`"]
        );
        let file = dev().with("IEUM_SECRET", "file:secret.json");
        assert_eq!(common(&file).unwrap_err().len(), 1, "a secret in a file is for local runs");
    }

    #[test]
    fn only_what_is_the_arn_of_a_secret_is_read_ahead() {
        let arn = |name: &str| format!("arn:aws:secretsmanager:ap-northeast-2:000000000000:secret:{name}-AbCdEf");
        let env = dev()
            .with("IEUM_SECRET", &arn("ieum"))
            .with("NTS_SECRET", &arn("nts"))
            .with("OTHER_SECRET", &arn("nts"))
            .with("NICE_SECRET", "nice")
            .with("TABLE_ARN", "arn:aws:dynamodb:ap-northeast-2:000000000000:table/ieum")
            .with("SOMEBODY_ELSES_CLIENT_SECRET", "hunter2");
        assert_eq!(common(&env).unwrap().secrets, [arn("ieum"), arn("nts")]);
    }

    #[test]
    fn addresses_are_https_and_plain_http_stays_on_this_machine() {
        let read = |value: &str, stage| {
            let env = Env::from([("X_BASE_URL", value)]);
            Reader::new(&env).base_url("X_BASE_URL", None, stage).is_some()
        };
        assert!(read("https://api.example.kr/v1", Stage::Production));
        assert!(read("http://127.0.0.1:4600/nice", Stage::Local));
        for (value, stage) in [
            ("http://127.0.0.1:4600/nice", Stage::Dev),
            ("http://api.example.kr", Stage::Local),
            ("http://127.0.0.1.example.kr", Stage::Local),
            ("https://user:pw@api.example.kr", Stage::Production),
            ("https://api.example.kr?x=1", Stage::Production),
            ("api.example.kr", Stage::Production),
        ] {
            assert!(!read(value, stage), "{value}");
        }
    }

    #[test]
    fn lists_keep_their_order_and_refuse_repetition_and_strangers() {
        let read = |value: &str| {
            let env = Env::from([("P", value)]);
            Reader::new(&env).list("P", None, &[("nice", 1), ("nts", 2)])
        };
        assert_eq!(read("nts, nice"), Some(vec![2, 1]));
        for value in ["nice,nice", "nice,", "other", ","] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn a_policys_numbers_come_from_the_variables_of_its_prefix() {
        let env = Env::from([("V_ATTEMPTS", "2"), ("V_BACKOFF", "linear"), ("V_BREAKER_OPEN_SECONDS", "2")]);
        let reader = Reader::new(&env);
        let policy = reader.policy("V", Replay::Safe).unwrap();
        assert_eq!(policy.attempts, 2);
        assert!(matches!(policy.backoff, Backoff::Linear { .. }));
        assert_eq!(reader.breaker("V").unwrap().open_for, Duration::from_secs(2));
        assert_eq!(reader.cache("V", 10, 20, 5).unwrap().stale, Duration::from_secs(20));
        assert_eq!(reader.rate("N", 10, 3).unwrap().interval(), Duration::from_millis(100));
        assert!(
            reader.asked().iter().any(|asked| asked.name == "N_RATE_BURST" && asked.default.as_deref() == Some("3"))
        );
        let beyond = Env::from([("V_ATTEMPTS", "9")]);
        assert!(Reader::new(&beyond).policy("V", Replay::Safe).is_none());
    }
}
