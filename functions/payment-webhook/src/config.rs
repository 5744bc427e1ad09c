//! The variables of `payment-webhook`. The README has the same table; a test compares the two.

use std::net::IpAddr;
use std::time::Duration;

use ieum::config::{Common, Reader, Stage};
use ieum::mock::refuse_in_production;
use ieum::policy::{Policy, Replay};
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::secrets::SecretName;
use ieum::settings::Schema;
use ieum::webhook::KeyEncoding;
use url::Url;

/// Whose payments there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderName {
    /// Toss Payments.
    Toss,
    /// PortOne V2.
    PortOne,
    /// PortOne V1, once I'mport.
    Iamport,
    /// Stripe.
    Stripe,
    /// KakaoPay, which sends no webhooks.
    KakaoPay,
    /// Made-up payments.
    Mock,
}

impl ProviderName {
    /// Every provider.
    pub const ALL: [Self; 6] = [Self::Toss, Self::PortOne, Self::Iamport, Self::Stripe, Self::KakaoPay, Self::Mock];

    /// The name in variables, paths, items and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Toss => "toss",
            Self::PortOne => "portone",
            Self::Iamport => "iamport",
            Self::Stripe => "stripe",
            Self::KakaoPay => "kakaopay",
            Self::Mock => "mock",
        }
    }

    /// The provider of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name)
    }
}

/// How a provider is asked.
#[derive(Clone, Debug)]
pub struct Account {
    /// The host.
    pub base_url: Url,
    /// Where the credentials are kept.
    pub secret: SecretName,
    /// How often we may ask.
    pub rate: RatePolicy,
    /// Where its webhooks come from; from anywhere when empty.
    pub source_ips: Vec<IpAddr>,
}

/// Everything `payment-webhook` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// Where wake-ups are sent; absent only in a local run without AWS.
    pub queue: Option<String>,
    /// Where events are published; absent only in a local run without AWS.
    pub bus: Option<String>,
    /// Whose payments are taken.
    pub providers: Vec<ProviderName>,
    /// How providers are asked.
    pub policy: Policy,
    /// When to stop asking one.
    pub breaker: BreakerPolicy,
    /// How many notifications that nobody signed are taken of one provider.
    pub hints: RatePolicy,
    /// How long one invocation of the worker may take.
    pub worker_limit: Duration,
    /// Webhooks worked on at a time by one environment.
    pub at_once: usize,
    /// The accounts of the listed providers.
    pub accounts: Vec<(ProviderName, Account)>,
    /// How Toss' security keys become keys.
    pub toss_key: KeyEncoding,
    /// The member of Stripe's `metadata` that holds our order.
    pub stripe_order_key: String,
}

impl Config {
    /// Reads the whole configuration.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let common = reader.common();
        let stage = common.as_ref().map_or(Stage::Production, |common| common.stage);
        let resource = |name| reader.resource(name, common.as_ref());
        let (queue, bus) = (resource("PAYMENT_QUEUE_URL"), resource("PAYMENT_EVENT_BUS"));
        let providers =
            reader.list("PAYMENT_PROVIDERS", None, &ProviderName::ALL.map(|provider| (provider.as_str(), provider)));
        let uses = |name| providers.as_ref().is_some_and(|providers| providers.contains(&name));
        refuse_in_production(reader, stage, "PAYMENT_PROVIDERS", uses(ProviderName::Mock));

