//! What `template.yaml` must not allow, and must not leave out: permissions, encryption, retention.
//!
//! Each rule is a function from a template to its faults, so that a test can also break the template and see the rule
//! notice.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml_ng::Value as Yaml;

use super::{read, sources, template};

/// What is allowed for every resource, because nothing narrower exists.
const ANYWHERE: [(&str, &str); 2] = [
    ("sns:Publish", "a phone number has no ARN"),
    ("secretsmanager:BatchGetSecretValue", "it knows no resource, and asks for GetSecretValue on each secret"),
];

/// Each action, and the words in a program that need it; `""` is in every program, for the kernel needs it.
const NEEDED: [(&str, &[&str]); 26] = [
    ("dynamodb:GetItem", &[""]),
    ("dynamodb:UpdateItem", &[""]),
    ("dynamodb:BatchGetItem", &[".get_many(", "BatchIntegration", "Recipients"]),
    ("dynamodb:Query", &[".due(", ".listed(", "queue::sweep("]),
    ("dynamodb:Scan", &["dyn Whole"]),
    ("dynamodb:DescribeTable", &["dyn Whole"]),
    ("secretsmanager:GetSecretValue", &[""]),
    ("secretsmanager:BatchGetSecretValue", &["kernel.secret("]),
    ("secretsmanager:DescribeSecret", &["secrets.describe("]),
    ("s3:GetObject", &[".blobs()", ".s3()", "archive"]),
    ("s3:PutObject", &[".blobs()", ".s3()", "archive"]),
    ("s3:ListBucket", &[".blobs()", ".s3()", "archive"]),
    ("s3:AbortMultipartUpload", &["export"]),
    ("sqs:SendMessage", &[".queue("]),
    ("sqs:ReceiveMessage", &[".redrive("]),
    ("sqs:DeleteMessage", &[".redrive("]),
    ("sqs:GetQueueAttributes", &[".depth("]),
    ("events:PutEvents", &[".events("]),
    ("sns:Publish", &["(\"Action\", \"Publish\")", "ALERT_TOPIC_ARN"]),
    ("ses:SendEmail", &["/v2/email/outbound-emails"]),
    ("ses:SendRawEmail", &["/v2/email/outbound-emails"]),
    ("lambda:InvokeFunction", &["lambda"]),
    ("dynamodb:ExportTableToPointInTime", &["export"]),
    ("dynamodb:DescribeExport", &["export"]),
    // For what exactly, `faults_of_key` says.
    ("kms:Decrypt", &[""]),
    ("kms:GenerateDataKey", &[""]),
];

/// The resources of `template` of a type, by name.
fn of_type<'t>(template: &'t Yaml, kind: &'t str) -> impl Iterator<Item = (&'t str, &'t Yaml)> {
    let resources = template["Resources"].as_mapping().expect("resources");
    let of_type = resources.iter().filter(move |(_, resource)| resource["Type"] == kind);
    of_type.map(|(id, resource)| (id.as_str().expect("a name"), resource))
}

/// One thing or several.
fn each(value: &Yaml) -> Vec<&Yaml> {
    match value {
        Yaml::Sequence(several) => several.iter().collect(),
        Yaml::Null => Vec::new(),
        Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => vec![value],
    }
}

/// The argument of `!tag`.
fn tagged<'y>(value: &'y Yaml, tag: &str) -> Option<&'y str> {
    let Yaml::Tagged(tagged) = value else { return None };
    tagged.value.as_str().filter(|_| tagged.tag == tag)
}

/// The resource of this template that a permission is for; `None` when that is none, or more than one part of it.
fn owner(resource: &Yaml) -> Option<&str> {
    if let Some(name) = tagged(resource, "Ref") {
        return Some(name.strip_suffix(".Alias").unwrap_or(name));
    }
    if let Some(attribute) = tagged(resource, "GetAtt") {
        return attribute.strip_suffix(".Arn");
    }
    let (name, below) = tagged(resource, "Sub")?.strip_prefix("${")?.split_once(".Arn}/")?;
    let part = below.strip_suffix("/*").unwrap_or(below);
    (!part.is_empty() && !part.contains('*')).then_some(name)
}

/// Whether it is an identity or a configuration set of this account, which SES knows by names.
fn of_ses(resource: &Yaml) -> bool {
    let Yaml::Tagged(tagged) = resource else { return false };
    let text = tagged.value.as_str().or_else(|| tagged.value[0].as_str());
    let below = text.and_then(|text| text.strip_prefix("arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:"));
    below.is_some_and(|below| !below.contains('*'))
}

/// Permissions that are wider than what needs them.
fn faults_of_permissions(template: &Yaml, programs: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    let resources = template["Resources"].as_mapping().expect("resources");
    for (id, function) in of_type(template, "AWS::Serverless::Function") {
        let program = &programs[function["Metadata"]["BuildProperties"]["Binary"].as_str().expect("a binary")];
        for policy in each(&function["Properties"]["Policies"]) {
            if policy["Statement"].is_null() {
                faults.push(format!("{id}: a policy that is not written out"));
            }
            for statement in each(&policy["Statement"]).into_iter().filter(|statement| statement["Effect"] == "Allow") {
                for action in each(&statement["Action"]).into_iter().filter_map(Yaml::as_str) {
                    let needs = NEEDED.iter().find(|(known, _)| *known == action).map(|(_, words)| *words);
                    if !needs.is_some_and(|words| words.iter().any(|word| program.contains(word))) {
                        faults.push(format!("{id}: `{action}` is needed by nothing in its program"));
                    }
                    let anywhere = ANYWHERE.iter().any(|(known, _)| *known == action);
                    for resource in each(&statement["Resource"]) {
                        let known = owner(resource).is_some_and(|name| resources.contains_key(name));
                        let by_name = action.starts_with("ses:") && of_ses(resource);
                        if !(known || by_name || anywhere && resource == "*") {
                            faults.push(format!("{id}: `{action}` for more than a resource of this template"));
                        }
                    }
                }
            }
        }
    }
    for (id, role) in of_type(template, "AWS::IAM::Role") {
        for policy in each(&role["Properties"]["Policies"]) {
            for statement in each(&policy["PolicyDocument"]["Statement"]) {
                let wide = |value: &Yaml| each(value).into_iter().any(|one| one == "*");
                let actions = each(&statement["Action"]).into_iter().filter_map(Yaml::as_str);
                if wide(&statement["Resource"]) || actions.into_iter().any(|action| action.contains('*')) {
                    faults.push(format!("{id}: everything is allowed"));
                }
            }
        }
    }
    for kind in ["AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"] {
        for (id, policy) in of_type(template, kind) {
            for statement in each(&policy["Properties"]["PolicyDocument"]["Statement"]) {
                let bound = statement["Principal"]["Service"].is_string() && statement["Condition"].is_mapping();
                if statement["Effect"] != "Deny" && !bound {
                    faults.push(format!("{id}: somebody else's account may use it"));
                }
            }
        }
    }
    faults
}

