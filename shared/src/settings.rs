//! Settings that change while functions run, and answers declared void: one item `config#{integration}` for the fleet.
//!
//! A function begins with what was deployed. [`Settings`] reads the item now and then, together with another trip to the
//! store, so that every environment that answers calls goes by it within a minute; it keeps what it read last when the
//! store is gone, and a value that it cannot read changes nothing. It also puts there what was deployed, where that is not
//! what stands there, so that an operator sees it. [`Live`] hands the numbers to the parts that act on
//! them. [`Editor`] is the other end: it refuses what is not sound, puts on record who asked, and then writes.
//!
//! This file refuses to change what is not a number, an order or a level: addresses and secrets are deployed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit;
use crate::clock::{Moment, SharedClock, Timestamp};
use crate::error::{ApiError, BAD_FORMAT, CONFLICT, Detail, INVALID_REQUEST, STORE_UNAVAILABLE, UNKNOWN_FIELD, chain};
use crate::resilience::invalidation::{Rule, Rules, Target};
use crate::store::{Action, Item, Outcome, Read, Store, StoreError, Test, Update, Value};
use crate::telemetry::LevelSwitch;

mod overrides;

pub(crate) use overrides::is_adjustable;
pub use overrides::{Adjustable, LOG_LEVEL, Mistake, Order, Overrides, Schema, Texts};

/// How long a reading is acted on, at the longest; drawn anew down to two thirds of it. The rest of the minute in which
/// changes act is for the call under way.
const LONGEST_READING: Duration = Duration::from_secs(45);

/// When a reading that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What two corrected clocks may differ by. A rule reaches that much further, so that an environment that is ahead of the
/// editor has stamped nothing past it.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// No answer is remembered for longer: the bounds of `CACHE_TTL_SECONDS` and `CACHE_STALE_SECONDS` together.
const LONGEST_MEMORY: Duration = Duration::from_secs(2 * 366 * 24 * 60 * 60);

/// How often an invalidation is tried against rivals.
const TRIES: u32 = 8;

fn key(integration: &str) -> String {
    format!("config#{integration}")
}

/// What a setting is unless it is overridden, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The value, in the form of an override.
    pub value: String,
    /// Who says so.
    pub source: Origin,
}

/// Where a deployed value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The code.
    Default,
    /// A variable of the function.
    Environment,
}

/// The settings of one integration, as this environment knows them.
pub struct Settings {
    schema: Schema,
    /// The variables of this deployment that are settings; absent where nobody is told.
    environment: Option<Texts>,
    /// What was deployed, as far as parts have been made.
    deployed: Mutex<BTreeMap<String, Deployed>>,
    /// The same as text, when the last reading has shown that operators do not know it.
    untold: Mutex<Option<String>>,
    store: Arc<dyn Store>,
    clock: SharedClock,
    levels: LevelSwitch,
    known: RwLock<Arc<Known>>,
    /// When the item was last asked for, and how long the answer is acted on.
    read: Mutex<Option<(Moment, Duration)>>,
    /// Whoever holds it may read; the others use what it reads.
    turn: tokio::sync::Mutex<()>,
}

/// What was found in the table last.
#[derive(Debug, Default)]
struct Known {
    overrides: Overrides,
    rules: Rules,
    item: Item,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("integration", &self.schema.integration()).finish_non_exhaustive()
    }
}

impl Settings {
    /// The settings in `schema`, as deployed until something else is read. Log levels go to `levels`. Where `environment` is
    /// given, the variables of this deployment, operators are told what was deployed.
    pub fn new(
        schema: Schema,
        environment: Option<Texts>,
        store: Arc<dyn Store>,
        clock: SharedClock,
        levels: LevelSwitch,
    ) -> Arc<Self> {
        let (known, read, turn) = (RwLock::default(), Mutex::default(), tokio::sync::Mutex::default());
        let general = Texts::from([(LOG_LEVEL.to_owned(), levels.level_of(None).name().to_owned())]);
        let settings = Self {
            schema,
            environment,
            deployed: Mutex::default(),
            untold: Mutex::default(),
            store,
            clock,
            levels,
            known,
            read,
            turn,
        };
        settings.note(general);
        Arc::new(settings)
    }

