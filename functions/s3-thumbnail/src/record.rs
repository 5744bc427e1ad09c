//! What the table knows of a picture: `thumbnail#{sha256}`, see `infra/table.md`. Pure.
//!
//! It is what makes an upload that is announced twice cost one look, and where a front end finds how large a thumbnail
//! is before it has come.

use ieum::aws::s3::Place;
use ieum::clock::Timestamp;
use ieum::store::{Action, Item, Key, Update};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One thumbnail that lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Which variant it is.
    pub variant: String,
    /// Its key, in the picture's bucket.
    pub key: String,
    /// The media type.
    pub content_type: String,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The most frequent colour, `#rrggbb`.
    pub colour: String,
    /// A `ThumbHash` in base64.
    pub placeholder: String,
    /// The length of the file.
    pub bytes: u64,
}

/// What became of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has thumbnails.
    Made(Vec<Made>),
    /// It has none, and for what reason: a stable word.
    None(&'static str),
}

/// What was to be done about which content. The same again gives the same result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The content's ETag.
    pub etag: String,
    /// The variants and the picture's own focus, in one form.
    pub wish: String,
}

/// The key of the item about the picture at `place`.
pub fn key(place: &Place) -> Key {
    // A bucket's name has no slash.
    format!("thumbnail#{}", hex::encode(Sha256::digest(format!("{}/{}", place.bucket, place.key))))
}

/// Whether `item` says that `task` has been done.
pub fn is_done(item: &Item, task: &Task) -> bool {
    item.text("etag") == Some(&task.etag) && item.text("wish") == Some(&task.wish)
}

/// The update that says so.
pub fn done(place: &Place, version: Option<&str>, task: &Task, outcome: &Outcome, now: Timestamp) -> Update {
    let (reason, thumbnails) = match outcome {
        // A list of plain structs cannot fail to be JSON.
        Outcome::Made(made) => ("", serde_json::to_string(made).unwrap_or_default()),
        Outcome::None(reason) => (*reason, String::new()),
    };
    let text = |name, value: &str| match value {
        "" => Action::Remove(name),
        value => Action::Set(name, value.into()),
    };
    Update::of(key(place)).then([
        Action::Set("bucket", place.bucket.as_str().into()),
        Action::Set("object", place.key.as_str().into()),
        Action::Set("etag", task.etag.as_str().into()),
        Action::Set("wish", task.wish.as_str().into()),
        text("version", version.unwrap_or_default()),
        text("reason", reason),
        text("thumbnails", &thumbnails),
        Action::Set("at", now.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// The thumbnails that `item` knows of.
///
/// # Errors
/// The item was written by another version.
pub fn made(item: &Item) -> Result<Vec<Made>, serde_json::Error> {
    item.text("thumbnails").map_or(Ok(Vec::new()), serde_json::from_str)
}
