//! What becomes of what is kept of a person who is to be forgotten.
//!
//! The table has no index of people, on purpose: whoever would forget somebody reads all of it. [`fate`] judges one item and is
//! pure; [`run`] reads, and takes away. What law or other people need stays and is told with its reason. What is still on its
//! way is left alone and told too: whoever runs this again later takes it.
//!
//! Backups are not rewritten. Instead the archive has a list of the keys that were taken away ([`FORGOTTEN`]): random ids that say
//! nothing of anybody. A restore leaves them out.
//!
//! This file refuses to guess: a person is found by an address, a number or an identifier that somebody has named, nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::backup::{self, ARCHIVE, BATCH, BackupError, Whole};
use crate::blobs::{BlobError, Blobs, Erase};
use crate::clock::Timestamp;
use crate::store::{DUE, Item, Key, Value};

/// Where the keys of what was taken away are listed, with the time, as JSON.
pub const FORGOTTEN: &str = "forgotten.json";

/// So long a key stays on that list: longer than any backup is kept.
const LISTED: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// The list is read up to this size: some hundred thousand keys.
const MOST_LISTED: usize = 64 * 1024 * 1024;

/// Bodies in the bucket are read up to this size; functions take none that is larger.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Identifiers that are shorter would be found everywhere.
const SHORTEST: usize = 4;

/// What is done with items of a kind that say something of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// They go, with what lies in the bucket for them.
    Goes,
    /// The same, once they are on no list of `waiting` ones.
    GoesWhenOver,
    /// They stay, and this is why.
    Stays(&'static str),
    /// They know nobody by anything that could be looked for.
    KnowsNobody,
}

/// Why what is known of payments stays.
const PAYMENTS: &str = "a record of payments, five years by law (전자상거래법 시행령 제6조)";

/// Every kind of item, as in `infra/table.md`; a test compares the two.
const RULES: [(&str, Rule); 21] = [
    ("audit", Rule::Stays("the record of who changed what, a year")),
    ("backup", Rule::KnowsNobody),
    ("batch", Rule::GoesWhenOver),
    ("breaker", Rule::KnowsNobody),
    ("cache", Rule::Goes),
    ("config", Rule::KnowsNobody),
    ("expectation", Rule::Stays(PAYMENTS)),
    ("happening", Rule::Stays(PAYMENTS)),
    ("health", Rule::KnowsNobody),
    ("idempotency", Rule::Goes),
    ("manual", Rule::Goes),
    ("message", Rule::GoesWhenOver),
    ("metric", Rule::KnowsNobody),
    ("payment", Rule::Stays(PAYMENTS)),
    // A recipient's is named by a hash, and gone in two days.
    ("rate", Rule::KnowsNobody),
    ("reconciliation", Rule::Stays(PAYMENTS)),
    ("reference", Rule::Goes),
    // Named by a hash: nobody is written to again who did not want it, and nobody can be read from it.
    ("suppression", Rule::KnowsNobody),
    ("thumbnail", Rule::Goes),
    ("unknown", Rule::Goes),
    ("webhook", Rule::GoesWhenOver),
];

/// States of a webhook in which it is over.
const OVER: [&str; 3] = ["done", "ignored", "failed"];

/// Attributes that name who did something, and not whom it is about.
const DOERS: [&str; 2] = ["by", "who"];

/// What somebody is known by.
#[derive(Clone, Debug, Default)]
pub struct Person {
    marks: Vec<String>,
    subjects: Vec<String>,
}

/// What cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMark {
    /// No address.
    #[error("must be an address such as `hong@example.kr`: `{0}`")]
    Email(String),
    /// No number.
    #[error("must be a number with its country, such as `+821012345678`: `{0}`")]
    Phone(String),
    /// Too short.
    #[error("must have at least {SHORTEST} characters: `{0}`")]
    Subject(String),
}

impl Person {
    /// Also known by this address.
    ///
    /// # Errors
    /// [`NoMark`].
    pub fn email(mut self, address: &str) -> Result<Self, NoMark> {
        let address = address.trim().to_lowercase();
        let halves = address.split_once('@').filter(|(local, domain)| !local.is_empty() && domain.contains('.'));
        if halves.is_none() || address.contains(char::is_whitespace) {
            return Err(NoMark::Email(address));
        }
        self.marks.push(address);
        Ok(self)
    }

