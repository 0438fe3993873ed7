//! Reading from the closest replica (KIP-392), and where replicas are.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The harness puts broker n into rack rn.
fn rack_of(broker: i32) -> String {
    format!("r{broker}")
}

fn in_rack(request: FetchRequest, rack: &str) -> FetchRequest {
    FetchRequest { rack_id: rack.to_owned(), ..request }
}

#[tokio::test]
async fn a_leader_sends_a_consumer_to_the_in_sync_follower_in_its_rack_at_once_and_without_records() {
    let partition = Partition::shared("closest").await;
    partition.write("a", -1).await;
    let leader = partition.leader().await;
    for follower in partition.followers().await {
        partition.until_read_at(follower, &["a"]).await;
        for offset in [0, 1] {
            let request = raw::fetch(&partition.topic, 0, offset);
            // Old brokers wait all the same.
            let request = if is_older_than((3, 9)) { request } else { waiting(request) };
            let answered = partition.read_with(leader, FETCH, in_rack(request, &rack_of(follower))).await;
            assert_eq!((answered.error_code, answered.preferred_read_replica), (ErrorCode::NONE, follower));
            assert_eq!((values(&answered).len(), answered.high_watermark, answered.log_start_offset), (0, 1, 0));
        }
        let there = in_rack(raw::fetch(&partition.topic, 0, 0), &rack_of(follower));
        let there = partition.read_with(follower, FETCH, there).await;
        assert_eq!((values(&there), there.preferred_read_replica), (vec!["a".to_owned()], -1));
    }
}

#[tokio::test]
async fn a_leader_serves_consumers_of_its_own_rack_of_unknown_ones_and_of_none() {
    let partition = Partition::shared("own-rack").await;
    partition.write("a", -1).await;
    let leader = partition.leader().await;
    for rack in [rack_of(leader), "r9".to_owned(), String::new()] {
        let data = partition.read_with(leader, FETCH, in_rack(raw::fetch(&partition.topic, 0, 0), &rack)).await;
        assert_eq!((values(&data), data.preferred_read_replica), (vec!["a".to_owned()], -1), "rack {rack:?}");
    }
}

#[tokio::test]
async fn an_offset_that_the_follower_in_the_rack_lacks_is_judged_by_the_leader() {
    let partition = Partition::shared("beyond").await;
    partition.write("a", -1).await;
    let [follower, _] = partition.followers().await;
    let request = in_rack(raw::fetch(&partition.topic, 0, 7), &rack_of(follower));
    let data = partition.read_with(partition.leader().await, FETCH, request).await;
    assert_eq!((data.error_code, data.preferred_read_replica), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
}

#[tokio::test]
async fn a_follower_serves_consumers_up_to_its_high_watermark_from_fetch_version_11_on() {
    let partition = Partition::shared("follower").await;
    partition.write("a", -1).await;
    let [follower, _] = partition.followers().await;
    partition.until_read_at(follower, &["a"]).await;
    let at_end = partition.read_at(follower, 1).await;
    assert_eq!((at_end.error_code, at_end.high_watermark, values(&at_end).len()), (ErrorCode::NONE, 1, 0));
    for offset in [2, -1] {
        assert_eq!(partition.read_at(follower, offset).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE, "{offset}");
    }
    let old = partition.read_with(follower, 10, raw::fetch(&partition.topic, 0, 0)).await;
    assert_eq!(old.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
}

#[tokio::test]
async fn a_consumer_that_waits_at_a_follower_gets_a_record_as_soon_as_it_is_committed() {
    if lacks((3, 4), "followers that answer when they have replicated (KAFKA-14334)") {
        return;
    }
    let partition = Partition::shared("follower-waits").await;
    let [follower, _] = partition.followers().await;
    let mut connection = partition.cluster.raw(follower).await;
    let fetching = connection.send(FETCH, &waiting(raw::fetch(&partition.topic, 0, 0))).await;
    partition.write("a", -1).await;
    assert_eq!(values(&fetched(connection.answer(fetching).await)), ["a"]);
}

#[tokio::test]
async fn only_the_leader_takes_records_and_tells_positions_and_ends_of_epochs() {
    let partition = Partition::shared("leader-only").await;
    let [follower, _] = partition.followers().await;
    let refused = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    for acks in [-1, 1] {
        assert_eq!(partition.write_at(follower, "refused", acks).await.error_code, refused);
    }
    assert_eq!(partition.position_at(follower, LATEST, -1).await.error_code, refused);
    assert_eq!(partition.end_of_epoch_at(follower, 0, -1).await.error_code, refused);
    assert!(partition.values().await.is_empty());
}

#[tokio::test]
async fn every_rack_has_a_replica_of_each_partition_and_leaders_take_turns() {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("spread", 6).await;
    let mut led = BTreeMap::new();
    for partition in 0..6 {
        let known = cluster.known(&topic, partition).await;
        assert_eq!(known.replica_nodes.iter().collect::<BTreeSet<_>>().len(), 3, "three brokers, three racks");
        assert_eq!(known.leader_id, known.replica_nodes[0], "the first replica is the preferred leader");
        *led.entry(known.leader_id).or_insert(0) += 1;
    }
    assert_eq!(led.into_values().collect::<Vec<_>>(), [2, 2, 2]);
}
