//! Requests made from the description: each is a plain one, mostly an example of it, with up to three twists that strain or break
//! what is described. The same seed makes the same requests.
//!
//! What they are worth is decided elsewhere ([`Description::faults`]); only [`Request::must`] is known here, where a request was
//! broken in one known way.

use std::collections::BTreeMap;

use fastrand::Rng;
use proptest::strategy::{Strategy, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::description::{Description, Operation};

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, encoded, with its query.
    pub target: String,
    /// The headers; the values are bytes.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// What is odd about it.
    pub twists: Vec<&'static str>,
    /// The statuses one of which it must get; none, when that is not known.
    pub must: &'static [u16],
}

impl Request {
    /// The request as a command that anybody can repeat.
    pub fn curl(&self, url: &str) -> String {
        let mut line = format!(
            "curl -sS -i --path-as-is -X {} {}",
            self.method,
            quoted(format!("{url}{}", self.target).as_bytes())
        );
        for (name, value) in &self.headers {
            let header = [name.as_bytes(), b": ", value].concat();
            line.push_str(&format!(" -H {}", quoted(&header)));
        }
        if !self.body.is_empty() {
            line.push_str(&format!(" --data-binary {}", quoted(&self.body)));
        }
        line
    }
}

/// Bytes as an argument of a shell (`$'…'`); what is very long is told in part.
fn quoted(bytes: &[u8]) -> String {
    let mut text = "$'".to_owned();
    for &byte in bytes.iter().take(4_000) {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('\'');
    match bytes.len().checked_sub(4_000) {
        Some(more) if more > 0 => format!("{text} # and {more} bytes more"),
        Some(_) | None => text,
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Keys {
    /// A key that may do everything.
    pub right: String,
    /// A key that may do nothing.
    pub scopeless: String,
}

/// Texts that have broken programs.
const HOSTILE: [&str; 34] = [
    "",
    " ",
    "\u{0}",
    "a\u{0}b",
    "\u{1b}[31m",
    "\r\nx-injected: 1",
    "\u{7f}",
    "홍길동",
    "\u{1112}\u{1169}\u{11bc}",
    "뷁쀍",
    "👩‍👩‍👧‍👦",
    "\u{202e}evil",
    "\u{feff}",
    "\u{ffff}",
    "\u{10ffff}",
    "e\u{301}\u{301}\u{301}",
    "ß İ ı",
    "'; DROP TABLE users; --",
    "\"><script>alert(1)</script>",
    "{{ 7 * 7 }}{% for a in range(99999999) %}",
    "${jndi:ldap://127.0.0.1/a}",
    "../../../../etc/passwd",
    "%00%ff%2e%2e",
    "null",
    "NaN",
    "-1",
    "1e309",
    "99999999999999999999",
    "0000-00-00",
    "2026-02-30",
    "9999-12-31T23:59:60+23:59",
    "+10000-01-01T00:00:00Z",
    "http://169.254.169.254/latest/meta-data/",
    "#pk :sk",
];

/// Credentials that are nobody's.
const WRONG: [(&str, &[u8]); 7] = [
    ("x-api-key", b"nobody's"),
    ("x-api-key", b""),
    ("x-api-key", b"\xed\x99\x8d"),
    ("authorization", b"Bearer"),
    ("authorization", b"Bearer a.b.c"),
    ("authorization", b"Basic dXNlcjpwYXNz"),
    ("authorization", b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwic2NvcGUiOiIqIn0."),
];

/// Bodies that no JSON schema can tell of.
const BROKEN: [&[u8]; 14] = [
    b"",
    b" ",
    b"{",
    b"null",
    b"[]",
    b"\"text\"",
    b"0",
    b"{\"a\":1,\"a\":2}",
    b"{\"a\":\"\\ud800\"}",
    b"{\"a\":1e999}",
    b"{'a':1}",
    b"\xef\xbb\xbf{}",
    b"{\"a\":\"\xff\xfe\"}",
    b"PK\x03\x04\x00\x00\xff\xff",
];

/// Escapes of a path that are not what they seem.
const PATHS: [&str; 14] = [
    "%00",
    "%FF",
    "%ED%A0%80",
    "%25",
    "%2F",
    "a%2Fb",
    "%2e%2e",
    "..",
    ".",
    "a+b",
    "%20",
    "%ED%99%8D%EA%B8%B8%EB%8F%99",
    "a;b=c",
    "%23%3F",
];

/// Queries that are not what they seem.
const QUERIES: [&str; 12] = [
    "&",
    "=",
    "&&a",
    "a=1&a=2",
    "%",
    "%zz=1",
    "%FF=%FE",
    "page=%00",
    "size=1&size=2",
    "a[]=1",
    "+=+",
    "%ED%99%8D=%EA%B8%B8",
];

/// A value as it stands in a path or a query.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Makes requests.
#[derive(Debug)]
pub struct Maker<'a> {
    description: &'a Description,
    keys: Keys,
    random: Rng,
    /// Values of parameters that something is known about, by their names.
    known: BTreeMap<String, Vec<String>>,
}

impl<'a> Maker<'a> {
    /// Makes the requests of `seed`.
    pub fn new(description: &'a Description, keys: Keys, seed: u64) -> Self {
        Self { description, keys, random: Rng::with_seed(seed), known: BTreeMap::new() }
    }

    /// Begins again with another seed; what is known stays.
    pub fn reseed(&mut self, seed: u64) {
        self.random.seed(seed);
    }

    /// Has requests ask for this value of the parameter `name` more often than for others.
    pub fn learn(&mut self, name: &str, value: &str) {
        let known = self.known.entry(name.to_owned()).or_default();
        if known.len() < 64 && !known.iter().any(|one| one == value) {
            known.push(value.to_owned());
        }
    }

    /// The next request for `operation`.
    pub fn request(&mut self, operation: &Operation) -> Request {
        let path = self.path(operation);
        let query = self.query(operation);
        let (kind, body) = self.body(operation);
        let mut request = Request {
            method: operation.method.clone(),
            target: path,
            headers: Vec::new(),
            body,
            twists: Vec::new(),
            must: &[],
        };
        if !operation.is_public() {
            request.headers.push(("x-api-key", self.keys.right.clone().into_bytes()));
        }
        if let Some(kind) = kind {
            request.headers.push(("content-type", kind.into_bytes()));
        }
        if operation.parameters("header").any(|one| one["name"] == "idempotency-key") && self.random.u8(..4) > 0 {
            // Few, so that some come twice: with the same body or with another one.
            request.headers.push(("idempotency-key", format!("key-{}", self.random.u8(..6)).into_bytes()));
        }
        let mut query = query;
        let twists = [0, 1, 1, 1, 2, 3][self.random.usize(..6)];
        for _ in 0..twists {
            self.twist(operation, &mut request, &mut query);
        }
        if !query.is_empty() {
            request.target = format!("{}?{query}", request.target);
        }
        // API Gateway takes 10,240 bytes of request line and headers; beyond that is another test's matter.
        request.target.truncate(8_000);
        if request.twists.len() > 1 {
            request.must = &[];
        }
        request
    }

    fn one<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.random.usize(..of.len())]
    }

    /// Makes one thing odd.
    fn twist(&mut self, operation: &Operation, request: &mut Request, query: &mut String) {
        let has_body = operation.of["requestBody"].is_object();
        let without = |request: &mut Request, header: &str| request.headers.retain(|(name, _)| *name != header);
        let twist = match self.random.u8(..if has_body { 20 } else { 10 }) {
            0 if !operation.is_public() => {
                without(request, "x-api-key");
                request.must = &[401];
                "no credentials"
            }
            1 if !operation.is_public() => {
                without(request, "x-api-key");
                let (name, value) = WRONG[self.random.usize(..WRONG.len())];
                request.headers.push((name, value.to_vec()));
                request.must = &[401];
                "wrong credentials"
            }
            2 if !operation.is_public() => {
                without(request, "x-api-key");
                request.headers.push(("x-api-key", self.keys.scopeless.clone().into_bytes()));
                request.must = &[403];
                "no scope"
            }
            3 | 4 if operation.path.contains('{') => {
                let segments: Vec<&str> = operation.path.split('/').collect();
                let odd: Vec<String> = segments
                    .iter()
                    .zip(request.target.split('/'))
                    .map(|(own, given)| if own.starts_with('{') { self.odd_segment() } else { given.to_owned() })
                    .collect();
                request.target = odd.join("/");
                "odd path"
            }
            5 => {
                let more = self.one(&QUERIES);
                *query = if query.is_empty() { more.to_owned() } else { format!("{query}&{more}") };
                "odd query"
            }
            6 => {
                let parameters: Vec<String> =
                    operation.parameters("query").filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
                let mut pairs = url::form_urlencoded::Serializer::new(String::new());
                for name in &parameters {
                    if self.random.bool() {
                        pairs.append_pair(name, &self.hostile());
                    }
                }
                *query = pairs.finish();
                "hostile query"
            }
            7 => {
                let language = self.one(&["en", "ko;q=0.1, en", "fr, *;q=0", ";;;q=,", "x-klingon"]);
                request.headers.push(("accept-language", language.as_bytes().to_vec()));
                request.headers.push(("traceparent", self.hostile_head()));
                "odd headers"
            }
            8 => {
                let accept = self.one(&["application/xml", "application/health+json", "text/html", "*/*;q=0", ";"]);
                request.headers.push(("accept", accept.as_bytes().to_vec()));
                "odd accept"
            }
            9 => {
                without(request, "idempotency-key");
                let key = match self.random.u8(..4) {
                    0 => b"k".repeat(256),
                    1 => Vec::new(),
                    2 => "멱등".as_bytes().to_vec(),
                    _ => self.hostile_head(),
                };
                request.headers.push(("idempotency-key", key));
                "odd idempotency key"
            }
            10 => {
                without(request, "content-type");
                let kind = self.one(&[
                    "",
                    "text/plain",
                    "application/xml",
                    "multipart/form-data; boundary=x",
                    "application/json; charset=euc-kr",
                    "application/x-www-form-urlencoded",
                    "application/octet-stream",
                    "json",
                ]);
                if !kind.is_empty() {
                    request.headers.push(("content-type", kind.as_bytes().to_vec()));
                }
                "odd content type"
            }
            11 => {
                let broken = BROKEN[self.random.usize(..BROKEN.len())];
                request.body = broken.to_vec();
                "broken body"
            }
            12 => {
                let deep = self.one(&[&10, &127, &128, &5_000]);
                request.body = ["[".repeat(*deep), "]".repeat(*deep)].concat().into_bytes();
                "deep body"
            }
            13 => {
                request.headers.push(("content-encoding", b"gzip".to_vec()));
                "encoded body"
            }
            14 => {
                let length = request.body.len();
                request.body.truncate(self.random.usize(..=length));
                "cut body"
            }
            _ if has_body => match serde_json::from_slice::<Value>(&request.body) {
                Ok(mut body) => {
                    for _ in 0..self.random.u8(1..4) {
                        self.mutate(&mut body);
                    }
                    request.body = body.to_string().into_bytes();
                    "mutated body"
                }
                Err(_) => "form",
            },
            _ => {
                request.body = format!("{{\"a\": {:?}}}", self.hostile()).into_bytes();
                "a body where none belongs"
            }
        };
        request.twists.push(twist);
    }

    /// The path, each parameter filled in.
    fn path(&mut self, operation: &Operation) -> String {
        let segments: Vec<String> = operation
            .path
            .split('/')
            .map(|segment| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) => {
                    let schema =
                        operation.parameters("path").find(|one| one["name"] == name).map(|one| one["schema"].clone());
                    let value = self.parameter(name, &schema.unwrap_or(Value::Null));
                    percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC).to_string()
                }
                None => segment.to_owned(),
            })
            .collect();
        segments.join("/")
    }

    /// A value for the parameter `name`: one that something is known about, or any that fits.
    fn parameter(&mut self, name: &str, schema: &Value) -> String {
        let known = self.known.get(name).cloned().unwrap_or_default();
        let value = match known.is_empty() || self.random.u8(..5) == 0 {
            true => written(&self.fitting(schema, 0)),
            false => known[self.random.usize(..known.len())].clone(),
        };
        // An empty segment is another path.
        if value.is_empty() { "-".to_owned() } else { value }
    }

    fn query(&mut self, operation: &Operation) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for parameter in operation.parameters("query") {
            let name = parameter["name"].as_str().unwrap_or_default();
            let examples: Vec<&Value> =
                parameter["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]).collect();
            if parameter["required"] != true && self.random.bool() {
                continue;
            }
            let value = match examples.is_empty() || self.random.u8(..3) == 0 {
                true => self.fitting(&parameter["schema"], 0),
                false => examples[self.random.usize(..examples.len())].clone(),
            };
            pairs.append_pair(name, &written(&value));
        }
        pairs.finish()
    }

    /// A body and its type.
    fn body(&mut self, operation: &Operation) -> (Option<String>, Vec<u8>) {
        let contents: Vec<(&String, &Value)> =
            operation.of["requestBody"]["content"].as_object().into_iter().flatten().collect();
        if contents.is_empty() {
            return (None, Vec::new());
        }
        let (kind, content) = contents[self.random.usize(..contents.len())];
        if kind.contains("form") {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            for name in ["List-Unsubscribe", "imp_uid", "merchant_uid", "MessageSid", "MessageStatus", "To"] {
                if self.random.bool() {
                    let value = if self.random.bool() { "One-Click".to_owned() } else { self.hostile() };
                    pairs.append_pair(name, &value);
                }
            }
            return (Some(kind.clone()), pairs.finish().into_bytes());
        }
        let examples: Vec<&Value> =
            content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]).collect();
        let body = match examples.is_empty() || self.random.u8(..3) == 0 {
            true => self.fitting(&content["schema"], 0),
            false => examples[self.random.usize(..examples.len())].clone(),
        };
        (Some(kind.clone()), body.to_string().into_bytes())
    }

    /// A value that fits the schema, often one at its bounds. A rule that no schema can say may refuse it all the same.
    fn fitting(&mut self, schema: &Value, depth: usize) -> Value {
        let schema = self.description.resolved(schema).clone();
        let choices = |of: &str| schema[of].as_array().cloned().unwrap_or_default();
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        for of in ["enum", "oneOf"] {
            let choices = choices(of);
            if !choices.is_empty() {
                let choice = choices[self.random.usize(..choices.len())].clone();
                return if of == "enum" { choice } else { self.fitting(&choice, depth + 1) };
            }
        }
        let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        let kind = kinds[self.random.usize(..kinds.len())].clone();
        match kind.as_str() {
            Some("object") => {
                let mut members = Map::new();
                let alternatives = choices("anyOf");
                let required = |name: &str| {
                    let of = |schema: &Value| {
                        schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)))
                    };
                    of(&schema) || alternatives.first().is_some_and(of)
                };
                for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                    if required(name) || depth < 4 && self.random.u8(..3) == 0 {
                        members.insert(name.clone(), self.fitting(inner, depth + 1));
                    }
                }
                if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
                    for _ in 0..self.random.u8(1..4) {
                        let name = self.word();
                        members.insert(name, self.fitting(inner, depth + 1));
                    }
                }
                Value::Object(members)
            }
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let most = schema["maxItems"].as_u64().unwrap_or(3);
                let length = match self.random.u8(..12) {
                    0 => least,
                    1 => most,
                    _ => least + u64::from(self.random.u8(..3)),
                };
                (0..length.min(most).min(1_000)).map(|_| self.fitting(&schema["items"], depth + 1)).collect()
            }
            Some("integer" | "number") => {
                let least = schema["minimum"].as_i64().unwrap_or(-1);
                let most = schema["maximum"].as_i64().unwrap_or(least.saturating_add(1_000_000));
                let whole = [least, most, self.random.i64(least..=most)][self.random.usize(..3)];
                if kind == "number" && self.random.bool() { json!(whole as f64 + 0.5) } else { json!(whole) }
            }
            Some("boolean") => json!(self.random.bool()),
            Some("null") => Value::Null,
            _ => json!(self.text(&schema)),
        }
    }

    fn text(&mut self, schema: &Value) -> String {
        if let Some(pattern) = schema["pattern"].as_str() {
            return self.matching(pattern.trim_start_matches('^').trim_end_matches('$'));
        }
        match schema["format"].as_str() {
            Some("date") => {
                return format!(
                    "20{:02}-{:02}-{:02}",
                    self.random.u8(..99),
                    self.random.u8(1..13),
                    self.random.u8(1..29)
                );
            }
            Some("date-time") => {
                return format!("2026-11-{:02}T{:02}:00:00Z", self.random.u8(1..31), self.random.u8(..24));
            }
            Some("uuid") => return format!("{:08x}-0000-4000-8000-{:012x}", self.random.u32(..), self.random.u32(..)),
            Some("uri") => return "https://portal.example.org/a?b=c".to_owned(),
            Some(_) | None => {}
        }
        let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(0)).unwrap_or(0);
        let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(200);
        let fill = self.one(&["a", "가", "😀", " ", "é"]);
        match self.random.u8(..6) {
            0 => fill.repeat(least),
            1 => fill.repeat(most.min(20_000)),
            2 | 3 => self.word().chars().take(most).collect(),
            _ => self.hostile().chars().chain(fill.repeat(least).chars()).take(most.max(1)).collect(),
        }
    }

    fn matching(&mut self, pattern: &str) -> String {
        let seed: [u8; 32] = std::array::from_fn(|_| self.random.u8(..));
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let strategy = string_regex(pattern).expect("a pattern without anchors within it");
        strategy.new_tree(&mut runner).expect("a text").current()
    }

    fn word(&mut self) -> String {
        self.one(&[
            "a",
            "name",
            "reason",
            "홍길동",
            "code",
            "LOG_LEVEL",
            "order-1",
            "Tossed",
            "세종대로 110",
            "__proto__",
        ])
        .to_owned()
    }

    fn hostile(&mut self) -> String {
        match self.random.u8(..12) {
            0 => "a".repeat(5_000),
            1 => "가".repeat(1_500),
            2 => self.matching("\\PC{0,40}"),
            _ => self.one(&HOSTILE).to_owned(),
        }
    }

    /// Hostile bytes that HTTP lets into a header.
    fn hostile_head(&mut self) -> Vec<u8> {
        let bytes = self.hostile().into_bytes();
        bytes.into_iter().filter(|byte| *byte >= b' ' && *byte != 0x7f).take(1_000).collect()
    }

    fn odd_segment(&mut self) -> String {
        match self.random.u8(..3) {
            0 => {
                let text = self.hostile();
                let encoded =
                    percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
                // Beyond what a key of DynamoDB may have, 2,048 bytes.
                encoded.chars().take(3_000).collect()
            }
            1 => format!("a{}", self.one(&PATHS)),
            _ => self.one(&PATHS).to_owned(),
        }
    }

    /// Changes one thing somewhere in a body.
    fn mutate(&mut self, value: &mut Value) {
        let inner = match value {
            Value::Object(members) if !members.is_empty() && self.random.u8(..4) > 0 => {
                let place = self.random.usize(..members.len());
                members.values_mut().nth(place)
            }
            Value::Array(items) if !items.is_empty() && self.random.u8(..4) > 0 => {
                let place = self.random.usize(..items.len());
                items.get_mut(place)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                None
            }
        };
        if let Some(inner) = inner {
            return self.mutate(inner);
        }
        match value {
            Value::Object(members) if self.random.u8(..3) > 0 => {
                let name = members.keys().nth(self.random.usize(..members.len().max(1))).cloned();
                match (self.random.u8(..3), name) {
                    (0, Some(name)) => drop(members.remove(&name)),
                    (1, Some(name)) => {
                        let stranger = self.stranger();
                        members.insert(name, stranger);
                    }
                    (_, _) => {
                        let (name, stranger) = (self.hostile(), self.stranger());
                        members.insert(name, stranger);
                    }
                }
            }
            Value::Array(items) if self.random.bool() => {
                let stranger = items.first().cloned().unwrap_or(Value::Null);
                items.extend(std::iter::repeat_n(stranger, self.random.usize(1..120)));
            }
            Value::String(text) if self.random.bool() => *text = self.hostile(),
            Value::String(text) if self.random.bool() => text.push_str(&self.hostile()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                *value = self.stranger();
            }
        }
    }

    /// A value of any type.
    fn stranger(&mut self) -> Value {
        match self.random.u8(..9) {
            0 => Value::Null,
            1 => json!(self.random.bool()),
            2 => json!([0, -1, i64::MIN, i64::MAX][self.random.usize(..4)]),
            3 => json!([0.5, -0.0, 1e300, u64::MAX as f64][self.random.usize(..4)]),
            4 => json!([]),
            5 => json!({}),
            6 => json!([[[{"a": [null]}]]]),
            7 => json!({"address": self.hostile(), "name": self.hostile()}),
            _ => json!(self.hostile()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn requests(seed: u64, each: usize) -> Vec<(Operation, Request)> {
        let description = Description::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let keys = Keys { right: "right".to_owned(), scopeless: "scopeless".to_owned() };
        let mut maker = Maker::new(&description, keys, seed);
        maker.learn("business_number", "1234567891");
        let made = description.operations().iter().flat_map(|operation| {
            let made: Vec<_> = (0..each).map(|_| (operation.clone(), maker.request(operation))).collect();
            made
        });
        made.collect()
    }

    #[test]
    fn a_seed_makes_the_same_requests_and_another_one_others() {
        let lines = |seed| requests(seed, 5).iter().map(|(_, request)| request.curl("")).collect::<Vec<_>>();
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
    }

    #[test]
    fn of_the_bodies_some_fit_and_some_do_not_and_each_twist_occurs() {
        let description = Description::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let (mut fitting, mut refused, mut twists) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (operation, request) in requests(7, 60) {
            twists.extend(request.twists);
            let schema = &operation.of["requestBody"]["content"]["application/json"]["schema"];
            let Some(body) = serde_json::from_slice::<Value>(&request.body).ok().filter(|_| schema.is_object()) else {
                continue;
            };
            let fits = description.judge(schema).is_valid(&body);
            let of = (operation.method, operation.path);
            if fits {
                fitting.insert(of)
            } else {
                refused.insert(of)
            };
        }
        let described = |operation: &&Operation| operation.of["requestBody"]["content"]["application/json"].is_object();
        let described = description.operations().iter().filter(described).count();
        assert_eq!((fitting.len(), refused.len()), (described, described));
        assert!(twists.len() >= 17, "{twists:?}");
    }

    #[test]
    fn a_request_can_be_repeated_from_its_line() {
        let request = Request {
            method: "PUT".to_owned(),
            target: "/v1/a?b='c'".to_owned(),
            headers: vec![("x-api-key", "키".as_bytes().to_vec())],
            body: b"{\"a\": '\\\n'}".to_vec(),
            twists: Vec::new(),
            must: &[],
        };
        let expected = "curl -sS -i --path-as-is -X PUT $'http://h/v1/a?b=\\'c\\'' -H $'x-api-key: \\xed\\x82\\xa4' --data-binary $'{\"a\": \\'\\\\\\x0a\\'}'";
        assert_eq!(request.curl("http://h"), expected);
    }
}
