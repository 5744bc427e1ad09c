//! Evaluates intrinsic functions against parameters, pseudo parameters and the resources created so far.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{TemplateError, shape};

/// The `Fn::` functions understood here, `Ref` and `Condition` aside.
pub(super) const FUNCTIONS: [&str; 12] =
    ["And", "Base64", "Equals", "FindInMap", "GetAtt", "If", "Join", "Not", "Or", "Select", "Split", "Sub"];

/// The account of the local AWS.
pub(crate) const ACCOUNT: &str = "000000000000";
/// The region everything local lives in: the one the layer is meant for.
pub(crate) const REGION: &str = "ap-northeast-2";

/// What a created resource can be asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    /// The answer to `!Ref`.
    pub(crate) reference: String,
    /// The answers to `!GetAtt`.
    pub(crate) attributes: BTreeMap<&'static str, String>,
}

impl Attributes {
    /// A resource whose `!Ref` is `reference`.
    pub(crate) fn new(reference: impl Into<String>) -> Self {
        Self { reference: reference.into(), attributes: BTreeMap::new() }
    }

    /// Adds one answer to `!GetAtt`.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.insert(name, value.into());
        self
    }

    /// The resource's ARN, or its `!Ref` where the type has none.
    pub(crate) fn arn(&self) -> &str {
        self.attributes.get("Arn").or_else(|| self.attributes.get("TopicArn")).unwrap_or(&self.reference)
    }
}

/// Everything a reference can mean.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    parameters: BTreeMap<String, Value>,
    mappings: Value,
    conditions: BTreeMap<String, bool>,
    resources: BTreeMap<String, Attributes>,
}

impl Scope {
    pub(super) fn new(mut parameters: BTreeMap<String, Value>, mappings: Value) -> Self {
        for (name, value) in [
            ("AWS::Region", REGION),
            ("AWS::AccountId", ACCOUNT),
            ("AWS::Partition", "aws"),
            ("AWS::URLSuffix", "amazonaws.com"),
            ("AWS::StackName", "ieum-local"),
            ("AWS::StackId", "arn:aws:cloudformation:ap-northeast-2:000000000000:stack/ieum-local/local"),
        ] {
            parameters.insert(name.to_owned(), json!(value));
        }
        Self { parameters, mappings, conditions: BTreeMap::new(), resources: BTreeMap::new() }
    }

    /// Settles `Conditions`; they may refer to each other in any order.
    pub(super) fn settle_conditions(&mut self, declared: &Value) -> Result<(), TemplateError> {
        let mut open: Vec<(&String, &Value)> = declared.as_object().into_iter().flatten().collect();
        while !open.is_empty() {
            let before = open.len();
            let mut failure = None;
            let mut still = Vec::new();
            for (name, expression) in open {
                match self.truth(expression, &format!("Conditions.{name}")) {
                    Ok(truth) => {
                        self.conditions.insert(name.clone(), truth);
                    }
                    Err(error) => {
                        failure = Some(error);
                        still.push((name, expression));
                    }
                }
            }
            if still.len() == before
                && let Some(error) = failure
            {
                return Err(error);
            }
            open = still;
        }
        Ok(())
    }

    /// The truth of a named condition.
    pub(super) fn condition(&self, name: &str, at: &str) -> Result<bool, TemplateError> {
        self.conditions.get(name).copied().ok_or_else(|| unknown(at, name))
    }

    /// A settled parameter.
    #[cfg(test)]
    pub(crate) fn parameter(&self, name: &str) -> Option<&Value> {
        self.parameters.get(name)
    }

    /// Makes a created resource known to later references.
    pub(crate) fn add(&mut self, id: &str, attributes: Attributes) {
        self.resources.insert(id.to_owned(), attributes);
    }

    /// A created resource.
    pub(crate) fn resource(&self, id: &str) -> Option<&Attributes> {
        self.resources.get(id)
    }

    /// The created resource whose ARN or `!Ref` this is.
    pub(crate) fn resource_of(&self, name_or_arn: &str) -> Option<(&String, &Attributes)> {
        self.resources
            .iter()
            .find(|(_, attributes)| attributes.reference == name_or_arn || attributes.arn() == name_or_arn)
    }

    /// Evaluates every intrinsic function in `value`; entries that become `AWS::NoValue` disappear.
    pub(crate) fn resolve(&self, value: &Value, at: &str) -> Result<Value, TemplateError> {
        Ok(self.evaluate(value, at)?.unwrap_or(Value::Null))
    }