        let policy = reader.policy("PAYMENT", Replay::Safe);
        let breaker = reader.breaker("PAYMENT");
        let hints = reader.instant_rate("PAYMENT_HINT", (20, 100_000), 1, Some((100, 100_000)));
        let worker_limit = reader.span("PAYMENT_WORKER_LIMIT_SECONDS", Some(60), 10..=900);
        let at_once = reader.number("PAYMENT_WORKER_AT_ONCE", Some(10), 1..=100);
        let account = |name: ProviderName, prefix: &str, host: &str, rate: u32| {
            // KakaoPay sends no webhooks.
            let sends = name != ProviderName::KakaoPay;
            let account = || {
                let source_ips = if sends { source_ips(reader, prefix) } else { Some(Vec::new()) };
                let base_url = reader.base_url(&format!("{prefix}_BASE_URL"), Some(host), stage);
                let secret = reader.secret(&format!("{prefix}_SECRET"), stage);
                let rate = reader.rate(prefix, rate, rate);
                let account = Account { base_url: base_url?, secret: secret?, rate: rate?, source_ips: source_ips? };
                Some((name, account))
            };
            uses(name).then(account)
        };
        let accounts = [
            account(ProviderName::Toss, "TOSS", "https://api.tosspayments.com", 10),
            account(ProviderName::PortOne, "PORTONE", "https://api.portone.io", 10),
            account(ProviderName::Iamport, "IAMPORT", "https://api.iamport.kr", 10),
            account(ProviderName::Stripe, "STRIPE", "https://api.stripe.com", 25),
            account(ProviderName::KakaoPay, "KAKAOPAY", "https://open-api.kakaopay.com", 10),
        ];
        let encodings = [("text", KeyEncoding::Text), ("hex", KeyEncoding::Hex), ("either", KeyEncoding::Either)];
        let toss_key = reader.choice("TOSS_KEY_ENCODING", Some("either"), &encodings);
        let stripe_order_key = reader.text("STRIPE_ORDER_KEY", Some("order_id"));
        Some(Self {
            common: common?,
            queue: queue?,
            bus: bus?,
            providers: providers?,
            policy: policy?,
            breaker: breaker?,
            hints: hints?,
            worker_limit: worker_limit?,
            at_once: usize::try_from(at_once?).ok()?,
            accounts: accounts.into_iter().flatten().collect::<Option<_>>()?,
            toss_key: toss_key?,
            stripe_order_key: stripe_order_key?,
        })
    }

    /// What can be changed while the function runs.
    pub fn schema(&self) -> Schema {
        let providers: Vec<&str> = self.providers.iter().map(|provider| provider.as_str()).collect();
        Schema::new("payment", &providers)
    }

    /// Whether any payment may be made up.
    pub fn mocked(&self) -> bool {
        self.providers.contains(&ProviderName::Mock)
    }
}

fn source_ips(reader: &Reader<'_>, prefix: &str) -> Option<Vec<IpAddr>> {
    let variable = format!("{prefix}_SOURCE_IPS");
    let listed = reader.optional_text(&variable).unwrap_or_default();
    let addresses: Option<_> =
        listed.split(',').map(str::trim).filter(|text| !text.is_empty()).map(|text| text.parse().ok()).collect();
    if addresses.is_none() {
        reader.mistake(format!("`{variable}` is `{listed}`: expected addresses separated by commas"));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use ieum::config::Env;

    use super::*;

    fn local(providers: &str) -> Env {
        Env::from([("STAGE", "local"), ("PAYMENT_PROVIDERS", providers)])
    }

    fn mistakes(env: &Env) -> Vec<String> {
        env.read(Config::read).expect_err("a mistake").0
    }

    #[test]
    fn mock_needs_nothing_else_and_is_refused_in_production() {
        assert!(local("mock").read(Config::read).expect("local mock").mocked());
        let production = local("mock").with("STAGE", "production").with("TABLE_NAME", "t").with("IEUM_SECRET", "s");
        let production =
            production.with("PAYMENT_QUEUE_URL", "q").with("PAYMENT_EVENT_BUS", "b").with("BUCKET_NAME", "b");
        let mistakes = mistakes(&production);
        assert!(
            mistakes.len() == 1 && mistakes[0].contains("`PAYMENT_PROVIDERS` names `mock`: refused"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn every_provider_that_is_listed_needs_its_secret() {
        let missing = mistakes(&local("toss,portone,iamport,stripe,kakaopay"));
        assert_eq!(missing.len(), 5, "{missing:?}");
        assert!(missing.iter().all(|mistake| mistake.contains("_SECRET` is missing")), "{missing:?}");
    }

    #[test]
    fn a_deployed_function_has_a_queue_and_a_bus_and_addresses_are_addresses() {
        let env = local("toss")
            .with("TABLE_NAME", "t")
            .with("BUCKET_NAME", "b")
            .with("TOSS_SECRET", "s")
            .with("TOSS_SOURCE_IPS", "10.0.0.1,x");
        let mistakes = mistakes(&env);
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        let env = local("toss").with("TOSS_SECRET", "s").with("TOSS_SOURCE_IPS", "13.124.18.147, 3.36.173.151");
        assert_eq!(env.read(Config::read).expect("addresses").accounts[0].1.source_ips.len(), 2);
    }
}
