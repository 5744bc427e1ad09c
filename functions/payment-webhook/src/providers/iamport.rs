//! PortOne V1, once I'mport (아임포트). Nobody signs its notifications, so they are hints; and by default each is sent once,
//! so that the reconciliation has to find what was not heard.
//!
//! Sources: <https://developers.portone.io/opi/ko/integration/webhook/readme-v1>,
//! <https://developers.portone.io/api/rest-v1/payment>.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use ieum::clock::{SharedClock, Timestamp};
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::{Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use serde::Deserialize;
use serde_json::{Number, Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::{Notice, Unreadable, credentials, endpoint, nonsense, text};
use crate::payment::{
    Currency, DayPage, DayQuery, Listed, Method, Money, Observation, PaymentLookup, PaymentQuery, Status,
};

/// A token is not used in its last minute, in which the vendor prolongs it.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// The life of a token that does not say.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);

/// Rows on a page of the day.
const PAGE: usize = 100;

/// The secret of this provider.
#[derive(Debug, Deserialize)]
pub struct IamportSecret {
    imp_key: SecretString,
    imp_secret: SecretString,
}

impl SecretShape for IamportSecret {
    const MEMBERS: &'static [&'static str] = &["imp_key", "imp_secret"];
}

/// What a notification is about; it is JSON or a form, as the shop has chosen.
///
/// # Errors
/// [`Unreadable`]: it names no payment.
pub fn read(body: &[u8]) -> Result<Notice, Unreadable> {
    let id = if body.trim_ascii_start().first() == Some(&b'{') {
        text(&serde_json::from_slice(body)?, "imp_uid")
    } else {
        let mut members = url::form_urlencoded::parse(body);
        members.find(|(name, _)| name == "imp_uid").and_then(|(_, value)| super::name(&value))
    };
    id.map(|id| Notice::Payment(PaymentQuery::Id(id))).ok_or(Unreadable)
}

/// The client. Cloning shares the token.
#[derive(Clone, Debug)]
pub struct Iamport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base_url: Url,
    http: HttpClient,
    secret: Arc<Secret<IamportSecret>>,
    clock: SharedClock,
    token: Mutex<Option<(SecretString, Timestamp)>>,
}

/// Every answer comes in this.
#[derive(Debug, Deserialize)]
struct Envelope<T> {
    code: i64,
    response: Option<T>,
}

impl<T> Envelope<T> {
    fn open(self) -> Result<T, ProviderError> {
        match self.response {
            Some(response) if self.code == 0 => Ok(response),
            Some(_) | None => Err(ProviderError::Rejected { code: self.code.to_string() }),
        }
    }
}

impl Iamport {
    /// A client of the account whose secret this is.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<IamportSecret>>, clock: SharedClock) -> Self {
        Self(Arc::new(Inner { base_url, http, secret, clock, token: Mutex::new(None) }))
    }

    /// One exchange with a token. A refused token is forgotten, so that the next attempt asks for another.
    async fn get(&self, url: Url) -> Result<Incoming, ProviderError> {
        let (token, is_new) = self.token().await?;
        let mut outgoing = Outgoing::get(url);
        let bearer = credentials(&format!("Bearer {}", token.expose_secret()))?;
        outgoing.headers.insert(http::header::AUTHORIZATION, bearer);
        let answer = self.0.http.exchange(outgoing).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            *self.0.token.lock().await = None;
            return Err(if is_new { ProviderError::Unauthorized } else { ProviderError::CredentialsReplaced });
        }
        Ok(answer)
    }

    /// A usable token, and whether it was fetched for this call.
    async fn token(&self) -> Result<(SecretString, bool), ProviderError> {
        // Held while fetching: callers that come meanwhile want the same token.
        let mut held = self.0.token.lock().await;
        if let Some((token, _)) = held.as_ref().filter(|(_, until)| self.0.clock.now() < *until) {
            return Ok((token.clone(), false));
        }
        let secret = self.0.secret.current().await;
        let body = json!({"imp_key": secret.imp_key.expose_secret(), "imp_secret": secret.imp_secret.expose_secret()});
        let url = endpoint(&self.0.base_url, &["users", "getToken"])?;
        let asked_at = self.0.clock.now();
        let answer = self.0.http.exchange(Outgoing::post_json(url, &body, Replay::Safe)?).await?;
        if let Some(error) = answer.failure() {
            let refused = matches!(error, ProviderError::Unauthorized | ProviderError::Rejected { .. });
            return Err(match refused {
                true if self.0.secret.refused(&secret).await => ProviderError::CredentialsReplaced,
                true => ProviderError::Unauthorized,
                false => error,
            });
        }
        let token: Token = answer.json::<Envelope<Token>>()?.open()?;
        let life = match (token.now, token.expired_at) {
            (Some(now), Some(expired_at)) => Duration::from_secs(expired_at.saturating_sub(now)),
            _ => TOKEN_LIFE,
        };
        *held = Some((token.access_token.clone(), asked_at.after(life.saturating_sub(TOKEN_MARGIN).max(life / 2))));
        Ok((token.access_token, true))
    }
}

#[derive(Debug, Deserialize)]
struct Token {
    access_token: SecretString,
    now: Option<u64>,
    expired_at: Option<u64>,
}

