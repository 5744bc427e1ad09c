//! Daum Postcode, the script that browsers load from t1.daumcdn.net.
//!
//! The real one opens a frame of its own; this one puts a button where the frame would be, and hands over one address when
//! the button is pressed. It serves no other purpose than to let a page be driven without the network.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::addresses;
use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// The script.
pub const SCRIPT_PATH: &str = "/mapjsapi/bundle/postcode/prod/postcode.v2.js";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "DAUM-INTERNAL-DETAIL";

/// What `{data}` is replaced in.
const SCRIPT: &str = r#"window.daum = { Postcode: class {
  constructor(options) { this.options = options; }
  embed(element) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "세종대로 110";
    button.addEventListener("click", () => this.options.oncomplete({data}));
    element.append(button);
  }
} };
"#;

/// The fake; it remembers nothing.
#[derive(Debug)]
pub(crate) struct Daum;

impl Provider for Daum {
    fn name(&self) -> &'static str {
        "daum"
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
        if request.path != SCRIPT_PATH || request.method != Method::GET {
            return self.error(StatusCode::NOT_FOUND, None);
        }
        let script = SCRIPT.replace("{data}", &chosen().to_string());
        Answer::text(StatusCode::OK, "application/javascript;charset=UTF-8", script)
    }

    fn error(&self, status: StatusCode, _: Option<&str>) -> Answer {
        Answer::text(status, "text/html;charset=UTF-8", format!("<html>{INTERNAL_DETAIL}</html>"))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("daum has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({})
    }
}

/// The argument of `oncomplete`, with the members that are not empty for an ordinary building.
fn chosen() -> Value {
    let Some(building) = addresses::search("세종대로 110").into_iter().next() else { return Value::Null };
    let sido = building.sido[1];
    json!({
        "zonecode": building.zip,
        "address": building.road_address(sido),
        "addressEnglish": building.english_address(),
        "addressType": "R",
        "userSelectedType": "R",
        "noSelected": "N",
        "userLanguageType": "K",
        "roadAddress": building.road_address(sido),
        "roadAddressEnglish": building.english_address(),
        "jibunAddress": building.lot_address(sido),
        "autoRoadAddress": "",
        "autoJibunAddress": "",
        "buildingCode": building.code(),
        "buildingName": building.name,
        "apartment": if building.apartment { "Y" } else { "N" },
        "sido": sido,
        "sigungu": building.sigungu,
        "sigunguCode": &building.codes[2][..5],
        "roadnameCode": &building.codes[2][5..],
        "bcode": building.codes[0],
        "roadname": building.road,
        "bname": building.dong,
        "bname1": "",
        "bname2": building.dong,
        "query": "세종대로 110",
        "postcode": "",
    })
}
