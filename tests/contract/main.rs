//! What several files say of the same thing, compared: template, code, watch configuration, documents, events.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod costs;
mod deployment;
mod openapi;
mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use health_cron::backups::{PLANS, Plan, READ_BACK_AFTER};
use ieum::config::Env;
use ieum::resilience::alert;
use ieum::resilience::health::{Finding, Reason};
use ieum::resilience::rollup::{Counts, Ending};
use ieum::runtime::{Event, Scheduled, Sweep};
use ieum::settings::Schema;
use serde_yaml_ng::Value as Yaml;
use xtask::stage::{PROGRAMS, Routed};

/// One deployed function, as its code describes itself.
struct Function {
    name: &'static str,
    /// Method, path, and the scope it asks for; `None` when it is public.
    routes: Vec<Routed>,
    /// Each variable it asks for, with its default; `None` when it is required.
    variables: BTreeMap<String, Option<String>>,
}

fn functions() -> Vec<Function> {
    let env = Env::from([
        ("STAGE", "dev"),
        ("TABLE_NAME", "t"),
        ("BUCKET_NAME", "b"),
        ("IEUM_SECRET", "s"),
        ("VERIFY_PROVIDERS", "nice,nts"),
        ("VERIFY_STATUS_PROVIDERS", "nts"),
        ("VERIFY_REPRESENTATIVE_PROVIDERS", "nts,nice"),
        ("ADDRESS_PROVIDERS", "juso,kakao"),
        ("SMS_PROVIDERS", "solapi,twilio,sns"),
        ("PAYMENT_PROVIDERS", "toss,portone,iamport,stripe,kakaopay"),
        ("EMAIL_PROVIDERS", "ses,sendgrid,smtp"),
        ("EMAIL_SERVICE", "custom"),
    ]);
    PROGRAMS
        .iter()
        .map(|(name, routes, judge)| {
            let (asked, _) = judge(&env);
            let variables = asked.into_iter().map(|asked| (asked.name, asked.default)).collect();
            Function { name, routes: routes(), variables }
        })
        .collect()
}

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn template() -> Yaml {
    serde_yaml_ng::from_str(&read("template.yaml")).expect("template.yaml is YAML")
}

/// The template's function whose binary is `name`.
fn in_template(template: &Yaml, name: &str) -> Yaml {
    let resources = template["Resources"].as_mapping().expect("resources");
    let found = resources.values().find(|resource| resource["Metadata"]["BuildProperties"]["Binary"] == name);
    found.unwrap_or_else(|| panic!("no function of template.yaml has the binary `{name}`")).clone()
}

#[test]
fn the_template_has_exactly_the_routes_of_the_code() {
    let template = template();
    for function in functions() {
        let events = in_template(&template, function.name)["Properties"]["Events"].clone();
        let text = |event: &Yaml, name: &str| event["Properties"][name].as_str().unwrap_or_default().to_owned();
        let events = events.as_mapping().expect("events").values().filter(|event| event["Type"] == "HttpApi");
        let described: BTreeSet<_> = events.map(|event| (text(event, "Method"), text(event, "Path"))).collect();
        let coded = function.routes.into_iter().map(|(method, path, _)| (method, path));
        assert_eq!(described, coded.collect(), "{}", function.name);
    }
}

#[test]
fn cargo_lambda_watch_serves_the_routes_of_the_template() {
    let manifest: toml::Value = toml::from_str(&read("Cargo.toml")).expect("Cargo.toml is TOML");
    let router = manifest["workspace"]["metadata"]["lambda"]["watch"]["router"].as_table().expect("a router");
    let watched: BTreeSet<(String, String)> = router
        .iter()
        .map(|(path, function)| (path.clone(), function.as_str().expect("one function per path").to_owned()))
        .collect();
    let described: BTreeSet<(String, String)> = functions()
        .into_iter()
        .flat_map(|function| function.routes.into_iter().map(move |(_, path, _)| (path, function.name.to_owned())))
        .collect();
    assert_eq!(watched, described);
}

#[test]
fn every_functions_readme_has_exactly_the_variables_of_its_code() {
    for function in functions() {
        let readme = read(&format!("functions/{}/README.md", function.name));
        let rows = readme.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let name = cells.next()?.strip_suffix('`')?;
            let default = cells.next()?;
            let is_variable =
                name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            is_variable.then(|| (name.to_owned(), default.trim_matches('`').to_owned()))
        });
        let documented: BTreeMap<String, String> = rows.collect();
        let asked: BTreeMap<String, String> = function
            .variables
            .into_iter()
            .map(|(name, default)| match default {
                None => (name, "required".to_owned()),
                Some(empty) if empty.is_empty() => (name, "optional".to_owned()),
                Some(default) => (name, default),
            })
            .collect();
        assert_eq!(documented, asked, "functions/{}/README.md", function.name);
    }
}

