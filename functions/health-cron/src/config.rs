//! The variables of `health-cron`. The README has the same table; a test compares the two.

use ieum::backup::files::Source;
use ieum::config::{Common, ConfigError, Env, Reader};

/// Everything `health-cron` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// The ARN of the topic whose subscribers are told what has changed.
    pub topic: String,
    /// The bucket that backups are written to.
    pub archive: String,
    /// The objects that are backed up.
    pub files: Vec<Source>,
}

impl Config {
    /// Reads the whole configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake at once.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        env.read(Self::read)
    }

    /// Reads with a reader of the caller's, who wants to know what was asked for.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let common = reader.common();
        let (topic, archive) = (reader.text("ALERT_TOPIC_ARN", None), reader.text("ARCHIVE_BUCKET", None));
        let files = reader.words("BACKUP_FILES", None).and_then(|words| {
            let sources: Option<Vec<Source>> = words.iter().map(|word| Source::parse(word)).collect();
            if sources.is_none() {
                reader.mistake("`BACKUP_FILES` must be a list of `bucket/prefix`");
            }
            sources
        });
        Some(Self { common: common?, topic: topic?, archive: archive?, files: files? })
    }
}
