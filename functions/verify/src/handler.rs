//! From a request to an answer: parse, ask, respond. Nothing here knows a provider or a wire format of one.

use std::sync::Arc;
use std::time::Duration;

use ieum::api::{Call, Edge, Fields, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::error::{
    ApiError, BAD_FORMAT, CONFLICT, Code, Detail, INTERNAL, Issue, MISSING, PROVIDER_UNAVAILABLE, code, issue,
};
use ieum::integration::{Answer, CallError, Source};
use ieum::provider::Cause;
use ieum::runtime::{self, Event, Function, HttpFunction};
use ieum::secrets::SecretError;
use ieum::start::{Kernel, StartError};
use serde::Serialize;
use serde_json::json;
use time::Date;
use tokio::time::timeout_at;

use crate::company::{
    BusinessNumber, Company, CompanyLookup, CompanyQuery, NameQuery, RepresentativeQuery, Status, StatusQuery,
    TaxStatus, iso_date,
};
use crate::config::Config;
use crate::providers::nts::MAX_BATCH;
use crate::providers::{Operations, build};

/// The largest body any route takes: a hundred numbers and room to spare.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest name of a company or person, in characters.
const MAX_NAME: usize = 100;

/// Companies per page of a search, at most.
const MAX_PAGE_SIZE: u32 = 50;

/// No provider knows the number.
const COMPANY_NOT_FOUND: Code = code(
    "company_not_found",
    404,
    "해당 사업자등록번호의 기업 정보를 찾을 수 없습니다.",
    "No company with this business registration number was found.",
);

const MANUAL_ENTRY: Issue =
    issue("manual_entry", "기업 정보를 직접 입력할 수 있습니다.", "The company's details can be entered by hand.");
const LIVE_ANSWER: Issue = issue(
    "live_answer_exists",
    "외부 기관에서 확인한 정보가 있어 직접 입력할 수 없습니다.",
    "A provider has answered for this company, so nothing can be entered by hand.",
);

/// What the routes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A profile by number.
    Company,
    /// A profile entered by hand.
    EnterCompany,
    /// Whether a person represents a company.
    CheckRepresentative,
    /// Profiles by name.
    Search,
    /// Tax status of many.
    Status,
}

const READ: Access = Access::Scope("verify:read");

/// The routes of `verify`, as in `template.yaml`.
pub const ROUTES: [Route<Action>; 5] = [
    Route { method: "GET", path: "/v1/companies/{business_number}", access: READ, action: Action::Company },
    Route {
        method: "PUT",
        path: "/v1/companies/{business_number}",
        access: Access::Scope("verify:write"),
        action: Action::EnterCompany,
    },
    Route {
        method: "POST",
        path: "/v1/companies/{business_number}/representative",
        access: READ,
        action: Action::CheckRepresentative,
    },
    Route { method: "GET", path: "/v1/companies", access: READ, action: Action::Search },
    Route { method: "POST", path: "/v1/companies/status", access: READ, action: Action::Status },
];

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    operations: Operations,
    manual_ttl: Duration,
}

/// A profile with its provenance, as callers see it.
#[derive(Serialize)]
struct CompanyBody<'a> {
    #[serde(flatten)]
    company: &'a Company,
    #[serde(flatten)]
    provenance: Provenance<'a>,
}

#[derive(Serialize)]
struct Provenance<'a> {
    provider: &'a str,
    source: &'static str,
    stale: bool,
    fetched_at: String,
}

fn provenance<T>(answer: &Answer<T>) -> Provenance<'_> {
    Provenance {
        provider: &answer.provider,
        source: answer.source.label(),
        stale: matches!(answer.source, Source::Stale { .. }),
        fetched_at: answer.as_of.rfc3339(),
    }
}

impl HttpFunction for Handler {
    async fn serve(&self, event: HttpEvent, deadline_ms: u64) -> HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Company => self.company(&call).await,
            Action::EnterCompany => self.enter_company(&call).await,
            Action::CheckRepresentative => self.check_representative(&call).await,
            Action::Search => self.search(&call).await,
            Action::Status => self.status(&call).await,
        };
        self.edge.serve(&ROUTES, event, deadline_ms, handle).await
    }
}

impl Function for Handler {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<runtime::Answer, Cause> {
        runtime::answer_or_check(self, &self.operations.checkup, event, deadline_ms).await
    }
}

