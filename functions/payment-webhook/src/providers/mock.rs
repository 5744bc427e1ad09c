//! Made-up payments, for development. The table is in the README: the payment's name decides.

use async_trait::async_trait;
use ieum::clock::SharedClock;
use ieum::config::MockSettings;
use ieum::mock::Mock as Behaviour;
use ieum::provider::{Provider, ProviderError};
use serde_json::Value;

use super::{Notice, Unreadable, nonsense, text};
use crate::payment::{Currency, Method, Money, Observation, PaymentLookup, PaymentQuery, Status};

/// What everything costs, in won.
const AMOUNT: i64 = 15_000;

/// What a notification is about.
///
/// # Errors
/// [`Unreadable`]: it names no payment.
pub fn read(body: &[u8]) -> Result<Notice, Unreadable> {
    let body: Value = serde_json::from_slice(body)?;
    text(&body, "payment_id").map(|id| Notice::Payment(PaymentQuery::Id(id))).ok_or(Unreadable)
}

/// A provider that answers from the payment's name.
#[derive(Clone, Debug)]
pub struct Mock {
    behaviour: Behaviour,
    clock: SharedClock,
}

impl Mock {
    /// A mock that is as slow and as unreliable as `settings` say.
    pub fn new(settings: MockSettings, clock: SharedClock) -> Self {
        Self { behaviour: Behaviour::new(settings), clock }
    }
}

#[async_trait]
impl Provider<PaymentQuery, PaymentLookup> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, query: &PaymentQuery) -> Result<PaymentLookup, ProviderError> {
        self.behaviour.act().await?;
        let (PaymentQuery::Id(id) | PaymentQuery::Order(id)) = query;
        let (status, canceled) = match id.split(['-', '_']).next().unwrap_or_default() {
            "unknown" => return Ok(PaymentLookup::NONE),
            "failing" => return Err(ProviderError::Unavailable { status: 503 }),
            "ready" => (Status::Ready, 0),
            "waiting" => (Status::Waiting, 0),
            "failed" => (Status::Failed, 0),
            "partial" => (Status::PartiallyCanceled, AMOUNT / 3),
            "canceled" => (Status::Canceled, AMOUNT),
            _ => (Status::Paid, 0),
        };
        let currency = Currency::parse("KRW").ok_or_else(|| nonsense("an unknown currency"))?;
        Ok(PaymentLookup::of(Observation {
            canceled,
            status,
            amount: Money { minor: AMOUNT, currency },
            id: id.clone(),
            order: Some(format!("order-{id}")),
            method: Some(Method::Card),
            paid_at: (status >= Status::Paid).then(|| self.clock.now()),
        }))
    }
}
