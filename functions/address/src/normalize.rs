//! What the Daum Postcode widget hands over, checked and brought into our form.
//!
//! The widget has no interface for servers: its answer (`oncomplete(data)`) comes by way of a browser, so all of it is a
//! person's input. Here it is checked, unified and nothing more: that such an address exists is Daum's word. The body is the
//! widget's object as it is, with the person's `detail` beside its members. Members that the widget may grow are let pass;
//! those read here are bounded.
//!
//! Texts are unified in this order: invisible characters go, what is left is composed (NFC), each run of blanks becomes one
//! space. The widget shortens the province (`경기`) unless told otherwise, and provinces change their names; here each has
//! its full name of today. What went through once goes through again unchanged.
//!
//! Source: the guide at <https://postcode.map.kakao.com/guide> (`oncomplete`).

use icu_normalizer::ComposingNormalizerBorrowed;
use ieum::api::Fields;
use ieum::error::{BAD_FORMAT, Issue, MISSING, TOO_LONG, issue};

use crate::address::{Address, BuildingNumber, Codes, MatchQuality, Region, code, digits, extra};
use crate::sido;

/// The postal code is not five digits. The six-digit codes ended in August 2015.
const NOT_FIVE_DIGITS: Issue =
    issue("not_5_digits", "우편번호는 숫자 5자리입니다. (예: 04524)", "A postal code has 5 digits, for example 04524.");
/// Neither road nor lot was chosen.
const NOT_R_OR_J: Issue = issue(
    "not_r_or_j",
    "도로명 주소는 R, 지번 주소는 J로 보내 주세요.",
    "Expected R for the road address or J for the lot-number address.",
);
/// The district's code is not the beginning of the legal dong's.
const NOT_OF_BCODE: Issue = issue(
    "not_of_bcode",
    "시군구 코드가 법정동 코드와 맞지 않습니다. 주소를 다시 선택해 주세요.",
    "The district code does not belong to the legal-dong code. Please choose the address again.",
);

/// The longest address, in characters.
const MAX_ADDRESS: usize = 200;
/// The longest name of a place or building.
const MAX_NAME: usize = 100;
/// The longest floor and room.
const MAX_DETAIL: usize = 100;
/// The longest code.
const MAX_CODE: usize = 30;
/// A syllable of Hangul is at most so many characters before it is composed.
const JAMO: usize = 3;

/// Which of the two addresses a person chose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Road,
    Lot,
}

/// Reads what the widget hands over, with the person's `detail` beside it; `None` when something is wrong with it, which
/// `fields` then know.
pub fn address(fields: &mut Fields) -> Option<Address> {
    let postal_code = postal_code(fields);
    let chosen = chosen(fields);
    let road = full_address(fields, "roadAddress");
    let lot = full_address(fields, "jibunAddress");
    // One lot with several roads, or the other way round: of what the person did not choose there is only a guess.
    let guessed_road = full_address(fields, "autoRoadAddress");
    let guessed_lot = full_address(fields, "autoJibunAddress");
    let english = text(fields, "roadAddressEnglish", MAX_ADDRESS);
    let guessed_english = text(fields, "autoRoadAddressEnglish", MAX_ADDRESS);
    let detail = text(fields, "detail", MAX_DETAIL);
    let building_name = text(fields, "buildingName", MAX_NAME);
    let apartment = yes_or_no(fields, "apartment");
    let sido = text(fields, "sido", MAX_NAME);
    let sigungu = text(fields, "sigungu", MAX_NAME);
    let bname = text(fields, "bname", MAX_NAME);
    let bname1 = text(fields, "bname1", MAX_NAME);
    let road_name = text(fields, "roadname", MAX_NAME);
    let codes = codes(fields);

    let (road, lot) = (road?, lot?);
    let match_quality = match chosen? {
        Some(Chosen::Road) if road.is_none() => return fields.note("roadAddress", MISSING),
        Some(Chosen::Lot) if lot.is_none() => return fields.note("jibunAddress", MISSING),
        None if road.is_none() && lot.is_none() => return fields.note("roadAddress", MISSING),
        Some(Chosen::Road) => MatchQuality::Building,
        Some(Chosen::Lot) => MatchQuality::Lot,
        None if road.is_some() => MatchQuality::Building,
        None => MatchQuality::Lot,
    };
    let road_address = road.or(guessed_road?);
    let (bname, bname1, building_name, apartment) = (bname?, bname1?, building_name?, apartment?);
    // 읍 and 면 stand in the address itself; a dong does not, and it is what stands in brackets.
    let dong = bname.clone().filter(|name| name.ends_with(['동', '로', '가']));
    let flats = building_name.as_deref().filter(|_| apartment == Some(true));
    // 읍 and 면 stand in `bname1` and have villages below; a dong stands in `bname` alone.
    let (eupmyeondong, ri) = if bname1.is_some() { (bname1, bname) } else { (bname, None) };
    Some(Address {
        postal_code: Some(postal_code?),
        extra: extra(dong.as_deref(), flats),
        building_number: road_address.as_deref().and_then(BuildingNumber::at_end_of),
        road_address,
        lot_address: lot.or(guessed_lot?),
        detail: detail?,
        building_name,
        apartment,
        english_address: english?.or(guessed_english?),
        region: Region {
            sido: sido?.map(|name| sido::written_out(&name)),
            sigungu: sigungu?,
            eupmyeondong,
            ri,
            road: road_name?,
        },
        codes: codes?,
        coordinates: None,
        match_quality: Some(match_quality),
    })
}

