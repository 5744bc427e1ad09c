//! What is measured: commands, their environments, and the event they get.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ieum_bench::Fault;
use ieum_bench::aws::{Aws, SECRET_ARN};
use serde_json::{Value, json};

/// SHA-256 of `local-events-key`, the key of the files in `events/`.
const KEY_DIGEST: &str = "e894325f3b670e03dac876f3ef2dbd87b233c58e2726cdaf10eaee75695f80d9";

/// Everything that a measured process needs.
#[derive(Debug)]
pub(crate) struct Setup {
    root: PathBuf,
    scratch: PathBuf,
    aws: Aws,
}

/// A process to be measured.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    command: Vec<OsString>,
    folder: PathBuf,
    environment: BTreeMap<String, OsString>,
    /// What it writes to standard error.
    pub(crate) errors: PathBuf,
    /// What would be uploaded, and where that lies.
    pub(crate) upload: Vec<PathBuf>,
    pub(crate) upload_from: PathBuf,
}

impl Spec {
    /// Whether there is anything to run.
    fn is_built(&self) -> bool {
        self.command.first().is_some_and(|program| Path::new(program).exists())
    }

    /// The command, run by `wrapper`.
    pub(crate) fn command(&self, api: &str, wrapper: &[OsString]) -> Result<Command, Fault> {
        let mut words = wrapper.iter().chain(&self.command);
        let mut command = Command::new(words.next().ok_or("nothing to run")?);
        command.args(words).current_dir(&self.folder).env_clear().envs(&self.environment);
        command.env("AWS_LAMBDA_RUNTIME_API", api);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&self.errors)?);
        Ok(command)
    }
}

