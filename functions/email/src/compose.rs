//! A mail, rendered and complete: what a provider is handed.
//!
//! MIME is written by lettre, once, for SES and SMTP alike; SendGrid takes the parts. Our id goes along in three ways
//! (the `Message-ID`, a header, the provider's own metadata), so that whatever a provider reports can be matched.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use ieum::clock::Timestamp;
use ieum::provider::Cause;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, MultiPart};

use crate::address::{Address, Mailbox};
use crate::template::Parts;

/// The header with our id.
pub const ID_HEADER: &str = "X-Ieum-Id";

/// A file and its content.
#[derive(Clone, Debug)]
pub struct File {
    /// What the recipient sees.
    pub name: String,
    /// What it is.
    pub content_type: String,
    /// What is in it.
    pub content: Bytes,
}

/// A mail that is ready to go.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Our id of the message.
    pub id: String,
    /// Who sends.
    pub from: Mailbox,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// Who else, seen by all.
    pub cc: Vec<Mailbox>,
    /// Who else, seen by nobody.
    pub bcc: Vec<Mailbox>,
    /// Where an answer goes.
    pub reply_to: Option<Mailbox>,
    /// What it says.
    pub parts: Parts,
    /// What goes along.
    pub files: Vec<File>,
    /// Where its recipient can say that he wants no more.
    pub unsubscribe_url: Option<String>,
}

impl Composed {
    /// Everybody who gets it.
    pub fn recipients(&self) -> impl Iterator<Item = &Address> {
        self.to.iter().chain(&self.cc).chain(&self.bcc).map(|mailbox| &mailbox.address)
    }

    /// The headers beyond those of every mail, by name.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![(ID_HEADER, self.id.clone())];
        if let Some(url) = &self.unsubscribe_url {
            // RFC 8058: one click, without a page in between.
            headers.push(("List-Unsubscribe", format!("<{url}>")));
            headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        }
        headers
    }

    /// The mail as MIME, without those seen by nobody.
    ///
    /// # Errors
    /// When it cannot be written; whatever was accepted can.
    pub fn mime(&self, now: Timestamp) -> Result<Vec<u8>, Cause> {
        let mut builder = lettre::Message::builder()
            .message_id(Some(format!("<{}@{}>", self.id, self.from.address.domain())))
            .date(UNIX_EPOCH + Duration::from_millis(u64::try_from(now.as_millis())?))
            .from(mailbox(&self.from)?)
            .subject(&self.parts.subject);
        for to in &self.to {
            builder = builder.to(mailbox(to)?);
        }
        for cc in &self.cc {
            builder = builder.cc(mailbox(cc)?);
        }
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(mailbox(reply_to)?);
        }
        if self.to.is_empty() && self.cc.is_empty() {
            return Err("a mail to nobody".into());
        }
        let body = MultiPart::alternative_plain_html(self.parts.text.clone(), self.parts.html.clone());
        let mut message = if self.files.is_empty() {
            builder.multipart(body)?
        } else {
            let mut mixed = MultiPart::mixed().multipart(body);
            for file in &self.files {
                let kind = if file.content_type == "text/plain" {
                    ContentType::TEXT_PLAIN
                } else {
                    ContentType::parse(&file.content_type)?
                };
                mixed = mixed.singlepart(Part::new(file.name.clone()).body(file.content.to_vec(), kind));
            }
            builder.multipart(mixed)?
        };
        for (name, value) in self.headers() {
            message.headers_mut().insert_raw(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
        }
        Ok(message.formatted())
    }
}

fn mailbox(mailbox: &Mailbox) -> Result<lettre::message::Mailbox, Cause> {
    Ok(lettre::message::Mailbox::new(mailbox.name.clone(), lettre_address(&mailbox.address)?))
}

