//! DescribeGroups: describes classic groups and their members. Pure.
//!
//! * v3: authorized operations
//! * v4: static members
//! * v6: an error message and GROUP_ID_NOT_FOUND

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { DESCRIBE_GROUPS, 0..=6, flexible 5.., DescribeGroupsRequest => DescribeGroupsResponse }

message! {
    /// Which groups.
    pub struct DescribeGroupsRequest {
        groups:                        Vec<String> [0..]
        include_authorized_operations: bool        [3..]
    }

    /// Their states and members.
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32                 [1..]
        groups:           Vec<DescribedGroup> [0..]
    }

    /// The shape of `groups`.
    pub struct DescribedGroup {
        error_code:            ErrorCode                 [0..]
        error_message:         Option<String>            [6..]
        group_id:              String                    [0..]
        group_state:           String                    [0..]
        protocol_type:         String                    [0..]
        protocol_data:         String                    [0..]
        members:               Vec<DescribedGroupMember> [0..]
        authorized_operations: i32                       [3.. default -2147483648]
    }

    /// The shape of `members`.
    pub struct DescribedGroupMember {
        member_id:         String         [0..]
        group_instance_id: Option<String> [4..]
        client_id:         String         [0..]
        client_host:       String         [0..]
        member_metadata:   Bytes          [0..]
        member_assignment: Bytes          [0..]
    }
}