impl Setup {
    pub(crate) fn start(root: &Path, delay: Duration) -> Result<Self, Fault> {
        let root = root.canonicalize()?;
        let scratch = root.join("target/bench/lambda");
        fs::create_dir_all(&scratch)?;
        let mut secrets: HashMap<String, Value> =
            serde_json::from_slice(&fs::read(root.join("infra/xtask/secrets.json"))?)?;
        let key = json!({"id": "bench", "label": "bench", "scopes": ["*"], "not_after": "2999-12-31T23:59:59Z",
            "sha256": KEY_DIGEST});
        secrets.insert(
            "ieum".to_owned(),
            json!({"api_keys": [key], "jwt_issuers": [], "cache_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
        );
        let tables = [("ieum", "pk"), ("answers", "id"), ("breakers", "id")];
        let aws = Aws::start(Some(&scratch.join("tls")), 3, secrets, &tables, delay)?;
        Ok(Self { root, scratch, aws })
    }

    /// `GET /v1/companies/…` as API Gateway sends it, for the `number`th company.
    pub(crate) fn event(&self, number: usize) -> Vec<u8> {
        let text = fs::read_to_string(self.root.join("events/verify-company.json")).unwrap_or_default();
        // Nine digits and the check digit that makes them a business number.
        let digits = format!("{:09}", 123_450_000 + number);
        let weights = [1, 3, 7, 1, 3, 7, 1, 3, 5];
        let values: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(10)).collect();
        let sum: u32 = values.iter().zip(weights).map(|(digit, weight)| digit * weight).sum();
        let sum = sum + values.last().map_or(0, |last| last * 5 / 10);
        text.replace("1234567891", &format!("{digits}{}", (10 - sum % 10) % 10)).into_bytes()
    }

    /// `verify`, and what does the same on Node and on Python.
    pub(crate) fn same_work(&self) -> Vec<Spec> {
        let here = self.root.join("infra/bench/lambda");
        let (node, python) = (self.root.join("target/bench/node"), self.root.join("target/bench/python"));
        let mut specs = vec![self.ours("verify", "verify")];
        let mut ours = [
            ("VERIFY_PROVIDERS", "nts,nice"),
            ("VERIFY_STATUS_PROVIDERS", "nts"),
            ("VERIFY_REPRESENTATIVE_PROVIDERS", "nts"),
        ];
        specs[0].name = "ieum";
        for (name, value) in &mut ours {
            specs[0].environment.insert((*name).to_owned(), (*value).into());
        }
        specs.push(Spec {
            name: "Node 20",
            command: vec![
                "node".into(),
                node.join("node_modules/aws-lambda-ric/bin/index.mjs").into(),
                "handler.handler".into(),
            ],
            folder: node.clone(),
            environment: self.environment("verify", &[("NODE_EXTRA_CA_CERTS", &self.aws.ca_file)]),
            errors: self.scratch.join("node.log"),
            upload: vec!["handler.mjs".into(), "package.json".into(), "node_modules".into()],
            upload_from: node,
        });
        let packages = PathBuf::from("lib/python3.11/site-packages");
        specs.push(Spec {
            name: "Python 3.11",
            command: vec![
                python.join("bin/python").into(),
                "-m".into(),
                "awslambdaric".into(),
                "handler.handler".into(),
            ],
            folder: here.join("python"),
            environment: self
                .environment("verify", &[("SSL_CERT_FILE", &self.aws.ca_file), ("AWS_CA_BUNDLE", &self.aws.ca_file)]),
            errors: self.scratch.join("python.log"),
            upload: vec![packages],
            upload_from: python,
        });
        specs
    }

    /// Those of ours that are built, each with its providers as `infra/env/sandbox.env` has them, and AWS.
    pub(crate) fn all_functions(&self) -> Vec<Spec> {
        let all = ["verify", "address", "sms", "email", "payment-webhook", "s3-thumbnail", "console", "health-cron"];
        all.map(|name| self.ours(name, name)).into_iter().filter(|spec| spec.is_built()).collect()
    }

    fn ours(&self, name: &'static str, binary: &str) -> Spec {
        let release = self.root.join("target/release");
        Spec {
            name,
            command: vec![release.join(binary).into()],
            folder: self.scratch.clone(),
            environment: self.environment(name, &[("SSL_CERT_FILE", &self.aws.ca_file)]),
            errors: self.scratch.join(format!("{name}.log")),
            upload: vec![binary.into()],
            upload_from: release,
        }
    }

    /// The variables of a deployed function; the addresses and secrets of `sandbox.env` are those of [`Aws`].
    fn environment(&self, name: &str, more: &[(&str, &Path)]) -> BTreeMap<String, OsString> {
        let mut variables: BTreeMap<String, OsString> = BTreeMap::new();
        let text = fs::read_to_string(self.root.join("infra/env/sandbox.env")).unwrap_or_default();
        for (variable, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.replace("http://127.0.0.1:4600", &self.aws.urls[2]);
            let value = value.replace("http://127.0.0.1", "https://localhost");
            let value = value.replace("file:infra/xtask/secrets.json@", SECRET_ARN);
            variables.insert(variable.to_owned(), value.into());
        }
        let own: &[&str] = match name {
            "verify" => &["NICE", "NTS"],
            "address" => &["JUSO", "KAKAO"],
            "sms" => &["TWILIO", "SOLAPI"],
            "email" => &["EMAIL", "SENDGRID", "SMTP"],
            "payment-webhook" => &["TOSS", "PORTONE", "IAMPORT", "STRIPE", "KAKAOPAY"],
            _ => &[],
        };
        variables.retain(|name, _| name.strip_suffix("_SECRET").is_none_or(|whose| own.contains(&whose)));
        variables.remove("IEUM_LOCAL_API_KEY");
        let queue = format!("{}/000000000000/queue", self.aws.urls[0]);
        let fixed = [
            ("STAGE", "dev"),
            // A machine that builds something else beside must not make a stored answer look like none.
            ("STORE_TIMEOUT_MS", "1000"),
            ("TABLE_NAME", "ieum"),
            ("BUCKET_NAME", "bucket"),
            ("IEUM_SECRET", &format!("{SECRET_ARN}ieum")),
            ("ANSWERS_TABLE", "answers"),
            ("BREAKERS_TABLE", "breakers"),
            ("EMAIL_QUEUE_URL", &queue),
            ("SMS_QUEUE_URL", &queue),
            ("SMS_COUNTRIES", "KR"),
            ("PAYMENT_QUEUE_URL", &queue),
            ("PAYMENT_EVENT_BUS", "bus"),
            ("ALERT_TOPIC_ARN", "arn:aws:sns:ap-northeast-2:000000000000:alerts"),
            ("ARCHIVE_BUCKET", "archive"),
            ("BACKUP_FILES", "bucket/attachment/"),
            ("THUMBNAIL_VARIANTS", "card=300x200"),
            ("THUMBNAIL_SOURCE_PREFIX", "upload/"),
            ("THUMBNAIL_TARGET_PREFIX", "thumbnail/"),
            ("THUMBNAIL_DEAD_LETTER_QUEUE", &queue),
            ("SMTP_SECURITY", "starttls"),
            ("AWS_REGION", "ap-northeast-2"),
            ("AWS_DEFAULT_REGION", "ap-northeast-2"),
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
            ("AWS_SESSION_TOKEN", "bench"),
            ("AWS_ENDPOINT_URL", &self.aws.urls[0]),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.aws.urls[1]),
            ("AWS_LAMBDA_FUNCTION_NAME", name),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
            ("LAMBDA_TASK_ROOT", "."),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ];
        variables.extend(fixed.map(|(variable, value)| (variable.to_owned(), value.into())));
        variables.extend(more.iter().map(|(variable, value)| ((*variable).to_owned(), (*value).into())));
        variables
    }
}
