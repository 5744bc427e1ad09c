//! What a cached answer is worth at a given time, and a bounded memory of such answers.
//!
//! An entry is *fresh* for its TTL, then *stale* for a window in which it is only served when nothing better can be had,
//! then void. Its age counts from the start of the provider call that filled it. This file refuses to fetch anything.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use serde::de::DeserializeOwned;

use crate::clock::{CLOCKS_APART, Timestamp};
use crate::store::{Action, EXPIRES_AT, Item, Update};

/// The numbers of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long an answer is served without asking again.
    pub fresh: Duration,
    /// For how long after that it may stand in for a provider that does not answer.
    pub stale: Duration,
    /// How long "there is no such thing" is served without asking again; never served stale.
    pub unknown: Duration,
}

/// A remembered answer and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<V> {
    /// The answer.
    pub value: V,
    /// The provider that gave it.
    pub provider: String,
    /// The request in words, for invalidation by pattern; no personal data.
    pub request: String,
    /// When the provider call that gave it began.
    pub filled_from: Timestamp,
    /// Until when it is fresh.
    pub fresh_until: Timestamp,
    /// Until when it may be served stale.
    pub stale_until: Timestamp,
}

/// What an entry is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Serve it.
    Fresh,
    /// Serve it only when nothing better can be had.
    Stale,
    /// Forget it.
    Void,
}

impl<V> Entry<V> {
    /// An answer of `provider` to `request`, from a call that began at `filled_from`; `known` is false for "there is no such
    /// thing".
    pub fn new(
        value: V,
        request: &str,
        provider: &str,
        known: bool,
        policy: &CachePolicy,
        filled_from: Timestamp,
    ) -> Self {
        let fresh_until = filled_from.after(if known { policy.fresh } else { policy.unknown });
        let stale_until = if known { fresh_until.after(policy.stale) } else { fresh_until };
        let (provider, request) = (provider.to_owned(), request.to_owned());
        Self { value, provider, request, filled_from, fresh_until, stale_until }
    }

    /// What the entry is worth at `now`. One from farther in the future than clocks are apart is void: its clock cannot be
    /// trusted.
    pub fn worth(&self, now: Timestamp) -> Worth {
        if now.after(CLOCKS_APART) < self.filled_from || now >= self.stale_until {
            Worth::Void
        } else if now < self.fresh_until {
            Worth::Fresh
        } else {
            Worth::Stale
        }
    }

    /// The same, when `policy` may have become stricter since the entry was filled. A more generous one changes nothing.
    pub fn worth_under(&self, policy: &CachePolicy, known: bool, now: Timestamp) -> Worth {
        let today = Entry::new((), "", "", known, policy, self.filled_from);
        match self.worth(now) {
            Worth::Void => Worth::Void,
            Worth::Fresh | Worth::Stale if now >= today.stale_until => Worth::Void,
            Worth::Fresh if now < today.fresh_until => Worth::Fresh,
            Worth::Fresh | Worth::Stale => Worth::Stale,
        }
    }

    /// How old the answer is at `now`.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.filled_from)
    }
}

impl<V: DeserializeOwned> Entry<V> {
    /// Reads a stored entry; `None` when it is not one of ours or of an older, different shape.
    pub fn from_item(item: &Item) -> Option<Self> {
        let time = |name| item.number(name).map(Timestamp::from_millis);
        Some(Self {
            value: serde_json::from_str(item.text("value")?).ok()?,
            provider: item.text("provider")?.to_owned(),
            request: item.text("request")?.to_owned(),
            filled_from: time("filled_from")?,
            fresh_until: time("fresh_until")?,
            stale_until: time("stale_until")?,
        })
    }
}

impl Entry<String> {
    /// The update that stores this entry, whose value is JSON, under `key`.
    pub fn to_update(&self, key: &str) -> Update {
        Update::of(key).then([
            Action::Set("value", self.value.as_str().into()),
            Action::Set("provider", self.provider.as_str().into()),
            Action::Set("request", self.request.as_str().into()),
            Action::Set("filled_from", self.filled_from.as_millis().into()),
            Action::Set("fresh_until", self.fresh_until.as_millis().into()),
            Action::Set("stale_until", self.stale_until.as_millis().into()),
            Action::Set(EXPIRES_AT, (self.stale_until.as_seconds() + 1).into()),
        ])
    }
}

/// The entries this process saw last: bounded in number and in bytes, least recently used out first.
#[derive(Debug)]
pub struct L1<V> {
    entries: LruCache<String, (Entry<V>, usize)>,
    bytes: usize,
    max_bytes: usize,
}

impl<V: Clone> L1<V> {
    /// A memory of at most `max_entries` entries and `max_bytes` bytes of JSON in all.
    pub fn new(max_entries: NonZeroUsize, max_bytes: usize) -> Self {
        Self { entries: LruCache::new(max_entries), bytes: 0, max_bytes }
    }

    /// The entry under `key` unless it is void at `now`.
    pub fn get(&mut self, key: &str, now: Timestamp) -> Option<Entry<V>> {
        let (entry, _) = self.entries.get(key)?;
        if entry.worth(now) == Worth::Void {
            self.remove(key);
            return None;
        }
        Some(entry.clone())
    }

