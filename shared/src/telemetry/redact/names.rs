//! What a name says about its value: secret, an identifier, a time, or nothing.
//!
//! Names are compared in lower case without separators, so that `X-Api-Key`, `api_key` and `apiKey` are one.

/// Parts of names that mark a secret.
const SECRET_PARTS: [&str; 36] = [
    "accesskey",
    "accountnumber",
    "apikey",
    "appkey",
    "authcode",
    "authkey",
    "authorization",
    "birth",
    "cardno",
    "cardnum",
    "clientkey",
    "connectionstring",
    "cookie",
    "credential",
    "encryptionkey",
    "hmac",
    "jumin",
    "masterkey",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwort",
    "pincode",
    "pinnumber",
    "privatekey",
    "privkey",
    "residentno",
    "residentnumber",
    "residentregistration",
    "secret",
    "servicekey",
    "session",
    "signature",
    "signingkey",
    "token",
];

/// Short ones, which other words hold by chance (`business_number`): they mark a secret at either end of a word.
const SHORT_PARTS: [&str; 7] = ["cvc", "cvv", "jwt", "otp", "pwd", "rrn", "ssn"];

/// What a text holds that may name a secret without holding any of [`SECRET_PARTS`].
const SHORT_HINTS: [&str; 18] = [
    "auth", "basic", "bear", "cvc", "cvv", "hash", "igest", "jwt", "key", "nm", "otp", "pass", "pin", "pw", "rrn",
    "sid", "sig", "ssn",
];

/// Names that mark a secret when they are the whole name.
const SECRET_NAMES: [&str; 14] = [
    "auth",
    "bearer",
    "cardnumber",
    "foreignerno",
    "hash",
    "juminno",
    "pass",
    "passport",
    "pin",
    "pw",
    "sid",
    "sig",
    "sign",
    "userpw",
];

/// Members that hold a person's name in the wire formats we speak, whole names too.
const PERSON_NAMES: [&str; 5] = ["pnm", "pnm2", "ceonm", "mgrnm", "representative"];

/// The same in Korean.
const KOREAN_PARTS: [&str; 10] =
    ["비밀번호", "암호", "토큰", "인증키", "인증번호", "서비스키", "주민등록번호", "주민번호", "카드번호", "계좌번호"];

/// Names that end in `key` and hold no secret.
const OPEN_KEYS: [&str; 8] =
    ["key", "cachekey", "idempotencykey", "itemkey", "objectkey", "partitionkey", "s3key", "sortkey"];

/// Endings of names that are about a secret without holding it.
const ABOUT: [&str; 9] =
    ["count", "type", "expiresin", "expiresat", "expiry", "ttl", "ttlseconds", "length", "seconds"];

/// Words before an identifier of ours in a sentence.
const THINGS: [&str; 10] =
    ["attempt", "batch", "delivery", "email", "event", "message", "payment", "request", "trace", "webhook"];

/// Words in alphabetical order, with the range of those that begin with each letter: at most places of most texts there is
/// nothing to compare.
struct Words {
    words: &'static [&'static str],
    of_letter: [(usize, usize); 26],
}

impl Words {
    const fn new(words: &'static [&'static str]) -> Self {
        let (mut of_letter, mut place) = ([(0, 0); 26], 0);
        while place < words.len() {
            let letter = (words[place].as_bytes()[0] - b'a') as usize;
            if of_letter[letter].1 == 0 {
                of_letter[letter].0 = place;
            }
            of_letter[letter].1 = place + 1;
            place += 1;
        }
        Self { words, of_letter }
    }

    /// Whether one of them is in `plain`, which is in lower case.
    fn are_in(&self, plain: &[u8]) -> bool {
        plain.iter().enumerate().any(|(place, byte)| {
            let letter = byte.checked_sub(b'a').map(usize::from);
            let (from, past) = letter.and_then(|letter| self.of_letter.get(letter)).copied().unwrap_or_default();
            self.words[from..past].iter().any(|word| plain[place..].starts_with(word.as_bytes()))
        })
    }
}

const PARTS: Words = Words::new(&SECRET_PARTS);
const HINTS: Words = Words::new(&SHORT_HINTS);

/// A name in lower case without separators; of a longer one the end, which is what decides.
struct Plain {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Plain {
    const MAX: usize = 96;

    fn of(name: &str) -> Self {
        let mut plain = Self { bytes: [0; Self::MAX], length: 0 };
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        let too_many = if name.len() > Self::MAX { letters.clone().count().saturating_sub(Self::MAX) } else { 0 };
        for (place, byte) in plain.bytes.iter_mut().zip(letters.skip(too_many)) {
            *place = byte.to_ascii_lowercase();
            plain.length += 1;
        }
        plain
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.as_bytes() == self.as_bytes())
    }

    fn ends_with_one_of(&self, ends: &[&str]) -> bool {
        ends.iter().any(|end| self.as_bytes().ends_with(end.as_bytes()))
    }
}

/// Whether a name says that its value is secret.
pub fn is_secret_name(name: &str) -> bool {
    if !name.is_ascii() && KOREAN_PARTS.iter().any(|part| name.contains(part)) {
        return true;
    }
    let plain = Plain::of(name);
    if PARTS.are_in(plain.as_bytes()) {
        return !plain.ends_with_one_of(&ABOUT);
    }
    plain.is_one_of(&SECRET_NAMES)
        || has_short_part(name)
        || plain.is_one_of(&PERSON_NAMES)
        || plain.as_bytes().ends_with(b"key") && !plain.is_one_of(&OPEN_KEYS)
}

