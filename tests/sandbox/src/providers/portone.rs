//! PortOne V2: payments by their name, a list, and notifications signed as Standard Webhooks (`providers/payments.md` §2).

use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::payments::{Headers, Manner, Payment, Shop, mac, unix_seconds};
use crate::providers::{Answer, Provider, Request};

/// The only API secret the fake knows.
pub const API_SECRET: &str = "sandbox-portone-api-secret";
/// What it signs with.
pub const WEBHOOK_SECRET: &str = "whsec_c2FuZGJveC1wb3J0b25lLXdlYmhvb2stc2VjcmV0IQ==";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "PORTONE-INTERNAL-DETAIL";

/// The fake.
pub(crate) struct PortOne(Shop);

impl Default for PortOne {
    fn default() -> Self {
        Self(Shop::new(Manner {
            id: "id",
            begun,
            body,
            headers,
            waits: &[1, 4, 16, 64, 256],
            taken: |status| (200..300).contains(&status),
            again: |_| true,
        }))
    }
}

fn begun(id: &str) -> Value {
    json!({
        "id": id,
        "status": "READY",
        "transactionId": format!("tx-{id}"),
        "merchantId": "merchant-sandbox",
        "storeId": "store-sandbox",
        "amount": {"total": 15_000, "taxFree": 0, "discount": 0, "paid": 0, "cancelled": 0, "cancelledTaxFree": 0},
        "currency": "KRW",
        "method": {"type": "PaymentMethodCard", "card": {"number": "433012******1234"}},
        "orderName": "샘플 후원",
        "requestedAt": "2026-11-21T03:00:00Z",
        "paidAt": null,
    })
}

fn body(payment: &Payment, _: u64) -> Option<String> {
    let kind = match payment["status"].as_str()? {
        "READY" => "Ready",
        "PAY_PENDING" => "PayPending",
        "VIRTUAL_ACCOUNT_ISSUED" => "VirtualAccountIssued",
        "PAID" => "Paid",
        "PARTIAL_CANCELLED" => "PartialCancelled",
        "CANCELLED" => "Cancelled",
        "FAILED" => "Failed",
        _ => return None,
    };
    let data =
        json!({"paymentId": payment["id"], "transactionId": payment["transactionId"], "storeId": payment["storeId"]});
    Some(json!({"type": format!("Transaction.{kind}"), "timestamp": "2026-11-21T03:00:00Z", "data": data}).to_string())
}

fn headers(body: &str, number: u64, _: usize) -> Headers {
    let (id, time) = (format!("msg_{number}"), unix_seconds().to_string());
    let key = WEBHOOK_SECRET.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let signature = STANDARD.encode(mac(&key, &format!("{id}.{time}.{body}")));
    vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", time),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

impl Provider for PortOne {
    fn name(&self) -> &'static str {
        "portone"
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
        let expected = format!("PortOne {API_SECRET}");
        if request.headers.get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        match request.path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["payments", id] if request.method == Method::GET => match self.0.payments.get(*id) {
                Some(payment) => Answer::json(StatusCode::OK, &json!(payment)),
                None => refusal(StatusCode::NOT_FOUND, "PAYMENT_NOT_FOUND"),
            },
            ["payments"] if request.method == Method::GET => self.list(request),
            _ => refusal(StatusCode::NOT_FOUND, "NOT_FOUND"),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        refusal(status, code.unwrap_or("INTERNAL"))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        self.0.set(settings)
    }

    fn state(&self) -> Value {
        self.0.state()
    }
}

impl PortOne {
    /// The paid ones in the span of the filter; times are compared as text, so they must be in UTC.
    fn list(&self, request: &Request) -> Answer {
        let asked: Value =
            request.query("requestBody").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let (from, until) =
            (asked["filter"]["from"].as_str().unwrap_or(""), asked["filter"]["until"].as_str().unwrap_or("9"));
        let in_span = |payment: &&Payment| payment["paidAt"].as_str().is_some_and(|at| from <= at && at < until);
        let all: Vec<&Payment> = self.0.payments.values().filter(in_span).collect();
        let (number, size) =
            (asked["page"]["number"].as_u64().unwrap_or(0), asked["page"]["size"].as_u64().unwrap_or(10));
        let skipped = usize::try_from(number * size).unwrap_or(usize::MAX);
        let items: Vec<_> = all.iter().skip(skipped).take(usize::try_from(size).unwrap_or(10)).collect();
        let page = json!({"number": number, "size": size, "totalCount": all.len()});
        Answer::json(StatusCode::OK, &json!({"items": items, "page": page}))
    }
}

fn refusal(status: StatusCode, kind: &str) -> Answer {
    Answer::json(status, &json!({"type": kind, "message": format!("{INTERNAL_DETAIL}: refused")}))
}