    /// `deployed`, or what becomes of it by the overrides of the variables of `owner`.
    pub fn live<T: Adjustable>(self: &Arc<Self>, owner: &'static str, deployed: T) -> Live<T> {
        self.note(deployed.texts(owner));
        Live { deployed, follows: Some((Arc::clone(self), owner)) }
    }

    /// Notes what some part was made with: a variable says so, or else the code.
    fn note(&self, texts: Texts) {
        let Some(environment) = &self.environment else { return };
        let known = self.schema.settings().map(|(name, _)| name);
        let stated = known.filter_map(|name| {
            let of = |value: &String, source| (name.to_owned(), Deployed { value: value.clone(), source });
            let stated = environment.get(name).map(|value| of(value, Origin::Environment));
            stated.or_else(|| texts.get(name).map(|value| of(value, Origin::Default)))
        });
        self.deployed.lock().unwrap_or_else(PoisonError::into_inner).extend(stated);
    }

    /// Whether the last reading has had its time.
    pub fn is_due(&self) -> bool {
        let now = self.clock.moment();
        !self.read().is_some_and(|(read, limit)| read.is_within(limit, now))
    }

    /// Reads the item when it is due. Callers join this with another trip.
    pub async fn refresh(&self) {
        if !self.is_due() {
            return;
        }
        let _turn = self.turn.lock().await;
        if !self.is_due() {
            return;
        }
        let asked = self.clock.moment();
        let limit = match self.store.get(&key(self.schema.integration()), Read::Consistent).await {
            Ok(item) => {
                let mut item = item.unwrap_or_default();
                let told = item.0.remove("deployed");
                self.learn(&item);
                self.compare(told);
                LONGEST_READING.mul_f64((2.0 + fastrand::f64()) / 3.0)
            }
            Err(error) => {
                let integration = self.schema.integration();
                tracing::warn!(target: "ieum::settings", integration, error = chain(&error), "settings.unread");
                RETRY_AFTER
            }
        };
        *self.read() = Some((asked, limit));
    }

    /// Until when answers to this request are void: what began to be fetched then, or before, may not be served.
    pub fn void_until(&self, key: &str, request: &str) -> Option<Timestamp> {
        self.known().rules.void_until(key, request)
    }

    /// Compares what operators were `told` with what was deployed.
    fn compare(&self, told: Option<Value>) {
        if self.environment.is_none() {
            return;
        }
        let deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let deployed = json(&deployed).ok().filter(|deployed| told != Some(Value::Text(deployed.clone())));
        *self.untold() = deployed;
    }

    /// Tells operators what was deployed, where the last reading has shown that they do not know. While two versions run side
    /// by side, each says it of itself now and then. Callers join this with another trip: nobody waits for it alone.
    pub async fn tell(&self) {
        let Some(deployed) = self.untold().take() else { return };
        let update = Update::of(key(self.schema.integration())).then([Action::Set("deployed", deployed.into())]);
        if let Err(error) = self.store.update(&update).await {
            let integration = self.schema.integration();
            tracing::warn!(target: "ieum::settings", integration, error = chain(&error), "settings.untold");
        }
    }

    fn untold(&self) -> MutexGuard<'_, Option<String>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, item: &Item) {
        let (old, integration) = (self.known(), self.schema.integration());
        if *item == old.item {
            return;
        }
        let version = item.number("v");
        let mut mistakes = Vec::new();
        let overrides = match stored_overrides(item) {
            Ok(texts) => {
                let (overrides, wrong) = old.overrides.followed_by(&self.schema, &texts);
                mistakes.extend(wrong.iter().map(ToString::to_string));
                overrides
            }
            Err(error) => {
                mistakes.push(chain(&error));
                old.overrides.clone()
            }
        };
        let rules = stored_rules(item).unwrap_or_else(|error| {
            mistakes.push(chain(&error));
            old.rules.clone()
        });
        if !mistakes.is_empty() {
            let mistakes = mistakes.join("; ");
            tracing::error!(target: "ieum::settings", integration, version, mistakes, "settings.kept");
        }
        self.levels.set_for(integration, overrides.log_level());
        tracing::info!(target: "ieum::settings", integration, version, rules = rules.as_slice().len(), "settings.changed");
        *self.known.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Known { overrides, rules, item: item.clone() });
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self) -> MutexGuard<'_, Option<(Moment, Duration)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers that may change while the process runs; plain numbers never do.
#[derive(Clone, Debug)]
pub struct Live<T> {
    deployed: T,
    follows: Option<(Arc<Settings>, &'static str)>,
}

impl<T> From<T> for Live<T> {
    fn from(deployed: T) -> Self {
        Self { deployed, follows: None }
    }
}

impl<T: Adjustable> Live<T> {
    /// The numbers in force now.
    pub fn current(&self) -> T {
        match &self.follows {
            Some((settings, owner)) => self.deployed.adjusted(owner, &settings.known().overrides),
            None => self.deployed.clone(),
        }
    }

