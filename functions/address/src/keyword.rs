//! What people type to find an address, in one canonical form: the same search must be one call and one cache entry.
//!
//! The form is NFC, lower case, single spaces; full-width letters become ordinary ones, the characters and words that the
//! register refuses are left out, a road or lot and its number are parted, and floor and room are put aside, because no
//! provider knows them. What no provider could answer is refused here, with advice on what to type. The limits are those
//! of the register (E0005 to E0013); one set for all providers keeps an answer from depending on who gives it.

use icu_normalizer::ComposingNormalizerBorrowed;
use ieum::error::{Issue, issue};
use serde::{Deserialize, Serialize};

use crate::sido;

/// The longest keyword: 40 Korean or 80 other characters.
const MAX_WEIGHT: usize = 80;

/// The longest number in a keyword, in digits.
const MAX_DIGITS: usize = 10;

/// Longer text than this is not even looked at, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// Words of SQL, which the register refuses wherever they stand alone (E0013).
const REFUSED_WORDS: [&str; 12] =
    ["or", "select", "insert", "delete", "update", "create", "drop", "exec", "union", "fetch", "declare", "truncate"];

/// Why a search cannot be answered, whoever finds out: we or the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is nothing to search for.
    Empty,
    /// One letter.
    TooShort,
    /// More than fits.
    TooLong,
    /// Digits and signs only.
    NoLetters,
    /// A number longer than any in an address.
    LongNumber,
    /// The name of a whole province.
    TooBroad,
    /// Words or signs that cannot be searched for.
    NotSearchable,
    /// A page further back than providers go.
    TooDeep,
}

impl Refusal {
    /// The field at fault and what to do about it.
    pub fn advice(self) -> (&'static str, Issue) {
        match self {
            Self::Empty => ("query", EMPTY),
            Self::TooShort => ("query", TOO_SHORT),
            Self::TooLong => ("query", TOO_LONG),
            Self::NoLetters => ("query", NO_LETTERS),
            Self::LongNumber => ("query", LONG_NUMBER),
            Self::TooBroad => ("query", TOO_BROAD),
            Self::NotSearchable => ("query", NOT_SEARCHABLE),
            Self::TooDeep => ("page", TOO_DEEP),
        }
    }
}

const EMPTY: Issue = issue(
    "query_empty",
    "도로명, 지번 또는 건물명을 입력해 주세요. (예: 세종대로 110, 역삼동 737, 낙원상가)",
    "Please type a road, lot or building, for example Sejong-daero 110.",
);
const TOO_SHORT: Issue = issue(
    "query_too_short",
    "두 글자 이상 입력해 주세요. (예: 세종대로 110, 역삼동 737, 낙원상가)",
    "Please type at least two letters, for example Sejong-daero 110.",
);
const TOO_LONG: Issue = issue(
    "query_too_long",
    "검색어는 한글 40자, 영문·숫자 80자까지입니다. 도로명과 건물번호만 입력해 주세요. (예: 세종대로 110)",
    "At most 40 Korean or 80 other letters. Please type only road and number, for example Sejong-daero 110.",
);
const NO_LETTERS: Issue = issue(
    "query_without_letters",
    "숫자만으로는 찾을 수 없습니다. 도로명이나 동 이름을 함께 입력해 주세요. (예: 세종대로 110)",
    "Digits alone cannot be searched for. Please add the road, for example Sejong-daero 110.",
);
const LONG_NUMBER: Issue = issue(
    "query_number_too_long",
    "10자리가 넘는 숫자는 검색할 수 없습니다. 도로명과 건물번호를 입력해 주세요. (예: 세종대로 110)",
    "Numbers of more than 10 digits cannot be searched for. Please type road and number.",
);
const TOO_BROAD: Issue = issue(
    "query_too_broad",
    "시·도 이름만으로는 찾을 수 없습니다. 도로명이나 동 이름을 더 입력해 주세요. (예: 서울 세종대로 110)",
    "A province alone is too much. Please add a road or district, for example Seoul Sejong-daero 110.",
);
const NOT_SEARCHABLE: Issue = issue(
    "query_not_searchable",
    "검색할 수 없는 단어나 기호가 있습니다. 도로명, 지번 또는 건물명만 입력해 주세요. (예: 세종대로 110)",
    "Some word or sign in it cannot be searched for. Please type only a road, lot or building.",
);
const TOO_DEEP: Issue = issue(
    "page_too_deep",
    "결과는 9,000건까지만 볼 수 있습니다. 검색어를 더 자세히 입력해 주세요.",
    "Only the first 9,000 results can be seen. Please type more of the address.",
);

