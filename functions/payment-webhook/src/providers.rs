//! Who tells of payments and is asked about them: how each proves itself, what it says, and the way to it.
//!
//! A new provider is one file below, one variant of `Client`, one event in `events/` and one line in the README.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use ieum::clock::Timestamp;
use ieum::delivery::webhooks::Standing;
use ieum::error::{ApiError, BAD_FORMAT, NOT_FOUND};
use ieum::gate::Gate;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::integration::{Integration, Way};
use ieum::provider::{Cause, Provider, ProviderError};
use ieum::secrets::{Secret, SecretError, SecretShape};
use ieum::settings::Live;
use ieum::start::Kernel;
use ieum::webhook::{
    Hint, KeyEncoding, LiveSecrets, Received, Scheme, StandardWebhooks, TossDeposit, Unverified, Verified, Verifier,
};
use serde_json::Value;
use url::Url;

use crate::config::{Config, ProviderName};
use crate::payment::{DayPage, DayQuery, MAX_NAME, PaymentLookup, PaymentQuery};

pub mod iamport;
pub mod kakaopay;
pub mod mock;
pub mod portone;
pub mod stripe;
pub mod toss;

use iamport::Iamport;
use kakaopay::KakaoPay;
use mock::Mock;
use portone::PortOne;
use stripe::Stripe;
use toss::Toss;

/// The largest notification that nobody signed.
const HINT_BYTES: usize = 64 * 1024;

/// What a notification is about.
#[derive(Debug)]
pub enum Notice {
    /// This payment is to be asked about.
    Payment(PaymentQuery),
    /// The payment of an order is to be asked about, and nothing comes of it unless the notification knows its word.
    Deposit(TossDeposit),
    /// Something that cannot be asked about: true if it was signed, and told as it is.
    Happened(Happening),
    /// Nothing for us, in a stable word.
    Ignored(&'static str),
}

/// Something that happened which is no payment.
#[derive(Debug)]
pub struct Happening {
    /// The provider's name for it.
    pub id: String,
    /// What kind of thing: `payout.changed`.
    pub kind: &'static str,
    /// What is told of it.
    pub data: Value,
}

/// A notification that is none of its provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the notification is not of a form that its provider has")]
pub struct Unreadable;

impl From<serde_json::Error> for Unreadable {
    /// Without the error, which may quote a stranger.
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// What is known of a notification at the door.
#[derive(Debug)]
pub struct Admitted {
    /// Who sent it, as far as that is known.
    pub standing: Standing,
    /// The sender's own name for it.
    pub delivery: Option<String>,
}

/// What a stored notification of `provider` is about.
///
/// # Errors
/// [`Unreadable`]: it was let in by another version.
pub fn read(provider: ProviderName, body: &[u8]) -> Result<Notice, Unreadable> {
    match provider {
        ProviderName::Toss => toss::read(body),
        ProviderName::PortOne => portone::read(body),
        ProviderName::Iamport => iamport::read(body),
        ProviderName::Stripe => stripe::read(body),
        ProviderName::KakaoPay => Err(Unreadable),
        ProviderName::Mock => mock::read(body),
    }
}

/// Whether a notification of `provider` that nobody signed is worth a question. That of one who signs is a test from the
/// provider's console at best.
pub fn hints_count(provider: ProviderName) -> bool {
    match provider {
        ProviderName::Toss | ProviderName::Iamport | ProviderName::Mock => true,
        ProviderName::PortOne | ProviderName::Stripe | ProviderName::KakaoPay => false,
    }
}

/// The headers of `provider` that are kept with a notification.
pub fn kept_headers(provider: ProviderName) -> &'static [&'static str] {
    match provider {
        ProviderName::Toss => &[
            "tosspayments-webhook-transmission-id",
            "tosspayments-webhook-transmission-time",
            "tosspayments-webhook-transmission-retried-count",
        ],
        ProviderName::PortOne => &["webhook-id", "webhook-timestamp"],
        ProviderName::Iamport | ProviderName::Stripe | ProviderName::KakaoPay | ProviderName::Mock => &["content-type"],
    }
}

/// A provider, its door and the way to it.
#[derive(Debug)]
pub struct Party {
    /// Its name.
    pub name: ProviderName,
    /// Asks about one payment.
    pub payment: Integration<PaymentQuery, PaymentLookup>,
    /// Asks for the payments of a day, where the provider lists them.
    pub day: Option<Integration<DayQuery, DayPage>>,
    client: Client,
    toss_key: KeyEncoding,
}

/// A provider's client.
#[derive(Clone, Debug)]
enum Client {
    Toss(Toss),
    PortOne(PortOne),
    Iamport(Iamport),
    Stripe(Stripe),
    KakaoPay(KakaoPay),
    Mock(Mock),
}

impl Client {
    fn payment(&self, gate: &Arc<Gate>) -> Way<PaymentQuery, PaymentLookup> {
        match self {
            Self::Toss(toss) => way(toss, gate),
            Self::PortOne(portone) => way(portone, gate),
            Self::Iamport(iamport) => way(iamport, gate),
            Self::Stripe(stripe) => way(stripe, gate),
            Self::KakaoPay(kakaopay) => way(kakaopay, gate),
            Self::Mock(mock) => way(mock, gate),
        }
    }

