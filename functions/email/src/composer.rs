//! From a mail as it is kept to one that is ready to go: words rendered, files fetched, the way out signed.

use std::sync::Arc;

use ieum::blobs::{BlobError, Blobs};
use ieum::delivery::worker::Letter;
use ieum::error::{Issue, issue};
use ieum::secrets::{Secret, SecretError, SecretShape, SecretString};
use ieum::start::Kernel;
use serde::Deserialize;
use url::Url;

use crate::address::{Address, Mailbox};
use crate::attachment::MAX_TOTAL_BYTES;
use crate::compose::{Composed, File};
use crate::config::Config;
use crate::mail::{Content, Kind, Mail, Tongue};
use crate::template::{Fault, Parts, Sheet, Surroundings, Template, Variables, Words};
use crate::templates::Templates;
use crate::unsubscribe;

/// No template has this name.
pub const UNKNOWN_TEMPLATE: Issue =
    issue("unknown_template", "없는 템플릿입니다.", "There is no template of this name.");

/// The largest words that are kept apart.
const MAX_WORDS_BYTES: usize = 4 * 1024 * 1024;

/// What this function itself keeps secret.
#[derive(Debug, Deserialize)]
pub struct EmailSecret {
    /// What signs the links by which a recipient gets no more mail.
    pub unsubscribe_key: SecretString,
}

impl SecretShape for EmailSecret {
    const MEMBERS: &'static [&'static str] = &["unsubscribe_key"];
}

/// The way out of mail that may be refused.
#[derive(Clone, Debug)]
pub struct WayOut {
    /// Where this layer answers from outside.
    pub public_url: Url,
    /// What signs the links.
    pub secret: Arc<Secret<EmailSecret>>,
}

/// Composes mails.
#[derive(Debug)]
pub struct Composer {
    from: Mailbox,
    reply_to: Option<Mailbox>,
    brand: String,
    way_out: Option<WayOut>,
    templates: Templates,
    blobs: Arc<dyn Blobs>,
}

/// Why a mail cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// What it says, or is made of, is at fault.
    #[error("the mail cannot be rendered: {}", names(.0))]
    Faults(Vec<Fault>),
    /// An attachment is no longer there.
    #[error("an attachment is gone")]
    Gone,
    /// An attachment cannot be fetched now.
    #[error("an attachment cannot be fetched")]
    Unreachable(#[source] BlobError),
    /// A defect of ours.
    #[error("{0}")]
    Defect(String),
}

fn own(words: &Words, language: Tongue, variables: &Variables, around: &Surroundings<'_>) -> Result<Parts, Vec<Fault>> {
    Sheet::own(words, language.0).map_err(|fault| vec![fault])?.render(variables, around)
}

fn names(faults: &[Fault]) -> String {
    faults.iter().map(|(field, issue)| format!("{field} {}", issue.name)).collect::<Vec<_>>().join(", ")
}

impl Composer {
    /// The composer of a function that is configured so.
    ///
    /// # Errors
    /// When the secret that signs links cannot be read.
    pub async fn start(kernel: &Kernel, config: &Config) -> Result<Self, SecretError> {
        let way_out = match &config.unsubscribe {
            Some((public_url, secret)) => {
                Some(WayOut { public_url: public_url.clone(), secret: kernel.secret(secret).await? })
            }
            None => None,
        };
        let (from, reply_to) = (config.from.clone(), config.reply_to.clone());
        Ok(Self::new(from, reply_to, config.brand.clone(), way_out, kernel.blobs()))
    }

    /// A composer of mail from `from`.
    pub fn new(
        from: Mailbox,
        reply_to: Option<Mailbox>,
        brand: String,
        way_out: Option<WayOut>,
        blobs: Arc<dyn Blobs>,
    ) -> Self {
        let templates = Templates::new(Arc::clone(&blobs));
        Self { from, reply_to, brand, way_out, templates, blobs }
    }

