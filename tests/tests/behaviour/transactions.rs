//! Transactions as brokers see them, in single requests: who may write, who is fenced, what readers of committed records get.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{FetchRequest, PartitionData};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponsePartitions,
};
use milena_protocol::messages::produce::ProduceRequest;
use milena_tests::cluster::{TestCluster, is_older_than, lacks};
use milena_tests::eventually::eventually;
use milena_tests::raw::{Coordinated, RawBatch, RawConnection, RawProducer, fetch, produce};

const NONE: ErrorCode = ErrorCode::NONE;
const COMMITTED: i8 = 1;

/// Of requests by name; before Produce 12 and EndTxn 5 (KIP-890), and with them.
const PRODUCE: [i16; 2] = [11, 12];
const END: [i16; 2] = [4, 5];
const FETCH: i16 = 12;
const ADD: i16 = 3;

fn lacks_implicit() -> bool {
    lacks((4, 0), "transactions that announce nothing (KIP-890)")
}

/// A producer at work in one partition, in one of the two ways: announcing partitions, or as of KIP-890.
struct Work<'a> {
    cluster: &'a TestCluster,
    topic: String,
    leader: RawConnection,
    producer: RawProducer,
    /// 0 or 1.
    way: usize,
}

impl<'a> Work<'a> {
    async fn begin(cluster: &'a TestCluster, way: usize) -> Self {
        let topic = cluster.topic("in-transactions", 1).await;
        let leader = cluster.raw_leader(&topic, 0).await;
        let producer = RawProducer::start(cluster, &cluster.unique("pay")).await;
        Self { cluster, topic, leader, producer, way }
    }

    /// Both ways, or the one that an older Kafka has.
    async fn both(cluster: &'a TestCluster) -> Vec<Self> {
        let mut both = vec![Self::begin(cluster, 0).await];
        if !lacks_implicit() {
            both.push(Self::begin(cluster, 1).await);
        }
        both
    }

    async fn write(&mut self, values: &[&str]) -> ErrorCode {
        if self.way == 0 {
            let added = self.producer.add_partition(&self.topic, 0);
            let added = self.producer.ask_coordinator(self.cluster, ADD, &added).await.code();
            if added != NONE {
                return added;
            }
        }
        let request = self.producer.write(&self.topic, 0, values);
        self.leader.ask_settled(PRODUCE[self.way], &request).await.code()
    }

    /// Commits or aborts, and goes on with the identity that the answer has.
    async fn end(&mut self, committed: bool) -> ErrorCode {
        let request = self.producer.end(committed);
        let answer = self.producer.ask_coordinator(self.cluster, END[self.way], &request).await;
        if answer.code() == NONE && self.way == 1 {
            self.producer.adopt(answer.producer_id, answer.producer_epoch);
        }
        answer.code()
    }

    async fn read(&mut self, isolation_level: i8, offset: i64) -> PartitionData {
        let request = FetchRequest { isolation_level, ..fetch(&self.topic, 0, offset) };
        self.leader.ask(FETCH, &request).await.responses.remove(0).partitions.remove(0)
    }

    /// Waits until all transactions of the partition have ended: markers are written after EndTxn is answered.
    async fn settled(&mut self) -> PartitionData {
        eventually("every transaction to have ended", async || {
            let data = self.read(COMMITTED, 0).await;
            (data.last_stable_offset == data.high_watermark).then_some(data)
        })
        .await
    }

    /// The end of the partition for this isolation level.
    async fn latest(&mut self, isolation_level: i8) -> i64 {
        let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: self.topic.clone(), partitions: vec![partition] }];
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() };
        self.leader.ask(6, &request).await.topics[0].partitions[0].offset
    }
}

fn aborted(data: &PartitionData) -> Option<Vec<(i64, i64)>> {
    let list = data.aborted_transactions.as_ref()?;
    Some(list.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect())
}

fn is_empty(data: &PartitionData) -> bool {
    data.records.as_ref().is_none_or(|records| records.is_empty())
}

