//! What is committed, when, and what is refused.

use std::time::Duration;

use milena::{Client, Consumer, ErrorCode, ErrorKind, Offsets, Position, Result, TopicPartition};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use crate::{GENEROUS, client, read, soon, texts, write};

struct Ten {
    cluster: TestCluster,
    client: Client,
    topic: String,
    group: String,
}

impl Ten {
    /// A topic of two partitions with ten records each, and a group.
    async fn new() -> Result<Self> {
        let cluster = TestCluster::shared().await;
        let topic = cluster.topic("commit", 2).await;
        let client = client(&cluster).await;
        let producer = client.producer().build().await?;
        for partition in 0..2 {
            write(&producer, &topic, partition, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]).await?;
        }
        let group = cluster.unique("group");
        Ok(Self { cluster, client, topic, group })
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    /// A consumer of partition 0 that commits nothing by itself.
    async fn consumer(&self, position: Position) -> Result<Consumer> {
        let builder = self.client.consumer(&self.group).enable_auto_commit(false);
        builder.assign([(self.partition(0), position)]).build().await
    }

    /// What another consumer of the group sees as committed.
    async fn committed(&self) -> Result<[Option<i64>; 2]> {
        let consumer = self.consumer(Position::End).await?;
        let committed = consumer.control().committed(&[self.partition(0), self.partition(1)]).await?;
        Ok([committed[0], committed[1]])
    }
}

#[tokio::test]
async fn a_commit_of_a_record_a_batch_or_an_offset_is_where_the_group_goes_on() -> Result<()> {
    let ten = Ten::new().await?;
    assert_eq!(ten.committed().await?, [None, None]);
    let mut consumer = ten.consumer(Position::Committed).await?;

    let record = read(&mut consumer, 1).await.remove(0);
    consumer.commit(&record).await?;
    assert_eq!(ten.committed().await?, [Some(1), None]);
    drop(record);

    let batch = soon("a batch", consumer.next_batch(4)).await?.expect("nobody stops it");
    consumer.commit(&batch).await?;
    let after = 1 + batch.len() as i64;
    assert_eq!(ten.committed().await?, [Some(after), None]);
    let first = batch.iter().next().expect("a record");
    consumer.commit(first).await?;
    assert_eq!(ten.committed().await?, [Some(after), None], "what is done stays done");
    drop(batch);

    // Kafka's form: the next offset to read. It goes back on purpose.
    consumer.control().commit(Offsets::at(ten.partition(0), 3)).await?;
    assert_eq!(ten.committed().await?, [Some(3), None]);
    consumer.close(GENEROUS).await?;

    let mut next = ten.consumer(Position::Committed).await?;
    assert_eq!(texts(&read(&mut next, 2).await), ["3", "4"]);
    Ok(())
}

#[tokio::test]
async fn what_was_read_is_committed_on_close_unless_it_shall_not_be() -> Result<()> {
    let ten = Ten::new().await?;
    let both = || [(ten.partition(0), Position::Beginning), (ten.partition(1), Position::Beginning)];

    let mut silent = ten.client.consumer(&ten.group).enable_auto_commit(false).assign(both()).build().await?;
    drop(read(&mut silent, 20).await);
    silent.close(GENEROUS).await?;
    assert_eq!(ten.committed().await?, [None, None]);

    let mut consumer = ten.client.consumer(&ten.group).assign(both()).build().await?;
    drop(read(&mut consumer, 20).await);
    consumer.close(GENEROUS).await?;
    assert_eq!(ten.committed().await?, [Some(10), Some(10)]);

    // A record that is still held when the consumer is closed is not done.
    let mut consumer =
        ten.client.consumer(&ten.group).assign([(ten.partition(0), Position::Offset(2))]).build().await?;
    let held = read(&mut consumer, 5).await.split_off(2);
    consumer.close(GENEROUS).await?;
    assert_eq!((held[0].offset(), ten.committed().await?[0]), (4, Some(4)));
    Ok(())
}

#[tokio::test]
async fn what_was_read_is_committed_in_the_background() -> Result<()> {
    let ten = Ten::new().await?;
    let builder = ten.client.consumer(&ten.group).auto_commit_interval(Duration::from_millis(50));
    let mut consumer = builder.assign([(ten.partition(0), Position::Beginning)]).build().await?;
    drop(read(&mut consumer, 5).await);
    let next = read(&mut consumer, 1).await; // a later read: what came before is done
    eventually("five records to be committed", async || {
        (ten.committed().await.unwrap() == [Some(5), None]).then_some(())
    })
    .await;
    drop(next);
    drop(consumer); // without a commit
    assert_eq!(ten.committed().await?, [Some(5), None]);
    Ok(())
}

