//! What providers report about texts they have taken: read, matched by our id or by theirs, and nothing more. Pure.
//!
//! Reports come late, twice and in any order; the ledger copes with that, because states only move up. Unknown states and
//! members are no mistake: providers add them without notice.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use ieum::delivery::ledger::State;
use ieum::provider::Cause;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::phone::PhoneNumber;

/// The largest unpacked delivery of CloudWatch Logs: it packs about a megabyte at most.
const MAX_LOGS_BYTES: u64 = 16 * 1024 * 1024;

/// Why a number is not written to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has it, or it receives no texts.
    Dead,
    /// Its owner wants no more.
    OptOut,
}

impl Reason {
    /// The word in the table and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead_number",
            Self::OptOut => "opted_out",
        }
    }
}

/// Whose name for the message a report goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Ours.
    Ours(String),
    /// The provider's.
    Theirs(String),
}

/// One thing that a provider reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which message.
    pub message: Name,
    /// What it has come to; `None` when that is nothing new.
    pub state: Option<State>,
    /// The provider's code for why it did not arrive.
    pub why: Option<String>,
    /// Who is not to be written to again, and why.
    pub suppress: Option<(PhoneNumber, Reason)>,
}

/// The report in a status callback of Twilio's (<https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>)
/// about our message `id`, to the account `account`; `None` when it lacks what every callback has, or is about another account.
pub fn twilio(id: &str, body: &[u8], is_json: bool, account: &str) -> Option<Report> {
    let members: Vec<(String, String)> = if is_json {
        let Value::Object(members) = serde_json::from_slice(body).ok()? else { return None };
        members.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
    } else {
        form_urlencoded::parse(body).into_owned().collect()
    };
    let member = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    member("MessageSid")?;
    if member("AccountSid")? != account {
        return None;
    }
    let state = match member("MessageStatus")? {
        "sent" => Some(State::Sent),
        "delivered" | "read" => Some(State::Delivered),
        "undelivered" => Some(State::Undelivered),
        "failed" | "canceled" => Some(State::Failed),
        // Still with Twilio, or in part: nothing that is known for sure.
        _ => None,
    };
    let why = member("ErrorCode").filter(|code| is_code(code));
    let reason = why.and_then(twilio_reason);
    let number = member("To").and_then(|to| PhoneNumber::parse(to).ok());
    let (message, why) = (Name::Ours(id.to_owned()), why.map(str::to_owned));
    Some(Report { message, state, why, suppress: number.zip(reason) })
}

/// Whether a code may be kept: a word, as all of them are, and none that says that nothing is wrong.
fn is_code(code: &str) -> bool {
    (1..=16).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) && code != "0"
}

/// What an error code of Twilio's (<https://www.twilio.com/docs/api/errors>) says about a number for good.
pub fn twilio_reason(code: &str) -> Option<Reason> {
    match code {
        "21610" => Some(Reason::OptOut),
        "21614" | "30005" | "30006" => Some(Reason::Dead),
        _ => None,
    }
}

/// What Solapi's codes mean. Its table is not public, so they are settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolapiCodes {
    /// The text has arrived.
    pub delivered: Vec<String>,
    /// Nobody has the number.
    pub dead: Vec<String>,
}

impl SolapiCodes {
    /// Whether `code` says something about a number for good.
    pub fn reason(&self, code: &str) -> Option<Reason> {
        self.dead.iter().any(|dead| dead == code).then_some(Reason::Dead)
    }

