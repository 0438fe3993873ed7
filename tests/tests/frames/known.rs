//! What a client knows by now, and what it makes of it: fields that are mostly as they should be.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::arbitrary::Choice;
use milena_protocol::compression::Compression;
use milena_protocol::group::{Assignment, Subscription};
use milena_protocol::primitives::Uuid;
use milena_tests::raw::RawBatch;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// How many of each are kept.
const KEPT: usize = 8;

/// What brokers have answered.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) memberships: Vec<Membership>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) sessions: Vec<i64>,
    pub(crate) topics: Vec<Uuid>,
    /// Answers without an error where something was asked for.
    pub(crate) done: BTreeMap<ApiKey, u64>,
}

/// A place in a group.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Membership {
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) generation: i64,
}

/// Who writes.
#[derive(Clone, PartialEq)]
pub(crate) struct Producer {
    /// Empty if it has no transactions.
    pub(crate) transactional_id: String,
    pub(crate) id: i64,
    pub(crate) epoch: i64,
}

/// Keeps the newest.
pub(crate) fn learn<T: PartialEq>(known: &mut Vec<T>, new: T) {
    if !known.contains(&new) {
        known.push(new);
        if known.len() > KEPT {
            known.remove(0);
        }
    }
}

/// Makes the fields of one request.
pub(crate) struct Fields<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) known: &'a Known,
    pub(crate) api: ApiKey,
    /// Who it comes from; fields that belong together are of one.
    pub(crate) membership: Membership,
    pub(crate) producer: Producer,
    /// Whether waiting costs nothing.
    pub(crate) is_patient: bool,
}

/// Names are few, or the cluster would rightly grow with what it is told to keep.
const TOPICS: [&str; 8] =
    ["orders", "orders", "payments", "new", "other", "__consumer_offsets", "__transaction_state", "auto"];
