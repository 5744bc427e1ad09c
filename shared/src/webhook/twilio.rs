//! Twilio's request signature.

use std::collections::BTreeSet;

use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::sealed::Format;
use super::{Claim, Limits, Method, Received, TextKey, Tolerance, Unverified};

const SIGNATURE: &str = "x-twilio-signature";
const SETTINGS: &str = "x-twilio-webhooks-signature-settings";
const BODY_HASH: &str = "bodySHA256";

/// `X-Twilio-Signature: <base64>`: HMAC-SHA1 under the auth token (HMAC-SHA256 under a shared key, when
/// `X-Twilio-Webhooks-Signature-Settings` says so) of the URL followed by each form parameter's name and value, sorted,
/// equal ones once. A body that is not a form is signed by its SHA-256 in the URL's `bodySHA256`, and the URL alone is
/// signed. Twilio writes the URL's port or leaves it out, so both are tried.
///
/// What this format cannot prove: no time is signed; and as nothing parts names from values, who has seen one signed
/// request can part the same text differently. Readers must insist on the parameters they need. Which of the two forms a
/// request has is told from the URL, which is signed, and not from `Content-Type`, which is not; and a form without
/// parameters is refused, because its signature could have been made for any text.
///
/// Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.
#[derive(Clone, Copy, Debug)]
pub struct Twilio;

impl Format for Twilio {
    type Key = TextKey;
    const LIMITS: Limits = Limits::with(Tolerance::Unchecked);

    fn name(&self) -> &'static str {
        "twilio"
    }

    fn claim<'r>(&self, received: &Received<'r>) -> Result<Claim<'r>, Unverified> {
        let signature = received.header(SIGNATURE)?;
        let method = Method::Base64Hmac(match received.header(SETTINGS) {
            Err(Unverified::Missing(_)) => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            settings => match settings?.split(',').find_map(|part| part.strip_prefix("algorithm=")) {
                Some("HMAC_SHA1") => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                Some("HMAC_SHA256") => HMAC_SHA256,
                _ => return Err(Unverified::Unsupported(SETTINGS)),
            },
        });
        let params = match signed_body_hash(received.url)? {
            None => sorted_params(received.body)?,
            Some(hash) if hash == hex::encode(Sha256::digest(received.body)) => String::new(),
            Some(_) => return Err(Unverified::BodyHash),
        };
        let messages = spellings(received.url).into_iter().map(|url| (url + &params).into_bytes()).collect();
        Ok(Claim { method, messages, signatures: vec![signature], signed_at: None, delivery: None })
    }

    fn material<'k>(&self, key: &'k TextKey) -> Vec<&'k [u8]> {
        vec![key.0.expose_secret()]
    }
}

fn signed_body_hash(url: &str) -> Result<Option<String>, Unverified> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut hashes = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == BODY_HASH);
    match (hashes.next(), hashes.next()) {
        (_, Some(_)) => Err(Unverified::Malformed(BODY_HASH)),
        (hash, None) => Ok(hash.map(|(_, hash)| hash.into_owned())),
    }
}

fn sorted_params(body: &[u8]) -> Result<String, Unverified> {
    let params: BTreeSet<_> = form_urlencoded::parse(body).collect();
    let text: String = params.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect();
    if text.is_empty() { Err(Unverified::Malformed("body")) } else { Ok(text) }
}

/// The URL as it is, without its port, and with the port of its scheme. It is not parsed and written again: the signature
/// is over its text.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, after_scheme)) = url.split_once("://") else { return spellings };
    let end = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    // The colons within an IPv6 address are followed by its bracket.
    match authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((host, _)) => spellings.push(format!("{scheme}://{host}{rest}")),
        None => {
            let port = if scheme == "https" { 443 } else { 80 };
            spellings.push(format!("{scheme}://{authority}:{port}{rest}"));
        }
    }
    spellings
}
