//! `BatchIntegration`: many questions, one call, and an answer for each.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ieum::answers::{Request, Response};
use ieum::gate::Gate;
use ieum::integration::{Answer, BatchIntegration, CallError, Integration, Source, Way};
use ieum::policy::Policy;
use ieum::provider::{Provider, ProviderError};
use tokio::time::{Instant, advance};

use crate::support::{CACHE, FaultyStore, Mode, Question, Reply, World, once, refusal, refused, reply, secs, up_to};

/// How a registry fails; `None` while it is well.
type Fault = Option<fn() -> ProviderError>;

/// Answers question N with `#N`, while it is well, and keeps what it was asked.
#[derive(Clone)]
struct Registry {
    name: &'static str,
    asked: Arc<Mutex<Vec<Vec<u32>>>>,
    failing: Arc<Mutex<Fault>>,
    forgets_the_last: bool,
}

impl Registry {
    fn new(name: &'static str) -> Self {
        Self { name, asked: Arc::default(), failing: Arc::default(), forgets_the_last: false }
    }

    fn fails(&self, with: Fault) {
        *self.failing.lock().unwrap() = with;
    }

    /// What it was asked since last time, call by call.
    fn asked(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Provider<Vec<Question>, Vec<Reply>> for Registry {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn call(&self, questions: &Vec<Question>) -> Result<Vec<Reply>, ProviderError> {
        self.asked.lock().unwrap().push(questions.iter().map(|question| question.0).collect());
        let failing = *self.failing.lock().unwrap();
        if let Some(error) = failing {
            return Err(error());
        }
        let answered = questions.len() - usize::from(self.forgets_the_last);
        Ok(questions[..answered].iter().map(|question| reply(&format!("#{}", question.0))).collect())
    }
}

fn down() -> ProviderError {
    ProviderError::Unavailable { status: 503 }
}

fn batch(world: &World, registries: &[&Registry], policy: Policy) -> BatchIntegration<Question, Reply> {
    let way = |registry: &&Registry| -> Way<Vec<Question>, Vec<Reply>> {
        let gate: Arc<Gate> = world.gate(registry.name, None);
        Way { provider: Box::new((*registry).clone()), gate }
    };
    let ways = registries.iter().map(way).collect();
    let calls = Integration::new("test", "ask_each", policy, ways, Arc::clone(&world.clock));
    BatchIntegration::new(calls, world.cache(), Arc::clone(&world.clock))
}

type Called = Result<Answer<Reply>, Arc<CallError>>;

async fn ask(batch: &BatchIntegration<Question, Reply>, numbers: &[u32]) -> Vec<Called> {
    let questions: Vec<Question> = numbers.iter().copied().map(Question).collect();
    batch.call_each(&questions, Instant::now() + secs(60)).await
}

fn told(answers: &[Called]) -> Vec<Option<(&str, Source)>> {
    answers.iter().map(crate::support::told).collect()
}

#[tokio::test(start_paused = true)]
async fn all_misses_go_out_in_one_call_equal_ones_once_and_the_order_is_kept() {
    let (world, registry) = (World::new(), Registry::new("first"));
    let answers = ask(&batch(&world, &[&registry], once()), &[3, 1, 3, 2, 1]).await;
    let texts: Vec<_> = told(&answers).into_iter().map(|told| told.unwrap()).collect();
    assert_eq!(texts, ["#3", "#1", "#3", "#2", "#1"].map(|text| (text, Source::Live)));
    assert_eq!(registry.asked(), [[3, 1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn fresh_ones_are_not_asked_again_neither_here_nor_in_another_environment() {
    let (world, registry) = (World::new(), Registry::new("first"));
    let here = batch(&world, &[&registry], once());
    ask(&here, &[1, 2]).await;
    registry.asked();
    advance(secs(5)).await;
    let there = batch(&world, &[&registry], once());
    for (environment, new) in [(&here, 3), (&there, 4)] {
        let answers = ask(environment, &[2, new, 1]).await;
        let cached = Source::Cached { age: secs(5) };
        let texts =
            [Some(("#2", cached)), Some((if new == 3 { "#3" } else { "#4" }, Source::Live)), Some(("#1", cached))];
        assert_eq!(told(&answers), texts);
        assert_eq!(registry.asked(), [[new]]);
    }
    ask(&here, &[1, 2]).await;
    assert_eq!(registry.asked().len(), 0, "nothing to ask is no call");
}

#[tokio::test(start_paused = true)]
async fn no_question_is_no_call() {
    let (world, registry) = (World::new(), Registry::new("first"));
    assert_eq!(ask(&batch(&world, &[&registry], once()), &[]).await.len(), 0);
    assert_eq!(registry.asked().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_each_gets_the_best_that_is_left_for_it() {
    let (world, registry) = (World::new(), Registry::new("first"));
    let asking = batch(&world, &[&registry], up_to(2));
    ask(&asking, &[1]).await;
    advance(CACHE.fresh - secs(10)).await;
    ask(&asking, &[2]).await;
    advance(secs(10)).await;
    registry.asked();
    registry.fails(Some(down));
    let answers = ask(&asking, &[1, 2, 3]).await;
    let (stale, cached) = (Source::Stale { age: CACHE.fresh }, Source::Cached { age: secs(10) });
    assert_eq!(told(&answers), [Some(("#1", stale)), Some(("#2", cached)), None]);
    assert_eq!(refused(&answers[2]), refusal(503, "provider_unavailable", None));
    assert_eq!(registry.asked(), [[1, 3], [1, 3]], "two attempts, without the fresh one");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_of_the_store_as_well_this_process_still_remembers() {
    let faulty = FaultyStore::new();
    let (world, registry) = (World::over(faulty.clone()), Registry::new("first"));
    let asking = batch(&world, &[&registry], once());
    ask(&asking, &[1]).await;
    advance(CACHE.fresh).await;
    faulty.set(Mode::Unreachable);
    registry.fails(Some(down));
    assert_eq!(told(&ask(&asking, &[1, 2]).await), [Some(("#1", Source::Stale { age: CACHE.fresh })), None]);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_too_old_while_the_circuit_is_read_is_not_served() {
    let faulty = FaultyStore::new();
    let (world, registry) = (World::over(faulty.clone()), Registry::new("first"));
    let asking = batch(&world, &[&registry], once());
    ask(&asking, &[1]).await;
    advance(CACHE.fresh + CACHE.stale - secs(1)).await;
    registry.fails(Some(down));
    faulty.set_only("get breaker", Mode::Slow(secs(1)));
    assert_eq!(told(&ask(&asking, &[1]).await), [None]);
}

#[tokio::test(start_paused = true)]
async fn what_a_stand_in_answers_is_not_remembered() {
    let (world, first, second) = (World::new(), Registry::new("first"), Registry::new("second"));
    let asking = batch(&world, &[&first, &second], once());
    first.fails(Some(down));
    assert_eq!(ask(&asking, &[1]).await[0].as_ref().unwrap().provider, "second");
    first.fails(None);
    let again = ask(&asking, &[1]).await;
    assert_eq!(again[0].as_ref().unwrap().provider, "first");
    assert_eq!(first.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_batch_is_each_questions_own() {
    let (world, registry) = (World::new(), Registry::new("first"));
    registry.fails(Some(|| ProviderError::Rejected { code: "E1".to_owned() }));
    let answers = ask(&batch(&world, &[&registry], up_to(4)), &[1, 2]).await;
    for answer in &answers {
        assert_eq!(refused(answer), refusal(502, "provider_rejected", None));
    }
    assert_eq!(registry.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_the_provider_left_unanswered_is_an_error_and_the_others_are_not() {
    let (world, mut registry) = (World::new(), Registry::new("first"));
    registry.forgets_the_last = true;
    let answers = ask(&batch(&world, &[&registry], once()), &[1, 2]).await;
    assert_eq!(told(&answers), [Some(("#1", Source::Live)), None]);
    assert_eq!(refused(&answers[1]), refusal(503, "provider_unavailable", None));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_questions_cost_one_reading_of_the_store_and_one_write_for_each_answer() {
    let faulty = FaultyStore::new();
    let (world, registry) = (World::over(faulty.clone()), Registry::new("first"));
    let numbers: Vec<u32> = (0..100).collect();
    let asking = batch(&world, &[&registry], once());
    assert!(ask(&asking, &numbers).await.iter().all(Result::is_ok));
    let log = faulty.log();
    assert_eq!(log[..2], ["get breaker", "get_many cache"]);
    assert_eq!(log[2..], vec!["update cache"; 100]);
    assert!(ask(&asking, &numbers).await.iter().all(Result::is_ok));
    assert_eq!(faulty.log(), [""; 0], "all are in memory");
    assert!(ask(&batch(&world, &[&registry], once()), &numbers).await.iter().all(Result::is_ok));
    assert_eq!(faulty.log(), ["get breaker", "get_many cache"]);
    assert_eq!(registry.asked().len(), 1);
}

#[test]
fn a_batch_is_known_when_every_answer_is_and_its_words_are_a_number() {
    for (texts, known) in [(&[][..], true), (&["a", "b"], true), (&["a", "unknown"], false)] {
        assert_eq!(texts.iter().map(|text| reply(text)).collect::<Vec<_>>().is_known(), known, "{texts:?}");
    }
    assert_eq!(vec![Question(1), Question(2)].readable(), "2 requests");
}
