//! EventBridge Scheduler: schedules of functions and of anything else with an ARN.

use http::Method;
use serde_json::{Map, Value, json};

use super::{Fault, Item, verify};
use crate::aws::{Aws, role_arn, segment};
use crate::template::Attributes;

/// Settings that SAM, CloudFormation and the API call by the same name.
const SETTINGS: [&str; 8] = [
    "Description",
    "EndDate",
    "FlexibleTimeWindow",
    "GroupName",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "State",
];

/// A schedule that is a resource of its own.
pub(super) async fn schedule(aws: &Aws, item: &Item, notes: &mut Vec<String>) -> Result<(), Fault> {
    item.only(&[SETTINGS.as_slice(), &["Name", "Target"]].concat(), &["KmsKeyArn"])?;
    let target = item.get("Target").cloned().map(super::object).unwrap_or_default();
    put(aws, item, target, notes).await
}

/// A function called by a schedule: SAM's `ScheduleV2` event.
pub(super) async fn function_event(
    aws: &Aws,
    item: &Item,
    function: &Attributes,
    notes: &mut Vec<String>,
) -> Result<(), Fault> {
    item.only(
        &[SETTINGS.as_slice(), &["Name", "Input", "RetryPolicy", "DeadLetterConfig"]].concat(),
        &["OmitName", "PermissionsBoundary", "RoleArn"],
    )?;
    let mut target = item.chosen(&["Input", "RetryPolicy"]);
    if let Some(queue) = item.get("DeadLetterConfig") {
        target.insert("DeadLetterConfig".to_owned(), json!({"Arn": queue["Arn"]}));
    }
    target.insert("Arn".to_owned(), json!(function.arn()));
    put(aws, item, target, notes).await
}

async fn put(aws: &Aws, item: &Item, mut target: Map<String, Value>, notes: &mut Vec<String>) -> Result<(), Fault> {
    target.insert("RoleArn".to_owned(), json!(role_arn()));
    let mut input = item.chosen(&SETTINGS);
    input.entry("FlexibleTimeWindow").or_insert_with(|| json!({"Mode": "OFF"}));
    input.entry("State").or_insert_with(|| json!("ENABLED"));
    input.insert("Target".to_owned(), Value::Object(target));
    if let Some(zone) = input.get("ScheduleExpressionTimezone").and_then(Value::as_str)
        && zone != "UTC"
    {
        notes.push(format!("the local scheduler reads every time as UTC: {} is meant in {zone}", item.id));
    }
    let path = format!("/schedules/{}", segment(&item.name("Name")));
    aws.rest("scheduler", "CreateSchedule", Method::POST, &path, Some(&Value::Object(input.clone()))).await?;
    let group = input.get("GroupName").and_then(Value::as_str).unwrap_or("default");
    let found = aws
        .rest("scheduler", "GetSchedule", Method::GET, &format!("{path}?groupName={}", segment(group)), None)
        .await?;
    verify::holds("schedule", &Value::Object(input), &found)
}
