//! What stands between a request and the ledger: is it a mail that can be sent, to somebody who may be written to?
//!
//! Everything that can be known now is told now, because once a mail is accepted nobody hears of it but by asking. A mail
//! is rendered here for its mistakes only; what is kept is what it was rendered from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ieum::blobs::{BlobError, Blobs};
use ieum::delivery::recipients::Recipients;
use ieum::delivery::worker::Addressed;
use ieum::error::{ApiError, Code, Detail, INTERNAL, INVALID_REQUEST, Issue, TOO_LONG, code, issue};
use ieum::store::StoreError;
use url::Url;
use uuid::Uuid;

use crate::address::Address;
use crate::attachment::{MAX_TOTAL_BYTES, media_type};
use crate::composer::{Composer, Unfit};
use crate::mail::{Attachment, Content, Kind, Mail};
use crate::request::{Enclosure, Handed};

/// How long an address for an upload is good.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// With what an upload is sent. What it is, is read from its content later.
pub const UPLOAD_TYPE: &str = "application/octet-stream";

/// The folder of attachments; what lies there is deleted after a week.
const FOLDER: &str = "attachment";

/// Somebody it goes to is not to be written to.
pub const RECIPIENT_SUPPRESSED: Code = code(
    "recipient_suppressed",
    422,
    "발송이 제한된 수신자가 있습니다.",
    "There is a recipient who is not to be written to.",
);

const BOUNCED: Issue = issue("bounced", "반송된 적이 있는 주소입니다.", "Mail to this address came back.");
const COMPLAINED: Issue =
    issue("complained", "스팸으로 신고한 수신자입니다.", "This recipient has reported our mail as spam.");
const UNSUBSCRIBED: Issue =
    issue("unsubscribed", "수신을 거부한 주소입니다.", "This recipient wants no more mail of this kind.");
const BY_HAND: Issue = issue("by_hand", "담당자가 발송을 막은 주소입니다.", "An operator has blocked this address.");

/// No upload has this id, or nothing was uploaded.
const NOT_UPLOADED: Issue = issue("not_uploaded", "업로드된 파일이 없습니다.", "Nothing was uploaded under this id.");

/// Mail that may be refused needs a way to refuse it.
const NO_WAY_OUT: Issue = issue(
    "no_way_out",
    "수신거부 주소가 설정되어 있지 않아 광고성 메일을 보낼 수 없습니다.",
    "Promotional mail needs a link to refuse it, and none is configured.",
);

/// The lists of those who are not written to.
///
/// Who bounced, complained or was blocked by hand gets nothing. Who has unsubscribed gets no more promotional mail, but
/// still a new password.
#[derive(Clone, Debug)]
pub struct Lists {
    /// Of all mail.
    pub all: Recipients,
    /// Of promotional mail.
    pub promotional: Recipients,
}

impl Lists {
    /// Whether somebody gets no mail of the kind of `mail`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn hold_back(&self, mail: &Mail) -> Result<bool, StoreError> {
        let addresses = mail.recipients();
        Ok(self.all.any_suppressed(&addresses).await?
            || (mail.kind == Kind::Promotional && self.promotional.any_suppressed(&addresses).await?))
    }

    /// Why somebody at `address` gets no mail of this `kind`.
    async fn reason(&self, address: &Address, kind: Kind) -> Result<Option<Issue>, StoreError> {
        let address = address.identity();
        let mut found = self.all.suppression(&address).await?;
        if found.is_none() && kind == Kind::Promotional {
            found = self.promotional.suppression(&address).await?;
        }
        let known = [BOUNCED, COMPLAINED, UNSUBSCRIBED];
        let named = |reason: &str| known.into_iter().find(|issue| issue.name == reason).unwrap_or(BY_HAND);
        Ok(found.map(|suppression| named(&suppression.reason)))
    }

    /// Refuses `mail` when somebody gets none of its kind.
    ///
    /// # Errors
    /// 422 that names each of them with the reason, 503 without the store.
    pub async fn admit(&self, mail: &Mail) -> Result<(), ApiError> {
        if !self.hold_back(mail).await.map_err(ApiError::store_unavailable)? {
            return Ok(());
        }
        let mut refusal = ApiError::new(RECIPIENT_SUPPRESSED);
        for (place, address) in mail.places() {
            if let Some(reason) = self.reason(address, mail.kind).await.map_err(ApiError::store_unavailable)? {
                refusal = refusal.with(Detail::field(place, reason));
            }
        }
        Err(refusal)
    }
}

/// Looks mails over before they are accepted.
#[derive(Debug)]
pub struct Intake {
    composer: Arc<Composer>,
    blobs: Arc<dyn Blobs>,
}

/// Room for an upload.
#[derive(Debug)]
pub struct Room {
    /// The id by which a mail names it.
    pub id: Uuid,
    /// Where to put it.
    pub url: Url,
}

