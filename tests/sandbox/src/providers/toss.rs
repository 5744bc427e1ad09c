//! Toss Payments: payments by key and by order, a day's transactions, and notifications in three envelopes, of which only
//! that of payouts and sellers is signed (`providers/payments.md` §1).

use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::payments::{Headers, Manner, Payment, Shop, mac};
use crate::providers::{Answer, Provider, Request};

/// The only key the fake knows.
pub const SECRET_KEY: &str = "test_sk_sandbox0000000000000000000000000";
/// What it signs payouts and sellers with, as text.
pub const SECURITY_KEY: &str = "73616e64626f782d73616e64626f782d73616e64626f782d73616e64626f7821";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "TOSS-INTERNAL-DETAIL";

/// The fake.
pub(crate) struct Toss(Shop);

impl Default for Toss {
    fn default() -> Self {
        Self(Shop::new(Manner {
            id: "paymentKey",
            begun,
            body,
            headers,
            waits: &[1, 4, 16, 64, 256, 1_024, 4_096],
            taken: |status| status == 200,
            again: |_| true,
        }))
    }
}

fn begun(key: &str) -> Value {
    json!({
        "mId": "tosspayments",
        "lastTransactionKey": format!("tx-{key}"),
        "paymentKey": key,
        "orderId": format!("order-{key}"),
        "orderName": "샘플 후원",
        "status": "READY",
        "requestedAt": "2026-11-21T12:00:00+09:00",
        "approvedAt": null,
        "totalAmount": 15_000,
        "balanceAmount": 15_000,
        "suppliedAmount": 13_636,
        "vat": 1_364,
        "taxFreeAmount": 0,
        "method": "카드",
        "card": {"number": "43301234****123*", "cardType": "신용"},
        "version": "2022-11-16",
        "currency": "KRW",
        "country": "KR",
        "secret": format!("ps_{key}"),
        "cancels": null,
        "failure": null,
    })
}

/// A deposit is told in its own envelope, everything else in that of payments; nothing is told of a payment that begins.
fn body(payment: &Payment, _: u64) -> Option<String> {
    let status = payment["status"].as_str()?;
    let told = if payment["method"] == "가상계좌" {
        json!({
            "createdAt": "2026-11-21T12:00:00.000000",
            "secret": payment["secret"],
            "status": status,
            "transactionKey": payment["lastTransactionKey"],
            "orderId": payment["orderId"],
        })
    } else if matches!(status, "READY" | "IN_PROGRESS") {
        return None;
    } else {
        json!({"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": "2026-11-21T12:00:00.000000", "data": payment})
    };
    Some(told.to_string())
}

fn headers(body: &str, number: u64, attempt: usize) -> Headers {
    let time = "2026-11-21T12:00:00+09:00";
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("tosspayments-webhook-transmission-id", format!("whtrans_{number:032x}")),
        ("tosspayments-webhook-transmission-time", time.to_owned()),
        ("tosspayments-webhook-transmission-retried-count", attempt.to_string()),
    ];
    if body.contains("\"entityType\"") {
        let signature = STANDARD.encode(mac(SECURITY_KEY.as_bytes(), &format!("{body}:{time}")));
        headers.push(("tosspayments-webhook-signature", format!("v1:{signature}")));
    }
    headers
}

impl Provider for Toss {
    fn name(&self) -> &'static str {
        "toss"
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
        let expected = format!("Basic {}", STANDARD.encode(format!("{SECRET_KEY}:")));
        if request.headers.get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED_KEY");
        }
        if request.method != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "NOT_SUPPORTED_METHOD");
        }
        let payments = &self.0.payments;
        let found = match request.path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["v1", "payments", "orders", order] => payments.values().find(|payment| payment["orderId"] == *order),
            ["v1", "payments", key] => payments.get(*key),
            ["v1", "transactions"] => return self.transactions(request),
            _ => return refusal(StatusCode::NOT_FOUND, "NOT_FOUND"),
        };
        match found {
            Some(payment) => Answer::json(StatusCode::OK, &json!(payment)),
            None => refusal(StatusCode::NOT_FOUND, "NOT_FOUND_PAYMENT"),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        refusal(status, code.unwrap_or("FAILED_INTERNAL_SYSTEM_PROCESSING"))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        self.0.set(settings)
    }

    fn state(&self) -> Value {
        self.0.state()
    }
}

impl Toss {
    /// The payments approved on the day of `startDate`, after the one `startingAfter`.
    fn transactions(&self, request: &Request) -> Answer {
        let day = request.query("startDate").and_then(|text| text.get(..10)).unwrap_or_default();
        let limit = request.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
        let after = request.query("startingAfter");
        let approved = |payment: &&Payment| payment["approvedAt"].as_str().is_some_and(|at| at.starts_with(day));
        let all: Vec<&Payment> = self.0.payments.values().filter(approved).collect();
        let place = |key: &str| all.iter().position(|payment| payment["lastTransactionKey"] == key);
        let from = after.and_then(place).map_or(0, |place| place + 1);
        let rows = all.iter().skip(from).take(limit).map(|payment| {
            json!({
                "mId": payment["mId"],
                "transactionKey": payment["lastTransactionKey"],
                "paymentKey": payment["paymentKey"],
                "orderId": payment["orderId"],
                "status": "DONE",
                "transactionAt": payment["approvedAt"],
                "currency": payment["currency"],
                "amount": payment["totalAmount"],
            })
        });
        Answer::json(StatusCode::OK, &rows.collect())
    }
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    Answer::json(status, &json!({"code": code, "message": format!("{INTERNAL_DETAIL}: 요청을 처리하지 못했습니다.")}))
}
