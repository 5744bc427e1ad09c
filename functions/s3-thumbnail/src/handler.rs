//! An uploaded picture becomes its thumbnails.
//!
//! A notification is only a hint that something lies there now: they come late, twice and in any order. So the newest
//! object is what is worked on, and once its thumbnails are written, the object is looked at again: whoever writes last
//! has seen that nothing newer is there. What has been done is written down, and the same again costs one look.
//!
//! A thumbnail must never have thumbnails. Keys guard against that (thumbnails lie under another prefix), and so does
//! a mark in their metadata, for the day when somebody copies or configures them elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use ieum::aws::s3::{Place, Writing};
use ieum::clock::SharedClock;
use ieum::error::chain;
use ieum::provider::Cause;
use ieum::runtime::{Answer, Bounds, Event, Function, Reader};
use ieum::start::{Kernel, StartError};
use ieum::store::{Item, Read, Store};
use ieum::telemetry::METRIC;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::config::Config;
use crate::dead_letters::{DeadLetters, MemoryDeadLetters};
use crate::notification::Upload;
use crate::objects::{Facts, MemoryObjects, Objects};
use crate::picture::{Limits, Refusal, Thumbnail, thumbnails};
use crate::record::{self, Made, Outcome, Task};
use crate::variant::{Focus, Variant};

/// The mark of a thumbnail, in its metadata: the name of its variant.
pub const MARK: &str = "ieum-thumbnail";

/// Where a picture's owner may say what a cut must keep: two numbers of percent, `30,40`.
pub const FOCUS: &str = "focus";

/// How often a picture may change while its thumbnails are being made.
const CHANGES: usize = 3;

/// While one picture is fetched or its thumbnails are put, another is decoded. The time limit is that of
/// `template.yaml`.
const BOUNDS: Bounds = Bounds { at_once: 2, limit: Duration::from_secs(60) };

/// What became of one notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Thumbnails were written, this many.
    Made(usize),
    /// There was nothing to be done, for what reason: a stable word.
    Skipped(&'static str),
    /// There will never be thumbnails; the notification is among the dead letters.
    Buried(Refusal),
}

/// The function.
#[derive(Debug)]
pub struct Handler {
    objects: Arc<dyn Objects>,
    dead_letters: Arc<dyn DeadLetters>,
    store: Arc<dyn Store>,
    clock: SharedClock,
    variants: Vec<Variant>,
    limits: Limits,
    source: String,
    target: String,
    cache_control: String,
}

/// What the facts of an object call for.
enum Verdict {
    Work(Task, Option<Focus>),
    Skip(&'static str),
}

impl Handler {
    /// Starts the process.
    ///
    /// # Errors
    /// [`StartError`]: the function must not serve.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let kernel = Kernel::start("s3-thumbnail", &config.common, false).await?;
        let (objects, dead_letters): (Arc<dyn Objects>, Arc<dyn DeadLetters>) =
            match (&kernel.aws, &config.dead_letters) {
                (Some(aws), Some(url)) => (Arc::new(aws.s3()), Arc::new(aws.queue(url))),
                _ => (Arc::<MemoryObjects>::default(), Arc::<MemoryDeadLetters>::default()),
            };
        Ok(Self::new(config, &kernel, objects, dead_letters))
    }

    /// The function as configured, over these parts.
    pub fn new(
        config: &Config,
        kernel: &Kernel,
        objects: Arc<dyn Objects>,
        dead_letters: Arc<dyn DeadLetters>,
    ) -> Self {
        Self {
            objects,
            dead_letters,
            store: Arc::clone(&kernel.durable),
            clock: Arc::clone(&kernel.clock),
            variants: config.variants.clone(),
            limits: config.limits,
            source: config.source.clone(),
            target: config.target.clone(),
            cache_control: config.cache_control.clone(),
        }
    }

    /// Makes the thumbnails of every object that `notification` is about, as far as it can.
    async fn notified(&self, notification: &Value) -> Result<(), Cause> {
        let mut outcome = Ok(());
        for upload in Upload::all(notification)? {
            outcome = outcome.and(self.upload(&upload).await.map(drop));
        }
        outcome
    }

    /// Makes the thumbnails of the object that `upload` is about.
    ///
    /// # Errors
    /// S3, the table or the dead letters did not do what they should; trying again may help.
    pub async fn upload(&self, upload: &Upload) -> Result<Ending, Cause> {
        let began = Instant::now();
        let ending = self.settle(upload).await;
        let Place { bucket, key } = &upload.place;
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &ending {
            Ok(Ending::Made(count)) => {
                tracing::info!(
                    target: METRIC, integration = "thumbnail", success = 1_u64, duration_ms, bucket, object = key, count,
                    "thumbnails.made"
                );
            }
            Ok(Ending::Skipped(reason)) => {
                tracing::info!(target: "s3_thumbnail", bucket, object = key, reason, duration_ms, "thumbnails.skipped");
            }
            // Nobody's outage: a person sent something that is no picture.
            Ok(Ending::Buried(refusal)) => {
                let (reason, error) = (refusal.reason(), refusal.to_string());
                tracing::warn!(target: "s3_thumbnail", bucket, object = key, reason, error, "thumbnails.refused");
            }
            Err(error) => {
                let error = chain(&**error);
                tracing::error!(
                    target: METRIC, integration = "thumbnail", failure = 1_u64, duration_ms, bucket, object = key, error,
                    "thumbnails.failed"
                );
            }
        }
        ending
    }