/// Functions that may read other secrets, or send to other queues, than those their variables name.
fn faults_of_names(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let kinds: BTreeMap<&str, &Yaml> = template["Resources"]
        .as_mapping()
        .expect("resources")
        .iter()
        .filter_map(|(id, resource)| Some((id.as_str()?, &resource["Type"])))
        .collect();
    for (id, function) in of_type(template, "AWS::Serverless::Function") {
        let global = &template["Globals"]["Function"]["Environment"]["Variables"];
        let own = &function["Properties"]["Environment"]["Variables"];
        let told: BTreeSet<&str> = [global, own]
            .into_iter()
            .filter_map(Yaml::as_mapping)
            .flat_map(|variables| variables.values().filter_map(|value| tagged(value, "Ref")))
            .collect();
        let allowed = |action: &str| -> BTreeSet<&str> {
            let policies = each(&function["Properties"]["Policies"]).into_iter();
            policies
                .flat_map(|policy| each(&policy["Statement"]))
                .filter(|statement| each(&statement["Action"]).into_iter().any(|one| one == action))
                .flat_map(|statement| each(&statement["Resource"]).into_iter().filter_map(owner))
                .collect()
        };
        let named = |kind: &str| -> BTreeSet<&str> {
            told.iter().copied().filter(|name| kinds.get(name).is_some_and(|of| **of == kind)).collect()
        };
        if allowed("secretsmanager:GetSecretValue") != named("AWS::SecretsManager::Secret") {
            faults.push(format!("{id}: the secrets it may read are not those its variables name"));
        }
        let at_once = each(&function["Properties"]["Policies"])
            .into_iter()
            .flat_map(|policy| each(&policy["Statement"]))
            .any(|statement| statement["Action"] == "secretsmanager:BatchGetSecretValue");
        if at_once != (named("AWS::SecretsManager::Secret").len() > 1) {
            faults.push(format!("{id}: whoever has several secrets reads them at once, and nobody else"));
        }
        // Whoever sweeps is told its queues by its schedule, which another test compares.
        let sends = allowed("sqs:SendMessage");
        if !named("AWS::SQS::Queue").is_empty() && !sends.is_subset(&named("AWS::SQS::Queue")) {
            faults.push(format!("{id}: it may send to a queue that no variable names"));
        }
    }
    faults
}

/// What is kept too long, lies open, or can be lost.
fn faults_of_keeping(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |id: &str, holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{id}: {what}"));
        }
    };
    let logged: Vec<String> = of_type(template, "AWS::Logs::LogGroup")
        .filter_map(|(_, group)| tagged(&group["Properties"]["LogGroupName"], "Sub").map(str::to_owned))
        .collect();
    for (id, _) in of_type(template, "AWS::Serverless::Function") {
        let group = format!("/aws/lambda/${{{id}}}");
        must(id, logged.contains(&group), "its log group has no retention");
    }
    // Lines of calls for a week, unless a stage says otherwise; how everything was, which health-cron says, for a season.
    for (id, group) in of_type(template, "AWS::Logs::LogGroup") {
        let name = tagged(&group["Properties"]["LogGroupName"], "Sub").unwrap_or_default();
        let writer = name.strip_prefix("/aws/lambda/${").and_then(|name| name.strip_suffix('}')).unwrap_or_default();
        let summary = template["Resources"][writer]["Metadata"]["BuildProperties"]["Binary"] == "health-cron";
        let (days, default, most) = if summary { ("SummaryLogDays", "90", 365) } else { ("LogDays", "7", 30) };
        let by = &template["Parameters"][days];
        let allowed = each(&by["AllowedValues"]).into_iter().filter_map(|days| days.as_str()?.parse::<u32>().ok());
        let bounded = allowed.fold(0, u32::max) == most && by["Default"] == default;
        must(id, tagged(&group["Properties"]["RetentionInDays"], "Ref") == Some(days), "lines of this kind go sooner");
        must(id, bounded, &format!("{days}: {default} days, and {most} at most"));
    }
    for (id, table) in of_type(template, "AWS::DynamoDB::Table") {
        let table = &table["Properties"];
        let point_in_time = &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
        must(id, *point_in_time == true, "it cannot be taken back to a point in time");
        must(id, table["TimeToLiveSpecification"]["Enabled"] == true, "nothing in it expires");
    }
    let policies: Vec<(&str, &Yaml)> = of_type(template, "AWS::S3::BucketPolicy").collect();
    for (id, bucket) in of_type(template, "AWS::S3::Bucket") {
        let bucket = &bucket["Properties"];
        let closed = ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"];
        let closed = closed.iter().all(|switch| bucket["PublicAccessBlockConfiguration"][switch] == true);
        must(id, closed, "it can be made public");
        let owned = bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"] == "BucketOwnerEnforced";
        must(id, owned, "who writes an object owns it");
        must(id, bucket["VersioningConfiguration"]["Status"] == "Enabled", "what is overwritten is gone");
        let rules = each(&bucket["LifecycleConfiguration"]["Rules"]);
        let cleared = |rule: &&Yaml| {
            rule["Prefix"] == ""
                && rule["Status"] == "Enabled"
                && rule["NoncurrentVersionExpiration"]["NoncurrentDays"].is_u64()
                && rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"].is_u64()
        };
        must(id, rules.iter().any(cleared), "old versions and broken uploads stay for ever");
        let own = policies.iter().find(|(_, policy)| tagged(&policy["Properties"]["Bucket"], "Ref") == Some(id));
        let over_tls = own.is_some_and(|(_, policy)| {
            each(&policy["Properties"]["PolicyDocument"]["Statement"]).into_iter().any(|statement| {
                statement["Effect"] == "Deny" && statement["Condition"]["Bool"]["aws:SecureTransport"] == "false"
            })
        });
        must(id, over_tls, "it can be read in the clear");
    }
    for (id, secret) in of_type(template, "AWS::SecretsManager::Secret") {
        must(id, secret["Properties"]["SecretString"].is_null(), "its value stands in the template");
    }
    for kind in ["AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"] {
        for (id, kept) in of_type(template, kind) {
            let retained = kept["DeletionPolicy"] == "Retain" && kept["UpdateReplacePolicy"] == "Retain";
            must(id, retained, "it goes with the stack");
        }
    }
    for (id, api) in of_type(template, "AWS::Serverless::HttpApi") {
        let throttled = &api["Properties"]["DefaultRouteSettings"];
        let bounds = ["ThrottlingBurstLimit", "ThrottlingRateLimit"];
        must(id, bounds.iter().all(|bound| throttled[bound].is_u64()), "anybody may call it as often as he likes");
        must(id, api["Properties"]["CorsConfiguration"]["AllowOrigins"] != "*", "every page may call it");
    }
    faults
}

