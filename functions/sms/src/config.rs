//! The variables of `sms`. The README has the same table; a test compares the two.

use std::time::Duration;

use ieum::config::{Common, Reader, Stage};
use ieum::mock::refuse_in_production;
use ieum::policy::{Policy, Replay};
use ieum::provider::Cause;
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::secrets::SecretName;
use ieum::settings::Schema;
use url::Url;

use crate::events::SolapiCodes;
use crate::length::KoreanCharset;
use crate::phone::is_sender;
use crate::price::{NotWon, Won};
use crate::request::House;
use crate::text::Terms;

/// Who can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderName {
    /// Amazon SNS.
    Sns,
    /// Twilio.
    Twilio,
    /// Solapi, a Korean gateway.
    Solapi,
    /// Nobody.
    Mock,
}

impl ProviderName {
    /// The word in configuration, logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sns => "sns",
            Self::Twilio => "twilio",
            Self::Solapi => "solapi",
            Self::Mock => "mock",
        }
    }
}

/// Amazon SNS.
#[derive(Clone, Debug)]
pub struct SnsConfig {
    /// The host, unless it is the region's own.
    pub base_url: Option<Url>,
    /// The region.
    pub region: String,
    /// Keys, for local runs; a deployed function has a role.
    pub secret: Option<SecretName>,
    /// Who a text says it is from, in countries that allow names.
    pub sender_id: Option<String>,
    /// The number it comes from.
    pub origination_number: Option<String>,
    /// What SNS itself may charge for one, in US dollars.
    pub max_price_usd: Option<String>,
    /// What it takes and asks.
    pub terms: Terms,
    /// How often we may send, and how much a day.
    pub rate: RatePolicy,
}

impl SnsConfig {
    /// Where the service is.
    ///
    /// # Errors
    /// When the region is no part of a host name.
    pub fn url(&self) -> Result<Url, Cause> {
        match &self.base_url {
            Some(url) => Ok(url.clone()),
            None => Ok(Url::parse(&format!("https://sns.{}.amazonaws.com", self.region))?),
        }
    }
}

/// Who a text of Twilio's comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwilioSender {
    /// A number of ours.
    Number(String),
    /// A messaging service, which chooses one.
    Service(String),
}

/// Twilio.
#[derive(Clone, Debug)]
pub struct TwilioConfig {
    /// The host.
    pub base_url: Url,
    /// Where the account and its tokens are kept.
    pub secret: SecretName,
    /// Who texts come from.
    pub sender: TwilioSender,
    /// Where Twilio reaches this function: what it calls is signed, so it is never taken from the call itself.
    pub public_url: Url,
    /// What it takes and asks.
    pub terms: Terms,
    /// How often we may send, and how much a day.
    pub rate: RatePolicy,
}

/// Solapi.
#[derive(Clone, Debug)]
pub struct SolapiConfig {
    /// The host.
    pub base_url: Url,
    /// Where the key and the webhook's secrets are kept.
    pub secret: SecretName,
    /// The registered sender number, digits only.
    pub from: String,
    /// What it takes and asks.
    pub terms: Terms,
    /// The header with the signature of its webhook.
    pub signature_header: &'static str,
    /// What its codes mean.
    pub codes: SolapiCodes,
    /// How often we may send, and how much a day.
    pub rate: RatePolicy,
}

/// Everything `sms` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// The queue of wake-ups; absent in a local run without AWS.
    pub queue: Option<String>,
    /// Providers, in order.
    pub providers: Vec<ProviderName>,
    /// How providers are called.
    pub policy: Policy,
    /// When to stop calling one.
    pub breaker: BreakerPolicy,
    /// What is accepted.
    pub house: House,
    /// How often one number may be written to.
    pub recipient_rate: RatePolicy,
    /// How long a text may wait.
    pub validity: Duration,
    /// Present when `sns` is listed.
    pub sns: Option<SnsConfig>,
    /// Present when `twilio` is listed.
    pub twilio: Option<TwilioConfig>,
    /// Present when `solapi` is listed.
    pub solapi: Option<SolapiConfig>,
}

