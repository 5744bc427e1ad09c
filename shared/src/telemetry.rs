//! What leaves a process for its operators: JSON lines on standard output, one event a line.
//!
//! Every value of every line passes the redactor; there is no other way to write one. Events with the target [`METRIC`]
//! are written at any level and carry CloudWatch's embedded metric format, so that one line is both the log of a call and
//! its metrics. This file refuses to talk to CloudWatch: writing the line is enough.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use serde_json::{Map, Number, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::clock::SharedClock;

pub mod redact;
pub mod trace;

/// The target of events that are metrics too.
pub const METRIC: &str = "ieum::metric";

/// The CloudWatch namespace of every metric.
pub const NAMESPACE: &str = "Ieum";

/// The fields of a [`METRIC`] event that become metrics, with their units.
pub const METRICS: [(&str, &str); 16] = [
    ("success", "Count"),
    ("failure", "Count"),
    ("duration_ms", "Milliseconds"),
    ("answer_ms", "Milliseconds"),
    ("unanswered", "Count"),
    ("cache_hit", "Count"),
    ("cache_miss", "Count"),
    ("cache_stale", "Count"),
    ("manual", "Count"),
    ("defaulted", "Count"),
    ("limited", "Count"),
    ("circuit_open", "Count"),
    ("health_run", "Count"),
    ("backup_run", "Count"),
    ("backup_age_seconds", "Seconds"),
    ("backup_read_age_seconds", "Seconds"),
];

/// How much is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Defects and lost protection.
    Error,
    /// And outages, limits, refusals.
    Warn,
    /// And one line per call.
    #[default]
    Info,
    /// And requests and responses, redacted.
    Debug,
}

impl LogLevel {
    /// The names of all levels, from few lines to many.
    pub const NAMES: [&str; 4] = ["error", "warn", "info", "debug"];

    /// Reads `error`, `warn`, `info` or `debug`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn admits(self, level: Level) -> bool {
        level
            <= match self {
                Self::Error => Level::ERROR,
                Self::Warn => Level::WARN,
                Self::Info => Level::INFO,
                Self::Debug => Level::DEBUG,
            }
    }
}

/// The levels in force, which may change while the process runs: one for everything, and others for single integrations.
/// Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct LevelSwitch(Arc<RwLock<Levels>>);

#[derive(Debug, Default)]
struct Levels {
    general: LogLevel,
    of: BTreeMap<String, LogLevel>,
}

impl LevelSwitch {
    /// A switch set to `level` for everything.
    pub fn new(level: LogLevel) -> Self {
        let switch = Self::default();
        switch.set(level);
        switch
    }

    /// Changes the level of what has none of its own, from the next line on.
    pub fn set(&self, level: LogLevel) {
        self.change(|levels| levels.general = level);
    }

    /// Gives `integration` a level of its own from the next line on, or takes it back.
    pub fn set_for(&self, integration: &str, level: Option<LogLevel>) {
        self.change(|levels| match level {
            Some(level) => drop(levels.of.insert(integration.to_owned(), level)),
            None => drop(levels.of.remove(integration)),
        });
    }

    /// The level in force for `integration`, or for what belongs to none.
    pub fn level_of(&self, integration: Option<&str>) -> LogLevel {
        self.read(|levels| {
            let own = integration.and_then(|integration| levels.of.get(integration));
            own.copied().unwrap_or(levels.general)
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Levels) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, make: impl FnOnce(&mut Levels)) {
        make(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether any integration's lines of `level` are written: the quick answer is no for most lines of a low level.
    fn may_admit(&self, level: Level) -> bool {
        self.read(|levels| levels.general.admits(level) || levels.of.values().any(|own| own.admits(level)))
    }
}

/// A subscriber that writes redacted JSON lines to `writer`. `always` is put on every line, for example the mark of mock
/// mode. The mark `function` also says to which integration the lines outside of any integration's call belong.
pub fn subscriber(
    level: LevelSwitch,
    always: &[(&'static str, String)],
    writer: Box<dyn Write + Send>,
    clock: SharedClock,
) -> impl Subscriber + Send + Sync + use<> {
    let home = always.iter().find(|(name, _)| *name == "function").map(|(_, value)| value.clone());
    let always = always.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
    Registry::default().with(JsonLines { level, home, always, writer: Mutex::new(writer), clock })
}

/// Makes [`subscriber`] on standard output the process's own. The first call wins.
pub fn init(level: LevelSwitch, always: &[(&'static str, String)], clock: SharedClock) {
    // A second call can only come from a test that starts a function twice in one process.
    let _ = tracing::subscriber::set_global_default(subscriber(level, always, Box::new(std::io::stdout()), clock));
    // The default hook prints a panic's words, which nobody has redacted. The place is what is needed.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "ieum::panic", place, "panic");
    }));
}

struct JsonLines {
    level: LevelSwitch,
    home: Option<String>,
    always: Map<String, Value>,
    writer: Mutex<Box<dyn Write + Send>>,
    clock: SharedClock,
}

/// The fields of a span, kept for the lines written within it.
struct SpanFields(Map<String, Value>);

impl SpanFields {
    /// The integration that a span says it belongs to.
    fn integration(&self) -> Option<String> {
        self.0.get("integration").and_then(Value::as_str).map(str::to_owned)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked each time, because the level may change at run time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        let (ours, level) = (metadata.target().starts_with("ieum"), *metadata.level());
        // Spans say what the lines within them belong to, so they must be there before any line is asked for.
        if metadata.target() == METRIC || ours && metadata.is_span() {
            return true;
        }
        // Libraries are heard only when something is wrong: their words at lower levels are not ours to vouch for.
        if !(ours || level <= Level::WARN) || !self.level.may_admit(level) {
            return false;
        }
        let scope = context.lookup_current().into_iter().flat_map(|span| span.scope());
        let integration = scope.into_iter().find_map(|span| span.extensions().get::<SpanFields>()?.integration());
        self.level.level_of(integration.as_deref().or(self.home.as_deref())).admits(level)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            values.record(&mut fields);
            if let Some(SpanFields(known)) = span.extensions_mut().get_mut() {
                known.extend(fields.0);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let now = self.clock.now();
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), now.rfc3339().into());
        line.insert("level".to_owned(), event.metadata().level().as_str().to_lowercase().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        line.extend(self.always.clone());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.extend(fields.clone());
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if event.metadata().target() == METRIC {
            line.extend(embedded_metrics(&fields.0, now.as_millis()).map(|directive| ("_aws".to_owned(), directive)));
        }
        line.extend(fields.0);
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A log line that cannot be written has nowhere to be reported.
        let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    }
}

/// The `_aws` member that makes a log line metrics; `None` for a line with no metric, or without a dimension to file it
/// under, because a set of dimensions may not be empty:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
fn embedded_metrics(fields: &Map<String, Value>, timestamp_ms: i64) -> Option<Value> {
    let present = METRICS.iter().filter(|(name, _)| fields.get(*name).is_some_and(Value::is_number));
    let metrics: Vec<Value> = present.map(|(name, unit)| json!({"Name": name, "Unit": unit})).collect();
    let named = |name: &&str| fields.get(*name).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
    let dimensions: Vec<&str> = ["integration", "provider"].into_iter().filter(named).collect();
    (!metrics.is_empty() && !dimensions.is_empty()).then(|| {
        json!({
            "Timestamp": timestamp_ms,
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}],
        })
    })
}

/// Gathers an event's fields, each through the redactor.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        self.0.insert(field.name().to_owned(), redact::field(field.name(), text).into());
    }

