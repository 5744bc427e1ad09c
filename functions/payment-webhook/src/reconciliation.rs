//! Each night: what did nobody tell us?
//!
//! A notification can be lost before it reaches us (PortOne V1 sends each once), and KakaoPay sends none. So payments that
//! are open here are asked about again, and the payments of the day before are compared with the provider's own list,
//! where it has one. What is missing or different is asked about and merged, as if it had been notified. The report has
//! number and sum of both sides; it is kept and told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ieum::clock::Timestamp;
use ieum::delivery::outbox::{Change, Effect, EffectError};
use ieum::error::chain;
use ieum::events::CloudEvent;
use ieum::integration::CallError;
use ieum::store::{Action, EXPIRES_AT, Key, StoreError};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use crate::payment::{Day, DayQuery, Listed, Money, Observation};
use crate::providers::Party;
use crate::state::{Payment, SOURCE, day_list, key, open_list};
use crate::worker::Payments;

/// Payments that were looked at so recently need no second look.
const SETTLED: Duration = Duration::from_secs(10 * 60);

/// The most payments of one provider that a night takes.
const MOST: u32 = 10_000;

/// Items in one reading.
const CHUNK: usize = 100;

/// How long a report is kept.
const KEPT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Number and sum of payments in one currency, in its smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// How much in all.
    pub sum: i64,
}

/// Tallies by currency.
pub type Tallies = BTreeMap<String, Tally>;

fn count(tallies: &mut Tallies, amount: &Money) {
    let tally = tallies.entry(amount.currency.as_str().to_owned()).or_default();
    tally.count += 1;
    tally.sum = tally.sum.saturating_add(amount.minor);
}

/// What a night has found about one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the provider lists as paid on that day; `None` when it has no list.
    pub listed: Option<Tallies>,
    /// What was paid on that day by what we know, at the end.
    pub known: Tallies,
    /// Open payments that were asked about.
    pub asked: u64,
    /// Listed payments that we did not know as they are, and asked about.
    pub repaired: u64,
    /// Payments that could not be asked about.
    pub failed: u64,
    /// Whether it came to its end.
    pub complete: bool,
}

