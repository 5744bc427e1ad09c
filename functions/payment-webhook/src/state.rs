//! What is known of a payment, whoever said it and in whatever order. Pure.
//!
//! Notifications come twice, late, and in any order, and those who look at the provider because of them write in any
//! order, too. So the state is a join: for each status, the greatest sighting of it there ever was. That is associative,
//! commutative and idempotent, so the same sightings make the same state whatever happened on the way. What we say of a
//! payment follows from it: the highest status seen, with one exception. Only a deposit can be taken back (Toss Payments
//! sends `DONE`, then `WAITING_FOR_DEPOSIT`): a payment that was seen waiting a minute after it was last seen paid, waits.
//!
//! An event is told when what we say changes, and is numbered within its payment. State and events go into the item in
//! one update ([`ieum::delivery::outbox`]).

use std::collections::BTreeMap;
use std::time::Duration;

use ieum::clock::Timestamp;
use ieum::delivery::outbox::Change;
use ieum::events::CloudEvent;
use ieum::provider::Cause;
use ieum::store::{Action, EXPIRES_AT, Item, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::payment::{Day, Money, Observation, Status};

/// How much later than paid a payment must have been seen waiting for the deposit to count as taken back: two readings at
/// about the same time may have been answered in either order.
const TAKEN_BACK_AFTER: Duration = Duration::from_secs(60);

/// How long a payment is kept after it was last seen: five years, as Korean law has it for records of payments
/// (전자상거래법 시행령 제6조).
const KEPT: Duration = Duration::from_secs(5 * 366 * 24 * 60 * 60);

/// Who says what happened to payments, in events.
pub const SOURCE: &str = "ieum.payment";

/// The key of a payment's item.
pub fn key(provider: &str, id: &str) -> String {
    format!("payment#{provider}#{id}")
}

/// The list of payments that are not over, by when they were last seen.
pub fn open_list(provider: &str) -> String {
    format!("payment.{provider}.open")
}

/// The list of payments that were over, or paid, on a day in Seoul.
pub fn day_list(provider: &str, day: Day) -> String {
    format!("payment.{provider}.{day}")
}

/// What a provider said, and when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sighting {
    /// The amount that went back, which only grows, so that the later of two sightings of a status wins even when clocks
    /// differ.
    canceled: i64,
    /// When the provider was asked.
    as_of: Timestamp,
    /// What it said.
    observation: Observation,
}

impl Sighting {
    /// What a provider that was asked at `as_of` has said.
    pub fn new(observation: Observation, as_of: Timestamp) -> Self {
        Self { canceled: observation.canceled, as_of, observation }
    }

    /// What the provider said.
    pub fn observation(&self) -> &Observation {
        &self.observation
    }
}

/// Every sighting that matters: for each status the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sightings(BTreeMap<Status, Sighting>);

impl Sightings {
    /// The join with one more.
    pub fn join(&mut self, sighting: &Sighting) {
        let seen = self.0.entry(sighting.observation.status).or_insert_with(|| sighting.clone());
        if *sighting > *seen {
            *seen = sighting.clone();
        }
    }

    /// What we say of the payment; `None` before the first sighting.
    fn view(&self) -> Option<&Sighting> {
        let (status, highest) = self.0.last_key_value()?;
        match self.0.get(&Status::Waiting) {
            Some(waiting) if *status == Status::Paid && waiting.as_of >= highest.as_of.after(TAKEN_BACK_AFTER) => {
                Some(waiting)
            }
            Some(_) | None => Some(highest),
        }
    }

    fn newest(&self) -> Option<Timestamp> {
        self.0.values().map(|sighting| sighting.as_of).max()
    }
}

/// What somebody said beforehand that an order costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How much, in which currency.
    pub amount: Money,
}

impl Expectation {
    /// The key of its item.
    pub fn key(provider: &str, order: &str) -> String {
        format!("expectation#{provider}#{order}")
    }

    /// Reads the item of an expectation; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn read(item: &Item) -> Result<Option<Self>, StoreError> {
        let (Some(minor), Some(currency)) = (item.number("amount"), item.text("currency")) else { return Ok(None) };
        let currency = crate::payment::Currency::parse(currency)
            .ok_or_else(|| StoreError::Unreadable("the currency of an expectation".to_owned()))?;
        Ok(Some(Self { amount: Money { minor, currency } }))
    }

    /// In what `observation` differs from it: words, separated by commas; empty when in nothing.
    fn differences(&self, observation: &Observation) -> String {
        let mut differences = Vec::new();
        if self.amount.currency != observation.amount.currency {
            differences.push("currency");
        }
        if self.amount.minor != observation.amount.minor {
            differences.push("amount");
        }
        differences.join(",")
    }
}

