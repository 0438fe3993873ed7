//! Leader epochs: every election raises them, and those who believe in another one are told.

use milena_protocol::messages::delete_topics::DeleteTopicsRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::primitives::Uuid;

use super::*;

#[tokio::test]
async fn an_election_raises_the_leader_epoch_and_other_epochs_are_fenced_or_unknown() {
    let partition = Partition::shared("fencing").await;
    partition.write("a", -1).await;
    let before = partition.epoch().await;
    let leader = partition.cluster.move_leader(&partition.topic, 0).await;
    let now = partition.epoch().await;
    assert!(now > before);
    for (epoch, code) in [
        (before, ErrorCode::FENCED_LEADER_EPOCH),
        (now, ErrorCode::NONE),
        (now + 1, ErrorCode::UNKNOWN_LEADER_EPOCH),
        (-1, ErrorCode::NONE),
    ] {
        let fetch = with_epochs(raw::fetch(&partition.topic, 0, 0), epoch, -1);
        assert_eq!(partition.read_with(leader, FETCH, fetch).await.error_code, code, "Fetch, epoch {epoch}");
        assert_eq!(partition.position_at(leader, LATEST, epoch).await.error_code, code, "ListOffsets, epoch {epoch}");
        let end = partition.end_of_epoch_at(leader, before, epoch).await;
        assert_eq!(end.error_code, code, "OffsetForLeaderEpoch, epoch {epoch}");
    }
}

#[tokio::test]
async fn the_end_of_an_epoch_is_where_the_next_one_begins_and_of_unknown_ones_where_the_last_one_before_ends() {
    let partition = Partition::shared("ends").await;
    let mut epochs = Vec::new();
    for values in [2, 3, 1] {
        for value in 0..values {
            partition.write(&value.to_string(), -1).await;
        }
        epochs.push(partition.epoch().await);
        partition.cluster.move_leader(&partition.topic, 0).await;
    }
    let [first, second, third] = epochs[..] else { panic!("three epochs") };
    let (leader, now) = (partition.leader().await, partition.epoch().await);
    for (asked, epoch, end) in [
        (first, first, 2),
        (second, second, 5),
        (third, third, 6),
        (now, now, 6),
        (now + 1, -1, -1),
        (-1, -1, -1),
        (second - 1, if second - 1 > first { first } else { second - 1 }, 2),
    ] {
        let found = partition.end_of_epoch_at(leader, asked, now).await;
        assert_eq!((found.error_code, found.leader_epoch, found.end_offset), (ErrorCode::NONE, epoch, end), "{asked}");
    }
}

#[tokio::test]
async fn a_consumer_whose_last_record_is_of_an_epoch_that_ended_before_is_told_where_it_diverges() {
    let partition = Partition::shared("diverging").await;
    partition.write("a", -1).await;
    let old = partition.epoch().await;
    let leader = partition.cluster.move_leader(&partition.topic, 0).await;
    partition.write("b", -1).await;
    let now = partition.epoch().await;
    let read = async |offset: i64, last_fetched: i32| {
        let request = with_epochs(waiting(raw::fetch(&partition.topic, 0, offset)), now, last_fetched);
        let data = partition.read_with(leader, FETCH, request).await;
        (data.error_code, data.diverging_epoch.epoch, data.diverging_epoch.end_offset, values(&data).len())
    };
    assert_eq!(read(2, old).await, (ErrorCode::NONE, old, 1, 0), "at once, without records");
    assert_eq!(read(9, old).await, (ErrorCode::NONE, old, 1, 0), "rather than out of range");
    assert_eq!(read(1, old).await, (ErrorCode::NONE, -1, -1, 1), "it has read all of that epoch");
    assert_eq!(read(1, now).await, (ErrorCode::NONE, -1, -1, 1));
}

#[tokio::test]
async fn a_position_has_the_epoch_of_its_record_and_the_end_the_current_one() {
    let partition = Partition::shared("position").await;
    partition.write("a", -1).await;
    let old = partition.epoch().await;
    let leader = partition.cluster.move_leader(&partition.topic, 0).await;
    let now = partition.epoch().await;
    for (timestamp, offset, epoch) in [(-2, 0, old), (0, 0, old), (LATEST, 1, now)] {
        let found = partition.position_at(leader, timestamp, -1).await;
        assert_eq!((found.offset, found.leader_epoch), (offset, epoch), "{timestamp}");
    }
}

#[tokio::test]
async fn a_consumer_that_waits_is_told_at_once_that_its_leader_was_replaced() {
    let partition = Partition::shared("replaced").await;
    let epoch = partition.epoch().await;
    let mut old = partition.cluster.raw_leader(&partition.topic, 0).await;
    let request = with_epochs(waiting(raw::fetch(&partition.topic, 0, 0)), epoch, -1);
    let fetching = old.send(FETCH, &request).await;
    partition.cluster.move_leader(&partition.topic, 0).await;
    let data = fetched(old.answer(fetching).await);
    let told = [ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::NOT_LEADER_OR_FOLLOWER];
    assert!(told.contains(&data.error_code), "{:?}", data.error_code);
}