#[test]
fn the_template_sets_what_is_required_and_nothing_unknown() {
    let template = template();
    let names = |variables: &Yaml| -> BTreeSet<String> {
        let keys = variables.as_mapping().map(|variables| variables.keys().cloned().collect::<Vec<_>>());
        keys.unwrap_or_default().iter().filter_map(|key| key.as_str().map(str::to_owned)).collect()
    };
    let global = names(&template["Globals"]["Function"]["Environment"]["Variables"]);
    for function in functions() {
        let own = names(&in_template(&template, function.name)["Properties"]["Environment"]["Variables"]);
        let set: BTreeSet<String> = global.union(&own).cloned().collect();
        let known: BTreeSet<String> = function.variables.keys().cloned().collect();
        let required = function.variables.iter().filter(|(_, default)| default.is_none());
        let required: BTreeSet<String> = required.map(|(name, _)| name.clone()).collect();
        assert_eq!(set.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "{}: unknown", function.name);
        assert_eq!(required.difference(&set).collect::<Vec<_>>(), Vec::<&String>::new(), "{}: not set", function.name);
    }
}

#[test]
fn a_program_that_is_deployed_twice_is_told_the_same_both_times() {
    let template = template();
    let resources = template["Resources"].as_mapping().expect("resources");
    for function in functions() {
        let of_it = resources.values().filter(|one| one["Metadata"]["BuildProperties"]["Binary"] == function.name);
        let told: Vec<&Yaml> = of_it.map(|one| &one["Properties"]["Environment"]).collect();
        assert!(told.windows(2).all(|two| two[0] == two[1]), "{}", function.name);
    }
}

#[test]
fn the_console_offers_what_each_function_lets_change() {
    let words = |schema: &Schema| schema.settings().map(|(name, form)| (name.to_owned(), form)).collect::<Vec<_>>();
    let env = Env::from([
        ("STAGE", "local"),
        ("VERIFY_PROVIDERS", "mock"),
        ("VERIFY_STATUS_PROVIDERS", "mock"),
        ("VERIFY_REPRESENTATIVE_PROVIDERS", "mock"),
        ("ADDRESS_PROVIDERS", "mock"),
        ("ADDRESS_WIDGET_ORIGINS", "https://portal.example.org"),
        ("EMAIL_PROVIDERS", "mock"),
        ("EMAIL_FROM", "noreply@example.kr"),
        ("SMS_PROVIDERS", "mock"),
    ]);
    let verify = env.read(verify::Config::read).expect("a configuration").schema();
    let address = env.read(address::Config::read).expect("a configuration").schema();
    let email = env.read(email::Config::read).expect("a configuration").schema();
    let sms = env.read(sms::Config::read).expect("a configuration").schema();
    for of_function in [verify, address, email, sms] {
        let offered = console::integrations::schema(of_function.integration(), &["mock".to_owned()]);
        assert_eq!(words(&offered), words(&of_function));
    }
}

/// What a queue and its consumer must be, and are not, in `template`.
fn faults_of_queues(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let resources = template["Resources"].as_mapping().expect("resources");
    let of_kind = |kind: &'static str| {
        resources
            .iter()
            .filter(move |(_, resource)| resource["Type"] == kind)
            .map(|(id, resource)| (id.as_str().expect("a name").to_owned(), &resource["Properties"]))
    };
    let queues: BTreeMap<String, &Yaml> = of_kind("AWS::SQS::Queue").collect();
    let mut consumed = BTreeSet::new();
    for (id, function) in of_kind("AWS::Serverless::Function") {
        let limit = [&function["Timeout"], &template["Globals"]["Function"]["Timeout"]];
        let limit = limit.into_iter().find_map(Yaml::as_u64).expect("a function has a time limit");
        for event in function["Events"].as_mapping().into_iter().flat_map(|events| events.values()) {
            if event["Type"] != "SQS" {
                continue;
            }
            let source = &event["Properties"];
            let mut must = |holds: bool, what: &str| {
                if !holds {
                    faults.push(format!("{id}: {what}"));
                }
            };
            let reports = source["FunctionResponseTypes"]
                .as_sequence()
                .is_some_and(|types| types.iter().any(|kind| kind == "ReportBatchItemFailures"));
            must(reports, "a batch must not be all or nothing");
            let most = source["ScalingConfig"]["MaximumConcurrency"].as_u64();
            must(most.is_some_and(|most| (2..=1_000).contains(&most)), "no bound on the consumers of a queue");
            must(function.get("ReservedConcurrentExecutions").is_none(), "refused pollers would make dead letters");
            let name = arn_of(&source["Queue"]);
            let queue = name.as_ref().and_then(|name| queues.get(name));
            let visible = queue.and_then(|queue| queue["VisibilityTimeout"].as_u64()).unwrap_or(30);
            must(visible >= 6 * limit, "a wake-up is handed out again while it is worked on");
            consumed.extend(name);
        }
    }
    let dead: BTreeSet<String> = queues.values().filter_map(|queue| dead_letters(queue)).collect();
    for (id, queue) in &queues {
        let two_weeks = queue["MessageRetentionPeriod"] == 1_209_600;
        let once = dead.contains(id) != consumed.contains(id);
        let received = queue["RedrivePolicy"]["maxReceiveCount"] == 5;
        let known = dead_letters(queue).is_some_and(|target| target != *id && queues.contains_key(&target));
        for (holds, what) in [
            (once, "either a function consumes it, or it holds dead letters"),
            (dead.contains(id) || received && known, "after five receipts a wake-up is a dead letter"),
            (two_weeks, "what is dead is kept for two weeks"),
            (arn_of(&queue["KmsMasterKeyId"]).is_some(), "it is not encrypted with our key"),
        ] {
            if !holds {
                faults.push(format!("{id}: {what}"));
            }
        }
    }
    faults
}