    /// `None` is `AWS::NoValue`.
    fn evaluate(&self, value: &Value, at: &str) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    resolved.extend(self.evaluate(item, &format!("{at}[{index}]"))?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            Value::Object(map) => match call(map) {
                Some((function, argument)) => self.apply(function, argument, at),
                None => {
                    let mut resolved = Map::new();
                    for (key, item) in map {
                        if let Some(item) = self.evaluate(item, &format!("{at}.{key}"))? {
                            resolved.insert(key.clone(), item);
                        }
                    }
                    Ok(Some(Value::Object(resolved)))
                }
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Some(value.clone())),
        }
    }

    fn apply(&self, function: &str, argument: &Value, at: &str) -> Result<Option<Value>, TemplateError> {
        let value = match function {
            "Ref" => {
                let name = argument.as_str().ok_or_else(|| shape(at, "a name after !Ref"))?;
                if name == "AWS::NoValue" {
                    return Ok(None);
                }
                self.reference(name, at)?
            }
            "Fn::If" => {
                let [condition, then, otherwise] = arguments(argument, at, "!If [condition, then, otherwise]")?;
                let name = condition.as_str().ok_or_else(|| shape(at, "the name of a condition"))?;
                return self.evaluate(if self.condition(name, at)? { then } else { otherwise }, at);
            }
            "Fn::GetAtt" => {
                let [id, attribute] = arguments(argument, at, "!GetAtt Resource.Attribute")?;
                json!(self.attribute(&text(id, at)?, &text(attribute, at)?, at)?)
            }
            "Fn::Sub" => json!(self.substitute(argument, at)?),
            "Fn::Join" => {
                let [separator, items] = arguments(argument, at, "!Join [separator, list]")?;
                let items = self.list(items, at)?;
                let items = items.iter().map(|item| text(item, at)).collect::<Result<Vec<_>, _>>()?;
                json!(items.join(&text(separator, at)?))
            }
            "Fn::Split" => {
                let [separator, whole] = arguments(argument, at, "!Split [separator, text]")?;
                let whole = text(&self.resolve(whole, at)?, at)?;
                json!(whole.split(&text(separator, at)?).collect::<Vec<_>>())
            }
            "Fn::Select" => {
                let [index, items] = arguments(argument, at, "!Select [index, list]")?;
                let index: usize = text(&self.resolve(index, at)?, at)?.parse().map_err(|_| shape(at, "an index"))?;
                let items = self.list(items, at)?;
                items.get(index).cloned().ok_or_else(|| shape(at, &format!("a list of more than {index} items")))?
            }
            "Fn::FindInMap" => {
                let [map, first, second] = arguments(argument, at, "!FindInMap [map, key, key]")?;
                let mut found = &self.mappings;
                for key in [map, first, second] {
                    let key = text(&self.resolve(key, at)?, at)?;
                    found = found.get(&key).ok_or_else(|| unknown(at, &key))?;
                }
                found.clone()
            }
            "Fn::Base64" => {
                use base64::Engine as _;
                json!(base64::engine::general_purpose::STANDARD.encode(text(&self.resolve(argument, at)?, at)?))
            }
            "Condition" | "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" => {
                json!(self.boolean(function, argument, at)?)
            }
            other => return Err(TemplateError::UnknownFunction { at: at.to_owned(), function: other.to_owned() }),
        };
        Ok(Some(value))
    }

    fn truth(&self, expression: &Value, at: &str) -> Result<bool, TemplateError> {
        match expression.as_object().and_then(call) {
            Some((function, argument)) => self.boolean(function, argument, at),
            None => Err(shape(at, "a condition function")),
        }
    }

    fn boolean(&self, function: &str, argument: &Value, at: &str) -> Result<bool, TemplateError> {
        match function {
            "Condition" => self.condition(argument.as_str().unwrap_or_default(), at),
            "Fn::Equals" => {
                let [left, right] = arguments(argument, at, "!Equals [one, other]")?;
                Ok(self.resolve(left, at)? == self.resolve(right, at)?)
            }
            "Fn::Not" => {
                let [inner] = arguments(argument, at, "!Not [condition]")?;
                Ok(!self.truth(inner, at)?)
            }
            "Fn::And" | "Fn::Or" => {
                let items = argument.as_array().ok_or_else(|| shape(at, "a list of conditions"))?;
                let truths = items.iter().map(|item| self.truth(item, at)).collect::<Result<Vec<_>, _>>()?;
                Ok(if function == "Fn::And" { truths.iter().all(|truth| *truth) } else { truths.contains(&true) })
            }
            other => Err(TemplateError::UnknownFunction { at: at.to_owned(), function: other.to_owned() }),
        }
    }

    fn list(&self, value: &Value, at: &str) -> Result<Vec<Value>, TemplateError> {
        match self.resolve(value, at)? {
            Value::Array(items) => Ok(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(shape(at, "a list"))
            }
        }
    }

    fn reference(&self, name: &str, at: &str) -> Result<Value, TemplateError> {
        let parameter = self.parameters.get(name).cloned();
        parameter
            .or_else(|| self.resources.get(name).map(|found| json!(found.reference)))
            .ok_or_else(|| unknown(at, name))
    }

    fn attribute(&self, id: &str, attribute: &str, at: &str) -> Result<String, TemplateError> {
        let found = self.resources.get(id).ok_or_else(|| unknown(at, id))?;
        found.attributes.get(attribute).cloned().ok_or_else(|| unknown(at, &format!("{id}.{attribute}")))
    }

    /// `!Sub text` and `!Sub [text, {Name: value}]`; `${!literal}` stays `${literal}`.
    fn substitute(&self, argument: &Value, at: &str) -> Result<String, TemplateError> {
        let (template, names) = match argument {
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(template), Value::Object(names)] => (template, Some(names)),
                _ => return Err(shape(at, "!Sub text or !Sub [text, {Name: value}]")),
            },
            Value::String(template) => (template, None),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(shape(at, "text after !Sub"));
            }
        };
        let mut rest = template.as_str();
        let mut result = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').ok_or_else(|| shape(at, "a closing brace for each `${`"))?;
            result.push_str(before);
            match (name.strip_prefix('!'), names.and_then(|names| names.get(name)), name.split_once('.')) {
                (Some(literal), _, _) => result.push_str(&format!("${{{literal}}}")),
                (None, Some(value), _) => result.push_str(&text(&self.resolve(value, at)?, at)?),
                (None, None, Some((id, attribute))) => result.push_str(&self.attribute(id, attribute, at)?),
                (None, None, None) => result.push_str(&text(&self.reference(name, at)?, at)?),
            }
            rest = tail;
        }
        result.push_str(rest);
        Ok(result)
    }
}

