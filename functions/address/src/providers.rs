//! Who answers: the providers of each operation, in order, each behind its gate.
//!
//! A new provider is one file below, one variant of `Client`, one event in `events/` and one line in the README.

use std::sync::Arc;

use ieum::gate::Gate;
use ieum::integration::{Integration, Way};
use ieum::policy::Policy;
use ieum::provider::Provider;
use ieum::rollups::Rollups;
use ieum::secrets::SecretError;
use ieum::settings::{Live, Settings};
use ieum::start::Kernel;

use crate::address::{AddressPage, AddressQuery, AddressThere, Located, Point, Site};
use crate::config::{Config, Fallback, ProviderName};

pub mod juso;
pub mod kakao;
pub mod mock;

use juso::Juso;
use kakao::Kakao;
use mock::Mock;

/// The operations of `address`.
#[derive(Debug)]
pub struct Operations {
    /// Addresses by keyword.
    pub search: Integration<AddressQuery, AddressPage>,
    /// The place of one building.
    pub locate: Integration<Site, Located>,
    /// The address of a place; nobody but Kakao and the mock can tell.
    pub at: Integration<Point, AddressThere>,
}

/// A provider's client, behind the one gate that all its operations pass.
#[derive(Clone)]
enum Client {
    Juso(Juso, Arc<Gate>),
    Kakao(Kakao, Arc<Gate>),
    Mock(Mock, Arc<Gate>),
}

/// What each provider can do; `None` is "not that".
impl Client {
    fn search(&self) -> Way<AddressQuery, AddressPage> {
        match self {
            Self::Juso(juso, gate) => way(juso, gate),
            Self::Kakao(kakao, gate) => way(kakao, gate),
            Self::Mock(mock, gate) => way(mock, gate),
        }
    }

    fn locate(&self) -> Way<Site, Located> {
        match self {
            Self::Juso(juso, gate) => way(juso, gate),
            Self::Kakao(kakao, gate) => way(kakao, gate),
            Self::Mock(mock, gate) => way(mock, gate),
        }
    }

    fn at(&self) -> Option<Way<Point, AddressThere>> {
        match self {
            Self::Juso(..) => None,
            Self::Kakao(kakao, gate) => Some(way(kakao, gate)),
            Self::Mock(mock, gate) => Some(way(mock, gate)),
        }
    }
}

fn way<Req, Res, P>(provider: &P, gate: &Arc<Gate>) -> Way<Req, Res>
where
    P: Provider<Req, Res> + Clone + 'static,
{
    Way { provider: Box::new(provider.clone()), gate: Arc::clone(gate) }
}

/// Makes the operations.
///
/// # Errors
/// When a provider's secret cannot be read.
pub async fn build(kernel: &Kernel, config: &Config) -> Result<Operations, SecretError> {
    let settings = kernel.settings(config.schema());
    let clients = clients(kernel, config, &settings).await?;
    let rollups = kernel.rollups("address");
    let policy = settings.live("ADDRESS", config.policy.clone());
    let cache = settings.live("ADDRESS", config.cache);
    let search = operation(kernel, &rollups, &policy, "search", clients.iter().map(Client::search).collect())
        .cache(kernel.cache("addresses", cache.clone()));
    let locate = operation(kernel, &rollups, &policy, "locate", clients.iter().map(Client::locate).collect())
        .cache(kernel.cache("sites", cache.clone()));
    let at = operation(kernel, &rollups, &policy, "at", clients.iter().filter_map(Client::at).collect())
        .cache(kernel.cache("places", cache));
    let search = match config.fallback {
        Fallback::Error => search,
        Fallback::Empty => search.default_answer(AddressPage::default()),
    };
    Ok(Operations { search, locate, at })
}

fn operation<Req, Res>(
    kernel: &Kernel,
    rollups: &Arc<Rollups>,
    policy: &Live<Policy>,
    name: &'static str,
    ways: Vec<Way<Req, Res>>,
) -> Integration<Req, Res> {
    Integration::new("address", name, policy.clone(), ways, Arc::clone(&kernel.clock)).rollups(Arc::clone(rollups))
}

/// The clients that the configuration lists, in its order.
async fn clients(kernel: &Kernel, config: &Config, live: &Arc<Settings>) -> Result<Vec<Client>, SecretError> {
    let breaker = live.live("ADDRESS", config.breaker);
    let mut clients = Vec::new();
    for name in &config.providers {
        match (name, &config.juso, &config.kakao) {
            (ProviderName::Juso, Some(settings), _) => {
                let secret = kernel.secret(&settings.secret).await?;
                let juso = Juso::new(settings.base_url.clone(), kernel.http.clone(), secret);
                let gate = kernel.gate("juso", breaker.clone(), live.live("JUSO", Some(settings.rate)));
                clients.push(Client::Juso(juso, gate));
            }
            (ProviderName::Kakao, _, Some(settings)) => {
                let secret = kernel.secret(&settings.secret).await?;
                let kakao = Kakao::new(settings.base_url.clone(), kernel.http.clone(), secret);
                let gate = kernel.gate("kakao", breaker.clone(), live.live("KAKAO", Some(settings.rate)));
                clients.push(Client::Kakao(kakao, gate));
            }
            (ProviderName::Mock, _, _) => {
                let mock = Mock::new(config.common.mock);
                clients.push(Client::Mock(mock, kernel.gate("mock", breaker.clone(), None)));
            }
            // `Config::read` gives every listed provider its settings.
            (ProviderName::Juso, None, _) | (ProviderName::Kakao, _, None) => {}
        }
    }
    Ok(clients)
}
