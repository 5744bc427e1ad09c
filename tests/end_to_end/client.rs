//! What a user of the system has in hand: an HTTP client, a key, and the sandbox's switches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ieum_tests::requests::Request as Wanted;
use serde_json::{Value, json};

/// A client of the front door, the sandbox and the local AWS.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient<HttpConnector, Full<bytes::Bytes>>,
    url: String,
    sandbox: String,
    aws: String,
    key: String,
    /// What the sandbox had counted when the check began.
    before: Arc<Mutex<BTreeMap<&'static str, Value>>>,
}

/// A response, read.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("no error")
    }

    pub(crate) fn source(&self) -> Option<&str> {
        self.header("x-ieum-source")
    }
}

impl Client {
    pub(crate) fn new(url: &str, sandbox: &str, aws: &str, key: &str) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Self {
            http,
            url: url.into(),
            sandbox: sandbox.into(),
            aws: aws.into(),
            key: key.into(),
            before: Arc::default(),
        }
    }

    /// A request to the front door as the caller who may do everything.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let key = self.key.clone();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.raw(method, path, &[("x-api-key", &key), ("content-type", "application/json")], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send("GET", path, None).await
    }

    pub(crate) async fn company(&self, number: &str) -> Response {
        self.get(&format!("/v1/companies/{number}")).await
    }

    /// Asks for the tax status of one company, which is one call of NTS and needs no token.
    pub(crate) async fn tax_status(&self, number: &str) -> Response {
        self.send("POST", "/v1/companies/status", Some(json!({"business_numbers": [number]}))).await
    }

    /// A request to the front door with exactly these headers.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Response {
        self.exchange(method, &format!("{}{path}", self.url), headers, body.into()).await
    }

    /// Sends a request as it is; why it was not answered, when it was not.
    pub(crate) async fn deliver(&self, request: &Wanted) -> Result<Response, String> {
        let mut wanted =
            Request::builder().method(request.method.as_str()).uri(format!("{}{}", self.url, request.target));
        for (name, value) in &request.headers {
            wanted = wanted.header(*name, value.as_slice());
        }
        let wanted =
            wanted.body(Full::new(request.body.clone().into())).map_err(|error| format!("no request: {error}"))?;
        let response = self.http.request(wanted).await.map_err(|error| format!("no answer: {error:?}"))?;
        Ok(read(response).await)
    }

    async fn exchange(&self, method: &str, url: &str, headers: &[(&str, &str)], body: bytes::Bytes) -> Response {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.http.request(request.body(Full::new(body)).unwrap()).await;
        read(response.unwrap_or_else(|error| panic!("{method} {url}: {error:?}"))).await
    }

    /// Turns one of the sandbox's switches.
    pub(crate) async fn sandbox(&self, provider: &str, switch: Value) {
        let url = format!("{}/_sandbox/{provider}", self.sandbox);
        let headers = [("content-type", "application/json")];
        let response = self.exchange("POST", &url, &headers, switch.to_string().into()).await;
        assert_eq!(response.status, 200, "{}", response.text);
    }

    /// What the sandbox has counted.
    pub(crate) async fn counted(&self, provider: &str) -> Value {
        let url = format!("{}/_sandbox/{provider}", self.sandbox);
        self.exchange("GET", &url, &[], bytes::Bytes::new()).await.body
    }

    /// What a provider of the sandbox remembers.
    pub(crate) async fn state(&self, provider: &str) -> Value {
        self.counted(provider).await["state"].clone()
    }

    /// Posts to a path of the sandbox that no provider has, for what only the sandbox can do.
    pub(crate) async fn ask_sandbox(&self, path: &str, body: String) -> Value {
        let url = format!("{}/{path}", self.sandbox);
        self.exchange("POST", &url, &[("content-type", "application/json")], body.into()).await.body
    }

    /// What the local AWS shows of itself.
    pub(crate) async fn local_aws(&self, path: &str) -> Value {
        self.exchange("GET", &format!("{}{path}", self.aws), &[], bytes::Bytes::new()).await.body
    }

    /// Puts a file to an address that was signed for it.
    pub(crate) async fn put(&self, url: &str, content_type: &str, file: Vec<u8>) -> Response {
        self.exchange("PUT", url, &[("content-type", content_type)], file.into()).await
    }

    /// Has the local AWS's SES take mail from the domain `identity`, as an account must before it sends.
    pub(crate) async fn verify_sender(&self, identity: &str) {
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20261121/ap-northeast-2/ses/aws4_request, SignedHeaders=host, Signature=0";
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        let url = format!("{}/v2/email/identities", self.aws);
        let answer = self.exchange("POST", &url, &headers, json!({"EmailIdentity": identity}).to_string().into()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Data calls that reached a provider since the check began.
    pub(crate) async fn calls(&self, provider: &str) -> usize {
        self.call_times(provider).await.len()
    }

    /// When they did, in milliseconds since the epoch, in order.
    pub(crate) async fn call_times(&self, provider: &str) -> Vec<i64> {
        let earlier = self.before.lock().unwrap().get(provider).map_or(0, |before| times(before).len());
        let mut times = times(&self.counted(provider).await).split_off(earlier);
        times.sort_unstable();
        times
    }

    /// Back to providers that work. Their tokens stay valid: to revoke them would make every environment ask twice.
    pub(crate) async fn reset_sandbox(&self) {
        for provider in ["nice", "nts", "juso", "kakao", "daum", "sendgrid", "smtp", "solapi", "twilio"] {
            self.sandbox(provider, json!({"mode": "ok"})).await;
            let counted = self.counted(provider).await;
            self.before.lock().unwrap().insert(provider, counted);
        }
    }

    /// Delivers a report of Solapi's with its signature, or with another one; the status.
    pub(crate) async fn solapi_report(&self, body: &Value, forged: Option<&str>) -> u16 {
        let signed = self.ask_sandbox("solapi/sandbox/sign", body.to_string()).await;
        let signature = forged.or(signed["x-solapi-signature"].as_str()).unwrap();
        let headers = [("content-type", "application/json"), ("x-solapi-signature", signature)];
        self.raw("POST", "/v1/webhooks/solapi", &headers, body.to_string()).await.status
    }

    /// Calls back about a text that Twilio has taken, at the address that came with it; the status.
    pub(crate) async fn twilio_callback(&self, taken: &Value, status: &str, forged: Option<&str>) -> u16 {
        let url = taken["form"]["StatusCallback"].as_str().unwrap();
        let params = json!({
            "AccountSid": "ACsandbox0000000000000000000000000", "MessageSid": taken["sid"], "MessageStatus": status,
            "To": taken["form"]["To"], "From": taken["form"]["From"],
        });
        let signed = self.ask_sandbox("twilio/sandbox/sign", json!({"url": url, "params": params}).to_string()).await;
        let signature = forged.or(signed["x-twilio-signature"].as_str()).unwrap();
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-twilio-signature", signature)];
        let body = signed["body"].as_str().unwrap().to_owned();
        self.exchange("POST", url, &headers, body.into()).await.status
    }

    /// Where the front door is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A call of the local AWS.
    pub(crate) async fn aws(&self, service: &str, target: &str, body: Value) -> Value {
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=test/20261121/ap-northeast-2/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", target),
            ("authorization", credential.as_str()),
        ];
        let answer = self.exchange("POST", &self.aws, &headers, body.to_string().into()).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text);
        answer.body
    }

    /// Subscribes `endpoint` to a topic of the local AWS.
    pub(crate) async fn subscribe(&self, topic: &str, protocol: &str, endpoint: &str) {
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20261121/ap-northeast-2/sns/aws4_request, SignedHeaders=host, Signature=0";
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", authorization)];
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", "Subscribe"), ("Version", "2010-03-31"), ("TopicArn", topic)])
            .extend_pairs([("Protocol", protocol), ("Endpoint", endpoint)])
            .finish();
        let answer = self.exchange("POST", &self.aws, &headers, form.into()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// How many messages lie in a queue, those on their way to somebody included.
    pub(crate) async fn held(&self, queue: &str) -> u32 {
        let wanted = json!({"QueueUrl": queue, "AttributeNames": ["All"]});
        let answer = self.aws("sqs", "AmazonSQS.GetQueueAttributes", wanted).await;
        let count = |name: &str| answer["Attributes"][name].as_str().unwrap().parse::<u32>().unwrap();
        count("ApproximateNumberOfMessages") + count("ApproximateNumberOfMessagesNotVisible")
    }

    /// The keys of the items in the table that begin with `prefix`.
    pub(crate) async fn keys(&self, table: &str, prefix: &str) -> Vec<String> {
        let answer = self.aws("dynamodb", "DynamoDB_20120810.Scan", json!({"TableName": table})).await;
        let items = answer["Items"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        let keys = items.iter().filter_map(|item| item["pk"]["S"].as_str().map(str::to_owned));
        keys.filter(|key| key.starts_with(prefix)).collect()
    }
}

async fn read<B: http_body_util::BodyExt<Error: std::fmt::Debug>>(response: http::Response<B>) -> Response {
    let (head, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Response { status: head.status.as_u16(), headers: headers.collect(), text, body }
}

fn times(counted: &Value) -> Vec<i64> {
    counted["call_times_ms"].as_array().unwrap().iter().filter_map(Value::as_i64).collect()
}

/// Asks until the answer is there, for at most twenty seconds: the deployed system has its own clock.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(20), what, ask).await
}

/// Asks until the answer is there, for at most as long as `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {} seconds", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends all at once and waits for all.
pub(crate) async fn at_once<T: Send + 'static>(futures: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
