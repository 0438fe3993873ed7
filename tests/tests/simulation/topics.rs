//! What a group reads while topics come and go, in virtual time.

use std::time::Duration;

use milena::{ApiKey, AutoOffsetReset, Client, Consumer, ConsumerBuilder, ErrorCode, Record};
use milena_mock_broker::{Fault, MockCluster, Topic};
use tokio::time::{sleep, timeout};

use crate::world::{World, run};

const GENEROUS: Duration = Duration::from_secs(60);

async fn write(world: &World, topic: &str, partitions: i32) {
    let producer = world.client().await.producer().build().await.unwrap();
    for partition in 0..partitions {
        producer.send(Record::to(topic).partition(partition).value("v")).await.unwrap();
    }
}

fn group(client: &Client) -> ConsumerBuilder {
    client.consumer("g").assignors(["range"])
}

/// The topics of so many records that come within ten seconds.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut topics = Vec::new();
    for _ in 0..count {
        let next = timeout(Duration::from_secs(10), consumer.next()).await;
        let record = next.unwrap_or_else(|_| panic!("no record after those of {topics:?}")).unwrap().unwrap();
        topics.push(record.topic().to_owned());
    }
    topics
}

#[test]
fn a_partition_that_is_not_answered_holds_up_no_other() {
    run(1, async |world| {
        world.cluster.create_topic(Topic::new("other").partitions(1));
        write(&world, "orders", 6).await;
        let unstable = Fault::on(ApiKey::OFFSET_FETCH).topic("other").during(Duration::ZERO..Duration::from_secs(30));
        let unstable = world.cluster.fault(unstable.error(ErrorCode::UNSTABLE_OFFSET_COMMIT));
        write(&world, "other", 1).await;
        let client = world.client().await;
        let mut consumer = group(&client).subscribe(["orders", "other"]).build().await.unwrap();

        assert_eq!(read(&mut consumer, 6).await, ["orders"; 6]);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(read(&mut consumer, 1).await, ["other"]);
        assert!(unstable.hits() < 100, "{}", unstable.hits());
        consumer.close(GENEROUS).await.unwrap();
    });
}

#[test]
fn a_deleted_topic_is_divided_no_more_and_holds_up_nobody() {
    run(1, async |world| {
        world.cluster.create_topic(Topic::new("other").partitions(2));
        let client = world.client().await;
        let mut first = group(&client).subscribe(["orders", "other"]).build().await.unwrap();
        write(&world, "orders", 6).await;
        write(&world, "other", 2).await;
        read(&mut first, 8).await;
        world.cluster.delete_topic("other");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(first.control().assignment().len(), 8, "it may be back soon");

        let client = world.client().await;
        let mut second = group(&client).subscribe(["orders", "other"]).build().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        write(&world, "orders", 6).await;
        let (first_read, second_read) = tokio::join!(read(&mut first, 3), read(&mut second, 3));
        assert_eq!((first_read, second_read), (vec!["orders".to_owned(); 3], vec!["orders".to_owned(); 3]));
        assert_eq!(first.control().assignment().len() + second.control().assignment().len(), 6);
        first.close(GENEROUS).await.unwrap();
        second.close(GENEROUS).await.unwrap();
    });
}