#[tokio::test]
async fn readers_of_committed_records_stop_at_the_first_open_transaction() {
    let cluster = TestCluster::shared().await;
    for mut work in Work::both(&cluster).await {
        assert_eq!(work.write(&["a", "b"]).await, NONE);
        let plain = produce(&work.topic, 0, RawBatch::of(["plain"]));
        assert_eq!(work.leader.ask(9, &plain).await.code(), NONE);

        let seen = work.read(COMMITTED, 0).await;
        assert_eq!((seen.high_watermark, seen.last_stable_offset, aborted(&seen)), (3, 0, Some(vec![])));
        assert!(is_empty(&seen), "not even what is not in the transaction");
        let seen = work.read(0, 0).await;
        assert_eq!((seen.last_stable_offset, aborted(&seen), is_empty(&seen)), (0, None, false));
        assert_eq!((work.latest(COMMITTED).await, work.latest(0).await), (0, 3));

        let waiting = FetchRequest { max_wait_ms: 30_000, min_bytes: 1, ..fetch(&work.topic, 0, 0) };
        let mut reader = cluster.raw_leader(&work.topic, 0).await;
        let waiting = reader.send(FETCH, &FetchRequest { isolation_level: COMMITTED, ..waiting }).await;
        assert_eq!(work.end(true).await, NONE);
        let woken = reader.answer(waiting).await.responses.remove(0).partitions.remove(0);
        assert!(!is_empty(&woken), "the commit is news for it");
        let seen = work.settled().await;
        assert_eq!((seen.high_watermark, seen.last_stable_offset, aborted(&seen)), (4, 4, Some(vec![])));
        assert_eq!((work.latest(COMMITTED).await, work.latest(0).await), (4, 4), "the marker has an offset");
    }
}

#[tokio::test]
async fn aborted_transactions_are_named_to_readers_of_committed_records() {
    let cluster = TestCluster::shared().await;
    for mut work in Work::both(&cluster).await {
        for (values, committed) in [(&["a"][..], true), (&["b", "c"], false), (&["d"], true)] {
            assert_eq!(work.write(values).await, NONE);
            assert_eq!(work.end(committed).await, NONE);
        }
        // a, commit, b, c, abort, d, commit.
        let seen = work.settled().await;
        assert_eq!(seen.high_watermark, 7);
        let id = work.producer.producer_id;
        for (offset, expected) in [(0, vec![(id, 2)]), (3, vec![(id, 2)]), (4, vec![(id, 2)]), (5, vec![])] {
            assert_eq!(aborted(&work.read(COMMITTED, offset).await), Some(expected), "from {offset}");
        }
        assert_eq!(aborted(&work.read(0, 0).await), None, "who reads everything needs no list");
    }
}

#[tokio::test]
async fn a_producer_that_starts_aborts_what_is_open_and_fences_the_one_before() {
    let cluster = TestCluster::shared().await;
    for mut work in Work::both(&cluster).await {
        assert_eq!(work.write(&["a"]).await, NONE);
        let first = work.producer.clone();
        let mut coordinator = cluster.raw_transaction_coordinator(&first.transactional_id).await;
        let answer = coordinator.ask(4, &first.init()).await;
        assert_eq!(answer.error_code, ErrorCode::CONCURRENT_TRANSACTIONS, "it is aborted first");
        let second = first.ask_coordinator(&cluster, 4, &first.init()).await;
        assert_eq!((second.error_code, second.producer_id), (NONE, first.producer_id));
        assert_eq!(second.producer_epoch, first.epoch + 2, "one with the marker, one for the second");
        assert_eq!(aborted(&work.settled().await), Some(vec![(first.producer_id, 0)]));

        let fenced = [ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_PRODUCER_EPOCH][work.way];
        assert_eq!(work.write(&["b"]).await, fenced);
        assert_eq!(work.end(true).await, ErrorCode::PRODUCER_FENCED);
        for (version, code) in [(1, ErrorCode::INVALID_PRODUCER_EPOCH), (2, ErrorCode::PRODUCER_FENCED)] {
            assert_eq!(coordinator.ask(version, &first.end(false)).await.error_code, code, "EndTxn {version}");
        }
        work.producer.adopt(second.producer_id, second.producer_epoch);
        assert_eq!(work.write(&["c"]).await, NONE);
        assert_eq!(work.end(true).await, NONE);
    }
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let cluster = TestCluster::shared().await;
    for mut work in Work::both(&cluster).await {
        work.producer.timeout_ms = 300;
        let init = work.producer.init();
        let answer = work.producer.ask_coordinator(&cluster, 4, &init).await;
        work.producer.adopt(answer.producer_id, answer.producer_epoch);
        assert_eq!(work.write(&["a"]).await, NONE);
        let seen = work.settled().await;
        assert_eq!((seen.high_watermark, aborted(&seen)), (2, Some(vec![(work.producer.producer_id, 0)])));
        let refused = [ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_TXN_STATE][work.way];
        assert_eq!(work.end(true).await, refused, "it is too late for a commit");
        let fenced = [ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_PRODUCER_EPOCH][work.way];
        assert_eq!(work.write(&["b"]).await, fenced);
        // Not on one connection: on a slow machine the coordinator may have moved.
        let again = work.producer.ask_coordinator(&cluster, 4, &work.producer.init_again()).await;
        let expected = match is_older_than((4, 0)) {
            true => (ErrorCode::PRODUCER_FENCED, -1),
            false => (NONE, work.producer.epoch + 1),
        };
        assert_eq!((again.error_code, again.producer_epoch), expected, "since KIP-890 it may go on");
    }
}

