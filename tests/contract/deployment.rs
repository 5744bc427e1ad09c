//! What `template.yaml` must not allow, and must not leave out: permissions, encryption, retention.
//!
//! Each rule is a function from a template to its faults, so that a test can also break the template and see the rule
//! notice.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml_ng::Value as Yaml;

use super::{dead_letters, read, sources, template};

/// What is allowed for every resource, because nothing narrower exists.
const ANYWHERE: [(&str, &str); 1] = [("sns:Publish", "a phone number has no ARN")];

/// Each action, and the words in a program that need it; `""` is in every program, for the kernel needs it.
const NEEDED: [(&str, &[&str]); 23] = [
    ("dynamodb:GetItem", &[""]),
    ("dynamodb:UpdateItem", &[""]),
    ("dynamodb:BatchGetItem", &[".get_many(", "BatchIntegration", "Recipients"]),
    ("dynamodb:Query", &[".due(", ".listed(", "queue::sweep("]),
    ("dynamodb:Scan", &["dyn Whole"]),
    ("dynamodb:DescribeTable", &["dyn Whole"]),
    ("secretsmanager:GetSecretValue", &[""]),
    ("secretsmanager:DescribeSecret", &["describe_secret"]),
    ("s3:GetObject", &[".blobs()", ".s3()", "archive"]),
    ("s3:PutObject", &[".blobs()", ".s3()", "archive"]),
    ("s3:ListBucket", &[".blobs()", ".s3()", "archive"]),
    ("s3:AbortMultipartUpload", &["export"]),
    ("sqs:SendMessage", &[".queue(", ".sqs()"]),
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
        return Some(name);
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
    for (id, group) in of_type(template, "AWS::Logs::LogGroup") {
        let days = group["Properties"]["RetentionInDays"].as_u64();
        must(id, days.is_some_and(|days| (1..=30).contains(&days)), "lines are kept for more than 30 days");
    }
    for (id, table) in of_type(template, "AWS::DynamoDB::Table") {
        let table = &table["Properties"];
        must(id, table["SSESpecification"]["SSEEnabled"] == true, "it is not encrypted with a key of KMS");
        let point_in_time = &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
        must(id, *point_in_time == true, "it cannot be taken back to a point in time");
        must(id, table["TimeToLiveSpecification"]["Enabled"] == true, "nothing in it expires");
    }
    let policies: Vec<(&str, &Yaml)> = of_type(template, "AWS::S3::BucketPolicy").collect();
    for (id, bucket) in of_type(template, "AWS::S3::Bucket") {
        let bucket = &bucket["Properties"];
        let rules = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"];
        let algorithm = rules[0]["ServerSideEncryptionByDefault"]["SSEAlgorithm"].as_str();
        must(id, matches!(algorithm, Some("AES256" | "aws:kms")), "it is not encrypted");
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
            ("RetentionInDays: 7", "RetentionInDays: 365"),
            ("LogGroupName: !Sub /aws/lambda/${VerifyFunction}", "LogGroupName: !Sub /aws/lambda/verify"),
            ("SSEEnabled: true", "SSEEnabled: false"),
            ("PointInTimeRecoveryEnabled: true", "PointInTimeRecoveryEnabled: false"),
            ("SSEAlgorithm: AES256", "SSEAlgorithm: none"),
            ("RestrictPublicBuckets: true", "RestrictPublicBuckets: false"),
            ("BucketOwnerEnforced", "ObjectWriter"),
            ("{Status: Enabled}", "{Status: Suspended}"),
            ("NoncurrentDays: 30", "NoncurrentDays: never"),
            ("\"aws:SecureTransport\": \"false\"", "\"aws:SecureTransport\": \"true\""),
            ("DeletionPolicy: Retain", "DeletionPolicy: Delete"),
            ("Name: !Sub ieum/${Stage}/nice\n", "Name: !Sub ieum/${Stage}/nice\n      SecretString: hunter2\n"),
            ("ThrottlingRateLimit: 50", "ThrottlingRateLimit: none"),
            ("AllowOrigins: !Ref AllowedOrigins", "AllowOrigins: \"*\""),
        ],
    );
}

#[test]
fn whoever_is_told_of_an_alarm_finds_it_in_the_runbook() {
    let runbook = read("infra/runbook.md");
    let words: BTreeSet<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).flat_map(|heading| heading.split(' ')).collect();
    let template = template();
    let dead = of_type(&template, "AWS::SQS::Queue").filter_map(|(_, queue)| dead_letters(&queue["Properties"]));
    let dead: BTreeSet<String> = dead.map(|queue| format!("{queue}Alarm")).collect();
    assert_eq!(dead.iter().filter(|alarm| !words.contains(alarm.as_str())).collect::<Vec<_>>(), Vec::<&String>::new());
    for (id, _) in of_type(&template, "AWS::CloudWatch::Alarm") {
        assert!(words.iter().any(|word| word.ends_with("Alarm") && id.ends_with(word)), "{id}");
    }
}
