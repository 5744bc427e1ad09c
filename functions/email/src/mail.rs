//! A mail as it is accepted, kept and sent: who gets it, what it says, what is attached.
//!
//! What is kept is the source, not the rendered text: a template's name and its variables. A thousand mails of a batch
//! then take little more room than their addresses.

use ieum::answers::Request;
use ieum::delivery::worker::Addressed;
use ieum::error::Language;
use serde::{Deserialize, Serialize};

use crate::address::{Address, Mailbox};
use crate::template::{CUSTOM, Variables, Words, tag};

/// Recipients of one mail, in all (<https://docs.aws.amazon.com/ses/latest/dg/quotas.html>).
pub const MAX_RECIPIENTS: usize = 50;

/// Whether the recipient may refuse it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It belongs to something the recipient did.
    #[default]
    Transactional,
    /// Anything else: it goes to one recipient and says how to get no more (RFC 8058).
    Promotional,
}

/// The language of a mail, as its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tongue(pub Language);

impl Serialize for Tongue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(tag(self.0))
    }
}

impl<'de> Deserialize<'de> for Tongue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tongue::parse(&String::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("no language of ours"))
    }
}

impl Tongue {
    /// The language with that tag.
    pub fn parse(text: &str) -> Option<Self> {
        [Language::Korean, Language::English].into_iter().find(|language| tag(*language) == text).map(Self)
    }
}

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A template of ours, by name.
    Template(String),
    /// Its own words.
    Custom(Words),
    /// The same, kept once as a blob for all mails of a batch.
    Kept(String),
}

impl Content {
    /// The name of the template.
    pub fn template(&self) -> &str {
        match self {
            Self::Template(name) => name,
            Self::Custom(_) | Self::Kept(_) => CUSTOM,
        }
    }
}

/// A file that goes along, kept as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What the recipient sees.
    pub name: String,
    /// What it is, by its content.
    pub content_type: String,
    /// Its size.
    pub bytes: usize,
    /// Where it is kept.
    pub key: String,
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// To whom.
    pub to: Vec<Mailbox>,
    /// Who else, seen by all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<Mailbox>,
    /// Who else, seen by nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<Mailbox>,
    /// Where an answer goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Mailbox>,
    /// Whether it may be refused.
    pub kind: Kind,
    /// Its language.
    pub language: Tongue,
    /// What it says.
    pub content: Content,
    /// What varies.
    #[serde(default)]
    pub variables: Variables,
    /// What goes along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

impl Mail {
    /// Everybody who gets it.
    pub fn everybody(&self) -> impl Iterator<Item = &Address> {
        self.to.iter().chain(&self.cc).chain(&self.bcc).map(|mailbox| &mailbox.address)
    }

    /// Everybody who gets it, each with its place in a request.
    pub fn places(&self) -> impl Iterator<Item = (String, &Address)> {
        let lists = [("to", &self.to), ("cc", &self.cc), ("bcc", &self.bcc)];
        lists.into_iter().flat_map(|(name, mailboxes)| {
            let numbered = mailboxes.iter().enumerate();
            numbered.map(move |(place, mailbox)| (format!("{name}[{place}]"), &mailbox.address))
        })
    }

    /// Everybody who gets it, as it may stand in a log.
    pub fn masked_recipients(&self) -> String {
        self.everybody().map(Address::masked).collect::<Vec<_>>().join(" ")
    }
}

impl Addressed for Mail {
    fn recipients(&self) -> Vec<String> {
        self.everybody().map(Address::identity).collect()
    }
}

impl Request for Mail {
    fn readable(&self) -> String {
        format!("mail to {} recipients", self.everybody().count())
    }
}
