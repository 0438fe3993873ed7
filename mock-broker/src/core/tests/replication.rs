//! Followers that lag, leaders that are replaced without knowing it, logs that are cut. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use milena_protocol::messages::fetch::{FetchRequest, PartitionData};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use milena_protocol::messages::produce::ProduceRequest;

use super::rig::{FETCH, NONE, PRODUCE, Rig, TestBatch, fetch, produce, text, values_in};
use crate::core::broker::Process;
use crate::core::{BrokerAddress, Following, NewTopic, Ticket, Visibility};
use crate::random::Random;

const LAG_TIME_MAX: u64 = 30_000;
pub(super) const SESSION_TIMEOUT: u64 = 9_000;

/// The topic `t` with three replicas: leader, first and second follower.
pub(super) fn replicated(configs: &[(&str, &str)]) -> (Rig, [i32; 3]) {
    let rig = Rig::with_topic(configs);
    let replicas = rig.core.replicas("t", 0).unwrap();
    (rig, replicas.try_into().unwrap())
}

impl Rig {
    pub(super) fn hold(&mut self, broker: i32) {
        self.act(|core, now| core.let_follow(now, "t", 0, broker, Following::Held)).unwrap();
    }

    pub(super) fn release(&mut self, broker: i32) {
        self.act(|core, now| core.let_follow(now, "t", 0, broker, Following::On)).unwrap();
    }

    pub(super) fn elect(&mut self, broker: i32) {
        self.act(|core, now| core.elect(now, "t", 0, broker)).unwrap();
    }

    pub(super) fn elect_unclean(&mut self, broker: i32) {
        self.act(|core, now| core.elect_unclean(now, "t", 0, broker)).unwrap();
    }

    pub(super) fn isr(&self) -> Vec<i32> {
        self.core.isr("t", 0).unwrap()
    }

    /// Sends one record to a broker.
    pub(super) fn send_value(&mut self, broker: i32, acks: i16, value: &str) -> Ticket {
        self.send(broker, PRODUCE, &produce("t", 0, acks, TestBatch::new(&[value]).bytes()))
    }

    /// The error and the offset.
    pub(super) fn produced(&mut self, ticket: Ticket) -> Option<(ErrorCode, i64)> {
        let response = self.answer::<ProduceRequest>(ticket, PRODUCE)?;
        let answer = &response.responses[0].partition_responses[0];
        Some((answer.error_code, answer.base_offset))
    }

    pub(super) fn write(&mut self, broker: i32, acks: i16, value: &str) -> (ErrorCode, i64) {
        let ticket = self.send_value(broker, acks, value);
        self.produced(ticket).expect("an answer at once")
    }

    /// What a consumer sees at a broker.
    pub(super) fn read(&mut self, broker: i32, offset: i64) -> PartitionData {
        self.ask(broker, FETCH, &fetch("t", &[(0, offset)], 0)).responses[0].partitions[0].clone()
    }

    pub(super) fn logged(&self, broker: i32) -> Vec<String> {
        let records = self.core.records_at("t", 0, broker).unwrap();
        records.into_iter().map(|record| text(&record.value.unwrap())).collect()
    }

    pub(super) fn high_watermark(&self, broker: i32) -> i64 {
        self.core.replica_at("t", 0, broker).unwrap().high_watermark
    }
}

