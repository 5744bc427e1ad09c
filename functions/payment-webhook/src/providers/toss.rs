//! Toss Payments (토스페이먼츠).
//!
//! Its notifications have three envelopes. Only payouts and sellers are signed; those about payments are not, so they are
//! hints, and the payment is fetched again. A deposit's notification names only the order and carries a word that must be
//! the one the payment has.
//!
//! Sources: <https://docs.tosspayments.com/reference/using-api/webhook-events>, <https://docs.tosspayments.com/reference>.

use std::sync::Arc;

use async_trait::async_trait;
use ieum::clock::Timestamp;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::provider::{Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use ieum::webhook::{LiveSecrets, SecurityKey, TossDeposit};
use serde::Deserialize;
use serde_json::{Number, Value};
use url::Url;

use super::{Happening, Notice, Unreadable, basic, endpoint, exchange, nonsense, text};
use crate::payment::{
    Currency, DayPage, DayQuery, Listed, Method, Money, Observation, PaymentLookup, PaymentQuery, Status,
};

/// Rows on a page of the day.
const PAGE: usize = 100;

/// The secret of this provider.
#[derive(Debug, Deserialize)]
pub struct TossSecret {
    secret_key: SecretString,
    /// The keys that sign payouts and sellers; without one no such notification is believed.
    pub(super) security_keys: Option<LiveSecrets<SecurityKey>>,
}

impl SecretShape for TossSecret {
    const MEMBERS: &'static [&'static str] = &["secret_key", "security_keys"];
}

/// What a notification is about.
///
/// # Errors
/// [`Unreadable`]: it has none of the envelopes.
pub fn read(body: &[u8]) -> Result<Notice, Unreadable> {
    let body: Value = serde_json::from_slice(body)?;
    let Some(kind) = text(&body, "eventType") else {
        let deposit = TossDeposit::deserialize(body)?;
        return super::name(&deposit.order_id).map(|_| Notice::Deposit(deposit)).ok_or(Unreadable);
    };
    if body.get("entityType").is_some() {
        return happening(&body, &kind);
    }
    let data = body.get("data").filter(|data| data.is_object()).ok_or(Unreadable)?;
    if !matches!(kind.as_str(), "PAYMENT_STATUS_CHANGED" | "CANCEL_STATUS_CHANGED") {
        return Ok(Notice::Ignored("unknown_type"));
    }
    let query =
        (text(data, "paymentKey").map(PaymentQuery::Id)).or_else(|| text(data, "orderId").map(PaymentQuery::Order));
    Ok(query.map_or(Notice::Ignored("no_payment"), Notice::Payment))
}

/// The envelope of payouts and sellers.
fn happening(body: &Value, kind: &str) -> Result<Notice, Unreadable> {
    let (id, entity) = (text(body, "eventId").ok_or(Unreadable)?, &body["entityBody"]);
    let kind = match kind {
        "payout.changed" => "payout.changed",
        "seller.changed" => "seller.changed",
        _ => return Ok(Notice::Ignored("unknown_type")),
    };
    let data = serde_json::json!({
        "provider": "toss",
        "id": text(entity, "id"),
        "reference": text(entity, "refPayoutId").or_else(|| text(entity, "refSellerId")),
        "status": text(entity, "status"),
    });
    Ok(Notice::Happened(Happening { id, kind, data }))
}

/// The client.
#[derive(Clone, Debug)]
pub struct Toss {
    base_url: Url,
    http: HttpClient,
    pub(super) secret: Arc<Secret<TossSecret>>,
}

impl Toss {
    /// A client of the account whose secret this is.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<TossSecret>>) -> Self {
        Self { base_url, http, secret }
    }

    async fn get(&self, url: Url) -> Result<Incoming, ProviderError> {
        let secret = self.secret.current().await;
        // The password is empty, and the colon stays.
        let authorization = basic(&format!("{}:", secret.secret_key.expose_secret()))?;
        exchange(&self.http, Outgoing::get(url), authorization, &self.secret, &secret).await
    }
}

