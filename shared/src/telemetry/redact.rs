//! The redactor: what must not be in a log is recognised by its name and by its shape.
//!
//! By name (`names`): a field, header, parameter or JSON member whose name says that it is secret loses its whole
//! value. By shape: in any other text, mail addresses, the numbers of persons (`numbers`) and whatever looks like a key (`keys`)
//! is replaced, however it is encoded (`prose`). When in doubt it is replaced: a log that says too little can be read
//! again with more context, a log that says too much cannot be taken back.
//!
//! Company numbers, amounts, dates, codes and trace ids stay readable: operators need them at night.

use std::borrow::Cow;
use std::ops::BitOr;

use http::HeaderMap;
use serde_json::{Number, Value};
use url::Url;

mod keys;
mod names;
mod numbers;
mod prose;

pub use names::is_secret_name;

/// What stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// The longest body that is logged, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// JSON within JSON within JSON: deeper than this is not looked at and so not shown.
const MAX_DEPTH: usize = 24;

/// Headers whose values are shown; of every other header only the name is.
const OPEN_HEADERS: [&str; 20] = [
    "accept",
    "accept-language",
    "age",
    "cache-control",
    "content-length",
    "content-type",
    "date",
    "host",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "server",
    "traceparent",
    "user-agent",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-content-type-options",
    "x-ieum-source",
    "x-request-id",
    "x-trace-id",
];

/// A field of a log line: its value, as far as it may be shown.
pub fn field(name: &str, value: &str) -> String {
    if is_secret_name(name) {
        return MASK.to_owned();
    }
    if names::is_identifier(name, value) || names::is_time(name, value) {
        return value.to_owned();
    }
    text_or_json(value, 0)
}

/// A number as a field: a card number may come as one, and so may a one-time password.
pub fn number(name: &str, value: Number) -> Value {
    if is_secret_name(name) {
        return MASK.into();
    }
    // Nobody's number is that small; most are, and cost no text.
    if value.as_f64().is_some_and(|value| value.abs() < 1e8) {
        return value.into();
    }
    let plain = value.to_string();
    let masked = if names::is_time(name, &plain) { None } else { numbers::masked(&plain) };
    masked.map_or_else(|| value.into(), Value::from)
}

/// An address: who signs in by it is not shown, secret parameters lose their values, the rest is read by shape.
pub fn url(url: &Url) -> String {
    let origin = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or(""), port(url));
    origin + &path_and_query(url.path(), url.query().unwrap_or(""))
}

fn port(url: &Url) -> String {
    url.port().map(|port| format!(":{port}")).unwrap_or_default()
}

/// A path and a query, as they are in an address: each with its escapes.
pub fn path_and_query(path: &str, query: &str) -> String {
    let mut shown = match text(path) {
        // As a whole it may be a key with slashes, or a key parted by them; else each of its parts is looked at.
        whole if whole != path && !whole.contains('/') => whole,
        _ => path
            .split('/')
            .scan("", |before, part| Some(segment(std::mem::replace(before, part), part)))
            .collect::<Vec<_>>()
            .join("/"),
    };
    for (place, (name, value)) in url::form_urlencoded::parse(query.as_bytes()).enumerate() {
        shown.push(if place == 0 { '?' } else { '&' });
        shown.push_str(&text(&name));
        shown.push('=');
        // As the name of a parameter, `key` is always one.
        shown.push_str(&if name == "key" { MASK.to_owned() } else { field(&name, &value) });
    }
    shown
}

/// One part of a path, after another: `messages/3f25…` is one of our identifiers, `token/3f25…` is not.
fn segment(before: &str, part: &str) -> String {
    let collection = !before.is_empty() && before.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let secret = is_secret_name(before) || before.contains("hook");
    if collection && !secret && names::is_uuid(part) {
        return part.to_owned();
    }
    let plain = part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if secret && !part.is_empty() && (!plain || part.len() >= keys::SHORTEST) { MASK.to_owned() } else { text(part) }
}