/// The statements that allow a function something.
fn allowed(function: &Yaml) -> Vec<&Yaml> {
    let statements = each(&function["Properties"]["Policies"]).into_iter().flat_map(|one| each(&one["Statement"]));
    statements.filter(|statement| statement["Effect"] == "Allow").collect()
}

/// What is not encrypted with our one key, or may use it otherwise than for what it reads and writes.
fn faults_of_key(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |id: &str, holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{id}: {what}"));
        }
    };
    let keys: Vec<(&str, &Yaml)> = of_type(template, "AWS::KMS::Key").collect();
    let [(key, resource)] = keys[..] else { return vec!["there is not one key".to_owned()] };
    let ours = |value: &Yaml| tagged(value, "GetAtt").and_then(|of| of.strip_suffix(".Arn")) == Some(key);
    must(key, resource["Properties"]["EnableKeyRotation"] == true, "it never changes");
    must(key, resource["DeletionPolicy"] == "Retain", "with it everything that is kept would be lost");

    for (id, table) in of_type(template, "AWS::DynamoDB::Table") {
        let encrypted = &table["Properties"]["SSESpecification"];
        let by_kms = encrypted["SSEEnabled"] == true && encrypted["SSEType"] == "KMS";
        must(id, by_kms && ours(&encrypted["KMSMasterKeyId"]), "it is not encrypted with our key");
    }
    for (id, bucket) in of_type(template, "AWS::S3::Bucket") {
        let rule = &bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
        let default = &rule["ServerSideEncryptionByDefault"];
        let by_kms = default["SSEAlgorithm"] == "aws:kms" && ours(&default["KMSMasterKeyID"]);
        must(id, by_kms, "it is not encrypted with our key");
        must(id, rule["BucketKeyEnabled"] == true, "KMS is asked, and paid, for each object");
    }
    for (kind, property) in [
        ("AWS::SQS::Queue", "KmsMasterKeyId"),
        ("AWS::SNS::Topic", "KmsMasterKeyId"),
        ("AWS::SecretsManager::Secret", "KmsKeyId"),
    ] {
        for (id, kept) in of_type(template, kind) {
            must(id, ours(&kept["Properties"][property]), "it is not encrypted with our key");
        }
    }

    // Services that send on nobody's behalf: whom the policies of queues and topics name, and nobody else.
    let mut senders: BTreeSet<&str> = BTreeSet::new();
    for kind in ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"] {
        for (_, policy) in of_type(template, kind) {
            let statements = each(&policy["Properties"]["PolicyDocument"]["Statement"]).into_iter();
            senders.extend(statements.flat_map(|one| each(&one["Principal"]["Service"])).filter_map(Yaml::as_str));
        }
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for statement in each(&resource["Properties"]["KeyPolicy"]["Statement"]) {
        if let Some(account) = tagged(&statement["Principal"]["AWS"], "Sub") {
            must(key, account == "arn:${AWS::Partition}:iam::${AWS::AccountId}:root", "it is for somebody else");
            continue;
        }
        let services: Vec<&str> =
            each(&statement["Principal"]["Service"]).into_iter().filter_map(Yaml::as_str).collect();
        must(key, !services.is_empty(), "it is for everybody");
        named.extend(services);
        let actions: Vec<&str> = each(&statement["Action"]).into_iter().filter_map(Yaml::as_str).collect();
        must(key, actions == ["kms:Decrypt", "kms:GenerateDataKey*"], "whoever sends needs these two and no other");
    }
    must(key, named == senders, "those who may use it are not those who send");

    for (id, function) in of_type(template, "AWS::Serverless::Function") {
        let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
        for statement in allowed(function) {
            // A text goes to a phone number, which no key encrypts; secrets read at once are those read one by one.
            let kept = statement["Resource"] != "*";
            for action in each(&statement["Action"]).into_iter().filter_map(Yaml::as_str).filter(|_| kept) {
                let (service, doing) = action.split_once(':').expect("service and action");
                if matches!(doing, "SendMessage" | "Publish" | "PutObject") {
                    writes.insert(service);
                }
                let read = matches!(doing, "GetSecretValue" | "GetObject" | "ReceiveMessage");
                if read || service == "dynamodb" || writes.contains(service) {
                    reads.insert(service);
                }
            }
        }
        let events = function["Properties"]["Events"].as_mapping();
        if events.into_iter().flat_map(|events| events.values()).any(|event| event["Type"] == "SQS") {
            reads.insert("sqs");
        }
        for (action, needed) in [("kms:Decrypt", reads), ("kms:GenerateDataKey", writes)] {
            let through: BTreeSet<&str> = allowed(function)
                .into_iter()
                .filter(|statement| statement["Action"] == action && ours(&statement["Resource"]))
                .flat_map(|statement| each(&statement["Condition"]["StringEquals"]["kms:ViaService"]))
                .filter_map(|service| tagged(service, "Sub")?.strip_suffix(".${AWS::Region}.amazonaws.com"))
                .collect();
            must(id, through == needed, &format!("`{action}` is not for what it reads and writes: {needed:?}"));
        }
    }
    faults
}

