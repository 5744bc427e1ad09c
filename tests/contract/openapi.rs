//! `infra/openapi.yaml` against the code it describes: routes, scopes and error codes; and against itself: its examples,
//! which are the bodies and parameters of `events/`, fit its schemas, and what a schema must refuse does not.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ieum::testing::door;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::{functions, read, sources};

fn document() -> Value {
    serde_yaml_ng::from_str(&read("infra/openapi.yaml")).expect("infra/openapi.yaml is YAML")
}

/// Each operation: its method as in a request, its path, and what is said of it.
fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            operations.push((method.to_uppercase(), path.as_str(), operation));
        }
    }
    operations
}

/// What judges values by `schema`, which may refer to the components of `document`.
fn judge(document: &Value, schema: &Value) -> Validator {
    let mut members = schema.as_object().expect("a schema").clone();
    members.insert("components".to_owned(), document["components"].clone());
    let schema = Value::Object(members);
    let judge = jsonschema::options().should_validate_formats(true).build(&schema);
    judge.unwrap_or_else(|error| panic!("no schema: {error}"))
}

/// The event of that whole name.
fn event(name: &str) -> Value {
    let functions = functions();
    let of = functions.iter().find_map(|function| Some((function.name, name.strip_prefix(function.name)?)));
    let (function, name) = of.unwrap_or_else(|| panic!("`{name}` is an event of no function"));
    door::event(function, name.trim_start_matches('-'))
}

/// The body of an event, as the function reads it.
fn body(event: &Value) -> Value {
    let text = event["body"].as_str().expect("a body");
    match event["isBase64Encoded"] == true {
        true => serde_json::from_slice(&STANDARD.decode(text).expect("base64")),
        false => serde_json::from_str(text),
    }
    .expect("JSON")
}

/// The value of a parameter of the query, in the type of its schema.
fn parameter(event: &Value, name: &str, schema: &Value) -> Value {
    let query = event["rawQueryString"].as_str().expect("a query");
    let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let text = pairs.get(name).unwrap_or_else(|| panic!("`{name}` is not in `{query}`"));
    match schema["type"].as_str() {
        Some("integer" | "number" | "boolean") => serde_json::from_str(text).expect("JSON"),
        _ => json!(text),
    }
}

/// Whether `event` is a request for the operation.
fn is_for(event: &Value, method: &str, path: &str) -> bool {
    let raw = event["rawPath"].as_str().expect("a path");
    let (raw, path): (Vec<&str>, Vec<&str>) = (raw.split('/').collect(), path.split('/').collect());
    let same = raw.len() == path.len() && raw.iter().zip(&path).all(|(is, form)| is == form || form.starts_with('{'));
    same && event["requestContext"]["http"]["method"] == method
}

fn examples(of: &Value) -> Map<String, Value> {
    of["examples"].as_object().cloned().unwrap_or_default()
}

#[test]
fn the_description_has_exactly_the_routes_and_scopes_of_the_code() {
    let document = document();
    let coded: BTreeSet<(String, String, Option<String>)> = functions()
        .into_iter()
        .flat_map(|function| function.routes)
        .map(|(method, path, scope)| (method, path, scope.map(str::to_owned)))
        .collect();
    let scope = |operation: &Value| {
        let ways = operation["security"].as_array().expect("`security`, which is `[]` where a route is public");
        let scopes = ways.iter().flat_map(|way| [way["key"][0].as_str(), way["token"][0].as_str()]);
        let scopes: BTreeSet<&str> = scopes.flatten().collect();
        assert_eq!(scopes.len(), usize::from(!ways.is_empty()), "one scope, by key or by token");
        scopes.first().map(|scope| (*scope).to_owned())
    };
    let described = operations(&document);
    let described = described.iter().map(|(method, path, of)| (method.clone(), (*path).to_owned(), scope(of)));
    assert_eq!(described.collect::<BTreeSet<_>>(), coded);
}

#[test]
fn every_error_code_is_described_and_every_answer_to_a_caller_may_be_one() {
    let document = document();
    let listed = document["components"]["schemas"]["ErrorCode"]["enum"].as_array().expect("codes");
    let listed: BTreeSet<&str> = listed.iter().filter_map(Value::as_str).collect();
    let mut coded = BTreeSet::new();
    let sources = sources();
    for (_, text) in &sources {
        let calls = text.split("Code =").skip(1).filter_map(|rest| rest.trim_start().strip_prefix("code("));
        coded.extend(calls.filter_map(|arguments| arguments.split('"').nth(1)));
    }
    assert_eq!(listed, coded);
    for (method, path, operation) in operations(&document) {
        let statuses: BTreeSet<&str> =
            operation["responses"].as_object().expect("responses").keys().map(String::as_str).collect();
        let is_public = operation["security"] == json!([]);
        assert!(is_public || statuses.contains("401") && statuses.contains("403"), "{method} {path}");
        assert!(statuses.contains("500"), "{method} {path}");
        for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let described = operation["parameters"].as_array().into_iter().flatten();
            let named: Vec<_> = described.filter(|one| one["in"] == "path" && one["name"] == parameter).collect();
            assert_eq!(named.len(), 1, "{method} {path}: `{parameter}`");
        }
    }
    let example = json!({"error": {"code": "invalid_request", "message": "…", "details": [{"field": "to", "issue": "missing", "message": "…"}], "timestamp": "2026-11-21T05:20:01.2Z", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736"}});
    assert!(judge(&document, &json!({"$ref": "#/components/schemas/Error"})).is_valid(&example));
}

#[test]
fn every_schema_is_one_and_all_its_references_lead_somewhere() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let text = document.to_string();
    for name in schemas.keys() {
        judge(&document, &json!({"$ref": format!("#/components/schemas/{name}")}));
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "`{name}` is used by nothing");
    }
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn the_examples_are_the_events_and_fit_what_is_said_of_them() {
    let document = document();
    let (mut fitting, mut refused) = (0, 0);
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        for of in operation["parameters"].as_array().into_iter().flatten() {
            let judge = judge(&document, &of["schema"]);
            for (name, example) in examples(of) {
                let event = event(&name);
                assert!(is_for(&event, &method, path), "{at}: `{name}`");
                let given = parameter(&event, of["name"].as_str().expect("a name"), &of["schema"]);
                assert_eq!(example["value"], given, "{at}: `{name}`");
                assert!(judge.is_valid(&given), "{at}: `{name}`");
                fitting += 1;
            }
        }
        for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let judge = judge(&document, &content["schema"]);
            for (name, example) in examples(content) {
                let event = event(&name);
                assert!(is_for(&event, &method, path), "{at}: `{name}`");
                assert_eq!(example["value"], body(&event), "{at}: `{name}`");
                let faults: Vec<String> = judge.iter_errors(&example["value"]).map(|fault| fault.to_string()).collect();
                assert_eq!(faults, Vec::<String>::new(), "{at}: `{name}`");
                let said = event["headers"]["content-type"].as_str().unwrap_or_default();
                assert!(said.starts_with(kind), "{at}: `{name}` says it is {said}");
                fitting += 1;
            }
            for name in operation["x-refused"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let event = event(name);
                assert!(is_for(&event, &method, path) && !judge.is_valid(&body(&event)), "{at}: `{name}` fits");
                refused += 1;
            }
        }
    }
    assert!(fitting >= 40 && refused >= 10, "{fitting} examples, {refused} that must not fit");
}
