//! The project's own commands, as a library so that the end-to-end tests start the system through the very code of
//! `cargo up`.
//!
//! [`up`] reads `template.yaml` (module `template`), creates what that file describes on a local AWS
//! (`deploy`, over the plain client in `aws`) and puts a front door (`door`) before the HTTP API. Providers and
//! functions are known from the template alone; only the smoke tour of `cargo up --check` calls one by name. [`thumbnails`]
//! does to a folder what `s3-thumbnail` does to a bucket.
//! With the feature `stages`, `stage` checks what the stages of an account are deployed with, `restore` puts a backup back, and
//! `forget` takes away what is kept of a person.

mod aws;
mod deploy;
mod door;
#[cfg(feature = "stages")]
pub mod forget;
mod local;
#[cfg(feature = "stages")]
pub mod restore;
#[cfg(feature = "stages")]
pub mod stage;
mod template;
pub mod thumbnails;
pub mod up;

/// Why AWS cannot be called from here.
#[cfg(feature = "stages")]
#[derive(Debug, thiserror::Error)]
pub enum OwnAwsError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] ieum::http::TlsError),
    /// Nothing says where and as whom.
    #[error("AWS cannot be called")]
    SetUp(#[from] ieum::aws::SetUpError),
}

/// AWS as every AWS tool finds it: in the region and with the profile, role or keys of whoever runs this.
#[cfg(feature = "stages")]
async fn own_aws() -> Result<ieum::aws::Aws, OwnAwsError> {
    let clock = std::sync::Arc::new(ieum::clock::CorrectedClock::new(std::sync::Arc::new(ieum::clock::SystemClock)));
    let http = ieum::http::HttpClient::new(None)?.correcting(clock);
    let found = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http.clone()).load().await;
    Ok(ieum::aws::Aws::of(found, http)?)
}
