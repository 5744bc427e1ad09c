//! A stage of the layer in an account: what `infra/env/<stage>.toml` says, and what is wrong with it.
//!
//! [`check`] asks the code itself: the template is settled with the stage's parameters, and each function reads the
//! variables it would be given, with the very code that reads them when it starts. So whatever would keep a function from
//! starting is told here, all of it at once, and before anything is built. [`plan`] says how the stage is deployed; the
//! work is the AWS tools' own.
//!
//! Compiled with the feature `stages` only, because it links every function, and `cargo up` should not wait for that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use address::providers::{juso, kakao};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use email::providers::{sendgrid, smtp};
use ieum::api::Route;
use ieum::auth::{Access, IeumSecret};
use ieum::clock::{Clock, SystemClock, Timestamp};
use ieum::config::{Asked, Env, Reader};
use ieum::secrets::SecretShape;
use payment_webhook::providers::{iamport, kakaopay, portone, stripe, toss};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sms::providers::{solapi, twilio};
use verify::providers::{nice, nts};

use crate::template::{Attributes, FUNCTION, Resource, Scope, Template, TemplateError};

/// The stages that have a file.
pub const STAGES: [&str; 3] = ["dev", "staging", "production"];

/// What stands in the template for a digest of the stage's parameters. SAM makes a version of a function when its text changes,
/// and of a variable that refers to a parameter the text stays the same.
pub const SETTINGS: &str = "@settings@";

/// A stage as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Where it is deployed.
    pub stack: Stack,
    /// The values of the template's parameters.
    pub parameters: BTreeMap<String, String>,
}

/// A stack of CloudFormation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// Everything wrong with a stage, one sentence each. No value of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s)\n- {}", self.0.len(), self.0.join("\n- "))
    }
}

impl std::error::Error for Mistakes {}

/// What a program asks of its environment, and what it finds wrong there.
pub type Judge = fn(&Env) -> (Vec<Asked>, Vec<String>);