/// A payment as its item has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Every sighting that matters.
    pub sightings: Sightings,
    /// What we say of it.
    pub observation: Observation,
    /// When the provider was asked last.
    pub as_of: Timestamp,
    /// In what it differs from what was expected; empty when in nothing, or nothing was expected.
    pub discrepancy: String,
    /// Whether its success was told, and not taken back.
    completed: bool,
    /// Events told so far.
    told: i64,
}

impl Payment {
    /// Reads the item; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn read(item: &Item) -> Result<Option<Self>, StoreError> {
        let Some(seen) = item.text("seen") else { return Ok(None) };
        let unreadable = || StoreError::Unreadable("payment".to_owned());
        let sightings: Sightings = serde_json::from_str(seen).map_err(|_| unreadable())?;
        let observation = sightings.view().ok_or_else(unreadable)?.observation.clone();
        let as_of = sightings.newest().ok_or_else(unreadable)?;
        let discrepancy = item.text("discrepancy").unwrap_or_default().to_owned();
        let (completed, told) = (item.number("completed") == Some(1), item.number("told").unwrap_or(0));
        Ok(Some(Self { sightings, observation, as_of, discrepancy, completed, told }))
    }

    /// The status in words: `discrepant` for a payment that is not what was expected.
    pub fn status(&self) -> &'static str {
        let status = self.observation.status;
        if status.is_paid() && !self.discrepancy.is_empty() { "discrepant" } else { status.name() }
    }

    /// The payment as callers and events have it.
    pub fn json(&self, provider: &str) -> Value {
        let Observation { canceled, amount, id, order, method, paid_at, .. } = &self.observation;
        let mut json = json!({
            "provider": provider,
            "payment_id": id,
            "order_id": order,
            "status": self.status(),
            "amount": amount.minor,
            "currency": amount.currency,
            "canceled_amount": canceled,
            "method": method,
            "paid_at": paid_at.map(Timestamp::rfc3339),
            "as_of": self.as_of.rfc3339(),
        });
        if !self.discrepancy.is_empty() {
            json["differs_in"] = self.discrepancy.split(',').collect();
        }
        json
    }
}

/// What one more sighting changes in the item of its payment; `None` for nothing.
///
/// # Errors
/// When the item cannot be read, or an event would be too large to be taken.
pub fn merge(
    provider: &str,
    item: &Item,
    sighting: &Sighting,
    expected: Option<&Expectation>,
    now: Timestamp,
) -> Result<Option<Change>, Cause> {
    let before = Payment::read(item)?;
    let mut sightings = before.as_ref().map(|before| before.sightings.clone()).unwrap_or_default();
    sightings.join(sighting);
    let observation = sightings.view().map_or_else(|| sighting.observation.clone(), |seen| seen.observation.clone());
    let as_of = sightings.newest().unwrap_or(sighting.as_of);
    let discrepancy = expected.map(|expected| expected.differences(&observation)).unwrap_or_default();
    let (completed, told) = before.as_ref().map_or((false, 0), |before| (before.completed, before.told));
    let mut after = Payment { sightings, observation, as_of, discrepancy, completed, told };
    let kinds = told_by(before.as_ref(), &mut after);
    if before.as_ref() == Some(&after) {
        return Ok(None);
    }
    let mut events = Vec::new();
    let subject = format!("{provider}/{}", after.observation.id);
    for kind in kinds {
        after.told += 1;
        let id = format!("payment/{subject}/{}", after.told);
        events.push(CloudEvent::new(SOURCE, kind, id, subject.clone(), now, after.json(provider))?);
    }
    Ok(Some(Change { actions: actions(provider, &after)?, events, list: list(provider, &after) }))
}

/// The kinds of events that tell what has changed, in order.
fn told_by(before: Option<&Payment>, after: &mut Payment) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    let (status, was) = (after.observation.status, before.map(|before| before.observation.status));
    let taken_back = status == Status::Waiting && was == Some(Status::Paid);
    if taken_back {
        after.completed = false;
        kinds.push("payment.deposit_taken_back");
    }
    if status.is_paid() && !after.discrepancy.is_empty() {
        let known = before.is_some_and(|before| before.status() == "discrepant");
        if !known {
            kinds.push("payment.discrepant");
        }
    } else if status.is_paid() && !after.completed {
        after.completed = true;
        kinds.extend(["payment.paid", "payment.receipt_due"]);
    }
    let went_back = before.map_or(0, |before| before.observation.canceled) != after.observation.canceled;
    match status {
        Status::Ready | Status::Paid => {}
        Status::Waiting if was == Some(status) || taken_back => {}
        Status::Waiting => kinds.push("payment.waiting"),
        Status::Failed if was == Some(status) => {}
        Status::Failed => kinds.push("payment.failed"),
        Status::PartiallyCanceled if was == Some(status) && !went_back => {}
        Status::PartiallyCanceled => kinds.push("payment.partially_canceled"),
        Status::Canceled if was == Some(status) => {}
        Status::Canceled => kinds.push("payment.canceled"),
    }
    kinds
}

