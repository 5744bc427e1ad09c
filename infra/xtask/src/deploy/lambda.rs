//! Lambda: functions from the binaries of this workspace, and what polls for them (event source mappings).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Fault, Function, Item, Site, s3, text_of, verify};
use crate::aws::{Aws, role_arn, segment};
use crate::local::architecture;
use crate::template::{Attributes, Resource};

const FUNCTIONS: &str = "/2015-03-31/functions";
const MAPPINGS: &str = "/2015-03-31/event-source-mappings";

/// Creates a function from its binary. It becomes active a moment later, so it is compared with the template at the end
/// ([`verify_active`]).
pub(super) async fn function(site: &Site, resource: &Resource, item: &Item) -> Result<(Attributes, Function), Fault> {
    let passed = ["Runtime", "Handler", "Timeout", "MemorySize", "Description", "EphemeralStorage"];
    let translated =
        ["FunctionName", "Environment", "DeadLetterQueue", "ReservedConcurrentExecutions", "EventInvokeConfig"];
    // `Architectures` is this host's, whatever the template deploys elsewhere; roles, tracing and rollout have no
    // effect on one machine.
    let meaningless = [
        "Architectures",
        "AutoPublishAlias",
        "AutoPublishAliasAllProperties",
        "CodeUri",
        "LoggingConfig",
        "PackageType",
        "PermissionsBoundary",
        "ProvisionedConcurrencyConfig",
        "RecursiveLoop",
        "Role",
        "Tracing",
    ];
    item.only(&[passed.as_slice(), &translated].concat(), &meaningless)?;

    let aws = &site.aws;
    let name = item.name("FunctionName");
    let archive = site.archives.uploaded(aws, resource.binary()?).await?;
    let mut configuration = item.chosen(&passed);
    configuration.insert("FunctionName".to_owned(), json!(name));
    configuration.insert("Architectures".to_owned(), json!([architecture()]));
    configuration.insert("Environment".to_owned(), json!({"Variables": variables(item, site)?}));
    if let Some(queue) = item.get("DeadLetterQueue") {
        configuration.insert("DeadLetterConfig".to_owned(), json!({"TargetArn": queue["TargetArn"]}));
    }
    let mut input = configuration.clone();
    input.insert("Role".to_owned(), json!(role_arn()));
    input.insert("PackageType".to_owned(), json!("Zip"));
    input.insert("Code".to_owned(), json!({"S3Bucket": BUCKET, "S3Key": archive.key}));
    let created = aws.rest("lambda", "CreateFunction", Method::POST, FUNCTIONS, Some(&Value::Object(input))).await?;
    configuration.insert("CodeSha256".to_owned(), json!(archive.sha256));

    if let Some(reserved) = item.get("ReservedConcurrentExecutions") {
        let path = format!("/2017-10-31/functions/{}/concurrency", segment(&name));
        let wanted = json!({"ReservedConcurrentExecutions": reserved});
        aws.rest("lambda", "PutFunctionConcurrency", Method::PUT, &path, Some(&wanted)).await?;
        let path = format!("/2019-09-30/functions/{}/concurrency", segment(&name));
        verify::holds(
            "concurrency",
            &wanted,
            &aws.rest("lambda", "GetFunctionConcurrency", Method::GET, &path, None).await?,
        )?;
    }
    if let Some(wanted) = item.get("EventInvokeConfig") {
        let path = format!("/2019-09-25/functions/{}/event-invoke-config", segment(&name));
        let wanted = event_invoke_config(wanted);
        aws.rest("lambda", "PutFunctionEventInvokeConfig", Method::PUT, &path, Some(&wanted)).await?;
        let found = aws.rest("lambda", "GetFunctionEventInvokeConfig", Method::GET, &path, None).await?;
        verify::holds("EventInvokeConfig", &wanted, &found)?;
    }
    let arn = created["FunctionArn"].as_str().unwrap_or_default();
    // There is one version here, and whoever asks for an alias gets it.
    let attributes = Attributes::new(name.clone()).with("Arn", arn).with("Alias", &name);
    Ok((attributes, Function { id: item.id.clone(), name, configuration: Value::Object(configuration) }))
}

/// SAM states a destination's type beside its ARN; Lambda wants the ARN alone.
fn event_invoke_config(stated: &Value) -> Value {
    let mut config: Map<String, Value> = super::object(stated.clone());
    if let Some(Value::Object(destinations)) = config.get_mut("DestinationConfig") {
        for destination in destinations.values_mut() {
            *destination = json!({"Destination": destination["Destination"]});
        }
    }
    Value::Object(config)
}

/// The template's variables, then this machine's, then the caller's: the later wins.
fn variables(item: &Item, site: &Site) -> Result<Map<String, Value>, Fault> {
    let mut variables = Map::new();
    let stated = item.get("Environment").and_then(|environment| environment["Variables"].as_object());
    for (name, value) in stated.into_iter().flatten() {
        let text =
            text_of(value).ok_or_else(|| item.fault(&format!("Environment.Variables.{name}"), "expected text"))?;
        variables.insert(name.clone(), json!(text));
    }
    variables.extend(site.environment.iter().map(|(name, value)| (name.clone(), json!(value))));
    Ok(variables)
}

