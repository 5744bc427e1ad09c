//! A text as it is accepted, kept and sent, and who could send it for how much. Pure.

use ieum::answers::Request;
use ieum::delivery::worker::Addressed;
use ieum::error::{Issue, TOO_LONG, issue};
use serde::{Deserialize, Serialize};

use crate::length::{KoreanCharset, LMS_BYTES, SMS_BYTES, Segments};
use crate::phone::PhoneNumber;
use crate::price::Won;

/// What an advertising text must begin with in Korea.
pub const AD_MARK: &str = "(광고)";

/// A character that Korean telephones do not show.
pub const NOT_IN_KOREAN_CHARSET: Issue = issue(
    "not_in_korean_charset",
    "한국 휴대전화로 보낼 수 없는 글자(예: 이모지)가 있습니다.",
    "This has a character, such as an emoji, that cannot be sent to Korean telephones.",
);
/// No configured provider sends to that country.
pub const NOT_ABROAD: Issue = issue("not_abroad", "해외로 발송할 수 없습니다.", "Nobody here sends abroad.");
/// It would cost more than its limit.
pub const OVER_MAX_PRICE: Issue =
    issue("over_max_price", "예상 요금이 지정한 한도를 초과합니다.", "The estimated price is above the limit.");
/// There is a limit, and nobody knows the price.
pub const PRICE_UNKNOWN: Issue = issue(
    "price_unknown",
    "요금을 알 수 없어 한도를 적용할 수 없습니다.",
    "The price is not known, so no limit can be kept.",
);

/// Why a text is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It belongs to something its recipient did.
    #[default]
    Transactional,
    /// Anything else: advertising.
    Promotional,
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// To whom.
    pub to: PhoneNumber,
    /// What it says, in full: a mark for advertising is part of it.
    pub text: String,
    /// The title of an LMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why it is sent.
    pub kind: Kind,
    /// What it may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<Won>,
}

impl Request for Text {
    fn readable(&self) -> String {
        format!("text to {}", self.to.country())
    }
}

impl Addressed for Text {
    fn recipients(&self) -> Vec<String> {
        vec![self.to.to_string()]
    }
}

/// How a provider counts, and what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// By segments, to any country.
    Segments {
        /// Characters of one text.
        characters: usize,
        /// For each segment.
        price: Option<Won>,
    },
    /// By bytes of the Korean character set, to Korea only.
    KoreanBytes {
        /// For a text of up to 90.
        sms: Option<Won>,
        /// For a longer one.
        lms: Option<Won>,
    },
}

/// What kind of text a provider makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A short one, in one or several segments.
    Sms,
    /// A long one of a Korean gateway.
    Lms,
}

/// What a provider would make of a text, and ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// What is sent.
    #[serde(rename = "kind")]
    pub form: Form,
    /// The estimate; absent where no price is configured.
    #[serde(rename = "price_krw")]
    pub price: Option<Won>,
}

impl Terms {
    /// What `text` would be and cost.
    ///
    /// # Errors
    /// Why the provider does not send it.
    pub fn quote(&self, text: &Text) -> Result<Quote, Issue> {
        let quote = match *self {
            Self::Segments { characters, .. } if text.text.chars().count() > characters => return Err(TOO_LONG),
            Self::Segments { price, .. } => {
                let count = Segments::of(&text.text).count;
                Quote { form: Form::Sms, price: price.map(|price| price.times(count)) }
            }
            Self::KoreanBytes { .. } if !text.to.is_korean() => return Err(NOT_ABROAD),
            Self::KoreanBytes { sms, lms } => match korean_form(text)? {
                Form::Sms => Quote { form: Form::Sms, price: sms },
                Form::Lms => Quote { form: Form::Lms, price: lms },
            },
        };
        match (text.max_price, quote.price) {
            (Some(limit), Some(price)) if price > limit => Err(OVER_MAX_PRICE),
            (Some(_), None) => Err(PRICE_UNKNOWN),
            (Some(_) | None, _) => Ok(quote),
        }
    }
}

/// What a Korean gateway makes of `text`. Whoever accepted it has looked at its characters by the set in force.
fn korean_form(text: &Text) -> Result<Form, Issue> {
    match KoreanCharset::Cp949.bytes(&text.text) {
        Err(_) => Err(NOT_IN_KOREAN_CHARSET),
        Ok(..=SMS_BYTES) if text.subject.is_none() => Ok(Form::Sms),
        Ok(..=LMS_BYTES) => Ok(Form::Lms),
        Ok(_) => Err(TOO_LONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WON: fn(u64) -> Option<Won> = |won| Some(Won::whole(won));
    const GATEWAY: Terms = Terms::KoreanBytes { sms: Some(Won::whole(20)), lms: Some(Won::whole(50)) };
    const ABROAD: Terms = Terms::Segments { characters: 1_600, price: Some(Won::whole(40)) };

    fn text(to: &str, text: &str) -> Text {
        let to = PhoneNumber::parse(to).unwrap();
        Text { to, text: text.to_owned(), subject: None, kind: Kind::Transactional, max_price: None }
    }

    #[test]
    fn a_korean_gateway_counts_bytes_and_others_count_segments() {
        for (length, form, gateway, abroad) in
            [(45, Form::Sms, 20, 40), (46, Form::Lms, 50, 40), (71, Form::Lms, 50, 80)]
        {
            let text = text("010-1234-5678", &"가".repeat(length));
            assert_eq!(GATEWAY.quote(&text), Ok(Quote { form, price: WON(gateway) }), "{length}");
            assert_eq!(ABROAD.quote(&text), Ok(Quote { form: Form::Sms, price: WON(abroad) }), "{length}");
        }
        let titled = Text { subject: Some("알림".to_owned()), ..text("010-1234-5678", "짧은 글") };
        assert_eq!(GATEWAY.quote(&titled).unwrap().form, Form::Lms, "only an LMS has a title");
    }

    #[test]
    fn who_cannot_send_a_text_says_why() {
        assert_eq!(GATEWAY.quote(&text("+81 90-1234-5678", "hello")), Err(NOT_ABROAD));
        assert_eq!(GATEWAY.quote(&text("010-1234-5678", "😀")), Err(NOT_IN_KOREAN_CHARSET));
        assert_eq!(GATEWAY.quote(&text("010-1234-5678", &"a".repeat(2_001))), Err(TOO_LONG));
        assert!(GATEWAY.quote(&text("010-1234-5678", &"a".repeat(2_000))).is_ok());
        assert_eq!(ABROAD.quote(&text("010-1234-5678", &"a".repeat(1_601))), Err(TOO_LONG));
    }

    #[test]
    fn a_limit_is_kept_and_needs_a_price() {
        let limited = |won| Text { max_price: WON(won), ..text("010-1234-5678", "안녕") };
        assert_eq!(ABROAD.quote(&limited(39)), Err(OVER_MAX_PRICE));
        assert!(ABROAD.quote(&limited(40)).is_ok());
        let unpriced = Terms::Segments { characters: 1_600, price: None };
        assert_eq!(unpriced.quote(&limited(40)), Err(PRICE_UNKNOWN));
        assert_eq!(unpriced.quote(&text("010-1234-5678", "안녕")).unwrap().price, None);
    }
}
