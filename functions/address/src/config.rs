//! The variables of `address`. The README has the same table; a test compares the two.

use ieum::config::{Common, Reader, Stage};
use ieum::mock::refuse_in_production;
use ieum::policy::{Policy, Replay};
use ieum::resilience::cache::CachePolicy;
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::secrets::SecretName;
use ieum::settings::Schema;
use url::Url;

/// Who can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderName {
    /// The register of the interior ministry.
    Juso,
    /// Kakao Local.
    Kakao,
    /// Made-up answers.
    Mock,
}

impl ProviderName {
    /// The name by which its gate, its variables and its lines in the log go.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Juso => "juso",
            Self::Kakao => "kakao",
            Self::Mock => "mock",
        }
    }
}

/// What is answered when nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// An error.
    Error,
    /// An empty page that says so.
    Empty,
}

/// One provider.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// The host.
    pub base_url: Url,
    /// Where its keys are kept.
    pub secret: SecretName,
    /// How often we may call.
    pub rate: RatePolicy,
}

/// The widget's page.
#[derive(Clone, Debug)]
pub struct WidgetConfig {
    /// Who may open it and be handed an address: origins as a browser tells them.
    pub origins: Vec<String>,
    /// Where Daum's script comes from.
    pub daum_base_url: Url,
    /// The origins of the frame that Daum's script opens.
    pub daum_frames: Vec<String>,
}

/// Everything `address` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// Providers, in order.
    pub providers: Vec<ProviderName>,
    /// How they are called.
    pub policy: Policy,
    /// When to stop calling one.
    pub breaker: BreakerPolicy,
    /// How long answers are remembered.
    pub cache: CachePolicy,
    /// What a search gets when nobody answers.
    pub fallback: Fallback,
    /// The page.
    pub widget: WidgetConfig,
    /// Present when `juso` is listed.
    pub juso: Option<ProviderConfig>,
    /// Present when `kakao` is listed.
    pub kakao: Option<ProviderConfig>,
}

impl Config {
    /// Reads the whole configuration.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        use ProviderName::{Juso, Kakao, Mock};
        let common = reader.common();
        let stage = common.as_ref().map_or(Stage::Production, |common| common.stage);
        let providers = reader.list("ADDRESS_PROVIDERS", None, &[("juso", Juso), ("kakao", Kakao), ("mock", Mock)]);
        let uses = |provider| providers.as_ref().is_some_and(|list| list.contains(&provider));
        refuse_in_production(reader, stage, "ADDRESS_PROVIDERS", uses(Mock));

        let policy = reader.policy("ADDRESS", Replay::Safe);
        let breaker = reader.breaker("ADDRESS");
        let cache = reader.cache("ADDRESS", 86_400, 2_592_000, 300);
        let fallbacks = [("error", Fallback::Error), ("empty", Fallback::Empty)];
        let fallback = reader.choice("ADDRESS_FALLBACK", Some("error"), &fallbacks);
        let widget = widget(reader, stage);
        let provider = |used: bool, prefix: &str, host: &str, calls: u32| match used {
            true => provider(reader, stage, prefix, host, calls).map(Some),
            false => Some(None),
        };
        let juso = provider(uses(Juso), "JUSO", "https://business.juso.go.kr", 10);
        let kakao = provider(uses(Kakao), "KAKAO", "https://dapi.kakao.com", 10);
        let (providers, juso, kakao) = (providers?, juso?, kakao?);
        let first = match providers.first() {
            Some(Juso) => juso.as_ref().map(|juso| &juso.base_url),
            Some(Kakao) => kakao.as_ref().map(|kakao| &kakao.base_url),
            Some(Mock) | None => None,
        };
        Some(Self {
            common: common?.expecting(first),
            providers,
            policy: policy?,
            breaker: breaker?,
            cache: cache?,
            fallback: fallback?,
            widget: widget?,
            juso,
            kakao,
        })
    }

    /// What can be changed while the function runs.
    pub fn schema(&self) -> Schema {
        let providers: Vec<&str> = self.providers.iter().map(|provider| provider.as_str()).collect();
        Schema::new("address", &providers)
    }

    /// Whether any answer may be made up.
    pub fn mocked(&self) -> bool {
        self.providers.contains(&ProviderName::Mock)
    }
}