impl Handler {
    /// Starts the process: telemetry, clients, secrets, providers.
    ///
    /// # Errors
    /// [`StartError`]: the function must not serve.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let kernel = Kernel::start("verify", &config.common, config.mocked()).await?;
        Ok(Self::over(&kernel, config).await?)
    }

    /// A handler over a kernel that runs already.
    ///
    /// # Errors
    /// When a provider's secret cannot be read.
    pub async fn over(kernel: &Kernel, config: &Config) -> Result<Self, SecretError> {
        let operations = build(kernel, config).await?;
        let edge = kernel.edge(&config.common, MAX_BODY_BYTES);
        Ok(Self { edge, operations, manual_ttl: config.manual_ttl })
    }

    async fn company(&self, call: &Call) -> Result<Reply, ApiError> {
        let query = CompanyQuery { business_number: number_in_path(call)? };
        let answer = self.operations.company.call(&query, call.deadline).await.map_err(|error| {
            let outside = ApiError::from(&error);
            if *outside.code() == PROVIDER_UNAVAILABLE { outside.with(manual_entry(&query)) } else { outside }
        })?;
        let Some(company) = &answer.value.found else {
            return Err(ApiError::new(COMPANY_NOT_FOUND).with(manual_entry(&query)));
        };
        Ok(Reply::json(200, &CompanyBody { company, provenance: provenance(&answer) })?.provenance(&answer))
    }

    async fn enter_company(&self, call: &Call) -> Result<Reply, ApiError> {
        let query = CompanyQuery { business_number: number_in_path(call)? };
        let company = company_in_body(call, &query.business_number)?;
        let by = call.who();
        let live = self.operations.company.remembered(&query).await;
        if live.is_some_and(|answer| answer.value.found.is_some()) {
            return Err(ApiError::new(CONFLICT).with(Detail::field("business_number", LIVE_ANSWER)));
        }
        let Some(entries) = self.operations.company.manual_entries() else {
            return Err(ApiError::new(INTERNAL).because("companies cannot be entered by hand"));
        };
        let lookup = CompanyLookup { found: Some(company) };
        let entering = entries.enter(&query, &lookup, by, self.manual_ttl);
        let entered = match timeout_at(call.deadline, entering).await {
            Ok(entered) => entered,
            Err(elapsed) => return Err(ApiError::store_unavailable(elapsed)),
        };
        let (entered_at, expires_at) = entered.map_err(ApiError::store_unavailable)?;
        let Some(company) = &lookup.found else { return Err(ApiError::new(INTERNAL)) };
        let body = json!({
            "business_number": company.business_number,
            "name": company.name,
            "source": "manual",
            "entered_at": entered_at.rfc3339(),
            "expires_at": expires_at.rfc3339(),
        });
        Reply::json(200, &body)
    }

    async fn check_representative(&self, call: &Call) -> Result<Reply, ApiError> {
        let business_number = number_in_path(call)?;
        let mut fields = call.body()?;
        let name = fields.text("name", MAX_NAME);
        let established_on = established_on(&mut fields);
        let query = fields.finish(name.zip(established_on).map(|(name, established_on)| RepresentativeQuery {
            business_number,
            name,
            established_on,
        }))?;
        let operation = match (&query.established_on, &self.operations.undated_check) {
            (Some(_), _) => &self.operations.dated_check,
            (None, Some(undated)) => undated,
            // Only the tax service is configured, and it cannot answer without the day.
            (None, None) => return Err(ApiError::invalid("established_on", MISSING)),
        };
        let answer = operation.call(&query, call.deadline).await.map_err(|error| ApiError::from(&error))?;
        let Provenance { provider, source, stale, fetched_at } = provenance(&answer);
        let body = json!({
            "business_number": query.business_number,
            "representative_match": if answer.value.matches { "match" } else { "mismatch" },
            "provider": provider,
            "source": source,
            "stale": stale,
            "fetched_at": fetched_at,
        });
        Ok(Reply::json(200, &body)?.provenance(&answer))
    }

    async fn search(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.query()?;
        let name = fields.text("name", MAX_NAME);
        let page = fields.number("page", 1, 1, 1_000);
        let size = fields.number("size", 20, 1, MAX_PAGE_SIZE);
        let query = match (name, page, size) {
            (Some(name), Some(page), Some(size)) => Some(NameQuery { name, page, size }),
            _ => None,
        };
        let query = fields.finish(query)?;
        let answer =
            self.operations.search.call(&query, call.deadline).await.map_err(|error| ApiError::from(&error))?;
        let Provenance { provider, source, stale, fetched_at } = provenance(&answer);
        let body = json!({
            "companies": answer.value.companies,
            "total": answer.value.total,
            "page": query.page,
            "size": query.size,
            "provider": provider,
            "source": source,
            "stale": stale,
            "fetched_at": fetched_at,
        });
        Ok(Reply::json(200, &body)?.provenance(&answer))
    }

    async fn status(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.body()?;
        let numbers = fields.texts("business_numbers", MAX_BATCH);
        let queries = numbers.map(|numbers| {
            let parsed = numbers.iter().enumerate().filter_map(|(place, text)| match BusinessNumber::parse(text) {
                Ok(business_number) => Some(StatusQuery { business_number }),
                Err(issue) => fields.note(format!("business_numbers[{place}]"), issue),
            });
            parsed.collect::<Vec<_>>()
        });
        let queries = fields.finish(queries)?;
        let answers = self.operations.status.call_each(&queries, call.deadline).await;
        // When there is not one answer, the whole call has failed.
        let Some(weakest) = answers.iter().flatten().max_by_key(|answer| weakness(answer)) else {
            let error = answers.iter().find_map(|answer| answer.as_ref().err());
            return Err(error.map_or_else(|| ApiError::new(INTERNAL), ApiError::from));
        };
        let results: Vec<_> =
            queries.iter().zip(&answers).map(|(query, answer)| StatusRow::of(query, answer)).collect();
        Ok(Reply::json(200, &json!({"results": results}))?.provenance(weakest))
    }
}

