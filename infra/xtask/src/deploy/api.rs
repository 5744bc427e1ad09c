//! API Gateway: the HTTP API, one integration per function, one route per `HttpApi` event.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::{Fault, Item, verify};
use crate::aws::Aws;
use crate::door::cors::Cors;
use crate::template::Attributes;

/// The deployed HTTP API, as the front door needs it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// The id its address begins with.
    pub(crate) id: String,
    /// Route keys such as `GET /v1/companies/{business_number}`, with the integration each leads to.
    pub(crate) routes: BTreeMap<String, String>,
    /// Who may call it from a browser.
    pub(crate) cors: Option<Cors>,
}

/// Integrations by function name: one per function, however many routes lead to it.
pub(super) type Integrations = BTreeMap<String, String>;

/// Creates the API and its one stage.
pub(super) async fn http_api(aws: &Aws, item: &Item) -> Result<(Attributes, Api), Fault> {
    item.only(
        &["Name", "CorsConfiguration", "DefaultRouteSettings", "Description"],
        &["AccessLogSettings", "DisableExecuteApiEndpoint", "FailOnWarnings", "RouteSettings"],
    )?;
    let mut input = json!({"name": item.name("Name"), "protocolType": "HTTP"});
    let cors = match item.get("CorsConfiguration") {
        Some(stated @ Value::Object(_)) => {
            input["corsConfiguration"] = camel(stated);
            Some(Cors::from_template(stated).map_err(|problem| item.fault("CorsConfiguration", &problem))?)
        }
        Some(_) => {
            return Err(
                item.fault("CorsConfiguration", "expected the long form, a map of AllowOrigins, AllowMethods, …")
            );
        }
        None => None,
    };
    if let Some(description) = item.get("Description") {
        input["description"] = description.clone();
    }
    let created = aws.rest("apigateway", "CreateApi", Method::POST, "/v2/apis", Some(&input)).await?;
    let id = created["apiId"].as_str().unwrap_or_default().to_owned();
    let found = aws.rest("apigateway", "GetApi", Method::GET, &format!("/v2/apis/{id}"), None).await?;
    verify::holds("api", &input, &found)?;

    let mut stage = json!({"stageName": "$default", "autoDeploy": true});
    if let Some(settings) = item.get("DefaultRouteSettings") {
        stage["defaultRouteSettings"] = camel(settings);
    }
    aws.rest("apigateway", "CreateStage", Method::POST, &format!("/v2/apis/{id}/stages"), Some(&stage)).await?;
    let found =
        aws.rest("apigateway", "GetStage", Method::GET, &format!("/v2/apis/{id}/stages/%24default"), None).await?;
    verify::holds("stage", &stage, &found)?;

    let endpoint = found_endpoint(&created);
    Ok((
        Attributes::new(&id).with("ApiId", &id).with("ApiEndpoint", endpoint),
        Api { id, routes: BTreeMap::new(), cors },
    ))
}

fn found_endpoint(created: &Value) -> String {
    created["apiEndpoint"].as_str().unwrap_or_default().to_owned()
}

/// CloudFormation writes `AllowOrigins`, the API `allowOrigins`.
fn camel(value: &Value) -> Value {
    let first_lower =
        |key: &str| key.chars().take(1).flat_map(char::to_lowercase).chain(key.chars().skip(1)).collect::<String>();
    let map: Map<String, Value> = super::object(value.clone());
    Value::Object(map.into_iter().map(|(key, value)| (first_lower(&key), value)).collect())
}

/// Creates the route of one event.
pub(super) async fn route(
    aws: &Aws,
    item: &Item,
    function: &Attributes,
    api: &mut Api,
    integrations: &mut Integrations,
) -> Result<(), Fault> {
    item.only(&["ApiId", "Method", "Path", "PayloadFormatVersion"], &["RouteSettings", "TimeoutInMillis"])?;
    let id = item.text("ApiId")?;
    if id != api.id {
        return Err(item.fault("ApiId", &format!("not the HTTP API of this template: `{id}`")));
    }
    let key = match (item.text("Method"), item.text("Path")) {
        (Ok(method), Ok(path)) => format!("{} {path}", method.to_uppercase()),
        _ => "$default".to_owned(),
    };
    let integration = match integrations.get(&function.reference) {
        Some(integration) => integration.clone(),
        None => {
            let integration = integration(aws, &id, function).await?;
            integrations.insert(function.reference.clone(), integration.clone());
            integration
        }
    };
    if api.routes.contains_key(&key) {
        return Err(item.fault("Path", &format!("a second event claims the route `{key}`")));
    }
    let input = json!({"routeKey": key, "target": format!("integrations/{integration}")});
    aws.rest("apigateway", "CreateRoute", Method::POST, &format!("/v2/apis/{id}/routes"), Some(&input)).await?;
    api.routes.insert(key, integration);
    Ok(())
}

async fn integration(aws: &Aws, api: &str, function: &Attributes) -> Result<String, Fault> {
    let input = json!({
        "integrationType": "AWS_PROXY",
        "integrationUri": function.arn(),
        "payloadFormatVersion": "2.0",
    });
    let path = format!("/v2/apis/{api}/integrations");
    let created = aws.rest("apigateway", "CreateIntegration", Method::POST, &path, Some(&input)).await?;
    let id = created["integrationId"].as_str().unwrap_or_default().to_owned();
    let found = aws.rest("apigateway", "GetIntegration", Method::GET, &format!("{path}/{id}"), None).await?;
    verify::holds("integration", &input, &found)?;
    Ok(id)
}

/// Compares the API's routes with those of the template: none missing, none more, each to its function.
pub(super) async fn verify_routes(aws: &Aws, api: &Api) -> Result<(), Fault> {
    let found = aws.rest("apigateway", "GetRoutes", Method::GET, &format!("/v2/apis/{}/routes", api.id), None).await?;
    let expected: Vec<Value> = api
        .routes
        .iter()
        .map(|(key, integration)| json!({"routeKey": key, "target": format!("integrations/{integration}")}))
        .collect();
    verify::holds("routes", &json!(expected), &found["items"])
}
