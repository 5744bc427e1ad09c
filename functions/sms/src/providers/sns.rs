//! Amazon SNS: one signed form for each text.
//!
//! Source: <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>, in the query protocol.
//! There is no SDK client ([`ieum::sigv4`] says why).
//!
//! SNS carries no name of ours and calls nobody back: what became of a text stands in CloudWatch Logs, under the name in
//! its answer. So a text whose answer got lost can only be settled by a person.

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use ieum::clock::SharedClock;
use ieum::delivery::worker::Receipt;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::{Cause, ProviderError};
use ieum::sigv4::Signer;
use roxmltree::Document;
use url::{Url, form_urlencoded};

use super::Transport;
use crate::config::SnsConfig;
use crate::events::Reason;
use crate::text::{Kind, Text};

/// The version of the protocol.
const VERSION: &str = "2010-03-31";

/// The client.
#[derive(Clone, Debug)]
pub struct Sns {
    url: Url,
    config: SnsConfig,
    signer: Signer,
    http: HttpClient,
    clock: SharedClock,
}

impl Sns {
    /// A client of the service that `config` describes.
    ///
    /// # Errors
    /// When the region is no part of a host name.
    pub fn new(config: SnsConfig, signer: Signer, http: HttpClient, clock: SharedClock) -> Result<Self, Cause> {
        Ok(Self { url: config.url()?, config, signer, http, clock })
    }

    /// The form, without what signs it.
    fn form(&self, text: &Text) -> String {
        let kind = match text.kind {
            Kind::Transactional => "Transactional",
            Kind::Promotional => "Promotional",
        };
        let attributes = [
            ("AWS.SNS.SMS.SMSType", "String", Some(kind)),
            ("AWS.SNS.SMS.SenderID", "String", self.config.sender_id.as_deref()),
            ("AWS.SNS.SMS.MaxPrice", "Number", self.config.max_price_usd.as_deref()),
            ("AWS.MM.SMS.OriginationNumber", "String", self.config.origination_number.as_deref()),
        ];
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", "Publish").append_pair("Version", VERSION);
        form.append_pair("PhoneNumber", text.to.as_str()).append_pair("Message", &text.text);
        let present = attributes.into_iter().filter_map(|(name, kind, value)| Some((name, kind, value?)));
        for (place, (name, kind, value)) in (1..).zip(present) {
            let entry = format!("MessageAttributes.entry.{place}");
            form.append_pair(&format!("{entry}.Name"), name);
            form.append_pair(&format!("{entry}.Value.DataType"), kind);
            form.append_pair(&format!("{entry}.Value.StringValue"), value);
        }
        form.finish()
    }

    async fn signed(&self, form: String) -> Result<Outgoing, ProviderError> {
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        let (url, body) = (self.url.clone(), form.into());
        let request = Outgoing { method: Method::POST, url, headers, body, replay: Replay::Never };
        self.signer.sign(request, "sns", &self.config.region, self.clock.now()).await
    }
}

#[async_trait]
impl Transport for Sns {
    fn name(&self) -> &'static str {
        "sns"
    }

    fn about_number(&self, code: &str) -> Option<Reason> {
        (code == "OptedOut").then_some(Reason::OptOut)
    }

    fn carries_our_id(&self) -> bool {
        false
    }

    async fn send(&self, _: &str, text: &Text) -> Result<Receipt, ProviderError> {
        let answer = self.http.exchange(self.signed(self.form(text)).await?).await?;
        match refusal(&answer) {
            Some(error) => Err(error),
            None => {
                let malformed = || ProviderError::Malformed("no MessageId in the answer".into());
                Ok(Receipt { reference: element(&answer, "MessageId").ok_or_else(malformed)? })
            }
        }
    }
}

/// The text of the first element of that name.
fn element(answer: &Incoming, name: &str) -> Option<String> {
    let document = Document::parse(std::str::from_utf8(&answer.body).ok()?).ok()?;
    let node = document.descendants().find(|node| node.tag_name().name() == name)?;
    node.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What SNS's errors mean to us.
fn refusal(answer: &Incoming) -> Option<ProviderError> {
    let usual = answer.failure_of_effect()?;
    let code = element(answer, "Code");
    Some(match code.as_deref() {
        Some("Throttled" | "Throttling" | "ThrottlingException") => {
            ProviderError::Throttled { retry_after: answer.retry_after() }
        }
        Some(code) if matches!(usual, ProviderError::Rejected { .. }) => match code {
            // Signing in, which the query protocol answers with 400 or 403.
            "AuthorizationError"
            | "AccessDenied"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken" => ProviderError::Unauthorized,
            code => ProviderError::Rejected { code: code.to_owned() },
        },
        Some(_) | None => usual,
    })
}
