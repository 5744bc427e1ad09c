//! Providers' own requests: proven by their signatures, then read.
//!
//! What is reported is applied before its sender hears 200. Nothing needs to be kept for that: applying a report twice is
//! applying it once, and a report that is lost leaves a text at `sent`, which is true.

use std::sync::Arc;

use ieum::api::Call;
use ieum::clock::Timestamp;
use ieum::error::{ApiError, BAD_FORMAT, NOT_FOUND, UNAUTHENTICATED, place};
use ieum::provider::Cause;
use ieum::secrets::Secret;
use ieum::start::Kernel;
use ieum::webhook::{BodyHmac, Twilio, Verifier};
use url::Url;

use crate::config::Config;
use crate::events::{self, Report, SolapiCodes};
use crate::providers::solapi::SolapiSecret;
use crate::providers::twilio::{ID_PARAMETER, TwilioSecret};

/// The parameter of Twilio's by which a body that is no form is signed.
const BODY_HASH_PARAMETER: &str = "bodySHA256";

/// Reads what providers report.
#[derive(Debug)]
pub struct Reports {
    twilio: Option<TwilioDoor>,
    solapi: Option<SolapiDoor>,
}

#[derive(Debug)]
struct TwilioDoor {
    public_url: Url,
    secret: Arc<Secret<TwilioSecret>>,
}

#[derive(Debug)]
struct SolapiDoor {
    scheme: BodyHmac,
    codes: SolapiCodes,
    secret: Arc<Secret<SolapiSecret>>,
}

impl Reports {
    /// A reader of the reports of the providers in `config`.
    ///
    /// # Errors
    /// When a provider's secret cannot be read.
    pub async fn start(kernel: &Kernel, config: &Config) -> Result<Self, Cause> {
        let twilio = match &config.twilio {
            Some(twilio) => {
                let secret = kernel.secret(&twilio.secret).await?;
                Some(TwilioDoor { public_url: twilio.public_url.clone(), secret })
            }
            None => None,
        };
        let solapi = match &config.solapi {
            Some(solapi) => {
                let header = solapi.signature_header;
                let scheme = BodyHmac { name: "solapi", header, prefix: "", base64: false };
                let (codes, secret) = (solapi.codes.clone(), kernel.secret(&solapi.secret).await?);
                Some(SolapiDoor { scheme, codes, secret })
            }
            None => None,
        };
        Ok(Self { twilio, solapi })
    }

    /// What Twilio reports. The address it called is put together from the configured one; the header `Host` is the
    /// sender's own word.
    ///
    /// # Errors
    /// 404 where Twilio is not used, 401 for what it has not signed, 400 for what is no callback of ours.
    pub async fn twilio(&self, call: &Call, now: Timestamp) -> Result<Vec<Report>, ApiError> {
        let door = self.twilio.as_ref().ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let secret = door.secret.current().await;
        let url = call.url(&door.public_url);
        let received = call.received(&url)?;
        let verified = Verifier::new(Twilio, &secret.webhook_tokens).verify(&received, now)?;
        // The query is part of what is signed.
        let mut query = call.query()?;
        let is_json = query.value(BODY_HASH_PARAMETER).is_some();
        let id = query.text(ID_PARAMETER, 64);
        let id = query.finish(id)?;
        let report = events::twilio(&id, verified.value(), is_json, &secret.account_sid);
        Ok(vec![report.ok_or_else(|| ApiError::invalid("body", BAD_FORMAT))?])
    }

    /// What Solapi reports.
    ///
    /// # Errors
    /// 404 where Solapi is not used, 401 for what it has not signed, 400 for what is no list of messages.
    pub async fn solapi(&self, call: &Call, now: Timestamp) -> Result<Vec<Report>, ApiError> {
        let door = self.solapi.as_ref().ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let secret = door.secret.current().await;
        let secrets = secret.webhook_secrets.as_ref();
        let secrets =
            secrets.ok_or_else(|| ApiError::new(UNAUTHENTICATED).because("there are no `webhook_secrets`"))?;
        let received = call.received("")?;
        let verified = Verifier::new(door.scheme, secrets).verify(&received, now)?;
        events::solapi(verified.value(), &door.codes)
            .map_err(|error| ApiError::invalid("body", BAD_FORMAT).because(place(&error)))
    }
}
