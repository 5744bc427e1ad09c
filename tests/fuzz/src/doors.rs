//! Whole functions, called with what API Gateway, queues and schedules may send, over mocks; and a function whose providers answer
//! anything at all.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ieum::config::{Env, Reader};
use ieum::runtime::{Function, HttpFunction, answer};
use ieum::testing::door::{event, event_names};
use serde_json::Value;

use crate::{Outcome, Seed, Target};

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Runs on the one runtime of this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The events of `function` whose names begin with `prefix`, by name.
pub(crate) fn events(function: &str, prefix: &str) -> Vec<Value> {
    let mut names = event_names(function);
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names.iter().map(|name| event(function, name)).collect()
}

/// `infra/env/mock.env`, with the files it names where they are.
fn mock() -> Env {
    let text = include_str!("../../../infra/env/mock.env")
        .replace("file:infra/", &format!("file:{}/infra/", root().display()));
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    lines.fold(Env::from([("IEUM_FUZZ", "1")]), |env, (name, value)| env.with(name, value))
}

pub(crate) fn targets() -> Vec<Target> {
    let env = mock();
    let door = |name, handler: Called| Target {
        name,
        about: "the whole function",
        seeds: events(name, "").iter().map(|event| Seed { case: 0, bytes: event.to_string().into_bytes() }).collect(),
        read: Box::new(move |_, bytes| called(&handler, bytes)),
    };
    vec![
        door("verify", over(started(&env, verify::Config::read, verify::Handler::start))),
        door("address", over(started(&env, address::Config::read, address::Handler::start))),
        door("email", over(started(&env, email::Config::read, email::Handler::start))),
        door("sms", over(started(&env, sms::Config::read, sms::Handler::start))),
        door("payment-webhook", over(started(&env, payment_webhook::Config::read, payment_webhook::Handler::start))),
        door("console", over_http(started(&env, console::Config::read, console::Handler::start))),
        providers(),
    ]
}

/// A function that runs.
fn started<C, F, E: Debug>(
    env: &Env,
    read: fn(&Reader<'_>) -> Option<C>,
    start: impl AsyncFnOnce(&C) -> Result<F, E>,
) -> F {
    let config = env.read(read).expect("a configuration");
    block_on(start(&config)).expect("it starts")
}

type Called = Box<dyn Fn(Value) -> Result<Value, String>>;

/// When Lambda would end an invocation that begins now.
fn deadline_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("not yet") + 29_000
}

fn over<F: Function + 'static>(function: F) -> Called {
    Box::new(move |event| {
        let answer =
            block_on(answer(&function, &event.to_string(), deadline_ms())).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(answer).expect("JSON"))
    })
}

fn over_http<F: HttpFunction>(function: F) -> Called {
    Box::new(move |event| {
        let event = serde_json::from_value(event).map_err(|error| error.to_string())?;
        let answer = block_on(function.serve(event, deadline_ms()));
        Ok(serde_json::to_value(answer).expect("JSON"))
    })
}

/// A request gets an answer, whatever it is: with a status that is not 500, and in JSON where it says so. Anything else may be
/// refused by an error, after which queues and schedules send it again.
fn called(handler: &dyn Fn(Value) -> Result<Value, String>, bytes: &[u8]) -> Outcome {
    let Ok(event) = serde_json::from_slice::<Value>(bytes) else { return "no JSON" };
    let answer = match handler(event) {
        Ok(answer) => answer,
        Err(_) => return "refused as an event",
    };
    let Some(status) = answer["statusCode"].as_u64() else { return "done" };
    assert!((200..600).contains(&status) && status != 500, "{answer}");
    let headers = answer["headers"].as_object();
    let is_json =
        headers.and_then(|headers| headers.get("content-type")).is_some_and(|kind| kind == "application/json");
    if is_json {
        let body = answer["body"].as_str().expect("a body");
        serde_json::from_str::<Value>(body).expect("JSON");
    }
    match status {
        200..300 => "2xx",
        300..400 => "3xx",
        400 => "400",
        401 | 403 => "401, 403",
        404 | 405 => "404, 405",
        402..500 => "4xx",
        _ => "5xx",
    }
}

