//! What a company is to us: parsed, checked types, the same whoever the answer comes from.

use std::fmt;

use ieum::answers::{Request, Response};
use ieum::error::{Issue, issue};
use serde::{Deserialize, Serialize};
use time::Date;
use time::macros::format_description;

/// The number is not ten digits.
pub const NOT_TEN_DIGITS: Issue = issue(
    "not_10_digits",
    "사업자등록번호는 숫자 10자리입니다. (예: 123-45-67891)",
    "A business registration number has 10 digits, for example 123-45-67891.",
);
/// The check digit is wrong: a typing mistake.
pub const BAD_CHECK_DIGIT: Issue = issue(
    "check_digit",
    "사업자등록번호를 다시 확인해 주세요. 검증 숫자가 맞지 않습니다.",
    "Please check the number: its check digit does not match.",
);
/// Ten digits that are nobody's number.
pub const NOT_A_NUMBER: Issue =
    issue("not_assigned", "존재할 수 없는 사업자등록번호입니다.", "No business has such a number.");

/// A business registration number (사업자등록번호): ten digits with a right check digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BusinessNumber(String);

impl BusinessNumber {
    /// Reads `1234567891` or `123-45-67891`, in ASCII digits only.
    ///
    /// The check digit is that of the National Tax Service: weights 1 3 7 1 3 7 1 3 5 over the first nine, plus the
    /// tens of the ninth times five; ten minus the last digit of the sum, again in one digit.
    ///
    /// # Errors
    /// The issue, to be told with the field's name.
    pub fn parse(text: &str) -> Result<Self, Issue> {
        let plain = match text.as_bytes() {
            [_, _, _, b'-', _, _, b'-', ..] if text.len() == 12 => text.replacen('-', "", 2),
            _ => text.to_owned(),
        };
        if plain.len() != 10 || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NOT_TEN_DIGITS);
        }
        let digits: Vec<u32> = plain.bytes().map(|byte| u32::from(byte - b'0')).collect();
        if digits.iter().all(|digit| *digit == digits[0]) || plain.starts_with("000") {
            return Err(NOT_A_NUMBER);
        }
        let weighted: u32 = digits.iter().zip([1, 3, 7, 1, 3, 7, 1, 3, 5]).map(|(digit, weight)| digit * weight).sum();
        let check = (10 - (weighted + digits[8] * 5 / 10) % 10) % 10;
        if check == digits[9] { Ok(Self(plain)) } else { Err(BAD_CHECK_DIGIT) }
    }

    /// The ten digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BusinessNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the check digit of a corporate registration number (법인등록번호, 13 digits) is right. A wrong one is worth a
/// warning only: it is not confirmed that numbers given out since 31 January 2025 still carry one.
pub fn corporate_number_checks(digits: &str) -> bool {
    let plain: Vec<u32> = digits.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0')).collect();
    let [body @ .., check] = plain.as_slice() else { return false };
    let weighted: u32 = body.iter().enumerate().map(|(place, digit)| digit * (1 + place as u32 % 2)).sum();
    plain.len() == 13 && (10 - weighted % 10) % 10 == *check
}

/// Reads a provider's date, `YYYYMMDD`.
pub fn compact_date(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year][month][day]")).ok()
}

/// Writes a date the way providers want it, `YYYYMMDD`.
pub fn to_compact(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
}

/// Reads a date of our API, `YYYY-MM-DD`.
pub fn iso_date(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}

/// Dates in JSON: `YYYY-MM-DD`.
mod iso {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use time::Date;

    // The signature is serde's.
    #[expect(clippy::ref_option, reason = "serde's `with` prescribes the signature")]
    pub(super) fn serialize<S: Serializer>(date: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
        match date {
            Some(date) => serializer.collect_str(&format_args!(
                "{:04}-{:02}-{:02}",
                date.year(),
                u8::from(date.month()),
                date.day()
            )),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::iso_date(&text).ok_or_else(|| de::Error::custom("not YYYY-MM-DD"))).transpose()
    }
}

/// Whether a business is in business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// 계속사업자.
    Active,
    /// 휴업자.
    Suspended,
    /// 폐업자.
    Closed,
    /// The tax service does not know the number. New businesses take one or two days.
    NotRegistered,
    /// Nobody was asked, or the answer says nothing.
    #[default]
    Unknown,
}

/// A company's profile. A field that a provider does not know is left out, never made up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Company {
    /// 사업자등록번호, ten digits.
    pub business_number: String,
    /// 법인등록번호, thirteen digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corporate_number: Option<String>,
    /// The registered name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The English name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_en: Option<String>,
    /// The representative's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representative: Option<String>,
    /// Whether it is in business.
    #[serde(default)]
    pub status: Status,
    /// The kind of taxpayer, in the tax service's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_type: Option<String>,
    /// The day of establishment.
    #[serde(default, with = "iso", skip_serializing_if = "Option::is_none")]
    pub established_on: Option<Date>,
    /// The day of closing.
    #[serde(default, with = "iso", skip_serializing_if = "Option::is_none")]
    pub closed_on: Option<Date>,
    /// The postal code, five digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The industry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry: Option<String>,
    /// The credit grade, in NICE's scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_grade: Option<String>,
    /// The number of employees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employees: Option<i64>,
    /// Yearly sales in KRW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sales_krw: Option<i64>,
    /// Operating income in KRW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operating_income_krw: Option<i64>,
    /// Shareholders' equity in KRW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equity_krw: Option<i64>,
    /// Debt in KRW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debt_krw: Option<i64>,
    /// Total assets in KRW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets_krw: Option<i64>,
    /// What a person should look at twice, as stable words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The warning about a corporate number whose check digit does not match.
pub const CORPORATE_CHECK_DIGIT: &str = "corporate_number_check_digit";