fn has_short_part(name: &str) -> bool {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.len() >= 3 && word.is_ascii()).any(|word| {
        let (first, last) = (&word[..3], &word[word.trim_end_matches(|c: char| c.is_ascii_digit()).len().max(3) - 3..]);
        SHORT_PARTS.iter().any(|part| {
            first.eq_ignore_ascii_case(part) || last.get(..3).is_some_and(|last| last.eq_ignore_ascii_case(part))
        })
    })
}

/// Whether a text of at most 96 bytes may name a secret anywhere. It errs on the side of yes.
pub(super) fn may_name_a_secret(text: &str) -> bool {
    if text.len() > Plain::MAX {
        return true;
    }
    let plain = Plain::of(text);
    PARTS.are_in(plain.as_bytes()) || HINTS.are_in(plain.as_bytes()) || plain.is_one_of(&PERSON_NAMES)
}

/// Headers whose value runs to the end of its line.
pub(super) fn is_credential_header(name: &str) -> bool {
    Plain::of(name).ends_with_one_of(&["authorization", "cookie"])
}

/// Whether `value` is an identifier in the form in which we make and receive them, and `name` says that it is one. They
/// have the shape of a key but are none, and operators search for them.
pub(super) fn is_identifier(name: &str, value: &str) -> bool {
    // The lengths of all their forms; few values have one.
    if !matches!(value.len(), 16 | 32 | 35 | 36 | 55) {
        return false;
    }
    let plain = Plain::of(name);
    let tracing = ["trace", "traceid", "traceparent", "amzntraceid", "root", "parent", "spanid", "parentid"];
    let of_a_trace = plain.ends_with_one_of(&tracing) && is_trace(value);
    let id = name == "id" || ["_id", "-id", "Id", "ID", ".id"].iter().any(|end| name.ends_with(end));
    let names_one = id || plain.is_one_of(&THINGS);
    of_a_trace || names_one && is_uuid(value) && !is_secret_name(name)
}

/// Whether `name` says that its value is a time; then thirteen digits are milliseconds, not a person's number.
pub(super) fn is_time(name: &str, value: &str) -> bool {
    let epoch_or_date = matches!(value.len(), 10 | 13 | 14 | 16 | 17 | 19) && value.starts_with(['1', '2']);
    let ends = ["time", "timestamp", "until", "since", "millis", "epoch", "ms", "date"];
    epoch_or_date
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && (name.ends_with("_at") || name.ends_with("At") || Plain::of(name).ends_with_one_of(&ends))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn has_parts(text: &str, lengths: &[usize]) -> bool {
    let mut parts = text.split('-');
    lengths.iter().all(|length| parts.next().is_some_and(|part| part.len() == *length && is_lower_hex(part)))
        && parts.next().is_none()
}

/// A W3C trace or span id, a `traceparent`, or the id of an X-Ray trace.
fn is_trace(value: &str) -> bool {
    matches!(value.len(), 16 | 32) && is_lower_hex(value)
        || has_parts(value, &[2, 32, 16, 2])
        || has_parts(value, &[1, 8, 24])
}

/// A random or time-ordered UUID (RFC 9562, versions 4 and 7), as we and AWS make them.
pub(super) fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && has_parts(value, &[8, 4, 4, 4, 12])
        && matches!(value.as_bytes()[14], b'4' | b'7')
        && matches!(value.as_bytes()[19], b'8' | b'9' | b'a' | b'b')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_their_case_and_separators() {
        for name in [
            "X-Api-Key",
            "apiKey",
            "API_KEY",
            "api key",
            "client.secret",
            "accessToken",
            "confmKey",
            "crtfc_key",
            "PW",
            "DB_PASSWORD",
            "Set-Cookie",
            "cardNo",
            "card_number",
            "residentRegistrationNumber",
            "비밀번호",
            "ceoNm",
        ] {
            assert!(is_secret_name(name), "`{name}`");
        }
        for name in [
            "provider",
            "endpoint",
            "status",
            "code",
            "key",
            "cache_key",
            "idempotency-key",
            "token_type",
            "expires_in",
            "token_expires_in",
            "author",
            "monkeys",
            "business_number",
            "b_no",
            "message_id",
            "trace_id",
            "capacity",
        ] {
            assert!(!is_secret_name(name), "`{name}`");
        }
    }

    #[test]
    fn the_lists_that_are_searched_by_letter_are_in_order() {
        assert!(SECRET_PARTS.is_sorted() && SHORT_HINTS.is_sorted());
    }

    #[test]
    fn an_identifier_needs_both_its_name_and_its_form() {
        let (trace, uuid) = ("4bf92f3577b34da6a3ce929d0e0e4736", "3f2504e0-4f89-41d3-9a0c-0305e82c3301");
        assert!(is_identifier("trace_id", trace) && is_identifier("traceId", trace) && is_identifier("message", uuid));
        assert!(is_identifier("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(is_identifier("Root", "1-58406520-a006649127e371903a2de979"));
        assert!(!is_identifier("value", trace) && !is_identifier("id", trace) && !is_identifier("note", uuid));
        assert!(!is_identifier("session_id", uuid), "a session's id is as good as its secret");
        assert!(!is_identifier("id", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), "not a version we make");
    }
}
