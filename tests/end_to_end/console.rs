//! The operator page, in a browser: what a person sees and does while something is out, in both languages, at a desk and on a
//! phone.
//!
//! Pictures of it lie in `target/tmp/console-*.png` afterwards.

use std::time::Duration;

use serde_json::{Value, json};

use super::Stage;
use super::browser::{Browser, Page};
use super::client::{eventually, within};
use super::verify::recover;

const PHONE: (u32, u32) = (360, 740);
const DESK: (u32, u32) = (1200, 900);

/// What a person with ordinary eyes needs between a text and what is behind it (WCAG 2.2, 1.4.3), for every text shown.
const CONTRAST: &str = r#"(() => {
  const rgb = (text) => { const n = text.match(/[\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((all, v, i) => all + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (; one; one = one.parentElement) { const c = rgb(getComputedStyle(one).backgroundColor); if (c[3] === 1) return c; }
    return [255, 255, 255, 1];
  };
  const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !one.checkVisibility() || one.closest(".unseen, .skip, option, :disabled, noscript, script")) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(walker.currentNode.data.trim().slice(0, 40));
  }
  return poor;
})()"#;

/// What must hold of the elements themselves.
const STRUCTURE: &str = r#"(() => {
  const faults = [], ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  ids.filter((id, place) => ids.indexOf(id) !== place).forEach((id) => faults.push(`two elements are #${id}`));
  for (const name of ["aria-labelledby", "aria-describedby", "aria-errormessage", "for"])
    for (const one of document.querySelectorAll(`[${name}]`))
      for (const id of one.getAttribute(name).split(" ")) if (!ids.includes(id)) faults.push(`${name} leads nowhere: ${id}`);
  if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length !== 1) faults.push("main, h1");
  const levels = [...document.querySelectorAll("h1, h2, h3")].filter((one) => one.checkVisibility()).map((one) => Number(one.tagName[1]));
  levels.forEach((level, place) => { if (place && level > levels[place - 1] + 1) faults.push("a heading skips a level"); });
  document.querySelectorAll("th:not([scope])").forEach((one) => faults.push(`th ${one.textContent}`));
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) faults.push("it is wider than the screen");
  for (const one of document.querySelectorAll("button, input:not([type=hidden], [type=checkbox]), select"))
    if (one.checkVisibility() && one.getBoundingClientRect().height < 24) faults.push(`too small: ${one.id}`);
  return faults;
})()"#;

/// A browser, with the page of this language and size open and the key typed.
async fn entered(stage: &mut Stage, lang: &str, size: (u32, u32)) -> Option<(Browser, Page)> {
    let Some(mut browser) = Browser::start(&[]).await else {
        stage.skipped = Some("no Chromium in PATH or IEUM_CHROMIUM");
        return None;
    };
    let page = browser.open(&format!("{}/?lang={lang}", stage.system.url())).await;
    browser.show(&page, size).await;
    browser.wait(&page, "document.activeElement?.id === 'key'").await;
    browser.write(&page, stage.system.api_key()).await;
    browser.press(&page, "Enter").await;
    browser.wait(&page, "document.getElementById('of-verify') !== null").await;
    Some((browser, page))
}

/// Goes to a part and waits until it is there.
async fn go(browser: &mut Browser, page: &Page, part: &str, there: &str) {
    browser.run(page, &format!("location.hash = '{part}'; 0")).await;
    browser.wait(page, &format!("document.getElementById('{there}') !== null")).await;
}

/// Presses a button by the keyboard, and says yes where it is asked.
async fn press(browser: &mut Browser, page: &Page, id: &str, asks: bool) {
    browser
        .wait(page, &format!("(document.getElementById('{id}')?.focus(), document.activeElement?.id === '{id}')"))
        .await;
    browser.press(page, "Enter").await;
    if asks {
        browser.wait(page, "document.getElementById('confirm').open").await;
        browser.run(page, "document.getElementById('confirm-yes').focus()").await;
        browser.press(page, "Enter").await;
    }
}

async fn status(browser: &mut Browser, page: &Page, text: &str) {
    browser.wait(page, &format!("document.getElementById('status').textContent.startsWith('{text}')")).await;
}

/// A checker of our own: names, structure, contrast in both schemes. Says what is wrong.
async fn faults(browser: &mut Browser, page: &Page, lang: &str) -> Vec<String> {
    let mut faults = browser.nameless(page).await;
    let texts =
        |value: Value| value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    faults.extend(texts(browser.run(page, STRUCTURE).await));
    for scheme in ["dark", "light"] {
        browser.prefer(page, scheme).await;
        faults.extend(
            texts(browser.run(page, CONTRAST).await).into_iter().map(|text| format!("{scheme}: faint: {text}")),
        );
    }
    if browser.run(page, "document.documentElement.lang").await != lang {
        faults.push("lang".to_owned());
    }
    faults
}

