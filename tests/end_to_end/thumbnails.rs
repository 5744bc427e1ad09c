//! Pictures are put into the bucket and thumbnails are found there: through the bucket's own notifications, the queue
//! and the deployed function.

use std::collections::BTreeSet;
use std::time::Duration;

use ieum::aws::Aws;
use ieum::aws::s3::{Place, Writing};
use ieum::config::Env;
use ieum::store::{Read, Store};
use ieum::testing::aws_at;
use s3_thumbnail::config::Config;
use s3_thumbnail::objects::Objects;
use s3_thumbnail::picture::thumbnails;
use s3_thumbnail::record;
use serde_json::{Value, json};

use super::client::{at_once, eventually, within};
use super::{Stage, store};

/// A rocket's start, by SpaceX, in the public domain.
const PHOTOGRAPH: &[u8] = include_bytes!("../../functions/s3-thumbnail/tests/pictures/rocket.jpg");

/// What a person may call a picture.
const NAME: &str = "2026/한글 사진 1+1=2 100%.jpg";

pub(crate) async fn a_photograph_in_the_bucket_has_its_thumbnails_a_moment_later(stage: &mut Stage) {
    let aws = aws_at(stage.system.aws_url());
    let picture = picture(stage, NAME);
    put(&aws, &picture, PHOTOGRAPH).await;
    let card = place(stage, &format!("thumbnail/card/{NAME}.webp"));
    eventually("the thumbnail", async || aws.s3().etag(&card).await.unwrap()).await;

    // The same bytes as the pipeline gives here, so it is the same picture.
    let config = Env::from([("STAGE", "local")]).read(Config::read).unwrap();
    let expected = thumbnails(PHOTOGRAPH, &config.variants, None, &config.limits).unwrap().remove(0);
    let (facts, bytes) = aws.s3().read(&card, &|_| true).await.unwrap().unwrap();
    assert_eq!(bytes.unwrap(), expected.bytes);
    assert_eq!((facts.metadata["ieum-width"].as_str(), facts.metadata["ieum-height"].as_str()), ("300", "200"));
    let head = aws.s3().head(&card).await.unwrap().unwrap();
    assert_eq!(head.content_type.as_deref(), Some("image/webp"));
    assert_eq!(head.cache_control.as_deref(), Some("public, max-age=86400"));

    let item = eventually("the record", async || {
        store::table(stage).get(&record::key(&picture), Read::Consistent).await.unwrap()
    });
    let item = item.await;
    assert_eq!(record::made(&item).unwrap()[0].placeholder, expected.placeholder);
    assert!(item.text("version").is_some(), "the bucket keeps versions: {item:?}");
    assert_eq!(item.number("v"), Some(1));
}

pub(crate) async fn s3_may_call_directly_and_twice(stage: &mut Stage) {
    let aws = aws_at(stage.system.aws_url());
    // The queue brings the same: whoever comes second has nothing to do.
    let picture = picture(stage, "direct.jpg");
    put(&aws, &picture, PHOTOGRAPH).await;
    let event = json!({"Records": [{
        "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": picture.bucket}, "object": {"key": picture.key}},
    }]});
    for _ in 0..2 {
        assert_eq!(stage.system.invoke("ThumbnailFunction", &event).await.unwrap(), Ok(Value::Null));
    }
    let item = store::table(stage).get(&record::key(&picture), Read::Consistent).await.unwrap().unwrap();
    assert_eq!(record::made(&item).unwrap().len(), 1);
}

pub(crate) async fn a_broken_picture_is_a_dead_letter_with_its_cause(stage: &mut Stage) {
    let aws = aws_at(stage.system.aws_url());
    put(&aws, &picture(stage, "cut.jpg"), &PHOTOGRAPH[..20_000]).await;
    put(&aws, &picture(stage, "notes.txt"), b"buy more film\n").await;
    let url = stage.system.reference("ThumbnailDeadLetters").unwrap();
    let letter = eventually("the dead letter", async || {
        let received = aws.queue(url).receive(1).await.unwrap();
        received.into_iter().next().map(|message| message.body)
    });
    let letter: Value = serde_json::from_str(&letter.await).unwrap();
    assert_eq!(letter["cause"]["reason"], "broken");
    assert_eq!(letter["Records"][0]["s3"]["object"]["key"], "upload/cut.jpg");
    let notes = record::key(&picture(stage, "notes.txt"));
    let reason = eventually("the reason", async || {
        let item = store::table(stage).get(&notes, Read::Consistent).await.unwrap()?;
        item.text("reason").map(str::to_owned)
    });
    assert_eq!(reason.await, "not_a_picture");
}

pub(crate) async fn of_500_pictures_at_once_each_has_its_thumbnail(stage: &mut Stage) {
    const PICTURES: usize = 500;
    let aws = aws_at(stage.system.aws_url());
    let names = (0..PICTURES).map(|number| format!("many/{number}.jpg"));
    let uploads = names.map(|name| {
        let (aws, picture) = (aws.clone(), picture(stage, &name));
        async move { put(&aws, &picture, PHOTOGRAPH).await }
    });
    at_once(uploads.collect()).await;
    let bucket = stage.system.reference("PictureBucket").unwrap();
    let found = within(Duration::from_secs(240), "all thumbnails", async || {
        let keys = keys(&aws, bucket, "thumbnail/card/many/").await;
        (keys.len() >= PICTURES).then_some(keys)
    });
    let expected: BTreeSet<String> =
        (0..PICTURES).map(|number| format!("thumbnail/card/many/{number}.jpg.webp")).collect();
    assert_eq!(found.await, expected);
}

async fn keys(aws: &Aws, bucket: &str, prefix: &str) -> BTreeSet<String> {
    let objects = aws.s3().list(bucket, prefix, None).await.unwrap();
    objects.into_iter().map(|object| object.key).collect()
}

fn place(stage: &Stage, key: &str) -> Place {
    Place { bucket: stage.system.reference("PictureBucket").unwrap().to_owned(), key: key.to_owned() }
}

fn picture(stage: &Stage, name: &str) -> Place {
    place(stage, &format!("upload/{name}"))
}

async fn put(aws: &Aws, place: &Place, bytes: &'static [u8]) {
    let writing =
        Writing { content_type: "application/octet-stream".to_owned(), bytes: bytes.into(), ..Writing::default() };
    aws.s3().put(place, writing).await.unwrap();
}
