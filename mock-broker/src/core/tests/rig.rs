//! A cluster that tests speak to in frames, at a time of their choice. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::compression::{Compression, Compressor};
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use milena_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use milena_protocol::primitives::Records;
use milena_protocol::records::{BatchHeader, Batches, NewRecord};

use crate::core::{
    BrokerAddress, Core, GroupSettings, LogSettings, NewTopic, Origin, Outcome, ReplicationSettings, Settings, Ticket,
    TransactionSettings,
};

pub(super) const WALL_START: i64 = 1_700_000_000_000;

/// Fetch by name, with everything that comes before topic ids.
pub(super) const FETCH: i16 = 12;
/// Produce by name.
pub(super) const PRODUCE: i16 = 12;

pub(super) fn settings() -> Settings {
    let broker = |id: i32| BrokerAddress {
        id,
        host: format!("b{id}"),
        port: 9091 + u16::try_from(id).unwrap(),
        rack: Some(format!("r{id}")),
    };
    Settings {
        brokers: (1..=3).map(broker).collect(),
        cluster_id: "a-cluster".to_owned(),
        seed: 7,
        auto_create_topics: true,
        default_partitions: 2,
        default_replication_factor: 3,
        min_insync_replicas: 1,
        wall_start_ms: WALL_START,
        offsets_partitions: 5,
        groups: GroupSettings {
            min_session_timeout: Duration::from_millis(500),
            max_session_timeout: Duration::from_secs(1800),
            ..GroupSettings::default()
        },
        transactions: TransactionSettings::default(),
        replication: ReplicationSettings { is_rack_aware: true, ..Default::default() },
        logs: LogSettings::default(),
    }
}

pub(super) fn origin(broker: i32, connection: u64) -> Origin {
    Origin { broker, connection, client_host: "127.0.0.1".to_owned() }
}

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) now: Duration,
    done: BTreeMap<Ticket, Outcome>,
    /// Every outcome's bytes, in order.
    pub(super) trace: Vec<(Ticket, Option<Bytes>)>,
}

