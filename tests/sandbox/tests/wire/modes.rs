//! Each mode as a caller of the provider meets it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use ieum_sandbox::{Mode, Only, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Reply, nts, post, send, split};

const ASK: &str = r#"{"b_no":["1234567891"]}"#;

async fn ask(sandbox: &Sandbox) -> Reply {
    nts(&sandbox.base_url("nts"), "/status", ASK).await
}

#[tokio::test]
async fn down_closes_the_connection_without_an_answer() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::down()).await;
    let error = send(&sandbox.base_url("nts"), "POST", "/status", "", ASK).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(sandbox.calls("nts").await, 1);
}

#[tokio::test]
async fn reset_resets_the_connection() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::reset()).await;
    let error = send(&sandbox.base_url("nts"), "POST", "/status", "", ASK).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(sandbox.calls("nts").await, 1);
}

#[tokio::test]
async fn a_connection_kept_alive_ends_in_the_middle_of_its_life() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nts");
    let (host, prefix) = split(&base);
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {prefix}/status HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);

    sandbox.set_mode("nts", Mode::down()).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    assert_eq!(sandbox.calls("nts").await, 2);
}

#[tokio::test]
async fn slow_answers_correctly_after_the_delay() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::slow(Duration::from_millis(200))).await;
    let started = Instant::now();
    let reply = ask(&sandbox).await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(reply.json()["match_cnt"], 1);
}

#[tokio::test]
async fn any_mode_can_be_late() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::down().delay(Duration::from_millis(150))).await;
    let started = Instant::now();
    assert!(send(&sandbox.base_url("nts"), "POST", "/status", "", ASK).await.is_err());
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn garbage_is_200_and_neither_json_nor_xml() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::garbage()).await;
    let reply = ask(&sandbox).await;
    assert_eq!(reply.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_err());
    assert!(std::str::from_utf8(&reply.body).is_err());
    assert!(reply.text().contains("NTS-INTERNAL-DETAIL"));
}

#[tokio::test]
async fn status_has_the_providers_words_and_says_when_to_come_back() {
    let sandbox = Sandbox::start().await.unwrap();
    for provider in sandbox.providers() {
        let phrase = format!("{}-INTERNAL-DETAIL", provider.to_uppercase());
        for status in [400, 401, 403, 404, 429, 500, 502, 503, 504] {
            sandbox.set_mode(provider, Mode::status(status).retry_after(7)).await;
            let reply = post(&sandbox.base_url(provider), "/status", ASK).await;
            assert_eq!((reply.status, reply.header("retry-after")), (status, Some("7")));
            assert!(reply.text().contains(&phrase), "{}", reply.text());
        }
    }
    sandbox.set_mode("nts", Mode::status(503)).await;
    assert_eq!(ask(&sandbox).await.header("retry-after"), None);
    sandbox.set_mode("nts", Mode::status(500).code("MY_CODE")).await;
    assert_eq!(ask(&sandbox).await.json()["status_code"], "MY_CODE");
}

#[tokio::test]
async fn a_mode_for_some_calls_ends_by_itself() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::status(500).for_calls(2)).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(ask(&sandbox).await.status);
    }
    assert_eq!(seen, [500, 500, 200, 200]);
    assert_eq!(sandbox.calls("nts").await, 4);
    assert_eq!(sandbox.stats("nts").await.mode, Mode::ok());
}

#[tokio::test]
async fn a_mode_may_concern_tokens_only_or_data_only() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nice");
    let paths = ["/nice/oauth/v1.0/accesstoken", "/nice/bizinfo/v1.0/enterprise/general/info"];
    for (mode, expected) in [
        (Mode::status(503), [503, 503]),
        // An empty body is refused by the token path, a missing token by the data path.
        (Mode::status(503).only(Only::Token).for_calls(1), [503, 401]),
        (Mode::status(503).only(Only::Data).for_calls(1), [400, 503]),
    ] {
        sandbox.set_mode("nice", mode).await;
        for (path, status) in paths.into_iter().zip(expected) {
            assert_eq!(post(&base, path, "{}").await.status, status, "{path}");
        }
    }
    assert_eq!((sandbox.calls("nice").await, sandbox.token_calls("nice").await), (3, 3));
}

#[tokio::test]
async fn requests_in_flight_are_counted_and_one_given_up_is_counted_out() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.set_mode("nts", Mode::slow(Duration::from_millis(300))).await;
    let (first, second) = tokio::join!(ask(&sandbox), ask(&sandbox));
    assert_eq!((first.status, second.status), (200, 200));
    let stats = sandbox.stats("nts").await;
    assert_eq!((stats.in_flight, stats.max_in_flight), (0, 2));

    sandbox.set_mode("nts", Mode::slow(Duration::from_secs(60))).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), ask(&sandbox)).await.is_err());
    let deadline = Instant::now() + Duration::from_secs(5);
    while sandbox.stats("nts").await.in_flight > 0 {
        assert!(Instant::now() < deadline, "the request that was given up is still counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sandbox.calls("nts").await, 3);
}

#[tokio::test]
async fn a_dropped_sandbox_listens_no_more() {
    let sandbox = Sandbox::start().await.unwrap();
    let url = sandbox.url();
    drop(sandbox);
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(split(&url).0).await.is_ok() {
        assert!(Instant::now() < deadline, "the port is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[should_panic(expected = "no provider `nise`")]
async fn a_typing_error_in_a_name_is_not_zero_calls() {
    Sandbox::start().await.unwrap().calls("nise").await;
}

#[tokio::test]
#[should_panic(expected = "`weak_key`")]
async fn a_mode_of_another_provider_is_refused() {
    Sandbox::start().await.unwrap().set_mode("nts", Mode::weak_key()).await;
}
