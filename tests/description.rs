//! `infra/openapi.yaml`, read as a promise: which answers each operation may give, and what is wrong with one that was given.
//!
//! Answers are held to more than a schema says by itself: an object that names its members has no others, unless it says
//! `additionalProperties`. So a field that nobody has described is a fault and not an oversight.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jsonschema::Validator;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// What every HTTP/1.1 server may add, and what API Gateway does.
const OF_THE_WAY: [&str; 7] =
    ["apigw-requestid", "connection", "content-length", "content-type", "date", "keep-alive", "vary"];
/// What API Gateway says to browsers.
const OF_CORS: &str = "access-control-";

/// The description.
#[derive(Debug)]
pub struct Description {
    document: Value,
    operations: Vec<Operation>,
    /// What any answer may have in its head.
    heads: Map<String, Value>,
    error: Arc<Validator>,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The method, as in a request.
    pub method: String,
    /// The path, with `{names}` for parameters.
    pub path: String,
    /// Everything that is said of it, as it stands.
    pub of: Value,
    answers: BTreeMap<u16, Documented>,
}

/// What is said of the answers of one status.
#[derive(Debug, Clone)]
struct Documented {
    heads: Map<String, Value>,
    kinds: BTreeMap<String, Arc<Validator>>,
}

/// An answer, as it came.
#[derive(Debug)]
pub struct Answered<'a> {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    /// The body.
    pub body: &'a str,
}

impl Operation {
    /// Whether nobody needs credentials for it.
    pub fn is_public(&self) -> bool {
        self.of["security"] == json!([])
    }

    /// Its parameters in `place`: `path`, `query` or `header`.
    pub fn parameters<'a>(&'a self, place: &'a str) -> impl Iterator<Item = &'a Value> {
        self.of["parameters"].as_array().into_iter().flatten().filter(move |one| one["in"] == place)
    }

    /// How well the decoded segments of a path fit: the number of its literal ones.
    fn fits(&self, segments: &[&str]) -> Option<usize> {
        let own: Vec<&str> = self.path.split('/').skip(1).collect();
        let is_variable = |part: &str| part.starts_with('{');
        let pairs = || own.iter().zip(segments);
        let fits = own.len() == segments.len()
            && pairs().all(|(own, given)| own == given || is_variable(own) && !given.is_empty());
        fits.then(|| own.iter().filter(|part| !is_variable(part)).count())
    }
}

impl Description {
    /// Reads the description of the repository at `root`.
    pub fn read(root: &Path) -> Self {
        let text = std::fs::read_to_string(root.join("infra/openapi.yaml")).expect("infra/openapi.yaml can be read");
        Self::of(serde_yaml_ng::from_str(&text).expect("infra/openapi.yaml is YAML"))
    }

