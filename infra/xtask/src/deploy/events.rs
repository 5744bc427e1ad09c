//! EventBridge: buses, rules by pattern or schedule, and the functions they call.

use serde_json::{Map, Value, json};

use super::{Fault, Item, verify};
use crate::aws::{Aws, Service};
use crate::template::Attributes;

/// Creates an event bus.
pub(super) async fn bus(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    item.only(&["Name"], &["Description", "KmsKeyIdentifier", "LogConfig"])?;
    let name = item.name("Name");
    aws.json(Service::Events, "CreateEventBus", &json!({"Name": name})).await?;
    let found = aws.json(Service::Events, "DescribeEventBus", &json!({"Name": name})).await?;
    verify::holds("Name", &json!(name), &found["Name"])?;
    Ok(Attributes::new(&name).with("Arn", found["Arn"].as_str().unwrap_or_default()).with("Name", name))
}

/// A rule that is a resource of its own.
pub(super) async fn rule(aws: &Aws, item: &Item) -> Result<(), Fault> {
    item.only(
        &["Name", "EventBusName", "EventPattern", "ScheduleExpression", "State", "Description", "Targets"],
        &["RoleArn"],
    )?;
    let targets = item.get("Targets").and_then(Value::as_array).cloned().unwrap_or_default();
    put(aws, item, item.get("ScheduleExpression"), targets).await
}

/// A function called by a rule: SAM's `EventBridgeRule` and `Schedule` events.
pub(super) async fn function_event(aws: &Aws, item: &Item, function: &Attributes) -> Result<(), Fault> {
    item.only(
        &[
            "Name",
            "EventBusName",
            "Pattern",
            "Schedule",
            "State",
            "Enabled",
            "Description",
            "Input",
            "InputPath",
            "RetryPolicy",
            "DeadLetterConfig",
        ],
        &[],
    )?;
    let mut target = item.chosen(&["Input", "InputPath", "RetryPolicy"]);
    if let Some(queue) = item.get("DeadLetterConfig") {
        target.insert("DeadLetterConfig".to_owned(), json!({"Arn": queue["Arn"]}));
    }
    target.insert("Id".to_owned(), json!("function"));
    target.insert("Arn".to_owned(), json!(function.arn()));
    put(aws, item, item.get("Schedule"), vec![Value::Object(target)]).await
}

async fn put(aws: &Aws, item: &Item, schedule: Option<&Value>, targets: Vec<Value>) -> Result<(), Fault> {
    let name = item.name("Name");
    let on_bus = |mut map: Map<String, Value>, key: &str| {
        map.insert(key.to_owned(), json!(name));
        map.extend(item.chosen(&["EventBusName"]));
        Value::Object(map)
    };
    let state = if item.get("Enabled") == Some(&json!(false)) { "DISABLED" } else { "ENABLED" };
    let mut input = item.chosen(&["Description", "State"]);
    input.entry("State").or_insert_with(|| json!(state));
    if let Some(schedule) = schedule {
        input.insert("ScheduleExpression".to_owned(), schedule.clone());
    }
    let pattern = item.get("EventPattern").or_else(|| item.get("Pattern"));
    if let Some(pattern) = pattern {
        input.insert("EventPattern".to_owned(), json!(pattern.to_string()));
    }
    if pattern.is_none() && schedule.is_none() {
        return Err(item.fault("", "neither a pattern nor a schedule"));
    }
    aws.json(Service::Events, "PutRule", &on_bus(input.clone(), "Name")).await?;
    let found = aws.json(Service::Events, "DescribeRule", &on_bus(Map::new(), "Name")).await?;
    verify::holds("rule", &Value::Object(input), &found)?;

    let mut input = Map::new();
    input.insert("Targets".to_owned(), json!(targets));
    aws.json(Service::Events, "PutTargets", &on_bus(input, "Rule")).await?;
    let found = aws.json(Service::Events, "ListTargetsByRule", &on_bus(Map::new(), "Rule")).await?;
    verify::holds("targets", &json!(targets), &found["Targets"])
}
