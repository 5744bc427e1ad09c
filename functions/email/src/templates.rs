//! Where templates come from: the repository, and what somebody has put into the bucket instead.
//!
//! An override is an object `email-templates/{file}`, such as `email-templates/welcome.ko.html`; it is seen within a
//! minute, without a deploy. One that is no template, or uses a variable that is not declared, is reported and left out:
//! mail goes on with the words it was built with. So it does when the bucket does not answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ieum::blobs::Blobs;
use ieum::error::{Language, chain};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::template::{Overrides, Sheet, Template, file_names};

/// How long a template is used before the bucket is asked again.
const FRESH: Duration = Duration::from_secs(60);

/// The largest override.
const MAX_BYTES: usize = 128 * 1024;

/// The folder of overrides.
const FOLDER: &str = "email-templates";

/// The templates of a process.
#[derive(Debug)]
pub struct Templates {
    blobs: Arc<dyn Blobs>,
    known: Mutex<HashMap<(&'static str, &'static str), Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    sheet: Arc<Sheet>,
    since: Instant,
}

impl Templates {
    /// Templates whose overrides lie in `blobs`.
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, known: Mutex::default() }
    }

    /// `template` in `language`, as it is now.
    ///
    /// # Errors
    /// In words for an operator: what is in the repository cannot be read, which a test rules out.
    pub async fn sheet(&self, template: &'static Template, language: Language) -> Result<Arc<Sheet>, String> {
        let key = (template.name, crate::template::tag(language));
        // Held while the bucket is asked: everybody else would ask for the same.
        let mut known = self.known.lock().await;
        if let Some(fresh) = known.get(&key).filter(|known| known.since.elapsed() < FRESH) {
            return Ok(Arc::clone(&fresh.sheet));
        }
        let sheet = match self.overrides(template, language).await {
            Ok(overrides) => {
                let sheet = Sheet::of(template, language, &overrides).or_else(|error| {
                    tracing::error!(target: "ieum::email", template = template.name, error, "override.refused");
                    Sheet::of(template, language, &Overrides::new())
                });
                Arc::new(sheet?)
            }
            Err(error) => {
                tracing::warn!(target: "ieum::email", template = template.name, error, "override.unreadable");
                match known.get(&key) {
                    Some(last) => Arc::clone(&last.sheet),
                    None => Arc::new(Sheet::of(template, language, &Overrides::new())?),
                }
            }
        };
        known.insert(key, Known { sheet: Arc::clone(&sheet), since: Instant::now() });
        Ok(sheet)
    }

    async fn overrides(&self, template: &Template, language: Language) -> Result<Overrides, String> {
        let mut overrides = Overrides::new();
        for name in file_names(template, language) {
            let found = self.blobs.get(&format!("{FOLDER}/{name}"), MAX_BYTES).await;
            if let Some(blob) = found.map_err(|error| chain(&error))? {
                let text = String::from_utf8(blob.bytes.to_vec()).map_err(|_| format!("`{name}` is not UTF-8"))?;
                overrides.insert(name, text);
            }
        }
        Ok(overrides)
    }
}
