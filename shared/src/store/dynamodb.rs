//! The shared store: one DynamoDB table whose key is the string attribute `pk`.
//!
//! The only file of the project that writes DynamoDB expressions. Every attribute name and value goes in by
//! placeholder, so a reserved word or a hostile value is never part of an expression. The SDK's own retries are off:
//! an update that may have happened must not be repeated behind the caller's back.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
    WriteRequest,
};

use crate::backup::{Page, Whole};
use crate::clock::Timestamp;

use super::{
    Action, CREATED_AT, DUE, Item, Key, MOST_DUE, NOT_BEFORE, Outcome, Read, Store, StoreError, Test, Update, Value,
};

const PARTITION_KEY: &str = "pk";

/// The sparse index over [`DUE`] and [`NOT_BEFORE`]: keys and [`CREATED_AT`] only.
const DUE_INDEX: &str = "due";

/// A key that is longer can name nothing, and DynamoDB refuses to be asked for it. Callers choose parts of some keys.
const LONGEST_KEY: usize = 2_048;

/// A table, and the client that reaches it.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    /// The store in `table`. The client's own retries should be off: see above.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// The question what is on `list` and due from `from` to `until`, in that order.
    fn on_list(&self, list: &str, from: Timestamp, until: Timestamp) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name(DUE_INDEX)
            .key_condition_expression("#list = :list AND #at BETWEEN :from AND :until")
            .expression_attribute_names("#list", DUE)
            .expression_attribute_names("#at", NOT_BEFORE)
            .expression_attribute_values(":list", AttributeValue::S(list.to_owned()))
            .expression_attribute_values(":from", AttributeValue::N(from.as_millis().to_string()))
            .expression_attribute_values(":until", AttributeValue::N(until.as_millis().to_string()))
            .scan_index_forward(true)
    }
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        if key.len() > LONGEST_KEY {
            return Ok(None);
        }
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(PARTITION_KEY, AttributeValue::S(key.to_owned()))
            .consistent_read(read == Read::Consistent)
            .send()
            .await
            .map_err(classify)?;
        answer.item.map(item_from).transpose()
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found: HashMap<String, Item> = HashMap::with_capacity(keys.len());
        let mut wanted: Vec<&Key> = keys.iter().filter(|key| key.len() <= LONGEST_KEY).collect();
        wanted.sort_unstable();
        wanted.dedup();
        while !wanted.is_empty() {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted.iter().map(|key| key_of(key)).collect()))
                .build()
                .map_err(|error| StoreError::Refused(Box::new(error)))?;
            let answer =
                self.client.batch_get_item().request_items(&self.table, request).send().await.map_err(classify)?;
            let items = answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default();
            for attributes in items {
                if let Some(AttributeValue::S(key)) = attributes.get(PARTITION_KEY) {
                    found.insert(key.clone(), item_from(attributes)?);
                }
            }
            let left: Vec<String> = answer
                .unprocessed_keys
                .unwrap_or_default()
                .remove(&self.table)
                .map(|rest| rest.keys)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|mut key| match key.remove(PARTITION_KEY) {
                    Some(AttributeValue::S(key)) => Some(key),
                    Some(_) | None => None,
                })
                .collect();
            let before = wanted.len();
            wanted.retain(|key| left.contains(key));
            if wanted.len() == before {
                return Err(StoreError::Throttled("no key of a batch was processed".into()));
            }
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        // DynamoDB refuses a range that ends before it begins.
        if until < from {
            return Ok(Vec::new());
        }
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let answer = self.on_list(list, from, until).limit(limit).send().await.map_err(classify)?;
        answer.items.unwrap_or_default().into_iter().map(|item| Ok(indexed(item)?.1)).collect()
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        let mut due = Vec::new();
        let mut pages = self.on_list(list, Timestamp::default(), until).into_paginator().send();
        while due.len() < MOST_DUE
            && let Some(page) = pages.next().await
        {
            for item in page.map_err(classify)?.items.unwrap_or_default() {
                due.push(indexed(item)?);
            }
        }
        due.sort_unstable();
        Ok(due.into_iter().take(limit as usize).map(|(_, key)| key).collect())
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        let expressions = Expressions::of(update);
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(PARTITION_KEY, AttributeValue::S(update.key.clone()))
            .set_condition_expression(expressions.condition)
            .set_update_expression(expressions.update)
            .set_expression_attribute_names(non_empty(expressions.names))
            .set_expression_attribute_values(non_empty(expressions.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Outcome::Applied(item_from(answer.attributes.unwrap_or_default())?)),
            Err(error) => {
                if let Some(UpdateItemError::ConditionalCheckFailedException(refusal)) = error.as_service_error() {
                    return Ok(Outcome::Refused(refusal.item.clone().map(item_from).transpose()?));
                }
                Err(classify(error))
            }
        }
    }
}