#[async_trait]
impl Provider<PaymentQuery, PaymentLookup> for Toss {
    fn name(&self) -> &'static str {
        "toss"
    }

    async fn call(&self, query: &PaymentQuery) -> Result<PaymentLookup, ProviderError> {
        let url = match query {
            PaymentQuery::Id(id) => endpoint(&self.base_url, &["v1", "payments", id])?,
            PaymentQuery::Order(order) => endpoint(&self.base_url, &["v1", "payments", "orders", order])?,
        };
        let answer = self.get(url).await?;
        if super::is_absent(&answer, "code", "NOT_FOUND_PAYMENT")? {
            return Ok(PaymentLookup::NONE);
        }
        let payment: Payment = answer.json()?;
        let asked = match query {
            PaymentQuery::Id(id) => *id == payment.payment_key,
            PaymentQuery::Order(order) => *order == payment.order_id,
        };
        if !asked {
            return Err(nonsense("the answer is about another payment"));
        }
        let word = payment.secret.clone();
        Ok(PaymentLookup { found: Some(payment.observation()?), word })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    payment_key: String,
    order_id: String,
    status: String,
    total_amount: Number,
    balance_amount: Number,
    currency: String,
    method: Option<String>,
    approved_at: Option<String>,
    secret: Option<SecretString>,
}

impl Payment {
    fn observation(self) -> Result<Observation, ProviderError> {
        let status = match self.status.as_str() {
            "READY" | "IN_PROGRESS" => Status::Ready,
            "WAITING_FOR_DEPOSIT" => Status::Waiting,
            "DONE" => Status::Paid,
            "PARTIAL_CANCELED" => Status::PartiallyCanceled,
            "CANCELED" => Status::Canceled,
            "ABORTED" | "EXPIRED" => Status::Failed,
            _ => return Err(nonsense("an unknown status of a payment")),
        };
        let currency = Currency::parse(&self.currency).ok_or_else(|| nonsense("an unknown currency"))?;
        let money = |amount: &Number| {
            Money::from_major(amount, currency.clone()).ok_or_else(|| nonsense("an amount that its currency has not"))
        };
        let (amount, balance) = (money(&self.total_amount)?, money(&self.balance_amount)?);
        let went_back = matches!(status, Status::PartiallyCanceled | Status::Canceled);
        Ok(Observation {
            canceled: if went_back { amount.minor.saturating_sub(balance.minor) } else { 0 },
            status,
            amount,
            id: self.payment_key,
            order: Some(self.order_id),
            method: self.method.as_deref().map(method),
            paid_at: self.approved_at.as_deref().and_then(Timestamp::parse_rfc3339),
        })
    }
}

fn method(name: &str) -> Method {
    match name {
        "카드" | "CARD" => Method::Card,
        "가상계좌" | "VIRTUAL_ACCOUNT" => Method::VirtualAccount,
        "계좌이체" | "TRANSFER" => Method::Transfer,
        "휴대폰" | "MOBILE_PHONE" => Method::Mobile,
        "간편결제" | "EASY_PAY" => Method::EasyPay,
        "문화상품권" | "도서문화상품권" | "게임문화상품권" | "CULTURE_GIFT_CERTIFICATE" => {
            Method::GiftCard
        }
        _ => Method::Other,
    }
}

/// A row of `GET /v1/transactions`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    transaction_key: String,
    payment_key: String,
    status: String,
    amount: Number,
    currency: String,
}

#[async_trait]
impl Provider<DayQuery, DayPage> for Toss {
    fn name(&self) -> &'static str {
        "toss"
    }

    async fn call(&self, query: &DayQuery) -> Result<DayPage, ProviderError> {
        let mut url = endpoint(&self.base_url, &["v1", "transactions"])?;
        url.query_pairs_mut()
            .append_pair("startDate", &format!("{}T00:00:00", query.day))
            .append_pair("endDate", &format!("{}T23:59:59", query.day))
            .append_pair("limit", &PAGE.to_string());
        if let Some(after) = &query.after {
            url.query_pairs_mut().append_pair("startingAfter", after);
        }
        let answer = self.get(url).await?;
        if let Some(error) = answer.failure() {
            return Err(error);
        }
        let rows: Vec<Transaction> = answer.json()?;
        let next = rows.last().filter(|_| rows.len() == PAGE).map(|row| row.transaction_key.clone());
        let paid = rows.into_iter().filter(|row| row.status == "DONE").map(|row| {
            let currency = Currency::parse(&row.currency)?;
            Some(Listed { id: row.payment_key, amount: Money::from_major(&row.amount, currency)?, canceled: None })
        });
        let paid = paid.collect::<Option<_>>().ok_or_else(|| nonsense("an amount that its currency has not"))?;
        Ok(DayPage { paid, next })
    }
}
