//! From a request to an answer: parse, ask, respond. Nothing here knows a provider or a wire format of one.

use futures_util::future::join_all;
use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::error::{
    ApiError, BAD_FORMAT, Code, Detail, FORBIDDEN, INVALID_REQUEST, Issue, Language, PROVIDER_UNAVAILABLE, code, issue,
};
use ieum::integration::{Answer, Source};
use ieum::provider::Cause;
use ieum::runtime::{self, Event, Function, HttpFunction};
use ieum::secrets::SecretError;
use ieum::start::{Kernel, StartError};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::address::{Address, AddressPage, AddressQuery, Links, MAX_DEPTH, Point};
use crate::config::{Config, WidgetConfig};
use crate::keyword::{Keyword, Refusal};
use crate::normalize;
use crate::providers::{Operations, build};
use crate::widget;

/// The largest body any route takes: what the widget hands over, with room to spare.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Addresses per page, at most: what every provider gives.
const MAX_PAGE_SIZE: u32 = 30;

/// The same where each address costs a call of its own.
const MAX_LOCATED: u32 = 10;

/// No provider knows an address at the place.
const ADDRESS_NOT_FOUND: Code =
    code("address_not_found", 404, "해당 위치의 주소를 찾을 수 없습니다.", "No address is known at this place.");

const OUTSIDE_KOREA: Issue = issue(
    "outside_korea",
    "국내 위치가 아닙니다. 위도와 경도를 확인해 주세요.",
    "This is not in Korea. Please check latitude and longitude.",
);
const TOO_MANY_TO_LOCATE: Issue = issue(
    "too_many_to_locate",
    "좌표는 한 번에 10건까지 확인할 수 있습니다.",
    "Coordinates come with at most 10 addresses at a time.",
);
const ORIGIN_NOT_ALLOWED: Issue = issue(
    "origin_not_allowed",
    "이 사이트에서는 주소 찾기 화면을 열 수 없습니다.",
    "This site may not open the address page.",
);
const WIDGET: Issue = issue(
    "widget",
    "지금은 주소를 검색할 수 없습니다. 우편번호 서비스 화면에서 찾거나 주소를 직접 입력해 주세요.",
    "Addresses cannot be searched right now. Please use the postcode page or type the address in full.",
);
/// On an empty page that nobody answered.
const NO_PROVIDER: Issue = issue(
    "no_provider",
    "지금은 주소를 검색할 수 없습니다. 잠시 후 다시 검색하거나 주소를 직접 입력해 주세요.",
    "Addresses cannot be searched right now. Please try again later or type the address in full.",
);
const NO_COORDINATES: Issue = issue(
    "no_coordinates",
    "좌표를 확인하지 못한 주소가 있습니다.",
    "The coordinates of some address could not be found out.",
);

/// What the routes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Addresses by keyword.
    Search,
    /// The address of a place.
    At,
    /// The widget's answer in our form.
    Normalize,
    /// The page.
    Widget,
    /// Its script.
    Script,
    /// Its style.
    Style,
}

const READ: Access = Access::Scope("address:read");

/// The routes of `address`, as in `template.yaml`. The page is public because it holds nothing: its search needs a token.
pub const ROUTES: [Route<Action>; 6] = [
    Route { method: "GET", path: "/v1/addresses", access: READ, action: Action::Search },
    Route { method: "GET", path: "/v1/addresses/at", access: READ, action: Action::At },
    Route { method: "POST", path: "/v1/addresses/normalize", access: READ, action: Action::Normalize },
    Route { method: "GET", path: "/v1/addresses/widget", access: Access::Public, action: Action::Widget },
    Route { method: "GET", path: "/v1/addresses/widget.js", access: Access::Public, action: Action::Script },
    Route { method: "GET", path: "/v1/addresses/widget.css", access: Access::Public, action: Action::Style },
];

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    operations: Operations,
    widget: WidgetConfig,
}

/// An address as callers see it.
#[derive(Serialize)]
struct AddressBody<'a> {
    #[serde(flatten)]
    address: &'a Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
}

impl<'a> AddressBody<'a> {
    fn of(address: &'a Address) -> Self {
        Self { address, links: address.links() }
    }
}

