//! `verify` as deployed.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::client::{at_once, eventually};
use super::{FRESH, STALE, Stage};

pub(crate) async fn a_company_comes_once_over_the_wire_and_then_from_the_table(stage: &mut Stage) {
    let client = &stage.client;
    let first = client.company("1234567891").await;
    assert_eq!((first.status, first.source()), (200, Some("live")), "{}", first.text);
    assert_eq!((&first.body["name"], &first.body["sales_krw"]), (&json!("(주)샘플강원"), &json!(4_500_000_000_i64)));
    let second = client.company("1234567891").await;
    assert_eq!((second.status, second.source()), (200, Some("cached")));
    assert!(second.header("age").is_some() && second.header("x-trace-id").is_some());
    assert_eq!(client.calls("nice").await, 1);
    let table = stage.system.reference("Table").unwrap();
    assert_eq!(client.keys(table, "cache#company#").await.len(), 1, "the answer is in the table");
}

pub(crate) async fn an_outage_is_bridged_with_the_stale_answer(stage: &mut Stage) {
    let number = stage.unused_number();
    let client = &stage.client;
    assert_eq!(client.company(&number).await.status, 200);
    client.sandbox("nice", json!({"mode": "down"})).await;
    sleep(STALE).await;
    let answer = client.company(&number).await;
    assert_eq!(
        (answer.status, answer.source(), &answer.body["stale"]),
        (200, Some("stale"), &json!(true)),
        "{}",
        answer.text
    );
    assert!(answer.header("age").unwrap().parse::<u64>().unwrap() >= FRESH.as_secs());
    recover(stage).await;
}

pub(crate) async fn a_company_entered_by_hand_stands_in_until_a_live_answer_wins(stage: &mut Stage) {
    let number = stage.unused_number();
    stage.client.sandbox("nice", json!({"mode": "down"})).await;
    let answer = stage.client.company(&number).await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"));
    let offer = answer.body["error"]["details"][0].clone();
    assert_eq!(offer["issue"], "manual_entry");
    let path = offer["path"].as_str().unwrap().to_owned();
    let entered = stage.client.send("PUT", &path, Some(json!({"name": "(주)직접입력"}))).await;
    assert_eq!((entered.status, &entered.body["source"]), (200, &json!("manual")), "{}", entered.text);
    let answer = stage.client.company(&number).await;
    assert_eq!(
        (answer.source(), &answer.body["source"], &answer.body["name"]),
        (Some("manual"), &json!("manual"), &json!("(주)직접입력"))
    );
    recover(stage).await;
    let live = stage.client.company(&number).await;
    assert_eq!((live.source(), &live.body["provider"]), (Some("live"), &json!("nice")));
    assert_eq!(stage.client.send("PUT", &path, Some(json!({"name": "x"}))).await.status, 409);
}

pub(crate) async fn throttling_is_obeyed_and_opens_nothing(stage: &mut Stage) {
    let switch = json!({"mode": "status", "status": 429, "retry_after": 3, "only": "data", "for_calls": 1});
    stage.client.sandbox("nice", switch).await;
    let (client, patient, number) = (stage.client.clone(), stage.unused_number(), stage.unused_number());
    let patient = tokio::spawn(async move { client.company(&patient).await });
    eventually("NICE has throttled", async || (stage.client.calls("nice").await == 1).then_some(())).await;
    sleep(Duration::from_millis(300)).await;
    // Everybody else stays away meanwhile: the wait is longer than a call may queue for a slot.
    for _ in 0..3 {
        let refused = stage.client.company(&number).await;
        assert_eq!((refused.status, refused.code()), (429, "rate_limited"), "{}", refused.text);
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&seconds), "{refused:?}");
    }
    assert_eq!(stage.client.calls("nice").await, 1);
    // The throttled call itself waited as long as it was told to, and went through.
    assert_eq!(patient.await.unwrap().source(), Some("live"));
    let times = stage.client.call_times("nice").await;
    assert!(times.len() == 2 && times[1] - times[0] >= 3_000, "{times:?}");
    assert_eq!(stage.client.company(&number).await.source(), Some("live"), "and the circuit never opened");
}

pub(crate) async fn a_burst_waits_and_is_then_told_when_to_return(stage: &mut Stage) {
    sleep(Duration::from_millis(1_100)).await;
    let numbers: Vec<String> = (0..40).map(|_| stage.unused_number()).collect();
    let callers = numbers.into_iter().map(|number| {
        let client = stage.client.clone();
        async move { client.tax_status(&number).await }
    });
    let answers = at_once(callers.collect()).await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(refused.iter().all(|answer| answer.status == 429 && answer.header("retry-after").is_some()), "{refused:?}");
    assert!(served.len() >= 5 && !refused.is_empty(), "{} served, {} refused", served.len(), refused.len());
    let times = stage.client.call_times("nts").await;
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            // 10 at once and 10 a second; half a second of clocks and scheduling between the slot and the wire.
            let bound = 10 + (to - from + 500) / 100 + 1;
            assert!(
                i64::try_from(last - first + 1).unwrap() <= bound,
                "{} calls in {} ms",
                last - first + 1,
                to - from
            );
        }
    }
    sleep(Duration::from_millis(1_100)).await;
}

