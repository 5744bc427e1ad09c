//! Stripe. A payment is a payment intent; what is signed about charges, refunds and checkouts names theirs.
//!
//! Sources: <https://docs.stripe.com/api/payment_intents/object>, <https://docs.stripe.com/currencies>.

use std::sync::Arc;

use async_trait::async_trait;
use ieum::clock::Timestamp;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::provider::{Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use ieum::webhook::{LiveSecrets, TextKey};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Notice, Unreadable, credentials, endpoint, exchange, nonsense, text};
use crate::payment::{
    Currency, DayPage, DayQuery, Listed, Method, Money, Observation, PaymentLookup, PaymentQuery, Status,
};

/// Rows on a page of the day.
const PAGE: usize = 100;

/// The secret of this provider.
#[derive(Debug, Deserialize)]
pub struct StripeSecret {
    secret_key: SecretString,
    pub(super) webhook_secrets: LiveSecrets<TextKey>,
    /// Secrets that are only watched: what they verify is logged, and not believed for it.
    pub(super) webhook_candidates: Option<LiveSecrets<TextKey>>,
}

impl SecretShape for StripeSecret {
    const MEMBERS: &'static [&'static str] = &["secret_key", "webhook_secrets", "webhook_candidates"];
}

/// What an event is about.
///
/// # Errors
/// [`Unreadable`]: it is no event.
pub fn read(body: &[u8]) -> Result<Notice, Unreadable> {
    let event: Value = serde_json::from_slice(body)?;
    let kind = text(&event, "type").ok_or(Unreadable)?;
    match text(&event, "object").as_deref() {
        Some("event") => {}
        // It does not carry the object that it is about.
        Some("v2.core.event") => return Ok(Notice::Ignored("thin_event")),
        Some(_) | None => return Err(Unreadable),
    }
    let object = &event["data"]["object"];
    let intent = match kind.split('.').next().unwrap_or_default() {
        "payment_intent" => text(object, "id"),
        "charge" | "checkout" | "refund" => text(object, "payment_intent"),
        _ => return Ok(Notice::Ignored("unknown_type")),
    };
    Ok(intent.map_or(Notice::Ignored("no_payment"), |id| Notice::Payment(PaymentQuery::Id(id))))
}

/// The name of the event, under which it comes again.
pub fn delivery(body: &[u8]) -> Option<String> {
    text(&serde_json::from_slice(body).ok()?, "id")
}

/// The client.
#[derive(Clone, Debug)]
pub struct Stripe {
    base_url: Url,
    order_key: Arc<str>,
    http: HttpClient,
    pub(super) secret: Arc<Secret<StripeSecret>>,
}

impl Stripe {
    /// A client of the account whose secret this is, where `metadata` holds our order under `order_key`.
    pub fn new(base_url: Url, order_key: &str, http: HttpClient, secret: Arc<Secret<StripeSecret>>) -> Self {
        Self { base_url, order_key: order_key.into(), http, secret }
    }

    async fn get(&self, url: Url) -> Result<Incoming, ProviderError> {
        let secret = self.secret.current().await;
        let authorization = credentials(&format!("Bearer {}", secret.secret_key.expose_secret()))?;
        exchange(&self.http, Outgoing::get(url), authorization, &self.secret, &secret).await
    }
}

#[async_trait]
impl Provider<PaymentQuery, PaymentLookup> for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn call(&self, query: &PaymentQuery) -> Result<PaymentLookup, ProviderError> {
        let PaymentQuery::Id(id) = query else { return Err(nonsense("Stripe finds no payment by its order")) };
        let mut url = endpoint(&self.base_url, &["v1", "payment_intents", id])?;
        url.query_pairs_mut().append_pair("expand[]", "latest_charge");
        let answer = self.get(url).await?;
        if super::is_absent_in(&answer, |body| text(&body["error"], "code"), "resource_missing")? {
            return Ok(PaymentLookup::NONE);
        }
        let intent: Intent = answer.json()?;
        if intent.id != *id {
            return Err(nonsense("the answer is about another payment"));
        }
        Ok(PaymentLookup::of(intent.observation(&self.order_key)?))
    }
}

#[derive(Debug, Deserialize)]
struct Intent {
    id: String,
    status: String,
    amount: i64,
    amount_received: i64,
    currency: String,
    latest_charge: Option<Charge>,
    last_payment_error: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    metadata: Value,
}