/// Every text in `value` with the tag it has, if any, and the key under which it stands last.
fn texts<'y>(value: &'y Yaml, key: &'y str, found: &mut Vec<(&'y str, String, &'y str)>) {
    match value {
        Yaml::Mapping(entries) => {
            entries.iter().for_each(|(key, value)| texts(value, key.as_str().unwrap_or_default(), found));
        }
        Yaml::Sequence(items) => items.iter().for_each(|item| texts(item, key, found)),
        Yaml::Tagged(tagged) => match tagged.value.as_str() {
            Some(text) => found.push((key, tagged.tag.to_string(), text)),
            None => texts(&tagged.value, key, found),
        },
        Yaml::String(text) => found.push((key, String::new(), text)),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
    }
}

/// Versions that everybody gets at once, or that stay when they fail.
fn faults_of_rollout(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |id: &str, holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{id}: {what}"));
        }
    };
    let globals = &template["Globals"]["Function"];
    must("Globals", globals["AutoPublishAlias"] == "live", "there is no alias");
    must("Globals", globals["AutoPublishAliasAllProperties"] == true, "a changed variable would reach nobody");
    let settings = globals["Description"].as_str().is_some_and(|text| text.contains(xtask::stage::SETTINGS));
    must("Globals", settings, "a changed parameter would reach nobody");
    let by = tagged(&globals["DeploymentPreference"]["Type"], "Ref").map(|name| &template["Parameters"][name]);
    let step_by_step = by.and_then(|by| by["Default"].as_str()).is_some_and(|by| by.starts_with("Canary"));
    must("Globals", step_by_step, "a new version gets everybody's calls at once");

    let integrations = super::checked_integrations(template);
    let functions: BTreeMap<&str, &Yaml> = of_type(template, "AWS::Serverless::Function").collect();
    let alarms: BTreeMap<&str, &Yaml> = of_type(template, "AWS::CloudWatch::Alarm").collect();
    let program = |id: &str| functions.get(id).map(|function| &function["Metadata"]["BuildProperties"]["Binary"]);
    for (id, function) in &functions {
        let own = format!("{}ErrorsAlarm", id.trim_end_matches("Function"));
        let mut needed = BTreeSet::from([own.clone()]);
        needed.extend(integrations.iter().filter(|(_, of)| program(of) == program(id)).map(|(integration, _)| {
            let (first, rest) = integration.split_at(1);
            format!("{}{rest}CriticalAlarm", first.to_uppercase())
        }));
        let mut watched: BTreeSet<String> = BTreeSet::new();
        if let Yaml::Tagged(choice) = &function["Properties"]["DeploymentPreference"]["Alarms"]
            && choice.tag == "If"
            && choice.value[0] == "WatchesDeployments"
        {
            let alarms = each(&choice.value[1]).into_iter();
            watched.extend(alarms.filter_map(|alarm| tagged(alarm, "Ref").map(str::to_owned)));
        }
        must(id, watched == needed, &format!("not taken back by {needed:?}"));
        let alarm = alarms.get(own.as_str()).map_or(&Yaml::Null, |alarm| &alarm["Properties"]);
        let dimension = |name: &str| {
            let of = each(&alarm["Dimensions"]).into_iter().find(|dimension| dimension["Name"] == name);
            of.map_or(&Yaml::Null, |dimension| &dimension["Value"])
        };
        let of_alias = tagged(dimension("Resource"), "Sub").is_some_and(|name| name == format!("${{{id}}}:live"));
        must(id, tagged(dimension("FunctionName"), "Ref") == Some(*id) && of_alias, "its errors are not counted");
        let raised = alarm["Namespace"] == "AWS/Lambda" && alarm["MetricName"] == "Errors";
        let raised = raised && alarm["Period"] == 60 && alarm["DatapointsToAlarm"] == 1 && alarm["Threshold"] == 0;
        must(id, raised, "an error does not raise it before the canary is over");

        // Whoever calls it calls the alias; by its name alone, only its log and its alarms are found.
        let mut found = Vec::new();
        texts(&template["Resources"], "", &mut found);
        for (key, tag, text) in found {
            let called = match tag.trim_start_matches('!') {
                "GetAtt" => text.strip_prefix(*id).is_some_and(|rest| rest.starts_with('.')),
                "Ref" => text == *id && key != "Value",
                "Sub" => {
                    text.contains(&format!("${{{id}}}")) && !matches!(key, "LogGroupName" | "Value" | "DashboardBody")
                }
                _ => false,
            };
            must(id, !called, &format!("`{text}` calls whatever was deployed last"));
        }
    }
    faults
}

