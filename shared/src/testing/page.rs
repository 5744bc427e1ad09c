//! What tests of served pages share: that a script and its page speak of the same things.

use std::collections::BTreeSet;

/// The names between `before` and `after` in `text`.
pub fn names<'t>(text: &'t str, before: &str, after: &str) -> BTreeSet<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
}

/// That every element `script` looks for by `at("id")` is in `page`, and that it uses, as `given.name`, exactly the data the
/// page hands it in `data-name`.
pub fn assert_fits(page: &str, script: &str) {
    let (ids, wanted) = (names(page, " id=\"", "\""), names(script, "at(\"", "\""));
    assert!(wanted.is_subset(&ids), "{wanted:?}");
    let camel = |name: &str| {
        let mut words = name.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &word[..1].to_ascii_uppercase() + &word[1..])
    };
    let given: BTreeSet<String> = names(page, " data-", "=").into_iter().map(camel).collect();
    let used = script.split("given.").skip(1);
    let used: BTreeSet<String> =
        used.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect()).collect();
    assert_eq!(used, given);
}