    fn day(&self, gate: &Arc<Gate>) -> Option<Way<DayQuery, DayPage>> {
        match self {
            Self::Toss(toss) => Some(way(toss, gate)),
            Self::PortOne(portone) => Some(way(portone, gate)),
            Self::Iamport(iamport) => Some(way(iamport, gate)),
            Self::Stripe(stripe) => Some(way(stripe, gate)),
            Self::KakaoPay(_) | Self::Mock(_) => None,
        }
    }
}

fn way<Req, Res, P>(provider: &P, gate: &Arc<Gate>) -> Way<Req, Res>
where
    P: Provider<Req, Res> + Clone + 'static,
{
    Way { provider: Box::new(provider.clone()), gate: Arc::clone(gate) }
}

impl Party {
    /// What is known of a notification from this provider.
    ///
    /// # Errors
    /// 401 when it should be signed and is not, 400 when it cannot be read, 413 when it is too large, 404 when the provider
    /// sends none.
    pub async fn admit(&self, received: &Received<'_>, now: Timestamp) -> Result<Admitted, ApiError> {
        match &self.client {
            Client::Toss(toss) => self.admit_toss(toss, received, now).await,
            Client::PortOne(portone) => admit_portone(portone, received, now).await,
            Client::Stripe(stripe) => admit_stripe(stripe, received, now).await,
            Client::Iamport(_) => {
                hint(received, iamport::read).map(|(standing, _)| Admitted { standing, delivery: None })
            }
            Client::Mock(_) => hint(received, mock::read).map(|(standing, _)| Admitted { standing, delivery: None }),
            Client::KakaoPay(_) => Err(ApiError::new(NOT_FOUND).because("KakaoPay sends no webhooks")),
        }
    }

    async fn admit_toss(&self, toss: &Toss, received: &Received<'_>, now: Timestamp) -> Result<Admitted, ApiError> {
        if received.headers.contains_key("tosspayments-webhook-signature") {
            let scheme = ieum::webhook::Toss { key: self.toss_key };
            let verified =
                verified(&toss.secret, scheme, |secret| secret.security_keys.as_ref(), received, now).await?;
            let notice = signed(verified, toss::read)?;
            // The name of the transmission is not signed, that of the event is.
            let delivery = match notice.value() {
                Notice::Happened(happening) => Some(happening.id.clone()),
                Notice::Payment(_) | Notice::Deposit(_) | Notice::Ignored(_) => None,
            };
            return Ok(Admitted { standing: Standing::from(&notice), delivery });
        }
        let (standing, notice) = hint(received, toss::read)?;
        if matches!(notice.to_refetch(), Notice::Happened(_)) {
            return Err(Unverified::Missing("tosspayments-webhook-signature").into());
        }
        let delivery = received.headers.get("tosspayments-webhook-transmission-id");
        Ok(Admitted { standing, delivery: delivery.and_then(|id| id.to_str().ok()).map(str::to_owned) })
    }
}

async fn admit_portone(portone: &PortOne, received: &Received<'_>, now: Timestamp) -> Result<Admitted, ApiError> {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    if !headers.iter().any(|name| received.headers.contains_key(*name)) {
        // The test of the vendor's console. Nothing will come of it.
        let (standing, _) = hint(received, portone::read)?;
        return Ok(Admitted { standing, delivery: None });
    }
    let secret = portone.secret.current().await;
    watch(StandardWebhooks, secret.webhook_candidates.as_ref(), received, now);
    let verified =
        verified(&portone.secret, StandardWebhooks, |secret| Some(&secret.webhook_secrets), received, now).await?;
    let delivery = verified.proof().delivery.clone();
    Ok(Admitted { standing: Standing::from(&signed(verified, portone::read)?), delivery })
}

