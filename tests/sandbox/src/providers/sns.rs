//! Amazon SNS in the query protocol: `Publish` to a phone number, and nothing else.
//!
//! The signature of a request is looked at (algorithm, service, headers) but not computed again: whether it is right is
//! the signing library's business, and a second implementation here would be a second one to be wrong.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "SNS-INTERNAL-DETAIL";
/// A number whose owner wants no texts.
pub const OPTED_OUT: &str = "+821099990000";
/// The most texts that are remembered.
const MAX_TEXTS: usize = 2_000;

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct Sns {
    texts: Vec<Value>,
    taken: u64,
}

impl Provider for Sns {
    fn name(&self) -> &'static str {
        "sns"
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
        let signed = request.header("authorization");
        let in_scope = signed.starts_with("AWS4-HMAC-SHA256 Credential=") && signed.contains("/sns/aws4_request");
        if !in_scope || request.header("x-amz-date").is_empty() {
            return self.error(StatusCode::FORBIDDEN, Some("InvalidClientTokenId"));
        }
        let form = request.form();
        let member = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let is_publish = member("Action") == "Publish" && member("Version") == "2010-03-31";
        if request.method != Method::POST || request.path != "/" || !is_publish {
            return self.error(StatusCode::BAD_REQUEST, Some("InvalidAction"));
        }
        let (number, message) = (member("PhoneNumber"), member("Message"));
        if !number.starts_with('+') || message.is_empty() || message.chars().count() > 1_600 {
            return self.error(StatusCode::BAD_REQUEST, Some("InvalidParameter"));
        }
        if number == OPTED_OUT {
            return self.error(StatusCode::BAD_REQUEST, Some("OptedOut"));
        }
        self.taken += 1;
        let id = format!("5a8d0c4e-0000-5000-8000-{:012}", self.taken);
        if self.texts.len() == MAX_TEXTS {
            self.texts.remove(0);
        }
        self.texts.push(json!({"message_id": id, "form": form}));
        let body = format!(
            "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
             <MessageId>{id}</MessageId></PublishResult><ResponseMetadata><RequestId>sandbox</RequestId>\
             </ResponseMetadata></PublishResponse>"
        );
        Answer::text(StatusCode::OK, "text/xml", body)
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let code = match (code, status) {
            (Some(code), _) => code,
            (None, StatusCode::TOO_MANY_REQUESTS) => "Throttled",
            (None, _) => "InternalError",
        };
        let body = format!(
            "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{INTERNAL_DETAIL}</Message></Error><RequestId>sandbox</RequestId></ErrorResponse>"
        );
        Answer::text(status, "text/xml", body)
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("sns has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"taken": self.taken, "texts": self.texts})
    }
}
