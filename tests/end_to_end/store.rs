//! The table of the deployed system behaves as the store in memory does: the conformance suite of the kernel, against the
//! local AWS. The kernel's own tests ask the embedded DynamoDB the same histories.

use std::sync::Arc;

use futures_util::future::join_all;
use ieum::store::{DynamoStore, conformance};
use ieum::testing::dynamodb_at;

use super::Stage;

pub(crate) async fn the_store_of_the_deployed_system_agrees_with_memory(stage: &mut Stage) {
    let store = table(stage);
    conformance::check(&store).await;
    conformance::check_due(&store).await;
    join_all(conformance::SEEDS.map(|seed| conformance::check_random(&store, seed, 25, 20))).await;
}

pub(crate) async fn concurrent_increments_lose_nothing(stage: &mut Stage) {
    conformance::check_contended(Arc::new(table(stage)), 32, 200).await;
}

/// The table the functions keep their state in.
pub(crate) fn table(stage: &Stage) -> DynamoStore {
    dynamodb_at(stage.system.aws_url(), stage.system.reference("Table").unwrap())
}
