//! Phone numbers: what people type, as E.164, if a text can reach it.
//!
//! libphonenumber's data decides what a number is. Above it stands one rule of our own, because the data lets Korean
//! numbers through that nobody has: a Korean mobile is 010 and exactly eight digits, or one of the old prefixes 011, 016,
//! 017, 018 and 019 with seven or eight. Landlines, internet telephony and service numbers receive no texts, and sending
//! to them costs money, so they are refused here, before anybody is asked.
//!
//! The data of all countries takes tens of milliseconds to read, a hundred times what else a start takes. The entry of Korea
//! stands beside this file as well, and is all that is read until a number is from elsewhere.

use std::fmt;
use std::sync::LazyLock;

use ieum::error::{Issue, issue};
use phonenumber::metadata::{DATABASE, Database};
use phonenumber::{ParseError, Type, country};
use serde::{Deserialize, Serialize};

/// The longest text that is looked at; E.164 has at most fifteen digits.
const MAX_CHARACTERS: usize = 40;

/// The text is no phone number anywhere.
pub const NOT_A_NUMBER: Issue =
    issue("not_a_phone_number", "올바른 전화번호가 아닙니다.", "This is not a valid phone number.");
/// The number is one that receives no texts.
pub const NOT_A_MOBILE: Issue = issue(
    "not_a_mobile_number",
    "문자를 받을 수 있는 휴대전화 번호가 아닙니다.",
    "This is not a mobile number that receives texts.",
);

/// Whether texts can be said to come from `text`: digits, with `+` before those of a country. Short and service numbers
/// are among them, so this is not for libphonenumber to judge.
pub fn is_sender(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (4..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number that texts can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PhoneNumber {
    e164: String,
    country: country::Id,
}

/// What libphonenumber's data says of a text.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    e164: String,
    country: country::Id,
    kind: Type,
}

/// Korea's entry alone; `None` if it could not be read, which a test rules out.
static KOREA: LazyLock<Option<Database>> = LazyLock::new(|| Database::parse(include_str!("korea.xml")).ok());

/// Judges `text` as somebody in Korea would have typed it; `None` when it is no valid number.
fn judge(text: &str) -> Option<Verdict> {
    let text: String = text.chars().map(half_width).collect();
    match KOREA.as_ref().map(|korea| (korea, phonenumber::parse_with(korea, Some(country::KR), &text))) {
        Some((korea, Ok(number))) => Verdict::of(&number, korea, || Some(country::KR)),
        // The number begins with the code of another country, if of any.
        None | Some((_, Err(ParseError::InvalidCountryCode))) => judge_worldwide(&text),
        Some((_, Err(_))) => None,
    }
}

/// Judges `text` by the data of all countries.
fn judge_worldwide(text: &str) -> Option<Verdict> {
    let number = phonenumber::parse(Some(country::KR), text).ok()?;
    Verdict::of(&number, &DATABASE, || number.country().id())
}

/// Digits and signs as Korean keyboards also write them, in their usual width.
fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => u32::from(c).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(c),
        other => other,
    }
}

impl Verdict {
    /// What `data` says of `number`, which is one of the country that `country` tells; `None` when it is not valid.
    fn of(
        number: &phonenumber::PhoneNumber,
        data: &Database,
        country: impl FnOnce() -> Option<country::Id>,
    ) -> Option<Self> {
        if !phonenumber::is_valid_with(data, number) {
            return None;
        }
        // Not by the library's formatter, which reads the data of all countries whatever it is given.
        let e164 = format!("+{}{}", number.code().value(), number.national());
        Some(Self { e164, country: country()?, kind: number.number_type(data) })
    }

    /// Whether a text can arrive: in some countries nobody can tell a mobile from a landline by its number.
    fn is_mobile(&self) -> bool {
        if self.country == country::KR {
            self.kind == Type::Mobile && is_korean_mobile(&self.e164)
        } else {
            matches!(self.kind, Type::Mobile | Type::FixedLineOrMobile)
        }
    }
}

/// The rule of our own: see the head of this file.
fn is_korean_mobile(e164: &str) -> bool {
    let Some(national) = e164.strip_prefix("+82") else { return false };
    match national.split_at_checked(2) {
        Some(("10", rest)) => rest.len() == 8,
        Some(("11" | "16" | "17" | "18" | "19", rest)) => matches!(rest.len(), 7 | 8),
        _ => false,
    }
}

impl PhoneNumber {
    /// Reads a number as people write it, in Korea without the country.
    ///
    /// # Errors
    /// [`NOT_A_NUMBER`], or [`NOT_A_MOBILE`] where no text would arrive.
    pub fn parse(text: &str) -> Result<Self, Issue> {
        if text.chars().count() > MAX_CHARACTERS {
            return Err(NOT_A_NUMBER);
        }
        let verdict = judge(text).ok_or(NOT_A_NUMBER)?;
        if !verdict.is_mobile() {
            return Err(NOT_A_MOBILE);
        }
        Ok(Self { e164: verdict.e164, country: verdict.country })
    }

    /// Reads the numbers' data, so that no request has to wait for it: that of all countries, which takes a while, only when
    /// there are others than Korea among `countries`.
    pub fn warm_up(countries: &[String]) {
        let _ = judge("010-0000-0000");
        if countries.iter().any(|country| country != "KR") {
            let _ = judge_worldwide("+81 90-1234-5678");
        }
    }

