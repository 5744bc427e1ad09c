//! The variables of `email`. The README has the same table; a test compares the two.

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

use crate::address::{Address, Mailbox};
use crate::mail::MAX_RECIPIENTS;
use crate::providers::smtp::{Security, Server};

/// Who can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderName {
    /// Amazon SES.
    Ses,
    /// SendGrid.
    SendGrid,
    /// A mail server.
    Smtp,
    /// Nobody.
    Mock,
}

impl ProviderName {
    /// The name by which its gate, its variables and its lines in the log go.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ses => "ses",
            Self::SendGrid => "sendgrid",
            Self::Smtp => "smtp",
            Self::Mock => "mock",
        }
    }
}

/// Amazon SES.
#[derive(Clone, Debug)]
pub struct SesConfig {
    /// The host, unless it is the region's own.
    pub base_url: Option<Url>,
    /// The region.
    pub region: String,
    /// What publishes events.
    pub configuration_set: Option<String>,
    /// Keys, for local runs; a deployed function has a role.
    pub secret: Option<SecretName>,
    /// How often we may send, and how much a day.
    pub rate: RatePolicy,
}

impl SesConfig {
    /// Where the service is.
    ///
    /// # Errors
    /// When the region is no part of a host name.
    pub fn url(&self) -> Result<Url, Cause> {
        match &self.base_url {
            Some(url) => Ok(url.clone()),
            None => Ok(Url::parse(&format!("https://email.{}.amazonaws.com", self.region))?),
        }
    }
}

/// SendGrid.
#[derive(Clone, Debug)]
pub struct SendGridConfig {
    /// The host.
    pub base_url: Url,
    /// Where the API key is kept.
    pub secret: SecretName,
    /// Whether it counts opens and clicks.
    pub tracking: bool,
    /// How often we may send, and how much a day.
    pub rate: RatePolicy,
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Where it is.
    pub server: Server,
    /// The region of SES, whose password is made of it.
    pub region: String,
    /// Where the user and the password are kept.
    pub secret: SecretName,
    /// How often we may send, and how much a day.
    pub rate: RatePolicy,
}

/// A server that is known by name: where it is, and what it allows.
#[derive(Clone, Copy, Debug)]
struct Preset {
    host: &'static str,
    port: u32,
    security: &'static str,
    per_second: u32,
    per_day: Option<u32>,
}

/// The usual servers. Their limits are customary or documented (README), and all of them can be set otherwise.
const PRESETS: [(&str, Preset); 7] = [
    ("gmail", preset("smtp.gmail.com", 587, "starttls", 2, Some(500))),
    ("outlook", preset("smtp.office365.com", 587, "starttls", 1, Some(300))),
    ("naver", preset("smtp.naver.com", 587, "starttls", 2, Some(500))),
    ("daum", preset("smtp.daum.net", 465, "tls", 2, Some(500))),
    ("sendgrid", preset("smtp.sendgrid.net", 587, "starttls", 10, Some(100))),
    ("ses", preset("email-smtp.{region}.amazonaws.com", 587, "starttls", 14, None)),
    ("custom", preset("", 587, "starttls", 10, None)),
];

const fn preset(
    host: &'static str,
    port: u32,
    security: &'static str,
    per_second: u32,
    per_day: Option<u32>,
) -> Preset {
    Preset { host, port, security, per_second, per_day }
}

/// Everything `email` is told from outside.
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
    /// Who sends.
    pub from: Mailbox,
    /// Where answers go, unless a mail says otherwise.
    pub reply_to: Option<Mailbox>,
    /// Whose mail it is, as recipients read it.
    pub brand: String,
    /// Recipients of one mail, at most.
    pub max_recipients: usize,
    /// How often one recipient may be written to.
    pub recipient_rate: RatePolicy,
    /// How long a mail may wait.
    pub validity: Duration,
    /// Where this layer answers from outside, and what signs the links to it.
    pub unsubscribe: Option<(Url, SecretName)>,
    /// Present when `ses` is listed.
    pub ses: Option<SesConfig>,
    /// Present when `sendgrid` is listed.
    pub sendgrid: Option<SendGridConfig>,
    /// Present when `smtp` is listed.
    pub smtp: Option<SmtpConfig>,
    /// Topics whose events are believed.
    pub ses_topics: Vec<String>,
    /// What stands in for the hosts of Amazon SNS; local runs only.
    pub sns_instead: Option<Url>,
}

