//! The variables of `verify`. The README has the same table; a test compares the two.

use std::time::Duration;

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
    /// NICE D&B.
    Nice,
    /// The National Tax Service.
    Nts,
    /// Made-up answers.
    Mock,
}

impl ProviderName {
    /// The name by which its gate, its variables and its lines in the log go.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nice => "nice",
            Self::Nts => "nts",
            Self::Mock => "mock",
        }
    }
}

/// NICE D&B. Its documentation is not public, so whatever is not confirmed is a setting without a default.
#[derive(Clone, Debug)]
pub struct NiceConfig {
    /// The host.
    pub base_url: Url,
    /// Where the credentials are kept.
    pub secret: SecretName,
    /// The endpoint that gives tokens.
    pub token_path: String,
    /// The endpoint that gives a profile by number. From the contract.
    pub company_path: String,
    /// The endpoint that searches.
    pub search_path: String,
    /// What `searchName` says when the name is searched.
    pub search_field: String,
    /// The member of `dataBody` that lists what was found. From the contract.
    pub search_list: String,
    /// Values of `dataHeader.resCd` that mean success. From the contract.
    pub success_codes: Vec<String>,
    /// Values of `dataHeader.resCd` that mean "no such company". From the contract.
    pub not_found_codes: Vec<String>,
    /// How often we may call.
    pub rate: RatePolicy,
}

/// The National Tax Service's open API.
#[derive(Clone, Debug)]
pub struct NtsConfig {
    /// The host and version.
    pub base_url: Url,
    /// Where the service key is kept.
    pub secret: SecretName,
    /// How often we may call.
    pub rate: RatePolicy,
}

/// Everything `verify` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// Providers of profiles and name searches, in order.
    pub company: Vec<ProviderName>,
    /// Providers of tax status, in order.
    pub status: Vec<ProviderName>,
    /// Providers of representative checks, in order.
    pub representative: Vec<ProviderName>,
    /// How providers are called.
    pub policy: Policy,
    /// When to stop calling one.
    pub breaker: BreakerPolicy,
    /// How long profiles and checks are remembered.
    pub cache: CachePolicy,
    /// How long tax status is remembered.
    pub status_cache: CachePolicy,
    /// How long an entry by hand is valid.
    pub manual_ttl: Duration,
    /// Present when some list names `nice`.
    pub nice: Option<NiceConfig>,
    /// Present when some list names `nts`.
    pub nts: Option<NtsConfig>,
}

impl Config {
    /// Reads the whole configuration.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        use ProviderName::{Mock, Nice, Nts};
        let common = reader.common();
        let stage = common.as_ref().map_or(Stage::Production, |common| common.stage);

        let company = reader.list("VERIFY_PROVIDERS", None, &[("nice", Nice), ("nts", Nts), ("mock", Mock)]);
        let status = reader.list("VERIFY_STATUS_PROVIDERS", None, &[("nts", Nts), ("mock", Mock)]);
        let checks = [("nts", Nts), ("nice", Nice), ("mock", Mock)];
        let representative = reader.list("VERIFY_REPRESENTATIVE_PROVIDERS", None, &checks);
        let lists = [
            ("VERIFY_PROVIDERS", &company),
            ("VERIFY_STATUS_PROVIDERS", &status),
            ("VERIFY_REPRESENTATIVE_PROVIDERS", &representative),
        ];
        for (variable, list) in lists {
            refuse_in_production(reader, stage, variable, list.as_ref().is_some_and(|list| list.contains(&Mock)));
        }
        if company.as_ref().is_some_and(|list| !list.contains(&Nice) && !list.contains(&Mock)) {
            reader.mistake("`VERIFY_PROVIDERS` names nobody who can search by name: expected `nice` or `mock` in it");
        }
        let uses = |provider| lists.iter().any(|(_, list)| list.as_ref().is_some_and(|list| list.contains(&provider)));