#[tokio::test]
async fn a_commit_beyond_what_was_handed_out_or_before_what_is_held_is_refused() -> Result<()> {
    let ten = Ten::new().await?;
    let mut consumer = ten.consumer(Position::Beginning).await?;
    let mut records = read(&mut consumer, 3).await;

    let beyond = consumer.commit(Offsets::at(ten.partition(0), 4)).await.unwrap_err();
    assert!(beyond.to_string().contains('4') && beyond.to_string().contains('3'), "{beyond}");
    let not_assigned = consumer.commit(Offsets::at(ten.partition(1), 0)).await.unwrap_err();
    assert!(not_assigned.to_string().contains(&ten.partition(1).to_string()), "{not_assigned}");
    let held = consumer.commit(&records[2]).await.unwrap_err();
    assert!(held.to_string().contains("offset 0"), "{held}");
    for error in [&beyond, &held] {
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert_eq!(error.topic_partition(), Some(&ten.partition(0)));
    }
    assert_eq!(ten.committed().await?, [None, None]);

    let last = records.pop().expect("three");
    drop(records);
    consumer.commit(&last).await?;
    assert_eq!(ten.committed().await?, [Some(3), None]);
    Ok(())
}

#[tokio::test]
async fn a_reader_has_no_group_to_commit_to() -> Result<()> {
    let ten = Ten::new().await?;
    let assign = |position| ten.client.reader().assign([(ten.partition(0), position)]).build();
    let error = assign(Position::Committed).await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Usage | ErrorKind::Config), "{error}");

    let mut reader = assign(Position::Beginning).await?;
    let record = read(&mut reader, 1).await.remove(0);
    let error = reader.commit(&record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert_eq!(reader.control().committed(&[ten.partition(0)]).await.unwrap_err().kind(), ErrorKind::Usage);
    drop(record);
    reader.close(GENEROUS).await?;
    Ok(())
}

#[tokio::test]
async fn groups_are_independent() -> Result<()> {
    let ten = Ten::new().await?;
    let other = ten.cluster.unique("other");
    let mut consumer = ten.consumer(Position::Beginning).await?;
    let records = read(&mut consumer, 1).await;
    consumer.commit(&records[0]).await?;
    let builder = ten.client.consumer(&other).enable_auto_commit(false);
    let mut another = builder.assign([(ten.partition(0), Position::Committed)]).build().await?;
    assert_eq!(another.control().committed(&[ten.partition(0)]).await?, [None]);
    assert_eq!(texts(&read(&mut another, 1).await), ["0"]);
    Ok(())
}

#[tokio::test]
async fn metadata_and_leader_epoch_are_kept_with_an_offset() -> Result<()> {
    let ten = Ten::new().await?;
    let mut consumer = ten.consumer(Position::Committed).await?;
    let record = read(&mut consumer, 1).await.remove(0);
    let partitions = [ten.partition(0), ten.partition(1)];

    consumer.commit(Offsets::from(&record).with_metadata("by host-7, ümlaut")).await?;
    let committed = consumer.control().committed_offsets(&partitions).await?;
    let first = committed[0].as_ref().expect("committed");
    assert_eq!((first.offset, first.metadata.as_str(), &committed[1]), (1, "by host-7, ümlaut", &None));
    assert!(first.leader_epoch.is_some_and(|epoch| epoch >= 0), "{first:?}");

    consumer.commit(Offsets::at(ten.partition(0), 1)).await?;
    let committed = consumer.control().committed_offsets(&partitions[..1]).await?;
    let first = committed[0].as_ref().expect("committed");
    assert_eq!((first.offset, first.metadata.as_str(), first.leader_epoch), (1, "", None));

    let long = Offsets::from(&record).with_metadata("x".repeat(5000));
    let error = consumer.commit(long).await.unwrap_err();
    assert_eq!((error.code(), error.is_retriable()), (Some(ErrorCode::OFFSET_METADATA_TOO_LARGE), false), "{error}");
    drop(record);
    consumer.close(GENEROUS).await
}

#[tokio::test]
async fn a_commit_is_given_up_at_its_deadline() -> Result<()> {
    let ten = Ten::new().await?;
    let proxy = Proxy::new();
    let builder = Client::builder().bootstrap(ten.cluster.bootstrap().split(',')).connector(proxy.connector());
    let client = builder.connect().await?;
    let consumer = client.consumer(&ten.group).enable_auto_commit(false);
    let mut consumer = consumer.assign([(ten.partition(0), Position::Beginning)]).build().await?;
    let record = read(&mut consumer, 1).await.remove(0);
    consumer.commit(&record).await?;
    drop(record);

    proxy.hold_requests();
    let next = read(&mut consumer, 1).await.remove(0);
    let commit = consumer.control().commit_within(Offsets::from(&next), Duration::from_millis(300));
    let error = soon("the deadline", commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(ten.committed().await?, [Some(1), None]);
    proxy.release();
    drop(next);
    soon("closing", consumer.close(GENEROUS)).await
}