fn judge<C>(env: &Env, read: fn(&Reader<'_>) -> Option<C>) -> (Vec<Asked>, Vec<String>) {
    let reader = Reader::new(env);
    let config = read(&reader);
    let asked = reader.asked();
    (asked, reader.finish(config).err().map(|mistakes| mistakes.0).unwrap_or_default())
}

/// A program: the name of its binary, its routes, and what its configuration says of an environment.
pub type Program = (&'static str, fn() -> Vec<Routed>, Judge);

/// A route: its method, its path, and the scope it asks for; `None` when it is public.
pub type Routed = (String, String, Option<&'static str>);

fn routes<A>(routes: &[Route<A>]) -> Vec<Routed> {
    let scope = |access: &Access| match access {
        Access::Scope(scope) => Some(*scope),
        Access::Public => None,
    };
    routes.iter().map(|route| (route.method.to_owned(), route.path.to_owned(), scope(&route.access))).collect()
}

/// The programs. A new function has one line here; the contract tests go by it too.
pub const PROGRAMS: &[Program] = &[
    ("verify", || routes(&verify::handler::ROUTES), |env| judge(env, verify::Config::read)),
    ("address", || routes(&address::handler::ROUTES), |env| judge(env, address::Config::read)),
    ("email", || routes(&email::handler::ROUTES), |env| judge(env, email::Config::read)),
    ("sms", || routes(&sms::handler::ROUTES), |env| judge(env, sms::Config::read)),
    ("payment-webhook", || routes(&payment_webhook::handler::ROUTES), |env| judge(env, payment_webhook::Config::read)),
    ("s3-thumbnail", Vec::new, |env| judge(env, s3_thumbnail::Config::read)),
    ("health-cron", Vec::new, |env| judge(env, health_cron::Config::read)),
    ("console", || routes(&console::handler::ROUTES), |env| judge(env, console::Config::read)),
];

/// What is wrong with the value of a secret.
type Shape = fn(&Value) -> Vec<String>;

/// The secrets, by the variables that name them.
const SECRETS: [(&str, Shape); 15] = [
    ("IEUM_SECRET", own),
    ("NICE_SECRET", shape::<nice::NiceSecret>),
    ("NTS_SECRET", shape::<nts::NtsSecret>),
    ("JUSO_SECRET", shape::<juso::JusoSecret>),
    ("KAKAO_SECRET", shape::<kakao::KakaoSecret>),
    ("TWILIO_SECRET", shape::<twilio::TwilioSecret>),
    ("SOLAPI_SECRET", shape::<solapi::SolapiSecret>),
    ("EMAIL_SECRET", shape::<email::composer::EmailSecret>),
    ("SENDGRID_SECRET", shape::<sendgrid::SendGridSecret>),
    ("SMTP_SECRET", shape::<smtp::SmtpSecret>),
    ("TOSS_SECRET", shape::<toss::TossSecret>),
    ("PORTONE_SECRET", shape::<portone::PortOneSecret>),
    ("IAMPORT_SECRET", shape::<iamport::IamportSecret>),
    ("STRIPE_SECRET", shape::<stripe::StripeSecret>),
    ("KAKAOPAY_SECRET", shape::<kakaopay::KakaoPaySecret>),
];

/// The parser's own words are left out: they quote what it found, and that is a secret.
fn shape<T: SecretShape>(value: &Value) -> Vec<String> {
    let members = value.as_object().into_iter().flat_map(|members| members.keys());
    let strangers = members.filter(|member| !T::MEMBERS.contains(&member.as_str()));
    let mut mistakes: Vec<String> = strangers.map(|member| format!("has an unknown member `{member}`")).collect();
    if T::deserialize(value).is_err() {
        mistakes.push(format!("has not the form of its members `{}`", T::MEMBERS.join("`, `")));
    }
    mistakes.extend(blanks(value, ""));
    mistakes
}

/// The members that are empty or have spaces around them, as text that was pasted often has: both are read, and refused by others.
fn blanks(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => vec![format!("has nothing in `{at}`")],
        Value::String(text) if text.trim() != text => vec![format!("has spaces around `{at}`")],
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, inner)| blanks(inner, &if at.is_empty() { name.clone() } else { format!("{at}.{name}") }))
            .collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(place, inner)| blanks(inner, &format!("{at}[{place}]"))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// What the layer's own secret says beyond its form: without these a function does not start, or a caller never enters.
fn own(value: &Value) -> Vec<String> {
    let mut mistakes = shape::<IeumSecret>(value);
    let cache_key = value["cache_key"].as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    if cache_key.is_none_or(|key| key.len() < 16) {
        mistakes.push("has a `cache_key` that is not base64 of at least 16 bytes".to_owned());
    }
    let scopes: BTreeSet<&str> =
        PROGRAMS.iter().flat_map(|(_, routes, _)| routes()).filter_map(|(_, _, scope)| scope).collect();
    let (mut ids, now) = (BTreeMap::<&str, u32>::new(), SystemClock.now());
    for key in value["api_keys"].as_array().into_iter().flatten() {
        let id = key["id"].as_str().unwrap_or_default();
        *ids.entry(id).or_default() += 1;
        if key["not_after"].as_str().and_then(Timestamp::parse_rfc3339).is_some_and(|until| until <= now) {
            mistakes.push(format!("has a key of `{id}` whose time is over"));
        }
        for scope in key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if scope != "*" && !scopes.contains(scope) {
                mistakes.push(format!("gives `{id}` the scope `{scope}`, which no route asks for"));
            }
        }
    }
    let many = ids.into_iter().filter(|(_, keys)| *keys > 2);
    mistakes.extend(many.map(|(id, keys)| format!("has {keys} keys of `{id}`: two are live at once")));
    for issuer in value["jwt_issuers"].as_array().into_iter().flatten() {
        let name = issuer["issuer"].as_str().unwrap_or_default();
        for key in issuer["jwks"]["keys"].as_array().into_iter().flatten() {
            let known = matches!(key["alg"].as_str(), Some("HS256" | "RS256" | "ES256"));
            if !known || !key["kid"].is_string() {
                mistakes.push(format!(
                    "has a key of `{name}` without `kid`, or with another `alg` than HS256, RS256, ES256"
                ));
            }
        }
    }
    mistakes
}

/// Reads the stage `name` of the repository at `root` and says everything that is wrong with it; with the file `secrets`
/// (`{"nice": {…}, …}`, by the last parts of their names) also with the secrets' values.
///
/// # Errors
/// All [`Mistakes`].
pub fn check(root: &Path, name: &str, secrets: Option<&Path>) -> Result<Stage, Mistakes> {
    if !STAGES.contains(&name) {
        let known = STAGES.join("`, `");
        return Err(Mistakes(vec![format!("there is no stage `{name}`: expected one of `{known}`")]));
    }
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
    };
    let (mut mistakes, file) = (Vec::new(), |name: &str| PathBuf::from(format!("infra/env/{name}.toml")));
    let mut noted = |mistake: String| mistakes.push(mistake);
    let parse = |name: &str| {
        let text = read(&root.join(file(name)))?;
        toml::from_str::<Stage>(&text)
            .map_err(|error| format!("`{}` is malformed: {}", file(name).display(), error.to_string().trim_end()))
    };
    let stage = parse(name).map_err(&mut noted).ok();
    let secrets = secrets.and_then(|path| {
        let parse = |text: String| {
            serde_json::from_str::<Value>(&text)
                .map_err(|error| format!("`{}` is no JSON: line {}", path.display(), error.line()))
        };
        read(path).and_then(parse).map_err(&mut noted).ok()
    });
    let template = read(&root.join("template.yaml")).map_err(&mut noted).ok();
    if let Some(stage) = &stage {
        let others = STAGES.iter().filter(|other| **other != name);
        let same = others.filter(|other| parse(other).is_ok_and(|other| other.stack.name == stage.stack.name));
        mistakes
            .extend(same.map(|other| format!("`stack.name` is `{}`, which is that of `{other}`", stage.stack.name)));
        mistakes.extend(stack(&stage.stack));
        if let Some(template) = &template {
            mistakes.extend(judged(template, name, stage, secrets.as_ref()));
        }
    }
    match stage.filter(|_| mistakes.is_empty()) {
        Some(stage) => Ok(stage),
        None => Err(Mistakes(mistakes)),
    }
}