/// What a function runs on, and how far it and the API may go.
fn faults_of_running(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |id: &str, holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{id}: {what}"));
        }
    };
    let globals = &template["Globals"]["Function"];
    must("Globals", globals["Runtime"] == "provided.al2023", "not the runtime that the programs are built for");
    must("Globals", globals["Tracing"] == "Active", "no call can be followed in X-Ray");
    must("Globals", tagged(&globals["Architectures"][0], "Ref") == Some("Architecture"), "no choice of processor");
    let choice = &template["Parameters"]["Architecture"];
    let both = choice["AllowedValues"].as_sequence().is_some_and(|both| *both == ["arm64", "x86_64"]);
    must("Architecture", both && choice["Default"] == "arm64", "arm64, or x86_64 where somebody wants it");
    for (id, function) in of_type(template, "AWS::Serverless::Function") {
        for own in ["Runtime", "Architectures", "Tracing"] {
            must(id, function["Properties"][own].is_null(), &format!("`{own}` of its own"));
        }
    }
    let methods: BTreeSet<&str> = of_type(template, "AWS::Serverless::Function")
        .filter_map(|(_, function)| function["Properties"]["Events"].as_mapping())
        .flat_map(|events| events.values().filter_map(|event| event["Properties"]["Method"].as_str()))
        .collect();
    for (id, api) in of_type(template, "AWS::Serverless::HttpApi") {
        let cors = &api["Properties"]["CorsConfiguration"];
        let by_stage = tagged(&cors["AllowOrigins"], "Ref") == Some("AllowedOrigins");
        must(id, by_stage, "the pages that may call it are not the stage's to say");
        let may: BTreeSet<&str> = each(&cors["AllowMethods"]).into_iter().filter_map(Yaml::as_str).collect();
        must(id, methods.is_subset(&may), "a page may not use each of its methods");
        let sent: BTreeSet<&str> = each(&cors["AllowHeaders"]).into_iter().filter_map(Yaml::as_str).collect();
        let needed = ["authorization", "content-type", "idempotency-key", "x-api-key"];
        must(id, needed.iter().all(|header| sent.contains(header)), "a page may not send what its routes ask for");
    }
    let pictures = &template["Resources"]["PictureBucket"]["Properties"]["LifecycleConfiguration"]["Rules"];
    let archived = each(pictures).into_iter().any(|rule| {
        let step = &rule["Transitions"][0];
        let class = step["StorageClass"].as_str().is_some_and(|class| class.starts_with("GLACIER"));
        rule["Prefix"] == "upload/" && rule["Status"] == "Enabled" && step["TransitionInDays"] == 90 && class
    });
    must("PictureBucket", archived, "old pictures lie where they cost most");
    faults
}

/// Who is not told what all this costs.
fn faults_of_budget(template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told = BTreeSet::new();
    for (id, budget) in of_type(template, "AWS::Budgets::Budget") {
        let limit = &budget["Properties"]["Budget"];
        let amount = tagged(&limit["BudgetLimit"]["Amount"], "Ref");
        if amount != Some("MonthlyBudgetUsd") || limit["TimeUnit"] != "MONTHLY" || limit["BudgetType"] != "COST" {
            faults.push(format!("{id}: not what a stage may cost in a month"));
        }
        for one in each(&budget["Properties"]["NotificationsWithSubscribers"]) {
            let topic = tagged(&one["Subscribers"][0]["Address"], "Ref") == Some("AlertTopic");
            let kind = one["Notification"]["NotificationType"].as_str().unwrap_or_default();
            let at = one["Notification"]["Threshold"].as_u64().unwrap_or_default();
            told.extend((topic && at <= 100).then_some(kind));
        }
    }
    if told != BTreeSet::from(["ACTUAL", "FORECASTED"]) {
        faults.push("nobody hears of it in time".to_owned());
    }
    let may = of_type(template, "AWS::SNS::TopicPolicy")
        .filter(|(_, policy)| tagged(&policy["Properties"]["Topics"][0], "Ref") == Some("AlertTopic"))
        .flat_map(|(_, policy)| each(&policy["Properties"]["PolicyDocument"]["Statement"]))
        .filter_map(|statement| statement["Principal"]["Service"].as_str())
        .collect::<BTreeSet<_>>();
    if may != BTreeSet::from(["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]) {
        faults.push("alarms and the budget may not tell the topic".to_owned());
    }
    faults
}

/// A metric of ours, and the dimensions it is filed under.
type Filed = (&'static str, BTreeSet<&'static str>);

/// What `word` is among the names of metrics or dimensions.
fn known(word: &str) -> Option<&'static str> {
    let metrics = ieum::telemetry::METRICS.iter().map(|(name, _)| *name);
    metrics.chain(["integration", "provider"]).find(|name| *name == word)
}

/// The metrics that the programs write, as their sources say.
fn written() -> BTreeSet<Filed> {
    let mut written = BTreeSet::new();
    for (_, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // Each line that is a metric names the target, then its fields, then closes.
        for line in code.split("METRIC,").skip(1).filter_map(|rest| rest.split(");").next()) {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter_map(known);
            let (filed, metrics): (BTreeSet<_>, BTreeSet<_>) =
                words.partition(|word| matches!(*word, "integration" | "provider"));
            written.extend(metrics.into_iter().map(|metric| (metric, filed.clone())));
        }
    }
    written
}

/// What the dashboard leaves out, or shows although nobody writes it.
fn faults_of_dashboard(template: &Yaml) -> Vec<String> {
    let [(_, dashboard)] = of_type(template, "AWS::CloudWatch::Dashboard").collect::<Vec<_>>()[..] else {
        return vec!["there is not one dashboard".to_owned()];
    };
    let Ok(body) = serde_json::from_str::<serde_json::Value>(
        tagged(&dashboard["Properties"]["DashboardBody"], "Sub").unwrap_or_default(),
    ) else {
        return vec!["the dashboard is no JSON".to_owned()];
    };
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut faults = Vec::new();
    let (mut shown, mut alarms, mut areas) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for widget in list(&body["widgets"]) {
        areas.push(["x", "y", "width", "height"].map(|side| widget[side].as_u64().unwrap_or_default()));
        let properties = &widget["properties"];
        alarms.extend(list(&properties["alarms"]).iter().filter_map(|arn| arn.as_str().map(str::to_owned)));
        for metric in list(&properties["metrics"]) {
            let of_ours = match (metric["expression"].as_str(), metric[0].as_str()) {
                (Some(search), _) => search
                    .strip_prefix("SEARCH('{Ieum,")
                    .and_then(|search| search.split_once("} MetricName=\""))
                    .and_then(|(filed, rest)| Some((rest.split_once('"')?.0.to_owned(), filed.to_owned()))),
                (None, Some("Ieum")) => {
                    let text = |place: usize| metric[place].as_str().unwrap_or_default().to_owned();
                    Some((text(1), text(2)))
                }
                _ => None,
            };
            let Some((name, filed)) = of_ours else { continue };
            match known(&name) {
                Some(name) => {
                    shown.insert((name, filed.split(',').filter_map(known).collect::<BTreeSet<_>>()));
                }
                None => faults.push(format!("nobody writes `{name}`")),
            }
        }
    }
    let written = written();
    faults.extend(written.difference(&shown).map(|metric| format!("{metric:?} is not shown")));
    faults.extend(shown.difference(&written).map(|metric| format!("nobody writes {metric:?}")));
    for (id, _) in of_type(template, "AWS::CloudWatch::Alarm") {
        if !alarms.remove(&format!("${{{id}.Arn}}")) {
            faults.push(format!("{id} is not shown"));
        }
    }
    faults.extend(alarms.iter().map(|alarm| format!("there is no {alarm}")));
    for (place, [x, y, width, height]) in areas.iter().enumerate() {
        let beside = |[ox, oy, owidth, oheight]: &[u64; 4]| {
            x + width <= *ox || ox + owidth <= *x || y + height <= *oy || oy + oheight <= *y
        };
        if x + width > 24 || !areas.iter().skip(place + 1).all(beside) {
            faults.push(format!("the part at {x}, {y} lies over another"));
        }
    }
    faults
}