    fn number(&mut self, field: &Field, value: Number) {
        self.0.insert(field.name().to_owned(), redact::number(field.name(), value));
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match Number::from_f64(value) {
            Some(value) => self.number(field, value),
            None => self.text(field, &value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &crate::error::chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

/// Lines written so far, for tests.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// A [`subscriber`] that writes here. Threads that it is set for are heard, whatever other threads of the process do.
    pub fn dispatch(&self, level: LevelSwitch, always: &[(&'static str, String)], clock: SharedClock) -> Dispatch {
        // While a process has one subscriber only, tracing lets whichever thread meets a line of code first decide whether
        // anybody hears it. A second subscriber, which nobody listens to, makes it ask all of them.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        let to = |writer| Dispatch::new(subscriber(level.clone(), always, writer, Arc::clone(&clock)));
        SECOND.get_or_init(|| to(Box::new(std::io::sink())));
        to(Box::new(self.clone()))
    }

    /// Everything written since it was last taken, as text.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything written, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Each line as JSON; a line that is none is left out.
    pub fn lines(&self) -> Vec<BTreeMap<String, Value>> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn written(level: LogLevel, work: impl FnOnce(&LevelSwitch)) -> Vec<BTreeMap<String, Value>> {
        let (captured, switch) = (Captured::default(), LevelSwitch::new(level));
        let always = [("function", "verify".to_owned())];
        let dispatch = captured.dispatch(switch.clone(), &always, Arc::new(SystemClock));
        tracing::dispatcher::with_default(&dispatch, || work(&switch));
        captured.lines()
    }

    #[test]
    fn a_line_carries_its_spans_fields_and_the_marks_of_the_process() {
        let lines = written(LogLevel::Info, |_| {
            let span =
                tracing::info_span!(target: "ieum::api", "request", trace_id = "4bf92f3577b34da6a3ce929d0e0e4736");
            span.in_scope(|| tracing::warn!(target: "ieum::x", provider = "nice", count = 3, "hello"));
        });
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&line["function"], &line["level"], &line["message"]),
            (&json!("verify"), &json!("warn"), &json!("hello"))
        );
        assert_eq!((&line["provider"], &line["count"]), (&json!("nice"), &json!(3)));
    }

    #[test]
    fn the_level_acts_from_the_next_line_on_and_metrics_are_always_written() {
        let lines = written(LogLevel::Warn, |switch| {
            tracing::info!(target: "ieum::x", "quiet");
            switch.set(LogLevel::Debug);
            tracing::debug!(target: "ieum::x", "loud");
            tracing::debug!(target: "hyper", "a library's");
            switch.set(LogLevel::Error);
            tracing::info!(target: METRIC, integration = "verify", success = 1_u64, duration_ms = 5_i64, "api_call");
        });
        let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["loud", "api_call"]);
        let directive = &lines[1]["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Ieum");
        assert_eq!(directive["Dimensions"], json!([["integration"]]));
        assert_eq!(directive["Metrics"][1], json!({"Name": "duration_ms", "Unit": "Milliseconds"}));
    }

    #[test]
    fn fields_are_redacted_by_name_and_by_shape() {
        let lines = written(LogLevel::Info, |_| {
            tracing::info!(target: "ieum::x", api_key = "short", note = "mail hong@example.com or 010-1234-5678", "m");
            let error = std::io::Error::other("Bearer abcdefghijklmnop0123456789");
            tracing::error!(target: "ieum::x", error = &error as &(dyn std::error::Error + 'static), "m");
        });
        assert_eq!(lines[0]["api_key"], redact::MASK);
        let text = format!("{lines:?}");
        for secret in ["short", "hong@", "1234-5678", "abcdefghijklmnop0123456789"] {
            assert!(!text.contains(secret), "`{secret}` in {text}");
        }
    }
}
