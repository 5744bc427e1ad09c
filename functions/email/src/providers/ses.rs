//! Amazon SES, API v2: one signed request for each mail.
//!
//! Source: <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html>. The mail goes as MIME (`Raw`), so
//! that what SES delivers is byte for byte what SMTP would. There is no SDK client ([`ieum::sigv4`] says why).
//!
//! Traps handled here, each with a test: 400 is anything from a full quota to a bad address, told apart by
//! `x-amzn-errortype` alone; a paused or suspended account is no fault of the mail, so the next provider gets it.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ieum::aws::json::error_name;
use ieum::clock::SharedClock;
use ieum::delivery::worker::Receipt;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::ProviderError;
use ieum::sigv4::Signer;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::Transport;
use crate::compose::Composed;

/// The operation `SendEmail`.
const SEND: &str = "/v2/email/outbound-emails";

/// For how long everybody stays away once the day's quota is used up; then one mail looks again.
const QUOTA_BLOCK: Duration = Duration::from_secs(600);

/// The name under which our id travels, and comes back in every event.
pub const ID_TAG: &str = "ieum-id";

/// The client.
#[derive(Clone, Debug)]
pub struct Ses {
    base_url: Url,
    region: String,
    configuration_set: Option<String>,
    signer: Signer,
    http: HttpClient,
    clock: SharedClock,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    message_id: String,
}

impl Ses {
    /// A client of the service in `region`, at `base_url`.
    pub fn new(
        base_url: Url,
        region: String,
        configuration_set: Option<String>,
        signer: Signer,
        http: HttpClient,
        clock: SharedClock,
    ) -> Self {
        Self { base_url, region, configuration_set, signer, http, clock }
    }

    async fn signed(&self, body: &serde_json::Value) -> Result<Outgoing, ProviderError> {
        let url = format!("{}{SEND}", self.base_url.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| ProviderError::Unreachable(error.into()))?;
        let request = Outgoing::post_json(url, body, Replay::Never)?;
        self.signer.sign(request, "ses", &self.region, self.clock.now()).await
    }
}

#[async_trait]
impl Transport for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    async fn send(&self, mail: &Composed) -> Result<Receipt, ProviderError> {
        let mime = mail.mime(self.clock.now()).map_err(|_| ProviderError::Rejected { code: "mime".to_owned() })?;
        let addresses = |mailboxes: &[crate::address::Mailbox]| -> Vec<String> {
            mailboxes.iter().map(|mailbox| mailbox.address.to_string()).collect()
        };
        let mut body = json!({
            "FromEmailAddress": mail.from.address,
            "Destination": {
                "ToAddresses": addresses(&mail.to),
                "CcAddresses": addresses(&mail.cc),
                "BccAddresses": addresses(&mail.bcc),
            },
            "Content": { "Raw": { "Data": STANDARD.encode(mime) } },
            "EmailTags": [{ "Name": ID_TAG, "Value": mail.id }],
        });
        if let Some(set) = &self.configuration_set {
            body["ConfigurationSetName"] = set.as_str().into();
        }
        let answer = self.http.exchange(self.signed(&body).await?).await?;
        match refusal(&answer) {
            Some(error) => Err(error),
            None => Ok(Receipt { reference: answer.json::<Sent>()?.message_id }),
        }
    }
}

/// What SES's errors mean to us.
fn refusal(answer: &Incoming) -> Option<ProviderError> {
    if answer.status.is_success() {
        return None;
    }
    let told = serde_json::from_slice(&answer.body).unwrap_or(serde_json::Value::Null);
    let name = error_name(&answer.headers, &told).unwrap_or_default();
    match name.as_str() {
        "TooManyRequestsException" | "ThrottlingException" => {
            Some(ProviderError::Throttled { retry_after: answer.retry_after() })
        }
        "LimitExceededException" => Some(ProviderError::Throttled { retry_after: Some(QUOTA_BLOCK) }),
        // Of the account or the set-up, not of this mail: another provider may take it.
        "AccountSuspendedException"
        | "SendingPausedException"
        | "MailFromDomainNotVerifiedException"
        | "NotFoundException" => Some(ProviderError::Unauthorized),
        "MessageRejected" | "BadRequestException" => Some(ProviderError::Rejected { code: name }),
        _ => answer.failure_of_effect(),
    }
}
