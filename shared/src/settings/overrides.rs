//! Settings that may differ from what was deployed, and what they make of an integration's numbers.
//!
//! An override is a variable of the function and the value it should have had: `VERIFY_TIMEOUT_MS`, `3000`. So the
//! README's table of variables explains the overrides too, and the bounds are those of [`crate::config`]. This file is
//! pure: it does not know where overrides are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::range;
use crate::policy::Policy;
use crate::resilience::cache::CachePolicy;
use crate::resilience::circuit_breaker::BreakerPolicy;
use crate::resilience::rate_limit::RatePolicy;
use crate::telemetry::LogLevel;

/// The override of the variable that says how much is logged. It acts on one integration's lines.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// What the variables of an integration are called after its own name, and what each may be.
const OF_INTEGRATION: [(&str, Form); 9] = [
    ("ATTEMPTS", Form::Whole(range::ATTEMPTS)),
    ("TIMEOUT_MS", Form::Whole(range::TIMEOUT_MS)),
    ("DEADLINE_MS", Form::Whole(range::DEADLINE_MS)),
    ("BREAKER_FAILURES", Form::Whole(range::BREAKER_FAILURES)),
    ("BREAKER_OPEN_SECONDS", Form::Whole(range::BREAKER_OPEN_SECONDS)),
    ("CACHE_TTL_SECONDS", Form::Whole(range::CACHE_TTL_SECONDS)),
    ("CACHE_STALE_SECONDS", Form::Whole(range::CACHE_STALE_SECONDS)),
    ("CACHE_UNKNOWN_SECONDS", Form::Whole(range::CACHE_UNKNOWN_SECONDS)),
    ("PROVIDERS", Form::Order),
];

/// The same for the variables of a provider.
const OF_PROVIDER: [(&str, Form); 4] = [
    ("RATE_PER_PERIOD", Form::Whole(range::RATE_PER_PERIOD)),
    ("RATE_PERIOD_SECONDS", Form::Whole(range::RATE_PERIOD_SECONDS)),
    ("RATE_BURST", Form::Whole(range::RATE_BURST)),
    ("DAILY_QUOTA", Form::Whole(range::DAILY_QUOTA)),
];

/// Whether `name` can be that of a setting of some integration, part or provider.
pub(crate) fn is_adjustable(name: &str) -> bool {
    let nouns = OF_INTEGRATION.iter().chain(&OF_PROVIDER).map(|(noun, _)| *noun);
    name == LOG_LEVEL || nouns.into_iter().any(|noun| name.strip_suffix(noun).is_some_and(|own| own.ends_with('_')))
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Whole(RangeInclusive<u32>),
    /// Different providers, separated by commas.
    Order,
    Level,
}

/// What can be changed of one integration while it runs.
#[derive(Clone, Debug)]
pub struct Schema {
    integration: String,
    providers: BTreeSet<String>,
    forms: BTreeMap<String, Form>,
}

impl Schema {
    /// What every integration has: its log level, numbers and order of `providers`, and the rate of each of these.
    pub fn new(integration: &str, providers: &[&str]) -> Self {
        let of = |owner: &str, (noun, form): &(&str, Form)| (variable(owner, noun), form.clone());
        let mut forms = BTreeMap::from([(LOG_LEVEL.to_owned(), Form::Level)]);
        forms.extend(OF_INTEGRATION.iter().map(|one| of(integration, one)));
        forms.extend(providers.iter().flat_map(|provider| OF_PROVIDER.iter().map(|one| of(provider, one))));
        let providers = providers.iter().map(|provider| (*provider).to_owned()).collect();
        Self { integration: integration.to_owned(), providers, forms }
    }

    /// Adds the cache of a part that has one of its own, such as `VERIFY_STATUS`.
    pub fn with_cache(mut self, prefix: &str) -> Self {
        let cache = OF_INTEGRATION.iter().filter(|(noun, _)| noun.starts_with("CACHE_"));
        self.forms.extend(cache.map(|(noun, form)| (variable(prefix, noun), form.clone())));
        self
    }

