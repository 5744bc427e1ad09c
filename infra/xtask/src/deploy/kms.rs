//! KMS: keys and their aliases. Nothing here is encrypted with them: the local AWS keeps everything as it is, and its KMS
//! does not notice a changed ciphertext. They exist so that whoever asks for one finds it.

use serde_json::{Map, Value, json};

use super::{Fault, Item, verify};
use crate::aws::{Aws, Service};
use crate::template::Attributes;

/// Creates a key with its policy and its rotation.
pub(super) async fn key(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    let passed = ["Description", "KeySpec", "KeyUsage"];
    item.only(&[passed.as_slice(), &["EnableKeyRotation", "KeyPolicy"]].concat(), &["PendingWindowInDays"])?;
    let mut input: Map<String, Value> = item.chosen(&passed);
    if let Some(policy) = item.get("KeyPolicy") {
        input.insert("Policy".to_owned(), json!(policy.to_string()));
    }
    let created = aws.json(Service::Kms, "CreateKey", &Value::Object(input)).await?;
    let asked = json!({"KeyId": created["KeyMetadata"]["KeyId"]});

    let found = aws.json(Service::Kms, "DescribeKey", &asked).await?["KeyMetadata"].take();
    verify::holds("key", &Value::Object(item.chosen(&passed)), &found)?;
    verify::holds("KeyState", &json!("Enabled"), &found["KeyState"])?;
    if item.get("EnableKeyRotation") == Some(&json!(true)) {
        aws.json(Service::Kms, "EnableKeyRotation", &asked).await?;
        let found = aws.json(Service::Kms, "GetKeyRotationStatus", &asked).await?;
        verify::holds("KeyRotationEnabled", &json!(true), &found["KeyRotationEnabled"])?;
    }
    let text = |name: &str| found[name].as_str().unwrap_or_default();
    Ok(Attributes::new(text("KeyId")).with("Arn", text("Arn")).with("KeyId", text("KeyId")))
}

/// Gives a key another name.
pub(super) async fn alias(aws: &Aws, item: &Item) -> Result<Attributes, Fault> {
    item.only(&["AliasName", "TargetKeyId"], &[])?;
    let name = item.text("AliasName")?;
    let wanted = json!({"AliasName": name, "TargetKeyId": item.text("TargetKeyId")?});
    aws.json(Service::Kms, "CreateAlias", &wanted).await?;
    let found = aws.json(Service::Kms, "DescribeKey", &json!({"KeyId": name})).await?;
    verify::holds("TargetKeyId", &wanted["TargetKeyId"], &found["KeyMetadata"]["KeyId"])?;
    Ok(Attributes::new(name))
}
