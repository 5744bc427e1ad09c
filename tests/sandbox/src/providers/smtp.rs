//! A mail server's memory: what arrived over SMTP, and what is wrong with the server. The conversation is in `crate::smtp`.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request, remember};

/// The only user.
pub const USER: &str = "sandbox@example.kr";
/// The password of that user.
pub const PASSWORD: &str = "sandbox-app-password";
/// Stands in each refusal.
pub const INTERNAL_DETAIL: &str = "SMTP-INTERNAL-DETAIL";
/// Refuses the password.
pub(crate) const REFUSED_LOGIN: &str = "refused_login";
/// Says that the day's quota is used up, as Gmail does.
pub(crate) const QUOTA: &str = "quota";
/// Takes the mail and ends the connection without a word.
pub(crate) const SILENT: &str = "silent";
/// Does not offer STARTTLS.
pub(crate) const NO_STARTTLS: &str = "no_starttls";

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Smtp {
    mails: Vec<Value>,
    taken: u64,
}

impl Provider for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[REFUSED_LOGIN, QUOTA, SILENT, NO_STARTTLS]
    }

    /// A mail that has come to its end: sender and recipients in the query, the mail itself as body.
    fn answer(&mut self, request: &Request, _: &Mode) -> Answer {
        self.taken += 1;
        let to: Vec<&str> =
            request.query.iter().filter(|(name, _)| name == "to").map(|(_, address)| address.as_str()).collect();
        remember(
            &mut self.mails,
            json!({
                "from": request.query("from"),
                "to": to,
                "encrypted": request.query("encrypted") == Some("true"),
                "raw": String::from_utf8_lossy(&request.body),
            }),
        );
        Answer::text(StatusCode::OK, "text/plain", format!("2.0.0 Ok: queued as SANDBOX{}", self.taken))
    }

    fn error(&self, status: StatusCode, _: Option<&str>) -> Answer {
        Answer::text(status, "text/plain", INTERNAL_DETAIL.to_owned())
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("smtp has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"taken": self.taken, "mails": self.mails})
    }
}
