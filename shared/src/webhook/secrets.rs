//! The secrets that are live, at least one, each with a label.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Deserializer};

use super::sealed::Key;

/// The secrets that may have signed a request: the current one and, during a rotation, the previous ones. Never none.
///
/// In Secrets Manager it is an array, newest first, with labels that tell the secrets apart in logs:
/// `[{"label": "2026-11", "secret": "…"}, {"label": "2026-05", "secret": "…"}]`. An empty array, a repeated label and a
/// secret that its scheme cannot use are refused when it is read, and so the last good value is kept.
pub struct LiveSecrets<K> {
    current: Live<K>,
    previous: Vec<Live<K>>,
}

struct Live<K> {
    label: String,
    key: K,
}

/// A secret that cannot be used, without its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the webhook secret `{label}` {reason}")]
pub struct BadSecret {
    /// Which one.
    pub label: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl<K: Key> LiveSecrets<K> {
    /// One live secret.
    ///
    /// # Errors
    /// [`BadSecret`] when it is not of its scheme's form.
    pub fn new(label: &str, secret: &SecretString) -> Result<Self, BadSecret> {
        Ok(Self { current: Live::parse(label, secret)?, previous: Vec::new() })
    }

    /// One more, tried after those before it.
    ///
    /// # Errors
    /// [`BadSecret`] when it is not of its scheme's form, or its label is taken.
    pub fn and(mut self, label: &str, secret: &SecretString) -> Result<Self, BadSecret> {
        if self.iter().any(|(taken, _)| taken == label) {
            return Err(BadSecret { label: label.to_owned(), reason: "has the label of another" });
        }
        self.previous.push(Live::parse(label, secret)?);
        Ok(self)
    }
}

impl<K> LiveSecrets<K> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &K)> {
        std::iter::once(&self.current).chain(&self.previous).map(|live| (live.label.as_str(), &live.key))
    }
}

impl<K: Key> Live<K> {
    fn parse(label: &str, secret: &SecretString) -> Result<Self, BadSecret> {
        let text = secret.expose_secret();
        let key = if text.is_empty() || text.contains(char::is_whitespace) {
            Err("is empty or has spaces")
        } else {
            K::parse(text)
        };
        key.map(|key| Self { label: label.to_owned(), key })
            .map_err(|reason| BadSecret { label: label.to_owned(), reason })
    }
}

/// The labels only.
impl<K> fmt::Debug for LiveSecrets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(label, _)| label)).finish()
    }
}

impl<'de, K: Key> Deserialize<'de> for LiveSecrets<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Entry {
            label: String,
            secret: SecretString,
        }
        let mut entries = Vec::<Entry>::deserialize(deserializer)?.into_iter();
        let first = entries.next().ok_or_else(|| serde::de::Error::custom("there is no webhook secret"))?;
        Self::new(&first.label, &first.secret)
            .and_then(|live| entries.try_fold(live, |live, entry| live.and(&entry.label, &entry.secret)))
            .map_err(serde::de::Error::custom)
    }
}

/// A secret whose text is the key, prefix and all.
#[derive(Debug)]
pub struct TextKey(pub(super) SecretSlice<u8>);

impl Key for TextKey {
    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(Self(text.as_bytes().to_vec().into()))
    }
}

/// A secret that is the base64 of the key, with or without the prefix `whsec_`.
#[derive(Debug)]
pub struct Base64Key(pub(super) SecretSlice<u8>);

impl Key for Base64Key {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).unwrap_or_default();
        if key.is_empty() { Err("is not base64 of a key") } else { Ok(Self(key.into())) }
    }
}