    /// Remembers `entry`, which takes `bytes` bytes as JSON, and forgets what no longer fits.
    pub fn put(&mut self, key: String, entry: Entry<V>, bytes: usize) {
        self.remove(&key);
        if bytes > self.max_bytes {
            return;
        }
        self.bytes += bytes;
        if let Some((_, (_, evicted))) = self.entries.push(key, (entry, bytes)) {
            self.bytes -= evicted;
        }
        while self.bytes > self.max_bytes {
            let Some((_, (_, evicted))) = self.entries.pop_lru() else { break };
            self.bytes -= evicted;
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some((_, bytes)) = self.entries.pop(key) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MemoryStore, Outcome};

    const START: Timestamp = Timestamp::from_millis(1_795_233_000_000);
    const POLICY: CachePolicy = CachePolicy {
        fresh: Duration::from_secs(100),
        stale: Duration::from_secs(50),
        unknown: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> Timestamp {
        START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_is_fresh_then_stale_then_void() {
        let entry = Entry::new("x", "r", "nice", true, &POLICY, START);
        assert_eq!(
            [0, 99, 100, 149, 150].map(|second| entry.worth(at(second))),
            [Worth::Fresh, Worth::Fresh, Worth::Stale, Worth::Stale, Worth::Void]
        );
        let ahead = |millis| entry.worth(START.before(Duration::from_millis(millis)));
        assert_eq!((ahead(1), ahead(1_000)), (Worth::Fresh, Worth::Fresh), "clocks are so far apart");
        assert_eq!(ahead(1_001), Worth::Void, "a clock that ran back");
        assert_eq!(entry.age(at(42)), Duration::from_secs(42));
    }

    #[test]
    fn an_unknown_is_brief_and_never_stale() {
        let entry = Entry::new("x", "r", "nice", false, &POLICY, START);
        assert_eq!([9, 10].map(|second| entry.worth(at(second))), [Worth::Fresh, Worth::Void]);
    }

    #[test]
    fn a_stricter_policy_acts_on_what_is_remembered_and_a_more_generous_one_does_not() {
        let entry = Entry::new("x", "r", "nice", true, &POLICY, START);
        let under = |fresh, stale| {
            let policy = CachePolicy { fresh: Duration::from_secs(fresh), stale: Duration::from_secs(stale), ..POLICY };
            [0, 9, 10, 14, 15, 100, 150].map(|second| entry.worth_under(&policy, true, at(second)))
        };
        use Worth::{Fresh, Stale, Void};
        assert_eq!(under(10, 5), [Fresh, Fresh, Stale, Stale, Void, Void, Void]);
        assert_eq!(under(1_000, 5), [Fresh, Fresh, Fresh, Fresh, Fresh, Stale, Void]);
    }

    #[test]
    fn an_entry_survives_the_store() {
        let store = MemoryStore::new();
        let entry = Entry::new("\"x\"".to_owned(), "company 1234567891", "nice", true, &POLICY, START);
        let Outcome::Applied(item) = store.apply(&entry.to_update("cache#1")) else {
            panic!("an unguarded update is always applied")
        };
        let back: Entry<String> = Entry::from_item(&item).expect("our own shape");
        assert_eq!(back, Entry { value: "x".to_owned(), ..entry });
        assert_eq!(item.number(EXPIRES_AT), Some(at(151).as_seconds()));
        assert_eq!(Entry::<u32>::from_item(&item), None, "another shape is no entry");
    }

    #[test]
    fn what_just_fits_is_kept_and_what_is_too_large_drives_out_nothing_but_what_it_replaces() {
        let mut l1 = L1::new(NonZeroUsize::new(8).expect("not zero"), 1_000);
        for (key, bytes, held) in [
            ("a", 400, [true, false]),
            ("b", 600, [true, true]),
            ("c", 1_001, [true, true]),
            ("a", 1_001, [false, true]),
            ("a", 1_000, [true, false]),
        ] {
            l1.put(key.to_owned(), Entry::new((), "r", "p", true, &POLICY, START), bytes);
            assert_eq!(["a", "b"].map(|key| l1.get(key, START).is_some()), held, "{key} of {bytes} bytes");
        }
        assert_eq!(l1.get("a", at(150)), None);
        assert_eq!((l1.entries.len(), l1.bytes), (0, 0), "void entries are dropped");
    }

    proptest! {
        #[test]
        fn memory_stays_within_both_bounds(puts in prop::collection::vec((0..30_u8, 0..400_usize), 1..200)) {
            let mut l1 = L1::new(NonZeroUsize::new(8).expect("not zero"), 1_000);
            for (key, bytes) in puts {
                l1.put(key.to_string(), Entry::new(key, "r", "p", true, &POLICY, START), bytes);
                prop_assert!(l1.entries.len() <= 8 && l1.bytes <= 1_000);
                let held: usize = l1.entries.iter().map(|(_, (_, bytes))| bytes).sum();
                prop_assert_eq!(held, l1.bytes);
                prop_assert_eq!(l1.get(&key.to_string(), START).map(|entry| entry.value), Some(key));
            }
        }
    }
}
