//! The shared store: one DynamoDB table whose key is the string attribute `pk`.
//!
//! The only file of the project that writes DynamoDB expressions. Every attribute name and value goes in by
//! placeholder, so a reserved word or a hostile value is never part of an expression. The client asks once: an update that
//! may have happened must not be repeated behind the caller's back.
//!
//! Operations are those of <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/>, attributes as on its page
//! `API_AttributeValue`.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::aws::AwsError;
use crate::aws::json::Client;
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
    pub(crate) fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        input: &impl Serialize,
    ) -> Result<T, StoreError> {
        self.client.call(operation, input).await.map_err(classify)
    }

    /// Up to `limit` of what is on `list` and due from `from` to `until`, in that order, after `after`.
    async fn on_list(
        &self,
        list: &str,
        (from, until): (Timestamp, Timestamp),
        limit: Option<u32>,
        after: Option<Attributes>,
    ) -> Result<Items, StoreError> {
        let query = Query {
            table_name: &self.table,
            index_name: DUE_INDEX,
            key_condition_expression: "#list = :list AND #at BETWEEN :from AND :until",
            expression_attribute_names: [("#list", DUE), ("#at", NOT_BEFORE)].into(),
            expression_attribute_values: [
                (":list", Attribute::text(list)),
                (":from", Attribute::number(from.as_millis())),
                (":until", Attribute::number(until.as_millis())),
            ]
            .into(),
            limit,
            exclusive_start_key: after,
        };
        self.call("Query", &query).await
    }
}

/// An item as it travels, its key among its attributes.
type Attributes = HashMap<String, Attribute>;

/// An attribute as it travels: of its types this store knows text and number, and a number is digits. One of another type
/// comes with neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Attribute {
    #[serde(rename = "S", default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(rename = "N", default, skip_serializing_if = "Option::is_none")]
    number: Option<String>,
}

impl Attribute {
    fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), number: None }
    }

    fn number(number: i64) -> Self {
        Self { text: None, number: Some(number.to_string()) }
    }
}

impl From<Value> for Attribute {
    fn from(value: Value) -> Self {
        match value {
            Value::Number(number) => Self::number(number),
            Value::Text(text) => Self::text(text),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Query<'a> {
    table_name: &'a str,
    index_name: &'static str,
    key_condition_expression: &'static str,
    expression_attribute_names: HashMap<&'static str, &'static str>,
    expression_attribute_values: HashMap<&'static str, Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclusive_start_key: Option<Attributes>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateItem<'a> {
    table_name: &'a str,
    key: Attributes,
    #[serde(flatten)]
    expressions: Expressions,
    return_values: &'static str,
    return_values_on_condition_check_failure: &'static str,
}

/// What `GetItem` finds, what `UpdateItem` leaves, and what the latter's failed condition has met.
#[derive(Deserialize)]
struct OneItem {
    #[serde(rename = "Item", alias = "Attributes")]
    item: Option<Attributes>,
}

/// A page of `Query` or `Scan`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Items {
    #[serde(default)]
    items: Vec<Attributes>,
    last_evaluated_key: Option<Attributes>,
}

/// Of `BatchGetItem`, by table.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManyItems {
    #[serde(default)]
    responses: HashMap<String, Vec<Attributes>>,
    #[serde(default)]
    unprocessed_keys: HashMap<String, Keys>,
}

#[derive(Serialize, Deserialize)]
struct Keys {
    #[serde(rename = "Keys")]
    keys: Vec<Attributes>,
}

/// Of `BatchWriteItem`, by table.
#[derive(Deserialize)]
struct Unwritten {
    #[serde(default, rename = "UnprocessedItems")]
    items: HashMap<String, Vec<Write>>,
}

#[derive(Serialize, Deserialize)]
enum Write {
    #[serde(rename = "PutRequest")]
    Put {
        #[serde(rename = "Item")]
        item: Attributes,
    },
    #[serde(rename = "DeleteRequest")]
    Delete {
        #[serde(rename = "Key")]
        key: Attributes,
    },
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "Table")]
    table: Table,
}

#[derive(Deserialize)]
struct Table {
    #[serde(rename = "TableSizeBytes")]
    bytes: u64,
    #[serde(rename = "TableArn")]
    arn: Option<String>,
}

#[derive(Deserialize)]
struct Exporting {
    #[serde(rename = "ExportDescription")]
    export: Export,
}

