//! The redactor: what must not be in a log is recognised by its name and by its shape.
//!
//! By name: a field, header, parameter or JSON member whose name says that it is secret loses its whole value. By shape:
//! in any other text, mail addresses, phone numbers, resident registration numbers, card numbers and anything that looks
//! like a key or token is replaced. When in doubt it is replaced: a log that says too little can be read again with
//! more context, a log that says too much cannot be taken back.
//!
//! Company numbers, amounts, dates, codes and trace ids stay readable: operators need them at night.

use http::HeaderMap;
use serde_json::Value;
use url::Url;

/// What stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// The longest body that is logged, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// JSON within JSON within JSON: deeper than this is not looked at and so not shown.
const MAX_DEPTH: usize = 24;

/// Parts of names that mark a secret, compared in lower case without separators.
const SECRET_NAMES: [&str; 30] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "appkey",
    "servicekey",
    "accesskey",
    "privatekey",
    "secretkey",
    "hmackey",
    "authorization",
    "credential",
    "cookie",
    "signature",
    "session",
    "otp",
    "cvc",
    "cvv",
    "cardnumber",
    "cardno",
    "residentnumber",
    "rrn",
    "jumin",
    "ssn",
    "birth",
    "pincode",
    "accountnumber",
];

/// Members that hold a person's name in the wire formats we speak, compared in the same way but whole.
const PERSON_NAMES: [&str; 5] = ["pnm", "pnm2", "ceonm", "mgrnm", "representative"];

/// Headers whose values are shown; of every other header only the name is.
const OPEN_HEADERS: [&str; 12] = [
    "accept",
    "accept-language",
    "age",
    "cache-control",
    "content-length",
    "content-type",
    "date",
    "host",
    "retry-after",
    "server",
    "traceparent",
    "x-ieum-source",
];

/// Our own identifiers, which have the shape of a key but are none.
const IDENTIFIERS: [&str; 5] = ["trace_id", "request_id", "id", "message_id", "event_id"];

/// A field of a log line.
pub fn field(name: &str, value: &str) -> String {
    if is_secret_name(name) {
        return MASK.to_owned();
    }
    let plain_id = || value.len() <= 36 && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if IDENTIFIERS.contains(&name) && plain_id() { value.to_owned() } else { text(value) }
}

/// An address: secret parameters lose their values, the rest is read by shape.
pub fn url(url: &Url) -> String {
    let mut shown = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or(""), port(url));
    for segment in url.path().split('/').skip(1) {
        shown.push('/');
        shown.push_str(&text(segment));
    }
    for (place, (name, value)) in url.query_pairs().enumerate() {
        shown.push(if place == 0 { '?' } else { '&' });
        shown.push_str(&text(&name));
        shown.push('=');
        shown.push_str(&field(&name, &value));
    }
    shown
}

fn port(url: &Url) -> String {
    url.port().map(|port| format!(":{port}")).unwrap_or_default()
}

/// Headers as one JSON object.
pub fn headers(headers: &HeaderMap) -> String {
    let shown = headers.iter().map(|(name, value)| {
        let open = OPEN_HEADERS.contains(&name.as_str());
        let value = if open { value.to_str().map_or_else(|_| MASK.to_owned(), text) } else { MASK.to_owned() };
        (name.as_str().to_owned(), Value::from(value))
    });
    Value::Object(shown.collect()).to_string()
}

/// A body: JSON member by member, a form parameter by parameter, anything else by shape; cut at 4 kB.
pub fn body(bytes: &[u8]) -> String {
    if bytes.len() > 64 * MAX_BODY_BYTES {
        return format!("[{} bytes]", bytes.len());
    }
    let Ok(body) = std::str::from_utf8(bytes) else { return format!("[{} bytes, not text]", bytes.len()) };
    let shown = text_or_json(body, 0);
    match shown.char_indices().map(|(place, _)| place).take_while(|place| *place <= MAX_BODY_BYTES).last() {
        Some(cut) if shown.len() > MAX_BODY_BYTES => format!("{}… [{} bytes]", &shown[..cut], bytes.len()),
        _ => shown,
    }
}

fn text_or_json(body: &str, depth: usize) -> String {
    let trimmed = body.trim_start();
    if trimmed.starts_with(['{', '[', '"']) {
        if depth >= MAX_DEPTH {
            return MASK.to_owned();
        }
        if let Ok(value) = serde_json::from_str::<Value>(trimmed) {
            return json(value, depth + 1).to_string();
        }
    }
    text(body)
}

fn json(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let value = if is_secret_name(&name) && !value.is_null() { MASK.into() } else { json(value, depth) };
                (text(&name), value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| json(item, depth)).collect(),
        Value::String(text) => text_or_json(&text, depth).into(),
        // A card or resident number may come as a number.
        Value::Number(number) => {
            let (plain, shown) = (number.to_string(), text(&number.to_string()));
            if plain == shown { Value::Number(number) } else { shown.into() }
        }
        other @ (Value::Null | Value::Bool(_)) => other,
    }
}

