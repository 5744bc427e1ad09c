//! From the body of a request to a text: every field read, every mistake noted under its name.

use ieum::api::Fields;
use ieum::error::{BAD_FORMAT, Issue, MISSING, TOO_LONG, issue};
use serde_json::Value;

use crate::length::{KoreanCharset, LMS_BYTES};
use crate::phone::PhoneNumber;
use crate::text::{AD_MARK, Kind, NOT_IN_KOREAN_CHARSET, Text};

/// The longest text that is looked at, in characters; the limits of what can be sent are stricter.
const MAX_CHARACTERS: usize = 4_000;

/// The longest title of an LMS, in bytes of the Korean character set.
const SUBJECT_BYTES: usize = 40;

/// Nobody here sends to that country.
pub const COUNTRY_NOT_SERVED: Issue =
    issue("country_not_served", "발송할 수 없는 국가의 번호입니다.", "Texts are not sent to this country.");
/// A text has lines, and no other control characters.
pub const CONTROL_CHARACTER: Issue = issue(
    "control_character",
    "사용할 수 없는 제어 문자가 있습니다.",
    "This has a control character other than a line break.",
);

/// What is accepted here, whoever sends it.
#[derive(Clone, Debug)]
pub struct House {
    /// Countries that texts go to.
    pub countries: Vec<String>,
    /// What Korean telephones can show.
    pub charset: KoreanCharset,
    /// Whether advertising to Korea is marked as such.
    pub ad_mark: bool,
}

/// Reads a text.
pub fn text(fields: &mut Fields, house: &House) -> Option<Text> {
    let to = match fields.value("to") {
        None => fields.note("to", MISSING),
        Some(Value::String(to)) if to.trim().is_empty() => fields.note("to", MISSING),
        Some(Value::String(to)) => match PhoneNumber::parse(&to) {
            Ok(to) if house.countries.iter().any(|country| country == to.country()) => Some(to),
            Ok(_) => fields.note("to", COUNTRY_NOT_SERVED),
            Err(issue) => fields.note("to", issue),
        },
        Some(_) => fields.note("to", BAD_FORMAT),
    };
    let text = words(fields, "text");
    let subject = fields.optional_text("subject", SUBJECT_BYTES);
    let kind = match fields.value("kind") {
        None => Some(Kind::default()),
        Some(value) => serde_json::from_value(value).ok().or_else(|| fields.note("kind", BAD_FORMAT)),
    };
    let max_price = match fields.value("max_price") {
        None => Some(None),
        Some(value) => serde_json::from_value(value).ok().map(Some).or_else(|| fields.note("max_price", BAD_FORMAT)),
    };
    let (to, mut text, subject, kind) = (to?, text?, subject?, kind?);
    if to.is_korean() {
        if kind == Kind::Promotional && house.ad_mark && !text.starts_with(AD_MARK) {
            text.insert_str(0, AD_MARK);
        }
        let fits = [
            fits(fields, "text", &text, house.charset, LMS_BYTES),
            subject.as_ref().map_or(Some(()), |subject| fits(fields, "subject", subject, house.charset, SUBJECT_BYTES)),
        ];
        fits.into_iter().collect::<Option<()>>()?;
    }
    Some(Text { to, text, subject, kind, max_price: max_price? })
}

/// What is said, line breaks and all.
fn words(fields: &mut Fields, name: &'static str) -> Option<String> {
    match fields.value(name) {
        None => fields.note(name, MISSING),
        Some(Value::String(text)) if text.trim().is_empty() => fields.note(name, MISSING),
        Some(Value::String(text)) if text.chars().count() > MAX_CHARACTERS => fields.note(name, TOO_LONG),
        Some(Value::String(text)) if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r')) => {
            fields.note(name, CONTROL_CHARACTER)
        }
        Some(Value::String(text)) => Some(text),
        Some(_) => fields.note(name, BAD_FORMAT),
    }
}

fn fits(fields: &mut Fields, name: &'static str, text: &str, charset: KoreanCharset, most: usize) -> Option<()> {
    match charset.bytes(text) {
        Ok(bytes) if bytes <= most => Some(()),
        Ok(_) => fields.note(name, TOO_LONG),
        Err(_) => fields.note(name, NOT_IN_KOREAN_CHARSET),
    }
}

#[cfg(test)]
mod tests {
    use ieum::error::ApiError;
    use serde_json::json;

    use super::*;

    fn house() -> House {
        House { countries: vec!["KR".to_owned(), "JP".to_owned()], charset: KoreanCharset::Cp949, ad_mark: true }
    }

    fn read(body: Value, house: &House) -> Result<Text, ApiError> {
        let Value::Object(members) = body else { panic!("an object") };
        let mut fields = Fields::new(members);
        let text = text(&mut fields, house);
        fields.finish(text)
    }

    #[test]
    fn a_text_is_read_with_its_number_as_e164() {
        let body = json!({"to": "010-1234-5678", "text": " 안녕\r\n하세요 ", "max_price": 8.4});
        let text = read(body, &house()).unwrap();
        assert_eq!((text.to.as_str(), text.text.as_str()), ("+821012345678", " 안녕\r\n하세요 "));
        assert_eq!((text.kind, text.max_price), (Kind::Transactional, Some("8.4".parse().unwrap())));
    }

    #[test]
    fn advertising_to_korea_is_marked_once_where_that_is_wanted() {
        let body = |to: &str, text: &str| json!({"to": to, "text": text, "kind": "promotional"});
        let marked = |body, house: &House| read(body, house).unwrap().text;
        assert_eq!(marked(body("010-1234-5678", "세일"), &house()), "(광고)세일");
        assert_eq!(marked(body("010-1234-5678", "(광고)세일"), &house()), "(광고)세일");
        assert_eq!(marked(body("+81 90-1234-5678", "sale"), &house()), "sale");
        let plain = House { ad_mark: false, ..house() };
        assert_eq!(marked(body("010-1234-5678", "세일"), &plain), "세일");
        // The mark is paid for and counted like everything else.
        assert!(read(body("010-1234-5678", &"가".repeat(997)), &house()).is_ok());
        assert!(read(body("010-1234-5678", &"가".repeat(998)), &house()).is_err());
    }
}
