//! Secrets: read at start, read again now and then, kept when reading fails.
//!
//! A secret is one JSON object per provider family in Secrets Manager. It is re-read when the reading is five minutes
//! old, and at most once a minute when a provider refuses it; a rotation is therefore picked up without a restart, and an
//! outage of Secrets Manager is survived on the last good value. A function whose secret cannot be read at start does
//! not start. Values are [`SecretString`]s: they cannot be printed.
//!
//! At the start all secrets of a function come in one request ([`Secrets::read_ahead`]): a person may be waiting.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

pub use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::aws::AwsError;
use crate::aws::json::Client;
use crate::clock::Timestamp;
use crate::error::{chain, place};
use crate::provider::Cause;

/// How old a reading may get.
const REREAD_AFTER: Duration = Duration::from_secs(5 * 60);

/// How often a refusal may lead to a reading.
const REREAD_AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// So many secrets come with one request
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>).
const MOST_AT_ONCE: usize = 20;

/// For how long a reading ahead stands for one: a start is over by then, and nobody reads again so soon.
const AHEAD: Duration = Duration::from_secs(10);

/// How long a reading may take that can be done without: there is a last good value, or another way.
const REREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretName {
    /// In Secrets Manager, under this name or ARN.
    Managed(String),
    /// In a file, for local runs: the whole of it, or one member of the object it holds.
    File(PathBuf, Option<String>),
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Managed(name) => f.write_str(name),
            Self::File(path, None) => write!(f, "file:{}", path.display()),
            Self::File(path, Some(member)) => write!(f, "file:{}@{member}", path.display()),
        }
    }
}

/// Why a secret could not be read. Its content is never part of the message.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It could not be fetched.
    #[error("the secret `{0}` cannot be read")]
    Unreadable(SecretName, #[source] Cause),
    /// It is not a JSON object of the expected shape.
    #[error("the secret `{0}` does not have the expected shape: {1}")]
    Shape(SecretName, String),
}

/// A place that secrets are fetched from.
#[async_trait]
pub trait SecretSource: fmt::Debug + Send + Sync {
    /// The JSON text under `name`.
    ///
    /// # Errors
    /// [`SecretError::Unreadable`].
    async fn fetch(&self, name: &SecretName) -> Result<SecretString, SecretError>;
}

/// Secrets Manager, as far as it is asked anything here.
#[derive(Clone, Debug)]
pub struct SecretsManager(Client);

/// A secret's value, as both operations that read one answer
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_SecretValueEntry.html>).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretValue {
    #[serde(rename = "ARN")]
    arn: Option<String>,
    name: Option<String>,
    secret_string: Option<SecretString>,
}

/// What a secret is called, and when its value was written last.
#[derive(Debug)]
pub struct Described {
    /// The name without the ARN around it; absent where Secrets Manager leaves it out.
    pub name: Option<String>,
    /// When it was written; absent where Secrets Manager does not say.
    pub changed: Option<Timestamp>,
}

impl SecretsManager {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
    async fn value(&self, id: &str) -> Result<SecretValue, AwsError> {
        self.0.call("GetSecretValue", &json!({"SecretId": id})).await
    }

    /// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>.
    async fn values(&self, ids: &[String]) -> Result<Vec<SecretValue>, AwsError> {
        #[derive(Deserialize)]
        struct Values {
            #[serde(default, rename = "SecretValues")]
            values: Vec<SecretValue>,
        }
        let answer: Values = self.0.call("BatchGetSecretValue", &json!({"SecretIdList": ids})).await?;
        Ok(answer.values)
    }

    /// What the secret of this name or ARN is, without its value
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html>).
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn describe(&self, id: &str) -> Result<Described, AwsError> {
        /// Times in seconds since the epoch, with fractions.
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            name: Option<String>,
            last_changed_date: Option<f64>,
            created_date: Option<f64>,
        }
        let Answer { name, last_changed_date, created_date } =
            self.0.call("DescribeSecret", &json!({"SecretId": id})).await?;
        #[expect(clippy::cast_possible_truncation, reason = "years are far from the end of such numbers")]
        let millis = |seconds: f64| Timestamp::from_millis((seconds * 1_000.0) as i64);
        Ok(Described { name, changed: last_changed_date.or(created_date).map(millis) })
    }
}

/// Secrets Manager, and files for local runs.
#[derive(Debug)]
pub struct Secrets {
    managed: Option<SecretsManager>,
    /// What was read ahead, by the name it will be asked for, and when.
    ahead: SyncMutex<HashMap<String, (SecretString, Instant)>>,
}

