//! Brokers that crash, come back, and take turns. Pure.

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use super::rig::{FETCH, NONE, Rig, TestBatch, fetch, produce, settings};
use crate::core::{Settings, Ticket};
use crate::random::Random;

fn metadata(rig: &mut Rig, broker: i32) -> MetadataResponse {
    let topic = MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() };
    rig.ask(broker, 12, &MetadataRequest { topics: Some(vec![topic]), ..Default::default() })
}

#[test]
fn a_crash_moves_the_leader_and_shrinks_the_isr() {
    let mut rig = Rig::with_topic(&[]);
    let replicas = rig.core.replicas("t", 0).unwrap();
    let old = rig.leader();
    rig.act(|core, now| core.crash(now, old));
    let (new, epoch) = rig.core.leader("t", 0).unwrap();
    assert_eq!((new, epoch), (replicas[1], 1));
    assert_eq!(rig.core.isr("t", 0), Some(replicas[1..].to_vec()));
    let response = metadata(&mut rig, new);
    assert!(response.brokers.iter().all(|broker| broker.node_id != old));
    assert_ne!(response.controller_id, old);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.leader_id, partition.leader_epoch), (new, 1));
    assert_eq!(partition.offline_replicas, [old]);

    rig.act(|core, now| core.restart(now, old));
    assert_eq!(rig.core.leader("t", 0), Some((new, 1)), "the preferred leader does not take over by itself");
    assert_eq!(rig.core.isr("t", 0), Some(replicas));
    assert!(metadata(&mut rig, new).topics[0].partitions[0].offline_replicas.is_empty());
}

#[test]
fn the_last_in_sync_replica_is_waited_for() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(-1, TestBatch::new(&["a"]).bytes());
    let replicas = rig.core.replicas("t", 0).unwrap();
    let [first, second, last] = replicas[..] else { panic!("three replicas") };
    rig.act(|core, now| core.crash(now, first));
    rig.produce(-1, TestBatch::new(&["b"]).bytes());
    rig.act(|core, now| core.crash(now, second));
    rig.produce(-1, TestBatch::new(&["c"]).bytes());
    rig.act(|core, now| core.crash(now, last));
    assert_eq!(rig.core.leader("t", 0).unwrap().0, -1);
    assert_eq!(rig.core.isr("t", 0), Some(vec![last]));

    rig.act(|core, now| core.restart(now, first));
    assert_eq!(rig.core.leader("t", 0).unwrap().0, -1, "it lacks what was acknowledged");
    let response = metadata(&mut rig, first);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_id), (ErrorCode::LEADER_NOT_AVAILABLE, -1));
    assert!(partition.isr_nodes.is_empty(), "as a real Kafka 4.4 shows it");
    assert_eq!(rig.values(), ["a", "b", "c"], "a test can still read it");

    rig.act(|core, now| core.restart(now, last));
    assert_eq!(rig.leader(), last);
    assert_eq!(rig.values(), ["a", "b", "c"]);
    assert_eq!(rig.core.isr("t", 0), Some(vec![first, last]));
    rig.act(|core, now| core.elect(now, "t", 0, first)).unwrap();
    assert_eq!(rig.values(), ["a", "b", "c"]);
}

#[test]
fn only_in_sync_replicas_are_elected() {
    let mut rig = Rig::with_topic(&[]);
    let [first, second, _] = rig.core.replicas("t", 0).unwrap()[..] else { panic!("three replicas") };
    rig.act(|core, now| core.crash(now, second));
    let refused = rig.act(|core, now| core.elect(now, "t", 0, second));
    assert_eq!(refused, Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE));
    assert_eq!(rig.act(|core, now| core.elect(now, "t", 0, first)), Ok(()));
    assert_eq!(rig.core.leader("t", 0), Some((first, 0)), "it led already");
    let unknown = rig.act(|core, now| core.elect(now, "x", 0, first));
    assert_eq!(unknown, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[test]
fn what_waited_at_a_crashed_broker_is_never_answered() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    let ticket = rig.send(leader, FETCH, &fetch("t", &[(0, 0)], 500));
    rig.act(|core, now| core.crash(now, leader));
    rig.at(1000);
    assert!(rig.answer::<FetchRequest>(ticket, FETCH).is_none());
}