    /// Adds the order of providers of a part that has one of its own, such as `VERIFY_STATUS`.
    pub fn with_order(mut self, prefix: &str) -> Self {
        self.forms.insert(variable(prefix, "PROVIDERS"), Form::Order);
        self
    }

    /// The integration this is about.
    pub fn integration(&self) -> &str {
        &self.integration
    }

    /// Each setting that can be changed, and the form of its value in words.
    pub fn settings(&self) -> impl Iterator<Item = (&str, String)> {
        self.forms.iter().map(|(name, form)| (name.as_str(), self.words(form)))
    }

    fn words(&self, form: &Form) -> String {
        match form {
            Form::Whole(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Form::Order => {
                let providers: Vec<&str> = self.providers.iter().map(String::as_str).collect();
                format!("a comma-separated list of different words out of `{}`", providers.join("`, `"))
            }
            Form::Level => format!("one of `{}`", LogLevel::NAMES.join("`, `")),
        }
    }

    fn parse(&self, name: &str, text: &str) -> Result<Setting, Mistake> {
        let mistake = |form| Mistake { name: name.to_owned(), value: text.to_owned(), form };
        let form = self.forms.get(name).ok_or_else(|| mistake(None))?;
        let setting = match form {
            Form::Whole(range) => text.parse().ok().filter(|number| range.contains(number)).map(Setting::Number),
            Form::Level => LogLevel::parse(text).map(Setting::Level),
            Form::Order => {
                let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
                let different = words.iter().collect::<BTreeSet<_>>().len() == words.len();
                (different && words.iter().all(|word| self.providers.contains(word))).then_some(Setting::Order(words))
            }
        };
        setting.ok_or_else(|| mistake(Some(self.words(form))))
    }
}

/// The variable `noun` of `owner`, which is in lower case where it is a name: `VERIFY_TIMEOUT_MS`.
fn variable(owner: &str, noun: &str) -> String {
    format!("{}_{noun}", owner.to_uppercase().replace('-', "_"))
}

/// What is wrong with one override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is `{value}`: expected {}", form.as_deref().unwrap_or("a setting that can be changed here"))]
pub struct Mistake {
    /// The setting.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What was expected; `None` when there is no such setting.
    pub form: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
    Number(u32),
    Order(Vec<String>),
    Level(LogLevel),
}

/// Overrides by variable, as text: the form in which they are told and kept.
pub type Texts = BTreeMap<String, String>;

/// Overrides that were found to be sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, Setting>);

impl Overrides {
    /// Reads all of `texts`.
    ///
    /// # Errors
    /// Every mistake.
    pub fn parse(schema: &Schema, texts: &Texts) -> Result<Self, Vec<Mistake>> {
        let (overrides, mistakes) = Self::default().followed_by(schema, texts);
        if mistakes.is_empty() { Ok(overrides) } else { Err(mistakes) }
    }

    /// What is in force when these were and `texts` is found now: a setting that cannot be read keeps its old value.
    pub fn followed_by(&self, schema: &Schema, texts: &Texts) -> (Self, Vec<Mistake>) {
        let (mut settings, mut mistakes) = (BTreeMap::new(), Vec::new());
        for (name, text) in texts {
            let setting = schema.parse(name, text).map_err(|mistake| mistakes.push(mistake)).ok();
            if let Some(setting) = setting.or_else(|| self.0.get(name).cloned()) {
                settings.insert(name.clone(), setting);
            }
        }
        (Self(settings), mistakes)
    }

    /// The log level of the integration, where it has one of its own.
    pub fn log_level(&self) -> Option<LogLevel> {
        match self.0.get(LOG_LEVEL) {
            Some(Setting::Level(level)) => Some(*level),
            Some(Setting::Number(_) | Setting::Order(_)) | None => None,
        }
    }

    fn number(&self, owner: &str, noun: &str) -> Option<u32> {
        // Nearly always there is no override at all, and this is asked in every call.
        if self.0.is_empty() {
            return None;
        }
        match self.0.get(&variable(owner, noun)) {
            Some(Setting::Number(number)) => Some(*number),
            Some(Setting::Order(_) | Setting::Level(_)) | None => None,
        }
    }

