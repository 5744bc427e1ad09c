//! Webhooks: what a signature proves, and what an unsigned notification does not.
//!
//! A provider's request is [`Received`]; a [`Verifier`] checks it against a [`Scheme`] and the [`LiveSecrets`], and only
//! that makes a [`Verified`]. Notifications that nobody signs become a [`Hint`], which says what to fetch again and
//! nothing more. Messages of Amazon SNS are proven by a certificate instead of a secret: see [`sns`].
//!
//! What this module refuses to do, by construction:
//! - to verify without a secret: [`LiveSecrets`] cannot be empty, and no scheme means "none";
//! - to let another crate add a scheme, and so make a [`Verified`] of its own: [`Scheme`] is sealed;
//! - to accept what only a candidate has verified: [`Verifier::shadow`] returns nothing;
//! - to tell the sender which part failed: every [`Unverified`] has the same outside.
//!
//! It is pure: time is an argument, nothing is fetched or stored. A signature does not make a delivery unique, so repeats
//! within the tolerance are the store's to recognise. Time is judged once, at receipt; a replay from the store is not
//! judged again.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::error::{ApiError, BAD_FORMAT, PAYLOAD_TOO_LARGE, UNAUTHENTICATED};
use crate::provider::Cause;

mod body_hmac;
mod secrets;
mod sendgrid;
pub mod sns;
mod standard;
mod stripe;
mod toss;
mod twilio;

pub use body_hmac::BodyHmac;
pub use secrets::{BadSecret, Base64Key, LiveSecrets, TextKey};
pub use sendgrid::{P256Key, SendGrid};
pub use standard::StandardWebhooks;
pub use stripe::Stripe;
pub use toss::{KeyEncoding, SecurityKey, Toss, TossDeposit};
pub use twilio::Twilio;

use sealed::{Claim, Method};

/// A request as it arrived, with nothing known about it yet.
#[derive(Clone, Copy)]
pub struct Received<'r> {
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The raw body: a signature is over bytes, not over what they mean.
    pub body: &'r [u8],
    /// The URL as the sender called it, with its query. Behind a gateway it is put together from the configured public
    /// address. Only [`Twilio`] looks at it.
    pub url: &'r str,
}

/// The sizes only: the rest is a stranger's.
impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl<'r> Received<'r> {
    /// The one value of the header `name`. Two values are an error: we and the signer might mean different ones.
    fn header(&self, name: &'static str) -> Result<&'r str, Unverified> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().ok_or(Unverified::Missing(name))?;
        match (values.next(), value.to_str()) {
            (None, Ok(value)) => Ok(value),
            _ => Err(Unverified::Malformed(name)),
        }
    }
}

/// A value that a verified signature covers. Only a verification makes one:
///
/// ```
/// use ieum::webhook::{LiveSecrets, Received, Stripe, TextKey, Unverified, Verified, Verifier};
/// # fn receive(secrets: &LiveSecrets<TextKey>, received: &Received<'_>, now: ieum::clock::Timestamp) -> Result<(), Unverified> {
/// let verified: Verified<&[u8]> = Verifier::new(Stripe, secrets).verify(received, now)?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// use ieum::webhook::{Proof, Verified};
/// fn forge(proof: Proof) -> Verified<&'static [u8]> {
///     Verified { value: b"{}", proof }
/// }
/// ```
///
/// What is read out of it stays verified, as long as the reader is a plain function, which can add nothing of its own:
///
/// ```
/// # use ieum::webhook::Verified;
/// fn length(body: Verified<&[u8]>) -> Result<Verified<usize>, ()> {
///     body.try_map(|body| Ok(body.len()))
/// }
/// ```
///
/// ```compile_fail
/// # use ieum::webhook::Verified;
/// fn launder(body: Verified<&[u8]>, unsigned: usize) -> Result<Verified<usize>, ()> {
///     body.try_map(|_| Ok(unsigned))
/// }
/// ```
#[derive(Clone)]
pub struct Verified<T> {
    value: T,
    proof: Proof,
}

impl<T> Verified<T> {
    /// What was signed.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// What was signed, by itself.
    pub fn into_value(self) -> T {
        self.value
    }

    /// By what it was proven.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Reads something else out of the value.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn try_map<U, E>(self, read: fn(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { value: read(self.value)?, proof: self.proof })
    }
}

/// Without the value, which may be about a person.
impl<T> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("proof", &self.proof).finish_non_exhaustive()
    }
}

/// By what a value was proven, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The name of the scheme.
    pub scheme: &'static str,
    /// The label of the secret that matched, or the name of the certificate; never the secret.
    pub label: String,
    /// When it was signed, where the signature covers a time.
    pub signed_at: Option<Timestamp>,
    /// The id of the delivery, where the signature covers one.
    pub delivery: Option<String>,
}

/// What an unsigned notification says. It proves nothing: anyone may have sent it, so it names what to fetch again from
/// the provider and must never be acted on. There is no way from here to a [`Verified`].
#[derive(Clone)]
pub struct Hint<T>(T);

