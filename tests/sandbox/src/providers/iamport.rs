//! PortOne V1 (I'mport): tokens, payments by either name, a list, and notifications that nobody signs, sent once
//! (`providers/payments.md` §3).

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::payments::{Headers, Manner, Payment, Shop, unix_seconds};
use crate::providers::{Answer, Provider, Request};

/// The only credentials the fake knows.
pub const IMP_KEY: &str = "sandbox-imp-key";
/// Their secret half.
pub const IMP_SECRET: &str = "sandbox-imp-secret";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "IAMPORT-INTERNAL-DETAIL";

const TOKEN_PATH: &str = "/users/getToken";
const TOKEN: &str = "sandbox-iamport-token";

/// The fake. Its token never changes, as the real one does not while it lives.
pub(crate) struct Iamport(Shop);

impl Default for Iamport {
    fn default() -> Self {
        let manner = Manner {
            id: "imp_uid",
            begun,
            body,
            headers,
            // Once, unless the shop has asked for more: five times, every minute, after a failure of the network or 5xx.
            waits: &[],
            taken: |status| (200..300).contains(&status),
            again: |status| status.is_none_or(|status| status >= 500),
        };
        Self(Shop::new(manner))
    }
}

fn begun(uid: &str) -> Value {
    json!({
        "imp_uid": uid,
        "merchant_uid": format!("order-{uid}"),
        "amount": 15_000,
        "cancel_amount": 0,
        "currency": "KRW",
        "status": "ready",
        "pay_method": "card",
        "pg_provider": "html5_inicis",
        "card_number": "433012*********4",
        "paid_at": 0,
        "vbank_num": null,
    })
}

fn body(payment: &Payment, _: u64) -> Option<String> {
    // An ordinary failure is not told.
    let status = payment["status"].as_str().filter(|status| *status != "failed")?;
    Some(json!({"imp_uid": payment["imp_uid"], "merchant_uid": payment["merchant_uid"], "status": status}).to_string())
}

fn headers(_: &str, _: u64, _: usize) -> Headers {
    vec![("content-type", "application/json".to_owned())]
}

impl Provider for Iamport {
    fn name(&self) -> &'static str {
        "iamport"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[TOKEN_PATH]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[]
    }

    fn answer(&mut self, request: &Request, _: &Mode) -> Answer {
        if request.path == TOKEN_PATH && request.method == Method::POST {
            let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            if asked["imp_key"] != IMP_KEY || asked["imp_secret"] != IMP_SECRET {
                return envelope(StatusCode::UNAUTHORIZED, -1, Value::Null);
            }
            let now = unix_seconds();
            let token = json!({"access_token": TOKEN, "now": now, "expired_at": now + 1_800});
            return envelope(StatusCode::OK, 0, token);
        }
        if request.bearer() != Some(TOKEN) {
            return envelope(StatusCode::UNAUTHORIZED, -1, Value::Null);
        }
        let payments = &self.0.payments;
        let found = match request.path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["payments", "status", "paid"] => return self.list(request),
            ["payments", "find", order] => payments.values().find(|payment| payment["merchant_uid"] == *order),
            ["payments", uid] => payments.get(*uid),
            _ => return Answer::text(StatusCode::NOT_FOUND, "text/html", INTERNAL_DETAIL.to_owned()),
        };
        match found {
            Some(payment) => envelope(StatusCode::OK, 0, json!(payment)),
            None => envelope(StatusCode::NOT_FOUND, 1, Value::Null),
        }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        envelope(status, code.and_then(|code| code.parse().ok()).unwrap_or(-1), Value::Null)
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        self.0.set(settings)
    }

    fn state(&self) -> Value {
        self.0.state()
    }
}

impl Iamport {
    fn list(&self, request: &Request) -> Answer {
        let number =
            |name: &str, default: i64| request.query(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let (from, to) = (number("from", 0), number("to", i64::MAX));
        let in_span =
            |payment: &&Payment| payment["paid_at"].as_i64().is_some_and(|at| at > 0 && from <= at && at <= to);
        let all: Vec<&Payment> = self.0.payments.values().filter(in_span).collect();
        let (page, limit) = (number("page", 1).max(1), number("limit", 20));
        let skipped = usize::try_from((page - 1) * limit).unwrap_or(usize::MAX);
        let list: Vec<_> = all.iter().skip(skipped).take(usize::try_from(limit).unwrap_or(20)).collect();
        let next = if skipped + list.len() < all.len() { json!(page + 1) } else { json!(false) };
        envelope(StatusCode::OK, 0, json!({"total": all.len(), "previous": page - 1, "next": next, "list": list}))
    }
}

fn envelope(status: StatusCode, code: i64, response: Value) -> Answer {
    let message = if code == 0 { Value::Null } else { json!(INTERNAL_DETAIL) };
    Answer::json(status, &json!({"code": code, "message": message, "response": response}))
}
