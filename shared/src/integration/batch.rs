//! Many questions in one provider call.
//!
//! A batch is answered question by question: what the cache knows is not asked again, equal questions are asked once,
//! the rest goes out in one call, and each answer is remembered on its own. When no provider answers, each question
//! still gets the best that is left for it.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Answer, CallError, Integration, Source};
use crate::answers::{AnswerCache, Request, Response};
use crate::clock::SharedClock;
use crate::resilience::cache::{Entry, Worth};

/// Connections that one batch may take up for its writes.
const WRITES_AT_ONCE: usize = 10;

/// An operation that takes many questions at once.
#[derive(Debug)]
pub struct BatchIntegration<Req, Res> {
    calls: Integration<Vec<Req>, Vec<Res>>,
    cache: AnswerCache<Res>,
    clock: SharedClock,
}

impl<Req: Request> Request for Vec<Req> {
    fn readable(&self) -> String {
        format!("{} requests", self.len())
    }
}

impl<Res: Response> Response for Vec<Res> {
    fn is_known(&self) -> bool {
        self.iter().all(Response::is_known)
    }
}

impl<Req: Request + Clone + PartialEq, Res: Response> BatchIntegration<Req, Res> {
    /// `calls` makes the calls, without a cache of its own: `cache` remembers the single answers.
    pub fn new(calls: Integration<Vec<Req>, Vec<Res>>, cache: AnswerCache<Res>, clock: SharedClock) -> Self {
        Self { calls, cache, clock }
    }

    /// Answers each of `requests`, in their order. The provider answers each of a call's questions, in their order.
    pub async fn call_each(&self, requests: &[Req], deadline: Instant) -> Vec<Result<Answer<Res>, Arc<CallError>>> {
        self.answer_each(requests, deadline).instrument(self.calls.span()).await
    }

    async fn answer_each(&self, requests: &[Req], deadline: Instant) -> Vec<Result<Answer<Res>, Arc<CallError>>> {
        let keys: Vec<String> = requests.iter().map(|request| self.cache.key(request)).collect();
        let remembered = self.lookup(&keys).await;
        let now = self.clock.now();
        // Judged once: what counts as fresh here is not asked for, so it must still count when the answers are put together.
        let judge = |(key, entry): (&String, Option<Entry<Res>>)| {
            entry.map(|entry| (self.cache.worth(key, &entry, now), entry))
        };
        let remembered: Vec<_> = keys.iter().zip(remembered).map(judge).collect();

        let mut asked: Vec<Req> = Vec::new();
        for (request, remembered) in requests.iter().zip(&remembered) {
            if !matches!(remembered, Some((Worth::Fresh, _))) && !asked.contains(request) {
                asked.push(request.clone());
            }
        }
        let live = self.ask(&asked, deadline).await;
        let answers = requests.iter().zip(&keys).zip(remembered).map(|((request, key), entry)| match (entry, &live) {
            (Some((Worth::Fresh, entry)), _) => Ok(Answer::remembered(entry, Worth::Fresh, now)),
            (_, Ok(answer)) => {
                let place = asked.iter().position(|one| one == request);
                let value = place.and_then(|place| answer.value.get(place)).cloned();
                // A provider that answers fewer questions than it was asked is a defect of that provider's file.
                value
                    .map(|value| answer.with(value))
                    .ok_or_else(|| Arc::new(CallError { setbacks: Vec::new(), at: now }))
            }
            // A rule that came meanwhile makes it void.
            (Some((Worth::Stale, entry)), Err(_)) if self.cache.worth(key, &entry, now) == Worth::Stale => {
                Ok(Answer::remembered(entry, Worth::Stale, now))
            }
            (_, Err(error)) => Err(Arc::clone(error)),
        });
        answers.collect()
    }

    /// Asks what is left to ask in one call, and remembers each answer on its own.
    async fn ask(&self, asked: &[Req], deadline: Instant) -> Result<Answer<Vec<Res>>, Arc<CallError>> {
        if asked.is_empty() {
            let (value, provider) = (Vec::new(), String::new());
            return Ok(Answer { value, source: Source::Live, provider, as_of: self.clock.now() });
        }
        let answer = self.calls.call(&asked.to_vec(), deadline).await?;
        // As for a single question: what a stand-in answered is not remembered.
        let first = self.calls.ways().first().map(|way| way.provider.name());
        if first != Some(answer.provider.as_str()) {
            return Ok(answer);
        }
        let answered = asked.iter().zip(&answer.value);
        stream::iter(answered)
            .for_each_concurrent(WRITES_AT_ONCE, |(request, value)| {
                self.cache.remember(self.cache.key(request), request, value, &answer.provider, answer.as_of)
            })
            .await;
        Ok(answer)
    }

    /// What is remembered under each key: from memory where it is fresh, the rest from the store in one trip.
    async fn lookup(&self, keys: &[String]) -> Vec<Option<Entry<Res>>> {
        let mut found: Vec<_> = keys.iter().map(|key| self.calls.in_memory(&self.cache, key)).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|&place| found[place].is_none()).collect();
        if !missing.is_empty() {
            let wanted: Vec<String> = missing.iter().map(|&place| keys[place].clone()).collect();
            let stored = self.calls.in_store(&self.cache, &wanted).await;
            for (place, entry) in missing.into_iter().zip(stored) {
                found[place] = entry;
            }
        }
        found
    }
}
