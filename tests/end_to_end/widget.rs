//! The postcode page of `address`, in a browser: what a person sees and does, and who is told what.
//!
//! Pictures of it lie in `target/tmp/widget-*.png` afterwards.

use serde_json::{Value, json};

use super::browser::{Browser, Page};
use super::{Stage, encoded};

/// A site that may open the page (`AllowedOrigins` of `infra/xtask/local.toml`).
const PORTAL: &str = "http://localhost:5173";
/// One that may not.
const STRANGER: &str = "http://stranger.example";

/// A token of the issuer in `secrets.json`, for `address:read`, good until 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImJyb3dzZXIifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUub3JnIiwiYXVkIjoiaWV1bSIsInN1YiI6InZpc2l0b3IiLCJzY29wZSI6ImFkZHJlc3M6cmVhZCIsImV4cCI6NDEwMjQ0NDgwMH0.JdRQrFT4Uds0XoSscDse2xsM1c_k-6kLaGrNAeB_eEU";

const PHONE: (u32, u32) = (360, 740);
const DESK: (u32, u32) = (1024, 768);

/// A browser; where there is none, the check says so.
async fn browser(stage: &mut Stage) -> Option<Browser> {
    let browser = Browser::start(&[PORTAL, STRANGER]).await;
    if browser.is_none() {
        stage.skipped = Some("no Chromium in PATH or IEUM_CHROMIUM");
    }
    browser
}

fn address_of_page(stage: &Stage, origin: &str, lang: &str) -> String {
    format!("{}/v1/addresses/widget?origin={}&lang={lang}", stage.system.url(), encoded(origin))
}

/// A page of `site` that has opened `address` in a window, and that window.
async fn window(browser: &mut Browser, site: &str, address: &str) -> (Page, Page) {
    let opener = browser.open(site).await;
    browser.wait(&opener, "Array.isArray(window.got)").await;
    browser.run(&opener, &format!("window.page = open('{address}', '_blank', 'width=480,height=720'); 0")).await;
    (opener, browser.opened("/v1/addresses/widget").await)
}

/// How often the site was told `message`.
async fn times(browser: &mut Browser, site: &Page, message: &str) -> Value {
    browser.run(site, &format!("got.filter((one) => one.data.type === '{message}').length")).await
}

/// Hands over the token that the page is waiting for.
async fn hand_over(browser: &mut Browser, site: &Page, api: &str, token: &str, turn: u32) {
    let wanted = "got.filter((one) => one.data.type === 'ieum.address.token_wanted').length";
    browser.wait(site, &format!("{wanted} === {turn}")).await;
    browser.run(site, &format!("page.postMessage({{type: 'ieum.address.token', token: '{token}'}}, '{api}')")).await;
}

/// The choice that the site was told of, and by whom.
async fn choice(browser: &mut Browser, site: &Page) -> Value {
    browser.wait(site, "got.find((one) => one.data.type === 'ieum.address.chosen')").await
}

async fn has_focus(browser: &mut Browser, page: &Page, id: &str) {
    browser.wait(page, &format!("document.activeElement.id === '{id}'")).await;
}

async fn status(browser: &mut Browser, page: &Page, text: &str) {
    browser.wait(page, &format!("document.getElementById('status').textContent === '{text}'")).await;
}

/// Nothing is wider than the screen, and what is to be pressed is large enough for a finger.
async fn fits(browser: &mut Browser, page: &Page) {
    let wide = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(browser.run(page, wide).await, json!(false), "it is wider than the screen");
    let small = "[...document.querySelectorAll('button, input')].filter((one) => one.offsetParent)\
        .filter((one) => one.getBoundingClientRect().height < 44).length";
    assert_eq!(browser.run(page, small).await, json!(0), "something is too small to be touched");
}

