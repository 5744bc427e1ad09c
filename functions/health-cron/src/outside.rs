//! The two requests to AWS that are made here and nowhere else: to a function, and to those who want to be told.
//!
//! Signed and sent as they are, without an SDK client of a hundred operations each ([`ieum::sigv4`]).

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use ieum::aws::{Aws, SetUpError};
use ieum::checkup::Checked;
use ieum::clock::SharedClock;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::{Cause, ProviderError};
use ieum::runtime::Probe;
use ieum::sigv4::Signer;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::message::Message;

/// How long a function may take to say how its providers are: each of them has five seconds, side by side, and a cold
/// start comes before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// How long the topic may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The way out.
#[derive(Debug)]
pub struct Outside {
    http: HttpClient,
    clock: SharedClock,
    signer: Signer,
    region: String,
    lambda: Url,
    sns: Url,
}

impl Outside {
    /// As who `aws` is, over `http`.
    ///
    /// # Errors
    /// What is set as the address of one of them is none.
    pub fn new(aws: &Aws, http: HttpClient, clock: SharedClock) -> Result<Self, SetUpError> {
        let (lambda, sns) = (aws.endpoint("Lambda", "lambda")?, aws.endpoint("SNS", "sns")?);
        Ok(Self { http, clock, signer: aws.signer(), region: aws.region().to_owned(), lambda, sns })
    }

    /// Asks `function` how its providers are.
    /// (<https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.)
    ///
    /// # Errors
    /// It could not be called, has failed, or answers something else.
    pub async fn ask(&self, function: &str, probe: Probe) -> Result<Checked, Cause> {
        let mut url = self.lambda.clone();
        let mut path = url.path_segments_mut().map_err(|()| "no address of Lambda")?;
        path.pop_if_empty().extend(["2015-03-31", "functions", function, "invocations"]);
        drop(path);
        let answer = self.send(url, "lambda", "application/json", probe.event().to_string(), ANSWER_TIMEOUT).await?;
        if answer.headers.contains_key("x-amz-function-error") {
            return Err("the function has failed; its log says why".into());
        }
        Ok(answer.json()?)
    }

    /// Tells those who have subscribed to `topic`
    /// (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>).
    ///
    /// # Errors
    /// The topic did not take it.
    pub async fn publish(&self, topic: &str, message: &Message) -> Result<(), Cause> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "Publish")
            .append_pair("Version", "2010-03-31")
            .append_pair("TopicArn", topic)
            .append_pair("Subject", &message.subject)
            .append_pair("MessageStructure", "json")
            .append_pair("Message", &message.structure())
            .finish();
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        self.send(self.sns.clone(), "sns", kind, form, PUBLISH_TIMEOUT).await.map(drop)
    }

    async fn send(
        &self,
        url: Url,
        service: &str,
        content_type: &'static str,
        body: String,
        limit: Duration,
    ) -> Result<Incoming, Cause> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let request = Outgoing { method: Method::POST, url, headers, body: body.into(), replay: Replay::Safe };
        let signed = self.signer.sign(request, service, &self.region, self.clock.now()).await?;
        let answer = timeout(limit, self.http.exchange(signed)).await.map_err(|_| ProviderError::Timeout)??;
        match answer.failure() {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }
}