/// Headers as one JSON object.
pub fn headers(headers: &HeaderMap) -> String {
    let shown = headers.iter().map(|(name, value)| {
        let open = OPEN_HEADERS.contains(&name.as_str());
        let value = value.to_str().ok().filter(|_| open);
        (
            name.as_str().to_owned(),
            Value::from(value.map_or_else(|| MASK.to_owned(), |value| field(name.as_str(), value))),
        )
    });
    Value::Object(shown.collect()).to_string()
}

/// A body: JSON member by member, anything else by shape; cut at 4 kB.
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

/// A body as it may be kept: the numbers of cards masked, everything else as it is. What stands under the name of an
/// identifier (`…id`, `…uid`, `…key`) is left alone, because a number of ours may have the check digit of a card. JSON and
/// forms are read member by member, anything else as text; what is no text holds no numbers that we could see.
pub fn without_cards(body: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(body) else { return Cow::Borrowed(body) };
    let masked = match serde_json::from_str::<Value>(text) {
        Ok(mut value) => masks_cards(&mut value).then(|| value.to_string()),
        Err(_) if text.contains('=') && !text.contains(char::is_whitespace) => form_without_cards(text),
        Err(_) => numbers::without_cards(text),
    };
    masked.map_or(Cow::Borrowed(body), |masked| Cow::Owned(masked.into_bytes()))
}

/// Masks the numbers of cards in `value`, and says whether there were any.
fn masks_cards(value: &mut Value) -> bool {
    let masked = match value {
        Value::Null | Value::Bool(_) => None,
        Value::Number(number) => numbers::without_cards(&number.to_string()),
        Value::String(text) => numbers::without_cards(text),
        Value::Array(items) => return items.iter_mut().map(masks_cards).fold(false, BitOr::bitor),
        Value::Object(members) => {
            let shown = members.iter_mut().filter(|(name, member)| !(names_an_id(name) && is_scalar(member)));
            return shown.map(|(_, member)| masks_cards(member)).fold(false, BitOr::bitor);
        }
    };
    match masked {
        Some(masked) => {
            *value = masked.into();
            true
        }
        None => false,
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

fn names_an_id(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["id", "uid", "key"].iter().any(|end| name.ends_with(end))
}

fn form_without_cards(text: &str) -> Option<String> {
    let mut any = false;
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let masked = if names_an_id(&name) { None } else { numbers::without_cards(&value) };
        any |= masked.is_some();
        form.append_pair(&name, masked.as_deref().unwrap_or(&value));
    }
    any.then(|| form.finish())
}

/// Free text, read by shape and by the names in it.
pub fn text(text: &str) -> String {
    if is_ordinary(text) { text.to_owned() } else { prose::read(text, 0) }
}

fn text_or_json(text: &str, depth: usize) -> String {
    if is_ordinary(text) {
        return text.to_owned();
    }
    if depth >= MAX_DEPTH {
        return MASK.to_owned();
    }
    let trimmed = text.trim_start();
    if trimmed.starts_with(['{', '[', '"'])
        && let Ok(value) = serde_json::from_str::<Value>(trimmed)
    {
        return json(value, depth + 1).to_string();
    }
    prose::read(text, depth)
}

/// Whether `text` can hold nothing to hide, by a look at each byte: no number long enough to be a person's, no word long
/// enough to be a key, nothing encoded, no mail address, and no word that names a secret. Most texts end here.
fn is_ordinary(text: &str) -> bool {
    let (mut digits, mut word, mut cases) = (0, 0, (false, false));
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'z' => cases.0 = true,
            b'A'..=b'Z' => cases.1 = true,
            b'@' | b'%' | b'\\' | b'{' | b'[' | 0x80.. => return false,
            _ => {}
        }
        let of_a_word = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'.' | b'~' | b'/' | b'*');
        word = if of_a_word { word + 1 } else { 0 };
        if digits >= 8 || word >= keys::SHORTEST || word >= 8 && cases == (true, true) {
            return false;
        }
    }
    !names::may_name_a_secret(text)
}

