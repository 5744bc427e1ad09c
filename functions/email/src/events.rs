//! What providers report about mail they have taken: read, matched by our id, and nothing more. Pure.
//!
//! Events come late, twice and in any order; the ledger copes with that, because states only move up. Unknown events
//! and unknown members are no mistake: providers add them without notice.

use ieum::delivery::ledger::State;
use serde::Deserialize;
use serde_json::Value;

use crate::address::Address;
use crate::compose::ID_HEADER;
use crate::providers::sendgrid::ID_ARGUMENT;
use crate::providers::ses::ID_TAG;

/// Why an address is not written to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Mail to it came back for good.
    Bounce,
    /// Its owner called our mail spam.
    Complaint,
    /// Its owner wants no more.
    Unsubscribe,
}

impl Reason {
    /// The word in the table and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bounce => "bounced",
            Self::Complaint => "complained",
            Self::Unsubscribe => "unsubscribed",
        }
    }
}

/// One thing that a provider reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Our id of the message, where the provider said it.
    pub id: Option<String>,
    /// What the message has come to.
    pub state: Option<State>,
    /// Why, in a stable word, where that is more than the state says.
    pub why: Option<&'static str>,
    /// Who is not to be written to again, and why.
    pub suppress: Vec<(Address, Reason)>,
}

impl Report {
    /// Whether anything follows from it.
    fn is_news(&self) -> bool {
        (self.id.is_some() && self.state.is_some()) || !self.suppress.is_empty()
    }
}

