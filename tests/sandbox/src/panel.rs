//! The sandbox's part of the operator page, for local runs: break a provider with one click, send requests, read what was
//! sent. The page's own script sends what the forms say; `panel.js` keeps asking while somebody watches.
//!
//! Mail and texts are shown as text. This file is not part of anything that is deployed.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::server::Registry;

/// The script beside the page's own.
const SCRIPT: &str = include_str!("panel.js");

/// How many of the newest mails and texts are shown.
const NEWEST: usize = 20;

/// The providers of mail and of texts, and where each remembers what was sent.
const LETTERS: [(&str, &str); 6] = [
    ("sendgrid", "mails"),
    ("smtp", "mails"),
    ("ses", "mails"),
    ("solapi", "texts"),
    ("twilio", "texts"),
    ("sns", "texts"),
];

/// What one click does to a provider: its name, its words in Korean and English, the fields it sends.
type Switch = (&'static str, [&'static str; 2], Fields);
type Fields = &'static [(&'static str, &'static str)];

const SWITCHES: [Switch; 5] = [
    ("down", ["끊기", "Cut it off"], &[("mode", "down")]),
    ("error", ["오류 500", "Error 500"], &[("mode", "status"), ("status", "500")]),
    ("slow", ["10초 지연", "10 s late"], &[("mode", "slow"), ("delay_ms", "10000")]),
    ("throttle", ["429 제한", "429 throttle"], &[("mode", "status"), ("status", "429"), ("retry_after", "20")]),
    ("ok", ["정상으로", "Heal it"], &[("mode", "ok")]),
];

pub(crate) async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

pub(crate) async fn show(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let language = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let english = usize::from(language.starts_with("en"));
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], render(&registry, english)).into_response()
}

/// The part; `language` is 0 for Korean and 1 for English.
fn render(registry: &Registry, language: usize) -> String {
    let say = |ko: &'static str, en: &'static str| [ko, en][language];
    let mut page = format!(
        "<div class=\"part\" data-refresh=\"5\"><section aria-labelledby=\"sandbox-heading\"><h2 id=\"sandbox-heading\">{}</h2>\
         <p class=\"quiet\">{}</p>",
        say("샌드박스", "Sandbox"),
        say(
            "외부 서비스를 흉내 냅니다. 요청을 켜고 하나를 끊은 뒤, 아래 응답과 현황 화면에서 이음이 어떻게 버티는지 보세요.",
            "These stand in for the outside services. Start the requests, cut one off, and watch the answers below and the overview.",
        ),
    );
    let _ = write!(
        page,
        "<p><label><input type=\"checkbox\" id=\"traffic\"> {}</label></p>\
         <ol class=\"answers\" id=\"answers\" aria-label=\"{}\"></ol><div class=\"row\">",
        say("1초마다 회사 정보를 조회합니다 (nice)", "Ask for a company every second (nice)"),
        say("최근 응답", "The last answers"),
    );
    let try_it = [
        (
            "send-mail",
            "/v1/emails",
            say("메일 보내기", "Send a mail"),
            [
                ("to.address", "hong@example.kr"),
                ("template", "welcome"),
                ("variables.name", "홍길동"),
                ("variables.action_url", "https://portal.example.kr/start"),
            ]
            .as_slice(),
        ),
        (
            "send-text",
            "/v1/sms",
            say("문자 보내기", "Send a text"),
            [("to", "010-1234-5678"), ("text", "[이음] 안녕하세요.")].as_slice(),
        ),
    ];
    for (id, path, words, fields) in try_it {
        form(&mut page, id, path, words, "", fields);
    }
    let _ = write!(
        page,
        "</div></section><section aria-labelledby=\"switches\"><h2 id=\"switches\">{}</h2>\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-labelledby=\"switches\"><table><thead><tr>\
         <th scope=\"col\">{}</th><th scope=\"col\">{}</th><th scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead><tbody>",
        say("외부 서비스", "Outside services"),
        say("서비스", "Service"),
        say("모드", "Mode"),
        say("호출", "Calls"),
        say("바꾸기", "Switch"),
    );
    for mounted in registry.iter() {
        let (name, stats) = (mounted.name(), mounted.stats());
        let mode = serde_json::to_value(&stats.mode).unwrap_or_default();
        let mode = mode["mode"].as_str().unwrap_or_default();
        let (mode, calls) = (escaped(mode), stats.calls);
        let _ = write!(page, "<tr><th scope=\"row\">{name}</th><td id=\"mode-{name}\">{mode}</td><td>{calls}</td><td>");
        for (switch, words, fields) in SWITCHES {
            form(&mut page, &format!("{switch}-{name}"), &format!("/_sandbox/{name}"), words[language], name, fields);
        }
        page.push_str("</td></tr>");
    }
    page.push_str("</tbody></table></div></section>");
    for (kind, heading) in
        [("mails", say("보낸 메일", "Mail that was sent")), ("texts", say("보낸 문자", "Texts that were sent"))]
    {
        let _ = write!(page, "<section aria-labelledby=\"{kind}\"><h2 id=\"{kind}\">{heading}</h2>");
        let mut none = true;
        for (provider, _) in LETTERS.iter().filter(|(_, of)| *of == kind) {
            let Some(mounted) = registry.find(provider) else { continue };
            let state = mounted.stats().state;
            // By its place among all that were sent, so that it stays open when newer ones come.
            let letters = state[kind].as_array().map(Vec::as_slice).unwrap_or_default();
            for (place, letter) in letters.iter().enumerate().rev().take(NEWEST) {
                none = false;
                let _ = write!(
                    page,
                    "<details id=\"{provider}-{place}\"><summary>{provider}: {}</summary><pre tabindex=\"0\">{}</pre></details>",
                    escaped(&summary(letter)),
                    escaped(
                        &serde_json::to_string_pretty(letter)
                            .unwrap_or_default()
                            .replace("\\r\\n", "\n")
                            .replace("\\n", "\n")
                    ),
                );
            }
        }
        if none {
            let _ = write!(page, "<p class=\"quiet\">{}</p>", say("아직 없습니다.", "None yet."));
        }
        page.push_str("</section>");
    }
    page.push_str("</div>");
    page
}