pub(crate) async fn representatives_names_and_statuses_are_answered(stage: &mut Stage) {
    let client = &stage.client;
    let path = "/v1/companies/1234567891/representative";
    let answer = client.send("POST", path, Some(json!({"name": "홍길동", "established_on": "2018-05-10"}))).await;
    assert_eq!(
        (answer.status, &answer.body["representative_match"], &answer.body["provider"]),
        (200, &json!("match"), &json!("nts")),
        "{}",
        answer.text
    );
    let answer = client.send("POST", path, Some(json!({"name": "임꺽정", "established_on": "2018-05-10"}))).await;
    assert_eq!(answer.body["representative_match"], "mismatch");
    let answer = client.get("/v1/companies?name=%EC%83%98%ED%94%8C&size=3").await;
    assert_eq!((answer.status, answer.body["companies"].as_array().map(Vec::len)), (200, Some(3)), "{}", answer.text);
    let numbers = json!({"business_numbers": ["1234567891", "2222222227", "3333333336", "9990000016"]});
    let answer = client.send("POST", "/v1/companies/status", Some(numbers)).await;
    let statuses: Vec<_> = answer.body["results"].as_array().unwrap().iter().map(|row| row["status"].clone()).collect();
    assert_eq!(json!(statuses), json!(["active", "suspended", "closed", "not_registered"]));
}

pub(crate) async fn bad_input_costs_no_provider_call(stage: &mut Stage) {
    let client = &stage.client;
    let long = "1".repeat(9_000);
    for number in ["123456789", "12345A7891", "1234567890", "0000000000", "%EF%BC%91%EF%BC%92", "a%20b", long.as_str()]
    {
        let answer = client.company(number).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{number}: {}", answer.text);
        assert_eq!(answer.body["error"]["details"][0]["field"], "business_number");
    }
    let answer = client
        .raw("GET", "/v1/companies/1234567890", &[("x-api-key", "nobody's"), ("accept-language", "en")], "")
        .await;
    assert_eq!((answer.status, answer.code()), (401, "unauthenticated"));
    assert_eq!(answer.body["error"]["message"], "Valid credentials are required.");
    assert_eq!(client.raw("GET", "/v1/companies/1234567891", &[], "").await.status, 401);
    let answer = client.send("POST", "/v1/companies/status", Some(json!("not an object"))).await;
    assert_eq!((answer.status, &answer.body["error"]["details"][0]["field"]), (400, &json!("body")));
    assert_eq!((client.calls("nice").await, client.calls("nts").await), (0, 0));
}

pub(crate) async fn environments_share_what_one_of_them_learned(stage: &mut Stage) {
    stage.client.sandbox("nice", json!({"mode": "slow", "delay_ms": 500, "only": "data"})).await;
    let numbers: Vec<String> = (0..6).map(|_| stage.unused_number()).collect();
    let ask = |numbers: &[String]| {
        numbers
            .iter()
            .cloned()
            .map(|number| {
                let client = stage.client.clone();
                async move { client.company(&number).await }
            })
            .collect::<Vec<_>>()
    };
    assert!(at_once(ask(&numbers)).await.iter().all(|answer| answer.status == 200));
    assert!(stage.system.environments("VerifyFunction").unwrap().len() > 1, "several environments ran at once");
    // Whichever environment is asked now, it finds what another one has put into the table.
    let again = at_once(ask(&numbers)).await;
    assert!(again.iter().all(|answer| answer.source() == Some("cached")), "{again:?}");
    assert_eq!(stage.client.calls("nice").await, 6);
}

pub(crate) async fn killing_an_environment_loses_nothing(stage: &mut Stage) {
    let number = stage.unused_number();
    assert_eq!(stage.client.company(&number).await.source(), Some("live"));
    assert!(stage.system.kill_environments("VerifyFunction").unwrap() > 0);
    let client = stage.client.clone();
    // A request may meet the corpse; the one after it does not.
    let answer = eventually("a new environment answers", async || {
        let answer = client.company(&number).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.await.source(), Some("cached"), "what the dead environment knew is in the table");
    assert_eq!(stage.client.calls("nice").await, 1);
}

/// Makes NICE well again and waits until a probe has closed the circuit.
pub(crate) async fn recover(stage: &mut Stage) {
    stage.client.reset_sandbox().await;
    let number = stage.unused_number();
    let client = stage.client.clone();
    eventually("NICE is called again", async || (client.company(&number).await.status == 200).then_some(())).await;
    stage.client.reset_sandbox().await;
}