#[derive(Deserialize)]
struct SendGridEvent {
    event: String,
    email: Option<String>,
    r#type: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

/// The reports in the body of SendGrid's event webhook
/// (<https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event>).
///
/// # Errors
/// When it is no list of events. What is no event of the list is left out.
pub fn sendgrid(body: &[u8]) -> Result<Vec<Report>, serde_json::Error> {
    let events: Vec<Value> = serde_json::from_slice(body)?;
    let events = events.into_iter().filter_map(|event| serde_json::from_value::<SendGridEvent>(event).ok());
    Ok(events.map(SendGridEvent::report).filter(Report::is_news).collect())
}

impl SendGridEvent {
    fn report(self) -> Report {
        let blocked = self.r#type.as_deref() == Some("blocked");
        let (state, why, reason) = match self.event.as_str() {
            "processed" => (Some(State::Sent), None, None),
            "delivered" => (Some(State::Delivered), None, None),
            // The server would not have it this time; the address may be good.
            "bounce" if blocked => (Some(State::Undelivered), Some("blocked"), None),
            "bounce" => (Some(State::Bounced), None, Some(Reason::Bounce)),
            // SendGrid itself did not send: the address is on its own list, or is none.
            "dropped" => (Some(State::Undelivered), Some("dropped"), None),
            "spamreport" => (Some(State::Complained), None, Some(Reason::Complaint)),
            "unsubscribe" | "group_unsubscribe" => (None, None, Some(Reason::Unsubscribe)),
            _ => (None, None, None),
        };
        let address = self.email.as_deref().and_then(|email| Address::parse(email).ok());
        Report {
            id: self.others.get(ID_ARGUMENT).and_then(Value::as_str).map(str::to_owned),
            state,
            why,
            suppress: address.zip(reason).into_iter().collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesEvent {
    /// Of a configuration set; `notification_type` is that of an identity's own feedback.
    event_type: Option<String>,
    notification_type: Option<String>,
    mail: Option<SesMail>,
    bounce: Option<SesBounce>,
    complaint: Option<SesComplaint>,
}

#[derive(Deserialize)]
struct SesMail {
    #[serde(default)]
    tags: serde_json::Map<String, Value>,
    #[serde(default)]
    headers: Vec<SesHeader>,
}

#[derive(Deserialize)]
struct SesHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesBounce {
    bounce_type: String,
    #[serde(default)]
    bounced_recipients: Vec<SesRecipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesComplaint {
    #[serde(default)]
    complained_recipients: Vec<SesRecipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesRecipient {
    email_address: String,
}

/// The report in a message that SES has published
/// (<https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>); `None` when nothing follows
/// from it.
///
/// # Errors
/// When it is no event.
pub fn ses(text: &str) -> Result<Option<Report>, serde_json::Error> {
    let event: SesEvent = serde_json::from_str(text)?;
    let kind = event.event_type.or(event.notification_type).unwrap_or_default();
    let addresses = |recipients: Vec<SesRecipient>, reason| {
        let parsed = recipients.into_iter().filter_map(|recipient| Address::parse(&recipient.email_address).ok());
        parsed.map(|address| (address, reason)).collect::<Vec<_>>()
    };
    let (state, why, suppress) = match kind.as_str() {
        "Send" => (Some(State::Sent), None, Vec::new()),
        "Delivery" => (Some(State::Delivered), None, Vec::new()),
        // SES found a virus, or could not render: it did not send.
        "Reject" | "Rendering Failure" => (Some(State::Failed), Some("rejected"), Vec::new()),
        "Bounce" => match event.bounce {
            Some(bounce) if bounce.bounce_type == "Permanent" => {
                (Some(State::Bounced), None, addresses(bounce.bounced_recipients, Reason::Bounce))
            }
            // A full mailbox is no reason never to write again.
            Some(_) | None => (Some(State::Undelivered), Some("transient_bounce"), Vec::new()),
        },
        "Complaint" => {
            let recipients = event.complaint.map(|complaint| complaint.complained_recipients).unwrap_or_default();
            (Some(State::Complained), None, addresses(recipients, Reason::Complaint))
        }
        _ => (None, None, Vec::new()),
    };
    let report = Report { id: event.mail.and_then(SesMail::id), state, why, suppress };
    Ok(report.is_news().then_some(report))
}

impl SesMail {
    /// Our id: in the tag of a configuration set's event, in the header of an identity's feedback.
    fn id(self) -> Option<String> {
        let tag = self.tags.get(ID_TAG).and_then(|values| values.get(0)).and_then(Value::as_str).map(str::to_owned);
        tag.or_else(|| {
            let header = self.headers.into_iter().find(|header| header.name.eq_ignore_ascii_case(ID_HEADER));
            header.map(|header| header.value)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sendgrids_events_move_the_ledger_and_name_who_wants_no_more() {
        let event = |event: &str, more: Value| {
            let mut event = json!({"event": event, "email": "hong@example.kr", "ieum_id": "m", "sg_event_id": "e"});
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event
        };
        let body = json!([
            event("processed", json!({})),
            event("deferred", json!({"attempt": "1"})),
            event("delivered", json!({"category": ["a"]})),
            event("bounce", json!({"type": "blocked"})),
            event("bounce", json!({"type": "bounce", "status": "5.1.1"})),
            event("dropped", json!({"reason": "Bounced Address"})),
            event("spamreport", json!({})),
            event("group_unsubscribe", json!({"ieum_id": null})),
            {"no": "event"},
            7,
        ]);
        let reports = sendgrid(body.to_string().as_bytes()).unwrap();
        let states: Vec<_> = reports.iter().map(|report| report.state.map(State::name)).collect();
        let expected = ["sent", "delivered", "undelivered", "bounced", "undelivered", "complained"];
        assert_eq!(states[..6], expected.map(Some));
        assert_eq!(states.len(), 7);
        let reasons: Vec<_> = reports.iter().flat_map(|report| &report.suppress).map(|(_, reason)| *reason).collect();
        assert_eq!(reasons, [Reason::Bounce, Reason::Complaint, Reason::Unsubscribe]);
        assert!(reports[..6].iter().all(|report| report.id.as_deref() == Some("m")));
        assert!(sendgrid(b"{}").is_err());
    }

    #[test]
    fn events_of_ses_come_in_two_shapes_and_are_matched_in_both() {
        let tagged = json!({"tags": {"ieum-id": ["m"], "ses:operation": ["SendEmail"]}});
        let bounce = json!({"bounceType": "Permanent", "bouncedRecipients": [
            {"emailAddress": "a@example.kr"}, {"emailAddress": "b@example.kr"}]});
        let event = json!({"eventType": "Bounce", "mail": tagged, "bounce": bounce});
        let report = ses(&event.to_string()).unwrap().unwrap();
        assert_eq!((report.id.as_deref(), report.state, report.suppress.len()), (Some("m"), Some(State::Bounced), 2));

        let headers = json!({"headersTruncated": false, "headers": [{"name": "X-Ieum-Id", "value": "n"}]});
        let event = json!({"notificationType": "Delivery", "mail": headers, "delivery": {"new": 1}});
        let report = ses(&event.to_string()).unwrap().unwrap();
        assert_eq!((report.id.as_deref(), report.state), (Some("n"), Some(State::Delivered)));

        let transient = json!({"eventType": "Bounce", "mail": tagged, "bounce": {"bounceType": "Transient", "bouncedRecipients": [{"emailAddress": "a@example.kr"}]}});
        let report = ses(&transient.to_string()).unwrap().unwrap();
        assert_eq!((report.state, report.suppress.len()), (Some(State::Undelivered), 0));
        for nothing in
            [json!({"eventType": "Open", "mail": tagged}), json!({"eventType": "Send", "mail": {}}), json!({})]
        {
            assert_eq!(ses(&nothing.to_string()).unwrap(), None);
        }
        assert!(ses("SNS says hello").is_err());
    }
}
