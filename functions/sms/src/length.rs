//! How long a text is, in the two ways it is counted and paid for. Pure.
//!
//! Abroad, and over SNS and Twilio, a text is cut into segments: 160 septets of GSM 03.38 or 70 units of UTF-16, less
//! where there is more than one. A Korean gateway counts bytes of its own character set: up to 90 are an SMS, up to 2,000
//! an LMS, and what the set does not have cannot be sent at all.

use encoding_rs::EUC_KR;

/// Bytes of an SMS of a Korean gateway.
pub const SMS_BYTES: usize = 90;
/// Bytes of an LMS of a Korean gateway.
pub const LMS_BYTES: usize = 2_000;

/// The characters that GSM 03.38 has, each one septet, without the escape.
const GSM_BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                         abcdefghijklmnopqrstuvwxyzäöñüà";
/// Those of its extension, each two.
const GSM_EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// How the characters of a text are written on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// GSM 03.38, seven bits.
    Gsm7,
    /// UTF-16, of which UCS-2 is the old name.
    Ucs2,
}

impl Encoding {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }

    /// Units of a text that is alone, and of each part of a longer one.
    fn capacity(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    fn units(self, c: char) -> usize {
        match self {
            Self::Gsm7 if GSM_EXTENSION.contains(c) => 2,
            Self::Gsm7 => 1,
            Self::Ucs2 => c.len_utf16(),
        }
    }
}

/// A text as it is cut for the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// How it is written.
    pub encoding: Encoding,
    /// Septets, or units of UTF-16.
    pub units: usize,
    /// Parts, each paid for.
    pub count: usize,
}

impl Segments {
    /// Cuts `text`. What takes two units (an escape and its character, a surrogate pair) stays in one part.
    pub fn of(text: &str) -> Self {
        let gsm = text.chars().all(|c| GSM_BASIC.contains(c) || GSM_EXTENSION.contains(c));
        let encoding = if gsm { Encoding::Gsm7 } else { Encoding::Ucs2 };
        let units = text.chars().map(|c| encoding.units(c)).sum();
        let (alone, part) = encoding.capacity();
        let count = if units == 0 {
            0
        } else if units <= alone {
            1
        } else {
            let (count, _) = text.chars().fold((1, 0), |(count, filled), c| match encoding.units(c) {
                wide if filled + wide > part => (count + 1, wide),
                fitting => (count, filled + fitting),
            });
            count
        };
        Self { encoding, units, count }
    }
}

/// Which syllables a Korean gateway takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KoreanCharset {
    /// All 11,172 (windows-949).
    Cp949,
    /// The 2,350 of the standard KS X 1001: no 똠, no 뷁.
    KsX1001,
}

impl KoreanCharset {
    /// The bytes of `text`.
    ///
    /// # Errors
    /// The first character that the set does not have.
    pub fn bytes(self, text: &str) -> Result<usize, char> {
        let mut bytes = 0;
        let mut utf8 = [0; 4];
        for c in text.chars() {
            let (encoded, _, unknown) = EUC_KR.encode(c.encode_utf8(&mut utf8));
            // windows-949 adds its own syllables below 0xA1, where the standard has nothing.
            let standard = c.is_ascii() || encoded.iter().all(|byte| *byte >= 0xA1);
            if unknown || self == Self::KsX1001 && !standard {
                return Err(c);
            }
            bytes += encoded.len();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../tests/vectors/sms_length.json");

    #[test]
    fn the_vectors_come_out() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let segments = Segments::of(text);
            assert_eq!(segments.encoding.name(), case["gsm_encoding"], "{case}");
            assert_eq!(segments.units, case["gsm_units"].as_u64().unwrap() as usize, "{case}");
            assert_eq!(segments.count, case["segments"].as_u64().unwrap() as usize, "{case}");
            let number = |bytes: Result<usize, char>| bytes.map_or(Value::Null, Value::from);
            assert_eq!(number(KoreanCharset::Cp949.bytes(text)), case["cp949_bytes"], "{case}");
            if case["expect"] != "policy" {
                let bytes = KoreanCharset::KsX1001.bytes(text);
                assert_eq!(number(bytes), case["euckr_bytes"], "{case}");
                assert_eq!(bytes.is_ok(), case["euckr_encodable"] == true, "{case}");
                let kind = match bytes {
                    Err(_) => "UNENCODABLE",
                    Ok(..=SMS_BYTES) => "SMS",
                    Ok(..=LMS_BYTES) => "LMS",
                    Ok(_) => "TOO_LONG",
                };
                assert_eq!(kind, case["kr_type"], "{case}");
            }
        }
        assert_eq!(cases.len(), 23);
    }

    #[test]
    fn the_two_character_sets_differ_in_the_rare_syllables_only() {
        for (text, missing) in [("똠방각하", '똠'), ("뷁", '뷁'), ("펲시", '펲')] {
            assert_eq!(KoreanCharset::KsX1001.bytes(text), Err(missing));
            assert_eq!(KoreanCharset::Cp949.bytes(text), Ok(text.chars().count() * 2));
        }
        for set in [KoreanCharset::KsX1001, KoreanCharset::Cp949] {
            assert_eq!(set.bytes("안녕 😀"), Err('😀'));
            let syllables = ('가'..='힣').filter(|c| set.bytes(&c.to_string()).is_ok()).count();
            assert_eq!(syllables, if set == KoreanCharset::Cp949 { 11_172 } else { 2_350 });
        }
    }

    proptest! {
        /// A part holds at least all but one unit of what fits into it, so the count is within these bounds.
        #[test]
        fn parts_are_as_full_as_pairs_allow(text in "[a-z€가😀]{0,400}") {
            let Segments { encoding, units, count } = Segments::of(&text);
            let (alone, part) = encoding.capacity();
            if units <= alone {
                prop_assert_eq!(count, usize::from(units > 0));
            } else {
                prop_assert!(count >= units.div_ceil(part) && count <= units.div_ceil(part - 1));
            }
        }
    }
}
