//! DynamoDB: tables with their indexes, TTL and point-in-time recovery.

use serde_json::{Value, json};

use super::{Fault, Item, verify};
use crate::aws::{Aws, Service};
use crate::template::Attributes;

/// Creates a table, then its TTL: CreateTable takes none.
pub(super) async fn table(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    let shape = ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"];
    let applied = [
        "TableName",
        "BillingMode",
        "ProvisionedThroughput",
        "StreamSpecification",
        "TimeToLiveSpecification",
        "PointInTimeRecoverySpecification",
    ];
    item.only(
        &[shape.as_slice(), &applied].concat(),
        &["SSESpecification", "DeletionProtectionEnabled", "TableClass"],
    )?;

    let name = item.name("TableName");
    let mut input = item.chosen(&[shape.as_slice(), &["BillingMode", "ProvisionedThroughput"]].concat());
    input.insert("TableName".to_owned(), json!(name));
    if let Some(stream) = item.get("StreamSpecification") {
        input.insert(
            "StreamSpecification".to_owned(),
            json!({"StreamEnabled": true, "StreamViewType": stream["StreamViewType"]}),
        );
    }
    aws.json(Service::DynamoDb, "CreateTable", &Value::Object(input.clone())).await?;

    let asked = json!({"TableName": name});
    let described = aws.json(Service::DynamoDb, "DescribeTable", &asked).await?;
    let table = &described["Table"];
    for key in shape.iter().filter(|key| input.contains_key(**key)) {
        verify::holds(key, &input[*key], &table[key])?;
    }
    if let Some(mode) = item.get("BillingMode") {
        verify::holds("BillingMode", mode, &table["BillingModeSummary"]["BillingMode"])?;
    }
    verify::holds("TableStatus", &json!("ACTIVE"), &table["TableStatus"])?;

    if let Some(ttl) = item.get("TimeToLiveSpecification") {
        aws.json(Service::DynamoDb, "UpdateTimeToLive", &json!({"TableName": name, "TimeToLiveSpecification": ttl}))
            .await?;
        let described = aws.json(Service::DynamoDb, "DescribeTimeToLive", &asked).await?;
        let status = if ttl["Enabled"] == true { "ENABLED" } else { "DISABLED" };
        let expected = json!({"AttributeName": ttl["AttributeName"], "TimeToLiveStatus": status});
        verify::holds("TimeToLiveDescription", &expected, &described["TimeToLiveDescription"])?;
    }
    if let Some(recovery) = item.get("PointInTimeRecoverySpecification") {
        let input = json!({"TableName": name, "PointInTimeRecoverySpecification": recovery});
        aws.json(Service::DynamoDb, "UpdateContinuousBackups", &input).await?;
        let described = aws.json(Service::DynamoDb, "DescribeContinuousBackups", &asked).await?;
        let status = if recovery["PointInTimeRecoveryEnabled"] == true { "ENABLED" } else { "DISABLED" };
        let found = &described["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
        verify::holds("PointInTimeRecoveryDescription", &json!({"PointInTimeRecoveryStatus": status}), found)?;
    }
    let arn = table["TableArn"].as_str().unwrap_or_default();
    let stream = table["LatestStreamArn"].as_str().unwrap_or_default();
    Ok(Attributes::new(name).with("Arn", arn).with("StreamArn", stream))
}
