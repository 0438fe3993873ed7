//! DescribeGroups: state and members of classic groups. Pure.
//!
//! * v3: authorized operations: all, as there is no authorizer; v4: static members
//! * an unknown group is a dead one; from v6 on it is an error, too
//! * what members said is shown of stable groups only; what they got is shown until they get something new

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::{Answer, Call};
use crate::core::{Core, GroupDescription, GroupState};

/// Read, delete, describe, and both kinds of configuration, as bits.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: DescribeGroupsRequest,
) -> Answer<DescribeGroupsResponse> {
    let authorized_operations = if request.include_authorized_operations {
        GROUP_OPERATIONS
    } else {
        DescribedGroup::default().authorized_operations
    };
    let groups = request.groups.into_iter().map(|group_id| match core.describe_group(call.broker(), &group_id) {
        Ok(Some(group)) => DescribedGroup { authorized_operations, ..described(group_id, group) },
        Ok(None) if call.version() >= 6 => DescribedGroup {
            error_code: ErrorCode::GROUP_ID_NOT_FOUND,
            error_message: Some(format!("group '{group_id}' does not exist")),
            ..dead(group_id)
        },
        Ok(None) => DescribedGroup { authorized_operations, ..dead(group_id) },
        Err(error_code) => DescribedGroup { group_id, error_code, ..Default::default() },
    });
    Answer::Now(DescribeGroupsResponse { groups: groups.collect(), ..Default::default() })
}

fn dead(group_id: String) -> DescribedGroup {
    DescribedGroup { group_id, group_state: GroupState::Dead.to_string(), ..Default::default() }
}

fn described(group_id: String, group: GroupDescription) -> DescribedGroup {
    let is_stable = group.state == GroupState::Stable;
    let members = group.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: if is_stable { member.metadata } else { Bytes::new() },
        member_assignment: member.assignment,
    });
    DescribedGroup {
        group_id,
        group_state: group.state.to_string(),
        protocol_type: group.protocol_type,
        protocol_data: if is_stable { group.protocol } else { String::new() },
        members: members.collect(),
        ..Default::default()
    }
}
