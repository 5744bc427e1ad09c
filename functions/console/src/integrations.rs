//! What the console knows of the functions it steers: their integrations, the providers of each, what can be changed.
//!
//! A function describes its settings itself (`Config::schema`). The console is another program, so it has a table of what
//! is particular to each; a test compares the two.

use std::collections::BTreeMap;

use ieum::settings::Schema;

/// Integrations by name, each with the providers that this deployment uses.
pub type Integrations = BTreeMap<String, Vec<String>>;

/// The parts of an integration that have a cache or an order of providers of their own.
struct Parts {
    integration: &'static str,
    caches: &'static [&'static str],
    orders: &'static [&'static str],
}

const PARTS: [Parts; 2] = [
    Parts { integration: "sms", caches: &[], orders: &[] },
    Parts { integration: "verify", caches: &["VERIFY_STATUS"], orders: &["VERIFY_STATUS", "VERIFY_REPRESENTATIVE"] },
];

/// What can be changed of `integration` while it runs on `providers`.
pub fn schema(integration: &str, providers: &[String]) -> Schema {
    let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
    let mut schema = Schema::new(integration, &providers);
    for parts in PARTS.iter().filter(|parts| parts.integration == integration) {
        schema = parts.caches.iter().fold(schema, |schema, prefix| schema.with_cache(prefix));
        schema = parts.orders.iter().fold(schema, |schema, prefix| schema.with_order(prefix));
    }
    schema
}
