//! The National Tax Service (국세청) through data.go.kr: tax status and representative checks, 100 numbers a call.
//!
//! Source: <https://www.data.go.kr/data/15081808/openapi.do>; 1,000,000 calls a day, the register is refreshed every
//! 30 minutes. Traps handled here, each with a test:
//!
//! - the gateway's errors come as HTTP 200 with XML, whatever was asked for;
//! - the service's own errors are told by their code, for their HTTP statuses differ from client to client;
//! - the portal gives the key in an encoded and a decoded form: it must be encoded exactly once;
//! - an unknown number is a row with empty codes and a sentence in `tax_type`, with or without a full stop.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::{Probe, ProbeKind, Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::company::{
    Company, CompanyLookup, CompanyQuery, RepresentativeCheck, RepresentativeQuery, Status, StatusQuery, TaxStatus,
    compact_date, to_compact,
};

/// Numbers in one call.
pub const MAX_BATCH: usize = 100;

/// For how long everybody stays away once the day's quota is used up; then one call looks again.
const QUOTA_BLOCK: Duration = Duration::from_secs(600);

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct NtsSecret {
    service_key: SecretString,
}

impl SecretShape for NtsSecret {
    const MEMBERS: &'static [&'static str] = &["service_key"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct Nts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base_url: Url,
    http: HttpClient,
    secret: Arc<Secret<NtsSecret>>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    data: Vec<Value>,
}

impl Nts {
    /// A client of the service at `base_url`.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<NtsSecret>>) -> Self {
        Self(Arc::new(Inner { base_url, http, secret }))
    }

    async fn ask(&self, endpoint: &str, body: &Value) -> Result<Vec<Value>, ProviderError> {
        let secret = self.0.secret.current().await;
        let key = secret.service_key.expose_secret();
        // The decoded form never holds a percent sign; the encoded one is brought back to it.
        let key = percent_decoded(key);
        let mut url = Url::parse(&format!("{}/{endpoint}", self.0.base_url.as_str().trim_end_matches('/')))
            .map_err(|error| ProviderError::Malformed(Box::new(error)))?;
        url.query_pairs_mut().append_pair("serviceKey", &key).append_pair("returnType", "JSON");
        let answer = self.0.http.exchange(Outgoing::post_json(url, body, Replay::Safe)?).await?;
        match rows(&answer) {
            Err(ProviderError::Unauthorized) if self.0.secret.refused(&secret).await => {
                Err(ProviderError::CredentialsReplaced)
            }
            outcome => outcome,
        }
    }

    async fn status(&self, queries: &[StatusQuery]) -> Result<Vec<TaxStatus>, ProviderError> {
        let numbers: Vec<&str> = queries.iter().map(|query| query.business_number.as_str()).collect();
        let rows = self.ask("status", &json!({"b_no": numbers})).await?;
        let answers = queries.iter().map(|query| {
            let row = rows.iter().find(|row| row["b_no"] == query.business_number.as_str());
            row.and_then(|row| status(row, query)).ok_or_else(|| nonsense("a number that was asked for has no row"))
        });
        answers.collect()
    }
}

fn percent_decoded(key: &str) -> String {
    if !key.contains('%') {
        return key.to_owned();
    }
    // A plus in a form is a space; in a key it is a plus.
    let form = format!("k={}", key.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(form.as_bytes()).next();
    decoded.map_or_else(|| key.to_owned(), |(_, key)| key.into_owned())
}

/// The rows of a good answer; everything else the service and the gateway can say, in our terms.
fn rows(answer: &Incoming) -> Result<Vec<Value>, ProviderError> {
    let body = answer.body.trim_ascii_start();
    if body.starts_with(b"<") {
        return Err(gateway_error(body).unwrap_or_else(|| answer.failure().unwrap_or_else(|| nonsense("not JSON"))));
    }
    let envelope: Result<Value, _> = answer.json();
    let code = envelope.as_ref().ok().and_then(|body| body["status_code"].as_str());
    match code {
        Some("OK") => {}
        Some("INTERNAL_ERROR" | "HTTP_ERROR") => return Err(ProviderError::Unavailable { status: 502 }),
        Some("TOO_LARGE_REQUEST" | "BAD_JSON_REQUEST" | "REQUEST_DATA_MALFORMED") => {
            return Err(nonsense("the service could not read our request"));
        }
        // An unknown key has been seen as HTTP 400 without any of these codes.
        Some(_) | None if answer.status == http::StatusCode::BAD_REQUEST => return Err(ProviderError::Unauthorized),
        Some(_) | None => {
            return Err(answer.failure().unwrap_or_else(|| nonsense("the envelope says neither OK nor why")));
        }
    }
    let envelope: Envelope =
        serde_json::from_value(envelope?).map_err(|_| nonsense("the envelope has no list of rows"))?;
    Ok(envelope.data)
}

/// `OpenAPI_ServiceResponse/cmmMsgHeader/returnReasonCode`, the common errors of data.go.kr.
fn gateway_error(body: &[u8]) -> Option<ProviderError> {
    let text = std::str::from_utf8(body).ok()?;
    let document = roxmltree::Document::parse(text).ok()?;
    let code = document.descendants().find(|node| node.has_tag_name("returnReasonCode"))?.text()?.trim().to_owned();
    Some(match code.as_str() {
        "1" | "01" | "4" | "04" | "99" => ProviderError::Unavailable { status: 502 },
        "5" | "05" => ProviderError::Unavailable { status: 504 },
        "22" => ProviderError::Throttled { retry_after: Some(QUOTA_BLOCK) },
        "23" => ProviderError::Throttled { retry_after: None },
        // Access denied, key disabled, unknown, expired, from an unknown address, unsigned.
        "20" | "21" | "30" | "31" | "32" | "33" => ProviderError::Unauthorized,
        _ => nonsense("the gateway refused our request"),
    })
}

fn status(row: &Value, query: &StatusQuery) -> Option<TaxStatus> {
    let text = |name: &str| row[name].as_str().map(str::trim);
    let status = match text("b_stt_cd")? {
        "01" => Status::Active,
        "02" => Status::Suspended,
        "03" => Status::Closed,
        "" => Status::NotRegistered,
        _ => return None,
    };
    let known = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    Some(TaxStatus {
        business_number: query.business_number.clone(),
        status,
        // For an unknown number this field holds a sentence, not a kind of taxpayer.
        tax_type: known(text("tax_type")).filter(|_| status != Status::NotRegistered),
        closed_on: text("end_dt").and_then(compact_date),
    })
}

#[async_trait]
impl Provider<Vec<StatusQuery>, Vec<TaxStatus>> for Nts {
    fn name(&self) -> &'static str {
        "nts"
    }

    async fn call(&self, queries: &Vec<StatusQuery>) -> Result<Vec<TaxStatus>, ProviderError> {
        self.status(queries).await
    }
}