    fn state(&self, code: &str) -> Option<State> {
        match code.as_bytes().first() {
            _ if self.delivered.iter().any(|delivered| delivered == code) => Some(State::Delivered),
            Some(b'2') => Some(State::Sent),
            Some(b'1' | b'3') => Some(State::Undelivered),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SolapiMessage {
    message_id: Option<String>,
    status_code: Option<String>,
    to: Option<String>,
    #[serde(default)]
    custom_fields: serde_json::Map<String, Value>,
}

/// The name under which our id travels in Solapi's `customFields`.
pub const SOLAPI_ID_FIELD: &str = "ieumId";

/// The reports in the body of Solapi's webhook: a list of messages, or one.
///
/// # Errors
/// When it is neither. What is no message of the list is left out.
pub fn solapi(body: &[u8], codes: &SolapiCodes) -> Result<Vec<Report>, serde_json::Error> {
    let body: Value = serde_json::from_slice(body)?;
    let messages = if let Value::Array(messages) = body { messages } else { vec![body] };
    let messages = messages.into_iter().filter_map(|message| serde_json::from_value::<SolapiMessage>(message).ok());
    let report = |message: SolapiMessage| {
        let ours = message.custom_fields.get(SOLAPI_ID_FIELD).and_then(Value::as_str);
        let name = match ours {
            Some(id) => Name::Ours(id.to_owned()),
            None => Name::Theirs(message.message_id?),
        };
        let code = message.status_code?;
        let number = message.to.and_then(|to| PhoneNumber::parse(&to).ok());
        let (state, suppress) = (codes.state(&code), number.zip(codes.reason(&code)));
        let why = Some(code).filter(|code| state == Some(State::Undelivered) && is_code(code));
        Some(Report { message: name, state, why, suppress })
    };
    Ok(messages.filter_map(report).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogDelivery {
    message_type: String,
    #[serde(default)]
    log_events: Vec<LogEvent>,
}

#[derive(Deserialize)]
struct LogEvent {
    message: String,
}

#[derive(Deserialize)]
struct SnsStatus {
    notification: SnsNotification,
    #[serde(default)]
    delivery: SnsDelivery,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SnsNotification {
    message_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SnsDelivery {
    destination: Option<String>,
    provider_response: Option<String>,
}

/// The reports in what CloudWatch Logs delivers of SNS's delivery status
/// (<https://docs.aws.amazon.com/sns/latest/dg/sms_stats_cloudwatch.html>): gzip in base64, and JSON in JSON. SNS has no
/// other way to tell, and knows no name of ours.
///
/// # Errors
/// When it cannot be unpacked or read. Lines that are no delivery status are left out.
pub fn sns(data: &str) -> Result<Vec<Report>, Cause> {
    let packed = STANDARD.decode(data)?;
    let mut text = String::new();
    GzDecoder::new(&packed[..]).take(MAX_LOGS_BYTES).read_to_string(&mut text)?;
    let delivery: LogDelivery = serde_json::from_str(&text)?;
    // A control message only asks whether anybody is there.
    let events = if delivery.message_type == "DATA_MESSAGE" { delivery.log_events } else { Vec::new() };
    let reports = events.into_iter().filter_map(|event| {
        let status: SnsStatus = serde_json::from_str(&event.message).ok()?;
        let state = match status.status.as_str() {
            "SUCCESS" => Some(State::Delivered),
            "FAILURE" => Some(State::Undelivered),
            _ => None,
        };
        let reason = status.delivery.provider_response.as_deref().and_then(sns_reason);
        let number = status.delivery.destination.and_then(|to| PhoneNumber::parse(&to).ok());
        // SNS has sentences and no codes.
        let message = Name::Theirs(status.notification.message_id);
        Some(Report { message, state, why: None, suppress: number.zip(reason) })
    });
    Ok(reports.collect())
}

fn sns_reason(response: &str) -> Option<Reason> {
    match response {
        "Invalid phone number" => Some(Reason::Dead),
        "Phone number is opted out" | "Phone has blocked SMS" => Some(Reason::OptOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    fn callback(status: &str, code: &str) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("MessageSid", "SM1"), ("AccountSid", "AC1"), ("To", "+821012345678")])
            .extend_pairs([("MessageStatus", status), ("ErrorCode", code)])
            .finish()
    }

    #[test]
    fn twilios_callbacks_say_what_is_final_and_who_cannot_be_reached() {
        for (status, code, state, reason) in [
            ("queued", "", None, None),
            ("sent", "", Some(State::Sent), None),
            ("delivered", "", Some(State::Delivered), None),
            ("read", "", Some(State::Delivered), None),
            ("undelivered", "30003", Some(State::Undelivered), None),
            ("undelivered", "30005", Some(State::Undelivered), Some(Reason::Dead)),
            ("failed", "21610", Some(State::Failed), Some(Reason::OptOut)),
            ("partially_delivered", "", None, None),
        ] {
            let report = twilio("m", callback(status, code).as_bytes(), false, "AC1").unwrap();
            assert_eq!((report.state, report.suppress.map(|(_, reason)| reason)), (state, reason), "{status} {code}");
            assert_eq!(report.message, Name::Ours("m".to_owned()));
        }
        let json = json!({"MessageSid": "SM1", "AccountSid": "AC1", "MessageStatus": "delivered", "RawDlrDoneDate": 1});
        let report = twilio("m", json.to_string().as_bytes(), true, "AC1").unwrap();
        assert_eq!((report.state, report.suppress), (Some(State::Delivered), None));
        assert_eq!(twilio("m", callback("sent", "").as_bytes(), false, "AC2"), None, "another account's");
        assert_eq!(twilio("m", b"AccountSid=AC1MessageStatus=sent", false, "AC1"), None, "parted differently");
    }

    #[test]
    fn solapis_codes_mean_what_the_settings_say() {
        let codes = SolapiCodes { delivered: vec!["4000".to_owned()], dead: vec!["3040".to_owned()] };
        let message = |code: &str| json!({"messageId": "M4V1", "to": "01012345678", "statusCode": code, "customFields": {"ieumId": "m"}});
        let unnamed = json!({"messageId": "M4V2", "statusCode": "4000", "customFields": {}, "new": []});
        let body = json!([message("2000"), message("4000"), message("3040"), message("9"), unnamed, {"no": 1}, 7]);
        let reports = solapi(body.to_string().as_bytes(), &codes).unwrap();
        let states: Vec<_> = reports.iter().map(|report| report.state).collect();
        let expected =
            [Some(State::Sent), Some(State::Delivered), Some(State::Undelivered), None, Some(State::Delivered)];
        assert_eq!(states, expected);
        assert_eq!(reports[0].message, Name::Ours("m".to_owned()));
        assert_eq!(reports[4].message, Name::Theirs("M4V2".to_owned()));
        let (number, reason) = reports[2].suppress.clone().unwrap();
        assert_eq!((number.as_str(), reason), ("+821012345678", Reason::Dead));
        assert_eq!(solapi(message("4000").to_string().as_bytes(), &codes).unwrap().len(), 1);
        assert!(solapi(b"<html>", &codes).is_err());
    }

    fn packed(delivery: &Value) -> String {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(delivery.to_string().as_bytes()).unwrap();
        STANDARD.encode(gzip.finish().unwrap())
    }

    #[test]
    fn the_logs_of_sns_are_unpacked_and_only_its_lines_are_believed() {
        let line = |status: &str, response: &str| {
            let line = json!({
                "notification": {"messageId": "34d9b400-c6dd-5444-820d-fbeb0f1f54cf", "timestamp": "2026-11-21 03:50:00.000"},
                "delivery": {"phoneCarrier": "KT", "mnc": 8, "mcc": 450, "destination": "+821012345678", "priceInUSD": 0.04, "smsType": "Transactional", "providerResponse": response, "dwellTimeMs": 599},
                "status": status,
            });
            json!({"id": "1", "timestamp": 1, "message": line.to_string()})
        };
        let events = json!([line("SUCCESS", "Message has been accepted by phone carrier"), line("FAILURE", "Phone number is opted out"), line("FAILURE", "Invalid phone number"), {"id": "2", "message": "START RequestId"}]);
        let delivery = json!({"messageType": "DATA_MESSAGE", "logGroup": "sns/ap-northeast-2/1/DirectPublishToPhoneNumber", "logEvents": events});
        let reports = sns(&packed(&delivery)).unwrap();
        let told: Vec<_> =
            reports.iter().map(|report| (report.state, report.suppress.as_ref().map(|(_, reason)| *reason))).collect();
        let (arrived, lost) = (Some(State::Delivered), Some(State::Undelivered));
        assert_eq!(told, [(arrived, None), (lost, Some(Reason::OptOut)), (lost, Some(Reason::Dead))]);
        assert_eq!(reports[0].message, Name::Theirs("34d9b400-c6dd-5444-820d-fbeb0f1f54cf".to_owned()));
        let control = json!({"messageType": "CONTROL_MESSAGE", "logEvents": events});
        assert_eq!(sns(&packed(&control)).unwrap(), []);
        for garbage in ["", "%", "aGVsbG8=", &packed(&json!([]))] {
            assert!(sns(garbage).is_err(), "{garbage}");
        }
    }
}