    /// Also known by this number, in any of the forms in which people and providers write it.
    ///
    /// # Errors
    /// [`NoMark`].
    pub fn phone(mut self, number: &str) -> Result<Self, NoMark> {
        let digits = number.trim().strip_prefix('+').filter(|digits| digits.len() >= 8);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let digits = digits.ok_or_else(|| NoMark::Phone(number.to_owned()))?;
        self.marks.push(digits.to_owned());
        if let Some(national) = digits.strip_prefix("82") {
            let whole = format!("0{national}");
            // 010-1234-5678, 02-123-4567, 033-250-1234: four digits at the end, the area or the network before.
            let area = if whole.starts_with("02") { 2 } else { 3 };
            if whole.len() > area + 4 {
                let (first, last) = (&whole[area..whole.len() - 4], &whole[whole.len() - 4..]);
                for separator in ["-", " ", "."] {
                    let country = format!("82{separator}{}", &whole[1..area]);
                    self.marks.push([&whole[..area], first, last].join(separator));
                    self.marks.push([country.as_str(), first, last].join(separator));
                }
                self.marks.push(format!("82 {}-{first}-{last}", &whole[1..area]));
            }
            self.marks.push(whole);
        }
        Ok(self)
    }

    /// Also known by this identifier: an order, a token's `sub`, a folder of pictures.
    ///
    /// # Errors
    /// [`NoMark`].
    pub fn subject(mut self, subject: &str) -> Result<Self, NoMark> {
        let subject = subject.trim();
        if subject.chars().count() < SHORTEST {
            return Err(NoMark::Subject(subject.to_owned()));
        }
        self.subjects.push(subject.to_owned());
        self.marks.push(subject.to_lowercase());
        Ok(self)
    }

    /// Whether nothing is known of them.
    pub fn is_nobody(&self) -> bool {
        self.marks.is_empty()
    }

    /// Whether `text` names them, as it stands or percent-encoded as in a form.
    fn is_in(&self, text: &str) -> bool {
        let plain = text.to_lowercase();
        let decoded = plain.contains('%').then(|| percent_decode_str(&plain).decode_utf8_lossy().into_owned());
        let named = |text: &str| self.marks.iter().any(|mark| is_word(text, mark));
        named(&plain) || decoded.is_some_and(|text| named(&text))
    }

    /// Whether a folder of the path is theirs.
    fn owns(&self, path: &str) -> bool {
        path.split('/').any(|part| self.subjects.iter().any(|subject| subject == part))
    }
}

/// Whether `mark` stands in `text` by itself, and not as a part of something longer.
fn is_word(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + mark.len()..]);
        let inner = |c: char| c.is_alphanumeric();
        let mut rest = after.chars();
        let (next, then) = (rest.next(), rest.next());
        let goes_on =
            next.is_some_and(inner) || next.is_some_and(|next| ".-_".contains(next)) && then.is_some_and(inner);
        // The letter of an escape, as in JSON within JSON, is none.
        let escape = ["\\n", "\\r", "\\t"].iter().any(|escape| before.ends_with(escape));
        let before = before.chars().next_back().filter(|_| !escape);
        let came_from =
            before.is_some_and(inner) || mark.contains('@') && before.is_some_and(|before| "._%-+".contains(before));
        !goes_on && !came_from
    })
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It says nothing of the person.
    Untouched,
    /// It goes, and with it these blobs of the bucket and these pictures.
    Goes {
        /// Keys in the bucket.
        blobs: Vec<String>,
        /// Keys in the bucket of pictures.
        pictures: Vec<String>,
    },
    /// It is still on its way: whoever comes back later takes it.
    OnItsWay,
    /// It stays, and this is why.
    Stays(&'static str),
}

