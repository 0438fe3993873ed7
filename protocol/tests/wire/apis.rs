//! Every API by its types, for tests that are the same for all.

use milena_protocol::api::{APIS, Api, Request};

/// Calls `$visit!(module, Request, Response);` for every API.
macro_rules! for_each_api {
    ($visit:ident) => {
        $visit!(produce, ProduceRequest, ProduceResponse);
        $visit!(fetch, FetchRequest, FetchResponse);
        $visit!(list_offsets, ListOffsetsRequest, ListOffsetsResponse);
        $visit!(metadata, MetadataRequest, MetadataResponse);
        $visit!(offset_commit, OffsetCommitRequest, OffsetCommitResponse);
        $visit!(offset_fetch, OffsetFetchRequest, OffsetFetchResponse);
        $visit!(find_coordinator, FindCoordinatorRequest, FindCoordinatorResponse);
        $visit!(join_group, JoinGroupRequest, JoinGroupResponse);
        $visit!(heartbeat, HeartbeatRequest, HeartbeatResponse);
        $visit!(leave_group, LeaveGroupRequest, LeaveGroupResponse);
        $visit!(sync_group, SyncGroupRequest, SyncGroupResponse);
        $visit!(describe_groups, DescribeGroupsRequest, DescribeGroupsResponse);
        $visit!(list_groups, ListGroupsRequest, ListGroupsResponse);
        $visit!(api_versions, ApiVersionsRequest, ApiVersionsResponse);
        $visit!(create_topics, CreateTopicsRequest, CreateTopicsResponse);
        $visit!(delete_topics, DeleteTopicsRequest, DeleteTopicsResponse);
        $visit!(delete_records, DeleteRecordsRequest, DeleteRecordsResponse);
        $visit!(init_producer_id, InitProducerIdRequest, InitProducerIdResponse);
        $visit!(offset_for_leader_epoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse);
        $visit!(add_partitions_to_txn, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse);
        $visit!(add_offsets_to_txn, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse);
        $visit!(end_txn, EndTxnRequest, EndTxnResponse);
        $visit!(txn_offset_commit, TxnOffsetCommitRequest, TxnOffsetCommitResponse);
        $visit!(describe_configs, DescribeConfigsRequest, DescribeConfigsResponse);
        $visit!(create_partitions, CreatePartitionsRequest, CreatePartitionsResponse);
        $visit!(delete_groups, DeleteGroupsRequest, DeleteGroupsResponse);
        $visit!(elect_leaders, ElectLeadersRequest, ElectLeadersResponse);
        $visit!(incremental_alter_configs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse);
        $visit!(offset_delete, OffsetDeleteRequest, OffsetDeleteResponse);
        $visit!(describe_cluster, DescribeClusterRequest, DescribeClusterResponse);
    };
}
pub(crate) use for_each_api;

#[test]
fn the_list_is_complete() {
    let mut listed = Vec::new();
    macro_rules! list {
        ($module:ident, $request:ident, $response:ident) => {
            listed.push(Api::of::<milena_protocol::messages::$module::$request>());
            assert_same_type::<
                <milena_protocol::messages::$module::$request as Request>::Response,
                milena_protocol::messages::$module::$response,
            >();
        };
    }
    for_each_api!(list);
    assert_eq!(listed, APIS);
}

fn assert_same_type<A: 'static, B: 'static>() {
    assert_eq!(std::any::TypeId::of::<A>(), std::any::TypeId::of::<B>());
}