/// The address in lettre's type.
pub(crate) fn lettre_address(address: &Address) -> Result<lettre::Address, Cause> {
    Ok(address.as_str().parse()?)
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    fn mailbox(address: &str, name: Option<&str>) -> Mailbox {
        Mailbox { address: Address::parse(address).unwrap(), name: name.map(str::to_owned) }
    }

    fn mail() -> Composed {
        let long = "한 줄이 아주 긴 본문입니다. ".repeat(200);
        Composed {
            id: "0f8b0b1e-6d3c-4f5e-9a53-2f6c1b1d7c11".to_owned(),
            from: mailbox("noreply@example.kr", Some("이음 재단")),
            to: vec![mailbox("hong@example.kr", Some("홍길동, \"부장\" <x@y>")), mailbox("kim@한국.한국", None)],
            cc: vec![mailbox("cc@example.kr", None)],
            bcc: vec![mailbox("secret@example.kr", None)],
            reply_to: Some(mailbox("help@example.kr", None)),
            parts: Parts {
                subject: "기부금 영수증 안내: 2026년 11월분입니다. 첨부를 확인해 주세요 😀".to_owned(),
                html: format!("<p>{long}</p>\n.\n<p>끝</p>"),
                text: format!("{long}\n.\n끝"),
            },
            files: vec![
                File {
                    name: "기부금 영수증 2026.pdf".to_owned(),
                    content_type: "application/pdf".to_owned(),
                    content: Bytes::from((0..=255_u8).cycle().take(5_000).collect::<Vec<_>>()),
                },
                File {
                    name: "명단.csv".to_owned(),
                    content_type: "text/plain".to_owned(),
                    content: "이름\r\n홍".into(),
                },
            ],
            unsubscribe_url: Some("https://api.example.kr/v1/unsubscribe/a.b".to_owned()),
        }
    }

    #[test]
    fn another_parser_reads_back_exactly_what_was_composed() {
        let mail = mail();
        let mime = mail.mime(Timestamp::from_millis(1_795_233_000_000)).unwrap();
        let read = MessageParser::default().parse(&mime).unwrap();
        assert_eq!(read.subject(), Some(mail.parts.subject.as_str()));
        let lines = |text: &str| text.replace("\r\n", "\n");
        assert_eq!(lines(&read.body_text(0).unwrap()).trim_end(), mail.parts.text);
        assert_eq!(lines(&read.body_html(0).unwrap()).trim_end(), mail.parts.html);
        let from = read.from().unwrap().first().unwrap();
        assert_eq!((from.address(), from.name()), (Some("noreply@example.kr"), Some("이음 재단")));
        let to: Vec<_> = read.to().unwrap().iter().map(|one| (one.address().unwrap(), one.name())).collect();
        assert_eq!(to, [("hong@example.kr", Some("홍길동, \"부장\" <x@y>")), ("kim@xn--3e0b707e.xn--3e0b707e", None)]);
        let files: Vec<_> = read.attachments().map(|part| (part.attachment_name().unwrap(), part.contents())).collect();
        let composed: Vec<_> = mail.files.iter().map(|file| (file.name.as_str(), &file.content[..])).collect();
        assert_eq!(files, composed);
        assert_eq!(read.message_id(), Some("0f8b0b1e-6d3c-4f5e-9a53-2f6c1b1d7c11@example.kr"));
        assert_eq!(read.date().unwrap().to_rfc3339(), "2026-11-21T03:50:00Z");
        let header = |name: &str| read.header_raw(name).unwrap().trim().to_owned();
        assert_eq!(header(ID_HEADER), mail.id);
        assert_eq!(header("List-Unsubscribe"), "<https://api.example.kr/v1/unsubscribe/a.b>");
        assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    }

    #[test]
    fn every_line_is_short_ascii_and_ends_as_smtp_wants_it() {
        let mime = mail().mime(Timestamp::from_millis(0)).unwrap();
        let text = std::str::from_utf8(&mime).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "no bare line breaks");
        assert!(text.split("\r\n").all(|line| line.len() <= 998 && line.is_ascii()));
        assert!(!text.to_lowercase().contains("secret@example.kr"), "nobody sees who was copied in secret");
    }

    #[test]
    fn a_mail_to_nobody_is_none() {
        let nobody = Composed { to: Vec::new(), cc: Vec::new(), ..mail() };
        assert!(nobody.mime(Timestamp::from_millis(0)).is_err());
    }
}