pub(crate) async fn a_person_finds_an_address_with_the_keyboard_alone(stage: &mut Stage) {
    let Some(mut browser) = browser(stage).await else { return };
    let api = stage.system.url().to_owned();
    // Daum's script does not load, so the page offers its own search.
    stage.client.sandbox("daum", json!({"mode": "down"})).await;
    let (portal, page) = window(&mut browser, PORTAL, &address_of_page(stage, PORTAL, "ko")).await;
    browser.show(&page, PHONE).await;
    has_focus(&mut browser, &page, "query").await;
    browser.write(&page, "세종대로 110").await;
    browser.press(&page, "Enter").await;
    // A token that is refused is asked for once more.
    hand_over(&mut browser, &portal, &api, "an.old.token", 1).await;
    hand_over(&mut browser, &portal, &api, TOKEN, 2).await;
    status(&mut browser, &page, "검색 결과 1건").await;
    fits(&mut browser, &page).await;
    browser.picture(&page, "widget-found").await;
    // Past the button beside the field to the first result.
    browser.press(&page, "Tab").await;
    browser.press(&page, "Tab").await;
    assert_eq!(browser.run(&page, "document.activeElement.closest('#results') !== null").await, json!(true));
    browser.press(&page, "Enter").await;
    has_focus(&mut browser, &page, "detail").await;
    browser.write(&page, "3층").await;
    fits(&mut browser, &page).await;
    browser.picture(&page, "widget-chosen").await;
    browser.press(&page, "Enter").await;

    let told = choice(&mut browser, &portal).await;
    let (address, source) = (&told["data"]["address"], &told["data"]["source"]);
    assert_eq!((&told["origin"], source), (&json!(api), &json!("search")), "{told}");
    assert_eq!(
        (&address["postal_code"], &address["road_address"], &address["detail"]),
        (&json!("04524"), &json!("서울특별시 중구 세종대로 110"), &json!("3층"))
    );
    browser.wait(&portal, "page.closed").await;

    // Escape ends it without a choice.
    let (portal, page) = window(&mut browser, PORTAL, &address_of_page(stage, PORTAL, "ko")).await;
    browser.show(&page, PHONE).await;
    has_focus(&mut browser, &page, "query").await;
    browser.press(&page, "Escape").await;
    browser.wait(&portal, "page.closed").await;
    assert_eq!(times(&mut browser, &portal, "ieum.address.closed").await, json!(1));
    assert_eq!(times(&mut browser, &portal, "ieum.address.chosen").await, json!(0));
    browser.close().await;
}

pub(crate) async fn daums_widget_is_offered_in_a_frame_and_what_it_says_is_unified(stage: &mut Stage) {
    let Some(mut browser) = browser(stage).await else { return };
    let api = stage.system.url().to_owned();
    let portal = browser.open(PORTAL).await;
    browser.wait(&portal, "Array.isArray(window.got)").await;
    let framed = "const frame = document.createElement('iframe'); frame.width = 480; frame.height = 720;\
        document.body.append(frame); window.page = frame.contentWindow; frame.src =";
    browser.run(&portal, &format!("{framed} '{}'; 0", address_of_page(stage, PORTAL, "en"))).await;
    let page = browser.opened("/v1/addresses/widget").await;
    browser.wait(&page, "document.querySelector('#daum-frame button') !== null").await;
    status(&mut browser, &page, "Search below and choose an address.").await;
    browser.run(&page, "document.querySelector('#daum-frame button').click()").await;
    hand_over(&mut browser, &portal, &api, TOKEN, 1).await;
    has_focus(&mut browser, &page, "detail").await;
    browser.picture(&portal, "widget-daum").await;
    browser.run(&page, "document.querySelector('#chosen [type=submit]').click()").await;
    let told = choice(&mut browser, &portal).await;
    let address = &told["data"]["address"];
    assert_eq!((&told["origin"], &told["data"]["source"]), (&json!(api), &json!("daum")), "{told}");
    // Daum says "서울".
    assert_eq!(address["road_address"], "서울특별시 중구 세종대로 110");
    assert_eq!((&address["postal_code"], address.get("detail")), (&json!("04524"), None));
    // Who prefers it searches here.
    browser.run(&page, "document.getElementById('again').click()").await;
    browser.run(&page, "document.getElementById('to-search').click()").await;
    has_focus(&mut browser, &page, "query").await;
    assert_eq!(browser.complaints(&page).await, Vec::<String>::new(), "the policy allows all that the page needs");
    browser.close().await;
}