impl Config {
    /// Reads the whole configuration.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        use ProviderName::{Mock, SendGrid, Ses, Smtp};
        let common = reader.common();
        let stage = common.as_ref().map_or(Stage::Production, |common| common.stage);
        let queue = reader.resource("EMAIL_QUEUE_URL", common.as_ref());
        let choices = [("ses", Ses), ("sendgrid", SendGrid), ("smtp", Smtp), ("mock", Mock)];
        let providers = reader.list("EMAIL_PROVIDERS", None, &choices);
        let uses = |name| providers.as_ref().is_some_and(|providers| providers.contains(&name));
        refuse_in_production(reader, stage, "EMAIL_PROVIDERS", uses(Mock));

        let policy = reader.policy("EMAIL", Replay::Never);
        let breaker = reader.breaker("EMAIL");
        let from = address(reader, "EMAIL_FROM", reader.text("EMAIL_FROM", None));
        let from_name = name(reader, "EMAIL_FROM_NAME", reader.optional_text("EMAIL_FROM_NAME"));
        let reply_to = match reader.optional_text("EMAIL_REPLY_TO") {
            Some(text) => address(reader, "EMAIL_REPLY_TO", Some(text)).map(Some),
            None => Some(None),
        };
        let brand = reader.text("EMAIL_BRAND", Some("Ieum"));
        let most = u32::try_from(MAX_RECIPIENTS).unwrap_or(u32::MAX);
        let max_recipients = reader.number("EMAIL_MAX_RECIPIENTS", Some(most), 1..=most);
        // More would be a loop somewhere.
        let recipient_rate = reader.instant_rate("EMAIL_RECIPIENT", (20, 100_000), 3_600, Some((10, 10_000)));
        // What is attached is deleted after a week.
        let validity = reader.span("EMAIL_VALIDITY_SECONDS", Some(86_400), 60..=518_400);
        let unsubscribe = unsubscribe(reader, stage);
        let ses = if uses(Ses) { ses(reader, stage).map(Some) } else { Some(None) };
        let sendgrid = if uses(SendGrid) { sendgrid(reader, stage).map(Some) } else { Some(None) };
        let smtp = if uses(Smtp) { smtp(reader, stage).map(Some) } else { Some(None) };
        let ses_topics = reader.optional_text("SES_TOPICS");
        let ses_topics = ses_topics.unwrap_or_default();
        let ses_topics = ses_topics.split(',').map(str::trim).filter(|arn| !arn.is_empty()).map(str::to_owned);
        let sns_instead = reader.local_url("SES_EVENTS_BASE_URL", stage);
        Some(Self {
            common: common?,
            queue: queue?,
            providers: providers?,
            policy: policy?,
            breaker: breaker?,
            from: Mailbox { address: from?, name: from_name? },
            reply_to: reply_to?.map(|address| Mailbox { address, name: None }),
            brand: brand?,
            max_recipients: usize::try_from(max_recipients?).unwrap_or(MAX_RECIPIENTS),
            recipient_rate: recipient_rate?,
            validity: validity?,
            unsubscribe: unsubscribe?,
            ses: ses?,
            sendgrid: sendgrid?,
            smtp: smtp?,
            ses_topics: ses_topics.collect(),
            sns_instead: sns_instead?,
        })
    }

    /// What can be changed while the function runs.
    pub fn schema(&self) -> Schema {
        let providers: Vec<&str> = self.providers.iter().map(|provider| provider.as_str()).collect();
        Schema::new("email", &providers)
    }

    /// Whether any mail may go nowhere.
    pub fn mocked(&self) -> bool {
        self.providers.contains(&ProviderName::Mock)
    }
}