/// The resource whose ARN this is.
fn arn_of(value: &Yaml) -> Option<String> {
    let Yaml::Tagged(tagged) = value else { return None };
    tagged.value.as_str()?.strip_suffix(".Arn").filter(|_| tagged.tag == "GetAtt").map(str::to_owned)
}

fn dead_letters(queue: &Yaml) -> Option<String> {
    arn_of(&queue["RedrivePolicy"]["deadLetterTargetArn"])
}

#[test]
fn a_queue_hands_each_wake_up_out_until_it_is_done_or_a_dead_letter() {
    assert_eq!(faults_of_queues(&template()), Vec::<String>::new());
    let page = read("CONTRIBUTING.md");
    let pattern =
        page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the pattern of a queue");
    let pattern = format!("Resources:\n{pattern}");
    let faults = |text: &str| faults_of_queues(&serde_yaml_ng::from_str(text).expect("YAML"));
    assert_eq!(faults(&pattern), Vec::<String>::new());
    for (good, bad) in [
        ("[ReportBatchItemFailures]", "[]"),
        ("{MaximumConcurrency: 5}", "{}"),
        ("Timeout: 60\n", "Timeout: 61\n"),
        ("Timeout: 60\n", "Timeout: 60\n      ReservedConcurrentExecutions: 5\n"),
        ("VisibilityTimeout: 360", "VisibilityTimeout: 359"),
        ("maxReceiveCount: 5", "maxReceiveCount: 1"),
        ("MessageRetentionPeriod: 1209600", "MessageRetentionPeriod: 345600"),
        ("KmsMasterKeyId: !GetAtt DataKey.Arn", "SqsManagedSseEnabled: true"),
        ("Type: SQS\n", "Type: SNS\n"),
        ("!GetAtt EmailDeadLetters.Arn", "!GetAtt EmailQueue.Arn"),
        ("!GetAtt EmailDeadLetters.Arn", "!GetAtt Elsewhere.Arn"),
    ] {
        let broken = pattern.replacen(good, bad, 1);
        assert!(broken != pattern && !faults(&broken).is_empty(), "`{bad}` goes unnoticed");
    }
}

/// The queues in which buckets announce their objects, as the buckets describe them.
fn announced(template: &Yaml) -> Vec<Yaml> {
    let resources = template["Resources"].as_mapping().expect("resources").values();
    let buckets = resources.filter(|resource| resource["Type"] == "AWS::S3::Bucket");
    let queues = |bucket: &Yaml| bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"].clone();
    buckets.flat_map(|bucket| queues(bucket).as_sequence().cloned().unwrap_or_default()).collect()
}

#[test]
fn a_thumbnail_can_have_no_thumbnails() {
    let template = template();
    let variables = &in_template(&template, "s3-thumbnail")["Properties"]["Environment"]["Variables"];
    let prefix = |name: &str| variables[name].as_str().expect("a prefix").to_owned();
    let (source, target) = (prefix("THUMBNAIL_SOURCE_PREFIX"), prefix("THUMBNAIL_TARGET_PREFIX"));
    assert!(!source.starts_with(&target) && !target.starts_with(&source));
    let of_pictures = |queue: &Yaml| arn_of(&queue["Queue"]).as_deref() == Some("ThumbnailQueue");
    let announced: Vec<Yaml> = announced(&template).into_iter().filter(of_pictures).collect();
    assert_eq!(announced.len(), 1, "one bucket announces its pictures");
    let rules = announced[0]["Filter"]["S3Key"]["Rules"].as_sequence().expect("rules");
    assert_eq!((rules.len(), &rules[0]["Name"], &rules[0]["Value"]), (1, &"prefix".into(), &source.into()));
    // What is written lies where nothing is announced.
    let written =
        serde_yaml_ng::to_string(&in_template(&template, "s3-thumbnail")["Properties"]["Policies"]).expect("YAML");
    let put = written
        .split("Action: s3:PutObject")
        .nth(1)
        .and_then(|rest| rest.split("Effect").next())
        .expect("a permission");
    assert!(put.contains(&format!("/{target}*")), "{put}");
    assert_eq!(written.matches("s3:PutObject").count(), 1);
}

