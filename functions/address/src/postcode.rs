//! What Daum Postcode hands over in the browser, checked and brought into our form.
//!
//! The widget has no interface for servers: its answer arrives here by way of somebody's browser, so nothing in it is
//! believed before it was looked at. What was looked at is consistent with itself; that the address exists is Daum's word.
//! Members that Daum may add later are ignored.
//!
//! Source: the guide at <https://postcode.map.kakao.com/guide> (`oncomplete`).

use ieum::error::{BAD_FORMAT, Issue, MISSING, TOO_LONG, issue};
use serde_json::{Map, Value};

use crate::address::{Address, BuildingNumber, Codes, MatchQuality, Region, code, digits};
use crate::sido;

/// The longest text in any member, in characters.
const MAX_TEXT: usize = 200;

/// Codes that contradict each other.
const INCONSISTENT: Issue = issue(
    "inconsistent",
    "행정구역 코드가 서로 맞지 않습니다. 주소를 다시 선택해 주세요.",
    "The codes contradict each other. Please choose the address again.",
);

/// The members of the widget's answer that are still to be read, and what is wrong with those that were.
struct Members<'a> {
    members: &'a Map<String, Value>,
    issues: Vec<(&'static str, Issue)>,
}

impl Members<'_> {
    fn note(&mut self, name: &'static str, issue: Issue) {
        self.issues.push((name, issue));
    }

    /// Text, trimmed; the widget says "nothing" with an empty one.
    fn text(&mut self, name: &'static str) -> Option<String> {
        let text = match self.members.get(name) {
            None | Some(Value::Null) => return None,
            Some(Value::String(text)) => text.trim(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.note(name, BAD_FORMAT);
                return None;
            }
        };
        if text.chars().count() > MAX_TEXT {
            self.note(name, TOO_LONG);
        } else if text.chars().any(char::is_control) {
            self.note(name, BAD_FORMAT);
        } else if !text.is_empty() {
            return Some(text.to_owned());
        }
        None
    }

    fn code(&mut self, name: &'static str, length: usize) -> Option<String> {
        let text = self.text(name)?;
        let code = code(&text, length);
        if code.is_none() {
            self.note(name, BAD_FORMAT);
        }
        code
    }

    /// `Y` or `N`.
    fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "Y" => Some(true),
            "N" => Some(false),
            _ => {
                self.note(name, BAD_FORMAT);
                None
            }
        }
    }
}

/// Reads the argument of the widget's `oncomplete`.
///
/// # Errors
/// What is wrong with which member, all of it at once.
pub fn read(members: &Map<String, Value>) -> Result<Address, Vec<(&'static str, Issue)>> {
    let mut from = Members { members, issues: Vec::new() };
    let postal_code = from.code("zonecode", 5);
    if postal_code.is_none() && from.issues.is_empty() {
        from.note("zonecode", MISSING);
    }
    let legal_dong = from.code("bcode", 10);
    let sigungu_code = from.code("sigunguCode", 5);
    if let (Some(dong), Some(sigungu)) = (&legal_dong, &sigungu_code)
        && !dong.starts_with(sigungu.as_str())
    {
        from.note("sigunguCode", INCONSISTENT);
    }
    // Seven digits today; the guide reserves the right to more, and then the two no longer make a code of the register.
    let road_code = from.text("roadnameCode");
    if road_code.as_deref().is_some_and(|code| digits(code).is_none()) {
        from.note("roadnameCode", BAD_FORMAT);
    }
    let road_code =
        sigungu_code.as_ref().zip(road_code).and_then(|(sigungu, road)| code(&format!("{sigungu}{road}"), 12));
    let building = from.code("buildingCode", 25);

    // One lot with several roads, or the other way round: what the person did not choose is only a guess of Daum's.
    let chose_lot = match from.text("userSelectedType").as_deref() {
        None | Some("R") => false,
        Some("J") => true,
        Some(_) => {
            from.note("userSelectedType", BAD_FORMAT);
            false
        }
    };
    let mut either = |name, guess| from.text(name).or_else(|| from.text(guess));
    let road_address = either("roadAddress", "autoRoadAddress").map(|address| sido::written_out(&address));
    let lot_address = either("jibunAddress", "autoJibunAddress").map(|address| sido::written_out(&address));
    let english_address = either("roadAddressEnglish", "autoRoadAddressEnglish");
    let english_address = english_address.or_else(|| from.text("addressEnglish"));
    if road_address.is_none() && lot_address.is_none() && from.issues.is_empty() {
        from.note("roadAddress", MISSING);
    }

    let building_name = from.text("buildingName");
    let apartment = from.flag("apartment");
    let legal_name = from.text("bname");
    let (town, village) = (from.text("bname1"), from.text("bname2"));
    // `bname1` is filled for a 읍 or 면 only, and then `bname2` is the 리 in it.
    let (eupmyeondong, ri) = match (town, village) {
        (Some(town), village) => (Some(town), village),
        (None, village) => (village.or_else(|| legal_name.clone()), None),
    };
    let sido_name = from.text("sido");
    let region = Region {
        sido: sido_name.map(|name| sido::full_name(&name).map_or(name.clone(), str::to_owned)),
        sigungu: from.text("sigungu"),
        eupmyeondong,
        ri,
        road: from.text("roadname"),
    };
    if !from.issues.is_empty() {
        return Err(from.issues);
    }
    let dong = legal_name.filter(|name| name.ends_with(['동', '로', '가']));
    Ok(Address {
        postal_code,
        extra: extra(dong.as_deref(), building_name.as_deref().filter(|_| apartment == Some(true))),
        building_number: road_address.as_deref().and_then(BuildingNumber::at_end_of),
        match_quality: Some(if chose_lot || road_address.is_none() {
            MatchQuality::Lot
        } else {
            MatchQuality::Building
        }),
        road_address,
        lot_address,
        building_name,
        apartment,
        english_address,
        region,
        codes: Codes { legal_dong, administrative_dong: None, sigungu: sigungu_code, road: road_code, building },
        detail: None,
        coordinates: None,
    })
}

