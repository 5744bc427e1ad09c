//! The reader against `fixtures/everything.yaml`, one of each resource kind, and against small broken templates.

use serde_json::{Value, json};

use super::*;

fn parse(text: &str) -> Result<Template, TemplateError> {
    let local = |name: &str, default: Option<&str>| match name {
        "Stage" => Some("local".to_owned()),
        "TossBaseUrl" => default.map(|_| "http://sandbox/toss/v1".to_owned()),
        _ => None,
    };
    Template::parse(text, local, &[])
}

fn everything() -> Template {
    parse(include_str!("../../fixtures/everything.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

fn resource<'a>(template: &'a Template, id: &str) -> &'a Resource {
    template.resources.iter().find(|resource| resource.id == id).unwrap_or_else(|| panic!("no {id}"))
}

/// The scope as it is once everything exists; ARNs are made up.
fn complete(template: &Template) -> Scope {
    let mut scope = template.scope.clone();
    for resource in &template.resources {
        let id = resource.id.to_lowercase();
        let mut attributes = Attributes::new(format!("ref-{id}")).with("Arn", format!("arn-{id}"));
        for name in ["QueueUrl", "StreamArn", "TopicArn"] {
            attributes = attributes.with(name, format!("{}-{id}", name.to_lowercase()));
        }
        scope.add(&resource.id, attributes);
    }
    scope
}

fn resolved(id: &str) -> Value {
    let template = everything();
    let resource = resource(&template, id);
    complete(&template).resolve(&resource.properties, &resource.place()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    match parse(text) {
        Ok(template) => {
            let scope = complete(&template);
            let outcomes =
                template.resources.iter().map(|resource| scope.resolve(&resource.properties, &resource.place()));
            outcomes
                .filter_map(Result::err)
                .map(|error| error.to_string())
                .next()
                .unwrap_or_else(|| "no error".to_owned())
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_intrinsic_function_is_evaluated() {
    let variables = &resolved("Function")["Environment"]["Variables"];
    assert_eq!(variables["STAGE"], "local");
    assert_eq!(variables["TABLE_NAME"], "ref-table");
    assert_eq!(variables["ORIGINS"], "https://portal.example.org,https://second.example.org");
    assert_eq!(variables["TOSS_BASE_URL"], "http://sandbox/toss/v1");
    assert_eq!(variables["TOSS_SECRET"], "ref-tosssecret");
    assert_eq!(variables["QUEUE_URL"], "queueurl-work");
    assert_eq!(variables["BATCH"], 7);
    assert_eq!(variables["FIRST_ORIGIN"], "https://portal.example.org");
    assert_eq!(variables["WHERE"], "here");
    assert_eq!(variables["TEXT"], "b, ap-northeast-2 arn-table ${Literal}");
}

#[test]
fn no_value_makes_the_entry_disappear() {
    assert_eq!(resolved("Function")["Environment"]["Variables"].get("ABSENT"), None);
}

#[test]
fn globals_merge_into_functions_and_the_api() {
    let worker = resolved("Worker");
    assert_eq!(worker["Timeout"], 30);
    assert_eq!(worker["MemorySize"], 128);
    assert_eq!(worker["Environment"]["Variables"]["ROLE"], "worker");
    assert_eq!(worker["Environment"]["Variables"]["STAGE"], "local");
    assert_eq!(resolved("Api")["DefaultRouteSettings"]["ThrottlingRateLimit"], 5);
}

#[test]
fn a_list_parameter_stays_a_list_and_a_number_becomes_text() {
    assert_eq!(
        resolved("Api")["CorsConfiguration"]["AllowOrigins"],
        json!(["https://portal.example.org", "https://second.example.org"])
    );
    assert_eq!(
        resolved("Work")["RedrivePolicy"],
        json!({"deadLetterTargetArn": "arn-workdead", "maxReceiveCount": "5"})
    );
}

#[test]
fn conditions_choose_resources() {
    let template = everything();
    assert!(template.resources.iter().any(|resource| resource.id == "WeeklySchedule"));
    assert!(!template.resources.iter().any(|resource| resource.id == "OnlyElsewhere"));
}

#[test]
fn a_resource_follows_those_it_refers_to_and_wiring_does_not_count() {
    let template = everything();
    let position = |id: &str| template.resources.iter().position(|resource| resource.id == id);
    assert!(position("WorkDead") < position("Work"));
    assert!(position("Table") < position("Function"));
    assert!(position("TossSecret") < position("Function"));
    // The function's event names the bucket and the bucket's notification names the queue: both are applied at the end.
    assert!(position("Work") > position("Bucket"));
}

#[test]
fn the_binary_of_a_function_is_in_its_metadata() {
    assert_eq!(resource(&everything(), "Worker").binary().ok(), Some("verify"));
    let template = parse("Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {}}}");
    let error =
        template.ok().and_then(|template| resource(&template, "F").binary().err().map(|error| error.to_string()));
    assert!(error.is_some_and(|text| text.starts_with("Resources.F.Metadata: expected BuildProperties.Binary")));
}

#[test]
fn short_and_long_forms_are_the_same() {
    let short = plain(&serde_yaml_ng::from_str("[!Ref A, !GetAtt A.B.C, !Sub '${A}']").unwrap_or_default(), "");
    let long = json!([{"Ref": "A"}, {"Fn::GetAtt": ["A", "B.C"]}, {"Fn::Sub": "${A}"}]);
    assert_eq!(short.ok(), Some(long));
}

#[test]
fn what_is_not_understood_names_its_place() {
    let cases = [
        (
            "Resources: {A: {Type: T, Properties: {X: [!Cidr [a, 1]]}}}",
            "template.Resources.A.Properties.X[0]: unknown intrinsic function: `!Cidr`",
        ),
        (
            "Resources: {A: {Type: T, Properties: {X: {'Fn::Transform': 1}}}}",
            "Resources.A.Properties.X: unknown intrinsic function: `Fn::Transform`",
        ),
        (
            "Resources: {A: {Type: T, Properties: {X: !Ref Tabel}}}",
            "Resources.A.Properties.X: nothing of this name can be referred to here: `Tabel`",
        ),
        (
            "Resources: {A: {Type: T, Properties: {X: !Sub '${B.Arm}'}}, B: {Type: T}}",
            "Resources.A.Properties.X: nothing of this name can be referred to here: `B.Arm`",
        ),
        (
            "Resources: {A: {Type: T, Properties: {X: !Sub '${B'}}}",
            "Resources.A.Properties.X: expected a closing brace for each `${`",
        ),
        (
            "Resources: {A: {Type: T, Properties: {X: !If [No, 1, 2]}}}",
            "Resources.A.Properties.X: nothing of this name can be referred to here: `No`",
        ),
        ("Resources: {A: {Properties: {}}}", "Resources.A: expected a Type"),
        (
            "Parameters: {P: {Type: String}}\nResources: {}",
            "parameter `P` has no default and no value in [parameters] of infra/xtask/local.toml",
        ),
        (
            "Resources: {A: {Type: T, Properties: {X: !Ref B}}, B: {Type: T, DependsOn: A}}",
            "these resources refer to each other in a circle: A -> B",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn a_local_value_for_a_parameter_the_template_lacks_is_an_error() {
    let error =
        Template::parse("Resources: {}", |_, _| None, &["Stage".to_owned()]).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("infra/xtask/local.toml sets a parameter the template does not have: `Stage`"));
}

#[test]
fn the_projects_own_template_and_local_values_fit_together() {
    use crate::local::{Addresses, Settings};
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let address = || "http://127.0.0.1:1".to_owned();
    let addresses = Addresses { sandbox: address(), smtp_port: "1".to_owned(), aws: address(), api: address() };
    let settings = Settings::read(&own.join("local.toml"), &addresses).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<String> = settings.parameters.keys().cloned().collect();
    let template =
        Template::read(&own.join("../../template.yaml"), |name, default| settings.parameter(name, default), &names);
    let template = template.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(template.scope.parameter("Stage"), Some(&json!("local")));
    assert!(template.resources.iter().any(|resource| resource.kind == FUNCTION && resource.binary().is_ok()));
}