/// A keyword in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Keyword(String);

impl Keyword {
    /// Reads what a person typed; floor and room come apart, as the person wrote them.
    ///
    /// # Errors
    /// Why it cannot be searched for.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), Refusal> {
        if text.len() > MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        let plain = plain(text);
        let mut words: Vec<&str> = plain.split_whitespace().filter(|word| !is_refused(word)).collect();
        let known = words.iter().rposition(|word| !is_detail(word)).map_or(words.len(), |last| last + 1);
        let detail = words.split_off(known).join(" ");
        let keyword = words.into_iter().map(parted).collect::<Vec<_>>().join(" ");
        match refusal(&keyword, !plain.trim().is_empty()) {
            Some(refusal) => Err(refusal),
            None => Ok((Self(keyword), (!detail.is_empty()).then_some(detail))),
        }
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is anything Korean in it.
    pub fn is_korean(&self) -> bool {
        self.0.chars().any(is_korean)
    }
}

fn plain(text: &str) -> String {
    let folded: String =
        text.chars()
            .map(|c| match c {
                '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(' '),
                _ => c,
            })
            .map(|c| {
                if c.is_control() || matches!(c, '%' | '=' | '>' | '<' | '[' | ']' | ',' | '(' | ')') { ' ' } else { c }
            })
            .collect();
    ComposingNormalizerBorrowed::new_nfc().normalize(&folded.to_lowercase()).into_owned()
}

fn is_refused(word: &str) -> bool {
    REFUSED_WORDS.contains(&word.trim_matches(|c: char| !c.is_alphanumeric()))
}