fn address(reader: &Reader<'_>, variable: &str, text: Option<String>) -> Option<Address> {
    let text = text?;
    let parsed = Address::parse(&text);
    if parsed.is_err() {
        reader.mistake(format!("`{variable}` is `{text}`: expected an address such as `noreply@example.kr`"));
    }
    parsed.ok()
}

fn name(reader: &Reader<'_>, variable: &str, text: Option<String>) -> Option<Option<String>> {
    let Some(text) = text else { return Some(None) };
    let parsed = Mailbox::name(&text);
    if parsed.is_err() {
        reader.mistake(format!("`{variable}` is `{text}`: expected a name of at most 100 characters on one line"));
    }
    parsed.ok().map(Some)
}

fn unsubscribe(reader: &Reader<'_>, stage: Stage) -> Option<Option<(Url, SecretName)>> {
    if reader.optional_text("EMAIL_PUBLIC_URL").is_none() {
        reader.optional_text("EMAIL_SECRET");
        return Some(None);
    }
    let url = reader.base_url("EMAIL_PUBLIC_URL", None, stage);
    let secret = reader.secret("EMAIL_SECRET", stage);
    Some(Some((url?, secret?)))
}

fn ses(reader: &Reader<'_>, stage: Stage) -> Option<SesConfig> {
    let base_url = reader.optional_base_url("SES_BASE_URL", stage);
    let region = reader.text("SES_REGION", Some("ap-northeast-2"));
    let configuration_set = reader.optional_text("SES_CONFIGURATION_SET");
    let secret = reader.local_secret("SES_SECRET", stage);
    let rate = reader.rate_with_quota("SES", 14, 14, None);
    Some(SesConfig { base_url: base_url?, region: region?, configuration_set, secret: secret?, rate: rate? })
}

fn sendgrid(reader: &Reader<'_>, stage: Stage) -> Option<SendGridConfig> {
    let base_url = reader.base_url("SENDGRID_BASE_URL", Some("https://api.sendgrid.com"), stage);
    let secret = reader.secret("SENDGRID_SECRET", stage);
    let tracking = reader.choice("SENDGRID_TRACKING", Some("off"), &[("on", true), ("off", false)]);
    let rate = reader.rate_with_quota("SENDGRID", 10, 10, Some(100));
    Some(SendGridConfig { base_url: base_url?, secret: secret?, tracking: tracking?, rate: rate? })
}

fn smtp(reader: &Reader<'_>, stage: Stage) -> Option<SmtpConfig> {
    let preset = reader.choice("EMAIL_SERVICE", None, &PRESETS)?;
    let region = reader.text("SES_REGION", Some("ap-northeast-2"))?;
    let known = Some(preset.host.replace("{region}", &region)).filter(|host| !host.is_empty());
    let host = reader.text("SMTP_HOST", known.as_deref());
    let port = reader.number("SMTP_PORT", Some(preset.port), 1..=65_535);
    let securities = [("starttls", Security::StartTls), ("tls", Security::Tls), ("none", Security::None)];
    let security = reader.choice("SMTP_SECURITY", Some(preset.security), &securities);
    if security == Some(Security::None) && stage != Stage::Local {
        reader.mistake("`SMTP_SECURITY` is `none`: allowed only when `STAGE` is `local`");
    }
    let secret = reader.secret("SMTP_SECRET", stage);
    let rate = reader.rate_with_quota("SMTP", preset.per_second, preset.per_second, preset.per_day);
    let port = u16::try_from(port?).ok()?;
    Some(SmtpConfig { server: Server { host: host?, port, security: security? }, region, secret: secret?, rate: rate? })
}

#[cfg(test)]
mod tests {
    use ieum::config::Env;

    use super::*;

