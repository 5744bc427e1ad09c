//! The page's files, held against each other and against what a strict policy and a person without sight or mouse need.

use std::collections::BTreeSet;

use ieum::testing::page::{assert_fits, names};

use super::*;

#[test]
fn every_template_can_be_read_and_asks_for_texts_that_are_there() {
    let pages = Pages::new(Stage::Local, Vec::new());
    let known: BTreeSet<&str> = TEXTS.iter().map(|(name, _)| *name).collect();
    let mut asked = BTreeSet::new();
    for (name, text) in TEMPLATES {
        assert!(pages.korean.get_template(name).is_ok(), "{name}");
        for rest in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')) {
            asked.extend(rest.strip_prefix("t."));
        }
    }
    // Those are asked for by the code.
    asked.extend(["calls_chart", "durations_chart"]);
    assert_eq!(asked, known);
}

#[test]
fn every_text_is_there_in_both_languages() {
    let is_hangul = |c: char| ('가'..='힣').contains(&c);
    for (name, text) in TEXTS.into_iter().chain(WORDS).filter(|(name, _)| !name.starts_with("other_lang")) {
        assert!(text.ko.contains(is_hangul) && !text.en.contains(is_hangul) && !text.en.is_empty(), "{name}");
    }
}

#[test]
fn what_can_be_counted_has_a_word() {
    let known: BTreeSet<&str> = WORDS.iter().map(|(name, _)| *name).collect();
    let states = ieum::delivery::ledger::State::ALL.map(ieum::delivery::ledger::State::name);
    let statuses = ieum::delivery::inbox::Status::ALL.map(ieum::delivery::inbox::Status::name);
    for word in ieum::resilience::rollup::SETBACKS.into_iter().chain(states).chain(statuses) {
        assert!(known.contains(word), "{word}");
    }
}

#[test]
fn no_template_has_a_script_style_or_handler_of_its_own() {
    for (name, text) in TEMPLATES {
        let text = text.to_ascii_lowercase();
        for banned in ["<style", "style=", "javascript:", "<base", "<iframe", "<object", "http:", "https:", "<script>"]
        {
            assert!(!text.contains(banned), "{name}: {banned}");
        }
        for (place, _) in text.match_indices(" on") {
            let rest = text[place + 3..].trim_start_matches(|c: char| c.is_ascii_alphabetic());
            assert!(!rest.starts_with('='), "{name}");
        }
    }
}

#[test]
fn only_a_picture_of_ours_is_not_escaped() {
    let unescaped = TEMPLATES.iter().flat_map(|(_, text)| text.lines().filter(|line| line.contains("|safe")));
    let mut expressions = BTreeSet::new();
    unescaped
        .for_each(|line| expressions.extend(names(line, "{{ ", " }}").into_iter().filter(|one| one.contains("|safe"))));
    let pictures = ["one.timeline|safe", "span.of.calls_chart|safe", "span.of.durations_chart|safe"];
    assert_eq!(expressions, BTreeSet::from(pictures));
}

#[test]
fn the_script_makes_elements_in_one_place_and_speaks_to_its_own_origin() {
    for banned in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        ".style",
        "localStorage",
        "document.cookie",
        "console.log",
        "http",
    ] {
        let times = SCRIPT.lines().filter(|line| !line.trim().starts_with("//") && line.contains(banned)).count();
        assert_eq!(times, 0, "{banned}");
    }
    assert_eq!(SCRIPT.matches("DOMParser").count(), 1);
    assert_eq!(SCRIPT.matches("fetch(").count(), 1);
}

#[test]
fn the_script_uses_what_the_page_has() {
    assert_fits(TEMPLATES[0].1, SCRIPT);
}

#[test]
fn a_time_is_told_in_koreas() {
    assert_eq!(korean_time(Timestamp::from_millis(1_795_233_000_000)), "2026-11-21 12:50:00");
}
