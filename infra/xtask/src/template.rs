//! Reads `template.yaml` the way CloudFormation would, because the template is the only description of what gets
//! deployed.
//!
//! YAML tags and their long forms become one JSON shape here (`!Ref X` is `{"Ref": "X"}`), globals are merged into the
//! resources they apply to, parameters and conditions are settled. What a reference to a *resource* means is known only
//! after its creation: that is [`intrinsics`]' part. Anything not understood is an error that names its place; nothing
//! is skipped silently.

mod intrinsics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;

pub(crate) use intrinsics::{ACCOUNT, Attributes, REGION, Scope};

/// What can be wrong with a template; every variant names the place as a path such as
/// `Resources.Table.Properties.TableName`.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file is not there or cannot be read.
    #[error("cannot read the template: `{path}`: {source}")]
    Unreadable {
        /// The template's path.
        path: String,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("the template is not valid YAML: {0}")]
    Syntax(#[from] serde_yaml_ng::Error),
    /// A place holds something else than CloudFormation allows there.
    #[error("{at}: expected {expected}")]
    Shape {
        /// Where.
        at: String,
        /// What should stand there.
        expected: String,
    },
    /// An intrinsic function nobody taught this reader.
    #[error("{at}: unknown intrinsic function: `{function}`")]
    UnknownFunction {
        /// Where.
        at: String,
        /// Its name, with `!` or `Fn::`.
        function: String,
    },
    /// A reference to a name that is neither a parameter nor a resource created before this point.
    #[error("{at}: nothing of this name can be referred to here: `{name}`")]
    UnknownReference {
        /// Where.
        at: String,
        /// The name.
        name: String,
    },
    /// A parameter without a default that `infra/xtask/local.toml` does not set either.
    #[error("parameter `{0}` has no default and no value in [parameters] of infra/xtask/local.toml")]
    MissingParameter(String),
    /// A local value for a parameter the template does not have.
    #[error("infra/xtask/local.toml sets a parameter the template does not have: `{0}`")]
    UnknownParameter(String),
    /// Resources that need each other before either exists.
    #[error("these resources refer to each other in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
}

/// One entry of `Resources`, globals already merged in; `properties` still holds intrinsic functions.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    /// The logical id: the name the template gives it.
    pub(crate) id: String,
    /// The CloudFormation or SAM type.
    pub(crate) kind: String,
    /// The unresolved properties.
    pub(crate) properties: Value,
    /// The unresolved `Metadata`.
    pub(crate) metadata: Value,
    depends_on: Vec<String>,
}

impl Resource {
    /// Where the resource's properties stand in the template.
    pub(crate) fn place(&self) -> String {
        format!("Resources.{}.Properties", self.id)
    }

    /// The binary a function is built from: the template's `Metadata.BuildProperties.Binary`.
    pub(crate) fn binary(&self) -> Result<&str, TemplateError> {
        self.metadata["BuildProperties"]["Binary"].as_str().ok_or_else(|| {
            shape(
                &format!("Resources.{}.Metadata", self.id),
                "BuildProperties.Binary, the name of the binary to deploy",
            )
        })
    }
}

/// A template with its parameters settled.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// The resources whose condition holds, ordered so that each comes after those it refers to.
    pub(crate) resources: Vec<Resource>,
    /// Parameters, pseudo parameters, conditions and mappings; resources join as they are created.
    pub(crate) scope: Scope,
}

/// The SAM type of a Lambda function.
pub(crate) const FUNCTION: &str = "AWS::Serverless::Function";
const HTTP_API: &str = "AWS::Serverless::HttpApi";

/// Properties that only connect resources which all exist already. They are applied last, so their references do not
/// order the creation. (`DeploymentPreference` names alarms that name the function; nothing of it is applied.)
const WIRING: [&str; 5] = ["DeploymentPreference", "Events", "Policies", "NotificationConfiguration", "Subscription"];

/// Whether a property only connects its resource to others.
pub(crate) fn is_wiring(property: &str) -> bool {
    WIRING.contains(&property)
}

impl Template {
    /// Reads and parses a template file; `local` gives parameters the values they have on this machine.
    pub(crate) fn read(
        path: &std::path::Path,
        local: impl Fn(&str, Option<&str>) -> Option<String>,
        names: &[String],
    ) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TemplateError::Unreadable { path: path.display().to_string(), source })?;
        Self::parse(&text, local, names)
    }

    /// What a template declares of its parameters, by name.
    #[cfg(feature = "stages")]
    pub(crate) fn declared(text: &str) -> Result<Map<String, Value>, TemplateError> {
        let document = plain(&serde_yaml_ng::from_str::<Yaml>(text)?, "template")?;
        document["Parameters"].as_object().cloned().ok_or_else(|| shape("Parameters", "a map of parameters"))
    }

    /// Parses a template. `names` are the parameters with a local value: one the template lacks is an error, because it
    /// is a typing mistake.
    pub(crate) fn parse(
        text: &str,
        local: impl Fn(&str, Option<&str>) -> Option<String>,
        names: &[String],
    ) -> Result<Self, TemplateError> {
        let document = plain(&serde_yaml_ng::from_str::<Yaml>(text)?, "template")?;
        let parameters = parameters(&document["Parameters"], local)?;
        if let Some(unknown) = names.iter().find(|name| !parameters.contains_key(*name)) {
            return Err(TemplateError::UnknownParameter(unknown.clone()));
        }
        let mut scope = Scope::new(parameters, document["Mappings"].clone());
        scope.settle_conditions(&document["Conditions"])?;

        let mut resources = Vec::new();
        let Some(entries) = document["Resources"].as_object() else {
            return Err(shape("Resources", "a map of resources"));
        };
        for (id, entry) in entries {
            let at = format!("Resources.{id}");
            let kind = entry["Type"].as_str().ok_or_else(|| shape(&at, "a Type"))?;
            if let Some(condition) = entry["Condition"].as_str()
                && !scope.condition(condition, &at)?
            {
                continue;
            }
            let global = match kind {
                FUNCTION => &document["Globals"]["Function"],
                HTTP_API => &document["Globals"]["HttpApi"],
                _ => &Value::Null,
            };
            let depends_on = match &entry["DependsOn"] {
                Value::String(one) => vec![one.clone()],
                Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
            };
            resources.push(Resource {
                id: id.clone(),
                kind: kind.to_owned(),
                properties: merge(global, &entry["Properties"]),
                metadata: entry["Metadata"].clone(),
                depends_on,
            });
        }
        Ok(Self { resources: in_order(resources)?, scope })
    }
}

