//! What the console knows of the functions it steers: their integrations, the providers of each, what can be changed.
//!
//! A function describes its settings itself (`Config::schema`). The console is another program, so it has a table of what
//! is particular to each; a test compares the two.

use std::collections::BTreeMap;

use ieum::settings::Schema;

/// Integrations by name, each with the providers that this deployment uses.
pub type Integrations = BTreeMap<String, Vec<String>>;

/// The kinds of messages, each the name of the list it is worked off from.
pub const MESSAGES: [&str; 2] = ["email", "sms"];

/// The list that webhooks are worked off from.
pub const WEBHOOKS: &str = "payment-webhooks";

/// What an integration has that not every one does.
struct Parts {
    integration: &'static str,
    /// Parts with a cache of their own.
    caches: &'static [&'static str],
    /// Parts with an order of providers of their own.
    orders: &'static [&'static str],
    /// Lists of what waits to be done.
    lists: &'static [&'static str],
}

const NONE: Parts = Parts { integration: "", caches: &[], orders: &[], lists: &[] };

const PARTS: [Parts; 4] = [
    Parts { integration: "email", lists: &["email"], ..NONE },
    Parts { integration: "payment", lists: &[WEBHOOKS, "payment-events"], ..NONE },
    Parts { integration: "sms", lists: &["sms"], ..NONE },
    Parts {
        integration: "verify",
        caches: &["VERIFY_STATUS"],
        orders: &["VERIFY_STATUS", "VERIFY_REPRESENTATIVE"],
        ..NONE
    },
];

/// The lists of what waits to be done for `integration`.
pub fn lists(integration: &str) -> &'static [&'static str] {
    PARTS.iter().find(|parts| parts.integration == integration).map_or(&[], |parts| parts.lists)
}

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
