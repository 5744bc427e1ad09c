//! What S3 says of an object that came into being.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use ieum::aws::s3::Place;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

/// One object that came into being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Where it lies.
    pub place: Place,
    /// What S3 said, for whoever wants to say it again.
    record: Value,
}

/// A notification that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a notification of S3: {0}")]
pub struct Unreadable(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: String,
    event_name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

impl Upload {
    /// The objects that came into being according to `notification`. What S3 sends to try a new configuration out names
    /// none, and what happened otherwise to objects (they were deleted, restored) is not about uploads.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn all(notification: &Value) -> Result<Vec<Self>, Unreadable> {
        if notification["Event"] == "s3:TestEvent" {
            return Ok(Vec::new());
        }
        let records = notification["Records"].as_array().ok_or_else(|| Unreadable("it has no records".to_owned()))?;
        let uploads = records.iter().map(|record| Self::of(record).transpose());
        uploads.flatten().collect()
    }

    /// The notification about this object alone, with `cause` beside it. It can be read again.
    pub fn with_cause(&self, cause: &Value) -> Value {
        json!({"Records": [self.record], "cause": cause})
    }

    fn of(record: &Value) -> Result<Option<Self>, Unreadable> {
        let Record { event_source, event_name, s3 } =
            Record::deserialize(record).map_err(|error| Unreadable(error.to_string()))?;
        if event_source != "aws:s3" {
            return Err(Unreadable("it comes from another service".to_owned()));
        }
        // Some senders put the service before the name.
        if !event_name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
            return Ok(None);
        }
        let key = decoded(&s3.object.key).ok_or_else(|| Unreadable("its key is not UTF-8".to_owned()))?;
        Ok(Some(Self { place: Place { bucket: s3.bucket.name, key }, record: record.clone() }))
    }
}

/// A key is written as in a form: a plus is a space, and a plus itself is escaped.
fn decoded(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, key: &str) -> Value {
        json!({"eventSource": "aws:s3", "eventName": name, "s3": {"bucket": {"name": "b"}, "object": {"key": key}}})
    }

    fn keys(notification: &Value) -> Vec<String> {
        Upload::all(notification).expect("a notification").into_iter().map(|upload| upload.place.key).collect()
    }

    #[test]
    fn keys_are_what_their_owner_wrote() {
        for (written, key) in [
            ("upload/a.jpg", "upload/a.jpg"),
            ("upload/my+holiday.jpg", "upload/my holiday.jpg"),
            ("upload/1%2B1%3D2.jpg", "upload/1+1=2.jpg"),
            ("upload/%ED%95%9C%EA%B8%80+%EC%82%AC%EC%A7%84.jpg", "upload/한글 사진.jpg"),
            ("upload/100%2525.jpg", "upload/100%25.jpg"),
        ] {
            assert_eq!(keys(&json!({"Records": [record("ObjectCreated:Put", written)]})), [key]);
        }
        let odd = json!({"Records": [record("ObjectCreated:Put", "%ff")]});
        assert!(Upload::all(&odd).is_err());
    }

    #[test]
    fn only_what_came_into_being_counts() {
        let records = ["ObjectCreated:Put", "ObjectRemoved:Delete", "s3:ObjectCreated:CompleteMultipartUpload"];
        let records: Vec<Value> = records.iter().map(|name| record(name, name)).collect();
        let found = keys(&json!({ "Records": records }));
        assert_eq!(found, ["ObjectCreated:Put", "s3:ObjectCreated:CompleteMultipartUpload"]);
        assert!(keys(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})).is_empty());
    }

    #[test]
    fn what_is_no_notification_is_told() {
        for wrong in
            [json!(null), json!({}), json!({"Records": [{}]}), json!({"Records": [{"eventSource": "aws:sqs"}]})]
        {
            assert!(Upload::all(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dead_letter_can_be_read_again() {
        let notification = json!({"Records": [record("ObjectCreated:Put", "a"), record("ObjectCreated:Copy", "b")]});
        let uploads = Upload::all(&notification).expect("a notification");
        let letter = uploads[1].with_cause(&json!({"reason": "broken"}));
        assert_eq!(Upload::all(&letter).expect("a notification"), [uploads[1].clone()]);
    }
}