fn unknown(at: &str, name: &str) -> TemplateError {
    TemplateError::UnknownReference { at: at.to_owned(), name: name.to_owned() }
}

/// A map of one entry whose key names a function is a call of that function.
fn call(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (key, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    // A policy statement or an `If` branch may hold a key called `Condition` with a map: only the name of a condition
    // is a call.
    let is_call = key == "Ref" || key.starts_with("Fn::") || (key == "Condition" && argument.is_string());
    is_call.then_some((key, argument))
}

fn arguments<'a, const N: usize>(argument: &'a Value, at: &str, form: &str) -> Result<&'a [Value; N], TemplateError> {
    argument.as_array().and_then(|items| items.as_slice().try_into().ok()).ok_or_else(|| shape(at, form))
}

/// Scalars as CloudFormation writes them into text.
fn text(value: &Value, at: &str) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(shape(at, "text")),
    }
}

/// Collects the logical ids a value refers to (parameters among them; the caller knows which are resources).
pub(super) fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => {
            match call(map) {
                Some(("Ref", Value::String(name))) => {
                    found.insert(name.clone());
                }
                Some(("Fn::GetAtt", Value::Array(parts))) => {
                    found.extend(parts.first().and_then(Value::as_str).map(str::to_owned))
                }
                Some(("Fn::Sub", Value::String(template))) => in_text(template, found),
                Some(("Fn::Sub", Value::Array(parts))) => {
                    if let Some(template) = parts.first().and_then(Value::as_str) {
                        in_text(template, found);
                    }
                }
                Some(_) | None => {}
            }
            map.values().for_each(|item| references(item, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn in_text(template: &str, found: &mut BTreeSet<String>) {
    for part in template.split("${").skip(1) {
        if let Some((name, _)) = part.split_once('}') {
            found.extend(name.split('.').next().map(str::to_owned));
        }
    }
}
