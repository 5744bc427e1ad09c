//! Errors with two faces, and the only place that makes an error response.
//!
//! The outside of an error is a stable code, a safe sentence in Korean and English, the fields at fault and a trace id.
//! The inside is the chain of causes, which goes to the log and nowhere else. An [`ApiError`] holds both, and
//! [`ApiError::to_response`] cannot reach the inside: a provider's words, a secret or a query never leave by this door.
//!
//! Codes are few on purpose: a new one is worth it only when a caller would do something else because of it.

use http::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::limiter::Standing;
use crate::provider::Cause;

/// The languages of everything a person reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Korean, the language of the users; the default.
    #[default]
    Korean,
    /// English.
    English,
}

impl Language {
    /// The better of the two for an `Accept-Language` header (RFC 9110, 12.5.4); Korean when it names neither.
    pub fn from_accept_language(header: &str) -> Self {
        let weight = |wanted: &str| {
            header
                .split(',')
                .filter_map(|part| {
                    let mut pieces = part.trim().split(';');
                    let tag = pieces.next()?.trim();
                    let primary = tag.split('-').next()?;
                    let quality = pieces.find_map(|piece| piece.trim().strip_prefix("q=")?.parse::<f32>().ok());
                    primary.eq_ignore_ascii_case(wanted).then_some(quality.unwrap_or(1.0))
                })
                .fold(0.0_f32, f32::max)
        };
        if weight("en") > weight("ko") { Self::English } else { Self::Korean }
    }
}

/// A sentence in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// In Korean.
    pub ko: &'static str,
    /// In English.
    pub en: &'static str,
}

impl Sentence {
    /// The sentence in `language`.
    pub fn in_language(&self, language: Language) -> &'static str {
        match language {
            Language::Korean => self.ko,
            Language::English => self.en,
        }
    }
}

/// What an error is to the caller: a stable name, an HTTP status and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable name, in snake case.
    pub name: &'static str,
    /// 400 to 599.
    pub status: u16,
    /// What a person reads.
    pub sentence: Sentence,
}

/// Declares a code with its sentences beside it.
pub const fn code(name: &'static str, status: u16, ko: &'static str, en: &'static str) -> Code {
    Code { name, status, sentence: Sentence { ko, en } }
}

/// The request is malformed; `details` names the fields at fault.
pub const INVALID_REQUEST: Code =
    code("invalid_request", 400, "요청 내용을 확인해 주세요.", "Please check the request.");
/// No valid credentials.
pub const UNAUTHENTICATED: Code =
    code("unauthenticated", 401, "유효한 인증 정보가 필요합니다.", "Valid credentials are required.");
/// Valid credentials without the scope of this route.
pub const FORBIDDEN: Code =
    code("forbidden", 403, "이 작업을 수행할 권한이 없습니다.", "You are not allowed to do this.");
/// No such route or thing.
pub const NOT_FOUND: Code = code("not_found", 404, "요청하신 항목을 찾을 수 없습니다.", "There is no such thing here.");
/// The route exists, but not with this method.
pub const METHOD_NOT_ALLOWED: Code =
    code("method_not_allowed", 405, "허용되지 않은 요청 방식입니다.", "This method is not allowed here.");
/// The request contradicts the state of things.
pub const CONFLICT: Code = code(
    "conflict",
    409,
    "현재 상태에서는 처리할 수 없는 요청입니다.",
    "The request conflicts with the current state.",
);
/// The same request, under the same idempotency key, is being worked on; `Retry-After` says when to return.
pub const IN_PROGRESS: Code = code(
    "in_progress",
    409,
    "같은 요청을 처리하고 있습니다. 잠시 후 다시 시도해 주세요.",
    "The same request is still being processed. Please try again in a moment.",
);
/// The idempotency key belongs to another request.
pub const IDEMPOTENCY_KEY_REUSED: Code = code(
    "idempotency_key_reused",
    422,
    "이미 다른 요청에 사용한 멱등성 키입니다. 새 키를 사용해 주세요.",
    "This idempotency key was used for a different request. Please use a new key.",
);
/// The body is larger than this route takes.
pub const PAYLOAD_TOO_LARGE: Code =
    code("payload_too_large", 413, "요청 본문이 너무 큽니다.", "The request body is too large.");