impl Config {
    /// Reads the whole configuration.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        use ProviderName::{Mock, Sns, Solapi, Twilio};
        let common = reader.common();
        let stage = common.as_ref().map_or(Stage::Production, |common| common.stage);
        let queue = reader.resource("SMS_QUEUE_URL", common.as_ref());
        let choices = [("sns", Sns), ("twilio", Twilio), ("solapi", Solapi), ("mock", Mock)];
        let providers = reader.list("SMS_PROVIDERS", None, &choices);
        let uses = |name| providers.as_ref().is_some_and(|providers| providers.contains(&name));
        refuse_in_production(reader, stage, "SMS_PROVIDERS", uses(Mock));

        let policy = reader.policy("SMS", Replay::Never);
        let breaker = reader.breaker("SMS");
        let house = house(reader);
        // Against whoever has our texts sent to numbers that he earns by, and against loops.
        let recipient_rate = reader.instant_rate("SMS_RECIPIENT", (10, 10_000), 3_600, None);
        let validity = reader.span("SMS_VALIDITY_SECONDS", Some(86_400), 60..=604_800);
        let sns = if uses(Sns) { sns(reader, stage).map(Some) } else { Some(None) };
        let twilio = if uses(Twilio) { twilio(reader, stage).map(Some) } else { Some(None) };
        let solapi = if uses(Solapi) { solapi(reader, stage).map(Some) } else { Some(None) };
        Some(Self {
            common: common?,
            queue: queue?,
            providers: providers?,
            policy: policy?,
            breaker: breaker?,
            house: house?,
            recipient_rate: recipient_rate?,
            validity: validity?,
            sns: sns?,
            twilio: twilio?,
            solapi: solapi?,
        })
    }

    /// What can be changed while the function runs.
    pub fn schema(&self) -> Schema {
        let providers: Vec<&str> = self.providers.iter().map(|provider| provider.as_str()).collect();
        Schema::new("sms", &providers)
    }

    /// Whether any text may go nowhere.
    pub fn mocked(&self) -> bool {
        self.providers.contains(&ProviderName::Mock)
    }

    /// Each provider's terms, in the order of providers.
    pub fn terms(&self) -> Vec<(ProviderName, Terms)> {
        let terms = |name| match name {
            ProviderName::Sns => self.sns.as_ref().map(|sns| sns.terms),
            ProviderName::Twilio => self.twilio.as_ref().map(|twilio| twilio.terms),
            ProviderName::Solapi => self.solapi.as_ref().map(|solapi| solapi.terms),
            ProviderName::Mock => Some(MOCK_TERMS),
        };
        self.providers.iter().filter_map(|name| Some((*name, terms(*name)?))).collect()
    }
}

/// What the mock takes and asks.
pub const MOCK_TERMS: Terms = Terms::Segments { characters: 2_000, price: Some(Won::whole(20)) };

fn house(reader: &Reader<'_>) -> Option<House> {
    let countries = reader.words("SMS_COUNTRIES", Some("KR"));
    let is_code = |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if let Some(wrong) = countries.iter().flatten().find(|code| !is_code(code)) {
        reader.mistake(format!("`SMS_COUNTRIES` names `{wrong}`: expected two capital letters such as `KR`"));
    }
    let sets = [("cp949", KoreanCharset::Cp949), ("ksx1001", KoreanCharset::KsX1001)];
    let charset = reader.choice("SMS_KOREAN_CHARSET", Some("cp949"), &sets);
    let ad_mark = reader.choice("SMS_AD_MARK", Some("on"), &[("on", true), ("off", false)]);
    Some(House { countries: countries?, charset: charset?, ad_mark: ad_mark? })
}

/// A price in won that may be absent.
fn price(reader: &Reader<'_>, variable: &str) -> Option<Option<Won>> {
    let Some(text) = reader.optional_text(variable) else { return Some(None) };
    let parsed = text.parse();
    if let Err(NotWon) = parsed {
        reader.mistake(format!("`{variable}` is `{text}`: {NotWon}"));
    }
    parsed.ok().map(Some)
}

