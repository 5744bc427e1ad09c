//! The page on which a person chooses an address: `GET /v1/addresses/widget?origin=…&lang=…`.
//!
//! A front end opens it in a frame or a window. It offers the Daum Postcode widget, which lives in browsers only; where
//! its script does not load within five seconds, or the person prefers it, our own search. The choice goes to the page
//! that opened this one, by `postMessage` to the one origin in `?origin=`. An origin that is not configured gets a 403 and
//! no page, and only that origin may frame the page. Nothing on it is inline, so its policy allows no inline script.
//!
//! # Messages
//!
//! From the page, to `origin` only, never to `*`:
//! - `{type: "ieum.address.ready"}`: it listens.
//! - `{type: "ieum.address.token_wanted"}`: there is something to ask, and there is no token, or it was refused.
//! - `{type: "ieum.address.chosen", source: "daum" | "search", address}`: an address in our form, whoever found it, with the
//!   person's `detail`. What Daum's widget says went through `POST /v1/addresses/normalize` first.
//! - `{type: "ieum.address.closed"}`: the person pressed Escape.
//!
//! To the page, heeded only from its opener or parent and from that origin:
//! - `{type: "ieum.address.token", token}`: a short-lived token of a configured issuer with the scope `address:read`.
//!
//! # Who asks
//!
//! The page, its script and its style are public and hold nothing. The API is not: the page sends the embedder's token as a
//! bearer token to its own origin, and keeps it in memory alone. So there is no key in a page, address or storage, a
//! person's searches count as that person's, and no second kind of credential is needed: a publishable API key would be
//! anybody's to spend our quotas with. The token is asked for when it is first needed. Daum's script runs in the same page
//! and could listen: whoever issues the token gives it this one scope and minutes to live.
//!
//! A choice comes from a browser: a server that receives it checks it again. For the same reason this file never says
//! that an address is right.

use ieum::api::Reply;
use ieum::error::{ApiError, Language, Sentence};

use crate::config::WidgetConfig;

/// Daum's script below the host it comes from.
const DAUM_SCRIPT: &str = "/mapjsapi/bundle/postcode/prod/postcode.v2.js";

const PAGE: &str = include_str!("widget/page.html");
const SCRIPT: &str = include_str!("widget/widget.js");
const STYLE: &str = include_str!("widget/widget.css");

/// What a script or style of ours may do when a browser opens it as a page.
const NOTHING: &str = "default-src 'none'";

/// Every text of the page, under the name by which `page.html` asks for it.
const TEXTS: [(&str, Sentence); 25] = [
    text("title", "주소 찾기", "Find an address"),
    text("loading", "주소 검색을 불러오는 중입니다.", "Loading the address search."),
    text("noscript", "이 화면에는 자바스크립트가 필요합니다.", "This page needs JavaScript."),
    text("daum_label", "다음 우편번호 서비스", "Daum Postcode service"),
    text("daum_ready", "아래에서 주소를 검색해 선택해 주세요.", "Search below and choose an address."),
    text("to_search", "다른 방법으로 검색하기", "Search another way"),
    text("search_label", "주소 검색", "Address search"),
    text("search_ready", "주소를 입력하고 검색해 주세요.", "Type an address and search."),
    text("query_label", "검색할 주소", "Address to find"),
    text(
        "hint",
        "도로명, 지번 또는 건물 이름 (예: 세종대로 110)",
        "A road, lot number or building, for example Sejong-daero 110",
    ),
    text("search", "검색", "Search"),
    text("searching", "검색 중입니다.", "Searching."),
    text("checking", "주소를 확인하는 중입니다.", "Checking the address."),
    text("found", "검색 결과 #건", "Addresses found: #"),
    text(
        "none",
        "검색 결과가 없습니다. 도로명이나 건물 번호를 확인해 주세요.",
        "Nothing was found. Please check the road name or number.",
    ),
    text(
        "failed",
        "지금은 검색할 수 없습니다. 잠시 후 다시 시도해 주세요.",
        "The search is not available now. Please try again in a moment.",
    ),
    text(
        "unauthenticated",
        "검색 권한을 확인할 수 없습니다. 이전 화면에서 다시 열어 주세요.",
        "This search is not authorised. Please open it again from the page before.",
    ),
    text("alone", "이 화면은 다른 페이지에서 열어야 합니다.", "This page works only when another page opens it."),
    text("previous", "이전 결과", "Previous results"),
    text("next", "다음 결과", "Next results"),
    text("chosen", "선택한 주소", "Chosen address"),
    text("detail_label", "상세 주소 (동, 층, 호)", "Detail: building, floor, room"),
    text("use", "이 주소 사용", "Use this address"),
    text("again", "다시 검색", "Search again"),
    text("sent", "주소를 전달했습니다.", "The address has been handed over."),
];

const fn text(name: &'static str, ko: &'static str, en: &'static str) -> (&'static str, Sentence) {
    (name, Sentence { ko, en })
}

/// The page for `origin`, which is one of the configured ones.
///
/// # Errors
/// 500 when the policy is not fit for a header; one made of configured origins is.
pub fn page(config: &WidgetConfig, origin: &str, language: Language) -> Result<Reply, ApiError> {
    Reply::page("text/html; charset=utf-8", &policy(config, origin), render(config, origin, language))
}

/// The page's script.
///
/// # Errors
/// None in practice: the policy is constant.
pub fn script() -> Result<Reply, ApiError> {
    Reply::page("text/javascript; charset=utf-8", NOTHING, SCRIPT)
}