    /// Whose mail it is, as recipients read it.
    pub fn brand(&self) -> &str {
        &self.brand
    }

    /// The way out, where there is one.
    pub fn way_out(&self) -> Option<&WayOut> {
        self.way_out.as_ref()
    }

    /// What `mail` says, with the words of `content`.
    ///
    /// # Errors
    /// [`Unfit::Faults`] with everything that is wrong.
    pub async fn render(&self, mail: &Mail, content: &Content) -> Result<(Parts, Option<String>), Unfit> {
        let unsubscribe_url = match (mail.kind, mail.everybody().next()) {
            (Kind::Promotional, Some(address)) => self.unsubscribe_url(address).await,
            (Kind::Promotional | Kind::Transactional, _) => None,
        };
        let parts = self.words(content, mail.language, &mail.variables, unsubscribe_url.as_deref()).await?;
        Ok((parts, unsubscribe_url))
    }

    /// What `content` says with `variables`, to nobody in particular.
    ///
    /// # Errors
    /// [`Unfit::Faults`] with everything that is wrong.
    pub async fn preview(&self, content: &Content, language: Tongue, variables: &Variables) -> Result<Parts, Unfit> {
        self.words(content, language, variables, None).await
    }

    async fn words(
        &self,
        content: &Content,
        language: Tongue,
        variables: &Variables,
        unsubscribe_url: Option<&str>,
    ) -> Result<Parts, Unfit> {
        let around = Surroundings { brand: &self.brand, unsubscribe_url };
        let rendered = match content {
            Content::Template(name) => {
                let template = Template::find(name)
                    .ok_or_else(|| Unfit::Faults(vec![("template".to_owned(), UNKNOWN_TEMPLATE)]))?;
                let sheet = self.templates.sheet(template, language.0).await.map_err(Unfit::Defect)?;
                sheet.render(variables, &around)
            }
            Content::Custom(words) => own(words, language, variables, &around),
            Content::Kept(key) => {
                let blob = self.blobs.get(key, MAX_WORDS_BYTES).await.map_err(Unfit::Unreachable)?;
                let words = serde_json::from_slice(&blob.ok_or(Unfit::Gone)?.bytes);
                let words = words.map_err(|error| Unfit::Defect(format!("kept words: {:?}", error.classify())))?;
                own(&words, language, variables, &around)
            }
        };
        rendered.map_err(Unfit::Faults)
    }

    /// The mail of `letter`, ready to go.
    ///
    /// # Errors
    /// Any [`Unfit`].
    pub async fn compose(&self, letter: &Letter<Mail>) -> Result<Composed, Unfit> {
        let mail = &letter.content;
        let (parts, unsubscribe_url) = self.render(mail, &mail.content).await?;
        let mut files = Vec::new();
        for attachment in &mail.attachments {
            let blob = match self.blobs.get(&attachment.key, MAX_TOTAL_BYTES).await {
                Ok(Some(blob)) if blob.bytes.len() == attachment.bytes => blob,
                Ok(_) | Err(BlobError::TooLarge(_)) => return Err(Unfit::Gone),
                Err(error) => return Err(Unfit::Unreachable(error)),
            };
            let (name, content_type) = (attachment.name.clone(), attachment.content_type.clone());
            files.push(File { name, content_type, content: blob.bytes });
        }
        Ok(Composed {
            id: letter.id.clone(),
            from: self.from.clone(),
            to: mail.to.clone(),
            cc: mail.cc.clone(),
            bcc: mail.bcc.clone(),
            reply_to: mail.reply_to.clone().or_else(|| self.reply_to.clone()),
            parts,
            files,
            unsubscribe_url,
        })
    }

    async fn unsubscribe_url(&self, address: &Address) -> Option<String> {
        let way_out = self.way_out.as_ref()?;
        let secret = way_out.secret.current().await;
        Some(unsubscribe::link(&way_out.public_url, &secret.unsubscribe_key, address))
    }
}
