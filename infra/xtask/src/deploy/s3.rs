//! S3: buckets with versioning, lifecycle, CORS, and their notifications.
//!
//! A bucket has one list of notifications, fed from two sides: its own `NotificationConfiguration` and the `S3` events
//! of functions. They are collected while wiring and put in one call at the end. S3 speaks XML, so this file also
//! writes and reads the few documents needed.

use http::Method;
use roxmltree::{Document, Node};
use serde_json::{Value, json};

use super::{Fault, Item, text_of, verify};
use crate::aws::{Aws, segment};
use crate::template::{Attributes, REGION};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Creates a bucket.
pub(super) async fn bucket(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    item.only(
        &["BucketName", "CorsConfiguration", "LifecycleConfiguration", "VersioningConfiguration"],
        &["BucketEncryption", "OwnershipControls", "PublicAccessBlockConfiguration"],
    )?;
    let name = item.name("BucketName");
    let path = create(aws, &name).await?;
    aws.s3("HeadBucket", Method::HEAD, &path, "").await?;

    if let Some(versioning) = item.get("VersioningConfiguration") {
        let status = versioning["Status"].as_str().unwrap_or_default();
        configure(aws, &path, "versioning", xml("VersioningConfiguration", &element("Status", status))).await?;
    }
    if let Some(lifecycle) = item.get("LifecycleConfiguration") {
        let rules = list(&lifecycle["Rules"]).iter().map(lifecycle_rule).collect::<String>();
        configure(aws, &path, "lifecycle", xml("LifecycleConfiguration", &rules)).await?;
    }
    if let Some(cors) = item.get("CorsConfiguration") {
        let rules = list(&cors["CorsRules"]).iter().map(cors_rule).collect::<String>();
        configure(aws, &path, "cors", xml("CORSConfiguration", &rules)).await?;
    }
    Ok(Attributes::new(&name)
        .with("Arn", format!("arn:aws:s3:::{name}"))
        .with("DomainName", format!("{name}.s3.amazonaws.com"))
        .with("RegionalDomainName", format!("{name}.s3.{REGION}.amazonaws.com")))
}

/// Makes an empty bucket in the local region and answers its path.
pub(super) async fn create(aws: &Aws, name: &str) -> Result<String, Fault> {
    let path = format!("/{}", segment(name));
    let place = xml("CreateBucketConfiguration", &element("LocationConstraint", REGION));
    aws.s3("CreateBucket", Method::PUT, &path, place).await?;
    Ok(path)
}

/// Puts one of a bucket's configurations and compares what comes back.
async fn configure(aws: &Aws, path: &str, kind: &str, document: String) -> Result<(), Fault> {
    let target = format!("{path}?{kind}");
    aws.s3(&format!("PutBucket ({kind})"), Method::PUT, &target, document.clone()).await?;
    let found = aws.s3(&format!("GetBucket ({kind})"), Method::GET, &target, "").await?;
    verify::holds(kind, &tree(&document), &tree(&found))
}

/// Notifications by bucket.
#[derive(Debug, Default)]
pub(super) struct Notifications(Vec<(String, Notification)>);

#[derive(Debug, PartialEq, Eq)]
enum Notification {
    Call { list: &'static str, target: &'static str, arn: String, events: Vec<String>, rules: Vec<(String, String)> },
    EventBridge,
}

/// CloudFormation's list, its target property, the wire's list, the wire's target.
const TARGETS: [(&str, &str, &str, &str); 3] = [
    ("LambdaConfigurations", "Function", "CloudFunctionConfiguration", "CloudFunction"),
    ("QueueConfigurations", "Queue", "QueueConfiguration", "Queue"),
    ("TopicConfigurations", "Topic", "TopicConfiguration", "Topic"),
];

impl Notifications {
    /// Takes a bucket's own `NotificationConfiguration`.
    pub(super) fn of_bucket(&mut self, item: &Item) -> Result<(), Fault> {
        let Some(configuration) = item.get("NotificationConfiguration") else { return Ok(()) };
        let bucket = item.reference().to_owned();
        for (property, target_property, list_name, target) in TARGETS {
            for entry in list(&configuration[property]) {
                let arn = text_of(&entry[target_property])
                    .ok_or_else(|| item.fault("NotificationConfiguration", "a target is missing"))?;
                let events = text_of(&entry["Event"]).into_iter().collect();
                let call = Notification::Call {
                    list: list_name,
                    target,
                    arn,
                    events,
                    rules: filter_rules(&entry["Filter"]["S3Key"]["Rules"]),
                };
                self.0.push((bucket.clone(), call));
            }
        }
        if configuration["EventBridgeConfiguration"]["EventBridgeEnabled"] == true {
            self.0.push((bucket, Notification::EventBridge));
        }
        Ok(())
    }

    /// Takes the `S3` event of a function.
    pub(super) fn of_function(&mut self, item: &Item, function: &Attributes) -> Result<(), Fault> {
        item.only(&["Bucket", "Events", "Filter"], &[])?;
        let rules = item.get("Filter").map(|filter| filter_rules(&filter["S3Key"]["Rules"])).unwrap_or_default();
        let (_, _, list, target) = TARGETS[0];
        let call =
            Notification::Call { list, target, arn: function.arn().to_owned(), events: item.texts("Events"), rules };
        self.0.push((item.text("Bucket")?, call));
        Ok(())
    }
}

