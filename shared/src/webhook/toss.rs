//! Toss Payments: signed payout and seller events, and the deposit notification with its shared word.
//!
//! Its ordinary payment events are not signed at all: they are a [`Hint`](super::Hint).

use ring::hmac::HMAC_SHA256;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::sealed::{Format, Key};
use super::{Claim, Limits, Method, Received, Tolerance, Unverified};
use crate::clock::Timestamp;

const SIGNATURE: &str = "tosspayments-webhook-signature";
const TIME: &str = "tosspayments-webhook-transmission-time";

/// `tosspayments-webhook-signature: v1:<base64>[,v1:<base64>]`: HMAC-SHA256 of `<body>:<transmission time>` under the
/// security key.
///
/// The vendor says neither how the key's 64 hexadecimal digits become the key nor whether a retry has a new time. So the
/// first is a setting, and time is not judged unless [`Limits`] say so.
///
/// Source: <https://docs.tosspayments.com/reference/using-api/webhook-events>.
#[derive(Clone, Copy, Debug)]
pub struct Toss {
    /// How the security key becomes the key of the MAC.
    pub key: KeyEncoding,
}

/// How a security key of hexadecimal digits becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The digits are the key, as text.
    Text,
    /// The digits stand for the key's bytes.
    Hex,
    /// Both are tried.
    Either,
}

/// A security key of Toss Payments: hexadecimal digits.
#[derive(Debug)]
pub struct SecurityKey {
    text: SecretSlice<u8>,
    bytes: SecretSlice<u8>,
}

impl Key for SecurityKey {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = hex::decode(text).map_err(|_| "is not hexadecimal")?;
        Ok(Self { text: text.as_bytes().to_vec().into(), bytes: bytes.into() })
    }
}

impl Format for Toss {
    type Key = SecurityKey;
    const LIMITS: Limits = Limits::with(Tolerance::Unchecked);

    fn name(&self) -> &'static str {
        "toss"
    }

    fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified> {
        let time = received.header(TIME)?;
        let signatures: Vec<_> =
            received.header(SIGNATURE)?.split(',').filter_map(|part| part.strip_prefix("v1:")).collect();
        Ok(Claim {
            method: Method::Base64Hmac(HMAC_SHA256),
            messages: vec![[received.body, b":", time.as_bytes()].concat()],
            signatures,
            signed_at: Timestamp::parse_rfc3339(time),
            delivery: None,
        })
    }

    fn material<'k>(&self, key: &'k SecurityKey) -> Vec<&'k [u8]> {
        match self.key {
            KeyEncoding::Text => vec![key.text.expose_secret()],
            KeyEncoding::Hex => vec![key.bytes.expose_secret()],
            KeyEncoding::Either => vec![key.text.expose_secret(), key.bytes.expose_secret()],
        }
    }
}

/// The part of `DEPOSIT_CALLBACK` that we read. It carries the word that the order's payment was confirmed with; whoever
/// knows it is most likely Toss, but nothing signs the rest, so even a known word leaves it a [`Hint`](super::Hint): the
/// order is fetched again.
///
/// Source: <https://docs.tosspayments.com/reference/using-api/webhook-events>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TossDeposit {
    /// Our order.
    pub order_id: String,
    secret: SecretString,
}

impl TossDeposit {
    /// Compares the word with the one saved for the order, in constant time.
    ///
    /// # Errors
    /// [`Unverified::NoMatch`] when they differ, or none (or an empty one) was saved.
    pub fn check(&self, saved: Option<&SecretString>) -> Result<(), Unverified> {
        let saved = saved.map(ExposeSecret::expose_secret).filter(|saved| !saved.is_empty());
        let same = |saved: &str| bool::from(saved.as_bytes().ct_eq(self.secret.expose_secret().as_bytes()));
        if saved.is_some_and(same) { Ok(()) } else { Err(Unverified::NoMatch) }
    }
}