/// `text` without invisible characters, composed (NFC), with single spaces and none at the ends.
fn unify(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(&visible);
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters that come along with copied text and show nothing (Hangul's fillers pass for letters), or turn the
/// direction of what is shown.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
    )
}

/// Unified text of at most `max` characters; what is blank is left out.
fn text(fields: &mut Fields, name: &'static str, max: usize) -> Option<Option<String>> {
    let Some(text) = fields.text_or_blank(name, JAMO * max)? else { return Some(None) };
    let text = unify(&text);
    match text.chars().count() {
        0 => Some(None),
        length if length > max => fields.note(name, TOO_LONG),
        _ => Some(Some(text)),
    }
}

/// An address with its province's full name.
fn full_address(fields: &mut Fields, name: &'static str) -> Option<Option<String>> {
    let Some(address) = text(fields, name, MAX_ADDRESS)? else { return Some(None) };
    let full = sido::written_out(&address);
    if full.chars().count() > MAX_ADDRESS { fields.note(name, TOO_LONG) } else { Some(Some(full)) }
}

fn postal_code(fields: &mut Fields) -> Option<String> {
    match text(fields, "zonecode", MAX_CODE)? {
        Some(text) => code(&text, 5).or_else(|| fields.note("zonecode", NOT_FIVE_DIGITS)),
        None => fields.note("zonecode", MISSING),
    }
}

/// What the widget says about the choice, where it says so.
fn chosen(fields: &mut Fields) -> Option<Option<Chosen>> {
    match text(fields, "userSelectedType", MAX_CODE)?.as_deref() {
        Some("R") => Some(Some(Chosen::Road)),
        Some("J") => Some(Some(Chosen::Lot)),
        Some(_) => fields.note("userSelectedType", NOT_R_OR_J),
        None => Some(None),
    }
}

fn yes_or_no(fields: &mut Fields, name: &'static str) -> Option<Option<bool>> {
    match text(fields, name, MAX_CODE)?.as_deref() {
        Some("Y") => Some(Some(true)),
        Some("N") => Some(Some(false)),
        Some(_) => fields.note(name, BAD_FORMAT),
        None => Some(None),
    }
}

