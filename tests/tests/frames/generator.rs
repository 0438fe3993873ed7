//! Makes frames, and learns from the answers to them.

use std::any::Any;
use std::fmt::Debug;

use bytes::Bytes;
use milena_protocol::api::{APIS, Request};
use milena_protocol::arbitrary::{Arbitrary, Place};
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::end_txn::EndTxnResponse;
use milena_protocol::messages::fetch::FetchResponse;
use milena_protocol::messages::init_producer_id::InitProducerIdResponse;
use milena_protocol::messages::join_group::JoinGroupResponse;
use milena_protocol::messages::metadata::MetadataResponse;
use milena_protocol::{ErrorCode, messages};

use crate::known::{Fields, Known, Membership, Producer, Random, learn};

/// What is sent, and what may be expected.
pub(crate) enum Frame {
    /// A frame with its right length: it is answered, or it is not, or the connection ends.
    Whole(Vec<u8>),
    /// A request that can be read. What answers it is to be shown to this.
    Request(Vec<u8>, fn(&mut Known, &Asked, Bytes), Asked),
    /// Bytes whose length is not what they claim: what follows them cannot be understood.
    Torn(Vec<u8>),
}

/// What the answer does not tell.
pub(crate) struct Asked {
    version: i16,
    group: String,
    producer: Producer,
}

impl Frame {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Request(bytes, ..) | Self::Torn(bytes) => bytes,
        }
    }
}

pub(crate) struct Generator {
    pub(crate) random: Random,
    pub(crate) known: Known,
    pub(crate) is_patient: bool,
}