    /// Reads a description.
    pub fn of(document: Value) -> Self {
        let components = closed(&document["components"]);
        let mut judges: BTreeMap<String, Arc<Validator>> = BTreeMap::new();
        let mut judge_of = |schema: &Value| {
            let judge = || Arc::new(judge(&components, &closed(schema)));
            Arc::clone(judges.entry(schema.to_string()).or_insert_with(judge))
        };
        let error = judge_of(&json!({"$ref": "#/components/schemas/Error"}));
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, of) in methods.as_object().expect("methods") {
                let answers = of["responses"].as_object().expect("responses").iter().map(|(status, answer)| {
                    let answer = resolved(&document, answer);
                    let kinds = answer["content"].as_object().into_iter().flatten();
                    let kinds = kinds.map(|(kind, content)| (kind.clone(), judge_of(&content["schema"]))).collect();
                    let heads = answer["headers"].as_object().cloned().unwrap_or_default();
                    (status.parse().expect("a status"), Documented { heads, kinds })
                });
                let answers = answers.collect();
                let (method, path) = (method.to_uppercase(), path.clone());
                operations.push(Operation { method, path, of: of.clone(), answers });
            }
        }
        let heads = document["x-every-response"]["headers"].as_object().cloned().unwrap_or_default();
        Self { document, operations, heads, error }
    }

    /// The document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// All operations, in the order of their paths.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// `value` itself, or what it refers to.
    pub fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        resolved(&self.document, value)
    }

    /// What judges a request's value by `schema`, as it stands.
    pub fn judge(&self, schema: &Value) -> Validator {
        judge(&self.document["components"], schema)
    }

    /// The operation that serves a request, found as the gateway finds its route: by the decoded path (`%25` stays).
    pub fn serving(&self, method: &str, raw_path: &str) -> Option<&Operation> {
        let parts = raw_path.split("%25").map(|part| percent_decode_str(part).decode_utf8_lossy());
        let decoded = parts.collect::<Vec<_>>().join("%25");
        let segments: Vec<&str> = decoded.trim_start_matches('/').split('/').collect();
        let fitting = self.operations.iter().filter(|operation| operation.method == method);
        let fitting = fitting.filter_map(|operation| Some((operation.fits(&segments)?, operation)));
        fitting.max_by_key(|(literals, _)| *literals).map(|(_, operation)| operation)
    }

    /// What is wrong with an answer of `operation`; of `None`, when nothing serves the request: then it must be a 404.
    pub fn faults(&self, operation: Option<&Operation>, answered: &Answered<'_>) -> Vec<String> {
        let mut faults = self.faults_of_head(operation, answered);
        let body: Option<Value> = serde_json::from_str(answered.body).ok();
        let is_error = body.as_ref().is_some_and(|body| self.error.is_valid(body));
        if answered.status >= 500 && (is_error || body.is_none()) {
            faults.push(format!("status {}", answered.status));
        }
        let Some(operation) = operation else {
            if answered.status != 404 || !is_error {
                faults
                    .push(format!("status {} where nothing is, or another form than that of errors", answered.status));
            }
            return faults;
        };
        let Some(documented) = operation.answers.get(&answered.status) else {
            faults.push(format!("status {} is not documented", answered.status));
            return faults;
        };
        let kind = answered.headers.get("content-type").map_or("", String::as_str);
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let Some(judge) = documented.kinds.get(&kind) else {
            faults.push(format!("content type `{kind}` is not documented for {}", answered.status));
            return faults;
        };
        let is_json = kind.ends_with("json");
        match body.filter(|_| is_json).or_else(|| (!is_json).then(|| json!(answered.body))) {
            Some(body) => {
                faults.extend(judge.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())));
                let trace = answered.headers.get("x-trace-id").map(String::as_str);
                if is_error && body["error"]["traceId"].as_str() != trace {
                    faults.push("`traceId` is another one than `x-trace-id`".to_owned());
                }
            }
            None => faults.push(format!("content type `{kind}`, but no JSON")),
        }
        faults
    }

    /// What is wrong with the headers.
    fn faults_of_head(&self, operation: Option<&Operation>, answered: &Answered<'_>) -> Vec<String> {
        let of_status = operation.and_then(|operation| operation.answers.get(&answered.status)).map(|one| &one.heads);
        let mut faults = Vec::new();
        for (name, value) in answered.headers {
            let head = of_status.and_then(|heads| heads.get(name)).or_else(|| self.heads.get(name));
            let known = OF_THE_WAY.contains(&name.as_str()) || name.starts_with(OF_CORS);
            let Some(head) = head else {
                if !known {
                    faults.push(format!("header `{name}` is not documented"));
                }
                continue;
            };
            let schema = &self.resolved(head)["schema"];
            let value = match schema["type"].as_str() {
                Some("integer" | "number") => serde_json::from_str(value).unwrap_or(Value::Null),
                _ => json!(value),
            };
            // The schema of a header refers to nothing.
            if !judge(&Value::Null, schema).is_valid(&value) {
                faults.push(format!("header `{name}` is `{value}`"));
            }
        }
        let missing = self.heads.iter().filter(|(name, head)| {
            self.resolved(head)["required"] == true && !answered.headers.contains_key(name.as_str())
        });
        faults.extend(missing.map(|(name, _)| format!("header `{name}` is missing")));
        faults
    }
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let target = document.pointer(reference.trim_start_matches('#'));
            resolved(document, target.unwrap_or_else(|| panic!("`{reference}` leads nowhere")))
        }
        None => value,
    }
}

/// What judges values by `schema`, which may refer to `components`.
pub fn judge(components: &Value, schema: &Value) -> Validator {
    let mut members = schema.as_object().expect("a schema").clone();
    members.insert("components".to_owned(), components.clone());
    let judge = jsonschema::options().should_validate_formats(true).build(&Value::Object(members));
    judge.unwrap_or_else(|error| panic!("no schema: {error}"))
}