fn codes(fields: &mut Fields) -> Option<Codes> {
    let exactly = |fields: &mut Fields, name, length| match text(fields, name, MAX_CODE)? {
        Some(text) => code(&text, length).map(Some).or_else(|| fields.note(name, BAD_FORMAT)),
        None => Some(None),
    };
    let legal_dong = exactly(fields, "bcode", 10);
    let sigungu = exactly(fields, "sigunguCode", 5);
    let building = exactly(fields, "buildingCode", 25);
    let road = match text(fields, "roadnameCode", MAX_CODE)? {
        Some(road) if road.len() < 7 || digits(&road).is_none() => fields.note("roadnameCode", BAD_FORMAT),
        road => Some(road),
    };
    let (legal_dong, sigungu) = (legal_dong?, sigungu?);
    if let (Some(dong), Some(sigungu)) = (&legal_dong, &sigungu)
        && !dong.starts_with(sigungu.as_str())
    {
        return fields.note("sigunguCode", NOT_OF_BCODE);
    }
    // Seven digits today; the guide reserves the right to more, and then the two no longer make a code of the register.
    let road = sigungu.as_ref().zip(road?).and_then(|(sigungu, road)| code(&format!("{sigungu}{road}"), 12));
    Some(Codes { legal_dong, administrative_dong: None, sigungu, road, building: building? })
}

#[cfg(test)]
mod tests {
    use ieum::clock::Timestamp;
    use ieum::error::Language;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// What the widget hands over for a building of offices.
    fn offices() -> Value {
        json!({
            "zonecode": "13529", "address": "경기 성남시 분당구 판교역로 166", "addressEnglish": "166, Pangyoyeok-ro, Bundang-gu, Seongnam-si, Gyeonggi-do, Republic of Korea",
            "addressType": "R", "userSelectedType": "R", "noSelected": "N", "userLanguageType": "K",
            "roadAddress": "경기 성남시 분당구 판교역로 166", "jibunAddress": "경기 성남시 분당구 백현동 532",
            "roadAddressEnglish": "166, Pangyoyeok-ro, Bundang-gu, Seongnam-si, Gyeonggi-do, Republic of Korea",
            "autoRoadAddress": "", "autoJibunAddress": "", "buildingCode": "4113511000105320000000001",
            "buildingName": "카카오 판교 아지트", "apartment": "N", "sido": "경기", "sigungu": "성남시 분당구",
            "sigunguCode": "41135", "roadnameCode": "3179025", "bcode": "4113511000", "roadname": "판교역로",
            "bname": "백현동", "bname1": "", "bname2": "백현동", "hname": "", "query": "판교역로 166",
            "postcode": "", "postcode1": "", "postcode2": "", "postcodeSeq": "",
        })
    }

    fn with(mut members: Value, changes: &[(&str, Value)]) -> Value {
        for (name, value) in changes {
            members[*name] = value.clone();
        }
        members
    }

    fn read(members: &Value) -> Result<Address, Vec<(String, String)>> {
        let mut fields = Fields::new(members.as_object().cloned().unwrap_or_default());
        let read = address(&mut fields);
        fields.ignore_rest();
        fields.finish(read).map_err(|error| {
            let response = error.to_response("t", Timestamp::default(), Language::Korean);
            assert_eq!(response.status(), 400);
            let body: Value = serde_json::from_str(response.body()).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let details = body["error"]["details"].as_array().unwrap().iter();
            details.map(|detail| (text(&detail["field"]), text(&detail["issue"]))).collect()
        })
    }

    #[test]
    fn the_widgets_answer_becomes_one_address() {
        let members = with(offices(), &[("detail", json!(" 3층  301호 "))]);
        assert_eq!(
            serde_json::to_value(read(&members).unwrap()).unwrap(),
            json!({
                "postal_code": "13529",
                "road_address": "경기도 성남시 분당구 판교역로 166",
                "lot_address": "경기도 성남시 분당구 백현동 532",
                "extra": "(백현동)",
                "detail": "3층 301호",
                "building_name": "카카오 판교 아지트",
                "apartment": false,
                "english_address": "166, Pangyoyeok-ro, Bundang-gu, Seongnam-si, Gyeonggi-do, Republic of Korea",
                "building_number": {"underground": false, "main": 166, "sub": 0},
                "region": {"sido": "경기도", "sigungu": "성남시 분당구", "eupmyeondong": "백현동", "road": "판교역로"},
                "codes": {"legal_dong": "4113511000", "sigungu": "41135", "road": "411353179025", "building": "4113511000105320000000001"},
                "match_quality": "building",
            })
        );
    }