/// A button that sends `fields` to `path`.
fn form(page: &mut String, id: &str, path: &str, words: &str, about: &str, fields: &[(&str, &str)]) {
    let _ = write!(page, "<form class=\"act inline\" data-method=\"POST\" data-path=\"{path}\">");
    for (name, value) in fields {
        let number = if matches!(*name, "status" | "delay_ms" | "retry_after") { " data-number=\"true\"" } else { "" };
        let _ = write!(page, "<input type=\"hidden\" name=\"{name}\" value=\"{}\"{number}>", escaped(value));
    }
    let _ = write!(page, "<button id=\"{id}\">{words}<span class=\"unseen\"> {about}</span></button></form> ");
}

/// Whom it went to and what it is about, as far as its form is known.
fn summary(letter: &Value) -> String {
    let to = [
        &letter["message"]["to"],
        &letter["form"]["To"],
        &letter["form"]["PhoneNumber"],
        &letter["to"][0],
        &letter["mail"]["personalizations"][0]["to"][0]["email"],
    ];
    let about = [
        &letter["message"]["text"],
        &letter["form"]["Body"],
        &letter["form"]["Message"],
        &letter["mail"]["subject"],
        &letter["mail"]["personalizations"][0]["subject"],
    ];
    let first = |of: &[&Value]| of.iter().find_map(|value| value.as_str()).unwrap_or_default().to_owned();
    let raw = letter["raw"].as_str().unwrap_or_default();
    let subject = raw.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
    format!("{} {}{subject}", first(&to), first(&about))
}

/// `text` as it may stand in an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers;

    #[test]
    fn each_provider_has_its_switches_and_what_was_sent_is_text() {
        let registry = Registry::new(providers::all());
        for mounted in registry.iter() {
            for page in [0, 1].map(|language| render(&registry, language)) {
                assert!(page.contains(&format!("data-path=\"/_sandbox/{}\"", mounted.name())), "{}", mounted.name());
            }
        }
        let letter = serde_json::json!({"message": {"to": "01012345678", "text": "<img src=x onerror=alert(1)>\"'&"}});
        assert_eq!(escaped(&summary(&letter)), "01012345678 &lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;");
    }
}
