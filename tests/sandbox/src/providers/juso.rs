//! Juso, the address register of the interior ministry, on business.juso.go.kr: search in Korean and English, coordinates.
//!
//! Everything it refuses it refuses with HTTP 200, a code, and null in place of the list. Numbers are texts. The page may
//! not reach beyond 9,000 addresses, whatever `totalCount` says.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::addresses::{self, Building};
use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// Search by keyword in Korean.
pub const SEARCH_PATH: &str = "/addrlink/addrLinkApi.do";
/// Search by keyword in English.
pub const ENGLISH_PATH: &str = "/addrlink/addrEngApi.do";
/// The place of one building.
pub const COORDINATE_PATH: &str = "/addrlink/addrCoordApi.do";
/// The only key that [`SEARCH_PATH`] knows.
pub const SEARCH_KEY: &str = "sandbox+juso/search==";
/// The only key that [`ENGLISH_PATH`] knows.
pub const ENGLISH_KEY: &str = "sandbox+juso/english==";
/// The only key that [`COORDINATE_PATH`] knows.
pub const COORDINATE_KEY: &str = "sandbox+juso/coordinate==";
/// Stands in each error.
pub const INTERNAL_DETAIL: &str = "JUSO-INTERNAL-DETAIL";

const REFUSE: &str = "refuse";
/// The key is not approved.
const DEFAULT_CODE: &str = "E0001";
const MAX_DEPTH: usize = 9_000;
const PROVINCES: [&str; 6] = ["서울특별시", "서울", "경기도", "경기", "강원특별자치도", "강원"];
const WORDS: [&str; 12] =
    ["OR", "SELECT", "INSERT", "DELETE", "UPDATE", "CREATE", "DROP", "EXEC", "UNION", "FETCH", "DECLARE", "TRUNCATE"];

/// The fake; it remembers nothing, because the register is the same for all.
#[derive(Debug)]
pub(crate) struct Juso;

impl Provider for Juso {
    fn name(&self) -> &'static str {
        "juso"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[REFUSE]
    }

    fn answer(&mut self, request: &Request, mode: &Mode) -> Answer {
        if mode.is_own(REFUSE) {
            return refusal(StatusCode::OK, mode.code.as_deref().unwrap_or(DEFAULT_CODE));
        }
        let (key, answer): (_, fn(&Parameters) -> Answer) = match request.path.as_str() {
            SEARCH_PATH => (SEARCH_KEY, |asked| search(asked, row)),
            ENGLISH_PATH => (ENGLISH_KEY, |asked| search(asked, english_row)),
            COORDINATE_PATH => (COORDINATE_KEY, coordinates),
            _ => return page(StatusCode::NOT_FOUND),
        };
        let asked = match request.method {
            Method::GET => Parameters(request.query.clone()),
            Method::POST => Parameters(form(&request.body)),
            _ => return page(StatusCode::METHOD_NOT_ALLOWED),
        };
        // Without `resultType=json` the register answers XML, which nobody here reads.
        if asked.get("resultType") != "json" {
            return Answer::text(StatusCode::OK, "text/xml;charset=UTF-8", "<results/>".to_owned());
        }
        if asked.get("confmKey") == key { answer(&asked) } else { refusal(StatusCode::OK, "E0001") }
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        refusal(status, code.unwrap_or("-999"))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("juso has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({})
    }
}

struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.get(name).parse().unwrap_or(default)
    }
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

fn search(asked: &Parameters, row: fn(&Building) -> Value) -> Answer {
    let keyword = asked.get("keyword");
    let (page, size) = (asked.number("currentPage", 1).max(1), asked.number("countPerPage", 10).clamp(1, 100));
    if let Some(code) = code_against(keyword) {
        return refusal(StatusCode::OK, code);
    }
    if page * size > MAX_DEPTH {
        return refusal(StatusCode::OK, "E0015");
    }
    let found = addresses::search(keyword);
    let rows: Vec<Value> = found.iter().skip((page - 1) * size).take(size).map(|building| row(building)).collect();
    answer(page, size, found.len(), rows)
}

/// What the register does not like about a keyword, in the order of its codes.
fn code_against(keyword: &str) -> Option<&'static str> {
    let keyword = keyword.trim();
    let korean = keyword.chars().filter(|c| !c.is_ascii()).count();
    let is_word = |word: &str| WORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let number_too_long = keyword.split(|c: char| !c.is_ascii_digit()).any(|number| number.len() > 10);
    match keyword {
        "" => Some("E0005"),
        _ if PROVINCES.contains(&keyword) => Some("E0006"),
        _ if keyword.chars().count() < 2 => Some("E0008"),
        _ if digits(keyword) => Some("E0009"),
        _ if korean > 40 || keyword.chars().count() > 80 => Some("E0010"),
        _ if number_too_long => Some("E0011"),
        _ if !keyword.chars().any(char::is_alphabetic) => Some("E0012"),
        _ if keyword.contains(['%', '=', '>', '<', '[', ']']) || keyword.split_whitespace().any(is_word) => {
            Some("E0013")
        }
        _ => None,
    }
}