pub(crate) async fn an_operator_follows_an_outage_from_the_click_to_the_recovery(stage: &mut Stage) {
    let Some((mut browser, page)) = entered(stage, "en", DESK).await else { return };
    go(&mut browser, &page, "sandbox", "error-nice").await;
    browser.run(&page, "document.getElementById('traffic').click(); 0").await;
    browser.wait(&page, "document.querySelectorAll('#answers li').length > 5").await;
    press(&mut browser, &page, "error-nice", false).await;
    browser.wait(&page, "document.getElementById('mode-nice').textContent === 'status'").await;
    browser.wait(&page, "document.querySelector('#answers .failed') !== null").await;
    browser.picture(&page, "console-sandbox-en").await;
    go(&mut browser, &page, "overview", "of-verify").await;
    within(Duration::from_secs(40), "the circuit shows as open", async || {
        let open = browser
            .run(
                &page,
                "document.getElementById('reset-verify-nice') !== null && \
            document.getElementById('of-verify').closest('article').textContent.includes('circuit open')",
            )
            .await;
        (open == true).then_some(())
    })
    .await;
    browser.picture(&page, "console-outage-en").await;

    go(&mut browser, &page, "sandbox", "ok-nice").await;
    press(&mut browser, &page, "ok-nice", false).await;
    browser.wait(&page, "document.getElementById('mode-nice').textContent === 'ok'").await;
    go(&mut browser, &page, "overview", "of-verify").await;
    // The circuit may have found out by itself; then there is nothing to press.
    let by_hand = browser.run(&page, "document.getElementById('reset-verify-nice') !== null").await == true;
    if by_hand {
        press(&mut browser, &page, "reset-verify-nice", true).await;
        status(&mut browser, &page, "Done").await;
    }
    within(Duration::from_secs(60), "it recovers", async || {
        let text = "[...document.querySelectorAll('#of-verify .badge')][0].textContent === 'healthy'";
        (browser.run(&page, text).await == true).then_some(())
    })
    .await;
    // A minute is told once it is over.
    within(Duration::from_secs(90), "the minute of the outage is told", async || {
        let told = browser.run(&page, "document.getElementById('more-verify') !== null").await;
        (told == true).then_some(())
    })
    .await;
    browser.run(&page, "document.getElementById('more-verify').open = true; 0").await;
    browser.picture(&page, "console-recovered-en").await;
    if by_hand {
        go(&mut browser, &page, "changes", "changes-heading").await;
        browser.wait(&page, "document.getElementById('view').textContent.includes('circuit closed')").await;
    }
    // What could not be answered was asked for on purpose.
    let unanswered = "Failed to load resource: the server responded with a status of 503 (Service Unavailable)";
    let complaints = browser.complaints(&page).await;
    assert!(complaints.iter().all(|complaint| complaint == unanswered), "{complaints:?}");
    browser.close().await;
    recover(stage).await;
}

pub(crate) async fn a_rate_changed_on_the_page_acts_within_a_minute_and_nonsense_is_refused_at_its_field(
    stage: &mut Stage,
) {
    let Some((mut browser, page)) = entered(stage, "ko", DESK).await else { return };
    go(&mut browser, &page, "settings?integration=verify", "set-NICE_RATE_PERIOD_SECONDS").await;
    let set = async |browser: &mut Browser, value: &str| {
        let field = "document.getElementById('set-NICE_RATE_PERIOD_SECONDS')";
        browser.run(&page, &format!("{field}.select(), {field}.focus(), 0")).await;
        browser.write(&page, value).await;
        press(browser, &page, "save-NICE_RATE_PERIOD_SECONDS", true).await;
    };
    set(&mut browser, "soon").await;
    browser
        .wait(&page, "document.getElementById('set-NICE_RATE_PERIOD_SECONDS').getAttribute('aria-invalid') === 'true'")
        .await;
    let reason = "document.getElementById('mistake-set-NICE_RATE_PERIOD_SECONDS').textContent";
    let reason = browser.run(&page, reason).await;
    assert!(reason.as_str().unwrap().contains("a whole number from"), "{reason}");
    browser.picture(&page, "console-refused-ko").await;

    set(&mut browser, "60").await;
    status(&mut browser, &page, "처리했습니다").await;
    within(Duration::from_secs(60), "the new rate acts", async || {
        let number = stage.unused_number();
        (stage.client.company(&number).await.status == 429).then_some(())
    })
    .await;
    press(&mut browser, &page, "undo", true).await;
    browser.wait(&page, "document.getElementById('back-NICE_RATE_PERIOD_SECONDS') === null").await;
    eventually("calls go again", async || {
        let number = stage.unused_number();
        (stage.client.company(&number).await.status == 200).then_some(())
    })
    .await;
    go(&mut browser, &page, "changes", "changes-heading").await;
    browser.wait(&page, "document.getElementById('view').textContent.includes('설정 변경 취소')").await;
    browser.picture(&page, "console-changes-ko").await;
    assert_eq!(
        browser.complaints(&page).await,
        ["Failed to load resource: the server responded with a status of 400 (Bad Request)"]
    );
    browser.close().await;
}

