//! Messages of Amazon SNS over HTTPS, signed with a certificate instead of a secret.
//!
//! The order of things: [`read`] a body, which costs nothing and refuses what cannot be ours; fetch the [`Certificate`] it
//! names, or take it from a cache by its URL; [`Unproven::verify`]. Fetching is the caller's: it goes over HTTPS to a host
//! of Amazon SNS, and that is what makes the certificate trustworthy, as in the vendor's own validators. Anyone with an
//! AWS account can have SNS sign a message, so a signature says something only about the [`Topics`] that are ours.
//!
//! Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use serde::Deserialize;
use url::Url;
use webpki::EndEntityCert;

use super::{Limits, Proof, Tolerance, Unverified, Verified};
use crate::clock::Timestamp;

/// The limits to use unless configured otherwise. A message keeps the time of its publication through all retries, which
/// go on for an hour or for days, so the time is not judged.
pub const LIMITS: Limits = Limits::with(Tolerance::Unchecked);

/// The topics that are ours, at least one.
#[derive(Clone, Debug)]
pub struct Topics {
    first: String,
    others: Vec<String>,
}

impl Topics {
    /// These topics, by their ARNs.
    pub fn new(first: String, others: Vec<String>) -> Self {
        Self { first, others }
    }

    fn has(&self, arn: &str) -> bool {
        self.first == arn || self.others.iter().any(|other| other == arn)
    }
}

/// An `https` URL on a host of Amazon SNS, `sns.<region>.amazonaws.com` or the same under `.cn`. Fetch this text and no
/// other: it is what was checked. Do not follow redirects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnsUrl(Url);

impl SnsUrl {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let host = url.host_str()?.strip_prefix("sns.")?;
        let region = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
        let is_region = region.len() >= 3 && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_bare = url.port().is_none() && url.username().is_empty() && url.password().is_none();
        (is_region && is_bare && url.scheme() == "https").then_some(Self(url))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A signing certificate, with the URL it was fetched from.
#[derive(Clone, Debug)]
pub struct Certificate {
    url: SnsUrl,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Reads the PEM that `url` answered with.
    ///
    /// # Errors
    /// [`Unverified::Certificate`] when it is not an X.509 certificate.
    pub fn read(url: SnsUrl, pem: &[u8]) -> Result<Self, Unverified> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| Unverified::Certificate)?;
        match EndEntityCert::try_from(&der) {
            Ok(_) => Ok(Self { url, der }),
            Err(_) => Err(Unverified::Certificate),
        }
    }

    /// Where it was fetched from.
    pub fn url(&self) -> &SnsUrl {
        &self.url
    }
}

/// A message that SNS sent to one of our topics.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same in every retry.
    pub id: String,
    /// The ARN of the topic.
    pub topic: String,
    /// When it was published.
    pub timestamp: Timestamp,
    /// What was published, or a sentence for people in a confirmation.
    pub text: String,
    /// What it is for.
    pub kind: Kind,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something was published.
    Notification {
        /// Its subject.
        subject: Option<String>,
    },
    /// The topic asks whether it may send here; getting `url` says yes.
    SubscriptionConfirmation {
        /// What to get.
        url: SnsUrl,
    },
    /// The topic will no longer send here; getting `url` takes that back.
    UnsubscribeConfirmation {
        /// What to get.
        url: SnsUrl,
    },
}

/// Without the text, which may be about a person, and without the URL, whose token confirms.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("id", &self.id).field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// The message as it stands on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    r#type: Option<String>,
    message_id: Option<String>,
    topic_arn: Option<String>,
    message: Option<String>,
    timestamp: Option<String>,
    subject: Option<String>,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    signature_version: Option<String>,
    signature: Option<String>,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: Option<String>,
}

/// A message that is well formed and says it is from one of our topics, which nothing has proven yet.
pub struct Unproven {
    message: Message,
    certificate_url: SnsUrl,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    signed: String,
    signature: Vec<u8>,
    tolerance: Tolerance,
}