/// A limit of ours or of the provider's is reached; `Retry-After` says when to return.
pub const RATE_LIMITED: Code = code(
    "rate_limited",
    429,
    "요청이 많아 잠시 후 다시 시도해 주세요.",
    "Too many requests. Please try again in a moment.",
);
/// A defect of ours.
pub const INTERNAL: Code = code(
    "internal_error",
    500,
    "처리 중 문제가 발생했습니다. 잠시 후 다시 시도해 주세요.",
    "Something went wrong on our side. Please try again later.",
);
/// The provider understood the request and refuses it.
pub const PROVIDER_REJECTED: Code = code(
    "provider_rejected",
    502,
    "외부 기관에서 요청을 처리하지 않았습니다.",
    "The provider did not accept the request.",
);
/// No provider can be asked now and nothing stands in for its answer.
pub const PROVIDER_UNAVAILABLE: Code = code(
    "provider_unavailable",
    503,
    "외부 기관에 일시적으로 연결할 수 없습니다. 잠시 후 다시 시도해 주세요.",
    "The provider is temporarily unavailable. Please try again later.",
);
/// Our own state cannot be reached, and this request cannot do without it.
pub const STORE_UNAVAILABLE: Code = code(
    "store_unavailable",
    503,
    "일시적으로 저장할 수 없습니다. 잠시 후 다시 시도해 주세요.",
    "The request cannot be stored right now. Please try again later.",
);

/// What is wrong with one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The stable name, in snake case.
    pub name: &'static str,
    /// What a person reads.
    pub sentence: Sentence,
}

/// Declares an issue with its sentences beside it.
pub const fn issue(name: &'static str, ko: &'static str, en: &'static str) -> Issue {
    Issue { name, sentence: Sentence { ko, en } }
}

/// A field that must be there is not.
pub const MISSING: Issue = issue("missing", "필수 항목입니다.", "This field is required.");
/// The text is not what this field holds.
pub const BAD_FORMAT: Issue = issue("bad_format", "형식이 올바르지 않습니다.", "This is not in the expected form.");
/// The field is unknown here.
pub const UNKNOWN_FIELD: Issue = issue("unknown_field", "알 수 없는 항목입니다.", "This field is unknown here.");
/// Too long, or too many.
pub const TOO_LONG: Issue = issue("too_long", "허용 길이를 초과했습니다.", "This is longer than allowed.");
/// The body is not JSON.
pub const NOT_JSON: Issue = issue("not_json", "올바른 JSON이 아닙니다.", "This is not valid JSON.");

/// One thing at fault, or one thing the caller can do about it.
#[derive(Clone, Debug)]
pub struct Detail {
    field: Option<String>,
    issue: Issue,
    extra: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Detail {
    /// The field named `field` has this issue.
    pub fn field(field: impl Into<String>, issue: Issue) -> Self {
        Self { field: Some(field.into()), issue, extra: None }
    }

    /// Says in words what the field may hold.
    pub fn expecting(mut self, form: &str) -> Self {
        self.extra.get_or_insert_default().insert("expected".to_owned(), form.into());
        self
    }

    /// The same, where its field stands below `path`.
    pub(crate) fn within(self, path: &str) -> Self {
        let field = self.field.map(|field| format!("{path}.{field}"));
        Self { field, ..self }
    }

    /// Not about a field: something the caller may do, described by `extra`.
    pub fn offer(issue: Issue, extra: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { field: None, issue, extra: Some(extra) }
    }

    fn body(&self, language: Language) -> DetailBody<'_> {
        DetailBody {
            field: self.field.as_deref(),
            issue: self.issue.name,
            message: self.issue.sentence.in_language(language),
            extra: self.extra.as_ref(),
        }
    }
}

/// An error on its way to a caller: safe outside, whole inside.
#[derive(Debug, thiserror::Error)]
#[error("{}", code.name)]
pub struct ApiError {
    code: Code,
    details: Vec<Detail>,
    retry_after_seconds: Option<u64>,
    limit: Option<Box<(String, Standing)>>,
    #[source]
    inside: Option<Cause>,
}

impl ApiError {
    /// An error of this code.
    pub fn new(code: Code) -> Self {
        Self { code, details: Vec::new(), retry_after_seconds: None, limit: None, inside: None }
    }

    /// A 400 that names the field at fault.
    pub fn invalid(field: impl Into<String>, issue: Issue) -> Self {
        Self::new(INVALID_REQUEST).with(Detail::field(field, issue))
    }

