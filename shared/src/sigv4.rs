//! Requests to AWS that are signed without an SDK client.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>. An SDK client is a hundred operations
//! of which we need a few, and it repeats unseen. Our own HTTP client does not, and can tell a connection that never
//! came about from one that broke after the request had left: for a sender, whose message must not come twice, that is the
//! difference between sending again and asking a person. Here is the signature and nothing else; `aws-sigv4`, which is
//! below the SDK's clients as well, computes it.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ::http::{HeaderName, HeaderValue};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningInstructions,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use serde::Deserialize;
use url::Url;

use crate::clock::Timestamp;
use crate::http::Outgoing;
use crate::provider::{Cause, ProviderError};
use crate::secrets::{ExposeSecret, Secret, SecretShape, SecretString};

/// Keys of a user, for local runs only: a deployed function has a role.
#[derive(Debug, Deserialize)]
pub struct AwsKeys {
    access_key_id: SecretString,
    secret_access_key: SecretString,
}

impl SecretShape for AwsKeys {
    const MEMBERS: &'static [&'static str] = &["access_key_id", "secret_access_key"];
}

/// Who signs.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The function's role, or whoever runs a tool.
    Role(SharedCredentialsProvider),
    /// Keys from a secret.
    Keys(Arc<Secret<AwsKeys>>),
}

impl Signer {
    /// The request with its signature, for `service` in `region`. No header that it covers may be changed afterwards.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`], as nothing has left: the role has no credentials now, or the request cannot be signed.
    pub async fn sign(
        &self,
        request: Outgoing,
        service: &str,
        region: &str,
        now: Timestamp,
    ) -> Result<Outgoing, ProviderError> {
        let uri = request.url.to_string();
        self.sign_for(request, &uri, Scope { service, region, now }).await.map_err(ProviderError::Unreachable)
    }

    /// The same of a request that is sent to `uri`.
    ///
    /// # Errors
    /// The role has no credentials now, or the request cannot be signed.
    pub(crate) async fn sign_for(&self, mut request: Outgoing, uri: &str, scope: Scope<'_>) -> Result<Outgoing, Cause> {
        let (credentials, body) = (self.credentials().await?, SignableBody::Bytes(&request.body));
        let instructions = signature(&request, uri, body, credentials, scope, settings(scope.service))?;
        for (name, value) in instructions.headers() {
            request.headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(request)
    }

    /// The address of `request` with its signature in it: for `lifetime` from now, whoever knows it may send that request,
    /// with these headers and any body
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).
    ///
    /// # Errors
    /// The role has no credentials now, or the request cannot be signed.
    pub(crate) async fn signed_address(
        &self,
        request: &Outgoing,
        scope: Scope<'_>,
        lifetime: Duration,
    ) -> Result<Url, Cause> {
        let mut settings = settings(scope.service);
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(lifetime);
        let (credentials, body) = (self.credentials().await?, SignableBody::UnsignedPayload);
        let instructions = signature(request, request.url.as_str(), body, credentials, scope, settings)?;
        let mut url = request.url.clone();
        url.query_pairs_mut().extend_pairs(instructions.params());
        Ok(url)
    }

    async fn credentials(&self) -> Result<Credentials, Cause> {
        match self {
            Self::Role(role) => Ok(role.provide_credentials().await?),
            Self::Keys(secret) => {
                let keys = secret.current().await;
                let (id, key) = (keys.access_key_id.expose_secret(), keys.secret_access_key.expose_secret());
                Ok(Credentials::new(id, key, None, None, "secret"))
            }
        }
    }
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
}

/// How requests to `service` are signed.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        // Keys are signed as they are sent, and the body's digest goes along.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

fn signature(
    request: &Outgoing,
    uri: &str,
    body: SignableBody<'_>,
    credentials: Credentials,
    scope: Scope<'_>,
    settings: SigningSettings,
) -> Result<SigningInstructions, Cause> {
    let identity = credentials.into();
    let since_1970 = Duration::from_millis(u64::try_from(scope.now.as_millis()).unwrap_or(0));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(UNIX_EPOCH + since_1970)
        .settings(settings)
        .build()?
        .into();
    // What is left out of a signature AWS may refuse, and would name another cause.
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| Ok((name.as_str(), value.to_str()?)))
        .collect::<Result<_, Cause>>()?;
    let signable = SignableRequest::new(request.method.as_str(), uri, headers.into_iter(), body)?;
    Ok(sign(signable, &params)?.into_parts().0)
}
