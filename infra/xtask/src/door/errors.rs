//! What goes wrong at the door itself, in the project's error format.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Serialize)]
struct Envelope<'a> {
    error: Shown<'a>,
}

/// The same fields in the same order as the functions' own errors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    code: &'static str,
    message: &'static str,
    details: [(); 0],
    timestamp: String,
    trace_id: &'a str,
}

/// A request the door answers instead of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// The request's body broke off.
    BadRequest,
    /// No route serves it.
    NotFound,
    /// The body is over the limit.
    BodyTooLarge,
    /// Request line and headers are over the limit.
    HeadersTooLarge,
    /// Lambda runs as many environments as it may.
    Throttled,
    /// The function crashed, answered too much, or did not answer at all.
    FunctionFailed,
    /// Nobody answered in time.
    TimedOut,
}

impl Problem {
    /// Status, code, Korean, English.
    fn describe(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::BadRequest => {
                (StatusCode::BAD_REQUEST, "invalid_request", "요청 내용을 확인해 주세요.", "Please check the request.")
            }
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "요청하신 항목을 찾을 수 없습니다.",
                "There is no such thing here.",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "요청 본문이 너무 큽니다.",
                "The request body is too large.",
            ),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "요청 헤더가 너무 큽니다.",
                "The request headers are too large.",
            ),
            Self::Throttled => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "요청이 많아 잠시 후 다시 시도해 주세요.",
                "Too many requests. Please try again in a moment.",
            ),
            Self::FunctionFailed => (
                StatusCode::BAD_GATEWAY,
                "function_failed",
                "처리 중 문제가 발생했습니다. 잠시 후 다시 시도해 주세요.",
                "Something went wrong on our side. Please try again later.",
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "timed_out",
                "처리 시간이 초과되었습니다. 잠시 후 다시 시도해 주세요.",
                "This took too long. Please try again later.",
            ),
        }
    }

    /// The response's status and body, in the caller's language.
    pub(super) fn render(self, request: &HeaderMap, trace: &str) -> (StatusCode, Bytes) {
        let (status, code, korean, english) = self.describe();
        let message = if prefers_english(request) { english } else { korean };
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or_else(|_| OffsetDateTime::now_utc());
        let timestamp = now.format(&Rfc3339).unwrap_or_default();
        let error = Shown { code, message, details: [], timestamp, trace_id: trace };
        (status, Bytes::from(serde_json::to_vec(&Envelope { error }).unwrap_or_default()))
    }
}

/// Whether `Accept-Language` names English before Korean, by weight.
fn prefers_english(request: &HeaderMap) -> bool {
    let accepted = request.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let weight = |language: &str| {
        let of = |part: &str| {
            let (tag, parameters) = part.trim().split_once(';').unwrap_or((part.trim(), ""));
            let quality =
                parameters.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok()).unwrap_or(1.0);
            (tag.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case(language))).then_some(quality)
        };
        accepted.split(',').filter_map(of).fold(0.0, f32::max)
    };
    weight("en") > weight("ko")
}

/// The trace the caller is in (`traceparent`, then X-Ray's header), or a new one: 32 hexadecimal digits.
pub(super) fn trace_id(request: &HeaderMap) -> String {
    let text = |name: &str| request.get(name).and_then(|value| value.to_str().ok());
    let valid =
        |id: String| (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_lowercase());
    let from_w3c = || valid(text("traceparent")?.split('-').nth(1)?.to_owned());
    let from_xray = || {
        let root = text("x-amzn-trace-id")?.split(';').find_map(|part| part.trim().strip_prefix("Root=1-"))?;
        valid(root.replace('-', ""))
    };
    from_w3c().or_else(from_xray).unwrap_or_else(new_trace_id)
}

/// X-Ray wants the time in the first eight digits.
fn new_trace_id() -> String {
    let seconds = OffsetDateTime::now_utc().unix_timestamp();
    let rest = crate::local::random::<12>().unwrap_or_default();
    format!("{seconds:08x}{}", hex::encode(rest))
}
