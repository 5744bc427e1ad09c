//! What door tests share: the events that functions are sent, the secrets they start with, the queue that their wake-ups
//! go to, and their responses, read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::sha256_hex;
use crate::provider::Cause;
use crate::queue::{Queue, WakeUp};
use crate::store::Key;

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// `events/{function}-{name}.json`.
pub fn event(function: &str, name: &str) -> Value {
    let path = events().join(format!("{function}-{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The names of a function's events.
pub fn event_names(function: &str) -> Vec<String> {
    let names = std::fs::read_dir(events()).expect("the folder of events");
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let own = |name: String| Some(name.strip_prefix(function)?.strip_prefix('-')?.strip_suffix(".json")?.to_owned());
    names.filter_map(own).collect()
}

/// The events of a function that the `sources` of its tests do not name; [`wake_ups`] is the name of `wake-up`.
pub fn unsent(function: &str, sources: &[&str]) -> Vec<String> {
    let names = event_names(function);
    assert!(!names.is_empty(), "no event is called `{function}-…`");
    let named = |words: &str| sources.iter().any(|source| source.contains(words));
    let sent = |name: &str| named(&format!("\"{name}\"")) || name == "wake-up" && named("::wake_ups(");
    names.into_iter().filter(|name| !sent(name)).collect()
}

/// The wake-ups of these items as SQS hands them to `function`: its event `wake-up`, with a record for each.
pub fn wake_ups<'k>(function: &str, keys: impl IntoIterator<Item = &'k Key>) -> Value {
    let mut event = event(function, "wake-up");
    let pattern = event["Records"][0].clone();
    let summons: Value = serde_json::from_str(pattern["body"].as_str().expect("a body")).expect("JSON");
    let record = |(place, key): (usize, &Key)| {
        let mut record = pattern.clone();
        record["messageId"] = json!(place.to_string());
        record["body"] = json!(json!({"key": key, "traceparent": summons["traceparent"]}).to_string());
        record
    };
    event["Records"] = keys.into_iter().enumerate().map(record).collect();
    event
}

/// Writes `secrets` to a file of `folder` that is named after its content, so that tests that run at once do not disturb each
/// other. What it says is the value of a variable; a member of it is had with `@` and its name.
pub fn secret_file(folder: &str, secrets: &Value) -> String {
    let text = secrets.to_string();
    let path = Path::new(folder).join(format!("{}.json", &sha256_hex(&text)[..16]));
    let draft = path.with_extension(fastrand::u64(..).to_string());
    std::fs::write(&draft, text).expect("a writable folder");
    std::fs::rename(&draft, &path).expect("a writable folder");
    format!("file:{}", path.display())
}

/// An entry of the layer's secret: the caller `id`, who has the key `key`, may do this and that.
pub fn api_key(id: &str, key: &str, scopes: &[&str]) -> Value {
    let not_after = "2099-01-01T00:00:00Z";
    json!({"id": id, "label": id, "scopes": scopes, "not_after": not_after, "sha256": sha256_hex(key)})
}

/// The layer's secret, with these callers.
pub fn ieum_secret(api_keys: &[Value]) -> Value {
    json!({"api_keys": api_keys, "jwt_issuers": [], "cache_key": "MDEyMzQ1Njc4OWFiY2RlZg=="})
}

/// A queue that keeps its wake-ups until a test takes them.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<WakeUp>>);

impl Kept {
    /// The wake-ups so far, which are then gone from it.
    pub fn take(&self) -> Vec<WakeUp> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Queue for Kept {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(wake_ups);
        Ok(())
    }
}

/// A response, read.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body as JSON; null when it is none.
    pub body: Value,
    /// The body as text.
    pub text: String,
    headers: BTreeMap<String, Value>,
}

impl Response {
    /// Reads what a function has answered API Gateway.
    pub fn read(answer: &Value) -> Self {
        let text = answer["body"].as_str().expect("a body").to_owned();
        let headers: BTreeMap<String, Value> = serde_json::from_value(answer["headers"].clone()).expect("headers");
        let is_json = headers.get("content-type").is_some_and(|of| of.as_str().is_some_and(|of| of.contains("json")));
        Self {
            status: answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status"),
            body: if is_json { serde_json::from_str(&text).expect("JSON, as its headers say") } else { Value::Null },
            text,
            headers,
        }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.as_str()
    }

    /// Status and source: what became of a request.
    pub fn outcome(&self) -> (u16, Option<&str>) {
        (self.status, self.header("x-ieum-source"))
    }

    /// The code of an error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("no error")
    }

    /// Each detail of an error, in their order: its field and what is wrong with it.
    pub fn issues(&self) -> Vec<(&str, &str)> {
        let details = self.body["error"]["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        details.iter().map(|one| (one["field"].as_str().unwrap_or(""), one["issue"].as_str().unwrap_or(""))).collect()
    }

    /// The id of what was accepted.
    pub fn id(&self) -> String {
        assert_eq!(self.status, 202, "{}", self.text);
        self.body["id"].as_str().expect("an id").to_owned()
    }
}