pub(crate) async fn the_page_can_be_used_without_sight_or_mouse_in_both_languages(stage: &mut Stage) {
    // What comes from outside is shown: a mail, and a webhook nobody has signed.
    let mail = json!({"to": {"address": "hong@example.kr"}, "template": "welcome",
        "variables": {"name": "홍길동", "action_url": "https://portal.example.kr/start"}});
    let sent = stage.client.send("POST", "/v1/emails", Some(mail)).await;
    assert_eq!(sent.status, 202, "{}", sent.text);
    let hostile = json!({"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": "2026-11-21T12:00:00.000000", "data": {
        "paymentKey": "console-hostile-1", "orderId": "<img src=x onerror=window.pwned=1><script>window.pwned=2</script>"}});
    let hook = stage
        .client
        .raw("POST", "/v1/webhooks/toss", &[("content-type", "application/json")], hostile.to_string())
        .await;
    assert_eq!(hook.status, 200, "{}", hook.text);
    for (lang, size, name) in [("ko", PHONE, "phone"), ("en", DESK, "desk")] {
        let Some((mut browser, page)) = entered(stage, lang, size).await else { return };
        let mut all = Vec::new();
        for (part, there) in [
            ("overview", "of-verify"),
            ("messages", "messages-heading"),
            ("webhooks?status=received", "webhooks-heading"),
            ("settings?integration=verify", "settings-heading"),
            ("changes", "changes-heading"),
            ("sandbox", "switches"),
        ] {
            go(&mut browser, &page, part, there).await;
            let found = faults(&mut browser, &page, lang).await;
            all.extend(found.into_iter().map(|fault| format!("{part}: {fault}")));
            let part = part.split('?').next().unwrap();
            browser.picture(&page, &format!("console-{part}-{name}-{lang}")).await;
        }
        assert_eq!(all, Vec::<String>::new());
        browser.wait(&page, "document.querySelectorAll('#view details pre').length > 0").await;
        assert_eq!(browser.run(&page, "document.querySelectorAll('pre *').length").await, 0, "mail is shown as text");
        // Whatever has become of the webhook by now.
        eventually("the webhook is shown", async || {
            for status in ["received", "processing", "failed", "ignored", "done"] {
                go(&mut browser, &page, &format!("webhooks?status={status}"), "webhooks-heading").await;
                browser.wait(&page, &format!("document.getElementById('status-of').value === '{status}'")).await;
                let hint = "document.querySelector('a[href^=\"#webhook?id=toss%3Ahint\"]')?.hash ?? null";
                if let Value::String(link) = browser.run(&page, hint).await {
                    go(&mut browser, &page, &link, "webhook-heading").await;
                    browser.picture(&page, &format!("console-webhook-{name}-{lang}")).await;
                    let shown = "document.getElementById('view').textContent.includes('<img src=x')";
                    return (browser.run(&page, shown).await == true).then_some(());
                }
            }
            None
        })
        .await;
        assert_eq!(
            browser.run(&page, "window.pwned ?? document.querySelectorAll('#view img, #view script').length").await,
            0
        );
        assert_eq!(browser.complaints(&page).await, Vec::<String>::new());

        // The key is forgotten, and a wrong one shows nothing.
        press(&mut browser, &page, "leave", false).await;
        browser.wait(&page, "document.activeElement?.id === 'key'").await;
        browser.write(&page, "no-such-key").await;
        browser.press(&page, "Enter").await;
        status(&mut browser, &page, if lang == "ko" { "이 키로는" } else { "This key opens" }).await;
        assert_eq!(
            browser.run(&page, "document.getElementById('view').textContent + sessionStorage.length").await,
            "0"
        );
        browser.close().await;
    }
}
