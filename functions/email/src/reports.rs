//! Providers' own requests: proven by their signatures, then read.
//!
//! What is reported is applied before its sender hears 200. Nothing needs to be kept for that: applying a report twice is
//! applying it once, and a sender who hears nothing else sends it again, SendGrid for a day, SNS for an hour.

use std::sync::Arc;

use ieum::api::Call;
use ieum::clock::Timestamp;
use ieum::error::{ApiError, BAD_FORMAT, NOT_FOUND, UNAUTHENTICATED, place};
use ieum::provider::Cause;
use ieum::secrets::Secret;
use ieum::sns::{Sns, SnsError};
use ieum::start::Kernel;
use ieum::webhook::sns::{self, Kind, Topics};
use ieum::webhook::{SendGrid, Verifier};

use crate::config::Config;
use crate::events::{self, Report};
use crate::providers::sendgrid::SendGridSecret;

/// Reads what providers report.
#[derive(Debug)]
pub struct Reports {
    sendgrid: Option<Arc<Secret<SendGridSecret>>>,
    topics: Option<Topics>,
    sns: Sns,
}

impl Reports {
    /// A reader of the reports of the providers in `config`.
    ///
    /// # Errors
    /// When SendGrid's secret cannot be read.
    pub async fn start(kernel: &Kernel, config: &Config) -> Result<Self, Cause> {
        let sendgrid = match &config.sendgrid {
            Some(settings) => Some(kernel.secret(&settings.secret).await?),
            None => None,
        };
        let topics = config.ses_topics.split_first();
        let topics = topics.map(|(first, others)| Topics::new(first.clone(), others.to_vec()));
        let sns = Sns::new(kernel.http.clone(), config.sns_instead.clone());
        Ok(Self { sendgrid, topics, sns })
    }

    /// What SendGrid reports.
    ///
    /// # Errors
    /// 404 where SendGrid is not used, 401 for what it has not signed, 400 for what is no list of events.
    pub async fn sendgrid(&self, call: &Call, now: Timestamp) -> Result<Vec<Report>, ApiError> {
        let secret = self.sendgrid.as_ref().ok_or_else(|| ApiError::new(NOT_FOUND))?.current().await;
        let keys = secret.webhook_keys.as_ref();
        let keys = keys.ok_or_else(|| ApiError::new(UNAUTHENTICATED).because("the secret has no `webhook_keys`"))?;
        let received = call.received("")?;
        let verified = Verifier::new(SendGrid, keys).verify(&received, now)?;
        let reports = verified.try_map(events::sendgrid).map_err(unreadable)?;
        Ok(reports.into_value())
    }

    /// What SES reports. A topic of ours that asks whether it may send here is told that it may.
    ///
    /// # Errors
    /// 404 where no topic is ours, 401 for what SNS has not signed, 400 for what is no event, 503 while SNS's certificate
    /// cannot be had.
    pub async fn ses(&self, call: &Call, now: Timestamp) -> Result<Vec<Report>, ApiError> {
        let topics = self.topics.as_ref().ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let received = call.received("")?;
        let unproven = sns::read(received.body, topics, sns::LIMITS)?;
        let certificate = self.sns.certificate(unproven.certificate_url()).await.map_err(failed)?;
        let message = unproven.verify(&certificate, now)?;
        match &message.value().kind {
            Kind::Notification { .. } => {}
            Kind::SubscriptionConfirmation { .. } => {
                self.sns.confirm(&message).await.map_err(failed)?;
                let topic = message.value().topic.as_str();
                tracing::info!(target: "ieum::email", topic, "subscription.confirmed");
                return Ok(Vec::new());
            }
            // Whoever has ended the subscription meant it, or will see this line.
            Kind::UnsubscribeConfirmation { .. } => {
                let topic = message.value().topic.as_str();
                tracing::warn!(target: "ieum::email", topic, "subscription.ended");
                return Ok(Vec::new());
            }
        }
        let text = &message.value().text;
        if !text.trim_start().starts_with('{') {
            // SES says so in words once it has found the topic.
            tracing::info!(target: "ieum::email", "notification.without_event");
            return Ok(Vec::new());
        }
        Ok(events::ses(text).map_err(unreadable)?.into_iter().collect())
    }
}

fn unreadable(error: serde_json::Error) -> ApiError {
    ApiError::invalid("body", BAD_FORMAT).because(place(&error))
}

fn failed(error: SnsError) -> ApiError {
    match error {
        SnsError::Unverified(error) => error.into(),
        error @ SnsError::Unavailable(_) => ApiError::store_unavailable(error),
    }
}