    #[test]
    fn what_stands_in_brackets_follows_the_kind_of_place() {
        let flats: &[(&str, Value)] = &[("apartment", json!("Y")), ("buildingName", json!("백현마을"))];
        let village: &[(&str, Value)] = &[("bname", json!("상거리")), ("bname1", json!("가남읍"))];
        for (changes, extra) in [(&[][..], Some("(백현동)")), (flats, Some("(백현동, 백현마을)")), (village, None)]
        {
            assert_eq!(read(&with(offices(), changes)).unwrap().extra.as_deref(), extra);
        }
        let region = read(&with(offices(), village)).unwrap().region;
        assert_eq!((region.eupmyeondong.as_deref(), region.ri.as_deref()), (Some("가남읍"), Some("상거리")));
    }

    #[test]
    fn a_guess_stands_for_the_other_address_and_never_for_the_chosen_one() {
        let road = "서울 중구 세종대로 110";
        let lot = [("userSelectedType", json!("J")), ("roadAddress", json!("")), ("autoRoadAddress", json!(road))];
        let address = read(&with(offices(), &lot)).unwrap();
        assert_eq!(address.road_address.as_deref(), Some("서울특별시 중구 세종대로 110"));
        assert_eq!(address.match_quality, Some(MatchQuality::Lot));
        let road_chosen = with(offices(), &[("roadAddress", json!("")), ("autoRoadAddress", json!(road))]);
        assert_eq!(read(&road_chosen), Err(vec![("roadAddress".to_owned(), "missing".to_owned())]));
    }

