//! Payments, whoever made them: what a provider says of one, in one vocabulary.
//!
//! Amounts are whole numbers of a currency's smallest unit (ISO 4217: no decimals for KRW and JPY, two for USD, three for
//! KWD), so that they can be added and compared. There is no card number here, and no place for one.

use std::fmt;

use ieum::answers::{Request, Response};
use ieum::clock::Timestamp;
use ieum::secrets::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use time::{Date, Duration, OffsetDateTime, UtcOffset};

/// The longest name of a payment or order that any provider gives, with room to spare.
pub const MAX_NAME: usize = 200;

/// A currency: three capital letters (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads `KRW` or `krw`.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimals it has. Source: ISO 4217, list one.
    pub fn decimals(&self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX"
            | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a currency")
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Money {
    /// How many of the currency's smallest unit.
    pub minor: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// An amount in units such as won or dollars, as JSON has it: `15000`, `12.34`. `None` when it is negative, or finer
    /// than the currency.
    pub fn from_major(amount: &Number, currency: Currency) -> Option<Self> {
        // The shortest text that means the number: what the provider wrote, but for zeros at its end.
        let text = amount.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let decimals = usize::try_from(currency.decimals()).ok()?;
        let fraction = fraction.trim_end_matches('0');
        let digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        if !digits || fraction.len() > decimals {
            return None;
        }
        let minor = format!("{whole}{fraction:0<decimals$}").parse().ok()?;
        Some(Self { minor, currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.minor, self.currency.as_str())
    }
}

/// How far a payment has come. A later one wins over an earlier one, in whatever order they are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Begun.
    Ready,
    /// Somebody has to act: a deposit is awaited, or an approval.
    Waiting,
    /// It did not come about. With some providers it still may.
    Failed,
    /// The money is ours.
    Paid,
    /// Some of it went back.
    PartiallyCanceled,
    /// All of it went back, or it was given up.
    Canceled,
}

impl Status {
    /// The name in the table, in answers and in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Paid => "paid",
            Self::PartiallyCanceled => "partially_canceled",
            Self::Canceled => "canceled",
        }
    }

    /// Whether money was ours and some of it still is.
    pub const fn is_paid(self) -> bool {
        matches!(self, Self::Paid | Self::PartiallyCanceled)
    }

    /// Whether more is to be expected.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Ready | Self::Waiting)
    }
}

/// How a payment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A card, wherever its number is kept.
    Card,
    /// A deposit to an account made for this payment (가상계좌).
    VirtualAccount,
    /// A transfer from an account (계좌이체).
    Transfer,
    /// With the telephone bill (휴대폰 소액결제).
    Mobile,
    /// A wallet such as KakaoPay (간편결제).
    EasyPay,
    /// A gift card or voucher (상품권).
    GiftCard,
    /// Something else.
    Other,
}

/// What a provider says of a payment when it is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Observation {
    /// What went back, in the smallest unit. First, because it only grows.
    pub canceled: i64,
    /// How far it has come.
    pub status: Status,
    /// The whole amount.
    pub amount: Money,
    /// The provider's name for the payment.
    pub id: String,
    /// Our name for what is paid.
    pub order: Option<String>,
    /// How it is paid.
    pub method: Option<Method>,
    /// When it was paid.
    pub paid_at: Option<Timestamp>,
}

/// Which payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentQuery {
    /// The one with this name of the provider's.
    Id(String),
    /// The one for this order.
    Order(String),
}

impl Request for PaymentQuery {
    fn readable(&self) -> String {
        match self {
            Self::Id(id) => format!("payment {id}"),
            Self::Order(order) => format!("order {order}"),
        }
    }
}

/// What a provider answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentLookup {
    /// The payment; `None` when there is no such one.
    pub found: Option<Observation>,
    /// A word that only the provider and its own notifications know (Toss Payments' `secret`). Never kept.
    #[serde(skip)]
    pub word: Option<SecretString>,
}

impl PaymentLookup {
    /// There is no such payment.
    pub const NONE: Self = Self { found: None, word: None };

