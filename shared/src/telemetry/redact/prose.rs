//! Free text, read from left to right: messages, chains of errors, addresses, forms, headers, and JSON that is not whole.
//!
//! A word goes when the name before it says that it is secret, or when its own form does. What is encoded (by percent
//! signs, by JSON's escapes, as JSON within text) is read as what it stands for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{MASK, json, keys, names, numbers, text_or_json};

/// How often a text is searched for JSON: each search that finds none costs a look at what follows.
const SEARCHES: usize = 16;

/// Words that may stand between a secret's name and the secret.
const FILLERS: [&str; 8] = ["is", "was", "are", "equals", "value", "header", "field", "now"];

/// `text` without what must not be logged.
pub(super) fn read(text: &str, depth: usize) -> String {
    let shown = String::with_capacity(text.len());
    let mut reader = Reader { rest: text, shown, depth, searches: SEARCHES, last: "", next: Next::Open };
    while let Some(first) = reader.rest.chars().next() {
        reader.step(first);
    }
    let shown = reader.shown;
    numbers::masked(&shown).unwrap_or(shown)
}

/// What the words read so far say about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Open,
    /// It follows the name of a secret in a sentence: it goes unless it is plainly a word.
    Suspect,
    /// It follows `Bearer` or its like.
    Credential,
}

struct Reader<'a> {
    rest: &'a str,
    shown: String,
    depth: usize,
    searches: usize,
    /// The word before, while nothing but what may stand between a name and its value has followed.
    last: &'a str,
    next: Next,
}

impl<'a> Reader<'a> {
    fn step(&mut self, first: char) {
        if let Some(taken) = self.rest.strip_prefix("://").and_then(user_info) {
            self.shown.push_str("://");
            self.shown.push_str(MASK);
            self.rest = &self.rest[3 + taken..];
        } else if self.rest.starts_with("-----BEGIN") {
            self.skip_armour();
        } else if matches!(first, '{' | '[') && self.found_json() {
            (self.last, self.next) = ("", Next::Open);
        } else if let (end @ 1.., escaped) = word_end(self.rest) {
            let (raw, after) = self.rest.split_at(end);
            self.rest = after;
            if escaped { self.escaped_word(raw) } else { self.word(raw, raw) }
        } else {
            self.shown.push(first);
            self.rest = &self.rest[first.len_utf8()..];
            if !matches!(first, ' ' | '"' | '\'' | '`' | '\\' | ':' | '=' | '#' | '(') {
                (self.last, self.next) = ("", Next::Open);
            }
        }
    }

