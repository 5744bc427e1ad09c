//! Who answers: the providers of each operation, in order, each behind its gate.
//!
//! A new provider is one file below, one variant of `Client`, one event in `events/` and one line in the README.

use std::sync::Arc;

use ieum::gate::Gate;
use ieum::integration::{BatchIntegration, Integration, Way};
use ieum::provider::Provider;
use ieum::rollups::Rollups;
use ieum::secrets::SecretError;
use ieum::start::Kernel;

use crate::company::{
    CompanyLookup, CompanyQuery, NamePage, NameQuery, RepresentativeCheck, RepresentativeQuery, StatusQuery, TaxStatus,
};
use crate::config::{Config, ProviderName};

pub mod mock;
pub mod nice;
pub mod nts;

use mock::Mock;
use nice::Nice;
use nts::Nts;

/// The operations of `verify`.
#[derive(Debug)]
pub struct Operations {
    /// A profile by number.
    pub company: Integration<CompanyQuery, CompanyLookup>,
    /// Profiles by name.
    pub search: Integration<NameQuery, NamePage>,
    /// Representative checks that come with the day of establishment.
    pub dated_check: Integration<RepresentativeQuery, RepresentativeCheck>,
    /// Representative checks that come without; nobody when only the tax service is configured, which asks for it.
    pub undated_check: Option<Integration<RepresentativeQuery, RepresentativeCheck>>,
    /// Tax status, many at once.
    pub status: BatchIntegration<StatusQuery, TaxStatus>,
}

/// A provider's client, behind the one gate that all its operations pass.
#[derive(Clone)]
enum Client {
    Nice(Nice, Arc<Gate>),
    Nts(Nts, Arc<Gate>),
    Mock(Mock, Arc<Gate>),
}

/// What each provider can do; `None` is "not that".
impl Client {
    fn company(&self) -> Option<Way<CompanyQuery, CompanyLookup>> {
        match self {
            Self::Nice(nice, gate) => way(nice, gate),
            Self::Nts(nts, gate) => way(nts, gate),
            Self::Mock(mock, gate) => way(mock, gate),
        }
    }

    fn search(&self) -> Option<Way<NameQuery, NamePage>> {
        match self {
            Self::Nice(nice, gate) => way(nice, gate),
            Self::Nts(..) => None,
            Self::Mock(mock, gate) => way(mock, gate),
        }
    }

    fn dated_check(&self) -> Option<Way<RepresentativeQuery, RepresentativeCheck>> {
        match self {
            Self::Nice(nice, gate) => way(nice, gate),
            Self::Nts(nts, gate) => way(nts, gate),
            Self::Mock(mock, gate) => way(mock, gate),
        }
    }

    fn undated_check(&self) -> Option<Way<RepresentativeQuery, RepresentativeCheck>> {
        match self {
            Self::Nts(..) => None,
            Self::Nice(..) | Self::Mock(..) => self.dated_check(),
        }
    }

    fn status(&self) -> Option<Way<Vec<StatusQuery>, Vec<TaxStatus>>> {
        match self {
            Self::Nice(..) => None,
            Self::Nts(nts, gate) => way(nts, gate),
            Self::Mock(mock, gate) => way(mock, gate),
        }
    }
}

fn way<Req, Res, P>(provider: &P, gate: &Arc<Gate>) -> Option<Way<Req, Res>>
where
    P: Provider<Req, Res> + Clone + 'static,
{
    Some(Way { provider: Box::new(provider.clone()), gate: Arc::clone(gate) })
}

/// Makes the operations.
///
/// # Errors
/// When a provider's secret cannot be read.
pub async fn build(kernel: &Kernel, config: &Config) -> Result<Operations, SecretError> {
    let clients = clients(kernel, config).await?;
    let rollups = kernel.rollups("verify");
    let listed = |names: &[ProviderName]| -> Vec<Client> {
        names
            .iter()
            .filter_map(|name| clients.iter().find(|(known, _)| known == name))
            .map(|(_, c)| c.clone())
            .collect()
    };
    let (company, status, check) = (listed(&config.company), listed(&config.status), listed(&config.representative));

    let undated: Vec<_> = check.iter().filter_map(Client::undated_check).collect();
    let statuses = operation(kernel, &rollups, config, "status", status.iter().filter_map(Client::status).collect());
    Ok(Operations {
        company: operation(kernel, &rollups, config, "company", company.iter().filter_map(Client::company).collect())
            .cache(kernel.cache("company", config.cache))
            .manual(kernel.manual_entries("company")),
        search: operation(kernel, &rollups, config, "search", company.iter().filter_map(Client::search).collect())
            .cache(kernel.cache("search", config.cache)),
        dated_check: operation(
            kernel,
            &rollups,
            config,
            "check",
            check.iter().filter_map(Client::dated_check).collect(),
        )
        .cache(kernel.cache("check", config.cache)),
        undated_check: (!undated.is_empty())
            .then(|| operation(kernel, &rollups, config, "check", undated).cache(kernel.cache("check", config.cache))),
        status: BatchIntegration::new(statuses, kernel.cache("status", config.status_cache), Arc::clone(&kernel.clock)),
    })
}

fn operation<Req, Res>(
    kernel: &Kernel,
    rollups: &Arc<Rollups>,
    config: &Config,
    name: &'static str,
    ways: Vec<Way<Req, Res>>,
) -> Integration<Req, Res> {
    Integration::new("verify", name, config.policy.clone(), ways, Arc::clone(&kernel.clock))
        .rollups(Arc::clone(rollups))
}

/// The clients that the configuration has settings for.
async fn clients(kernel: &Kernel, config: &Config) -> Result<Vec<(ProviderName, Client)>, SecretError> {
    let mut clients = Vec::new();
    if let Some(settings) = &config.nice {
        let secret = kernel.secret(&settings.secret).await?;
        let nice = Nice::new(settings.clone(), kernel.http.clone(), secret, Arc::clone(&kernel.clock));
        let gate = kernel.gate("nice", config.breaker, Some(settings.rate));
        clients.push((ProviderName::Nice, Client::Nice(nice, gate)));
    }
    if let Some(settings) = &config.nts {
        let secret = kernel.secret(&settings.secret).await?;
        let nts = Nts::new(settings.base_url.clone(), kernel.http.clone(), secret);
        clients.push((ProviderName::Nts, Client::Nts(nts, kernel.gate("nts", config.breaker, Some(settings.rate)))));
    }
    let mock = Mock::new(config.common.mock);
    clients.push((ProviderName::Mock, Client::Mock(mock, kernel.gate("mock", config.breaker, None))));
    Ok(clients)
}
