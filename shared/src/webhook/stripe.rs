//! Stripe's signature scheme.

use ring::hmac::HMAC_SHA256;
use secrecy::ExposeSecret;

use super::sealed::Format;
use super::{Claim, Limits, Method, Received, TextKey, Tolerance, Unverified, unix_seconds};

const HEADER: &str = "stripe-signature";

/// `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=…]`: HMAC-SHA256 of `<t>.<body>` under the text of the secret, with
/// its `whsec_`. Schemes other than `v1` are passed over. Each retry is signed anew.
///
/// Stricter than Stripe's libraries in one point: a time in the future has the same tolerance as one in the past.
///
/// Source: <https://docs.stripe.com/webhooks/signature>.
#[derive(Clone, Copy, Debug)]
pub struct Stripe;

impl Format for Stripe {
    type Key = TextKey;
    const LIMITS: Limits = Limits::with(Tolerance::FIVE_MINUTES);

    fn name(&self) -> &'static str {
        "stripe"
    }

    fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified> {
        let parts: Vec<_> = received.header(HEADER)?.split(',').filter_map(|part| part.split_once('=')).collect();
        let named = |wanted| parts.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value);
        let (times, signatures): (Vec<_>, Vec<_>) = (named("t").collect(), named("v1").collect());
        let [time] = times[..] else { return Err(Unverified::Malformed(HEADER)) };
        Ok(Claim {
            method: Method::HexHmac(HMAC_SHA256),
            messages: vec![[time.as_bytes(), b".", received.body].concat()],
            signatures,
            signed_at: Some(unix_seconds(time, HEADER)?),
            delivery: None,
        })
    }

    fn material<'k>(&self, key: &'k TextKey) -> Vec<&'k [u8]> {
        vec![key.0.expose_secret()]
    }
}