    /// A private key or certificate in PEM goes whole.
    fn skip_armour(&mut self) {
        let end = self.rest[10..].find("-----END").map(|place| place + 18);
        let end = end.and_then(|place| Some(place + self.rest[place..].find("-----")? + 5));
        self.shown.push_str(MASK);
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    /// Reads JSON that begins here, if it does.
    fn found_json(&mut self) -> bool {
        let inner = self.rest[1..].trim_start();
        if !inner.starts_with(['"', '{', '[']) || self.searches == 0 {
            return false;
        }
        self.searches -= 1;
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else { return false };
        let end = values.byte_offset();
        self.shown.push_str(&json(value, self.depth + 1).to_string());
        self.rest = &self.rest[end..];
        true
    }

    fn escaped_word(&mut self, raw: &'a str) {
        let plain = unescaped(raw);
        if is_plain_word(&plain) {
            return self.word(raw, &plain);
        }
        if self.next != Next::Open {
            self.shown.push_str(MASK);
        } else {
            let shown = text_or_json(&plain, self.depth + 1);
            self.shown.push_str(if shown == plain { raw } else { &shown });
        }
        (self.last, self.next) = ("", Next::Open);
    }

    /// `word` is what `raw` stands for.
    fn word(&mut self, raw: &'a str, word: &str) {
        let names_a_secret = self.names_a_secret(word);
        if names_a_secret && let Some(value) = self.assigned(word) {
            self.shown.push_str(&whole_or_masked(raw, word, self.depth));
            self.shown.push_str(&self.rest[..value.start]);
            if value.end > value.start {
                self.shown.push_str(MASK);
            }
            self.rest = &self.rest[value.end..];
            (self.last, self.next) = ("", Next::Open);
            return;
        }
        // With what belongs to it, up to the next space.
        let beyond = self.rest.find(|c: char| c.is_whitespace() || ends_a_value(c)).unwrap_or(self.rest.len());
        let goes = match self.next {
            // Base64 that is padded says so itself.
            Next::Open => word.len() >= keys::SHORTEST && self.rest.starts_with("=="),
            // What a sentence quotes after the name of a secret is not a word of the sentence.
            Next::Suspect if self.shown.ends_with(['"', '\'', '`']) => true,
            Next::Suspect => is_suspect(word) || is_suspect(&format!("{word}{}", &self.rest[..beyond])),
            Next::Credential => !names_a_secret,
        };
        if goes {
            self.rest = &self.rest[beyond..];
            self.shown.push_str(MASK);
        } else if names::is_identifier(self.last, word) {
            self.shown.push_str(raw);
        } else {
            self.shown.push_str(&whole_or_masked(raw, word, self.depth));
        }
        self.next = match self.next {
            _ if names_a_secret => Next::Suspect,
            _ if is_scheme(word) => Next::Credential,
            Next::Suspect if !goes && FILLERS.contains(&word) => Next::Suspect,
            Next::Open | Next::Suspect | Next::Credential => Next::Open,
        };
        self.last = raw;
    }

    /// Whether `word` names a secret, alone or with the word before: `api key`.
    fn names_a_secret(&self, word: &str) -> bool {
        // The name of a secret in Secrets Manager is no secret.
        let of_an_arn =
            matches!(word, "secret" | "secretsmanager") && self.shown.ends_with(':') && self.shown.contains("arn:aws");
        let joined = || {
            let before = self.shown.strip_suffix([' ', '+']).is_some_and(|shown| shown.ends_with(self.last));
            let short = self.last.len() + word.len() <= 40 && !self.last.is_empty();
            short && before && names::is_secret_name(&format!("{}{word}", self.last))
        };
        !of_an_arn && (names::is_secret_name(word) || joined())
    }

    /// Where the value is that is assigned to `name` right after it, if one is.
    fn assigned(&self, name: &str) -> Option<std::ops::Range<usize>> {
        // `<name>`, perhaps with a namespace before.
        let opened = self.shown.rsplit_once('<').map(|(_, prefix)| prefix);
        let tag =
            opened.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(':') && !prefix.contains(['>', ' ']));
        let (start, header) = assignment(self.rest, tag)?;
        let range = value(&self.rest[start..], header && names::is_credential_header(name));
        Some(start + range.start..start + range.end)
    }
}

/// Characters that keys, numbers, paths and mail addresses are made of.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '.' | '@' | '~' | '/' | '*')
}

/// Where the word at the start of `text` ends, and whether something in it is escaped.
fn word_end(text: &str) -> (usize, bool) {
    let (mut end, mut escaped) = (0, false);
    while let Some(c) = text[end..].chars().next() {
        let escape = match c {
            '%' => 3,
            '\\' => 6,
            _ if is_word(c) => {
                end += c.len_utf8();
                continue;
            }
            _ => break,
        };
        let digits = if c == '%' {
            text.get(end + 1..end + 3)
        } else {
            text[end + 1..].strip_prefix('u').and_then(|t| t.get(..4))
        };
        if !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            break;
        }
        (end, escaped) = (end + escape, true);
    }
    (end, escaped)
}

/// What percent signs and JSON's `\u` escapes stand for.
fn unescaped(raw: &str) -> String {
    let mut plain = String::with_capacity(raw.len());
    let mut parts = raw.split("\\u");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (code, rest) = part.split_at_checked(4).unwrap_or(("", part));
        let c = u32::from_str_radix(code, 16).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        plain.push(c);
        plain.push_str(rest);
    }
    match percent_decode_str(&plain).decode_utf8_lossy() {
        Cow::Borrowed(_) => plain,
        Cow::Owned(decoded) => decoded,
    }
}

fn is_plain_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word)
}

/// `Bearer x`, `Basic x`: the next word is the secret.
fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || matches!(word, "Basic" | "BASIC" | "Digest" | "KakaoAK")
}

