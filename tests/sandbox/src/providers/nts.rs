//! The National Tax Service (국세청) on odcloud.kr: state of up to 100 businesses, and a check of representative and
//! opening day (`providers/verify.md` §2).
//!
//! Bodies of errors are JSON that calls itself `text/plain`, and `match_cnt` is left out when nothing matched: both were
//! seen by others on the real service, and both break a careless reader.

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::companies::{self, Company, Standing};
use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// The state of businesses by number.
pub const STATUS_PATH: &str = "/status";
/// The check of number, opening day and representative against the register.
pub const VALIDATE_PATH: &str = "/validate";
/// The only key the fake knows, decoded. Its signs make each mistake of encoding show.
pub const SERVICE_KEY: &str = "sandbox+service/key==";
/// How many businesses one call may ask about.
pub const MAX_BUSINESSES: usize = 100;
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "NTS-INTERNAL-DETAIL";

const GATEWAY_ERROR: &str = "gateway_error";
/// The daily quota is used up.
const DEFAULT_GATEWAY_CODE: &str = "22";
const NOT_CONFIRMED: &str = "확인할 수 없습니다.";
const NOT_REGISTERED: &str = "국세청에 등록되지 않은 사업자등록번호입니다";

/// The fake; it remembers nothing, because the register is the same for all.
#[derive(Debug)]
pub(crate) struct Nts;

#[derive(Debug, Deserialize)]
struct StatusRequest {
    b_no: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ValidateRequest {
    /// Kept as they came, because each is echoed.
    businesses: Vec<Map<String, Value>>,
}

impl Provider for Nts {
    fn name(&self) -> &'static str {
        "nts"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[GATEWAY_ERROR]
    }

    fn answer(&mut self, request: &Request, mode: &Mode) -> Answer {
        if mode.is_own(GATEWAY_ERROR) {
            return gateway_error(mode.code.as_deref().unwrap_or(DEFAULT_GATEWAY_CODE));
        }
        if request.query("serviceKey") != Some(SERVICE_KEY) {
            return unknown_key();
        }
        let answer: fn(Value) -> Answer = match request.path.as_str() {
            STATUS_PATH => status,
            VALIDATE_PATH => validate,
            _ => return refusal(StatusCode::NOT_FOUND, "HTTP_ERROR"),
        };
        if request.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "HTTP_ERROR");
        }
        match serde_json::from_slice(&request.body) {
            Ok(body) => answer(body),
            Err(_) => refusal(StatusCode::BAD_REQUEST, "BAD_JSON_REQUEST"),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let own = match status {
            StatusCode::BAD_REQUEST => "BAD_JSON_REQUEST",
            StatusCode::LENGTH_REQUIRED => "REQUEST_DATA_MALFORMED",
            StatusCode::PAYLOAD_TOO_LARGE => "TOO_LARGE_REQUEST",
            StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL_ERROR",
            _ => "HTTP_ERROR",
        };
        refusal(status, code.unwrap_or(own))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("nts has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({})
    }
}

fn status(body: Value) -> Answer {
    let Ok(asked) = serde_json::from_value::<StatusRequest>(body) else { return malformed() };
    if let Some(refusal) = refuse_count(asked.b_no.len()) {
        return refusal;
    }
    let found: Vec<Option<Company>> = asked.b_no.iter().map(|number| companies::find(number)).collect();
    let rows: Vec<Value> =
        asked.b_no.iter().zip(&found).map(|(number, company)| row(number, company.as_ref())).collect();
    let mut answer = json!({ "status_code": "OK", "request_cnt": asked.b_no.len(), "data": rows });
    let matched = found.iter().flatten().count();
    if matched > 0 {
        answer["match_cnt"] = matched.into();
    }
    Answer::json(StatusCode::OK, &answer)
}

fn validate(body: Value) -> Answer {
    let Ok(asked) = serde_json::from_value::<ValidateRequest>(body) else { return malformed() };
    if let Some(refusal) = refuse_count(asked.businesses.len()) {
        return refusal;
    }
    let mut rows = Vec::with_capacity(asked.businesses.len());
    let mut valid = 0_u32;
    for business in &asked.businesses {
        let text = |name: &str| business.get(name).and_then(Value::as_str);
        let (Some(number), Some(opened_on), Some(person)) = (text("b_no"), text("start_dt"), text("p_nm")) else {
            return malformed();
        };
        let company = companies::find(number)
            .filter(|company| company.established_on == opened_on && company.representative == person);
        rows.push(match company {
            Some(company) => {
                valid += 1;
                json!({ "b_no": number, "valid": "01", "request_param": business, "status": row(number, Some(&company)) })
            }
            None => json!({ "b_no": number, "valid": "02", "valid_msg": NOT_CONFIRMED, "request_param": business }),
        });
    }
    let answer = json!({ "status_code": "OK", "request_cnt": rows.len(), "valid_cnt": valid, "data": rows });
    Answer::json(StatusCode::OK, &answer)
}