    /// The number in E.164: `+821012345678`.
    pub fn as_str(&self) -> &str {
        &self.e164
    }

    /// Its country, in two letters (ISO 3166-1).
    pub fn country(&self) -> &str {
        self.country.as_ref()
    }

    /// Whether it is a Korean one.
    pub fn is_korean(&self) -> bool {
        self.country == country::KR
    }

    /// As it is dialled within Korea, digits only (`01012345678`); `None` for a foreign number.
    pub fn domestic(&self) -> Option<String> {
        self.e164.strip_prefix("+82").map(|national| format!("0{national}"))
    }

    /// Enough of it to recognise, and too little to call: `+8210****5678`.
    pub fn masked(&self) -> String {
        let (head, tail) = (self.e164.len().min(5), self.e164.len().saturating_sub(4));
        format!("{}****{}", &self.e164[..head], &self.e164[tail..])
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.e164)
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> Self {
        number.e164
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|issue| issue.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../tests/vectors/phone_kr.json");

    fn name(kind: Type) -> String {
        // `FixedLineOrMobile` here, `FIXED_LINE_OR_MOBILE` in the vectors.
        let mut name = String::new();
        for c in format!("{kind:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() && !name.ends_with(|c: char| c.is_ascii_uppercase()) {
                name.push('_');
            }
            name.push(c);
        }
        name.to_uppercase()
    }

    #[test]
    fn the_vectors_come_out() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        for case in cases {
            let input = case["input"].as_str().unwrap();
            let verdict = judge(input);
            assert_eq!(verdict.is_some(), case["valid"] == true, "{case}");
            if let Some(verdict) = &verdict {
                assert_eq!(verdict.e164, case["e164"].as_str().unwrap(), "{case}");
                assert_eq!(verdict.country.as_ref(), case["region"].as_str().unwrap(), "{case}");
                assert_eq!(name(verdict.kind), case["type"].as_str().unwrap(), "{case}");
                let korean_mobile = verdict.country == country::KR && verdict.kind == Type::Mobile;
                assert_eq!(korean_mobile, case["sms_capable_kr_mobile"] == true, "{case}");
            }
            let number = PhoneNumber::parse(input).ok();
            assert_eq!(number.is_some_and(|number| number.is_korean()), case["kr_mobile_rule"] == true, "{case}");
        }
        assert_eq!(cases.len(), 33);
    }

    #[test]
    fn what_cannot_receive_a_text_is_told_from_what_is_no_number() {
        for text in ["02-123-4567", "070-1234-5678", "1588-1234", "010-123-4567", "012-1234-5678"] {
            assert_eq!(PhoneNumber::parse(text), Err(NOT_A_MOBILE), "{text}");
        }
        let endless = "0".repeat(41);
        for text in ["", "abc", "112", "+999 123 456 789", "010-12345-6789", "0000000000000000", endless.as_str()] {
            assert_eq!(PhoneNumber::parse(text), Err(NOT_A_NUMBER), "{text}");
        }
    }

    #[test]
    fn a_number_is_shown_in_part_and_dialled_in_full() {
        let number = PhoneNumber::parse("010-1234-5678").unwrap();
        assert_eq!((number.masked().as_str(), number.country()), ("+8210****5678", "KR"));
        assert_eq!(number.domestic().as_deref(), Some("01012345678"));
        assert_eq!(PhoneNumber::parse("+81 90-1234-5678").unwrap().domestic(), None);
        let json = serde_json::to_string(&number).unwrap();
        assert_eq!(serde_json::from_str::<PhoneNumber>(&json).unwrap(), number);
        assert!(serde_json::from_str::<PhoneNumber>(r#""02-123-4567""#).is_err());
    }

    #[test]
    fn the_entry_of_korea_can_be_read() {
        assert!(KOREA.is_some());
    }

    proptest! {
        /// Reading less must not change a verdict: numbers near Korean ones, with a country, a prefix for calls abroad, or none.
        #[test]
        fn korea_alone_says_what_all_the_data_say(
            text in "(\\+82|\\+|82|00[1-9]?|00282)?[ -]?0?(1[0-9]|2|3[1-3]|5[0-5]|6[0-4]|70|80|15|16|18)[ -]?[0-9]{1,5}[ -]?[0-9]{2,5}",
        ) {
            prop_assert_eq!(judge(&text), judge_worldwide(&text));
        }

        /// The same for anything.
        #[test]
        fn korea_alone_misjudges_nothing_else(text in "\\PC{0,20}|[+0-9()\\-. ]{3,20}") {
            let text: String = text.chars().map(half_width).collect();
            prop_assert_eq!(judge(&text), judge_worldwide(&text));
        }

        /// Whatever is typed: no panic, and what is accepted is E.164 that reads as itself.
        #[test]
        fn any_text_is_judged_and_what_is_accepted_stays_the_same(text in "\\PC{0,30}|[+0-9()\\-. ]{5,20}") {
            if let Ok(number) = PhoneNumber::parse(&text) {
                prop_assert!(number.as_str().starts_with('+') && number.as_str().len() <= 16);
                prop_assert_eq!(PhoneNumber::parse(number.as_str()), Ok(number.clone()));
            }
        }
    }
}
