//! Secrets Manager: secrets, filled from the local secrets files.

use serde_json::{Value, json};

use super::{Fault, Item, verify};
use crate::aws::{Aws, Service};
use crate::local::Secrets;
use crate::template::Attributes;

/// Creates a secret with its local value; what the template would generate is replaced by that value.
pub(super) async fn secret(aws: &Aws, item: &Item, secrets: &Secrets) -> Result<Attributes, Fault> {
    item.only(&["Name", "Description"], &["GenerateSecretString", "KmsKeyId", "SecretString"])?;
    let name = item.name("Name");
    let value = secrets.value(&item.id, &name)?.to_string();
    let mut input = item.chosen(&["Description"]);
    input.insert("Name".to_owned(), json!(name));
    input.insert("SecretString".to_owned(), json!(value));
    let created = aws.json(Service::SecretsManager, "CreateSecret", &Value::Object(input)).await?;

    let arn = created["ARN"].as_str().unwrap_or_default();
    let found = aws.json(Service::SecretsManager, "GetSecretValue", &json!({"SecretId": arn})).await?;
    verify::holds("Name", &json!(name), &found["Name"])?;
    if found["SecretString"] != json!(value) {
        // The values stay out of the message.
        return Err(Fault::Differs {
            what: "the value".into(),
            expected: "the local value".into(),
            found: "another one".into(),
        });
    }
    Ok(Attributes::new(arn).with("Arn", arn).with("Id", arn))
}
