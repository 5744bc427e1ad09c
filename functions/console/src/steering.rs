//! What an operator changes while functions run: settings, remembered answers, circuits.
//!
//! Each change is put on record, with who asked, before it is made, and acts on every environment within a minute. What is
//! not sound is refused whole, naming each mistake.

use std::sync::Arc;
use std::time::Duration;

use ieum::api::{Call, Reply};
use ieum::clock::SharedClock;
use ieum::error::{ApiError, BAD_FORMAT, MISSING, NOT_FOUND};
use ieum::gate;
use ieum::resilience::health::State;
use ieum::resilience::invalidation::{MAX_TARGET_BYTES, Rule, Target};
use ieum::resilience::rate_limit::Bucket;
use ieum::settings::{Editor, Origin, Stored};
use ieum::store::Store;
use serde_json::{Value, json};

use crate::health::ProviderHealth;
use crate::integrations::{Integrations, schema};

/// The longest name or value of a setting, in characters.
const MAX_SETTING: usize = 200;

/// How many settings one request may change.
const MAX_CHANGES: usize = 50;

/// When a change acts on every environment at the latest.
const ACTS_WITHIN: Duration = Duration::from_secs(60);

/// Changes settings, remembered answers and circuits.
#[derive(Debug)]
pub(crate) struct Steering {
    store: Arc<dyn Store>,
    clock: SharedClock,
    integrations: Integrations,
}

impl Steering {
    /// Steers `integrations`, whose state is in `store`.
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock, integrations: Integrations) -> Self {
        Self { store, clock, integrations }
    }

    /// What can be changed of an integration, and what has been.
    pub(crate) async fn settings(&self, call: &Call) -> Result<Reply, ApiError> {
        let editor = self.editor(call.param("integration"))?;
        let stored = editor.read().await.map_err(ApiError::store_unavailable)?;
        described(&editor, &stored)
    }

    /// Overrides settings, or gives them back to what was deployed. The caller says which version they have seen.
    pub(crate) async fn change_settings(&self, call: &Call) -> Result<Reply, ApiError> {
        let editor = self.editor(call.param("integration"))?;
        let mut fields = call.body()?;
        let version = fields.whole("version", 0, i64::MAX);
        let changes = fields.settings("changes", MAX_CHANGES, MAX_SETTING);
        let (version, changes) = fields.finish(version.zip(changes))?;
        let stored = editor.change(call.who(), version, changes).await?;
        described(&editor, &stored)
    }

    /// Takes the last change of settings back. The caller says which version they have seen.
    pub(crate) async fn undo(&self, call: &Call) -> Result<Reply, ApiError> {
        let editor = self.editor(call.param("integration"))?;
        let mut fields = call.body()?;
        let version = fields.whole("version", 0, i64::MAX);
        let version = fields.finish(version)?;
        let stored = editor.undo(call.who(), version).await?;
        described(&editor, &stored)
    }

    /// Declares remembered answers void: one by its key, or all whose request in words matches a pattern.
    pub(crate) async fn invalidate(&self, call: &Call) -> Result<Reply, ApiError> {
        let editor = self.editor(call.param("integration"))?;
        let mut query = call.query()?;
        let key = query.optional_text("key", MAX_TARGET_BYTES);
        let pattern = query.optional_text("pattern", MAX_TARGET_BYTES);
        let target = match key.zip(pattern) {
            Some((Some(key), None)) => Some(Target::Key(key)),
            Some((None, Some(pattern))) => Some(Target::Pattern(pattern)),
            Some((None, None)) => query.note("pattern", MISSING),
            Some((Some(_), Some(_))) => query.note("key", BAD_FORMAT),
            None => None,
        };
        let target = query.finish(target)?;
        let rule = editor.invalidate(call.who(), target).await?;
        let acts_by = self.clock.now().after(ACTS_WITHIN).rfc3339();
        Reply::json(200, &json!({"rule": of_rule(&rule), "acts_by": acts_by}))
    }

    /// Closes a provider's circuit.
    pub(crate) async fn reset_circuit(&self, call: &Call) -> Result<Reply, ApiError> {
        let provider = call.param("provider");
        if !self.integrations.values().flatten().any(|known| known == provider) {
            return Err(ApiError::new(NOT_FOUND));
        }
        let reset = gate::reset(&*self.store, call.who(), provider, self.clock.now());
        let circuit = reset.await.map_err(ApiError::store_unavailable)?;
        let health = ProviderHealth::judge(provider, &circuit, &Bucket::default(), &State::default(), self.clock.now());
        Reply::json(200, &json!({"provider": provider, "circuit": "closed", "status": health.status}))
    }

    /// The editor of the settings of `integration`.
    pub(crate) fn editor(&self, integration: &str) -> Result<Editor, ApiError> {
        let providers = self.integrations.get(integration).ok_or_else(|| ApiError::new(NOT_FOUND))?;
        Ok(Editor::new(schema(integration, providers), Arc::clone(&self.store), Arc::clone(&self.clock)))
    }
}
fn described(editor: &Editor, stored: &Stored) -> Result<Reply, ApiError> {
    Reply::json(200, &description(editor, stored))
}

/// What can be changed, what has been, and what is void.
///
/// `source` says who speaks: `runtime` (an operator), `environment` (a variable), `default` (the code), or `deployed` as
/// long as no function has told what it was deployed with.
pub(crate) fn description(editor: &Editor, stored: &Stored) -> Value {
    let settings = editor.schema().settings().map(|(name, form)| {
        let (value, deployed) = (stored.overrides.get(name), stored.deployed.get(name));
        let source = match (value, deployed.map(|deployed| deployed.source)) {
            (Some(_), _) => "runtime",
            (None, Some(Origin::Environment)) => "environment",
            (None, Some(Origin::Default)) => "default",
            (None, None) => "deployed",
        };
        let deployed = deployed.map(|deployed| &deployed.value);
        json!({"name": name, "form": form, "source": source, "value": value, "deployed": deployed})
    });
    json!({
        "integration": editor.schema().integration(),
        "version": stored.version,
        "settings": settings.collect::<Vec<_>>(),
        "can_undo": stored.previous.is_some(),
        "void": stored.rules.as_slice().iter().map(of_rule).collect::<Vec<_>>(),
    })
}

fn of_rule(rule: &Rule) -> Value {
    match &rule.target {
        Target::Key(key) => json!({"key": key, "fetched_until": rule.at.rfc3339()}),
        Target::Pattern(pattern) => json!({"pattern": pattern, "fetched_until": rule.at.rfc3339()}),
    }
}