/// What a person should know about an answer that is none, or not whole.
#[derive(Serialize)]
struct Notice {
    notice: &'static str,
    message: &'static str,
}

fn notice(call: &Call, issue: Issue) -> Notice {
    let language = call.header("accept-language").map_or_else(Language::default, Language::from_accept_language);
    Notice { notice: issue.name, message: issue.sentence.in_language(language) }
}

impl HttpFunction for Handler {
    async fn serve(&self, event: HttpEvent, deadline_ms: u64) -> HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Search => self.search(&call).await,
            Action::At => self.at(&call).await,
            Action::Normalize => self.normalize(&call).await,
            Action::Widget => self.widget(&call),
            Action::Script => widget::script(),
            Action::Style => widget::style(),
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
        let kernel = Kernel::start("address", &config.common, config.mocked()).await?;
        Ok(Self::over(&kernel, config).await?)
    }

    /// A handler over a kernel that runs already.
    ///
    /// # Errors
    /// When a provider's secret cannot be read.
    pub async fn over(kernel: &Kernel, config: &Config) -> Result<Self, SecretError> {
        let operations = build(kernel, config).await?;
        let edge = kernel.edge(&config.common, MAX_BODY_BYTES);
        Ok(Self { edge, operations, widget: config.widget.clone() })
    }

    async fn search(&self, call: &Call) -> Result<Reply, ApiError> {
        let Search { query, detail, coordinates } = search_in_query(call)?;
        let answer = self.operations.search.call(&query, call.deadline).await.map_err(|error| {
            let outside = ApiError::from(&error);
            if *outside.code() == PROVIDER_UNAVAILABLE { outside.with(to_the_widget()) } else { outside }
        })?;
        if let Some(refusal) = answer.value.refused {
            return Err(advised(refusal));
        }
        let AddressPage { mut addresses, total, .. } = answer.value.clone();
        let mut notices = Vec::new();
        if answer.source == Source::Default {
            notices.push(notice(call, NO_PROVIDER));
        }
        if coordinates && !self.locate(&mut addresses, call.deadline).await {
            notices.push(notice(call, NO_COORDINATES));
        }
        let body = json!({
            "addresses": addresses.iter().map(AddressBody::of).collect::<Vec<_>>(),
            "total": total,
            "page": query.page,
            "size": query.size,
            "detail": detail,
            "notices": notices,
            "provider": answer.provider,
            "source": answer.source.label(),
            "stale": is_stale(&answer),
            "as_of": answer.as_of.rfc3339(),
        });
        Ok(Reply::json(200, &body)?.provenance(&answer))
    }

    async fn at(&self, call: &Call) -> Result<Reply, ApiError> {
        let point = point_in_query(call)?;
        let answer = self.operations.at.call(&point, call.deadline).await.map_err(|error| ApiError::from(&error))?;
        let Some(address) = &answer.value.address else { return Err(ApiError::new(ADDRESS_NOT_FOUND)) };
        let body = json!({
            "address": AddressBody::of(address),
            "provider": answer.provider,
            "source": answer.source.label(),
            "stale": is_stale(&answer),
            "as_of": answer.as_of.rfc3339(),
        });
        Ok(Reply::json(200, &body)?.provenance(&answer))
    }

    async fn normalize(&self, call: &Call) -> Result<Reply, ApiError> {
        let (mut address, coordinates) = address_in_body(call)?;
        let mut notices = Vec::new();
        if coordinates && !self.locate(std::slice::from_mut(&mut address), call.deadline).await {
            notices.push(notice(call, NO_COORDINATES));
        }
        let body = json!({"address": AddressBody::of(&address), "notices": notices, "provider": "daum"});
        Reply::json(200, &body)
    }

    fn widget(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.query()?;
        let origin = fields.text("origin", 200);
        let language = match fields.optional_text("lang", 2) {
            Some(Some(text)) if text == "ko" => Some(Language::Korean),
            Some(Some(text)) if text == "en" => Some(Language::English),
            Some(Some(_)) => fields.note("lang", BAD_FORMAT),
            Some(None) => {
                Some(call.header("accept-language").map_or_else(Language::default, Language::from_accept_language))
            }
            None => None,
        };
        let (origin, language) = fields.finish(origin.zip(language))?;
        if !self.widget.origins.contains(&origin) {
            return Err(ApiError::new(FORBIDDEN).with(Detail::field("origin", ORIGIN_NOT_ALLOWED)));
        }
        widget::page(&self.widget, &origin, language)
    }

    /// Completes `addresses` with their coordinates; false when one of them stays without. An address is worth telling
    /// without them too, so nothing here is an error.
    async fn locate(&self, addresses: &mut [Address], deadline: Instant) -> bool {
        let located = join_all(addresses.iter_mut().map(async |address| {
            if let Some(site) = address.site()
                && let Ok(answer) = self.operations.locate.call(&site, deadline).await
            {
                address.coordinates = answer.value.point;
            }
            address.coordinates.is_some()
        }));
        located.await.into_iter().all(|located| located)
    }
}