/// What becomes of the item under `key`; `blob` is what lies in the bucket for it.
pub fn fate(key: &str, item: &Item, blob: &str, person: &Person) -> Fate {
    let kind = kind_of(key);
    let Some((_, rule)) = RULES.iter().find(|(known, _)| *known == kind) else {
        let named = texts(item).any(|(_, text)| person.is_in(&text));
        return if named { Fate::Stays("nobody has said what becomes of this kind") } else { Fate::Untouched };
    };
    let named = match kind {
        "thumbnail" => item.text("object").is_some_and(|object| person.owns(object)),
        _ => person.is_in(blob) || texts(item).any(|(name, text)| !DOERS.contains(&name) && person.is_in(&text)),
    };
    // An expectation is found by its key: the order is nowhere else.
    let named = named || kind == "expectation" && person.is_in(key);
    match *rule {
        _ if !named => Fate::Untouched,
        Rule::KnowsNobody => Fate::Untouched,
        Rule::Stays(why) => Fate::Stays(why),
        Rule::GoesWhenOver if !is_over(item) => Fate::OnItsWay,
        Rule::Goes | Rule::GoesWhenOver => Fate::Goes { blobs: blobs_of(item, blob), pictures: pictures_of(item) },
    }
}

fn kind_of(key: &str) -> &str {
    key.split('#').next().unwrap_or_default()
}

/// The texts of an item, what is in base64 decoded.
fn texts(item: &Item) -> impl Iterator<Item = (&str, String)> {
    item.0.iter().filter_map(|(name, value)| match value {
        Value::Text(text) if name.ends_with("_b64") => {
            let bytes = STANDARD.decode(text).unwrap_or_default();
            Some((name.as_str(), String::from_utf8_lossy(&bytes).into_owned()))
        }
        Value::Text(text) => Some((name.as_str(), text.clone())),
        Value::Number(_) => None,
    })
}

/// Whether nothing more is to be done for it.
fn is_over(item: &Item) -> bool {
    match item.text("status") {
        Some(status) => OVER.contains(&status),
        None => item.text(DUE).is_none(),
    }
}

/// What lies in the bucket for an item: what it names, and the files of a mail.
fn blobs_of(item: &Item, blob: &str) -> Vec<String> {
    let body = if blob.is_empty() { item.text("body").unwrap_or_default() } else { blob };
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let files = body["attachments"].as_array().into_iter().flatten();
    let files = files.filter_map(|file| file["key"].as_str().map(str::to_owned));
    item.text("blob").map(str::to_owned).into_iter().chain(files).collect()
}

fn pictures_of(item: &Item) -> Vec<String> {
    let Some(object) = item.text("object") else { return Vec::new() };
    let made: serde_json::Value = serde_json::from_str(item.text("thumbnails").unwrap_or_default()).unwrap_or_default();
    let made = made.as_array().into_iter().flatten().filter_map(|one| one["key"].as_str().map(str::to_owned));
    std::iter::once(object.to_owned()).chain(made).collect()
}

/// Why not everything was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The table or the archive did not answer.
    #[error("not everything was forgotten: run it again")]
    Backup(#[from] BackupError),
    /// A bucket did not answer.
    #[error("not everything was forgotten: run it again")]
    Bucket(#[from] BlobError),
}

impl From<crate::store::StoreError> for ForgetError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Backup(error.into())
    }
}

/// Where things are kept.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    /// The table.
    pub table: &'a dyn Whole,
    /// The bucket of what is too large for it, and its name.
    pub bucket: (&'a str, &'a dyn Erase),
    /// The bucket of pictures, and its name.
    pub pictures: (&'a str, &'a dyn Erase),
    /// The archive.
    pub archive: &'a dyn Erase,
}

/// What was found, and taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Items that were read.
    pub read: u64,
    /// Items that went, by kind.
    pub gone: BTreeMap<String, u64>,
    /// Blobs and pictures that went with them.
    pub files: u64,
    /// Items still on their way, by kind.
    pub on_their_way: BTreeMap<String, u64>,
    /// Items that stay, by kind and reason.
    pub stays: BTreeMap<(String, &'static str), u64>,
}