#[test]
fn the_high_watermark_waits_for_a_follower_in_sync_until_its_time_is_over() {
    let (mut rig, [leader, first, second]) = replicated(&[]);
    rig.at(1000);
    rig.hold(second);
    assert_eq!(rig.core.next_controller_deadline(), None, "it lacks nothing");
    rig.at(5000);
    assert_eq!(rig.write(leader, 1, "a"), (NONE, 0));
    let waiting = rig.send_value(leader, -1, "b");
    assert_eq!((rig.logged(first).len(), rig.logged(second).len()), (2, 0));
    assert!(values_in(&rig.read(leader, 0)).is_empty());
    let parked = rig.send(first, FETCH, &fetch("t", &[(0, 0)], 60_000));
    rig.at(5999);
    assert_eq!(rig.produced(waiting), None);
    rig.at(6000);
    assert_eq!(rig.produced(waiting), Some((ErrorCode::REQUEST_TIMED_OUT, 1)), "after the append");

    rig.at(1000 + LAG_TIME_MAX - 1);
    assert_eq!(rig.isr().len(), 3);
    rig.at(1000 + LAG_TIME_MAX);
    assert_eq!(rig.isr().len(), 2);
    assert_eq!(values_in(&rig.read(leader, 0)), ["a", "b"]);
    let parked = rig.answer::<FetchRequest>(parked, FETCH).expect("the follower learns it too");
    assert_eq!(values_in(&parked.responses[0].partitions[0]), ["a", "b"]);

    rig.release(second);
    assert_eq!((rig.isr().len(), rig.logged(second).len(), rig.high_watermark(second)), (3, 2, 2));
    assert_eq!(rig.core.leader("t", 0), Some((leader, 0)), "no election");
}

#[test]
fn a_follower_that_lacks_nothing_stays_in_sync_and_one_that_has_not_fetched_for_long_leaves_with_the_next_record() {
    let (mut rig, [leader, _, second]) = replicated(&[]);
    rig.hold(second);
    rig.at(10 * LAG_TIME_MAX);
    assert_eq!(rig.isr().len(), 3);
    assert_eq!(rig.write(leader, -1, "a"), (NONE, 0));
    assert_eq!(rig.isr().len(), 2);
}

#[test]
fn a_new_leader_gives_followers_their_time_anew() {
    let (mut rig, [_, first, second]) = replicated(&[]);
    rig.hold(second);
    rig.at(10_000);
    rig.elect(first);
    rig.write(first, 1, "a");
    rig.at(LAG_TIME_MAX);
    assert_eq!(rig.isr().len(), 3);
    rig.at(10_000 + LAG_TIME_MAX);
    assert_eq!(rig.isr().len(), 2);
}

