//! The seventeen provinces and cities of the first level (시도), and their many names.
//!
//! Daum and Kakao shorten them, the register writes them out, and two have been renamed since 2023. We tell the full,
//! present name.

/// Each full name with the others that mean the same.
const SIDO: [(&str, &[&str]); 17] = [
    ("서울특별시", &["서울", "서울시"]),
    ("부산광역시", &["부산", "부산시"]),
    ("대구광역시", &["대구", "대구시"]),
    ("인천광역시", &["인천", "인천시"]),
    ("광주광역시", &["광주"]),
    ("대전광역시", &["대전", "대전시"]),
    ("울산광역시", &["울산", "울산시"]),
    ("세종특별자치시", &["세종", "세종시"]),
    ("경기도", &["경기"]),
    ("강원특별자치도", &["강원", "강원도"]),
    ("충청북도", &["충북"]),
    ("충청남도", &["충남"]),
    ("전북특별자치도", &["전북", "전라북도"]),
    ("전라남도", &["전남"]),
    ("경상북도", &["경북"]),
    ("경상남도", &["경남"]),
    ("제주특별자치도", &["제주", "제주도"]),
];

/// The full name of `name`, if that is a name of the first level.
pub fn full_name(name: &str) -> Option<&'static str> {
    SIDO.iter().find(|(full, others)| *full == name || others.contains(&name)).map(|(full, _)| *full)
}

/// `address` with its first word written out, where that is a name of the first level.
pub fn written_out(address: &str) -> String {
    let first = address.split(' ').next().unwrap_or_default();
    match full_name(first) {
        Some(full) => format!("{full}{}", &address[first.len()..]),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_and_former_names_become_the_present_full_one() {
        for (given, expected) in [
            ("서울 중구 세종대로 110", "서울특별시 중구 세종대로 110"),
            ("강원도 춘천시 중앙로 1", "강원특별자치도 춘천시 중앙로 1"),
            ("전라북도", "전북특별자치도"),
            ("경기 광주시 행정타운로 50", "경기도 광주시 행정타운로 50"),
            ("세종특별자치시 한누리대로 2130", "세종특별자치시 한누리대로 2130"),
            ("광주시 행정타운로 50", "광주시 행정타운로 50"),
            ("", ""),
        ] {
            assert_eq!(written_out(given), expected);
        }
    }

    proptest! {
        #[test]
        fn writing_out_twice_changes_nothing_more(text in "(서울|경기|강원도|[가-힣 ]{0,6}) ?.{0,12}") {
            let once = written_out(&text);
            prop_assert_eq!(written_out(&once), once);
        }
    }
}
