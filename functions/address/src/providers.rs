//! Who answers: the providers of each operation, in order, each behind its gate.
//!
//! A new provider is one file below, one variant of `Client`, one event in `events/` and one line in the README.

use std::sync::Arc;

use ieum::gate::Gate;
use ieum::integration::{Integration, Way};
use ieum::provider::Provider;
use ieum::rollups::Rollups;
use ieum::secrets::SecretError;
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
    let clients = clients(kernel, config).await?;
    let rollups = kernel.rollups("address");
    let search = operation(kernel, &rollups, config, "search", clients.iter().map(Client::search).collect())
        .cache(kernel.cache("addresses", config.cache));
    let locate = operation(kernel, &rollups, config, "locate", clients.iter().map(Client::locate).collect())
        .cache(kernel.cache("sites", config.cache));
    let at = operation(kernel, &rollups, config, "at", clients.iter().filter_map(Client::at).collect())
        .cache(kernel.cache("places", config.cache));
    let search = match config.fallback {
        Fallback::Error => search,
        Fallback::Empty => search.default_answer(AddressPage::default()),
    };
    Ok(Operations { search, locate, at })
}

fn operation<Req, Res>(
    kernel: &Kernel,
    rollups: &Arc<Rollups>,
    config: &Config,
    name: &'static str,
    ways: Vec<Way<Req, Res>>,
) -> Integration<Req, Res> {
    Integration::new("address", name, config.policy.clone(), ways, Arc::clone(&kernel.clock))
        .rollups(Arc::clone(rollups))
}

/// The clients that the configuration lists, in its order.
async fn clients(kernel: &Kernel, config: &Config) -> Result<Vec<Client>, SecretError> {
    let mut clients = Vec::new();
    for name in &config.providers {
        match (name, &config.juso, &config.kakao) {
            (ProviderName::Juso, Some(settings), _) => {
                let secret = kernel.secret(&settings.secret).await?;
                let juso = Juso::new(settings.base_url.clone(), kernel.http.clone(), secret);
                clients.push(Client::Juso(juso, kernel.gate("juso", config.breaker, Some(settings.rate))));
            }
            (ProviderName::Kakao, _, Some(settings)) => {
                let secret = kernel.secret(&settings.secret).await?;
                let kakao = Kakao::new(settings.base_url.clone(), kernel.http.clone(), secret);
                clients.push(Client::Kakao(kakao, kernel.gate("kakao", config.breaker, Some(settings.rate))));
            }
            (ProviderName::Mock, _, _) => {
                let mock = Mock::new(config.common.mock);
                clients.push(Client::Mock(mock, kernel.gate("mock", config.breaker, None)));
            }
            // `Config::read` gives every listed provider its settings.
            (ProviderName::Juso, None, _) | (ProviderName::Kakao, _, None) => {}
        }
    }
    Ok(clients)
}
