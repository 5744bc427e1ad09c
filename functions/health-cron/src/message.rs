//! What subscribers are told, in Korean and in English. Pure.
//!
//! A subscriber by e-mail reads all of it, one by telephone a line, a program JSON. A subject goes into the header of a mail:
//! it is ASCII, without line breaks, of at most 100 characters.

use ieum::clock::Timestamp;
use ieum::resilience::health::{State, Status};
use serde_json::json;

/// The longest subject that SNS takes (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>).
const MAX_SUBJECT: usize = 100;

/// What is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// In one line of ASCII.
    pub subject: String,
    line: String,
    text: String,
    json: String,
}

impl Message {
    /// That `subject` is `state` in `stage`, told at `now`.
    pub fn of(stage: &str, subject: &str, state: &State, now: Timestamp) -> Self {
        let (status, before) = (state.status.name(), state.told.name());
        let why = state.reason.map_or("", |reason| reason.name());
        let shown = if why.is_empty() { status.to_owned() } else { format!("{status} ({why})") };
        let plain: String = subject.chars().filter(char::is_ascii_graphic).collect();
        let headline = format!("[ieum {stage}] {plain}: {shown}");
        let korean = match state.status {
            Status::Healthy => "정상으로 돌아왔습니다.",
            Status::Degraded => "동작하지만 이상이 있습니다.",
            Status::Unhealthy => "동작하지 않습니다.",
        };
        let since = state.since.rfc3339();
        let text = format!(
            "{subject}: {korean}\n상태: {before} -> {shown}\n시작: {since}\n\n\
             {subject} was {before} and is {shown} since {since}.\n"
        );
        let json = json!({
            "subject": subject,
            "stage": stage,
            "status": status,
            "before": before,
            "reason": state.reason,
            "since": since,
            "told_at": now.rfc3339(),
        });
        let subject = headline.chars().take(MAX_SUBJECT).collect();
        Self { subject, line: format!("[ieum {stage}] {plain} {korean} {why}"), text, json: json.to_string() }
    }

    /// A message for each kind of subscriber, as SNS wants it.
    pub fn structure(&self) -> String {
        let Self { line, text, json, .. } = self;
        let structure = json!({
            "default": text, "email": text, "sms": line, "email-json": json, "http": json, "https": json, "sqs": json,
            "lambda": json,
        });
        structure.to_string()
    }
}

#[cfg(test)]
mod tests {
    use ieum::resilience::health::{Finding, Reason};
    use serde_json::Value;

    use super::*;

    #[test]
    fn people_read_a_sentence_and_programs_json() {
        let now = Timestamp::from_millis(1_795_233_000_000);
        let state = State::default().after(Finding::Down(Reason::CircuitOpen), now);
        let message = Message::of("production", "verify/nice", &state, now);
        assert_eq!(message.subject, "[ieum production] verify/nice: unhealthy (circuit_open)");
        let structure: Value = serde_json::from_str(&message.structure()).unwrap();
        let text = |kind: &str| structure[kind].as_str().unwrap();
        assert!(text("email").contains("verify/nice: 동작하지 않습니다.\n"));
        assert!(text("email").contains("was healthy and is unhealthy (circuit_open) since 2026-11-21T"));
        assert!(text("sms").encode_utf16().count() <= 70, "one segment: {}", text("sms"));
        let told: Value = serde_json::from_str(text("https")).unwrap();
        assert_eq!((&told["before"], &told["status"]), (&json!("healthy"), &json!("unhealthy")));
        assert_eq!(told["since"], now.rfc3339());
        assert!(structure["default"].is_string(), "SNS insists on it");
    }

    #[test]
    fn a_subject_fits_into_the_header_of_a_mail() {
        let long = format!("secret/한글\n{}", "x".repeat(200));
        let message = Message::of("dev", &long, &State::default(), Timestamp::default());
        assert!(message.subject.is_ascii() && message.subject.len() <= 100 && !message.subject.contains('\n'));
    }
}