#[test]
fn below_min_isr_the_high_watermark_stands_still_and_acks_all_times_out_after_the_append() {
    let (mut rig, [leader, _, second]) = replicated(&[("min.insync.replicas", "3")]);
    rig.hold(second);
    let waiting = rig.send_value(leader, -1, "a");
    rig.act(|core, now| core.drop_from_isr(now, "t", 0, second)).unwrap();
    assert_eq!(rig.isr().len(), 2);
    assert_eq!(rig.produced(waiting), None, "KIP-966");
    rig.at(1000);
    assert_eq!(rig.produced(waiting), Some((ErrorCode::REQUEST_TIMED_OUT, 0)));
    assert_eq!(rig.write(leader, -1, "b").0, ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!((rig.logged(leader), rig.high_watermark(leader)), (vec!["a".to_owned()], 0));
    assert_eq!(rig.write(leader, 1, "c"), (NONE, 1), "acks=1 does not ask for it");
    rig.release(second);
    assert_eq!(rig.values(), ["a", "c"]);
}

#[test]
fn administrators_elect_preferred_leaders_and_unclean_ones_where_nobody_leads() {
    const PREFERRED: i8 = 0;
    const UNCLEAN: i8 = 1;
    let (mut rig, [first, second, third]) = replicated(&[]);
    let elect = |rig: &mut Rig, partition, election_type| {
        let partitions = vec![TopicPartitions { topic: "t".to_owned(), partitions: vec![partition] }];
        let request = ElectLeadersRequest { election_type, topic_partitions: Some(partitions), ..Default::default() };
        let asked = (1..=3).find(|broker| rig.core.is_up(*broker)).unwrap();
        rig.ask(asked, 2, &request).replica_election_results[0].partition_result[0].error_code
    };
    assert_eq!(elect(&mut rig, 7, PREFERRED), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(elect(&mut rig, 0, PREFERRED), ErrorCode::ELECTION_NOT_NEEDED);
    rig.elect(second);
    assert_eq!((elect(&mut rig, 0, PREFERRED), rig.leader()), (NONE, first));
    rig.act(|core, now| core.crash(now, first));
    assert_eq!(elect(&mut rig, 0, PREFERRED), ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE);
    assert_eq!(elect(&mut rig, 0, UNCLEAN), ErrorCode::ELECTION_NOT_NEEDED);
    rig.act(|core, now| core.crash(now, third));
    rig.act(|core, now| core.crash(now, second));
    rig.act(|core, now| core.restart(now, third));
    assert_eq!(rig.leader(), -1);
    let all = ElectLeadersRequest { election_type: UNCLEAN, topic_partitions: None, ..Default::default() };
    let results = rig.ask(third, 2, &all).replica_election_results;
    assert_eq!((results[0].partition_result[0].error_code, rig.leader()), (NONE, third));
    assert!(rig.ask(third, 2, &all).replica_election_results.is_empty(), "nothing was to be done");
}

#[test]
fn a_frozen_leader_is_fenced_after_its_session_and_follows_when_it_thaws() {
    let (mut rig, [leader, next, _]) = replicated(&[]);
    rig.at(500);
    rig.act(|core, now| core.freeze(now, leader));
    rig.at(500 + SESSION_TIMEOUT);
    assert_eq!(rig.leader(), next);
    assert_eq!(rig.write(next, -1, "a"), (NONE, 0));
    assert!(rig.logged(leader).is_empty());
    rig.act(|core, now| core.thaw(now, leader));
    assert_eq!((rig.logged(leader).len(), rig.isr().len(), rig.leader()), (1, 3, next));
}

#[test]
fn a_broker_that_is_back_before_its_session_ends_has_lost_nothing() {
    let (mut rig, [leader, _, _]) = replicated(&[]);
    rig.act(|core, now| core.isolate(now, leader));
    let waiting = rig.send_value(leader, -1, "a");
    assert_eq!(rig.produced(waiting), None);
    rig.at(900);
    rig.act(|core, now| core.rejoin(now, leader));
    assert_eq!(rig.produced(waiting), Some((NONE, 0)));
    assert_eq!((rig.core.leader("t", 0), rig.core.next_controller_deadline()), (Some((leader, 0)), None));
}

#[test]
fn an_unclean_leader_makes_the_others_cut_off_what_it_lacks() {
    let (mut rig, [leader, first, second]) = replicated(&[]);
    rig.write(leader, -1, "a");
    rig.hold(second);
    rig.act(|core, now| core.drop_from_isr(now, "t", 0, second)).unwrap();
    assert_eq!(rig.write(leader, -1, "acknowledged, and lost"), (NONE, 1));
    let refused = rig.act(|core, now| core.elect(now, "t", 0, second));
    assert_eq!(refused, Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE));
    rig.elect_unclean(second);
    assert_eq!((rig.values(), rig.core.leader("t", 0)), (vec!["a".to_owned()], Some((second, 1))));
    assert_eq!(rig.isr().len(), 3, "they have cut their logs and follow");
    assert_eq!((rig.logged(leader), rig.logged(first)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!(rig.read(second, 2).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let mut request = fetch("t", &[(0, 2)], 0);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let data = rig.ask(second, FETCH, &request).responses[0].partitions[0].clone();
    assert_eq!((data.error_code, data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (NONE, 0, 1));
}

#[test]
fn unclean_leader_election_enable_lets_any_replica_lead_when_none_in_sync_is_up() {
    for (enabled, leads) in [("false", false), ("true", true)] {
        let (mut rig, [leader, first, second]) = replicated(&[("unclean.leader.election.enable", enabled)]);
        rig.act(|core, now| core.crash(now, first));
        rig.act(|core, now| core.crash(now, second));
        rig.write(leader, -1, "a");
        rig.act(|core, now| core.crash(now, leader));
        rig.act(|core, now| core.restart(now, second));
        assert_eq!(rig.leader(), if leads { second } else { -1 });
        rig.act(|core, now| core.restart(now, leader));
        assert_eq!(rig.values(), if leads { vec![] } else { vec!["a"] });
    }
}

#[test]
fn the_end_is_not_available_after_an_election_until_the_new_leader_knows_what_is_committed() {
    let (mut rig, [leader, first, second]) = replicated(&[]);
    rig.write(leader, 1, "a");
    rig.hold(second);
    rig.write(leader, 1, "b");
    let latest = |rig: &mut Rig, version| {
        let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] };
        let leader = rig.leader();
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let found = rig.ask(leader, version, &request).topics[0].partitions[0].clone();
        (found.error_code, found.offset)
    };
    assert_eq!(latest(&mut rig, 5), (NONE, 1));
    rig.elect(first);
    assert_eq!(latest(&mut rig, 5), (ErrorCode::OFFSET_NOT_AVAILABLE, -1));
    assert_eq!(latest(&mut rig, 4), (ErrorCode::LEADER_NOT_AVAILABLE, -1));
    assert!(rig.read(first, 1).records.unwrap().is_empty(), "not yet, but that is no error");
    rig.release(second);
    assert_eq!(latest(&mut rig, 5), (NONE, 2));
    assert_eq!(values_in(&rig.read(first, 0)), ["a", "b"]);
}

#[test]
fn a_leader_sends_a_consumer_to_an_in_sync_follower_in_its_rack() {
    let (mut rig, [leader, first, second]) = replicated(&[]);
    rig.write(leader, 1, "a");
    let ask = |rig: &mut Rig, broker: i32, offset: i64, rack: &str| {
        let request = FetchRequest { rack_id: rack.to_owned(), ..fetch("t", &[(0, offset)], 60_000) };
        let data = rig.ask(broker, FETCH, &request).responses[0].partitions[0].clone();
        (data.preferred_read_replica, data.high_watermark, values_in(&data).len())
    };
    let rack_of = |broker: i32| format!("r{broker}");
    assert_eq!(ask(&mut rig, leader, 0, &rack_of(first)), (first, 1, 0), "at once, without records");
    assert_eq!(ask(&mut rig, leader, 1, &rack_of(second)), (second, 1, 0), "even if there is nothing to read");
    assert_eq!(ask(&mut rig, first, 0, &rack_of(first)), (-1, 1, 1), "a follower sends nobody away");
    for rack in [rack_of(leader), "nowhere".to_owned(), String::new()] {
        assert_eq!(ask(&mut rig, leader, 0, &rack), (-1, 1, 1), "{rack}");
    }
    rig.hold(first);
    rig.write(leader, 1, "b");
    assert_eq!(ask(&mut rig, leader, 0, &rack_of(first)).0, first, "it has that offset");
    rig.at(LAG_TIME_MAX);
    assert_eq!(ask(&mut rig, leader, 0, &rack_of(first)).0, -1, "it is not in sync");
    assert_eq!(ask(&mut rig, first, 0, "").2, 1, "up to its own high watermark");
}

#[test]
fn a_lost_disk_is_filled_anew_and_loses_what_was_there_alone() {
    let (mut rig, [leader, first, second]) = replicated(&[]);
    rig.write(leader, -1, "a");
    rig.act(|core, now| core.crash(now, first));
    rig.act(|core, _| core.lose_disk(first));
    rig.act(|core, now| core.restart(now, first));
    assert_eq!((rig.logged(first).len(), rig.isr().len()), (1, 3));
    for broker in [first, second, leader] {
        rig.act(|core, now| core.crash(now, broker));
    }
    rig.act(|core, _| core.lose_disk(leader));
    for broker in [first, second, leader] {
        rig.act(|core, now| core.restart(now, broker));
    }
    assert_eq!((rig.leader(), rig.isr().len(), rig.logged(first)), (leader, 3, vec![]));
}

#[test]
fn a_new_leader_knows_the_producers_of_its_own_log() {
    let (mut rig, [leader, first, second]) = replicated(&[]);
    let write = |rig: &mut Rig, acks, sequence| {
        let leader = rig.leader();
        let records = TestBatch::new(&["v"]).by(9, 0, sequence).bytes();
        let response = rig.ask(leader, PRODUCE, &produce("t", 0, acks, records));
        let answer = &response.responses[0].partition_responses[0];
        (answer.error_code, answer.base_offset)
    };
    assert_eq!(write(&mut rig, -1, 0), (NONE, 0));
    rig.hold(second);
    assert_eq!(write(&mut rig, 1, 1), (NONE, 1));
    rig.elect(first);
    assert_eq!(write(&mut rig, 1, 1), (NONE, 1), "a duplicate: it has the batch");
    rig.elect(second);
    assert_eq!(write(&mut rig, 1, 2), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "it lacks a batch");
    assert_eq!(write(&mut rig, 1, 0), (NONE, 0), "a duplicate");
    assert_eq!(write(&mut rig, 1, 1), (NONE, 1), "written again");
    rig.elect(leader);
    assert_eq!((write(&mut rig, 1, 1), rig.logged(leader).len()), ((NONE, 1), 2), "rebuilt after it was cut");

    rig.act(|core, now| core.expire_producers(now, "t", 0)).unwrap();
    assert_eq!(write(&mut rig, 1, 7), (NONE, 2), "a producer that nobody remembers may start anywhere");
    rig.elect(first);
    assert_eq!(write(&mut rig, 1, 7), (NONE, 2));
    assert_eq!(write(&mut rig, 1, 1), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
}

#[test]
fn a_topic_can_be_hidden_on_one_broker() {
    let (mut rig, [leader, other, _]) = replicated(&[]);
    rig.act(|core, _| core.hide_topic(leader, "t", Visibility::Hidden));
    let known = |rig: &mut Rig, broker, topics| {
        let response = rig.ask(broker, 12, &MetadataRequest { topics, ..Default::default() });
        response.topics.into_iter().map(|topic| topic.error_code).collect::<Vec<_>>()
    };
    let named = || Some(vec![MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() }]);
    assert_eq!(known(&mut rig, leader, named()), [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(known(&mut rig, leader, None), []);
    assert_eq!((known(&mut rig, other, named()), known(&mut rig, other, None)), (vec![NONE], vec![NONE]));
    assert_eq!(rig.write(leader, -1, "a"), (NONE, 0), "it is there all the same");
    rig.act(|core, _| core.hide_topic(leader, "t", Visibility::Shown));
    assert_eq!(known(&mut rig, leader, named()), [NONE]);
}

#[test]
fn brokers_come_and_go() {
    let (mut rig, [leader, first, _]) = replicated(&[]);
    let address = BrokerAddress { id: 4, host: "b4".to_owned(), port: 9095, rack: None };
    rig.act(|core, now| core.add_broker(now, address));
    let new = NewTopic { name: "wide".to_owned(), partitions: 1, replication_factor: Some(4), configs: [].into() };
    rig.act(|core, now| core.create_topic(now, new)).unwrap();
    assert_eq!(rig.core.isr("wide", 0).unwrap().len(), 4);
    rig.act(|core, now| core.remove_broker(now, leader));
    assert_eq!(rig.leader(), first);
    let response = rig.ask(4, 12, &MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(response.brokers.len(), 3);
    let t = response.topics.iter().find(|topic| topic.name.as_deref() == Some("t")).unwrap();
    assert_eq!((t.partitions[0].replica_nodes.len(), &t.partitions[0].offline_replicas[..]), (3, &[leader][..]));
}

/// Acknowledged records, and what may be in the log besides: by their values.
#[derive(Default)]
struct Written {
    next: u32,
    waiting: Vec<(Ticket, String)>,
    acknowledged: Vec<String>,
}

impl Written {
    fn collect(&mut self, rig: &mut Rig) {
        let waiting = std::mem::take(&mut self.waiting);
        for (ticket, value) in waiting {
            match rig.produced(ticket) {
                Some((NONE, _)) => self.acknowledged.push(value),
                Some(_) => {}
                None => self.waiting.push((ticket, value)),
            }
        }
    }
}

#[test]
fn whatever_happens_to_brokers_and_replicas_what_two_have_acknowledged_is_not_lost() {
    for seed in 0..400 {
        let mut random = Random::new(seed, 0);
        let (mut rig, replicas) = replicated(&[("min.insync.replicas", "2")]);
        let (mut written, mut millis) = (Written::default(), 0);
        for _ in 0..150 {
            let broker = replicas[random.below(3) as usize];
            match random.below(16) {
                0 => rig.act(|core, now| core.crash(now, broker)),
                1..3 => rig.act(|core, now| core.restart(now, broker)),
                3 => rig.act(|core, now| core.freeze(now, broker)),
                4 => rig.act(|core, now| core.thaw(now, broker)),
                5 => rig.act(|core, now| core.isolate(now, broker)),
                6..8 => rig.act(|core, now| core.rejoin(now, broker)),
                // A broker whose disk is gone has no replica.
                8 => drop(rig.act(|core, now| core.let_follow(now, "t", 0, broker, Following::Held))),
                9..11 => drop(rig.act(|core, now| core.let_follow(now, "t", 0, broker, Following::On))),
                11 => drop(rig.act(|core, now| core.elect(now, "t", 0, broker))),
                12 => millis += random.below(12_000),
                _ => {
                    let value = written.next.to_string();
                    written.next += 1;
                    // A frozen broker's door is shut.
                    if rig.core.brokers[&broker].process == Process::Running {
                        let acks = if random.chance(0.3) { 1 } else { -1 };
                        let ticket = rig.send_value(broker, acks, &value);
                        if acks == -1 {
                            written.waiting.push((ticket, value));
                        }
                    }
                }
            }
            millis += random.below(100);
            rig.at(millis);
            written.collect(&mut rig);
        }
        for broker in replicas {
            rig.act(|core, now| core.restart(now, broker));
            rig.act(|core, now| core.thaw(now, broker));
            rig.act(|core, now| core.rejoin(now, broker));
            rig.release(broker);
        }
        rig.at(millis + 60_000);
        written.collect(&mut rig);
        let values = rig.values();
        let lost: Vec<_> = written.acknowledged.iter().filter(|value| !values.contains(value)).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} of {} lost", written.acknowledged.len());
        assert!(written.next < 10 || !values.is_empty() || written.acknowledged.is_empty());
        for broker in replicas {
            assert_eq!(
                (rig.logged(broker), rig.high_watermark(broker)),
                (values.clone(), values.len() as i64),
                "seed {seed}"
            );
        }
        assert_eq!((rig.isr().len(), rig.core.next_controller_deadline()), (3, None), "seed {seed}");
    }
}

#[test]
fn a_replica_that_left_below_min_isr_may_lead_unless_it_crashed() {
    for crashes in [false, true] {
        let (mut rig, [leader, first, second]) = replicated(&[("min.insync.replicas", "2")]);
        rig.write(leader, -1, "a");
        rig.act(|core, now| core.crash(now, second));
        rig.act(|core, now| core.freeze(now, first));
        rig.at(SESSION_TIMEOUT);
        assert_eq!((rig.isr(), rig.write(leader, 1, "not committed")), (vec![leader], (NONE, 1)));
        rig.act(|core, now| core.crash(now, leader));
        if crashes {
            rig.act(|core, now| core.crash(now, first));
            rig.act(|core, now| core.restart(now, first));
        } else {
            rig.act(|core, now| core.thaw(now, first));
        }
        assert_eq!(rig.leader(), if crashes { -1 } else { first }, "KIP-966");
        rig.act(|core, now| core.restart(now, leader));
        assert_eq!(rig.values(), if crashes { vec!["a", "not committed"] } else { vec!["a"] });
    }
}