/// Waits until a function is active and compares its configuration, code included, with the template.
pub(super) async fn verify_active(aws: &Aws, function: &Function) -> Result<(), Fault> {
    let path = format!("{FUNCTIONS}/{}", segment(&function.name));
    let mut found = Value::Null;
    for _ in 0..100 {
        found = aws.rest("lambda", "GetFunction", Method::GET, &path, None).await?["Configuration"].take();
        if found["State"] == "Active" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    verify::holds("State", &json!("Active"), &found["State"])?;
    verify::holds("Configuration", &function.configuration, &found)
}

/// Packed binaries, each packed and uploaded once however many functions run it: a function with a queue is one binary
/// deployed twice. Packing (half a second for a dev binary) begins at once, on another thread, for all of them.
#[derive(Debug)]
pub(crate) struct Archives(Mutex<BTreeMap<String, Archive>>);

#[derive(Debug)]
enum Archive {
    Packing(JoinHandle<Result<Packed, Fault>>),
    Uploaded(Uploaded),
}

#[derive(Debug)]
struct Packed {
    bytes: Vec<u8>,
    sha256: String,
}

#[derive(Debug, Clone)]
struct Uploaded {
    key: String,
    sha256: String,
}

/// Where archives are uploaded to, as any deployment tool does: in a CreateFunction call they would travel as base64
/// inside JSON.
const BUCKET: &str = "ieum-local-deployment";

impl Archives {
    /// Begins to pack the binaries of these names in `folder`.
    pub(crate) fn begin(folder: &Path, binaries: &BTreeSet<String>) -> Self {
        let begin = |binary: &String| {
            let path = folder.join(binary);
            (binary.clone(), Archive::Packing(tokio::task::spawn_blocking(move || pack(&path))))
        };
        Self(Mutex::new(binaries.iter().map(begin).collect()))
    }

    async fn uploaded(&self, aws: &Aws, binary: &str) -> Result<Uploaded, Fault> {
        let problem = |problem: &str| Fault::Binary { path: binary.to_owned(), problem: problem.to_owned() };
        let mut archives = self.0.lock().await;
        let is_first = !archives.values().any(|archive| matches!(archive, Archive::Uploaded(_)));
        let packed = match archives.remove(binary) {
            Some(Archive::Packing(packing)) => packing.await.map_err(|_| problem("packing broke off"))??,
            Some(Archive::Uploaded(uploaded)) => {
                archives.insert(binary.to_owned(), Archive::Uploaded(uploaded.clone()));
                return Ok(uploaded);
            }
            None => return Err(problem("nobody began to pack it")),
        };
        let uploaded = Uploaded { key: format!("{binary}.zip"), sha256: packed.sha256 };
        if is_first {
            s3::create(aws, BUCKET).await?;
        }
        aws.s3("PutObject", Method::PUT, &format!("/{BUCKET}/{}", uploaded.key), packed.bytes).await?;
        archives.insert(binary.to_owned(), Archive::Uploaded(uploaded.clone()));
        Ok(uploaded)
    }
}

/// Packs a binary as Lambda wants it: one executable called `bootstrap`. Stored, not compressed: it travels over
/// loopback.
fn pack(binary: &Path) -> Result<Packed, Fault> {
    let pack = || -> zip::result::ZipResult<Vec<u8>> {
        let content = std::fs::read(binary)?;
        let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(content.len() + 512)));
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o755);
        archive.start_file("bootstrap", options)?;
        archive.write_all(&content)?;
        Ok(archive.finish()?.into_inner())
    };
    let bytes =
        pack().map_err(|error| Fault::Binary { path: binary.display().to_string(), problem: error.to_string() })?;
    Ok(Packed { sha256: STANDARD.encode(Sha256::digest(&bytes)), bytes })
}

/// Settings of a mapping that SAM and Lambda call by the same name.
const MAPPING: [&str; 12] = [
    "BatchSize",
    "BisectBatchOnFunctionError",
    "Enabled",
    "FilterCriteria",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "ParallelizationFactor",
    "ScalingConfig",
    "StartingPosition",
    "TumblingWindowInSeconds",
];

/// A function that receives from a queue.
pub(super) async fn queue_event(aws: &Aws, item: &Item, function: &Attributes) -> Result<(), Fault> {
    item.only(&[MAPPING.as_slice(), &["Queue"]].concat(), &[])?;
    create_mapping(aws, item, &item.text("Queue")?, &function.reference).await
}

/// A function that reads a table's stream.
pub(super) async fn stream_event(aws: &Aws, item: &Item, function: &Attributes) -> Result<(), Fault> {
    item.only(&[MAPPING.as_slice(), &["Stream"]].concat(), &[])?;
    create_mapping(aws, item, &item.text("Stream")?, &function.reference).await
}

/// A mapping that is a resource of its own.
pub(super) async fn mapping(aws: &Aws, item: &Item) -> Result<(), Fault> {
    item.only(&[MAPPING.as_slice(), &["EventSourceArn", "FunctionName"]].concat(), &[])?;
    create_mapping(aws, item, &item.text("EventSourceArn")?, &item.text("FunctionName")?).await
}

async fn create_mapping(aws: &Aws, item: &Item, source: &str, function: &str) -> Result<(), Fault> {
    let mut input = item.chosen(&MAPPING);
    let enabled = input.get("Enabled").is_none_or(|enabled| enabled == true);
    input.insert("EventSourceArn".to_owned(), json!(source));
    input.insert("FunctionName".to_owned(), json!(function));
    let created = aws
        .rest("lambda", "CreateEventSourceMapping", Method::POST, MAPPINGS, Some(&Value::Object(input.clone())))
        .await?;

    let path = format!("{MAPPINGS}/{}", created["UUID"].as_str().unwrap_or_default());
    let found = aws.rest("lambda", "GetEventSourceMapping", Method::GET, &path, None).await?;
    input.remove("Enabled");
    input.remove("FunctionName");
    input.insert("State".to_owned(), json!(if enabled { "Enabled" } else { "Disabled" }));
    verify::holds("event source", &Value::Object(input), &found)
}
