//! NICE D&B: company information behind a token, as far as public code shows it (`providers/verify.md` §1).
//!
//! The vendor's guide could not be read, so three things are assumptions of this fake, each in one place: the path of the
//! company lookup ([`COMPANY_PATH`]), the codes of `resCd` other than `0000`, and the name `cmpList` of a search result.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::companies::{self, Company};
use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// Where tokens are issued.
pub const TOKEN_PATH: &str = "/nice/oauth/v1.0/accesstoken";
/// Where one company is looked up. Not public: a deployment reads it from its configuration, and so must the layer.
pub const COMPANY_PATH: &str = "/nice/bizinfo/v1.0/enterprise/general/info";
/// Where companies are searched by name.
pub const SEARCH_PATH: &str = "/nice/bizinfo/v1.0/enterprise/general/search";
/// The only application key the fake knows.
pub const APP_KEY: &str = "sandbox-app-key";
/// The secret of [`APP_KEY`].
pub const APP_SECRET: &str = "sandbox-app-secret";
/// The company every lookup answers in mode `weak_key`. It begins with 999, so in other modes it does not even exist and
/// no test has a reason to ask for it.
pub const WEAK_KEY_COMPANY: &str = "9990000016";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "NICE-INTERNAL-DETAIL";

const WEAK_KEY: &str = "weak_key";
const OK_CODE: &str = "0000";
/// An assumption: HTTP 200 with a code that is not `0000`, and an empty body.
const NOT_FOUND_CODE: &str = "E404";
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(3600);
const MAX_PAGE_SIZE: usize = 100;

/// The fake, with the tokens it has issued.
#[derive(Debug)]
pub(crate) struct Nice {
    /// Until when each token is good.
    tokens: HashMap<String, Instant>,
    token_ttl: Duration,
    post_is_405: bool,
}

impl Default for Nice {
    fn default() -> Self {
        Self { tokens: HashMap::new(), token_ttl: DEFAULT_TOKEN_TTL, post_is_405: false }
    }
}

/// The settings only NICE has; those absent stay as they are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How long tokens issued from now on are good.
    token_ttl_seconds: Option<u32>,
    /// `true` makes all issued tokens worthless.
    revoke_tokens: Option<bool>,
    /// `true` makes the company lookup refuse POST, so that only GET works.
    post_is_405: Option<bool>,
}

/// The body of a token request: JSON in camel case, not the form of RFC 6749.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    app_key: String,
    app_secret: String,
    grant_type: String,
    scope: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompanyRequest {
    biz_no: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchRequest {
    search_name: String,
    search_value: String,
    #[serde(default = "first_page")]
    page_num: Count,
    #[serde(default = "ten_a_page")]
    page_count: Count,
}

/// Public code does not show whether pages are numbers or texts, so both are taken.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(usize),
    Text(String),
}

impl Count {
    fn value(&self) -> Option<usize> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

fn first_page() -> Count {
    Count::Number(1)
}

fn ten_a_page() -> Count {
    Count::Number(10)
}

impl Provider for Nice {
    fn name(&self) -> &'static str {
        "nice"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[TOKEN_PATH]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[WEAK_KEY]
    }

    fn answer(&mut self, request: &Request, mode: &Mode) -> Answer {
        let is_post = request.method == Method::POST;
        if is_post && !request.says_json() {
            return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json");
        }
        match request.path.as_str() {
            TOKEN_PATH if is_post => self.issue(request),
            COMPANY_PATH | SEARCH_PATH if !self.knows_bearer(request) => {
                refusal(StatusCode::UNAUTHORIZED, "the token is unknown or has expired")
            }
            COMPANY_PATH if is_post && self.post_is_405 => wrong_method(),
            COMPANY_PATH if is_post || request.method == Method::GET => company(request, mode.is_own(WEAK_KEY)),
            SEARCH_PATH if is_post => search(request),
            TOKEN_PATH | COMPANY_PATH | SEARCH_PATH => wrong_method(),
            _ => refusal(StatusCode::NOT_FOUND, "there is no such service"),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let own = format!("E{}", status.as_u16());
        refusal_with(status, code.unwrap_or(&own), "the service could not be provided")
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        let settings: Settings = serde_json::from_value(Value::Object(settings))
            .map_err(|error| format!("a setting of nice is wrong: {error}"))?;
        if let Some(seconds) = settings.token_ttl_seconds {
            self.token_ttl = Duration::from_secs(seconds.into());
        }
        if settings.revoke_tokens == Some(true) {
            self.tokens.clear();
        }
        if let Some(post_is_405) = settings.post_is_405 {
            self.post_is_405 = post_is_405;
        }
        Ok(())
    }

    fn state(&self) -> Value {
        let now = Instant::now();
        json!({
            "live_tokens": self.tokens.values().filter(|until| **until > now).count(),
            "token_ttl_seconds": self.token_ttl.as_secs(),
            "post_is_405": self.post_is_405,
        })
    }
}

impl Nice {
    fn issue(&mut self, request: &Request) -> Answer {
        let Ok(asked) = serde_json::from_slice::<TokenRequest>(&request.body) else {
            let words = "the body needs appKey, appSecret, grantType and scope";
            return refusal(StatusCode::BAD_REQUEST, words);
        };
        if asked.app_key != APP_KEY || asked.app_secret != APP_SECRET {
            return refusal(StatusCode::UNAUTHORIZED, "the application key or its secret is wrong");
        }
        if asked.grant_type != "client_credentials" || asked.scope != "oob" {
            return refusal(StatusCode::BAD_REQUEST, "grantType or scope is not supported");
        }
        let now = Instant::now();
        self.tokens.retain(|_, until| *until > now);
        // Never the same twice, also after a reset: a test must not pass with a token from before.
        let token = format!("sandbox-token-{:032x}", fastrand::u128(..));
        self.tokens.insert(token.clone(), now + self.token_ttl);
        Answer::json(StatusCode::OK, &json!({ "accessToken": token, "expiresIn": self.token_ttl.as_secs() }))
    }

