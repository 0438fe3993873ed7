//! What a group reads while topics come and go, in virtual time.

use std::time::Duration;

use milena::{ApiKey, Client, Consumer, ConsumerBuilder, ErrorCode, Record};
use milena_mock_broker::{Fault, Topic};
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