/// `5층`, `지하1층`, `101동`, `500호`: what comes after an address and is in no register.
fn is_detail(word: &str) -> bool {
    let number = ["층", "동", "호", "호실"].iter().find_map(|unit| word.strip_suffix(unit));
    let number = number.map(|number| number.strip_prefix("지하").unwrap_or(number));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `세종대로110` as `세종대로 110`; `테헤란로1길` stays one word.
fn parted(word: &str) -> String {
    let name = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let number = &word[name.len()..];
    let before = name.chars().rev().nth(1).is_some_and(is_korean);
    let ends_a_name = ["로", "길", "동", "리", "가"].iter().any(|end| name.ends_with(end));
    if before && ends_a_name && number.starts_with(|c: char| c.is_ascii_digit()) {
        format!("{name} {number}")
    } else {
        word.to_owned()
    }
}

fn refusal(keyword: &str, had_text: bool) -> Option<Refusal> {
    let letters = keyword.chars().filter(|c| c.is_alphanumeric()).count();
    let weight: usize = keyword.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let digits = keyword.split(|c: char| !c.is_numeric()).map(|run| run.chars().count()).max().unwrap_or_default();
    match letters {
        0 if had_text && keyword.is_empty() => Some(Refusal::NotSearchable),
        0 if keyword.is_empty() => Some(Refusal::Empty),
        _ if !keyword.chars().any(char::is_alphabetic) => Some(Refusal::NoLetters),
        1 => Some(Refusal::TooShort),
        _ if weight > MAX_WEIGHT => Some(Refusal::TooLong),
        _ if digits > MAX_DIGITS => Some(Refusal::LongNumber),
        _ if keyword.split(' ').all(|word| sido::full_name(word).is_some()) => Some(Refusal::TooBroad),
        _ => None,
    }
}

fn is_korean(c: char) -> bool {
    matches!(c, '가'..='힣' | 'ㄱ'..='ㆎ' | '\u{1100}'..='\u{11ff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, Refusal> {
        Keyword::parse(text).map(|(keyword, _)| keyword.as_str().to_owned())
    }

    #[test]
    fn forms_that_mean_the_same_search_are_the_same_keyword() {
        for (given, expected) in [
            ("세종대로 110", "세종대로 110"),
            ("  세종대로\t\u{3000}110 ", "세종대로 110"),
            ("세종대로110", "세종대로 110"),
            ("세종대로110-3", "세종대로 110-3"),
            ("세종대로 １１０", "세종대로 110"),
            ("역삼동737", "역삼동 737"),
            // As some systems hand over Korean: letter by letter.
            ("\u{1109}\u{1166}\u{110c}\u{1169}\u{11bc}\u{1103}\u{1162}\u{1105}\u{1169} 110", "세종대로 110"),
            ("152 TEHERAN-RO", "152 teheran-ro"),
            ("테헤란로1길 10", "테헤란로1길 10"),
            ("종로3가", "종로3가"),
            ("역삼1동", "역삼1동"),
            ("세종대로 110 (태평로1가, 서울특별시청)", "세종대로 110 태평로1가 서울특별시청"),
        ] {
            assert_eq!(parsed(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn floor_and_room_are_put_aside() {
        let (keyword, detail) = Keyword::parse("서울 종로구 삼일대로 428 낙원상가 5층 500호").unwrap();
        assert_eq!((keyword.as_str(), detail.as_deref()), ("서울 종로구 삼일대로 428 낙원상가", Some("5층 500호")));
        let (keyword, detail) = Keyword::parse("샘플로 10 101동 1203호").unwrap();
        assert_eq!((keyword.as_str(), detail.as_deref()), ("샘플로 10", Some("101동 1203호")));
        assert_eq!(Keyword::parse("5층").map(|(keyword, _)| keyword.0).as_deref(), Ok("5층"), "there is nothing else");
    }

    #[test]
    fn what_the_register_forbids_is_left_out() {
        for given in
            ["세종대로 %110", "<세종대로>=[110]", "세종대로 110 OR", "select 세종대로 110", "'Union' 세종대로 110"]
        {
            assert_eq!(parsed(given).as_deref(), Ok("세종대로 110"), "{given}");
        }
        assert_eq!(parsed("union-ro 3").as_deref(), Ok("union-ro 3"), "part of a name is not the word");
    }

    #[test]
    fn what_nobody_could_answer_is_refused_with_advice() {
        for (given, refusal) in [
            ("", Refusal::Empty),
            (" \n", Refusal::Empty),
            ("%", Refusal::Empty),
            ("drop", Refusal::NotSearchable),
            ("가", Refusal::TooShort),
            ("a", Refusal::TooShort),
            ("!", Refusal::NoLetters),
            ("06236", Refusal::NoLetters),
            ("12-3", Refusal::NoLetters),
            ("세종대로 12345678901", Refusal::LongNumber),
            ("서울특별시", Refusal::TooBroad),
            ("경기", Refusal::TooBroad),
        ] {
            assert_eq!(parsed(given), Err(refusal), "{given:?}");
        }
        assert_eq!(parsed(&"가".repeat(40)), Ok("가".repeat(40)));
        assert_eq!(parsed(&"가".repeat(41)), Err(Refusal::TooLong));
        assert_eq!(parsed(&"a".repeat(80)), Ok("a".repeat(80)));
        for length in [81, 1_000, 1_000_000] {
            assert_eq!(parsed(&"a".repeat(length)), Err(Refusal::TooLong));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic_and_a_keyword_is_its_own_canonical_form(
            text in prop_oneof![".{0,60}", "[가-힣0-9 로길동리가층호,%<or-]{0,40}", "\\PC{0,30}[\u{1100}-\u{11ff}A-Z ]{0,20}"],
        ) {
            if let Ok((keyword, detail)) = Keyword::parse(&text) {
                prop_assert_eq!(Keyword::parse(keyword.as_str()), Ok((keyword.clone(), None)), "{:?} {:?}", text, detail);
                prop_assert!(!keyword.as_str().contains(['%', '=', '<', '>', '[', ']', '\n']));
                prop_assert!(keyword.as_str().trim() == keyword.as_str() && !keyword.as_str().contains("  "));
            }
        }
    }
}