    /// The settings that these numbers follow.
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        self.follows.as_ref().map(|(settings, _)| settings)
    }

    /// Other numbers with the same owner.
    pub fn sibling<U>(&self, deployed: U) -> Live<U> {
        Live { deployed, follows: self.follows.clone() }
    }
}

impl<T> Live<T> {
    /// The same numbers by the variables of another owner, if these follow any.
    pub fn owned_by(self, owner: &'static str) -> Self {
        Self { follows: self.follows.map(|(settings, _)| (settings, owner)), ..self }
    }
}

/// What the table holds about an integration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Grows with each change of the overrides; whoever changes them says which one they have seen.
    pub version: i64,
    /// What differs from what was deployed.
    pub overrides: Texts,
    /// Which remembered answers are void.
    pub rules: Rules,
    /// What differed before the last change; absent when there was none.
    pub previous: Option<Texts>,
    /// What was deployed, as the functions that run say.
    pub deployed: BTreeMap<String, Deployed>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The overrides would not be sound: everything that is wrong with them.
    #[error("the overrides have {} mistake(s)", .0.len())]
    Invalid(Vec<Mistake>),
    /// The target says nothing, or too much.
    #[error("the target is empty or too long")]
    Target,
    /// There are as many rules as an item holds, and the new one makes none of them needless.
    #[error("there are too many invalidation rules")]
    TooManyRules,
    /// Somebody else has changed something meanwhile.
    #[error("somebody else has changed the settings meanwhile")]
    Conflict,
    /// The store did not do it, or what it holds cannot be read.
    #[error("the settings cannot be stored")]
    Store(#[from] StoreError),
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let outside = match &error {
            ChangeError::Invalid(mistakes) => mistakes.iter().fold(Self::new(INVALID_REQUEST), |outside, mistake| {
                outside.with(match &mistake.form {
                    Some(form) => Detail::field(&mistake.name, BAD_FORMAT).expecting(form),
                    None => Detail::field(&mistake.name, UNKNOWN_FIELD),
                })
            }),
            ChangeError::Target => Self::invalid("pattern", BAD_FORMAT),
            ChangeError::Conflict | ChangeError::TooManyRules => Self::new(CONFLICT),
            ChangeError::Store(_) => Self::new(STORE_UNAVAILABLE),
        };
        outside.because(error)
    }
}

