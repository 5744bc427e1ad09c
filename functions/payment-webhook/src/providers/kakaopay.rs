//! KakaoPay (카카오페이). It sends no webhooks: the buyer's browser comes back, which anybody could do, so the payment is
//! asked for by whoever takes the buyer in, and each night while it is open.
//!
//! Source: <https://developers.kakaopay.com/docs/payment/online/single-payment>. What "there is no such payment" looks like
//! is not documented; a 404 is taken for it, any other refusal for a refusal.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use ieum::clock::Timestamp;
use ieum::http::{HttpClient, Outgoing};
use ieum::policy::Replay;
use ieum::provider::{Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{credentials, endpoint, exchange, nonsense};
use crate::payment::{Currency, Method, Money, Observation, PaymentLookup, PaymentQuery, Status};

/// The secret of this provider.
#[derive(Debug, Deserialize)]
pub struct KakaoPaySecret {
    secret_key: SecretString,
    /// The shop's number.
    cid: SecretString,
}

impl SecretShape for KakaoPaySecret {
    const MEMBERS: &'static [&'static str] = &["secret_key", "cid"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct KakaoPay {
    base_url: Url,
    http: HttpClient,
    secret: Arc<Secret<KakaoPaySecret>>,
}

impl KakaoPay {
    /// A client of the account whose secret this is.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<KakaoPaySecret>>) -> Self {
        Self { base_url, http, secret }
    }
}

#[async_trait]
impl Provider<PaymentQuery, PaymentLookup> for KakaoPay {
    fn name(&self) -> &'static str {
        "kakaopay"
    }

    async fn call(&self, query: &PaymentQuery) -> Result<PaymentLookup, ProviderError> {
        let PaymentQuery::Id(tid) = query else { return Err(nonsense("KakaoPay finds no payment by its order")) };
        let secret = self.secret.current().await;
        let url = endpoint(&self.base_url, &["online", "v1", "payment", "order"])?;
        let body = json!({"cid": secret.cid.expose_secret(), "tid": tid});
        let authorization = credentials(&format!("SECRET_KEY {}", secret.secret_key.expose_secret()))?;
        let outgoing = Outgoing::post_json(url, &body, Replay::Safe)?;
        let answer = exchange(&self.http, outgoing, authorization, &self.secret, &secret).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(PaymentLookup::NONE);
        }
        if let Some(error) = answer.failure() {
            return Err(error);
        }
        let order: Order = answer.json()?;
        if order.tid != *tid {
            return Err(nonsense("the answer is about another payment"));
        }
        Ok(PaymentLookup::of(order.observation()?))
    }
}

#[derive(Debug, Deserialize)]
struct Order {
    tid: String,
    status: String,
    partner_order_id: String,
    payment_method_type: Option<String>,
    amount: Total,
    canceled_amount: Option<Total>,
    approved_at: Option<String>,
}

/// In won: KakaoPay knows no other currency.
#[derive(Debug, Deserialize)]
struct Total {
    total: i64,
}

impl Order {
    fn observation(self) -> Result<Observation, ProviderError> {
        let status = match self.status.as_str() {
            "SUCCESS_PAYMENT" => Status::Paid,
            "PART_CANCEL_PAYMENT" => Status::PartiallyCanceled,
            "CANCEL_PAYMENT" => Status::Canceled,
            "FAIL_AUTH_PASSWORD" | "QUIT_PAYMENT" | "FAIL_PAYMENT" => Status::Failed,
            "READY" | "SEND_TMS" | "OPEN_PAYMENT" | "SELECT_METHOD" | "ARS_WAITING" | "AUTH_PASSWORD"
            | "ISSUED_SID" => Status::Ready,
            _ => return Err(nonsense("an unknown status of a payment")),
        };
        let currency = Currency::parse("KRW").ok_or_else(|| nonsense("an unknown currency"))?;
        Ok(Observation {
            canceled: self.canceled_amount.map_or(0, |canceled| canceled.total),
            status,
            amount: Money { minor: self.amount.total, currency },
            id: self.tid,
            order: Some(self.partner_order_id),
            method: self.payment_method_type.map(|name| if name == "CARD" { Method::Card } else { Method::EasyPay }),
            // Without an offset, and in Seoul.
            paid_at: self.approved_at.and_then(|at| Timestamp::parse_rfc3339(&format!("{at}+09:00"))),
        })
    }
}