#[derive(Deserialize)]
struct Export {
    #[serde(rename = "ExportArn")]
    arn: String,
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        if key.len() > LONGEST_KEY {
            return Ok(None);
        }
        let consistent = read == Read::Consistent;
        let input = json!({"TableName": self.table, "Key": key_of(key), "ConsistentRead": consistent});
        let answer: OneItem = self.call("GetItem", &input).await?;
        answer.item.map(item_from).transpose()
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found: HashMap<String, Item> = HashMap::with_capacity(keys.len());
        let mut wanted: Vec<&Key> = keys.iter().filter(|key| key.len() <= LONGEST_KEY).collect();
        wanted.sort_unstable();
        wanted.dedup();
        while !wanted.is_empty() {
            let keys = Keys { keys: wanted.iter().map(|key| key_of(key)).collect() };
            let mut answer: ManyItems =
                self.call("BatchGetItem", &json!({"RequestItems": {&self.table: keys}})).await?;
            for attributes in answer.responses.remove(&self.table).unwrap_or_default() {
                found.insert(own_key(&attributes)?, item_from(attributes)?);
            }
            let left = answer.unprocessed_keys.remove(&self.table).map(|rest| rest.keys).unwrap_or_default();
            let left = left.iter().map(own_key).collect::<Result<Vec<Key>, StoreError>>()?;
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
        let found = self.on_list(list, (from, until), Some(limit), None).await?;
        found.items.into_iter().map(|item| Ok(indexed(item)?.1)).collect()
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        let (mut due, mut after) = (Vec::new(), None);
        loop {
            let page = self.on_list(list, (Timestamp::default(), until), None, after.clone()).await?;
            for item in page.items {
                due.push(indexed(item)?);
            }
            if page.last_evaluated_key.is_none() || due.len() >= MOST_DUE {
                break;
            }
            if page.last_evaluated_key == after {
                return Err(StoreError::Unreadable("a page of the index is followed by itself".to_owned()));
            }
            after = page.last_evaluated_key;
        }
        due.sort_unstable();
        Ok(due.into_iter().take(limit as usize).map(|(_, key)| key).collect())
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        let input = UpdateItem {
            table_name: &self.table,
            key: key_of(&update.key),
            expressions: Expressions::of(update),
            return_values: "ALL_NEW",
            return_values_on_condition_check_failure: "ALL_OLD",
        };
        match self.client.call_unless::<OneItem, OneItem>("ConditionalCheckFailedException", "UpdateItem", &input).await
        {
            Ok(Ok(left)) => Ok(Outcome::Applied(item_from(left.item.unwrap_or_default())?)),
            Ok(Err(met)) => Ok(Outcome::Refused(met.item.map(item_from).transpose()?)),
            // It happened, and what it left is not known: for the caller as good as no answer.
            Err(error @ AwsError::Unreadable(..)) => Err(StoreError::Unreachable(error.into())),
            Err(error) => Err(classify(error)),
        }
    }
}

/// How often what a batch did not take is sent again, and how long that waits at first.
const BATCH_ATTEMPTS: u32 = 8;
const BATCH_PAUSE: Duration = Duration::from_millis(50);

#[async_trait]
impl Whole for DynamoStore {
    async fn page(&self, segment: u32, segments: u32, after: Option<&Key>) -> Result<Page, StoreError> {
        let mut input = json!({
            "TableName": self.table,
            "ConsistentRead": true,
            "Segment": segment,
            "TotalSegments": segments,
        });
        if let Some(after) = after {
            input["ExclusiveStartKey"] = json!(key_of(after));
        }
        let found: Items = self.call("Scan", &input).await?;
        let items = found.items.into_iter().map(|attributes| Ok((own_key(&attributes)?, item_from(attributes)?)));
        let items = items.collect::<Result<_, StoreError>>()?;
        let next = found.last_evaluated_key.as_ref().map(own_key).transpose()?;
        Ok(Page { items, next })
    }

    async fn put_all(&self, items: &[(Key, Item)]) -> Result<(), StoreError> {
        let writes = items.iter().map(|(key, item)| {
            let mut attributes = key_of(key);
            attributes.extend(item.0.iter().map(|(name, value)| (name.clone(), value.clone().into())));
            Write::Put { item: attributes }
        });
        self.write(writes.collect()).await
    }

