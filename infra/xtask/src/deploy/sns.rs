//! SNS: topics, subscriptions and topic policies.

use roxmltree::Document;
use serde_json::{Value, json};

use super::{Fault, Item, text_of, verify};
use crate::aws::{Aws, AwsError};
use crate::template::{Attributes, Scope};

const VERSION: &str = "2010-03-31";

async fn call(aws: &Aws, operation: &str, fields: &[(&str, &str)]) -> Result<String, AwsError> {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    aws.query("sns", operation, VERSION, &fields).await
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let found = document.descendants().find(|node| node.has_tag_name(name) || node.tag_name().name() == name)?;
    Some(found.text().unwrap_or_default().to_owned())
}

/// The `<entry><key/><value/></entry>` pairs of an answer.
fn entries(xml: &str) -> Value {
    let Ok(document) = Document::parse(xml) else { return Value::Null };
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        node.children()
            .find(|child| child.tag_name().name() == name)
            .and_then(|child| child.text())
            .unwrap_or_default()
            .to_owned()
    };
    let entries = document.descendants().filter(|node| node.tag_name().name() == "entry");
    Value::Object(entries.map(|entry| (child(entry, "key"), json!(child(entry, "value")))).collect())
}

/// Creates a topic; its subscriptions follow when their endpoints exist.
pub(super) async fn topic(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    item.only(
        &["TopicName", "DisplayName", "FifoTopic", "ContentBasedDeduplication"],
        &["KmsMasterKeyId", "TracingConfig"],
    )?;
    let mut name = item.name("TopicName");
    if item.get("FifoTopic") == Some(&json!(true)) && !name.ends_with(".fifo") {
        name.push_str(".fifo");
    }
    let wanted = item.chosen(&["DisplayName", "FifoTopic", "ContentBasedDeduplication"]);
    let mut fields = vec![("Name".to_owned(), name.clone())];
    for (index, (key, value)) in wanted.iter().enumerate() {
        fields.push((format!("Attributes.entry.{}.key", index + 1), key.clone()));
        fields.push((format!("Attributes.entry.{}.value", index + 1), text_of(value).unwrap_or_default()));
    }
    let created = aws.query("sns", "CreateTopic", VERSION, &fields).await?;
    let arn = element(&created, "TopicArn").unwrap_or_default();

    let found = entries(&call(aws, "GetTopicAttributes", &[("TopicArn", &arn)]).await?);
    verify::holds("TopicArn", &json!(arn), &found["TopicArn"])?;
    for (key, value) in &wanted {
        verify::holds(key, &json!(text_of(value)), &found[key])?;
    }
    Ok(Attributes::new(arn.clone()).with("TopicArn", arn).with("TopicName", name))
}

/// The subscriptions a topic lists itself.
pub(super) async fn subscriptions(aws: &Aws, item: &Item, scope: &Scope) -> Result<(), Fault> {
    for subscription in item.get("Subscription").and_then(Value::as_array).into_iter().flatten() {
        let protocol = subscription["Protocol"].as_str().unwrap_or_default();
        let endpoint = subscription["Endpoint"].as_str().unwrap_or_default();
        let endpoint = scope.resource_of(endpoint).map_or(endpoint, |(_, found)| found.arn());
        subscribe(aws, item.reference(), protocol, endpoint, &[]).await?;
    }
    Ok(())
}

/// A subscription that is a resource of its own.
pub(super) async fn subscription(aws: &Aws, item: &Item) -> Result<(), Fault> {
    let attributes = ["FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy"];
    item.only(&[attributes.as_slice(), &["TopicArn", "Protocol", "Endpoint"]].concat(), &["Region"])?;
    let attributes = item.chosen(&attributes).into_iter().collect::<Vec<_>>();
    subscribe(aws, &item.text("TopicArn")?, &item.text("Protocol")?, &item.text("Endpoint")?, &attributes).await
}

/// A function that listens to a topic.
pub(super) async fn function_event(aws: &Aws, item: &Item, function: &Attributes) -> Result<(), Fault> {
    item.only(&["Topic", "FilterPolicy", "FilterPolicyScope", "RedrivePolicy"], &["Region"])?;
    let attributes =
        item.chosen(&["FilterPolicy", "FilterPolicyScope", "RedrivePolicy"]).into_iter().collect::<Vec<_>>();
    subscribe(aws, &item.text("Topic")?, "lambda", function.arn(), &attributes).await
}

async fn subscribe(
    aws: &Aws,
    topic: &str,
    protocol: &str,
    endpoint: &str,
    attributes: &[(String, Value)],
) -> Result<(), Fault> {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = vec![
        field("TopicArn", topic),
        field("Protocol", protocol),
        field("Endpoint", endpoint),
        field("ReturnSubscriptionArn", "true"),
    ];
    let as_attribute = |value: &Value| text_of(value).unwrap_or_else(|| value.to_string());
    for (index, (key, value)) in attributes.iter().enumerate() {
        fields.push((format!("Attributes.entry.{}.key", index + 1), key.clone()));
        fields.push((format!("Attributes.entry.{}.value", index + 1), as_attribute(value)));
    }
    let created = aws.query("sns", "Subscribe", VERSION, &fields).await?;
    let arn = element(&created, "SubscriptionArn").unwrap_or_default();
    let found = entries(&call(aws, "GetSubscriptionAttributes", &[("SubscriptionArn", &arn)]).await?);
    verify::holds("Subscription", &json!({"TopicArn": topic, "Protocol": protocol, "Endpoint": endpoint}), &found)?;
    for (key, value) in attributes {
        verify::holds(key, &json!(as_attribute(value)), &found[key])?;
    }
    Ok(())
}

/// Attaches a policy to topics.
pub(super) async fn policy(aws: &Aws, item: &Item) -> Result<(), Fault> {
    item.only(&["PolicyDocument", "Topics"], &[])?;
    let document = item.get("PolicyDocument").map(Value::to_string).unwrap_or_default();
    for topic in item.texts("Topics") {
        let fields = [("TopicArn", topic.as_str()), ("AttributeName", "Policy"), ("AttributeValue", document.as_str())];
        call(aws, "SetTopicAttributes", &fields).await?;
        let found = entries(&call(aws, "GetTopicAttributes", &[("TopicArn", &topic)]).await?);
        verify::holds("Policy", &json!(document), &found["Policy"])?;
    }
    Ok(())
}
