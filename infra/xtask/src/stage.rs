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
use email::providers::{sendgrid, smtp};
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
type Judge = fn(&Env) -> (Vec<Asked>, Vec<String>);

fn judge<C>(env: &Env, read: fn(&Reader<'_>) -> Option<C>) -> (Vec<Asked>, Vec<String>) {
    let reader = Reader::new(env);
    let config = read(&reader);
    let asked = reader.asked();
    (asked, reader.finish(config).err().map(|mistakes| mistakes.0).unwrap_or_default())
}

/// The programs, by the names of their binaries.
const PROGRAMS: [(&str, Judge); 8] = [
    ("verify", |env| judge(env, verify::Config::read)),
    ("address", |env| judge(env, address::Config::read)),
    ("email", |env| judge(env, email::Config::read)),
    ("sms", |env| judge(env, sms::Config::read)),
    ("payment-webhook", |env| judge(env, payment_webhook::Config::read)),
    ("s3-thumbnail", |env| judge(env, s3_thumbnail::Config::read)),
    ("health-cron", |env| judge(env, health_cron::Config::read)),
    ("console", |env| judge(env, console::Config::read)),
];

/// What is wrong with the value of a secret.
type Shape = fn(&Value) -> Vec<String>;

/// The secrets, by the variables that name them.
const SECRETS: [(&str, Shape); 15] = [
    ("IEUM_SECRET", shape::<ieum::auth::IeumSecret>),
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
    mistakes
}

/// Reads the stage `name` of the repository at `root` and says everything that is wrong with it; with the file `secrets`
/// (`{"nice": {…}, …}`, by the last parts of their names) also with the secrets' values.
///
/// # Errors
/// All [`Mistakes`].
pub fn check(root: &Path, name: &str, secrets: Option<&Path>) -> Result<Stage, Mistakes> {
    let one = |mistake: String| Mistakes(vec![mistake]);
    if !STAGES.contains(&name) {
        return Err(one(format!("there is no stage `{name}`: expected one of `{}`", STAGES.join("`, `"))));
    }
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| one(format!("cannot read `{}`: {error}", path.display())))
    };
    let stage: Stage = toml::from_str(&read(root.join(format!("infra/env/{name}.toml")))?)
        .map_err(|error| one(format!("`infra/env/{name}.toml` is malformed: {}", error.to_string().trim_end())))?;
    let secrets = match secrets {
        Some(path) => Some(
            serde_json::from_str(&read(path.to_owned())?)
                .map_err(|error| one(format!("`{}` is no JSON: line {}", path.display(), error.line())))?,
        ),
        None => None,
    };
    let mistakes = judged(&read(root.join("template.yaml"))?, name, &stage, secrets.as_ref());
    if mistakes.is_empty() { Ok(stage) } else { Err(Mistakes(mistakes)) }
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
    let mut found = Found { mistakes: BTreeSet::new(), secrets: BTreeMap::new() };
    for function in template.resources.iter().filter(|resource| resource.kind == FUNCTION) {
        let (place, binary) = (function.place(), function.binary()?);
        let told = template.scope.resolve(&function.properties["Environment"]["Variables"], &place)?;
        let told = told.as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let env = told.fold(Env::default(), |env, (variable, value)| env.with(variable, &text(value)));
        let Some((_, judge)) = PROGRAMS.iter().find(|(program, _)| *program == binary) else {
            found.mistakes.insert(format!("{}: nobody knows the program `{binary}`", function.id));
            continue;
        };
        let (asked, mistakes) = judge(&env);
        found.mistakes.extend(mistakes.into_iter().map(|mistake| format!("{binary}: {mistake}")));
        for (variable, shape) in SECRETS {
            if let Some(secret) = env.get(variable).filter(|_| asked.iter().any(|asked| asked.name == variable)) {
                let suffix = secret.rsplit('/').next().unwrap_or(secret);
                found.secrets.insert(suffix.to_owned(), shape);
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
        let secrets = json!({"ieum": {"api_keys": "hunter2", "colour": "red"}, "toss": {"secret_key": ["hunter3"]}});
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
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part}: {mistakes:#?}");
        }
        assert!(!mistakes.iter().any(|mistake| mistake.contains("hunter")), "{mistakes:?}");
        assert!(!mistakes.iter().any(|mistake| mistake.contains("`nice`")), "nobody asks NICE there: {mistakes:?}");
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
