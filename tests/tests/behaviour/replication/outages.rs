//! Leaders that crash or stand still, and who leads then.

use super::*;

#[tokio::test]
async fn a_crashed_leader_is_replaced_by_a_replica_in_sync_and_nothing_acknowledged_is_lost() {
    let partition = Partition::own("crash", &[1, 2, 3], &[("min.insync.replicas", "2")]).await;
    let epoch = partition.epoch().await;
    for value in ["a", "b"] {
        partition.write(value, -1).await;
    }
    partition.cluster.crash(1).await;
    let next = partition.until_led_by_other(1).await;
    let known =
        partition.cluster.until_known("a shorter ISR", &partition.topic, |known| known.isr_nodes.len() == 2).await;
    assert_eq!((known.leader_id, known.offline_replicas.as_slice()), (next, &[1][..]));
    assert!(known.leader_epoch > epoch && !known.isr_nodes.contains(&1));
    assert_eq!(known.replica_nodes, [1, 2, 3], "it stays assigned");
    assert_eq!(partition.write("c", -1).await, 2);
    assert_eq!(partition.values().await, ["a", "b", "c"]);

    partition.cluster.restart(1).await;
    partition.until_in_sync(3).await;
    partition.until_read_at(1, &["a", "b", "c"]).await;
    let known = partition.cluster.known(&partition.topic, 0).await;
    assert_eq!((known.leader_id, known.offline_replicas.len()), (next, 0), "it follows, though it is preferred");
}

#[tokio::test]
async fn a_leader_that_stood_still_follows_when_it_goes_on_and_takes_no_more_records() {
    let partition = Partition::own("zombie", &[1, 2, 3], &[]).await;
    partition.write("a", -1).await;
    let mut zombie = partition.cluster.raw(1).await;
    partition.cluster.freeze(1).await;
    let sent = zombie.send(PRODUCE, &partition.batch("late", -1, Duration::from_secs(20))).await;
    assert_eq!(zombie.try_answer(sent, Duration::from_millis(50)).await, Err(NoAnswer::Silent));
    let next = partition.until_led_by_other(1).await;
    partition.write("b", -1).await;
    partition.cluster.thaw(1).await;
    eventually("the old leader to refuse records", async || {
        let answer = partition.write_at(1, "refused", 1).await;
        (answer.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER).then_some(())
    })
    .await;
    partition.until_in_sync(3).await;
    partition.until_read_at(1, &["a", "b"]).await;
    assert_eq!((partition.values().await, partition.leader().await), (vec!["a".to_owned(), "b".to_owned()], next));
}

#[tokio::test]
async fn without_a_replica_in_sync_nobody_leads_until_the_last_leader_is_back_with_all_records() {
    let partition = Partition::own("last", &[1, 2], &[]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(2).await;
    partition.until_in_sync(1).await;
    partition.write("b", -1).await;
    partition.cluster.crash(1).await;
    partition.cluster.thaw(2).await;
    // Since KIP-966 the last leader is eligible, but not in sync.
    let last = if is_older_than((4, 1)) { vec![1] } else { vec![] };
    let is_so = |leader: i32, isr: &[i32]| leader == -1 && isr == last;
    let what = format!("no leader, and in sync {last:?}");
    let known =
        partition.cluster.until_known(&what, &partition.topic, |known| is_so(known.leader_id, &known.isr_nodes));
    assert_eq!(known.await.error_code, ErrorCode::LEADER_NOT_AVAILABLE, "broker 2 lacks a record");
    partition.cluster.restart(1).await;
    partition.until_in_sync(2).await;
    assert_eq!((partition.values().await, partition.leader().await), (vec!["a".to_owned(), "b".to_owned()], 1));
}

#[tokio::test]
async fn a_replica_that_left_below_min_insync_replicas_lacks_nothing_that_is_committed_and_may_lead() {
    if lacks((4, 1), "eligible leader replicas (KIP-966)") {
        return;
    }
    let partition = Partition::own("eligible", &[1, 2], &[("min.insync.replicas", "2")]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(2).await;
    partition.until_in_sync(1).await;
    assert_eq!(partition.write("not committed", 1).await, 1);
    partition.cluster.crash(1).await;
    partition.cluster.thaw(2).await;
    partition.cluster.until_known("broker 2 to lead", &partition.topic, |known| known.leader_id == 2).await;
    partition.cluster.restart(1).await;
    partition.until_in_sync(2).await;
    partition.write("b", -1).await;
    assert_eq!(partition.values().await, ["a", "b"], "KIP-966");
}

#[tokio::test]
async fn a_partition_whose_only_replica_is_down_has_no_leader_and_the_others_say_so() {
    let partition = Partition::own("alone", &[1], &[]).await;
    partition.write("a", -1).await;
    let epoch = partition.epoch().await;
    partition.cluster.crash(1).await;
    let known = partition.cluster.until_known("no leader", &partition.topic, |known| known.leader_id == -1).await;
    assert_eq!((known.error_code, known.leader_epoch), (ErrorCode::LEADER_NOT_AVAILABLE, epoch + 1));
    assert_eq!((known.replica_nodes.as_slice(), known.offline_replicas.as_slice()), (&[1][..], &[1][..]));
    let refused = partition.write_at(2, "refused", -1).await;
    assert_eq!(refused.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    partition.cluster.restart(1).await;
    let known = partition.cluster.until_known("a leader", &partition.topic, |known| known.leader_id == 1).await;
    assert_eq!(known.leader_epoch, epoch + 2);
    assert_eq!(partition.values().await, ["a"]);
}

#[tokio::test]
async fn a_coordinator_that_moves_keeps_the_committed_offsets_and_the_old_one_sends_clients_away() {
    use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
    use milena_protocol::messages::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use milena_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};

    let partition = Partition::own("coordinated", &[1, 2, 3], &[]).await;
    let group = partition.cluster.unique("moving");
    let old = partition.cluster.coordinator(&group).await;
    let committed = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let topics = vec![OffsetCommitRequestTopic {
        name: partition.topic.clone(),
        partitions: vec![committed],
        ..Default::default()
    }];
    let commit = OffsetCommitRequest { group_id: group.clone(), topics, ..Default::default() };
    let code = partition.cluster.raw(old).await.ask(8, &commit).await.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::NONE);

    partition.cluster.freeze(old).await;
    let find = FindCoordinatorRequest { key: group.clone(), ..Default::default() };
    let new = eventually("another coordinator", async || {
        let found = partition.cluster.raw(1 + old % 3).await.ask(3, &find).await;
        (found.error_code.is_none() && found.node_id != old).then_some(found.node_id)
    })
    .await;
    let topics = vec![OffsetFetchRequestTopic { name: partition.topic.clone(), partition_indexes: vec![0] }];
    let fetch = OffsetFetchRequest { group_id: group.clone(), topics: Some(topics), ..Default::default() };
    // It shows what it has read as soon as that is committed.
    eventually("the offset at the new one", async || {
        let found = partition.cluster.raw(new).await.ask(5, &fetch).await;
        (found.error_code.is_none() && found.topics[0].partitions[0].committed_offset == 5).then_some(())
    })
    .await;
    partition.cluster.thaw(old).await;
    eventually("the old one to say so", async || {
        let answer = partition.cluster.raw(old).await.ask(8, &commit).await;
        (answer.topics[0].partitions[0].error_code == ErrorCode::NOT_COORDINATOR).then_some(())
    })
    .await;
}