/// Whether a name says that its value is secret.
pub fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    PERSON_NAMES.contains(&plain.as_str()) || SECRET_NAMES.iter().any(|secret| plain.contains(secret))
}

/// Free text, read by shape.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    // Whether the word just read was a name whose value must go.
    let mut secret_follows = false;
    while let Some(first) = rest.chars().next() {
        if !is_word(first) {
            shown.push(first);
            rest = &rest[first.len_utf8()..];
            // A name and its value are parted by at most `": "` or `=`; a sentence moves on.
            secret_follows &= matches!(first, '=' | ':' | '"' | '\'' | ' ' | '\\' | '%');
            continue;
        }
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        // Numbers may be written in groups parted by single spaces: look at them as one.
        let (number, beyond) = spaced_number(rest);
        if secret_follows && !is_scheme(word) {
            shown.push_str(MASK);
            (secret_follows, rest) = (false, after);
        } else if number.len() > word.len() && personal_number(number).is_some() {
            shown.push_str(personal_number(number).unwrap_or(MASK));
            (secret_follows, rest) = (false, beyond);
        } else {
            shown.push_str(&shown_word(word));
            secret_follows = is_scheme(word) || is_secret_name(word) && next_is_assignment(after);
            rest = after;
        }
    }
    shown
}

/// Characters that keys, numbers, addresses and mail addresses are made of.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '.' | '@' | '~' | '/' | '*')
}

/// `Bearer x`, `Basic x`: the next word is the secret.
fn is_scheme(word: &str) -> bool {
    ["bearer", "basic", "apikey"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn next_is_assignment(after: &str) -> bool {
    let after = after.trim_start_matches(['"', '\'', ' ', '\\']);
    after.starts_with([':', '=']) || after.starts_with("%3D") || after.starts_with("%3A")
}

/// The digits at the start of `text`, in groups parted by single spaces, and what follows them.
fn spaced_number(text: &str) -> (&str, &str) {
    let (mut end, mut bytes) = (0, text.bytes().enumerate().peekable());
    while let Some((place, byte)) = bytes.next() {
        let next_is_digit = bytes.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        match byte {
            b'0'..=b'9' => end = place + 1,
            b'+' if place == 0 => {}
            b' ' | b'-' if next_is_digit && end == place => {}
            _ => break,
        }
    }
    text.split_at(end)
}

fn shown_word(word: &str) -> String {
    if let Some((local, domain)) = word.split_once('@')
        && !local.is_empty()
        && domain.contains('.')
    {
        return format!("***@{domain}");
    }
    if let Some(mask) = personal_number(word) {
        return mask.to_owned();
    }
    if looks_like_a_key(word) {
        return MASK.to_owned();
    }
    // A path: each of its parts may hold something.
    if word.contains('/') && word.split('/').any(|part| personal_number(part).is_some() || looks_like_a_key(part)) {
        return word.split('/').map(shown_word).collect::<Vec<_>>().join("/");
    }
    word.to_owned()
}

/// What stands for a number that belongs to a person; `None` for any other number.
fn personal_number(word: &str) -> Option<&'static str> {
    let plain = word.trim_end_matches(['.', '-']);
    if !plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b' ' | b'.' | b'+')) {
        return None;
    }
    let digits: Vec<u8> = plain.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
    let international = plain.starts_with('+') && (8..=15).contains(&digits.len());
    let mobile = |digits: &[u8]| matches!(digits, [0, 1, 0 | 1 | 6..=9, ..]) && (10..=11).contains(&digits.len());
    let korean_abroad = matches!(digits.as_slice(), [8, 2, 1, ..]) && (11..=12).contains(&digits.len());
    if international || mobile(&digits) || korean_abroad {
        return Some("[phone]");
    }
    if is_resident_number(&digits) {
        return Some("[resident number]");
    }
    let card = (14..=19).contains(&digits.len()) || digits.len() == 13 && digits[0] == 4;
    (card && luhn(&digits)).then_some("[card]")
}

/// 주민등록번호 and 외국인등록번호: a date, then a digit 1 to 8 for century and sex. The check digit is not asked:
/// numbers given out since October 2020 have none.
fn is_resident_number(digits: &[u8]) -> bool {
    let [_, _, m1, m2, d1, d2, century, ..] = digits else { return false };
    let (month, day) = (m1 * 10 + m2, d1 * 10 + d2);
    digits.len() == 13 && (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=8).contains(century)
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let weigh = |(place, digit): (usize, &u8)| u32::from(if place % 2 == 1 { doubled(*digit) } else { *digit });
    digits.iter().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
}