/// The same schemas, where an object has the members that it names and no others.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let spared = BTreeSet::from(["const", "default", "enum", "example", "examples"]);
            let inner = members.iter().map(|(name, inner)| {
                (name.clone(), if spared.contains(name.as_str()) { inner.clone() } else { closed(inner) })
            });
            let mut inner: Map<String, Value> = inner.collect();
            let is_object = members.get("type").is_some_and(|kind| {
                kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("object")))
            });
            if is_object && !members.contains_key("additionalProperties") {
                inner.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(inner)
        }
        Value::Array(items) => items.iter().map(closed).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn description() -> Description {
        Description::of(json!({
            "paths": {
                "/v1/rates": {"get": {"security": [], "responses": {"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}}}},
                "/v1/rates/{currency}": {"get": {"security": [], "responses": {
                    "200": {
                        "headers": {"age": {"schema": {"type": "integer"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Rate"}}},
                    },
                    "404": {"$ref": "#/components/responses/NotFound"},
                }}},
            },
            "x-every-response": {"headers": {"x-trace-id": {"required": true, "schema": {"type": "string"}}}},
            "components": {
                "responses": {"NotFound": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}},
                "schemas": {
                    "Rate": {"type": "object", "required": ["won"], "properties": {"won": {"type": "number"}, "of": {"type": "object", "properties": {"day": {"type": "string"}}}}},
                    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}, "traceId": {"type": "string"}}}}},
                },
            },
        }))
    }

    fn faults(path: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Vec<String> {
        let description = description();
        let given = [("content-type", "application/json"), ("x-trace-id", TRACE), ("date", "now")];
        let mut all: BTreeMap<String, String> =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all.retain(|_, value| value != "(none)");
        description.faults(description.serving("GET", path), &Answered { status, headers: &all, body })
    }

    #[test]
    fn what_is_as_described_has_no_fault() {
        assert_eq!(faults("/v1/rates/USD", 200, &[("age", "7")], r#"{"won": 1391.5}"#), Vec::<String>::new());
        let plain = [("content-type", "text/plain; charset=utf-8"), ("access-control-allow-origin", "*")];
        assert_eq!(faults("/v1/rates", 200, &plain, "USD 1391.5"), Vec::<String>::new());
        let error = format!(r#"{{"error": {{"code": "not_found", "traceId": "{TRACE}"}}}}"#);
        assert_eq!(faults("/v1/rates/ZZZ", 404, &[], &error), Vec::<String>::new());
        assert_eq!(faults("/v1/nothing", 404, &[], &error), Vec::<String>::new());
        assert_eq!(faults("/v1/rates/a%2Fb", 404, &[], &error), Vec::<String>::new(), "nothing serves this");
    }

    #[test]
    fn whatever_is_not_described_is_noticed() {
        let error = r#"{"error": {"code": "not_found", "traceId": "0af7651916cd43dd8448eb211c80319c"}}"#;
        // Path, status, headers, body, and what is wrong with them.
        type Case<'c> = (&'c str, u16, &'c [(&'c str, &'c str)], &'c str, &'c str);
        let cases: [Case<'_>; 12] = [
            ("/v1/rates/USD", 200, &[], r#"{"won": 1, "bid": 2}"#, "'bid' was unexpected"),
            ("/v1/rates/USD", 200, &[], r#"{"won": 1, "of": {"year": 2026}}"#, "'year' was unexpected"),
            ("/v1/rates/USD", 200, &[], r#"{"won": "1"}"#, "is not of type"),
            ("/v1/rates/USD", 200, &[], "{}", "\"won\" is a required property"),
            ("/v1/rates/USD", 200, &[], "won", "but no JSON"),
            ("/v1/rates/USD", 418, &[], "{}", "status 418 is not documented"),
            ("/v1/rates/USD", 200, &[("content-type", "text/html")], "", "content type `text/html` is not documented"),
            ("/v1/rates/USD", 200, &[("retry-after", "1")], r#"{"won": 1}"#, "header `retry-after` is not documented"),
            ("/v1/rates/USD", 200, &[("age", "long")], r#"{"won": 1}"#, "header `age` is"),
            ("/v1/rates/USD", 200, &[("x-trace-id", "(none)")], r#"{"won": 1}"#, "header `x-trace-id` is missing"),
            ("/v1/rates/USD", 404, &[], error, "`traceId` is another one"),
            ("/v1/nothing", 200, &[], "{}", "where nothing is"),
        ];
        for (path, status, headers, body, expected) in cases {
            let faults = faults(path, status, headers, body);
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
        }
        let error = error.replace("0af7651916cd43dd8448eb211c80319c", TRACE);
        assert!(faults("/v1/rates/USD", 503, &[], &error).contains(&"status 503".to_owned()));
    }

    #[test]
    fn a_request_is_served_by_the_most_literal_path() {
        let description = description();
        let path = |raw: &str| description.serving("GET", raw).map(|operation| operation.path.as_str());
        assert_eq!(path("/v1/rates"), Some("/v1/rates"));
        assert_eq!(path("/v1/rates/%EC%9B%90"), Some("/v1/rates/{currency}"));
        assert_eq!((path("/v1/rates/"), path("/v1/rates/a%2Fb")), (None, None));
        assert!(path("/v1/rates/a%252Fb").is_some() && description.serving("PUT", "/v1/rates").is_none());
    }
}