#[test]
fn every_queue_is_swept_each_minute_by_somebody_who_may_send_to_it() {
    let template = template();
    let resources = template["Resources"].as_mapping().expect("resources").values();
    let mut sources: Vec<Yaml> = Vec::new();
    for function in resources.filter(|resource| resource["Type"] == "AWS::Serverless::Function") {
        let events = function["Properties"]["Events"].as_mapping().expect("events").values();
        sources.extend(events.filter(|event| event["Type"] == "SQS").map(|event| event["Properties"]["Queue"].clone()));
    }
    // What S3 has announced is on no list.
    let announced: Vec<String> = announced(&template).iter().filter_map(|queue| arn_of(&queue["Queue"])).collect();
    let consumed: BTreeSet<String> =
        sources.iter().filter_map(arn_of).filter(|queue| !announced.contains(queue)).collect();
    let cron = in_template(&template, "health-cron")["Properties"].clone();
    let schedule = &cron["Events"]["Sweep"]["Properties"];
    assert_eq!(schedule["ScheduleExpression"], "rate(1 minute)");
    let Yaml::Tagged(input) = &schedule["Input"] else { panic!("the input is no `!Sub`") };
    let input = input.value.as_str().expect("text");
    let event = input.replace("${", "https://");
    let Event::Scheduled(Scheduled::Sweep(lists)) = Event::read(&event).expect("an event of a schedule") else {
        panic!("the schedule sweeps nothing");
    };
    let named =
        |sweep: &Sweep| sweep.queue.strip_prefix("https://").and_then(|name| name.strip_suffix('}')).map(str::to_owned);
    let swept: BTreeSet<String> = lists.iter().map(|sweep| named(sweep).expect("a queue of this template")).collect();
    assert_eq!(swept, consumed);
    let names: BTreeSet<&str> = lists.iter().map(|sweep| sweep.list.as_str()).collect();
    assert_eq!(names.len(), lists.len(), "each list once: a queue may have several");
    let statements = cron["Policies"][0]["Statement"].as_sequence().expect("statements");
    let sends = statements.iter().find(|statement| statement["Action"] == "sqs:SendMessage");
    let allowed: BTreeSet<String> =
        sends.and_then(|sends| sends["Resource"].as_sequence()).into_iter().flatten().filter_map(arn_of).collect();
    assert_eq!(allowed, consumed);
}

#[test]
fn a_browser_may_read_every_header_that_we_send() {
    let exposed = template()["Resources"]["Api"]["Properties"]["CorsConfiguration"]["ExposeHeaders"].clone();
    let exposed: Vec<String> = serde_yaml_ng::from_value(exposed).expect("a list");
    for header in ["age", "retry-after", "x-ieum-source", "x-trace-id"] {
        assert!(exposed.iter().any(|name| name == header), "{header}");
    }
}

#[test]
fn there_is_one_tls_stack_in_the_lock_file() {
    let lock = read("Cargo.lock");
    for package in ["aws-lc-sys", "aws-lc-rs", "openssl", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{package}\"\n")), "{package}");
    }
}

#[test]
fn only_the_files_that_may_do_so_read_the_environment_build_expressions_or_make_error_responses() {
    for (needle, allowed) in [
        ("std::env::var", &["shared/src/config.rs"][..]),
        ("Env::of_process()", &["functions/*/src/main.rs"]),
        (".set_condition_expression(", &["shared/src/store/dynamodb.rs"]),
        ("#[serde(rename = \"traceId\")]", &["shared/src/error.rs"]),
    ] {
        for (path, text) in sources() {
            let may = allowed.iter().any(|pattern| match pattern.split_once('*') {
                Some((before, after)) => path.starts_with(before) && path.ends_with(after),
                None => path == *pattern,
            });
            assert!(may || !text.contains(needle), "`{needle}` in {path}");
        }
    }
}

#[test]
fn the_decisions_are_pure() {
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("shared/src/resilience")) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for impure in ["async ", ".await", "Instant", "SystemTime", "aws::", "tokio", "fastrand", "SharedClock"] {
            assert!(!code.contains(impure), "`{impure}` in {path}");
        }
    }
}

/// The sources of the kernel and of the functions, by path.
fn sources() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("shared/src"), root.join("functions")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").display().to_string();
                sources.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(sources.len() > 30, "the sources were found");
    sources
}

/// Resources of a kind by logical id, without intrinsic functions' help.
fn of_kind<'t>(template: &'t Yaml, kind: &str) -> BTreeMap<&'t str, &'t Yaml> {
    let resources = template["Resources"].as_mapping().expect("resources").iter();
    let found = resources.filter(|(_, resource)| resource["Type"] == kind);
    found.map(|(id, resource)| (id.as_str().expect("a name"), &resource["Properties"])).collect()
}

