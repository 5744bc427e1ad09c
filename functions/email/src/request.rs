//! From the body of a request to mails: every field read, every mistake noted under its path.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ieum::api::Fields;
use ieum::error::{ApiError, BAD_FORMAT, Issue, Language, MISSING, TOO_LONG, issue};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::address::{Address, Mailbox};
use crate::attachment::{self, MAX_ATTACHMENTS, MAX_INLINE_BYTES};
use crate::mail::{Content, Kind, Mail, Tongue};
use crate::template::{CUSTOM, Variables, Words};

/// Mails of one batch.
pub const MAX_BATCH: usize = 1_000;

/// The longest own part, in characters.
const MAX_WORDS: usize = 400_000;

/// More recipients than one mail may have.
pub const TOO_MANY_RECIPIENTS: Issue =
    issue("too_many_recipients", "수신자가 너무 많습니다.", "These are more recipients than one mail may have.");
/// The same recipient stands there twice.
pub const REPEATED: Issue = issue("repeated", "같은 수신자가 두 번 있습니다.", "The same recipient stands here twice.");
/// A promotional mail goes to one recipient, who can then refuse it.
pub const ONE_RECIPIENT: Issue = issue(
    "one_recipient",
    "광고성 메일은 한 번에 한 명에게만 보낼 수 있습니다.",
    "Promotional mail goes to one recipient at a time.",
);

/// A file as it was handed in.
#[derive(Debug, PartialEq, Eq)]
pub enum Handed {
    /// In the body.
    Inline(Vec<u8>),
    /// Uploaded before.
    Upload(Uuid),
}

/// An attachment of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// Its name.
    pub name: String,
    /// Its content, or where that is.
    pub handed: Handed,
}

/// What all mails of a request have in common.
#[derive(Debug)]
pub struct Common {
    /// What they say.
    pub content: Content,
    /// Whether they may be refused.
    pub kind: Kind,
    /// Their language, unless one says otherwise.
    pub language: Tongue,
    /// What varies, unless one says otherwise.
    pub variables: Variables,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// What goes along.
    pub enclosures: Vec<Enclosure>,
}

/// To whom one mail goes.
#[derive(Debug)]
pub struct Recipients {
    /// To whom.
    pub to: Vec<Mailbox>,
    /// Who else, seen by all.
    pub cc: Vec<Mailbox>,
    /// Who else, seen by nobody.
    pub bcc: Vec<Mailbox>,
}

impl Common {
    /// The one mail of a request, and what goes along with it.
    pub fn to(self, recipients: Recipients) -> (Mail, Vec<Enclosure>) {
        let Self { content, kind, language, variables, reply_to, enclosures } = self;
        let Recipients { to, cc, bcc } = recipients;
        let mail = Mail { to, cc, bcc, reply_to, kind, language, content, variables, attachments: Vec::new() };
        (mail, enclosures)
    }
}

/// Reads one mail of a batch: to whom it goes, and what differs for them. It says `content`.
///
/// # Errors
/// 400 with everything that is wrong with it.
pub fn message(common: &Common, content: Content, mut fields: Fields, most: usize) -> Result<Mail, ApiError> {
    let recipients = recipients(&mut fields, common.kind, most);
    let language = language(&mut fields);
    let own = variables(&mut fields);
    let mail = recipients.zip(language).zip(own).map(|((recipients, language), own)| {
        let Recipients { to, cc, bcc } = recipients;
        let mut variables = common.variables.clone();
        variables.extend(own);
        Mail {
            to,
            cc,
            bcc,
            reply_to: common.reply_to.clone(),
            kind: common.kind,
            language: language.unwrap_or(common.language),
            content,
            variables,
            attachments: Vec::new(),
        }
    });
    fields.finish(mail)
}

/// Reads what all mails of a request have in common.
pub fn common(fields: &mut Fields) -> Option<Common> {
    let content = content(fields);
    let kind = match fields.value("kind") {
        None => Some(Kind::default()),
        Some(value) => serde_json::from_value(value).ok().or_else(|| fields.note("kind", BAD_FORMAT)),
    };
    let language = language(fields).map(|language| language.unwrap_or(Tongue(Language::Korean)));
    let variables = variables(fields);
    let reply_to = match fields.value("reply_to") {
        None => Some(None),
        Some(value) => mailbox(fields, "reply_to", value).map(Some),
    };
    let enclosures = enclosures(fields);
    Some(Common {
        content: content?,
        kind: kind?,
        language: language?,
        variables: variables?,
        reply_to: reply_to?,
        enclosures: enclosures?,
    })
}