    fn local(providers: &str) -> Env {
        Env::from([("STAGE", "local"), ("EMAIL_PROVIDERS", providers), ("EMAIL_FROM", "noreply@example.kr")])
    }

    fn mistakes(env: &Env) -> Vec<String> {
        env.read(Config::read).expect_err("a mistake").0
    }

    #[test]
    fn mock_needs_nothing_else_and_is_refused_in_production() {
        assert!(local("mock").read(Config::read).expect("local mock").mocked());
        let production = local("mock").with("STAGE", "production").with("TABLE_NAME", "t").with("BUCKET_NAME", "b");
        let production = production.with("IEUM_SECRET", "s").with("EMAIL_QUEUE_URL", "q");
        let mistakes = mistakes(&production);
        assert!(mistakes.len() == 1 && mistakes[0].contains("`EMAIL_PROVIDERS` names `mock`"), "{mistakes:?}");
    }

    #[test]
    fn presets_know_host_port_security_and_limits() {
        for (service, host, port, security, day) in [
            ("gmail", "smtp.gmail.com", 587, Security::StartTls, Some(500)),
            ("outlook", "smtp.office365.com", 587, Security::StartTls, Some(300)),
            ("naver", "smtp.naver.com", 587, Security::StartTls, Some(500)),
            ("daum", "smtp.daum.net", 465, Security::Tls, Some(500)),
            ("sendgrid", "smtp.sendgrid.net", 587, Security::StartTls, Some(100)),
            ("ses", "email-smtp.ap-northeast-2.amazonaws.com", 587, Security::StartTls, None),
        ] {
            let env = local("smtp").with("EMAIL_SERVICE", service).with("SMTP_SECRET", "s");
            let smtp = env.read(Config::read).expect(service).smtp.expect("smtp");
            assert_eq!(smtp.server, Server { host: host.to_owned(), port, security }, "{service}");
            assert_eq!(smtp.rate.daily_quota, day, "{service}");
        }
        let custom = local("smtp").with("EMAIL_SERVICE", "custom").with("SMTP_SECRET", "s");
        assert_eq!(mistakes(&custom), ["`SMTP_HOST` is missing: expected text"]);
        let plain = custom.with("SMTP_HOST", "mail.example.kr").with("SMTP_SECURITY", "none");
        assert_eq!(plain.read(Config::read).expect("local").smtp.expect("smtp").server.security, Security::None);
    }

    #[test]
    fn quotas_and_rates_can_be_set() {
        let env = local("ses,sendgrid").with("SENDGRID_SECRET", "s").with("SES_RATE_PER_PERIOD", "1");
        let config = env.with("SES_DAILY_QUOTA", "200").read(Config::read).expect("valid");
        let (ses, sendgrid) = (config.ses.expect("ses"), config.sendgrid.expect("sendgrid"));
        assert_eq!((ses.rate.calls, ses.rate.daily_quota), (1, Some(200)));
        assert_eq!(sendgrid.rate.daily_quota, Some(100));
        assert_eq!(ses.url().expect("a url").as_str(), "https://email.ap-northeast-2.amazonaws.com/");
    }

    #[test]
    fn what_deceives_or_leaks_is_refused_at_the_start() {
        let env = local("ses,smtp").with("STAGE", "dev").with("TABLE_NAME", "t").with("BUCKET_NAME", "b");
        let env = env.with("IEUM_SECRET", "s").with("EMAIL_QUEUE_URL", "q").with("EMAIL_FROM", "noreply");
        let env = env.with("EMAIL_SERVICE", "custom").with("SMTP_HOST", "h").with("SMTP_SECRET", "s");
        let found = mistakes(&env.with("SMTP_SECURITY", "none").with("SES_SECRET", "keys"));
        for part in ["`EMAIL_FROM` is `noreply`", "`SMTP_SECURITY` is `none`", "`SES_SECRET` is set"] {
            assert!(found.iter().any(|mistake| mistake.contains(part)), "{part}: {found:?}");
        }
        assert_eq!(found.len(), 3);
    }
}