    async fn remove_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.write(keys.iter().map(|key| Write::Delete { key: key_of(key) }).collect()).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.described().await?.bytes)
    }

    async fn export(&self, bucket: &str, prefix: &str) -> Result<String, StoreError> {
        let table = self.described().await?.arn;
        let table = table.ok_or_else(|| StoreError::Unreadable("the table has no ARN".to_owned()))?;
        let input = json!({"TableArn": table, "S3Bucket": bucket, "S3Prefix": prefix});
        let exporting: Exporting = self.call("ExportTableToPointInTime", &input).await?;
        Ok(exporting.export.arn)
    }
}

impl DynamoStore {
    async fn described(&self) -> Result<Table, StoreError> {
        let described: Described = self.call("DescribeTable", &json!({"TableName": self.table})).await?;
        Ok(described.table)
    }

    /// Writes up to [`BATCH`](crate::backup::BATCH) items, however often that takes.
    async fn write(&self, mut left: Vec<Write>) -> Result<(), StoreError> {
        for attempt in 0..BATCH_ATTEMPTS {
            if left.is_empty() {
                return Ok(());
            }
            if attempt > 0 {
                tokio::time::sleep(BATCH_PAUSE * 2_u32.pow(attempt - 1)).await;
            }
            let input = json!({"RequestItems": {&self.table: left}});
            let mut answer: Unwritten = self.call("BatchWriteItem", &input).await?;
            left = answer.items.remove(&self.table).unwrap_or_default();
        }
        if left.is_empty() { Ok(()) } else { Err(StoreError::Throttled("a batch was not taken".into())) }
    }
}

/// An item's own key.
fn own_key(attributes: &Attributes) -> Result<Key, StoreError> {
    let key = attributes.get(PARTITION_KEY).and_then(|key| key.text.clone());
    key.ok_or_else(|| StoreError::Unreadable("an item has no key".to_owned()))
}

/// An [`Update`] in DynamoDB's expression language.
#[derive(Default, Serialize)]
struct Expressions {
    #[serde(rename = "ConditionExpression", skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(rename = "UpdateExpression", skip_serializing_if = "Option::is_none")]
    update: Option<String>,
    #[serde(rename = "ExpressionAttributeNames", skip_serializing_if = "HashMap::is_empty")]
    names: HashMap<String, String>,
    #[serde(rename = "ExpressionAttributeValues", skip_serializing_if = "HashMap::is_empty")]
    values: Attributes,
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
        self.values.insert(placeholder.clone(), value.into());
        placeholder
    }
}

/// An entry of the index: since when the item waits, and its key.
fn indexed(entry: Attributes) -> Result<(i64, Key), StoreError> {
    let (key, entry) = (own_key(&entry)?, item_from(entry)?);
    let since = entry.number(CREATED_AT).or_else(|| entry.number(NOT_BEFORE));
    Ok((since.ok_or_else(|| StoreError::Unreadable(key.clone()))?, key))
}

fn key_of(key: &str) -> Attributes {
    HashMap::from([(PARTITION_KEY.to_owned(), Attribute::text(key))])
}

fn item_from(mut attributes: Attributes) -> Result<Item, StoreError> {
    attributes.remove(PARTITION_KEY);
    let mut item = Item::default();
    for (name, attribute) in attributes {
        let value = match attribute {
            Attribute { text: Some(text), .. } => Value::Text(text),
            Attribute { number: Some(digits), .. } => {
                let number = digits.parse();
                Value::Number(number.map_err(|_| StoreError::Unreadable(format!("`{name}` is not a whole number")))?)
            }
            Attribute { .. } => return Err(StoreError::Unreadable(format!("`{name}` is neither text nor number"))),
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

fn classify(error: AwsError) -> StoreError {
    let throttling = |code: &str| THROTTLING.contains(&code);
    match &error {
        AwsError::Unreadable(..) => StoreError::Unreadable(error.to_string()),
        AwsError::Unanswered(..) => StoreError::Unreachable(error.into()),
        AwsError::NotSent(..) => StoreError::Refused(error.into()),
        AwsError::Failed(_, failure) if failure.code.as_deref().is_some_and(throttling) => {
            StoreError::Throttled(error.into())
        }
        AwsError::Failed(_, failure) if failure.status < 500 => StoreError::Refused(error.into()),
        AwsError::Failed(..) => StoreError::Unreachable(error.into()),
    }
}