/// Reads to whom a mail goes: at most `most`, each once, and one for mail that may be refused.
pub fn recipients(fields: &mut Fields, kind: Kind, most: usize) -> Option<Recipients> {
    let to = mailboxes(fields, "to", true);
    let cc = mailboxes(fields, "cc", false);
    let bcc = mailboxes(fields, "bcc", false);
    let recipients = Recipients { to: to?, cc: cc?, bcc: bcc? };
    let mut seen = std::collections::HashSet::new();
    let all = || recipients.to.iter().chain(&recipients.cc).chain(&recipients.bcc);
    if all().count() > most {
        return fields.note("to", TOO_MANY_RECIPIENTS);
    }
    if kind == Kind::Promotional && all().count() != 1 {
        return fields.note("to", ONE_RECIPIENT);
    }
    if !all().all(|mailbox| seen.insert(mailbox.address.as_str().to_ascii_lowercase())) {
        return fields.note("to", REPEATED);
    }
    Some(recipients)
}

/// Reads `language`: `Some(None)` when it is left out.
pub fn language(fields: &mut Fields) -> Option<Option<Tongue>> {
    match fields.value("language") {
        None => Some(None),
        Some(value) => {
            let tongue = value.as_str().and_then(Tongue::parse);
            tongue.map(Some).or_else(|| fields.note("language", BAD_FORMAT))
        }
    }
}

/// Reads `variables`, whose values are judged with the template that uses them.
pub fn variables(fields: &mut Fields) -> Option<Variables> {
    match fields.value("variables") {
        None => Some(Variables::new()),
        Some(Value::Object(members)) => Some(members.into_iter().collect()),
        Some(_) => fields.note("variables", BAD_FORMAT),
    }
}

/// Reads `template`, and with `custom` the mail's own words.
fn content(fields: &mut Fields) -> Option<Content> {
    let name = fields.text("template", 64)?;
    words_of(&name, fields)
}

/// What the template `name` says, with `custom` the mail's own words.
pub fn words_of(name: &str, fields: &mut Fields) -> Option<Content> {
    if name != CUSTOM {
        return Some(Content::Template(name.to_owned()));
    }
    let subject = fields.text("subject", 1_000);
    let html = words(fields, "html");
    let text = words(fields, "text");
    Some(Content::Custom(Words { subject: subject?, html: html?, text: text? }))
}

/// A part: text of several lines.
fn words(fields: &mut Fields, name: &'static str) -> Option<String> {
    match fields.value(name) {
        None => fields.note(name, MISSING),
        Some(Value::String(text)) if text.trim().is_empty() => fields.note(name, MISSING),
        Some(Value::String(text)) if text.chars().count() > MAX_WORDS => fields.note(name, TOO_LONG),
        Some(Value::String(text)) => Some(text),
        Some(_) => fields.note(name, BAD_FORMAT),
    }
}

/// One recipient, or a list of them.
fn mailboxes(fields: &mut Fields, name: &'static str, required: bool) -> Option<Vec<Mailbox>> {
    let values = match fields.value(name) {
        None if required => return fields.note(name, MISSING),
        None => return Some(Vec::new()),
        Some(Value::Array(values)) if values.is_empty() && required => return fields.note(name, MISSING),
        // Nobody needs a mistake for each of ten thousand.
        Some(Value::Array(values)) if values.len() > MAX_BATCH => return fields.note(name, TOO_MANY_RECIPIENTS),
        Some(Value::Array(values)) => values,
        Some(value) => return mailbox(fields, name, value).map(|mailbox| vec![mailbox]),
    };
    let read: Vec<_> = values
        .into_iter()
        .enumerate()
        .map(|(place, value)| mailbox(fields, &format!("{name}[{place}]"), value))
        .collect();
    read.into_iter().collect()
}

