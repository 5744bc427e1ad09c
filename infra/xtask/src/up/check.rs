//! The smoke tour of `cargo up --check`: what a first user would try, through the front door.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::{Progress, System, UpError};
use crate::aws::{Http, fetch, http_client};

/// A company the sandbox knows.
const COMPANY: &str = "/v1/companies/1234567891";
/// An address it knows: 세종대로 110.
const ADDRESS: &str = "/v1/addresses?query=%EC%84%B8%EC%A2%85%EB%8C%80%EB%A1%9C%20110";
/// The page for `ORIGIN`.
const PAGE: &str = "/v1/addresses/widget?origin=http://localhost:5173";
/// An origin of `local.toml`'s AllowedOrigins.
const ORIGIN: &str = "http://localhost:5173";

/// Tours a running system; an error says how many points failed.
pub(super) async fn tour(system: &System, show: Progress) -> Result<(), UpError> {
    let visitor = Visitor { http: http_client(), url: system.url().to_owned(), key: system.api_key().to_owned() };
    let before = calls(system).await;
    let first = visitor.get(COMPANY, &visitor.key).await;
    let second = visitor.get(COMPANY, &visitor.key).await;
    let after = calls(system).await;
    let intruder = visitor.get(COMPANY, "not-a-key").await;
    let misspelt = visitor.get("/v1/companies/1234567890", &visitor.key).await;
    let address = visitor.get(ADDRESS, &visitor.key).await;
    let page = visitor.get(PAGE, "").await;
    let elsewhere = visitor.get("/v1/no-such-thing", &visitor.key).await;
    let preflight = visitor.preflight(COMPANY).await;

    let points = [
        ("a company is found", status(&first, StatusCode::OK)),
        (
            "again, from the cache",
            status(&second, StatusCode::OK).and_then(|()| header(&second, "x-ieum-source", "cached")),
        ),
        ("the provider was asked once", same("calls", &before.and_then(|before| Some(after? - before)), &Some(1))),
        ("a wrong key is refused", status(&intruder, StatusCode::UNAUTHORIZED)),
        (
            "a bad number is named",
            status(&misspelt, StatusCode::BAD_REQUEST).and_then(|()| names_field(&misspelt, "business_number")),
        ),
        ("an address is found", status(&address, StatusCode::OK)),
        (
            "the postcode page is served",
            status(&page, StatusCode::OK).and_then(|()| header(&page, "content-type", "text/html; charset=utf-8")),
        ),
        ("an unknown route is not found", status(&elsewhere, StatusCode::NOT_FOUND)),
        ("a browser may call", header(&preflight, "access-control-allow-origin", ORIGIN)),
    ];
    let mut failed = 0;
    for (point, outcome) in points {
        match outcome {
            Ok(()) => show.line(&format!("  ok      {point}")),
            Err(found) => {
                failed += 1;
                show.line(&format!("  FAILED  {point}: {found}"));
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(UpError::Check(failed)) }
}

struct Visitor {
    http: Http,
    url: String,
    key: String,
}

type Answer = Result<Response<Bytes>, String>;

impl Visitor {
    async fn get(&self, path: &str, key: &str) -> Answer {
        let request = Request::get(format!("{}{path}", self.url)).header("x-api-key", key).body(Full::default());
        fetch(&self.http, request.map_err(|error| error.to_string())?).await
    }

    async fn preflight(&self, path: &str) -> Answer {
        let request = Request::options(format!("{}{path}", self.url))
            .header("origin", ORIGIN)
            .header("access-control-request-method", "GET")
            .body(Full::default());
        fetch(&self.http, request.map_err(|error| error.to_string())?).await
    }
}

/// How often the sandbox's NICE was asked for data; requests for tokens do not count.
async fn calls(system: &System) -> Option<i64> {
    let request = Request::get(format!("{}/_sandbox/nice", system.sandbox_url())).body(Full::default()).ok()?;
    let response = fetch(&http_client(), request).await.ok()?;
    serde_json::from_slice::<Value>(response.body()).ok()?["calls"].as_i64()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}

fn status(answer: &Answer, expected: StatusCode) -> Result<(), String> {
    let response = answer.as_ref().map_err(Clone::clone)?;
    same("the status", &response.status(), &expected)
        .map_err(|found| format!("{found}: {}", String::from_utf8_lossy(response.body())))
}

fn header(answer: &Answer, name: &str, expected: &str) -> Result<(), String> {
    let response = answer.as_ref().map_err(Clone::clone)?;
    same(name, &response.headers().get(name).and_then(|value| value.to_str().ok()), &Some(expected))
}

fn names_field(answer: &Answer, field: &str) -> Result<(), String> {
    let response = answer.as_ref().map_err(Clone::clone)?;
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    same("details[0].field", &body["error"]["details"][0]["field"].as_str(), &Some(field))
}
