//! PortOne V2 (포트원). Signed as Standard Webhooks. A payment's name is the shop's own, so it is the order as well.
//!
//! Sources: <https://developers.portone.io/opi/ko/integration/webhook/readme-v2>,
//! <https://developers.portone.io/api/rest-v2/payment>.

use std::sync::Arc;

use async_trait::async_trait;
use ieum::clock::Timestamp;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::provider::{Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use ieum::webhook::{Base64Key, LiveSecrets};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Notice, Unreadable, credentials, endpoint, exchange, nonsense, text};
use crate::payment::{
    Currency, DayPage, DayQuery, Listed, Method, Money, Observation, PaymentLookup, PaymentQuery, Status,
};

/// Rows on a page of the day.
const PAGE: u64 = 100;

/// The secret of this provider.
#[derive(Debug, Deserialize)]
pub struct PortOneSecret {
    api_secret: SecretString,
    pub(super) webhook_secrets: LiveSecrets<Base64Key>,
    /// Secrets that are only watched: what they verify is logged, and not believed for it.
    pub(super) webhook_candidates: Option<LiveSecrets<Base64Key>>,
}

impl SecretShape for PortOneSecret {
    const MEMBERS: &'static [&'static str] = &["api_secret", "webhook_secrets", "webhook_candidates"];
}

/// What a notification is about, in the version of 2024-04-25 or of 2024-01-01.
///
/// # Errors
/// [`Unreadable`]: it has neither form.
pub fn read(body: &[u8]) -> Result<Notice, Unreadable> {
    let body: Value = serde_json::from_slice(body)?;
    let Some(kind) = text(&body, "type") else {
        return text(&body, "payment_id").map(|id| Notice::Payment(PaymentQuery::Id(id))).ok_or(Unreadable);
    };
    // The vendor asks that unknown types be ignored; those of transactions all name the payment.
    let payment = text(&body["data"], "paymentId").filter(|_| kind.starts_with("Transaction."));
    Ok(payment.map_or(Notice::Ignored("unknown_type"), |id| Notice::Payment(PaymentQuery::Id(id))))
}

/// The client.
#[derive(Clone, Debug)]
pub struct PortOne {
    base_url: Url,
    http: HttpClient,
    pub(super) secret: Arc<Secret<PortOneSecret>>,
}

impl PortOne {
    /// A client of the account whose secret this is.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<PortOneSecret>>) -> Self {
        Self { base_url, http, secret }
    }

    async fn get(&self, url: Url) -> Result<Incoming, ProviderError> {
        let secret = self.secret.current().await;
        let authorization = credentials(&format!("PortOne {}", secret.api_secret.expose_secret()))?;
        exchange(&self.http, Outgoing::get(url), authorization, &self.secret, &secret).await
    }
}

#[async_trait]
impl Provider<PaymentQuery, PaymentLookup> for PortOne {
    fn name(&self) -> &'static str {
        "portone"
    }

    async fn call(&self, query: &PaymentQuery) -> Result<PaymentLookup, ProviderError> {
        let (PaymentQuery::Id(id) | PaymentQuery::Order(id)) = query;
        let answer = self.get(endpoint(&self.base_url, &["payments", id])?).await?;
        if super::is_absent(&answer, "type", "PAYMENT_NOT_FOUND")? {
            return Ok(PaymentLookup::NONE);
        }
        let payment: Payment = answer.json()?;
        if payment.id != *id {
            return Err(nonsense("the answer is about another payment"));
        }
        Ok(PaymentLookup::of(payment.observation()?))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    id: String,
    status: String,
    amount: Amount,
    currency: Currency,
    method: Option<Value>,
    paid_at: Option<String>,
}

/// In the currency's smallest unit.
#[derive(Debug, Deserialize)]
struct Amount {
    total: i64,
    #[serde(default)]
    cancelled: i64,
}

impl Payment {
    fn observation(self) -> Result<Observation, ProviderError> {
        let status = match self.status.as_str() {
            "READY" => Status::Ready,
            "PAY_PENDING" | "VIRTUAL_ACCOUNT_ISSUED" => Status::Waiting,
            "PAID" => Status::Paid,
            "PARTIAL_CANCELLED" => Status::PartiallyCanceled,
            "CANCELLED" => Status::Canceled,
            "FAILED" => Status::Failed,
            _ => return Err(nonsense("an unknown status of a payment")),
        };
        Ok(Observation {
            canceled: self.amount.cancelled,
            status,
            amount: Money { minor: self.amount.total, currency: self.currency },
            order: Some(self.id.clone()),
            id: self.id,
            method: self.method.as_ref().and_then(|method| text(method, "type")).map(|name| method(&name)),
            paid_at: self.paid_at.as_deref().and_then(Timestamp::parse_rfc3339),
        })
    }
}

fn method(name: &str) -> Method {
    match name {
        "PaymentMethodCard" => Method::Card,
        "PaymentMethodVirtualAccount" => Method::VirtualAccount,
        "PaymentMethodTransfer" => Method::Transfer,
        "PaymentMethodMobile" => Method::Mobile,
        "PaymentMethodEasyPay" => Method::EasyPay,
        "PaymentMethodGiftCertificate" => Method::GiftCard,
        _ => Method::Other,
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Payment>,
    page: PageInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    total_count: u64,
}

#[async_trait]
impl Provider<DayQuery, DayPage> for PortOne {
    fn name(&self) -> &'static str {
        "portone"
    }

    async fn call(&self, query: &DayQuery) -> Result<DayPage, ProviderError> {
        let number: u64 = query.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0);
        // The endpoint takes its JSON in the query, because it is a GET.
        let request = json!({
            "page": {"number": number, "size": PAGE},
            "filter": {
                "from": query.day.begins().rfc3339(),
                "until": query.day.ends().rfc3339(),
                "timestampType": "STATUS_CHANGED_AT",
                "status": ["PAID", "PARTIAL_CANCELLED"],
            },
        });
        let mut url = endpoint(&self.base_url, &["payments"])?;
        url.query_pairs_mut().append_pair("requestBody", &request.to_string());
        let answer = self.get(url).await?;
        if let Some(error) = answer.failure() {
            return Err(error);
        }
        let page: Page = answer.json()?;
        let more = (number + 1) * PAGE < page.page.total_count && !page.items.is_empty();
        let paid = page.items.into_iter().map(|item| {
            let amount = Money { minor: item.amount.total, currency: item.currency };
            Listed { id: item.id, amount, canceled: Some(item.amount.cancelled) }
        });
        Ok(DayPage { paid: paid.collect(), next: more.then(|| (number + 1).to_string()) })
    }
}
