//! The APIs that are served: from a frame to the file of its API, and back. Pure.

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::api::{Request, VersionRange};
use milena_protocol::frame::{self, RequestHeader};
use milena_protocol::messages;
use milena_protocol::primitives::{DecodeError, Decoder};
use milena_protocol::{ApiKey, ErrorCode};

use crate::core::{Core, Origin, Outcome, Ticket};

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
pub(crate) mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod elect_leaders;
pub(crate) mod end_txn;
pub(crate) mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
pub(crate) mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sync_group;
mod txn_offset_commit;

/// One request on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) now: Duration,
    pub(crate) origin: &'a Origin,
    pub(crate) ticket: Ticket,
    pub(crate) header: &'a RequestHeader,
}

impl Call<'_> {
    fn version(&self) -> i16 {
        self.header.api_version
    }

    fn broker(&self) -> i32 {
        self.origin.broker
    }

    /// Whether this is the identity that Java's admin client and brokers' own tools use, which may write internal topics.
    fn is_admin_client(&self) -> bool {
        self.header.client_id.as_deref() == Some("__admin_client")
    }
}

/// What an API's file makes of a request.
#[derive(Debug)]
enum Answer<T> {
    Now(T),
    /// The request waits among the core's parked ones.
    Parked,
    Silent,
    Close,
}

/// Every API that is served. Each has its line here, its file, and its `Subject` in `fault/subject`.
macro_rules! each_api {
    ($callback:ident) => {
        $callback! {
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
        delete_records::DeleteRecordsRequest
        init_producer_id::InitProducerIdRequest
        offset_for_leader_epoch::OffsetForLeaderEpochRequest
        add_partitions_to_txn::AddPartitionsToTxnRequest
        add_offsets_to_txn::AddOffsetsToTxnRequest
        end_txn::EndTxnRequest
        txn_offset_commit::TxnOffsetCommitRequest
        describe_configs::DescribeConfigsRequest
        create_partitions::CreatePartitionsRequest
        delete_groups::DeleteGroupsRequest
        elect_leaders::ElectLeadersRequest
        incremental_alter_configs::IncrementalAlterConfigsRequest
        offset_delete::OffsetDeleteRequest
        describe_cluster::DescribeClusterRequest
        }
    };
}
pub(crate) use each_api;

/// Each API is decoded, handed to its file, and advertised.
macro_rules! served {
    ($($module:ident :: $request:ident)*) => {
        /// The APIs that clients may use, in the order of their keys.
        const SERVED: &[(ApiKey, VersionRange)] = &[
            $((<messages::$module::$request as Request>::KEY, <messages::$module::$request as Request>::VERSIONS)),*
        ];

        fn dispatch(core: &mut Core, call: &Call<'_>, input: &mut Decoder) -> Result<Option<Outcome>, DecodeError> {
            $(if call.header.api_key == <messages::$module::$request as Request>::KEY {
                let request: messages::$module::$request = frame::decode_request(call.version(), input)?;
                return Ok(finish::<messages::$module::$request>(call, $module::handle(core, call, request)));
            })*
            Ok(Some(Outcome::Close))
        }
    };
}

each_api!(served);

/// What a broker forwards to the controller, which does not hear one that is cut off from it.
const FORWARDED: [ApiKey; 5] = [
    ApiKey::CREATE_TOPICS,
    ApiKey::DELETE_TOPICS,
    ApiKey::CREATE_PARTITIONS,
    ApiKey::ELECT_LEADERS,
    ApiKey::INCREMENTAL_ALTER_CONFIGS,
];

/// Whether clients may use this version of an API.
pub(crate) fn is_served(api: ApiKey, version: i16) -> bool {
    SERVED.iter().any(|(key, versions)| *key == api && versions.contains(version))
}

/// Handles a request frame (without its length prefix). `None` if the request was parked, or is never answered.
pub(crate) fn serve(core: &mut Core, now: Duration, origin: &Origin, ticket: Ticket, frame: Bytes) -> Option<Outcome> {
    let mut input = Decoder::new(frame);
    let header = match RequestHeader::decode(&mut input) {
        Ok(header) => header,
        Err(error) => {
            tracing::warn!(%error, broker = origin.broker, connection = origin.connection, "closing: the request has no header");
            return Some(Outcome::Close);
        }
    };
    let call = Call { now, origin, ticket, header: &header };
    if !is_served(header.api_key, header.api_version) {
        if header.api_key == ApiKey::API_VERSIONS {
            return Some(api_versions::unsupported(&call));
        }
        let (api, version, connection) = (header.api_key, header.api_version, origin.connection);
        tracing::warn!(%api, version, connection, "closing: the API or its version is not served");
        return Some(Outcome::Close);
    }
    if FORWARDED.contains(&header.api_key) && !core.is_in_touch(origin.broker) {
        return None;
    }
    match dispatch(core, &call, &mut input) {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(api = %header.api_key, version = header.api_version, %error, connection = origin.connection, "closing: the request cannot be read");
            Some(Outcome::Close)
        }
    }
}

fn finish<R: Request>(call: &Call<'_>, answer: Answer<R::Response>) -> Option<Outcome> {
    match answer {
        Answer::Now(response) => Some(reply::<R>(call, call.version(), &response)),
        Answer::Parked => None,
        Answer::Silent => Some(Outcome::Silent),
        Answer::Close => Some(Outcome::Close),
    }
}

/// Before `first` a version knows another word for a producer that was fenced.
fn fenced_before(call: &Call<'_>, first: i16, code: ErrorCode) -> ErrorCode {
    let is_unknown = code == ErrorCode::PRODUCER_FENCED && call.version() < first;
    if is_unknown { ErrorCode::INVALID_PRODUCER_EPOCH } else { code }
}

/// The answer in the layout of `version`.
fn reply<R: Request>(call: &Call<'_>, version: i16, response: &R::Response) -> Outcome {
    match frame::encode_response::<R>(version, call.header.correlation_id, response) {
        Ok(frame) => Outcome::Reply { frame, mute: Duration::ZERO },
        Err(error) => {
            tracing::error!(api = %R::KEY, version, %error, "closing: the answer does not fit its layout");
            Outcome::Close
        }
    }
}