fn segments(reader: &Reader<'_>, prefix: &str) -> Option<Terms> {
    // What both services take at most; a smaller number keeps bills small.
    let characters = reader.number(&format!("{prefix}_MAX_CHARACTERS"), Some(1_600), 1..=1_600);
    let price = price(reader, &format!("{prefix}_PRICE_KRW"));
    Some(Terms::Segments { characters: usize::try_from(characters?).ok()?, price: price? })
}

/// The number that texts come from.
fn sender(reader: &Reader<'_>, variable: &str, text: Option<String>) -> Option<String> {
    let text = text?;
    if is_sender(&text) {
        return Some(text);
    }
    reader.mistake(format!("`{variable}` is `{text}`: expected digits, with `+` and the country abroad"));
    None
}

fn sns(reader: &Reader<'_>, stage: Stage) -> Option<SnsConfig> {
    let base_url = reader.optional_base_url("SNS_BASE_URL", stage);
    let region = reader.text("SNS_REGION", Some("ap-northeast-2"));
    let secret = reader.local_secret("SNS_SECRET", stage);
    let sender_id = reader.optional_text("SNS_SENDER_ID");
    let is_sender_id = |id: &str| {
        (1..=11).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && id.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    if let Some(id) = sender_id.as_ref().filter(|id| !is_sender_id(id)) {
        reader.mistake(format!("`SNS_SENDER_ID` is `{id}`: expected 1 to 11 letters and digits, one letter at least"));
    }
    let origination_number = match reader.optional_text("SNS_ORIGINATION_NUMBER") {
        Some(text) => sender(reader, "SNS_ORIGINATION_NUMBER", Some(text)).map(Some),
        None => Some(None),
    };
    let max_price_usd = reader.optional_text("SNS_MAX_PRICE_USD");
    if let Some(price) = max_price_usd.as_ref().filter(|price| price.parse::<Won>().is_err()) {
        reader.mistake(format!("`SNS_MAX_PRICE_USD` is `{price}`: expected an amount such as `0.05`"));
    }
    let terms = segments(reader, "SNS");
    let rate = reader.rate("SNS", 10, 10);
    Some(SnsConfig {
        base_url: base_url?,
        region: region?,
        secret: secret?,
        sender_id,
        origination_number: origination_number?,
        max_price_usd,
        terms: terms?,
        rate: rate?,
    })
}

fn twilio(reader: &Reader<'_>, stage: Stage) -> Option<TwilioConfig> {
    let base_url = reader.base_url("TWILIO_BASE_URL", Some("https://api.twilio.com"), stage);
    let secret = reader.secret("TWILIO_SECRET", stage);
    let senders = (reader.optional_text("TWILIO_FROM"), reader.optional_text("TWILIO_MESSAGING_SERVICE"));
    let from = match senders {
        (Some(from), None) => sender(reader, "TWILIO_FROM", Some(from)).map(TwilioSender::Number),
        (None, Some(service)) => Some(TwilioSender::Service(service)),
        (Some(_), Some(_)) | (None, None) => {
            reader.mistake("`TWILIO_FROM` or `TWILIO_MESSAGING_SERVICE` is missing: expected exactly one of them");
            None
        }
    };
    let public_url = reader.base_url("SMS_PUBLIC_URL", None, stage);
    let terms = segments(reader, "TWILIO");
    let rate = reader.rate("TWILIO", 10, 10);
    Some(TwilioConfig {
        base_url: base_url?,
        secret: secret?,
        sender: from?,
        public_url: public_url?,
        terms: terms?,
        rate: rate?,
    })
}

fn solapi(reader: &Reader<'_>, stage: Stage) -> Option<SolapiConfig> {
    let base_url = reader.base_url("SOLAPI_BASE_URL", Some("https://api.solapi.com"), stage);
    let secret = reader.secret("SOLAPI_SECRET", stage);
    let from = sender(reader, "SOLAPI_FROM", reader.text("SOLAPI_FROM", None));
    let (sms, lms) = (price(reader, "SOLAPI_SMS_PRICE_KRW"), price(reader, "SOLAPI_LMS_PRICE_KRW"));
    // Solapi does not document how it signs, so the header is a setting (README).
    let headers = ["x-solapi-signature", "x-signature"].map(|header| (header, header));
    let signature_header = reader.choice("SOLAPI_SIGNATURE_HEADER", Some("x-solapi-signature"), &headers);
    let delivered = reader.words("SOLAPI_DELIVERED_CODES", Some("4000"));
    let dead = match reader.optional_text("SOLAPI_DEAD_NUMBER_CODES") {
        Some(_) => reader.words("SOLAPI_DEAD_NUMBER_CODES", None),
        None => Some(Vec::new()),
    };
    let rate = reader.rate("SOLAPI", 10, 10);
    Some(SolapiConfig {
        base_url: base_url?,
        secret: secret?,
        from: from?,
        terms: Terms::KoreanBytes { sms: sms?, lms: lms? },
        signature_header: signature_header?,
        codes: SolapiCodes { delivered: delivered?, dead: dead? },
        rate: rate?,
    })
}

#[cfg(test)]
mod tests {
    use ieum::config::Env;

    use super::*;

    fn local(providers: &str) -> Env {
        Env::from([("STAGE", "local"), ("SMS_PROVIDERS", providers)])
    }

    fn mistakes(env: &Env) -> Vec<String> {
        env.read(Config::read).expect_err("a mistake").0
    }

    #[test]
    fn mock_needs_nothing_else_and_is_refused_in_production() {
        assert!(local("mock").read(Config::read).expect("local mock").mocked());
        let production = local("mock").with("STAGE", "production").with("TABLE_NAME", "t").with("BUCKET_NAME", "b");
        let mistakes = mistakes(&production.with("IEUM_SECRET", "s").with("SMS_QUEUE_URL", "q"));
        assert!(mistakes.len() == 1 && mistakes[0].contains("`SMS_PROVIDERS` names `mock`"), "{mistakes:?}");
    }

    #[test]
    fn what_nobody_can_guess_must_be_said() {
        let found = mistakes(&local("twilio,solapi,sns"));
        for name in ["TWILIO_SECRET", "SMS_PUBLIC_URL", "SOLAPI_SECRET", "SOLAPI_FROM", "`TWILIO_FROM` or"] {
            assert!(found.iter().any(|mistake| mistake.contains(name)), "{name}: {found:?}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
    }

    #[test]
    fn prices_senders_and_countries_are_judged_at_the_start() {
        let env = local("sns").with("SNS_PRICE_KRW", "a lot").with("SNS_SENDER_ID", "12345");
        let env = env.with("SNS_ORIGINATION_NUMBER", "call me").with("SNS_MAX_PRICE_USD", "-1");
        let found = mistakes(&env.with("SMS_COUNTRIES", "KR,Japan"));
        for name in ["SNS_PRICE_KRW", "SNS_SENDER_ID", "SNS_ORIGINATION_NUMBER", "SNS_MAX_PRICE_USD", "SMS_COUNTRIES"] {
            assert!(found.iter().any(|mistake| mistake.starts_with(&format!("`{name}`"))), "{name}: {found:?}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
        let priced = local("sns").with("SNS_PRICE_KRW", "41.5").with("SNS_DAILY_QUOTA", "200");
        let sns = priced.read(Config::read).expect("valid").sns.expect("sns");
        assert_eq!(sns.terms, Terms::Segments { characters: 1_600, price: "41.5".parse().ok() });
        assert_eq!((sns.rate.calls, sns.rate.daily_quota), (10, Some(200)));
        assert_eq!(sns.url().expect("a url").as_str(), "https://sns.ap-northeast-2.amazonaws.com/");
    }
}