    #[test]
    fn everything_wrong_is_said_at_once_by_the_widgets_names() {
        let long = "가".repeat(201);
        for (name, value, issue) in [
            ("zonecode", json!("1352"), "not_5_digits"),
            ("zonecode", json!("135-29"), "not_5_digits"),
            ("zonecode", json!("463400"), "not_5_digits"),
            ("zonecode", json!("１３５２９"), "not_5_digits"),
            ("zonecode", json!("٣٣٣٣٣"), "not_5_digits"),
            ("zonecode", json!(""), "missing"),
            ("zonecode", json!(13529), "bad_format"),
            ("userSelectedType", json!("r"), "not_r_or_j"),
            ("roadAddress", json!(""), "missing"),
            ("roadAddress", json!("\u{200b}"), "missing"),
            ("roadAddress", json!(long), "too_long"),
            ("roadAddress", json!("경기\u{0}길"), "bad_format"),
            ("roadAddress", json!({"a": 1}), "bad_format"),
            ("autoJibunAddress", json!(long), "too_long"),
            ("apartment", json!("yes"), "bad_format"),
            ("bcode", json!("411351100"), "bad_format"),
            ("sigunguCode", json!("11110"), "not_of_bcode"),
            ("roadnameCode", json!("317902"), "bad_format"),
            ("buildingCode", json!("41135"), "bad_format"),
            ("detail", json!("a".repeat(101)), "too_long"),
            ("detail", json!("3층\n301호"), "bad_format"),
        ] {
            let told = read(&with(offices(), &[(name, value.clone())]));
            assert_eq!(told, Err(vec![(name.to_owned(), issue.to_owned())]), "{name} {value}");
        }
        let told = read(&with(offices(), &[("zonecode", json!("1")), ("sido", json!(1)), ("bcode", json!("x"))]));
        let names: Vec<String> = told.unwrap_err().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["zonecode", "sido", "bcode"]);
        let missing = |name: &str| (name.to_owned(), "missing".to_owned());
        assert_eq!(read(&json!({})), Err(["zonecode", "roadAddress"].map(missing).to_vec()));
    }

    #[test]
    fn what_the_widget_adds_later_or_leaves_out_is_no_mistake() {
        assert!(read(&with(offices(), &[("somethingNew", json!({"a": [1]}))])).is_ok());
        // A longer code of the road no longer makes one of the register.
        let longer = read(&with(offices(), &[("roadnameCode", json!("31790250"))])).unwrap();
        assert_eq!(longer.codes.road, None);
        let address = read(&json!({"zonecode": "30103", "jibunAddress": "세종 보람동 717"})).unwrap();
        assert_eq!(address.lot_address.as_deref(), Some("세종특별자치시 보람동 717"));
        assert_eq!((address.match_quality, address.codes), (Some(MatchQuality::Lot), Codes::default()));
    }

    #[test]
    fn texts_are_unified() {
        for (given, unified) in [
            ("  서울\u{3000}\u{a0} 중구\t1  ", "서울 중구 1"),
            ("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}", "한글"),
            ("\u{feff}중\u{200b}구\u{202e}", "중구"),
            ("\u{1112}\u{200b}\u{1161}", "하"),
            ("\u{3164}", ""),
            ("", ""),
        ] {
            assert_eq!(unify(given), unified, "{given:?}");
        }
        // Decomposed Hangul of the greatest length is not too long.
        let decomposed = "\u{1112}\u{1161}\u{11ab}".repeat(MAX_DETAIL);
        let address = read(&with(offices(), &[("detail", json!(decomposed))])).unwrap();
        assert_eq!(address.detail, Some("한".repeat(MAX_DETAIL)));
    }

    /// What the widget would hand over for an address in our form.
    fn handed_over(address: &Address) -> Value {
        let Address { region, codes, .. } = address;
        let (bname, bname1) = match &region.ri {
            Some(ri) => (Some(ri), region.eupmyeondong.as_ref()),
            None => (region.eupmyeondong.as_ref(), None),
        };
        json!({
            "zonecode": address.postal_code, "detail": address.detail, "apartment": address.apartment.map(|yes| if yes { "Y" } else { "N" }),
            "userSelectedType": if address.match_quality == Some(MatchQuality::Lot) { "J" } else { "R" },
            "roadAddress": address.road_address, "jibunAddress": address.lot_address,
            "buildingName": address.building_name, "roadAddressEnglish": address.english_address, "sido": region.sido,
            "sigungu": region.sigungu, "roadname": region.road, "bname": bname, "bname1": bname1,
            "bcode": codes.legal_dong, "sigunguCode": codes.sigungu, "buildingCode": codes.building,
            "roadnameCode": codes.road.as_deref().map(|road| &road[5..]),
        })
    }

    /// Texts that a person, a widget or an attacker may send.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,40}",
            "[서울경기 \u{3000}\u{200b}\u{1112}\u{1161}\u{11ab}\u{300}\u{345}<>&\"'\\\\]{0,40}",
            "(서울|경기|전라북도) [가-힣 0-9-]{1,20}",
        ]
    }

    proptest! {
        #[test]
        fn unifying_is_done_at_once(text in hostile()) {
            let once = unify(&text);
            prop_assert_eq!(unify(&once), once);
        }

        #[test]
        fn an_address_in_our_form_stays_as_it_is(texts in prop::collection::vec(hostile(), 11), road: bool, flats: bool) {
            let names = ["roadAddress", "jibunAddress", "autoRoadAddress", "autoJibunAddress", "detail", "buildingName", "sido", "sigungu", "bname", "roadname", "roadAddressEnglish"];
            let mut members = offices();
            for (name, text) in names.iter().zip(texts) {
                members[*name] = json!(text);
            }
            members["userSelectedType"] = json!(if road { "R" } else { "J" });
            members["apartment"] = json!(if flats { "Y" } else { "N" });
            if let Ok(address) = read(&members) {
                prop_assert_eq!(read(&handed_over(&address)), Ok(address));
            }
        }

        #[test]
        fn nothing_sent_panics(members in prop::collection::vec((0..40_usize, prop_oneof![hostile(), ".{0,40}"], 0..5_u8), 0..40)) {
            let names: Vec<String> = offices().as_object().unwrap().keys().cloned().chain(["detail".to_owned()]).collect();
            let mut sent = Map::new();
            for (place, text, kind) in members {
                let value = match kind {
                    0 => json!([text]),
                    1 => json!(place),
                    _ => json!(text),
                };
                sent.insert(names[place % names.len()].clone(), value);
            }
            let _ = read(&Value::Object(sent));
        }
    }
}