    /// There is this one.
    pub fn of(found: Observation) -> Self {
        Self { found: Some(found), word: None }
    }
}

impl Response for PaymentLookup {
    fn is_known(&self) -> bool {
        self.found.is_some()
    }
}

/// The payments of one day, page by page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayQuery {
    /// The day, in Seoul.
    pub day: Day,
    /// Where to go on, as the page before said.
    pub after: Option<String>,
}

impl Request for DayQuery {
    fn readable(&self) -> String {
        format!("payments of {}", self.day)
    }
}

/// A payment that a provider lists as paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The provider's name for it.
    pub id: String,
    /// The whole amount.
    pub amount: Money,
    /// What went back since, in the smallest unit, where the list says so.
    pub canceled: Option<i64>,
}

/// One page of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayPage {
    /// What was paid.
    pub paid: Vec<Listed>,
    /// Where to go on; `None` when this was the last.
    pub next: Option<String>,
}

impl Response for DayPage {
    fn is_known(&self) -> bool {
        true
    }
}

/// A day in Seoul.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Day(#[serde(serialize_with = "as_text")] Date);

const SEOUL: UtcOffset = time::macros::offset!(+9);

impl Day {
    /// The day in Seoul on which `at` lies.
    pub fn of(at: Timestamp) -> Option<Self> {
        let point = OffsetDateTime::from_unix_timestamp(at.as_seconds()).ok()?;
        Some(Self(point.to_offset(SEOUL).date()))
    }

    /// The day before.
    pub fn before(self) -> Option<Self> {
        self.0.checked_sub(Duration::DAY).map(Self)
    }

    /// When it begins.
    pub fn begins(self) -> Timestamp {
        Timestamp::from_millis(self.0.midnight().assume_offset(SEOUL).unix_timestamp() * 1_000)
    }

    /// When it has ended: the beginning of the next.
    pub fn ends(self) -> Timestamp {
        self.begins().after(std::time::Duration::from_secs(24 * 60 * 60))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

fn as_text<S: serde::Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Day(*date))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn money(amount: Value, currency: &str) -> Option<i64> {
        let Value::Number(number) = amount else { return None };
        Money::from_major(&number, Currency::parse(currency)?).map(|money| money.minor)
    }

    #[test]
    fn amounts_become_smallest_units_exactly() {
        for (amount, currency, minor) in [
            (json!(15_000), "KRW", Some(15_000)),
            (json!(15_000.0), "KRW", Some(15_000)),
            (json!(15_000.5), "KRW", None),
            (json!(12.34), "USD", Some(1_234)),
            (json!(12.3), "usd", Some(1_230)),
            (json!(0.07), "USD", Some(7)),
            (json!(1.1), "KWD", Some(1_100)),
            (json!(12.345), "USD", None),
            (json!(-1), "KRW", None),
            (json!(1e30), "KRW", None),
            (json!(0), "JPY", Some(0)),
        ] {
            assert_eq!(money(amount.clone(), currency), minor, "{amount} {currency}");
        }
        assert_eq!([Currency::parse("KR"), Currency::parse("원화"), Currency::parse("K1W")], [None, None, None]);
    }

    #[test]
    fn a_day_is_one_of_seoul() {
        let at = Timestamp::parse_rfc3339("2026-11-20T15:00:00Z").unwrap();
        let day = Day::of(at).unwrap();
        assert_eq!((day.to_string(), day.begins()), ("2026-11-21".to_owned(), at));
        assert_eq!(Day::of(at.before(std::time::Duration::from_millis(1))), day.before());
        assert_eq!(day.before().unwrap().ends(), at);
    }

    proptest! {
        #[test]
        fn cents_survive_being_written_as_dollars(minor in 0..1_000_000_000_i64) {
            let written: Value = serde_json::from_str(&format!("{}.{:02}", minor / 100, minor % 100)).unwrap();
            prop_assert_eq!(money(written, "USD"), Some(minor));
        }
    }
}