#[derive(Debug, Deserialize)]
struct Charge {
    created: i64,
    amount_refunded: i64,
    payment_method_details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    r#type: String,
}

impl Intent {
    fn observation(self, order_key: &str) -> Result<Observation, ProviderError> {
        let succeeded = self.status == "succeeded";
        let amount = money(if succeeded { self.amount_received } else { self.amount }, &self.currency)?;
        let charge = self.latest_charge.as_ref().filter(|_| succeeded);
        let refunded = charge.map_or(0, |charge| charge.amount_refunded);
        let status = match self.status.as_str() {
            "succeeded" if refunded == 0 => Status::Paid,
            "succeeded" if refunded < self.amount_received => Status::PartiallyCanceled,
            "succeeded" | "canceled" => Status::Canceled,
            "requires_payment_method" if self.last_payment_error.is_some() => Status::Failed,
            "requires_payment_method" | "requires_confirmation" => Status::Ready,
            "requires_action" | "requires_capture" | "processing" => Status::Waiting,
            _ => return Err(nonsense("an unknown status of a payment intent")),
        };
        let details = self.latest_charge.as_ref().and_then(|charge| charge.payment_method_details.as_ref());
        Ok(Observation {
            canceled: money(refunded, &self.currency)?.minor,
            status,
            amount,
            id: self.id,
            order: text(&self.metadata, order_key),
            method: details.map(|details| if details.r#type == "card" { Method::Card } else { Method::Other }),
            paid_at: charge.map(|charge| Timestamp::from_millis(charge.created.saturating_mul(1_000))),
        })
    }
}

/// Stripe counts in ISO 4217's smallest unit but for three currencies: it keeps two decimals of ISK and UGX, which have
/// none, and none of MGA, which has two.
fn money(amount: i64, currency: &str) -> Result<Money, ProviderError> {
    let currency = Currency::parse(currency).ok_or_else(|| nonsense("an unknown currency"))?;
    let minor = match currency.as_str() {
        "ISK" | "UGX" => amount / 100,
        "MGA" => amount.saturating_mul(100),
        _ => amount,
    };
    Ok(Money { minor, currency })
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Intent>,
    has_more: bool,
}

/// The intents begun on the day that have succeeded: Stripe lists them by no other time.
#[async_trait]
impl Provider<DayQuery, DayPage> for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn call(&self, query: &DayQuery) -> Result<DayPage, ProviderError> {
        let mut url = endpoint(&self.base_url, &["v1", "payment_intents"])?;
        url.query_pairs_mut()
            .append_pair("created[gte]", &query.day.begins().as_seconds().to_string())
            .append_pair("created[lt]", &query.day.ends().as_seconds().to_string())
            .append_pair("expand[]", "data.latest_charge")
            .append_pair("limit", &PAGE.to_string());
        if let Some(after) = &query.after {
            url.query_pairs_mut().append_pair("starting_after", after);
        }
        let answer = self.get(url).await?;
        if let Some(error) = answer.failure() {
            return Err(error);
        }
        let page: Page = answer.json()?;
        let next = page.data.last().filter(|_| page.has_more).map(|intent| intent.id.clone());
        let mut paid = Vec::new();
        for intent in page.data.into_iter().filter(|intent| intent.status == "succeeded") {
            let refunded =
                intent.latest_charge.map(|charge| money(charge.amount_refunded, &intent.currency)).transpose()?;
            let amount = money(intent.amount_received, &intent.currency)?;
            paid.push(Listed { amount, id: intent.id, canceled: refunded.map(|refunded| refunded.minor) });
        }
        Ok(DayPage { paid, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_units_become_iso_units() {
        let minor = |amount, currency| money(amount, currency).map(|money| money.minor).ok();
        assert_eq!(
            [minor(1_234, "usd"), minor(15_000, "krw"), minor(1_230, "kwd")],
            [Some(1_234), Some(15_000), Some(1_230)]
        );
        assert_eq!([minor(500, "isk"), minor(500, "ugx"), minor(500, "mga")], [Some(5), Some(5), Some(50_000)]);
        assert_eq!(minor(1, "won"), Some(1), "three letters are a currency");
        assert_eq!(minor(1, "₩"), None);
    }
}