async fn admit_stripe(stripe: &Stripe, received: &Received<'_>, now: Timestamp) -> Result<Admitted, ApiError> {
    let secret = stripe.secret.current().await;
    watch(ieum::webhook::Stripe, secret.webhook_candidates.as_ref(), received, now);
    let verified =
        verified(&stripe.secret, ieum::webhook::Stripe, |secret| Some(&secret.webhook_secrets), received, now).await?;
    let delivery = stripe::delivery(received.body);
    Ok(Admitted { standing: Standing::from(&signed(verified, stripe::read)?), delivery })
}

/// A request whose signature one of the live secrets has made. When none has, they are read once more: they may have been
/// replaced.
async fn verified<'r, T: SecretShape, S: Scheme + Copy>(
    secret: &Secret<T>,
    scheme: S,
    live: impl Fn(&T) -> Option<&LiveSecrets<S::Key>>,
    received: &Received<'r>,
    now: Timestamp,
) -> Result<Verified<&'r [u8]>, Unverified> {
    let mut current = secret.current().await;
    loop {
        let secrets = live(&current).ok_or(Unverified::NoMatch)?;
        match Verifier::new(scheme, secrets).verify(received, now) {
            Err(Unverified::NoMatch) if secret.refused(&current).await => current = secret.current().await,
            outcome => return outcome,
        }
    }
}

/// Says in the log what secrets that are not believed yet would make of a request.
fn watch<S: Scheme>(scheme: S, candidates: Option<&LiveSecrets<S::Key>>, received: &Received<'_>, now: Timestamp) {
    if let Some(candidates) = candidates {
        Verifier::new(scheme, candidates).shadow(received, now);
    }
}

/// Reads what was signed.
fn signed(
    verified: Verified<&[u8]>,
    read: fn(&[u8]) -> Result<Notice, Unreadable>,
) -> Result<Verified<Notice>, ApiError> {
    verified.try_map(read).map_err(|error| ApiError::invalid("body", BAD_FORMAT).because(error))
}

/// Reads what nobody signed.
fn hint(
    received: &Received<'_>,
    read: fn(&[u8]) -> Result<Notice, Unreadable>,
) -> Result<(Standing, Hint<Notice>), ApiError> {
    let hint = Hint::read(received.body, HINT_BYTES, read)?;
    Ok((Standing::from(&hint), hint))
}

/// Makes the providers that the configuration lists.
///
/// # Errors
/// When a provider's secret cannot be read, or holds no webhook secret where the provider signs.
pub async fn build(kernel: &Kernel, config: &Config) -> Result<Vec<Party>, SecretError> {
    let live = kernel.settings(config.schema());
    let (breaker, policy) = (live.live("PAYMENT", config.breaker), live.live("PAYMENT", config.policy.clone()));
    let rollups = kernel.rollups("payment");
    let mut parties = Vec::new();
    for &name in &config.providers {
        let account = config.accounts.iter().find(|(owner, _)| *owner == name).map(|(_, account)| account);
        let http = || kernel.http.clone();
        let client = match (name, account) {
            (ProviderName::Toss, Some(account)) => {
                Client::Toss(Toss::new(account.base_url.clone(), http(), kernel.secret(&account.secret).await?))
            }
            (ProviderName::PortOne, Some(account)) => {
                Client::PortOne(PortOne::new(account.base_url.clone(), http(), kernel.secret(&account.secret).await?))
            }
            (ProviderName::Iamport, Some(account)) => {
                let secret = kernel.secret(&account.secret).await?;
                Client::Iamport(Iamport::new(account.base_url.clone(), http(), secret, Arc::clone(&kernel.clock)))
            }
            (ProviderName::Stripe, Some(account)) => {
                let secret = kernel.secret(&account.secret).await?;
                Client::Stripe(Stripe::new(account.base_url.clone(), &config.stripe_order_key, http(), secret))
            }
            (ProviderName::KakaoPay, Some(account)) => {
                Client::KakaoPay(KakaoPay::new(account.base_url.clone(), http(), kernel.secret(&account.secret).await?))
            }
            (ProviderName::Mock, _) => Client::Mock(Mock::new(config.common.mock, Arc::clone(&kernel.clock))),
            // The configuration makes an account for each provider that it lists.
            (_, None) => continue,
        };
        let rate: Live<_> = match (account, prefix(name)) {
            (Some(account), Some(prefix)) => live.live(prefix, Some(account.rate)),
            _ => None.into(),
        };
        let gate = kernel.gate(name.as_str(), breaker.clone(), rate);
        let clock = || Arc::clone(&kernel.clock);
        let payment = Integration::new("payment", "payment", policy.clone(), vec![client.payment(&gate)], clock())
            .rollups(Arc::clone(&rollups));
        let day = client.day(&gate).map(|way| {
            Integration::new("payment", "day", policy.clone(), vec![way], clock()).rollups(Arc::clone(&rollups))
        });
        parties.push(Party { name, payment, day, client, toss_key: config.toss_key });
    }
    Ok(parties)
}