/// Reads the raw body of a request.
///
/// # Errors
/// Any [`Unverified`] that shows without the certificate.
pub fn read(body: &[u8], topics: &Topics, limits: Limits) -> Result<Unproven, Unverified> {
    limits.judge_size(body)?;
    let wire: Wire = serde_json::from_slice(body).map_err(|_| Unverified::Malformed("body"))?;
    let algorithm = match required(wire.signature_version, "SignatureVersion")?.as_str() {
        "1" => SHA1,
        "2" => webpki::ring::RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(Unverified::Unsupported("SignatureVersion")),
    };
    let signature =
        STANDARD.decode(required(wire.signature, "Signature")?).map_err(|_| Unverified::Malformed("Signature"))?;
    let certificate_url = SnsUrl::parse(&required(wire.signing_cert_url, "SigningCertURL")?)
        .filter(|url| url.0.path().ends_with(".pem") && url.0.query().is_none())
        .ok_or(Unverified::UntrustedUrl("SigningCertURL"))?;

    let r#type = required(wire.r#type, "Type")?;
    let text = required(wire.message, "Message")?;
    let id = one_line(wire.message_id, "MessageId")?;
    let time = one_line(wire.timestamp, "Timestamp")?;
    let topic = one_line(wire.topic_arn, "TopicArn")?;
    if !topics.has(&topic) {
        return Err(Unverified::UnexpectedTopic);
    }

    // The names in the order of the alphabet, each with its value on a line.
    let mut signed = format!("Message\n{text}\nMessageId\n{id}\n");
    let kind = if r#type == "Notification" {
        let subject = wire.subject.map(|subject| one_line(Some(subject), "Subject")).transpose()?;
        if let Some(subject) = &subject {
            signed += &format!("Subject\n{subject}\n");
        }
        signed += &format!("Timestamp\n{time}\n");
        Kind::Notification { subject }
    } else {
        let link = one_line(wire.subscribe_url, "SubscribeURL")?;
        let url = SnsUrl::parse(&link).ok_or(Unverified::UntrustedUrl("SubscribeURL"))?;
        let token = one_line(wire.token, "Token")?;
        signed += &format!("SubscribeURL\n{link}\nTimestamp\n{time}\nToken\n{token}\n");
        match r#type.as_str() {
            "SubscriptionConfirmation" => Kind::SubscriptionConfirmation { url },
            "UnsubscribeConfirmation" => Kind::UnsubscribeConfirmation { url },
            _ => return Err(Unverified::Malformed("Type")),
        }
    };
    signed += &format!("TopicArn\n{topic}\nType\n{type}\n");

    let timestamp = Timestamp::parse_rfc3339(&time).ok_or(Unverified::Malformed("Timestamp"))?;
    let message = Message { id, topic, timestamp, text, kind };
    Ok(Unproven { message, certificate_url, algorithm, signed, signature, tolerance: limits.tolerance })
}

fn required(value: Option<String>, name: &'static str) -> Result<String, Unverified> {
    value.ok_or(Unverified::Missing(name))
}

/// A value without line breaks. The format does not mark where a value ends, so one with a line break could be part of
/// another message's text; only `Message` may have them, and then there is one way to read the whole.
fn one_line(value: Option<String>, name: &'static str) -> Result<String, Unverified> {
    let value = required(value, name)?;
    if value.contains('\n') { Err(Unverified::Malformed(name)) } else { Ok(value) }
}

impl Unproven {
    /// Where the certificate is that is said to have signed the message.
    pub fn certificate_url(&self) -> &SnsUrl {
        &self.certificate_url
    }

    /// The message, when this certificate signed it.
    ///
    /// # Errors
    /// [`Unverified::Certificate`] when it is not the one the message names, [`Unverified::NoMatch`] when it did not sign
    /// the message, or what the tolerance says.
    pub fn verify(self, certificate: &Certificate, now: Timestamp) -> Result<Verified<Message>, Unverified> {
        if certificate.url != self.certificate_url {
            return Err(Unverified::Certificate);
        }
        EndEntityCert::try_from(&certificate.der)
            .map_err(|_| Unverified::Certificate)?
            .verify_signature(self.algorithm, self.signed.as_bytes(), &self.signature)
            .map_err(|_| Unverified::NoMatch)?;
        self.tolerance.judge(Some(self.message.timestamp), now)?;
        let proof = Proof {
            scheme: "sns",
            label: self.certificate_url.0.path().trim_start_matches('/').to_owned(),
            signed_at: Some(self.message.timestamp),
            delivery: Some(self.message.id.clone()),
        };
        Ok(Verified { value: self.message, proof })
    }
}

/// Without the message, whose text is a stranger's.
impl fmt::Debug for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unproven").field("certificate_url", &self.certificate_url).finish_non_exhaustive()
    }
}

/// RSA PKCS #1 v1.5 with SHA-1: signature version 1, the default of a topic. The TLS library has left SHA-1 behind.
static SHA1: &dyn SignatureVerificationAlgorithm = &RsaSha1;

#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    /// `sha1WithRSAEncryption` (RFC 3279, 2.2.1), in DER.
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        AlgorithmIdentifier::from_slice(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00])
    }
}
