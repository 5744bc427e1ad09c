//! SMTP (RFC 5321): any server, with settings for the usual ones.
//!
//! lettre speaks the protocol; this file holds the conversation step by step, because an error means something else
//! before the mail has left than after it. Until the server has said "354, go on" nothing was sent, whatever breaks;
//! from then on only the server's own answer tells, and silence is ambiguous. So the first half has a time limit of its own.
//!
//! A server reports nothing later: over SMTP the last state that can be seen is `sent`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ieum::clock::SharedClock;
use ieum::delivery::worker::Receipt;
use ieum::provider::{Cause, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use serde::Deserialize;
use sha2::Sha256;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Transport;
use crate::compose::{Composed, lettre_address};

/// A connection that was idle for longer is not trusted: servers close them, and an environment may have been frozen.
const IDLE: Duration = Duration::from_secs(20);

/// Mails over one connection; servers end it after a number of their own (SendGrid after 5,000).
const MAILS_PER_CONNECTION: u32 = 100;

/// For how long everybody stays away once the server says that the day's quota is used up.
const QUOTA_BLOCK: Duration = Duration::from_secs(3_600);

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Plain at first, then upgraded; a server that cannot is refused.
    StartTls,
    /// From the first byte.
    Tls,
    /// Not at all: for local runs only.
    None,
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, which its certificate must carry.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
}

/// The secret of this provider family: a user and a password, or the keys of an IAM user that SES's SMTP password is made of.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum SmtpSecret {
    /// What the server asks for.
    Login {
        /// The user.
        user: SecretString,
        /// The password: an app password where there is one.
        password: SecretString,
    },
    /// An IAM user of SES.
    Iam {
        /// The access key's id.
        access_key_id: SecretString,
        /// The secret access key.
        secret_access_key: SecretString,
    },
}

impl SecretShape for SmtpSecret {
    const MEMBERS: &'static [&'static str] = &["user", "password", "access_key_id", "secret_access_key"];
}

impl SmtpSecret {
    fn credentials(&self, region: &str) -> Credentials {
        match self {
            Self::Login { user, password } => {
                Credentials::new(user.expose_secret().to_owned(), password.expose_secret().to_owned())
            }
            Self::Iam { access_key_id, secret_access_key } => {
                Credentials::new(access_key_id.expose_secret().to_owned(), ses_password(secret_access_key, region))
            }
        }
    }
}

/// SES's SMTP password of an IAM user, which is a different one in each region
/// (<https://docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html>).
fn ses_password(secret_access_key: &SecretString, region: &str) -> String {
    const VERSION: u8 = 4;
    let first = format!("AWS4{}", secret_access_key.expose_secret()).into_bytes();
    let key = ["11111111", region, "ses", "aws4_request", "SendRawEmail"].into_iter().fold(first, |key, part| {
        // HMAC takes a key of any length, so nothing is left out.
        Hmac::<Sha256>::new_from_slice(&key)
            .map_or_else(|_| Vec::new(), |mac| mac.chain_update(part).finalize().into_bytes().to_vec())
    });
    STANDARD.encode([&[VERSION][..], &key].concat())
}

/// The client: one connection at a time, kept for the next mail.
#[derive(Clone)]
pub struct Smtp(Arc<Inner>);

struct Inner {
    server: Server,
    /// Of SES, whose password depends on it.
    region: String,
    tls: Option<TlsParameters>,
    hello: ClientId,
    /// What may pass until the server says "go on".
    before_data: Duration,
    secret: Arc<Secret<SmtpSecret>>,
    clock: SharedClock,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    connection: AsyncSmtpConnection,
    since: Instant,
    mails: u32,
    /// The secret it was opened with.
    secret: Arc<SmtpSecret>,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("server", &self.0.server).finish_non_exhaustive()
    }
}