    fn millis(&self, owner: &str, noun: &str) -> Option<Duration> {
        self.number(owner, noun).map(|number| Duration::from_millis(number.into()))
    }

    fn seconds(&self, owner: &str, noun: &str) -> Option<Duration> {
        self.number(owner, noun).map(|number| Duration::from_secs(number.into()))
    }
}

/// Numbers that overrides may change. `owner` is whose variables they come from: an integration, a part of one, or a
/// provider.
pub trait Adjustable: Clone + Send + Sync {
    /// These numbers with `overrides` in the place of what was deployed.
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self;

    /// Each of these numbers by its variable, in the form of an override.
    fn texts(&self, owner: &str) -> Texts;
}

/// Values of `owner` by variable.
fn texts_of<const N: usize>(owner: &str, values: [(&str, String); N]) -> Texts {
    values.into_iter().map(|(noun, value)| (variable(owner, noun), value)).collect()
}

impl Adjustable for Policy {
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self {
        Self {
            attempts: overrides.number(owner, "ATTEMPTS").unwrap_or(self.attempts),
            timeout: overrides.millis(owner, "TIMEOUT_MS").unwrap_or(self.timeout),
            deadline: overrides.millis(owner, "DEADLINE_MS").unwrap_or(self.deadline),
            ..self.clone()
        }
    }

    fn texts(&self, owner: &str) -> Texts {
        let millis = |span: Duration| span.as_millis().to_string();
        let (timeout, deadline) = (millis(self.timeout), millis(self.deadline));
        texts_of(owner, [("ATTEMPTS", self.attempts.to_string()), ("TIMEOUT_MS", timeout), ("DEADLINE_MS", deadline)])
    }
}

impl Adjustable for BreakerPolicy {
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self {
        Self {
            failures: overrides.number(owner, "BREAKER_FAILURES").unwrap_or(self.failures),
            open_for: overrides.seconds(owner, "BREAKER_OPEN_SECONDS").unwrap_or(self.open_for),
            ..*self
        }
    }

    fn texts(&self, owner: &str) -> Texts {
        let (failures, open_for) = (self.failures.to_string(), self.open_for.as_secs().to_string());
        texts_of(owner, [("BREAKER_FAILURES", failures), ("BREAKER_OPEN_SECONDS", open_for)])
    }
}

impl Adjustable for CachePolicy {
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self {
        Self {
            fresh: overrides.seconds(owner, "CACHE_TTL_SECONDS").unwrap_or(self.fresh),
            stale: overrides.seconds(owner, "CACHE_STALE_SECONDS").unwrap_or(self.stale),
            unknown: overrides.seconds(owner, "CACHE_UNKNOWN_SECONDS").unwrap_or(self.unknown),
        }
    }

    fn texts(&self, owner: &str) -> Texts {
        let spans = [
            ("CACHE_TTL_SECONDS", self.fresh),
            ("CACHE_STALE_SECONDS", self.stale),
            ("CACHE_UNKNOWN_SECONDS", self.unknown),
        ];
        texts_of(owner, spans.map(|(noun, span)| (noun, span.as_secs().to_string())))
    }
}

impl Adjustable for RatePolicy {
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self {
        Self {
            calls: overrides.number(owner, "RATE_PER_PERIOD").unwrap_or(self.calls),
            period: overrides.seconds(owner, "RATE_PERIOD_SECONDS").unwrap_or(self.period),
            burst: overrides.number(owner, "RATE_BURST").unwrap_or(self.burst),
            daily_quota: overrides.number(owner, "DAILY_QUOTA").or(self.daily_quota),
            ..*self
        }
    }

    fn texts(&self, owner: &str) -> Texts {
        let mut texts = texts_of(
            owner,
            [
                ("RATE_PER_PERIOD", self.calls.to_string()),
                ("RATE_PERIOD_SECONDS", self.period.as_secs().to_string()),
                ("RATE_BURST", self.burst.to_string()),
            ],
        );
        texts.extend(self.daily_quota.map(|quota| (variable(owner, "DAILY_QUOTA"), quota.to_string())));
        texts
    }
}

impl<T: Adjustable> Adjustable for Option<T> {
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self {
        self.as_ref().map(|deployed| deployed.adjusted(owner, overrides))
    }