const BAD_TOPICS: [&str; 5] = ["", "..", "no/such", "语", "orders-payments-0"];
const GROUPS: [&str; 5] = ["g0", "g1", "g2", "", "🦀"];
const TRANSACTIONS: [&str; 4] = ["t0", "t1", "t2", ""];
const SETTINGS: [&str; 7] = [
    "retention.ms",
    "retention.bytes",
    "cleanup.policy",
    "max.message.bytes",
    "min.insync.replicas",
    "segment.bytes",
    "no.such",
];
const VALUES: [&str; 8] = ["-1", "0", "1", "compact", "delete", "1048576", "compact,delete", "x"];
const EXTREMES: [i64; 9] = [0, 1, -1, 127, i16::MAX as i64, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

impl<'a> Fields<'a> {
    pub(crate) fn new(random: &'a mut Random, known: &'a Known, is_patient: bool) -> Self {
        let mut membership = Membership { group: random.pick(&GROUPS).to_owned(), ..Membership::default() };
        membership.generation = -1;
        if !known.memberships.is_empty() && !random.one_in(4) {
            membership = random.pick(&known.memberships);
        }
        let mut producer = Producer { transactional_id: random.pick(&TRANSACTIONS).to_owned(), id: -1, epoch: -1 };
        if !known.producers.is_empty() && !random.one_in(4) {
            producer = random.pick(&known.producers);
        }
        Self { random, known, api: ApiKey(-1), membership, producer, is_patient }
    }

    fn number(&mut self, field: &str) -> i64 {
        let random = &mut *self.random;
        if random.one_in(25) {
            return if random.one_in(2) { random.pick(&EXTREMES) } else { random.next() as i64 };
        }
        let known = |random: &mut Random, known: &[i64], otherwise: &[i64]| {
            if known.is_empty() || random.one_in(4) { random.pick(otherwise) } else { random.pick(known) }
        };
        match field {
            "session_timeout_ms" | "rebalance_timeout_ms" => {
                random.pick(if self.is_patient { &[500, 6000, 60_000] } else { &[20, 50, 200] })
            }
            "acks" => random.pick(&[-1, -1, 1, 0, 2]),
            _ if field.ends_with("timeout_ms") || field == "max_wait_ms" => {
                let long = self.is_patient && random.one_in(3);
                if long {
                    random.pick(&[500, 6000, 60_000, i64::from(i32::MAX)])
                } else {
                    random.pick(&[0, 1, 2, 5, 20])
                }
            }
            "index" | "partition" | "partition_index" | "partition_indexes" | "partitions" => {
                random.pick(&[0, 0, 0, 1, 2, 3])
            }
            "num_partitions" | "count" => random.pick(&[1, 2, 3, 5, 0, -1]),
            "replication_factor" => random.pick(&[-1, 1, 2, 3, 4, 0]),
            "replica_id" => -1,
            "broker_ids" | "node_id" => random.below(4) as i64 - 1,
            "session_id" => known(random, &self.known.sessions, &[0]),
            // Few begin one: brokers rightly keep a thousand.
            "session_epoch" => random.pick(&[0, -1, -1, -1, 1, 1, 2, 3]),
            "producer_id" | "v3_and_below_producer_id" => self.producer.id,
            "producer_epoch" | "v3_and_below_producer_epoch" => self.producer.epoch,
            "generation_id" | "generation_id_or_member_epoch" | "member_epoch" => self.membership.generation,
            "key_type" => random.pick(&[0, 0, 1, 2]),
            "resource_type" => random.pick(&[2, 2, 4, 32]),
            "isolation_level" | "election_type" | "config_operation" => random.below(3) as i64,
            "fetch_offset" | "offset" | "committed_offset" => random.below(30) as i64 - 1,
            "timestamp" => random.pick(&[-1, -2, -3, -4, -5, 0, 1_700_000_000_000]),
            "leader_epoch" | "current_leader_epoch" | "last_fetched_epoch" | "committed_leader_epoch" => {
                random.pick(&[-1, -1, 0, 1, 2])
            }
            "max_bytes" | "partition_max_bytes" | "min_bytes" => random.pick(&[1 << 20, 1 << 20, 100, 1, 0]),
            _ => random.below(4) as i64 - 1,
        }
    }

    /// A record batch, or something like one.
    fn records(&mut self) -> Bytes {
        let random = &mut *self.random;
        if random.one_in(20) {
            let length = random.below(200);
            return random.bytes(length).into();
        }
        let size = random.pick(&[0, 10, 100, 1000]);
        let count = 1 + random.below(4);
        let records = if random.one_in(2) {
            RawBatch::of((0..count).map(|_| random.bytes(size)))
        } else {
            let text = "v".repeat(size);
            let keys: Vec<_> = (0..count).map(|_| random.pick(&["k0", "k1", "k2"])).collect();
            RawBatch::keyed(keys.into_iter().map(|key| (key, Some(text.as_str()).filter(|_| key != "k2"))))
        };
        let codecs = [
            Compression::None,
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ];
        let mut batch = records.at(1_767_225_600_000, 1).compressed(random.pick(&codecs));
        let Producer { transactional_id, id, epoch } = &self.producer;
        if *id >= 0 && (!transactional_id.is_empty() || random.one_in(2)) {
            batch = batch.producer(*id, *epoch as i16, random.pick(&[0, 0, 0, 1, 2, 3, i32::MAX]));
            if transactional_id.is_empty() == random.one_in(10) {
                batch = batch.transactional();
            }
        }
        if random.one_in(10) {
            let (field, value) = (random.below(7), random.next());
            batch = batch.header(|header| match field {
                0 => header.record_count = value as i32,
                1 => header.last_offset_delta = value as i32,
                2 => header.base_offset = value as i64,
                3 => header.max_timestamp = value as i64,
                4 => header.base_sequence = value as i32,
                5 => header.producer_id = value as i64,
                _ => header.attributes = header.attributes.with_control(),
            });
        }
        let mut bytes = batch.encode().to_vec();
        match random.below(30) {
            0 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            1 => bytes.truncate(random.below(bytes.len())),
            2 => bytes.extend_from_within(..),
            3 if random.one_in(20) => return BOMB.clone(),
            _ => {}
        }
        bytes.into()
    }
}

/// Small on the wire, 4 MiB when it is read.
static BOMB: LazyLock<Bytes> =
    LazyLock::new(|| RawBatch::of([vec![0; 4 << 20]]).compressed(Compression::Zstd).encode());

impl Choice for Fields<'_> {
    fn bits(&mut self, field: &'static str) -> u64 {
        self.number(field) as u64
    }

    fn text(&mut self, field: &'static str) -> String {
        let random = &mut *self.random;
        let text = match field {
            "name" if self.api == ApiKey::JOIN_GROUP => random.pick(&["range", "range", "sticky"]),
            "name" if random.one_in(if self.api == ApiKey::INCREMENTAL_ALTER_CONFIGS { 1 } else { 20 }) => {
                random.pick(&SETTINGS)
            }
            // Others have more to do with those that stay.
            "topic_names" | "name" if self.api == ApiKey::DELETE_TOPICS && !random.one_in(200) => {
                random.pick(&["new", "other", "auto"])
            }
            "name" | "topic" if matches!(self.api, ApiKey::PRODUCE | ApiKey::FETCH) && random.one_in(2) => "orders",
            "name" | "topic" | "topics" | "topic_names" | "resource_name" => {
                if random.one_in(10) {
                    random.pick(&BAD_TOPICS)
                } else {
                    random.pick(&TOPICS)
                }
            }
            "group_id" => return self.membership.group.clone(),
            "groups" | "groups_names" => random.pick(&GROUPS),
            "transactional_id" | "v3_and_below_transactional_id" => return self.producer.transactional_id.clone(),
            "key" | "coordinator_keys" if random.one_in(2) => random.pick(&TRANSACTIONS),
            "key" | "coordinator_keys" => random.pick(&GROUPS),
            "member_id" if random.one_in(40) => "nobody",
            "member_id" => return self.membership.member.clone(),
            "group_instance_id" => random.pick(&["i0", "i1"]),
            "protocol_type" => random.pick(&["consumer", "consumer", "consumer", "connect", ""]),
            "protocol_name" => "range",
            "value" => random.pick(&VALUES),
            "configuration_keys" => random.pick(&SETTINGS),
            _ if random.one_in(20) => return "x".repeat(random.pick(&[126, 127, 128, 255, 256, 30_000])),
            _ => random.pick(&["", "a", "é", "語", "\0", "consumer"]),
        };
        text.to_owned()
    }

    fn bytes(&mut self, field: &'static str) -> Bytes {
        match field {
            "records" => self.records(),
            "metadata" if !self.random.one_in(4) => {
                let subscription = Subscription { topics: vec!["orders".into()], ..Default::default() };
                subscription.encode().expect("a subscription")
            }
            "assignment" if !self.random.one_in(4) => Assignment::default().encode().expect("an assignment"),
            _ => {
                let length = self.random.below(40);
                self.random.bytes(length).into()
            }
        }
    }

    fn uuid(&mut self, _: &'static str) -> Uuid {
        let deletes = self.api == ApiKey::DELETE_TOPICS && !self.random.one_in(200);
        if deletes || self.known.topics.is_empty() || self.random.one_in(8) {
            Uuid([self.random.below(3) as u8; 16])
        } else {
            self.random.pick(&self.known.topics)
        }
    }

    fn count(&mut self, field: &'static str) -> usize {
        if matches!(field, "assignments" | "configs") && self.api == ApiKey::CREATE_TOPICS && !self.random.one_in(4) {
            return 0;
        }
        if self.random.one_in(60) { self.random.pick(&[0, 40, 130]) } else { 1 + self.random.below(3) }
    }

    fn is_null(&mut self, field: &'static str) -> bool {
        let is_usual = field == "transactional_id" && !self.random.one_in(20);
        if is_usual { self.producer.transactional_id.is_empty() } else { self.random.one_in(3) }
    }

    fn is_absent(&mut self, _: &'static str) -> bool {
        self.random.one_in(2)
    }
}
