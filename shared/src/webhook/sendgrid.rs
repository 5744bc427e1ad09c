//! SendGrid's signed event webhook.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::sealed::{Format, Key};
use super::{Claim, Limits, Method, Received, Tolerance, Unverified, unix_seconds};

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

/// What stands before the point in a P-256 `SubjectPublicKeyInfo` (RFC 5480, 2), in DER.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// ECDSA on P-256 with SHA-256 over the text of the timestamp (unix seconds) and the raw body, down to its last line
/// break; the signature is base64 of DER.
///
/// The vendor's libraries do not judge the time; five minutes is our choice.
///
/// Source: <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>.
#[derive(Clone, Copy, Debug)]
pub struct SendGrid;

impl Format for SendGrid {
    type Key = P256Key;
    const LIMITS: Limits = Limits::with(Tolerance::FIVE_MINUTES);

    fn name(&self) -> &'static str {
        "sendgrid"
    }

    fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified> {
        let time = received.header(TIMESTAMP)?;
        Ok(Claim {
            method: Method::EcdsaP256,
            messages: vec![[time.as_bytes(), received.body].concat()],
            signatures: vec![received.header(SIGNATURE)?],
            signed_at: Some(unix_seconds(time, TIMESTAMP)?),
            delivery: None,
        })
    }

    fn material<'k>(&self, key: &'k P256Key) -> Vec<&'k [u8]> {
        vec![&key.point]
    }
}

/// A public key as SendGrid shows it: base64 of a DER `SubjectPublicKeyInfo` on P-256.
#[derive(Debug)]
pub struct P256Key {
    point: [u8; 65],
}

impl Key for P256Key {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let der = STANDARD.decode(text).unwrap_or_default();
        let point = der.strip_prefix(&P256_PREFIX).and_then(|point| point.try_into().ok());
        point.map(|point| Self { point }).ok_or("is not base64 of a P-256 public key in DER")
    }
}