impl<T> Hint<T> {
    /// Reads a notification of at most `body_bytes` bytes.
    ///
    /// # Errors
    /// 413 for a larger one, 400 for one that `read` cannot read. Its error goes to the log and so must not quote values.
    pub fn read<'r, E: Into<Cause>>(
        body: &'r [u8],
        body_bytes: usize,
        read: fn(&'r [u8]) -> Result<T, E>,
    ) -> Result<Self, ApiError> {
        if body.len() > body_bytes {
            return Err(ApiError::new(PAYLOAD_TOO_LARGE));
        }
        read(body).map(Self).map_err(|error| ApiError::invalid("body", BAD_FORMAT).because(error))
    }

    /// What to fetch again.
    pub fn to_refetch(&self) -> &T {
        &self.0
    }
}

/// Without the value, which is a stranger's text.
impl<T> fmt::Debug for Hint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hint(..)")
    }
}

/// Why a request is not verified, for the log. Nothing that the sender wrote is part of it. The outside is one
/// [`ApiError`] for all of them, a 401: the sender is not told how near it came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// The body is larger than the limit.
    #[error("the body has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size looked at.
        limit: usize,
    },
    /// A header or member is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A header or member cannot be read, is there twice, or holds nothing that this scheme can check.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// A header or member asks for an algorithm that is not this scheme's.
    #[error("`{0}` names an unsupported algorithm")]
    Unsupported(&'static str),
    /// The hash of the body that was signed is not that of this body.
    #[error("the body does not have the signed hash")]
    BodyHash,
    /// There is no signature of a version that this scheme has.
    #[error("there is no signature of a version we know")]
    NoSignature,
    /// No live secret made any of the signatures.
    #[error("no live secret made this signature")]
    NoMatch,
    /// Signed, but too long ago.
    #[error("signed {age:?} ago")]
    TooOld {
        /// How long ago.
        age: Duration,
    },
    /// Signed, but at a time too far ahead of ours.
    #[error("signed {lead:?} ahead of our time")]
    TooNew {
        /// How far ahead.
        lead: Duration,
    },
    /// A tolerance is set, and the signature covers no time that we can read.
    #[error("there is no signed time to judge")]
    Untimed,
    /// The signature is for an SNS topic that is not ours.
    #[error("the topic is not one of ours")]
    UnexpectedTopic,
    /// `SigningCertURL` or `SubscribeURL` does not lead to Amazon SNS.
    #[error("`{0}` does not lead to Amazon SNS")]
    UntrustedUrl(&'static str),
    /// The certificate cannot be read, or is not the one that the message names.
    #[error("the signing certificate is not usable")]
    Certificate,
}

impl From<Unverified> for ApiError {
    fn from(error: Unverified) -> Self {
        Self::new(UNAUTHENTICATED).because(error)
    }
}

/// How far the signed time may be from ours, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// This far, the edge included.
    Within(Duration),
    /// Any time is accepted, and none at all: for schemes that sign no time, or one that retries keep.
    Unchecked,
}

impl Tolerance {
    /// Five minutes, the field's custom.
    pub const FIVE_MINUTES: Self = Self::Within(Duration::from_secs(300));

    fn judge(self, signed_at: Option<Timestamp>, now: Timestamp) -> Result<(), Unverified> {
        let Self::Within(tolerance) = self else { return Ok(()) };
        let signed_at = signed_at.ok_or(Unverified::Untimed)?;
        let (age, lead) = (now.since(signed_at), signed_at.since(now));
        if age > tolerance {
            return Err(Unverified::TooOld { age });
        }
        if lead > tolerance {
            return Err(Unverified::TooNew { lead });
        }
        Ok(())
    }
}

/// What is checked besides the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far the signed time may be from ours.
    pub tolerance: Tolerance,
    /// The largest body looked at, in bytes.
    pub body_bytes: usize,
}

impl Limits {
    /// 1 MiB, and this tolerance.
    pub const fn with(tolerance: Tolerance) -> Self {
        Self { tolerance, body_bytes: 1024 * 1024 }
    }

    fn judge_size(self, body: &[u8]) -> Result<(), Unverified> {
        let (bytes, limit) = (body.len(), self.body_bytes);
        if bytes > limit { Err(Unverified::TooLarge { bytes, limit }) } else { Ok(()) }
    }
}

/// A wire format of signatures. Sealed: who could add one could have anything verified.
///
/// ```compile_fail
/// struct Anything;
/// impl ieum::webhook::Scheme for Anything {}
/// ```
pub trait Scheme: sealed::Format {}

impl<S: sealed::Format> Scheme for S {}

/// Checks requests against one scheme and its live secrets.
#[derive(Debug)]
pub struct Verifier<'s, S: Scheme> {
    scheme: S,
    secrets: &'s LiveSecrets<S::Key>,
    limits: Limits,
}