/// The integrations that health-cron asks about, as the template has it.
fn checked_integrations(template: &Yaml) -> Vec<(String, String)> {
    let cron = in_template(template, "health-cron")["Properties"].clone();
    let Yaml::Tagged(input) = &cron["Events"]["Check"]["Properties"]["Input"] else { panic!("the input is no `!Sub`") };
    let text = input.value.as_str().expect("text").replace("${PaidProbes}", "false");
    let Event::Scheduled(Scheduled::Check(check)) = Event::read(&text).expect("an event") else {
        panic!("the schedule checks nothing");
    };
    assert!(!check.paid);
    let function = |asked: &str| asked.trim_start_matches("${").trim_end_matches(".Alias}").to_owned();
    check.functions.iter().map(|asked| (asked.integration.clone(), function(&asked.function))).collect()
}

#[test]
fn every_function_with_providers_is_checked_every_five_minutes() {
    let template = template();
    let cron = in_template(&template, "health-cron")["Properties"].clone();
    assert_eq!(cron["Events"]["Check"]["Properties"]["ScheduleExpression"], "rate(5 minutes)");
    assert_eq!(ieum::resilience::health::PERIOD.as_secs(), 5 * 60);
    let checked = checked_integrations(&template);
    // What the console shows is what is looked at.
    let shown = in_template(&template, "console")["Properties"]["Environment"]["Variables"]["CONSOLE_INTEGRATIONS"]
        .as_str()
        .expect("pairs")
        .split(',')
        .filter_map(|pair| pair.split('/').next().map(str::to_owned))
        .collect::<BTreeSet<_>>();
    assert_eq!(checked.iter().map(|(integration, _)| integration.clone()).collect::<BTreeSet<_>>(), shown);
    let statements = cron["Policies"][0]["Statement"].as_sequence().expect("statements");
    let invokes = statements.iter().find(|statement| statement["Action"] == "lambda:InvokeFunction");
    let alias_of = |value: &Yaml| {
        let Yaml::Tagged(tagged) = value else { return None };
        tagged.value.as_str()?.strip_suffix(".Alias").map(str::to_owned)
    };
    let allowed: BTreeSet<String> =
        invokes.and_then(|one| one["Resource"].as_sequence()).into_iter().flatten().filter_map(alias_of).collect();
    assert_eq!(checked.into_iter().map(|(_, function)| function).collect::<BTreeSet<_>>(), allowed);
}

/// The alarm of `properties` in the form of the rule: its metrics of `integration`, and its expressions.
fn alarm_in_template(properties: &Yaml, integration: &str) -> (Vec<[String; 3]>, Vec<(String, String)>) {
    let (mut metrics, mut expressions) = (Vec::new(), Vec::new());
    let entries = properties["Metrics"].as_sequence().expect("metrics");
    let text = |value: &Yaml| value.as_str().expect("text").to_owned();
    for (place, entry) in entries.iter().enumerate() {
        assert_eq!(entry["ReturnData"], place == entries.len() - 1, "the last one is the alarm's");
        if let Some(expression) = entry["Expression"].as_str() {
            expressions.push((text(&entry["Id"]), expression.to_owned()));
            continue;
        }
        let (stat, metric) = (&entry["MetricStat"], &entry["MetricStat"]["Metric"]);
        let filed = (&metric["Namespace"], &metric["Dimensions"][0]["Name"], &metric["Dimensions"][0]["Value"]);
        let namespace = ieum::telemetry::NAMESPACE.into();
        assert_eq!(filed, (&namespace, &"integration".into(), &integration.into()));
        assert_eq!(stat["Period"], alert::WINDOW.as_secs());
        metrics.push([text(&entry["Id"]), text(&metric["MetricName"]), text(&stat["Stat"])]);
    }
    (metrics, expressions)
}

#[test]
fn the_alarms_of_each_integration_are_the_rule_of_the_kernel() {
    let template = template();
    let found = of_kind(&template, "AWS::CloudWatch::Alarm");
    for (integration, _) in checked_integrations(&template) {
        for alarm in alert::alarms() {
            let capital = |text: &str| text[..1].to_uppercase() + &text[1..];
            let id = format!("{}{}Alarm", capital(&integration), capital(alarm.name));
            let properties = found.get(id.as_str()).unwrap_or_else(|| panic!("there is no {id}"));
            let metrics = alarm.metrics.iter().map(|one| [one.id, one.name, one.stat].map(str::to_owned)).collect();
            let expressions = alarm.expressions.iter().map(|(id, text)| ((*id).to_owned(), text.clone())).collect();
            assert_eq!(alarm_in_template(properties, &integration), (metrics, expressions), "{id}");
            for metric in &alarm.metrics {
                assert!(ieum::telemetry::METRICS.iter().any(|(name, _)| *name == metric.name), "{}", metric.name);
            }
            assert_eq!(properties["EvaluationPeriods"], 1, "{id}");
            assert_eq!(
                (&properties["Threshold"], &properties["TreatMissingData"]),
                (&1.into(), &"notBreaching".into())
            );
            assert_eq!(properties["ComparisonOperator"], "GreaterThanOrEqualToThreshold");
        }
    }
    for (id, properties) in &found {
        for to in ["AlarmActions", "OKActions"] {
            let Yaml::Tagged(topic) = &properties[to][0] else { panic!("{id}: {to}") };
            assert_eq!(topic.value, "AlertTopic", "{id}");
        }
    }
}