    fn texts(&self, owner: &str) -> Texts {
        self.as_ref().map(|deployed| deployed.texts(owner)).unwrap_or_default()
    }
}

/// Which of the deployed providers are asked, and in which order: by their places in the deployed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    names: Vec<&'static str>,
    places: Vec<usize>,
}

impl Order {
    /// The deployed order of providers with these names.
    pub fn of(names: impl IntoIterator<Item = &'static str>) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        let places = (0..names.len()).collect();
        Self { names, places }
    }

    /// The places in the deployed list, first choice first.
    pub fn places(&self) -> &[usize] {
        &self.places
    }
}

impl Adjustable for Order {
    /// An order that names nobody who can do this leaves the deployed one in force: an integration always has a provider.
    fn adjusted(&self, owner: &str, overrides: &Overrides) -> Self {
        let Some(Setting::Order(wanted)) = overrides.0.get(&variable(owner, "PROVIDERS")) else { return self.clone() };
        let place = |wanted: &String| self.names.iter().position(|name| name == wanted);
        let places: Vec<usize> = wanted.iter().filter_map(place).collect();
        if places.is_empty() { self.clone() } else { Self { places, ..self.clone() } }
    }

    fn texts(&self, owner: &str) -> Texts {
        texts_of(owner, [("PROVIDERS", self.names.join(","))])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Replay;
    use crate::resilience::backoff::Backoff;

    fn schema() -> Schema {
        Schema::new("verify", &["nice", "nts"]).with_cache("VERIFY_STATUS").with_order("VERIFY_STATUS")
    }

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn parsed(pairs: &[(&str, &str)]) -> Overrides {
        Overrides::parse(&schema(), &texts(pairs)).unwrap()
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_value_and_form() {
        let bad = texts(&[
            ("LOG_LEVEL", "loud"),
            ("NICE_RATE_PER_PERIOD", "0"),
            ("TABLE_NAME", "other"),
            ("VERIFY_PROVIDERS", "nts,nts"),
            ("VERIFY_STATUS_PROVIDERS", "nts,mock"),
            ("VERIFY_TIMEOUT_MS", "1e3"),
            ("VERIFY_ATTEMPTS", "4"),
        ]);
        let mistakes: Vec<String> =
            Overrides::parse(&schema(), &bad).unwrap_err().iter().map(ToString::to_string).collect();
        let order = "expected a comma-separated list of different words out of `nice`, `nts`";
        assert_eq!(
            mistakes,
            [
                "`LOG_LEVEL` is `loud`: expected one of `error`, `warn`, `info`, `debug`".to_owned(),
                "`NICE_RATE_PER_PERIOD` is `0`: expected a whole number from 1 to 100000".to_owned(),
                "`TABLE_NAME` is `other`: expected a setting that can be changed here".to_owned(),
                format!("`VERIFY_PROVIDERS` is `nts,nts`: {order}"),
                format!("`VERIFY_STATUS_PROVIDERS` is `nts,mock`: {order}"),
                "`VERIFY_TIMEOUT_MS` is `1e3`: expected a whole number from 50 to 60000".to_owned(),
            ]
        );
    }

    #[test]
    fn each_number_is_its_owners() {
        let overrides = parsed(&[
            ("VERIFY_ATTEMPTS", "2"),
            ("VERIFY_TIMEOUT_MS", "70"),
            ("VERIFY_DEADLINE_MS", "700"),
            ("VERIFY_BREAKER_FAILURES", "9"),
            ("VERIFY_BREAKER_OPEN_SECONDS", "8"),
            ("VERIFY_CACHE_TTL_SECONDS", "7"),
            ("VERIFY_STATUS_CACHE_STALE_SECONDS", "6"),
            ("NICE_RATE_BURST", "3"),
            ("NICE_RATE_PER_PERIOD", "5"),
            ("NICE_RATE_PERIOD_SECONDS", "2"),
            ("NICE_DAILY_QUOTA", "100"),
        ]);
        let second = Duration::from_secs(1);
        let policy = Policy {
            attempts: 4,
            backoff: Backoff::Fixed(second),
            retryable_statuses: vec![503],
            timeout: second,
            deadline: second,
            replay: Replay::Never,
        };
        let adjusted = policy.adjusted("verify", &overrides);
        let (timeout, deadline) = (Duration::from_millis(70), Duration::from_millis(700));
        assert_eq!(adjusted, Policy { attempts: 2, timeout, deadline, ..policy });
        let breaker = BreakerPolicy::default().adjusted("verify", &overrides);
        assert_eq!(breaker, BreakerPolicy { failures: 9, open_for: second * 8, ..BreakerPolicy::default() });
        let cache = CachePolicy { fresh: second, stale: second, unknown: second };
        assert_eq!(cache.adjusted("verify", &overrides), CachePolicy { fresh: second * 7, ..cache });
        assert_eq!(cache.adjusted("VERIFY_STATUS", &overrides), CachePolicy { stale: second * 6, ..cache });
        let rate = RatePolicy::new(1, second, 1, second);
        let nice = RatePolicy::new(5, second * 2, 3, second).map(|rate| rate.daily(Some(100)));
        assert_eq!((rate.adjusted("nice", &overrides), rate.adjusted("nts", &overrides)), (nice, rate));
        assert_eq!(None::<RatePolicy>.adjusted("nice", &overrides), None);
    }

    #[test]
    fn an_order_chooses_among_the_deployed_and_leaves_somebody() {
        let deployed = Order::of(["nice", "nts"]);
        let places = |text| deployed.adjusted("verify", &parsed(&[("VERIFY_PROVIDERS", text)])).places().to_vec();
        assert_eq!((places("nts, nice"), places("nts")), (vec![1, 0], vec![1]));
        let only_nice = Order::of(["nice"]).adjusted("verify", &parsed(&[("VERIFY_PROVIDERS", "nts")]));
        assert_eq!(only_nice.places(), [0]);
        assert_eq!(deployed.adjusted("VERIFY_STATUS", &parsed(&[("VERIFY_PROVIDERS", "nts")])), deployed);
    }

    #[test]
    fn a_setting_that_cannot_be_read_keeps_its_old_value_and_a_missing_one_goes() {
        let old = parsed(&[("VERIFY_ATTEMPTS", "2"), ("VERIFY_TIMEOUT_MS", "70"), ("LOG_LEVEL", "debug")]);
        let found = texts(&[("VERIFY_ATTEMPTS", "many"), ("VERIFY_DEADLINE_MS", "0"), ("LOG_LEVEL", "warn")]);
        let (new, mistakes) = old.followed_by(&schema(), &found);
        assert_eq!(new, parsed(&[("VERIFY_ATTEMPTS", "2"), ("LOG_LEVEL", "warn")]));
        assert_eq!(mistakes.len(), 2);
        assert_eq!((old.log_level(), new.log_level()), (Some(LogLevel::Debug), Some(LogLevel::Warn)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_makes_a_rate_that_can_be_reckoned_with(
            calls in 0..200_000_u32, period in 0..90_000_u32, burst in 0..20_000_u32,
        ) {
            let (calls, period, burst) = (calls.to_string(), period.to_string(), burst.to_string());
            let texts = texts(&[
                ("NICE_RATE_PER_PERIOD", &calls),
                ("NICE_RATE_PERIOD_SECONDS", &period),
                ("NICE_RATE_BURST", &burst),
            ]);
            if let Ok(overrides) = Overrides::parse(&schema(), &texts) {
                let deployed = RatePolicy::new(1, Duration::from_secs(1), 1, Duration::ZERO).expect("a rate");
                let rate = deployed.adjusted("nice", &overrides);
                prop_assert!(RatePolicy::new(rate.calls, rate.period, rate.burst, rate.max_wait) == Some(rate));
            }
        }
    }
}