fn actions(provider: &str, payment: &Payment) -> Result<Vec<Action>, Cause> {
    let Observation { canceled, status, amount, id, order, .. } = &payment.observation;
    let mut actions = vec![
        Action::Set("provider", provider.into()),
        Action::Set("id", id.as_str().into()),
        Action::Set("seen", serde_json::to_string(&payment.sightings)?.into()),
        Action::Set("status", status.name().into()),
        Action::Set("amount", amount.minor.into()),
        Action::Set("currency", amount.currency.as_str().into()),
        Action::Set("canceled", (*canceled).into()),
        Action::Set("completed", i64::from(payment.completed).into()),
        Action::Set("told", payment.told.into()),
        Action::Set(EXPIRES_AT, payment.as_of.after(KEPT).as_seconds().into()),
    ];
    if let Some(order) = order {
        actions.push(Action::Set("order", order.as_str().into()));
    }
    actions.push(match payment.discrepancy.as_str() {
        "" => Action::Remove("discrepancy"),
        differences => Action::Set("discrepancy", differences.into()),
    });
    Ok(actions)
}

/// Where the reconciliation finds it.
fn list(provider: &str, payment: &Payment) -> Option<(String, Timestamp)> {
    if payment.observation.status.is_open() {
        return Some((open_list(provider), payment.as_of));
    }
    let at = payment.observation.paid_at?;
    Some((day_list(provider, Day::of(at)?), at))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::payment::{Currency, Method};

    const BEGAN: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    fn seen(status: Status, canceled: i64, second: u64) -> Sighting {
        let observation = Observation {
            canceled,
            status,
            amount: Money { minor: 15_000, currency: Currency::parse("KRW").unwrap() },
            id: "pay_1".to_owned(),
            order: Some("order-1".to_owned()),
            method: Some(Method::VirtualAccount),
            paid_at: (status >= Status::Paid).then_some(BEGAN),
        };
        Sighting::new(observation, BEGAN.after(Duration::from_secs(second)))
    }

    /// Merges one after the other, as the store would, and says what was told.
    fn merged(sightings: &[Sighting], expected: Option<&Expectation>) -> (Item, Vec<CloudEvent>) {
        let (mut item, mut events) = (Item::default(), Vec::new());
        for sighting in sightings {
            if let Some(change) = merge("toss", &item, sighting, expected, BEGAN).unwrap() {
                for action in change.actions {
                    match action {
                        Action::Set(name, value) => drop(item.0.insert(name.to_owned(), value)),
                        Action::Remove(name) => drop(item.0.remove(name)),
                        other @ (Action::SetIfAbsent(..) | Action::Add(..)) => panic!("{other:?}"),
                    }
                }
                events.extend(change.events);
            }
        }
        (item, events)
    }

    fn kinds(events: &[CloudEvent]) -> Vec<&str> {
        events.iter().map(CloudEvent::kind).collect()
    }

    /// Every order of `things`.
    fn orders<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
        if things.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for first in 0..things.len() {
            let mut rest = things.to_vec();
            let one = rest.remove(first);
            all.extend(orders(&rest).into_iter().map(|mut order| {
                order.insert(0, one.clone());
                order
            }));
        }
        all
    }

    #[test]
    fn all_720_orders_of_six_events_with_duplicates_end_in_one_state() {
        use Status::{Canceled, Paid, PartiallyCanceled, Ready, Waiting};
        let six = [
            seen(Ready, 0, 0),
            seen(Waiting, 0, 10),
            seen(Paid, 0, 20),
            seen(PartiallyCanceled, 4_000, 30),
            seen(PartiallyCanceled, 9_000, 40),
            seen(Canceled, 15_000, 50),
        ];
        let orders = orders(&six);
        assert_eq!(orders.len(), 720);
        let said = |item: &Item| {
            let payment = Payment::read(item).unwrap().unwrap();
            (payment.status(), payment.sightings, payment.observation)
        };
        let expected = said(&merged(&six, None).0);
        assert_eq!(expected.0, "canceled");
        for (number, order) in orders.iter().enumerate() {
            // Each once more, in another of the orders.
            let twice: Vec<Sighting> = order.iter().chain(&orders[(number * 7 + 1) % 720]).cloned().collect();
            let (item, events) = merged(&twice, None);
            assert_eq!(said(&item), expected, "order {number}");
            let ids: BTreeSet<&str> = events.iter().map(CloudEvent::id).collect();
            assert_eq!(ids.len(), events.len(), "order {number}: an id was used twice");
            assert_eq!(kinds(&events).iter().filter(|kind| **kind == "payment.canceled").count(), 1);
            assert!(kinds(&events).iter().filter(|kind| **kind == "payment.paid").count() <= 1);
        }
        let (_, events) = merged(&six, None);
        let usual = [
            "payment.waiting",
            "payment.paid",
            "payment.receipt_due",
            "payment.partially_canceled",
            "payment.partially_canceled",
            "payment.canceled",
        ];
        assert_eq!(kinds(&events), usual);
    }

    #[test]
    fn a_wrong_amount_is_no_success_and_its_cancellation_is_told() {
        for (minor, currency, differs_in) in [
            (14_000, "KRW", json!(["amount"])),
            (15_000, "USD", json!(["currency"])),
            (1, "USD", json!(["currency", "amount"])),
        ] {
            let expected = Expectation { amount: Money { minor, currency: Currency::parse(currency).unwrap() } };
            let sightings = [seen(Status::Waiting, 0, 0), seen(Status::Paid, 0, 1), seen(Status::Paid, 0, 2)];
            let (item, events) = merged(&sightings, Some(&expected));
            assert_eq!(kinds(&events), ["payment.waiting", "payment.discrepant"]);
            assert_eq!(
                (&events[1].data()["status"], &events[1].data()["differs_in"]),
                (&json!("discrepant"), &differs_in)
            );
            assert_eq!(Payment::read(&item).unwrap().unwrap().status(), "discrepant");
            let canceled = [sightings.as_slice(), &[seen(Status::Canceled, 15_000, 3)]].concat();
            assert_eq!(kinds(&merged(&canceled, Some(&expected)).1)[2..], ["payment.canceled"]);
        }
        let right = Expectation { amount: Money { minor: 15_000, currency: Currency::parse("KRW").unwrap() } };
        let (_, events) = merged(&[seen(Status::Paid, 0, 0)], Some(&right));
        assert_eq!(kinds(&events), ["payment.paid", "payment.receipt_due"]);
    }

    #[test]
    fn a_deposit_that_is_taken_back_can_come_again() {
        let paid = [seen(Status::Waiting, 0, 0), seen(Status::Paid, 0, 10)];
        let at_once = [paid.as_slice(), &[seen(Status::Waiting, 0, 69)]].concat();
        assert_eq!(
            Payment::read(&merged(&at_once, None).0).unwrap().unwrap().status(),
            "paid",
            "asked at about the same time"
        );
        let back = [paid.as_slice(), &[seen(Status::Waiting, 0, 100), seen(Status::Paid, 0, 300)]].concat();
        let (item, events) = merged(&back, None);
        assert_eq!(Payment::read(&item).unwrap().unwrap().status(), "paid");
        let told = [
            "payment.waiting",
            "payment.paid",
            "payment.receipt_due",
            "payment.deposit_taken_back",
            "payment.paid",
            "payment.receipt_due",
        ];
        assert_eq!(kinds(&events), told);
    }

    fn any_sighting() -> impl Strategy<Value = Sighting> {
        use Status::{Canceled, Failed, Paid, PartiallyCanceled, Ready, Waiting};
        let status = prop::sample::select(vec![Ready, Waiting, Failed, Paid, PartiallyCanceled, Canceled]);
        (status, 0..3_i64, 0..300_u64).prop_map(|(status, canceled, second)| seen(status, canceled * 1_000, second))
    }

    proptest! {
        #[test]
        fn the_same_sightings_make_the_same_state(
            sightings in prop::collection::vec(any_sighting(), 1..12),
            seed in any::<u64>(),
        ) {
            let (item, _) = merged(&sightings, None);
            let mut other = [sightings.as_slice(), &sightings[..sightings.len() / 2]].concat();
            fastrand::Rng::with_seed(seed).shuffle(&mut other);
            let (shuffled, events) = merged(&other, None);
            let read = |item| Payment::read(item).unwrap().unwrap();
            prop_assert_eq!(read(&item).sightings, read(&shuffled).sightings);
            prop_assert_eq!(read(&item).status(), read(&shuffled).status());
            let ids: BTreeSet<&str> = events.iter().map(CloudEvent::id).collect();
            prop_assert_eq!(ids.len(), events.len());
        }
    }
}
