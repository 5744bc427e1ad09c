//! SQS: queues with their dead-letter queues, and queue policies.

use serde_json::{Map, Value, json};

use super::{Fault, Item, text_of, verify};
use crate::aws::{Aws, Service};
use crate::template::Attributes;

/// Attributes that CloudFormation and SQS call by the same name.
const ATTRIBUTES: [&str; 11] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "VisibilityTimeout",
];

/// Creates a queue and reads all its attributes back.
pub(super) async fn queue(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    let meaningless = ["KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "SqsManagedSseEnabled"];
    item.only(&[ATTRIBUTES.as_slice(), &["QueueName"]].concat(), &meaningless)?;
    let mut name = item.name("QueueName");
    if item.get("FifoQueue") == Some(&json!(true)) && !name.ends_with(".fifo") {
        name.push_str(".fifo");
    }
    let attributes: Map<String, Value> = item
        .chosen(&ATTRIBUTES)
        .into_iter()
        .map(|(key, value)| (key, json!(text_of(&value).unwrap_or_else(|| value.to_string()))))
        .collect();
    let created = aws.json(Service::Sqs, "CreateQueue", &json!({"QueueName": name, "Attributes": attributes})).await?;

    let url = created["QueueUrl"].as_str().unwrap_or_default();
    let found =
        aws.json(Service::Sqs, "GetQueueAttributes", &json!({"QueueUrl": url, "AttributeNames": ["All"]})).await?;
    let found = &found["Attributes"];
    for (key, expected) in &attributes {
        // Policies are JSON inside text; numbers may come back as text inside it.
        let plain = |value: &Value| {
            value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
        };
        verify::holds(key, &as_text(&plain(expected)), &as_text(&plain(&found[key])))?;
    }
    let arn = found["QueueArn"].as_str().unwrap_or_default();
    Ok(Attributes::new(url).with("Arn", arn).with("QueueName", name).with("QueueUrl", url))
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), as_text(value))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(as_text).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text_of(value).map_or(Value::Null, Value::String)
        }
    }
}

/// Attaches a policy to queues.
pub(super) async fn policy(aws: &Aws, item: &Item) -> Result<(), Fault> {
    item.only(&["PolicyDocument", "Queues"], &[])?;
    let document = item.get("PolicyDocument").map(Value::to_string).unwrap_or_default();
    for url in item.texts("Queues") {
        aws.json(Service::Sqs, "SetQueueAttributes", &json!({"QueueUrl": url, "Attributes": {"Policy": document}}))
            .await?;
        let found = aws
            .json(Service::Sqs, "GetQueueAttributes", &json!({"QueueUrl": url, "AttributeNames": ["Policy"]}))
            .await?;
        verify::holds("Policy", &json!(document), &found["Attributes"]["Policy"])?;
    }
    Ok(())
}