impl Secrets {
    /// Secrets Manager behind `managed`, which is absent when a function runs without AWS.
    pub fn new(managed: Option<SecretsManager>) -> Self {
        Self { managed, ahead: SyncMutex::default() }
    }

    /// Reads all of `names` at once, for whoever asks for them in the next seconds. One that cannot be had is left to be
    /// asked for by itself, which will say why.
    pub async fn read_ahead(&self, names: &[String]) {
        let Some(managed) = self.managed.as_ref().filter(|_| names.len() > 1) else { return };
        for names in names.chunks(MOST_AT_ONCE) {
            // A region takes a hundred of these a second, and ten thousand that ask for one.
            let answer = timeout(REREAD_TIMEOUT, managed.values(names)).await.map_err(|elapsed| chain(&elapsed));
            let values = match answer.and_then(|answer| answer.map_err(|error| chain(&error))) {
                Ok(values) => values,
                Err(error) => {
                    tracing::warn!(target: "ieum::secrets", error, "secrets.one_by_one");
                    return;
                }
            };
            let (mut ahead, now) = (self.ahead(), Instant::now());
            for SecretValue { arn, name, secret_string } in values {
                let asked = names.iter().find(|asked| [&arn, &name].into_iter().flatten().any(|it| it == *asked));
                if let (Some(asked), Some(text)) = (asked, secret_string) {
                    ahead.insert(asked.clone(), (text, now));
                }
            }
        }
    }

    fn ahead(&self) -> MutexGuard<'_, HashMap<String, (SecretString, Instant)>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SecretSource for Secrets {
    async fn fetch(&self, name: &SecretName) -> Result<SecretString, SecretError> {
        let unreadable = |cause: Cause| SecretError::Unreadable(name.clone(), cause);
        if let SecretName::Managed(id) = name {
            let mut ahead = self.ahead();
            ahead.retain(|_, (_, read)| read.elapsed() < AHEAD);
            if let Some((text, _)) = ahead.get(id) {
                return Ok(text.clone());
            }
        }
        match (name, &self.managed) {
            (SecretName::File(path, member), _) => {
                let text = std::fs::read_to_string(path).map_err(|error| unreadable(Box::new(error)))?;
                let Some(member) = member else { return Ok(text.into()) };
                let whole: serde_json::Value =
                    serde_json::from_str(&text).map_err(|_| unreadable("the file is not JSON".into()))?;
                let part = whole.get(member).ok_or_else(|| unreadable("the file has no such member".into()))?;
                Ok(part.to_string().into())
            }
            (SecretName::Managed(id), Some(managed)) => {
                let value = managed.value(id).await.map_err(|error| unreadable(Box::new(error)))?;
                value.secret_string.ok_or_else(|| unreadable("it holds no text".into()))
            }
            (SecretName::Managed(_), None) => Err(unreadable("there is no AWS here".into())),
        }
    }
}

/// The shape of a secret.
pub trait SecretShape: DeserializeOwned + Send + Sync {
    /// The names of its members. Others are warned about: a misspelt member would otherwise be a silent default.
    const MEMBERS: &'static [&'static str];
}

/// One secret, kept up to date.
#[derive(Debug)]
pub struct Secret<T> {
    name: SecretName,
    source: Arc<dyn SecretSource>,
    reading: Mutex<Reading<T>>,
}

#[derive(Debug)]
struct Reading<T> {
    value: Arc<T>,
    /// To see whether a new reading says anything new.
    text: SecretString,
    tried_at: Instant,
}

impl<T: SecretShape> Secret<T> {
    /// Reads the secret for the first time.
    ///
    /// # Errors
    /// Any [`SecretError`]: a function without its secret must not start.
    pub async fn load(name: SecretName, source: Arc<dyn SecretSource>) -> Result<Self, SecretError> {
        let text = source.fetch(&name).await?;
        let value = Arc::new(parse::<T>(&name, &text)?);
        Ok(Self { name, source, reading: Mutex::new(Reading { value, text, tried_at: Instant::now() }) })
    }

    /// The secret, read again if the reading is old; the last good one when that fails.
    pub async fn current(&self) -> Arc<T> {
        let mut reading = self.reading.lock().await;
        if reading.tried_at.elapsed() >= REREAD_AFTER {
            self.read_again(&mut reading).await;
        }
        Arc::clone(&reading.value)
    }

