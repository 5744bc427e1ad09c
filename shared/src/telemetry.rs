//! What leaves a process for its operators: JSON lines on standard output, one event a line.
//!
//! Every value of every line passes the redactor; there is no other way to write one. Events with the target [`METRIC`]
//! are written at any level and carry CloudWatch's embedded metric format, so that one line is both the log of a call and
//! its metrics. This file refuses to talk to CloudWatch: writing the line is enough.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use serde::Serialize;
use serde_json::{Number, Value};
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
    let (always, writer) = (always.to_vec(), Mutex::new(writer));
    Registry::default().with(JsonLines { level, home, always, writer, clock })
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
    always: Vec<(&'static str, String)>,
    writer: Mutex<Box<dyn Write + Send>>,
    clock: SharedClock,
}

/// The fields of a span, redacted, kept for the lines written within it.
#[derive(Default)]
struct SpanFields(Vec<(&'static str, Value)>);

impl SpanFields {
    /// The integration that a span says it belongs to.
    fn integration(&self) -> Option<String> {
        let (_, integration) = self.0.iter().find(|(name, _)| *name == "integration")?;
        integration.as_str().map(str::to_owned)
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("ieum")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Libraries are heard only when something is wrong: their words at lower levels are not ours to vouch for.
        if !is_ours(metadata) && *metadata.level() > Level::WARN {
            return Interest::never();
        }
        // Asked each time, because the level may change at run time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        let (ours, level) = (is_ours(metadata), *metadata.level());
        // Spans say what the lines within them belong to, so they must be there before any line is asked for.
        if metadata.target() == METRIC || ours && metadata.is_span() {
            return true;
        }
        if !(ours || level <= Level::WARN) || !self.level.may_admit(level) {
            return false;
        }
        let scope = context.lookup_current().into_iter().flat_map(|span| span.scope());
        let integration = scope.into_iter().find_map(|span| span.extensions().get::<SpanFields>()?.integration());
        self.level.level_of(integration.as_deref().or(self.home.as_deref())).admits(level)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = SpanFields::default();
            attributes.record(&mut Redacted(|name, value| fields.0.push((name, value))));
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(known)) = span.extensions_mut().get_mut()
        {
            // The newest goes first: of two of one name a line takes the first.
            values.record(&mut Redacted(|name, value| known.insert(0, (name, value))));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (now, metadata, mut line) = (self.clock.now(), event.metadata(), Line::default());
        line.member("timestamp", &now.rfc3339());
        line.member("level", &metadata.level().as_str().to_lowercase());
        line.member("target", metadata.target());
        let mut metrics = Metrics::default();
        event.record(&mut Redacted(|name, value| {
            line.member(name, &value);
            metrics.note(name, &value);
        }));
        if metadata.target() == METRIC
            && let Some(directive) = metrics.directive(now.as_millis())
        {
            line.member("_aws", &directive);
        }
        for span in context.event_scope(event).into_iter().flatten() {
            for (name, value) in span.extensions().get::<SpanFields>().into_iter().flat_map(|fields| &fields.0) {
                line.member(name, value);
            }
        }
        for (name, value) in &self.always {
            line.member(name, value);
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A log line that cannot be written has nowhere to be reported.
        let _ = writer.write_all(&line.finish()).and_then(|()| writer.flush());
    }
}

/// A line as it is written: an object, of whose members of one name the first counts. So what an event says itself goes
/// before what its spans say, from the innermost outwards, and that before what every line carries.
struct Line {
    text: Vec<u8>,
    names: Vec<&'static str>,
}

impl Default for Line {
    fn default() -> Self {
        Self { text: Vec::with_capacity(640), names: Vec::with_capacity(24) }
    }
}

impl Line {
    fn member(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        if self.names.contains(&name) {
            return;
        }
        let before = self.text.len();
        self.text.push(if self.names.is_empty() { b'{' } else { b',' });
        let written = serde_json::to_writer(&mut self.text, name).and_then(|()| {
            self.text.push(b':');
            serde_json::to_writer(&mut self.text, value)
        });
        match written {
            Ok(()) => self.names.push(name),
            // What cannot be written as JSON does not spoil the rest of the line.
            Err(_) => self.text.truncate(before),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.text.extend_from_slice(b"}\n");
        self.text
    }
}

/// What an event says that becomes metrics.
#[derive(Default)]
struct Metrics {
    measured: Vec<Metric>,
    integration: bool,
    provider: bool,
}

/// The member that makes a log line metrics:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    /// Milliseconds since the epoch.
    timestamp: i64,
    cloud_watch_metrics: [MetricSet; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricSet {
    namespace: &'static str,
    dimensions: [Vec<&'static str>; 1],
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
}

impl Metrics {
    fn note(&mut self, name: &'static str, value: &Value) {
        match value {
            Value::Number(_) => {
                let known = METRICS.iter().find(|(known, _)| *known == name);
                self.measured.extend(known.map(|&(name, unit)| Metric { name, unit }));
            }
            Value::String(value) => {
                self.integration |= name == "integration" && !value.is_empty();
                self.provider |= name == "provider" && !value.is_empty();
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }

    /// `None` for an event with no metric, or without a dimension to file it under, because a set of dimensions may not be
    /// empty.
    fn directive(self, timestamp: i64) -> Option<Directive> {
        let dimensions: Vec<_> = [("integration", self.integration), ("provider", self.provider)]
            .into_iter()
            .filter_map(|(name, said)| said.then_some(name))
            .collect();
        let metrics = self.measured;
        if metrics.is_empty() || dimensions.is_empty() {
            return None;
        }
        let set = MetricSet { namespace: NAMESPACE, dimensions: [dimensions], metrics };
        Some(Directive { timestamp, cloud_watch_metrics: [set] })
    }
}

/// Hands on the fields of an event or a span, each after it has been through the redactor.
struct Redacted<F>(F);

impl<F: FnMut(&'static str, Value)> Redacted<F> {
    fn text(&mut self, field: &Field, text: &str) {
        (self.0)(field.name(), redact::field(field.name(), text).into());
    }

    fn number(&mut self, field: &Field, value: Number) {
        (self.0)(field.name(), redact::number(field.name(), value));
    }
}

impl<F: FnMut(&'static str, Value)> Visit for Redacted<F> {
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
        (self.0)(field.name(), value.into());
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
    use serde_json::json;

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