/// One row of a status answer: what is known, or why nothing is.
#[derive(Serialize)]
#[serde(untagged)]
enum StatusRow<'a> {
    Known {
        #[serde(flatten)]
        status: &'a TaxStatus,
        #[serde(flatten)]
        provenance: Provenance<'a>,
    },
    Unknown {
        business_number: &'a BusinessNumber,
        status: Status,
        error: &'static str,
    },
}

impl<'a> StatusRow<'a> {
    fn of(query: &'a StatusQuery, answer: &'a Result<Answer<TaxStatus>, Arc<CallError>>) -> Self {
        match answer {
            Ok(answer) => Self::Known { status: &answer.value, provenance: provenance(answer) },
            Err(error) => Self::Unknown {
                business_number: &query.business_number,
                status: Status::Unknown,
                error: ApiError::from(error).code().name,
            },
        }
    }
}

/// The header speaks for all rows, so it tells the weakest source and the oldest age.
fn weakness<T>(answer: &Answer<T>) -> (u8, Duration) {
    let rank = match answer.source {
        Source::Live => 0,
        Source::Cached { .. } => 1,
        Source::Stale { .. } => 2,
        Source::Manual { .. } => 3,
        Source::Default => 4,
    };
    (rank, answer.source.age().unwrap_or_default())
}

fn number_in_path(call: &Call) -> Result<BusinessNumber, ApiError> {
    BusinessNumber::parse(call.param("business_number")).map_err(|issue| ApiError::invalid("business_number", issue))
}

fn manual_entry(query: &CompanyQuery) -> Detail {
    let path = format!("/v1/companies/{}", query.business_number);
    let offer = [("method", "PUT"), ("path", path.as_str()), ("scope", "verify:write")];
    Detail::offer(MANUAL_ENTRY, offer.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

fn company_in_body(call: &Call, number: &BusinessNumber) -> Result<Company, ApiError> {
    let mut fields = call.body()?;
    let name = fields.text("name", MAX_NAME);
    let representative = fields.optional_text("representative", MAX_NAME);
    let address = fields.optional_text("address", 300);
    let industry = fields.optional_text("industry", MAX_NAME);
    let corporate_number = match fields.optional_text("corporate_number", 14) {
        Some(Some(text)) => {
            let digits: String = text.chars().filter(|c| *c != '-').collect();
            let is_number = digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { Some(Some(digits)) } else { fields.note("corporate_number", BAD_FORMAT) }
        }
        other => other,
    };
    let established_on = established_on(&mut fields);
    let company = (|| {
        let company = Company {
            name: Some(name?),
            representative: representative?,
            address: address?,
            industry: industry?,
            established_on: established_on?,
            ..Company::numbered(number)
        };
        Some(company.with_corporate_number(corporate_number?))
    })();
    fields.finish(company)
}

/// The day of establishment, which may be left out.
fn established_on(fields: &mut Fields) -> Option<Option<Date>> {
    match fields.optional_text("established_on", 10) {
        Some(Some(text)) => iso_date(&text).map(Some).or_else(|| fields.note("established_on", BAD_FORMAT)),
        other => other.map(|_| None),
    }
}