/// What the variables of a provider begin with.
fn prefix(name: ProviderName) -> Option<&'static str> {
    match name {
        ProviderName::Toss => Some("TOSS"),
        ProviderName::PortOne => Some("PORTONE"),
        ProviderName::Iamport => Some("IAMPORT"),
        ProviderName::Stripe => Some("STRIPE"),
        ProviderName::KakaoPay => Some("KAKAOPAY"),
        ProviderName::Mock => None,
    }
}

/// A name of a payment, an order or an event; `None` for what is none.
fn name(text: &str) -> Option<String> {
    let plain = !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control);
    plain.then(|| text.to_owned())
}

/// The member `member` of `object`, if it is a name.
fn text(object: &Value, member: &str) -> Option<String> {
    name(object.get(member)?.as_str()?)
}

/// The address of `segments` below `base`, each of them escaped.
fn endpoint(base: &Url, segments: &[&str]) -> Result<Url, ProviderError> {
    let mut url = base.clone();
    match url.path_segments_mut() {
        Ok(mut path) => drop(path.pop_if_empty().extend(segments)),
        Err(()) => return Err(nonsense("the base address has no path")),
    }
    Ok(url)
}

fn nonsense(what: &'static str) -> ProviderError {
    ProviderError::Malformed(Cause::from(what))
}

/// A header with credentials, which is never logged.
fn credentials(text: &str) -> Result<HeaderValue, ProviderError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| nonsense("the credentials are not a header value"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(user_and_password: &str) -> Result<HeaderValue, ProviderError> {
    credentials(&format!("Basic {}", STANDARD.encode(user_and_password)))
}

/// One exchange with credentials out of `secret`, of which `used` is the present value.
async fn exchange<T: SecretShape>(
    http: &HttpClient,
    mut outgoing: Outgoing,
    authorization: HeaderValue,
    secret: &Secret<T>,
    used: &Arc<T>,
) -> Result<Incoming, ProviderError> {
    outgoing.headers.insert(header::AUTHORIZATION, authorization);
    let answer = http.exchange(outgoing).await?;
    match answer.failure() {
        Some(ProviderError::Unauthorized) if secret.refused(used).await => Err(ProviderError::CredentialsReplaced),
        Some(ProviderError::Unauthorized) => Err(ProviderError::Unauthorized),
        Some(_) | None => Ok(answer),
    }
}

/// Whether the provider says that there is no such payment: 404, and `code` in the body's member `member`.
fn is_absent(answer: &Incoming, member: &'static str, code: &str) -> Result<bool, ProviderError> {
    is_absent_in(answer, |body| text(body, member), code)
}

fn is_absent_in(answer: &Incoming, read: impl Fn(&Value) -> Option<String>, code: &str) -> Result<bool, ProviderError> {
    let Some(error) = answer.failure() else { return Ok(false) };
    let said = answer.json::<Value>().ok().and_then(|body| read(&body));
    if answer.status == StatusCode::NOT_FOUND && said.as_deref() == Some(code) {
        return Ok(true);
    }
    Err(unspoken(error))
}

/// A path that has moved is no word of the provider's about this payment: it may go better later.
fn unspoken(error: ProviderError) -> ProviderError {
    let moved = matches!(&error, ProviderError::Rejected { code } if code == "http_404");
    if moved { nonsense("a 404 that is not about a payment") } else { error }
}
