//! Stripe: payment intents, a list, and signed events (`providers/payments.md` §4).

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::payments::{Headers, Manner, Payment, Shop, mac, unix_seconds};
use crate::providers::{Answer, Provider, Request};

/// The only key the fake knows.
pub const SECRET_KEY: &str = "sk_test_sandbox00000000000000";
/// What it signs with.
pub const WEBHOOK_SECRET: &str = "whsec_sandbox0000000000000000000000";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "STRIPE-INTERNAL-DETAIL";

/// The fake.
pub(crate) struct Stripe(Shop);

impl Default for Stripe {
    fn default() -> Self {
        Self(Shop::new(Manner {
            id: "id",
            begun,
            body,
            headers,
            // The vendor says "up to three days with growing waits"; these are one way to do that.
            waits: &[5, 30, 120, 300, 720, 1_440, 1_440],
            taken: |status| (200..300).contains(&status),
            again: |_| true,
        }))
    }
}

fn begun(id: &str) -> Value {
    json!({
        "id": id,
        "object": "payment_intent",
        "amount": 15_000,
        "amount_received": 0,
        "currency": "krw",
        "created": unix_seconds(),
        "status": "requires_payment_method",
        "last_payment_error": null,
        "latest_charge": null,
        "metadata": {"order_id": format!("order-{id}")},
    })
}

fn body(payment: &Payment, number: u64) -> Option<String> {
    let refunded = payment["latest_charge"]["amount_refunded"].as_i64().unwrap_or(0) > 0;
    let (kind, object) = match payment["status"].as_str()? {
        "succeeded" if refunded => (
            "charge.refunded",
            json!({"id": format!("ch_{number}"), "object": "charge", "payment_intent": payment["id"]}),
        ),
        "succeeded" => ("payment_intent.succeeded", json!(payment)),
        "canceled" => ("payment_intent.canceled", json!(payment)),
        "processing" => ("payment_intent.processing", json!(payment)),
        "requires_action" => ("payment_intent.requires_action", json!(payment)),
        "requires_payment_method" if !payment["last_payment_error"].is_null() => {
            ("payment_intent.payment_failed", json!(payment))
        }
        _ => ("payment_intent.created", json!(payment)),
    };
    let event = json!({
        "id": format!("evt_{number}"),
        "object": "event",
        "api_version": "2026-08-27",
        "created": unix_seconds(),
        "type": kind,
        "livemode": false,
        "pending_webhooks": 1,
        "data": {"object": object},
    });
    Some(event.to_string())
}

fn headers(body: &str, _: u64, _: usize) -> Headers {
    let time = unix_seconds();
    let digits: String =
        mac(WEBHOOK_SECRET.as_bytes(), &format!("{time}.{body}")).iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("t={time},v1={digits}");
    vec![("content-type", "application/json".to_owned()), ("stripe-signature", signature)]
}

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
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
        if request.bearer() != Some(SECRET_KEY) {
            return refusal(StatusCode::UNAUTHORIZED, "invalid_api_key");
        }
        match request.path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["v1", "payment_intents", id] if request.method == Method::GET => match self.0.payments.get(*id) {
                Some(payment) => Answer::json(StatusCode::OK, &json!(payment)),
                None => refusal(StatusCode::NOT_FOUND, "resource_missing"),
            },
            ["v1", "payment_intents"] if request.method == Method::GET => self.list(request),
            _ => refusal(StatusCode::NOT_FOUND, "url_invalid"),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        refusal(status, code.unwrap_or("api_error"))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        self.0.set(settings)
    }

    fn state(&self) -> Value {
        self.0.state()
    }
}

impl Stripe {
    fn list(&self, request: &Request) -> Answer {
        let number =
            |name: &str, default: i64| request.query(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let (from, until) = (number("created[gte]", 0), number("created[lt]", i64::MAX));
        let in_span = |payment: &&Payment| payment["created"].as_i64().is_some_and(|at| from <= at && at < until);
        let all: Vec<&Payment> = self.0.payments.values().filter(in_span).collect();
        let place = |id: &str| all.iter().position(|payment| payment["id"] == id);
        let from = request.query("starting_after").and_then(place).map_or(0, |place| place + 1);
        let limit = usize::try_from(number("limit", 10)).unwrap_or(10);
        let data: Vec<_> = all.iter().skip(from).take(limit).collect();
        let more = from + data.len() < all.len();
        Answer::json(StatusCode::OK, &json!({"object": "list", "data": data, "has_more": more}))
    }
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    let error = json!({"type": "invalid_request_error", "code": code, "message": INTERNAL_DETAIL});
    Answer::json(status, &json!({"error": error}))
}
