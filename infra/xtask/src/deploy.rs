//! Creates on the local AWS what the template describes, and reads every resource back.
//!
//! Why not hand the template to the local AWS' CloudFormation: it reports CREATE_COMPLETE for routes and table settings
//! it never made. So each resource goes through its service's API, one file per service family, and what the service
//! then says about it is compared with the template. A new resource type is one arm in [`create`] (it exists on its
//! own) or in [`wire`] (it connects others); a property nobody applies is an error. Permissions are not created: the
//! local AWS checks none. Keys are, but what they encrypt in an account is kept here as it is.

mod api;
mod dynamodb;
mod events;
mod kms;
mod lambda;
mod s3;
mod schedules;
mod secrets;
mod sns;
mod sqs;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

pub(crate) use api::Api;
pub(crate) use lambda::Archives;

use crate::aws::{Aws, AwsError};
use crate::local::{LocalError, Secrets};
use crate::template::{Attributes, FUNCTION, Resource, Scope, Template, TemplateError};

/// What can go wrong with one resource.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The local AWS refused a call, or did not answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The template is not understood.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A value of this machine is missing.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// No arm creates resources of this type.
    #[error(
        "`cargo up` cannot create this type; add an arm in infra/xtask/src/deploy.rs, or add the type to NO_COUNTERPART there if it has no meaning locally"
    )]
    UnknownType,
    /// A property that nothing applies or that holds something unexpected.
    #[error("{at}: {problem}")]
    Property {
        /// Where.
        at: String,
        /// What is the matter.
        problem: String,
    },
    /// The resource was created, but the local AWS describes it differently.
    #[error("read back after creation, {what} is `{found}`; the template says `{expected}`")]
    Differs {
        /// What was compared.
        what: String,
        /// The template's value.
        expected: String,
        /// The local AWS' value.
        found: String,
    },
    /// The function's binary cannot be packed.
    #[error("cannot pack the binary `{path}`: {problem}")]
    Binary {
        /// The binary.
        path: String,
        /// What is the matter.
        problem: String,
    },
}

/// A resource that could not be created as the template describes it.
#[derive(Debug, thiserror::Error)]
#[error("resource `{id}` ({kind}): {fault}")]
pub struct DeployError {
    /// The resource's logical id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// What went wrong.
    pub fault: Fault,
}

/// Types that mean nothing on one machine; they are named once in the output and left out.
const NO_COUNTERPART: [&str; 17] = [
    "AWS::ApplicationInsights::Application",
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Alias",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    "AWS::Logs::LogGroup",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::SubscriptionFilter",
    "AWS::S3::BucketPolicy",
    "AWS::SES::ConfigurationSet",
    "AWS::SES::ConfigurationSetEventDestination",
];

/// What the deployment needs beside the template.
#[derive(Debug)]
pub(crate) struct Site {
    /// The local AWS.
    pub(crate) aws: Aws,
    /// The values of the template's secrets.
    pub(crate) secrets: Secrets,
    /// Variables every function gets, over those of the template.
    pub(crate) environment: BTreeMap<String, String>,
    /// The functions' binaries, packed.
    pub(crate) archives: Archives,
}

/// A deployed function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// Logical id.
    pub(crate) id: String,
    /// Name on the local AWS.
    pub(crate) name: String,
    /// What the local AWS must say about it.
    configuration: Value,
}

/// What a deployment leaves for the front door and the tests.
#[derive(Debug, Default)]
pub(crate) struct Deployed {
    /// The functions.
    pub(crate) functions: Vec<Function>,
    /// The HTTP API, if the template has one.
    pub(crate) api: Option<Api>,
    /// Resources created and verified.
    pub(crate) resources: usize,
    /// Sentences the user should know: what was left out, and why.
    pub(crate) notes: Vec<String>,
    /// Names by logical id, for tests.
    pub(crate) names: BTreeMap<String, String>,
}

/// One resource or event on its way to the local AWS.
#[derive(Debug)]
pub(crate) struct Item {
    /// The logical id; for an event `Function.Event`.
    id: String,
    /// Where its properties stand in the template.
    at: String,
    /// The properties, intrinsic functions evaluated.
    properties: Map<String, Value>,
}

/// State that the wiring of several resources shares.
#[derive(Debug, Default)]
struct Wiring {
    integrations: api::Integrations,
    notifications: s3::Notifications,
    notes: Vec<String>,
}

