//! JoinGroup: joins a classic group and waits until all members have. Pure.
//!
//! * v1: rebalance timeout
//! * v4: the member id comes in a first answer (KIP-394)
//! * v5: static members
//! * v8: a reason
//! * v9: the leader may be told not to assign

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { JOIN_GROUP, 0..=9, flexible 6.., JoinGroupRequest => JoinGroupResponse }

message! {
    /// Who joins, and what protocols it can speak.
    pub struct JoinGroupRequest {
        group_id:             String                        [0..]
        session_timeout_ms:   i32                           [0..]
        rebalance_timeout_ms: i32                           [1.. default -1]
        member_id:            String                        [0..]
        group_instance_id:    Option<String>                [5..]
        protocol_type:        String                        [0..]
        protocols:            Vec<JoinGroupRequestProtocol> [0..]
        reason:               Option<String>                [8..]
    }

    /// The shape of `protocols`.
    pub struct JoinGroupRequestProtocol {
        name:     String [0..]
        metadata: Bytes  [0..]
    }

    /// The generation, the chosen protocol, and for the leader the members.
    pub struct JoinGroupResponse {
        throttle_time_ms: i32                          [2..]
        error_code:       ErrorCode                    [0..]
        generation_id:    i32                          [0.. default -1]
        protocol_type:    Option<String>               [7..]
        protocol_name:    Option<String>               [0.. null 7.. default Some(String::new())]
        leader:           String                       [0..]
        skip_assignment:  bool                         [9..]
        member_id:        String                       [0..]
        members:          Vec<JoinGroupResponseMember> [0..]
    }

    /// The shape of `members`.
    pub struct JoinGroupResponseMember {
        member_id:         String         [0..]
        group_instance_id: Option<String> [5..]
        metadata:          Bytes          [0..]
    }
}
