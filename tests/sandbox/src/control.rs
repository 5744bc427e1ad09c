//! What a test can ask of a provider: the mode it is in, and what was counted.
//!
//! One description serves HTTP and the typed methods, and one check decides about both, so that a test cannot ask for
//! something over one way that the other would refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::providers::Provider;

/// The modes every provider has; its own come on top.
const COMMON_MODES: [&str; 6] = ["ok", "down", "slow", "garbage", "reset", "status"];

/// How a provider behaves, from the next request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    pub(crate) fault: Fault,
    pub(crate) delay: Duration,
    pub(crate) retry_after: Option<u64>,
    pub(crate) for_calls: Option<u64>,
    pub(crate) only: Option<Only>,
    pub(crate) code: Option<String>,
}

/// What goes wrong; everything else in [`Mode`] says how, when and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Ok,
    Down,
    Slow,
    Garbage,
    Reset,
    Status(u16),
    /// A fault only this provider has, by name.
    Own(String),
}

/// Which requests a mode concerns when it does not concern all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Requests for a token.
    Token,
    /// All other requests.
    Data,
}

impl Mode {
    /// Answers as the provider would on a good day.
    #[must_use]
    pub fn ok() -> Self {
        Self::new(Fault::Ok)
    }

    /// Closes the connection after the request was read, with no answer.
    #[must_use]
    pub fn down() -> Self {
        Self::new(Fault::Down)
    }

    /// Answers correctly, but late.
    #[must_use]
    pub fn slow(delay: Duration) -> Self {
        Self::new(Fault::Slow).delay(delay)
    }

    /// Answers 200 with bytes that are neither JSON nor XML.
    #[must_use]
    pub fn garbage() -> Self {
        Self::new(Fault::Garbage)
    }

    /// Resets the connection (RST) after the request was read.
    #[must_use]
    pub fn reset() -> Self {
        Self::new(Fault::Reset)
    }