    fn knows_bearer(&self, request: &Request) -> bool {
        request.bearer().and_then(|token| self.tokens.get(token)).is_some_and(|until| *until > Instant::now())
    }
}

fn company(request: &Request, weak_key: bool) -> Answer {
    let number = if request.method == Method::GET {
        request.query("bizNo").map(ToOwned::to_owned)
    } else {
        serde_json::from_slice::<CompanyRequest>(&request.body).ok().map(|asked| asked.biz_no)
    };
    let Some(number) = number.filter(|number| number.len() == 10 && number.bytes().all(|byte| byte.is_ascii_digit()))
    else {
        return refusal(StatusCode::BAD_REQUEST, "bizNo is not ten digits");
    };
    if weak_key {
        return Answer::json(StatusCode::OK, &envelope(OK_CODE, weak_key_company()));
    }
    match companies::find(&number) {
        Some(company) => Answer::json(StatusCode::OK, &envelope(OK_CODE, full(&company))),
        None => Answer::json(StatusCode::OK, &envelope(NOT_FOUND_CODE, json!({}))),
    }
}

fn search(request: &Request) -> Answer {
    let Ok(asked) = serde_json::from_slice::<SearchRequest>(&request.body) else {
        return refusal(StatusCode::BAD_REQUEST, "the body needs searchName and searchValue");
    };
    let text = asked.search_value.trim();
    if asked.search_name != "CMP_NM" || text.is_empty() {
        return refusal(StatusCode::BAD_REQUEST, "searchName is not CMP_NM, or searchValue is empty");
    }
    let (page, size) = match (asked.page_num.value(), asked.page_count.value()) {
        (Some(page @ 1..), Some(size @ 1..=MAX_PAGE_SIZE)) => (page, size),
        _ => return refusal(StatusCode::BAD_REQUEST, "pageNum or pageCount is out of range"),
    };
    let found = companies::search(text);
    let on_page: Vec<Value> = found
        .iter()
        .skip((page - 1).saturating_mul(size))
        .take(size)
        .map(|company| {
            json!({
                "bizNo": company.number,
                "cmpNm": company.name,
                "ceoNm": company.representative,
                "addr1": company.street,
            })
        })
        .collect();
    Answer::json(StatusCode::OK, &envelope(OK_CODE, json!({ "totalCnt": found.len(), "cmpList": on_page })))
}

/// All fields public code reads; amounts are thousand KRW.
fn full(company: &Company) -> Value {
    let size = match company.employees {
        0..=9 => "소기업",
        10..=299 => "중소기업",
        _ => "중견기업",
    };
    json!({
        "bizNo": company.number,
        "corpNo": company.corporate_number.as_deref().unwrap_or_default(),
        "cmpNm": company.name,
        "cmpEnm": company.name_en,
        "ceoNm": company.representative,
        "addr1": company.street,
        "addr2": company.building,
        "zip": company.zip,
        "telNo": company.phone,
        "faxTelNo": company.fax,
        "emlAdr": company.email,
        "indNm": company.industry,
        "indCd1": company.industry_code,
        "bzcndNm": company.sector,
        "cmpSclNm": size,
        "cmpTypNm": if company.corporate_number.is_some() { "법인" } else { "개인" },
        "estbDate": company.established_on,
        "criGrd": company.grade,
        "crDate": "20260630",
        "sttDate": "20251231",
        "empCnt": company.employees,
        "empAccYm": "202609",
        "salesAmt": company.sales,
        "oprIcAmt": company.operating_income,
        "shEqAmt": company.equity,
        "debtAmt": company.debt,
        "assetAmt": company.equity + company.debt,
    })
}

/// What a key without the right plan gets, whichever company was asked for.
fn weak_key_company() -> Value {
    json!({
        "bizNo": WEAK_KEY_COMPANY,
        "corpNo": "1101110000010",
        "cmpNm": "(주)시험용기업",
        "cmpEnm": "Test Only Co., Ltd.",
        "ceoNm": "시험용",
        "addr1": "서울특별시 중구 세종대로 1",
        "zip": "04500",
        "indNm": "시험용 자료",
        "estbDate": "20000101",
        "criGrd": "BBB",
        "empCnt": 1,
        "empAccYm": "202609",
        "salesAmt": 1000,
    })
}

fn envelope(code: &str, body: Value) -> Value {
    json!({ "dataHeader": { "resCd": code }, "dataBody": body })
}

fn wrong_method() -> Answer {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here")
}

fn refusal(status: StatusCode, words: &str) -> Answer {
    refusal_with(status, &format!("E{}", status.as_u16()), words)
}

fn refusal_with(status: StatusCode, code: &str, words: &str) -> Answer {
    let body = json!({ "errorCode": code, "errorMsg": format!("{INTERNAL_DETAIL}: {words}") });
    Answer::json(status, &envelope(code, body))
}
