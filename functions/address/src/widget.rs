//! The page that holds Daum's postcode widget, and our own search where that does not load.
//!
//! It is opened by an application of ours, in a window or a frame, and hands it the chosen address by `postMessage`. The
//! page is made for one origin, which must be among the configured ones: the script tells nobody else, and no other page
//! may frame this one. Nothing on it is inline, so its policy allows no inline script; what is put into it is escaped.
//! It brings no credentials: the opener gives it a token, the same way.

use ieum::api::Reply;
use ieum::error::{ApiError, Language, Sentence};
use url::Url;

/// Daum's script below the host it comes from.
const DAUM_SCRIPT: &str = "/mapjsapi/bundle/postcode/prod/postcode.v2.js";

/// Where the widget's frame comes from: today's host, and the one before it, which is still seen.
const DAUM_FRAMES: &str = "https://postcode.map.kakao.com https://postcode.map.daum.net";

const PAGE: &str = include_str!("widget/page.html");
const SCRIPT: &str = include_str!("widget/widget.js");
const STYLE: &str = include_str!("widget/widget.css");

/// What a script or style of ours may do when a browser opens it as a page.
const NOTHING: &str = "default-src 'none'";

const fn sentence(ko: &'static str, en: &'static str) -> Sentence {
    Sentence { ko, en }
}

/// What stands on the page, by the place in `page.html` where it goes.
const SENTENCES: [(&str, Sentence); 19] = [
    ("lang", sentence("ko", "en")),
    ("title", sentence("주소 찾기", "Find an address")),
    ("daum", sentence("우편번호 서비스", "Postcode service")),
    ("other", sentence("다른 방법으로 찾기", "Search another way")),
    ("query", sentence("도로명, 지번 또는 건물명", "Road, lot or building")),
    ("hint", sentence("예: 세종대로 110, 역삼동 737, 낙원상가", "For example: Sejong-daero 110")),
    ("search", sentence("검색", "Search")),
    ("results", sentence("검색 결과", "Results")),
    ("more", sentence("더 보기", "More")),
    ("detail", sentence("상세 주소 (동, 층, 호)", "Floor and room")),
    ("back", sentence("다시 찾기", "Search again")),
    ("use", sentence("이 주소 사용", "Use this address")),
    (
        "alone",
        sentence(
            "주소를 입력할 화면에서 열어 주세요.",
            "Please open this page from the form that asks for an address.",
        ),
    ),
    ("waiting", sentence("연결하는 중입니다.", "Connecting.")),
    ("searching", sentence("찾는 중입니다.", "Searching.")),
    ("found", sentence("#건을 찾았습니다. 주소를 선택해 주세요.", "# found. Please choose one.")),
    ("none", sentence("검색 결과가 없습니다. 검색어를 바꿔 보세요.", "Nothing was found. Please try other words.")),
    (
        "failed",
        sentence("연결하지 못했습니다. 잠시 후 다시 시도해 주세요.", "There is no connection. Please try again later."),
    ),
    (
        "sent",
        sentence(
            "주소를 전달했습니다. 이 창을 닫아도 됩니다.",
            "The address was handed over. You may close this window.",
        ),
    ),
];

/// The page for `origin`, with Daum's script from `daum`.
///
/// # Errors
/// 500 when `origin` is not fit for a header; a configured one is.
pub fn page(origin: &str, daum: &Url, language: Language) -> Result<Reply, ApiError> {
    let host = daum.origin().ascii_serialization();
    let script = format!("{}{DAUM_SCRIPT}", daum.as_str().trim_end_matches('/'));
    let policy = format!(
        "default-src 'none'; script-src 'self' {host}; style-src 'self'; img-src {host}; connect-src 'self'; \
         frame-src {DAUM_FRAMES}; frame-ancestors {origin}; base-uri 'none'; form-action 'none'"
    );
    let mut body = PAGE.replace("{origin}", &escaped(origin)).replace("{postcode}", &escaped(&script));
    for (place, sentence) in SENTENCES {
        body = body.replace(&format!("{{{place}}}"), &escaped(sentence.in_language(language)));
    }
    Reply::page("text/html; charset=utf-8", &policy, body)
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

/// Text as it may stand in HTML, between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The values of `attribute` in `text`.
    fn values<'t>(text: &'t str, attribute: &str) -> BTreeSet<&'t str> {
        text.split(&format!("{attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    /// What stands between `before` and the next quote, everywhere in the script.
    fn named(before: &str) -> BTreeSet<&'static str> {
        SCRIPT.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_place_on_the_page_has_a_sentence_and_every_sentence_a_place() {
        let places: BTreeSet<&str> =
            PAGE.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place).collect();
        let filled: BTreeSet<&str> = SENTENCES.iter().map(|(place, _)| *place).chain(["origin", "postcode"]).collect();
        assert_eq!(places, filled);
    }

    #[test]
    fn the_script_finds_what_it_looks_for_on_the_page() {
        let ids = values(PAGE, " id");
        let wanted = named("element(\"");
        assert!(wanted.len() > 10 && wanted.is_subset(&ids), "{:?}", wanted.difference(&ids));
        for sentence in SCRIPT.split("sentences.").skip(1) {
            let name: String = sentence.chars().take_while(char::is_ascii_alphabetic).collect();
            assert!(PAGE.contains(&format!("data-{name}=")), "{name}");
        }
        let labelled = values(PAGE, "label for");
        assert_eq!(labelled, BTreeSet::from(["detail", "query"]), "every field has a label");
    }

    #[test]
    fn nothing_is_inline_and_no_text_becomes_markup() {
        for inline in ["<style", " style=", " onclick", " onload", " onsubmit", "javascript:", "<script>"] {
            assert!(!PAGE.contains(inline), "`{inline}` on the page");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        for markup in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("] {
            assert!(!SCRIPT.contains(markup), "`{markup}` in the script");
        }
    }

    #[test]
    fn the_script_speaks_to_one_origin_only() {
        assert_eq!(SCRIPT.matches("postMessage(").count(), 1);
        assert!(SCRIPT.contains("postMessage(message, origin)"));
        assert!(SCRIPT.contains("event.origin !== origin || event.source !== opener"));
        assert!(!SCRIPT.contains("\"*\"") && !SCRIPT.contains("localStorage") && !SCRIPT.contains("cookie"));
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