/// `"hong@example.kr"`, or `{"address": …, "name": …}`.
fn mailbox(fields: &mut Fields, path: &str, value: Value) -> Option<Mailbox> {
    match value {
        Value::String(text) => match Address::parse(&text) {
            Ok(address) => Some(Mailbox { address, name: None }),
            Err(issue) => fields.note(path, issue),
        },
        Value::Object(members) => fields.within(path, members, |fields| {
            let address = match fields.value("address") {
                Some(Value::String(text)) => match Address::parse(&text) {
                    Ok(address) => Some(address),
                    Err(issue) => fields.note("address", issue),
                },
                Some(_) => fields.note("address", BAD_FORMAT),
                None => fields.note("address", MISSING),
            };
            let name = match fields.value("name") {
                None => Some(None),
                Some(Value::String(text)) => match Mailbox::name(&text) {
                    Ok(name) => Some(Some(name)),
                    Err(issue) => fields.note("name", issue),
                },
                Some(_) => fields.note("name", BAD_FORMAT),
            };
            Some(Mailbox { address: address?, name: name? })
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => fields.note(path, BAD_FORMAT),
    }
}

fn enclosures(fields: &mut Fields) -> Option<Vec<Enclosure>> {
    let values = match fields.value("attachments") {
        None => return Some(Vec::new()),
        Some(Value::Array(values)) if values.len() > MAX_ATTACHMENTS => return fields.note("attachments", TOO_LONG),
        Some(Value::Array(values)) => values,
        Some(_) => return fields.note("attachments", BAD_FORMAT),
    };
    let mut read = Vec::with_capacity(values.len());
    for (place, value) in values.into_iter().enumerate() {
        let path = format!("attachments[{place}]");
        read.push(match value {
            Value::Object(members) => fields.within(&path, members, enclosure),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                fields.note(path, BAD_FORMAT)
            }
        });
    }
    let read: Vec<Enclosure> = read.into_iter().collect::<Option<_>>()?;
    let inline: usize = read
        .iter()
        .map(|enclosure| match &enclosure.handed {
            Handed::Inline(content) => content.len(),
            Handed::Upload(_) => 0,
        })
        .sum();
    if inline > MAX_INLINE_BYTES { fields.note("attachments", TOO_LONG) } else { Some(read) }
}

/// `{"name", "content"}` with base64, or `{"name", "upload"}` with the id of an upload.
fn enclosure(fields: &mut Fields) -> Option<Enclosure> {
    let name = match fields.value("name") {
        Some(Value::String(text)) => attachment::name(&text).or_else(|issue| fields.note("name", issue).ok_or(())).ok(),
        Some(_) => fields.note("name", BAD_FORMAT),
        None => fields.note("name", MISSING),
    };
    let handed = match (fields.value("content"), fields.value("upload")) {
        (Some(Value::String(content)), None) => match STANDARD.decode(content) {
            Ok(content) if content.is_empty() => fields.note("content", MISSING),
            Ok(content) => Some(Handed::Inline(content)),
            Err(_) => fields.note("content", BAD_FORMAT),
        },
        (None, Some(Value::String(id))) => match Uuid::try_parse(&id) {
            Ok(id) => Some(Handed::Upload(id)),
            Err(_) => fields.note("upload", BAD_FORMAT),
        },
        (None, None) => fields.note("content", MISSING),
        _ => fields.note("content", BAD_FORMAT),
    };
    Some(Enclosure { name: name?, handed: handed? })
}

/// The members of each mail of a batch.
pub fn messages(fields: &mut Fields) -> Option<Vec<Map<String, Value>>> {
    match fields.value("messages") {
        None => fields.note("messages", MISSING),
        Some(Value::Array(values)) if values.is_empty() => fields.note("messages", MISSING),
        Some(Value::Array(values)) if values.len() > MAX_BATCH => fields.note("messages", TOO_LONG),
        Some(Value::Array(values)) => Some(
            values
                .into_iter()
                .map(|value| match value {
                    Value::Object(members) => members,
                    // Read as a mail without anything, which is told like any other mistake in it.
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
                })
                .collect(),
        ),
        Some(_) => fields.note("messages", BAD_FORMAT),
    }
}