/// Long, and of mixed characters: a key, token, signature, digest or encoded secret.
fn looks_like_a_key(word: &str) -> bool {
    let core = word.trim_matches(['.', '-', '_', '/', '*']);
    if core.len() < 20 || !core.is_ascii() {
        return false;
    }
    let count = |class: fn(&u8) -> bool| core.bytes().filter(class).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let all_hex = core.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') && digits > 0 && upper + lower > 0;
    let three_kinds = digits > 0 && upper > 0 && lower > 0;
    let no_words = digits >= 4 && upper + lower >= 4 && !core.contains('/');
    // Times, addresses and dotted names have digits too, but short parts.
    let longest = core.split(['-', '.', ':', '/', '_']).map(str::len).max().unwrap_or(0);
    core.starts_with("eyJ") || longest >= 12 && (all_hex || three_kinds || no_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_person_is_masked_by_shape() {
        for (given, shown) in [
            ("to hong.gildong+a@example.co.kr.", "to ***@example.co.kr."),
            ("call 010-1234-5678 now", "call [phone] now"),
            ("call 010 1234 5678 now", "call [phone] now"),
            ("01012345678,", "[phone],"),
            ("+82-10-1234-5678", "[phone]"),
            ("821012345678", "[phone]"),
            ("900101-1234567", "[resident number]"),
            ("9001011234567", "[resident number]"),
            ("card 4111 1111 1111 1111!", "card [card]!"),
            ("4111-1111-1111-1111", "[card]"),
            ("378282246310005", "[card]"),
        ] {
            assert_eq!(text(given), shown);
        }
    }

    #[test]
    fn keys_and_tokens_are_masked_by_shape_and_by_the_word_before_them() {
        for given in [
            "sk_live_51H8abcdEFGHijkl0123456789",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1",
            "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        ] {
            assert_eq!(text(&format!("got {given}, sorry")), format!("got {MASK}, sorry"), "{given}");
        }
        assert_eq!(text("Authorization: Bearer abc"), format!("Authorization: Bearer {MASK}"));
        assert_eq!(text("x?serviceKey=abc&b=1"), format!("x?serviceKey={MASK}&b=1"));
        assert_eq!(text(r#"{\"password\":\"hunter2\"}"#), format!(r#"{{\"password\":\"{MASK}\"}}"#));
        assert_eq!(text("the token was refused"), "the token was refused", "a sentence is not an assignment");
    }

    #[test]
    fn what_operators_need_stays_readable() {
        for given in [
            "company 1234567891",
            "123-45-67891",
            "1101110062432",
            "2026-11-21T03:50:00.123Z",
            "1795233000123",
            "circuit open until 2026-11-21T03:50:00.123Z; nice: status 503",
            "/v1/companies/1234567891/representative",
            "https://gate.nicednb.com/nice/bizinfo/v1.0/enterprise/general/info",
            "provider_unavailable",
            "(주)샘플강원 4,500,000",
            "127.0.0.1:4600",
        ] {
            assert_eq!(text(given), given);
        }
        assert_eq!(field("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn json_is_read_member_by_member_however_deep() {
        let given = r#"{"b_no":["1234567891"],"app_secret":"x","ceoNm":"홍길동","businesses":[{"p_nm":"임꺽정"}],"n":{"cardNo":4111111111111111,"m":"{\"password\":\"p\",\"to\":\"a@b.kr\"}"},"amount":4111111111111111}"#;
        let shown = body(given.as_bytes());
        for secret in ["\"x\"", "홍길동", "임꺽정", "4111111111111111", "\\\"p\\\"", "a@b.kr"] {
            assert!(!shown.contains(secret), "`{secret}` in {shown}");
        }
        assert!(shown.contains("1234567891"));
    }

    #[test]
    fn headers_and_parameters_are_shown_by_name_only_unless_known_to_be_harmless() {
        let mut given = HeaderMap::new();
        given.insert("content-type", "application/json".parse().unwrap());
        given.insert("x-custom", "anything".parse().unwrap());
        assert_eq!(headers(&given), format!(r#"{{"content-type":"application/json","x-custom":"{MASK}"}}"#));
        let given = Url::parse("https://user:pw@h.kr:8443/a/01012345678?serviceKey=k%2B&page=2").unwrap();
        assert_eq!(url(&given), format!("https://h.kr:8443/a/[phone]?serviceKey={MASK}&page=2"));
    }

    #[test]
    fn bodies_are_bounded() {
        let long = "가".repeat(3_000);
        let shown = body(long.as_bytes());
        assert!(shown.len() < 4_200 && shown.ends_with("[9000 bytes]"));
        assert_eq!(body(&[0xff, 0xfe]), "[2 bytes, not text]");
        let deep = "[".repeat(100_000);
        assert!(body(deep.as_bytes()).len() < 4_200, "no stack is spent on depth");
    }
}