/// What is wrong with a stack, as CloudFormation would say after everything was built.
fn stack(stack: &Stack) -> Vec<String> {
    let Stack { name, region } = stack;
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let parts: Vec<&str> = region.split('-').collect();
    let (number, words) = parts.split_last().unwrap_or((&"", &[]));
    let is_region = words.len() >= 2 && words.iter().all(|part| word(part)) && number.parse::<u8>().is_ok();
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_name = name.len() <= 128 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(letters);
    let mut mistakes = Vec::new();
    if !is_name {
        mistakes
            .push(format!("`stack.name` is `{name}`: expected a letter, then letters, digits and `-`, 128 at most"));
    }
    if !is_region {
        mistakes.push(format!("`stack.region` is `{region}`: expected a region such as `ap-northeast-2`"));
    }
    mistakes
}

/// Everything wrong with `stage` for this template.
fn judged(template: &str, name: &str, stage: &Stage, secrets: Option<&Value>) -> Vec<String> {
    let mut mistakes = match parameters(template, name, stage) {
        Ok(mistakes) => mistakes,
        Err(error) => return vec![error.to_string()],
    };
    match functions(template, name, stage) {
        Ok(found) => {
            mistakes.extend(found.mistakes);
            if let Some(values) = secrets {
                mistakes.extend(found.secrets.iter().flat_map(|(suffix, shape)| match values.get(suffix) {
                    Some(value) => {
                        shape(value).into_iter().map(|what| format!("the secret `{suffix}` {what}")).collect()
                    }
                    None => vec![format!("the secret `{suffix}` has no value")],
                }));
                let given = values.as_object().into_iter().flat_map(|values| values.keys());
                let strangers = given.filter(|given| !found.names.contains(*given));
                mistakes.extend(strangers.map(|given| format!("`{given}` is no secret of template.yaml")));
            }
        }
        Err(error) => mistakes.push(error.to_string()),
    }
    mistakes
}

