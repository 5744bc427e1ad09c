//! Every route of the deployed system against its description: requests that are plain, at the bounds and hostile, and answers
//! that must be what `infra/openapi.yaml` says, to the last field.
//!
//! `IEUM_CONTRACT_SEED` makes other requests, `IEUM_CONTRACT_REQUESTS` more for each route, `IEUM_CONTRACT_REPORT=1` tells what
//! each route has answered. A failure prints the seed and each request as a line of `curl`.

use std::collections::BTreeMap;
use std::time::Instant;

use ieum_tests::description::{Answered, Description, Operation};
use ieum_tests::requests::{Keys, Maker, Request};
use jsonschema::Validator;
use serde_json::Value;

use super::client::{Response, at_once};
use super::{Stage, repository};

const SEED: u64 = 20_261_121;
const EACH: usize = 20;

/// So many at a time: each in flight needs an environment of its own.
const AT_ONCE: usize = 8;

/// Of whom something is known, by the names of parameters.
const KNOWN: [(&str, &[&str]); 6] = [
    ("business_number", &["1234567891", "222-22-22227", "9990000016"]),
    ("integration", &["verify", "address", "email", "sms", "payment-webhook"]),
    ("name", &["welcome", "custom", "verification"]),
    ("address", &["hong@example.kr", "kim@example.org"]),
    ("id", &["paid-1", "webhook-1"]),
    ("order", &["order-1", "order-toss-1"]),
];

/// What a run has found.
#[derive(Default)]
struct Findings {
    /// By route and fault: how often, and the first request that showed it.
    faults: BTreeMap<(String, String), (usize, String)>,
    /// By route: how often each status came.
    statuses: BTreeMap<String, BTreeMap<u16, usize>>,
    /// By route, idempotency key and body: the id that was given.
    given: BTreeMap<(String, Vec<u8>, Vec<u8>), String>,
    /// By route: what judges its bodies.
    judges: BTreeMap<String, Validator>,
}

impl Findings {
    fn note(&mut self, route: &str, fault: String, line: String) {
        self.faults.entry((route.to_owned(), fault)).or_insert((0, line)).0 += 1;
    }

    /// Judges one answer.
    fn judge(&mut self, description: &Description, url: &str, request: &Request, response: &Response) {
        let path = request.target.split('?').next().unwrap_or_default();
        let operation = description.serving(&request.method, path);
        let route = operation.map_or("nothing".to_owned(), named);
        *self.statuses.entry(route.clone()).or_default().entry(response.status).or_default() += 1;
        let answered = Answered { status: response.status, headers: &response.headers, body: &response.text };
        let mut faults = description.faults(operation, &answered);
        if operation.is_some() && !request.must.is_empty() && !request.must.contains(&response.status) {
            faults.push(format!("{:?} is answered with {}", request.twists, response.status));
        }
        if let Some(operation) = operation.filter(|_| response.status < 300) {
            let schema = &operation.of["requestBody"]["content"]["application/json"]["schema"];
            if let Some(body) = json_of(request).filter(|_| schema.is_object()) {
                let judge = self.judges.entry(route.clone()).or_insert_with(|| description.judge(schema));
                if !judge.is_valid(&body) {
                    faults.push("a body that is not as described is taken".to_owned());
                }
            }
        }
        let key = request.headers.iter().find(|(name, _)| *name == "idempotency-key").map(|(_, key)| key.clone());
        if let (Some(key), Some(id)) = (key.filter(|_| response.status == 202), response.body["id"].as_str()) {
            let is_once = operation.is_some_and(|operation| operation.parameters("header").next().is_some());
            let first = self.given.entry((route.clone(), key, request.body.clone())).or_insert_with(|| id.to_owned());
            if is_once && first != id {
                faults.push("the same request under the same key has another effect".to_owned());
            }
        }
        for fault in faults {
            let answer: String = response.text.chars().take(400).collect();
            let line = format!("{}\n      {} {answer}", request.curl(url), response.status);
            self.note(&route, fault, line);
        }
    }
}

fn named(operation: &Operation) -> String {
    format!("{} {}", operation.method, operation.path)
}

/// The body of a request that is said to be JSON.
fn json_of(request: &Request) -> Option<Value> {
    let said = request.headers.iter().find(|(name, _)| *name == "content-type")?;
    serde_json::from_slice(&request.body).ok().filter(|_| said.1 == b"application/json")
}

fn number<T: std::str::FromStr>(variable: &str, usual: T) -> T {
    match std::env::var(variable) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("`{variable}` is no number: `{value}`")),
        Err(_) => usual,
    }
}

pub(crate) async fn every_route_keeps_to_its_description(stage: &mut Stage) {
    let (seed, each) = (number("IEUM_CONTRACT_SEED", SEED), number("IEUM_CONTRACT_REQUESTS", EACH));
    let description = Description::read(&repository());
    let keys = Keys { right: stage.system.api_key().to_owned(), scopeless: "end-to-end-bystander".to_owned() };
    let mut maker = Maker::new(&description, keys, seed);
    for (name, values) in KNOWN {
        values.iter().for_each(|value| maker.learn(name, value));
    }
    // Settings last: what they change holds for all that comes after.
    let mut operations: Vec<&Operation> = description.operations().iter().collect();
    operations
        .sort_by_key(|operation| (operation.of["tags"][0] == "console", operation.path.starts_with("/v1/config")));
    let (mut findings, mut sent, began) = (Findings::default(), 0, Instant::now());
    for (place, operation) in operations.into_iter().enumerate() {
        maker.reseed(seed.wrapping_add(place as u64));
        let mut left = each;
        while left > 0 {
            let mut requests: Vec<Request> = (0..left.min(AT_ONCE)).map(|_| maker.request(operation)).collect();
            if left == each {
                // Methods that the path does not have.
                requests.push(Request { method: "BREW".to_owned(), ..requests[0].clone() });
            }
            left = left.saturating_sub(AT_ONCE);
            let deliveries = requests.iter().cloned().map(|request| {
                let client = stage.client.clone();
                async move { client.deliver(&request).await }
            });
            for (request, answer) in requests.iter().zip(at_once(deliveries.collect()).await) {
                sent += 1;
                match answer {
                    Ok(response) => {
                        findings.judge(&description, stage.client.url(), request, &response);
                        for (of, name) in [("id", "id"), ("payment_id", "id"), ("order_id", "order")] {
                            if let Some(value) = response.body[of].as_str().filter(|_| response.status < 300) {
                                maker.learn(name, value);
                            }
                        }
                    }
                    Err(error) => findings.note(&named(operation), error, request.curl(stage.client.url())),
                }
            }
        }
    }
    let (routes, took) = (description.operations().len(), began.elapsed().as_secs_f64());
    println!("      {sent} requests to {routes} routes in {took:.0} s, seed {seed}");
    if std::env::var_os("IEUM_CONTRACT_REPORT").is_some() {
        for (route, statuses) in &findings.statuses {
            println!("      {route}: {statuses:?}");
        }
    }
    let faults: Vec<String> = findings
        .faults
        .iter()
        .map(|((route, fault), (times, line))| format!("{route}: {fault} ({times} times)\n      {line}"))
        .collect();
    assert!(faults.is_empty(), "IEUM_CONTRACT_SEED={seed}: {} faults\n{}", faults.len(), faults.join("\n"));
}