impl Rig {
    /// Three brokers, no topic.
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self { core: Core::new(settings), now: Duration::ZERO, done: BTreeMap::new(), trace: Vec::new() }
    }

    /// Three brokers and the topic `t` with one partition on all of them.
    pub(super) fn with_topic(configs: &[(&str, &str)]) -> Self {
        let mut rig = Self::new();
        rig.create("t", 1, configs);
        rig
    }

    pub(super) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let topic = NewTopic { name: name.to_owned(), partitions, replication_factor: None, configs };
        self.core.create_topic(self.now, topic).unwrap();
    }

    pub(super) fn leader(&self) -> i32 {
        self.core.leader("t", 0).unwrap().0
    }

    pub(super) fn submit(&mut self, origin: &Origin, frame: Bytes) -> Ticket {
        let ticket = self.core.submit(self.now, origin, frame);
        self.drain();
        ticket
    }

    fn drain(&mut self) {
        while let Some((ticket, outcome)) = self.core.next_outcome() {
            let bytes = match &outcome {
                Outcome::Reply { frame, .. } => Some(frame.concat().into()),
                _ => None,
            };
            self.trace.push((ticket, bytes));
            self.done.insert(ticket, outcome);
        }
    }

    /// Sets the clock, and lets what is due then happen.
    pub(super) fn at(&mut self, millis: u64) {
        self.now = Duration::from_millis(millis);
        self.core.poll(self.now);
        self.drain();
    }

    /// Does something to the cluster from outside.
    pub(super) fn act<T>(&mut self, act: impl FnOnce(&mut Core, Duration) -> T) -> T {
        let result = act(&mut self.core, self.now);
        self.drain();
        result
    }

    pub(super) fn send<R: Request>(&mut self, broker: i32, version: i16, request: &R) -> Ticket {
        self.submit(&origin(broker, u64::from(broker.unsigned_abs())), frame_of(version, request))
    }

    pub(super) fn outcome(&mut self, ticket: Ticket) -> Option<Outcome> {
        self.drain();
        self.done.remove(&ticket)
    }

    pub(super) fn answer<R: Request>(&mut self, ticket: Ticket, version: i16) -> Option<R::Response> {
        match self.outcome(ticket)? {
            Outcome::Reply { frame, .. } => {
                let frame = Bytes::from(frame.concat()).slice(4..);
                Some(decode_response::<R>(version, frame).unwrap())
            }
            other => panic!("{other:?} instead of a reply"),
        }
    }

    pub(super) fn ask<R: Request>(&mut self, broker: i32, version: i16, request: &R) -> R::Response {
        let ticket = self.send(broker, version, request);
        self.answer::<R>(ticket, version).expect("an answer at once")
    }

    /// Produces to `t`-0 at its leader.
    pub(super) fn produce(&mut self, acks: i16, records: Bytes) -> PartitionProduceResponse {
        let leader = self.leader();
        let response = self.ask(leader, PRODUCE, &produce("t", 0, acks, records));
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches from `t`-0 at its leader, without waiting.
    pub(super) fn fetch(&mut self, offset: i64) -> PartitionData {
        let leader = self.leader();
        let response = self.ask(leader, FETCH, &fetch("t", &[(0, offset)], 0));
        response.responses[0].partitions[0].clone()
    }

    /// The values of `t`-0 as a test reads them from the log.
    pub(super) fn values(&self) -> Vec<String> {
        let records = self.core.records("t", 0).unwrap();
        records.into_iter().map(|record| text(&record.value.unwrap())).collect()
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) fn frame_of<R: Request>(version: i16, request: &R) -> Bytes {
    Bytes::from(encode_request(version, 77, "rig", request).unwrap().concat()).slice(4..)
}

pub(super) fn produce(topic: &str, index: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let partition_data = vec![PartitionProduceData { index, records: Some(records.into()) }];
    let topic = TopicProduceData { name: topic.to_owned(), partition_data, ..Default::default() };
    ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
}

/// Partitions with offsets; one byte is enough to end the wait.
pub(super) fn fetch(topic: &str, partitions: &[(i32, i64)], max_wait_ms: i32) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic = FetchTopic { topic: topic.to_owned(), partitions: partitions.collect(), ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}

/// A batch that tests can spoil.
pub(super) struct TestBatch {
    pub(super) header: BatchHeader,
    pub(super) body: Vec<u8>,
}

impl TestBatch {
    pub(super) fn new(values: &[&str]) -> Self {
        Self::keyed(&values.iter().map(|value| (Some("k"), *value)).collect::<Vec<_>>())
    }

    pub(super) fn keyed(records: &[(Option<&str>, &str)]) -> Self {
        Self::of(records.iter().map(|(key, value)| NewRecord {
            key: key.map(str::as_bytes),
            value: Some(value.as_bytes()),
            headers: &[],
        }))
    }

    pub(super) fn of<'a>(records: impl ExactSizeIterator<Item = NewRecord<'a>>) -> Self {
        let count = i32::try_from(records.len()).unwrap();
        let mut body = Vec::new();
        for (delta, record) in (0..).zip(records) {
            record.append_to(delta, i64::from(delta), &mut body);
        }
        let header = BatchHeader {
            last_offset_delta: count - 1,
            record_count: count,
            base_timestamp: WALL_START,
            max_timestamp: WALL_START + i64::from(count) - 1,
            ..BatchHeader::default()
        };
        Self { header, body }
    }

    pub(super) fn by(mut self, producer_id: i64, epoch: i16, sequence: i32) -> Self {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = sequence;
        self
    }

    pub(super) fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional();
        self
    }

    pub(super) fn at_time(mut self, timestamp: i64) -> Self {
        let span = self.header.max_timestamp - self.header.base_timestamp;
        self.header.base_timestamp = timestamp;
        self.header.max_timestamp = timestamp + span;
        self
    }

    pub(super) fn compressed(mut self, codec: Compression) -> Self {
        self.header.attributes = self.header.attributes.with_compression(codec);
        self.body = Compressor::new(codec, None).compress(&[self.body.into()]).unwrap().to_vec();
        self
    }

    pub(super) fn bytes(self) -> Bytes {
        let body = [Bytes::from(self.body)];
        let mut bytes = BytesMut::from(&self.header.encode(&body)[..]);
        bytes.extend_from_slice(&body[0]);
        bytes.freeze()
    }
}

pub(super) fn values_in(data: &PartitionData) -> Vec<String> {
    let mut values = Vec::new();
    for batch in Batches::new(data.records.clone().map_or(Bytes::new(), Records::into_bytes)) {
        for record in &batch.unwrap().records(1 << 20).unwrap() {
            values.push(text(record.unwrap().value.unwrap()));
        }
    }
    values
}

/// Values of an answer, by partition in the order of the answer.
pub(super) fn values_by_partition(response: &FetchResponse) -> VecDeque<(i32, Vec<String>)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|data| (data.partition_index, values_in(data))).collect()
}

pub(super) const NONE: ErrorCode = ErrorCode::NONE;