impl<'s, S: Scheme> Verifier<'s, S> {
    /// A verifier with the limits of the scheme.
    pub fn new(scheme: S, secrets: &'s LiveSecrets<S::Key>) -> Self {
        Self { scheme, secrets, limits: S::LIMITS }
    }

    /// Changes the limits.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The body, when one of the live secrets signed it at about this time.
    ///
    /// # Errors
    /// Any [`Unverified`]; a time is judged only once the signature is proven.
    pub fn verify<'r>(&self, received: &Received<'r>, now: Timestamp) -> Result<Verified<&'r [u8]>, Unverified> {
        self.limits.judge_size(received.body)?;
        let claim = self.scheme.claim(received)?;
        if claim.signatures.is_empty() {
            return Err(Unverified::NoSignature);
        }
        let proven = |key| self.scheme.material(key).iter().any(|material| claim.proven_by(material));
        let (label, _) = self.secrets.iter().find(|(_, key)| proven(key)).ok_or(Unverified::NoMatch)?;
        self.limits.tolerance.judge(claim.signed_at, now)?;
        let proof = Proof {
            scheme: self.scheme.name(),
            label: label.to_owned(),
            signed_at: claim.signed_at,
            delivery: claim.delivery.map(str::to_owned),
        };
        Ok(Verified { value: received.body, proof })
    }

    /// Checks a candidate, a scheme or secret that is not trusted yet, and logs what comes of it. Nothing is accepted by
    /// this: there is nothing to accept.
    pub fn shadow(&self, received: &Received<'_>, now: Timestamp) {
        let scheme = self.scheme.name();
        match self.verify(received, now) {
            Ok(verified) => {
                let label = verified.proof.label;
                tracing::info!(target: "ieum::webhook", scheme, label, "webhook.shadow_verified");
            }
            Err(error) => {
                tracing::warn!(target: "ieum::webhook", scheme, %error, "webhook.shadow_unverified");
            }
        }
    }
}

/// What only this module may implement, and the one place where signatures are checked.
mod sealed {
    use super::{
        ConstantTimeEq, ECDSA_P256_SHA256_ASN1, Engine, Limits, Received, STANDARD, Timestamp, UnparsedPublicKey,
        Unverified, hmac,
    };

    /// How to read a scheme's request.
    pub trait Format: std::fmt::Debug {
        /// What its secrets are.
        type Key: Key;
        /// What is checked besides the signature, unless configured otherwise.
        const LIMITS: Limits;
        /// Its name in logs and proofs.
        fn name(&self) -> &'static str;
        /// What the request says was signed, and by which signatures.
        fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified>;
        /// The bytes of a key: one reading of it, or several to be tried.
        fn material<'k>(&self, key: &'k Self::Key) -> Vec<&'k [u8]>;
    }

    /// A secret of a certain form.
    pub trait Key: Sized {
        /// Reads it; the error says what it must be, without quoting it.
        fn parse(text: &str) -> Result<Self, &'static str>;
    }

    /// What a request says was signed: any of these messages, by any of these signatures.
    pub struct Claim<'r> {
        pub method: Method,
        pub messages: Vec<Vec<u8>>,
        pub signatures: Vec<&'r str>,
        pub signed_at: Option<Timestamp>,
        pub delivery: Option<&'r str>,
    }

    /// How a message becomes a signature.
    #[derive(Clone, Copy)]
    pub enum Method {
        /// HMAC (RFC 2104), written in lower-case hexadecimal.
        HexHmac(hmac::Algorithm),
        /// HMAC, written in base64 with padding.
        Base64Hmac(hmac::Algorithm),
        /// ECDSA on P-256 with SHA-256, DER (RFC 3279, 2.2.3), written in base64 with padding. The key is the point.
        EcdsaP256,
    }

    impl Claim<'_> {
        /// True when this key made one of the signatures. A MAC is compared as text, in constant time, so that no two
        /// spellings of it are equal; it is made once for each message, however many signatures there are.
        pub fn proven_by(&self, key: &[u8]) -> bool {
            let any_is = |expected: String| {
                self.signatures.iter().any(|signature| expected.as_bytes().ct_eq(signature.as_bytes()).into())
            };
            let mac = |algorithm, message: &[u8]| hmac::sign(&hmac::Key::new(algorithm, key), message);
            self.messages.iter().any(|message| match self.method {
                Method::HexHmac(algorithm) => any_is(hex::encode(mac(algorithm, message))),
                Method::Base64Hmac(algorithm) => any_is(STANDARD.encode(mac(algorithm, message))),
                Method::EcdsaP256 => {
                    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
                    let verifies = |signature: Vec<u8>| key.verify(message, &signature).is_ok();
                    self.signatures.iter().any(|signature| STANDARD.decode(signature).is_ok_and(verifies))
                }
            })
        }
    }
}

/// Seconds since the epoch, as a header says them.
fn unix_seconds(text: &str, name: &'static str) -> Result<Timestamp, Unverified> {
    let millis = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000));
    millis.map(Timestamp::from_millis).ok_or(Unverified::Malformed(name))
}
