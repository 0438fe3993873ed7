//! Which APIs there are, their versions, and the versions of their headers. Pure.

use std::fmt;

use crate::messages;
use crate::primitives::Wire;

/// The number of an API: which request a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ApiKey(pub i16);

/// The versions of an API, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is one of them.
    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The highest version that both have.
    pub fn highest_common(self, other: Self) -> Option<i16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

/// A request message with its API.
pub trait Request: Wire {
    /// Its API.
    const KEY: ApiKey;
    /// The versions that this crate knows: all stable ones of Kafka 4.4.
    const VERSIONS: VersionRange;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE: i16;
    /// What a broker answers.
    type Response: Wire;
}

impl ApiKey {
    /// Kafka's name, such as `PRODUCE`, or `None` for a number that is not known here.
    pub fn name(self) -> Option<&'static str> {
        NAMES.binary_search_by_key(&self.0, |row| row.0).ok().and_then(|index| NAMES.get(index)).map(|row| row.1)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "api key {}", self.0),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}({})", self.0)
    }
}

/// Versions and headers of an API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Api {
    /// Which one.
    pub key: ApiKey,
    /// The versions that this crate knows.
    pub versions: VersionRange,
    flexible: i16,
}

impl Api {
    /// Versions and headers of the API that `R` belongs to.
    pub const fn of<R: Request>() -> Self {
        Self { key: R::KEY, versions: R::VERSIONS, flexible: R::FLEXIBLE }
    }

    /// The API with this number, if this crate has its messages.
    pub fn find(key: ApiKey) -> Option<Self> {
        APIS.iter().copied().find(|api| api.key == key)
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible
    }

    /// Whether the response header of `version` has tagged fields. That of ApiVersions never has: a client must be able to
    /// read it before it knows what the broker speaks.
    pub const fn has_flexible_response_header(self, version: i16) -> bool {
        self.is_flexible(version) && self.key.0 != ApiKey::API_VERSIONS.0
    }
}

macro_rules! apis {
    ($($module:ident :: $request:ident),* $(,)?) => {
        /// Every API whose messages this crate has.
        pub const APIS: &[Api] = &[$(Api::of::<messages::$module::$request>()),*];
    };
}

apis! {
    produce::ProduceRequest,
    fetch::FetchRequest,
    list_offsets::ListOffsetsRequest,
    metadata::MetadataRequest,
    offset_commit::OffsetCommitRequest,
    offset_fetch::OffsetFetchRequest,
    find_coordinator::FindCoordinatorRequest,
    join_group::JoinGroupRequest,
    heartbeat::HeartbeatRequest,
    leave_group::LeaveGroupRequest,
    sync_group::SyncGroupRequest,
    describe_groups::DescribeGroupsRequest,
    list_groups::ListGroupsRequest,
    api_versions::ApiVersionsRequest,
    create_topics::CreateTopicsRequest,
    delete_topics::DeleteTopicsRequest,
    delete_records::DeleteRecordsRequest,
    init_producer_id::InitProducerIdRequest,
    offset_for_leader_epoch::OffsetForLeaderEpochRequest,
    add_partitions_to_txn::AddPartitionsToTxnRequest,
    add_offsets_to_txn::AddOffsetsToTxnRequest,
    end_txn::EndTxnRequest,
    txn_offset_commit::TxnOffsetCommitRequest,
    describe_configs::DescribeConfigsRequest,
    create_partitions::CreatePartitionsRequest,
    delete_groups::DeleteGroupsRequest,
    elect_leaders::ElectLeadersRequest,
    incremental_alter_configs::IncrementalAlterConfigsRequest,
    offset_delete::OffsetDeleteRequest,
    describe_cluster::DescribeClusterRequest,
}

macro_rules! keys {
    ($($key:literal $name:ident)*) => {
        #[allow(missing_docs, reason = "the names are Kafka's, and so are their meanings")]
        impl ApiKey {
            $(pub const $name: Self = Self($key);)*
        }
        const NAMES: &[(i16, &str)] = &[$(($key, stringify!($name))),*];
    };
}

