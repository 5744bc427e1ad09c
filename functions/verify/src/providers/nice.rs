//! NICE D&B (나이스디앤비): company profiles by number and by name.
//!
//! The vendor's documentation is not public (its guide is at `openapi.nicednb.com/#/guide/common/oauth`). The wire format
//! below was seen in public client code; everything that was seen nowhere (the profile's path, the result codes, the
//! list's name in a search) is a setting without a default. Three traps are handled here, each with a test:
//!
//! - a key without the right plan answers 200 with *one fixed test company*: an answer about another number is no answer;
//! - amounts are in thousand KRW;
//! - some endpoints answer 405 to POST and want the same as a GET.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};
use ieum::clock::{SharedClock, Timestamp};
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::{Probe, ProbeKind, Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use crate::company::{
    BusinessNumber, Company, CompanyLookup, CompanyQuery, NamePage, NameQuery, RepresentativeCheck,
    RepresentativeQuery, Status, compact_date,
};
use crate::config::NiceConfig;

/// A token is not used in its last five minutes, so that it does not expire under way.
const TOKEN_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The life of a token that does not say.
const TOKEN_LIFE: u64 = 3_600;

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct NiceSecret {
    app_key: SecretString,
    app_secret: SecretString,
}

impl SecretShape for NiceSecret {
    const MEMBERS: &'static [&'static str] = &["app_key", "app_secret"];
}

/// The client. Cloning shares the token.
#[derive(Clone, Debug)]
pub struct Nice(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: NiceConfig,
    http: HttpClient,
    secret: Arc<Secret<NiceSecret>>,
    clock: SharedClock,
    token: Mutex<Option<Token>>,
    /// Set once a 405 has shown that profiles are read with GET here.
    reads_with_get: AtomicBool,
}

#[derive(Clone, Debug)]
struct Token {
    value: SecretString,
    usable_until: Timestamp,
}

impl Nice {
    /// A client with these settings.
    pub fn new(settings: NiceConfig, http: HttpClient, secret: Arc<Secret<NiceSecret>>, clock: SharedClock) -> Self {
        let (token, reads_with_get) = (Mutex::new(None), AtomicBool::new(false));
        Self(Arc::new(Inner { settings, http, secret, clock, token, reads_with_get }))
    }

    async fn profile(&self, number: &BusinessNumber) -> Result<Option<Company>, ProviderError> {
        let url = self.endpoint(&self.0.settings.company_path)?;
        let post = || Outgoing::post_json(url.clone(), &json!({"bizNo": number.as_str()}), Replay::Safe);
        let get = || {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("bizNo", number.as_str());
            Outgoing::get(url)
        };
        let answer = if self.0.reads_with_get.load(Ordering::Relaxed) {
            self.exchange(get()).await?
        } else {
            let answer = self.exchange(post()?).await?;
            if answer.status == StatusCode::METHOD_NOT_ALLOWED {
                self.0.reads_with_get.store(true, Ordering::Relaxed);
                self.exchange(get()).await?
            } else {
                answer
            }
        };
        let Some(body) = self.open(&answer)? else { return Ok(None) };
        if body.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(None);
        }
        if text(&body, "bizNo").as_deref() != Some(number.as_str()) {
            return Err(nonsense("the answer is about another company: does the key's plan cover this call?"));
        }
        Ok(Some(company(&body, number)))
    }

    fn endpoint(&self, path: &str) -> Result<Url, ProviderError> {
        let base = self.0.settings.base_url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{path}")).map_err(|error| ProviderError::Malformed(Box::new(error)))
    }

    /// One exchange with a token. A refused token is forgotten, so that the next attempt asks for another.
    async fn exchange(&self, mut outgoing: Outgoing) -> Result<Incoming, ProviderError> {
        let (token, is_new) = self.token().await?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.value.expose_secret()))
            .map_err(|_| nonsense("the token is not a header value"))?;
        bearer.set_sensitive(true);
        outgoing.headers.insert(header::AUTHORIZATION, bearer);
        let answer = self.0.http.exchange(outgoing).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            *self.0.token.lock().await = None;
            return Err(if is_new { ProviderError::Unauthorized } else { ProviderError::CredentialsReplaced });
        }
        Ok(answer)
    }

    /// A usable token, and whether it was fetched for this call.
    async fn token(&self) -> Result<(Token, bool), ProviderError> {
        // Held while fetching: callers that come meanwhile want the same token.
        let mut held = self.0.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| self.0.clock.now() < token.usable_until) {
            return Ok((token.clone(), false));
        }
        let token = self.fetch_token().await?;
        *held = Some(token.clone());
        Ok((token, true))
    }

    /// Camel-case JSON, not the form of RFC 6749.
    async fn fetch_token(&self) -> Result<Token, ProviderError> {
        let secret = self.0.secret.current().await;
        let body = json!({
            "appKey": secret.app_key.expose_secret(),
            "appSecret": secret.app_secret.expose_secret(),
            "grantType": "client_credentials",
            "scope": "oob",
        });
        let asked_at = self.0.clock.now();
        let url = self.endpoint(&self.0.settings.token_path)?;
        let answer = self.0.http.exchange(Outgoing::post_json(url, &body, Replay::Safe)?).await?;
        if let Some(error) = answer.failure() {
            let refused = matches!(error, ProviderError::Unauthorized | ProviderError::Rejected { .. });
            return Err(match refused {
                true if self.0.secret.refused(&secret).await => ProviderError::CredentialsReplaced,
                true => ProviderError::Unauthorized,
                false => error,
            });
        }
        let body: Value = answer.json()?;
        let value = text(&body, "accessToken").ok_or_else(|| nonsense("the token endpoint gave no token"))?;
        let life = number(&body, "expiresIn").and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(TOKEN_LIFE);
        let life = Duration::from_secs(life);
        let usable_until = asked_at.after(life.saturating_sub(TOKEN_MARGIN).max(life / 2));
        Ok(Token { value: value.into(), usable_until })
    }

    /// The body of a successful envelope; `None` when it says that there is no such company.
    fn open(&self, answer: &Incoming) -> Result<Option<Value>, ProviderError> {
        match answer.failure() {
            None => {}
            // A path that has moved or a gateway's own refusal is no word of NICE's about this company.
            Some(ProviderError::Rejected { code }) => return Err(nonsense(&format!("no envelope but {code}"))),
            Some(error) => return Err(error),
        }
        let mut envelope: Value = answer.json()?;
        let code = text(&envelope["dataHeader"], "resCd").ok_or_else(|| nonsense("the envelope has no resCd"))?;
        if self.0.settings.not_found_codes.contains(&code) {
            return Ok(None);
        }
        if !self.0.settings.success_codes.contains(&code) {
            let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
            return Err(nonsense(&format!("result code {code} is in no list of the configuration")));
        }
        Ok(Some(envelope["dataBody"].take()))
    }
}