    async fn settle(&self, upload: &Upload) -> Result<Ending, Cause> {
        let place = &upload.place;
        if !place.key.starts_with(&self.source) || place.key.starts_with(&self.target) {
            return Ok(Ending::Skipped("elsewhere"));
        }
        if place.key.ends_with('/') {
            return Ok(Ending::Skipped("folder"));
        }
        for _ in 0..CHANGES {
            let known = self.store.get(&record::key(place), Read::Consistent).await?.unwrap_or_default();
            let wanted = |facts: &Facts| {
                let fits = facts.length <= self.limits.bytes;
                fits && matches!(self.verdict(facts, &known), Verdict::Work(..))
            };
            let Some((facts, bytes)) = self.objects.read(place, &wanted).await? else {
                return Ok(Ending::Skipped("gone"));
            };
            let (task, focus) = match self.verdict(&facts, &known) {
                Verdict::Work(task, focus) => (task, focus),
                Verdict::Skip(reason) => return Ok(Ending::Skipped(reason)),
            };
            let ending = self.work(upload, &facts, bytes, &task, focus).await?;
            if self.objects.etag(place).await?.is_none_or(|etag| etag == facts.etag) {
                return Ok(ending);
            }
        }
        Err("the picture keeps changing".into())
    }

    fn verdict(&self, facts: &Facts, known: &Item) -> Verdict {
        if facts.metadata.contains_key(MARK) {
            return Verdict::Skip("thumbnail");
        }
        let focus = facts.metadata.get(FOCUS).and_then(|text| Focus::parse(text, ','));
        let mut wish: String = self.variants.iter().map(|variant| format!("{variant};")).collect();
        if let Some(Focus { x, y }) = focus {
            wish.push_str(&format!("focus {x},{y}"));
        }
        let task = Task { etag: facts.etag.clone(), wish };
        if record::is_done(known, &task) { Verdict::Skip("done") } else { Verdict::Work(task, focus) }
    }

    /// Does `task` about the object of these `facts`; without `bytes`, it was too long to be read.
    async fn work(
        &self,
        upload: &Upload,
        facts: &Facts,
        bytes: Option<Bytes>,
        task: &Task,
        focus: Option<Focus>,
    ) -> Result<Ending, Cause> {
        let made = match bytes {
            Some(bytes) => thumbnails(&bytes, &self.variants, focus, &self.limits),
            None => Err(Refusal::TooLarge { what: "bytes", found: facts.length, limit: self.limits.bytes }),
        };
        let (outcome, ending) = match made {
            Ok(thumbnails) => {
                let pairs = self.variants.iter().zip(thumbnails);
                let written = pairs.map(|(variant, thumbnail)| self.write(&upload.place, facts, variant, thumbnail));
                let made = try_join_all(written).await?;
                let count = made.len();
                (Outcome::Made(made), Ending::Made(count))
            }
            Err(refusal @ (Refusal::TooLarge { .. } | Refusal::Broken(_))) => {
                let cause = json!({
                    "reason": refusal.reason(),
                    "message": refusal.to_string(),
                    "etag": facts.etag,
                    "time": self.clock.now().rfc3339(),
                });
                self.dead_letters.bury(&upload.with_cause(&cause)).await?;
                (Outcome::None(refusal.reason()), Ending::Buried(refusal))
            }
            Err(refusal) => (Outcome::None(refusal.reason()), Ending::Skipped(refusal.reason())),
        };
        let version = facts.version.as_deref();
        self.store.update(&record::done(&upload.place, version, task, &outcome, self.clock.now())).await?;
        Ok(ending)
    }

    async fn write(
        &self,
        picture: &Place,
        facts: &Facts,
        variant: &Variant,
        thumbnail: Thumbnail,
    ) -> Result<Made, Cause> {
        let place = self.place(picture, variant);
        let made = Made {
            variant: variant.name.clone(),
            key: place.key.clone(),
            content_type: variant.output.content_type().to_owned(),
            width: thumbnail.size.width,
            height: thumbnail.size.height,
            colour: thumbnail.colour,
            placeholder: thumbnail.placeholder,
            bytes: thumbnail.bytes.len() as u64,
        };
        let metadata = BTreeMap::from([
            (MARK.to_owned(), made.variant.clone()),
            ("ieum-source".to_owned(), utf8_percent_encode(&picture.key, NON_ALPHANUMERIC).to_string()),
            ("ieum-source-etag".to_owned(), facts.etag.clone()),
            ("ieum-width".to_owned(), made.width.to_string()),
            ("ieum-height".to_owned(), made.height.to_string()),
            ("ieum-colour".to_owned(), made.colour.clone()),
            ("ieum-placeholder".to_owned(), made.placeholder.clone()),
        ]);
        let writing = Writing {
            content_type: variant.output.content_type().to_owned(),
            cache_control: Some(self.cache_control.clone()),
            metadata,
            bytes: thumbnail.bytes.into(),
        };
        self.objects.write(&place, writing).await?;
        Ok(made)
    }

    /// Where the thumbnail of a picture lies: the picture's whole name stays, because `a.jpg` and `a.png` may both be
    /// there.
    fn place(&self, picture: &Place, variant: &Variant) -> Place {
        let name = picture.key.strip_prefix(&self.source).unwrap_or(&picture.key);
        let key = format!("{}{}/{name}.{}", self.target, variant.name, variant.output.extension());
        Place { bucket: picture.bucket.clone(), key }
    }
}

impl Function for Handler {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<Answer, Cause> {
        match event {
            Event::Queue(batch) => Ok(batch.read(self, BOUNDS, &self.clock, deadline_ms).await.into()),
            Event::Objects(notification) => Ok(Answer::Done(self.notified(&notification).await?)),
            other @ (Event::Http(_) | Event::Scheduled(_) | Event::Logs(_)) => Err(other.unexpected()),
        }
    }
}

impl Reader for Handler {
    async fn read(&self, body: &str) -> Result<(), Cause> {
        self.notified(&serde_json::from_str(body)?).await
    }
}