/// Creates, connects and verifies everything in the template.
pub(crate) async fn deploy(template: &Template, site: &Site) -> Result<Deployed, DeployError> {
    let mut scope = template.scope.clone();
    let mut deployed = Deployed::default();
    let mut left_out = BTreeSet::new();

    for resource in &template.resources {
        if NO_COUNTERPART.contains(&resource.kind.as_str()) {
            left_out.insert(resource.kind.as_str());
        } else if let Some(attributes) =
            create(resource, &scope, site, &mut deployed).await.map_err(|fault| of(resource, fault))?
        {
            deployed.names.insert(resource.id.clone(), attributes.reference.clone());
            scope.add(&resource.id, attributes);
        }
    }

    let mut wiring = Wiring::default();
    for resource in &template.resources {
        wire(resource, &scope, site, &mut deployed, &mut wiring).await.map_err(|fault| of(resource, fault))?;
    }
    for resource in &template.resources {
        finish(resource, &scope, site, &deployed, &wiring).await.map_err(|fault| of(resource, fault))?;
    }

    deployed.resources =
        template.resources.iter().filter(|resource| !NO_COUNTERPART.contains(&resource.kind.as_str())).count();
    deployed.notes = wiring.notes;
    if !left_out.is_empty() {
        let list = left_out.into_iter().collect::<Vec<_>>().join(", ");
        deployed.notes.push(format!("left out, because it has no meaning on one machine: {list}"));
    }
    Ok(deployed)
}

/// Makes one resource that exists on its own; `None` for a type that only connects others.
async fn create(
    resource: &Resource,
    scope: &Scope,
    site: &Site,
    deployed: &mut Deployed,
) -> Result<Option<Attributes>, Fault> {
    let item = Item::of(resource, scope)?;
    let aws = &site.aws;
    Ok(Some(match resource.kind.as_str() {
        "AWS::DynamoDB::Table" => dynamodb::table(aws, &item).await?,
        "AWS::Events::EventBus" => events::bus(aws, &item).await?,
        "AWS::KMS::Alias" => kms::alias(aws, &item).await?,
        "AWS::KMS::Key" => kms::key(aws, &item).await?,
        "AWS::S3::Bucket" => s3::bucket(aws, &item).await?,
        "AWS::SecretsManager::Secret" => secrets::secret(aws, &item, &site.secrets).await?,
        FUNCTION => {
            let (attributes, function) = lambda::function(site, resource, &item).await?;
            deployed.functions.push(function);
            attributes
        }
        "AWS::Serverless::HttpApi" => {
            let (attributes, api) = api::http_api(aws, &item).await?;
            if deployed.api.replace(api).is_some() {
                return Err(item.fault("", "a second HTTP API: the front door serves one"));
            }
            attributes
        }
        "AWS::SNS::Topic" => sns::topic(aws, &item).await?,
        "AWS::SQS::Queue" => sqs::queue(aws, &item).await?,
        "AWS::Events::Rule"
        | "AWS::Lambda::EventSourceMapping"
        | "AWS::SNS::Subscription"
        | "AWS::SNS::TopicPolicy"
        | "AWS::SQS::QueuePolicy"
        | "AWS::Scheduler::Schedule" => return Ok(None),
        _ => return Err(Fault::UnknownType),
    }))
}