#[test]
fn records_that_were_not_acknowledged_by_all_may_be_cut_off() {
    let mut rig = Rig::with(Settings { min_insync_replicas: 2, ..settings() });
    rig.create("t", 1, &[]);
    rig.produce(-1, TestBatch::new(&["a"]).bytes());
    let leader = rig.leader();
    let others: Vec<i32> = (1..=3).filter(|broker| *broker != leader).collect();
    for broker in &others {
        rig.act(|core, now| core.crash(now, *broker));
    }
    // Written by the last one in sync, which is then the only one that can lead.
    assert_eq!(rig.produce(1, TestBatch::new(&["b"]).bytes()).error_code, NONE);
    rig.act(|core, now| core.crash(now, leader));
    for broker in &others {
        rig.act(|core, now| core.restart(now, *broker));
    }
    assert_eq!(rig.core.leader("t", 0).unwrap().0, -1);
    rig.act(|core, now| core.restart(now, leader));
    assert_eq!(rig.values(), ["a", "b"]);
}

/// Random crashes, restarts and elections: every record that was acknowledged by all is there, once, in order.
#[test]
fn acknowledged_records_survive_whatever_happens() {
    for seed in 0..30 {
        let mut random = Random::new(seed, 0);
        let mut rig = Rig::with_topic(&[]);
        let mut acknowledged = Vec::new();
        for step in 0..200u32 {
            let broker = 1 + i32::try_from(random.below(3)).unwrap();
            match random.below(6) {
                0 => rig.act(|core, now| core.crash(now, broker)),
                1 | 2 => rig.act(|core, now| core.restart(now, broker)),
                3 => rig.act(|core, now| core.elect(now, "t", 0, broker)).unwrap_or_default(),
                _ => {
                    let (leader, _) = rig.core.leader("t", 0).unwrap();
                    if leader != -1 {
                        let value = step.to_string();
                        assert_eq!(rig.produce(-1, TestBatch::new(&[&value]).bytes()).error_code, NONE);
                        acknowledged.push(value);
                    }
                }
            }
        }
        assert_eq!(rig.values(), acknowledged, "seed {seed}");
        for broker in 1..=3 {
            rig.act(|core, now| core.restart(now, broker));
        }
        for broker in 1..=3 {
            rig.act(|core, now| core.elect(now, "t", 0, broker)).unwrap();
            assert_eq!(rig.values(), acknowledged, "seed {seed}, broker {broker}");
        }
    }
}

fn script(seed: u64) -> Vec<(Ticket, Option<Bytes>)> {
    let mut rig = Rig::with(Settings { seed, ..settings() });
    rig.create("t", 3, &[]);
    for round in 0..10u64 {
        rig.at(100 * round);
        for broker in (1..=3).filter(|broker| round % 3 != 1 || *broker != 2) {
            metadata(&mut rig, broker);
            rig.send(broker, FETCH, &FetchRequest { session_epoch: 0, ..fetch("t", &[(0, 0), (1, 0), (2, 0)], 150) });
        }
        for partition in 0..3 {
            let (leader, _) = rig.core.leader("t", partition).unwrap();
            rig.send(leader, 12, &produce("t", partition, -1, TestBatch::new(&["x"]).bytes()));
        }
        rig.act(|core, now| if round % 3 == 0 { core.crash(now, 2) } else { core.restart(now, 2) });
    }
    rig.trace
}

#[test]
fn one_seed_gives_one_trace() {
    assert_eq!(script(3), script(3));
    assert_ne!(script(3), script(4));
}