/// After the name of a secret: digits, or something that does not read like a word.
fn is_suspect(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    digits >= 3 && digits == word.len() || digits > 0 && word.len() >= 6 || keys::is_key(word) || keys::is_mixed(word)
}

/// How many bytes of what follows `://` are a user's name and password, `@` not counted.
fn user_info(after: &str) -> Option<usize> {
    let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | '\\'));
    after[..end.unwrap_or(after.len())].rfind('@').filter(|end| *end > 0)
}

/// Where the value begins that is assigned at the start of `text`, and whether by a colon as in a header. `tag` is
/// whether the name opened an XML element.
fn assignment(text: &str, tag: bool) -> Option<(usize, bool)> {
    let trimmed = text.trim_start_matches(['"', '\'', '`', '\\', ' ', '\t', ']', ')']);
    let quoted = text[..text.len() - trimmed.len()].contains(['"', '\'']);
    let (after, header) = if let Some(after) = trimmed.strip_prefix("::") {
        // A path of source code, not an assignment.
        return after.starts_with(' ').then(|| (text.len() - after.len(), false));
    } else if let Some(after) =
        trimmed.strip_prefix("=>").or_else(|| trimmed.strip_prefix("==")).or_else(|| trimmed.strip_prefix(":="))
    {
        (after, false)
    } else if let Some(after) = trimmed.strip_prefix(':') {
        (after, true)
    } else if let Some(after) = trimmed.strip_prefix('=') {
        (after, false)
    } else if let Some(after) = trimmed.strip_prefix('>').filter(|_| tag) {
        let end = after.find('<').unwrap_or(after.len());
        return (end > 0).then_some((text.len() - after.len(), false));
    } else if let Some(after) =
        trimmed.strip_prefix(',').filter(|after| quoted && after.trim_start().starts_with(['"', '\'', '\\']))
    {
        // A name and a value as a pair: `("authorization", "…")`.
        (after, false)
    } else {
        return None;
    };
    Some((text.len() - after.trim_start_matches([' ', '\t']).len(), header))
}

/// What ends a value that is not quoted, wherever it stands.
fn ends_a_value(c: char) -> bool {
    matches!(c, '&' | '"' | '\'' | '`' | '<')
}

/// Which part of `text` is the value it begins with; `line` is whether it runs to the end of its line.
fn value(text: &str, line: bool) -> std::ops::Range<usize> {
    let start = wrapping(text);
    let inner = &text[start..];
    if inner.starts_with(MASK) {
        return start..start + MASK.len();
    }
    let unquoted = inner.trim_start_matches('\\');
    let slashes = inner.len() - unquoted.len();
    if let Some(quote) = unquoted.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) {
        let open = start + slashes + 1;
        return open..open + quoted_end(&text[open..], quote, slashes);
    }
    if let Some(open) = inner.chars().next().filter(|c| matches!(c, '[' | '{')) {
        return start..start + bracket_end(inner, open);
    }
    if line && let Some((scheme, _)) = inner.split_once(' ').filter(|(word, _)| is_scheme(word)) {
        let range = value(&inner[scheme.len() + 1..], true);
        let from = start + scheme.len() + 1;
        return from + range.start..from + range.end;
    }
    let end = if line {
        inner.find(['\r', '\n', '"']).or_else(|| inner.find("\\r")).or_else(|| inner.find("\\n")).unwrap_or(inner.len())
    } else {
        unquoted_end(inner)
    };
    let end = end - trailing(&inner[..end]);
    if matches!(&inner[..end], "null" | "None" | "true" | "false") { start..start } else { start..start + end }
}

/// Brackets and stops that close a sentence rather than a value.
fn trailing(value: &str) -> usize {
    value.len() - value.trim_end_matches([',', ';', ')', '}', ']', '\\']).len()
}

/// `Some(`, `String(`, `b`: what stands around a value in Rust's debug form.
fn wrapping(text: &str) -> usize {
    let name = text.len() - text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
    let rest = &text[name..];
    if name > 0 && name <= 16 && rest.starts_with('(') {
        return name + 1 + wrapping(&rest[1..]);
    }
    usize::from(text.starts_with("b\""))
}