impl Smtp {
    /// A client of `server`, trusting Mozilla's roots or those in `ca_pem` instead. An attempt takes at most `limit`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        server: Server,
        region: String,
        hello: &str,
        limit: Duration,
        ca_pem: Option<&[u8]>,
        secret: Arc<Secret<SmtpSecret>>,
        clock: SharedClock,
    ) -> Result<Self, Cause> {
        let tls = match server.security {
            Security::None => None,
            Security::StartTls | Security::Tls => {
                let mut builder = TlsParameters::builder(server.host.clone());
                if let Some(pem) = ca_pem {
                    builder = builder
                        .certificate_store(CertificateStore::None)
                        .add_root_certificate(Certificate::from_pem(pem)?);
                }
                Some(builder.build_rustls()?)
            }
        };
        let hello = ClientId::Domain(hello.to_owned());
        let before_data = limit / 2;
        let kept = Mutex::new(None);
        Ok(Self(Arc::new(Inner { server, region, tls, hello, before_data, secret, clock, kept })))
    }

    /// A connection that the server has let us in on.
    async fn connect(&self, secret: &Arc<SmtpSecret>) -> Result<AsyncSmtpConnection, ProviderError> {
        let inner = &self.0;
        let address = (inner.server.host.as_str(), inner.server.port);
        let at_once = inner.tls.clone().filter(|_| inner.server.security == Security::Tls);
        let connecting = AsyncSmtpConnection::connect_tokio1(address, None, &inner.hello, at_once, None);
        let mut connection = connecting.await.map_err(before)?;
        if let (Security::StartTls, Some(tls)) = (inner.server.security, inner.tls.clone()) {
            connection.starttls(tls, &inner.hello).await.map_err(before)?;
        }
        let credentials = secret.credentials(&inner.region);
        match connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await {
            Ok(_) => Ok(connection),
            Err(error) if error.is_permanent() => Err(ProviderError::Unauthorized),
            Err(error) => Err(before(error)),
        }
    }

    async fn open(&self, secret: &Arc<SmtpSecret>) -> Result<Kept, ProviderError> {
        let connection = self.connect(secret).await?;
        Ok(Kept { connection, since: Instant::now(), mails: 0, secret: Arc::clone(secret) })
    }

    /// Everything up to "354, go on": nothing has been sent when this fails.
    async fn introduce(&self, mail: &Composed, secret: &Arc<SmtpSecret>) -> Result<Kept, ProviderError> {
        let kept = self.0.kept.lock().await.take();
        let still_good = |kept: &Kept| {
            kept.since.elapsed() < IDLE && kept.mails < MAILS_PER_CONNECTION && Arc::ptr_eq(&kept.secret, secret)
        };
        let mut kept = match kept.filter(still_good) {
            Some(kept) => kept,
            None => self.open(secret).await?,
        };
        if kept.mails > 0 && !kept.connection.test_connected().await {
            kept = self.open(secret).await?;
        }
        let address = |address| lettre_address(address).map_err(|_| ProviderError::Rejected { code: "address".into() });
        let connection = &mut kept.connection;
        connection.command(Mail::new(Some(address(&mail.from.address)?), Vec::new())).await.map_err(before)?;
        for recipient in mail.recipients() {
            // One recipient the server will not have, and nobody gets it: the ledger has one state for one mail.
            connection.command(Rcpt::new(address(recipient)?, Vec::new())).await.map_err(before)?;
        }
        connection.command(Data).await.map_err(before)?;
        Ok(kept)
    }
}

#[async_trait]
impl Transport for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, mail: &Composed) -> Result<Receipt, ProviderError> {
        let mime = mail.mime(self.0.clock.now()).map_err(|_| ProviderError::Rejected { code: "mime".to_owned() })?;
        let secret = self.0.secret.current().await;
        let introduced = match timeout(self.0.before_data, self.introduce(mail, &secret)).await {
            Ok(introduced) => introduced,
            Err(_) => Err(ProviderError::Timeout),
        };
        let mut kept = match introduced {
            Err(ProviderError::Unauthorized) if self.0.secret.refused(&secret).await => {
                return Err(ProviderError::CredentialsReplaced);
            }
            introduced => introduced?,
        };
        let taken = kept.connection.message(&mime).await.map_err(after)?;
        (kept.since, kept.mails) = (Instant::now(), kept.mails + 1);
        *self.0.kept.lock().await = Some(kept);
        Ok(Receipt { reference: queue_id(&taken).unwrap_or_else(|| mail.id.clone()) })
    }
}

/// What an error means before the mail has left.
fn before(error: lettre::transport::smtp::Error) -> ProviderError {
    answered(&error).unwrap_or_else(|| ProviderError::Unreachable(Box::new(error)))
}

/// What it means once the mail is on its way.
fn after(error: lettre::transport::smtp::Error) -> ProviderError {
    answered(&error).unwrap_or_else(|| ProviderError::Ambiguous(Box::new(error)))
}

/// What the server's own answer means (RFC 5321, 4.2; RFC 3463); `None` when it gave none.
fn answered(error: &lettre::transport::smtp::Error) -> Option<ProviderError> {
    let code = u16::from(error.status()?);
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Some(match code {
        // Gmail, over its daily limit: permanent for this mail in words, not in fact.
        500..=599 if text.contains("5.4.5") => ProviderError::Throttled { retry_after: Some(QUOTA_BLOCK) },
        // Microsoft, where a password is no longer enough.
        530 | 534 | 535 | 538 => ProviderError::Unauthorized,
        500..=599 if text.contains("5.7.30") => ProviderError::Unauthorized,
        500..=599 => ProviderError::Rejected { code: format!("smtp_{code}") },
        450..=452 if text.contains("4.7.") => ProviderError::Throttled { retry_after: None },
        // Any other "not now": the server is there, but does not take mail.
        _ => ProviderError::Unavailable { status: 503 },
    })
}

/// The server's own name for the mail, where its answer has one: `250 2.0.0 Ok: queued as 4bT…`.
fn queue_id(taken: &Response) -> Option<String> {
    let line = taken.first_line()?;
    let id: String = line.split_whitespace().last()?.chars().filter(char::is_ascii_graphic).take(100).collect();
    (line.contains("queued") && !id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_ses_follows_from_the_key_and_the_region() {
        let key = SecretString::from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        for (region, password) in [
            ("us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
            ("ap-northeast-2", "BFrwSu3BsGr8nvY2bDCyObUpnNCGFtmAY0j+5nSYn0ZQ"),
        ] {
            assert_eq!(ses_password(&key, region), password, "{region}");
        }
    }

    #[test]
    fn a_secret_is_a_login_or_the_keys_of_a_user() {
        let login: SmtpSecret = serde_json::from_str(r#"{"user": "a@gmail.com", "password": "app"}"#).unwrap();
        assert!(login.credentials("us-east-1") == Credentials::new("a@gmail.com".to_owned(), "app".to_owned()));
        let keys = r#"{"access_key_id": "AKID", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}"#;
        let keys: SmtpSecret = serde_json::from_str(keys).unwrap();
        let password = "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9".to_owned();
        assert!(keys.credentials("us-east-1") == Credentials::new("AKID".to_owned(), password));
    }
}
