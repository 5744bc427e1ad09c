//! What a function needs of Amazon SNS besides signatures: the certificates they are made with, and saying yes to a
//! subscription.
//!
//! The format and the rules are in [`crate::webhook::sns`], which is pure; here are the two requests. Both go to URLs that
//! it has checked to lead to Amazon SNS, and to nothing else: there are no redirects. A certificate is kept by its URL for as
//! long as the process lives, because a URL's certificate never changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use url::Url;

use crate::http::{HttpClient, Outgoing};
use crate::provider::{Cause, ProviderError};
use crate::webhook::sns::{Certificate, Kind, Message, SnsUrl};
use crate::webhook::{Unverified, Verified};

/// How long one request may take: the sender of a message waits for it.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// The largest certificate. They have about 2 kB.
const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// Certificates kept. There is one per region, and a new one about once a year.
const KEPT: usize = 32;

/// Why a certificate cannot be had, or a subscription not be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum SnsError {
    /// SNS did not answer: the sender may come again.
    #[error("Amazon SNS did not answer")]
    Unavailable(#[source] Cause),
    /// What it answered is no certificate.
    #[error(transparent)]
    Unverified(#[from] Unverified),
}

/// Amazon SNS, as a client sees it.
#[derive(Debug)]
pub struct Sns {
    http: HttpClient,
    /// Stands in for the host of Amazon SNS; local runs only.
    instead: Option<Url>,
    certificates: Mutex<HashMap<SnsUrl, Certificate>>,
}

impl Sns {
    /// A client over `http`. `instead` stands in for the host of every URL; the configuration allows it in local runs only
    /// ([`crate::config::Reader::local_url`]).
    pub fn new(http: HttpClient, instead: Option<Url>) -> Self {
        Self { http, instead, certificates: Mutex::default() }
    }

    /// The certificate at `url`.
    ///
    /// # Errors
    /// [`SnsError`].
    pub async fn certificate(&self, url: &SnsUrl) -> Result<Certificate, SnsError> {
        if let Some(known) = self.certificates.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(known.clone());
        }
        let pem = self.get(url).await?;
        if pem.len() > MAX_CERTIFICATE_BYTES {
            return Err(Unverified::Certificate.into());
        }
        let certificate = Certificate::read(url.clone(), &pem)?;
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if certificates.len() >= KEPT {
            certificates.clear();
        }
        certificates.insert(url.clone(), certificate.clone());
        Ok(certificate)
    }

    /// Says yes to the topic that asks in `message` whether it may send here; nothing for any other message.
    ///
    /// # Errors
    /// [`SnsError::Unavailable`].
    pub async fn confirm(&self, message: &Verified<Message>) -> Result<(), SnsError> {
        match &message.value().kind {
            Kind::SubscriptionConfirmation { url } => self.get(url).await.map(drop),
            Kind::Notification { .. } | Kind::UnsubscribeConfirmation { .. } => Ok(()),
        }
    }

    async fn get(&self, url: &SnsUrl) -> Result<bytes::Bytes, SnsError> {
        let unavailable = |cause: Cause| SnsError::Unavailable(cause);
        let checked = Url::parse(url.as_str()).map_err(|error| unavailable(Box::new(error)))?;
        let target = match &self.instead {
            None => checked,
            Some(instead) => {
                let mut target = instead.clone();
                target.set_path(&format!("{}{}", instead.path().trim_end_matches('/'), checked.path()));
                target.set_query(checked.query());
                target
            }
        };
        match timeout(TIME_LIMIT, self.http.exchange(Outgoing::get(target))).await {
            Ok(Ok(answer)) => match answer.failure() {
                None => Ok(answer.body),
                Some(error) => Err(unavailable(Box::new(error))),
            },
            Ok(Err(error)) => Err(unavailable(Box::new(error))),
            Err(_) => Err(unavailable(Box::new(ProviderError::Timeout))),
        }
    }
}
