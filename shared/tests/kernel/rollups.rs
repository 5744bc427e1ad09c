//! Minutes as the console will read them: counted by environments that know nothing of each other.

use std::sync::Arc;

use ieum::clock::Timestamp;
use ieum::resilience::rollup::{Counts, Ending, Grain, SHARDS};
use ieum::rollups::Rollups;
use ieum::store::Store;
use ieum::testing::Scripted;
use tokio::time::advance;

use crate::support::*;

/// What the fleet has handed on of the minute that the world began in.
fn first_minute(store: &FaultyStore) -> Counts {
    first(store, Grain::Minute)
}

/// What the fleet has handed on of the first period of this grain.
fn first(store: &FaultyStore, grain: Grain) -> Counts {
    let period = grain.of(Timestamp::from_millis(29_920_550 * 60_000));
    let mut sum = Counts::default();
    for shard in 0..SHARDS {
        let part = store.inner.read(&period.key("test", shard));
        sum.add(&part.as_ref().map(Counts::read).unwrap_or_default());
    }
    sum
}

#[tokio::test(start_paused = true)]
async fn every_environment_adds_its_minute_once_it_is_over() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let provider = Scripted::new("p", live);
    let [here, there] = [(); 2].map(|()| {
        let shared: Arc<dyn Store> = store.clone();
        let rollups = Arc::new(Rollups::new("test", shared, world.clock.clone()));
        world.asking(&provider, once()).cache(world.cache()).rollups(rollups)
    });
    provider.then_after(ms(30), live()).then_after(ms(300), down());
    ask(&here, 1).await.unwrap();
    ask(&here, 1).await.unwrap();
    ask(&there, 2).await.unwrap_err();
    assert_eq!(first_minute(&store).calls(), 0, "nothing is written while the minute lasts");
    advance(secs(60)).await;
    store.log();
    ask(&here, 1).await.unwrap();
    assert_eq!(store.log(), ["update metric"; 2], "beside a call that needs nothing else");
    ask(&there, 1).await.unwrap();
    let counts = first_minute(&store);
    assert_eq!(
        [Ending::Live, Ending::Cached, Ending::StoodIn, Ending::Unanswered].map(|ending| counts.ended(ending)),
        [1, 1, 0, 1]
    );
    assert_eq!((counts.percentile_ms(0.5), counts.percentile_ms(1.0)), (Some(40), Some(400)));
    assert_eq!(counts.setbacks().collect::<Vec<_>>(), [("unavailable", 1)]);
    assert_eq!(first(&store, Grain::Quarter), counts, "the quarter has had no other minute yet");
    ask(&here, 1).await.unwrap();
    assert_eq!(first_minute(&store), counts, "once");
}

#[tokio::test(start_paused = true)]
async fn a_minute_that_the_store_did_not_take_goes_with_the_next() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let shared: Arc<dyn Store> = store.clone();
    let rollups = Arc::new(Rollups::new("test", shared, world.clock.clone()));
    let asking = world.asking(&Scripted::new("p", live), once()).rollups(rollups);
    ask(&asking, 1).await.unwrap();
    advance(secs(60)).await;
    store.set_only("update metric", Mode::Throttled);
    ask(&asking, 1).await.unwrap();
    assert_eq!(first_minute(&store).calls(), 0);
    store.set(Mode::Well);
    advance(secs(60)).await;
    ask(&asking, 1).await.unwrap();
    assert_eq!(first_minute(&store).calls(), 2, "both calls so far");
    assert_eq!(first(&store, Grain::Quarter).calls(), 2, "and neither of them twice");
}
