//! What an address is to us: one form, the same whoever it comes from.

use std::ops::RangeInclusive;

use ieum::answers::{Request, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::keyword::{Keyword, Refusal};

/// How far back the pages of any search go, as page times addresses per page: what the register allows.
pub const MAX_DEPTH: u32 = 9_000;

/// From Ieodo to the Military Demarcation Line, with room to spare, in degrees north.
pub const LATITUDES: RangeInclusive<f64> = 32.0..=39.0;

/// From Baengnyeongdo to Dokdo, with room to spare, in degrees east.
pub const LONGITUDES: RangeInclusive<f64> = 124.0..=132.0;

/// A place in South Korea, in WGS84 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// North.
    pub latitude: f64,
    /// East.
    pub longitude: f64,
}

impl Point {
    /// The point, to a centimetre; `None` when it is not in South Korea.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let here = LATITUDES.contains(&latitude) && LONGITUDES.contains(&longitude);
        let rounded = |degrees: f64| (degrees * 1e7).round() / 1e7;
        here.then(|| Self { latitude: rounded(latitude), longitude: rounded(longitude) })
    }

    /// The same to a metre: who asks for the address of a place does not know it any better.
    pub fn to_a_metre(self) -> Self {
        let rounded = |degrees: f64| (degrees * 1e5).round() / 1e5;
        Self { latitude: rounded(self.latitude), longitude: rounded(self.longitude) }
    }
}

/// Asks for the address there.
impl Request for Point {
    /// To a kilometre: where exactly somebody stood is personal.
    fn readable(&self) -> String {
        format!("address at {:.2} {:.2}", self.latitude, self.longitude)
    }
}

/// The answer to [`Point`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressThere {
    /// The address; `None` when there is none.
    pub address: Option<Address>,
}

impl Response for AddressThere {
    fn is_known(&self) -> bool {
        self.address.is_some()
    }
}

/// How exactly an address was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchQuality {
    /// A building by its road and number.
    Building,
    /// A lot of land.
    Lot,
    /// A road, without a number.
    Road,
    /// A district.
    Region,
}

/// Codes of the administration, digits only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codes {
    /// 법정동코드, 10 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_dong: Option<String>,
    /// 행정동코드, 10 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrative_dong: Option<String>,
    /// 시군구코드, 5 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigungu: Option<String>,
    /// 도로명코드 with its 시군구코드, 12 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub road: Option<String>,
    /// 건물관리번호, 25 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<String>,
}

/// The parts of an address by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// 시·도, its full present name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sido: Option<String>,
    /// 시·군·구.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigungu: Option<String>,
    /// 읍·면·동.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eupmyeondong: Option<String>,
    /// 리.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ri: Option<String>,
    /// The road.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub road: Option<String>,
}

/// The number of a building on its road.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildingNumber {
    /// Whether it lies below ground.
    pub underground: bool,
    /// 건물본번.
    pub main: u32,
    /// 건물부번; 0 for none.
    pub sub: u32,
}

impl BuildingNumber {
    /// Reads the number at the end of a road address without its extra: `… 세종대로 지하 110-3`.
    pub fn at_end_of(road_address: &str) -> Option<Self> {
        let (before, number) = road_address.trim().rsplit_once(' ')?;
        let (glued, number) = number.strip_prefix("지하").map_or((false, number), |number| (true, number));
        let underground = glued || before.ends_with(" 지하");
        let (main, sub) = number.split_once('-').unwrap_or((number, "0"));
        Some(Self { underground, main: digits(main)?.parse().ok()?, sub: digits(sub)?.parse().ok()? })
    }
}

/// An address. What its source does not know is left out, never made up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// 우편번호, five digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// 도로명주소, from the full name of the province to the building's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub road_address: Option<String>,
    /// 지번주소.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot_address: Option<String>,
    /// 참고항목: `(역삼동, 강남파이낸스센터)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<String>,
    /// Floor and room, from the person and nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The building's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building_name: Option<String>,
    /// Whether it is an apartment house (공동주택).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apartment: Option<bool>,
    /// The road address in English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub english_address: Option<String>,
    /// The number on the road.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building_number: Option<BuildingNumber>,
    /// The parts by name.
    pub region: Region,
    /// Codes of the administration.
    pub codes: Codes,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Point>,
    /// How exactly it was met; absent when its source does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_quality: Option<MatchQuality>,
}

/// Pages of Kakao Map for an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Links {
    /// The place on the map.
    pub map: String,
    /// The way there.
    pub directions: String,
}

/// What stays as it is in a link: the name may hold a comma, which parts it from the coordinates.
const IN_A_LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

impl Address {
    /// Links to Kakao Map, latitude first; `None` without coordinates.
    ///
    /// Source: <https://apis.map.kakao.com/web/guide/#urlscheme>.
    pub fn links(&self) -> Option<Links> {
        let Point { latitude, longitude } = self.coordinates?;
        let name = [&self.building_name, &self.road_address, &self.lot_address].into_iter().flatten().next()?;
        let name = utf8_percent_encode(name, IN_A_LINK);
        let link = |kind: &str| format!("https://map.kakao.com/link/{kind}/{name},{latitude},{longitude}");
        Some(Links { map: link("map"), directions: link("to") })
    }

    /// What it takes to find this address on the map, if it takes anything and all of it is known.
    pub fn site(&self) -> Option<Site> {
        if self.coordinates.is_some() {
            return None;
        }
        Some(Site {
            legal_dong: self.codes.legal_dong.clone()?,
            road: self.codes.road.clone()?,
            number: self.building_number?,
            road_address: self.road_address.clone()?,
        })
    }