/// Connects resources that all exist by now.
async fn wire(
    resource: &Resource,
    scope: &Scope,
    site: &Site,
    deployed: &mut Deployed,
    wiring: &mut Wiring,
) -> Result<(), Fault> {
    let aws = &site.aws;
    match resource.kind.as_str() {
        "AWS::Events::Rule" => events::rule(aws, &Item::of(resource, scope)?).await,
        "AWS::Lambda::EventSourceMapping" => lambda::mapping(aws, &Item::of(resource, scope)?).await,
        "AWS::S3::Bucket" => wiring.notifications.of_bucket(&Item::wiring(resource, scope)?),
        "AWS::SNS::Subscription" => sns::subscription(aws, &Item::of(resource, scope)?).await,
        "AWS::SNS::Topic" => sns::subscriptions(aws, &Item::wiring(resource, scope)?, scope).await,
        "AWS::SNS::TopicPolicy" => sns::policy(aws, &Item::of(resource, scope)?).await,
        "AWS::SQS::QueuePolicy" => sqs::policy(aws, &Item::of(resource, scope)?).await,
        "AWS::Scheduler::Schedule" => schedules::schedule(aws, &Item::of(resource, scope)?, &mut wiring.notes).await,
        FUNCTION => {
            let events = resource.properties["Events"].as_object();
            for (name, event) in events.into_iter().flatten() {
                trigger(resource, name, event, scope, site, deployed, wiring).await?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Connects a function to one of its events.
async fn trigger(
    resource: &Resource,
    name: &str,
    event: &Value,
    scope: &Scope,
    site: &Site,
    deployed: &mut Deployed,
    wiring: &mut Wiring,
) -> Result<(), Fault> {
    let aws = &site.aws;
    let at = format!("{}.Events.{name}.Properties", resource.place());
    let properties = object(scope.resolve(&event["Properties"], &at)?);
    let item = Item { id: format!("{}{name}", resource.id), at, properties };
    let Some(function) = scope.resource(&resource.id) else {
        return Err(item.fault("", "the function was not created"));
    };
    match event["Type"].as_str().unwrap_or_default() {
        "HttpApi" => match &mut deployed.api {
            Some(api) => api::route(aws, &item, function, api, &mut wiring.integrations).await,
            None => Err(item.fault("ApiId", "the template has no AWS::Serverless::HttpApi")),
        },
        "SQS" => lambda::queue_event(aws, &item, function).await,
        "DynamoDB" => lambda::stream_event(aws, &item, function).await,
        "S3" => wiring.notifications.of_function(&item, function),
        "SNS" => sns::function_event(aws, &item, function).await,
        "EventBridgeRule" | "CloudWatchEvent" | "Schedule" => events::function_event(aws, &item, function).await,
        "ScheduleV2" => schedules::function_event(aws, &item, function, &mut wiring.notes).await,
        "CloudWatchLogs" => {
            wiring.notes.push(format!(
                "left out: {}.{name}, because log subscriptions do not fire on the local AWS",
                resource.id
            ));
            Ok(())
        }
        kind => Err(Fault::Property {
            at: format!("{}.Events.{name}.Type", resource.place()),
            problem: format!("no arm connects events of this type: `{kind}`"),
        }),
    }
}

/// What can only be applied or compared at the end: a bucket has one list of notifications, an API one list of routes,
/// and functions take half a second to become active.
async fn finish(
    resource: &Resource,
    scope: &Scope,
    site: &Site,
    deployed: &Deployed,
    wiring: &Wiring,
) -> Result<(), Fault> {
    let Some(attributes) = scope.resource(&resource.id) else { return Ok(()) };
    let aws = &site.aws;
    match resource.kind.as_str() {
        "AWS::S3::Bucket" => s3::notify(aws, &attributes.reference, &wiring.notifications).await,
        "AWS::Serverless::HttpApi" => match &deployed.api {
            Some(api) => api::verify_routes(aws, api).await,
            None => Ok(()),
        },
        FUNCTION => match deployed.functions.iter().find(|function| function.id == resource.id) {
            Some(function) => lambda::verify_active(aws, function).await,
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn of(resource: &Resource, fault: Fault) -> DeployError {
    DeployError { id: resource.id.clone(), kind: resource.kind.clone(), fault }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Scalars as text: variables, attributes and tags are text on AWS, whatever YAML made of them.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Item {
    /// The resource's properties without those that connect it to others.
    fn of(resource: &Resource, scope: &Scope) -> Result<Self, Fault> {
        Self::resolved(resource, scope, |key| !crate::template::is_wiring(key))
    }

    /// Only the properties that connect the resource to others.
    fn wiring(resource: &Resource, scope: &Scope) -> Result<Self, Fault> {
        Self::resolved(resource, scope, |key| crate::template::is_wiring(key) && key != "Policies")
    }

    fn resolved(resource: &Resource, scope: &Scope, wanted: impl Fn(&str) -> bool) -> Result<Self, Fault> {
        let at = resource.place();
        let chosen = object(resource.properties.clone()).into_iter().filter(|(key, _)| wanted(key)).collect();
        let mut properties = object(scope.resolve(&Value::Object(chosen), &at)?);
        if let Some(attributes) = scope.resource(&resource.id) {
            properties.insert(REFERENCE.to_owned(), Value::String(attributes.reference.clone()));
        }
        Ok(Self { id: resource.id.clone(), at, properties })
    }

    /// The resource's own `!Ref`, once it exists.
    fn reference(&self) -> &str {
        self.properties.get(REFERENCE).and_then(Value::as_str).unwrap_or_default()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.properties.get(key)
    }

    /// A property that must be text.
    fn text(&self, key: &str) -> Result<String, Fault> {
        self.get(key).and_then(text_of).ok_or_else(|| self.fault(key, "expected text"))
    }

    /// A list of texts, where CloudFormation also takes a single one.
    fn texts(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Value::Array(items)) => items.iter().filter_map(text_of).collect(),
            Some(other) => text_of(other).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The stated name, or one made from the logical id as CloudFormation would.
    fn name(&self, key: &str) -> String {
        self.text(key).unwrap_or_else(|_| format!("ieum-local-{}", self.id.to_lowercase()))
    }

    /// The properties among `keys` that are set.
    fn chosen(&self, keys: &[&str]) -> Map<String, Value> {
        keys.iter().filter_map(|key| Some(((*key).to_owned(), self.get(key)?.clone()))).collect()
    }

    /// Refuses a property that is neither applied nor known to have no meaning locally.
    fn only(&self, applied: &[&str], meaningless: &[&str]) -> Result<(), Fault> {
        let known =
            |key: &str| applied.contains(&key) || meaningless.contains(&key) || key == REFERENCE || key == "Tags";
        match self.properties.keys().find(|key| !known(key)) {
            Some(key) => {
                Err(self.fault(key, "`cargo up` does not apply this property; teach infra/xtask/src/deploy/ to"))
            }
            None => Ok(()),
        }
    }

    fn fault(&self, key: &str, problem: &str) -> Fault {
        let at = if key.is_empty() { self.at.clone() } else { format!("{}.{key}", self.at) };
        Fault::Property { at, problem: problem.to_owned() }
    }
}

/// The key under which an item carries its own `!Ref`; no CloudFormation property has a space in its name.
const REFERENCE: &str = "own reference";
