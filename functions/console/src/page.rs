//! The page an operator looks at: `GET /`, its script and style, and the parts it is filled with.
//!
//! The page itself is public and holds nothing. Its script asks for each part with the API key that was typed once, so what
//! is shown is guarded by the same door as the API, and an action on the page is a call of the API like anybody else's. Parts
//! are rendered here, by templates that escape everything; the policy allows no inline script, no other origin, and one place
//! in the script that makes elements of text (Trusted Types).
//!
//! This file refuses to decide anything: it is handed what there is and finds words for it.

use std::collections::BTreeMap;
use std::time::Duration;

use ieum::api::{Call, Reply};
use ieum::audit::Record;
use ieum::clock::Timestamp;
use ieum::config::Stage;
use ieum::error::{ApiError, INTERNAL, Language};
use ieum::resilience::health::Reason;
use ieum::resilience::rollup::{Counts, Ending};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};

use crate::charts;
use crate::history::{Harm, Outage, Series, joined, outages, sum};
use crate::ledgers::{Found, Span, Wanted};
use crate::snapshot::{IntegrationState, MOST_COUNTED, ProviderState, Snapshot};

mod texts;

use texts::{TEXTS, WORDS};

const SCRIPT: &str = include_str!("page/console.js");
const STYLE: &str = include_str!("page/console.css");

const HTML: &str = "text/html; charset=utf-8";

const TEMPLATES: [(&str, &str); 8] = [
    ("page.html", include_str!("page/page.html")),
    ("overview.html", include_str!("page/overview.html")),
    ("messages.html", include_str!("page/messages.html")),
    ("message.html", include_str!("page/message.html")),
    ("webhooks.html", include_str!("page/webhooks.html")),
    ("webhook.html", include_str!("page/webhook.html")),
    ("settings.html", include_str!("page/settings.html")),
    ("changes.html", include_str!("page/changes.html")),
];

/// What the page may do: be filled by its own script from its own origin.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types ieum";

/// What a script, a style or a part may do when a browser opens it as a page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// Times are told in Korea's, which has had no summer time since 1988.
const KOREA: Duration = Duration::from_secs(9 * 60 * 60);

/// How many of the last errors are shown.
const LAST_ERRORS: usize = 8;

/// The page's script.
///
/// # Errors
/// None in practice: the policy is constant.
pub(crate) fn script() -> Result<Reply, ApiError> {
    Reply::page("text/javascript; charset=utf-8", NOTHING, SCRIPT)
}

/// The page's style.
///
/// # Errors
/// None in practice: the policy is constant.
pub(crate) fn style() -> Result<Reply, ApiError> {
    Reply::page("text/css; charset=utf-8", NOTHING, STYLE)
}

/// The page in both languages.
#[derive(Debug)]
pub(crate) struct Pages {
    korean: Environment<'static>,
    english: Environment<'static>,
    local: bool,
    integrations: Vec<String>,
}

impl Pages {
    /// The page of a deployment. A local run's also has the switches of the sandbox, where there is one.
    pub(crate) fn new(stage: Stage, integrations: Vec<String>) -> Self {
        let [korean, english] = [Language::Korean, Language::English].map(environment);
        Self { korean, english, local: stage == Stage::Local, integrations }
    }

    /// The page without anything in it.
    pub(crate) fn shell(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut query = call.query()?;
        let wanted = query.optional_text("lang", 2).flatten();
        let language = match wanted.as_deref() {
            Some("ko") => Language::Korean,
            Some("en") => Language::English,
            Some(_) | None => language(call),
        };
        let html = self.render(language, "page.html", &json!({"local": self.local}))?;
        Reply::page(HTML, POLICY, html)
    }

    /// How everything is.
    pub(crate) fn overview(&self, call: &Call, snapshot: &Snapshot) -> Result<Reply, ApiError> {
        let language = language(call);
        let mut integrations: Vec<&IntegrationState> = snapshot.integrations.iter().collect();
        integrations.sort_by_key(|integration| std::cmp::Reverse(integration.status));
        let integrations: Vec<Value> = integrations.into_iter().map(|state| of_integration(state, language)).collect();
        self.part(
            call,
            "overview.html",
            json!({
                "at": korean_time(snapshot.at),
                "status": snapshot.status.name(),
                "integrations": integrations,
                "in_doubt": counted(snapshot.in_doubt),
                "queues": snapshot.queues,
            }),
        )
    }