/// Changes the settings of one integration, on behalf of a person.
#[derive(Debug)]
pub struct Editor {
    schema: Schema,
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Editor {
    /// An editor of the settings in `schema`. The `store` may take its time: a person waits to hear whether it worked.
    pub fn new(schema: Schema, store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { schema, store, clock }
    }

    /// What can be changed.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What the table holds now.
    ///
    /// # Errors
    /// When the store does not answer, or holds something of another shape.
    pub async fn read(&self) -> Result<Stored, StoreError> {
        Ok(self.item().await?.0)
    }

    /// On behalf of `who`, who has seen `version`: overrides the settings in `changes`, and gives back to what was deployed
    /// those that are `None`. Returns what the table holds then.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed. After `Store` it may have been.
    pub async fn change(
        &self,
        who: &str,
        version: i64,
        changes: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Result<Stored, ChangeError> {
        let (before, _) = self.item().await?;
        if before.version != version {
            return Err(ChangeError::Conflict);
        }
        let mut after = before.overrides.clone();
        for (name, value) in changes {
            match value {
                Some(value) => drop(after.insert(name, value)),
                None => drop(after.remove(&name)),
            }
        }
        self.put(who, "settings.change", before, after).await
    }

    /// On behalf of `who`, who has seen `version`: takes the last change back. Taking that back makes the change again.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed. After `Store` it may have been.
    pub async fn undo(&self, who: &str, version: i64) -> Result<Stored, ChangeError> {
        let (before, _) = self.item().await?;
        match before.previous.clone() {
            Some(previous) if before.version == version => self.put(who, "settings.undo", before, previous).await,
            Some(_) | None => Err(ChangeError::Conflict),
        }
    }

    /// Puts `after` in the place of what `before` has.
    async fn put(&self, who: &str, what: &str, before: Stored, after: Texts) -> Result<Stored, ChangeError> {
        Overrides::parse(&self.schema, &after).map_err(ChangeError::Invalid)?;
        let (version, before, after) = (before.version, json(&before.overrides)?, json(&after)?);
        self.record(who, what, self.schema.integration(), &before, &after).await?;
        let update = Update::of(key(self.schema.integration())).when(number_is("version", version)).then([
            Action::Set("overrides", after.into()),
            Action::Set("previous", before.into()),
            Action::Add("version", 1),
            Action::Add("v", 1),
        ]);
        match self.store.update(&update).await? {
            Outcome::Applied(item) => Ok(stored(&item)?),
            Outcome::Refused(_) => Err(ChangeError::Conflict),
        }
    }

    /// On behalf of `who`: makes void what is remembered, or under way, about `target`. Returns the rule, which every
    /// environment knows within a minute.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed. After `Store` it may have been.
    pub async fn invalidate(&self, who: &str, target: Target) -> Result<Rule, ChangeError> {
        if !target.is_sound() {
            return Err(ChangeError::Target);
        }
        let now = self.clock.now();
        let rule = Rule { target, at: now.after(CLOCKS_DIFFER) };
        let (words, after) = (format!("{} {}", self.schema.integration(), rule.target.words()), json(&rule)?);
        let (mut before, mut v) = self.item().await?;
        for attempt in 0..TRIES {
            let rules = before.rules.with(rule.clone(), now.before(LONGEST_MEMORY)).ok_or(ChangeError::TooManyRules)?;
            if attempt == 0 {
                self.record(who, "settings.invalidate", &words, "null", &after).await?;
            }
            let update = Update::of(key(self.schema.integration()))
                .when(number_is("v", v))
                .then([Action::Set("rules", json(&rules)?.into()), Action::Add("v", 1)]);
            match self.store.update(&update).await? {
                Outcome::Applied(_) => return Ok(rule),
                Outcome::Refused(item) => {
                    let item = item.unwrap_or_default();
                    (before, v) = (stored(&item)?, item.number("v").unwrap_or(0));
                }
            }
        }
        Err(ChangeError::Conflict)
    }

    async fn record(&self, who: &str, what: &str, target: &str, before: &str, after: &str) -> Result<(), StoreError> {
        audit::record(&*self.store, audit::Entry { who, what, target, before, after, at: self.clock.now() }).await
    }

    /// What the table holds, and how often it was written.
    async fn item(&self) -> Result<(Stored, i64), StoreError> {
        let item = self.store.get(&key(self.schema.integration()), Read::Consistent).await?.unwrap_or_default();
        Ok((stored(&item)?, item.number("v").unwrap_or(0)))
    }
}

fn stored(item: &Item) -> Result<Stored, StoreError> {
    let version = item.number("version").unwrap_or(0);
    let (overrides, rules) = (stored_overrides(item)?, stored_rules(item)?);
    Ok(Stored { version, overrides, rules, previous: member(item, "previous")?, deployed: member(item, "deployed")? })
}

fn stored_overrides(item: &Item) -> Result<Texts, StoreError> {
    member(item, "overrides")
}

fn stored_rules(item: &Item) -> Result<Rules, StoreError> {
    member(item, "rules")
}

/// The JSON under `name`; nothing at all when it was never written.
fn member<T: Default + serde::de::DeserializeOwned>(item: &Item, name: &str) -> Result<T, StoreError> {
    if !item.0.contains_key(name) {
        return Ok(T::default());
    }
    let read = item.text(name).and_then(|text| serde_json::from_str(text).ok());
    read.ok_or_else(|| StoreError::Unreadable(format!("`{name}` is not of the expected shape")))
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused(Box::new(error)))
}

/// An attribute that was never written counts as 0.
fn number_is(name: &'static str, number: i64) -> [Test; 2] {
    let same = Test::Equals(name, number.into());
    if number == 0 { [Test::Absent(name), same] } else { [same.clone(), same] }
}