/// The page's style.
///
/// # Errors
/// None in practice: the policy is constant.
pub fn style() -> Result<Reply, ApiError> {
    Reply::page("text/css; charset=utf-8", NOTHING, STYLE)
}

/// What the browser may load and run for a page embedded by `origin`. A host is named whole, because Daum's script loads
/// others of its host.
fn policy(config: &WidgetConfig, origin: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' {}; style-src 'self'; connect-src 'self'; frame-src {}; base-uri 'none'; \
         form-action 'none'; frame-ancestors {origin}",
        config.daum_base_url.origin().ascii_serialization(),
        config.daum_frames.join(" "),
    )
}

fn render(config: &WidgetConfig, origin: &str, language: Language) -> String {
    let daum = format!("{}{DAUM_SCRIPT}", config.daum_base_url.as_str().trim_end_matches('/'));
    let value = |name: &str| match name {
        "origin" => origin,
        "script" => daum.as_str(),
        "lang" => match language {
            Language::Korean => "ko",
            Language::English => "en",
        },
        _ => TEXTS.iter().find(|text| text.0 == name).map_or("", |text| text.1.in_language(language)),
    };
    let (mut page, mut rest) = (String::with_capacity(PAGE.len() * 2), PAGE);
    while let Some((before, after)) = rest.split_once("{{")
        && let Some((name, after)) = after.split_once("}}")
    {
        page.push_str(before);
        page.push_str(&escaped(value(name)));
        rest = after;
    }
    page + rest
}

/// `text` as it may stand in an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ieum::testing::page::{assert_fits, names};
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn config(daum: &str) -> WidgetConfig {
        WidgetConfig { origins: Vec::new(), daum_base_url: Url::parse(daum).unwrap(), daum_frames: Vec::new() }
    }

    #[test]
    fn what_stands_in_the_page_is_escaped() {
        let page = render(
            &config("https://t1.daumcdn.net/{{title}}?a=1&b"),
            "\"><script>alert(1)</script>",
            Language::English,
        );
        assert!(page.contains("data-origin=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\""));
        assert!(!page.contains("Find an address?a=1") && page.contains("?a=1&amp;b"), "filled in once");
    }

    #[test]
    fn the_page_asks_for_every_text_and_for_no_other() {
        let known: BTreeSet<&str> = TEXTS.iter().map(|text| text.0).chain(["lang", "origin", "script"]).collect();
        assert_eq!(names(PAGE, "{{", "}}"), known);
    }

    #[test]
    fn every_text_is_there_in_both_languages() {
        let is_hangul = |c: char| ('가'..='힣').contains(&c);
        for (name, Sentence { ko, en }) in TEXTS {
            assert!(ko.contains(is_hangul) && !en.contains(is_hangul) && !en.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_page_has_no_script_style_or_handler_of_its_own() {
        let page = PAGE.to_ascii_lowercase();
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("<script src=\"widget.js\" defer></script>"));
        for banned in
            ["<style", "style=", "javascript:", "<base", "<iframe", "<object", "<meta http-equiv", "http:", "https:"]
        {
            assert!(!page.contains(banned), "{banned}");
        }
        for (place, _) in page.match_indices(" on") {
            let rest = page[place + 3..].trim_start_matches(|c: char| c.is_ascii_alphabetic());
            assert!(!rest.starts_with('='), "{}", &page[place..place + 20]);
        }
    }

    #[test]
    fn a_page_without_sight_or_mouse_is_a_page() {
        let ids = names(PAGE, " id=\"", "\"");
        let labels = names(PAGE, "<label for=\"", "\"");
        for input in PAGE.lines().filter(|line| line.starts_with("<input")) {
            let id = names(input, " id=\"", "\"");
            assert!(id.len() == 1 && id.is_subset(&labels), "{input}");
        }
        for reference in ["aria-describedby=\"", "aria-labelledby=\"", "<label for=\""] {
            assert!(names(PAGE, reference, "\"").is_subset(&ids), "{reference}");
        }
        assert!(PAGE.contains("role=\"status\" aria-live=\"polite\"") && PAGE.contains("width=device-width"));
        assert!(!PAGE.contains("tabindex") && !STYLE.contains("outline: none"));
        assert!(STYLE.contains("prefers-color-scheme: dark") && STYLE.contains(":focus-visible"));
    }

    #[test]
    fn the_script_writes_text_and_speaks_to_one_origin() {
        for banned in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "setAttribute",
            ".style",
            "localStorage",
            "sessionStorage",
            "document.cookie",
            "\"*\"",
            "'*'",
            "console.",
            "location.search",
        ] {
            assert!(!SCRIPT.contains(banned), "{banned}");
        }
        // One place posts, to the origin the server put into the page; one place listens, to that origin and window.
        assert_eq!(SCRIPT.matches("postMessage").count(), 1);
        assert!(SCRIPT.contains("embedder.postMessage(message, target)"));
        assert!(SCRIPT.contains("const target = given.origin;"));
        assert_eq!(SCRIPT.matches("addEventListener(\"message\"").count(), 1);
        assert!(SCRIPT.contains("if (event.origin !== target || event.source !== embedder) return;"));
    }

    #[test]
    fn the_script_uses_what_the_page_has() {
        assert_fits(PAGE, SCRIPT);
    }

    proptest! {
        #[test]
        fn whatever_is_escaped_stays_in_its_place(text in ".{0,40}") {
            let safe = escaped(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            let back = safe.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(back.replace("&amp;", "&"), text);
        }
    }
}