    /// Messages that want attention.
    pub(crate) fn messages(&self, call: &Call, wanted: &Wanted, found: &Found) -> Result<Reply, ApiError> {
        let more = found.next_from.as_deref();
        self.part(call, "messages.html", json!({"wanted": wanted, "rows": found.rows, "next_from": more}))
    }

    /// Webhooks of one status.
    pub(crate) fn webhooks(&self, call: &Call, span: Span, found: &Found) -> Result<Reply, ApiError> {
        let shown = json!({
            "status": span.status.name(),
            "from": span.from.rfc3339(),
            "to": span.to.rfc3339(),
            "rows": found.rows,
            "next_from": found.next_from,
            "statuses": ieum::delivery::inbox::Status::ALL.map(ieum::delivery::inbox::Status::name),
        });
        self.part(call, "webhooks.html", shown)
    }

    /// One message or webhook.
    pub(crate) fn item(&self, call: &Call, kind: &str, item: &Value) -> Result<Reply, ApiError> {
        let pretty = |name: &str| {
            let text = item[name].as_str()?;
            let value = serde_json::from_str::<Value>(text).ok();
            value.and_then(|value| serde_json::to_string_pretty(&value).ok()).or_else(|| Some(text.to_owned()))
        };
        let shown = json!({"item": item, "body": pretty("body"), "headers": pretty("headers")});
        self.part(call, if kind == "message" { "message.html" } else { "webhook.html" }, shown)
    }

    /// The settings of one integration.
    pub(crate) fn settings(&self, call: &Call, description: Value) -> Result<Reply, ApiError> {
        self.part(call, "settings.html", json!({"settings": description, "integrations": self.integrations}))
    }

    /// Who changed what on one day.
    pub(crate) fn changes(&self, call: &Call, day: &str, records: &[Record]) -> Result<Reply, ApiError> {
        self.part(call, "changes.html", json!({"day": day, "records": records}))
    }

    fn part(&self, call: &Call, template: &str, mut shown: Value) -> Result<Reply, ApiError> {
        let may_write = call.caller.as_ref().is_some_and(|caller| caller.may("ops:write"));
        shown["may_write"] = json!(may_write);
        Reply::page(HTML, NOTHING, self.render(language(call), template, &shown)?)
    }

    fn render(&self, language: Language, template: &str, shown: &Value) -> Result<String, ApiError> {
        let environment = match language {
            Language::Korean => &self.korean,
            Language::English => &self.english,
        };
        let rendered = environment.get_template(template).and_then(|template| template.render(Serde(shown)));
        rendered.map_err(|error| ApiError::new(INTERNAL).because(error))
    }
}

fn language(call: &Call) -> Language {
    call.header("accept-language").map_or_else(Language::default, Language::from_accept_language)
}

/// Templates that find their texts in `language`.
fn environment(language: Language) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let texts: BTreeMap<&str, &str> = TEXTS.iter().map(|(name, text)| (*name, text.in_language(language))).collect();
    environment.add_global("t", minijinja::Value::from(Serde(texts)));
    let lang = match language {
        Language::Korean => "ko",
        Language::English => "en",
    };
    environment.add_global("lang", lang);
    environment.add_filter("word", move |word: String| in_words(&word, language));
    environment.add_filter("part", |text: String| -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
    });
    environment.add_filter("time", |time: String| Timestamp::parse_rfc3339(&time).map_or(time, korean_time));
    for (name, text) in TEMPLATES {
        // A template of ours that cannot be read is found by the tests; a page without it is an error when it is asked for.
        if let Err(error) = environment.add_template(name, text) {
            tracing::error!(target: "ieum::console", name, error = ieum::error::chain(&error), "template.unreadable");
        }
    }
    environment
}

/// A stable word in words a person reads; one that nobody listed as it is.
fn in_words(word: &str, language: Language) -> String {
    let known = WORDS.iter().find(|(name, _)| *name == word);
    known.map_or_else(|| word.to_owned(), |(_, text)| text.in_language(language).to_owned())
}