pub(crate) async fn a_stranger_gets_no_page_no_message_and_no_search(stage: &mut Stage) {
    let Some(mut browser) = browser(stage).await else { return };
    let api = stage.system.url().to_owned();
    stage.client.sandbox("daum", json!({"mode": "down"})).await;
    // The page is not made for a stranger …
    let (_, page) = window(&mut browser, STRANGER, &address_of_page(stage, STRANGER, "en")).await;
    browser.wait(&page, "document.body.textContent.includes('origin_not_allowed')").await;
    // … one made for the portal speaks to the portal only, and listens to nobody else …
    let (stranger, page) = window(&mut browser, STRANGER, &address_of_page(stage, PORTAL, "en")).await;
    browser.show(&page, DESK).await;
    has_focus(&mut browser, &page, "query").await;
    browser
        .run(&stranger, &format!("page.postMessage({{type: 'ieum.address.token', token: '{TOKEN}'}}, '{api}')"))
        .await;
    browser.write(&page, "Sejong-daero 110").await;
    browser.press(&page, "Enter").await;
    status(&mut browser, &page, "This search is not authorised. Please open it again from the page before.").await;
    assert_eq!(browser.run(&stranger, "got").await, json!([]), "nothing is said to a stranger");
    assert_eq!(stage.client.calls("juso").await, 0);
    browser.picture(&page, "widget-stranger").await;
    // … and cannot be framed by a stranger.
    let framed = "const frame = document.createElement('iframe'); document.body.append(frame); frame.src =";
    browser.run(&stranger, &format!("{framed} '{}'; 0", address_of_page(stage, PORTAL, "en"))).await;
    let refused = async |browser: &mut Browser| {
        let complaints = browser.complaints(&stranger).await;
        complaints.into_iter().find(|complaint| complaint.contains("frame-ancestors"))
    };
    super::client::eventually("the frame is refused", async || refused(&mut browser).await).await;
    // Opened by nobody, it says what it is for.
    let page = browser.open(&address_of_page(stage, PORTAL, "en")).await;
    status(&mut browser, &page, "This page works only when another page opens it.").await;
    browser.close().await;
}

pub(crate) async fn results_fit_a_phone_and_a_desk_in_both_languages(stage: &mut Stage) {
    let Some(mut browser) = browser(stage).await else { return };
    let api = stage.system.url().to_owned();
    stage.client.sandbox("daum", json!({"mode": "down"})).await;
    for (lang, found, size, name) in [
        ("ko", "검색 결과 250건", PHONE, "widget-phone-ko"),
        ("en", "Addresses found: 250", PHONE, "widget-phone-en"),
        ("ko", "검색 결과 250건", DESK, "widget-desk-ko"),
        ("en", "Addresses found: 250", DESK, "widget-desk-en"),
    ] {
        let (portal, page) = window(&mut browser, PORTAL, &address_of_page(stage, PORTAL, lang)).await;
        browser.show(&page, size).await;
        has_focus(&mut browser, &page, "query").await;
        browser.write(&page, "가나다로").await;
        browser.press(&page, "Enter").await;
        hand_over(&mut browser, &portal, &api, TOKEN, 1).await;
        status(&mut browser, &page, found).await;
        browser.picture(&page, name).await;
        fits(&mut browser, &page).await;
        let first = "document.querySelector('#results button').textContent";
        let before = browser.run(&page, first).await;
        let shown = if lang == "ko" {
            "서울특별시 중구 가나다로 1서울특별시"
        } else {
            "1 Ganada-ro, Jung-gu, Seoul"
        };
        assert!(before.as_str().is_some_and(|text| text.contains(shown)), "{before}");
        browser.run(&page, "document.getElementById('next').click()").await;
        browser.wait(&page, &format!("{first} !== {before}")).await;
        assert_eq!(browser.run(&page, "document.querySelectorAll('#results button').length").await, json!(10));
        // A mistake is told in the person's language, in the page's own words.
        browser.run(&page, "const query = document.getElementById('query'); query.value = '1'; query.focus()").await;
        browser.press(&page, "Enter").await;
        let advice = if lang == "ko" { "숫자만으로는" } else { "Digits alone" };
        browser.wait(&page, &format!("document.getElementById('status').textContent.startsWith('{advice}')")).await;
        browser.picture(&page, &format!("{name}-advice")).await;
    }
    browser.close().await;
}

pub(crate) async fn a_page_of_another_origin_calls_the_api_and_a_strangers_cannot(stage: &mut Stage) {
    let Some(mut browser) = browser(stage).await else { return };
    let address = format!("{}/v1/addresses?query={}", stage.system.url(), encoded("세종대로 110"));
    let call = format!(
        "fetch('{address}', {{headers: {{authorization: 'Bearer {TOKEN}'}}}})\
            .then(async (answer) => ({{source: answer.headers.get('x-ieum-source'), body: await answer.json()}}))\
            .catch((error) => String(error))"
    );
    let portal = browser.open(PORTAL).await;
    browser.wait(&portal, "Array.isArray(window.got)").await;
    let answer = browser.run(&portal, &call).await;
    assert_eq!(answer["body"]["addresses"][0]["postal_code"], "04524", "{answer}");
    assert!(answer["source"].is_string(), "our headers are shown to pages: {answer}");
    let stranger = browser.open(STRANGER).await;
    browser.wait(&stranger, "Array.isArray(window.got)").await;
    assert_eq!(browser.run(&stranger, &call).await, "TypeError: Failed to fetch");
    browser.close().await;
}
