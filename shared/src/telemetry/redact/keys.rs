//! What looks like a key: long, and unlike anything a person would write.
//!
//! There is no list of vendors' prefixes. A key is random, so its neighbouring characters do not go together: letters meet
//! digits, and letters meet letters they seldom meet in words. Names, paths, versions and times are made of words and of
//! whole numbers, however long they are.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shorter ones are not judged by shape: 16 characters are 64 bits in hexadecimal.
pub(super) const SHORTEST: usize = 16;

/// The letters that often follow each letter, `a` to `z`, within the words of documents and source code. A random letter
/// is among them in four of ten cases, the next letter of a word in eight.
const FOLLOWS: [&str; 26] = [
    "bcdfgiklmnpqrstuvy",
    "abcdeilorsu",
    "acehiklorstuy",
    "acdeilorsuv",
    "abcdefgilmnpqrstvwxy",
    "acefilorstu",
    "aehilnorsu",
    "aeiortu",
    "abcdefglmnoprstvz",
    "aeosu",
    "eins",
    "acdefiklostuvy",
    "abeimopsu",
    "acdefgiknostuvy",
    "abcdfgiklmnoprstuvwy",
    "aehiloprstu",
    "u",
    "abcdefgiklmnoprstuvy",
    "acehiklmnopqstuwy",
    "acehilmorstuwy",
    "abcdegilmnprst",
    "aeio",
    "aehino",
    "aceipt",
    "elops",
    "aeio",
];

const COMMON: [u32; 26] = {
    let (mut sets, mut letter) = ([0; 26], 0);
    while letter < 26 {
        let (after, mut place) = (FOLLOWS[letter].as_bytes(), 0);
        while place < after.len() {
            sets[letter] |= 1 << (after[place] - b'a');
            place += 1;
        }
        letter += 1;
    }
    sets
};

/// Whether `word` is a key, token, signature, digest or encoded secret. A word is ASCII without spaces.
pub(super) fn is_key(word: &str) -> bool {
    let core = word.trim_end_matches('.');
    if core.len() < SHORTEST {
        return false;
    }
    let runs = || core.split(|c: char| !c.is_ascii_alphanumeric());
    let jwt = core.starts_with("eyJ") && core.contains('.');
    // The one form that may consist of capitals alone: AWS states it.
    let aws = core.len() == 20 && (core.starts_with("AKIA") || core.starts_with("ASIA"));
    jwt || says_it_is_one(core)
        || aws && !core.bytes().any(|byte| byte.is_ascii_lowercase())
        || is_grouped_hex(core)
        || runs().any(is_odd)
        || !is_time(core) && (reads_badly(core) || runs().count() > 1 && ends_badly(core))
}

/// Whether `word`, slashes and all, is one key: base64 has slashes too, and then its parts are short.
pub(super) fn is_key_with_slashes(word: &str) -> bool {
    says_it_is_one(word) || word.len() >= SHORTEST && word.split('/').any(is_mixed) && reads_badly(word)
}

/// Digits among letters, or capitals among small letters, as words seldom have them.
pub(super) fn is_mixed(word: &str) -> bool {
    let (well, badly) = pairs(word);
    let kinds: [fn(&u8) -> bool; 3] = [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase];
    let kinds = kinds.into_iter().filter(|kind| word.as_bytes().iter().any(kind)).count();
    word.len() >= 4 && kinds >= 2 && badly >= 2 && badly * 2 >= well
}