/// The sources of each function, without the kernel's.
fn programs() -> BTreeMap<String, String> {
    sources().into_iter().fold(BTreeMap::new(), |mut programs, (path, text)| {
        if let Some((function, _)) = path.strip_prefix("functions/").and_then(|path| path.split_once("/src/")) {
            programs.entry(function.to_owned()).or_insert_with(String::new).push_str(&text);
        }
        programs
    })
}

/// That `faults` finds none, but one whenever `good` becomes `bad`.
fn assert_noticed(faults: impl Fn(&Yaml) -> Vec<String>, changes: &[(&str, &str)]) {
    assert_eq!(faults(&template()), Vec::<String>::new());
    let text = read("template.yaml");
    for (good, bad) in changes {
        let broken = text.replacen(good, bad, 1);
        assert!(broken != text, "`{good}` is not in the template");
        let broken: Yaml = serde_yaml_ng::from_str(&broken).unwrap_or_else(|error| panic!("`{bad}`: {error}"));
        assert!(!faults(&broken).is_empty(), "`{bad}` goes unnoticed");
    }
}

#[test]
fn a_function_may_do_what_its_program_does_to_what_is_its_own() {
    let programs = programs();
    assert_noticed(
        |template| faults_of_permissions(template, &programs),
        &[
            ("Action: sqs:SendMessage", "Action: sqs:*"),
            ("Action: sqs:SendMessage", "Action: sqs:PurgeQueue"),
            ("[dynamodb:GetItem, dynamodb:UpdateItem]", "[dynamodb:GetItem, dynamodb:UpdateItem, dynamodb:Scan]"),
            ("[dynamodb:GetItem, dynamodb:UpdateItem]", "[dynamodb:GetItem, dynamodb:UpdateItem, dynamodb:Query]"),
            ("Resource: !GetAtt SmsQueue.Arn", "Resource: \"*\""),
            ("Resource: !GetAtt SmsQueue.Arn", "Resource: !GetAtt Elsewhere.Arn"),
            ("!Sub \"${Bucket.Arn}/message/*\"", "!Sub \"${Bucket.Arn}/*\""),
            ("Principal: {Service: s3.amazonaws.com}", "Principal: \"*\""),
            ("log-group:sns/*", "*\n              - {Effect: Allow, Action: logs:PutLogEvents, Resource: \"*\"}\n#"),
        ],
    );
}

#[test]
fn a_function_may_read_the_secrets_and_use_the_queues_that_it_is_told() {
    assert_noticed(
        faults_of_names,
        &[
            ("[!Ref IeumSecret, !Ref NiceSecret, !Ref NtsSecret]", "[!Ref IeumSecret, !Ref NiceSecret]"),
            ("[!Ref IeumSecret, !Ref JusoSecret,", "[!Ref IeumSecret, !Ref StripeSecret, !Ref JusoSecret,"),
            ("Resource: !GetAtt SmsQueue.Arn", "Resource: !GetAtt EmailQueue.Arn"),
        ],
    );
}

#[test]
fn what_is_kept_is_encrypted_closed_and_not_kept_for_ever() {
    assert_noticed(
        faults_of_keeping,
        &[
            ("RetentionInDays: !Ref LogDays", "RetentionInDays: 365"),
            ("RetentionInDays: !Ref LogDays", "RetentionInDays: !Ref SummaryLogDays"),
            ("RetentionInDays: !Ref SummaryLogDays", "RetentionInDays: !Ref LogDays"),
            ("\"14\", \"30\"]", "\"14\", \"30\", \"3653\"]"),
            ("Default: \"90\"", "Default: \"30\""),
            ("LogGroupName: !Sub /aws/lambda/${VerifyFunction}", "LogGroupName: !Sub /aws/lambda/verify"),
            ("PointInTimeRecoveryEnabled: true", "PointInTimeRecoveryEnabled: false"),
            ("RestrictPublicBuckets: true", "RestrictPublicBuckets: false"),
            ("BucketOwnerEnforced", "ObjectWriter"),
            ("{Status: Enabled}", "{Status: Suspended}"),
            ("NoncurrentDays: 30", "NoncurrentDays: never"),
            ("\"aws:SecureTransport\": \"false\"", "\"aws:SecureTransport\": \"true\""),
            ("AWS::DynamoDB::Table\n    DeletionPolicy: Retain", "AWS::DynamoDB::Table\n    DeletionPolicy: Delete"),
            ("Name: !Sub ieum/${Stage}/nice\n", "Name: !Sub ieum/${Stage}/nice\n      SecretString: hunter2\n"),
            ("ThrottlingRateLimit: 50", "ThrottlingRateLimit: none"),
            ("AllowOrigins: !Ref AllowedOrigins", "AllowOrigins: \"*\""),
        ],
    );
}