fn coordinates(asked: &Parameters) -> Answer {
    let number = (asked.number("buldMnnm", 0), asked.number("buldSlno", 0));
    let number = (u32::try_from(number.0).unwrap_or(0), u32::try_from(number.1).unwrap_or(0));
    let found = addresses::at(asked.get("rnMgtSn"), number);
    let found = found.filter(|building| building.codes[0] == asked.get("admCd") && asked.get("udrtYn") == "0");
    let rows: Vec<Value> = found
        .iter()
        .map(|building| {
            json!({
                "admCd": building.codes[0],
                "rnMgtSn": building.codes[2],
                "bdMgtSn": building.code(),
                "udrtYn": "0",
                "buldMnnm": building.number.0.to_string(),
                "buldSlno": building.number.1.to_string(),
                "entX": building.utm_k.0.to_string(),
                "entY": building.utm_k.1.to_string(),
                "bdNm": building.name,
            })
        })
        .collect();
    answer(1, 10, rows.len(), rows)
}

fn row(building: &Building) -> Value {
    let sido = building.sido[0];
    let extra: Vec<&str> = [if building.ri.is_empty() { building.dong } else { "" }, building.name]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let extra = if extra.is_empty() { String::new() } else { format!(" ({})", extra.join(", ")) };
    let lot = format!("{} {}", building.lot_address(sido), building.name);
    json!({
        "roadAddr": format!("{}{extra}", building.road_address(sido)),
        "roadAddrPart1": building.road_address(sido),
        "roadAddrPart2": extra,
        "jibunAddr": lot.trim(),
        "engAddr": building.english_address(),
        "zipNo": building.zip,
        "admCd": building.codes[0],
        "rnMgtSn": building.codes[2],
        "bdMgtSn": building.code(),
        "detBdNmList": "",
        "bdNm": building.name,
        "bdKdcd": if building.apartment { "1" } else { "0" },
        "siNm": sido,
        "sggNm": building.sigungu,
        "emdNm": building.dong,
        "liNm": building.ri,
        "rn": building.road,
        "udrtYn": "0",
        "buldMnnm": building.number.0.to_string(),
        "buldSlno": building.number.1.to_string(),
        "mtYn": "0",
        "lnbrMnnm": building.lot.0.to_string(),
        "lnbrSlno": building.lot.1.to_string(),
        "emdNo": "01",
    })
}

fn english_row(building: &Building) -> Value {
    json!({
        "roadAddr": building.english_address(),
        "jibunAddr": format!("{} {}, {}", building.lot_text(), building.english.1, building.sido[2]),
        "korAddr": building.road_address(building.sido[0]),
        "zipNo": building.zip,
        "admCd": building.codes[0],
        "rnMgtSn": building.codes[2],
        "bdKdcd": if building.apartment { "1" } else { "0" },
        "siNm": building.sido[2],
        "sggNm": building.english.1,
        "emdNm": "",
        "liNm": "",
        "rn": building.english.0,
        "udrtYn": "0",
        "buldMnnm": building.number.0.to_string(),
        "buldSlno": building.number.1.to_string(),
        "mtYn": "0",
        "lnbrMnnm": building.lot.0.to_string(),
        "lnbrSlno": building.lot.1.to_string(),
    })
}

fn answer(page: usize, size: usize, total: usize, rows: Vec<Value>) -> Answer {
    let common = json!({
        "errorMessage": "정상",
        "countPerPage": size.to_string(),
        "totalCount": total.to_string(),
        "errorCode": "0",
        "currentPage": page.to_string(),
    });
    Answer::json(StatusCode::OK, &json!({"results": {"common": common, "juso": rows}}))
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    let common = json!({
        "errorMessage": format!("{INTERNAL_DETAIL}: the request was refused"),
        "countPerPage": "0",
        "totalCount": "0",
        "errorCode": code,
        "currentPage": "0",
    });
    Answer::json(status, &json!({"results": {"common": common, "juso": null}}))
}

fn page(status: StatusCode) -> Answer {
    Answer::text(status, "text/html;charset=UTF-8", format!("<html>{INTERNAL_DETAIL}</html>"))
}