#[tokio::test]
async fn a_replaced_leader_names_the_new_one_and_its_address() {
    if lacks((3, 7), "new leaders in answers (KIP-951)") {
        return;
    }
    let partition = Partition::shared("hints").await;
    let (old, before) = (partition.leader().await, partition.epoch().await);
    let new = partition.cluster.move_leader(&partition.topic, 0).await;
    let now = partition.epoch().await;
    let bootstrap = partition.cluster.bootstrap();
    let address = bootstrap.split(',').nth(new as usize - 1).unwrap();

    let request = partition.batch("refused", -1, Duration::from_secs(20));
    let answer = partition.cluster.raw(old).await.ask(10, &request).await;
    let refused = &answer.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!((refused.current_leader.leader_id, refused.current_leader.leader_epoch), (new, now));
    let endpoint = &answer.node_endpoints[0];
    assert_eq!((endpoint.node_id, format!("{}:{}", endpoint.host, endpoint.port)), (new, address.to_owned()));

    let mut request = with_epochs(raw::fetch("", 0, 0), before, -1);
    request.topics[0].topic_id = partition.cluster.topic_id(&partition.topic).await;
    let mut answer = partition.cluster.raw(old).await.ask(16, &request).await;
    let endpoint = answer.node_endpoints.remove(0);
    assert_eq!((endpoint.node_id, format!("{}:{}", endpoint.host, endpoint.port)), (new, address.to_owned()));
    let refused = fetched(answer);
    assert_eq!(refused.error_code, ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!((refused.current_leader.leader_id, refused.current_leader.leader_epoch), (new, now));
}

#[tokio::test]
async fn a_new_leader_knows_from_its_log_which_batches_of_a_producer_are_there() {
    let partition = Partition::shared("producers").await;
    let write = async |sequence: i32| {
        let batch = RawBatch::of(["v"]).producer(8_000_001, 0, sequence);
        let request = ProduceRequest { acks: -1, ..raw::produce(&partition.topic, 0, batch) };
        let mut leader = partition.cluster.raw_leader(&partition.topic, 0).await;
        let answer = leader.ask(PRODUCE, &request).await.responses.remove(0).partition_responses.remove(0);
        (answer.error_code, answer.base_offset)
    };
    for sequence in 0..7 {
        assert_eq!(write(sequence).await, (ErrorCode::NONE, i64::from(sequence)));
    }
    partition.cluster.move_leader(&partition.topic, 0).await;
    for sequence in 2..7 {
        assert_eq!(write(sequence).await, (ErrorCode::NONE, i64::from(sequence)), "a duplicate");
    }
    assert_eq!(write(1).await, (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "older than the last five");
    assert_eq!(write(8).await, (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "a gap");
    assert_eq!(write(7).await, (ErrorCode::NONE, 7));
    assert_eq!(partition.values().await.len(), 8);
}

#[tokio::test]
async fn a_topic_that_is_created_anew_has_another_id_and_the_old_one_is_unknown() {
    if lacks((4, 1), "Produce by topic id") {
        return;
    }
    let partition = Partition::shared("anew").await;
    partition.write("old", -1).await;
    let old = partition.cluster.topic_id(&partition.topic).await;
    let fetch_by_id = |id: Uuid| {
        let mut request = raw::fetch("", 0, 0);
        request.topics[0].topic_id = id;
        request
    };
    partition.cluster.recreate_topic(&partition.topic).await;
    let new = partition.cluster.topic_id(&partition.topic).await;
    let leader = partition.leader().await;
    assert_ne!(new, old);
    for (id, code) in [(old, ErrorCode::UNKNOWN_TOPIC_ID), (new, ErrorCode::NONE)] {
        let data = partition.read_with(leader, 13, fetch_by_id(id)).await;
        assert_eq!((data.error_code, values(&data).len()), (code, 0), "Fetch");
        let mut request = partition.batch("by id", -1, Duration::from_secs(20));
        request.topic_data[0].topic_id = id;
        let answer = partition.cluster.raw(leader).await.ask(13, &request).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, code, "Produce");
    }
    assert_eq!(partition.values().await, ["by id"]);
    assert_eq!(partition.epoch().await, 0);
}

#[tokio::test]
async fn a_consumer_that_waits_is_told_at_once_that_its_topic_is_gone() {
    let partition = Partition::shared("gone").await;
    let mut leader = partition.cluster.raw_leader(&partition.topic, 0).await;
    let fetching = leader.send(FETCH, &waiting(raw::fetch(&partition.topic, 0, 0))).await;
    let names = vec![partition.topic.clone()];
    let request = DeleteTopicsRequest { topic_names: names, timeout_ms: 20_000, ..Default::default() };
    partition.cluster.ask_controller(4, &request, |answer| answer.responses[0].error_code).await;
    let told = fetched(leader.answer(fetching).await).error_code;
    let gone = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::NOT_LEADER_OR_FOLLOWER];
    assert!(gone.contains(&told), "{told:?}");
}
