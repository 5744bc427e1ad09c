//! Which remembered answers are void, by rules instead of deletions.
//!
//! Nobody can delete what other environments remember, or what is still on its way. So an invalidation is a [`Rule`]:
//! whatever matches it and began to be fetched at its time or before is void, wherever it lies and whenever it arrives.
//! A rule is a few bytes that every environment reads; it can be dropped once nothing older than it can be alive.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How many rules an integration may have at once. They are read often, in one item.
pub const MAX_RULES: usize = 100;

/// How long a target may be, in bytes.
pub const MAX_TARGET_BYTES: usize = 200;

/// Which answers a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The one under this key of the table, `cache#{operation}#{hmac}`.
    Key(String),
    /// Those whose request in words matches, where `*` stands for any text, also none: `company 123*`.
    Pattern(String),
}

impl Target {
    /// Whether the target says something, and not too much of it.
    pub fn is_sound(&self) -> bool {
        let (Self::Key(text) | Self::Pattern(text)) = self;
        !text.trim().is_empty() && text.len() <= MAX_TARGET_BYTES
    }

    /// The target in words, for the audit.
    pub fn words(&self) -> String {
        match self {
            Self::Key(key) => format!("key {key}"),
            Self::Pattern(pattern) => format!("pattern {pattern}"),
        }
    }

    fn meets(&self, key: &str, request: &str) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Pattern(pattern) => matches(pattern, request),
        }
    }

    /// Whether all that `other` meets is met by this too. A pattern that matches another one, taken as text, matches
    /// whatever that one matches: only its own `*` can stand for a `*` in the text.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(own), Self::Key(other)) => own == other,
            (Self::Pattern(own), Self::Pattern(other)) => matches(own, other),
            (Self::Pattern(own), Self::Key(_)) => own.bytes().all(|byte| byte == b'*'),
            (Self::Key(_), Self::Pattern(_)) => false,
        }
    }
}

/// Whatever meets the target and began to be fetched at `at` or before is void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which answers.
    #[serde(flatten)]
    pub target: Target,
    /// From when back, in milliseconds since the epoch.
    pub at: Timestamp,
}

/// The rules of an integration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// The rules themselves, oldest first.
    pub fn as_slice(&self) -> &[Rule] {
        &self.0
    }

    /// The time of the newest rule about this request: what began to be fetched then, or before, is void.
    pub fn void_until(&self, key: &str, request: &str) -> Option<Timestamp> {
        self.0.iter().filter(|rule| rule.target.meets(key, request)).map(|rule| rule.at).max()
    }

    /// These rules and `rule`, without those that it makes needless and those from before `oldest`, when nothing they
    /// are about can be alive any more. `None` when there are too many.
    pub fn with(&self, rule: Rule, oldest: Timestamp) -> Option<Self> {
        let needed = |old: &&Rule| old.at >= oldest && !(old.at <= rule.at && rule.target.covers(&old.target));
        let mut rules: Vec<Rule> = self.0.iter().filter(needed).cloned().collect();
        rules.push(rule);
        (rules.len() <= MAX_RULES).then_some(Self(rules))
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text. No other character is special. The time is at most
/// proportional to the product of both lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(byte), _) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            (_, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_795_233_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn pattern(text: &str, at: Timestamp) -> Rule {
        Rule { target: Target::Pattern(text.to_owned()), at }
    }

    fn rules(all: impl IntoIterator<Item = Rule>) -> Rules {
        all.into_iter().fold(Rules::default(), |rules, rule| rules.with(rule, Timestamp::default()).unwrap())
    }

    /// The definition, word for word.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            ([byte, pattern @ ..], [first, text @ ..]) => byte == first && by_definition(pattern, text),
            (_, []) => false,
        }
    }

    #[test]
    fn a_rule_is_about_one_key_or_about_requests_in_words() {
        let key = Rule { target: Target::Key("cache#company#ab".to_owned()), at: NOON };
        let rules = rules([key, pattern("company 12*", NOON.after(SECOND))]);
        assert_eq!(rules.void_until("cache#company#ab", "company 9"), Some(NOON));
        assert_eq!(rules.void_until("cache#company#ab", "company 123"), Some(NOON.after(SECOND)), "the newest counts");
        assert_eq!(rules.void_until("cache#company#abc", "company 9"), None);
        assert_eq!(rules.void_until("company 12", "status 12"), None, "a pattern is not about keys");
    }

    #[test]
    fn the_form_in_the_table_is_what_the_document_says() {
        let rules = rules([pattern("company *", NOON), Rule { target: Target::Key("k".to_owned()), at: NOON }]);
        let text = r#"[{"pattern":"company *","at":1795233000000},{"key":"k","at":1795233000000}]"#;
        assert_eq!(serde_json::to_string(&rules).unwrap(), text);
        assert_eq!(serde_json::from_str::<Rules>(text).unwrap(), rules);
        assert!(serde_json::from_str::<Rules>(r#"[{"at":1}]"#).is_err(), "a rule about nothing");
    }

    #[test]
    fn needless_rules_make_room_and_others_do_not() {
        let full = rules((0..MAX_RULES).map(|number| pattern(&format!("company {number}"), NOON)));
        let later = NOON.after(SECOND);
        assert_eq!(full.with(pattern("status 1", later), Timestamp::default()), None, "one too many");
        assert_eq!(full.with(pattern("company 7", later), Timestamp::default()).unwrap().0.len(), MAX_RULES);
        assert_eq!(full.with(pattern("company *", later), Timestamp::default()).unwrap().0.len(), 1);
        assert_eq!(full.with(pattern("status 1", later), later).unwrap().0.len(), 1, "the others are too old");
        let kept = rules([pattern("a", later)]).with(pattern("*", NOON), Timestamp::default()).unwrap();
        assert_eq!(kept.0.len(), 2, "an earlier rule does not cover a later one");
    }

    #[test]
    fn a_long_text_against_many_stars_is_decided_at_once() {
        assert!(!matches(&"*a".repeat(MAX_TARGET_BYTES / 2), &"a".repeat(99)));
        assert!(matches(&"*a".repeat(MAX_TARGET_BYTES / 2), &"a".repeat(100_000)));
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab*가]{0,8}", text in "[ab*가]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_pattern_made_from_a_text_matches_it(parts in prop::collection::vec("[a-c ]{0,4}", 1..6), fill in "[a-c ]{0,4}") {
            prop_assert!(matches(&parts.join("*"), &parts.join(&fill)));
        }

        #[test]
        fn what_a_dropped_rule_was_about_is_still_void(
            targets in prop::collection::vec("[ab*]{1,5}", 1..12), requests in prop::collection::vec("[ab]{0,6}", 1..20),
        ) {
            let all: Vec<Rule> = targets.iter().zip(0_u32..).map(|(text, n)| pattern(text, NOON.after(SECOND * n))).collect();
            let (kept, whole) = (rules(all.clone()), Rules(all));
            for request in &requests {
                prop_assert_eq!(kept.void_until("k", request), whole.void_until("k", request));
            }
        }
    }
}
