//! The buildings that all address fakes agree on, so that Juso and Kakao tell one story about a road and a number.
//!
//! A few are fixed and stand for real ones or for a case of their own; a finite list along one made-up road is there to be
//! paged through. Codes are well-formed and invented where nothing hangs on them. The places of the fixed ones are given
//! twice, in UTM-K and in WGS84, so that no fake has to convert one into the other.

use std::sync::LazyLock;

/// How many buildings the made-up road has.
const ON_THE_ROAD: u32 = 250;

/// A building with all that any of the fakes tells about it.
#[derive(Debug, Clone)]
pub(crate) struct Building {
    pub(crate) zip: String,
    /// Full, short, English.
    pub(crate) sido: [&'static str; 3],
    pub(crate) sigungu: &'static str,
    /// 읍, 면 or 동.
    pub(crate) dong: &'static str,
    /// 리, or nothing.
    pub(crate) ri: &'static str,
    pub(crate) lot: (u32, u32),
    pub(crate) road: &'static str,
    pub(crate) number: (u32, u32),
    pub(crate) name: &'static str,
    pub(crate) apartment: bool,
    /// Road, sigungu in English.
    pub(crate) english: (&'static str, &'static str),
    /// 법정동코드, 행정동코드, 도로명코드 (12 digits).
    pub(crate) codes: [&'static str; 3],
    /// Easting and northing, EPSG:5179.
    pub(crate) utm_k: (f64, f64),
    /// Longitude and latitude.
    pub(crate) wgs84: (f64, f64),
}

impl Building {
    pub(crate) fn number_text(&self) -> String {
        dashed(self.number)
    }

    pub(crate) fn lot_text(&self) -> String {
        dashed(self.lot)
    }

    /// `서울특별시 중구 세종대로 110`, with the province as given.
    pub(crate) fn road_address(&self, sido: &str) -> String {
        let town = if self.ri.is_empty() { "" } else { self.dong };
        joined(&[sido, self.sigungu, town, self.road, &self.number_text()])
    }

    /// `서울특별시 중구 태평로1가 31`, without the building's name.
    pub(crate) fn lot_address(&self, sido: &str) -> String {
        joined(&[sido, self.sigungu, self.dong, self.ri, &self.lot_text()])
    }

    pub(crate) fn english_address(&self) -> String {
        format!("{} {}, {}, {}", self.number_text(), self.english.0, self.english.1, self.sido[2])
    }

    /// 건물관리번호, 25 digits.
    pub(crate) fn code(&self) -> String {
        format!("{}1{:04}{:04}{:06}", self.codes[0], self.lot.0, self.lot.1, 1)
    }

    /// Whether each word of `keyword` stands somewhere in what is known of the building.
    fn is_found_by(&self, keyword: &str) -> bool {
        let known = [
            self.road_address(self.sido[0]),
            self.lot_address(self.sido[0]),
            self.sido[1].to_owned(),
            self.name.to_owned(),
            self.english_address(),
        ];
        let known = format!(" {} ", known.join(" ")).replace(',', " ").to_lowercase();
        keyword.to_lowercase().split_whitespace().all(|word| {
            // A number is whole or not there at all: 11 does not find 110.
            let is_number = word.starts_with(|c: char| c.is_ascii_digit());
            if is_number { known.contains(&format!(" {word} ")) } else { known.contains(word) }
        })
    }
}

/// Finds the buildings for a keyword.
pub(crate) fn search(keyword: &str) -> Vec<&'static Building> {
    static BUILDINGS: LazyLock<Vec<Building>> = LazyLock::new(all);
    BUILDINGS.iter().filter(|building| building.is_found_by(keyword)).collect()
}

/// The building of this road code and number.
pub(crate) fn at(road_code: &str, number: (u32, u32)) -> Option<&'static Building> {
    search("").into_iter().find(|building| building.codes[2] == road_code && building.number == number)
}

/// The building at this place, to about thirty metres; longitude first.
pub(crate) fn near(x: f64, y: f64) -> Option<&'static Building> {
    let close = |one: f64, other: f64| (one - other).abs() < 0.000_3;
    search("").into_iter().find(|building| close(building.wgs84.0, x) && close(building.wgs84.1, y))
}

fn dashed((main, sub): (u32, u32)) -> String {
    if sub == 0 { main.to_string() } else { format!("{main}-{sub}") }
}

fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

fn all() -> Vec<Building> {
    const SEOUL: [&str; 3] = ["서울특별시", "서울", "Seoul"];
    let city_hall = Building {
        zip: "04524".to_owned(),
        sido: SEOUL,
        sigungu: "중구",
        dong: "태평로1가",
        ri: "",
        lot: (31, 0),
        road: "세종대로",
        number: (110, 0),
        name: "서울특별시청",
        apartment: false,
        english: ("Sejong-daero", "Jung-gu"),
        codes: ["1114010300", "1114055000", "111402005001"],
        utm_k: (953_901.0, 1_952_032.0),
        wgs84: (126.977_998_133, 37.566_499_262),
    };
    let arcade = Building {
        zip: "03140".to_owned(),
        sigungu: "종로구",
        dong: "낙원동",
        lot: (288, 0),
        road: "삼일대로",
        number: (428, 0),
        name: "낙원상가",
        english: ("Samil-daero", "Jongno-gu"),
        codes: ["1111013800", "1111061500", "111102005002"],
        utm_k: (954_797.232_026, 1_952_781.601_050),
        wgs84: (126.9881, 37.5733),
        ..city_hall.clone()
    };
    let flats = Building {
        zip: "24266".to_owned(),
        sido: ["강원특별자치도", "강원특별자치도", "Gangwon-do"],
        sigungu: "춘천시",
        dong: "샘플동",
        lot: (12, 3),
        road: "샘플로",
        number: (10, 0),
        name: "샘플아파트",
        apartment: true,
        english: ("Sample-ro", "Chuncheon-si"),
        codes: ["5111099900", "5111099000", "511102005003"],
        utm_k: (1_020_225.904_125, 1_986_855.048_683),
        wgs84: (127.73, 37.8813),
        ..city_hall.clone()
    };
    let village = Building {
        zip: "12454".to_owned(),
        sido: ["경기도", "경기", "Gyeonggi-do"],
        sigungu: "가평군",
        dong: "청평면",
        ri: "샘플리",
        lot: (7, 0),
        road: "샘플리길",
        number: (7, 1),
        name: "",
        english: ("Sampleri-gil", "Gapyeong-gun"),
        codes: ["4182032521", "4182032500", "418202005004"],
        utm_k: (992_836.824_132, 1_971_011.977_817),
        wgs84: (127.4187, 37.7387),
        ..city_hall.clone()
    };
    let of_the_road = (1..=ON_THE_ROAD).map(|number| Building {
        zip: "04999".to_owned(),
        dong: "가나다동",
        lot: (1_000 + number, 0),
        road: "가나다로",
        number: (number, 0),
        name: "",
        english: ("Ganada-ro", "Jung-gu"),
        codes: ["1114099900", "1114099000", "111402005005"],
        ..city_hall.clone()
    });
    [city_hall.clone(), arcade, flats, village].into_iter().chain(of_the_road).collect()
}