#[async_trait]
impl Provider<PaymentQuery, PaymentLookup> for Iamport {
    fn name(&self) -> &'static str {
        "iamport"
    }

    async fn call(&self, query: &PaymentQuery) -> Result<PaymentLookup, ProviderError> {
        let base = &self.0.base_url;
        let url = match query {
            PaymentQuery::Id(id) => endpoint(base, &["payments", id])?,
            PaymentQuery::Order(order) => endpoint(base, &["payments", "find", order])?,
        };
        let answer = self.get(url).await?;
        // A 404 of a gateway has no envelope.
        if answer.status == StatusCode::NOT_FOUND && answer.json::<Envelope<Value>>().is_ok() {
            return Ok(PaymentLookup::NONE);
        }
        if let Some(error) = answer.failure() {
            return Err(super::unspoken(error));
        }
        let payment: Payment = answer.json::<Envelope<Payment>>()?.open()?;
        let asked = match query {
            PaymentQuery::Id(id) => *id == payment.imp_uid,
            PaymentQuery::Order(order) => *order == payment.merchant_uid,
        };
        if !asked {
            return Err(nonsense("the answer is about another payment"));
        }
        Ok(PaymentLookup::of(payment.observation()?))
    }
}

#[derive(Debug, Deserialize)]
struct Payment {
    imp_uid: String,
    merchant_uid: String,
    status: String,
    amount: Number,
    cancel_amount: Number,
    currency: Currency,
    pay_method: Option<String>,
    paid_at: Option<i64>,
    vbank_num: Option<serde::de::IgnoredAny>,
}

impl Payment {
    fn money(&self, amount: &Number) -> Result<Money, ProviderError> {
        Money::from_major(amount, self.currency.clone()).ok_or_else(|| nonsense("an amount that its currency has not"))
    }

    fn observation(self) -> Result<Observation, ProviderError> {
        let (amount, canceled) = (self.money(&self.amount)?, self.money(&self.cancel_amount)?.minor);
        let status = match self.status.as_str() {
            "ready" if self.vbank_num.is_some() => Status::Waiting,
            "ready" => Status::Ready,
            "paid" if canceled > 0 => Status::PartiallyCanceled,
            "paid" => Status::Paid,
            "cancelled" => Status::Canceled,
            "failed" => Status::Failed,
            _ => return Err(nonsense("an unknown status of a payment")),
        };
        Ok(Observation {
            canceled,
            status,
            amount,
            id: self.imp_uid,
            order: Some(self.merchant_uid),
            method: self.pay_method.as_deref().map(method),
            // 0 until it is paid.
            paid_at: self.paid_at.filter(|at| *at > 0).map(|at| Timestamp::from_millis(at.saturating_mul(1_000))),
        })
    }
}

fn method(name: &str) -> Method {
    match name {
        "card" => Method::Card,
        "vbank" => Method::VirtualAccount,
        "trans" => Method::Transfer,
        "phone" => Method::Mobile,
        "kakaopay" | "naverpay" | "tosspay" | "payco" | "samsung" | "lpay" | "ssgpay" | "point" => Method::EasyPay,
        "cultureland" | "smartculture" | "happymoney" | "booknlife" => Method::GiftCard,
        _ => Method::Other,
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    next: Value,
    list: Vec<Payment>,
}

impl Page {
    /// The number of the next page. After the last one comes 0, or `false`, as public clients of it expect.
    fn following(&self) -> Result<Option<u64>, ProviderError> {
        if self.next == false {
            return Ok(None);
        }
        let next = self.next.as_u64().ok_or_else(|| nonsense("a next page that is no number"))?;
        Ok((next > 0).then_some(next))
    }
}

#[async_trait]
impl Provider<DayQuery, DayPage> for Iamport {
    fn name(&self) -> &'static str {
        "iamport"
    }

    async fn call(&self, query: &DayQuery) -> Result<DayPage, ProviderError> {
        let mut url = endpoint(&self.0.base_url, &["payments", "status", "paid"])?;
        url.query_pairs_mut()
            .append_pair("from", &query.day.begins().as_seconds().to_string())
            .append_pair("to", &(query.day.ends().as_seconds() - 1).to_string())
            .append_pair("limit", &PAGE.to_string())
            .append_pair("page", query.after.as_deref().unwrap_or("1"));
        let answer = self.get(url).await?;
        if let Some(error) = answer.failure() {
            return Err(error);
        }
        let page = answer.json::<Envelope<Page>>()?.open()?;
        let mut paid = Vec::new();
        for payment in &page.list {
            let canceled = Some(payment.money(&payment.cancel_amount)?.minor);
            paid.push(Listed { amount: payment.money(&payment.amount)?, id: payment.imp_uid.clone(), canceled });
        }
        Ok(DayPage { paid, next: page.following()?.map(|next| next.to_string()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_says_so_in_either_way() {
        for (next, page) in [(json!(2), Some(2)), (json!(0), None), (json!(false), None)] {
            assert_eq!(Page { next, list: Vec::new() }.following().unwrap(), page);
        }
        assert!(Page { next: json!("2"), list: Vec::new() }.following().is_err());
    }
}