#[tokio::test]
async fn a_repeated_end_is_answered_like_the_first_one() {
    let cluster = TestCluster::shared().await;
    for mut work in Work::both(&cluster).await {
        for committed in [true, false] {
            assert_eq!(work.write(&["a"]).await, NONE);
            let before = work.producer.clone();
            assert_eq!(work.end(committed).await, NONE);
            let raised = work.producer.epoch - before.epoch;
            assert_eq!(raised, if work.way == 0 { 0 } else { 1 }, "KIP-890 has a new epoch for each transaction");
            let again = before.ask_coordinator(&cluster, END[work.way], &before.end(committed)).await;
            assert_eq!(again.error_code, NONE);
            if work.way == 1 {
                assert_eq!((again.producer_id, again.producer_epoch), (work.producer.producer_id, work.producer.epoch));
            }
            let other = before.ask_coordinator(&cluster, END[work.way], &before.end(!committed)).await;
            assert_eq!(other.error_code, ErrorCode::INVALID_TXN_STATE);
        }
    }
}

#[tokio::test]
async fn a_partition_is_announced_before_version_12_of_produce() {
    if lacks_implicit() {
        return;
    }
    let cluster = TestCluster::shared().await;
    let mut work = Work::begin(&cluster, 0).await;
    let write = |work: &Work<'_>| work.producer.write_at(0, &work.topic, 0, &["a"]);
    for (version, code) in [(9, ErrorCode::INVALID_TXN_STATE), (11, ErrorCode::TRANSACTION_ABORTABLE)] {
        let request = write(&work);
        assert_eq!(work.leader.ask_settled(version, &request).await.code(), code, "Produce {version}");
    }
    assert_eq!(work.write(&["a"]).await, NONE);
    assert_eq!(work.end(true).await, NONE);
    let fresh = Work::begin(&cluster, 1).await;
    let mut leader = cluster.raw_leader(&fresh.topic, 0).await;
    assert_eq!(leader.ask_settled(12, &write(&fresh)).await.code(), NONE);
    let without = ProduceRequest { transactional_id: None, ..write(&fresh) };
    assert_eq!(leader.ask(12, &without).await.code(), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let past = RawBatch::of(["b"]).producer(fresh.producer.producer_id, fresh.producer.epoch, 1);
    let past = leader.ask(12, &produce(&fresh.topic, 0, past)).await.code();
    assert_eq!(past, ErrorCode::INVALID_TXN_STATE, "it writes past its own transaction");
}

async fn stable_offset(cluster: &TestCluster, group: &str, topic: &str) -> OffsetFetchResponsePartitions {
    let topics = OffsetFetchRequestTopics { name: topic.to_owned(), partition_indexes: vec![0], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(vec![topics]), ..Default::default() };
    let mut coordinator = cluster.raw_coordinator(&group.group_id).await;
    let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    coordinator.ask(9, &request).await.groups.remove(0).topics.remove(0).partitions.remove(0)
}

#[tokio::test]
async fn offsets_count_when_their_transaction_commits_and_are_unstable_before() {
    if lacks((3, 0), "OffsetFetch of several groups") {
        return;
    }
    let cluster = TestCluster::shared().await;
    for mut work in Work::both(&cluster).await {
        let group = cluster.unique("group");
        let mut expected = -1;
        for (offset, committed) in [(5, true), (9, false), (7, true)] {
            if work.way == 0 {
                let request = work.producer.add_offsets(&group);
                assert_eq!(work.producer.ask_coordinator(&cluster, 3, &request).await.code(), NONE);
            }
            let request = work.producer.commit_offset(&group, &work.topic, 0, offset);
            let mut coordinator = cluster.raw_coordinator(&group).await;
            assert_eq!(coordinator.ask_settled([3, 5][work.way], &request).await.code(), NONE);
            let seen = stable_offset(&cluster, &group, &work.topic).await;
            assert_eq!((seen.error_code, seen.committed_offset), (ErrorCode::UNSTABLE_OFFSET_COMMIT, -1));
            assert_eq!(work.end(committed).await, NONE);
            let seen = eventually("a stable offset", async || {
                let seen = stable_offset(&cluster, &group, &work.topic).await;
                seen.error_code.is_none().then_some(seen.committed_offset)
            });
            expected = if committed { offset } else { expected };
            assert_eq!(seen.await, expected);
        }
    }
}

#[tokio::test]
async fn offsets_of_a_zombie_generation_do_not_get_into_a_transaction() {
    if lacks_implicit() {
        return;
    }
    let cluster = TestCluster::shared().await;
    for (way, version) in [(0, 3), (1, 5)] {
        let work = Work::begin(&cluster, way).await;
        let group = cluster.unique("group");
        let mut coordinator = cluster.raw_coordinator(&group).await;
        let commit = work.producer.commit_offset(&group, &work.topic, 0, 5);
        if way == 0 {
            let unannounced = coordinator.ask_settled(version, &commit).await.code();
            assert_eq!(unannounced, ErrorCode::INVALID_TXN_STATE, "AddOffsetsToTxn comes first");
            let request = work.producer.add_offsets(&group);
            assert_eq!(work.producer.ask_coordinator(&cluster, 3, &request).await.code(), NONE);
        }
        let mut zombie = commit.clone();
        (zombie.generation_id_or_member_epoch, zombie.member_id) = (3, "somebody".to_owned());
        assert_eq!(coordinator.ask_settled(version, &zombie).await.code(), ErrorCode::ILLEGAL_GENERATION);
        assert_eq!(coordinator.ask_settled(version, &commit).await.code(), NONE, "a group without members");
        let mut fenced = commit.clone();
        fenced.producer_epoch += 1;
        let code = coordinator.ask_settled(version, &fenced).await.code();
        assert_eq!(code, ErrorCode::INVALID_PRODUCER_EPOCH);
    }
}

#[tokio::test]
async fn a_transaction_survives_a_change_of_its_coordinator_and_of_its_leader() {
    if lacks_implicit() {
        return;
    }
    let cluster = TestCluster::shared().await;
    for committed in [true, false] {
        let mut work = Work::begin(&cluster, 1).await;
        assert_eq!(work.write(&["a"]).await, NONE);
        let before = cluster.transaction_coordinator(&work.producer.transactional_id).await;
        let index = cluster.transaction_partition(&work.producer.transactional_id).await;
        assert_ne!(cluster.move_leader("__transaction_state", index).await, before);
        cluster.move_leader(&work.topic, 0).await;
        work.leader = cluster.raw_leader(&work.topic, 0).await;
        assert_eq!(work.write(&["b"]).await, NONE);
        assert_eq!(work.read(COMMITTED, 0).await.last_stable_offset, 0);
        assert_eq!(work.end(committed).await, NONE);
        let seen = work.settled().await;
        assert_eq!(seen.high_watermark, 3);
        let expected = if committed { vec![] } else { vec![(work.producer.producer_id, 0)] };
        assert_eq!(aborted(&seen), Some(expected));
    }
}

/// Kafka's markers cannot be held: it shows there only when it is slow.
#[tokio::test]
async fn while_markers_are_held_everything_waits_for_them() {
    let cluster = TestCluster::shared().await;
    let Some(mock) = cluster.mock() else {
        return milena_tests::cluster::skipped("while_markers_are_held", "Kafka's markers cannot be held");
    };
    let mut work = Work::begin(&cluster, 1).await;
    let control = mock.transaction(&work.producer.transactional_id);
    control.hold_markers();
    assert_eq!(work.write(&["a"]).await, NONE);
    assert_eq!(work.end(true).await, NONE);
    let request = work.producer.write_at(0, &work.topic, 0, &["b"]);
    assert_eq!(work.leader.ask(12, &request).await.code(), ErrorCode::CONCURRENT_TRANSACTIONS);
    assert_eq!(mock.with(|now| now.open_transactions()), [work.producer.transactional_id.as_str()]);
    assert_eq!(work.read(COMMITTED, 0).await.last_stable_offset, 0);
    control.release_markers();
    assert_eq!(work.settled().await.high_watermark, 2);
    assert_eq!(mock.partition(&work.topic, 0).committed_values(), ["a"]);
    control.move_coordinator(1 + control.coordinator().unwrap() % 3, Duration::ZERO);
    assert_eq!(work.write(&["b"]).await, NONE);
}
