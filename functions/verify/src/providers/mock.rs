//! Made-up companies, for development. The table is in the README: the first three digits of the number decide.

use async_trait::async_trait;
use ieum::config::MockSettings;
use ieum::mock::Mock as Behaviour;
use ieum::provider::{Provider, ProviderError};
use time::macros::date;

use crate::company::{
    BusinessNumber, Company, CompanyLookup, CompanyQuery, NamePage, NameQuery, RepresentativeCheck,
    RepresentativeQuery, Status, StatusQuery, TaxStatus,
};

/// The name of everybody's representative.
const REPRESENTATIVE: &str = "홍길동";

/// A provider that answers from the number itself.
#[derive(Clone, Copy, Debug)]
pub struct Mock(Behaviour);

/// What the first digits of a number stand for.
enum Kind {
    InBusiness(Status),
    Unknown,
    Failing,
}

impl Mock {
    /// A mock that is as slow and as unreliable as `settings` say.
    pub fn new(settings: MockSettings) -> Self {
        Self(Behaviour::new(settings))
    }

    async fn company(&self, number: &BusinessNumber) -> Result<Option<Company>, ProviderError> {
        self.0.act().await?;
        match kind(number) {
            Kind::InBusiness(status) => Ok(Some(made_up(number, status))),
            Kind::Unknown => Ok(None),
            Kind::Failing => Err(ProviderError::Unavailable { status: 503 }),
        }
    }
}

fn kind(number: &BusinessNumber) -> Kind {
    match number.as_str().as_bytes() {
        [b'9', b'9', b'9', ..] => Kind::Unknown,
        [b'9', b'9', b'8', ..] => Kind::InBusiness(Status::Closed),
        [b'9', b'9', b'7', ..] => Kind::InBusiness(Status::Suspended),
        [b'9', b'9', b'6', ..] => Kind::Failing,
        _ => Kind::InBusiness(Status::Active),
    }
}

fn made_up(number: &BusinessNumber, status: Status) -> Company {
    let digits = number.as_str();
    let name =
        if digits == "1234567891" { "(주)샘플강원".to_owned() } else { format!("(주)모의{}", &digits[5..]) };
    Company {
        name: Some(name),
        representative: Some(REPRESENTATIVE.to_owned()),
        status,
        tax_type: Some("부가가치세 일반과세자".to_owned()),
        established_on: Some(date!(2018 - 05 - 10)),
        closed_on: (status == Status::Closed).then_some(date!(2024 - 12 - 31)),
        postal_code: Some("24266".to_owned()),
        address: Some("강원특별자치도 춘천시 중앙로 1".to_owned()),
        industry: Some("소프트웨어 개발".to_owned()),
        employees: Some(42),
        ..Company::numbered(number)
    }
}

#[async_trait]
impl Provider<CompanyQuery, CompanyLookup> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, query: &CompanyQuery) -> Result<CompanyLookup, ProviderError> {
        Ok(CompanyLookup { found: self.company(&query.business_number).await? })
    }
}

/// Two companies whose name holds what was searched for; none for `없는회사`.
#[async_trait]
impl Provider<NameQuery, NamePage> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, query: &NameQuery) -> Result<NamePage, ProviderError> {
        self.0.act().await?;
        let numbers = ["1234567891", "2222222227"].map(BusinessNumber::parse);
        let known = query.name != "없는회사";
        let companies: Vec<Company> = numbers
            .into_iter()
            .flatten()
            .filter(|_| known && query.page == 1)
            .take(query.size as usize)
            .map(|number| {
                let mut company = made_up(&number, Status::Active);
                company.name = Some(format!("(주){} {}", query.name, &number.as_str()[..3]));
                company
            })
            .collect();
        Ok(NamePage { companies, total: if known { 2 } else { 0 } })
    }
}

#[async_trait]
impl Provider<RepresentativeQuery, RepresentativeCheck> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, query: &RepresentativeQuery) -> Result<RepresentativeCheck, ProviderError> {
        let company = self.company(&query.business_number).await?;
        Ok(RepresentativeCheck { matches: company.is_some() && query.name == REPRESENTATIVE })
    }
}

#[async_trait]
impl Provider<Vec<StatusQuery>, Vec<TaxStatus>> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, queries: &Vec<StatusQuery>) -> Result<Vec<TaxStatus>, ProviderError> {
        self.0.act().await?;
        let answers = queries.iter().map(|query| {
            let business_number = query.business_number.clone();
            match kind(&business_number) {
                Kind::Failing => Err(ProviderError::Unavailable { status: 503 }),
                Kind::Unknown => {
                    Ok(TaxStatus { business_number, status: Status::NotRegistered, tax_type: None, closed_on: None })
                }
                Kind::InBusiness(status) => {
                    let Company { tax_type, closed_on, .. } = made_up(&business_number, status);
                    Ok(TaxStatus { business_number, status, tax_type, closed_on })
                }
            }
        });
        answers.collect()
    }
}