/// A time as a person in Korea reads it.
fn korean_time(time: Timestamp) -> String {
    let text = time.after(KOREA).rfc3339();
    let (day, clock) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {}", clock.chars().take(8).collect::<String>())
}

/// A number of which it is known that it may be more.
fn counted(count: usize) -> String {
    if count >= MOST_COUNTED as usize { format!("{MOST_COUNTED}+") } else { count.to_string() }
}

/// `part` of `whole` in percent; nothing of nothing.
fn percent(part: u64, whole: u64) -> Option<String> {
    (whole > 0).then(|| format!("{:.1} %", part as f64 * 100.0 / whole as f64))
}

fn of_integration(state: &IntegrationState, language: Language) -> Value {
    let all = joined(&state.day, &state.hour);
    let found = outages(&all);
    let label = format!("{}: {} {}", state.name, text("outages", language), found.len());
    json!({
        "name": state.name,
        "status": state.status.name(),
        "providers": state.providers.iter().map(of_provider).collect::<Vec<_>>(),
        "hour": of_span(&state.hour, &state.name, "last_hour", language),
        "day": of_span(&state.day, &state.name, "last_day", language),
        "waiting": state.waiting.iter().map(|(list, count)| json!({"list": list, "count": counted(*count)})).collect::<Vec<_>>(),
        "errors": last_errors(&all),
        "outages": found.iter().rev().map(|outage| of_outage(outage, &all)).collect::<Vec<_>>(),
        "timeline": charts::timeline(&all, &label),
    })
}

fn of_provider(provider: &ProviderState) -> Value {
    let health = &provider.health;
    json!({
        "name": health.name,
        "status": health.status.name(),
        "reason": health.reason.map(Reason::name),
        "until": health.until,
        "circuit": provider.circuit,
        "failures": provider.failures,
        "rate": provider.rate.map(|(calls, seconds)| json!({"calls": calls, "seconds": seconds})),
        "next_ms": u64::try_from(provider.next_call.as_millis()).unwrap_or(u64::MAX),
        "quota": health.quota.map(|quota| json!({"used": quota.used, "of": quota.of})),
    })
}

fn of_span(series: &Series, name: &str, span: &'static str, language: Language) -> Value {
    let counts = sum(series);
    let [live, cached, stood_in, unanswered] =
        [Ending::Live, Ending::Cached, Ending::StoodIn, Ending::Unanswered].map(|ending| counts.ended(ending));
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| counts.percentile_ms(share));
    let label = |what: &str| format!("{name}, {}: {}", text(span, language), text(what, language));
    json!({
        "calls": counts.calls(),
        "live": live, "cached": cached, "stood_in": stood_in, "unanswered": unanswered,
        "answered": percent(counts.calls() - unanswered, counts.calls()),
        "provider_success": percent(live, live + stood_in + unanswered),
        "hit_rate": percent(cached, counts.calls()),
        "limited": setback(&counts, "limited"),
        "p50": p50, "p95": p95, "p99": p99,
        "calls_chart": charts::calls(series, &label("calls_chart")),
        "durations_chart": charts::durations(series, &label("durations_chart")),
    })
}

fn setback(counts: &Counts, word: &str) -> u64 {
    counts.setbacks().find(|(known, _)| *known == word).map_or(0, |(_, times)| times)
}

/// The newest periods in which something went wrong, each with what and how often.
fn last_errors(series: &Series) -> Vec<Value> {
    let all = series.iter().rev().flat_map(|(period, counts)| {
        let setbacks = counts
            .setbacks()
            .map(|(word, times)| json!({"at": period.begins().rfc3339(), "word": word, "times": times}));
        setbacks.collect::<Vec<_>>()
    });
    all.take(LAST_ERRORS).collect()
}

fn of_outage(outage: &Outage, series: &Series) -> Value {
    let lasts = series.last().is_some_and(|(period, _)| period.ends() == outage.until);
    json!({
        "from": outage.from.rfc3339(),
        "until": (!lasts).then(|| outage.until.rfc3339()),
        "minutes": outage.until.since(outage.from).as_secs() / 60,
        "harm": match outage.harm {
            Harm::Bridged => "stood_in",
            Harm::Unanswered => "unanswered",
        },
    })
}

fn text(name: &str, language: Language) -> &'static str {
    TEXTS.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text.in_language(language))
}

#[cfg(test)]
mod tests;