#[test]
fn dead_letters_and_missed_runs_are_alarmed() {
    let template = template();
    let found = of_kind(&template, "AWS::CloudWatch::Alarm");
    let queues = of_kind(&template, "AWS::SQS::Queue");
    for queue in queues.values().filter_map(|queue| dead_letters(queue)) {
        let alarm = found.get(format!("{queue}Alarm").as_str()).unwrap_or_else(|| panic!("nobody hears of {queue}"));
        let Yaml::Tagged(name) = &alarm["Dimensions"][0]["Value"] else { panic!("no queue") };
        assert_eq!(name.value, format!("{queue}.QueueName"));
        assert_eq!((&alarm["Threshold"], &alarm["ComparisonOperator"]), (&0.into(), &"GreaterThanThreshold".into()));
    }
    let backup = found["BackupMissedAlarm"];
    assert_eq!((&backup["MetricName"], &backup["TreatMissingData"]), (&"backup_run".into(), &"breaching".into()));
    assert_eq!(backup["Dimensions"][0]["Value"], health_cron::backups::PLANS[0].of);
    assert_eq!((&backup["Period"], &backup["EvaluationPeriods"]), (&3_600.into(), &26.into()));
    // An alarm looks back a week at most: the age of what is made each week comes with each check.
    let hours = 60 * 60;
    let kinds = [("Missed", "backup_age_seconds"), ("Unread", "backup_read_age_seconds")];
    for (Plan { of, calendar, .. }, (kind, metric)) in
        PLANS.into_iter().flat_map(|plan| kinds.map(|kind| (plan, kind))).skip(1)
    {
        let (often, seconds) = if calendar.sundays { ("Weekly", (7 * 24 + 2) * hours) } else { ("", 26 * hours) };
        let what = if of.starts_with("files/") { "Files" } else { "" };
        let id = format!("{often}{what}Backup{kind}Alarm");
        let alarm = found.get(id.as_str()).unwrap_or_else(|| panic!("there is no {id}"));
        assert_eq!((&alarm["MetricName"], &alarm["Dimensions"][0]["Value"]), (&metric.into(), &of.into()), "{id}");
        assert_eq!((&alarm["Threshold"], &alarm["Statistic"]), (&seconds.into(), &"Maximum".into()), "{id}");
        assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold", "{id}");
        // Whoever tells it tells it more often than this looks.
        assert!(alarm["Period"].as_u64() > Some(ieum::resilience::health::PERIOD.as_secs()), "{id}");
    }
    for (id, alarm) in &found {
        let span =
            alarm["Period"].as_u64().zip(alarm["EvaluationPeriods"].as_u64()).map(|(period, times)| period * times);
        assert!(
            span.is_none_or(|span| span <= 7 * 24 * hours),
            "{id}: CloudWatch takes no alarm over more than a week"
        );
    }
    let alarm = found["HealthRunMissedAlarm"];
    assert_eq!((&alarm["MetricName"], &alarm["TreatMissingData"]), (&"health_run".into(), &"breaching".into()));
    let waited =
        alarm["Period"].as_u64().zip(alarm["EvaluationPeriods"].as_u64()).map(|(period, times)| period * times);
    assert_eq!(waited, Some(ieum::resilience::health::FORGOTTEN.as_secs()));
}

/// As much of CloudWatch's metric math as the alarms use, evaluated at one point in time: numbers, names, `+`, `*`, `>`,
/// `>=`, `AND`, `IF(condition, then, otherwise)` and `FILL(metric, number)`. A metric without data is `None`.
struct MetricMath<'e> {
    words: Vec<&'e str>,
    at: usize,
    values: &'e BTreeMap<&'e str, Option<f64>>,
}