/// Up to the quote that was opened behind as many backslashes.
fn quoted_end(text: &str, quote: char, slashes: usize) -> usize {
    let mut behind = 0;
    for (place, c) in text.char_indices() {
        if c == quote && behind <= slashes {
            return place - behind;
        }
        behind = if c == '\\' { behind + 1 } else { 0 };
    }
    text.len()
}

/// Up to and with the bracket that closes the first.
fn bracket_end(text: &str, open: char) -> usize {
    let close = if open == '[' { ']' } else { '}' };
    let mut depth = 0_usize;
    for (place, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return place + 1;
            }
        }
    }
    text.len()
}

fn unquoted_end(text: &str) -> usize {
    let end = |text: &str| text.find(|c: char| c.is_whitespace() || ends_a_value(c)).unwrap_or(text.len());
    let first = end(text);
    // `, b=…`: the next pair of a list without spaces is looked at on its own, if it is one.
    let first = text[..first].find([',', ';']).filter(|cut| text[*cut..first].contains('=')).unwrap_or(first);
    let scheme = ["bearer", "basic", "digest"].iter().any(|scheme| text[..first].eq_ignore_ascii_case(scheme));
    match text[first..].strip_prefix([' ', '+']) {
        Some(next) if scheme => first + 1 + end(next),
        _ => first,
    }
}

/// A word that no name speaks about: a mail address, a key, a path of several, or just a word.
fn whole_or_masked<'t>(raw: &'t str, word: &str, depth: usize) -> Cow<'t, str> {
    let masked = masked_word(word, depth);
    // Numbers are looked for when all is read; what is escaped would not be found then.
    let masked = if raw == word { masked } else { masked.or_else(|| numbers::masked(word)) };
    masked.map_or(Cow::Borrowed(raw), Cow::Owned)
}

fn masked_word(word: &str, depth: usize) -> Option<String> {
    if word.contains('@') {
        return masked_mail(word, depth);
    }
    if !word.is_ascii() {
        return masked_parts(word, depth);
    }
    if word.len() < 8 {
        return None;
    }
    let hides = |part: &str| {
        depth < super::MAX_DEPTH
            && keys::hidden_text(part).is_some_and(|hidden| super::text_or_json(&hidden, depth + 1) != hidden)
    };
    if !word.contains('/') {
        return (keys::is_key(word) || hides(word)).then(|| MASK.to_owned());
    }
    // A path shows which of its parts went; base64 may have slashes, so it is looked at as a whole too.
    let parts = || word.split('/');
    let whole = parts().any(keys::is_key);
    let odd = |part: &str| keys::is_key(part) || hides(part) || whole && keys::is_mixed(part);
    if keys::is_key_with_slashes(word) || hides(word) {
        return Some(MASK.to_owned());
    }
    parts().any(odd).then(|| parts().map(|part| if odd(part) { MASK } else { part }).collect::<Vec<_>>().join("/"))
}

/// The parts of a word in one script each: a key is no less one because a Korean particle follows it.
fn masked_parts(word: &str, depth: usize) -> Option<String> {
    let (mut shown, mut rest, mut any) = (String::new(), word, false);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| c.is_ascii() != first.is_ascii()).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        let masked = if first.is_ascii() { masked_word(part, depth) } else { None };
        any |= masked.is_some();
        shown.push_str(masked.as_deref().unwrap_or(part));
        rest = after;
    }
    any.then_some(shown)
}

/// Mail goes but for the domain, which tells an operator whose mail server it is about.
fn masked_mail(word: &str, depth: usize) -> Option<String> {
    let (local, domain) = word.rsplit_once('@')?;
    if domain.is_empty() || !domain.contains(char::is_alphanumeric) {
        return masked_word(word.trim_end_matches('@'), depth).map(|masked| format!("{masked}@"));
    }
    if local.is_empty() {
        return masked_word(domain, depth).map(|masked| format!("@{masked}"));
    }
    if local == "***" && masked_word(domain, depth).is_none() {
        return None;
    }
    let domain = masked_word(domain, depth).unwrap_or_else(|| domain.to_owned());
    Some(format!("***@{domain}"))
}
