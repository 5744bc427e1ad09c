//! Amazon SES, API v2: `SendEmail` with a raw message, and nothing else.
//!
//! The signature of a request is looked at (algorithm, service, headers) but not computed again: whether it is right is
//! the signing library's business, and a second implementation here would be a second one to be wrong.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request, remember};

/// The operation `SendEmail`.
pub const SEND_PATH: &str = "/v2/email/outbound-emails";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "SES-INTERNAL-DETAIL";
/// Recipients of one mail.
const MAX_RECIPIENTS: usize = 50;

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct Ses {
    mails: Vec<Value>,
    taken: u64,
}

impl Provider for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[]
    }

    fn answer(&mut self, request: &Request, _: &Mode) -> Answer {
        if request.path != SEND_PATH || request.method != Method::POST {
            return self.error(StatusCode::NOT_FOUND, Some("UnknownOperationException"));
        }
        let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let signed = header("authorization");
        let in_scope = signed.starts_with("AWS4-HMAC-SHA256 Credential=") && signed.contains("/ses/aws4_request");
        if !in_scope || header("x-amz-date").is_empty() {
            return self.error(StatusCode::FORBIDDEN, Some("UnrecognizedClientException"));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return self.error(StatusCode::BAD_REQUEST, Some("BadRequestException"));
        };
        let recipients = ["ToAddresses", "CcAddresses", "BccAddresses"]
            .iter()
            .filter_map(|field| body["Destination"][field].as_array())
            .map(Vec::len)
            .sum::<usize>();
        let raw = body["Content"]["Raw"]["Data"].as_str().and_then(|data| STANDARD.decode(data).ok());
        let Some(raw) = raw.filter(|_| (1..=MAX_RECIPIENTS).contains(&recipients)) else {
            return self.error(StatusCode::BAD_REQUEST, Some("BadRequestException"));
        };
        self.taken += 1;
        let id = format!("0100019c-sandbox-{:06}", self.taken);
        remember(
            &mut self.mails,
            json!({
                "message_id": id,
                "from": body["FromEmailAddress"],
                "destination": body["Destination"],
                "tags": body["EmailTags"],
                "configuration_set": body["ConfigurationSetName"],
                "raw": String::from_utf8_lossy(&raw),
            }),
        );
        Answer::json(StatusCode::OK, &json!({ "MessageId": id }))
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let own = match status {
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequestsException",
            StatusCode::BAD_REQUEST => "MessageRejected",
            StatusCode::FORBIDDEN => "UnrecognizedClientException",
            StatusCode::NOT_FOUND => "NotFoundException",
            _ => "InternalServiceErrorException",
        };
        let mut answer = Answer::json(status, &json!({ "message": INTERNAL_DETAIL }));
        if let Ok(name) = format!("{}:http://internal.amazon.com/coral/", code.unwrap_or(own)).parse() {
            answer.headers.insert("x-amzn-errortype", name);
        }
        answer
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("ses has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"taken": self.taken, "mails": self.mails})
    }
}