impl<'e> MetricMath<'e> {
    fn evaluate(expression: &'e str, values: &'e BTreeMap<&'e str, Option<f64>>) -> Option<f64> {
        let mut words = Vec::new();
        let mut rest = expression.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let long = if word(first) { rest.find(|c| !word(c)).unwrap_or(rest.len()) } else { 1 };
            let long = if rest.starts_with(">=") { 2 } else { long };
            words.push(&rest[..long]);
            rest = rest[long..].trim_start();
        }
        let mut this = Self { words, at: 0, values };
        let value = this.condition();
        assert_eq!(this.at, this.words.len(), "all of `{expression}` was read");
        value
    }

    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is);
        is
    }

    fn condition(&mut self) -> Option<f64> {
        let mut value = self.comparison();
        while self.next_is("AND") {
            let other = self.comparison();
            value = value.zip(other).map(|(one, other)| f64::from(one != 0.0 && other != 0.0));
        }
        value
    }

    fn comparison(&mut self) -> Option<f64> {
        let value = self.sum();
        if self.next_is(">=") {
            return value.zip(self.sum()).map(|(one, other)| f64::from(one >= other));
        }
        if self.next_is(">") {
            return value.zip(self.sum()).map(|(one, other)| f64::from(one > other));
        }
        value
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product();
        while self.next_is("+") {
            value = value.zip(self.product()).map(|(one, other)| one + other);
        }
        value
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.atom();
        while self.next_is("*") {
            value = value.zip(self.atom()).map(|(one, other)| one * other);
        }
        value
    }

    fn atom(&mut self) -> Option<f64> {
        let word = self.words[self.at];
        self.at += 1;
        if let Ok(number) = word.parse() {
            return Some(number);
        }
        if !self.next_is("(") {
            return *self.values.get(word).unwrap_or_else(|| panic!("nothing is called `{word}`"));
        }
        let mut arguments = vec![self.condition()];
        while self.next_is(",") {
            arguments.push(self.condition());
        }
        assert!(self.next_is(")"), "`{word}` is closed");
        match (word, &arguments[..]) {
            ("IF", [condition, then, otherwise]) => {
                (*condition).and_then(|it| if it != 0.0 { *then } else { *otherwise })
            }
            ("FILL", [value, filling]) => value.or(*filling),
            _ => panic!("`{word}` is not known here"),
        }
    }
}

