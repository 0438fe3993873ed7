//! What administrators ask of brokers: fewer records, more partitions, no group, no offsets.

use milena::{CommitPolicy, ErrorCode, Position, Record, Result};
use milena_protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use milena_protocol::messages::delete_groups::DeleteGroupsRequest;
use milena_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use milena_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use milena_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::raw::fetch;

use crate::{GENEROUS, client, producer, read, soon, texts, write};

/// The error code and the low watermark that DeleteRecords is answered with.
async fn delete_records(cluster: &TestCluster, topic: &str, offset: i64) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
    let mut leader = cluster.raw_leader(topic, 0).await;
    let answer = leader.ask(2, &DeleteRecordsRequest { topics, timeout_ms: 30_000 }).await;
    let result = &answer.topics[0].partitions[0];
    (result.error_code, result.low_watermark)
}

#[tokio::test]
async fn deleting_records_moves_the_start_of_the_log_and_readers_begin_there() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("fewer", 1).await;
    write(&producer(&cluster).await, &topic, 0, &["a", "b", "c", "d"]).await?;
    assert_eq!(delete_records(&cluster, &topic, 2).await, (ErrorCode::NONE, 2));
    assert_eq!(delete_records(&cluster, &topic, 1).await, (ErrorCode::NONE, 2), "it does not move back");
    assert_eq!(delete_records(&cluster, &topic, 5).await, (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(cluster.start(&topic, 0).await, 2);
    let mut leader = cluster.raw_leader(&topic, 0).await;
    let answer = leader.ask(12, &fetch(&topic, 0, 1)).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);

    let at_start = client(&cluster).await.reader().assign([((topic.as_str(), 0), Position::Beginning)]);
    assert_eq!(texts(&read(&mut at_start.build().await?, 2).await), ["c", "d"]);
    assert_eq!(delete_records(&cluster, &topic, -1).await, (ErrorCode::NONE, 4));
    assert_eq!((cluster.start(&topic, 0).await, cluster.end(&topic, 0).await), (4, 4));
    Ok(())
}

#[tokio::test]
async fn records_of_a_topic_that_is_only_compacted_cannot_be_deleted() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await;
    producer(&cluster).await.send(Record::to(&topic).key("k").value("v")).await?;
    assert_eq!(delete_records(&cluster, &topic, 1).await, (ErrorCode::POLICY_VIOLATION, -1));
    assert_eq!(cluster.start(&topic, 0).await, 0);
    Ok(())
}

#[tokio::test]
async fn partitions_are_added_and_records_stay_where_they_are() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("more", 1).await;
    let id = cluster.topic_id(&topic).await;
    let producer = producer(&cluster).await;
    write(&producer, &topic, 0, &["a"]).await?;
    let create = async |count| {
        let topics = vec![CreatePartitionsTopic { name: topic.clone(), count, assignments: None }];
        let request = CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false };
        cluster.ask_controller(3, &request, |answer| answer.results[0].error_code).await.results[0].error_code
    };
    assert_eq!(create(3).await, ErrorCode::NONE);
    assert_eq!(create(3).await, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(create(2).await, ErrorCode::INVALID_PARTITIONS);
    // It knew the topic before: what it is told to write to makes it ask.
    let receipt = eventually("the new partition to take a record", async || {
        producer.send(Record::to(&topic).partition(2).value("b")).await.ok()
    })
    .await;
    assert_eq!(receipt.offset, Some(0));
    assert_eq!((cluster.log(&topic, 0).await.len(), cluster.log(&topic, 2).await.len()), (1, 1));
    assert_eq!(cluster.topic_id(&topic).await, id);
    Ok(())
}

/// A group with one committed offset and nobody in it.
async fn left_behind(cluster: &TestCluster, topic: &str) -> Result<String> {
    let group = cluster.unique("left");
    write(&producer(cluster).await, topic, 0, &["a"]).await?;
    let consumer = client(cluster).await.consumer(&group).commit_policy(CommitPolicy::Manual).subscribe([topic]);
    let mut consumer = consumer.build().await?;
    let records = read(&mut consumer, 1).await;
    consumer.commit(&records[0]).await?;
    drop(records);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(group)
}

async fn delete_group(cluster: &TestCluster, group: &str) -> ErrorCode {
    let request = DeleteGroupsRequest { groups_names: vec![group.to_owned()] };
    cluster.raw_coordinator(group).await.ask(2, &request).await.results[0].error_code
}

/// The offset that the group has committed for `topic`-0.
async fn committed(cluster: &TestCluster, group: &str, topic: &str) -> Option<i64> {
    let topics = vec![OffsetFetchRequestTopic { name: topic.to_owned(), partition_indexes: vec![0] }];
    let request = OffsetFetchRequest { group_id: group.to_owned(), topics: Some(topics), ..Default::default() };
    let answer = cluster.raw_coordinator(group).await.ask(5, &request).await;
    Some(answer.topics[0].partitions[0].committed_offset).filter(|offset| *offset >= 0)
}

#[tokio::test]
async fn a_group_can_be_deleted_once_nobody_is_in_it_and_its_offsets_go_with_it() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("grouped", 1).await;
    let group = left_behind(&cluster, &topic).await?;
    assert_eq!(committed(&cluster, &group, &topic).await, Some(1));
    let mut consumer = client(&cluster).await.consumer(&group).subscribe([topic.as_str()]).build().await?;
    write(&producer(&cluster).await, &topic, 0, &["b"]).await?;
    assert_eq!(texts(&read(&mut consumer, 1).await), ["b"]);
    assert_eq!(delete_group(&cluster, &group).await, ErrorCode::NON_EMPTY_GROUP);
    soon("closing", consumer.close(GENEROUS)).await?;

    assert_eq!(delete_group(&cluster, &group).await, ErrorCode::NONE);
    assert_eq!(committed(&cluster, &group, &topic).await, None);
    assert_eq!(delete_group(&cluster, &group).await, ErrorCode::GROUP_ID_NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn offsets_are_deleted_unless_a_member_wants_their_topic() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("wanted", 1).await;
    let group = left_behind(&cluster, &topic).await?;
    let delete = async || {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
        let topics = vec![OffsetDeleteRequestTopic { name: topic.clone(), partitions }];
        let request = OffsetDeleteRequest { group_id: group.clone(), topics };
        let answer = cluster.raw_coordinator(&group).await.ask(0, &request).await;
        assert_eq!(answer.error_code, ErrorCode::NONE);
        answer.topics[0].partitions[0].error_code
    };
    let mut consumer = client(&cluster).await.consumer(&group).subscribe([topic.as_str()]).build().await?;
    write(&producer(&cluster).await, &topic, 0, &["b"]).await?;
    assert_eq!(texts(&read(&mut consumer, 1).await), ["b"]);
    assert_eq!(delete().await, ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    soon("closing", consumer.close(GENEROUS)).await?;
    assert!(committed(&cluster, &group, &topic).await.is_some());
    assert_eq!(delete().await, ErrorCode::NONE);
    assert_eq!(committed(&cluster, &group, &topic).await, None);
    Ok(())
}
