//! Addresses of mail: who may be written to, and how.
//!
//! The syntax is judged by libraries (RFC 5321 by lettre, IDNA by idna, look-alikes by Unicode's UTS 39). What this file
//! adds is what we refuse although it is valid, because providers do not agree on it or because it deceives: local parts
//! that are quoted or not ASCII (SES has no SMTPUTF8), domains without a dot, and domains that read as another one.

use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use ieum::error::{BAD_FORMAT, Issue, TOO_LONG, issue};
use serde::{Deserialize, Serialize};
use unicode_security::{RestrictionLevel, RestrictionLevelDetection, skeleton};

/// RFC 5321, 4.5.3.1: octets before the `@`, and in all (a path of 256 without its angle brackets).
const MAX_LOCAL: usize = 64;
const MAX_ADDRESS: usize = 254;

/// The longest name beside an address, in characters.
const MAX_NAME: usize = 100;

/// The domain is written so that a person would take it for another one.
pub const HOMOGRAPH: Issue = issue(
    "homograph",
    "다른 도메인으로 오인될 수 있는 문자가 섞여 있습니다.",
    "The domain mixes characters so that it could be taken for another.",
);
/// The part before the `@` is not plain ASCII.
pub const LOCAL_PART: Issue = issue(
    "local_part",
    "@ 앞부분에는 따옴표 없는 영문자, 숫자, 기호만 쓸 수 있습니다.",
    "Only unquoted ASCII is possible before the @.",
);

/// An address that every provider can be given: ASCII before the `@`, the domain in its ASCII form and in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

impl Address {
    /// Reads what a person typed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Issue> {
        let text = text.trim();
        if text.len() > 4 * MAX_ADDRESS {
            return Err(TOO_LONG);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(BAD_FORMAT)?;
        if !local.is_ascii() || local.contains('"') {
            return Err(LOCAL_PART);
        }
        let uts46 = Uts46::new();
        let ascii = uts46
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Ignore)
            .map_err(|_| BAD_FORMAT)?;
        if local.len() > MAX_LOCAL || local.len() + 1 + ascii.len() > MAX_ADDRESS {
            return Err(TOO_LONG);
        }
        if !ascii.contains('.') || lettre::Address::new(local, &ascii).is_err() {
            return Err(BAD_FORMAT);
        }
        let (unicode, _) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
        if unicode.split('.').any(deceives) {
            return Err(HOMOGRAPH);
        }
        Ok(Self(format!("{local}@{ascii}")))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// The one form by which it is known whether somebody may be written to: servers that tell `Hong@` from `hong@` are
    /// rarer than people who do not.
    pub fn identity(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The address as it may stand in a log: its first character and its domain.
    pub fn masked(&self) -> String {
        let first = self.0.chars().next().unwrap_or('*');
        format!("{first}***@{}", self.domain())
    }
}

/// Whether a label that is not ASCII could be taken for another: scripts that nobody mixes, or letters of another script
/// that all look like ASCII.
fn deceives(label: &str) -> bool {
    !label.is_ascii()
        && (label.detect_restriction_level() > RestrictionLevel::HighlyRestrictive
            || skeleton(label).all(|letter| letter.is_ascii()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|issue| issue.name)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// An address with a name beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// The address.
    pub address: Address,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Mailbox {
    /// A name that may stand beside an address: no line breaks or other control characters, and nothing that turns the
    /// direction of what is read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn name(text: &str) -> Result<String, Issue> {
        let text = text.trim();
        if text.chars().count() > MAX_NAME {
            return Err(TOO_LONG);
        }
        if text.is_empty() || text.chars().any(is_unfit) {
            return Err(BAD_FORMAT);
        }
        Ok(text.to_owned())
    }
}

/// Control characters, line separators, and the marks that change the direction of text.
pub(crate) fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, &'static str> {
        Address::parse(text).map(|address| address.0).map_err(|issue| issue.name)
    }

    #[test]
    fn what_people_write_is_brought_to_one_form() {
        for (text, address) in [
            ("hong@example.kr", "hong@example.kr"),
            (" Hong.Gil+tag@EXAMPLE.kr ", "Hong.Gil+tag@example.kr"),
            ("a@한국.한국", "a@xn--3e0b707e.xn--3e0b707e"),
            ("a@이음tech.kr", "a@xn--tech-kz1sih.kr"),
            ("a@ｎａｖｅｒ.com", "a@naver.com"),
            ("a@xn--3e0b707e.kr", "a@xn--3e0b707e.kr"),
        ] {
            assert_eq!(parsed(text), Ok(address.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_ours_is_refused_with_the_reason() {
        let long_local = format!("{}@example.kr", "a".repeat(65));
        let long_domain = format!("a@{}.kr", ["a".repeat(63).as_str(); 4].join("."));
        for (text, reason) in [
            ("", "bad_format"),
            ("hong", "bad_format"),
            ("@example.kr", "bad_format"),
            ("hong@", "bad_format"),
            ("hong@localhost", "bad_format"),
            ("hong@[127.0.0.1]", "bad_format"),
            ("hong@example..kr", "bad_format"),
            ("hong@-example.kr", "bad_format"),
            ("ho ng@example.kr", "bad_format"),
            ("a@b@example.kr", "bad_format"),
            ("hong@example.kr\r\nBcc: x@example.kr", "bad_format"),
            ("hong\r\n@example.kr", "bad_format"),
            ("hong@example.kr>", "bad_format"),
            ("\"a b\"@example.kr", "local_part"),
            ("홍길동@example.kr", "local_part"),
            (long_local.as_str(), "too_long"),
            (long_domain.as_str(), "too_long"),
            ("a@аpple.com", "homograph"),
            ("a@аррӏе.com", "homograph"),
            ("a@xn--80ak6aa92e.com", "homograph"),
        ] {
            assert_eq!(parsed(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_log_sees_the_first_character_and_the_domain() {
        assert_eq!(Address::parse("hong@example.kr").unwrap().masked(), "h***@example.kr");
    }

    proptest! {
        /// Whatever is accepted is one line of printable ASCII and means the same when read again.
        #[test]
        fn any_text_is_refused_or_safe_in_a_header(text in "\\PC{0,40}@\\PC{1,40}|.{0,60}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert!(address.0.bytes().all(|byte| byte.is_ascii_graphic()), "{}", address.0);
                prop_assert_eq!(Address::parse(&address.0), Ok(address));
            }
        }
    }
}