#[test]
fn everything_kept_is_encrypted_with_our_key_which_serves_each_for_what_is_its_own() {
    let via = |service: &str| format!("                    - !Sub {service}.${{AWS::Region}}.amazonaws.com\n");
    let table = via("dynamodb");
    let (both, another) = (table.clone() + &via("secretsmanager"), table.clone() + &via("kinesis"));
    assert_noticed(
        faults_of_key,
        &[
            ("EnableKeyRotation: true", "EnableKeyRotation: false"),
            ("AWS::KMS::Key\n    DeletionPolicy: Retain", "AWS::KMS::Key\n    DeletionPolicy: Delete"),
            ("SSEType: KMS, KMSMasterKeyId: !GetAtt DataKey.Arn", "SSEType: KMS"),
            ("{SSEAlgorithm: aws:kms, KMSMasterKeyID: !GetAtt DataKey.Arn}", "{SSEAlgorithm: AES256}"),
            ("BucketKeyEnabled: true", "BucketKeyEnabled: false"),
            ("KmsMasterKeyId: !GetAtt DataKey.Arn", "KmsMasterKeyId: alias/aws/sqs"),
            ("      KmsKeyId: !GetAtt DataKey.Arn\n", ""),
            ("mail-events\n      KmsMasterKeyId: !GetAtt DataKey.Arn\n", "mail-events\n"),
            ("iam::${AWS::AccountId}:root\"", "iam::123456789012:root\""),
            ("[kms:Decrypt, kms:GenerateDataKey*]", "kms:*"),
            ("[budgets.amazonaws.com, cloudwatch.amazonaws.com,", "[budgets.amazonaws.com,"),
            ("[budgets.amazonaws.com,", "[ec2.amazonaws.com, budgets.amazonaws.com,"),
            (both.as_str(), table.as_str()),
            (table.as_str(), another.as_str()),
            ("Action: kms:GenerateDataKey\n", "Action: kms:Encrypt\n"),
        ],
    );
}

#[test]
fn a_new_version_gets_a_tenth_of_the_calls_first_and_goes_when_its_alarms_are_raised() {
    assert_noticed(
        faults_of_rollout,
        &[
            ("AutoPublishAlias: live", "AutoPublishAlias: prod"),
            ("AutoPublishAliasAllProperties: true", "AutoPublishAliasAllProperties: false"),
            ("Description: settings @settings@", "Description: settings"),
            ("Default: Canary10Percent5Minutes", "Default: AllAtOnce"),
            ("DeploymentPreference: {Type: !Ref DeploymentType}", "DeploymentPreference: {Type: AllAtOnce}"),
            ("[!Ref VerifyErrorsAlarm, !Ref VerifyCriticalAlarm]", "[!Ref VerifyErrorsAlarm]"),
            ("[!Ref SmsWorkerErrorsAlarm, !Ref SmsCriticalAlarm]", "[!Ref SmsErrorsAlarm, !Ref SmsCriticalAlarm]"),
            ("{Alarms: !If [WatchesDeployments, [!Ref BackupErrorsAlarm], []]}", "{Enabled: true}"),
            ("!Sub \"${VerifyFunction}:live\"", "!Sub \"${VerifyFunction}:test\""),
            ("MetricName: Errors", "MetricName: Invocations"),
            ("Period: 60\n", "Period: 900\n"),
            ("${VerifyFunction.Alias}", "${VerifyFunction}"),
            ("!Ref VerifyFunction.Alias", "!GetAtt VerifyFunction.Arn"),
        ],
    );
}

#[test]
fn functions_run_traced_on_the_stages_processor_behind_an_api_for_its_pages() {
    assert_noticed(
        faults_of_running,
        &[
            ("Tracing: Active", "Tracing: PassThrough"),
            ("Architectures: [!Ref Architecture]", "Architectures: [x86_64]"),
            ("AllowedValues: [arm64, x86_64]", "AllowedValues: [arm64]"),
            ("Runtime: provided.al2023", "Runtime: provided.al2"),
            ("      Timeout: 900\n", "      Timeout: 900\n      Tracing: PassThrough\n"),
            ("AllowOrigins: !Ref AllowedOrigins", "AllowOrigins: [https://portal.example.org]"),
            ("AllowMethods: [GET, POST, PUT, PATCH, DELETE, OPTIONS]", "AllowMethods: [GET, POST, OPTIONS]"),
            ("AllowHeaders: [authorization, ", "AllowHeaders: ["),
            ("TransitionInDays: 90, StorageClass: GLACIER_IR", "TransitionInDays: 90, StorageClass: STANDARD_IA"),
            ("TransitionInDays: 90", "TransitionInDays: 900"),
        ],
    );
}

#[test]
fn each_program_has_a_name_of_its_own_and_is_deployed() {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../functions")).expect("a folder") {
        let folder = folder.expect("an entry");
        if folder.path().is_file() {
            continue;
        }
        let folder = folder.file_name().into_string().expect("a name");
        let manifest: toml::Value = toml::from_str(&read(&format!("functions/{folder}/Cargo.toml"))).expect("TOML");
        let bins = manifest.get("bin").and_then(|bins| bins.as_array().cloned()).unwrap_or_default();
        names.extend(bins.iter().filter_map(|bin| bin["name"].as_str().map(str::to_owned)));
        if bins.is_empty() {
            names.push(manifest["package"]["name"].as_str().expect("a name").to_owned());
        }
    }
    let template = template();
    let deployed = of_type(&template, "AWS::Serverless::Function")
        .filter_map(|(_, function)| function["Metadata"]["BuildProperties"]["Binary"].as_str().map(str::to_owned));
    let deployed: BTreeSet<String> = deployed.collect();
    assert_eq!((names.len(), names.into_iter().collect::<BTreeSet<_>>()), (deployed.len(), deployed));
}

#[test]
fn the_alert_topic_hears_of_costs_before_they_are_made() {
    assert_noticed(
        faults_of_budget,
        &[
            ("Amount: !Ref MonthlyBudgetUsd", "Amount: 1000000"),
            ("TimeUnit: MONTHLY", "TimeUnit: ANNUALLY"),
            ("NotificationType: FORECASTED", "NotificationType: ACTUAL"),
            ("GREATER_THAN, Threshold: 80", "GREATER_THAN, Threshold: 800"),
            ("SubscriptionType: SNS, Address: !Ref AlertTopic", "SubscriptionType: SNS, Address: !Ref Elsewhere"),
            (
                "            Principal: {Service: budgets.amazonaws.com}",
                "            Principal: {Service: ec2.amazonaws.com}",
            ),
        ],
    );
}