    /// Whether both are the same building; of lots and roads, the same words.
    fn is_same_as(&self, other: &Self) -> bool {
        match (&self.codes.building, &other.codes.building) {
            (Some(one), Some(other)) => one == other,
            (Some(_), None) | (None, Some(_)) | (None, None) => {
                let words = |address: &Self| (address.road_address.clone(), address.lot_address.clone());
                words(self) == words(other)
            }
        }
    }
}

/// Which addresses does this keyword find?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressQuery {
    /// What is searched for.
    pub keyword: Keyword,
    /// The page, from 1.
    pub page: u32,
    /// Addresses per page.
    pub size: u32,
}

impl Request for AddressQuery {
    fn readable(&self) -> String {
        format!("addresses of {} page {} size {}", self.keyword.as_str(), self.page, self.size)
    }
}

/// The answer to [`AddressQuery`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddressPage {
    /// The addresses of this page.
    pub addresses: Vec<Address>,
    /// How many there are in all.
    pub total: u64,
    /// Why nothing was searched for, in place of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

impl AddressPage {
    /// A page of addresses, each once.
    pub fn of(addresses: impl IntoIterator<Item = Address>, total: u64) -> Self {
        let mut different: Vec<Address> = Vec::new();
        for address in addresses {
            if !different.iter().any(|known| known.is_same_as(&address)) {
                different.push(address);
            }
        }
        Self { addresses: different, total, refused: None }
    }

    /// No page, because the provider wants another keyword.
    pub fn refused(refusal: Refusal) -> Self {
        Self { refused: Some(refusal), ..Self::default() }
    }
}

impl Response for AddressPage {
    fn is_known(&self) -> bool {
        !self.addresses.is_empty()
    }
}

/// Where is this building?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// 법정동코드.
    pub legal_dong: String,
    /// 도로명코드, 12 digits.
    pub road: String,
    /// The number on the road.
    pub number: BuildingNumber,
    /// The same in words.
    pub road_address: String,
}

impl Request for Site {
    fn readable(&self) -> String {
        format!("site of {}", self.road_address)
    }
}

/// The answer to [`Site`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Located {
    /// The place; `None` when the provider does not know it.
    pub point: Option<Point>,
}

impl Response for Located {
    fn is_known(&self) -> bool {
        self.point.is_some()
    }
}

/// 참고항목, as it is written on letters: `(역삼동, 강남파이낸스센터)`.
pub fn extra(dong: Option<&str>, building: Option<&str>) -> Option<String> {
    let parts: Vec<&str> = [dong, building].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("({})", parts.join(", ")))
}

/// `text` if it is ASCII digits and nothing else.
pub fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// `text` if it is exactly `length` ASCII digits.
pub fn code(text: &str, length: usize) -> Option<String> {
    digits(text).filter(|digits| digits.len() == length).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn building(code: Option<&str>, road: &str) -> Address {
        let codes = Codes { building: code.map(str::to_owned), ..Codes::default() };
        Address { road_address: Some(road.to_owned()), codes, ..Address::default() }
    }

    #[test]
    fn a_link_names_the_place_latitude_first_and_its_commas_part_nothing() {
        let address = Address {
            coordinates: Point::new(37.5733, 126.9881),
            building_name: Some("낙원 상가, 본관".to_owned()),
            ..Address::default()
        };
        let links = address.links().unwrap();
        let name = "%EB%82%99%EC%9B%90%20%EC%83%81%EA%B0%80%2C%20%EB%B3%B8%EA%B4%80";
        assert_eq!(links.map, format!("https://map.kakao.com/link/map/{name},37.5733,126.9881"));
        assert_eq!(links.directions, format!("https://map.kakao.com/link/to/{name},37.5733,126.9881"));
        assert_eq!(Address { coordinates: None, ..address }.links(), None);
    }

    #[test]
    fn the_same_building_is_told_once() {
        let page = AddressPage::of(
            [
                building(Some("1"), "a"),
                building(Some("1"), "b"),
                building(Some("2"), "a"),
                building(None, "a"),
                building(None, "c"),
            ],
            5,
        );
        let roads: Vec<_> = page.addresses.iter().filter_map(|address| address.road_address.as_deref()).collect();
        assert_eq!(roads, ["a", "a", "c"]);
    }

    #[test]
    fn a_building_number_is_read_from_the_end() {
        let read = |text| BuildingNumber::at_end_of(text).map(|number| (number.underground, number.main, number.sub));
        assert_eq!(read("서울특별시 중구 세종대로 110"), Some((false, 110, 0)));
        assert_eq!(read("서울특별시 중구 세종대로 110-3"), Some((false, 110, 3)));
        assert_eq!(read("서울특별시 중구 세종대로 지하 2"), Some((true, 2, 0)));
        assert_eq!(read("서울특별시 중구 세종대로 지하2"), Some((true, 2, 0)));
        for text in ["", "110", "세종대로", "세종대로 -1", "세종대로 1-", "세종대로 +1", "세종대로 99999999999"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}", tail in "(지하 ?)?[0-9-]{0,14}") {
            let _ = BuildingNumber::at_end_of(&text);
            let _ = BuildingNumber::at_end_of(&format!("{text} {tail}"));
            let _ = code(&text, 5);
        }
    }
}