fn refuse_count(count: usize) -> Option<Answer> {
    match count {
        0 => Some(malformed()),
        1..=MAX_BUSINESSES => None,
        _ => Some(refusal(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE_REQUEST")),
    }
}

/// One business as the service describes it; a number it does not know has codes that are all empty.
fn row(number: &str, company: Option<&Company>) -> Value {
    let Some(company) = company else { return unknown_row(number) };
    let (state, state_code, closed_on) = match company.standing {
        Standing::Active => ("계속사업자", "01", ""),
        Standing::Suspended => ("휴업자", "02", ""),
        Standing::Closed(on) => ("폐업자", "03", on),
    };
    let simplified = matches!(company.tax_type, "02" | "07");
    json!({
        "b_no": number,
        "b_stt": state,
        "b_stt_cd": state_code,
        "tax_type": tax_type(company.tax_type),
        "tax_type_cd": company.tax_type,
        "end_dt": closed_on,
        "utcc_yn": "N",
        "tax_type_change_dt": if simplified { "20240701" } else { "" },
        "invoice_apply_dt": if company.tax_type == "07" { "20240701" } else { "" },
        "rbf_tax_type": if simplified { tax_type("01") } else { "해당없음" },
        "rbf_tax_type_cd": if simplified { "01" } else { "99" },
    })
}

fn unknown_row(number: &str) -> Value {
    // Both spellings were seen in the wild; the last digit decides, so that a test can have either.
    let even = number.ends_with(['0', '2', '4', '6', '8']);
    json!({
        "b_no": number,
        "b_stt": "",
        "b_stt_cd": "",
        "tax_type": format!("{NOT_REGISTERED}{}", if even { "." } else { "" }),
        "tax_type_cd": "",
        "end_dt": "",
        "utcc_yn": "",
        "tax_type_change_dt": "",
        "invoice_apply_dt": "",
        "rbf_tax_type": "",
        "rbf_tax_type_cd": "",
    })
}

fn tax_type(code: &str) -> &'static str {
    match code {
        "01" => "부가가치세 일반과세자",
        "02" => "부가가치세 간이과세자",
        "03" => "부가가치세 과세특례자",
        "04" => "부가가치세 면세사업자",
        "05" => "수익사업을 영위하지 않는 비영리법인이거나 고유번호가 부여된 단체,국가기관 등",
        "06" => "고유번호가 부여된 단체",
        "07" => "부가가치세 간이과세자(세금계산서 발급사업자)",
        _ => "",
    }
}

fn malformed() -> Answer {
    refusal(StatusCode::LENGTH_REQUIRED, "REQUEST_DATA_MALFORMED")
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    let body = json!({ "status_code": code, "msg": format!("{INTERNAL_DETAIL}: the request was refused") });
    Answer::text(status, "text/plain;charset=utf-8", body.to_string())
}

/// The platform in front of the service refuses keys in its own words.
fn unknown_key() -> Answer {
    let body = json!({ "code": -4, "msg": format!("{INTERNAL_DETAIL}: the service key is not known") });
    Answer::json(StatusCode::UNAUTHORIZED, &body)
}

/// The gateway of data.go.kr answers 200 and XML, whatever was asked for.
fn gateway_error(code: &str) -> Answer {
    let name = match code {
        "01" => "APPLICATION_ERROR",
        "04" => "HTTP_ERROR",
        "05" => "SERVICETIMEOUT_ERROR",
        "10" => "INVALID_REQUEST_PARAMETER_ERROR",
        "11" => "NO_MANDATORY_REQUEST_PARAMETERS_ERROR",
        "12" => "NO_OPENAPI_SERVICE_ERROR",
        "20" => "SERVICE_ACCESS_DENIED_ERROR",
        "21" => "TEMPORARILY_DISABLE_THE_SERVICEKEY_ERROR",
        "22" => "LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR",
        "23" => "LIMITED_NUMBER_OF_SERVICE_REQUESTS_PER_SECOND_EXCEEDS_ERROR",
        "30" => "SERVICE_KEY_IS_NOT_REGISTERED_ERROR",
        "31" => "DEADLINE_HAS_EXPIRED_ERROR",
        "32" => "UNREGISTERED_IP_ERROR",
        "33" => "UNSIGNED_CALL_ERROR",
        _ => "UNKNOWN_ERROR",
    };
    // The code needs no escaping: the control interface takes letters, digits and three signs only.
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<OpenAPI_ServiceResponse><cmmMsgHeader>\
         <errMsg>SERVICE ERROR {INTERNAL_DETAIL}</errMsg><returnAuthMsg>{name}</returnAuthMsg>\
         <returnReasonCode>{code}</returnReasonCode></cmmMsgHeader></OpenAPI_ServiceResponse>\n"
    );
    Answer::text(StatusCode::OK, "text/xml;charset=UTF-8", body)
}
