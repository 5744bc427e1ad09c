//! What operators see: health, logs, and a deployment that fails.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use xtask::up::{Options, System};

use super::client::{Response, at_once, eventually, within};
use super::verify::recover;
use super::{STALE, Stage, repository};

pub(crate) async fn health_follows_an_outage_without_a_provider_call(stage: &mut Stage) {
    let client = stage.client.clone();
    // A check by the clock may have met what other checks did to these providers: calls since then count for more.
    let number = stage.unused_number();
    client.company(&number).await;
    client.tax_status(&number).await;
    let answer = client.raw("GET", "/v1/health", &[], "").await;
    // What other checks did to other integrations may still show.
    let verify = &answer.body["integrations"]["verify"]["status"];
    assert_eq!((answer.status, verify), (200, &json!("healthy")), "{}", answer.text);
    client.sandbox("nice", json!({"mode": "status", "status": 500})).await;
    eventually("the outage shows", async || {
        client.company(&number).await;
        let answer = client.raw("GET", "/v1/health/verify", &[], "").await;
        (answer.body["providers"][0]["reason"] == "circuit_open").then_some(())
    })
    .await;
    let answer = client.raw("GET", "/v1/health", &[], "").await;
    assert_eq!((answer.status, &answer.body["integrations"]["verify"]["status"]), (200, &json!("degraded")));
    client.reset_sandbox().await;
    assert_eq!(client.calls("nice").await, 0);
    client.raw("GET", "/v1/health", &[], "").await;
    assert_eq!(client.calls("nice").await, 0, "health asks the table, not the providers");
    eventually("health returns", async || {
        client.company(&number).await;
        let answer = client.raw("GET", "/v1/health", &[], "").await;
        (answer.body["integrations"]["verify"]["status"] == "healthy").then_some(())
    })
    .await;
}

pub(crate) async fn each_call_is_logged_without_a_secret(stage: &mut Stage) {
    let number = stage.unused_number();
    let answer = stage.client.company(&number).await;
    let trace = answer.header("x-trace-id").unwrap().to_owned();
    let lines = eventually("the call is logged", async || {
        let lines = stage.system.function_logs("VerifyFunction").await.unwrap();
        lines.iter().any(|line| line.contains(&trace) && line.contains("api_call")).then_some(lines)
    })
    .await;
    let text = lines.join("\n");
    for secret in [stage.system.api_key(), "sandbox-app-secret", "sandbox-app-key", "NICE-INTERNAL-DETAIL"] {
        assert!(!text.contains(secret), "`{secret}` in the log");
    }
}

/// Of a setting the log level is tried, of an invalidation whether a void answer still bridges an outage. Several
/// environments are asked at once, and all must have heard.
pub(crate) async fn what_an_operator_changes_acts_on_every_environment_within_a_minute(stage: &mut Stage) {
    let number = stage.unused_number();
    let client = stage.client.clone();
    assert_eq!(client.company(&number).await.source(), Some("live"));
    client.sandbox("nice", json!({"mode": "status", "status": 500, "delay_ms": 300, "only": "data"})).await;
    sleep(STALE).await;
    let ask = async || {
        at_once(
            (0..6)
                .map(|_| {
                    let (client, number) = (client.clone(), number.clone());
                    async move { client.company(&number).await }
                })
                .collect(),
        )
        .await
    };
    for answer in ask().await {
        assert_eq!(answer.source(), Some("stale"), "{}", answer.text);
    }
    assert!(stage.system.environments("VerifyFunction").unwrap().len() > 1);

    let refused =
        client.send("PATCH", "/v1/config/verify", Some(json!({"version": 0, "changes": {"LOG_LEVEL": "loud"}}))).await;
    assert_eq!((refused.status, &refused.body["error"]["details"][0]["field"]), (400, &json!("LOG_LEVEL")));
    let changed =
        client.send("PATCH", "/v1/config/verify", Some(json!({"version": 0, "changes": {"LOG_LEVEL": "debug"}}))).await;
    assert_eq!((changed.status, &changed.body["version"]), (200, &json!(1)), "{}", changed.text);
    let void = client.send("DELETE", &format!("/v1/cache/verify?pattern=company%20{number}"), None).await;
    assert_eq!(void.status, 200, "{}", void.text);
    within(Duration::from_secs(60), "both changes act", async || {
        let answers = ask().await;
        let lines = stage.system.function_logs("VerifyFunction").await.unwrap();
        let at_debug = |trace: &str| lines.iter().any(|line| line.contains(trace) && line.contains("edge.request"));
        let heard = |answer: &Response| answer.status == 503 && at_debug(answer.header("x-trace-id").unwrap());
        answers.iter().all(heard).then_some(())
    })
    .await;
    let back =
        client.send("PATCH", "/v1/config/verify", Some(json!({"version": 1, "changes": {"LOG_LEVEL": null}}))).await;
    assert_eq!(back.status, 200, "{}", back.text);
    recover(stage).await;
    assert_eq!(
        stage.client.company(&number).await.source(),
        Some("live"),
        "what is fetched after the rule is not void"
    );
}

/// The template of today has no queue, bucket, topic or schedule yet; the fixture has one of each kind, and starting
/// means that each was created, read back and found as described.
pub(crate) async fn every_kind_of_resource_can_be_deployed(_: &mut Stage) {
    let fixtures = repository().join("infra/xtask/fixtures");
    let mut options = Options::for_tests(repository());
    options.build = false;
    options.template = fixtures.join("everything.yaml");
    options.settings = fixtures.join("local.toml");
    options.base_secrets = fixtures.join("secrets.json");
    let system = System::start(options).await;
    let system = system.unwrap_or_else(|error| panic!("{}", ieum::error::chain(&error)));
    system.stop().await;
}

pub(crate) async fn a_broken_resource_is_named_and_leaves_nothing_behind(_: &mut Stage) {
    let root = repository();
    let template = std::fs::read_to_string(root.join("template.yaml")).unwrap();
    let broken = std::env::temp_dir().join(format!("ieum-broken-{}.yaml", std::process::id()));
    std::fs::write(&broken, template.replace("!Ref NtsSecret\n      Policies", "!Ref NobodysSecret\n      Policies"))
        .unwrap();
    let mut options = Options::for_tests(&root);
    (options.build, options.template) = (false, broken.clone());
    let error = System::start(options).await.err().map(|error| ieum::error::chain(&error));
    std::fs::remove_file(broken).unwrap();
    let error = error.expect("a template that refers to nothing does not deploy");
    assert!(error.contains("NobodysSecret") && error.contains("VerifyFunction"), "{error}");
}