fn shape(at: &str, expected: &str) -> TemplateError {
    TemplateError::Shape { at: at.to_owned(), expected: expected.to_owned() }
}

/// Turns YAML into JSON, writing each short-form tag in its long form.
fn plain(yaml: &Yaml, at: &str) -> Result<Value, TemplateError> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => json!(flag),
        Yaml::Number(number) => serde_json::to_value(number).map_err(|_| shape(at, "a finite number"))?,
        Yaml::String(text) => json!(text),
        Yaml::Sequence(items) => {
            let items = items.iter().enumerate().map(|(index, item)| plain(item, &format!("{at}[{index}]")));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = match key {
                    Yaml::String(text) => text.clone(),
                    Yaml::Number(number) => number.to_string(),
                    Yaml::Null | Yaml::Bool(_) | Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
                        return Err(shape(at, "keys that are text"));
                    }
                };
                let value = plain(value, &format!("{at}.{key}"))?;
                map.insert(key, value);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = tag.trim_start_matches('!');
            let value = plain(&tagged.value, at)?;
            match name {
                "Ref" | "Condition" => json!({ name: value }),
                // `!GetAtt Table.Arn` is the short form of a list of two.
                "GetAtt" => match value.as_str().and_then(|text| text.split_once('.')) {
                    Some((id, attribute)) => json!({ "Fn::GetAtt": [id, attribute] }),
                    None => json!({ "Fn::GetAtt": value }),
                },
                name if intrinsics::FUNCTIONS.contains(&name) => json!({ format!("Fn::{name}"): value }),
                _ => return Err(TemplateError::UnknownFunction { at: at.to_owned(), function: tag }),
            }
        }
    })
}

fn parameters(
    declared: &Value,
    local: impl Fn(&str, Option<&str>) -> Option<String>,
) -> Result<BTreeMap<String, Value>, TemplateError> {
    let mut parameters = BTreeMap::new();
    for (name, declaration) in declared.as_object().into_iter().flatten() {
        let text = match (local(name, declaration["Default"].as_str()), &declaration["Default"]) {
            (Some(text), _) => text,
            (None, Value::String(text)) => text.clone(),
            (None, Value::Null) => return Err(TemplateError::MissingParameter(name.clone())),
            (None, other) => other.to_string(),
        };
        let is_list =
            declaration["Type"].as_str().is_some_and(|kind| kind == "CommaDelimitedList" || kind.starts_with("List<"));
        let value = if is_list { json!(text.split(',').map(str::trim).collect::<Vec<_>>()) } else { json!(text) };
        parameters.insert(name.clone(), value);
    }
    Ok(parameters)
}

/// SAM's rule for globals: maps merge, lists add up, anything else is overridden by the resource.
fn merge(global: &Value, own: &Value) -> Value {
    match (global, own) {
        (Value::Object(global), Value::Object(own)) if !is_intrinsic(global) && !is_intrinsic(own) => {
            let mut merged = global.clone();
            for (key, value) in own {
                let value = merge(global.get(key).unwrap_or(&Value::Null), value);
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(global), Value::Array(own)) => Value::Array(global.iter().chain(own).cloned().collect()),
        (global, Value::Null) => global.clone(),
        (_, own) => own.clone(),
    }
}

fn is_intrinsic(map: &Map<String, Value>) -> bool {
    map.len() == 1 && map.keys().all(|key| key == "Ref" || key.starts_with("Fn::"))
}

/// Orders resources so that each follows what it refers to outside of its wiring.
fn in_order(resources: Vec<Resource>) -> Result<Vec<Resource>, TemplateError> {
    let ids: BTreeSet<String> = resources.iter().map(|resource| resource.id.clone()).collect();
    let mut waiting: Vec<(Resource, BTreeSet<String>)> = Vec::new();
    for resource in resources {
        let mut needs: BTreeSet<String> = resource.depends_on.iter().cloned().collect();
        for (key, value) in resource.properties.as_object().into_iter().flatten() {
            if !is_wiring(key) {
                intrinsics::references(value, &mut needs);
            }
        }
        needs.retain(|need| ids.contains(need) && *need != resource.id);
        waiting.push((resource, needs));
    }
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, needs)| needs.is_subset(&done));
        if ready.is_empty() {
            return Err(TemplateError::Circle(rest.into_iter().map(|(resource, _)| resource.id).collect()));
        }
        for (resource, _) in ready {
            done.insert(resource.id.clone());
            ordered.push(resource);
        }
        waiting = rest;
    }
    Ok(ordered)
}