/// What is wrong with the parameters themselves.
fn parameters(template: &str, name: &str, stage: &Stage) -> Result<Vec<String>, TemplateError> {
    let declared = Template::declared(template)?;
    let mut mistakes = Vec::new();
    if stage.parameters.contains_key("Stage") {
        mistakes.push(format!("`Stage` is set: it is `{name}`, after the name of the file"));
    }
    for parameter in stage.parameters.keys().filter(|parameter| !declared.contains_key(*parameter)) {
        mistakes.push(format!("`{parameter}` is no parameter of template.yaml"));
    }
    for (parameter, declaration) in declared.iter().filter(|(parameter, _)| *parameter != "Stage") {
        let default = declaration["Default"].as_str();
        let Some(value) = stage.parameters.get(parameter).map(String::as_str).or(default) else {
            mistakes.push(format!("`{parameter}` has no default and is not set"));
            continue;
        };
        let allowed: Vec<&str> =
            declaration["AllowedValues"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !allowed.is_empty() && !allowed.contains(&value) {
            mistakes.push(format!("`{parameter}` is `{value}`: expected one of `{}`", allowed.join("`, `")));
        }
        // The domains that RFC 2606 keeps for examples, and Korea's like them.
        let example = [".example.", "//example.", "@example."].iter().any(|part| value.contains(part));
        if name == "production" && example {
            mistakes.push(format!("`{parameter}` is `{value}`: an example"));
        }
    }
    Ok(mistakes)
}

/// What the functions of a stage find wrong, and the secrets they read: the last part of each name, and its shape.
struct Found {
    mistakes: BTreeSet<String>,
    secrets: BTreeMap<String, Shape>,
    /// The last part of the name of each secret that there is.
    names: BTreeSet<String>,
}

fn functions(template: &str, name: &str, stage: &Stage) -> Result<Found, TemplateError> {
    // What is not set has been told already, as the parameter that it is.
    let value = |parameter: &str, default: Option<&str>| match parameter {
        "Stage" => Some(name.to_owned()),
        parameter => {
            Some(stage.parameters.get(parameter).map_or(default.unwrap_or_default(), String::as_str).to_owned())
        }
    };
    let mut template = Template::parse(template, value, &[])?;
    for resource in &template.resources {
        let named = named(resource, &template.scope)?;
        template.scope.add(&resource.id, named);
    }
    let mut found = Found { mistakes: BTreeSet::new(), secrets: BTreeMap::new(), names: BTreeSet::new() };
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    for secret in template.resources.iter().filter(|resource| resource.kind == "AWS::SecretsManager::Secret") {
        let name = template.scope.resolve(&secret.properties["Name"], &secret.place())?;
        found.names.extend(name.as_str().map(last));
    }
    for function in template.resources.iter().filter(|resource| resource.kind == FUNCTION) {
        let (place, binary) = (function.place(), function.binary()?);
        let told = template.scope.resolve(&function.properties["Environment"]["Variables"], &place)?;
        let told = told.as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let env = told.fold(Env::default(), |env, (variable, value)| env.with(variable, &text(value)));
        let Some((_, _, judge)) = PROGRAMS.iter().find(|(program, ..)| *program == binary) else {
            found.mistakes.insert(format!("{}: nobody knows the program `{binary}`", function.id));
            continue;
        };
        let (asked, mistakes) = judge(&env);
        found.mistakes.extend(mistakes.into_iter().map(|mistake| format!("{binary}: {mistake}")));
        for (variable, shape) in SECRETS {
            if let Some(secret) = env.get(variable).filter(|_| asked.iter().any(|asked| asked.name == variable)) {
                found.secrets.insert(last(secret), shape);
            }
        }
    }
    Ok(found)
}

/// What can be said of a resource before it exists: its name, where the template gives it one.
fn named(resource: &Resource, scope: &Scope) -> Result<Attributes, TemplateError> {
    let name = match resource.kind.as_str() {
        "AWS::SecretsManager::Secret" => scope.resolve(&resource.properties["Name"], &resource.place())?,
        _ => Value::Null,
    };
    let name = name.as_str().unwrap_or(&resource.id).to_owned();
    let arn = format!("arn:aws:ieum:::{name}");
    Ok(Attributes::new(name.clone()).with("Arn", arn).with("QueueName", name))
}

/// One command of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub purpose: &'static str,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// How `stage` is deployed, and the file of parameters that goes with it: its path below the repository, and its content.
pub fn plan(name: &str, stage: &Stage) -> (Vec<Step>, (PathBuf, String)) {
    let overrides: Vec<String> = [("Stage".to_owned(), name.to_owned())]
        .into_iter()
        .chain(stage.parameters.clone())
        .map(|(parameter, value)| format!("{parameter}={value}"))
        .collect();
    let parameters = format!("target/deploy/{name}.json");
    let packaged = format!("target/deploy/{name}.yaml");
    let Stack { name: stack, region } = &stage.stack;
    let content = Value::from(overrides).to_string();
    let digest = hex::encode(Sha256::digest(&content).get(..8).unwrap_or_default());
    let step = |purpose, command: &str| Step { purpose, command: command.split(' ').map(str::to_owned).collect() };
    let steps = vec![
        step("build each function for Lambda", "sam build --beta-features"),
        step(
            "upload what was built",
            &format!("sam package --resolve-s3 --region {region} --output-template-file {packaged}"),
        ),
        step(
            "make a version of each function whose settings have changed",
            &format!("sed -i.bak s/{SETTINGS}/{digest}/ {packaged}"),
        ),
        step(
            "create or change the stack",
            &format!(
                "aws cloudformation deploy --stack-name {stack} --region {region} --template-file {packaged} \
                 --parameter-overrides file://{parameters} --no-fail-on-empty-changeset \
                 --capabilities CAPABILITY_IAM CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND"
            ),
        ),
    ];
    (steps, (PathBuf::from(parameters), content))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn template() -> String {
        std::fs::read_to_string(root().join("template.yaml")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn dev_and_staging_are_sound_with_the_secrets_of_the_sandbox() {
        for name in ["dev", "staging"] {
            assert!(check(&root(), name, None).is_ok_and(|stage| stage.stack.name == format!("ieum-{name}")), "{name}");
        }
        let given = std::fs::read_to_string(root().join("infra/xtask/secrets.json"));
        let mut values: Value = given.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        values["ieum"] = json!({"api_keys": [], "jwt_issuers": [], "cache_key": "MDEyMzQ1Njc4OWFiY2RlZg=="});
        let stage = check(&root(), "staging", None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(judged(&template(), "staging", &stage, Some(&values)), Vec::<String>::new());
    }

    #[test]
    fn production_lacks_what_only_its_operator_knows_and_nothing_else() {
        let mistakes = check(&root(), "production", None).err().unwrap_or(Mistakes(Vec::new())).0;
        let about = |word: &str| mistakes.iter().filter(|mistake| mistake.contains(word)).count();
        for parameter in ["NiceCompanyPath", "NiceSuccessCodes", "NiceSearchList", "NiceNotFoundCodes", "EmailFrom"] {
            assert_eq!(about(&format!("`{parameter}` has no default")), 1, "{mistakes:?}");
        }
        assert_eq!(about("`AllowedOrigins` is `https://portal.example.org`: an example"), 1, "{mistakes:?}");
        assert!(
            about("verify: `NICE_COMPANY_PATH` is missing") == 1 && about("sms: `SOLAPI_FROM`") == 1,
            "{mistakes:?}"
        );
        let known = ["Nice", "NICE_", "EmailFrom", "EMAIL_FROM", "AllowedOrigins", "SOLAPI_FROM"];
        let other: Vec<_> =
            mistakes.iter().filter(|mistake| !known.iter().any(|word| mistake.contains(word))).collect();
        assert_eq!(other, Vec::<&String>::new());
    }

    #[test]
    fn every_mistake_is_told_at_once_and_no_secret_with_it() {
        let mut stage = check(&root(), "staging", None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        for (parameter, value) in [
            ("Stage", "staging"),
            ("NoSuchThing", "1"),
            ("LogLevel", "loud"),
            ("SmsProviders", "sns,pigeon"),
            ("EmailFrom", "nobody"),
            ("PublicUrl", "http://api.staging.example.kr"),
        ] {
            stage.parameters.insert(parameter.to_owned(), value.to_owned());
        }
        let secrets = json!({
            "ieum": {"api_keys": "hunter2", "colour": "red"},
            "toss": {"secret_key": ["hunter3"]},
            "portone": {"api_secret": " hunter4 ", "webhook_secrets": [{"label": "a", "secret": ""}]},
            "tos": {},
        });
        let mistakes = judged(&template(), "staging", &stage, Some(&secrets));
        for part in [
            "`Stage` is set",
            "`NoSuchThing` is no parameter",
            "`LogLevel` is `loud`",
            "sms: `SMS_PROVIDERS` is `sns,pigeon`",
            "email: `EMAIL_FROM` is `nobody`",
            "email: `EMAIL_PUBLIC_URL` is",
            "`ieum` has an unknown member `colour`",
            "`ieum` has not the form",
            "`toss` has not the form",
            "`stripe` has no value",
            "`ieum` has a `cache_key` that is not base64",
            "`portone` has spaces around `api_secret`",
            "`portone` has nothing in `webhook_secrets[0].secret`",
            "`tos` is no secret of template.yaml",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part}: {mistakes:#?}");
        }
        assert!(!mistakes.iter().any(|mistake| mistake.contains("hunter")), "{mistakes:?}");
        assert!(!mistakes.iter().any(|mistake| mistake.contains("`nice`")), "nobody asks NICE there: {mistakes:?}");
    }

    #[test]
    fn a_key_that_would_never_let_anybody_in_is_told() {
        let key = |id: &str, scope: &str, until: &str| json!({"id": id, "label": id, "scopes": [scope], "not_after": until, "sha256": "0".repeat(64)});
        let jwk = |alg: &str| json!({"kty": "oct", "kid": "k", "alg": alg, "k": "a2V5"});
        let secret = |keys: Value, jwks: Value| {
            let issuers = json!([{"issuer": "https://login.example.kr", "audience": "ieum", "jwks": {"keys": jwks}}]);
            json!({"api_keys": keys, "jwt_issuers": issuers, "cache_key": "MDEyMzQ1Njc4OWFiY2RlZg=="})
        };
        let good = key("portal", "sms:send", "2099-01-01T00:00:00Z");
        assert_eq!(own(&secret(json!([good, good]), json!([jwk("HS256")]))), Vec::<String>::new());
        let keys = json!([
            good,
            good,
            good,
            key("a", "sms:sned", "2099-01-01T00:00:00Z"),
            key("b", "*", "2026-01-01T00:00:00Z")
        ]);
        let mistakes = own(&secret(keys, json!([jwk("HS512")])));
        for part in [
            "3 keys of `portal`",
            "`a` the scope `sms:sned`",
            "key of `b` whose time is over",
            "key of `https://login.example.kr`",
        ] {
            assert_eq!(mistakes.iter().filter(|mistake| mistake.contains(part)).count(), 1, "{part}: {mistakes:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_hide_nothing_else() {
        let nowhere = Path::new("/nowhere/secrets.json");
        let mistakes = check(&root(), "production", Some(nowhere)).err().unwrap_or(Mistakes(Vec::new())).0;
        assert!(mistakes.iter().any(|mistake| mistake.contains("cannot read `/nowhere/secrets.json`")), "{mistakes:?}");
        assert!(mistakes.iter().any(|mistake| mistake.contains("`EmailFrom` has no default")), "{mistakes:?}");
        let bad = Stack { name: "1 stack".to_owned(), region: "Seoul".to_owned() };
        assert_eq!(stack(&bad).len(), 2);
        assert_eq!(
            stack(&Stack { name: "ieum-dev".to_owned(), region: "us-gov-west-1".to_owned() }),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_plan_hands_every_parameter_to_the_stack_of_its_stage() {
        let stage = check(&root(), "dev", None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let (steps, (path, content)) = plan("dev", &stage);
        let overrides: Vec<String> = serde_json::from_str(&content).unwrap_or_default();
        assert!(overrides.contains(&"Stage=dev".to_owned()) && overrides.len() == stage.parameters.len() + 1);
        let last = steps.last().map(|step| step.command.join(" ")).unwrap_or_default();
        assert!(
            last.contains("--stack-name ieum-dev") && last.contains(&format!("file://{}", path.display())),
            "{last}"
        );
    }

    #[test]
    fn other_parameters_make_other_versions_and_the_same_ones_none() {
        let stage = check(&root(), "dev", None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let marked = |stage: &Stage| {
            let (steps, _) = plan("dev", stage);
            let mut marks = steps.into_iter().map(|step| step.command.join(" "));
            marks.find(|command| command.contains(SETTINGS)).unwrap_or_default()
        };
        let mut other = stage.clone();
        other.parameters.insert("LogLevel".to_owned(), "debug".to_owned());
        assert_eq!(marked(&stage), marked(&stage.clone()));
        assert!(marked(&stage) != marked(&other) && !marked(&stage).is_empty());
    }
}
