//! Followers that stand still: what waits for them, for how long, and what does not.

use super::*;

#[tokio::test]
async fn acks_all_waits_for_every_replica_in_sync_and_acks_1_for_none() {
    let partition = Partition::own("waits", &[1, 2, 3], &[]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(3).await;
    let mut leader = partition.cluster.raw(1).await;
    let sent = leader.send(PRODUCE, &partition.batch("b", -1, Duration::from_secs(50))).await;
    partition.write("c", 1).await;
    // While it is counted in sync it holds both back; after its session it does not.
    let data = partition.read_at(1, 0).await;
    if partition.cluster.in_sync(&partition.topic, 0).await.len() == 3 {
        assert_eq!((data.high_watermark, values(&data)), (1, vec!["a".to_owned()]));
    }
    partition.until_in_sync(2).await;
    let answer = leader.answer(sent).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    assert_eq!(partition.values().await, ["a", "b", "c"]);
    assert_eq!(partition.leader().await, 1, "no election");
}

#[tokio::test]
async fn a_follower_that_is_back_catches_up_and_is_in_sync_again() {
    let partition = Partition::own("back", &[1, 2, 3], &[]).await;
    partition.write("a", -1).await;
    let epoch = partition.epoch().await;
    partition.cluster.freeze(3).await;
    partition.until_in_sync(2).await;
    partition.write("b", -1).await;
    partition.cluster.thaw(3).await;
    partition.until_in_sync(3).await;
    partition.until_read_at(3, &["a", "b"]).await;
    if !is_older_than((3, 6)) {
        assert_eq!(partition.epoch().await, epoch, "no election");
    }
}

#[tokio::test]
async fn fewer_in_sync_than_min_insync_replicas_refuse_acks_all_before_the_append_and_stop_the_high_watermark() {
    let partition = Partition::own("min", &[1, 2, 3], &[("min.insync.replicas", "3")]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(3).await;
    partition.until_in_sync(2).await;
    partition.cluster.raw(1).await.until_it_lacks_replicas(&partition.topic).await;
    let refused = partition.write_at(1, "refused", -1).await;
    assert_eq!((refused.error_code, refused.base_offset), (ErrorCode::NOT_ENOUGH_REPLICAS, -1));
    assert_eq!(partition.write("b", 1).await, 1, "the refused record was not written");
    let data = partition.read_at(1, 0).await;
    assert_eq!((data.high_watermark, values(&data)), (1, vec!["a".to_owned()]), "nobody may read it yet (KIP-966)");
    partition.cluster.thaw(3).await;
    partition.until_in_sync(3).await;
    partition.until_read_at(1, &["a", "b"]).await;
    assert_eq!(partition.write("c", -1).await, 2);
}

#[tokio::test]
async fn a_write_whose_in_sync_replicas_become_too_few_times_out_and_is_there_when_they_are_back() {
    let partition = Partition::own("too-few", &[1, 2, 3], &[("min.insync.replicas", "3")]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(3).await;
    let mut leader = partition.cluster.raw(1).await;
    // Before KIP-966 the high watermark did not wait for them.
    let (within, code) = match is_older_than((3, 7)) {
        true => (50, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        false => (4, ErrorCode::REQUEST_TIMED_OUT),
    };
    let sent = leader.send(PRODUCE, &partition.batch("b", -1, Duration::from_secs(within))).await;
    partition.until_in_sync(2).await;
    assert_eq!(leader.answer(sent).await.responses[0].partition_responses[0].error_code, code);
    partition.cluster.thaw(3).await;
    partition.until_read_at(1, &["a", "b"]).await;
}

#[tokio::test]
async fn a_write_that_waits_is_refused_when_its_leader_is_replaced_and_is_there_if_the_new_one_has_it() {
    let partition = Partition::own("replaced", &[1, 2, 3], &[("min.insync.replicas", "3")]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(3).await;
    let mut leader = partition.cluster.raw(1).await;
    let sent = leader.send(PRODUCE, &partition.batch("b", -1, Duration::from_secs(60))).await;
    partition.until_copied(2, 2).await;
    partition.cluster.elect(&partition.topic, 0, 2).await;
    let answer = leader.answer(sent).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    partition.cluster.thaw(3).await;
    partition.until_read_at(2, &["a", "b"]).await;
}

#[tokio::test]
async fn after_an_election_the_end_is_not_available_until_the_new_leader_knows_what_is_committed() {
    let partition = Partition::own("unsure", &[1, 2, 3], &[("min.insync.replicas", "3")]).await;
    partition.write("a", -1).await;
    partition.cluster.freeze(3).await;
    partition.write("b", 1).await;
    partition.until_copied(2, 2).await;
    partition.cluster.elect(&partition.topic, 0, 2).await;
    let unsure = eventually("the new leader to answer", async || {
        let found = partition.position_at(2, LATEST, -1).await;
        (found.error_code != ErrorCode::NOT_LEADER_OR_FOLLOWER).then_some(found)
    })
    .await;
    assert_eq!((unsure.error_code, unsure.offset), (ErrorCode::OFFSET_NOT_AVAILABLE, -1));
    assert_eq!(partition.read_at(2, 1).await.error_code, ErrorCode::NONE, "a fetch waits without an error");
    partition.cluster.thaw(3).await;
    eventually("the end", async || {
        let found = partition.position_at(2, LATEST, -1).await;
        found.error_code.is_none().then(|| assert_eq!(found.offset, 2))
    })
    .await;
}
