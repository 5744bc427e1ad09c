//! Callers that want the same thing at the same time share one trip to get it.
//!
//! The first to come fetches; the others wait for what it brings. A fetcher that is dropped half-way hands the work to
//! the next in line. This file refuses to remember anything beyond the flight: that is the cache's work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// The trips under way, by key.
#[derive(Debug)]
pub struct SingleFlight<T> {
    flights: Mutex<HashMap<String, Arc<OnceCell<T>>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { flights: Mutex::default() }
    }
}

impl<T: Clone> SingleFlight<T> {
    /// What `fetch` brings for `key`, fetched once for everybody who asks while it is under way.
    pub async fn share(&self, key: &str, fetch: impl Future<Output = T>) -> T {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(flights.entry(key.to_owned()).or_default())
        };
        let _landing = Landing { flights: &self.flights, key, flight: &flight };
        flight.get_or_init(|| fetch).await.clone()
    }
}

/// Takes the flight off the board when its last passenger leaves, however it leaves.
struct Landing<'a, T> {
    flights: &'a Mutex<HashMap<String, Arc<OnceCell<T>>>>,
    key: &'a str,
    flight: &'a Arc<OnceCell<T>>,
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let same = flights.get(self.key).is_some_and(|flight| Arc::ptr_eq(flight, self.flight));
        // One count is the board's and one is ours: nobody else is on it. A landed flight takes no more passengers.
        if same && (self.flight.initialized() || Arc::strong_count(self.flight) == 2) {
            flights.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    async fn slow(count: &AtomicU32) -> u32 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        count.fetch_add(1, Ordering::Relaxed) + 1
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_thing_is_fetched_once_and_fetched_anew_afterwards() {
        let (flights, count) = (SingleFlight::default(), AtomicU32::new(0));
        let both = tokio::join!(flights.share("a", slow(&count)), flights.share("a", slow(&count)));
        assert_eq!(both, (1, 1));
        assert_eq!(flights.share("a", slow(&count)).await, 2);
        assert!(flights.flights.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetcher_that_gives_up_hands_over() {
        let (flights, count) = (SingleFlight::default(), AtomicU32::new(0));
        let impatient = tokio::time::timeout(Duration::from_millis(5), flights.share("a", slow(&count)));
        let (gone, patient) = tokio::join!(impatient, flights.share("a", slow(&count)));
        assert!(gone.is_err());
        assert_eq!(patient, 1);
        assert!(flights.flights.lock().unwrap().is_empty());
    }
}