#[test]
fn even_the_latest_begins_a_topic_that_a_pattern_finds_later_at_its_beginning() {
    run(1, async |world| {
        write(&world, "orders", 6).await;
        let client = world.client().await;
        let builder = group(&client).subscribe_pattern("orders.*").auto_offset_reset(AutoOffsetReset::Latest);
        let mut consumer = builder.build().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        write(&world, "orders", 6).await;
        assert_eq!(read(&mut consumer, 6).await, ["orders"; 6], "not what was there before");

        // Written long before the pattern is looked up again.
        world.cluster.create_topic(Topic::new("orders-late").partitions(2));
        write(&world, "orders-late", 2).await;
        sleep(Duration::from_secs(310)).await;
        assert_eq!(read(&mut consumer, 2).await, ["orders-late"; 2]);

        // Known when they are first looked up: these are not new.
        world.cluster.create_topic(Topic::new("payments").partitions(1));
        write(&world, "payments", 1).await;
        consumer.control().subscribe_pattern("payments.*").unwrap();
        sleep(Duration::from_secs(10)).await;
        write(&world, "payments", 1).await;
        let record = timeout(GENEROUS, consumer.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((record.topic(), record.offset()), ("payments", 1));
        drop(record);
        consumer.close(GENEROUS).await.unwrap();
    });
}

#[test]
fn a_topic_that_is_created_anew_under_the_latest_is_read_from_its_beginning() {
    run(1, async |world| {
        world.cluster.create_topic(Topic::new("other").partitions(1));
        let client = world.client().await;
        let builder = || group(&client).subscribe(["orders", "other"]).auto_offset_reset(AutoOffsetReset::Latest);
        let mut first = builder().build().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        world.cluster.delete_topic("other");
        sleep(Duration::from_secs(10)).await;
        first.control().enforce_rebalance("without the other one").unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(first.control().assignment().len(), 6);

        world.cluster.create_topic(Topic::new("other").partitions(1));
        write(&world, "other", 1).await;
        assert_eq!(read(&mut first, 1).await, ["other"]);
        first.close(GENEROUS).await.unwrap();
    });
}

#[test]
fn a_topic_that_only_a_follower_reads_is_picked_up_when_it_appears() {
    run(1, async |world| {
        let leader = group(&world.client().await).subscribe(["orders"]).build().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        let mut follower = group(&world.client().await).subscribe(["orders", "later"]).build().await.unwrap();
        sleep(Duration::from_secs(30)).await;

        world.cluster.create_topic(Topic::new("later").partitions(1));
        write(&world, "later", 1).await;
        assert_eq!(read(&mut follower, 1).await, ["later"]);
        leader.close(GENEROUS).await.unwrap();
        follower.close(GENEROUS).await.unwrap();
    });
}

/// How often the metadata was asked for.
fn asked(world: &World) -> usize {
    world.cluster.journal().requests(ApiKey::METADATA).len()
}

#[test]
fn what_nobody_reads_any_more_is_not_asked_for() {
    run(1, async |world| {
        let client = world.client().await;
        world.cluster.create_topic(Topic::new("other-a").partitions(1));
        let by_pattern = group(&client).subscribe_pattern("other.*").build().await.unwrap();
        let by_name = client.consumer("h").subscribe(["orders", "later"]).build().await.unwrap();
        let by_both = client.consumer("i").subscribe(["later"]).build().await.unwrap();
        sleep(Duration::from_secs(20)).await;
        let in_a_minute = async || {
            let before = asked(&world);
            sleep(Duration::from_secs(60)).await;
            asked(&world) - before
        };
        assert!((8..20).contains(&in_a_minute().await), "one topic is looked for");

        by_name.control().subscribe(["orders"]).unwrap();
        sleep(Duration::from_secs(20)).await;
        assert!((8..20).contains(&in_a_minute().await), "another consumer still looks for it");
        by_both.close(GENEROUS).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        assert!(in_a_minute().await < 5);

        world.cluster.delete_topic("other-a");
        sleep(Duration::from_secs(330)).await;
        let late = in_a_minute().await;
        assert!(late < 5, "a deleted topic is looked for {late} times a minute");
        by_name.close(GENEROUS).await.unwrap();
        by_pattern.close(GENEROUS).await.unwrap();
    });
}

#[test]
fn a_deleted_topic_of_a_pattern_is_not_created_again_by_asking_for_it() {
    run(1, async |mut world| {
        let cluster = MockCluster::builder().auto_create_topics(true).topic("other-a", 1).topic("other-b", 1);
        world.cluster = cluster.seed(1).start_in_memory();
        let client = world.builder().allow_auto_create_topics(true).connect().await.unwrap();
        let by_pattern = group(&client).subscribe_pattern("other.*").build().await.unwrap();
        let by_name = client.consumer("h").subscribe(["named"]).build().await.unwrap();
        sleep(Duration::from_secs(20)).await;
        assert_eq!(by_pattern.control().assignment().len(), 2);
        assert_eq!(by_name.control().assignment().len(), 1, "it was created");

        world.cluster.delete_topic("other-a");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(by_pattern.control().assignment(), [("other-b", 0).into()]);
        assert_eq!(world.cluster.partition_count("other-a"), None);
        by_name.close(GENEROUS).await.unwrap();
        by_pattern.close(GENEROUS).await.unwrap();
        world.cluster.stop().await;
    });
}
