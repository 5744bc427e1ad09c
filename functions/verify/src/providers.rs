//! Who answers: the providers of each operation, in order, each behind its gate.
//!
//! A new provider is one file below, one variant of `Client`, one event in `events/` and one line in the README.

use std::sync::Arc;

use ieum::checkup::Checkup;
use ieum::gate::Gate;
use ieum::integration::{BatchIntegration, Integration, Way};
use ieum::policy::Policy;
use ieum::provider::{Probe, Provider};
use ieum::rollups::Rollups;
use ieum::secrets::SecretError;
use ieum::settings::{Live, Settings};
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
    /// How their providers are.
    pub checkup: Checkup,
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

    fn probe(&self) -> Option<Box<dyn Probe>> {
        match self {
            Self::Nice(nice, _) => Some(Box::new(nice.clone())),
            Self::Nts(nts, _) => Some(Box::new(nts.clone())),
            Self::Mock(..) => None,
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
    let settings = kernel.settings(config.schema());
    let clients = clients(kernel, config, &settings).await?;
    let rollups = kernel.rollups("verify");
    let listed = |names: &[ProviderName]| -> Vec<Client> {
        names
            .iter()
            .filter_map(|name| clients.iter().find(|(known, _)| known == name))
            .map(|(_, c)| c.clone())
            .collect()
    };
    let mut checkup = kernel.checkup("verify");
    for (name, client) in clients.iter().filter(|(name, _)| config.uses(*name)) {
        checkup.add(name.as_str(), client.probe());
    }
    let (company, status, check) = (listed(&config.company), listed(&config.status), listed(&config.representative));

    let cache = settings.live("VERIFY", config.cache);
    let status_cache = settings.live("VERIFY_STATUS", config.status_cache);
    let policy = settings.live("VERIFY", config.policy.clone());
    let undated: Vec<_> = check.iter().filter_map(Client::undated_check).collect();
    let statuses = operation(kernel, &rollups, &policy, "status", status.iter().filter_map(Client::status).collect())
        .ordered_as("VERIFY_STATUS");
    Ok(Operations {
        company: operation(kernel, &rollups, &policy, "company", company.iter().filter_map(Client::company).collect())
            .cache(kernel.cache("company", cache.clone()))
            .manual(kernel.manual_entries("company")),
        search: operation(kernel, &rollups, &policy, "search", company.iter().filter_map(Client::search).collect())
            .cache(kernel.cache("search", cache.clone())),
        dated_check: operation(
            kernel,
            &rollups,
            &policy,
            "check",
            check.iter().filter_map(Client::dated_check).collect(),
        )
        .ordered_as("VERIFY_REPRESENTATIVE")
        .cache(kernel.cache("check", cache.clone())),
        undated_check: (!undated.is_empty()).then(|| {
            operation(kernel, &rollups, &policy, "check", undated)
                .ordered_as("VERIFY_REPRESENTATIVE")
                .cache(kernel.cache("check", cache))
        }),
        status: BatchIntegration::new(statuses, kernel.cache("status", status_cache), Arc::clone(&kernel.clock)),
        checkup,
    })
}

fn operation<Req, Res>(
    kernel: &Kernel,
    rollups: &Arc<Rollups>,
    policy: &Live<Policy>,
    name: &'static str,
    ways: Vec<Way<Req, Res>>,
) -> Integration<Req, Res> {
    Integration::new("verify", name, policy.clone(), ways, Arc::clone(&kernel.clock)).rollups(Arc::clone(rollups))
}

/// The clients that the configuration has settings for.
async fn clients(
    kernel: &Kernel,
    config: &Config,
    live: &Arc<Settings>,
) -> Result<Vec<(ProviderName, Client)>, SecretError> {
    let breaker = live.live("VERIFY", config.breaker);
    let mut clients = Vec::new();
    if let Some(settings) = &config.nice {
        let secret = kernel.secret(&settings.secret).await?;
        let nice = Nice::new(settings.clone(), kernel.http.clone(), secret, Arc::clone(&kernel.clock));
        let gate = kernel.gate("nice", breaker.clone(), live.live("NICE", Some(settings.rate)));
        clients.push((ProviderName::Nice, Client::Nice(nice, gate)));
    }
    if let Some(settings) = &config.nts {
        let secret = kernel.secret(&settings.secret).await?;
        let nts = Nts::new(settings.base_url.clone(), kernel.http.clone(), secret);
        let gate = kernel.gate("nts", breaker.clone(), live.live("NTS", Some(settings.rate)));
        clients.push((ProviderName::Nts, Client::Nts(nts, gate)));
    }
    let mock = Mock::new(config.common.mock);
    clients.push((ProviderName::Mock, Client::Mock(mock, kernel.gate("mock", breaker, None))));
    Ok(clients)
}