fn json(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(mut members) => {
            hide_named_values(&mut members);
            members.into_iter().map(|(name, value)| (text(&name), member(&name, value, depth))).collect()
        }
        Value::Array(mut items) => {
            hide_values_after_names(&mut items);
            items.into_iter().map(|item| member("", item, depth)).collect()
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => member("", other, depth),
    }
}

fn member(name: &str, value: Value, depth: usize) -> Value {
    match value {
        Value::Null => Value::Null,
        _ if is_secret_name(name) => MASK.into(),
        Value::String(text) if names::is_identifier(name, &text) || names::is_time(name, &text) => text.into(),
        Value::String(text) => text_or_json(&text, depth).into(),
        Value::Number(digits) => number(name, digits),
        nested @ (Value::Object(_) | Value::Array(_)) => json(nested, depth),
        Value::Bool(bool) => Value::Bool(bool),
    }
}

/// `{"name": "password", "value": "…"}`: the name is a value itself.
fn hide_named_values(members: &mut serde_json::Map<String, Value>) {
    let named = ["name", "key", "header", "field", "param"];
    let secret = named.iter().any(|name| members.get(*name).and_then(Value::as_str).is_some_and(is_secret_name));
    for (name, value) in members {
        if secret && matches!(name.to_ascii_lowercase().as_str(), "value" | "values" | "content" | "data" | "text") {
            *value = MASK.into();
        }
    }
}

/// `["authorization", "…"]`: headers as lists.
fn hide_values_after_names(items: &mut [Value]) {
    for place in 1..items.len() {
        let (before, after) = items.split_at_mut(place);
        let named =
            before[place - 1].as_str().is_some_and(|name| !name.contains(' ') && name != MASK && is_secret_name(name));
        if let (true, Some(value @ Value::String(_))) = (named, after.first_mut()) {
            *value = MASK.into();
        }
    }
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
        let open = "arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:ieum/nice";
        assert_eq!(text(open), open, "the name of a secret is none");
        assert_eq!(text("<s:Password>x</s:Password>"), format!("<s:Password>{MASK}</s:Password>"));
        assert_eq!(text("cannot open redis://u:p@h.kr/0"), format!("cannot open redis://{MASK}@h.kr/0"));
        assert_eq!(text("the client secret is \"loOwowviypp\""), format!("the client secret is \"{MASK}\""));
        assert_eq!(text("got loOwowviypp+EWOnnic+Dw=="), format!("got {MASK}"));
        assert_eq!(text("the api key is abcd1234"), format!("the api key is {MASK}"));
        assert_eq!(text("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- x"), format!("{MASK} x"));
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
    fn a_kept_body_has_no_card_and_everything_else() {
        let kept = |body: &str| String::from_utf8(without_cards(body.as_bytes()).into_owned()).unwrap();
        for (body, expected) in [
            (r#"{"b":1, "a":"010-1234-5678"}"#, r#"{"b":1, "a":"010-1234-5678"}"#),
            (r#"{"card":{"number":"4242 4242 4242 4242"}}"#, r#"{"card":{"number":"[card]"}}"#),
            (r#"{"n":[4242424242424242]}"#, r#"{"n":["[card]"]}"#),
            (r#"{"orderId":"4242424242424242"}"#, r#"{"orderId":"4242424242424242"}"#),
            (r#"{"keys":{"key":["4242424242424242"]}}"#, r#"{"keys":{"key":["[card]"]}}"#),
            ("imp_uid=4242424242424242&amount=1000", "imp_uid=4242424242424242&amount=1000"),
            ("imp_uid=1&c=4242-4242-4242-4242", "imp_uid=1&c=%5Bcard%5D"),
            ("the card 4242424242424242 was used", "the card [card] was used"),
        ] {
            assert_eq!(kept(body), expected, "{body}");
        }
        assert_eq!(without_cards(&[0xff, 0x34]), Cow::Borrowed(&[0xff, 0x34][..]));
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
