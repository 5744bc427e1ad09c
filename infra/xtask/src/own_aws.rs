//! AWS as every AWS tool finds it: in the region and with the profile, role or keys of whoever runs this.
//!
//! Functions are told by Lambda who they are. People have profiles, single sign-on and metadata services, whose rules are the
//! SDK's; it asks them through our HTTP client, and calls nothing else.

use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use ieum::aws::{Aws, SetUpError};
use ieum::clock::{CorrectedClock, SystemClock};
use ieum::http::{HttpClient, Outgoing, TlsError};
use ieum::policy::Replay;
use ieum::provider::ProviderError;
use tokio::time::timeout;

/// Why AWS cannot be called from here.
#[derive(Debug, thiserror::Error)]
pub enum OwnAwsError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// Nothing says where and as whom.
    #[error("AWS cannot be called")]
    SetUp(#[from] SetUpError),
}

pub(crate) async fn own_aws() -> Result<Aws, OwnAwsError> {
    let clock = Arc::new(CorrectedClock::new(Arc::new(SystemClock)));
    let http = HttpClient::new(None)?.correcting(clock);
    let found = aws_config::defaults(BehaviorVersion::latest()).http_client(Ours(http.clone())).load().await;
    Ok(Aws::of(found, http)?)
}

/// Our HTTP client, as the SDK wants one. Connecting has our time limit, an answer theirs.
#[derive(Clone, Debug)]
struct Ours(HttpClient);

impl SdkHttpClient for Ours {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector { http: self.0.clone(), limit: settings.read_timeout() })
    }
}

#[derive(Debug)]
struct Connector {
    http: HttpClient,
    limit: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, limit) = (self.http.clone(), self.limit.unwrap_or(Duration::MAX));
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (head, body) = request.into_parts();
            let url =
                head.uri.to_string().parse().map_err(|error: url::ParseError| ConnectorError::user(error.into()))?;
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let (method, headers, replay) = (head.method, head.headers, Replay::Never);
            let answer = timeout(limit, http.exchange(Outgoing { method, url, headers, body, replay })).await;
            let answer = answer.map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?.map_err(failed)?;
            let mut response = http::Response::new(SdkBody::from(answer.body));
            (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn failed(error: ProviderError) -> ConnectorError {
    ConnectorError::io(error.into())
}