        let policy = reader.policy("VERIFY", Replay::Safe);
        let breaker = reader.breaker("VERIFY");
        let cache = reader.cache("VERIFY", 86_400, 604_800, 300);
        let status_cache = reader.cache("VERIFY_STATUS", 1_800, 86_400, 300);
        let manual_ttl = reader.span("VERIFY_MANUAL_TTL_SECONDS", Some(2_592_000), 60..=31_536_000);
        let nice = if uses(Nice) { nice(reader, stage).map(Some) } else { Some(None) };
        let nts = if uses(Nts) { nts(reader, stage).map(Some) } else { Some(None) };
        let (company, nice, nts) = (company?, nice?, nts?);
        let first = match company.first() {
            Some(Nice) => nice.as_ref().map(|nice| &nice.base_url),
            Some(Nts) => nts.as_ref().map(|nts| &nts.base_url),
            Some(Mock) | None => None,
        };
        Some(Self {
            common: common?.expecting(first),
            company,
            status: status?,
            representative: representative?,
            policy: policy?,
            breaker: breaker?,
            cache: cache?,
            status_cache: status_cache?,
            manual_ttl: manual_ttl?,
            nice,
            nts,
        })
    }

    /// What can be changed while the function runs.
    pub fn schema(&self) -> Schema {
        let listed = [&self.company, &self.status, &self.representative].into_iter().flatten();
        let providers: Vec<&str> = listed.map(|provider| provider.as_str()).collect();
        Schema::new("verify", &providers)
            .with_cache("VERIFY_STATUS")
            .with_order("VERIFY_STATUS")
            .with_order("VERIFY_REPRESENTATIVE")
    }

    /// Whether any answer may be made up.
    pub fn mocked(&self) -> bool {
        self.uses(ProviderName::Mock)
    }

    /// Whether any operation may ask `provider`.
    pub fn uses(&self, provider: ProviderName) -> bool {
        [&self.company, &self.status, &self.representative].iter().any(|list| list.contains(&provider))
    }
}

fn nice(reader: &Reader<'_>, stage: Stage) -> Option<NiceConfig> {
    let base_url = reader.base_url("NICE_BASE_URL", Some("https://gate.nicednb.com"), stage);
    let secret = reader.secret("NICE_SECRET", stage);
    let token_path = reader.path("NICE_TOKEN_PATH", Some("/nice/oauth/v1.0/accesstoken"));
    let company_path = reader.path("NICE_COMPANY_PATH", None);
    let search_path = reader.path("NICE_SEARCH_PATH", Some("/nice/bizinfo/v1.0/enterprise/general/search"));
    let search_field = reader.text("NICE_SEARCH_FIELD", Some("CMP_NM"));
    let search_list = reader.text("NICE_SEARCH_LIST", None);
    let success_codes = reader.words("NICE_SUCCESS_CODES", None);
    let not_found_codes = reader.words("NICE_NOT_FOUND_CODES", None);
    let rate = reader.rate("NICE", 10, 10);
    Some(NiceConfig {
        base_url: base_url?,
        secret: secret?,
        token_path: token_path?,
        company_path: company_path?,
        search_path: search_path?,
        search_field: search_field?,
        search_list: search_list?,
        success_codes: success_codes?,
        not_found_codes: not_found_codes?,
        rate: rate?,
    })
}

fn nts(reader: &Reader<'_>, stage: Stage) -> Option<NtsConfig> {
    let base_url = reader.base_url("NTS_BASE_URL", Some("https://api.odcloud.kr/api/nts-businessman/v1"), stage);
    let secret = reader.secret("NTS_SECRET", stage);
    let rate = reader.rate("NTS", 10, 10);
    Some(NtsConfig { base_url: base_url?, secret: secret?, rate: rate? })
}

#[cfg(test)]
mod tests {
    use ieum::config::Env;

    use super::*;

    fn mock() -> Env {
        Env::from([
            ("STAGE", "local"),
            ("VERIFY_PROVIDERS", "mock"),
            ("VERIFY_STATUS_PROVIDERS", "mock"),
            ("VERIFY_REPRESENTATIVE_PROVIDERS", "mock"),
        ])
    }

    #[test]
    fn mock_needs_nothing_else_and_is_refused_in_production() {
        assert!(mock().read(Config::read).expect("local mock").mocked());
        let production = mock().with("STAGE", "production").with("TABLE_NAME", "t").with("BUCKET_NAME", "b");
        let production = production.with("IEUM_SECRET", "s");
        let mistakes = production.read(Config::read).expect_err("no mock in production").0;
        assert_eq!(mistakes.len(), 3);
        assert!(mistakes[0].contains("`VERIFY_PROVIDERS` names `mock`: refused"), "{mistakes:?}");
    }

    #[test]
    fn what_nice_does_not_document_must_be_said() {
        let mistakes = mock().with("VERIFY_PROVIDERS", "nice").read(Config::read).expect_err("incomplete").0;
        for name in
            ["NICE_SECRET", "NICE_COMPANY_PATH", "NICE_SEARCH_LIST", "NICE_SUCCESS_CODES", "NICE_NOT_FOUND_CODES"]
        {
            assert!(
                mistakes.iter().any(|mistake| mistake.starts_with(&format!("`{name}` is missing"))),
                "{name}: {mistakes:?}"
            );
        }
        assert_eq!(mistakes.len(), 5);
    }

    #[test]
    fn somebody_must_be_able_to_search_by_name() {
        let env = mock().with("VERIFY_PROVIDERS", "nts").with("NTS_SECRET", "s");
        assert!(env.read(Config::read).expect_err("nobody searches").0[0].contains("search by name"));
    }
}