    /// Answers with this status and an error body in the provider's manner.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Fault::Status(status))
    }

    /// Behaves in a way only this provider knows, such as `weak_key` of NICE.
    #[must_use]
    pub fn own(name: &str) -> Self {
        Self::new(Fault::Own(name.to_owned()))
    }

    /// Answers 200 with the XML error of the data.go.kr gateway (NTS).
    #[must_use]
    pub fn gateway_error(code: &str) -> Self {
        Self::own("gateway_error").code(code)
    }

    /// Answers each company lookup with one fixed test company, as for a key without the right plan (NICE).
    #[must_use]
    pub fn weak_key() -> Self {
        Self::own("weak_key")
    }

    /// Waits before it acts, whatever the mode.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Adds the header `Retry-After` to the answers of [`Mode::status`].
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Returns to [`Mode::ok`] after this many requests it concerned.
    #[must_use]
    pub fn for_calls(self, calls: u64) -> Self {
        Self { for_calls: Some(calls), ..self }
    }

    /// Concerns only these requests; all others are answered as in [`Mode::ok`].
    #[must_use]
    pub fn only(self, only: Only) -> Self {
        Self { only: Some(only), ..self }
    }

    /// Sets the provider's own error code in the answers of [`Mode::status`] and of own modes that have one.
    #[must_use]
    pub fn code(self, code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..self }
    }

    fn new(fault: Fault) -> Self {
        Self { fault, delay: Duration::ZERO, retry_after: None, for_calls: None, only: None, code: None }
    }

    pub(crate) fn is_own(&self, name: &str) -> bool {
        matches!(&self.fault, Fault::Own(own) if own == name)
    }

    pub(crate) fn concerns(&self, is_token: bool) -> bool {
        match self.only {
            None => true,
            Some(Only::Token) => is_token,
            Some(Only::Data) => !is_token,
        }
    }

    fn name(&self) -> &str {
        match &self.fault {
            Fault::Ok => "ok",
            Fault::Down => "down",
            Fault::Slow => "slow",
            Fault::Garbage => "garbage",
            Fault::Reset => "reset",
            Fault::Status(_) => "status",
            Fault::Own(name) => name,
        }
    }

    /// Says why `provider` cannot behave this way, if it cannot.
    pub(crate) fn check(&self, provider: &dyn Provider) -> Result<(), String> {
        let name = provider.name();
        match &self.fault {
            Fault::Own(own) if !provider.own_modes().contains(&own.as_str()) => {
                let known: Vec<&str> = COMMON_MODES.iter().chain(provider.own_modes()).copied().collect();
                return Err(format!("`mode` of {name} must be one of {}: `{own}`", known.join(", ")));
            }
            Fault::Status(status) => check_status(*status)?,
            Fault::Ok | Fault::Down | Fault::Slow | Fault::Garbage | Fault::Reset | Fault::Own(_) => {}
        }
        if self.for_calls == Some(0) {
            return Err("`for_calls` must be at least 1: `0`".to_owned());
        }
        if self.only == Some(Only::Token) && provider.token_paths().is_empty() {
            return Err(format!("`only` cannot be `token`: {name} has no tokens"));
        }
        match &self.code {
            Some(code) if !is_code(code) => {
                Err(format!("`code` must be 1 to 64 letters, digits, `_`, `-` or `.`: `{code}`"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = Map::new();
        shown.insert("mode".to_owned(), self.name().into());
        if let Fault::Status(status) = self.fault {
            shown.insert("status".to_owned(), status.into());
        }
        shown.insert("delay_ms".to_owned(), u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX).into());
        for (field, number) in [("retry_after", self.retry_after), ("for_calls", self.for_calls)] {
            if let Some(number) = number {
                shown.insert(field.to_owned(), number.into());
            }
        }
        if let Some(only) = self.only {
            let only = if only == Only::Token { "token" } else { "data" };
            shown.insert("only".to_owned(), only.into());
        }
        if let Some(code) = &self.code {
            shown.insert("code".to_owned(), code.as_str().into());
        }
        shown.serialize(serializer)
    }
}

/// 1xx is refused although it is a status: it is never a whole answer, and the HTTP server would send 500 in its place.
fn check_status(status: u16) -> Result<(), String> {
    if (200..=599).contains(&status) {
        Ok(())
    } else {
        Err(format!("`status` must be a final HTTP status from 200 to 599: `{status}`"))
    }
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The body of `POST /_sandbox/{provider}`.
#[derive(Debug, Deserialize)]
struct Body {
    mode: Option<String>,
    status: Option<u16>,
    delay_ms: Option<u64>,
    retry_after: Option<u64>,
    for_calls: Option<u64>,
    only: Option<Only>,
    code: Option<String>,
    /// What is left belongs to the provider, which refuses what it does not know.
    #[serde(flatten)]
    settings: Map<String, Value>,
}

/// A control body, understood but not yet checked against a provider.
#[derive(Debug)]
pub(crate) struct Order {
    /// Absent when only settings of the provider change.
    pub(crate) mode: Option<Mode>,
    pub(crate) settings: Map<String, Value>,
}

impl Order {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| format!("the control body is wrong: {error}"))?;
        if let Some(status) = body.status {
            check_status(status)?;
        }
        let Some(name) = body.mode else {
            let numbers = [body.status.map(u64::from), body.delay_ms, body.retry_after, body.for_calls];
            let of_a_mode = numbers.iter().any(Option::is_some) || body.only.is_some() || body.code.is_some();
            if of_a_mode || body.settings.is_empty() {
                return Err(format!("`mode` is missing; every provider has {}", COMMON_MODES.join(", ")));
            }
            return Ok(Self { mode: None, settings: body.settings });
        };
        let fault = match name.as_str() {
            "ok" => Fault::Ok,
            "down" => Fault::Down,
            "slow" if body.delay_ms.is_none() => return Err("mode `slow` needs `delay_ms`".to_owned()),
            "slow" => Fault::Slow,
            "garbage" => Fault::Garbage,
            "reset" => Fault::Reset,
            "status" => Fault::Status(body.status.unwrap_or(503)),
            _ => Fault::Own(name),
        };
        let mode = Mode {
            fault,
            delay: Duration::from_millis(body.delay_ms.unwrap_or(0)),
            retry_after: body.retry_after,
            for_calls: body.for_calls,
            only: body.only,
            code: body.code,
        };
        Ok(Self { mode: Some(mode), settings: body.settings })
    }
}

/// What was counted since the start or the last reset; the JSON of `GET /_sandbox/{provider}`.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Data requests that arrived, whatever became of them.
    pub calls: u64,
    /// Requests for a token that arrived, whatever became of them.
    pub token_calls: u64,
    /// The mode in force; `for_calls` counts down.
    pub mode: Mode,
    /// Requests of both kinds by path, as the provider sees it.
    pub by_path: BTreeMap<String, u64>,
    /// When the newest data requests arrived, in milliseconds since 1970, oldest first.
    pub call_times_ms: Vec<u64>,
    /// Requests that have arrived and are not answered yet.
    pub in_flight: u64,
    /// The most requests that were ever in flight together.
    pub max_in_flight: u64,
    /// What the provider itself remembers.
    pub state: Value,
}