/// 참고항목, as it is written on letters: `(역삼동, 강남파이낸스센터)`.
pub fn extra(dong: Option<&str>, building: Option<&str>) -> Option<String> {
    let parts: Vec<&str> = [dong, building].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("({})", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        let event: Value = serde_json::from_str(include_str!("../../../events/address-normalize.json")).unwrap();
        let body: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
        body["postcode"].clone()
    }

    fn read_with(changes: Value) -> Result<Address, Vec<&'static str>> {
        let mut members = sample().as_object().unwrap().clone();
        members.extend(changes.as_object().unwrap().clone());
        read(&members).map_err(|issues| issues.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn every_member_that_is_not_as_the_guide_says_is_named() {
        for (changes, named) in [
            (json!({"zonecode": "0452"}), "zonecode"),
            (json!({"zonecode": ""}), "zonecode"),
            (json!({"zonecode": "０４５２４"}), "zonecode"),
            (json!({"zonecode": 4524}), "zonecode"),
            (json!({"bcode": "11140"}), "bcode"),
            (json!({"sigunguCode": "11110"}), "sigunguCode"),
            (json!({"roadnameCode": "x"}), "roadnameCode"),
            (json!({"buildingCode": "1"}), "buildingCode"),
            (json!({"userSelectedType": "X"}), "userSelectedType"),
            (json!({"apartment": "maybe"}), "apartment"),
            (json!({"roadAddress": "가".repeat(201)}), "roadAddress"),
            (json!({"sido": "서울\u{0}"}), "sido"),
            (
                json!({"roadAddress": "", "autoRoadAddress": "", "jibunAddress": "", "autoJibunAddress": ""}),
                "roadAddress",
            ),
        ] {
            assert_eq!(read_with(changes.clone()), Err(vec![named]), "{changes}");
        }
    }

    #[test]
    fn one_lot_with_many_roads_leaves_a_guess_that_counts_as_the_lot() {
        let address = read_with(json!({
            "userSelectedType": "J", "roadAddress": "", "autoRoadAddress": "서울 중구 세종대로 110",
        }));
        let address = address.unwrap();
        assert_eq!(address.road_address.as_deref(), Some("서울특별시 중구 세종대로 110"));
        assert_eq!(address.match_quality, Some(MatchQuality::Lot));
    }

    #[test]
    fn a_village_has_its_town_and_a_longer_road_code_is_left_out() {
        let address =
            read_with(json!({"bname": "청평리", "bname1": "청평면", "bname2": "청평리", "roadnameCode": "20050099"}));
        let address = address.unwrap();
        assert_eq!(
            (address.region.eupmyeondong.as_deref(), address.region.ri.as_deref()),
            (Some("청평면"), Some("청평리"))
        );
        assert_eq!((address.codes.road, address.extra), (None, None));
        assert!(read_with(json!({"aMemberOfTomorrow": [1, 2]})).is_ok());
    }

    proptest! {
        #[test]
        fn any_members_are_read_without_panic(name in prop_oneof![Just("zonecode"), Just("bcode"), Just("roadAddress"), Just("bname"), Just("sido")], text in ".{0,240}") {
            let mut members = sample().as_object().unwrap().clone();
            members.insert(name.to_owned(), json!(text));
            if let Ok(address) = read(&members) {
                prop_assert!(address.postal_code.is_some_and(|code| code.len() == 5));
                prop_assert!(address.road_address.is_some() || address.lot_address.is_some());
            }
        }
    }
}