keys! {
    0  PRODUCE
    1  FETCH
    2  LIST_OFFSETS
    3  METADATA
    4  LEADER_AND_ISR
    5  STOP_REPLICA
    6  UPDATE_METADATA
    7  CONTROLLED_SHUTDOWN
    8  OFFSET_COMMIT
    9  OFFSET_FETCH
    10 FIND_COORDINATOR
    11 JOIN_GROUP
    12 HEARTBEAT
    13 LEAVE_GROUP
    14 SYNC_GROUP
    15 DESCRIBE_GROUPS
    16 LIST_GROUPS
    17 SASL_HANDSHAKE
    18 API_VERSIONS
    19 CREATE_TOPICS
    20 DELETE_TOPICS
    21 DELETE_RECORDS
    22 INIT_PRODUCER_ID
    23 OFFSET_FOR_LEADER_EPOCH
    24 ADD_PARTITIONS_TO_TXN
    25 ADD_OFFSETS_TO_TXN
    26 END_TXN
    27 WRITE_TXN_MARKERS
    28 TXN_OFFSET_COMMIT
    29 DESCRIBE_ACLS
    30 CREATE_ACLS
    31 DELETE_ACLS
    32 DESCRIBE_CONFIGS
    33 ALTER_CONFIGS
    34 ALTER_REPLICA_LOG_DIRS
    35 DESCRIBE_LOG_DIRS
    36 SASL_AUTHENTICATE
    37 CREATE_PARTITIONS
    38 CREATE_DELEGATION_TOKEN
    39 RENEW_DELEGATION_TOKEN
    40 EXPIRE_DELEGATION_TOKEN
    41 DESCRIBE_DELEGATION_TOKEN
    42 DELETE_GROUPS
    43 ELECT_LEADERS
    44 INCREMENTAL_ALTER_CONFIGS
    45 ALTER_PARTITION_REASSIGNMENTS
    46 LIST_PARTITION_REASSIGNMENTS
    47 OFFSET_DELETE
    48 DESCRIBE_CLIENT_QUOTAS
    49 ALTER_CLIENT_QUOTAS
    50 DESCRIBE_USER_SCRAM_CREDENTIALS
    51 ALTER_USER_SCRAM_CREDENTIALS
    52 VOTE
    53 BEGIN_QUORUM_EPOCH
    54 END_QUORUM_EPOCH
    55 DESCRIBE_QUORUM
    56 ALTER_PARTITION
    57 UPDATE_FEATURES
    58 ENVELOPE
    59 FETCH_SNAPSHOT
    60 DESCRIBE_CLUSTER
    61 DESCRIBE_PRODUCERS
    62 BROKER_REGISTRATION
    63 BROKER_HEARTBEAT
    64 UNREGISTER_BROKER
    65 DESCRIBE_TRANSACTIONS
    66 LIST_TRANSACTIONS
    67 ALLOCATE_PRODUCER_IDS
    68 CONSUMER_GROUP_HEARTBEAT
    69 CONSUMER_GROUP_DESCRIBE
    70 CONTROLLER_REGISTRATION
    71 GET_TELEMETRY_SUBSCRIPTIONS
    72 PUSH_TELEMETRY
    73 ASSIGN_REPLICAS_TO_DIRS
    74 LIST_CONFIG_RESOURCES
    75 DESCRIBE_TOPIC_PARTITIONS
    76 SHARE_GROUP_HEARTBEAT
    77 SHARE_GROUP_DESCRIBE
    78 SHARE_FETCH
    79 SHARE_ACKNOWLEDGE
    80 ADD_RAFT_VOTER
    81 REMOVE_RAFT_VOTER
    82 UPDATE_RAFT_VOTER
    83 INITIALIZE_SHARE_GROUP_STATE
    84 READ_SHARE_GROUP_STATE
    85 WRITE_SHARE_GROUP_STATE
    86 DELETE_SHARE_GROUP_STATE
    87 READ_SHARE_GROUP_STATE_SUMMARY
    88 STREAMS_GROUP_HEARTBEAT
    89 STREAMS_GROUP_DESCRIBE
    90 DESCRIBE_SHARE_GROUP_OFFSETS
    91 ALTER_SHARE_GROUP_OFFSETS
    92 DELETE_SHARE_GROUP_OFFSETS
    93 STREAMS_GROUP_TOPOLOGY_DESCRIPTION_UPDATE
    94 UNREGISTER_CONTROLLER
}
