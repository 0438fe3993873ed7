//! Brokers that are cut off and go on with what they knew. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use milena_protocol::messages::elect_leaders::ElectLeadersRequest;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};

use super::replication::{SESSION_TIMEOUT, replicated};
use super::rig::{FETCH, NONE, fetch, values_in};

#[test]
fn a_zombie_goes_on_leading_and_loses_what_it_took() {
    let (mut rig, [zombie, next, other]) = replicated(&[]);
    assert_eq!(rig.write(zombie, -1, "a"), (NONE, 0));
    rig.act(|core, now| core.isolate(now, zombie));
    assert_eq!(rig.write(zombie, 1, "lost"), (NONE, 1));
    rig.at(SESSION_TIMEOUT - 1);
    assert_eq!(rig.core.leader("t", 0), Some((zombie, 0)), "nobody has noticed");
    assert_eq!(rig.high_watermark(zombie), 1, "nobody fetches from it");
    rig.at(SESSION_TIMEOUT);
    assert_eq!((rig.core.leader("t", 0), rig.isr()), (Some((next, 1)), vec![next, other]));
    assert_eq!(rig.write(next, -1, "b"), (NONE, 1));
    assert_eq!(rig.write(zombie, 1, "lost too"), (NONE, 2));
    let waiting = rig.send_value(zombie, -1, "lost as well");
    assert_eq!(values_in(&rig.read(zombie, 0)), ["a"]);
    assert_eq!(rig.logged(zombie), ["a", "lost", "lost too", "lost as well"]);
    assert_eq!(rig.values(), ["a", "b"]);

    rig.act(|core, now| core.rejoin(now, zombie));
    assert_eq!(rig.produced(waiting), Some((ErrorCode::NOT_LEADER_OR_FOLLOWER, 3)));
    assert_eq!((rig.logged(zombie), rig.isr().len()), (vec!["a".to_owned(), "b".to_owned()], 3));
    assert_eq!(rig.write(zombie, 1, "refused").0, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(rig.core.next_controller_deadline(), None);
}

#[test]
fn an_epoch_in_which_nothing_was_written_is_forgotten_when_the_log_goes_on_without_it() {
    let (mut rig, [zombie, next, _]) = replicated(&[]);
    rig.write(zombie, -1, "a");
    rig.act(|core, now| core.isolate(now, zombie));
    rig.elect(next);
    assert_eq!(rig.write(zombie, 1, "b"), (NONE, 1), "in epoch 0, while epoch 1 has nothing");
    rig.elect(zombie);
    rig.act(|core, now| core.rejoin(now, zombie));
    rig.elect(next);
    assert_eq!(rig.values(), ["a", "b"]);
    let log = &rig.core.replica_at("t", 0, next).unwrap().log;
    assert_eq!((log.end_of_epoch(0), log.end_of_epoch(3)), (Some((0, 2)), Some((3, 2))));
}

#[test]
fn a_zombie_tells_clients_what_it_believes() {
    let (mut rig, [zombie, next, _]) = replicated(&[]);
    rig.act(|core, now| core.isolate(now, zombie));
    rig.elect(next);
    rig.create("later", 1, &[]);
    rig.act(|core, now| core.crash(now, next));
    let mut known = |broker| {
        let response = rig.ask(broker, 12, &MetadataRequest { topics: None, ..Default::default() });
        let leader = response.topics.iter().find(|topic| topic.name.as_deref() == Some("t"));
        let leader = leader.map(|topic| (topic.partitions[0].leader_id, topic.partitions[0].leader_epoch));
        (response.brokers.len(), response.topics.len(), leader)
    };
    let other = 6 - zombie - next;
    assert_eq!(known(zombie), (3, 1, Some((zombie, 0))));
    assert_eq!(known(other), (2, 2, Some((zombie, 2))), "the controller does not know that it is cut off");
    rig.at(SESSION_TIMEOUT);
    let mut request = fetch("t", &[(0, 0)], 0);
    for (epoch, at_zombie, at_leader) in [
        (0, NONE, ErrorCode::FENCED_LEADER_EPOCH),
        (3, ErrorCode::UNKNOWN_LEADER_EPOCH, NONE),
        (4, ErrorCode::UNKNOWN_LEADER_EPOCH, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ] {
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let mut code = |broker| rig.ask(broker, FETCH, &request).responses[0].partitions[0].error_code;
        assert_eq!((code(zombie), code(other)), (at_zombie, at_leader), "epoch {epoch}");
    }
}

#[test]
fn a_broker_that_is_cut_off_cannot_forward_to_the_controller() {
    let (mut rig, [zombie, other, _]) = replicated(&[]);
    rig.act(|core, now| core.isolate(now, zombie));
    let elect = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let ticket = rig.send(zombie, 2, &elect);
    rig.at(60_000);
    assert!(rig.outcome(ticket).is_none());
    assert_eq!(rig.ask(other, 2, &elect).error_code, NONE);
}

#[test]
fn a_broker_that_is_cut_off_creates_no_topic() {
    let (mut rig, [zombie, other, _]) = replicated(&[]);
    rig.act(|core, now| core.isolate(now, zombie));
    let named = MetadataRequestTopic { name: Some("new".to_owned()), ..Default::default() };
    let wanted = MetadataRequest { topics: Some(vec![named]), allow_auto_topic_creation: true, ..Default::default() };
    let find = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    for _ in 0..2 {
        let topic = &rig.ask(zombie, 12, &wanted).topics[0];
        assert_eq!(topic.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(rig.ask(zombie, 3, &find).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    assert_eq!((rig.core.partition_count("new"), rig.core.partition_count("__consumer_offsets")), (None, None));

    rig.ask(other, 12, &wanted);
    rig.ask(other, 3, &find);
    assert_eq!(rig.core.partition_count("new"), Some(2));
    assert_eq!(rig.ask(zombie, 3, &find).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE, "it has not heard of it");
}

#[test]
fn a_zombie_deletes_records_of_its_own_log_only() {
    let (mut rig, [zombie, next, _]) = replicated(&[]);
    rig.write(zombie, -1, "a");
    rig.act(|core, now| core.isolate(now, zombie));
    rig.elect(next);
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 1 }];
    let topics = vec![DeleteRecordsTopic { name: "t".to_owned(), partitions }];
    let ticket = rig.send(zombie, 2, &DeleteRecordsRequest { topics, timeout_ms: 1000 });
    assert_eq!(rig.values(), ["a"]);
    assert_eq!(rig.logged(zombie).len(), 0);
    rig.at(1000);
    let answer = rig.answer::<DeleteRecordsRequest>(ticket, 2).unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::REQUEST_TIMED_OUT, "the others have them");
}
