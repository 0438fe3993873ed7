//! Elections that lose records, and logs that are cut.

use milena_tests::cluster::Election;

use super::*;

/// Brokers 1 and 2 have replicas; "kept" is on both, "lost" on broker 1 alone, which is down; broker 2 is frozen.
async fn divided(name: &str, configs: &[(&str, &str)]) -> Partition {
    let partition = Partition::own(name, &[1, 2], configs).await;
    partition.write("kept", -1).await;
    partition.cluster.freeze(2).await;
    partition.until_in_sync(1).await;
    assert_eq!(partition.write("lost", -1).await, 1, "one replica in sync is enough by default");
    partition.cluster.crash(1).await;
    partition
}

/// What is true wherever broker 2 has become the leader without "lost", in an epoch of its own, and broker 1 is back.
async fn assert_cut_off(partition: &Partition, old: i32) {
    partition.write("new", -1).await;
    assert_eq!(partition.values().await, ["kept", "new"]);
    let now = partition.epoch().await;
    // A consumer that has read "lost" learns it in each of the three ways.
    let end = partition.end_of_epoch_at(2, old, now).await;
    assert_eq!((end.leader_epoch, end.end_offset), (old, 1));
    let request = with_epochs(raw::fetch(&partition.topic, 0, 2), now, old);
    let data = partition.read_with(2, FETCH, request).await;
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (old, 1));
    assert_eq!(partition.read_at(2, 3).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);

    partition.cluster.restart(1).await;
    partition.until_in_sync(2).await;
    partition.until_read_at(1, &["kept", "new"]).await;
    partition.cluster.elect(&partition.topic, 0, 1).await;
    eventually("broker 1 to lead", async || {
        (partition.position_at(1, LATEST, -1).await.error_code == ErrorCode::NONE).then_some(())
    })
    .await;
    assert_eq!(partition.values().await, ["kept", "new"], "the old leader has cut off what it had alone");
}

#[tokio::test]
async fn unclean_leader_election_enable_lets_a_replica_lead_that_lacks_records_and_the_others_cut_them_off() {
    let partition = divided("unclean", &[("unclean.leader.election.enable", "true")]).await;
    partition.cluster.thaw(2).await;
    let known = partition.cluster.until_known("broker 2 to lead", &partition.topic, |known| known.leader_id == 2).await;
    assert_eq!(known.isr_nodes, [2], "it alone is in sync");
    assert_cut_off(&partition, 0).await;
}

#[tokio::test]
async fn by_default_a_replica_that_lacks_records_leads_only_when_an_operator_says_so() {
    let partition = divided("operator", &[]).await;
    partition.cluster.thaw(2).await;
    let known = partition.cluster.until_known("no leader", &partition.topic, |known| known.leader_id == -1).await;
    assert_eq!(known.error_code, ErrorCode::LEADER_NOT_AVAILABLE);
    let refused = partition.cluster.elect_leader(&partition.topic, 0, Election::Preferred).await;
    assert_eq!(refused, ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE);
    let elected = partition.cluster.elect_leader(&partition.topic, 0, Election::Unclean).await;
    assert_eq!(elected, ErrorCode::NONE);
    partition.cluster.until_known("broker 2 to lead", &partition.topic, |known| known.leader_id == 2).await;
    let again = partition.cluster.elect_leader(&partition.topic, 0, Election::Unclean).await;
    assert_eq!(again, ErrorCode::ELECTION_NOT_NEEDED);
    assert_cut_off(&partition, 0).await;
}

#[tokio::test]
async fn a_record_that_only_a_crashed_leader_had_is_cut_off_when_it_is_back() {
    let partition = Partition::own("alone", &[1, 2], &[("unclean.leader.election.enable", "true")]).await;
    partition.write("kept", -1).await;
    partition.cluster.freeze(2).await;
    // The first one answers the fetch of the follower that was under way when it froze; it may find it when it goes on.
    partition.write("first", 1).await;
    partition.write("lost", 1).await;
    partition.cluster.crash(1).await;
    partition.cluster.thaw(2).await;
    partition.until_led_by_other(1).await;
    partition.write("new", 1).await;
    let values = partition.values().await;
    assert!(values.first().is_some_and(|value| value == "kept") && values.last().is_some_and(|value| value == "new"));
    assert!(!values.contains(&"lost".to_owned()), "{values:?}");
    partition.cluster.restart(1).await;
    partition.until_in_sync(2).await;
    partition.until_read_at(1, &values).await;
}