impl Intake {
    /// An intake of mail that `composer` can compose.
    pub fn new(composer: Arc<Composer>, blobs: Arc<dyn Blobs>) -> Self {
        Self { composer, blobs }
    }

    /// Whether `mail` can be composed when it says `content`.
    ///
    /// # Errors
    /// 400 with everything that is wrong with it.
    pub async fn check(&self, mail: &Mail, content: &Content) -> Result<(), ApiError> {
        if mail.kind == Kind::Promotional && self.composer.way_out().is_none() {
            return Err(ApiError::invalid("kind", NO_WAY_OUT));
        }
        self.composer.render(mail, content).await.map(drop).map_err(outside)
    }

    /// Keeps what goes along with the mail, or the batch, `id`. The same id again writes the same again.
    ///
    /// # Errors
    /// 400 for a file that cannot be sent, 503 without the bucket.
    pub async fn enclose(&self, id: &str, enclosures: Vec<Enclosure>) -> Result<Vec<Attachment>, ApiError> {
        let (mut attachments, mut inline, mut issues, mut total) = (Vec::new(), Vec::new(), Vec::new(), 0_usize);
        for (place, Enclosure { name, handed }) in enclosures.into_iter().enumerate() {
            let (key, content, field) = match handed {
                Handed::Inline(content) => (format!("{FOLDER}/{id}-{place}"), Bytes::from(content), "content"),
                Handed::Upload(upload) => {
                    let key = upload_key(upload);
                    match self.blobs.get(&key, MAX_TOTAL_BYTES).await {
                        Ok(Some(blob)) => (key, blob.bytes, "upload"),
                        Ok(None) => {
                            issues.push(Detail::field(format!("attachments[{place}].upload"), NOT_UPLOADED));
                            continue;
                        }
                        Err(BlobError::TooLarge(_)) => {
                            issues.push(Detail::field(format!("attachments[{place}].upload"), TOO_LONG));
                            continue;
                        }
                        Err(error) => return Err(ApiError::store_unavailable(error)),
                    }
                }
            };
            total += content.len();
            match media_type(&content) {
                Ok(media) => {
                    let (content_type, bytes) = (media.to_owned(), content.len());
                    attachments.push(Attachment { name, content_type, bytes, key: key.clone() });
                    if field == "content" {
                        inline.push((key, media, content));
                    }
                }
                Err(issue) => issues.push(Detail::field(format!("attachments[{place}].{field}"), issue)),
            }
        }
        if total > MAX_TOTAL_BYTES {
            issues.push(Detail::field("attachments", TOO_LONG));
        }
        if !issues.is_empty() {
            return Err(issues.into_iter().fold(ApiError::new(INVALID_REQUEST), ApiError::with));
        }
        for (key, media, content) in inline {
            self.blobs.put(&key, media, content).await.map_err(ApiError::store_unavailable)?;
        }
        Ok(attachments)
    }

    /// Keeps the own words of the batch `id` once, where each of its mails says [`kept`] that they are.
    ///
    /// # Errors
    /// 503 without the bucket.
    pub async fn keep(&self, id: &str, content: &Content) -> Result<(), ApiError> {
        let (Content::Custom(words), Content::Kept(key)) = (content, kept(id, content)) else { return Ok(()) };
        let json = serde_json::to_vec(words).map_err(|error| ApiError::new(INTERNAL).because(error))?;
        let put = self.blobs.put(&key, "application/json", Bytes::from(json)).await;
        put.map_err(ApiError::store_unavailable)
    }

    /// Room for a file of `bytes` bytes.
    ///
    /// # Errors
    /// 503 without the bucket.
    pub async fn room(&self, bytes: usize) -> Result<Room, ApiError> {
        let id = Uuid::new_v4();
        let url = self.blobs.upload_url(&upload_key(id), UPLOAD_TYPE, bytes, UPLOAD_LIFETIME).await;
        let url = url.map_err(ApiError::store_unavailable)?;
        Ok(Room { id, url })
    }
}

/// `content` as each mail of the batch `id` has it: own words are kept once for all of them.
pub fn kept(id: &str, content: &Content) -> Content {
    match content {
        Content::Custom(_) => Content::Kept(format!("message/{id}-words")),
        Content::Template(_) | Content::Kept(_) => content.clone(),
    }
}

/// An upload's place.
fn upload_key(id: Uuid) -> String {
    format!("{FOLDER}/upload-{id}")
}

/// Why a mail cannot be composed, as its sender sees it.
pub fn outside(unfit: Unfit) -> ApiError {
    match unfit {
        Unfit::Faults(faults) => {
            let details = faults.into_iter().map(|(field, issue)| Detail::field(field, issue));
            details.fold(ApiError::new(INVALID_REQUEST), ApiError::with)
        }
        Unfit::Unreachable(error) => ApiError::store_unavailable(error),
        unfit @ (Unfit::Gone | Unfit::Defect(_)) => ApiError::new(INTERNAL).because(unfit),
    }
}
