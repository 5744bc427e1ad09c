//! Kakao Local, the address search of dapi.kakao.com.
//!
//! Names of provinces are short where Kakao shortens them, coordinates are texts, and a match by lot carries both halves.

use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::addresses::{self, Building};
use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// Search by keyword.
pub const SEARCH_PATH: &str = "/v2/local/search/address.json";
/// The address of a place.
pub const PLACE_PATH: &str = "/v2/local/geo/coord2address.json";
/// The only key the fake knows.
pub const REST_API_KEY: &str = "sandbox-kakao-rest-api-key";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "KAKAO-INTERNAL-DETAIL";

const MAX_PAGE: usize = 45;
const MAX_SIZE: usize = 30;

/// The fake; it remembers nothing.
#[derive(Debug)]
pub(crate) struct Kakao;

impl Provider for Kakao {
    fn name(&self) -> &'static str {
        "kakao"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[]
    }

    fn answer(&mut self, request: &Request, _: &Mode) -> Answer {
        let answer = match request.path.as_str() {
            SEARCH_PATH if request.method == Method::GET => search,
            PLACE_PATH if request.method == Method::GET => place,
            _ => return refusal(StatusCode::NOT_FOUND, "NotFound"),
        };
        let key = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if key.and_then(|key| key.strip_prefix("KakaoAK ")) != Some(REST_API_KEY) {
            return refusal(StatusCode::UNAUTHORIZED, "AccessDeniedError");
        }
        answer(request)
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let own = match status {
            StatusCode::BAD_REQUEST => "InvalidArgument",
            StatusCode::UNAUTHORIZED => "AccessDeniedError",
            StatusCode::FORBIDDEN => "NotAuthorizedError",
            StatusCode::TOO_MANY_REQUESTS => "RequestThrottled",
            _ => "InternalServerError",
        };
        refusal(status, code.unwrap_or(own))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("kakao has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({})
    }
}

fn search(request: &Request) -> Answer {
    let Some(query) = request.query("query").filter(|query| !query.is_empty()) else {
        return refusal(StatusCode::BAD_REQUEST, "MissingParameter");
    };
    let number = |name: &str, default: usize, max: usize| {
        let number = request.query(name).map_or(Some(default), |text| text.parse().ok());
        number.filter(|number| (1..=max).contains(number))
    };
    let (Some(page), Some(size)) = (number("page", 1, MAX_PAGE), number("size", 10, MAX_SIZE)) else {
        return refusal(StatusCode::BAD_REQUEST, "InvalidArgument");
    };
    let found = addresses::search(query);
    let documents: Vec<Value> =
        found.iter().skip((page - 1) * size).take(size).map(|building| document(building, query)).collect();
    let meta = json!({
        "total_count": found.len(),
        "pageable_count": found.len().min(MAX_PAGE * size),
        "is_end": page * size >= found.len(),
    });
    Answer::json(StatusCode::OK, &json!({"meta": meta, "documents": documents}))
}

fn place(request: &Request) -> Answer {
    let degrees = |name: &str| request.query(name).and_then(|text| text.parse::<f64>().ok());
    let (Some(x), Some(y)) = (degrees("x"), degrees("y")) else {
        return refusal(StatusCode::BAD_REQUEST, "MissingParameter");
    };
    let documents: Vec<Value> = addresses::near(x, y)
        .map(|building| document(building, building.road))
        .map(|found| json!({"road_address": found["road_address"], "address": found["address"]}))
        .map(without_codes)
        .into_iter()
        .collect();
    Answer::json(StatusCode::OK, &json!({"meta": {"total_count": documents.len()}, "documents": documents}))
}

/// The address of a place comes without codes and coordinates of its own.
fn without_codes(mut found: Value) -> Value {
    for half in ["road_address", "address"] {
        for member in ["x", "y", "b_code", "h_code", "region_3depth_h_name"] {
            found[half].as_object_mut().and_then(|members| members.remove(member));
        }
    }
    found
}

fn document(building: &Building, query: &str) -> Value {
    let sido = building.sido[1];
    let (x, y) = (building.wgs84.0.to_string(), building.wgs84.1.to_string());
    let by_road = query.contains(building.road);
    let third =
        if building.ri.is_empty() { building.dong.to_owned() } else { format!("{} {}", building.dong, building.ri) };
    let sub = |number: u32| if number == 0 { String::new() } else { number.to_string() };
    json!({
        "address_name": if by_road { building.road_address(sido) } else { building.lot_address(sido) },
        "address_type": if by_road { "ROAD_ADDR" } else { "REGION_ADDR" },
        "x": x,
        "y": y,
        "address": {
            "address_name": building.lot_address(sido),
            "region_1depth_name": sido,
            "region_2depth_name": building.sigungu,
            "region_3depth_name": third,
            "region_3depth_h_name": building.dong,
            "h_code": building.codes[1],
            "b_code": building.codes[0],
            "mountain_yn": "N",
            "main_address_no": building.lot.0.to_string(),
            "sub_address_no": sub(building.lot.1),
            "x": x,
            "y": y,
        },
        "road_address": {
            "address_name": building.road_address(sido),
            "region_1depth_name": sido,
            "region_2depth_name": building.sigungu,
            "region_3depth_name": building.dong,
            "road_name": building.road,
            "underground_yn": "N",
            "main_building_no": building.number.0.to_string(),
            "sub_building_no": sub(building.number.1),
            "building_name": building.name,
            "zone_no": building.zip,
            "x": x,
            "y": y,
        },
    })
}

fn refusal(status: StatusCode, kind: &str) -> Answer {
    let message = format!("{INTERNAL_DETAIL}: the request was refused");
    Answer::json(status, &json!({"errorType": kind, "message": message}))
}