/// As a provider of profiles, the tax service knows little more than whether the business is in business.
#[async_trait]
impl Provider<CompanyQuery, CompanyLookup> for Nts {
    fn name(&self) -> &'static str {
        "nts"
    }

    async fn call(&self, query: &CompanyQuery) -> Result<CompanyLookup, ProviderError> {
        let number = &query.business_number;
        let answer = self.status(&[StatusQuery { business_number: number.clone() }]).await?;
        let registered = answer.into_iter().next().filter(|answer| answer.status != Status::NotRegistered);
        let found = registered.map(|answer| Company {
            status: answer.status,
            tax_type: answer.tax_type,
            closed_on: answer.closed_on,
            ..Company::numbered(number)
        });
        Ok(CompanyLookup { found })
    }
}

#[async_trait]
impl Provider<RepresentativeQuery, RepresentativeCheck> for Nts {
    fn name(&self) -> &'static str {
        "nts"
    }

    async fn call(&self, query: &RepresentativeQuery) -> Result<RepresentativeCheck, ProviderError> {
        let Some(established_on) = query.established_on else {
            return Err(nonsense("the tax service needs the day of establishment"));
        };
        let number = query.business_number.as_str();
        let business = json!({"b_no": number, "start_dt": to_compact(established_on), "p_nm": query.name});
        let rows = self.ask("validate", &json!({"businesses": [business]})).await?;
        let row = rows.iter().find(|row| row["b_no"] == number);
        match row.and_then(|row| row["valid"].as_str()) {
            Some("01") => Ok(RepresentativeCheck { matches: true }),
            Some("02") => Ok(RepresentativeCheck { matches: false }),
            Some(_) | None => Err(nonsense("the check has no verdict")),
        }
    }
}

/// Every call counts against the quota, so health is a matter of reaching the host.
#[async_trait]
impl Probe for Nts {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Reach
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        self.0.http.reach(&self.0.base_url).await
    }
}

fn nonsense(why: &'static str) -> ProviderError {
    ProviderError::Malformed(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Incoming {
        Incoming {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_key_in_either_form_is_encoded_exactly_once() {
        for given in ["a+b/c==", "a%2Bb%2Fc%3D%3D", "a%2bb%2fc%3d%3d"] {
            let mut url = Url::parse("https://h.kr/status").unwrap();
            url.query_pairs_mut().append_pair("serviceKey", &percent_decoded(given));
            assert_eq!(url.query(), Some("serviceKey=a%2Bb%2Fc%3D%3D"), "{given}");
        }
    }

    #[test]
    fn the_gateways_errors_are_known_by_their_code() {
        let label = |code: &str| {
            let xml = format!(
                "<OpenAPI_ServiceResponse><cmmMsgHeader><errMsg>SERVICE ERROR</errMsg><returnReasonCode>{code}</returnReasonCode></cmmMsgHeader></OpenAPI_ServiceResponse>"
            );
            rows(&answer(200, &xml)).unwrap_err().label()
        };
        for (codes, expected) in [
            (&["01", "04", "05", "99"][..], "unavailable"),
            (&["22", "23"], "throttled"),
            (&["20", "21", "30", "31", "32", "33"], "unauthorized"),
            (&["10", "11", "12", "77"], "malformed"),
        ] {
            for code in codes {
                assert_eq!(label(code), expected, "{code}");
            }
        }
        assert_eq!(rows(&answer(200, "<html>maintenance</html>")).unwrap_err().label(), "malformed");
        assert_eq!(rows(&answer(503, "<html>maintenance</html>")).unwrap_err().label(), "unavailable");
    }

    #[test]
    fn the_services_errors_are_known_by_their_code_whatever_the_status() {
        let label = |status, body: &str| rows(&answer(status, body)).unwrap_err().label();
        for status in [200, 404, 411] {
            assert_eq!(label(status, r#"{"status_code":"REQUEST_DATA_MALFORMED"}"#), "malformed");
        }
        assert_eq!(label(200, r#"{"status_code":"INTERNAL_ERROR"}"#), "unavailable");
        assert_eq!(label(400, r#"{"code":-4,"msg":"등록되지 않은 인증키 입니다."}"#), "unauthorized");
        assert_eq!(label(200, r#"{"status_code":"OK","data":7}"#), "malformed");
        assert_eq!(label(200, "[]"), "malformed");
        assert_eq!(label(500, "oops"), "unavailable");
    }
}