/// How often what a batch did not take is sent again, and how long that waits at first.
const BATCH_ATTEMPTS: u32 = 8;
const BATCH_PAUSE: Duration = Duration::from_millis(50);

#[async_trait]
impl Whole for DynamoStore {
    async fn page(&self, segment: u32, segments: u32, after: Option<&Key>) -> Result<Page, StoreError> {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let scan = self.client.scan().table_name(&self.table).consistent_read(true);
        let scan = scan.segment(number(segment)).total_segments(number(segments));
        let answer = scan.set_exclusive_start_key(after.map(|key| key_of(key))).send().await.map_err(classify)?;
        let items = answer.items.unwrap_or_default().into_iter().map(|attributes| {
            let key = own_key(&attributes)?;
            Ok((key, item_from(attributes)?))
        });
        let next = answer.last_evaluated_key.as_ref().map(own_key).transpose()?;
        Ok(Page { items: items.collect::<Result<_, StoreError>>()?, next })
    }

    async fn put_all(&self, items: &[(Key, Item)]) -> Result<(), StoreError> {
        let writes = items.iter().map(|(key, item)| {
            let mut attributes = key_of(key);
            attributes.extend(item.0.iter().map(|(name, value)| (name.clone(), attribute_from(value.clone()))));
            let put = PutRequest::builder().set_item(Some(attributes)).build().map_err(refused)?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        self.write(writes.collect::<Result<_, StoreError>>()?).await
    }

    async fn remove_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        let writes = keys.iter().map(|key| {
            let delete = DeleteRequest::builder().set_key(Some(key_of(key))).build().map_err(refused)?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        });
        self.write(writes.collect::<Result<_, StoreError>>()?).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        let answer = self.client.describe_table().table_name(&self.table).send().await.map_err(classify)?;
        let bytes = answer.table.and_then(|table| table.table_size_bytes);
        Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
    }

    async fn export(&self, bucket: &str, prefix: &str) -> Result<String, StoreError> {
        let unnamed = || StoreError::Unreadable("the table or its export has no ARN".to_owned());
        let answer = self.client.describe_table().table_name(&self.table).send().await.map_err(classify)?;
        let table = answer.table.and_then(|table| table.table_arn).ok_or_else(unnamed)?;
        let export = self.client.export_table_to_point_in_time().table_arn(table).s3_bucket(bucket).s3_prefix(prefix);
        let answer = export.send().await.map_err(classify)?;
        answer.export_description.and_then(|export| export.export_arn).ok_or_else(unnamed)
    }
}

impl DynamoStore {
    /// Writes up to [`BATCH`](crate::backup::BATCH) items, however often that takes.
    async fn write(&self, mut left: Vec<WriteRequest>) -> Result<(), StoreError> {
        for attempt in 0..BATCH_ATTEMPTS {
            if left.is_empty() {
                return Ok(());
            }
            if attempt > 0 {
                tokio::time::sleep(BATCH_PAUSE * 2_u32.pow(attempt - 1)).await;
            }
            let batch = self.client.batch_write_item().request_items(&self.table, left);
            let answer = batch.send().await.map_err(classify)?;
            left = answer.unprocessed_items.unwrap_or_default().remove(&self.table).unwrap_or_default();
        }
        if left.is_empty() { Ok(()) } else { Err(StoreError::Throttled("a batch was not taken".into())) }
    }
}

fn refused(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Refused(Box::new(error))
}

/// An item's own key.
fn own_key(attributes: &HashMap<String, AttributeValue>) -> Result<Key, StoreError> {
    match attributes.get(PARTITION_KEY) {
        Some(AttributeValue::S(key)) => Ok(key.clone()),
        Some(_) | None => Err(StoreError::Unreadable("an item has no key".to_owned())),
    }
}

/// An [`Update`] in DynamoDB's expression language.
#[derive(Default)]
struct Expressions {
    condition: Option<String>,
    update: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expressions {
    fn of(update: &Update) -> Self {
        let mut this = Self::default();
        let guards: Vec<String> = update
            .guards
            .iter()
            .map(|tests| {
                let tests: Vec<String> = tests.iter().map(|test| this.test(test)).collect();
                format!("({})", tests.join(" OR "))
            })
            .collect();
        this.condition = (!guards.is_empty()).then(|| guards.join(" AND "));

        let (mut set, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
        for action in &update.actions {
            match action {
                Action::Set(name, value) => {
                    set.push(format!("{} = {}", this.name(name), this.value(value.clone())));
                }
                Action::SetIfAbsent(name, value) => {
                    let name = this.name(name);
                    set.push(format!("{name} = if_not_exists({name}, {})", this.value(value.clone())));
                }
                Action::Add(name, step) => {
                    add.push(format!("{} {}", this.name(name), this.value(Value::Number(*step))));
                }
                Action::Remove(name) => remove.push(this.name(name)),
            }
        }
        let clauses: Vec<String> = [("SET", set), ("ADD", add), ("REMOVE", remove)]
            .into_iter()
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(verb, parts)| format!("{verb} {}", parts.join(", ")))
            .collect();
        this.update = (!clauses.is_empty()).then(|| clauses.join(" "));
        this
    }

    fn test(&mut self, test: &Test) -> String {
        match test {
            Test::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Test::Equals(name, value) => format!("{} = {}", self.name(name), self.value(value.clone())),
            Test::AtMost(name, bound) => {
                format!("{} <= {}", self.name(name), self.value(Value::Number(*bound)))
            }
            Test::AtLeast(name, bound) => {
                format!("{} >= {}", self.name(name), self.value(Value::Number(*bound)))
            }
        }
    }

    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), attribute_from(value));
        placeholder
    }
}