/// Forgets `person`; without `really` nothing is taken away, and only said what would be. A file goes before the item that names
/// it, and a key is on the archive's list before its item goes: whatever breaks, another run finds the rest.
///
/// # Errors
/// [`ForgetError`]: what is gone is gone, and doing it again does no harm.
pub async fn run(places: Places<'_>, person: &Person, now: Timestamp, really: bool) -> Result<Report, ForgetError> {
    let mut report = Report::default();
    let (mut keys, mut blobs, mut pictures) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut after: Option<Key> = None;
    loop {
        let page = places.table.page(0, 1, after.as_ref()).await?;
        for (key, item) in page.items {
            report.read += 1;
            let blob = match item.text("blob") {
                Some(at) => places.bucket.1.get(at, MOST_BYTES).await?.map(|blob| blob.bytes).unwrap_or_default(),
                None => bytes::Bytes::new(),
            };
            let kind = || kind_of(&key).to_owned();
            match fate(&key, &item, &String::from_utf8_lossy(&blob), person) {
                Fate::Untouched => {}
                Fate::OnItsWay => *report.on_their_way.entry(kind()).or_default() += 1,
                Fate::Stays(why) => *report.stays.entry((kind(), why)).or_default() += 1,
                Fate::Goes { blobs: own, pictures: shown } => {
                    *report.gone.entry(kind()).or_default() += 1;
                    blobs.extend(own);
                    pictures.extend(shown);
                    keys.push(key);
                }
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    report.files = (blobs.len() + pictures.len()) as u64;
    if really && !keys.is_empty() {
        let (bucket, shown) = (places.bucket, places.pictures);
        let files = blobs.iter().map(|blob| format!("{}/{blob}", bucket.0));
        let files = files.chain(pictures.iter().map(|picture| format!("{}/{picture}", shown.0)));
        list(places.archive, keys.iter().cloned().chain(files), now).await?;
        for blob in &blobs {
            bucket.1.erase(blob).await?;
        }
        for picture in &pictures {
            shown.1.erase(picture).await?;
        }
        for batch in keys.chunks(BATCH) {
            places.table.remove_all(batch).await?;
        }
    }
    Ok(report)
}

/// Adds `keys`, and files as `bucket/key`, to the archive's list, and drops those that no backup has any more.
async fn list(archive: &dyn Erase, keys: impl Iterator<Item = Key>, now: Timestamp) -> Result<(), BackupError> {
    let mut listed = forgotten(archive).await?;
    listed.retain(|_, at| now.before(LISTED).as_millis() < *at);
    listed.extend(keys.map(|key| (key, now.as_millis())));
    let text = serde_json::to_vec(&listed).map_err(std::io::Error::from)?;
    // Not a version of it is worth keeping.
    archive.put(&place(), "application/json", text.into()).await?;
    Ok(())
}

fn place() -> String {
    format!("{ARCHIVE}/{FORGOTTEN}")
}

/// The keys that were forgotten, and the files as `bucket/key`, each with the time in milliseconds since the epoch: a restore leaves them out.
///
/// # Errors
/// [`BackupError`]: when the list cannot be read, nothing may be put back.
pub async fn forgotten<B: Blobs + ?Sized>(archive: &B) -> Result<BTreeMap<Key, i64>, BackupError> {
    let Some(blob) = archive.get(&place(), MOST_LISTED).await? else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(&blob.bytes).map_err(|_| backup::corrupt(&place(), "it is no list of keys"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::MemoryBlobs;
    use crate::clock::Clock;
    use crate::store::MemoryStore;
    use crate::testing::ManualClock;

    fn item(attributes: &[(&str, &str)]) -> Item {
        Item(attributes.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned()))).collect())
    }

    fn hong() -> Person {
        let person = Person::default().email("Hong@Example.kr").and_then(|person| person.phone("+821012345678"));
        person.and_then(|person| person.subject("user-42")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_person_is_found_in_every_form_and_nobody_else_is() {
        for text in [
            "hong@example.kr",
            r#"{"to":[{"address":"HONG@example.kr","name":"홍길동"}]}"#,
            "from=hong%40example.kr&x=1",
            "hong@example.kr.",
            r#"{"to":"+821012345678"}"#,
            "010-1234-5678",
            "01012345678",
            "+82 10-1234-5678",
            "+82-10-1234-5678",
            r#"{"Message":"{\"text\":\"a\nhong@example.kr\"}"}"#,
            "tel: 821012345678.",
            "jwt:user-42@https://login.example.org",
        ] {
            assert!(hong().is_in(text), "{text}");
        }
        for text in [
            "",
            "chong@example.kr",
            "le-hong@example.kr",
            "hong@example.kr.evil.org",
            "hong@example.krx",
            "8210123456789",
            "9010-1234-5678",
            "010-1234-56789",
            "user-421",
            "xuser-42",
            "user-42-b",
        ] {
            assert!(!hong().is_in(text), "{text}");
        }
        let seoul = Person::default().phone("+82233334444").unwrap_or_default();
        assert!(seoul.is_in("02-3333-4444") && seoul.is_in("0233334444") && !seoul.is_in("02-3333-4445"));
        for wrong in ["", "hong", "@example.kr", "a b@example.kr"] {
            assert!(Person::default().email(wrong).is_err(), "{wrong}");
        }
        assert!(Person::default().phone("010-1234-5678").is_err() && Person::default().phone("+82x").is_err());
        assert!(Person::default().subject("abc").is_err() && Person::default().is_nobody() && !hong().is_nobody());
    }

    #[test]
    fn every_kind_of_item_has_a_rule() {
        let page = include_str!("../../infra/table.md");
        let rows = page.lines().filter(|line| line.starts_with("| ["));
        let keys = rows.filter_map(|row| row.split('`').nth(1));
        let kinds: BTreeSet<&str> = keys.map(kind_of).collect();
        assert!(kinds.len() >= 20, "{kinds:?}");
        let ruled: BTreeSet<&str> = RULES.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.difference(&ruled).collect::<Vec<_>>(), Vec::<&&str>::new());
        assert_eq!(ruled.difference(&kinds).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    /// A table with something of each kind about 홍길동, and the same about somebody else.
    fn kept() -> (MemoryStore, MemoryBlobs, MemoryBlobs) {
        let table = MemoryStore::new();
        for (whose, email, phone, order) in [
            ("hong", "hong@example.kr", "+821012345678", "user-42"),
            ("kim", "kim@example.kr", "+821087654321", "user-43"),
        ] {
            let mail =
                format!(r#"{{"to":[{{"address":"{email}"}}],"attachments":[{{"key":"attachment/{whose}-0"}}]}}"#);
            let items = [
                ("message#mail", item(&[("state", "delivered"), ("body", &mail)])),
                ("message#text", item(&[("state", "sent"), ("body", &format!(r#"{{"to":"{phone}"}}"#))])),
                ("message#large", item(&[("state", "sent"), ("blob", &format!("message/{whose}"))])),
                ("message#waiting", item(&[("state", "queued"), ("due", "email"), ("body", &mail)])),
                ("batch#", item(&[("body", &format!("[{mail}]"))])),
                (
                    "webhook#toss#",
                    item(&[("status", "done"), ("due", "p.done.1"), ("body_b64", &STANDARD.encode(email))]),
                ),
                ("webhook#iamport#", item(&[("status", "received"), ("due", "p"), ("body", email)])),
                ("cache#search#", item(&[("request", phone), ("value", "{}")])),
                ("idempotency#", item(&[("caller", &format!("jwt:{order}@https://login.example.org"))])),
                ("payment#toss#", item(&[("order", order)])),
                ("audit#", item(&[("who", "key:ops"), ("after", email)])),
                ("manual#company#", item(&[("by", email), ("value", "{}")])),
                ("suppression#email#", item(&[("reason", "bounced"), ("by", "ses")])),
                (
                    "thumbnail#",
                    item(&[
                        ("object", &format!("upload/{order}/a.jpg")),
                        ("thumbnails", &format!(r#"[{{"key":"thumbnail/{whose}.webp"}}]"#)),
                    ]),
                ),
            ];
            for (key, item) in items {
                table.replace(format!("{key}{whose}"), item);
            }
        }
        (table, MemoryBlobs::new(), MemoryBlobs::new())
    }

    #[tokio::test]
    async fn one_is_forgotten_and_the_other_is_not_touched() {
        let ((table, bucket, pictures), archive, clock) = (kept(), MemoryBlobs::new(), ManualClock::start());
        for (whose, email) in [("hong", "hong@example.kr"), ("kim", "kim@example.kr")] {
            for key in [format!("message/{whose}"), format!("attachment/{whose}-0")] {
                let content = format!(r#"{{"to":[{{"address":"{email}"}}]}}"#);
                bucket.put(&key, "text/plain", content.into()).await.unwrap();
            }
        }
        for key in ["upload/user-42/a.jpg", "thumbnail/hong.webp", "upload/user-43/a.jpg", "thumbnail/kim.webp"] {
            pictures.put(key, "image/jpeg", bytes::Bytes::from_static(b"p")).await.unwrap();
        }
        let places = Places { table: &table, bucket: ("b", &bucket), pictures: ("p", &pictures), archive: &archive };
        let before = backup::conformance::all(&table, "").await;
        let dry = run(places, &hong(), clock.now(), false).await.unwrap();
        assert_eq!(backup::conformance::all(&table, "").await, before, "a dry run takes nothing");
        assert_eq!((archive.keys().len(), bucket.keys().len(), pictures.keys().len()), (0, 4, 4));

        let done = run(places, &hong(), clock.now(), true).await.unwrap();
        assert_eq!(done, dry, "what was said is what was done");
        let gone = ["batch", "cache", "idempotency", "thumbnail", "webhook"].map(|kind| (kind.to_owned(), 1));
        assert_eq!(done.gone, gone.into_iter().chain([("message".to_owned(), 3)]).collect());
        let waiting = ["message", "webhook"].map(|kind| (kind.to_owned(), 1));
        assert_eq!(done.on_their_way, waiting.into());
        let stays: Vec<&str> = done.stays.keys().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!((stays, done.files), (vec!["audit", "payment"], 4));

        let after = backup::conformance::all(&table, "").await;
        let of = |whose: &str| after.keys().filter(|key| key.ends_with(whose)).count();
        assert_eq!((of("hong"), of("kim")), (6, 14));
        assert_eq!(bucket.keys(), ["attachment/kim-0", "message/kim"]);
        assert_eq!(pictures.keys(), ["thumbnail/kim.webp", "upload/user-43/a.jpg"]);
        let listed: BTreeSet<Key> = forgotten(&archive).await.unwrap().into_keys().collect();
        let files = ["b/attachment/hong-0", "b/message/hong", "p/thumbnail/hong.webp", "p/upload/user-42/a.jpg"];
        let taken = before.keys().filter(|key| !after.contains_key(*key)).cloned();
        assert_eq!(listed, taken.chain(files.map(str::to_owned)).collect());

        let again = run(places, &hong(), clock.now(), true).await.unwrap();
        assert_eq!((again.gone.len(), again.files), (0, 0));
        clock.advance(LISTED + Duration::from_secs(1));
        run(places, &Person::default().email("kim@example.kr").unwrap(), clock.now(), true).await.unwrap();
        let listed = forgotten(&archive).await.unwrap();
        assert!(listed.keys().all(|key| key.contains("kim")), "what no backup has any more is dropped: {listed:?}");
    }

    #[tokio::test]
    async fn a_restore_leaves_out_what_was_forgotten_since() {
        let ((table, bucket, pictures), archive, clock) = (kept(), MemoryBlobs::new(), ManualClock::start());
        let later = tokio::time::Instant::now() + Duration::from_secs(600);
        let backup = backup::make(&table, &archive, "table/daily", &*clock, later).await.unwrap();
        let places = Places { table: &table, bucket: ("b", &bucket), pictures: ("p", &pictures), archive: &archive };
        run(places, &hong(), clock.now(), true).await.unwrap();
        let expected = backup::conformance::all(&table, "message#").await;
        let target = MemoryStore::new();
        let read = backup::restore(&archive, &backup, "message#", Some(&target)).await.unwrap();
        assert_eq!(backup::conformance::all(&target, "").await, expected);
        assert_eq!(
            (read.wanted, read.forgotten),
            (6, 2),
            "the mail and the text; the large one lies in no bucket here"
        );
        archive.put(&place(), "application/json", bytes::Bytes::from_static(b"[")).await.unwrap();
        assert!(backup::restore(&archive, &backup, "", Some(&target)).await.is_err(), "without the list, nothing");
    }
}