/// Five minutes of an integration: answers by ending, and how long each took.
type Minutes = (&'static [(Ending, u32)], u64);

#[test]
fn cloudwatch_and_the_kernel_judge_the_same_series_alike() {
    use Ending::{Cached, Live, StoodIn, Unanswered};
    let series: [(Minutes, Option<&str>); 12] = [
        ((&[], 0), None),
        ((&[(Live, 1_000)], 20), None),
        ((&[(Unanswered, 4)], 20), None),
        ((&[(Unanswered, 5)], 20), Some("critical")),
        ((&[(Live, 45), (Unanswered, 5)], 20), Some("warning")),
        ((&[(Live, 44), (Unanswered, 5)], 20), Some("critical")),
        ((&[(Live, 44), (StoodIn, 3), (Unanswered, 2)], 20), Some("critical")),
        ((&[(Cached, 495), (Unanswered, 5)], 20), None),
        ((&[(Cached, 494), (Unanswered, 5)], 20), Some("warning")),
        ((&[(Live, 494), (StoodIn, 5)], 20), Some("warning")),
        ((&[(Live, 30)], 4_999), None),
        ((&[(Live, 30)], 5_000), Some("slow")),
    ];
    for ((endings, ms), expected) in series {
        let mut counts = Counts::default();
        for (ending, times) in endings {
            (0..*times).for_each(|_| counts.note(*ending, Duration::from_millis(ms)));
        }
        let by_kernel = match alert::judge(&counts) {
            Finding::Down(Reason::FailureRateCritical) => Some("critical"),
            Finding::Impaired(Reason::FailureRateRaised) => Some("warning"),
            Finding::Impaired(Reason::Slow) => Some("slow"),
            Finding::Well => None,
            other @ (Finding::Down(_) | Finding::Impaired(_) | Finding::Failing(_) | Finding::Unclear) => {
                panic!("{other:?}")
            }
        };
        assert_eq!(by_kernel, expected, "{endings:?}, {ms} ms");
        let called = counts.calls() > 0;
        let number = |count: u64| called.then(|| f64::from(u32::try_from(count).expect("few")));
        // A metric that no line has named has no data; a fallback writes one of three names.
        let metrics = BTreeMap::from([
            ("none", number(counts.ended(Unanswered))),
            ("stale", number(counts.ended(StoodIn))),
            ("manual", None),
            ("defaulted", None),
            ("answers", number(counts.calls())),
            ("p95", called.then(|| f64::from(u32::try_from(ms).expect("short")))),
        ]);
        let raised = alert::alarms().into_iter().filter(|alarm| {
            let mut values = metrics.clone();
            for (id, expression) in &alarm.expressions {
                let value = MetricMath::evaluate(expression, &values);
                values.insert(id, value);
            }
            values["raised"] == Some(1.0)
        });
        let raised: Vec<&str> = raised.map(|alarm| alarm.name).collect();
        // Whatever is critical is a warning too.
        let all = match expected {
            Some("critical") => vec!["critical", "warning"],
            other => other.into_iter().collect(),
        };
        assert_eq!(raised, all, "{endings:?}, {ms} ms");
    }
}

#[test]
fn backups_are_made_at_night_read_back_in_the_morning_and_kept_as_long_as_promised() {
    let template = template();
    let functions = of_kind(&template, "AWS::Serverless::Function");
    let mut schedules = BTreeMap::new();
    for event in functions["BackupFunction"]["Events"].as_mapping().expect("events").values() {
        let properties = &event["Properties"];
        assert_eq!(properties["ScheduleExpressionTimezone"], "Asia/Seoul");
        let text = |name: &str| properties[name].as_str().expect("text").to_owned();
        schedules.insert(text("Input"), text("ScheduleExpression"));
    }
    for Plan { of, calendar, .. } in PLANS {
        let days = if calendar.sundays { "? * SUN *" } else { "* * ? *" };
        for (doing, at) in [("backup", calendar.at), ("check_backup", calendar.at + READ_BACK_AFTER)] {
            let (hour, minute) = (at.as_secs() / 3_600, at.as_secs() % 3_600 / 60);
            let event = format!("{{\"{doing}\": {{\"of\": \"{of}\"}}}}");
            assert_eq!(schedules.remove(&event), Some(format!("cron({minute} {hour} {days})")), "{event}");
            assert!(Event::read(&event).is_ok(), "{event}");
        }
    }
    assert_eq!(schedules, BTreeMap::new(), "and nothing else");

    let buckets = of_kind(&template, "AWS::S3::Bucket");
    let rules = buckets["ArchiveBucket"]["LifecycleConfiguration"]["Rules"].as_sequence().expect("rules");
    let reused = ieum::backup::files::REUSED_FOR.as_secs() / (24 * 3_600);
    for (of, days) in [("table/daily", 30), ("table/weekly", 90), ("files/daily", 30 + reused), ("files/weekly", 90)] {
        let prefix = format!("{}/{of}/", ieum::backup::ARCHIVE);
        let rule = rules.iter().find(|rule| rule["Prefix"] == prefix.as_str()).expect("a rule");
        assert_eq!((&rule["Status"], &rule["ExpirationInDays"]), (&"Enabled".into(), &days.into()), "{of}");
        let class = rule["Transitions"][0]["StorageClass"].as_str().expect("a class");
        assert!(class.starts_with("GLACIER"), "{of}: {class}");
    }
}

#[test]
fn the_files_that_are_backed_up_are_those_that_may_be_read() {
    let template = template();
    let functions = of_kind(&template, "AWS::Serverless::Function");
    let properties = functions["BackupFunction"];
    let text = |value: &Yaml| {
        let Yaml::Tagged(tagged) = value else { panic!("no `!Sub`") };
        tagged.value.as_str().expect("text").to_owned()
    };
    let sources = text(&properties["Environment"]["Variables"]["BACKUP_FILES"]);
    let sources: BTreeSet<String> = sources.split(',').map(|source| source.replacen('}', ".Arn}", 1) + "*").collect();
    let statements = properties["Policies"][0]["Statement"].as_sequence().expect("statements");
    let read = statements.iter().find(|statement| statement["Action"] == "s3:GetObject").expect("leave to read");
    let allowed = read["Resource"].as_sequence().expect("resources").iter().map(text);
    assert_eq!(allowed.collect::<BTreeSet<_>>(), sources);
}

#[test]
fn every_secret_of_the_template_is_looked_at_each_day() {
    let template = template();
    let secrets: BTreeSet<String> =
        of_kind(&template, "AWS::SecretsManager::Secret").into_keys().map(str::to_owned).collect();
    let cron = in_template(&template, "health-cron")["Properties"].clone();
    let Yaml::Tagged(input) = &cron["Events"]["Secrets"]["Properties"]["Input"] else { panic!("no `!Sub`") };
    let event = input.value.as_str().expect("text");
    let Event::Scheduled(Scheduled::Secrets(names)) = Event::read(event).expect("an event") else {
        panic!("no secrets")
    };
    let named = |name: &String| name.trim_start_matches("${").trim_end_matches('}').to_owned();
    assert_eq!(names.iter().map(named).collect::<BTreeSet<_>>(), secrets);
    let statements = cron["Policies"][0]["Statement"].as_sequence().expect("statements");
    let describes = statements.iter().find(|one| one["Action"] == "secretsmanager:DescribeSecret").expect("leave");
    let referred = |one: &Yaml| {
        let Yaml::Tagged(tagged) = one else { return None };
        tagged.value.as_str().map(str::to_owned)
    };
    let allowed = describes["Resource"].as_sequence().into_iter().flatten().filter_map(referred);
    assert_eq!(allowed.collect::<BTreeSet<_>>(), secrets);
}