fn is_stale<T>(answer: &Answer<T>) -> bool {
    matches!(answer.source, Source::Stale { .. })
}

fn advised(refusal: Refusal) -> ApiError {
    let (field, issue) = refusal.advice();
    ApiError::new(INVALID_REQUEST).with(Detail::field(field, issue))
}

/// Daum's widget needs neither of our providers.
fn to_the_widget() -> Detail {
    let offer = [("method", "GET"), ("path", "/v1/addresses/widget")];
    Detail::offer(WIDGET, offer.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

/// A search as it was asked for.
struct Search {
    query: AddressQuery,
    detail: Option<String>,
    coordinates: bool,
}

fn search_in_query(call: &Call) -> Result<Search, ApiError> {
    let mut fields = call.query()?;
    let text = fields.value("query");
    let keyword = Keyword::parse(text.as_ref().and_then(Value::as_str).unwrap_or_default()).map_err(|refusal| {
        let (field, issue) = refusal.advice();
        fields.note::<()>(field, issue);
    });
    let page = fields.number("page", 1, 1, MAX_DEPTH);
    let size = fields.number("size", 10, 1, MAX_PAGE_SIZE);
    if page.zip(size).is_some_and(|(page, size)| page * size > MAX_DEPTH) {
        let (field, issue) = Refusal::TooDeep.advice();
        fields.note::<()>(field, issue);
    }
    let coordinates = match fields.optional_text("coordinates", 5) {
        Some(None) => Some(false),
        Some(Some(text)) if text == "true" || text == "false" => Some(text == "true"),
        Some(Some(_)) => fields.note("coordinates", BAD_FORMAT),
        None => None,
    };
    if coordinates == Some(true) && size.is_some_and(|size| size > MAX_LOCATED) {
        fields.note::<()>("size", TOO_MANY_TO_LOCATE);
    }
    let search = (|| {
        let (keyword, detail) = keyword.ok()?;
        let query = AddressQuery { keyword, page: page?, size: size? };
        Some(Search { query, detail, coordinates: coordinates? })
    })();
    fields.finish(search)
}

fn point_in_query(call: &Call) -> Result<Point, ApiError> {
    let mut fields = call.query()?;
    let mut degrees = |name| {
        let text = fields.text(name, 20)?;
        text.parse::<f64>().ok().filter(|degrees| degrees.is_finite()).or_else(|| fields.note(name, BAD_FORMAT))
    };
    let point = degrees("lat").zip(degrees("lon")).and_then(|(latitude, longitude)| {
        Point::new(latitude, longitude).or_else(|| fields.note("lat", OUTSIDE_KOREA))
    });
    fields.finish(point.map(Point::to_a_metre))
}

/// What the widget handed over, and whether coordinates are wanted as well.
fn address_in_body(call: &Call) -> Result<(Address, bool), ApiError> {
    let mut fields = call.body()?;
    let address = normalize::address(&mut fields);
    let coordinates = match fields.value("coordinates") {
        None => Some(false),
        Some(Value::Bool(wanted)) => Some(wanted),
        Some(_) => fields.note("coordinates", BAD_FORMAT),
    };
    // The widget's format may grow.
    fields.ignore_rest();
    fields.finish(address.zip(coordinates))
}