macro_rules! requests {
    ($($module:ident :: $request:ident)*) => {
        /// A request of any API in any version.
        fn any_request(fields: &mut Fields<'_>, correlation_id: i32) -> Frame {
            const MAKE: &[fn(&mut Fields<'_>, i32) -> Frame] = &[$(request::<messages::$module::$request>),*];
            assert_eq!(MAKE.len(), APIS.len(), "an API is missing here");
            // Those that change the most come the most often.
            let often = [0, 0, 0, 1, 1, 7, 8, 10, 4, 16, 20, 21, 22, 23];
            let which = if fields.random.one_in(2) { fields.random.pick(&often) } else { fields.random.below(MAKE.len()) };
            MAKE[which](fields, correlation_id)
        }
    };
}

requests! {
    produce::ProduceRequest
    fetch::FetchRequest
    list_offsets::ListOffsetsRequest
    metadata::MetadataRequest
    offset_commit::OffsetCommitRequest
    offset_fetch::OffsetFetchRequest
    find_coordinator::FindCoordinatorRequest
    join_group::JoinGroupRequest
    heartbeat::HeartbeatRequest
    leave_group::LeaveGroupRequest
    sync_group::SyncGroupRequest
    describe_groups::DescribeGroupsRequest
    list_groups::ListGroupsRequest
    api_versions::ApiVersionsRequest
    create_topics::CreateTopicsRequest
    delete_topics::DeleteTopicsRequest
    init_producer_id::InitProducerIdRequest
    offset_for_leader_epoch::OffsetForLeaderEpochRequest
    describe_configs::DescribeConfigsRequest
    describe_cluster::DescribeClusterRequest
    add_partitions_to_txn::AddPartitionsToTxnRequest
    add_offsets_to_txn::AddOffsetsToTxnRequest
    end_txn::EndTxnRequest
    txn_offset_commit::TxnOffsetCommitRequest
    delete_records::DeleteRecordsRequest
    create_partitions::CreatePartitionsRequest
    delete_groups::DeleteGroupsRequest
    elect_leaders::ElectLeadersRequest
    incremental_alter_configs::IncrementalAlterConfigsRequest
    offset_delete::OffsetDeleteRequest
}

fn request<R: Request + Arbitrary>(fields: &mut Fields<'_>, correlation_id: i32) -> Frame
where
    R::Response: Any + Debug,
{
    let versions = R::VERSIONS;
    // Old versions are many, new ones are what clients use.
    let version = if fields.random.one_in(2) {
        versions.max
    } else {
        versions.min + fields.random.below((versions.max - versions.min + 1) as usize) as i16
    };
    fields.api = R::KEY;
    let request = R::arbitrary(fields, Place::message(version, version >= R::FLEXIBLE));
    let client_id = fields.random.pick(&["frames", "__admin_client", ""]);
    let frame = encode_request(version, correlation_id, client_id, &request).expect("it fits its version");
    Frame::Request(
        frame.concat(),
        answered::<R>,
        Asked { version, group: fields.membership.group.clone(), producer: fields.producer.clone() },
    )
}

/// The answer can be read; what it tells is used from then on.
fn answered<R: Request>(known: &mut Known, asked: &Asked, frame: Bytes)
where
    R::Response: Any + Debug,
{
    let version = asked.version;
    let answer = decode_response::<R>(version, frame);
    let answer = answer.unwrap_or_else(|error| panic!("{} version {version} is answered with: {error}", R::KEY));
    if format!("{answer:?}").contains("error_code: NONE") {
        *known.done.entry(R::KEY).or_default() += 1;
    }
    let answer: Box<dyn Any> = Box::new(answer);
    if let Some(answer) = answer.downcast_ref::<JoinGroupResponse>() {
        let (group, member) = (asked.group.clone(), answer.member_id.clone());
        let generation = i64::from(answer.generation_id);
        known.memberships.retain(|known| known.member != member);
        if [ErrorCode::NONE, ErrorCode::MEMBER_ID_REQUIRED].contains(&answer.error_code) {
            learn(&mut known.memberships, Membership { group, member, generation });
        }
    } else if let Some(answer) = answer.downcast_ref::<InitProducerIdResponse>() {
        learn_producer(known, &asked.producer, answer.producer_id, answer.producer_epoch);
    } else if let Some(answer) = answer.downcast_ref::<EndTxnResponse>() {
        learn_producer(known, &asked.producer, answer.producer_id, answer.producer_epoch);
    } else if let Some(answer) = answer.downcast_ref::<FetchResponse>() {
        learn(&mut known.sessions, i64::from(answer.session_id));
    } else if let Some(answer) = answer.downcast_ref::<MetadataResponse>() {
        let there = answer.topics.iter().filter(|topic| topic.error_code.is_none() && !topic.topic_id.is_zero());
        there.for_each(|topic| learn(&mut known.topics, topic.topic_id));
    }
}

/// Each transactional id has one; of others the first ones stay, as brokers rightly remember all that write.
fn learn_producer(known: &mut Known, asked: &Producer, id: i64, epoch: i16) {
    let transactional_id = asked.transactional_id.clone();
    if id < 0 {
        return;
    }
    if !transactional_id.is_empty() {
        known.producers.retain(|known| known.transactional_id != transactional_id);
    } else if known.producers.len() >= 6 {
        return;
    }
    learn(&mut known.producers, Producer { transactional_id, id, epoch: i64::from(epoch) });
}

impl Generator {
    pub(crate) fn new(seed: u64, is_patient: bool) -> Self {
        Self { random: Random::new(seed), known: Known::default(), is_patient }
    }

    pub(crate) fn next(&mut self, correlation_id: i32) -> Frame {
        let kind = self.random.below(20);
        let Self { random, known, is_patient } = self;
        let mut fields = Fields::new(random, known, *is_patient);
        match kind {
            0..14 => any_request(&mut fields, correlation_id),
            14..17 => {
                let mut frame = any_request(&mut fields, correlation_id).bytes().to_vec();
                damage(&mut frame, fields.random);
                Frame::Whole(frame)
            }
            17 => Frame::Whole(strange(fields.random, correlation_id)),
            18 => {
                let length = fields.random.below(300);
                let body = fields.random.bytes(length);
                Frame::Whole(framed(&body))
            }
            _ => Frame::Torn(torn(&mut fields, correlation_id)),
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// Something is wrong behind the length, which is right.
fn damage(frame: &mut Vec<u8>, random: &mut Random) {
    let mut body = frame.split_off(4);
    match random.below(5) {
        0 => body.truncate(random.below(body.len())),
        1 => {
            let length = random.below(20);
            body.extend(random.bytes(length));
        }
        2 => {
            let start = random.below(body.len());
            let again = body[start..].to_vec();
            body.splice(start..start, again);
        }
        3 if body.len() > 12 => {
            // A length or a count, perhaps.
            let at = 8 + random.below(body.len() - 12);
            body[at..at + 4].copy_from_slice(&random.pick(&[[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0]]));
        }
        _ => {
            for _ in 0..1 + random.below(3) {
                let at = random.below(body.len());
                body[at] ^= 1 << random.below(8);
            }
        }
    }
    *frame = framed(&body);
}

/// A header that can be read, and anything behind it.
fn strange(random: &mut Random, correlation_id: i32) -> Vec<u8> {
    let (key, version) = (random.below(90) as i16 - 2, random.below(20) as i16 - 2);
    let mut body = [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation_id.to_be_bytes()].concat();
    let name = random.pick(&["", "raw", "é"]);
    body.extend((name.len() as i16).to_be_bytes());
    body.extend(name.as_bytes());
    let length = random.below(100);
    body.extend(random.bytes(length));
    framed(&body)
}

fn torn(fields: &mut Fields<'_>, correlation_id: i32) -> Vec<u8> {
    match fields.random.below(5) {
        0 => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        1 => vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        2 => {
            let length = fields.random.below(64);
            fields.random.bytes(length)
        }
        3 => {
            let mut frame = any_request(fields, correlation_id).bytes().to_vec();
            frame.truncate(fields.random.below(frame.len()));
            frame
        }
        _ => {
            let mut frame = any_request(fields, correlation_id).bytes().to_vec();
            let claimed = fields.random.pick(&[-1, i32::MIN, i32::MAX, 100 << 20, 3]);
            frame[..4].copy_from_slice(&claimed.to_be_bytes());
            frame
        }
    }
}
