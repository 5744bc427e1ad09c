//! What a text costs, as far as anybody can say before it is sent. Pure.
//!
//! Amounts are in won. What a provider asks is in its contract and nowhere else, so prices are settings without defaults,
//! and an unknown price is not a price of nothing: a text with a limit is not sent by whoever has no price.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

/// Won, to the thousandth: texts cost less than ten of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Won(u64);

/// Not an amount of won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount in won such as `20` or `8.4`")]
pub struct NotWon;

impl Won {
    /// So many of them.
    pub const fn whole(won: u64) -> Self {
        Self(won.saturating_mul(1_000))
    }

    /// So many times the amount.
    pub fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX)))
    }
}

impl FromStr for Won {
    type Err = NotWon;

    /// Reads `20` or `8.4`: at most seven digits, and three after the point.
    fn from_str(text: &str) -> Result<Self, NotWon> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits =
            |part: &str, most| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole, 7) || !is_digits(rest, 3) {
            return Err(NotWon);
        }
        format!("{whole}{rest:0<3}").parse().map(Self).map_err(|_| NotWon)
    }
}

impl fmt::Display for Won {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0'))
    }
}

/// As a JSON number.
impl Serialize for Won {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_string().parse::<Number>().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// From a JSON number.
impl<'de> Deserialize<'de> for Won {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = value.as_number().ok_or_else(|| serde::de::Error::custom(NotWon))?;
        // The shortest text that is this number: `8.4`.
        number.to_string().parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        for (text, shown) in [
            ("20", "20"),
            ("8.4", "8.4"),
            ("0.05", "0.05"),
            ("9999999.999", "9999999.999"),
            ("7.", ""),
            ("", ""),
            ("-1", ""),
            ("1e3", ""),
            ("1.2345", ""),
            ("12345678", ""),
            ("1.2.3", ""),
            ("１", ""),
        ] {
            let read = text.parse::<Won>().map(|won| won.to_string());
            assert_eq!(read.unwrap_or_default(), shown, "{text}");
        }
        assert_eq!("8.4".parse::<Won>().unwrap().times(3).to_string(), "25.2");
        assert_eq!(serde_json::from_str::<Won>("20.0").unwrap(), Won::whole(20));
        for text in ["\"20\"", "null", "-1", "1e9"] {
            assert!(serde_json::from_str::<Won>(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Nothing is lost on the way through JSON.
        #[test]
        fn an_amount_stays_what_it_is_in_json(thousandths in 0..=9_999_999_999_u64) {
            let won = Won(thousandths);
            let json = serde_json::to_string(&won).unwrap();
            prop_assert_eq!(serde_json::from_str::<Won>(&json).unwrap(), won);
            prop_assert_eq!(won.to_string().parse::<Won>().unwrap(), won);
        }
    }
}
