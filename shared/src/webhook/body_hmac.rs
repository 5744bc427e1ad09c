//! HMAC-SHA256 of the raw body in one header: the plainest scheme there is.

use ring::hmac::HMAC_SHA256;
use secrecy::ExposeSecret;

use super::sealed::Format;
use super::{Claim, Limits, Method, Received, TextKey, Tolerance, Unverified};

/// HMAC-SHA256 (RFC 2104) of the raw body under the text of the secret, in lower-case hexadecimal after a fixed prefix
/// (`sha256=…`, or none). No time is signed, so a repeat looks like the first.
#[derive(Clone, Copy, Debug)]
pub struct BodyHmac {
    /// The name in logs and proofs.
    pub name: &'static str,
    /// The header.
    pub header: &'static str,
    /// What stands before the signature; may be empty.
    pub prefix: &'static str,
    /// True for base64 with padding instead of hexadecimal.
    pub base64: bool,
}

impl Format for BodyHmac {
    type Key = TextKey;
    const LIMITS: Limits = Limits::with(Tolerance::Unchecked);

    fn name(&self) -> &'static str {
        self.name
    }

    fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified> {
        let value = received.header(self.header)?;
        let signature = value.strip_prefix(self.prefix).ok_or(Unverified::Malformed(self.header))?;
        Ok(Claim {
            method: if self.base64 { Method::Base64Hmac(HMAC_SHA256) } else { Method::HexHmac(HMAC_SHA256) },
            messages: vec![received.body.to_vec()],
            signatures: vec![signature],
            signed_at: None,
            delivery: None,
        })
    }

    fn material<'k>(&self, key: &'k TextKey) -> Vec<&'k [u8]> {
        vec![key.0.expose_secret()]
    }
}