/// An entry of the index: since when the item waits, and its key.
fn indexed(mut entry: HashMap<String, AttributeValue>) -> Result<(i64, Key), StoreError> {
    let Some(AttributeValue::S(key)) = entry.remove(PARTITION_KEY) else {
        return Err(StoreError::Unreadable("an item of the index has no key".to_owned()));
    };
    let entry = item_from(entry)?;
    let since = entry.number(CREATED_AT).or_else(|| entry.number(NOT_BEFORE));
    Ok((since.ok_or_else(|| StoreError::Unreadable(key.clone()))?, key))
}

fn non_empty<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

fn key_of(key: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([(PARTITION_KEY.to_owned(), AttributeValue::S(key.to_owned()))])
}

fn attribute_from(value: Value) -> AttributeValue {
    match value {
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Text(text) => AttributeValue::S(text),
    }
}

fn item_from(mut attributes: HashMap<String, AttributeValue>) -> Result<Item, StoreError> {
    attributes.remove(PARTITION_KEY);
    let mut item = Item::default();
    for (name, attribute) in attributes {
        let value = if let AttributeValue::S(text) = attribute {
            Value::Text(text)
        } else if let AttributeValue::N(digits) = attribute {
            let number = digits.parse();
            Value::Number(number.map_err(|_| StoreError::Unreadable(format!("`{name}` is not a whole number")))?)
        } else {
            return Err(StoreError::Unreadable(format!("`{name}` is neither text nor number")));
        };
        item.0.insert(name, value);
    }
    Ok(item)
}

/// DynamoDB's error codes that mean "slow down":
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>.
const THROTTLING: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "LimitExceededException",
    "TransactionInProgressException",
];

fn classify<E>(error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error.code().map(str::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (code.as_deref(), status) {
        (Some(code), _) if THROTTLING.contains(&code) => StoreError::Throttled(Box::new(error)),
        (_, Some(400..=499)) => StoreError::Refused(Box::new(error)),
        _ => StoreError::Unreachable(Box::new(error)),
    }
}
