//! What functions call: a DynamoDB embedded in this process, Secrets Manager, and the tax service, on one address with TLS.
//!
//! The DynamoDB is `dynoxide`, in memory: it decides conditions as the real one does. Operations are counted; `GET
//! /bench/counts` tells how many there were since the last time.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use dynoxide::{Database, DynoxideError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::Fault;
use crate::wire::{self, Message};

/// The services, started.
#[derive(Debug)]
pub struct Aws {
    /// `https://localhost:PORT`, or with `http` when there is no TLS. Several, so that services have connections of their own;
    /// each answers everything.
    pub urls: Vec<String>,
    /// The certificate that its own is signed with.
    pub ca_file: PathBuf,
}

/// The ARN of a secret is this and its name.
pub const SECRET_ARN: &str = "arn:aws:secretsmanager:ap-northeast-2:000000000000:secret:";

struct Shared {
    database: Mutex<Database>,
    secrets: HashMap<String, Value>,
    counts: Mutex<BTreeMap<String, u64>>,
    delay: Duration,
}

impl Aws {
    /// Starts them at `places` addresses with these secrets and `tables`, keyed by the attribute named beside each. `folder`
    /// keeps the certificates; without one there is no TLS. All of them are `delay` away, there and back.
    ///
    /// # Errors
    /// [`Fault`] when there is no certificate or no port.
    pub fn start(
        folder: Option<&Path>,
        places: usize,
        secrets: HashMap<String, Value>,
        tables: &[(&str, &str)],
        delay: Duration,
    ) -> Result<Self, Fault> {
        let database = Database::memory()?;
        for (name, key) in tables {
            let table = json!({
                "TableName": name,
                "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
                "BillingMode": "PAY_PER_REQUEST",
            });
            database.create_table(serde_json::from_value(table)?)?;
        }
        let shared = Arc::new(Shared { database: Mutex::new(database), secrets, counts: Mutex::default(), delay });
        let (scheme, ca_file, tls) = match folder {
            Some(folder) => ("https", folder.join("ca.pem"), Some(Arc::new(certified(folder)?))),
            None => ("http", PathBuf::new(), None),
        };
        let mut urls = Vec::new();
        for _ in 0..places {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            urls.push(format!("{scheme}://localhost:{}", listener.local_addr()?.port()));
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (shared, tls) = (Arc::clone(&shared), tls.clone());
                    // A client that goes away ends its thread, and nothing else.
                    thread::spawn(move || connected(&shared, stream, tls));
                }
            });
        }
        Ok(Self { urls, ca_file })
    }
}

/// A certificate for `localhost` and the server configuration with it, made by `openssl` the first time.
fn certified(folder: &Path) -> Result<ServerConfig, Fault> {
    std::fs::create_dir_all(folder)?;
    if !folder.join("chain.pem").exists() {
        // RSA of 2,048 bits, as the endpoints of AWS have it.
        let script = "set -e
            openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 365 -subj '/CN=bench' 2>&1
            openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj '/CN=localhost' 2>&1
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > server.ext
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 364 -extfile server.ext -out chain.pem 2>&1";
        if !Command::new("sh").args(["-c", script]).current_dir(folder).output()?.status.success() {
            return Err("`openssl` made no certificate".into());
        }
    }
    let chain = CertificateDer::pem_file_iter(folder.join("chain.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_no_client_auth().with_single_cert(chain, key)?)
}

fn connected(shared: &Shared, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    // TCP greets once, and so does TLS 1.3.
    thread::sleep(shared.delay * if tls.is_some() { 2 } else { 1 });
    match tls {
        Some(tls) => serve(shared, StreamOwned::new(ServerConnection::new(tls)?, stream))?,
        None => serve(shared, stream)?,
    }
    Ok(())
}

fn serve(shared: &Shared, stream: impl Read + Write) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = wire::read(&mut stream)? {
        let (status, body) = shared.answer(&request);
        // The kernel corrects its clock by this header, which a service of AWS always has.
        let date = http_date();
        let headers = format!("content-type: application/x-amz-json-1.0\r\ndate: {date}\r\n");
        wire::answer(stream.get_mut(), status, &headers, body.as_bytes())?;
    }
    Ok(())
}

/// Now, as `Date` has it.
fn http_date() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, seconds) = (now / 86_400, now % 86_400);
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let of_year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * of_year + of_year / 4 - of_year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = of_year + era * 400 + u64::from(month <= 2);
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let week = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let place = |number: u64| usize::try_from(number).unwrap_or(0);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        week[place(days % 7)],
        names[place(month - 1)],
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

impl Shared {
    fn answer(&self, request: &Message) -> (u16, String) {
        thread::sleep(self.delay);
        let target = request.header("x-amz-target").unwrap_or_default();
        let (service, operation) = target.split_once('.').unwrap_or_default();
        if service.starts_with("DynamoDB") {
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(operation.to_owned()).or_default() += 1;
            return match self.dynamodb(operation, &request.body) {
                Ok(body) => (200, body),
                Err(error) => (error.status_code(), error.to_json()),
            };
        }
        let secret = |arn: &str| {
            let name = arn.strip_prefix(SECRET_ARN)?;
            let secret = self.secrets.get(name)?;
            Some(json!({"ARN": arn, "Name": name, "VersionId": "1", "SecretString": secret.to_string()}))
        };
        if operation == "BatchGetSecretValue" {
            let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let names = asked["SecretIdList"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let body = json!({"SecretValues": names.filter_map(secret).collect::<Vec<_>>(), "Errors": []});
            return (200, body.to_string());
        }
        if operation == "GetSecretValue" {
            let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let name = asked["SecretId"].as_str().unwrap_or_default();
            return match secret(name) {
                Some(secret) => (200, secret.to_string()),
                None => (400, json!({"__type": "ResourceNotFoundException", "message": name}).to_string()),
            };
        }
        if request.word(1).starts_with("/nts/") {
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry("upstream".to_owned()).or_default() += 1;
            let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let rows = asked["b_no"].as_array().cloned().unwrap_or_default().into_iter().map(|number| {
                json!({"b_no": number, "b_stt": "계속사업자", "b_stt_cd": "01", "end_dt": "",
                    "tax_type": "부가가치세 일반과세자", "tax_type_cd": "01"})
            });
            let data: Vec<Value> = rows.collect();
            return (200, json!({"status_code": "OK", "match_cnt": data.len(), "data": data}).to_string());
        }
        if request.word(1) == "/bench/counts" {
            let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
            return (200, json!(counts).to_string());
        }
        (404, json!({"message": "nothing here"}).to_string())
    }

    fn dynamodb(&self, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
        let wrong = |error: serde_json::Error| DynoxideError::SerializationException(error.to_string());
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        macro_rules! call {
            ($method:ident) => {{
                let answer = database.$method(serde_json::from_slice(body).map_err(wrong)?)?;
                serde_json::to_string(&answer).map_err(wrong)
            }};
        }
        match operation {
            "GetItem" => call!(get_item),
            "PutItem" => call!(put_item),
            "UpdateItem" => call!(update_item),
            "DeleteItem" => call!(delete_item),
            "BatchGetItem" => call!(batch_get_item),
            "Query" => call!(query),
            other => Err(DynoxideError::ValidationException(format!("`{other}` is not served here"))),
        }
    }
}