fn filter_rules(rules: &Value) -> Vec<(String, String)> {
    list(rules)
        .iter()
        .map(|rule| {
            (text_of(&rule["Name"]).unwrap_or_default().to_lowercase(), text_of(&rule["Value"]).unwrap_or_default())
        })
        .collect()
}

/// Puts all notifications of a bucket at once and compares what comes back.
pub(super) async fn notify(aws: &Aws, bucket: &str, notifications: &Notifications) -> Result<(), Fault> {
    let own: Vec<&Notification> =
        notifications.0.iter().filter(|(name, _)| name == bucket).map(|(_, notification)| notification).collect();
    if own.is_empty() {
        return Ok(());
    }
    let body = own.iter().map(|notification| notification.xml()).collect::<String>();
    let path = format!("/{}?notification", segment(bucket));
    aws.s3("PutBucketNotificationConfiguration", Method::PUT, &path, xml("NotificationConfiguration", &body)).await?;
    let found = aws.s3("GetBucketNotificationConfiguration", Method::GET, &path, "").await?;
    verify::holds("notifications", &tree(&xml("NotificationConfiguration", &body)), &tree(&found))
}

impl Notification {
    fn xml(&self) -> String {
        match self {
            Self::EventBridge => "<EventBridgeConfiguration></EventBridgeConfiguration>".to_owned(),
            Self::Call { list, target, arn, events, rules } => {
                let mut body = element(target, arn);
                body.extend(events.iter().map(|event| element("Event", event)));
                if !rules.is_empty() {
                    let rules = rules
                        .iter()
                        .map(|(name, value)| wrap("FilterRule", &(element("Name", name) + &element("Value", value))));
                    body.push_str(&wrap("Filter", &wrap("S3Key", &rules.collect::<String>())));
                }
                wrap(list, &body)
            }
        }
    }
}

fn lifecycle_rule(rule: &Value) -> String {
    let text = |value: &Value| text_of(value).unwrap_or_default();
    let filter = wrap("Filter", &element("Prefix", &text(&rule["Prefix"])));
    let mut body = String::new();
    body.push_str(&rule["Id"].as_str().map(|id| element("ID", id)).unwrap_or_default());
    body.push_str(&element("Status", &text(&rule["Status"])));
    body.push_str(&filter);
    let mut days = |outer: &str, inner: &str, value: &Value| {
        if let Some(value) = text_of(value) {
            body.push_str(&wrap(outer, &element(inner, &value)));
        }
    };
    days("Expiration", "Days", &rule["ExpirationInDays"]);
    days("NoncurrentVersionExpiration", "NoncurrentDays", &rule["NoncurrentVersionExpirationInDays"]);
    days("NoncurrentVersionExpiration", "NoncurrentDays", &rule["NoncurrentVersionExpiration"]["NoncurrentDays"]);
    days(
        "AbortIncompleteMultipartUpload",
        "DaysAfterInitiation",
        &rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"],
    );
    for transition in list(&rule["Transitions"]) {
        let step = element("Days", &text(&transition["TransitionInDays"]))
            + &element("StorageClass", &text(&transition["StorageClass"]));
        body.push_str(&wrap("Transition", &step));
    }
    wrap("Rule", &body)
}

fn cors_rule(rule: &Value) -> String {
    let mut body = String::new();
    for (property, name) in [
        ("AllowedOrigins", "AllowedOrigin"),
        ("AllowedMethods", "AllowedMethod"),
        ("AllowedHeaders", "AllowedHeader"),
        ("ExposedHeaders", "ExposeHeader"),
    ] {
        body.extend(list(&rule[property]).iter().filter_map(text_of).map(|text| element(name, &text)));
    }
    body.extend(text_of(&rule["MaxAge"]).map(|age| element("MaxAgeSeconds", &age)));
    wrap("CORSRule", &body)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn xml(root: &str, body: &str) -> String {
    format!("<{root} xmlns=\"{NAMESPACE}\">{body}</{root}>")
}

fn wrap(name: &str, body: &str) -> String {
    format!("<{name}>{body}</{name}>")
}

fn element(name: &str, text: &str) -> String {
    wrap(name, &text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// An XML document as JSON, every element a list: that makes order and ids that S3 adds irrelevant to a comparison.
fn tree(document: &str) -> Value {
    Document::parse(document).map(|document| node(document.root_element())).unwrap_or(Value::Null)
}

fn node(parent: Node<'_, '_>) -> Value {
    let mut children = serde_json::Map::new();
    for child in parent.children().filter(Node::is_element) {
        let entry = children.entry(child.tag_name().name()).or_insert_with(|| json!([]));
        if let Some(items) = entry.as_array_mut() {
            items.push(node(child));
        }
    }
    if children.is_empty() { json!(parent.text().unwrap_or_default().trim()) } else { Value::Object(children) }
}
