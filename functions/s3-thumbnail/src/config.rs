//! The variables of `s3-thumbnail`. The README has the same table; a test compares the two.

use ieum::config::{Common, Reader, Stage};

use crate::picture::Limits;
use crate::variant::{self, Variant};

/// Everything `s3-thumbnail` is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every function needs.
    pub common: Common,
    /// The thumbnails of each picture.
    pub variants: Vec<Variant>,
    /// How the keys of pictures begin.
    pub source: String,
    /// How the keys of thumbnails begin.
    pub target: String,
    /// How long whoever fetches a thumbnail may keep it.
    pub cache_control: String,
    /// What a picture may cost.
    pub limits: Limits,
    /// The queue of dead letters; absent in a local run without AWS.
    pub dead_letters: Option<String>,
}

impl Config {
    /// Reads the whole configuration.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let common = reader.common();
        let stage = common.as_ref().map_or(Stage::Production, |common| common.stage);
        let variants = reader.text("THUMBNAIL_VARIANTS", Some("card=300x200"));
        let variants = variants.and_then(|text| {
            let variants = Variant::parse_list(&text);
            if variants.is_none() {
                reader.mistake(format!("`THUMBNAIL_VARIANTS` is `{text}`: expected {}", variant::FORM));
            }
            variants
        });
        let source = prefix(reader, "THUMBNAIL_SOURCE_PREFIX", "upload/");
        let target = prefix(reader, "THUMBNAIL_TARGET_PREFIX", "thumbnail/");
        if let (Some(source), Some(target)) = (&source, &target)
            && (source.starts_with(target) || target.starts_with(source))
        {
            reader.mistake(format!(
                "`THUMBNAIL_TARGET_PREFIX` is `{target}`: expected one of which `{source}` is no part, and the other way \
                 round, or thumbnails would have thumbnails"
            ));
        }
        let cache_control = reader.text("THUMBNAIL_CACHE_CONTROL", Some("public, max-age=86400"));
        let bytes = reader.number("THUMBNAIL_MAX_BYTES", Some(33_554_432), 1_024..=268_435_456);
        let pixels = reader.number("THUMBNAIL_MAX_PIXELS", Some(100_000_000), 10_000..=1_000_000_000);
        let frames = reader.number("THUMBNAIL_MAX_FRAMES", Some(1_000), 1..=100_000);
        let scans = reader.number("THUMBNAIL_MAX_SCANS", Some(100), 1..=1_000);
        let memory = reader.number("THUMBNAIL_MAX_DECODER_BYTES", Some(268_435_456), 1_048_576..=2_147_483_648);
        let dead_letters = match stage {
            Stage::Local => Some(reader.optional_text("THUMBNAIL_DEAD_LETTER_QUEUE")),
            Stage::Dev | Stage::Staging | Stage::Production => {
                reader.text("THUMBNAIL_DEAD_LETTER_QUEUE", None).map(Some)
            }
        };
        Some(Self {
            common: common?,
            variants: variants?,
            source: source?,
            target: target?,
            cache_control: cache_control?,
            limits: Limits {
                bytes: bytes?.into(),
                pixels: pixels?.into(),
                frames: frames?,
                scans: scans?,
                memory: memory?.into(),
            },
            dead_letters: dead_letters?,
        })
    }
}

fn prefix(reader: &Reader<'_>, name: &str, default: &str) -> Option<String> {
    let text = reader.text(name, Some(default))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
    if text.len() > 1 && text.ends_with('/') && !text.starts_with('/') && text.bytes().all(plain) {
        return Some(text);
    }
    reader.mistake(format!("`{name}` is `{text}`: expected letters, digits, `-` and `_` that end with `/`"));
    None
}

#[cfg(test)]
mod tests {
    use ieum::config::Env;

    use super::*;

    fn local() -> Env {
        Env::from([("STAGE", "local")])
    }

    fn mistakes(env: &Env) -> Vec<String> {
        env.read(Config::read).expect_err("a mistake").0
    }

    #[test]
    fn a_local_run_needs_nothing_else() {
        let config = local().read(Config::read).expect("a configuration");
        assert_eq!(config.variants[0].to_string(), "card=300x200,cover,webp,q80,focus@50@50");
        let deployed = local().with("STAGE", "dev").with("TABLE_NAME", "t").with("IEUM_SECRET", "s");
        assert!(
            mistakes(&deployed).iter().any(|mistake| mistake.starts_with("`THUMBNAIL_DEAD_LETTER_QUEUE` is missing"))
        );
    }

    #[test]
    fn thumbnails_cannot_lie_where_pictures_are_looked_for() {
        for (source, target) in [("a/", "a/"), ("a/", "a/b/"), ("a/b/", "a/")] {
            let env = local().with("THUMBNAIL_SOURCE_PREFIX", source).with("THUMBNAIL_TARGET_PREFIX", target);
            assert!(mistakes(&env)[0].contains("thumbnails would have thumbnails"), "{source} {target}");
        }
        for wrong in ["/", "upload", "/upload/", "업로드/"] {
            assert!(mistakes(&local().with("THUMBNAIL_SOURCE_PREFIX", wrong))[0].contains("end with `/`"), "{wrong}");
        }
    }

    #[test]
    fn variants_that_are_not_understood_are_told() {
        assert!(mistakes(&local().with("THUMBNAIL_VARIANTS", "card=300"))[0].contains("expected variants such as"));
    }
}