/// Why a night came to nothing for a provider.
#[derive(Debug, thiserror::Error)]
pub enum ReconciliationError {
    /// Our own state could not be read.
    #[error("our own state could not be read")]
    Store(#[from] StoreError),
    /// The provider did not list its payments.
    #[error("the provider did not list its payments")]
    Provider(#[source] Arc<CallError>),
    /// The report could not be written down.
    #[error("the report could not be written down")]
    Report(#[from] EffectError),
}

impl Payments {
    /// Compares `day` for every provider, as far as it comes by `deadline`. Says how many came to nothing.
    pub async fn reconcile(&self, day: Day, deadline: Instant) -> usize {
        let mut failed = 0;
        for party in &self.parties {
            let provider = party.name.as_str();
            match self.reconcile_one(party, day, deadline).await {
                Ok(report) => {
                    let (asked, repaired, failures) = (report.asked, report.repaired, report.failed);
                    let (day, complete) = (day.to_string(), report.complete);
                    tracing::info!(target: "ieum::payment", provider, day, asked, repaired, failures, complete, "reconciliation");
                }
                Err(error) => {
                    failed += 1;
                    tracing::error!(target: "ieum::payment", provider, error = chain(&error), "reconciliation.failed");
                }
            }
        }
        failed
    }

    /// Compares `day` for one provider, and keeps the report.
    ///
    /// # Errors
    /// [`ReconciliationError`]; what was repaired until then stays so.
    pub async fn reconcile_one(
        &self,
        party: &Party,
        day: Day,
        deadline: Instant,
    ) -> Result<Report, ReconciliationError> {
        let mut report = Report::default();
        let provider = party.name.as_str();
        let open = self.store.due(&open_list(provider), self.clock.now().before(SETTLED), MOST).await?;
        let mut in_time = true;
        for id in open.iter().filter_map(|open| open.strip_prefix(&key(provider, ""))) {
            in_time = Instant::now() < deadline;
            if !in_time {
                break;
            }
            report.asked += 1;
            self.look_again(party, id, deadline, &mut report).await;
        }
        if in_time && party.day.is_some() {
            in_time = self.compare(party, day, deadline, &mut report).await?;
        }
        report.known = self.tally(provider, day).await?;
        report.complete = in_time;
        self.keep(provider, day, &report).await?;
        Ok(report)
    }

    async fn look_again(&self, party: &Party, id: &str, deadline: Instant, report: &mut Report) {
        if let Err(error) = self.refresh(party, id, deadline).await {
            report.failed += 1;
            let (provider, error) = (party.name.as_str(), chain(&error));
            tracing::warn!(target: "ieum::payment", provider, payment = id, error, "reconciliation.unasked");
        }
    }

    /// Compares the provider's list with what we know. `false` when time was over before the list was.
    async fn compare(
        &self,
        party: &Party,
        day: Day,
        deadline: Instant,
        report: &mut Report,
    ) -> Result<bool, ReconciliationError> {
        let Some(list) = &party.day else { return Ok(true) };
        let listed = report.listed.insert(Tallies::new());
        let (mut seen, mut differing): (u32, Vec<String>) = (0, Vec::new());
        let mut query = DayQuery { day, after: None };
        loop {
            let page = list.call(&query, deadline).await.map_err(ReconciliationError::Provider)?.value;
            for chunk in page.paid.chunks(CHUNK) {
                let keys: Vec<Key> = chunk.iter().map(|payment| key(party.name.as_str(), &payment.id)).collect();
                for (payment, item) in chunk.iter().zip(self.store.get_many(&keys).await?) {
                    count(listed, &payment.amount);
                    let known = item.map_or(Ok(None), |item| Payment::read(&item))?;
                    if !known.is_some_and(|known| agrees(&known, payment)) {
                        differing.push(payment.id.clone());
                    }
                }
            }
            seen = seen.saturating_add(u32::try_from(page.paid.len()).unwrap_or(u32::MAX));
            match page.next {
                Some(after) if seen < MOST && Instant::now() < deadline => query.after = Some(after),
                next => {
                    for id in &differing {
                        report.repaired += 1;
                        self.look_again(party, id, deadline, report).await;
                    }
                    return Ok(next.is_none());
                }
            }
        }
    }

    /// What was paid on `day` by what we know.
    async fn tally(&self, provider: &str, day: Day) -> Result<Tallies, StoreError> {
        let keys = self.store.listed(&day_list(provider, day), day.begins(), day.ends(), MOST).await?;
        let mut tallies = Tallies::new();
        for chunk in keys.chunks(CHUNK) {
            for item in self.store.get_many(chunk).await?.into_iter().flatten() {
                if let Some(payment) = Payment::read(&item)? {
                    count(&mut tallies, &payment.observation.amount);
                }
            }
        }
        Ok(tallies)
    }

    async fn keep(&self, provider: &str, day: Day, report: &Report) -> Result<(), EffectError> {
        let (provider, report, day) = (provider.to_owned(), report.clone(), day.to_string());
        let key = format!("reconciliation#{provider}#{day}");
        let effect = Effect::new(key, move |item, now: Timestamp| {
            let run = item.number("runs").unwrap_or(0) + 1;
            let subject = format!("{provider}/{day}");
            let data = json!({"provider": provider, "day": day, "report": report});
            let id = format!("reconciliation/{subject}/{run}");
            let event = CloudEvent::new(SOURCE, "payment.reconciled", id, subject, now, data)?;
            let actions = vec![
                Action::Set("runs", run.into()),
                Action::Set("report", serde_json::to_string(&report)?.into()),
                Action::Set("at", now.as_millis().into()),
                Action::Set(EXPIRES_AT, now.after(KEPT).as_seconds().into()),
            ];
            Ok(Some(Change { actions, events: vec![event], list: None }))
        });
        // The same run is not told twice: a merge that loses a race is asked again, with what the winner has written.
        self.outbox.apply(&effect).await.map(drop)
    }
}

/// Whether we know a payment as its provider lists it.
fn agrees(known: &Payment, listed: &Listed) -> bool {
    let Observation { paid_at, amount, canceled, .. } = &known.observation;
    paid_at.is_some() && *amount == listed.amount && listed.canceled.is_none_or(|listed| listed == *canceled)
}
