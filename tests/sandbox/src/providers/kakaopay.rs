//! KakaoPay: the state of a payment, and nothing else. It sends no notifications (`providers/payments.md` §5).

use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::payments::{Manner, Shop};
use crate::providers::{Answer, Provider, Request};

/// The only key the fake knows.
pub const SECRET_KEY: &str = "sandbox-kakaopay-secret-key";
/// Its shop: the vendor's own number for tests.
pub const CID: &str = "TC0ONETIME";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "KAKAOPAY-INTERNAL-DETAIL";

/// The fake.
pub(crate) struct KakaoPay(Shop);

impl Default for KakaoPay {
    fn default() -> Self {
        let (body, headers) = (|_: &_, _| None, |_: &str, _, _| Vec::new());
        let manner = Manner { id: "tid", begun, body, headers, waits: &[], taken: |_| true, again: |_| false };
        Self(Shop::new(manner))
    }
}

fn begun(tid: &str) -> Value {
    json!({
        "tid": tid,
        "cid": CID,
        "status": "READY",
        "partner_order_id": format!("order-{tid}"),
        "partner_user_id": "sandbox",
        "payment_method_type": "MONEY",
        "amount": {"total": 15_000, "tax_free": 0, "vat": 1_364, "point": 0, "discount": 0},
        "canceled_amount": {"total": 0},
        "created_at": "2026-11-21T12:00:00",
        "approved_at": null,
    })
}

impl Provider for KakaoPay {
    fn name(&self) -> &'static str {
        "kakaopay"
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
        let expected = format!("SECRET_KEY {SECRET_KEY}");
        if request.headers.get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return refusal(StatusCode::UNAUTHORIZED, -401);
        }
        if request.method != Method::POST || request.path != "/online/v1/payment/order" {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, -1);
        }
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match asked["tid"].as_str().filter(|_| asked["cid"] == CID).and_then(|tid| self.0.payments.get(tid)) {
            Some(payment) => Answer::json(StatusCode::OK, &json!(payment)),
            None => refusal(StatusCode::NOT_FOUND, -721),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        refusal(status, code.and_then(|code| code.parse().ok()).unwrap_or(-1))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        self.0.set(settings)
    }

    fn state(&self) -> Value {
        self.0.state()
    }
}

fn refusal(status: StatusCode, code: i64) -> Answer {
    Answer::json(status, &json!({"error_code": code, "error_message": INTERNAL_DETAIL}))
}