impl Company {
    /// A company of which nothing but the number is known.
    pub fn numbered(number: &BusinessNumber) -> Self {
        Self { business_number: number.as_str().to_owned(), ..Self::default() }
    }

    /// The same with a corporate number, and a warning if its check digit does not match.
    pub fn with_corporate_number(mut self, digits: Option<String>) -> Self {
        if digits.as_deref().is_some_and(|digits| !corporate_number_checks(digits)) {
            self.warnings.push(CORPORATE_CHECK_DIGIT.to_owned());
        }
        self.corporate_number = digits;
        self
    }
}

/// Which company is this?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompanyQuery {
    /// Its number.
    pub business_number: BusinessNumber,
}

impl Request for CompanyQuery {
    fn readable(&self) -> String {
        format!("company {}", self.business_number)
    }
}

/// The answer to [`CompanyQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanyLookup {
    /// The company; `None` when the provider knows no such number.
    pub found: Option<Company>,
}

impl Response for CompanyLookup {
    fn is_known(&self) -> bool {
        self.found.is_some()
    }
}

/// Which companies have such a name?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameQuery {
    /// A part of the name.
    pub name: String,
    /// The page, from 1.
    pub page: u32,
    /// Companies per page.
    pub size: u32,
}

impl Request for NameQuery {
    fn readable(&self) -> String {
        format!("companies named {} page {} size {}", self.name, self.page, self.size)
    }
}

/// The answer to [`NameQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamePage {
    /// The companies of this page.
    pub companies: Vec<Company>,
    /// How many there are in all.
    pub total: u64,
}

impl Response for NamePage {
    fn is_known(&self) -> bool {
        !self.companies.is_empty()
    }
}

/// Does this person represent this company?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepresentativeQuery {
    /// The company.
    pub business_number: BusinessNumber,
    /// The person's name as registered.
    pub name: String,
    /// The day the business was established, `YYYY-MM-DD`; the tax service asks for it.
    #[serde(with = "iso")]
    pub established_on: Option<Date>,
}

impl Request for RepresentativeQuery {
    /// Without the name: it is a person's.
    fn readable(&self) -> String {
        format!("representative of {}", self.business_number)
    }
}

/// The answer to [`RepresentativeQuery`]. There is no third value: a provider that cannot tell gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepresentativeCheck {
    /// Whether the provider confirms that the person represents the company.
    pub matches: bool,
}

impl Response for RepresentativeCheck {
    /// A mismatch may be mended at the register today, so it is not remembered for long.
    fn is_known(&self) -> bool {
        self.matches
    }
}

/// Is this business in business?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusQuery {
    /// Its number.
    pub business_number: BusinessNumber,
}

impl Request for StatusQuery {
    fn readable(&self) -> String {
        format!("status {}", self.business_number)
    }
}

/// The answer to [`StatusQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxStatus {
    /// The number asked for.
    pub business_number: BusinessNumber,
    /// Whether it is in business.
    pub status: Status,
    /// The kind of taxpayer, in the tax service's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_type: Option<String>,
    /// The day of closing.
    #[serde(default, with = "iso", skip_serializing_if = "Option::is_none")]
    pub closed_on: Option<Date>,
}

impl Response for TaxStatus {
    fn is_known(&self) -> bool {
        self.status != Status::NotRegistered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The project's vectors: `kind` is `brn` (business) or `crn` (corporate).
    const VECTORS: &str = include_str!("../tests/vectors/check_digits.json");

    #[test]
    fn every_vector_is_judged_as_it_says() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 27);
        for case in cases {
            let (input, accept) = (case["input"].as_str().unwrap(), case["expect"] == "accept");
            if case["kind"] == "crn" {
                assert_eq!(corporate_number_checks(input), accept, "{case}");
                continue;
            }
            match BusinessNumber::parse(input) {
                Ok(number) => {
                    assert!(accept, "{case}");
                    assert_eq!(number.as_str(), case["normalised"].as_str().unwrap_or(input));
                }
                Err(issue) => {
                    assert!(!accept, "{case}");
                    let expected = match case["reason"].as_str().unwrap() {
                        "all_equal_digits" => "not_assigned",
                        other => other,
                    };
                    assert!(issue.name == expected || issue.name == "not_assigned", "{case}: {}", issue.name);
                }
            }
        }
    }

    #[test]
    fn only_plain_digits_in_the_two_usual_forms_are_a_number() {
        for text in [
            "１２３４５６７８９１",
            "123-4567891",
            "12-345-67891",
            " 1234567891",
            "1234567891\n",
            "",
            "123-45-6789a",
            "٣٣٣٣٣٣٣٣٣٦",
        ] {
            assert_eq!(BusinessNumber::parse(text), Err(NOT_TEN_DIGITS), "{text:?}");
        }
        assert_eq!(BusinessNumber::parse("0001234567"), Err(NOT_A_NUMBER));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic_and_one_wrong_digit_is_always_seen(text in ".{0,14}", digits in "[1-9][0-9]{8}", place in 0..9_usize, step in 1..10_u32) {
            let _ = BusinessNumber::parse(&text);
            let _ = corporate_number_checks(&text);
            let right = (0..10).map(|check| format!("{digits}{check}")).find(|number| BusinessNumber::parse(number).is_ok());
            // All-equal digits are the one kind of nine that no check digit completes.
            if let Some(right) = right {
                let mut wrong: Vec<u32> = right.bytes().map(|byte| u32::from(byte - b'0')).collect();
                wrong[9] = (wrong[9] + step) % 10;
                let wrong: String = wrong.iter().map(u32::to_string).collect();
                prop_assert!(BusinessNumber::parse(&wrong).is_err(), "{right} {wrong} {place}");
            }
        }
    }
}