    /// A provider refused `used`. True when there is a different value now, and so another attempt makes sense.
    pub async fn refused(&self, used: &Arc<T>) -> bool {
        let mut reading = self.reading.lock().await;
        if Arc::ptr_eq(used, &reading.value) && reading.tried_at.elapsed() >= REREAD_AT_MOST_EVERY {
            self.read_again(&mut reading).await;
        }
        !Arc::ptr_eq(used, &reading.value)
    }

    async fn read_again(&self, reading: &mut Reading<T>) {
        reading.tried_at = Instant::now();
        // A caller is waiting, and the last good value is at hand.
        let fetched = match timeout(REREAD_TIMEOUT, self.source.fetch(&self.name)).await {
            Ok(fetched) => fetched,
            Err(elapsed) => Err(SecretError::Unreadable(self.name.clone(), Box::new(elapsed))),
        };
        let parsed = fetched.and_then(|text| Ok((Arc::new(parse::<T>(&self.name, &text)?), text)));
        match parsed {
            Ok((value, text)) if text.expose_secret() != reading.text.expose_secret() => {
                tracing::info!(target: "ieum::secrets", name = %self.name, "secret.changed");
                (reading.value, reading.text) = (value, text);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(target: "ieum::secrets", error = chain(&error), "secret.kept");
            }
        }
    }
}

fn parse<T: SecretShape>(name: &SecretName, text: &SecretString) -> Result<T, SecretError> {
    let shape = |error: serde_json::Error| {
        let expected = T::MEMBERS.join("`, `");
        SecretError::Shape(name.clone(), format!("{}; expected the members `{expected}`", place(&error)))
    };
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text.expose_secret()).map_err(shape)?;
    for stranger in members.keys().filter(|member| !T::MEMBERS.contains(&member.as_str())) {
        tracing::warn!(target: "ieum::secrets", name = %name, member = stranger.as_str(), "secret.unknown_member");
    }
    serde_json::from_value(members.into()).map_err(shape)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Shape {
        key: SecretString,
    }

    impl SecretShape for Shape {
        const MEMBERS: &'static [&'static str] = &["key"];
    }

    #[derive(Debug, Default)]
    struct Scripted {
        text: SyncMutex<Option<&'static str>>,
        fetches: SyncMutex<u32>,
    }

    #[async_trait]
    impl SecretSource for Arc<Scripted> {
        async fn fetch(&self, name: &SecretName) -> Result<SecretString, SecretError> {
            *self.fetches.lock().unwrap() += 1;
            let text = *self.text.lock().unwrap();
            text.map(SecretString::from).ok_or_else(|| SecretError::Unreadable(name.clone(), "down".into()))
        }
    }

    async fn loaded(source: &Arc<Scripted>) -> Result<Secret<Shape>, SecretError> {
        Secret::load(SecretName::Managed("s".into()), Arc::new(Arc::clone(source))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_is_seen_after_five_minutes_or_at_a_refusal() {
        let source = Arc::new(Scripted::default());
        *source.text.lock().unwrap() = Some(r#"{"key":"one"}"#);
        let secret = loaded(&source).await.unwrap();
        let first = secret.current().await;
        *source.text.lock().unwrap() = Some(r#"{"key":"two"}"#);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!secret.refused(&first).await, "not read again within a minute");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(secret.refused(&first).await);
        assert_eq!(secret.current().await.key.expose_secret(), "two");
        *source.text.lock().unwrap() = Some(r#"{"key":"three"}"#);
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(secret.current().await.key.expose_secret(), "two");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(secret.current().await.key.expose_secret(), "three");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_value_survives_an_outage_and_a_broken_update() {
        let source = Arc::new(Scripted::default());
        *source.text.lock().unwrap() = Some(r#"{"key":"one"}"#);
        let secret = loaded(&source).await.unwrap();
        for broken in [None, Some(r#"{"kee":"two"}"#)] {
            *source.text.lock().unwrap() = broken;
            tokio::time::advance(Duration::from_secs(301)).await;
            assert_eq!(secret.current().await.key.expose_secret(), "one");
        }
        assert_eq!(*source.fetches.lock().unwrap(), 3, "a failed reading is not repeated by the next request");
    }

    #[tokio::test]
    async fn a_missing_or_misshapen_secret_stops_the_start_without_being_shown() {
        let source = Arc::new(Scripted::default());
        assert!(matches!(loaded(&source).await, Err(SecretError::Unreadable(..))));
        *source.text.lock().unwrap() = Some(r#"{"key":["hunter2"]}"#);
        let error = chain(&loaded(&source).await.unwrap_err());
        assert!(error.contains("`key`") && !error.contains("hunter2"), "{error}");
    }
}