fn provider(reader: &Reader<'_>, stage: Stage, prefix: &str, host: &str, calls: u32) -> Option<ProviderConfig> {
    let base_url = reader.base_url(&format!("{prefix}_BASE_URL"), Some(host), stage);
    let secret = reader.secret(&format!("{prefix}_SECRET"), stage);
    let rate = reader.rate(prefix, calls, calls);
    Some(ProviderConfig { base_url: base_url?, secret: secret?, rate: rate? })
}

fn widget(reader: &Reader<'_>, stage: Stage) -> Option<WidgetConfig> {
    let origins = origins_in(reader, "ADDRESS_WIDGET_ORIGINS", None, stage);
    let daum_base_url = reader.base_url("DAUM_BASE_URL", Some("https://t1.daumcdn.net"), stage);
    // Today's, and the one before it, which is still seen (2026-11).
    let frames = Some("https://postcode.map.kakao.com,https://postcode.map.daum.net");
    let daum_frames = origins_in(reader, "DAUM_FRAME_ORIGINS", frames, stage);
    Some(WidgetConfig { origins: origins?, daum_base_url: daum_base_url?, daum_frames: daum_frames? })
}

/// Origins as browsers write them, so that they compare as text and cannot bend a policy.
fn origins_in(reader: &Reader<'_>, name: &str, default: Option<&str>, stage: Stage) -> Option<Vec<String>> {
    let origins = reader.words(name, default)?;
    let strange: Vec<&String> = origins.iter().filter(|origin| !is_origin(origin, stage)).collect();
    for origin in &strange {
        reader.mistake(format!(
            "`{name}` holds `{origin}`: expected `https://` and a host, or `http://` and loopback unless `STAGE` is `production`"
        ));
    }
    if strange.is_empty() { Some(origins) } else { None }
}

/// Whether `text` is an origin exactly as browsers write it, so that comparing texts is comparing origins.
fn is_origin(text: &str, stage: Stage) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let allowed = url.scheme() == "https" || url.scheme() == "http" && loopback && stage != Stage::Production;
    allowed && url.origin().ascii_serialization() == text
}

#[cfg(test)]
mod tests {
    use ieum::config::Env;

    use super::*;

    fn mock() -> Env {
        Env::from([
            ("STAGE", "local"),
            ("ADDRESS_PROVIDERS", "mock"),
            ("ADDRESS_WIDGET_ORIGINS", "https://portal.example.org, http://localhost:5173"),
        ])
    }

    #[test]
    fn mock_needs_no_provider_and_is_refused_in_production() {
        let config = mock().read(Config::read).expect("local mock");
        assert!(config.mocked() && config.juso.is_none() && config.kakao.is_none());
        assert_eq!(config.fallback, Fallback::Error);
        let production = mock().with("STAGE", "production").with("TABLE_NAME", "t").with("BUCKET_NAME", "b");
        let production = production.with("IEUM_SECRET", "s");
        let mistakes = production.read(Config::read).expect_err("no mock in production").0;
        assert!(mistakes[0].contains("`ADDRESS_PROVIDERS` names `mock`: refused"), "{mistakes:?}");
        assert!(mistakes[1].contains("holds `http://localhost:5173`"), "{mistakes:?}");
    }

    #[test]
    fn a_provider_needs_its_keys() {
        let mistakes = mock().with("ADDRESS_PROVIDERS", "juso,kakao").read(Config::read).expect_err("no keys").0;
        let named: Vec<_> = mistakes.iter().filter_map(|mistake| mistake.split('`').nth(1)).collect();
        assert_eq!(named, ["JUSO_SECRET", "KAKAO_SECRET"]);
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for name in ["ADDRESS_WIDGET_ORIGINS", "DAUM_FRAME_ORIGINS"] {
            for origin in [
                "*",
                "null",
                "data:x",
                "portal.example.org",
                "https://portal.example.org/",
                "https://PORTAL.example.org",
                "https://user@portal.example.org",
                "https://포털.example.org",
                "https://p.kr; script-src *",
                "https://p.kr:443",
                "https://p.kr/a",
                "http://p.kr",
            ] {
                let mistakes = mock().with(name, origin).read(Config::read).expect_err("no origin").0;
                assert!(
                    mistakes.len() == 1 && mistakes[0].starts_with(&format!("`{name}` holds `{origin}`")),
                    "{origin}"
                );
            }
        }
    }
}