/// Many keys begin by saying so: `whsec_…`, `sk_live_…`, `api-key-…`. What follows need not read badly then.
fn says_it_is_one(word: &str) -> bool {
    let Some((first, rest)) = word.split_once(['_', '-']) else { return false };
    let first = first.rsplit('/').next().unwrap_or(first);
    let says = ["sec", "sk", "pk", "key", "token"].iter().any(|end| first.ends_with(end));
    says && rest.len() >= 12 && rest.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// A UUID, or hexadecimal digits in other groups.
fn is_grouped_hex(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_' | b'.');
    text.len() >= 20 && text.bytes().all(hex) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Letters and digits without a break, long enough to be judged alone.
fn is_odd(run: &str) -> bool {
    let bytes = run.as_bytes();
    if bytes.len() < SHORTEST || is_time(run) {
        return false;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let changes = bytes.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    let hex = digits > 0 && digits < bytes.len() && bytes.iter().all(u8::is_ascii_hexdigit);
    let shouted = !bytes.iter().any(u8::is_ascii_lowercase) && changes >= 2;
    hex || shouted || changes >= 4 || digits == bytes.len() && digits > 19 || reads_badly(run)
}

/// How a text reads: the pairs of neighbours that go together, and those that do not. A separator, and the first letter
/// of a word after another's last (`companyName`), are neither.
fn pairs(text: &str) -> (usize, usize) {
    let (mut well, mut badly, mut small) = (0, 0, 0);
    for pair in text.as_bytes().windows(2) {
        let (one, two) = (pair[0], pair[1]);
        small = if one.is_ascii_lowercase() { small + 1 } else { 0 };
        let good = match (one.is_ascii_digit(), two.is_ascii_digit()) {
            (true, true) => true,
            _ if !one.is_ascii_alphanumeric() || !two.is_ascii_alphanumeric() => continue,
            (true, false) | (false, true) => false,
            // Words are longer than that.
            (false, false) if one.is_ascii_lowercase() && two.is_ascii_uppercase() => {
                if small < 3 {
                    false
                } else {
                    continue;
                }
            }
            (false, false) => {
                let (one, two) = (one.to_ascii_lowercase() - b'a', two.to_ascii_lowercase() - b'a');
                COMMON[usize::from(one)] >> two & 1 == 1
            }
        };
        if good { well += 1 } else { badly += 1 }
    }
    (well, badly)
}

/// Whether too many neighbours do not go together; the more kinds of characters, the fewer are too many.
fn reads_badly(text: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(kind);
    let (digits, upper, lower) = (has(u8::is_ascii_digit), has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase));
    let (well, badly) = pairs(text);
    let percent = match (digits, upper && lower) {
        (true, true) => 20,
        (true, false) => 26,
        (false, true) => 25,
        (false, false) => 32,
    };
    // Names of hosts and of things in a program are made of abbreviations, and have separators.
    let (least, percent) = match (has(u8::is_ascii_punctuation), has(|byte| *byte == b'.')) {
        (false, _) => (3, percent),
        (true, false) if digits && upper && lower => (3, percent),
        // Base64, or a path; paths seldom have capitals.
        (true, false) if upper && lower && !has(|byte| matches!(byte, b'-' | b'_')) => (3, percent),
        (true, false) => (4, percent + 6),
        (true, true) => (5, percent + 14),
    };
    digits && upper && lower && has_digits_inside(text) || badly >= least && badly * 100 >= percent * (well + badly)
}

/// Whether digits stand between letters; a version within a name (`listObjectsV2Input`) does too.
fn has_digits_inside(text: &str) -> bool {
    let inside = |part: &[u8]| {
        let [one, rest @ ..] = part else { return false };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
        digits > 0 && letter(Some(one)) && !matches!(one, b'v' | b'V') && letter(rest.get(digits))
    };
    !text.contains(['.', '/']) && (0..text.len()).any(|place| inside(&text.as_bytes()[place..]))
}

/// Whether some end of a word, from a separator on, reads badly: words before a key do not hide it.
fn ends_badly(text: &str) -> bool {
    let separators = text.char_indices().filter(|(_, c)| !c.is_ascii_alphanumeric());
    separators.map(|(place, c)| &text[place + c.len_utf8()..]).take_while(|end| end.len() >= SHORTEST).any(reads_badly)
}

/// `20261121T035000Z`, as AWS writes times in signatures, and RFC 3339.
fn is_time(text: &str) -> bool {
    let kinds = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'+' | b'T' | b'Z'));
    kinds && text.starts_with("20") && text.bytes().filter(u8::is_ascii_alphabetic).count() <= 2
}

/// Base64 in either alphabet, with or without padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The text that `word` is the base64 of, where that is text.
pub(super) fn hidden_text(word: &str) -> Option<String> {
    if word.len() < 8 || !word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let alphabet = if word.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let bytes = GeneralPurpose::new(alphabet, LENIENT).decode(word).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The words between separators are looked at by byte: none of them may be cut within a character.
        #[test]
        fn words_of_any_script_are_read(text in "[a-zA-Z0-9가-힣ㄱ-ㅎ🙂é_/+. -]{0,60}") {
            is_key(&text);
            is_key_with_slashes(&text);
            is_mixed(&text);
            hidden_text(&text);
        }
    }

    #[test]
    fn a_key_is_found_after_korean() {
        assert!(is_key("열쇠:가나다sk_live_51H8abcdEFGHijkl0123456789"));
        assert!(!is_key("이음은통합계층입니다"), "Korean alone is no key");
    }

    #[test]
    fn keys_are_known_by_how_they_read() {
        for word in [
            "sk_live_51H8abcdEFGHijkl0123456789",
            "test_gsk_docs_OaPz8L5KdmQXkzRz3y47BMw6",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AKIAIOSFODNN7EXAMPLE",
            "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
            "00f067aa0ba902b7",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "aB3-Xy9Kd02mQzR1",
            "oggIVIBira_Fobll9Irt-Q",
            "AiafXEbNJprjO/LFAIULSw",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "order_confirmation_4eC39HqLyjWDarjtT1zdp7dc",
            "qjXkVzWbGpYhRtLmKcDs",
        ] {
            assert!(is_key(word) || is_key_with_slashes(word), "{word}");
        }
    }

    #[test]
    fn words_paths_versions_and_times_are_not_keys() {
        for word in [
            "/nice/bizinfo/v1.0/enterprise/general/info",
            "/v1/companies/1234567891/representative",
            "provider_unavailable",
            "representative_check_unavailable",
            "getBusinessRegistrationStatus",
            "BusinessRegistrationNumberValidator",
            "x86_64-unknown-linux-gnu",
            "ieum-verify-production-ap-northeast-2",
            "2026-11-21T03",
            "20261121T035000Z",
            "application/vnd.api+json",
            "gate.nicednb.com",
            "shared/src/telemetry/redact.rs",
            "corporate_number_check_digit",
            "ap-northeast-2.amazonaws.com",
            "PROVIDER_ERROR_E404_TIMEOUT",
            "ResourceNotFoundException",
            "ListObjectsV2",
            "/v1/getBusinessStatus/listAll",
            "ProvisionedThroughputExceededException",
            "ConditionalCheckFailedException",
        ] {
            assert!(!is_key(word) && !is_key_with_slashes(word), "{word}");
        }
    }
}