/// A search over Juso and Kakao, and a check at the tax service, whose servers send what they like: status line, headers
/// and all.
fn providers() -> Target {
    let seed = |case: usize, kind: &str, body: &str| Seed {
        case,
        bytes: format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes(),
    };
    let juso = r#"{"results":{"common":{"errorMessage":"정상","countPerPage":"10","totalCount":"1","errorCode":"0","currentPage":"1"},"juso":[{"roadAddr":"서울특별시 중구 세종대로 110 (태평로1가)","roadAddrPart1":"서울특별시 중구 세종대로 110","roadAddrPart2":"(태평로1가)","jibunAddr":"서울특별시 중구 태평로1가 31 서울특별시청","engAddr":"110 Sejong-daero, Jung-gu, Seoul","zipNo":"04524","admCd":"1114010300","rnMgtSn":"111402005001","bdMgtSn":"1114010300100310000000001","bdNm":"서울특별시청","bdKdcd":"0","siNm":"서울특별시","sggNm":"중구","emdNm":"태평로1가","rn":"세종대로","udrtYn":"0","buldMnnm":"110","buldSlno":"0","mtYn":"0","lnbrMnnm":"31","lnbrSlno":"0","emdNo":"01"}]}}"#;
    let kakao = r#"{"meta":{"total_count":1,"pageable_count":1,"is_end":true},"documents":[{"address_name":"서울 중구 세종대로 110","y":"37.5663","x":"126.9779","address_type":"ROAD_ADDR","address":{"address_name":"서울 중구 태평로1가 31","region_1depth_name":"서울","region_2depth_name":"중구","region_3depth_name":"태평로1가","mountain_yn":"N","main_address_no":"31","sub_address_no":"","b_code":"1114010300","h_code":"1114055000","region_3depth_h_name":"명동","x":"126.9779","y":"37.5663"},"road_address":{"address_name":"서울 중구 세종대로 110","region_1depth_name":"서울","region_2depth_name":"중구","region_3depth_name":"태평로1가","road_name":"세종대로","underground_yn":"N","main_building_no":"110","sub_building_no":"","building_name":"서울특별시청","zone_no":"04524","x":"126.9779","y":"37.5663"}}]}"#;
    let nts = r#"{"request_cnt":1,"match_cnt":1,"status_code":"OK","data":[{"b_no":"1248100998","b_stt":"계속사업자","b_stt_cd":"01","tax_type":"부가가치세 일반과세자","tax_type_cd":"01","end_dt":"","utcc_yn":"N","tax_type_change_dt":"","invoice_apply_dt":"","rbf_tax_type":"해당없음","rbf_tax_type_cd":"99"}]}"#;
    let mut seeds = vec![
        seed(0, "application/json;charset=UTF-8", juso),
        seed(0, "application/json", kakao),
        seed(1, "application/json", nts),
    ];
    seeds.push(Seed {
        case: 0,
        bytes: b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n".to_vec(),
    });
    seeds.push(Seed {
        case: 1,
        bytes: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n4\r\n: 1}\r\n0\r\n\r\n".to_vec(),
    });

    let (port, answer) = server();
    let secrets = root().join("infra/xtask/secrets.json").display().to_string();
    let env = mock()
        .with("ADDRESS_PROVIDERS", "juso,kakao")
        .with("JUSO_BASE_URL", &format!("http://127.0.0.1:{port}"))
        .with("KAKAO_BASE_URL", &format!("http://127.0.0.1:{port}"))
        .with("JUSO_SECRET", &format!("file:{secrets}@juso"))
        .with("KAKAO_SECRET", &format!("file:{secrets}@kakao"))
        .with("ADDRESS_ATTEMPTS", "1")
        .with("VERIFY_STATUS_PROVIDERS", "nts")
        .with("NTS_BASE_URL", &format!("http://127.0.0.1:{port}"))
        .with("NTS_SECRET", &format!("file:{secrets}@nts"))
        .with("VERIFY_ATTEMPTS", "1");
    let (search, status) = (event("address", "search-road"), event("verify", "status"));
    let read = move |case: usize, bytes: &[u8]| {
        *answer.lock().expect("a lock") = bytes.to_vec();
        // Each input meets providers that nobody has called yet.
        let (handler, event) = match case {
            0 => (over(started(&env, address::Config::read, address::Handler::start)), &search),
            _ => (over(started(&env, verify::Config::read, verify::Handler::start)), &status),
        };
        called(&handler, event.to_string().as_bytes())
    };
    let about = "answers of Juso, Kakao and the tax service, status line and all";
    Target { name: "providers", about, seeds, read: Box::new(read) }
}

/// A server that answers everybody with the bytes it is given, and its port.
pub(crate) fn server() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&answer);
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a caller");
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            // Whoever goes away early hears nothing more.
            let _ = reader.read_exact(&mut body);
            let _ = stream.write_all(&sent.lock().expect("a lock"));
        }
    });
    (port, answer)
}