#[test]
fn the_dashboard_shows_every_metric_that_is_written_and_no_other() {
    let all: BTreeSet<&str> = written().into_iter().map(|(metric, _)| metric).collect();
    assert_eq!(all, ieum::telemetry::METRICS.iter().map(|(name, _)| *name).collect(), "each is written by somebody");
    assert_noticed(
        faults_of_dashboard,
        &[
            ("{Ieum,integration} MetricName=\\\"cache_miss\\\"", "{Ieum,integration} MetricName=\\\"cache_hit\\\""),
            ("{Ieum,integration,provider} MetricName=\\\"limited\\\"", "{Ieum,integration} MetricName=\\\"limited\\\""),
            ("MetricName=\\\"success\\\"", "MetricName=\\\"succes\\\""),
            ("[\"Ieum\", \"health_run\"", "[\"Ieum\", \"health_walk\""),
            ("\"${VerifyCriticalAlarm.Arn}\", ", ""),
            ("${VerifyCriticalAlarm.Arn}", "${NoSuchAlarm.Arn}"),
            ("\"x\": 8, \"y\": 4,", "\"x\": 7, \"y\": 4,"),
            ("{\"start\": \"-PT3H\",", "{\"start\": ,"),
        ],
    );
}

#[test]
fn who_changed_what_is_kept_for_a_year_and_is_in_every_backup() {
    use ieum::backup::Whole as _;
    use ieum::clock::Timestamp;
    use ieum::store::MemoryStore;
    let store = MemoryStore::new();
    let at = Timestamp::from_millis(1_800_000_000_000);
    let entry =
        ieum::audit::Entry { who: "key:op", what: "config.change", target: "verify", before: "null", after: "{}", at };
    let noted = async {
        ieum::audit::record(&store, entry).await.expect("a line");
        store.page(0, 1, None).await.expect("what is kept").items
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let kept = runtime.block_on(noted);
    let [(key, item)] = &kept[..] else { panic!("one item") };
    assert!(key.starts_with("audit#"), "{key}");
    assert_eq!(item.number("expires_at"), Some(1_800_000_000 + 365 * 24 * 60 * 60));
    assert!(!ieum::backup::VOLATILE.iter().any(|kind| "audit#".starts_with(kind)));
}

/// Alarms of which there are several alike, which share a section.
const ALIKE: [&str; 6] =
    ["CriticalAlarm", "WarningAlarm", "SlowAlarm", "ErrorsAlarm", "BackupMissedAlarm", "BackupUnreadAlarm"];

/// What the runbook does not say of the alarms in `template`, or says of none.
fn faults_of_runbook(template: &Yaml, runbook: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told: BTreeMap<&str, bool> = BTreeMap::new();
    for section in runbook.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        for name in heading.split(' ').filter(|word| word.ends_with("Alarm")) {
            told.insert(name, false);
            let whole = ["**Means:**", "**Look:**", "**Press:**"].iter().all(|part| body.contains(part))
                || body.contains("**Means:**") && body.contains("**Look and press:**");
            if !whole {
                faults.push(format!("{name}: what it means, where to look, what to press"));
            }
        }
    }
    for (id, _) in of_type(template, "AWS::CloudWatch::Alarm") {
        let kind = ALIKE.into_iter().find(|kind| id.ends_with(kind)).unwrap_or(id);
        match told.get_mut(kind) {
            Some(met) => *met = true,
            None => faults.push(format!("{id}: nobody knows what to do")),
        }
    }
    faults.extend(told.into_iter().filter(|(_, met)| !met).map(|(name, _)| format!("there is no {name}")));
    faults
}

#[test]
fn whoever_is_told_of_an_alarm_finds_it_in_the_runbook_and_nothing_else() {
    let runbook = read("infra/runbook.md");
    assert_noticed(
        |template| faults_of_runbook(template, &runbook),
        &[
            ("  WeeklyBackupUnreadAlarm:", "  BackupForgottenAlarm:"),
            ("  HealthRunMissedAlarm:", "  CheckMissedAlarm:"),
        ],
    );
    let template = template();
    for (good, bad) in [
        ("\n## BackupMissedAlarm", "\n## BackupLostAlarm"),
        ("\n## SlowAlarm", "\n## SlothAlarm"),
        ("\n## Budget", "\n## BudgetAlarm"),
        ("**Press:**", "**Hope:**"),
    ] {
        let broken = runbook.replacen(good, bad, 1);
        assert!(broken != runbook && !faults_of_runbook(&template, &broken).is_empty(), "`{bad}` goes unnoticed");
    }
}

#[test]
fn every_functions_readme_says_as_what_it_is_deployed_what_alarms_it_and_what_it_does_when_it_fails() {
    let template = template();
    let mut alarms: BTreeSet<String> =
        of_type(&template, "AWS::CloudWatch::Alarm").map(|(id, _)| id.to_owned()).collect();
    for folder in programs().into_keys() {
        let readme = read(&format!("functions/{folder}/README.md"));
        let operations = readme.split("\n## Operations\n").nth(1).unwrap_or_default();
        for row in ["| deployed as |", "| alarms |", "| when it fails |", "| to press |", "| a new version, and back |"]
        {
            assert!(operations.contains(row), "functions/{folder}/README.md: `{row}`");
        }
        for (id, function) in of_type(&template, "AWS::Serverless::Function") {
            if function["Metadata"]["BuildProperties"]["Binary"] == folder.as_str() {
                let name = tagged(&function["Properties"]["FunctionName"], "Sub").expect("a name");
                let name = format!("`{}`", name.replace("${Stage}", "STAGE"));
                assert!(operations.contains(&name), "functions/{folder}/README.md: {id} is {name}");
            }
        }
        for alarm in operations.split('`').filter(|word| word.ends_with("Alarm")) {
            assert!(alarms.remove(alarm), "functions/{folder}/README.md: there is no {alarm}, or it is another's");
        }
    }
    assert_eq!(alarms, BTreeSet::new(), "each alarm is somebody's");
}
