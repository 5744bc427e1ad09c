//! Standard Webhooks, which PortOne V2 speaks.

use ring::hmac::HMAC_SHA256;
use secrecy::ExposeSecret;

use super::sealed::Format;
use super::{Base64Key, Claim, Limits, Method, Received, Tolerance, Unverified, unix_seconds};

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// `webhook-signature: v1,<base64>[ v1,<base64>…]`: HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>`; the secret is
/// the key in base64, after `whsec_` or not. Versions other than `v1` are passed over. Each retry is signed anew and keeps
/// its `webhook-id`, which becomes [`Proof::delivery`](super::Proof::delivery).
///
/// Sources: <https://www.standardwebhooks.com>, <https://developers.portone.io/opi/ko/integration/webhook/readme-v2>.
#[derive(Clone, Copy, Debug)]
pub struct StandardWebhooks;

impl Format for StandardWebhooks {
    type Key = Base64Key;
    const LIMITS: Limits = Limits::with(Tolerance::FIVE_MINUTES);

    fn name(&self) -> &'static str {
        "standard-webhooks"
    }

    fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified> {
        let (id, time) = (received.header(ID)?, received.header(TIMESTAMP)?);
        let signatures: Vec<_> =
            received.header(SIGNATURE)?.split(' ').filter_map(|part| part.strip_prefix("v1,")).collect();
        Ok(Claim {
            method: Method::Base64Hmac(HMAC_SHA256),
            messages: vec![[id.as_bytes(), b".", time.as_bytes(), b".", received.body].concat()],
            signatures,
            signed_at: Some(unix_seconds(time, TIMESTAMP)?),
            delivery: Some(id),
        })
    }

    fn material<'k>(&self, key: &'k Base64Key) -> Vec<&'k [u8]> {
        vec![key.0.expose_secret()]
    }
}