    /// Adds a detail.
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// Adds the details of `other`, an error about the part at `path`.
    pub fn including(mut self, other: Self, path: &str) -> Self {
        self.details.extend(other.details.into_iter().map(|detail| detail.within(path)));
        self
    }

    /// Tells the caller when to return.
    pub fn retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after_seconds = seconds;
        self
    }

    /// Tells the caller which limit was reached, and when to return.
    pub fn limited(mut self, name: impl Into<String>, standing: Standing) -> Self {
        let seconds = u64::try_from(standing.reset.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.limit = Some(Box::new((name.into(), standing)));
        self.retry_after(Some(seconds.max(1)))
    }

    /// Our own state cannot be had, because of `cause`.
    pub fn store_unavailable(cause: impl Into<Cause>) -> Self {
        Self::new(STORE_UNAVAILABLE).because(cause)
    }

    /// Adds the inside, for the log.
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.inside = Some(cause.into());
        self
    }

    /// What the error is to the caller.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The outside, as one part of an answer that is about several things: its code, sentence and details.
    pub fn outside(&self, language: Language) -> serde_json::Value {
        let details: Vec<_> = self.details.iter().map(|detail| detail.body(language)).collect();
        serde_json::json!({
            "code": self.code.name,
            "message": self.code.sentence.in_language(language),
            "details": details,
        })
    }

    /// The response a caller sees: the outside, nothing else.
    pub fn to_response(&self, trace_id: &str, now: Timestamp, language: Language) -> Response<String> {
        let details = self.details.iter().map(|detail| detail.body(language)).collect();
        let body = Body {
            error: ErrorBody {
                code: self.code.name,
                message: self.code.sentence.in_language(language),
                details,
                timestamp: now.rfc3339(),
                trace_id,
            },
        };
        let body = serde_json::to_string(&body).unwrap_or_else(|_| RawValue::NULL.get().to_owned());
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        for (name, value) in self.limit.iter().flat_map(|limit| limit.1.headers(&limit.0)) {
            if let Ok(value) = header::HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        if self.code == UNAUTHENTICATED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer, ApiKey"));
        }
        response
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    details: Vec<DetailBody<'a>>,
    timestamp: String,
    #[serde(rename = "traceId")]
    trace_id: &'a str,
}

#[derive(Serialize)]
struct DetailBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    issue: &'a str,
    message: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    extra: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

/// Where JSON is not what was expected. serde's own message may quote the content, which is somebody's data.
pub fn place(error: &serde_json::Error) -> String {
    format!("{:?} at line {} column {}", error.classify(), error.line(), error.column())
}

/// The whole chain of an error in one line, for the log.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    #[test]
    fn the_outside_is_safe_and_the_inside_stays_in() {
        let error = ApiError::invalid("business_number", BAD_FORMAT).because("secret provider words");
        let response = error.to_response("4bf92f3577b34da6a3ce929d0e0e4736", NOW, Language::English);
        assert_eq!(response.status(), 400);
        assert_eq!(
            response.body(),
            r#"{"error":{"code":"invalid_request","message":"Please check the request.","details":[{"field":"business_number","issue":"bad_format","message":"This is not in the expected form."}],"timestamp":"2026-11-21T03:50:00Z","traceId":"4bf92f3577b34da6a3ce929d0e0e4736"}}"#
        );
        assert_eq!(chain(&error), "invalid_request: secret provider words");
    }

    #[test]
    fn the_language_follows_the_weights_and_is_korean_when_in_doubt() {
        for (header, language) in [
            ("", Language::Korean),
            ("fr", Language::Korean),
            ("en", Language::English),
            ("ko-KR,ko;q=0.9,en-US;q=0.8", Language::Korean),
            ("en-GB, ko;q=0.5", Language::English),
            ("ko;q=0.2,en;q=0.3", Language::English),
            ("en;q=abc;,,;", Language::English),
        ] {
            assert_eq!(Language::from_accept_language(header), language, "`{header}`");
        }
    }

    #[test]
    fn when_to_return_is_a_header() {
        let response = ApiError::new(RATE_LIMITED).retry_after(Some(3)).to_response("t", NOW, Language::Korean);
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"3".parse().unwrap()));
        assert!(response.body().contains("잠시 후 다시 시도해 주세요"));
    }
}