#[async_trait]
impl Provider<CompanyQuery, CompanyLookup> for Nice {
    fn name(&self) -> &'static str {
        "nice"
    }

    async fn call(&self, query: &CompanyQuery) -> Result<CompanyLookup, ProviderError> {
        Ok(CompanyLookup { found: self.profile(&query.business_number).await? })
    }
}

#[async_trait]
impl Provider<NameQuery, NamePage> for Nice {
    fn name(&self) -> &'static str {
        "nice"
    }

    async fn call(&self, query: &NameQuery) -> Result<NamePage, ProviderError> {
        let settings = &self.0.settings;
        let body = json!({
            "searchName": settings.search_field,
            "searchValue": query.name,
            "pageNum": query.page,
            "pageCount": query.size,
        });
        let url = self.endpoint(&settings.search_path)?;
        let answer = self.exchange(Outgoing::post_json(url, &body, Replay::Safe)?).await?;
        let Some(body) = self.open(&answer)? else { return Ok(NamePage { companies: Vec::new(), total: 0 }) };
        let Some(found) = body[&settings.search_list].as_array() else {
            return Err(nonsense("the search's answer has no list of the configured name"));
        };
        // A row whose number is none of ours to show (the vendor lists foreign companies too) is left out.
        let companies: Vec<Company> = found
            .iter()
            .filter_map(|row| Some(company(row, &BusinessNumber::parse(&text(row, "bizNo")?).ok()?)))
            .collect();
        let total = number(&body, "totalCnt").and_then(|total| u64::try_from(total).ok());
        Ok(NamePage { total: total.unwrap_or(companies.len() as u64), companies })
    }
}

/// NICE has no check of its own: the profile names a representative, and names are compared.
#[async_trait]
impl Provider<RepresentativeQuery, RepresentativeCheck> for Nice {
    fn name(&self) -> &'static str {
        "nice"
    }

    async fn call(&self, query: &RepresentativeQuery) -> Result<RepresentativeCheck, ProviderError> {
        let Some(company) = self.profile(&query.business_number).await? else {
            return Ok(RepresentativeCheck { matches: false });
        };
        let Some(registered) = company.representative else {
            return Err(nonsense("the profile names no representative"));
        };
        let same_day = match (query.established_on, company.established_on) {
            (Some(asked), Some(known)) => asked == known,
            (Some(_), None) | (None, _) => true,
        };
        Ok(RepresentativeCheck { matches: same_day && names(&registered).any(|name| name == plain(&query.name)) })
    }
}

/// A token proves that the host is there and our credentials are good, and costs nothing.
#[async_trait]
impl Probe for Nice {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Free
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        self.fetch_token().await.map(drop)
    }
}

/// Companies with several representatives list them with commas; spacing is a matter of taste.
fn names(registered: &str) -> impl Iterator<Item = String> + '_ {
    registered.split([',', '/', '·']).map(plain)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// The vendor's field table, mapped. Empty texts count as absent.
fn company(row: &Value, business_number: &BusinessNumber) -> Company {
    let krw = |name| number(row, name).and_then(|thousands| thousands.checked_mul(1_000));
    let address = match (text(row, "addr1"), text(row, "addr2")) {
        (Some(street), Some(detail)) => Some(format!("{street} {detail}")),
        (Some(street), None) => Some(street),
        (None, _) => text(row, "addr"),
    };
    Company {
        name: text(row, "cmpNm"),
        name_en: text(row, "cmpEnm"),
        representative: text(row, "ceoNm"),
        status: Status::Unknown,
        established_on: text(row, "estbDate").and_then(|date| compact_date(&date)),
        postal_code: text(row, "zip").filter(|zip| zip.len() == 5),
        address,
        industry: text(row, "indNm"),
        credit_grade: text(row, "criGrd"),
        employees: number(row, "empCnt"),
        sales_krw: krw("salesAmt"),
        operating_income_krw: krw("oprIcAmt"),
        equity_krw: krw("shEqAmt"),
        debt_krw: krw("debtAmt"),
        assets_krw: krw("assetAmt"),
        ..Company::numbered(business_number)
    }
    .with_corporate_number(text(row, "corpNo"))
}

/// A member as text, whether it comes as text or as a number.
fn text(row: &Value, name: &str) -> Option<String> {
    match row.get(name)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A member as a whole number, whether it comes as a number or as text.
fn number(row: &Value, name: &str) -> Option<i64> {
    match row.get(name)? {
        Value::Number(number) => number.as_i64(),
        Value::String(digits) => digits.trim().replace(',', "").parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn nonsense(why: &str) -> ProviderError {
    ProviderError::Malformed(why.into())
}
